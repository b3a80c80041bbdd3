//! Projecting: a thread brings into the tables what the log has.
//!
//! One window at a time, each table in one sorted run, of which only the last state of anything
//! counts: a hold that was extended is written once. Until a window is in all tables it is also in
//! memory, and in the log: after a crash in between, the next start brings it in again, and what is
//! written twice is the same.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Duration;

use cartgate_ledger::{CommandId, IdMap};
use cartgate_policy::Sku;

use super::filter::{Filter, Full};
use super::keys::{chunk_key, purchase_key};
use super::pin::Pin;
use super::tables::{self, Tables};
use super::window::{Last, SkuWindow, Window, Windows};
use crate::store::StoreError;
use crate::store::encoding::{EndedKey, encode, is_held, parse_id};
use crate::store::journal::{CHUNK_MAX, Entries, put_chunk};

/// How often it is looked whether merging has caught up. It says nothing when it has.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What committing, reading and projecting have in common.
pub(super) struct Shared {
    pub(super) tables: Tables,
    pub(super) windows: RwLock<Windows>,
    /// Which decisions may be in the tables; `None`: any may.
    pub(super) filter: RwLock<Option<Filter>>,
    pub(super) progress: Mutex<Progress>,
    pub(super) changed: Condvar,
}

/// Where projecting stands.
#[derive(Default)]
pub(super) struct Progress {
    /// The sealed window, until the projector takes it.
    pub(super) sealed: Option<Sealed>,
    /// Whether there is a sealed window that is not in the tables yet.
    pub(super) is_projecting: bool,
    pub(super) is_closing: bool,
    /// Whether anything could not be written: from then on nothing is.
    pub(super) has_failed: bool,
    /// Somebody waits for the tables to have this commit.
    pub(super) pin_from: Option<u64>,
    /// The tables when they had it, and came to an end with some commit.
    pub(super) pinned: Option<Pin>,
    #[cfg(test)]
    pub(super) is_held_up: bool,
}

/// A window to be projected.
#[derive(Debug)]
pub(super) struct Sealed {
    /// The number of its last commit.
    pub(super) last_number: u64,
    /// The log's file, if it is still to be synced.
    pub(super) unsynced: Option<std::fs::File>,
}

impl Shared {
    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn windows_mut(&self) -> RwLockWriteGuard<'_, Windows> {
        self.windows.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wait<'a>(&self, progress: MutexGuard<'a, Progress>) -> MutexGuard<'a, Progress> {
        self.changed.wait(progress).unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fail(&self) {
        self.progress().has_failed = true;
        self.changed.notify_all();
    }

    /// Projects one window after the other until the store is closed, or cannot be written.
    pub(super) fn project_all(&self) {
        let _end = End(self);
        if let Err(error) = self.try_project_all() {
            tracing::error!(error = &error as &dyn std::error::Error, "projecting failed");
        }
    }

    fn try_project_all(&self) -> Result<(), StoreError> {
        self.renew_filter()?;
        while let Some(sealed) = self.next_sealed()? {
            if let Some(file) = sealed.unsynced {
                // What is in the tables must not be ahead of the log after a power cut.
                file.sync_data().map_err(super::log::failed_to("be synced"))?;
            }
            self.project(sealed.last_number)?;
        }
        Ok(())
    }

    /// The next window to be projected, when there is one and the tables can take it; `None` when
    /// the store is closed.
    fn next_sealed(&self) -> Result<Option<Sealed>, StoreError> {
        let mut progress = self.progress();
        loop {
            if progress.is_closing {
                return Ok(None);
            }
            let is_due = progress.sealed.is_some();
            #[cfg(test)]
            let is_due = is_due && !progress.is_held_up;
            if is_due && !self.tables.are_behind()? {
                return Ok(progress.sealed.take());
            }
            progress = if is_due {
                let waited = self.changed.wait_timeout(progress, LOOK_EVERY);
                waited.unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.wait(progress)
            };
        }
    }

    fn project(&self, last_number: u64) -> Result<(), StoreError> {
        let window = self.windows().sealed.clone();
        if let Some(window) = &window {
            self.expect_ids(window)?;
            for project in PROJECTIONS {
                // The next start projects it again.
                if self.progress().is_closing {
                    return Ok(());
                }
                project(&self.tables, window)?;
            }
        }
        tables::write(&self.tables.meta, [("projected", Some(encode(&last_number)?))])?;
        // What takes long goes after the lock.
        let done = self.windows_mut().sealed.take();
        let mut progress = self.progress();
        progress.is_projecting = false;
        if progress.pin_from.take_if(|from| *from <= last_number).is_some() {
            // Nobody can seal a window before the lock is free, nor write into tables before that.
            progress.pinned = Some(self.pin(last_number));
        }
        drop(progress);
        self.changed.notify_all();
        drop((done, window));
        Ok(())
    }

    /// Makes the filter know the decisions that are about to be in the tables.
    fn expect_ids(&self, window: &Window) -> Result<(), StoreError> {
        let ids = decision_ids(window);
        if self.insert_ids(&ids).is_ok() {
            return Ok(());
        }
        self.renew_filter()?;
        if self.insert_ids(&ids).is_err() {
            // More than there is room for in a new one: then nobody knows what there is not.
            *self.filter.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        Ok(())
    }

    fn insert_ids(&self, ids: &[u64]) -> Result<(), Full> {
        let filter = self.filter.read().unwrap_or_else(PoisonError::into_inner);
        filter.as_ref().map_or(Ok(()), |filter| filter.insert(ids))
    }

    /// Makes a filter of what is in the tables.
    fn renew_filter(&self) -> Result<(), StoreError> {
        let mut ids = Vec::new();
        for table in [&self.tables.ended, &self.tables.adjustments] {
            for item in table.iter() {
                let key = item.key().map_err(tables::failed_to("be read"))?;
                ids.push(Filter::digest(parse_id(&key)?));
            }
        }
        let filter = Filter::of(&ids);
        *self.filter.write().unwrap_or_else(PoisonError::into_inner) = Some(filter);
        Ok(())
    }
}

/// When the projector ends, in whatever way, no commit waits for it any more: it fails.
struct End<'a>(&'a Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.fail();
    }
}

fn decision_ids(window: &Window) -> Vec<u64> {
    let ended = window
        .reservations
        .iter()
        .filter(|(_, last)| window.last_value(**last).is_some_and(|value| !is_held(value)));
    let adjusted = window.adjustments.iter().filter(|(_, last)| matches!(last, Last::Is(_)));
    ended.chain(adjusted).map(|(id, _)| Filter::digest(*id)).collect()
}

type Project = fn(&Tables, &Window) -> Result<(), StoreError>;

/// What brings a window into the tables, in order.
const PROJECTIONS: [Project; 8] = [
    project_skus,
    project_purchases,
    project_adjustments,
    project_ends,
    project_reservations,
    project_ticketed,
    project_hot_items,
    project_hot_item_histories,
];

fn project_purchases(tables: &Tables, window: &Window) -> Result<(), StoreError> {
    let mut purchases = Vec::new();
    for (sku, of_sku) in &window.purchases {
        for purchase in of_sku {
            let key = purchase_key(sku, window.value(purchase.customer), purchase.version);
            purchases.push((key, Some(encode(&purchase.units)?)));
        }
    }
    purchases.sort_unstable();
    purchases.dedup_by(|next, first| next.0 == first.0);
    tables::write(&tables.purchases, purchases)
}

fn project_skus(tables: &Tables, window: &Window) -> Result<(), StoreError> {
    let mut skus: Vec<_> = window.skus.iter().collect();
    skus.sort_unstable_by_key(|(sku, _)| *sku);
    let mut rows = Vec::with_capacity(skus.len());
    let mut chunks = Vec::new();
    for (sku, changed) in skus {
        rows.push((sku.as_str(), Some(encode(&changed.row)?)));
        for (last_version, chunk) in full_chunks(window, changed)? {
            chunks.push((chunk_key(sku, last_version), Some(chunk)));
        }
    }
    // The journal first, so that no row is ever ahead of it.
    tables::write(&tables.journal, chunks)?;
    tables::write(&tables.stock, rows)
}

/// Makes full chunks of those of many commits.
fn full_chunks(window: &Window, changed: &SkuWindow) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    let mut full = Vec::new();
    let mut entries = Vec::with_capacity(CHUNK_MAX);
    let mut close = |entries: &mut Vec<_>| {
        let Some(cartgate_ledger::JournalEntry { version, .. }) = entries.last() else { return };
        let mut chunk = Vec::new();
        put_chunk(&mut chunk, entries);
        full.push((*version, chunk));
        entries.clear();
    };
    for chunk in &changed.chunks {
        for entry in Entries::of(window.value(chunk.place))? {
            entries.push(entry?);
            if entries.len() == CHUNK_MAX {
                close(&mut entries);
            }
        }
    }
    close(&mut entries);
    Ok(full)
}

fn project_adjustments(tables: &Tables, window: &Window) -> Result<(), StoreError> {
    tables::write(&tables.adjustments, by_id(window, &window.adjustments))
}

fn project_ends(tables: &Tables, window: &Window) -> Result<(), StoreError> {
    let row = |(key, counts): (&EndedKey, &bool)| (key.0, counts.then_some([]));
    tables::write(&tables.ended_at, window.ends.iter().map(row))
}

fn project_ticketed(tables: &Tables, window: &Window) -> Result<(), StoreError> {
    tables::write(&tables.ticketed, by_id(window, &window.ticketed))
}

fn project_hot_items(tables: &Tables, window: &Window) -> Result<(), StoreError> {
    tables::write(&tables.hot_items, by_sku(window, &window.hot_items))
}

fn project_hot_item_histories(tables: &Tables, window: &Window) -> Result<(), StoreError> {
    tables::write(&tables.hot_item_histories, by_sku(window, &window.hot_item_histories))
}

/// Whoever looks for a reservation looks among the held ones first, then among those that ended: so
/// an end is written before it is taken away there.
fn project_reservations(tables: &Tables, window: &Window) -> Result<(), StoreError> {
    let reservations = by_id(window, &window.reservations);
    let ended = reservations.iter().filter(|(_, value)| !value.is_some_and(is_held));
    tables::write(&tables.ended, ended.copied())?;
    let held = reservations.into_iter().map(|(id, value)| (id, value.filter(|v| is_held(v))));
    tables::write(&tables.held, held)
}

fn by_sku<'a>(window: &'a Window, lasts: &HashMap<Sku, Last>) -> Vec<(String, Option<&'a [u8]>)> {
    let row = |(sku, last): (&Sku, &Last)| (sku.as_str().to_owned(), window.last_value(*last));
    let mut rows: Vec<_> = lasts.iter().map(row).collect();
    rows.sort_unstable();
    rows
}

fn by_id<'a>(window: &'a Window, lasts: &IdMap<Last>) -> Vec<([u8; 16], Option<&'a [u8]>)> {
    let mut rows: Vec<_> =
        lasts.iter().map(|(CommandId(id), last)| (*id, window.last_value(*last))).collect();
    rows.sort_unstable_by_key(|(id, _)| *id);
    rows
}
