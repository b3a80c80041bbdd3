//! What an operator can set of access.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

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
    /// A file with the issuer's keys, a JWK Set (RFC 7517): read again when it changes.
    pub keys: PathBuf,
}
