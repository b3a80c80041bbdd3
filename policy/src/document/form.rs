//! The fields of forms.

use super::DocumentError;

/// The fields of a form, urlencoded (WHATWG URL standard, section 5.1) or multipart, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form(pub(super) Vec<(String, String)>);

impl Form {
    /// Reads a urlencoded form. Every byte string is one; bytes that are no UTF-8 become U+FFFD, which is
    /// in no SKU.
    pub fn parse(body: &[u8]) -> Self {
        let fields = form_urlencoded::parse(body);
        Self(fields.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// The value of the field `name`, `None` if there is no such field.
    ///
    /// # Errors
    /// The field is there more than once; or so is one that some server takes for it, as in
    /// [`looks_like`].
    pub fn single(&self, name: &str) -> Result<Option<&str>, DocumentError> {
        let mut found = None;
        for (key, value) in &self.0 {
            if key == name && found.is_none() {
                found = Some(value.as_str());
            } else if looks_like(key, name) {
                return Err(DocumentError::Duplicate { name: name.to_owned() });
            }
        }
        Ok(found)
    }
}

/// Whether some server takes the field `key` for `name`: ASP.NET knows no case, PHP leaves out white space
/// in front, ends at a zero byte, and makes `name[..` an array in the place of `name`.
fn looks_like(key: &str, name: &str) -> bool {
    let end = key.find(['[', '\0']).unwrap_or(key.len());
    key[..end].trim().eq_ignore_ascii_case(name)
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
        for other in ["SKU", "+sku", "sku%20", "sku%5B%5D", "sku[0]", "sku%00x", "%C2%A0sku"] {
            for form in [format!("sku=A&{other}=B"), format!("{other}=B")] {
                let found = Form::parse(form.as_bytes());
                assert!(
                    matches!(found.single("sku"), Err(DocumentError::Duplicate { .. })),
                    "{form}"
                );
            }
        }
        let form = Form::parse(b"skus=1&s_ku=2&sku.x=3&%83sku=4&sku=A");
        assert!(matches!(form.single("sku"), Ok(Some("A"))));
    }
}
