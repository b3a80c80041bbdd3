//! The tables: keyspaces of fjall, of which this is the only user.
//!
//! They are written in sorted runs (fjall calls that ingestion): each becomes a file of its own,
//! synced before it counts, past fjall's journal and memory tables. That is a third of the work of
//! inserting, and leaves fjall nothing to repair after a crash: it does not open a database whose
//! journal ends in a batch that reached the disk in part.

use std::path::Path;
use std::sync::Arc;

use fjall::compaction::Leveled;
use fjall::config::CompressionPolicy;
use fjall::{
    CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Snapshot, UserKey,
    UserValue,
};
use serde::de::DeserializeOwned;

use crate::store::StoreError;
use crate::store::encoding::decode;

/// The most files of the database's that are kept open. `serve` sets files aside for these, and for
/// as many again: tables that are being made of others.
const CACHED_FILES_MAX: usize = 128;

/// So many runs of a table are merged into the next level at once. The more, the less often the
/// rows below are written again, and the more files a lookup asks.
pub(super) const RUNS_MERGED: u8 = 8;

/// While a table has so many files that are not merged yet, nothing is projected into it: reading
/// would become slow, and disk space would not be given back.
const UNMERGED_MAX: usize = 48;

/// All tables. What they contain is in the documentation of `mod.rs`.
pub(super) struct Tables {
    pub(super) meta: Keyspace,
    pub(super) stock: Keyspace,
    pub(super) journal: Keyspace,
    pub(super) held: Keyspace,
    pub(super) ended: Keyspace,
    pub(super) ended_at: Keyspace,
    pub(super) adjustments: Keyspace,
    pub(super) purchases: Keyspace,
    pub(super) ticketed: Keyspace,
    pub(super) hot_items: Keyspace,
    pub(super) hot_item_histories: Keyspace,
    database: Database,
}

impl Tables {
    pub(super) fn open(directory: &Path) -> Result<Self, StoreError> {
        let failed = failed_to("be opened");
        let database = Database::builder(directory)
            .max_cached_files(Some(CACHED_FILES_MAX))
            .journal_compression(CompressionType::None)
            // With more, one of them does nothing but wait for the others, and a core waits with it.
            .worker_threads(1)
            .open()
            .map_err(&failed)?;
        let keyspace = |name| database.keyspace(name, options).map_err(&failed);
        Ok(Self {
            meta: keyspace("meta")?,
            stock: keyspace("stock")?,
            journal: keyspace("journal")?,
            held: keyspace("held")?,
            ended: keyspace("ended")?,
            ended_at: keyspace("ended_at")?,
            adjustments: keyspace("adjustments")?,
            purchases: keyspace("purchases")?,
            ticketed: keyspace("ticketed")?,
            hot_items: keyspace("hot_items")?,
            hot_item_histories: keyspace("hot_item_histories")?,
            database,
        })
    }

    /// All of them: what is not here is in no backup.
    pub(super) fn all(&self) -> [&Keyspace; 11] {
        [
            &self.meta,
            &self.stock,
            &self.journal,
            &self.held,
            &self.ended,
            &self.ended_at,
            &self.adjustments,
            &self.purchases,
            &self.ticketed,
            &self.hot_items,
            &self.hot_item_histories,
        ]
    }

    /// All tables as they are now.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.database.snapshot()
    }

    /// How many tables the database has.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.database.keyspace_count()
    }

    /// Whether merging has fallen behind.
    ///
    /// # Errors
    /// It has failed, and will not go on.
    pub(super) fn are_behind(&self) -> Result<bool, StoreError> {
        // There is nothing to flush: this asks for failures of the database's own threads.
        self.database.persist(PersistMode::Buffer).map_err(failed_to("be merged"))?;
        let tables = [&self.journal, &self.held, &self.ended, &self.ended_at];
        Ok(tables.iter().any(|table| table.l0_table_count() > UNMERGED_MAX))
    }
}

/// Ids and fingerprints, which most bytes are, do not compress.
fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .data_block_compression_policy(CompressionPolicy::disabled())
        .compaction_strategy(Arc::new(Leveled::default().with_l0_threshold(RUNS_MERGED)))
}

/// Writes rows in the order of their keys, or removes those that have no value: all or none.
pub(super) fn write<K, V>(
    table: &Keyspace,
    rows: impl IntoIterator<Item = (K, Option<V>)>,
) -> Result<(), StoreError>
where
    K: Into<UserKey>,
    V: Into<UserValue>,
{
    let failed = failed_to("be written");
    let mut rows = rows.into_iter().peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    let mut run = table.start_ingestion().map_err(&failed)?;
    for (key, value) in rows {
        match value {
            Some(value) => run.write(key, value),
            None => run.write_tombstone(key),
        }
        .map_err(&failed)?;
    }
    run.finish().map_err(&failed)
}

pub(super) fn get(
    table: &Keyspace,
    key: impl AsRef<[u8]>,
) -> Result<Option<UserValue>, StoreError> {
    table.get(key).map_err(failed_to("be read"))
}

pub(super) fn get_decoded<T: DeserializeOwned>(
    table: &Keyspace,
    key: impl AsRef<[u8]>,
) -> Result<Option<T>, StoreError> {
    get(table, key)?.map(|value| decode("value", &value)).transpose()
}

pub(super) fn key_and_value(item: fjall::Guard) -> Result<(UserKey, UserValue), StoreError> {
    item.into_inner().map_err(failed_to("be read"))
}

pub(super) fn failed_to(action: &'static str) -> impl Fn(fjall::Error) -> StoreError {
    move |source| StoreError::Database { action, source: Box::new(source) }
}
