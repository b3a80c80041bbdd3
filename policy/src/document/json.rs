//! JSON in which every value has one place.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::DocumentError;

/// Reads JSON in which no object has a key twice.
pub(crate) fn parse_json(body: &[u8]) -> Result<Value, DocumentError> {
    let is_duplicate = Cell::new(false);
    let mut json = serde_json::Deserializer::from_slice(body);
    let value =
        Strict(&is_duplicate).deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    value.map_err(|error| match is_duplicate.get() {
        true => DocumentError::DuplicateKey(Arc::new(error)),
        false => DocumentError::Json(Arc::new(error)),
    })
}

/// The member `name` of an object.
///
/// # Errors
/// There is another whose name differs in case alone: some servers (Go's `encoding/json`, .NET) take the
/// one for the other.
pub(crate) fn member<'v>(
    object: &'v Map<String, Value>,
    name: &str,
) -> Result<Option<&'v Value>, ()> {
    match object.keys().any(|key| key != name && is_same_but_for_case(key, name)) {
        true => Err(()),
        false => Ok(object.get(name)),
    }
}

/// By Unicode's simple folding, which takes the long s for an s, and the sign of the Kelvin for a k.
fn is_same_but_for_case(a: &str, b: &str) -> bool {
    if a.is_ascii() && b.is_ascii() {
        return a.eq_ignore_ascii_case(b);
    }
    let fold = |text: &str| text.to_uppercase().to_lowercase();
    fold(a) == fold(b)
}

/// Makes a [`Value`] in which no object has a key twice, and says if one has. `serde_json` itself keeps the
/// last of them, other parsers the first.
#[derive(Clone, Copy)]
struct Strict<'d>(&'d Cell<bool>);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
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
        while let Some(value) = items.next_element_seed(self)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                self.0.set(true);
                return Err(A::Error::custom(format_args!("duplicate key {key:?}")));
            }
            object.insert(key, entries.next_value_seed(self)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn deep_json_is_refused_not_followed() {
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        assert!(matches!(parse_json(&deep), Err(DocumentError::Json(_))));
    }

    #[test]
    fn a_key_twice_is_an_error_of_its_own() {
        for body in [&br#"{"a":1,"a":1}"#[..], br#"[{"b":{"a":1,"\u0061":2}}]"#] {
            assert!(matches!(parse_json(body), Err(DocumentError::DuplicateKey(_))));
        }
    }

    #[test]
    fn a_member_that_a_server_takes_for_another_is_no_answer() {
        for other in ["SKU", "Sku", "\u{17f}ku", "s\u{212a}u"] {
            for value in [json!({"sku": "A", other: "B"}), json!({other: "B"})] {
                assert_eq!(member(value.as_object().unwrap(), "sku"), Err(()), "{value}");
            }
        }
        let value = json!({"sku": "A", "skus": "B", "\u{e9}ku": 1});
        assert_eq!(member(value.as_object().unwrap(), "sku"), Ok(Some(&json!("A"))));
    }
}
