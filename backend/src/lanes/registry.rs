//! The registry of hot items, as its owner decides on it.
//!
//! Whoever asks for a change names what is to be; what comes of it is decided here, one change after
//! the other: whether it changes anything, whether the entry is the one that was expected, and its
//! version, which follows from the SKU's history. The history is the store's: it is read when a SKU is
//! changed, and written as a whole, in the commit that has the change.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use cartgate_ledger::UnixMs;
use cartgate_policy::Sku;

use super::EnqueueError;
use crate::hot_items::{ChangeKind, Changed, HistoryEntry, HotItem, HotItemHistory, Note};
use crate::store::{Loaded, Store, StoreError};

/// The registry of hot items, with the changes that are not written yet.
pub(super) struct Registry {
    items: BTreeMap<Sku, HotItem>,
    /// When SKUs were changed last that are hot items no more, but have a history.
    former: BTreeMap<Sku, UnixMs>,
    former_max: usize,
    changes: RegistryChanges,
}

/// What a turn changes of the registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RegistryChanges {
    /// Entries that are new or changed; `None`: the SKU is a hot item no more.
    pub(super) items: BTreeMap<Sku, Option<HotItem>>,
    /// The histories of these; `None`: it is forgotten.
    pub(super) histories: BTreeMap<Sku, Option<HotItemHistory>>,
}

/// A change of the registry that is asked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) sku: Sku,
    /// What the SKU is to be registered with; `None`: it is to be no hot item any more.
    pub(super) item: Option<HotItem>,
    pub(super) note: Note,
}

/// What is told to whoever asked for a change.
pub(super) type Verdict = Result<Changed, EnqueueError>;

impl Registry {
    /// As it was written last. Of SKUs that are hot items no more, as many as `former_max` keep their
    /// histories.
    pub(super) fn restore(loaded: &Loaded, former_max: usize) -> Self {
        let items: BTreeMap<_, _> = loaded.hot_items.iter().cloned().collect();
        let former = loaded.hot_item_histories.iter().filter(|(sku, _)| !items.contains_key(sku));
        let former = former.cloned().collect();
        Self { items, former, former_max, changes: RegistryChanges::default() }
    }

    /// The hot items.
    pub(super) fn items(&self) -> &BTreeMap<Sku, HotItem> {
        &self.items
    }

    /// Decides on a change at `now`. `room` says whether there is room for another hot item.
    pub(super) fn change(
        &mut self,
        store: &dyn Store,
        wanted: Wanted,
        now: UnixMs,
        room: Result<(), EnqueueError>,
    ) -> Result<Verdict, StoreError> {
        let Wanted { sku, item, note } = wanted;
        let before = self.items.get(&sku).copied();
        let version = before.map(|before| before.version);
        if note.expected_version.is_some_and(|expected| version.unwrap_or(0) != expected) {
            return Ok(Err(EnqueueError::HotItemChanged { version }));
        }
        let item = item.map(|item| HotItem { origin: note.origin, ..item });
        let kind = match (&before, &item) {
            (None, None) => None,
            (Some(before), Some(item)) if before.is_as_asked(item) => None,
            (None, Some(_)) => Some(ChangeKind::Registered),
            (Some(_), Some(_)) => Some(ChangeKind::Changed),
            (Some(_), None) if note.has_expired => Some(ChangeKind::Expired),
            (Some(_), None) => Some(ChangeKind::Removed),
        };
        let Some(kind) = kind else { return Ok(Ok(Changed { kind, item: before })) };
        if let (ChangeKind::Registered, Err(no_room)) = (kind, room) {
            return Ok(Err(no_room));
        }
        let mut history = self.history(store, &sku)?;
        let version = history.last().map_or(0, |last| last.version) + 1;
        let since = before.map_or(now, |before| before.since);
        let item = item.map(|item| HotItem { version, since, changed_at: now, ..item });
        let Note { origin, reason, .. } = note;
        history.push(HistoryEntry { version, at: now, kind, origin, reason, item });
        self.changes.histories.insert(sku.clone(), Some(history));
        self.changes.items.insert(sku.clone(), item);
        self.set(sku, item, now);
        Ok(Ok(Changed { kind: Some(kind), item }))
    }

    /// The changes since this was last asked.
    pub(super) fn take_changes(&mut self) -> RegistryChanges {
        std::mem::take(&mut self.changes)
    }

    /// A SKU's history, as the changes that are not written yet have left it.
    fn history(&self, store: &dyn Store, sku: &Sku) -> Result<HotItemHistory, StoreError> {
        match self.changes.histories.get(sku) {
            Some(history) => Ok(history.clone().unwrap_or_default()),
            None => store.hot_item_history(sku),
        }
    }

    fn set(&mut self, sku: Sku, item: Option<HotItem>, now: UnixMs) {
        match item {
            Some(item) => {
                self.former.remove(&sku);
                self.items.insert(sku, item);
            }
            None => {
                self.items.remove(&sku);
                self.former.insert(sku, now);
                self.forget_former();
            }
        }
    }

    /// Makes room for the histories of SKUs that are hot items no more.
    fn forget_former(&mut self) {
        while self.former.len() > self.former_max
            && let Some(oldest) = self.former.iter().min_by_key(|(_, at)| **at)
        {
            let oldest = oldest.0.clone();
            self.former.remove(&oldest);
            self.changes.histories.insert(oldest, None);
        }
    }
}
