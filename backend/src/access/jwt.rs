//! JWTs (RFC 7519) of an issuer: signed with one of its keys, for us, and not expired.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cartgate_ledger::UnixMs;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::config::{JwtConfig, KeysAt};
use super::fetched::Fetched;
use super::watched::Watched;
use super::{AccessError, Client, Denied, Scopes};

/// The kinds of signatures that are taken: none with a secret that we would have to share.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// How many JWTs that were verified are remembered: each takes some 200 bytes, and spares a signature's
/// work. When there is one more, all are forgotten.
const VERIFIED_MAX: usize = 10_000;

/// The most bytes of a JWT.
const LEN_MAX: usize = 8 * 1_024;

/// The JWTs of an issuer.
pub(super) struct Jwts {
    issuer: String,
    audience: String,
    keys: KeySource,
    verified: Mutex<HashMap<[u8; 32], Verified>>,
}

#[derive(Clone)]
struct Verified {
    client: Client,
    expires_at: UnixMs,
    /// The keys that it was verified with.
    keys: u64,
}

/// Where its keys come from.
enum KeySource {
    File(Watched<Keys>),
    Url(Fetched<Keys>),
}

impl KeySource {
    fn now(&self) -> Result<Arc<Keys>, Denied> {
        match self {
            Self::File(watched) => Ok(watched.now()),
            Self::Url(fetched) => fetched.now().ok_or(Denied::NoKeys),
        }
    }
}

/// An issuer's keys.
pub(super) struct Keys {
    set: JwkSet,
    /// No two that were read have the same.
    version: u64,
}

/// Why there are no keys.
#[derive(Debug, Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error("it cannot be read")]
    File(#[from] io::Error),
    /// It is no JWK Set.
    #[error("there is no JWK Set (RFC 7517)")]
    Format(#[from] serde_json::Error),
}

/// What of a JWT matters here.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    /// Seconds.
    exp: u64,
    /// As RFC 8693, section 4.2, has it: names with spaces between them. Others' are of other services.
    #[serde(default)]
    scope: String,
}

impl Keys {
    fn parse(text: &str) -> Result<Self, KeysError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Ok(Self { set: serde_json::from_str(text)?, version: NEXT.fetch_add(1, Ordering::Relaxed) })
    }
}

impl Jwts {
    pub(super) async fn new(config: &JwtConfig) -> Result<Self, AccessError> {
        let JwtConfig { issuer, audience, keys } = config.clone();
        let keys = match keys {
            KeysAt::File(path) => {
                let keys = Watched::read(&path, Keys::parse);
                KeySource::File(keys.map_err(|source| AccessError::Keys { path, source })?)
            }
            KeysAt::Url(url) => KeySource::Url(Fetched::start(url, Keys::parse).await),
        };
        Ok(Self { issuer, audience, keys, verified: Mutex::default() })
    }

    /// Who shows this JWT. If it names a key that there is not, the issuer may have a new one: that is
    /// waited for, if it may be.
    pub(super) async fn client(
        &self,
        token: &str,
        now: UnixMs,
        may_wait: impl FnOnce() -> bool,
    ) -> Result<Client, Denied> {
        let client = self.known_client(token, now);
        let is_missing = matches!(client, Err(Denied::UnknownKey | Denied::NoKeys));
        match &self.keys {
            KeySource::Url(fetched) if is_missing && fetched.may_be_renewed() && may_wait() => {
                fetched.renew().await;
                self.known_client(token, now)
            }
            _ => client,
        }
    }

    fn known_client(&self, token: &str, now: UnixMs) -> Result<Client, Denied> {
        if token.len() > LEN_MAX {
            return Err(Denied::Unknown);
        }
        let keys = self.keys.now()?;
        let hash = Sha256::digest(token.as_bytes()).into();
        let known =
            self.verified.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).cloned();
        let verified = match known.filter(|known| known.keys == keys.version) {
            Some(known) => known,
            None => {
                let verified = self.verify(&keys, token)?;
                self.remember(hash, verified.clone());
                verified
            }
        };
        if verified.expires_at <= now { Err(Denied::Expired) } else { Ok(verified.client) }
    }

    fn remember(&self, hash: [u8; 32], one: Verified) {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= VERIFIED_MAX {
            verified.clear();
        }
        verified.insert(hash, one);
    }

    /// Whether it is good but for its time, which is ours to tell.
    fn verify(&self, keys: &Keys, token: &str) -> Result<Verified, Denied> {
        let header = decode_header(token).map_err(|_| Denied::Unknown)?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(Denied::Unknown);
        }
        let key = match &header.kid {
            Some(kid) => keys.set.find(kid).ok_or(Denied::UnknownKey)?,
            None => match &keys.set.keys[..] {
                [only] => only,
                _ => return Err(Denied::Unknown),
            },
        };
        let key = DecodingKey::from_jwk(key).map_err(|_| Denied::Unknown)?;
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.required_spec_claims = HashSet::from(["exp", "iss", "aud"].map(str::to_owned));
        validation.validate_nbf = true;
        let claims =
            decode::<Claims>(token, &key, &validation).map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature => Denied::Expired,
                _ => Denied::Unknown,
            });
        let Claims { sub, exp, scope } = claims?.claims;
        let scopes: Scopes = scope.split(' ').filter_map(|name| name.parse().ok()).collect();
        let client = Client { name: sub.into(), scopes };
        Ok(Verified { client, expires_at: UnixMs(exp.saturating_mul(1_000)), keys: keys.version })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::super::Scope;
    use super::*;

    const NOW: UnixMs = UnixMs(1_900_000_000_000);

    /// A pair of keys, and the JWK of the public one.
    fn key(id: &str) -> (EncodingKey, Value) {
        let key = rcgen::KeyPair::generate().unwrap();
        let point = key.public_key_raw();
        let [x, y] = [&point[1..33], &point[33..]].map(|half| URL_SAFE_NO_PAD.encode(half));
        let jwk = json!({"kty": "EC", "crv": "P-256", "kid": id, "x": x, "y": y, "alg": "ES256"});
        (EncodingKey::from_ec_der(&key.serialize_der()), jwk)
    }

    fn jwt(key: &EncodingKey, id: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!({"iss": "https://id.shop", "aud": ["cartgate"], "sub": "cart-7",
                                "exp": NOW.0 / 1_000 + 60, "scope": "reserve openid read"});
        change(&mut claims);
        let header = Header { kid: Some(id.to_owned()), ..Header::new(Algorithm::ES256) };
        encode(&header, &claims, key).unwrap()
    }

    #[tokio::test]
    async fn a_jwt_is_of_the_issuer_for_us_and_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let (own, jwk) = key("a");
        let keys = dir.path().join("keys.json");
        fs::write(&keys, json!({"keys": [jwk, key("b").1]}).to_string()).unwrap();
        let config = JwtConfig {
            issuer: "https://id.shop".into(),
            audience: "cartgate".into(),
            keys: KeysAt::File(keys),
        };
        let jwts = Jwts::new(&config).await.unwrap();

        let good = jwt(&own, "a", |_| {});
        let client = jwts.known_client(&good, NOW).unwrap();
        assert_eq!(&*client.name, "cart-7");
        assert_eq!(client.scopes, [Scope::Reserve, Scope::Read].into_iter().collect());
        assert_eq!(jwts.known_client(&good, NOW), Ok(client), "remembered");
        // Also one that is remembered ends.
        assert_eq!(jwts.known_client(&good, NOW.plus_ms(60_000)), Err(Denied::Expired));

        let past = jwt(&own, "a", |claims| claims["exp"] = json!(1_000_000_000));
        assert_eq!(jwts.known_client(&past, NOW), Err(Denied::Expired));
        let wrong: [fn(&mut Value); 4] = [
            |claims| claims["iss"] = json!("https://id.other"),
            |claims| claims["aud"] = json!("other"),
            |claims| _ = claims.as_object_mut().unwrap().remove("exp"),
            |claims| claims["nbf"] = json!(NOW.0 / 1_000 + 1_000_000),
        ];
        for change in wrong {
            let token = jwt(&own, "a", change);
            assert_eq!(jwts.known_client(&token, NOW), Err(Denied::Unknown), "{token}");
        }
        // Another's key, under our key's name; a key that there is not; a secret that all know; none.
        for token in [jwt(&key("a").0, "a", |_| {}), jwt(&own, "b", |_| {})] {
            assert_eq!(jwts.known_client(&token, NOW), Err(Denied::Unknown));
        }
        let absent = jwt(&own, "c", |_| {});
        assert_eq!(jwts.known_client(&absent, NOW), Err(Denied::UnknownKey));
        let [header, body, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!() };
        for alg in ["none", "HS256"] {
            let header = URL_SAFE_NO_PAD.encode(json!({"alg": alg, "kid": "a"}).to_string());
            for signature in [signature, ""] {
                let token = format!("{header}.{body}.{signature}");
                assert_eq!(jwts.known_client(&token, NOW), Err(Denied::Unknown), "{alg}");
            }
        }
        assert_eq!(jwts.known_client(&format!("{header}.{body}."), NOW), Err(Denied::Unknown));
        assert_eq!(jwts.known_client(&"x".repeat(LEN_MAX + 1), NOW), Err(Denied::Unknown));
    }

    #[tokio::test]
    async fn what_is_remembered_has_a_bound_and_ends_with_its_keys() {
        let dir = tempfile::tempdir().unwrap();
        let (own, jwk) = key("a");
        let keys = dir.path().join("keys.json");
        fs::write(&keys, json!({"keys": [jwk]}).to_string()).unwrap();
        let config = JwtConfig {
            issuer: "https://id.shop".into(),
            audience: "cartgate".into(),
            keys: KeysAt::File(keys.clone()),
        };
        let jwts = Jwts::new(&config).await.unwrap();
        let good = jwt(&own, "a", |_| {});
        let client = jwts.known_client(&good, NOW).unwrap();
        let one = Verified { client, expires_at: NOW, keys: 0 };
        for number in 0..=VERIFIED_MAX as u64 {
            let hash = Sha256::digest(number.to_be_bytes()).into();
            jwts.remember(hash, one.clone());
        }
        assert!(jwts.verified.lock().unwrap().len() <= VERIFIED_MAX);
        // An issuer that takes a key out takes back what was signed with it.
        assert!(jwts.known_client(&good, NOW).is_ok());
        fs::write(&keys, json!({"keys": [key("z").1]}).to_string()).unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while jwts.known_client(&good, NOW).is_ok() {
            assert!(std::time::Instant::now() < until, "still good");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}
