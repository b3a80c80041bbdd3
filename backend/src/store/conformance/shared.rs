//! A bucket of a shared store, taken for a whole store: the suite asks for no more.

use std::path::Path;
use std::sync::Arc;

use cartgate_ledger::{Adjustment, CommandId, JournalEntry, Reservation, UnixMs};
use cartgate_policy::Sku;

use crate::hot_items::HotItemHistory;
use crate::store::redis::rig::Server;
use crate::store::tenure::Tenure;
use crate::store::{
    Commit, Durability, Ended, EndedKind, Loaded, StockRow, Store, StoreError, Ticketed,
};

/// A bucket on a Redis server of its own, which crashes when this is dropped.
pub(super) struct OnRedis {
    tenure: Arc<dyn Tenure>,
    _server: Server,
}

impl OnRedis {
    pub(super) fn open(directory: &Path) -> Self {
        let server = Server::start(directory);
        Self { tenure: server.tenure(), _server: server }
    }
}

impl Store for OnRedis {
    fn buckets(&self) -> u16 {
        self.tenure.buckets()
    }

    fn secret(&self) -> [u8; 32] {
        self.tenure.secret()
    }

    fn durability(&self) -> Durability {
        self.tenure.durability()
    }

    fn load(&self) -> Result<Loaded, StoreError> {
        self.tenure.load()
    }

    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        self.tenure.commit(commit)
    }

    fn stock(&self, sku: &Sku) -> Result<Option<StockRow>, StoreError> {
        self.tenure.stock(sku)
    }

    fn reservation(&self, id: CommandId) -> Result<Option<(Sku, Reservation)>, StoreError> {
        self.tenure.reservation(id)
    }

    fn ended_reservation(&self, id: CommandId) -> Result<Option<Reservation>, StoreError> {
        self.tenure.ended_reservation(id)
    }

    fn adjustment(&self, id: CommandId) -> Result<Option<Adjustment>, StoreError> {
        self.tenure.adjustment(id)
    }

    fn purchases(&self, sku: &Sku) -> Result<Vec<(Arc<str>, u64)>, StoreError> {
        self.tenure.purchases(sku)
    }

    fn ticketed(&self, id: CommandId) -> Result<Option<Ticketed>, StoreError> {
        self.tenure.ticketed(id)
    }

    fn journal(
        &self,
        sku: &Sku,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        self.tenure.journal(sku, after, limit)
    }

    fn hot_item_history(&self, sku: &Sku) -> Result<HotItemHistory, StoreError> {
        self.tenure.hot_item_history(sku)
    }

    fn ended(
        &self,
        kind: EndedKind,
        from: UnixMs,
        until: UnixMs,
        limit: usize,
    ) -> Result<Vec<Ended>, StoreError> {
        self.tenure.ended(kind, from, until, limit)
    }
}
