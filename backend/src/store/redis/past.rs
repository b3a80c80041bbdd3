//! What this process has committed lately, so that it notices when the store has lost it.
//!
//! Each commit has a nonce, its turn. The store has the last one, and of each tenure the one that it
//! began after (`tenures`). Whatever becomes of a bucket, the last turn of a tenure that is over is
//! among these. If it is not, a failover has gone back to an earlier one: to the last of this tenure
//! that is there, or to before all of them. What the turns after that were about is lost, whatever
//! others have written in its place since.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use cartgate_policy::Sku;

use crate::store::tenure::TurnCommit;
use crate::store::{SkuCommit, StockRow};

/// How much of a tenure is remembered: more than what a replica may lag behind.
const TURNS_KEPT: Duration = Duration::from_secs(10);

/// For how long a tenure that is over is compared with the store, from when that first succeeded.
const COMPARED_FOR: Duration = Duration::from_secs(30);

/// When a tenure is forgotten of whose bucket nothing can be read.
const REMEMBERED_FOR: Duration = Duration::from_secs(60 * 60);

/// A SKU of which something was lost that was said to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The SKU.
    pub sku: Sku,
    /// The version that was committed.
    pub known: u64,
    /// The version that was left of it. The same, if refusals or tickets were lost, and no change of
    /// its stock.
    pub found: u64,
}

impl Lost {
    /// What was lost of the same SKU before is lost as well.
    pub(super) fn and(&mut self, before: &Self) {
        if before.sku == self.sku {
            self.known = self.known.max(before.known);
            self.found = self.found.min(before.found);
        }
    }
}

/// The last turns of a tenure.
#[derive(Default)]
pub(super) struct Diary {
    turns: VecDeque<Turn>,
    /// The SKUs' versions, as this tenure has them.
    versions: HashMap<Sku, u64>,
}

struct Turn {
    nonce: String,
    at: Instant,
    /// Whether the store has said that it is written.
    is_written: bool,
    /// What it was about: each SKU's versions before and after it.
    skus: BTreeMap<Sku, (u64, u64)>,
}

impl Diary {
    /// The bucket was read.
    pub(super) fn load(&mut self, stocks: &[(Sku, StockRow)]) {
        self.versions = stocks.iter().map(|(sku, row)| (sku.clone(), row.version)).collect();
    }

    /// A turn is about to be written.
    pub(super) fn begin(&mut self, nonce: &str, turn: &TurnCommit) {
        let at = Instant::now();
        while self.turns.front().is_some_and(|first| at - first.at > TURNS_KEPT) {
            self.turns.pop_front();
        }
        let mut skus = BTreeMap::new();
        for SkuCommit { sku, row, .. } in &turn.commit.skus {
            let before = self.versions.insert(sku.clone(), row.version).unwrap_or_default();
            skus.insert(sku.clone(), (before, row.version));
        }
        for sku in unchanged(turn) {
            if !skus.contains_key(sku) {
                let version = self.versions.get(sku).copied().unwrap_or_default();
                skus.insert(sku.clone(), (version, version));
            }
        }
        self.turns.push_back(Turn { nonce: nonce.to_owned(), at, is_written: false, skus });
    }

    /// The store has said that it is written.
    pub(super) fn written(&mut self) {
        self.turns.back_mut().into_iter().for_each(|turn| turn.is_written = true);
    }

    /// How many turns are there still, if these are.
    fn kept(&self, there: &HashSet<String>) -> usize {
        let last = self.turns.iter().rposition(|turn| there.contains(&turn.nonce));
        last.map_or(0, |last| last + 1)
    }

    /// What the turns that are not there were about. Those of which nobody knew whether they were
    /// written were not.
    fn lost(&self, there: &HashSet<String>) -> Vec<Lost> {
        let mut skus = BTreeMap::new();
        let lost = self.turns.iter().skip(self.kept(there)).filter(|turn| turn.is_written);
        for (sku, (before, after)) in lost.flat_map(|turn| &turn.skus) {
            skus.entry(sku.clone()).or_insert((*before, *after)).1 = *after;
        }
        let lost = |(sku, (found, known))| Lost { sku, known, found };
        skus.into_iter().map(lost).collect()
    }
}

/// SKUs of which a turn has written something else than their stock.
fn unchanged(turn: &TurnCommit) -> impl Iterator<Item = &Sku> {
    let reservations = turn.commit.reservations.iter().map(|(sku, _)| sku);
    let adjustments = turn.commit.adjustments.iter().map(|(sku, _)| sku);
    let tickets = turn.tickets.iter().map(|(_, sku, _)| sku);
    let hot_items = turn.commit.hot_items.iter().map(|(sku, _)| sku);
    reservations.chain(adjustments).chain(tickets).chain(hot_items)
}

/// A tenure that is over.
pub(super) struct Past {
    pub(super) bucket: u16,
    diary: Diary,
    ended: Instant,
    compared: Option<Instant>,
    is_announced: bool,
}

impl Past {
    pub(super) fn new(bucket: u16, mut diary: Diary) -> Self {
        diary.versions = HashMap::new();
        Self { bucket, diary, ended: Instant::now(), compared: None, is_announced: false }
    }

    /// Whether it has anything that the store may lose, or may have lost.
    pub(super) fn counts(&self) -> bool {
        !self.diary.turns.is_empty()
            && self.compared.is_none_or(|first| first.elapsed() < COMPARED_FOR)
            && self.ended.elapsed() < REMEMBERED_FOR
    }

    /// What is lost of it, if these are the turns that tenures began after, and the last.
    pub(super) fn lost(&mut self, there: &HashSet<String>) -> Vec<Lost> {
        self.compared.get_or_insert_with(Instant::now);
        self.diary.lost(there)
    }

    /// Says what is lost, unless that was said before. Returns how many SKUs are new.
    pub(super) fn announce(&mut self, lost: &[Lost]) -> usize {
        if std::mem::replace(&mut self.is_announced, !lost.is_empty()) {
            return 0;
        }
        for Lost { sku, known, found } in lost {
            tracing::error!(%sku, bucket = self.bucket, known, found, "the store lost commits");
        }
        lost.len()
    }

    /// That has been announced: the next failover may lose no more than what is left.
    pub(super) fn forget_lost(&mut self, there: &HashSet<String>) {
        self.is_announced = false;
        self.diary.turns.truncate(self.diary.kept(there));
        // Somebody may have been told of the last one by whoever came after.
        self.diary.written();
    }
}
