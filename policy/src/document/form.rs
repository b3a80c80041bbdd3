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

/// Whether some server takes the field `key` for `name`. ASP.NET knows no case, and neither do we here.
fn looks_like(key: &str, name: &str) -> bool {
    key.eq_ignore_ascii_case(name) || loosely(key).eq_ignore_ascii_case(&loosely(name))
}

/// What loose servers make of a name. PHP leaves out white space in front, ends at a zero byte, makes `name[..]`
/// an array in the place of `name`, and of dots, spaces and an open bracket underscores; qs, in Express,
/// reads `[name]` as `name`.
fn loosely(name: &str) -> String {
    let name = name.trim();
    let name = name.split('\0').next().unwrap_or_default();
    let inner = name.strip_prefix('[').and_then(|rest| rest.split(']').next());
    let name = inner.unwrap_or(name);
    let name = match name.split_once('[') {
        Some((array, rest)) if rest.contains(']') => array,
        _ => name,
    };
    name.trim().replace(['.', ' ', '['], "_")
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
        let others =
            ["SKU", "+sku", "sku%20", "sku%5B%5D", "sku[0]", "sku%00x", "%C2%A0sku", "[sku]"];
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
        let form = Form::parse(b"skus=1;x&s_ku=2&sku.x=3&%83sku=4&sku=A");
        assert!(matches!(form.single("sku"), Ok(Some("A"))));
    }
}
