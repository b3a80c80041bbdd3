//! Cookies.

use std::borrow::Cow;

use percent_encoding::percent_decode;
use serde::Deserialize;
use thiserror::Error;

use super::Head;
use crate::document::looks_like;

/// The name of a cookie (RFC 6265, section 4.1.1), compared exactly.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(with = "String", extend("pattern" = "^[!#$%&'*+.0-9A-Z^_`a-z|~-]+$")))]
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

impl CookieName {
    /// The value of the one cookie of this name; `None`: there is none.
    ///
    /// # Errors
    /// There is another, or one that some server takes for it, as with the fields of forms.
    pub(super) fn single<'a>(&self, head: &Head<'a>) -> Result<Option<&'a [u8]>, ()> {
        let looks_like = |pair: &&[u8]| {
            let name = pair.split(|b| *b == b'=').next().unwrap_or_default();
            // Some decode the names of cookies as well.
            let name: Cow<'_, [u8]> = percent_decode(name).into();
            looks_like(&String::from_utf8_lossy(&name), &self.0)
        };
        let pairs = head.all("cookie").flat_map(|line| line.split(|b| *b == b';'));
        match (pairs.filter(looks_like).count(), self.all(head).next()) {
            (0, _) => Ok(None),
            (1, Some(value)) => Ok(Some(value)),
            _ => Err(()),
        }
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
