//! JSON Pointers, with a `*` for every item of an array.

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::document::member;

/// A JSON Pointer (RFC 6901): `/sku`, `/lines/0/sku`, with `~0` for `~` and `~1` for `/`. One of its parts
/// may be `*`, which stands for every item of an array: `/lines/*/sku`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(with = "String", extend("pattern" = "^(/([^~]|~[01])*)?$", "not" = serde_json::json!({"pattern": "/\\*(/.*)?/\\*(/|$)"}))))]
#[serde(try_from = "String")]
pub struct Pointer {
    raw: String,
    /// The parts before the `*`, or all of them.
    parts: Vec<String>,
    /// The parts behind the `*`.
    of_each: Option<Vec<String>>,
}

/// What a pointer points at.
#[derive(Debug, PartialEq)]
pub(super) enum Pointed<'v> {
    /// A value, or nothing.
    One(Option<&'v Value>),
    /// One for each item of an array, or nothing.
    Each(Vec<Option<&'v Value>>),
}

/// Why it is not known what a pointer points at.
#[derive(Debug, PartialEq)]
pub(super) enum NotPointed {
    /// Two members of an object have names that some servers take for the same.
    Ambiguous,
    /// There is something else where an array should be.
    NoArray,
}

impl Pointer {
    /// A pointer to the member `name` of the whole.
    pub(super) fn to_member(name: &str) -> Self {
        Self { raw: format!("/{name}"), parts: vec![name.to_owned()], of_each: None }
    }

    /// As it was written.
    pub(super) fn as_str(&self) -> &str {
        &self.raw
    }

    /// The array whose items it points into.
    pub(crate) fn array(&self) -> Option<&[String]> {
        self.of_each.as_ref().map(|_| self.parts.as_slice())
    }

    pub(super) fn find<'v>(&self, value: &'v Value) -> Result<Pointed<'v>, NotPointed> {
        let found = walk(value, &self.parts)?;
        let Some(of_each) = &self.of_each else { return Ok(Pointed::One(found)) };
        match found {
            None | Some(Value::Null) => Ok(Pointed::Each(Vec::new())),
            Some(Value::Array(items)) => {
                let each = items.iter().map(|item| walk(item, of_each));
                each.collect::<Result<_, _>>().map(Pointed::Each)
            }
            Some(_) => Err(NotPointed::NoArray),
        }
    }
}

fn walk<'v>(value: &'v Value, parts: &[String]) -> Result<Option<&'v Value>, NotPointed> {
    let mut found = Some(value);
    for part in parts {
        found = match found {
            Some(Value::Object(object)) => {
                member(object, part).map_err(|()| NotPointed::Ambiguous)?
            }
            Some(Value::Array(items)) => index(part).and_then(|n| items.get(n)),
            _ => return Ok(None),
        };
    }
    Ok(found)
}

/// An array's index, without zeros in front (RFC 6901, section 4).
fn index(part: &str) -> Option<usize> {
    let is_index =
        part == "0" || (part.bytes().all(|b| b.is_ascii_digit()) && !part.starts_with('0'));
    if is_index { part.parse().ok() } else { None }
}

impl TryFrom<String> for Pointer {
    type Error = PointerError;

    fn try_from(raw: String) -> Result<Self, PointerError> {
        let Some(rest) = raw.strip_prefix('/') else {
            return match raw.as_str() {
                "" => Ok(Self { raw, parts: Vec::new(), of_each: None }),
                _ => Err(PointerError::NoSlash { raw }),
            };
        };
        if raw.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
            return Err(PointerError::Escape { raw });
        }
        let parts: Vec<_> = rest.split('/').collect();
        let unescape = |parts: &[&str]| -> Vec<String> {
            parts.iter().map(|part| part.replace("~1", "/").replace("~0", "~")).collect()
        };
        let mut each = parts.split(|part| *part == "*");
        let (before, behind) = (each.next().unwrap_or_default(), each.next());
        if each.next().is_some() {
            return Err(PointerError::Stars { raw });
        }
        let (parts, of_each) = (unescape(before), behind.map(unescape));
        Ok(Self { raw, parts, of_each })
    }
}

/// Why a text is no JSON Pointer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PointerError {
    /// It does not start with a slash.
    #[error("{raw:?} is no JSON Pointer: it starts with /, such as /sku")]
    NoSlash {
        /// The text.
        raw: String,
    },
    /// A `~` that is neither `~0` nor `~1`.
    #[error("{raw:?} is no JSON Pointer: write ~ as ~0")]
    Escape {
        /// The text.
        raw: String,
    },
    /// More than one `*`.
    #[error("{raw:?} has more than one *: a request's lines are the items of one array")]
    Stars {
        /// The text.
        raw: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(pointer: &str, value: Value, expected: Result<Pointed<'_>, NotPointed>) {
        let pointer = Pointer::try_from(pointer.to_owned()).unwrap();
        assert_eq!(pointer.find(&value), expected, "{pointer:?} {value}");
    }

    #[test]
    fn one_value() {
        let one = |value| Ok(Pointed::One(Some(value)));
        let nothing = || Ok(Pointed::One(None));
        let a = json!("A");
        check("", json!("A"), one(&a));
        check("/sku", json!({"sku": "A"}), one(&a));
        check("/a~1b/~0c", json!({"a/b": {"~c": "A"}}), one(&a));
        check("/~01", json!({"~1": "A"}), one(&a));
        check("/1/sku", json!([0, {"sku": "A"}]), one(&a));
        check("/01/sku", json!([0, {"sku": "A"}]), nothing());
        check("/-", json!([1]), nothing());
        check("/", json!({"": "A"}), one(&a));
        check("/sku/x", json!({"sku": "A"}), nothing());
        check("/sku", json!({"Sku": "A"}), Err(NotPointed::Ambiguous));
    }

    #[test]
    fn each_item_of_an_array() {
        let (a, b) = (json!("A"), json!("B"));
        let each = |items: &[Option<&'static Value>]| Ok(Pointed::Each(items.to_vec()));
        let lines = json!({"lines": [{"sku": "A"}, {"x": 1}, {"sku": "B"}]});
        let (a, b): (&'static Value, &'static Value) =
            (Box::leak(Box::new(a)), Box::leak(Box::new(b)));
        check("/lines/*/sku", lines, each(&[Some(a), None, Some(b)]));
        check("/*", json!(["A", "B"]), each(&[Some(a), Some(b)]));
        check("/lines/*/sku", json!({"lines": []}), each(&[]));
        check("/lines/*/sku", json!({"lines": null}), each(&[]));
        check("/lines/*/sku", json!({}), each(&[]));
        check("/lines/*/sku", json!({"lines": {"0": "A"}}), Err(NotPointed::NoArray));
        check("/lines/*/sku", json!({"lines": [{"SKU": "A"}]}), Err(NotPointed::Ambiguous));
    }

    #[test]
    fn what_is_no_pointer() {
        let error = |raw: &str| Pointer::try_from(raw.to_owned()).unwrap_err();
        assert_eq!(error("sku"), PointerError::NoSlash { raw: "sku".to_owned() });
        assert_eq!(error("/~2"), PointerError::Escape { raw: "/~2".to_owned() });
        assert_eq!(error("/*/*"), PointerError::Stars { raw: "/*/*".to_owned() });
    }
}
