//! Who may ask the service for what.
//!
//! Nobody, unless the configuration says who: by tokens of our own, or by JWTs of an issuer. Each client
//! has scopes, and each route names those that open it. In development mode everybody may do everything.

mod config;
mod fetched;
mod jwt;
mod mesh;
mod scope;
pub mod tokens;
mod watched;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cartgate_ledger::UnixMs;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use thiserror::Error;

pub use config::{AccessConfig, JwtConfig, KeysAt, KeysUrlError};
pub use scope::{Scope, Scopes};

use jwt::{Jwts, KeysError};
use mesh::Mesh;
use tokens::{Tokens, TokensError};
use watched::Watched;

/// How many requests without a good token are answered a second, and that at once; what is more is told
/// to come later. That is all of a process: whoever calls by a proxy has its address.
const ATTEMPTS_PER_S: NonZeroU32 = NonZeroU32::new(20).unwrap();
const ATTEMPTS_AT_ONCE: NonZeroU32 = NonZeroU32::new(100).unwrap();

/// Who may ask the service for what.
pub struct Access {
    /// `None`: everybody, everything.
    doors: Option<Doors>,
    attempts: DefaultDirectRateLimiter,
}

struct Doors {
    tokens: Option<Watched<Tokens>>,
    jwts: Option<Jwts>,
    mesh: Option<Mesh>,
}

/// What a request shows of who sends it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown<'a> {
    /// Its `authorization`.
    pub authorization: Option<&'a [u8]>,
    /// Its `x-forwarded-client-cert`, which a sidecar writes.
    pub forwarded: Option<&'a [u8]>,
}

/// A client that has shown who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// What it is called, in logs.
    pub name: Arc<str>,
    /// What it may ask for.
    pub scopes: Scopes,
}

/// Why nobody knows who a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    /// It shows nothing.
    #[error("no token was sent: `authorization: Bearer TOKEN`")]
    Missing,
    /// What it shows is not of the kinds that are known.
    #[error("the token is not one of ours, or of the issuer")]
    Unknown,
    /// It names a key that the issuer does not have.
    #[error("the token is signed with a key that the issuer does not have")]
    UnknownKey,
    /// The issuer's keys are not there, or too old.
    #[error("the issuer's keys cannot be fetched now")]
    NoKeys,
    /// It was good once.
    #[error("the token has expired")]
    Expired,
}

/// Why the service does not start.
#[derive(Debug, Error)]
pub enum AccessError {
    /// Nobody could ask for anything.
    #[error(
        "access: nobody could ask for anything: name a file of tokens (access.tokens; `cartgate token \
         create` makes one), an issuer of JWTs (access.jwt), workloads of your mesh (access.mesh), or, on a \
         machine of your own, start with --development"
    )]
    Closed,
    /// Both doors and none.
    #[error("access: development mode checks nothing: take out tokens, jwt and mesh, or it")]
    Both,
    /// The file of tokens.
    #[error("access.tokens: {}", path.display())]
    Tokens {
        /// The file, from where the service was started.
        path: PathBuf,
        /// Why.
        source: TokensError,
    },
    /// The keys of the issuer.
    #[error("access.jwt.keys: {}", path.display())]
    Keys {
        /// The file, from where the service was started.
        path: PathBuf,
        /// Why.
        source: KeysError,
    },
}

impl Access {
    /// What the configuration says. Files that it names are read, and read again when they change, on
    /// the runtime that this is called on.
    ///
    /// # Errors
    /// It says nothing, or a file cannot be read.
    pub async fn new(config: &AccessConfig) -> Result<Self, AccessError> {
        let AccessConfig { development, tokens, jwt, mesh } = config;
        let are_any = tokens.is_some() || jwt.is_some() || !mesh.is_empty();
        let doors = match (development, are_any) {
            (true, true) => return Err(AccessError::Both),
            (false, false) => return Err(AccessError::Closed),
            (true, false) => None,
            (false, true) => {
                let jwts = match jwt {
                    Some(config) => Some(Jwts::new(config).await?),
                    None => None,
                };
                Some(Doors {
                    tokens: tokens.as_deref().map(read_tokens).transpose()?,
                    jwts,
                    mesh: Mesh::new(mesh),
                })
            }
        };
        let quota = Quota::per_second(ATTEMPTS_PER_S).allow_burst(ATTEMPTS_AT_ONCE);
        Ok(Self { doors, attempts: RateLimiter::direct(quota) })
    }

    /// Everybody may do everything.
    pub fn development() -> Self {
        Self { doors: None, attempts: RateLimiter::direct(Quota::per_second(ATTEMPTS_PER_S)) }
    }

    /// Whether everybody may do everything.
    pub fn is_development(&self) -> bool {
        self.doors.is_none()
    }

    /// Who shows this at `now`: a token says more than where it comes from. In development mode, somebody
    /// who may do everything.
    ///
    /// # Errors
    /// Nobody that is known.
    pub async fn client(&self, shown: Shown<'_>, now: UnixMs) -> Result<Client, Denied> {
        let Some(doors) = &self.doors else {
            return Ok(Client { name: "development".into(), scopes: Scopes::all() });
        };
        let Some(authorization) = shown.authorization else {
            let workload = doors.mesh.as_ref().zip(shown.forwarded);
            let workload = workload.and_then(|(mesh, forwarded)| mesh.client(forwarded));
            return workload.ok_or(Denied::Missing);
        };
        let token = bearer(authorization).ok_or(Denied::Missing)?;
        match (&doors.tokens, &doors.jwts) {
            (Some(tokens), _) if tokens::looks_like_one(token) => tokens.now().client(token, now),
            // So many may wait for an issuer's keys as may try without a good token.
            (_, Some(jwts)) => jwts.client(token, now, || self.may_try()).await,
            _ => Err(Denied::Unknown),
        }
    }

    /// Whether one more request without a good token is to be told so; if not, it is told to come later.
    pub fn may_try(&self) -> bool {
        self.attempts.check().is_ok()
    }
}

fn read_tokens(path: &Path) -> Result<Watched<Tokens>, AccessError> {
    let tokens = Watched::read(path, Tokens::parse);
    let tokens = tokens.map_err(|source| AccessError::Tokens { path: path.to_owned(), source })?;
    if tokens.now().is_empty() {
        tracing::warn!(file = %path.display(), "there is no token in it: `cartgate token create`");
    }
    Ok(tokens)
}

/// The token of an `authorization` header (RFC 6750, section 2.1).
fn bearer(authorization: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(authorization).ok()?.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_as_bearer() {
        assert_eq!(bearer(b"Bearer cg_x"), Some("cg_x"));
        assert_eq!(bearer(b"bEARER  cg_x "), Some("cg_x"));
        for wrong in [&b"Bearer"[..], b"Bearer ", b"Basic cg_x", b"cg_x", b"Bearer \xff"] {
            assert_eq!(bearer(wrong), None, "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn nobody_gets_in_unless_it_is_said_who() {
        let closed = Access::new(&AccessConfig::default()).await;
        assert!(matches!(closed, Err(AccessError::Closed)));
        let both =
            AccessConfig { development: true, tokens: Some("t.toml".into()), ..<_>::default() };
        assert!(matches!(Access::new(&both).await, Err(AccessError::Both)));
        let development = AccessConfig { development: true, ..AccessConfig::default() };
        let access = Access::new(&development).await.unwrap();
        assert!(access.is_development());
        assert_eq!(access.client(Shown::default(), UnixMs(0)).await.unwrap().scopes, Scopes::all());
    }

    #[tokio::test]
    async fn attempts_are_counted() {
        let access = Access::development();
        assert!((0..10_000).any(|_| !access.may_try()));
    }
}
