//! Where a store is.
//!
//! `redis://[user[:password]@]host[:port][,host[:port] ...][/database]`, `rediss://` for TLS; with
//! percent-encoding in user and password. Of several servers any that answers will do to begin with:
//! whether they are a cluster they say themselves, and if they are not, the one that is no replica
//! is the store. TLS trusts what the machine trusts, or what is in the file that `SSL_CERT_FILE` in
//! the environment names; a cluster's nodes are taken by the names they announce
//! (`cluster-preferred-endpoint-type hostname`).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use crate::store::StoreError;

/// Where a store is: see `store/redis/address.rs`.
#[derive(Clone)]
pub struct Address {
    /// As it was given, without the password.
    shown: Box<str>,
    pub(crate) seeds: Vec<ConnectionInfo>,
}

impl FromStr for Address {
    type Err = StoreError;

    fn from_str(url: &str) -> Result<Self, StoreError> {
        let parts = split(url).ok_or_else(|| {
            invalid(
                "not of the form redis://[user[:password]@]host[:port][,host[:port]][/database]",
            )
        })?;
        let Parts { scheme, login, hosts, rest } = parts;
        let seed = |host: &str| {
            let one = format!("{scheme}://{login}{host}{rest}");
            // Its error might have the URL in it, and so the password.
            one.into_connection_info().map(quick).map_err(|error| invalid(error.category()))
        };
        let seeds = hosts.split(',').map(seed).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { shown: format!("{scheme}://{hosts}{rest}").into(), seeds })
    }
}

struct Parts<'a> {
    scheme: &'a str,
    /// With its `@`.
    login: &'a str,
    hosts: &'a str,
    /// From the slash or question mark.
    rest: &'a str,
}

fn split(url: &str) -> Option<Parts<'_>> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let hosts_at = authority.rfind('@').map_or(0, |at| at + 1);
    let (login, hosts) = authority.split_at(hosts_at);
    let is_redis = matches!(scheme, "redis" | "rediss" | "valkey" | "valkeys");
    (is_redis && !hosts.is_empty()).then_some(Parts { scheme, login, hosts, rest })
}

/// Whoever only listens hears nothing from a server that is gone, and nothing from one that has
/// nothing to say: after 5 s of silence the system asks it, and 6 s later the connection is over.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(5))
    .with_interval(Duration::from_secs(2))
    .with_retries(3);

fn quick(info: ConnectionInfo) -> ConnectionInfo {
    let settings =
        info.redis_settings().clone().set_lib_name("cartgate", env!("CARGO_PKG_VERSION"));
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(KEEPALIVE);
    info.set_redis_settings(settings).set_tcp_settings(tcp)
}

fn invalid(why: &str) -> StoreError {
    StoreError::Database { action: "be found by its URL", source: why.into() }
}

impl Address {
    /// The node of a cluster that announces itself by that name and port: it is spoken to as the
    /// seed was.
    pub(crate) fn node(seed: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
        // A node that does not know its own name is where it was asked.
        let host = match (host, seed.addr()) {
            ("" | "?", ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. }) => host,
            _ => host,
        };
        let addr = match seed.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
                host: host.into(),
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host.into(), port),
        };
        seed.clone().set_addr(addr)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: &[&str]) {
        let address: Address = url.parse().unwrap();
        let seeds: Vec<_> = address.seeds.iter().map(|seed| seed.addr().to_string()).collect();
        assert_eq!(seeds, expected, "{url}");
    }

    #[test]
    fn an_address_names_one_server_or_several() {
        check("redis://localhost", &["localhost:6379"]);
        check("redis://a:7000,b:7001,[::1]:7002/", &["a:7000", "b:7001", "::1:7002"]);
        check("redis://me:p%40ss@a,b/3", &["a:6379", "b:6379"]);
        check("rediss://a", &["a:6379"]);
    }

    #[test]
    fn whoever_logs_in_does_so_everywhere() {
        let address: Address = "rediss://me:p%40ss@a,b/3".parse().unwrap();
        for seed in &address.seeds {
            let settings = seed.redis_settings();
            assert_eq!((settings.username(), settings.password()), (Some("me"), Some("p@ss")));
            assert_eq!(settings.db(), 3);
            assert!(matches!(seed.addr(), ConnectionAddr::TcpTls { insecure: false, .. }));
        }
    }

    #[test]
    fn an_address_is_shown_without_the_password() {
        for url in ["redis://me:secret@a", "redis://me:secret@a/x", "redis://:secret@"] {
            let shown = match url.parse::<Address>() {
                Ok(address) => format!("{address:?}"),
                Err(error) => format!("{error:?} {error}"),
            };
            assert!(!shown.contains("secret"), "{shown}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for url in ["", "localhost:6379", "http://a", "redis://", "redis://a/x", "redis://a,,b"] {
            assert!(url.parse::<Address>().is_err(), "{url}");
        }
    }
}
