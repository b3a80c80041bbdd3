//! An owner's time with a bucket of the model.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use cartgate_ledger::{Adjustment, CommandId, JournalEntry, Reservation, UnixMs};
use cartgate_policy::Sku;

use super::bucket::Bucket;
use super::{Fault, Server};
use crate::store::tenure::{
    Answer, Arrived, EntryId, Progress, Reached, Stream, Tenure, TurnCommit,
};
use crate::store::{
    Commit, Durability, Ended, EndedKind, Loaded, StockRow, Store, StoreError, Ticketed,
};

pub(super) struct ModelTenure {
    pub(super) server: Arc<Mutex<Server>>,
    pub(super) bucket: u16,
    pub(super) nonce: u64,
}

impl ModelTenure {
    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap()
    }

    fn with<T>(&self, read: impl FnOnce(&mut Bucket) -> T) -> T {
        read(&mut self.server().buckets[usize::from(self.bucket)])
    }

    fn over(&self, reason: &'static str) -> StoreError {
        StoreError::TenureOver { bucket: self.bucket, reason }
    }
}

fn lost() -> StoreError {
    StoreError::Database { action: "be written", source: "the connection is lost".into() }
}

impl Tenure for ModelTenure {
    fn bucket(&self) -> u16 {
        self.bucket
    }

    fn progress(&self) -> Result<Progress, StoreError> {
        Ok(self.with(|bucket| Progress {
            cursors: bucket.cursors.clone().into_iter().collect(),
            routes: bucket.routes.clone().into_iter().collect(),
            tickets: bucket.tickets.clone().into_iter().collect(),
        }))
    }

    fn read(
        &self,
        from: &[(Stream, EntryId)],
        entries_max: usize,
        _wait: Duration,
    ) -> Result<Arrived, StoreError> {
        let mut now = self.server().now;
        self.with(|bucket| {
            let mut entries = Vec::new();
            for (stream, after) in from {
                let all = bucket.streams.get(stream).into_iter().flat_map(|s| &s.entries);
                let new: Vec<_> =
                    all.filter(|entry| entry.id > *after).take(entries_max).cloned().collect();
                match new.last() {
                    Some(last) if *stream == Stream::Settle && new.len() == entries_max => {
                        now = last.at;
                    }
                    Some(_) => {}
                    None => continue,
                }
                entries.push((stream.clone(), new));
            }
            Ok(Arrived { now, entries })
        })
    }

    fn expect(&self, _ids: &[CommandId]) -> Result<(), StoreError> {
        Ok(())
    }

    fn commit_turn(&self, turn: &TurnCommit) -> Result<Reached, StoreError> {
        let mut server = self.server();
        let fault = server.fault.take();
        if fault == Some(Fault::Before) {
            return Err(lost());
        }
        let (now, new_nonce) = (server.now, server.nonce());
        let bucket = &mut server.buckets[usize::from(self.bucket)];
        bucket.commit(turn, self.nonce, now, new_nonce).map_err(|reason| self.over(reason))?;
        if fault == Some(Fault::After) {
            return Err(lost());
        }
        Ok(Reached { durability: Durability::Process, replicas: 0 })
    }

    fn publish(&self, answers: &[Answer]) -> Result<(), StoreError> {
        self.server().published.extend(answers.iter().cloned());
        Ok(())
    }

    fn last_answers(&self) -> Result<Vec<Answer>, StoreError> {
        let last = self.with(|bucket| bucket.answers.last().cloned());
        Ok(last.map(|(_, answers)| answers).unwrap_or_default())
    }

    fn renew(&self) -> Result<bool, StoreError> {
        let now = self.server().now;
        Ok(self.with(|bucket| bucket.renew(self.nonce, now)))
    }

    fn release(&self) -> Result<(), StoreError> {
        self.with(|bucket| bucket.release(self.nonce));
        Ok(())
    }
}

impl Store for ModelTenure {
    fn buckets(&self) -> u16 {
        u16::try_from(self.server().buckets.len()).unwrap()
    }

    fn secret(&self) -> [u8; 32] {
        [7; 32]
    }

    fn durability(&self) -> Durability {
        Durability::Process
    }

    fn load(&self) -> Result<Loaded, StoreError> {
        self.with(|bucket| bucket.data.load())
    }

    fn commit(&self, _commit: &Commit) -> Result<(), StoreError> {
        Err(self.over("a bucket that is shared is committed turn by turn"))
    }

    fn stock(&self, sku: &Sku) -> Result<Option<StockRow>, StoreError> {
        self.with(|bucket| bucket.data.stock(sku))
    }

    fn reservation(&self, id: CommandId) -> Result<Option<(Sku, Reservation)>, StoreError> {
        self.with(|bucket| bucket.data.reservation(id))
    }

    fn ended_reservation(&self, id: CommandId) -> Result<Option<Reservation>, StoreError> {
        self.with(|bucket| bucket.data.ended_reservation(id))
    }

    fn adjustment(&self, id: CommandId) -> Result<Option<Adjustment>, StoreError> {
        self.with(|bucket| bucket.data.adjustment(id))
    }

    fn purchases(&self, sku: &Sku) -> Result<Vec<(Arc<str>, u64)>, StoreError> {
        self.with(|bucket| bucket.data.purchases(sku))
    }

    fn ticketed(&self, _id: CommandId) -> Result<Option<Ticketed>, StoreError> {
        Ok(None)
    }

    fn journal(
        &self,
        sku: &Sku,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        self.with(|bucket| bucket.data.journal(sku, after, limit))
    }

    fn ended(
        &self,
        kind: EndedKind,
        from: UnixMs,
        until: UnixMs,
        limit: usize,
    ) -> Result<Vec<Ended>, StoreError> {
        self.with(|bucket| bucket.data.ended(kind, from, until, limit))
    }
}
