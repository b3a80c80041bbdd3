//! The real service as a child process.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::process::{Process, StartError};
use crate::{client, paths, ports};

/// A running `cartgate serve`.
#[derive(Debug)]
pub struct Service {
    /// The process, to stop, kill or wait for.
    pub process: Process,
    address: SocketAddr,
}

/// How to start the service.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    dir: PathBuf,
    address: SocketAddr,
    settings: String,
    log: Option<&'static str>,
    own_group: bool,
    under: Vec<String>,
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
            own_group: false,
            under: Vec::new(),
        }
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

    fn command(&self) -> Result<Command, StartError> {
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
        command.arg("--data").arg(self.data());
        match self.log {
            Some(directives) => command.env("RUST_LOG", directives),
            None => command.env_remove("RUST_LOG"),
        };
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
        let mut service = Self::spawn(options)?;
        service.until_ready().await?;
        Ok(service)
    }

    /// Starts the service, and does not wait for anything.
    ///
    /// # Errors
    /// It is not built, or cannot be run.
    pub fn spawn(options: &ServiceOptions) -> Result<Self, StartError> {
        let log = options.dir.join("log/cartgate.log");
        let process = Process::spawn("cartgate", options.command()?, &log, None)?;
        Ok(Self { process, address: options.address })
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
