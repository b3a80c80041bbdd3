//! What was counted of one SKU.

use super::Source;

/// How long a slot of counts is.
const SLOT_MS: u64 = 50;

/// What a rate is of: 400 ms.
const WINDOW: u64 = 8;

/// How late counts come: 200 ms.
const LATE: u64 = 4;

/// Slots that a window may begin in.
const SLOTS: u64 = WINDOW + LATE;

/// Over how long the past is averaged.
const PAST_MS: f64 = 60_000.0;

/// Which slot a moment is in.
pub(super) fn slot_of(ms: u64) -> u64 {
    ms / SLOT_MS
}

/// Counts of the last 600 ms, and what was before.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// The slot that something was counted in last.
    newest: u64,
    edges: [f64; SLOTS as usize],
    api: [f64; SLOTS as usize],
    /// What is older than the slots.
    pub(super) past: Past,
    pub(super) is_in_stock: bool,
    /// When it was asked about last, and was not in stock.
    pub(super) not_in_stock_ms: Option<u64>,
}

impl Candidate {
    pub(super) fn new(past: Past, slot: u64) -> Self {
        let (edges, api, is_in_stock, not_in_stock_ms) = Default::default();
        Self { newest: slot, edges, api, past, is_in_stock, not_in_stock_ms }
    }

    /// Spreads units over the time that they were counted in. What is older than all slots is left out.
    pub(super) fn add(&mut self, source: Source, units: u64, over_ms: u64, now_ms: u64) {
        self.roll(slot_of(now_ms));
        let counts = match source {
            Source::Edges => &mut self.edges,
            Source::Api => &mut self.api,
        };
        let over_ms = over_ms.max(1);
        let from_ms = now_ms.saturating_sub(over_ms);
        let oldest = (self.newest + 1).saturating_sub(SLOTS).max(slot_of(from_ms));
        for slot in oldest..=self.newest {
            let (begins_ms, ends_ms) = (slot * SLOT_MS, (slot + 1) * SLOT_MS);
            let part_ms = ends_ms.min(now_ms).saturating_sub(begins_ms.max(from_ms));
            counts[place(slot)] += units as f64 * part_ms as f64 / over_ms as f64;
        }
    }

    /// Whether something was counted since a report that may be on its way.
    pub(super) fn is_news(&self, now_ms: u64) -> bool {
        self.newest + LATE >= slot_of(now_ms)
    }

    /// Units per second: the most in 400 ms that end in the 200 ms before something was counted last.
    pub(super) fn per_s(&self, now_ms: u64) -> f64 {
        if self.newest + SLOTS <= slot_of(now_ms) {
            return 0.0;
        }
        let sum = |counts: &[f64], late: u64| {
            let last = self.newest.saturating_sub(late);
            let slots = (last + 1).saturating_sub(WINDOW)..=last;
            slots.map(|slot| counts[place(slot)]).sum::<f64>()
        };
        let most = |late| sum(&self.edges, late).max(sum(&self.api, late));
        (0..=LATE).map(most).fold(0.0, f64::max) * 1_000.0 / (WINDOW * SLOT_MS) as f64
    }

    /// Makes room up to this slot.
    fn roll(&mut self, slot: u64) {
        while self.newest < slot {
            // A long time without counts: what is left in the slots is gone after so many.
            if slot - self.newest > SLOTS && self.is_empty() {
                self.newest = slot;
                return;
            }
            self.newest += 1;
            let place = place(self.newest);
            let units = self.edges[place].max(self.api[place]);
            (self.edges[place], self.api[place]) = (0.0, 0.0);
            self.past.add(units, self.newest);
        }
    }

    fn is_empty(&self) -> bool {
        self.edges.iter().chain(&self.api).all(|units| *units == 0.0)
    }
}

fn place(slot: u64) -> usize {
    (slot % SLOTS) as usize
}

/// Units per second, on average over about a minute; of nothing before there were any counts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Past {
    per_s: f64,
    at: u64,
}

impl Past {
    /// As of a slot.
    pub(super) fn at(self, slot: u64) -> f64 {
        self.per_s * kept(slot.saturating_sub(self.at) * SLOT_MS)
    }

    /// As of a slot, if there were counts for so long only.
    pub(super) fn known_for(self, ms: u64, slot: u64) -> f64 {
        self.at(slot) / (1.0 - kept(ms.max(1)))
    }

    /// It is at least as much.
    pub(super) fn raise(&mut self, per_s: f64, slot: u64) {
        *self = Self { per_s: self.at(slot).max(per_s), at: slot };
    }

    /// Takes in the units of one slot.
    fn add(&mut self, units: f64, slot: u64) {
        if units > 0.0 {
            let per_s = units * 1_000.0 / SLOT_MS as f64;
            let past = self.at(slot) + per_s * (1.0 - kept(SLOT_MS));
            *self = Self { per_s: past, at: slot };
        }
    }
}

/// Which part of an average is left after so long.
fn kept(ms: u64) -> f64 {
    (-(ms as f64) / PAST_MS).exp()
}
