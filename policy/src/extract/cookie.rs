//! Cookies.

use serde::Deserialize;
use thiserror::Error;

use super::Head;

/// The name of a cookie (RFC 6265, section 4.1.1), compared exactly.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(with = "String"))]
#[serde(try_from = "String")]
pub struct CookieName(String);

impl CookieName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The values of all cookies of this name, the one with the most specific path first (RFC 6265, section
    /// 5.4).
    pub fn all<'n, 'a: 'n>(&'n self, head: &'n Head<'a>) -> impl Iterator<Item = &'a [u8]> + 'n {
        head.all("cookie").flat_map(|line| line.split(|b| *b == b';')).filter_map(|pair| {
            let value = pair.trim_ascii().strip_prefix(self.0.as_bytes())?;
            value.strip_prefix(b"=")
        })
    }
}

impl TryFrom<String> for CookieName {
    type Error = CookieNameError;

    fn try_from(raw: String) -> Result<Self, CookieNameError> {
        let is_token = |b: u8| b.is_ascii_graphic() && !br#"()<>@,;:\"/[]?={}"#.contains(&b);
        if !raw.is_empty() && raw.bytes().all(is_token) {
            Ok(Self(raw))
        } else {
            Err(CookieNameError { raw })
        }
    }
}

/// A text that is no cookie's name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{raw:?} is no cookie's name: use letters, digits, - and _, such as session")]
pub struct CookieNameError {
    raw: String,
}
