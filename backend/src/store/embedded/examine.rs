//! Reading all of a store that nobody uses, to see whether it is what it should be.
//!
//! Nothing is projected, and no more is written than the database does by itself when it is opened.

use std::error::Error;
use std::io;
use std::path::Path;

use cartgate_ledger::{Counters, verify_next};
use cartgate_policy::Sku;

use super::projection::Shared;
use super::tables::Tables;
use super::{FORMAT, check_meta, load, log, read_log, shared};
use crate::cause::causes;
use crate::store::journal::{broken, verify_end};
use crate::store::{Durability, StockRow, StoreError};

/// How many entries of a journal are looked at together.
const PAGE: usize = 4_096;

/// What every store has in its directory.
pub(crate) const PARTS: [&str; 2] = ["log", "keyspaces"];

/// What is in a store.
#[derive(Debug)]
pub(crate) struct Contents {
    /// How its tables are laid out.
    pub(crate) format: u16,
    /// How many buckets it was made with.
    pub(crate) buckets: u16,
    /// The number of the last commit.
    pub(crate) commit: u64,
    /// How many commits are in the log and not in the tables yet.
    pub(crate) unprojected: u64,
    /// Whether a commit was being written when it was used last.
    pub(crate) is_torn: bool,
    /// How many SKUs there are.
    pub(crate) skus: u64,
    /// How many entries their journals have.
    pub(crate) entries: u64,
    /// How many journals are wrong, and the first of them.
    pub(crate) wrong_journals: Option<(u64, StoreError)>,
    /// How many holds and tickets there are.
    pub(crate) holds: u64,
    /// How many commands wait.
    pub(crate) tickets: u64,
    /// Holds that are not what a counter says.
    pub(crate) wrong_holds: Option<StoreError>,
}

/// Reads the store in `directory`.
///
/// # Errors
/// It cannot be read.
pub(crate) fn examine(directory: &Path) -> Result<Contents, StoreError> {
    // Whatever is missing is made when it is opened.
    for part in PARTS {
        let is_there = directory.join(part).try_exists();
        if !is_there.map_err(log::failed_to("be read"))? {
            return Err(StoreError::NoStore);
        }
    }
    let tables = Tables::open(directory)?;
    let meta = check_meta(&tables)?.ok_or(StoreError::NoStore)?;
    let (log, runs) = read_log(directory, &tables, false, Durability::Process)?;
    let is_torn = runs.iter().any(|run| run.is_torn);
    let unprojected = runs.iter().map(|run| run.count()).sum();
    let shared = shared(tables, runs)?;
    let windows = shared.windows();
    let rows: Vec<(Sku, StockRow)> =
        windows.rows.iter().map(|(sku, row)| (sku.clone(), *row)).collect();
    let loaded = load::read(&shared.tables, &windows)?;
    drop(windows);
    let (mut entries, mut wrong_journals) = (0, None);
    for (sku, row) in &rows {
        match verify_journal(&shared, sku, row) {
            Ok(version) => entries += version,
            Err(error) if Obstacle::of(&error) == Obstacle::Damage => {
                wrong_journals.get_or_insert((0, error)).0 += 1;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Contents {
        format: FORMAT,
        buckets: meta.buckets,
        commit: log.last_number(),
        unprojected,
        is_torn,
        skus: rows.len() as u64,
        entries,
        wrong_journals,
        holds: loaded.holds.len() as u64,
        tickets: loaded.ticketed.len() as u64,
        wrong_holds: loaded.verify_holds().err(),
    })
}

/// What an error says of a store that could not be examined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Another process has it open.
    InUse,
    /// The system, or the disk, does not give what is in it. That may be as it should be.
    Unreadable,
    /// Another version has made it.
    Version,
    /// It is no store, or a part of it is elsewhere.
    Missing,
    /// It is not what was written: this, and nothing else, is a reason to give it up.
    Damage,
    /// Nothing.
    Other,
}

impl Obstacle {
    /// Judges an error.
    pub(crate) fn of(error: &StoreError) -> Self {
        match error {
            StoreError::NoStore => Self::Missing,
            StoreError::Format { .. } => Self::Version,
            StoreError::CommitLost { .. }
            | StoreError::Journal { .. }
            | StoreError::Holds { .. }
            | StoreError::Encoding { .. } => Self::Damage,
            StoreError::Database { source, .. } => Self::of_database(&**source),
            _ => Self::Other,
        }
    }

    fn of_database(error: &(dyn Error + 'static)) -> Self {
        if let Some(failed) = causes(error).find_map(|error| error.downcast_ref::<io::Error>()) {
            return match failed.kind() {
                // A file is shorter than what is to be in it, or has something else.
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => Self::Damage,
                _ => Self::Unreadable,
            };
        }
        match error.downcast_ref() {
            Some(fjall::Error::Locked) => Self::InUse,
            Some(
                fjall::Error::InvalidVersion(_)
                | fjall::Error::Storage(fjall::LsmError::InvalidVersion(_)),
            ) => Self::Version,
            Some(
                fjall::Error::Storage(_)
                | fjall::Error::JournalRecovery(_)
                | fjall::Error::Decompress(_)
                | fjall::Error::InvalidTrailer
                | fjall::Error::InvalidTag(_)
                | fjall::Error::Unrecoverable,
            ) => Self::Damage,
            _ => Self::Other,
        }
    }
}

/// Checks that a SKU's journal has no gap, that each entry goes on where the one before ended, and that
/// its stock stands where the last one ended. Says how many there are.
fn verify_journal(shared: &Shared, sku: &Sku, row: &StockRow) -> Result<u64, StoreError> {
    let (mut version, mut counters) = (0, Counters::default());
    loop {
        let page = shared.journal(sku, version, PAGE)?;
        if page.is_empty() {
            break;
        }
        for entry in page {
            verify_next(version, counters, &entry).map_err(|source| broken(sku, source))?;
            (version, counters) = (entry.version, entry.after);
        }
    }
    verify_end(sku, version, counters, row).map(|()| version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: impl Error + Send + Sync + 'static, expected: Obstacle) {
        let error = StoreError::Database { action: "be read", source: Box::new(source) };
        assert_eq!(Obstacle::of(&error), expected, "{error:?}");
    }

    #[test]
    fn only_what_was_changed_is_damage() {
        use fjall::{Error, LsmError};
        use io::ErrorKind::{PermissionDenied, StorageFull, UnexpectedEof};

        let lsm = |kind: io::ErrorKind| Error::Storage(LsmError::Io(kind.into()));
        for kind in [PermissionDenied, StorageFull] {
            check(io::Error::from(kind), Obstacle::Unreadable);
            check(Error::Io(kind.into()), Obstacle::Unreadable);
            check(lsm(kind), Obstacle::Unreadable);
        }
        check(lsm(UnexpectedEof), Obstacle::Damage);
        check(Error::Storage(LsmError::InvalidTrailer), Obstacle::Damage);
        check(Error::Unrecoverable, Obstacle::Damage);
        check(Error::Storage(LsmError::InvalidVersion(4)), Obstacle::Version);
        check(Error::InvalidVersion(None), Obstacle::Version);
        check(Error::Locked, Obstacle::InUse);
        check(Error::Poisoned, Obstacle::Other);
        let format = StoreError::Format { stored: FORMAT + 1, supported: FORMAT };
        assert_eq!(Obstacle::of(&format), Obstacle::Version);
        assert_eq!(Obstacle::of(&StoreError::CommitLost { number: 1 }), Obstacle::Damage);
    }
}
