//! Request bodies, read the same way at the edge and in the service.
//!
//! A body that could be read in two ways (a JSON key or form field given twice, two content types, a
//! charset that hides letters) is an error here, so that nobody can show the edge one SKU and the service
//! another.

mod form;
mod json;
mod media_type;
mod multipart;
mod parameters;

use std::sync::Arc;

use serde_json::Value;
use thiserror::Error;

pub use form::Form;
pub(crate) use form::looks_like;
pub use media_type::MediaType;

pub(crate) use json::{member, parse_json};

/// A body that was understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// `application/json`, or any `application/*+json`. No object in it has a key twice.
    Json(Value),
    /// `application/x-www-form-urlencoded` or `multipart/form-data`: the fields in order.
    Form(Form),
}

impl Document {
    /// Reads `body` as `content_type` says.
    ///
    /// # Errors
    /// The content type is missing or none that we read, or the body is not what it says.
    pub fn parse(content_type: Option<&[u8]>, body: &[u8]) -> Result<Self, DocumentError> {
        MediaType::of(content_type)?.parse(body)
    }
}

/// Why a body was not understood. It can be cloned, since what a request's head says of its body is
/// known before the body comes, and may be said twice.
#[derive(Clone, Debug, Error)]
pub enum DocumentError {
    /// There is no `Content-Type`.
    #[error("the request has a body, but no Content-Type")]
    NoContentType,
    /// A kind of body that we do not read.
    #[error(
        "the body must be application/json, application/x-www-form-urlencoded or multipart/form-data"
    )]
    UnsupportedMediaType,
    /// A charset in which other bytes than a SKU's own may spell it.
    #[error("the body's charset is none in which a SKU has one spelling: send UTF-8")]
    Charset,
    /// A multipart body without a boundary, or with one that is none.
    #[error("a multipart body needs a boundary of 1 to 70 characters in its Content-Type")]
    Boundary,
    /// JSON that says it is a form. Read as one it would have one field that nobody knows, and what it asks
    /// for would count for nothing.
    #[error("the body looks like JSON and says it is a form: send it as application/json")]
    JsonAsForm,
    /// Something can be read in two ways.
    #[error("{place} is ambiguous")]
    Ambiguous {
        /// Such as `the Content-Type`.
        place: &'static str,
    },
    /// The body is no JSON, or nests deeper than 128.
    #[error("the body is not valid JSON")]
    Json(#[source] Arc<serde_json::Error>),
    /// An object has a key twice.
    #[error("the body has a JSON key twice")]
    DuplicateKey(#[source] Arc<serde_json::Error>),
    /// The body is no multipart form, or an unusual one.
    #[error("the multipart body cannot be read in one way: {0}")]
    Multipart(&'static str),
    /// A form field is there twice, or another that servers take for it.
    #[error("the field {name:?} is there more than once")]
    Duplicate {
        /// The field's name.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(content_type: &str, body: &[u8], expected: Result<Value, &str>) {
        let parsed = match Document::parse(Some(content_type.as_bytes()), body) {
            Ok(Document::Json(value)) => Ok(value),
            Ok(Document::Form(form)) => Ok(json!(form.fields)),
            Err(DocumentError::Json(source) | DocumentError::DuplicateKey(source)) => {
                Err(source.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        assert_eq!(parsed.as_ref().map_err(String::as_str), expected.as_ref().map_err(|e| *e));
    }

    #[test]
    fn json() {
        check("application/json", br#"{"sku":"A","n":[1,{}]}"#, Ok(json!({"sku":"A","n":[1,{}]})));
        check("application/json; charset=utf-8", b"null", Ok(Value::Null));
        check("Application/Vnd.Shop+JSON", b"1", Ok(json!(1)));
        let duplicate = Err("duplicate key \"sku\" at line 1 column 16");
        check("application/json", br#"{"sku":"A","sku":"B"}"#, duplicate);
        // The same key in another spelling is the same key.
        let escaped = Err("duplicate key \"sku\" at line 1 column 21");
        check("application/json", br#"{"sku":"A","\u0073ku":"B"}"#, escaped);
        check(
            "application/json",
            br#"{"a":{"k":1,"k":2}}"#,
            Err("duplicate key \"k\" at line 1 column 15"),
        );
        check(
            "application/json",
            br#"{"sku":"#,
            Err("EOF while parsing a value at line 1 column 7"),
        );
        check("application/json", b"{} {}", Err("trailing characters at line 1 column 4"));
    }

    #[test]
    fn form() {
        let form = "application/x-www-form-urlencoded; charset=Shift_JIS";
        check(
            form,
            b"sku=A%2D1&q=1+2&sku=B",
            Ok(json!([["sku", "A-1"], ["q", "1 2"], ["sku", "B"]])),
        );
        // Another field in Shift_JIS does not break the one that counts.
        check(form, b"n=%83X%83j&sku=A", Ok(json!([["n", "\u{fffd}X\u{fffd}j"], ["sku", "A"]])));
        check(form, b"", Ok(json!([])));
        // In EUC-JP, with a byte that a trail byte is in Shift_JIS.
        let euc = "application/x-www-form-urlencoded; charset=EUC-JP";
        check(euc, b"n=%A5%B7%5C&sku=A", Ok(json!([["n", "\u{fffd}\u{fffd}\\"], ["sku", "A"]])));
        check(form, b"%7B=1", Ok(json!([["{", "1"]])));
        let json = "the body looks like JSON and says it is a form: send it as application/json";
        for body in [&b" {\"sku\":\"A\"}"[..], b"[{\"sku\":\"A\"}]", b"\xef\xbb\xbf{}"] {
            check(form, body, Err(json));
        }
    }

    #[test]
    fn other_types() {
        let unsupported =
            Err("the body must be application/json, application/x-www-form-urlencoded or \
                 multipart/form-data");
        check("text/plain", b"{}", unsupported.clone());
        check("application/json, text/plain", b"{}", unsupported.clone());
        check("", b"{}", unsupported);
        assert!(matches!(Document::parse(None, b"{}"), Err(DocumentError::NoContentType)));
    }
}
