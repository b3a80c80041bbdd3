//! The real service as a child process.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::process::{Process, StartError};
use crate::redis::{Redis, RedisOptions};
use crate::{client, paths, ports};

/// A running `cartgate serve`.
#[derive(Debug)]
pub struct Service {
    /// The process, to stop, kill or wait for.
    pub process: Process,
    address: SocketAddr,
    // After the process: what it writes to is there for as long as it is.
    _store: Store,
}

/// What a service keeps its data in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    /// The store that is part of it.
    #[default]
    Embedded,
    /// Redis, which many services may share.
    Redis,
}

impl StoreKind {
    /// What `$CARTGATE_TEST_STORE` names: suites that hold on every store run on one after the other.
    ///
    /// # Panics
    /// It names none.
    pub fn from_env() -> Self {
        let named = std::env::var("CARTGATE_TEST_STORE").ok().filter(|name| !name.is_empty());
        named.map_or_else(Self::default, |name| {
            Self::from_str(&name, false).expect("CARTGATE_TEST_STORE is embedded or redis")
        })
    }
}

/// Where a service's data are.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are a few of them at most")]
enum Store {
    /// In its directory.
    Embedded,
    /// On what somebody else has started.
    At(String),
    /// On a Redis of its own, which is started with the first service that needs it, and ends with
    /// the last that may come back to it.
    Own { options: RedisOptions, redis: Arc<OnceCell<Redis>> },
}

/// How to start the service.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    dir: PathBuf,
    address: SocketAddr,
    settings: String,
    log: Option<&'static str>,
    log_format: &'static str,
    own_group: bool,
    under: Vec<String>,
    store: Store,
    roles: Option<&'static str>,
    trusted: Option<PathBuf>,
}

impl ServiceOptions {
    /// Everything the service writes goes below `dir`: `data/` and `log/cartgate.log`. It gets a
    /// free port and the default settings.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_path_buf(),
            address: ports::free_address(),
            settings: String::new(),
            log: Some("info,cartgate=debug,fjall=warn,lsm_tree=warn"),
            log_format: "text",
            own_group: false,
            under: Vec::new(),
            store: Store::Embedded,
            roles: None,
            trusted: None,
        }
    }

    /// Keeps its data on what is there already: `redis://..`.
    pub fn store(mut self, url: &str) -> Self {
        self.store = Store::At(url.to_owned());
        self
    }

    /// Keeps its data in a store of this kind that nobody else has. Clones of these options share
    /// it: a service that is started again finds what it had.
    pub fn own_store(mut self, kind: StoreKind) -> Self {
        self.store = match kind {
            StoreKind::Embedded => Store::Embedded,
            StoreKind::Redis => {
                let options = RedisOptions::new(&self.dir.join("redis"));
                Store::Own { options, redis: Arc::default() }
            }
        };
        self
    }

    /// What it does of all that there is to do on a shared store: `api`, `worker`.
    pub fn roles(mut self, roles: &'static str) -> Self {
        self.roles = Some(roles);
        self
    }

    /// It trusts this certificate, and none that the system does.
    pub fn trusting(mut self, certificate: &Path) -> Self {
        self.trusted = Some(certificate.to_path_buf());
        self
    }

    /// Where its data are.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Where to listen.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// Settings, as a TOML file has them.
    pub fn settings(mut self, toml: &str) -> Self {
        toml.clone_into(&mut self.settings);
        self
    }

    /// Logs what the service logs by itself, and not every command.
    pub fn quiet(mut self) -> Self {
        self.log = None;
        self
    }

    /// Logs what these directives say, as `RUST_LOG` has them, in this format: `text`, `json`.
    pub fn log(mut self, directives: &'static str, format: &'static str) -> Self {
        self.log = Some(directives);
        self.log_format = format;
        self
    }

    /// Starts it by another program, which is given the service's command after its own arguments
    /// and becomes that: `strace -D`, say.
    pub fn under(mut self, program: &[&str]) -> Self {
        self.under = program.iter().map(|&argument| argument.to_owned()).collect();
        self
    }

    /// Keeps the terminal's Ctrl-C from the service, for a parent that stops it in order.
    pub fn own_group(mut self) -> Self {
        self.own_group = true;
        self
    }

    /// The URL of its store, which is there then; `None`: it has one in itself.
    async fn store_url(&self) -> Result<Option<String>, StartError> {
        Ok(match &self.store {
            Store::Embedded => None,
            Store::At(url) => Some(url.clone()),
            Store::Own { options, redis } => {
                Some(redis.get_or_try_init(|| Redis::start(options)).await?.url())
            }
        })
    }

    async fn command(&self) -> Result<Command, StartError> {
        let config = self.dir.join("cartgate.toml");
        let written =
            fs::create_dir_all(&self.dir).and_then(|()| fs::write(&config, &self.settings));
        written.map_err(|e| StartError::Config { path: config.clone(), reason: e.to_string() })?;
        let service = paths::service()?;
        let mut command = match self.under.split_first() {
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(service);
                command
            }
            None => Command::new(service),
        };
        command.arg("serve").arg("--config").arg(config);
        command.arg("--listen").arg(self.address.to_string());
        command.arg("--data").arg(self.data()).arg("--log-format").arg(self.log_format);
        if !self.settings.contains("[access") {
            command.arg("--development");
        }
        if let Some(url) = self.store_url().await? {
            command.arg("--store").arg(url);
        }
        if let Some(roles) = self.roles {
            command.arg("--roles").arg(roles);
        }
        match self.log {
            Some(directives) => command.env("RUST_LOG", directives),
            None => command.env_remove("RUST_LOG"),
        };
        if let Some(certificate) = &self.trusted {
            command.env("SSL_CERT_FILE", certificate).env_remove("SSL_CERT_DIR");
        }
        if self.own_group {
            command.process_group(0);
        }
        Ok(command)
    }
}

impl Service {
    /// Starts the service, and waits until it is ready.
    ///
    /// # Errors
    /// It is not built, or does not become ready; the error carries the end of its log.
    pub async fn start(options: &ServiceOptions) -> Result<Self, StartError> {
        let mut service = Self::spawn(options).await?;
        service.until_ready().await?;
        Ok(service)
    }

    /// Starts the service, and waits for nothing but its store.
    ///
    /// # Errors
    /// It is not built, or cannot be run.
    pub async fn spawn(options: &ServiceOptions) -> Result<Self, StartError> {
        let log = options.dir.join("log/cartgate.log");
        let process = Process::spawn("cartgate", options.command().await?, &log, None)?;
        Ok(Self { process, address: options.address, _store: options.store.clone() })
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready; the error carries the end of its log.
    pub async fn until_ready(&mut self) -> Result<(), StartError> {
        let (client, ready) = (client::http(), self.url("/ready"));
        let ready = || async {
            let answer = client.get(&ready).send().await.ok()?;
            answer.status().is_success().then_some(())
        };
        self.process.until_ready(ready).await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://` and where it listens and `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        let log = fs::read(self.process.log()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}
