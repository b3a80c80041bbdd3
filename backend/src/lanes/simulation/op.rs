//! What happens in a history, one thing after the other, and how a seed chooses it.

use std::num::NonZeroU32;

use cartgate_ledger::{Terms, UnixMs};
use rand::Rng as _;
use rand::distr::{Distribution as _, weighted::WeightedIndex};
use rand::rngs::StdRng;

use crate::hot_items::HotItem;
use crate::store::memory::Crash;

/// Names what a customer asks for: its SKU, customer, quantity and so on follow from it (see
/// [`Wish`](super::wish::Wish)), so that each time it is asked for, the same is.
pub(super) type Key = u16;

/// One thing that happens. It stands for itself: without those before it, it still means something,
/// or nothing. So what does not matter to a failure can be left out of its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// The shop puts `units` of a SKU up for sale, if it stands `expected` versions before where it
    /// stands.
    Set { sku: usize, units: u64, expected: Option<u64> },
    /// The shop adjusts a SKU's units; the same again for the same key.
    Adjust { key: Key },
    /// A customer asks for a hold, or asks again.
    Reserve { key: Key },
    /// Somebody asks for something else under the key.
    ReserveOther { key: Key },
    /// A customer asks, and the network loses it. Whether it was so or the answer was lost, the
    /// customer cannot know.
    LoseRequest { key: Key },
    /// A customer pays.
    Confirm { key: Key, units: Option<u32>, reacquire: bool },
    /// A customer gives a hold back.
    Release { key: Key },
    /// A customer asks for more time.
    Extend { key: Key, ms: u64 },
    /// Somebody reads a reservation: whoever does wants it.
    Claim { key: Key },
    /// A cart gives one of its lines back.
    Cancel { key: Key, even_claimed: bool },
    /// The earliest answer to a key's requests that is there arrives.
    Hear { key: Key },
    /// The same, but the network loses it.
    LoseResponse { key: Key },
    /// All answers that are there arrive.
    HearAll,
    /// The latest of a key's requests is hung up, answered or not.
    HangUp { key: Key },
    /// A customer's wait ends: it asks for a ticket.
    EndWait { key: Key },
    /// Time passes.
    Advance { ms: u64 },
    /// Time passes until the first hold is due, give or take a millisecond.
    AdvanceToDue { more_ms: u64 },
    /// The wall clock is set back.
    StepBack { ms: u64 },
    /// A SKU becomes a hot item, or its terms change; those so many versions before the last, if
    /// `expected` says so.
    Promote { sku: usize, terms: NewTerms, expected: Option<u64> },
    /// A SKU is a hot item no more, if its terms are those.
    Demote { sku: usize, expected: Option<u64> },
    /// The owner takes a turn.
    Turn,
    /// The next commit that writes anything ends the process. If it `dies`, nobody hears anything
    /// more; if not, it stops itself, and tells those who wait.
    FailNextCommit { crash: Crash, dies: bool },
    /// The process dies here and now, and starts again.
    Crash,
    /// The engine is told to stop. Once it has, it is started again.
    Close,
}

/// Terms of a hot item, with times from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewTerms {
    pub(super) reserves_per_s: Option<u32>,
    pub(super) customer_cap: Option<u32>,
    pub(super) opens_in_ms: Option<u64>,
    pub(super) closes_in_ms: Option<u64>,
}

impl NewTerms {
    pub(super) fn at(self, now: UnixMs) -> HotItem {
        HotItem {
            reserves_per_s: self.reserves_per_s.and_then(NonZeroU32::new),
            terms: Terms {
                customer_cap: self.customer_cap.and_then(NonZeroU32::new),
                opens_at: self.opens_in_ms.map(|ms| now.plus_ms(ms)),
                closes_at: self.closes_in_ms.map(|ms| now.plus_ms(ms)),
            },
            ..HotItem::default()
        }
    }

    fn any(random: &mut StdRng) -> Self {
        let some = |is_some: bool, value: u64| is_some.then_some(value);
        let closes_in_ms = any_ms(if random.random_bool(0.5) { 100 } else { 2_000 }, random);
        let opens_in_ms = any_ms(closes_in_ms.min(200), random);
        Self {
            reserves_per_s: random.random_bool(0.5).then(|| random.random_range(1..200)),
            customer_cap: random.random_bool(0.4).then(|| random.random_range(1..6)),
            opens_in_ms: some(random.random_bool(0.2), opens_in_ms),
            closes_in_ms: some(random.random_bool(0.2), closes_in_ms),
        }
    }
}

/// Up to `max` or a little more, mostly round: so that things happen in the same moment.
fn any_ms(max: u64, random: &mut StdRng) -> u64 {
    let ms = random.random_range(1..=max);
    if random.random_bool(0.7) { ms.next_multiple_of(10) } else { ms }
}

/// How often each kind of thing happens, by its name.
const WEIGHTS: [(&str, u32); 24] = [
    ("reserve", 240),
    ("turn", 190),
    ("hear", 60),
    ("hear-all", 60),
    ("hang-up", 40),
    ("advance", 50),
    ("confirm", 50),
    ("end-wait", 60),
    ("claim", 25),
    ("lose-response", 25),
    ("advance-to-due", 20),
    ("promote", 30),
    ("release", 20),
    ("set", 20),
    ("cancel", 15),
    ("demote", 25),
    ("extend", 15),
    ("fail-next-commit", 12),
    ("adjust", 12),
    ("reserve-other", 10),
    ("advance-far", 6),
    ("crash", 6),
    ("close", 4),
    ("step-back", 4),
];

/// How many of the keys that were sent last are in use.
const SENT: usize = 8;

/// How many keys are asked for at a time, and after how many things the first of them gives way.
const KEYS: u16 = 10;
const KEY_LIFE: usize = 8;

/// Chooses a history's things.
pub(super) struct Chooser {
    kinds: WeightedIndex<u32>,
    /// What the last of them was about.
    key: Key,
    /// What was asked for, the latest last.
    sent: Vec<Key>,
}

impl Chooser {
    /// In each history some kinds of things do not happen, so that others happen more often in a row.
    pub(super) fn new(random: &mut StdRng) -> Self {
        let mut weight = |(name, weight): &(&str, u32)| {
            let is_muted = random.random_bool(0.2) && !matches!(*name, "reserve" | "turn");
            if is_muted { 0 } else { *weight }
        };
        let weights: Vec<_> = WEIGHTS.iter().map(&mut weight).collect();
        Self { kinds: WeightedIndex::new(weights).unwrap(), key: 0, sent: Vec::new() }
    }

    /// What happens as number `index` of a history. Often it is about what the last was about.
    pub(super) fn op(&mut self, index: usize, random: &mut StdRng) -> Op {
        let kind = WEIGHTS[self.kinds.sample(random)].0;
        if kind == "reserve" {
            let first = u16::try_from(index / KEY_LIFE).unwrap();
            self.key = first + random.random_range(0..KEYS);
            self.sent.push(self.key);
        } else if let sent @ [_, ..] = &self.sent[self.sent.len().saturating_sub(SENT)..]
            && random.random_bool(0.6)
        {
            self.key = sent[random.random_range(0..sent.len())];
        }
        let key = self.key;
        let sku = random.random_range(0..super::wish::SKUS.len());
        match kind {
            "reserve" if random.random_bool(0.05) => Op::LoseRequest { key },
            "reserve" => Op::Reserve { key },
            "reserve-other" => Op::ReserveOther { key },
            "turn" => Op::Turn,
            "hear" => Op::Hear { key },
            "hear-all" => Op::HearAll,
            "hang-up" => Op::HangUp { key },
            "advance" => Op::Advance { ms: any_ms(60, random) },
            "advance-far" => Op::Advance { ms: random.random_range(300..6_000) },
            "advance-to-due" => Op::AdvanceToDue { more_ms: random.random_range(0..3) },
            "step-back" => Op::StepBack { ms: random.random_range(1..2_000) },
            "confirm" => Op::Confirm {
                key,
                units: random.random_bool(0.3).then(|| random.random_range(1..4)),
                reacquire: random.random_bool(0.4),
            },
            "end-wait" => Op::EndWait { key },
            "claim" => Op::Claim { key },
            "lose-response" => Op::LoseResponse { key },
            "release" => Op::Release { key },
            "extend" => Op::Extend { key, ms: random.random_range(1..600) },
            "cancel" => Op::Cancel { key, even_claimed: random.random_bool(0.5) },
            "set" => {
                let expected = random.random_bool(0.3).then(|| random.random_range(0..2));
                Op::Set { sku, units: random.random_range(0..20), expected }
            }
            "adjust" => Op::Adjust { key },
            "promote" => {
                let expected = random.random_bool(0.2).then(|| random.random_range(0..2));
                Op::Promote { sku, terms: NewTerms::any(random), expected }
            }
            "demote" => {
                let expected = random.random_bool(0.2).then(|| random.random_range(0..2));
                Op::Demote { sku, expected }
            }
            "fail-next-commit" => {
                let crash = if random.random_bool(0.5) { Crash::Before } else { Crash::After };
                Op::FailNextCommit { crash, dies: random.random_bool(0.5) }
            }
            "crash" => Op::Crash,
            "close" => Op::Close,
            other => unreachable!("{other} has a weight and no meaning"),
        }
    }
}

impl Op {
    /// The name that it is counted under.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Set { .. } => "set",
            Self::Adjust { .. } => "adjust",
            Self::Reserve { .. } => "reserve",
            Self::ReserveOther { .. } => "reserve with another fingerprint",
            Self::LoseRequest { .. } => "lose a request",
            Self::Confirm { units: None, reacquire: false, .. } => "confirm",
            Self::Confirm { units: Some(_), reacquire: false, .. } => "confirm some",
            Self::Confirm { reacquire: true, .. } => "confirm or reacquire",
            Self::Release { .. } => "release",
            Self::Extend { .. } => "extend",
            Self::Claim { .. } => "claim",
            Self::Cancel { .. } => "cancel",
            Self::Hear { .. } => "hear",
            Self::LoseResponse { .. } => "lose a response",
            Self::HearAll => "hear all",
            Self::HangUp { .. } => "hang up",
            Self::EndWait { .. } => "end a wait",
            Self::Advance { .. } => "advance time",
            Self::AdvanceToDue { .. } => "advance to the next due hold",
            Self::StepBack { .. } => "step the clock back",
            Self::Promote { .. } => "promote",
            Self::Demote { .. } => "demote",
            Self::Turn => "turn",
            Self::FailNextCommit { .. } => "fail the next commit",
            Self::Crash => "crash between turns",
            Self::Close => "stop in order",
        }
    }
}
