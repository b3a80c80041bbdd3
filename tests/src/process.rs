//! Child processes: started with a log, stopped for certain, blamed with the end of their log.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use thiserror::Error;
use tokio::process::{Child, Command};
use tokio::time;

/// How long a process may take to become ready: a wasm module is compiled on start, on a machine
/// that is busy with other tests.
pub const START_WITHIN: Duration = Duration::from_secs(60);

/// How long a process may take to stop once told to.
pub const STOP_WITHIN: Duration = Duration::from_secs(10);

/// How often a condition is looked at.
const POLL_EVERY: Duration = Duration::from_millis(10);

/// How many lines of a log tell what went wrong.
const TAIL_LINES: usize = 40;

/// A child process. Dropping it kills it; dropping it in a panic shows the end of its log.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`. What it writes to stderr is appended to `log`, and so is what it writes
    /// to stdout, unless `command` sends that elsewhere.
    ///
    /// # Errors
    /// The log cannot be written, or the program not run.
    pub fn spawn(
        name: &'static str,
        mut command: Command,
        log: &Path,
        output: Option<&Path>,
    ) -> Result<Self, StartError> {
        let spawn = |source| StartError::Spawn { name, source };
        let child = append_to(log)
            .and_then(|stderr| {
                let stdout = append_to(output.unwrap_or(log))?;
                command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).kill_on_drop(true);
                command.spawn()
            })
            .map_err(spawn)?;
        Ok(Self { name, child, log: log.to_path_buf() })
    }

    /// What the process is called in messages.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The operating system's number for it, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Where its log is.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    /// Waits until `probe` finds something.
    ///
    /// # Errors
    /// The process exits first, or [`START_WITHIN`] passes.
    pub async fn until_ready<T, F>(&mut self, mut probe: impl FnMut() -> F) -> Result<T, StartError>
    where
        F: Future<Output = Option<T>>,
    {
        let deadline = Instant::now() + START_WITHIN;
        loop {
            if let Some(found) = probe().await {
                return Ok(found);
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                let log = self.log_tail();
                return Err(StartError::Exited { name: self.name, status, log });
            }
            if Instant::now() > deadline {
                return Err(StartError::NotReady { name: self.name, log: self.log_tail() });
            }
            time::sleep(POLL_EVERY).await;
        }
    }

    /// Waits until the process ends by itself.
    ///
    /// # Errors
    /// The operating system cannot tell.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks the process to stop (`SIGTERM`), and kills it when it has not within [`STOP_WITHIN`].
    ///
    /// # Errors
    /// The operating system cannot tell how it ended.
    pub async fn stop(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::TERM);
        match time::timeout(STOP_WITHIN, self.child.wait()).await {
            Ok(status) => status,
            Err(_) => self.kill().await,
        }
    }

    /// Kills the process on the spot (`SIGKILL`): it gets no chance to finish anything.
    ///
    /// # Errors
    /// The operating system cannot tell how it ended.
    pub async fn kill(&mut self) -> io::Result<ExitStatus> {
        self.signal(Signal::KILL);
        self.child.wait().await
    }

    /// Stops the process where it stands (`SIGSTOP`), as a machine that hangs does: its connections
    /// stay, and nothing answers, until [`Process::resume`].
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a paused process go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// A process that has ended gets no signal: its id may be another's by now.
    fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = id {
            // An error means that it has ended in between, which is what was wanted.
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- {}: the end of its log ---\n{}", self.name, self.log_tail());
        }
    }
}

/// Why a process did not start. `Debug` is `Display`, so that `unwrap` shows the log as it is.
#[derive(Error)]
pub enum StartError {
    /// A part is missing.
    #[error("no {what} at {}: run `make test` (or `make run`), which builds it", path.display())]
    NotBuilt {
        /// The part.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A configuration cannot be read or written.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The program cannot be run.
    #[error("cannot start {name}: {source}")]
    Spawn {
        /// The process.
        name: &'static str,
        /// What the operating system says.
        source: io::Error,
    },
    /// The process ended before it was ready.
    #[error("{name} ended before it was ready ({status}); the end of its log:\n{log}")]
    Exited {
        /// The process.
        name: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// The process runs, but does not get ready.
    #[error("{name} is not ready after {} s; the end of its log:\n{log}", START_WITHIN.as_secs())]
    NotReady {
        /// The process.
        name: &'static str,
        /// The end of its log.
        log: String,
    },
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Looks again and again, until `probe` finds something or `within` has passed.
pub async fn poll_until<T, F>(within: Duration, mut probe: impl FnMut() -> F) -> Option<T>
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + within;
    loop {
        let found = probe().await;
        if found.is_some() || Instant::now() > deadline {
            return found;
        }
        time::sleep(POLL_EVERY).await;
    }
}

/// Like [`poll_until`], for what must come: panics with `what` when it does not.
pub async fn eventually<T, F>(what: &str, probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let within = Duration::from_secs(30);
    let found = poll_until(within, probe).await;
    found.unwrap_or_else(|| panic!("not within {} s: {what}", within.as_secs()))
}

fn append_to(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}
