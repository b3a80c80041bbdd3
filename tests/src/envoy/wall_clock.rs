//! A wall clock that a test steps.
//!
//! It is a library of a few lines that is loaded before Envoy's own. libfaketime cannot be: it asks
//! for memory when Envoy's allocator asks it for the time, and both wait for ever.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::paths;
use crate::process::StartError;

/// The wall clock of one process. Its monotonic clock remains the machine's.
#[derive(Clone, Debug)]
pub struct WallClock {
    library: PathBuf,
    /// How far it is ahead: eight bytes, which the process has mapped into its memory.
    file: PathBuf,
}

impl WallClock {
    /// One that is right, made in `dir` by the C compiler.
    ///
    /// # Errors
    /// There is no compiler, or `dir` cannot be written to.
    pub async fn new(dir: &Path) -> Result<Self, StartError> {
        let clock = Self { library: dir.join("wall_clock.so"), file: dir.join("wall_clock") };
        fs::write(&clock.file, 0_i64.to_ne_bytes()).map_err(|e| clock.error(&e))?;
        let source = paths::repo_root().join("tests/src/envoy/wall_clock.c");
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O2", "-o"]);
        let compiled = compile.arg(&clock.library).arg(source).status().await;
        match compiled {
            Ok(status) if status.success() => Ok(clock),
            Ok(status) => Err(clock.error(&io::Error::other(format!("cc: {status}")))),
            Err(e) => Err(clock.error(&e)),
        }
    }

    /// Sets it so many seconds ahead of the machine's, or behind.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set(&self, ahead_s: i64) -> Result<(), StartError> {
        let file = OpenOptions::new().write(true).open(&self.file);
        let set = file.and_then(|file| file.write_all_at(&ahead_s.to_ne_bytes(), 0));
        set.map_err(|e| self.error(&e))
    }

    /// Gives it to a process.
    pub(super) fn give(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("WALL_CLOCK", &self.file);
    }

    fn error(&self, reason: &io::Error) -> StartError {
        StartError::Config { path: self.file.clone(), reason: reason.to_string() }
    }
}
