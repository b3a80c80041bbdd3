//! How a server is started.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::Certificate;
use crate::process::StartError;
use crate::{paths, ports};

/// How to start a server: with the configuration that we ship, and what is set here after it.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    dir: PathBuf,
    address: SocketAddr,
    settings: String,
    user: Option<User>,
    certificate: Option<Certificate>,
    own_group: bool,
}

#[derive(Clone, Debug)]
struct User {
    name: String,
    password: String,
    rules: String,
}

impl RedisOptions {
    /// Everything the server writes goes below `dir`: its data, `redis.conf` and `redis.log`. It
    /// gets a free port on loopback.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_path_buf(),
            address: ports::free_address(),
            settings: String::new(),
            user: None,
            certificate: None,
            own_group: false,
        }
    }

    /// More settings, as `redis.conf` has them: a line each, after all others.
    pub fn settings(mut self, lines: &str) -> Self {
        self.settings.push_str(lines);
        self.settings.push('\n');
        self
    }

    /// Lets nobody in but this user, with what the rules say: `~* &* +@all`.
    pub fn user(mut self, name: &str, password: &str, rules: &str) -> Self {
        let [name, password, rules] = [name, password, rules].map(str::to_owned);
        self.user = Some(User { name, password, rules });
        self
    }

    /// Speaks TLS alone, with a certificate that is made now.
    pub fn tls(mut self) -> Self {
        self.certificate = Some(Certificate::new());
        self
    }

    /// Copies what the primary at `address` has.
    pub fn replica_of(self, address: SocketAddr) -> Self {
        self.settings(&format!("replicaof {} {}", address.ip(), address.port()))
    }

    /// Is a node of a cluster, whose other nodes call at a port of its own.
    pub(super) fn cluster_node(self) -> Self {
        let bus = ports::free_address().port();
        self.settings(&format!("cluster-enabled yes\ncluster-port {bus}"))
    }

    /// Keeps the terminal's Ctrl-C from the server, for a parent that stops it in order.
    pub fn own_group(mut self) -> Self {
        self.own_group = true;
        self
    }

    /// Where its data are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate that it shows, if it speaks TLS.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("redis.log")
    }

    pub(super) fn url_at(&self, address: SocketAddr) -> String {
        let scheme = if self.certificate.is_some() { "rediss" } else { "redis" };
        let user = self.user.as_ref();
        let user = user.map_or(String::new(), |user| format!("{}:{}@", user.name, user.password));
        format!("{scheme}://{user}{address}")
    }

    pub(super) fn command(&self) -> Result<Command, StartError> {
        let config = self.dir.join("redis.conf");
        let written = fs::create_dir_all(&self.dir)
            .and_then(|()| match &self.certificate {
                Some(certificate) => certificate.write(&self.dir),
                None => Ok(()),
            })
            .and_then(|()| fs::write(&config, self.text()));
        written.map_err(|e| StartError::Config { path: config.clone(), reason: e.to_string() })?;
        let mut command = Command::new(paths::redis_server()?);
        // It names its files relative to where it runs.
        command.arg("redis.conf").current_dir(&self.dir);
        if self.own_group {
            command.process_group(0);
        }
        Ok(command)
    }

    fn text(&self) -> String {
        let mut text = format!("include \"{}\"\n", paths::redis_config().display());
        let (ip, port) = (self.address.ip(), self.address.port());
        let _ = writeln!(text, "bind {ip}\nprotected-mode no");
        let _ = match &self.certificate {
            Some(certificate) => {
                writeln!(text, "port 0\ntls-port {port}\n{}", certificate.settings())
            }
            None => writeln!(text, "port {port}"),
        };
        if let Some(User { name, password, rules }) = &self.user {
            let _ = writeln!(text, "user default off\nuser {name} on >{password} {rules}");
        }
        // Replicas of the suites have nothing to wait for: they are there in a moment.
        let _ = writeln!(text, "repl-diskless-sync-delay 0\n{}", self.settings);
        text
    }
}
