//! A store without a disk, for tests: as simple as can be, and able to crash at a commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, Thread};

use cartgate_ledger::{Adjustment, CommandId, JournalEntry, Purchase, Reservation, UnixMs};
use cartgate_policy::Sku;

use super::{Commit, Durability, Ended, EndedKind, Loaded, StockRow, Store, StoreError, Ticketed};
use crate::hot_items::{HotItem, HotItemHistory};

/// A store in memory. What it holds survives its owner, as a disk would.
pub(crate) struct Memory {
    buckets: u16,
    state: Mutex<State>,
    crash: Mutex<Option<Crash>>,
    commits: AtomicU64,
    written: Mutex<Option<Commit>>,
    is_held_up: Mutex<bool>,
    released: Condvar,
    writer: Mutex<Option<Thread>>,
}

/// Where a commit ends the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// Before anything is written.
    Before,
    /// Once all is written, before anybody hears of it.
    After,
    /// In the middle of the store's code.
    Panic,
}

impl Clone for Memory {
    /// What it holds, as a replica has it.
    fn clone(&self) -> Self {
        Self { state: Mutex::new(self.state().clone()), ..Self::new(self.buckets) }
    }
}

#[derive(Clone, Default)]
struct State {
    stock: BTreeMap<Sku, StockRow>,
    journal: BTreeMap<Sku, Vec<JournalEntry>>,
    held: BTreeMap<CommandId, (Sku, Reservation)>,
    ended: BTreeMap<CommandId, (Sku, Reservation)>,
    adjustments: BTreeMap<CommandId, Adjustment>,
    purchases: Vec<(Sku, Purchase)>,
    ticketed: BTreeMap<CommandId, Ticketed>,
    ended_at: BTreeSet<Ended>,
    hot_items: BTreeMap<Sku, HotItem>,
    hot_item_histories: BTreeMap<Sku, HotItemHistory>,
}

impl Memory {
    pub(crate) fn new(buckets: u16) -> Self {
        let (state, crash, commits, written) = Default::default();
        let (is_held_up, released, writer) = Default::default();
        Self { buckets, state, crash, commits, written, is_held_up, released, writer }
    }

    /// How often something was committed, or began to be.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    /// The last commit that was written, if that was since this was last asked.
    pub(crate) fn take_written(&self) -> Option<Commit> {
        self.written.lock().unwrap().take()
    }

    /// The thread that committed last, or is about to.
    pub(crate) fn writer(&self) -> Option<Thread> {
        self.writer.lock().unwrap().clone()
    }

    /// Makes the next commit fail in this way.
    pub(crate) fn crash_at_commit(&self, crash: Crash) {
        *self.crash.lock().unwrap() = Some(crash);
    }

    /// Takes back what [`Memory::crash_at_commit`] said, if there was no commit since.
    pub(crate) fn calm(&self) {
        *self.crash.lock().unwrap() = None;
    }

    /// Lets commits begin, but not end: until [`Memory::let_go`].
    pub(crate) fn hold_up(&self) {
        *self.is_held_up.lock().unwrap() = true;
    }

    /// Lets commits end again.
    pub(crate) fn let_go(&self) {
        *self.is_held_up.lock().unwrap() = false;
        self.released.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Store for Memory {
    fn buckets(&self) -> u16 {
        self.buckets
    }

    fn secret(&self) -> [u8; 32] {
        [7; 32]
    }

    fn durability(&self) -> Durability {
        Durability::Process
    }

    fn load(&self) -> Result<Loaded, StoreError> {
        let state = self.state();
        let mut ticketed: Vec<_> = state.ticketed.values().cloned().collect();
        ticketed.sort_by_key(|ticketed| ticketed.seq);
        let refusals = state.ended_at.iter().filter(|end| end.kind == EndedKind::Refusal);
        let mut loaded = Loaded {
            stocks: state.stock.iter().map(|(sku, row)| (sku.clone(), *row)).collect(),
            holds: state.held.values().cloned().collect(),
            ticketed,
            refusals: refusals.copied().collect(),
            hot_items: state.hot_items.iter().map(|(sku, item)| (sku.clone(), *item)).collect(),
            hot_item_histories: Vec::new(),
        };
        for (sku, history) in &state.hot_item_histories {
            loaded.add_history(sku.clone(), history);
        }
        Ok(loaded)
    }

    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        *self.writer.lock().unwrap() = Some(thread::current());
        self.commits.fetch_add(1, Ordering::SeqCst);
        let is_held_up = self.is_held_up.lock().unwrap();
        drop(self.released.wait_while(is_held_up, |is_held_up| *is_held_up).unwrap());
        let crash = self.crash.lock().unwrap().take();
        if crash != Some(Crash::Before) {
            self.state().write(commit);
            *self.written.lock().unwrap() = Some(commit.clone());
        }
        match crash {
            None => Ok(()),
            Some(Crash::Panic) => panic!("panicked on purpose"),
            Some(crash) => {
                let source = format!("crashed {crash:?}").into();
                Err(StoreError::Database { action: "be written", source })
            }
        }
    }

    fn stock(&self, sku: &Sku) -> Result<Option<StockRow>, StoreError> {
        Ok(self.state().stock.get(sku).copied())
    }

    fn reservation(&self, id: CommandId) -> Result<Option<(Sku, Reservation)>, StoreError> {
        let state = self.state();
        Ok(state.held.get(&id).or_else(|| state.ended.get(&id)).cloned())
    }

    fn ended_reservation(&self, id: CommandId) -> Result<Option<Reservation>, StoreError> {
        Ok(self.state().ended.get(&id).map(|(_, reservation)| reservation.clone()))
    }

    fn adjustment(&self, id: CommandId) -> Result<Option<Adjustment>, StoreError> {
        Ok(self.state().adjustments.get(&id).cloned())
    }

    fn purchases(&self, sku: &Sku) -> Result<Vec<(Arc<str>, u64)>, StoreError> {
        let mut sums = BTreeMap::<Arc<str>, u64>::new();
        for (_, purchase) in self.state().purchases.iter().filter(|(of, _)| of == sku) {
            *sums.entry(Arc::clone(&purchase.customer)).or_default() += u64::from(purchase.units);
        }
        Ok(sums.into_iter().collect())
    }

    fn ticketed(&self, id: CommandId) -> Result<Option<Ticketed>, StoreError> {
        Ok(self.state().ticketed.get(&id).cloned())
    }

    fn journal(
        &self,
        sku: &Sku,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        let state = self.state();
        let entries = state.journal.get(sku).into_iter().flatten();
        Ok(entries.filter(|entry| entry.version > after).take(limit).cloned().collect())
    }

    fn hot_item_history(&self, sku: &Sku) -> Result<HotItemHistory, StoreError> {
        Ok(self.state().hot_item_histories.get(sku).cloned().unwrap_or_default())
    }

    fn ended(
        &self,
        kind: EndedKind,
        from: UnixMs,
        until: UnixMs,
        limit: usize,
    ) -> Result<Vec<Ended>, StoreError> {
        let is_meant = |end: &&Ended| end.kind == kind && end.at >= from && end.at <= until;
        Ok(self.state().ended_at.iter().filter(is_meant).take(limit).copied().collect())
    }
}

impl State {
    fn write(&mut self, commit: &Commit) {
        for changed in &commit.skus {
            self.stock.insert(changed.sku.clone(), changed.row);
            self.journal.entry(changed.sku.clone()).or_default().extend(changed.entries.clone());
        }
        for changed in &commit.reservations {
            let id = changed.1.id;
            if changed.1.is_held() {
                self.held.insert(id, changed.clone());
            } else {
                self.held.remove(&id);
                self.ended.insert(id, changed.clone());
            }
        }
        for (_, adjustment) in &commit.adjustments {
            self.adjustments.insert(adjustment.id, adjustment.clone());
        }
        self.purchases.extend(commit.purchases.iter().cloned());
        self.write_tickets(commit);
        self.ended_at.extend(&commit.ended);
        for end in &commit.superseded {
            self.ended_at.remove(end);
        }
        for end in &commit.forgotten {
            self.ended_at.remove(end);
            match end.kind {
                EndedKind::Adjustment => drop(self.adjustments.remove(&end.id)),
                EndedKind::Hold | EndedKind::Refusal => drop(self.ended.remove(&end.id)),
            }
        }
        for (sku, item) in &commit.hot_items {
            match item {
                Some(item) => drop(self.hot_items.insert(sku.clone(), *item)),
                None => drop(self.hot_items.remove(sku)),
            }
        }
        for (sku, history) in &commit.hot_item_histories {
            match history.clone() {
                Some(history) => drop(self.hot_item_histories.insert(sku.clone(), history)),
                None => drop(self.hot_item_histories.remove(sku)),
            }
        }
    }

    fn write_tickets(&mut self, commit: &Commit) {
        for ticketed in &commit.ticketed {
            self.ticketed.insert(ticketed.reserve.id, ticketed.clone());
        }
        for id in &commit.unticketed {
            self.ticketed.remove(id);
        }
    }
}
