//! Stock over time, as the journal tells it, on the clients' clock.

use std::collections::HashMap;

use jiff::Timestamp;

use super::timeline::Bin;
use crate::drill::record::{Answer, Counters, Entry, Record, Role, SkuEvidence};

/// When the drill began on the service's clock, in microseconds since 1970.
///
/// A hold is in the journal before its client is told: the journal's time less the client's is at
/// most what the clients' clock read 0 at. The quickest answer comes within a millisecond or so of
/// its commit, which is close enough for a picture. (Sending bounds nothing from the other side:
/// what a repeat with a key is told was in the journal before.) Where no client was told anything,
/// the first entry is taken for the beginning.
pub(super) fn started_us(records: &[Record], evidence: &[SkuEvidence]) -> Option<i64> {
    let told: HashMap<&str, u64> = records
        .iter()
        .filter_map(|record| match &record.answer {
            // The drill's own questions come afterwards, when nobody minds the clock.
            Answer::Held { id, .. } if record.role != Role::Witness => {
                Some((id.as_str(), record.ended_us))
            }
            _ => None,
        })
        .collect();
    let entries = evidence.iter().flat_map(|sku| &sku.journal);
    let (mut first, mut by_answers) = (None, None);
    for (entry, at_us) in entries.filter_map(|entry| Some((entry, at_us(entry)?))) {
        first = Some(first.map_or(at_us, |first: i64| first.min(at_us)));
        let id = entry.reservation_id.as_deref().filter(|_| entry.cause == "reserve");
        if let Some(ended_us) = id.and_then(|id| told.get(id)) {
            by_answers = by_answers.max(Some(at_us.saturating_sub(signed(*ended_us))));
        }
    }
    by_answers.or(first)
}

fn at_us(entry: &Entry) -> Option<i64> {
    entry.at.parse::<Timestamp>().ok().map(Timestamp::as_microsecond)
}

fn signed(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX)
}

/// Every change of the stock of some SKUs, in order of time.
pub(super) struct StockHistory {
    changes: Vec<(i64, Change)>,
}

#[derive(Clone, Copy)]
struct Change {
    before: Counters,
    after: Counters,
}

impl StockHistory {
    pub(super) fn of<'a>(
        skus: impl Iterator<Item = &'a SkuEvidence>,
        started_us: Option<i64>,
    ) -> Self {
        let entries = skus.flat_map(|sku| &sku.journal);
        let mut changes: Vec<(i64, Change)> = entries
            .filter_map(|entry| {
                let since = at_us(entry)?.saturating_sub(started_us?);
                Some((since, Change { before: entry.before, after: entry.after }))
            })
            .collect();
        // Stable: entries of one SKU at the same time stay in the order of the journal.
        changes.sort_by_key(|(since_us, _)| *since_us);
        Self { changes }
    }

    /// Notes in each bin where the units were at its end. Of several SKUs, the sum.
    pub(super) fn fill(self, bins: &mut [Bin], bin_us: u64) {
        if self.changes.is_empty() {
            return;
        }
        let (mut now, mut changes) = ([0_i64; 3], self.changes.into_iter().peekable());
        for (index, bin) in bins.iter_mut().enumerate() {
            let end_us = signed(bin_us.saturating_mul(index as u64 + 1));
            while let Some((_, change)) = changes.next_if(|(since_us, _)| *since_us < end_us) {
                apply(&mut now, change);
            }
            bin.stock = Some(counters(now));
        }
    }
}

/// Sums by differences: the state of each SKU need not be kept.
fn apply(now: &mut [i64; 3], change: Change) {
    let (before, after) = (fields(change.before), fields(change.after));
    for (now, (before, after)) in now.iter_mut().zip(before.into_iter().zip(after)) {
        *now = now.saturating_add(signed(after)).saturating_sub(signed(before));
    }
}

fn fields(counters: Counters) -> [u64; 3] {
    [counters.available, counters.held, counters.confirmed]
}

/// A journal with gaps may sum up to less than nothing; that is for the verdict to say.
fn counters(now: [i64; 3]) -> Counters {
    let [available, held, confirmed] = now.map(|units| u64::try_from(units).unwrap_or(0));
    Counters { available, held, confirmed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::record::{Call, Order};

    fn entry(cause: &str, id: &str, at: &str, available: [u64; 2]) -> Entry {
        let [before, after] =
            available.map(|available| Counters { available, ..Counters::default() });
        Entry {
            version: 0,
            at: at.to_owned(),
            cause: cause.to_owned(),
            reservation_id: Some(id.to_owned()),
            quantity: 1,
            before,
            after,
        }
    }

    fn held(id: &str, ended_us: u64) -> Record {
        let (sku, customer) = ("A".to_owned(), "ann".to_owned());
        let call = Call::Reserve(Order { sku, quantity: 1, customer, key: None });
        let answer = Answer::Held { id: id.to_owned(), expires_at_ms: 0 };
        let (serial, role, scheduled_us, sent_us) = (0, Role::Fan, 0, 0);
        Record { serial, role, call, scheduled_us, sent_us, ended_us, answer }
    }

    fn evidence(journal: Vec<Entry>) -> [SkuEvidence; 1] {
        let counters = Counters::default();
        [SkuEvidence { sku: "A".to_owned(), journal, counters, version: 0 }]
    }

    #[test]
    fn the_journal_is_set_to_the_clients_clock_by_the_quickest_answer() {
        let journal = vec![
            entry("set", "", "1970-01-01T00:00:01Z", [0, 9]),
            entry("reserve", "1", "1970-01-01T00:00:05Z", [9, 8]),
            entry("reserve", "2", "1970-01-01T00:00:06Z", [8, 7]),
        ];
        let evidence = evidence(journal);
        let slow = held("1", 2_500_000);
        let quick = held("2", 2_001_000);
        let witness = Record { role: Role::Witness, ..held("1", 0) };
        assert_eq!(started_us(&[slow, quick, witness], &evidence), Some(3_999_000));
        assert_eq!(started_us(&[], &evidence), Some(1_000_000));
        assert_eq!(started_us(&[], &[]), None);
    }

    #[test]
    fn stock_is_that_at_the_end_of_each_bin() {
        let journal = vec![
            entry("set", "", "1970-01-01T00:00:01Z", [0, 9]),
            entry("reserve", "1", "1970-01-01T00:00:05Z", [9, 8]),
            entry("reserve", "2", "1970-01-01T00:00:05.5Z", [8, 7]),
            entry("reserve", "3", "not a time", [7, 6]),
        ];
        let mut bins = [Bin::default(); 3];
        StockHistory::of(evidence(journal).iter(), Some(4_000_000)).fill(&mut bins, 1_000_000);
        let available = bins.map(|bin| bin.stock.map(|stock| stock.available));
        assert_eq!(available, [Some(9), Some(7), Some(7)]);
    }
}
