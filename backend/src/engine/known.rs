//! What a process on a shared store knows of the registry of hot items without asking.
//!
//! It reads all of it again and again, and notes besides what it has changed itself. What it reads may
//! be older than that: whatever was being read while something was noted does not count.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use cartgate_policy::Sku;

use crate::hot_items::HotItem;

/// The registry of hot items, as far as it is known.
#[derive(Default)]
pub(super) struct KnownHotItems(RwLock<Known>);

#[derive(Default)]
struct Known {
    items: BTreeMap<Sku, HotItem>,
    /// How many changes were noted.
    changes: u64,
}

impl KnownHotItems {
    /// A SKU's entry.
    pub(super) fn of(&self, sku: &Sku) -> Option<HotItem> {
        self.known().items.get(sku).copied()
    }

    /// How many changes were noted: for [`KnownHotItems::learn`], when reading begins.
    pub(super) fn changes(&self) -> u64 {
        self.known().changes
    }

    /// This process has heard what a SKU's entry is.
    pub(super) fn note(&self, sku: Sku, item: Option<HotItem>) {
        let mut known = self.known_mut();
        known.changes += 1;
        match item {
            Some(item) => drop(known.items.insert(sku, item)),
            None => drop(known.items.remove(&sku)),
        }
    }

    /// The registry was read, from when there had been so many `changes`.
    pub(super) fn learn(&self, items: BTreeMap<Sku, HotItem>, changes: u64) {
        let mut known = self.known_mut();
        if known.changes == changes {
            known.items = items;
        }
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_a_change_was_noted_does_not_count() {
        let (known, sku) = (KnownHotItems::default(), Sku::parse("A").unwrap());
        let item = |version| HotItem { version, ..HotItem::default() };
        let registry = |version| BTreeMap::from([(sku.clone(), item(version))]);
        let began_at = known.changes();
        known.note(sku.clone(), Some(item(2)));
        known.learn(registry(1), began_at);
        assert_eq!(known.of(&sku), Some(item(2)));
        known.learn(registry(3), known.changes());
        assert_eq!(known.of(&sku), Some(item(3)));
        known.note(sku.clone(), None);
        assert_eq!(known.of(&sku), None);
    }
}
