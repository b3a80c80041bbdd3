//! The fields of forms.

use super::DocumentError;

/// The fields of a form, urlencoded (WHATWG URL standard, section 5.1) or multipart, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form {
    pub(super) fields: Vec<(String, String)>,
    /// The names of what some servers find behind a semicolon, as RFC 1866 wanted it: Rack 2, for one.
    behind_semicolons: Vec<String>,
}

impl Form {
    /// Reads a urlencoded form. Every byte string is one; bytes that are no UTF-8 become U+FFFD, which is
    /// in no SKU.
    pub fn parse(body: &[u8]) -> Self {
        let parts = body.split(|b| *b == b'&').flat_map(|pair| pair.split(|b| *b == b';').skip(1));
        let names =
            parts.flat_map(|part| form_urlencoded::parse(part).map(|(name, _)| name.into()));
        let fields = form_urlencoded::parse(body);
        let fields = fields.map(|(name, value)| (name.into(), value.into())).collect();
        Self { fields, behind_semicolons: names.collect() }
    }

    /// The fields of a form that is not urlencoded.
    pub(super) fn of(fields: Vec<(String, String)>) -> Self {
        Self { fields, behind_semicolons: Vec::new() }
    }

    /// The value of the field `name`, `None` if there is no such field.
    ///
    /// # Errors
    /// The field is there more than once; or so is one that some server takes for it.
    pub fn single(&self, name: &str) -> Result<Option<&str>, DocumentError> {
        let mut found = None;
        for (key, value) in &self.fields {
            if key == name && found.is_none() {
                found = Some(value.as_str());
            } else if looks_like(key, name) {
                return Err(DocumentError::Duplicate { name: name.to_owned() });
            }
        }
        match self.behind_semicolons.iter().any(|key| looks_like(key, name)) {
            true => Err(DocumentError::Duplicate { name: name.to_owned() }),
            false => Ok(found),
        }
    }
}

/// Whether some server takes what is called `key` for `name`, or for a part of it, or it for a part of that:
/// brackets make `cart[sku]` a part of `cart` (PHP, Rails, Express), and strange ones count for nothing in some
/// (Rails on Rack 2 reads `sku]` and `[[sku]` as `sku`). White space around a name and what is behind a zero
/// byte is left out, dots and spaces are underscores (PHP), and there is no case (ASP.NET).
pub(crate) fn looks_like(key: &str, name: &str) -> bool {
    let key = key.split('\0').next().unwrap_or_default().trim();
    let name = name.trim();
    // PHP's way with a bracket that is never closed.
    if key.contains('[') && !key.contains(']') && is_loosely(key, name) {
        return true;
    }
    let (mut keys, mut names) = (parts(key), parts(name));
    loop {
        match (keys.next(), names.next()) {
            (Some(key), Some(name)) if is_loosely(key, name) => {}
            (Some(_), Some(_)) => return false,
            // One of them is the whole of which the other is a part, or they are the same.
            _ => return !key.is_empty(),
        }
    }
}

/// What is between brackets.
fn parts(name: &str) -> impl Iterator<Item = &str> {
    name.split(['[', ']']).map(str::trim).filter(|part| !part.is_empty())
}

fn is_loosely(a: &str, b: &str) -> bool {
    let loose = |byte: u8| match byte {
        b'.' | b' ' | b'[' => b'_',
        other => other.to_ascii_lowercase(),
    };
    a.len() == b.len() && a.bytes().map(loose).eq(b.bytes().map(loose))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_given_twice_is_no_answer() {
        let form = Form::parse(b"sku=A&sku=B&q=1");
        assert!(matches!(form.single("sku"), Err(DocumentError::Duplicate { .. })));
        assert!(matches!(form.single("q"), Ok(Some("1"))));
        assert!(matches!(form.single("x"), Ok(None)));
    }

    #[test]
    fn a_field_that_a_server_takes_for_another_is_no_answer() {
        let others = [
            "SKU",
            "+sku",
            "sku%20",
            "sku%5B%5D",
            "sku[0]",
            "sku%00x",
            "%C2%A0sku",
            "[sku]",
            "sku]",
            "]sku",
            "[[sku]",
            "[[sku]]",
            "sku[x]",
        ];
        for other in others.into_iter().chain(["[sku][0]", "x=1;sku", "x;SKU", "x=1;y=2;+sku"]) {
            for form in [format!("sku=A&{other}=B"), format!("{other}=B")] {
                let found = Form::parse(form.as_bytes());
                assert!(
                    matches!(found.single("sku"), Err(DocumentError::Duplicate { .. })),
                    "{form}"
                );
            }
        }
        for other in ["item.id", "item+id", "item[id", "ITEM_id", "item_id[]"] {
            let form = format!("item_id=A&{other}=B");
            let found = Form::parse(form.as_bytes());
            assert!(
                matches!(found.single("item_id"), Err(DocumentError::Duplicate { .. })),
                "{form}"
            );
        }
        // What shops do name so is found, and its neighbours are others.
        let form = Form::parse(b"cart[sku]=A&cart[quantity]=2&Items[0].Sku=B&Items[0].Quantity=3");
        assert!(matches!(form.single("cart[sku]"), Ok(Some("A"))));
        assert!(matches!(form.single("cart[quantity]"), Ok(Some("2"))));
        assert!(matches!(form.single("Items[0].Sku"), Ok(Some("B"))));
        for other in ["cart=B", "cart[]=B", "cart[sku][]=B", "Cart[SKU]=B", "cart[sku]=A"] {
            let form = format!("cart[sku]=A&{other}");
            let found = Form::parse(form.as_bytes());
            let found = found.single("cart[sku]");
            assert!(matches!(found, Err(DocumentError::Duplicate { .. })), "{form}");
        }
        let form = Form::parse(b"skus=1;x&s_ku=2&sku.x=3&%83sku=4&sku=A");
        assert!(matches!(form.single("sku"), Ok(Some("A"))));
    }
}
