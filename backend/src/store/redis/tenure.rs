//! An owner's connections, and all that it does over them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cartgate_ledger::{Adjustment, CommandId, IdMap, JournalEntry, Reservation, UnixMs};
use cartgate_policy::Sku;
use redis::{Pipeline, RedisError, Value};

use super::ask::{self, Ask, EndedBound, JournalPage};
use super::commit::{self, Ground};
use super::facts::{Assurance, History, ask_history, history};
use super::keys::Keys;
use super::link::{Wire, pipeline};
use super::past::{Diary, Past};
use super::published::{self, Published, by_process};
use super::reply::{Replies, failed_to, new_nonce, parse_entry_id};
use super::scripts::RENEW;
use super::{Shared, streams};
use crate::hot_items::HotItemHistory;
use crate::store::tenure::{
    Answer, Arrived, EntryId, Progress, Reached, Stream, Tenure, TurnCommit,
};
use crate::store::{
    Commit, Durability, Ended, EndedKind, Loaded, SkuCommit, StockRow, Store, StoreError, Ticketed,
    journal,
};

/// How many ends are read at once.
const ENDS_MAX: usize = 4_096;

/// The hashes of what has ended.
const ENDED: &str = "ended";
const ADJUSTED: &str = "adjusted";

/// A tenure of a bucket in Redis.
pub(super) struct RedisTenure {
    shared: Arc<Shared>,
    bucket: u16,
    pub(super) keys: Keys,
    /// The nonce of its lease.
    lease: String,
    is_takeover: bool,
    history: History,
    assurance: Assurance,
    /// The owner's own connection: what it waits for after a commit counts by connection.
    main: Mutex<Main>,
    /// The lease is kept over another, since reads block.
    side: Mutex<Wire>,
    /// Something has failed: nobody knows what has been done, so nothing is done any more.
    is_over: AtomicBool,
}

struct Main {
    wire: Wire,
    expected: Expected,
    diary: Diary,
    /// The nonce of the last turn that was written; the lease's, if none was.
    turn: String,
    /// The entry of the answers of the last turn that had any.
    answers_at: EntryId,
}

/// What was fetched of commands that have ended, until the next commit, by the hash that it is in.
type Expected = BTreeMap<&'static str, IdMap<Option<Vec<u8>>>>;

impl RedisTenure {
    /// Begins a tenure whose lease has been taken.
    pub(super) fn begin(
        shared: Arc<Shared>,
        bucket: u16,
        lease: String,
        is_takeover: bool,
        mut side: Wire,
    ) -> Result<Self, StoreError> {
        let keys = shared.keys.bucket(bucket);
        let mut wire = shared.link.connect(keys.slot())?;
        let assurance = Assurance::of(&mut wire, &shared.settings)?;
        let mut pipe = pipeline();
        ask_history(&mut pipe);
        let mut replies = Replies::new(side.query(&pipe).map_err(failed_to("be asked"))?);
        let (expected, diary, answers_at) = Default::default();
        let main = Main { wire, expected, diary, turn: lease.clone(), answers_at };
        Ok(Self {
            shared,
            bucket,
            keys,
            lease,
            is_takeover,
            history: history(&mut replies)?,
            assurance,
            main: Mutex::new(main),
            side: Mutex::new(side),
            is_over: AtomicBool::new(false),
        })
    }

    fn main(&self) -> MutexGuard<'_, Main> {
        self.main.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a step, unless one has failed before: the first failure is the last of its steps.
    fn step<T>(&self, step: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        if self.is_over.load(Ordering::SeqCst) {
            let source = "something has failed before, or the lease is lost".into();
            return Err(StoreError::Database { action: "be used in this tenure any more", source });
        }
        step().inspect_err(|_| self.end())
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    pub(super) fn query(&self, pipe: &Pipeline) -> Result<Vec<Value>, RedisError> {
        self.main().wire.query(pipe)
    }

    pub(super) fn ask<T>(&self, ask: Ask<T>) -> Result<T, StoreError> {
        let replies = self.query(&ask.pipe).map_err(failed_to("be read"))?;
        (ask.read)(&mut Replies::new(replies))
    }

    fn read_new(
        &self,
        from: &[(Stream, EntryId)],
        entries_max: usize,
        wait: Duration,
    ) -> Result<Arrived, StoreError> {
        let wire = &mut self.main().wire;
        let failed = failed_to("be read");
        let mut replies = if wait.is_zero() {
            let ask = streams::ask(&self.keys, from, entries_max);
            Replies::new(wire.query(&ask).map_err(failed)?)
        } else {
            let ask = streams::ask_waiting(&self.keys, from, entries_max, wait);
            let mut replies = Replies::new(wire.query_waiting(&ask, wait).map_err(failed)?);
            replies.next_value();
            replies
        };
        let arrived = streams::arrived(&self.keys, &mut replies, entries_max)?;
        // Another owner takes away what it has decided. If a failover forgot that one, a commit that
        // rests on what was left would be written, and nobody would read the rest again.
        let lease: Option<String> = replies.next("lease")?;
        if lease.as_ref() == Some(&self.lease) { Ok(arrived) } else { Err(self.refused("fenced")) }
    }

    fn write(&self, turn: &TurnCommit) -> Result<Reached, StoreError> {
        verify(turn)?;
        let settings = &self.shared.settings;
        let mut main = self.main();
        let nonce = new_nonce();
        let ground = Ground { lease: &self.lease, after: &main.turn, turn: &nonce };
        let mut pipe = pipeline();
        pipe.add_command(commit::call(&self.keys, &ground, turn, settings.journal_max)?);
        self.assurance.ask(&mut pipe);
        main.expected = Expected::default();
        main.diary.begin(&nonce, turn);
        let replies = main.wire.query_waiting(&pipe, self.assurance.wait());
        let mut replies = Replies::new(replies.map_err(failed_to("be written"))?);
        let said: Vec<String> = replies.next("commit")?;
        match said.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["committed", ""] => {}
            ["committed", entry] => main.answers_at = parse_entry_id(entry)?,
            [reason] => return Err(self.refused(reason)),
            _ => return Err(self.refused("")),
        }
        main.turn = nonce;
        main.diary.written();
        self.assurance.reached(&mut replies)
    }

    fn refused(&self, reason: &str) -> StoreError {
        let reasons = ["fenced", "history", "entry"];
        let reason = reasons.into_iter().find(|known| *known == reason).unwrap_or("refused");
        StoreError::TenureOver { bucket: self.bucket, reason }
    }

    /// Keeps the lease for so many milliseconds. Whether it was this tenure's, and the server still
    /// has the data that it had when that began.
    fn keep(&self, lease_ms: u64) -> Result<bool, StoreError> {
        let mut call = RENEW.call(&[self.keys.key("meta")]);
        call.arg(&self.lease).arg(lease_ms);
        let mut pipe = pipeline();
        pipe.add_command(call);
        ask_history(&mut pipe);
        let mut side = self.side.lock().unwrap_or_else(PoisonError::into_inner);
        let mut replies =
            Replies::new(side.query(&pipe).map_err(failed_to("keep the bucket's lease"))?);
        let is_mine: bool = replies.next("lease")?;
        Ok(is_mine && history(&mut replies)? == self.history)
    }

    fn expected<T>(
        &self,
        hash: &'static str,
        id: CommandId,
        read: impl Fn(Option<&[u8]>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if let Some(found) = self.main().expected.get(hash).and_then(|all| all.get(&id)) {
            return read(found.as_deref());
        }
        self.fetch(hash, &[id])?;
        let main = self.main();
        let found = main.expected.get(hash).and_then(|all| all.get(&id));
        read(found.and_then(Option::as_deref))
    }

    fn fetch(&self, hash: &'static str, ids: &[CommandId]) -> Result<(), StoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        let found = self.ask(ask::found(&self.keys, hash, ids))?;
        self.main().expected.entry(hash).or_default().extend(ids.iter().copied().zip(found));
        Ok(())
    }
}

/// Checks that each journal goes on where the row ends that was decided on.
fn verify(turn: &TurnCommit) -> Result<(), StoreError> {
    let before: std::collections::HashMap<_, _> =
        turn.rows_before.iter().map(|(sku, row)| (sku, row.as_ref())).collect();
    let verify =
        |changed: &SkuCommit| journal::verify(before.get(&changed.sku).copied().flatten(), changed);
    turn.commit.skus.iter().try_for_each(verify)
}

impl Drop for RedisTenure {
    /// What it has committed is looked for from now on, whoever has the bucket next.
    fn drop(&mut self) {
        let diary = std::mem::take(&mut self.main().diary);
        self.shared.past().push(Past::new(self.bucket, diary));
    }
}

impl Tenure for RedisTenure {
    fn bucket(&self) -> u16 {
        self.bucket
    }

    fn is_takeover(&self) -> bool {
        self.is_takeover
    }

    fn progress(&self) -> Result<Progress, StoreError> {
        self.step(|| {
            Ok(Progress {
                cursors: self.ask(ask::cursors(&self.keys))?,
                routes: self.ask(ask::routes(&self.keys))?.1,
                tickets: self.ask(ask::tickets(&self.keys))?,
            })
        })
    }

    fn read(
        &self,
        from: &[(Stream, EntryId)],
        entries_max: usize,
        wait: Duration,
    ) -> Result<Arrived, StoreError> {
        self.step(|| self.read_new(from, entries_max, wait))
    }

    fn expect(
        &self,
        reservations: &[CommandId],
        adjustments: &[CommandId],
    ) -> Result<(), StoreError> {
        self.step(|| {
            self.fetch(ENDED, reservations)?;
            self.fetch(ADJUSTED, adjustments)
        })
    }

    fn commit_turn(&self, turn: &TurnCommit) -> Result<Reached, StoreError> {
        self.step(|| self.write(turn))
    }

    fn publish(&self, answers: &[Answer], reached: Reached) -> Result<(), StoreError> {
        if answers.is_empty() {
            return Ok(());
        }
        self.step(|| {
            let mut main = self.main();
            let (bucket, entry) = (self.bucket, main.answers_at);
            let mut pipe = pipeline();
            for (process, answers) in by_process(answers) {
                let told = || {
                    let answers = answers.iter().copied().cloned().collect();
                    Published { bucket, entry, reached, answers }
                };
                if !self.shared.ears.tell(process, told) {
                    let message = published::encode(bucket, entry, reached, &answers)?;
                    pipe.cmd("PUBLISH").arg(self.shared.keys.channel(process)).arg(message);
                }
            }
            main.wire.send(&pipe).map_err(failed_to("publish answers"))
        })
    }

    fn last_answers(&self) -> Result<Vec<Answer>, StoreError> {
        self.step(|| {
            let Some((at, answers)) = self.ask(ask::last_answers(&self.keys))? else {
                return Ok(Vec::new());
            };
            self.main().answers_at = at;
            Ok(answers)
        })
    }

    fn renew(&self) -> Result<bool, StoreError> {
        let is_kept = self.step(|| self.keep(super::LEASE_MS))?;
        if !is_kept {
            self.end();
        }
        Ok(is_kept)
    }

    fn release(&self) -> Result<(), StoreError> {
        self.step(|| self.keep(0))?;
        self.end();
        Ok(())
    }
}

impl Store for RedisTenure {
    fn buckets(&self) -> u16 {
        self.shared.buckets
    }

    fn secret(&self) -> [u8; 32] {
        self.shared.secret
    }

    fn durability(&self) -> Durability {
        self.assurance.durability()
    }

    fn load(&self) -> Result<Loaded, StoreError> {
        self.step(|| {
            let loaded = self.load_all()?;
            self.main().diary.load(&loaded.stocks);
            Ok(loaded)
        })
    }

    /// As a turn that has read nothing, and was decided on what is stored.
    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        self.step(|| {
            let row = |changed: &SkuCommit| {
                Ok((changed.sku.clone(), self.ask(ask::stock(&self.keys, &changed.sku))?))
            };
            let rows_before = commit.skus.iter().map(row).collect::<Result<_, StoreError>>()?;
            let turn = TurnCommit { commit: commit.clone(), rows_before, ..<_>::default() };
            self.write(&turn).map(drop)
        })
    }

    fn stock(&self, sku: &Sku) -> Result<Option<StockRow>, StoreError> {
        self.step(|| self.ask(ask::stock(&self.keys, sku)))
    }

    fn reservation(&self, id: CommandId) -> Result<Option<(Sku, Reservation)>, StoreError> {
        self.step(|| self.ask(ask::reservation(&self.keys, id)))
    }

    fn ended_reservation(&self, id: CommandId) -> Result<Option<Reservation>, StoreError> {
        let read = |found: Option<&[u8]>| ask::ended_reservation(id, found);
        self.step(|| self.expected(ENDED, id, read))
    }

    fn adjustment(&self, id: CommandId) -> Result<Option<Adjustment>, StoreError> {
        self.step(|| self.expected(ADJUSTED, id, ask::adjustment))
    }

    fn purchases(&self, sku: &Sku) -> Result<Vec<(Arc<str>, u64)>, StoreError> {
        self.step(|| {
            let bought = self.scan(&self.keys.bought(sku))?.into_iter();
            bought.map(|(customer, units)| ask::purchase(&customer, &units)).collect()
        })
    }

    fn ticketed(&self, id: CommandId) -> Result<Option<Ticketed>, StoreError> {
        self.step(|| self.ask(ask::ticketed(&self.keys, id)))
    }

    fn journal(
        &self,
        sku: &Sku,
        after: u64,
        limit: usize,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        let mut page = JournalPage::new(sku, after, limit);
        // That a page is gone is nobody's failure.
        while let Some(ask) = page.next(&self.keys) {
            page.take(self.step(|| self.ask(ask))?)?;
        }
        Ok(page.entries())
    }

    fn hot_item_history(&self, sku: &Sku) -> Result<HotItemHistory, StoreError> {
        self.step(|| self.ask(ask::hot_item_history(&self.keys, sku)))
    }

    fn ended(
        &self,
        kind: EndedKind,
        from: UnixMs,
        until: UnixMs,
        limit: usize,
    ) -> Result<Vec<Ended>, StoreError> {
        let (mut all, mut after) = (Vec::new(), EndedBound::from(kind, from));
        while all.len() < limit && from <= until {
            let count = (limit - all.len()).min(ENDS_MAX);
            let some =
                self.step(|| self.ask(ask::ended(&self.keys, kind, &after, until, count)))?;
            let is_last = some.len() < count;
            all.extend(some);
            match all.last() {
                Some(last) if !is_last => after = EndedBound::after(last),
                _ => break,
            }
        }
        Ok(all)
    }
}
