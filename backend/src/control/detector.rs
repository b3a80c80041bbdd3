//! Notices which SKUs turn hot, and when one that was noticed is calm again.
//!
//! Two sources count the same requests: the edges, who see all of them, and the API, which sees those that
//! pass. Of a SKU the larger count is taken, never the sum. Counts are kept in slots of 50 ms, and what was
//! counted over some time is spread over it, so that a rate never has more in it than was asked for in the
//! 400 ms that it is of. Because edges report every 200 ms, each at another time, the last 200 ms are never
//! complete: a SKU's rate is the highest of any 400 ms that end in them.
//!
//! What is older makes up a SKU's past, an average over a minute. A SKU that nobody names is asked for so
//! seldom that its past is 0; unless it had to give way to others: then its past is taken to be as much as
//! any had that gave way.

use std::collections::HashMap;
use std::fmt;

use cartgate_policy::Sku;
use cartgate_policy::fleet::Heavy;

use super::config::DetectionConfig;
use crate::grouped::Grouped;
use candidate::{Candidate, Past, slot_of};

mod candidate;
#[cfg(test)]
mod tests;

/// Who has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The edges, each a part.
    Edges,
    /// The processes of the API, each a part.
    Api,
}

/// A SKU that has turned hot, and why that is so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noticed {
    /// The SKU.
    pub sku: Sku,
    /// Units per second, over 400 ms.
    pub per_s: u64,
    /// What it has passed, in units per second.
    pub threshold_per_s: u64,
    /// If that was a multiple of its own past: the past, in units per second.
    pub past_per_s: Option<u64>,
}

/// A SKU that is calm, and why that is so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calmed {
    /// The SKU.
    pub sku: Sku,
    /// It was below so many units per second ..
    pub below_per_s: u64,
    /// .. for so long, in milliseconds.
    pub for_ms: u64,
}

/// What was counted of SKUs, and which of them are hot.
#[derive(Clone, Debug)]
pub struct Detector {
    config: DetectionConfig,
    since_ms: u64,
    candidates: HashMap<Sku, Candidate>,
    /// The past of those that gave way.
    forgotten: Past,
    watched: HashMap<Sku, Watched>,
    /// How many may be registered now, and since when that is so.
    places: f64,
    places_at_ms: u64,
}

/// A SKU that was noticed.
#[derive(Clone, Copy, Debug)]
struct Watched {
    threshold_per_s: f64,
    calm_since_ms: Option<u64>,
    /// When it was noticed, or last seen in the registry.
    seen_ms: u64,
}

/// For how long what was noticed is remembered while it is not in the registry: it gets there a moment later,
/// and what is known of the registry may be a moment old.
const REMEMBERED_MS: u64 = 10_000;

/// How many SKUs are kept count of. When there are twice as many, half of them give way: those that are
/// asked for least.
const CANDIDATES_KEPT: usize = 4_096;

/// How many SKUs are asked about at once, whether they are in stock.
const ASKED_AT_ONCE: usize = 32;

/// How long a SKU that was not in stock is not asked about again.
const NOT_IN_STOCK_MS: u64 = 10_000;

/// How long a past has to be known to be compared with.
const PAST_KNOWN_MS: u64 = 60_000;

impl Detector {
    /// A detector that has counted nothing.
    pub fn new(config: DetectionConfig, now_ms: u64) -> Self {
        let (candidates, forgotten, watched) = Default::default();
        let places = f64::from(config.registrations_per_s);
        let (since_ms, places_at_ms) = (now_ms, now_ms);
        Self { config, since_ms, candidates, forgotten, watched, places, places_at_ms }
    }

    /// Notes what a part of a source has counted in the last `over_ms`.
    pub fn note(&mut self, source: Source, heavy: &[Heavy], over_ms: u64, now_ms: u64) {
        for Heavy { sku, units } in heavy {
            self.candidate(sku, now_ms).add(source, *units, over_ms, now_ms);
        }
    }

    /// SKUs that are hot if they are in stock, which nobody has said yet; the most asked for first.
    pub fn to_ask(&self, now_ms: u64, is_registered: impl Fn(&Sku) -> bool) -> Vec<Sku> {
        let is_open = |candidate: &Candidate| match candidate.not_in_stock_ms {
            None => !candidate.is_in_stock,
            Some(at_ms) => now_ms.saturating_sub(at_ms) >= NOT_IN_STOCK_MS,
        };
        let hot = self.hot(now_ms, is_open, is_registered).into_iter();
        hot.take(ASKED_AT_ONCE).map(|noticed| noticed.sku).collect()
    }

    /// Notes whether a SKU is in stock. Once it is, it stays so.
    pub fn learn(&mut self, sku: &Sku, is_in_stock: bool, now_ms: u64) {
        if let Some(candidate) = self.candidates.get_mut(sku) {
            candidate.is_in_stock = is_in_stock;
            candidate.not_in_stock_ms = (!is_in_stock).then_some(now_ms);
        }
    }

    /// SKUs that are to be registered, at most `room`.
    pub fn noticed(
        &mut self,
        now_ms: u64,
        room: usize,
        is_registered: impl Fn(&Sku) -> bool,
    ) -> Vec<Noticed> {
        let per_s = f64::from(self.config.registrations_per_s);
        let came = now_ms.saturating_sub(self.places_at_ms) as f64 / 1_000.0 * per_s;
        (self.places, self.places_at_ms) = ((self.places + came).min(per_s), now_ms);
        let mut noticed = self.hot(now_ms, |candidate| candidate.is_in_stock, is_registered);
        // Whole ones.
        noticed.truncate(room.min(self.places as usize));
        self.places -= noticed.len() as f64;
        for Noticed { sku, threshold_per_s, .. } in &noticed {
            let threshold_per_s = *threshold_per_s as f64;
            let watched = Watched { threshold_per_s, calm_since_ms: None, seen_ms: now_ms };
            self.watched.insert(sku.clone(), watched);
        }
        noticed
    }

    /// Of those that were noticed and are in the registry, with what edges are asked for, units per second:
    /// those that are to be let go.
    pub fn calmed<'a>(
        &mut self,
        now_ms: u64,
        registered: impl Iterator<Item = (&'a Sku, u64)>,
    ) -> Vec<Calmed> {
        let mut before = std::mem::take(&mut self.watched);
        let mut calmed = Vec::new();
        for (sku, edges_per_s) in registered {
            // Of one that another process has noticed nobody knows what it has passed.
            let threshold_per_s = f64::from(self.config.per_s);
            let new = Watched { threshold_per_s, calm_since_ms: None, seen_ms: now_ms };
            let mut watched = before.remove(sku).unwrap_or(new);
            watched.seen_ms = now_ms;
            let below_per_s = watched.threshold_per_s * self.config.calm_ratio;
            let counted = self.candidates.get(sku).map_or(0.0, |c| c.per_s(now_ms));
            if counted.max(edges_per_s as f64) >= below_per_s {
                watched.calm_since_ms = None;
            } else {
                let since_ms = *watched.calm_since_ms.get_or_insert(now_ms);
                let for_ms = now_ms.saturating_sub(since_ms);
                if for_ms >= self.config.calm_ms {
                    let below_per_s = below_per_s.ceil() as u64;
                    calmed.push(Calmed { sku: sku.clone(), below_per_s, for_ms });
                }
            }
            self.watched.insert(sku.clone(), watched);
        }
        before.retain(|_, watched| now_ms.saturating_sub(watched.seen_ms) < REMEMBERED_MS);
        self.watched.extend(before);
        calmed
    }

    /// Candidates of some kind that have passed a threshold just now; the most asked for first.
    fn hot(
        &self,
        now_ms: u64,
        is_meant: impl Fn(&Candidate) -> bool,
        is_registered: impl Fn(&Sku) -> bool,
    ) -> Vec<Noticed> {
        let is_news = |c: &Candidate| c.is_news(now_ms) && is_meant(c);
        let found = self.candidates.iter().filter(|(_, candidate)| is_news(candidate));
        let found = found.filter_map(|(sku, candidate)| self.judge(sku, candidate, now_ms));
        let mut found: Vec<_> = found.filter(|noticed| !is_registered(&noticed.sku)).collect();
        found.sort_unstable_by(|a, b| b.per_s.cmp(&a.per_s).then_with(|| a.sku.cmp(&b.sku)));
        found
    }

    fn judge(&self, sku: &Sku, candidate: &Candidate, now_ms: u64) -> Option<Noticed> {
        let DetectionConfig { per_s: threshold, surge_ratio, surge_per_s, .. } = self.config;
        let per_s = candidate.per_s(now_ms);
        let noticed = |threshold: f64, past_per_s: Option<u64>| Noticed {
            sku: sku.clone(),
            per_s: per_s.round() as u64,
            threshold_per_s: threshold.round() as u64,
            past_per_s,
        };
        if per_s >= f64::from(threshold) {
            return Some(noticed(threshold.into(), None));
        }
        let known_ms = now_ms.saturating_sub(self.since_ms);
        if per_s < f64::from(surge_per_s) || known_ms < PAST_KNOWN_MS {
            return None;
        }
        let past = candidate.past.known_for(known_ms, slot_of(now_ms));
        let surge = (past * f64::from(surge_ratio)).max(surge_per_s.into());
        (per_s >= surge).then(|| noticed(surge, Some(past.round() as u64)))
    }

    fn candidate(&mut self, sku: &Sku, now_ms: u64) -> &mut Candidate {
        if self.candidates.len() >= 2 * CANDIDATES_KEPT && !self.candidates.contains_key(sku) {
            self.make_room(now_ms);
        }
        let (forgotten, slot) = (self.forgotten, slot_of(now_ms));
        self.candidates.entry(sku.clone()).or_insert_with(|| Candidate::new(forgotten, slot))
    }

    fn make_room(&mut self, now_ms: u64) {
        let slot = slot_of(now_ms);
        let size = |c: &Candidate| c.per_s(now_ms).max(c.past.at(slot));
        let mut all: Vec<_> = self.candidates.drain().map(|(sku, c)| (size(&c), sku, c)).collect();
        all.select_nth_unstable_by(CANDIDATES_KEPT, |(a, ..), (b, ..)| b.total_cmp(a));
        for (size, ..) in all.drain(CANDIDATES_KEPT..) {
            self.forgotten.raise(size, slot);
        }
        self.candidates.extend(all.into_iter().map(|(_, sku, candidate)| (sku, candidate)));
    }
}

impl fmt::Display for Noticed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (per_s, threshold) = (Grouped(self.per_s), Grouped(self.threshold_per_s));
        write!(f, "{per_s}/s over 400 ms, threshold {threshold}/s")?;
        self.past_per_s.map_or(Ok(()), |past| write!(f, " after {}/s before", Grouped(past)))
    }
}

impl fmt::Display for Calmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (below, for_s) = (Grouped(self.below_per_s), self.for_ms as f64 / 1_000.0);
        write!(f, "below {below}/s for {for_s:.1} s")
    }
}
