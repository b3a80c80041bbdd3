//! An edge's side: what it reports, and what it makes of the answers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Heavy, Item, ItemReport, Reply, Report, Session, Version};
use crate::Sku;
use crate::shares::Allowance;

/// What an edge knows: the part that outlives the worker thread that reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The registry that it has.
    pub version: Option<Version>,
    /// How many edges there are.
    pub edges: u32,
    /// The hot items.
    pub items: BTreeMap<Sku, Entry>,
}

/// What an edge knows of a hot item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// As the service told it.
    pub item: Item,
    /// Where its meter is: the lowest place that was free.
    pub place: u16,
    /// The number of its share and how much that is, if it has one.
    pub share: Option<(u64, u32)>,
}

/// The worker thread of an edge that reports: by default, of one that knows nothing yet.
#[derive(Clone, Debug, Default)]
pub struct Reporter {
    table: Table,
    /// Of the last report.
    number: u64,
    /// The incarnation that the shares are of.
    holds: Option<u64>,
    contact_until_ms: u64,
    /// Shares of which the service does not know yet that the edge has them.
    news: BTreeSet<Sku>,
    /// Whether the service has asked for all.
    tells_all: bool,
    /// Units per second that are asked for, by the place of the item's meter: 0, or [`DEMAND_MIN`] or more.
    rates: Vec<f64>,
    on_its_way: Option<OnItsWay>,
    next_ms: u64,
    failures: u32,
}

#[derive(Clone, Debug)]
struct OnItsWay {
    sent_ms: u64,
    news: BTreeSet<Sku>,
}

/// What an answer has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Whether threads have to read the table again.
    pub is_table: bool,
    /// Meters that have another share: item, place, share.
    pub shares: Vec<(Sku, u16, Allowance)>,
}

/// Over how long demand is averaged. Long enough for a few dozen requests of what is worth a limit.
const AVERAGE_MS: f64 = 150.0;

/// What is not asked for so often any more is not worth a word.
const DEMAND_MIN: f64 = 0.5;

/// How long after failures the next report is sent at the latest.
const AFTER_FAILURES_MS_MAX: u64 = 5_000;

impl Reporter {
    /// The most items that an edge takes note of.
    pub const PLACES_MAX: u16 = 10_000;

    /// Goes on from what another worker thread of this edge has left: the table; the number of its last
    /// report; the incarnation that the shares are of, and until when they are good.
    pub fn resume(table: Table, number: u64, holds: Option<u64>, contact_until_ms: u64) -> Self {
        let has_share =
            |(sku, entry): (&Sku, &Entry)| Some(sku.clone()).filter(|_| entry.share.is_some());
        let news = table.items.iter().filter_map(has_share).collect();
        Self { table, number, holds, contact_until_ms, news, ..Self::default() }
    }

    /// What threads are to know.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The number of the last report.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The incarnation that the shares are of.
    pub fn holds(&self) -> Option<u64> {
        self.holds
    }

    /// Until when shares are good.
    pub fn contact_until_ms(&self) -> u64 {
        self.contact_until_ms
    }

    /// How often reports were not answered since one was.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Notes what was asked for in the last `over_ms`: units, by the place of the item's meter.
    pub fn ask(&mut self, asked: &[u64], over_ms: u64) {
        let over_ms = over_ms.max(1) as f64;
        let part = over_ms / (AVERAGE_MS + over_ms);
        let places = asked.len().min(Self::PLACES_MAX.into());
        self.rates.resize(self.rates.len().max(places), 0.0);
        for entry in self.table.items.values() {
            let place = usize::from(entry.place);
            let units = asked.get(place).copied().unwrap_or_default();
            let Some(rate) = self.rates.get_mut(place) else { continue };
            let has_some = entry.share.is_some_and(|(_, per_second)| per_second > 0);
            if units > 0 && *rate < DEMAND_MIN && !has_some {
                // Whoever asks for what nobody has asked for just now should not wait for its share.
                self.next_ms = 0;
            }
            *rate += (units as f64 * 1_000.0 / over_ms - *rate) * part;
            if *rate < DEMAND_MIN {
                *rate = 0.0;
            }
        }
    }

    /// Whether it is time to report.
    pub fn is_due(&self, now_ms: u64) -> bool {
        self.on_its_way.is_none() && self.next_ms <= now_ms
    }

    /// The report to send now.
    pub fn report(&mut self, heavy: Vec<Heavy>, over_ms: u64, now_ms: u64) -> Report {
        if self.contact_until_ms <= now_ms {
            self.holds = None;
        }
        self.number += 1;
        let holds = self.holds;
        let is_all = holds.is_some() && self.tells_all;
        let is_news = |sku: &Sku| holds.is_some() && (is_all || self.news.contains(sku));
        let items = self.table.items.iter().filter_map(|(sku, entry)| {
            let demand =
                self.rates.get(usize::from(entry.place)).map_or(0, |rate| rate.ceil() as u32);
            let share = entry.share.filter(|_| is_news(sku));
            (demand > 0 || share.is_some()).then(|| ItemReport { sku: sku.clone(), demand, share })
        });
        let items = items.collect();
        let news = self.news.clone();
        self.on_its_way = Some(OnItsWay { sent_ms: now_ms, news });
        let (number, known) = (self.number, self.table.version);
        Report { number, known, holds, is_all, items, over_ms, heavy, sku_form: None }
    }

    /// Takes the answer to the report that is on its way.
    pub fn accept(&mut self, reply: Reply, now_ms: u64) -> Change {
        let Some(OnItsWay { sent_ms, news }) = self.on_its_way.take() else {
            return Change::default();
        };
        self.failures = 0;
        // Counted from sending: an edge looks at the clock with each tick alone, and the answer comes just after
        // one. A tick that is a little early is the right one. But a service that is slow gets a pause.
        let early_ms = reply.report_in_ms / 8;
        let after_sending_ms = sent_ms.saturating_add(reply.report_in_ms - early_ms);
        let after_answer_ms = now_ms.saturating_add(reply.report_in_ms / 2);
        self.next_ms = after_sending_ms.max(after_answer_ms);
        let mut change = self.take_items(&reply);
        match reply.session {
            Session::Unknown => {
                self.tells_all = true;
                self.next_ms = now_ms;
                return change;
            }
            Session::Renewed => self.news.retain(|sku| !news.contains(sku)),
            Session::Begun => {
                self.news.clear();
                let is_told: BTreeSet<_> = reply.shares.iter().map(|(sku, ..)| sku).collect();
                for (sku, entry) in &mut self.table.items {
                    entry.share = None;
                    if entry.item.limit.is_some() && !is_told.contains(sku) {
                        change.shares.push((sku.clone(), entry.place, Allowance::default()));
                    }
                }
            }
        }
        (self.tells_all, self.holds) = (false, Some(reply.version.incarnation));
        self.contact_until_ms = sent_ms.saturating_add(reply.ttl_ms);
        for (sku, seq, per_second) in reply.shares {
            if let Some(entry) = self.table.items.get_mut(&sku)
                && let Some(limit) = entry.item.limit
            {
                entry.share = Some((seq, per_second));
                change.shares.push((sku.clone(), entry.place, Allowance::of(limit, per_second)));
                self.news.insert(sku);
            }
        }
        change
    }

    /// Notes that the report on its way is not going to be answered. The next comes later and later, and
    /// at another time than other edges' (`jitter` is any random number): they have all lost the same service.
    pub fn fail(&mut self, jitter: u64, now_ms: u64) {
        self.on_its_way = None;
        self.failures = self.failures.saturating_add(1);
        let pause_ms = (100_u64 << self.failures.min(10)).min(AFTER_FAILURES_MS_MAX);
        self.next_ms = now_ms.saturating_add(pause_ms / 2 + jitter % (pause_ms / 2));
    }

    fn take_items(&mut self, reply: &Reply) -> Change {
        let mut change = Change::default();
        let table = &mut self.table;
        change.is_table = (table.version, table.edges) != (Some(reply.version), reply.edges);
        (table.version, table.edges) = (Some(reply.version), reply.edges);
        let told: BTreeSet<_> = reply.items.iter().map(|item| &item.sku).collect();
        let gone: BTreeSet<_> = reply.gone.iter().collect();
        if reply.is_all || !gone.is_empty() {
            table.items.retain(|sku, entry| {
                let stays = !gone.contains(sku) && (!reply.is_all || told.contains(sku));
                if !stays && let Some(rate) = self.rates.get_mut(usize::from(entry.place)) {
                    *rate = 0.0;
                }
                stays
            });
        }
        if !reply.items.is_empty() {
            let mut free = table.free_places();
            let shares = reply.items.iter().filter_map(|item| table.take_item(item, &mut free));
            change.shares.extend(shares);
        }
        self.news.retain(|sku| table.items.contains_key(sku));
        change
    }
}

impl Table {
    /// Takes note of an item. Gives its meter's share if that is another now.
    fn take_item(
        &mut self,
        item: &Item,
        free: &mut impl Iterator<Item = u16>,
    ) -> Option<(Sku, u16, Allowance)> {
        let sku = item.sku.clone();
        if let Some(entry) = self.items.get_mut(&sku) {
            let limit_before = std::mem::replace(&mut entry.item, item.clone()).limit;
            entry.share = entry.share.filter(|_| item.limit.is_some());
            // Without a share: of a limit that was there before its meter may still have one.
            let limit = item.limit.filter(|limit| limit_before != Some(*limit))?;
            let share = entry.share.map(|(_, n)| Allowance::of(limit, n)).unwrap_or_default();
            return Some((sku, entry.place, share));
        }
        let place = free.next()?;
        self.items.insert(sku.clone(), Entry { item: item.clone(), place, share: None });
        // Whatever was there before is of another item.
        item.limit.map(|_| (sku, place, Allowance::default()))
    }

    /// Lowest first.
    fn free_places(&self) -> impl Iterator<Item = u16> + use<> {
        let taken: BTreeSet<_> = self.items.values().map(|entry| entry.place).collect();
        (0..Reporter::PLACES_MAX).filter(move |place| !taken.contains(place))
    }
}

#[cfg(test)]
mod tests;
