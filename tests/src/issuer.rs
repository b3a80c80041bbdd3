//! An issuer of JWTs: it has keys, signs with them, and publishes the public ones over TLS.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::routing::get;
use axum::serve::Listener as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::{Value, json};
use tokio::task::AbortHandle;

use crate::redis::Certificate;
use crate::tls::TlsListener;

/// An issuer that answers at an address of this machine until it is dropped.
#[derive(Debug)]
pub struct Issuer {
    url: String,
    certificate: PathBuf,
    keys: Arc<Mutex<Vec<Value>>>,
    asked: Arc<AtomicU64>,
    answering: AbortHandle,
}

/// A key of an issuer.
pub struct Key {
    id: String,
    private: EncodingKey,
}

impl Issuer {
    /// Starts one without keys. Its certificate goes below `dir`.
    ///
    /// # Panics
    /// It cannot be started.
    pub async fn start(dir: &Path) -> Self {
        let own = Certificate::new();
        let certificate = dir.join("issuer.pem");
        fs::write(&certificate, own.authority_pem()).expect("write the certificate");
        let listener = TlsListener::bind(&own).await;
        let port = listener.local_addr().expect("an address").port();
        let (keys, asked) = (Arc::<Mutex<Vec<Value>>>::default(), Arc::<AtomicU64>::default());
        let (all, count) = (Arc::clone(&keys), Arc::clone(&asked));
        let answer = async move || {
            count.fetch_add(1, Ordering::SeqCst);
            let keys = all.lock().unwrap_or_else(PoisonError::into_inner).clone();
            axum::Json(json!({ "keys": keys }))
        };
        let router = Router::new().route("/keys", get(answer));
        let serve = async move { axum::serve(listener, router).await };
        let answering = tokio::spawn(serve).abort_handle();
        Self { url: format!("https://localhost:{port}"), certificate, keys, asked, answering }
    }

    /// Where its keys are.
    pub fn keys_url(&self) -> String {
        format!("{}/keys", self.url)
    }

    /// Whoever trusts whoever vouches here believes that it is the issuer.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// How often its keys were asked for.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Makes a key and publishes it, in place of all others.
    ///
    /// # Panics
    /// There is none to be had.
    pub fn rotate(&self, id: &str) -> Key {
        let pair = KeyPair::generate().expect("a pair of keys");
        let point = pair.public_key_raw();
        let [x, y] = [&point[1..33], &point[33..]].map(|half| URL_SAFE_NO_PAD.encode(half));
        let jwk = json!({"kty": "EC", "crv": "P-256", "kid": id, "x": x, "y": y, "alg": "ES256"});
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = vec![jwk];
        Key { id: id.to_owned(), private: EncodingKey::from_ec_der(&pair.serialize_der()) }
    }

    /// A JWT for `audience` with this scope, good for a minute.
    ///
    /// # Panics
    /// The key cannot sign.
    pub fn sign(&self, key: &Key, audience: &str, scope: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = json!({"iss": self.url, "aud": audience, "sub": "cart", "exp": now + 60,
                            "scope": scope});
        let header = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::ES256) };
        encode(&header, &claims, &key.private).expect("a signature")
    }

    /// The setting of a service that lets in whom it knows.
    pub fn setting(&self, audience: &str) -> String {
        let (issuer, keys) = (&self.url, self.keys_url());
        format!("[access.jwt]\nissuer = {issuer:?}\naudience = {audience:?}\nkeys = {keys:?}\n")
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.answering.abort();
    }
}
