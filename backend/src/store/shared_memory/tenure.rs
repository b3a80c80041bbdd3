//! An owner's time with a bucket of the model.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use cartgate_ledger::{Adjustment, CommandId, JournalEntry, Reservation, UnixMs};
use cartgate_policy::Sku;

use super::bucket::{Bucket, Ground};
use super::{Fault, Late, Server, Shared, Written};
use crate::hot_items::HotItemHistory;
use crate::store::tenure::{
    Answer, Arrived, Entry, EntryId, Progress, Reached, Stream, Tenure, TurnCommit,
};
use crate::store::{
    Commit, Durability, Ended, EndedKind, Loaded, StockRow, Store, StoreError, Ticketed,
};

pub(super) struct ModelTenure {
    shared: Arc<Shared>,
    bucket: u16,
    nonce: u64,
    is_takeover: bool,
    /// The turn that it has written last.
    turn: AtomicU64,
    /// How often the replica had taken over when it began.
    failovers: u64,
}

impl ModelTenure {
    /// One whose lease has been taken.
    pub(super) fn new(
        shared: Arc<Shared>,
        bucket: u16,
        nonce: u64,
        is_takeover: bool,
        failovers: u64,
    ) -> Self {
        Self { shared, bucket, nonce, is_takeover, turn: nonce.into(), failovers }
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.shared.server.lock().unwrap()
    }

    fn with<T>(&self, read: impl FnOnce(&mut Bucket) -> T) -> T {
        read(&mut self.server().buckets[usize::from(self.bucket)])
    }

    fn read_now(
        &self,
        from: &[(Stream, EntryId)],
        entries_max: usize,
    ) -> Result<Arrived, StoreError> {
        let server = self.server();
        let now = server.now;
        let bucket = &server.buckets[usize::from(self.bucket)];
        if !bucket.is_leased_by(self.nonce) {
            return Err(self.over("fenced"));
        }
        let new = |(stream, after): &(Stream, EntryId)| {
            let all = bucket.streams.get(stream).into_iter().flat_map(|stream| &stream.entries);
            let new = all.filter(|entry| entry.id > *after).take(entries_max).cloned();
            (stream.clone(), new.collect::<Vec<_>>())
        };
        let entries: Vec<_> =
            from.iter().map(new).filter(|(_, entries)| !entries.is_empty()).collect();
        Ok(Arrived { now: time_of(&entries, entries_max, now), entries })
    }

    fn over(&self, reason: &'static str) -> StoreError {
        StoreError::TenureOver { bucket: self.bucket, reason }
    }
}

/// The time that a turn may be judged at that has read these: if there was more to settle, no later
/// than what was read last.
fn time_of(entries: &[(Stream, Vec<Entry>)], entries_max: usize, now: UnixMs) -> UnixMs {
    let settle = entries.iter().find(|(stream, _)| *stream == Stream::Settle);
    let cut = settle.filter(|(_, entries)| entries.len() == entries_max);
    cut.and_then(|(_, entries)| entries.last()).map_or(now, |last| last.at)
}

fn lost() -> StoreError {
    StoreError::Database { action: "be written", source: "the connection is lost".into() }
}

impl Tenure for ModelTenure {
    fn bucket(&self) -> u16 {
        self.bucket
    }

    fn is_takeover(&self) -> bool {
        self.is_takeover
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
        wait: Duration,
    ) -> Result<Arrived, StoreError> {
        if self.server().failovers != self.failovers {
            return Err(lost());
        }
        let arrived = self.read_now(from, entries_max)?;
        if !self.shared.waits || wait.is_zero() || !arrived.entries.is_empty() {
            return Ok(arrived);
        }
        drop(self.shared.posted.wait_timeout(self.server(), wait).unwrap());
        self.read_now(from, entries_max)
    }

    fn expect(&self, _: &[CommandId], _: &[CommandId]) -> Result<(), StoreError> {
        Ok(())
    }

    fn commit_turn(&self, turn: &TurnCommit) -> Result<Reached, StoreError> {
        let mut server = self.server();
        let fault = server.fault.take();
        if fault == Some(Fault::Before) {
            return Err(lost());
        }
        let ground = Ground { lease: self.nonce, after: self.turn.load(Ordering::SeqCst) };
        let commit = Written { bucket: self.bucket, at: server.now, turn: turn.clone() };
        if fault == Some(Fault::Late) {
            server.late.push(Late { ground, commit });
            return Err(lost());
        }
        if fault == Some(Fault::FailOver) {
            server.fail_over();
        }
        let turn = server.commit(ground, commit).map_err(|reason| self.over(reason))?;
        self.turn.store(turn, Ordering::SeqCst);
        if fault == Some(Fault::After) {
            return Err(lost());
        }
        Ok(Reached::at_least(Durability::Process))
    }

    fn publish(&self, answers: &[Answer], _reached: Reached) -> Result<(), StoreError> {
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

    fn hot_item_history(&self, sku: &Sku) -> Result<HotItemHistory, StoreError> {
        self.with(|bucket| bucket.data.hot_item_history(sku))
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
