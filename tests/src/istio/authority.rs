//! Who is who in the mesh: an authority, and workloads' certificates by SPIFFE id.

use std::fs;
use std::io;
use std::path::Path;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};

use crate::redis::authority;

/// An authority that the proxies of one mesh trust.
pub(super) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    pub(super) fn new() -> Self {
        let (pem, issuer) = authority();
        Self { pem, issuer }
    }

    /// Writes what a proxy's agent takes for the workload's certificate, below the directory it runs in.
    pub(super) fn certify(&self, dir: &Path, namespace: &str, account: &str) -> io::Result<()> {
        let id = format!("spiffe://cluster.local/ns/{namespace}/sa/{account}");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.subject_alt_names = vec![SanType::URI(id.try_into().expect("an id"))];
        // Another name than the authority's: who has the same is taken for its own issuer.
        params.distinguished_name.push(DnType::CommonName, account);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a signature");

        let dir = dir.join("var/run/secrets/workload-spiffe-credentials");
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("cert-chain.pem"), certificate.pem())?;
        fs::write(dir.join("key.pem"), key.serialize_pem())?;
        fs::write(dir.join("root-cert.pem"), &self.pem)
    }
}
