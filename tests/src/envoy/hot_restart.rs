//! What the Envoys of a hot restart share: a number for their shared memory and sockets.

use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

/// The Envoys that follow each other, and which of them one is.
#[derive(Debug)]
pub(super) struct Generation {
    /// The file that the first of them writes their number to.
    base_id: PathBuf,
    pub(super) epoch: u32,
}

impl Generation {
    pub(super) fn first(dir: &Path) -> Self {
        Self { base_id: dir.join("base-id"), epoch: 0 }
    }

    pub(super) fn next(&self) -> Self {
        Self { base_id: self.base_id.clone(), epoch: self.epoch + 1 }
    }

    /// The first Envoy picks a number that no other Envoy of this machine has.
    pub(super) fn give(&self, command: &mut Command) {
        if self.epoch == 0 {
            command.arg("--use-dynamic-base-id").arg("--base-id-path").arg(&self.base_id);
        } else {
            command.arg("--base-id").arg(self.number());
            command.arg("--restart-epoch").arg(self.epoch.to_string());
        }
        // The one before goes on with its connections until a test stops it.
        command.args(["--drain-time-s", "86400", "--parent-shutdown-time-s", "90000"]);
    }

    fn number(&self) -> String {
        fs::read_to_string(&self.base_id).unwrap_or_default().trim().to_owned()
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        // Envoy leaves it behind. Whoever has it open keeps it.
        let _ = fs::remove_file(format!("/dev/shm/envoy_shared_memory_{}0", self.number()));
    }
}
