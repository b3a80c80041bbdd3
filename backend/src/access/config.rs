//! What an operator can set of access.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use axum::http::Uri;
use serde::Deserialize;
use thiserror::Error;

use super::Scope;

/// Who may ask for what. Without any of these the service does not start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessConfig {
    /// Everybody may do everything: for a machine of one's own. Said at the start and in each answer.
    pub development: bool,
    /// A file of tokens, as `cartgate token` writes it: read again when it changes, so that a token is
    /// made, rotated or revoked without a restart.
    pub tokens: Option<PathBuf>,
    /// JWTs (RFC 7519) of an issuer.
    pub jwt: Option<JwtConfig>,
    /// What each workload of a mesh may ask for, by its identity
    /// (`spiffe://cluster.local/ns/shop/sa/legacy-cart`), as the service's own sidecar tells it in
    /// `x-forwarded-client-cert`. Only where nothing reaches the service but by that sidecar: anybody
    /// else could write the header.
    pub mesh: BTreeMap<String, Vec<Scope>>,
}

/// JWTs that are good.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtConfig {
    /// Their `iss`.
    pub issuer: String,
    /// What their `aud` has in it.
    pub audience: String,
    /// Where the issuer's keys are, a JWK Set (RFC 7517): a file, or `https://..`.
    pub keys: KeysAt,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum KeysAt {
    /// In a file, which is read again when it changes.
    File(PathBuf),
    /// Where the issuer publishes them (`jwks_uri` in its metadata, RFC 8414): fetched at the start, again
    /// before they are too old, and when a token names a key that is not there.
    Url(Uri),
}

/// Why keys cannot be fetched from a URL.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeysUrlError {
    /// It is none.
    #[error("access.jwt.keys: {0:?} is no URL: give https://host/path, or the path of a file")]
    Wrong(String),
    /// It has a user or a password in it, which is not sent.
    #[error(
        "access.jwt.keys: the URL names a user: keys are public, give it without user and password"
    )]
    User,
    /// Whoever is between could put keys of his own there.
    #[error(
        "access.jwt.keys: {0:?} is fetched without TLS: give https://.., or, for what only this machine can \
         answer, http://127.0.0.1"
    )]
    Open(String),
}

impl TryFrom<String> for KeysAt {
    type Error = KeysUrlError;

    fn try_from(raw: String) -> Result<Self, KeysUrlError> {
        if !raw.contains("://") {
            return Ok(Self::File(raw.into()));
        }
        let url: Option<Uri> = raw.parse().ok();
        if url.as_ref().and_then(Uri::authority).is_some_and(|at| at.as_str().contains('@')) {
            return Err(KeysUrlError::User);
        }
        let host = |url: &Uri| url.host().map(|host| host.trim_matches(['[', ']']).to_owned());
        let Some((url, host)) = url.and_then(|url| Some((url.clone(), host(&url)?))) else {
            return Err(KeysUrlError::Wrong(raw));
        };
        let is_here = host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        match url.scheme_str() {
            Some("https") => Ok(Self::Url(url)),
            Some("http") if is_here => Ok(Self::Url(url)),
            Some("http") => Err(KeysUrlError::Open(raw)),
            _ => Err(KeysUrlError::Wrong(raw)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_a_file_or_fetched_by_tls() {
        let check = |raw: &str, expected: Result<KeysAt, KeysUrlError>| {
            assert_eq!(KeysAt::try_from(raw.to_owned()), expected);
        };
        let url = |raw: &'static str| Ok(KeysAt::Url(Uri::from_static(raw)));
        check("/etc/keys.json", Ok(KeysAt::File("/etc/keys.json".into())));
        check("https://id.shop/keys", url("https://id.shop/keys"));
        check("http://127.0.0.1:8/keys", url("http://127.0.0.1:8/keys"));
        check("http://[::1]/keys", url("http://[::1]/keys"));
        check("http://id.shop/keys", Err(KeysUrlError::Open("http://id.shop/keys".into())));
        check("https://ann:secret@id.shop/keys", Err(KeysUrlError::User));
        for wrong in ["ftp://id.shop/keys", "https://", "https://a b/"] {
            check(wrong, Err(KeysUrlError::Wrong(wrong.into())));
        }
    }
}
