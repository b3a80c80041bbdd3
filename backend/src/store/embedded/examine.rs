//! Reading all of a store that nobody uses, to see whether it is what it should be.
//!
//! Nothing is projected, and no more is written than the database does by itself when it is opened.

use std::path::Path;

use cartgate_ledger::{Counters, verify_next};
use cartgate_policy::Sku;

use super::projection::Shared;
use super::tables::Tables;
use super::{FORMAT, check_meta, load, read_log, shared};
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
    if !PARTS.iter().all(|part| directory.join(part).exists()) {
        return Err(StoreError::NoStore);
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
            Err(error) => wrong_journals.get_or_insert((0, error)).0 += 1,
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

/// Whether another process has the store open.
pub(crate) fn is_in_use(error: &StoreError) -> bool {
    let StoreError::Database { source, .. } = error else { return false };
    matches!(source.downcast_ref(), Some(fjall::Error::Locked))
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
