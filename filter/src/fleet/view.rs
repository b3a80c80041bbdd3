//! What one worker thread knows of hot items.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use cartgate_policy::Sku;
use cartgate_policy::fleet::{Item, Table};
use cartgate_policy::shares::Allowance;

use crate::count::NS_PER_MS;

/// The hot items, as this thread has read of them.
#[derive(Default)]
pub(crate) struct View {
    items: HashMap<Sku, HotItem>,
    /// Units asked for that the thread that reports does not know of yet, by the places of items' meters.
    asked: RefCell<Vec<u64>>,
    /// Until when shares are good, in monotonic nanoseconds.
    pub(crate) contact_until_ns: u64,
    /// The service's time less this machine's monotonic one, in milliseconds.
    pub(super) service_ahead_ms: i64,
    /// Which table and shares it has seen.
    pub(super) table: u64,
    pub(super) shares: u64,
}

/// A hot item.
#[derive(Debug)]
pub(crate) struct HotItem {
    /// As the service told it.
    pub(crate) item: Item,
    /// Where its meter is.
    pub(crate) place: u16,
    /// What this edge admits if it does not hear of the service.
    pub(crate) safe: Allowance,
    /// Its share, as this thread has seen it last.
    pub(crate) share: Cell<Allowance>,
}

impl View {
    /// What is known of a SKU, if it is a hot item.
    pub(crate) fn item(&self, sku: &Sku) -> Option<&HotItem> {
        self.items.get(sku)
    }

    /// The service's time.
    pub(crate) fn service_ms(&self, now_ns: u64) -> u64 {
        (now_ns / NS_PER_MS).saturating_add_signed(self.service_ahead_ms)
    }

    /// Takes over what a table says.
    pub(super) fn read(&mut self, table: Table) {
        let edges = table.edges;
        let before = std::mem::take(&mut self.items);
        for (sku, entry) in table.items {
            let safe = entry.item.safe_share(edges);
            let share = before.get(&sku).map(|known| known.share.clone()).unwrap_or_default();
            let (item, place) = (entry.item, entry.place);
            self.items.insert(sku, HotItem { item, place, safe, share });
        }
        // What was asked for at a place that an item has left is not the next one's demand.
        for (sku, HotItem { place, .. }) in before {
            let stays = self.items.get(&sku).is_some_and(|item| item.place == place);
            if !stays && let Some(units) = self.asked.get_mut().get_mut(usize::from(place)) {
                *units = 0;
            }
        }
    }

    /// Counts units of an item that were asked for.
    pub(crate) fn ask(&self, item: &HotItem, units: u32) {
        let (mut asked, place) = (self.asked.borrow_mut(), usize::from(item.place));
        if asked.len() <= place {
            asked.resize(place + 1, 0);
        }
        if let Some(sum) = asked.get_mut(place) {
            *sum = sum.saturating_add(units.into());
        }
    }

    /// Takes out what was asked for.
    pub(super) fn take_asked(&self) -> Vec<u64> {
        self.asked.take()
    }
}
