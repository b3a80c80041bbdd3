//! The drill over time, cut into bins.

use std::time::Duration;

use super::latency::Latency;
use super::outcome::Outcomes;
use super::stock::StockHistory;
use super::summary::{Basics, latency_us, orders};
use crate::drill::record::{Answer, Counters, Record, SkuEvidence};

/// Up to this, a drill is short enough for bins of a tenth of a second.
const SHORT: Duration = Duration::from_secs(15);

/// More bins than this are more than a picture has room for.
const BINS_MAX: u128 = 600;

/// How long after the last scheduled order the picture goes on at most, for late answers.
const TAIL_MAX: Duration = Duration::from_secs(60);

/// What happened when.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    /// How long a bin is.
    pub bin: Duration,
    /// Orders for the hot product.
    pub hot: Vec<Bin>,
    /// All other orders; as many bins.
    pub others: Vec<Bin>,
}

/// What happened in one bin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bin {
    /// Orders scheduled.
    pub offered: u64,
    /// Orders sent that the service answered.
    pub admitted: u64,
    /// Orders sent that the edge refused, over the limit.
    pub over_limit: u64,
    /// Orders sent that the edge called sold out.
    pub sold_out_at_edge: u64,
    /// Orders that waited for an answer at the same time, at most; from when they were scheduled.
    pub waiting_max: u64,
    /// Orders with a ticket whose outcome their client was not told yet, at the same time, at most.
    pub tickets_max: u64,
    /// Admitted orders scheduled here: half were answered in no longer, be it with a ticket. None if there were none.
    pub p50_us: Option<u64>,
    /// 99 of 100 took no longer.
    pub p99_us: Option<u64>,
    /// Where the units were at the end of the bin, by the journal.
    pub stock: Option<Counters>,
}

impl Timeline {
    /// Sorts orders and journal entries into bins.
    pub fn of(records: &[Record], evidence: &[SkuEvidence], basics: &Basics) -> Self {
        let extent = extent(records, basics.duration);
        let bin = bin_for(extent, basics.duration);
        let count = extent.as_micros().div_ceil(bin.as_micros()).max(1);
        let grid = Grid {
            bin_us: u64::try_from(bin.as_micros()).unwrap_or(u64::MAX),
            count: usize::try_from(count).unwrap_or(1),
        };
        let is_hot = |sku: &str| sku == basics.hot_sku;
        let started_us = super::stock::started_us(records, evidence);
        let outcomes = Outcomes::of(records);
        let [hot, others] = [true, false].map(|wanted| {
            let orders = orders(records).filter(|(_, order)| is_hot(&order.sku) == wanted);
            let orders: Vec<&Record> = orders.map(|(record, _)| record).collect();
            let skus = evidence.iter().filter(|sku| is_hot(&sku.sku) == wanted);
            let mut bins = grid.bins(&orders, &outcomes);
            StockHistory::of(skus, started_us).fill(&mut bins, grid.bin_us);
            bins
        });
        Self { bin, hot, others }
    }

    /// How long all bins are together.
    pub fn seconds(&self) -> f64 {
        self.bin.as_secs_f64() * self.hot.len() as f64
    }
}

/// From the beginning to the last answer, within reason.
fn extent(records: &[Record], duration: Duration) -> Duration {
    let last_us = orders(records).map(|(record, _)| record.ended_us).max().unwrap_or(0);
    Duration::from_micros(last_us).clamp(duration, duration.saturating_add(TAIL_MAX))
}

fn bin_for(extent: Duration, duration: Duration) -> Duration {
    let shortest = if duration <= SHORT { 100 } else { 1000 };
    let mut bin = Duration::from_millis(shortest);
    while extent.as_micros() / bin.as_micros() > BINS_MAX {
        bin = bin.saturating_mul(10);
    }
    bin
}

#[derive(Clone, Copy)]
struct Grid {
    bin_us: u64,
    count: usize,
}

impl Grid {
    fn bins(self, orders: &[&Record], outcomes: &Outcomes<'_>) -> Vec<Bin> {
        let mut bins = vec![Bin::default(); self.count];
        let mut latencies = vec![Vec::new(); self.count];
        for order in orders {
            let (scheduled, sent) = (self.index(order.scheduled_us), self.index(order.sent_us));
            bins[scheduled].offered += 1;
            if order.answer.is_from_service() {
                bins[sent].admitted += 1;
                latencies[scheduled].push(latency_us(order));
                continue;
            }
            match order.answer {
                Answer::OverLimit => bins[sent].over_limit += 1,
                Answer::SoldOutAtEdge { .. } => bins[sent].sold_out_at_edge += 1,
                _ => {}
            }
        }
        for (bin, latencies) in bins.iter_mut().zip(latencies) {
            let latency = Some(Latency::of(latencies)).filter(|latency| latency.count > 0);
            bin.p50_us = latency.map(|latency| latency.p50_us);
            bin.p99_us = latency.map(|latency| latency.p99_us);
        }
        let waiting = orders.iter().map(|order| (order.scheduled_us, order.ended_us));
        let waiting = self.most_at_once(waiting);
        let tickets =
            self.most_at_once(orders.iter().filter_map(|order| outcomes.ticket_span(order)));
        for (bin, (waiting, tickets)) in bins.iter_mut().zip(waiting.into_iter().zip(tickets)) {
            (bin.waiting_max, bin.tickets_max) = (waiting, tickets);
        }
        bins
    }

    /// What lies beyond the last bin belongs to it.
    fn index(self, at_us: u64) -> usize {
        usize::try_from(at_us / self.bin_us).unwrap_or(usize::MAX).min(self.count - 1)
    }

    /// How many spans of time overlap, at most, in each bin.
    fn most_at_once(self, spans: impl Iterator<Item = (u64, u64)>) -> Vec<u64> {
        // A span that takes no time at all must not end before it begins.
        let changes = spans.flat_map(|(begin_us, end_us)| {
            [(begin_us, true), (end_us.max(begin_us.saturating_add(1)), false)]
        });
        // An end sorts before a beginning at the same time: the two do not overlap.
        let mut changes: Vec<(u64, bool)> = changes.collect();
        changes.sort_unstable();
        let (mut now, mut changes) = (0_u64, changes.into_iter().peekable());
        let most = |index| {
            let mut most = now;
            while let Some((_, begins)) = changes.next_if(|&(at_us, _)| self.index(at_us) <= index)
            {
                now = if begins { now + 1 } else { now.saturating_sub(1) };
                most = most.max(now);
            }
            most
        };
        (0..self.count).map(most).collect()
    }
}
