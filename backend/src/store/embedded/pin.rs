//! Pinning: all that the store has, as it stands after one commit, to be read while others follow.
//!
//! Whenever the projector has brought a window into the tables, and before anybody seals the next, the
//! tables are exactly what there was after the window's last commit. So to pin is to seal what was
//! committed so far, to wait until it is projected, and to take a snapshot of the tables right then.
//! Commits are held up for as long as sealing takes, as with each window that is full; what they
//! write meanwhile is in the other file of the log.
//!
//! A snapshot costs no memory. Tables that are merged meanwhile keep what it sees, on the disk, until
//! it is dropped.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fjall::{Readable as _, Snapshot, UserKey, UserValue};

use super::log::Log;
use super::projection::Shared;
use super::tables::key_and_value;
use super::{Embedded, FORMAT, failed_before};
use crate::store::StoreError;

/// All that a store has, as it stands after one commit.
pub struct Pinned {
    shared: Arc<Shared>,
    at: Pin,
    /// How long commits were held up for it.
    pub held_up: Duration,
}

/// The tables as they were after a commit.
pub(super) struct Pin {
    commit: u64,
    snapshot: Snapshot,
}

impl Pinned {
    /// The number of the commit.
    pub fn commit(&self) -> u64 {
        self.at.commit
    }

    /// The format of the tables.
    pub fn format(&self) -> u16 {
        FORMAT
    }

    /// Each table's name and rows, in the order of their keys.
    pub fn tables(
        &self,
    ) -> impl Iterator<Item = (&str, impl Iterator<Item = Result<(UserKey, UserValue), StoreError>>)>
    {
        let all = self.shared.tables.all().into_iter();
        all.map(|table| (&**table.name(), self.at.snapshot.iter(table).map(key_and_value)))
    }
}

impl Embedded {
    /// Pins what there is after a commit: at least all that was committed before this was called.
    ///
    /// # Errors
    /// The store cannot be written any more.
    pub(super) fn pin_tables(&self) -> Result<Pinned, StoreError> {
        // What the projector has pinned is for one.
        let _one = self.pinning.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held_up = Duration::ZERO;
        let wanted = self.log().last_number();
        loop {
            if let Some(at) = self.try_pin(wanted, &mut held_up)? {
                return Ok(Pinned { shared: Arc::clone(&self.shared), at, held_up });
            }
            // Commits go on meanwhile.
            let mut progress = self.shared.progress();
            while progress.is_projecting && progress.pinned.is_none() && !progress.has_failed {
                progress = self.shared.wait(progress);
            }
        }
    }

    /// Takes what the projector has pinned, or the tables if they have everything, or else gives the
    /// projector what they do not have.
    fn try_pin(&self, wanted: u64, held_up: &mut Duration) -> Result<Option<Pin>, StoreError> {
        let mut log = self.log();
        let began = Instant::now();
        let mut progress = self.shared.progress();
        if progress.has_failed {
            return Err(failed_before());
        }
        if let Some(pin) = progress.pinned.take() {
            return Ok(Some(pin));
        }
        if !progress.is_projecting {
            if self.shared.windows().active.len() == 0 {
                return Ok(Some(self.shared.pin(log.last_number())));
            }
            let sealed = self.seal(&mut log, &mut progress);
            if sealed.is_err() {
                progress.has_failed = true;
            }
            sealed?;
        }
        progress.pin_from = Some(wanted);
        *held_up += began.elapsed();
        Ok(None)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// The tables, which are as they were after this commit.
    pub(super) fn pin(&self, commit: u64) -> Pin {
        Pin { commit, snapshot: self.tables.snapshot() }
    }
}
