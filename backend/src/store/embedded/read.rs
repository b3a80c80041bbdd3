//! Reading: what is in memory first, then the tables.
//!
//! A reader that finds nothing in memory looks into the tables afterwards, without a lock. A window
//! may be projected in between: then the tables are ahead of what the reader saw in memory, never
//! behind it.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, PoisonError, RwLockReadGuard};

use cartgate_ledger::{Adjustment, CommandId, JournalEntry, Reservation, UnixMs};
use cartgate_policy::Sku;

use super::keys::{chunk_key, customer_of, purchase_key, sku_prefix};
use super::projection::Shared;
use super::tables::{failed_to, get, get_decoded, key_and_value};
use super::window::{Last, Window, Windows};
use crate::hot_items::HotItemHistory;
use crate::store::encoding::{EndedKey, decode, reservation};
use crate::store::journal::Page;
use crate::store::{Ended, EndedKind, StockRow, StoreError, Ticketed};

/// What memory knows of something.
enum Known<T> {
    Is(T),
    Gone,
    /// The tables know.
    Nothing,
}

impl Shared {
    pub(super) fn stock(&self, sku: &Sku) -> Option<StockRow> {
        self.windows().rows.get(sku).copied()
    }

    pub(super) fn reservation(
        &self,
        id: CommandId,
    ) -> Result<Option<(Sku, Reservation)>, StoreError> {
        match self.known(&id, |w| &w.reservations, |value| reservation(id, value))? {
            Known::Is(known) => Ok(Some(known)),
            Known::Gone => Ok(None),
            Known::Nothing => self.stored_reservation(id),
        }
    }

    pub(super) fn ended_reservation(
        &self,
        id: CommandId,
    ) -> Result<Option<Reservation>, StoreError> {
        let found = match self.known(&id, |w| &w.reservations, |value| reservation(id, value))? {
            Known::Is(known) => Some(known),
            Known::Nothing if self.may_have_ended(id) => self.stored_reservation(id)?,
            Known::Nothing | Known::Gone => None,
        };
        Ok(found.map(|(_, reservation)| reservation).filter(|reservation| !reservation.is_held()))
    }

    /// In this order: a reservation is among the ended, and the filter knows of it, before it leaves
    /// the held. One that is held anew is in both.
    fn stored_reservation(&self, id: CommandId) -> Result<Option<(Sku, Reservation)>, StoreError> {
        let mut value = get(&self.tables.held, id.0)?;
        if value.is_none() && self.may_have_ended(id) {
            value = get(&self.tables.ended, id.0)?;
        }
        value.map(|value| reservation(id, &value)).transpose()
    }

    pub(super) fn adjustment(&self, id: CommandId) -> Result<Option<Adjustment>, StoreError> {
        match self.known(&id, |w| &w.adjustments, |value| decode("adjustment", value))? {
            Known::Is(adjustment) => Ok(Some(adjustment)),
            Known::Nothing if self.may_have_ended(id) => {
                get_decoded(&self.tables.adjustments, id.0)
            }
            Known::Nothing | Known::Gone => Ok(None),
        }
    }

    pub(super) fn ticketed(&self, id: CommandId) -> Result<Option<Ticketed>, StoreError> {
        match self.known(&id, |w| &w.ticketed, |value| decode("ticketed command", value))? {
            Known::Is(ticketed) => Ok(Some(ticketed)),
            Known::Gone => Ok(None),
            Known::Nothing => get_decoded(&self.tables.ticketed, id.0),
        }
    }

    pub(super) fn hot_item_history(&self, sku: &Sku) -> Result<HotItemHistory, StoreError> {
        match self.known(sku, |w| &w.hot_item_histories, |value| decode("history", value))? {
            Known::Is(history) => Ok(history),
            Known::Gone => Ok(HotItemHistory::default()),
            Known::Nothing => {
                let stored = get_decoded(&self.tables.hot_item_histories, sku.as_str())?;
                Ok(stored.unwrap_or_default())
            }
        }
    }

    fn known<K: Eq + Hash, S: BuildHasher, T>(
        &self,
        key: &K,
        of: impl Fn(&Window) -> &HashMap<K, Last, S>,
        decode: impl Fn(&[u8]) -> Result<T, StoreError>,
    ) -> Result<Known<T>, StoreError> {
        let windows = self.windows();
        let known = windows
            .find(|window| of(window).get(key).map(|last| window.last_value(*last).map(&decode)));
        Ok(match known {
            Some(Some(value)) => Known::Is(value?),
            Some(None) => Known::Gone,
            None => Known::Nothing,
        })
    }

    pub(super) fn purchases(&self, sku: &Sku) -> Result<Vec<(Arc<str>, u64)>, StoreError> {
        // By key: the tables may have by now what memory had a moment ago.
        let mut purchases = BTreeMap::<Vec<u8>, u32>::new();
        for window in self.windows().newest_first() {
            for purchase in window.purchases.get(sku).into_iter().flatten() {
                let customer = window.value(purchase.customer);
                purchases.insert(purchase_key(sku, customer, purchase.version), purchase.units);
            }
        }
        for item in self.tables.purchases.prefix(sku_prefix(sku)) {
            let (key, units) = key_and_value(item)?;
            purchases.insert(key.to_vec(), decode("purchase", &units)?);
        }
        let mut by_customer = Vec::<(Arc<str>, u64)>::new();
        for (key, units) in purchases {
            let customer = customer_of(&key, sku)?;
            match by_customer.last_mut() {
                Some((last, sum)) if **last == *customer => *sum += u64::from(units),
                _ => by_customer.push((customer.into(), units.into())),
            }
        }
        Ok(by_customer)
    }

    pub(super) fn journal(
        &self,
        sku: &Sku,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        let recent = self.recent_journal(sku, after, limit)?;
        let is_enough = recent.first().is_some_and(|entry| entry.version == after.wrapping_add(1));
        if is_enough {
            return Ok(recent);
        }
        // Looked at after memory, the tables have all that came before what was there.
        let mut page = Page::new(after, limit);
        let keys = chunk_key(sku, after.saturating_add(1))..=chunk_key(sku, u64::MAX);
        for item in self.tables.journal.range(keys) {
            if page.is_full() {
                break;
            }
            page.take(&key_and_value(item)?.1)?;
        }
        recent.into_iter().for_each(|entry| page.push(entry));
        Ok(page.entries)
    }

    fn recent_journal(
        &self,
        sku: &Sku,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        let mut page = Page::new(after, limit);
        for window in self.windows().newest_first().rev() {
            let chunks = window.skus.get(sku).map(|changed| &*changed.chunks).unwrap_or_default();
            let first = chunks.partition_point(|chunk| chunk.last_version <= after);
            for chunk in &chunks[first..] {
                if page.is_full() {
                    break;
                }
                page.take(window.value(chunk.place))?;
            }
        }
        Ok(page.entries)
    }

    pub(super) fn ended(
        &self,
        kind: EndedKind,
        from: UnixMs,
        until: UnixMs,
        limit: usize,
    ) -> Result<Vec<Ended>, StoreError> {
        if from > until {
            return Ok(Vec::new());
        }
        let [first, last] = [(from, [0; 16]), (until, [0xff; 16])]
            .map(|(at, id)| EndedKey::from(&Ended { kind, at, id: CommandId(id) }));
        // Held throughout: what memory says is gone may not leave it before the tables are read.
        let windows = self.windows();
        let mut found = Vec::new();
        for item in self.tables.ended_at.range(first.0..=last.0) {
            if found.len() == limit {
                break;
            }
            let key = EndedKey::parse(&item.key().map_err(failed_to("be read"))?)?;
            if windows.find(|window| window.ends.get(&key)).is_none() {
                found.push(key);
            }
        }
        for window in windows.newest_first() {
            let counts = |key: &EndedKey| windows.find(|w| w.ends.get(key)) == Some(&true);
            let ends = window.ends.range(first..=last).map(|(key, _)| *key);
            found.extend(ends.filter(counts).take(limit));
        }
        found.sort_unstable();
        found.dedup();
        found.truncate(limit);
        Ok(found.iter().map(|key| key.ended(kind)).collect())
    }

    fn may_have_ended(&self, id: CommandId) -> bool {
        let filter = self.filter.read().unwrap_or_else(PoisonError::into_inner);
        filter.as_ref().is_none_or(|filter| filter.may_have(id))
    }

    pub(super) fn windows(&self) -> RwLockReadGuard<'_, Windows> {
        self.windows.read().unwrap_or_else(PoisonError::into_inner)
    }
}
