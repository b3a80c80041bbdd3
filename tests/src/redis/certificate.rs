//! A certificate for a server on loopback, made when it is needed: nothing secret is in the tree.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Who a server says it is, and who vouches for that.
#[derive(Clone, Debug)]
pub struct Certificate {
    authority: String,
    server: String,
    key: String,
}

/// An authority that nobody knows yet: its certificate, and what it signs with.
pub(crate) fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new(Vec::new()).expect("an authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let pem = params.self_signed(&key).expect("a signature").pem();
    (pem, Issuer::new(params, key))
}

impl Certificate {
    /// One for 127.0.0.1 and `localhost`, by an authority that nobody else knows.
    ///
    /// # Panics
    /// It cannot be made.
    #[expect(clippy::new_without_default, reason = "no two are the same")]
    pub fn new() -> Self {
        let (authority_pem, issuer) = authority();
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let key = KeyPair::generate().expect("a key");
        let server = CertificateParams::new(names).expect("names");
        let server = server.signed_by(&key, &issuer).expect("a signature");
        Self { authority: authority_pem, server: server.pem(), key: key.serialize_pem() }
    }

    /// Who vouches for the server, for clients to trust.
    pub fn authority_pem(&self) -> &[u8] {
        self.authority.as_bytes()
    }

    /// What a server in the test itself speaks TLS with.
    ///
    /// # Panics
    /// It cannot be used.
    pub fn server(&self) -> ServerConfig {
        let certificate = CertificateDer::from_pem_slice(self.server.as_bytes()).expect("one");
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().expect("versions");
        config.with_no_client_auth().with_single_cert(vec![certificate], key).expect("a pair")
    }

    /// Where that is, in the directory of a server: `$SSL_CERT_FILE` makes programs trust it.
    pub fn authority_file(dir: &Path) -> PathBuf {
        dir.join("authority.pem")
    }

    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        fs::write(Self::authority_file(dir), &self.authority)?;
        fs::write(dir.join("server.pem"), &self.server)?;
        fs::write(dir.join("server.key"), &self.key)
    }

    /// What `redis.conf` says of these files.
    pub(super) fn settings(&self) -> &'static str {
        "tls-cert-file server.pem\ntls-key-file server.key\ntls-ca-cert-file authority.pem\n\
         tls-auth-clients no\ntls-replication yes\ntls-cluster yes"
    }
}
