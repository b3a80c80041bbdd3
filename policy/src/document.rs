//! Request bodies, read the same way at the edge and in the service.
//!
//! A body that could be read in two ways (a JSON key or form field given twice, two content types)
//! is an error here, so that nobody can show the edge one SKU and the service another.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use thiserror::Error;

/// A body that was understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// `application/json`, or any `application/*+json`. No object in it has a key twice.
    Json(Value),
    /// `application/x-www-form-urlencoded`: the fields in order.
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

/// The kinds of body that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaType {
    /// `application/json`, or any `application/*+json`.
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
}

impl MediaType {
    /// Tells the kind from a `Content-Type` header; its parameters are ignored, since JSON is
    /// always UTF-8 (RFC 8259) and SKUs are ASCII in every charset a form may come in.
    ///
    /// # Errors
    /// The header is missing, or names a kind that we do not read.
    pub fn of(content_type: Option<&[u8]>) -> Result<Self, DocumentError> {
        let header = content_type.ok_or(DocumentError::NoContentType)?;
        let essence = header.split(|b| *b == b';').next().unwrap_or_default();
        let essence = essence.trim_ascii().to_ascii_lowercase();
        let is_json = essence == b"application/json"
            || (essence.starts_with(b"application/") && essence.ends_with(b"+json"));
        if is_json {
            Ok(Self::Json)
        } else if essence == b"application/x-www-form-urlencoded" {
            Ok(Self::Form)
        } else {
            Err(DocumentError::UnsupportedMediaType)
        }
    }

    /// Reads `body` as a document of this kind.
    ///
    /// # Errors
    /// The body is not what the kind says.
    pub fn parse(self, body: &[u8]) -> Result<Document, DocumentError> {
        match self {
            Self::Json => Ok(Document::Json(parse_json(body)?)),
            // A client that leaves the content type to its library; nobody else has a field that begins so.
            Self::Form if body.trim_ascii_start().starts_with(b"{") => {
                Err(DocumentError::JsonAsForm)
            }
            Self::Form => Ok(Document::Form(Form::parse(body))),
        }
    }
}

/// The fields of a urlencoded form (WHATWG URL standard, section 5.1), in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Reads a form. Every byte string is one; bytes that are no UTF-8 become U+FFFD, which is in
    /// no SKU.
    pub fn parse(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).map(into_owned).collect())
    }

    /// The value of the field `name`, `None` if there is no such field.
    ///
    /// # Errors
    /// The field is there more than once.
    pub fn single(&self, name: &str) -> Result<Option<&str>, DocumentError> {
        let mut values = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (first, None) => Ok(first.map(String::as_str)),
            (_, Some(_)) => Err(DocumentError::Duplicate { name: name.to_owned() }),
        }
    }
}

fn into_owned((name, value): (Cow<'_, str>, Cow<'_, str>)) -> (String, String) {
    (name.into_owned(), value.into_owned())
}

/// Why a body was not understood. It can be cloned, since what a request's head says of its body is
/// known before the body comes, and may be said twice.
#[derive(Clone, Debug, Error)]
pub enum DocumentError {
    /// There is no `Content-Type`.
    #[error("the request has a body, but no Content-Type")]
    NoContentType,
    /// A kind of body that we do not read.
    #[error("the body must be application/json or application/x-www-form-urlencoded")]
    UnsupportedMediaType,
    /// JSON that says it is a form. Read as one it would have one field that nobody knows, and what it asks
    /// for would count for nothing.
    #[error("the body looks like JSON and says it is a form: send it as application/json")]
    JsonAsForm,
    /// The body is no JSON, nests deeper than 128, or has a key twice.
    #[error("the body is not valid JSON")]
    Json(#[source] Arc<serde_json::Error>),
    /// A form field is there twice.
    #[error("the field {name:?} is there more than once")]
    Duplicate {
        /// The field's name.
        name: String,
    },
}

/// Reads JSON in which no object has a key twice.
pub(crate) fn parse_json(body: &[u8]) -> Result<Value, DocumentError> {
    match serde_json::from_slice(body) {
        Ok(StrictValue(value)) => Ok(value),
        Err(error) => Err(DocumentError::Json(Arc::new(error))),
    }
}

/// A [`Value`] in which no object has a key twice. `serde_json` itself keeps the last of them,
/// other parsers the first.
struct StrictValue(Value);

impl<'de> Deserialize<'de> for StrictValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(StrictValue(value)) = items.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, StrictValue(value))) = entries.next_entry::<String, _>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("duplicate key {key:?}")));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(content_type: &str, body: &[u8], expected: Result<Value, &str>) {
        let parsed = match Document::parse(Some(content_type.as_bytes()), body) {
            Ok(Document::Json(value)) => Ok(value),
            Ok(Document::Form(form)) => Ok(json!(form.0)),
            Err(DocumentError::Json(source)) => Err(source.to_string()),
            Err(error) => Err(error.to_string()),
        };
        assert_eq!(parsed.as_ref().map_err(String::as_str), expected.as_ref().map_err(|e| *e));
    }

    #[test]
    fn json() {
        check("application/json", br#"{"sku":"A","n":[1,{}]}"#, Ok(json!({"sku":"A","n":[1,{}]})));
        check("application/json; charset=utf-8", b"null", Ok(Value::Null));
        check("Application/Vnd.Shop+JSON", b"1", Ok(json!(1)));
        let duplicate = Err("duplicate key \"sku\" at line 1 column 21");
        check("application/json", br#"{"sku":"A","sku":"B"}"#, duplicate);
        // The same key in another spelling is the same key.
        let escaped = Err("duplicate key \"sku\" at line 1 column 26");
        check("application/json", br#"{"sku":"A","\u0073ku":"B"}"#, escaped);
        check(
            "application/json",
            br#"{"a":{"k":1,"k":2}}"#,
            Err("duplicate key \"k\" at line 1 column 18"),
        );
        check(
            "application/json",
            br#"{"sku":"#,
            Err("EOF while parsing a value at line 1 column 7"),
        );
        check("application/json", b"{} {}", Err("trailing characters at line 1 column 4"));
    }

    #[test]
    fn deep_json_is_refused_not_followed() {
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        assert!(matches!(parse_json(&deep), Err(DocumentError::Json(_))));
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
        check(form, b"%7B=1", Ok(json!([["{", "1"]])));
        let json = "the body looks like JSON and says it is a form: send it as application/json";
        check(form, b" {\"sku\":\"A\"}", Err(json));
    }

    #[test]
    fn other_types() {
        let unsupported =
            Err("the body must be application/json or application/x-www-form-urlencoded");
        check("text/plain", b"{}", unsupported.clone());
        check("application/json, text/plain", b"{}", unsupported.clone());
        check("", b"{}", unsupported);
        assert!(matches!(Document::parse(None, b"{}"), Err(DocumentError::NoContentType)));
    }

    #[test]
    fn a_form_field_given_twice_is_no_answer() {
        let form = Form::parse(b"sku=A&sku=B&q=1");
        assert!(matches!(form.single("sku"), Err(DocumentError::Duplicate { .. })));
        assert!(matches!(form.single("q"), Ok(Some("1"))));
        assert!(matches!(form.single("x"), Ok(None)));
    }
}
