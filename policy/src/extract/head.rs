//! A request's head, as the proxy hands it over.

use serde::Deserialize;
use thiserror::Error;

use super::ExtractError;

/// Method, path and headers of a request: nothing more than bytes, in the order they came in.
#[derive(Clone, Debug)]
pub struct Head<'a> {
    headers: Vec<(&'a [u8], &'a [u8])>,
    method: &'a [u8],
    path: &'a [u8],
    query: &'a [u8],
}

impl<'a> Head<'a> {
    /// Takes headers with lower-case names, among them `:method` and `:path` (RFC 9113, section
    /// 8.3.1).
    pub fn new(headers: Vec<(&'a [u8], &'a [u8])>) -> Self {
        let mut head = Self { headers, method: b"", path: b"", query: b"" };
        head.method = head.first(":method").unwrap_or_default();
        (head.path, head.query) = split(head.first(":path").unwrap_or_default());
        head
    }

    /// The method, empty if there is none.
    pub fn method(&self) -> &'a [u8] {
        self.method
    }

    /// The path without its query.
    pub fn path(&self) -> &'a [u8] {
        self.path
    }

    /// The query without its `?`, empty if there is none.
    pub fn query(&self) -> &'a [u8] {
        self.query
    }

    /// The first value of the header `name`: for what decides nothing, such as a request's id.
    pub fn first(&self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// The value of the header `name`, `None` if there is none.
    ///
    /// # Errors
    /// The header is there more than once.
    pub fn single(&self, name: &str) -> Result<Option<&'a [u8]>, ExtractError> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (first, None) => Ok(first),
            (_, Some(_)) => Err(ExtractError::Duplicate { place: format!("the header {name}") }),
        }
    }

    /// All values of the header `name`.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(key, _)| *key == name.as_bytes()).map(|(_, value)| *value)
    }
}

/// The path and the query of a request's target.
fn split(target: &[u8]) -> (&[u8], &[u8]) {
    // A fragment is no part of the request (RFC 9112, section 3.2); nobody may hide behind one.
    let target = target.split(|b| *b == b'#').next().unwrap_or_default();
    match target.iter().position(|b| *b == b'?') {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, b""),
    }
}

/// An HTTP method: `POST`. Methods are case-sensitive (RFC 9110, section 9.1).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(with = "String", extend("pattern" = "^[A-Z-]+$")))]
#[serde(try_from = "String")]
pub struct Method(String);

impl Method {
    /// The method as it stands in a request.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl TryFrom<String> for Method {
    type Error = MethodError;

    fn try_from(raw: String) -> Result<Self, MethodError> {
        let is_method = !raw.is_empty() && raw.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
        if is_method { Ok(Self(raw)) } else { Err(MethodError { raw }) }
    }
}

/// Not a method.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{raw:?} is no method: use capital letters, such as POST")]
pub struct MethodError {
    raw: String,
}
