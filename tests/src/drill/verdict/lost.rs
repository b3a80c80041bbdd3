//! What a failover has lost, and what it excuses.
//!
//! A replica that takes its primary's place may not have all that was acknowledged. The processes
//! find out of which SKUs something was lost, and say so. Of such a SKU nothing is sure that was told
//! when the replica did not follow any more, so that it cannot be held against it. But what was told
//! before is kept, and its journal must be whole and lead to its counters: it goes on from where it
//! was found. A SKU of which nobody says that it lost anything is judged as ever: *silence* is what
//! is not excused.

use std::collections::{HashMap, HashSet};

use super::super::record::{Answer, Call, Record};
use super::{Check, Verdict, Violation};

/// A SKU of which something was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The SKU.
    pub sku: String,
    /// The version that was committed.
    pub known: u64,
    /// The version that was found: the same, if no change of its stock was lost.
    pub found: u64,
}

impl Lost {
    /// Reads what a process has written: `known found`.
    pub fn parse(sku: &str, versions: &str) -> Option<Self> {
        let (known, found) = versions.split_once(' ')?;
        let (known, found) = (known.parse().ok()?, found.parse().ok()?);
        (found <= known).then(|| Self { sku: sku.to_owned(), known, found })
    }
}

impl Verdict {
    /// The same without what is about lost SKUs alone and not about their journals, nor about what was
    /// answered before `since_us`, when nothing was lost yet; and how much that was.
    pub fn excuse(self, records: &[Record], lost: &[Lost], since_us: u64) -> (Self, usize) {
        let was_before: HashSet<u64> = records
            .iter()
            .filter(|record| record.ended_us < since_us)
            .map(|record| record.serial)
            .collect();
        let is_before = |found: &Violation| {
            !found.records.is_empty() && found.records.iter().all(|one| was_before.contains(one))
        };
        let lost: HashSet<&str> = lost.iter().map(|lost| lost.sku.as_str()).collect();
        let skus = Skus::of(records);
        let Self { violations, checked } = self;
        let (excused, violations): (Vec<_>, Vec<_>) = violations.into_iter().partition(|found| {
            found.check != Check::Journal
                && !is_before(found)
                && skus
                    .of_violation(found)
                    .is_some_and(|of| !of.is_empty() && of.iter().all(|sku| lost.contains(sku)))
        });
        (Self { violations, checked }, excused.len())
    }
}

/// The SKU that each call was about.
struct Skus<'a>(HashMap<u64, &'a str>);

impl<'a> Skus<'a> {
    fn of(records: &'a [Record]) -> Self {
        let mut by_id = HashMap::new();
        for record in records {
            if let (Call::Reserve(order), Answer::Held { id, .. } | Answer::Queued { ticket: id }) =
                (&record.call, &record.answer)
            {
                by_id.insert(id.as_str(), order.sku.as_str());
            }
        }
        let sku = |record: &'a Record| match &record.call {
            Call::Reserve(order) => Some(order.sku.as_str()),
            Call::Settle { id, .. } | Call::Ticket { id } => by_id.get(id.as_str()).copied(),
        };
        let skus = records.iter().filter_map(|record| Some((record.serial, sku(record)?)));
        Self(skus.collect())
    }

    /// All that it is about; `None` if that cannot be told of every part of it.
    fn of_violation(&self, violation: &'a Violation) -> Option<Vec<&'a str>> {
        let records = violation.records.iter().map(|serial| self.0.get(serial).copied());
        let entries = violation.entries.iter().map(|(sku, _)| Some(sku.as_str()));
        records.chain(entries).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::record::{Order, Role};
    use super::*;

    fn record(serial: u64, call: Call, answer: Answer) -> Record {
        // One a second.
        let ended_us = 1_000_000 * serial;
        let (scheduled_us, sent_us) = (ended_us, ended_us);
        let role = Role::Shopper;
        Record { serial, role, call, scheduled_us, sent_us, ended_us, answer }
    }

    fn reserve(serial: u64, sku: &str, id: &str) -> Record {
        let (sku, id) = (sku.to_owned(), id.to_owned());
        let order = Order { sku, quantity: 1, customer: "ann".to_owned(), key: None };
        record(serial, Call::Reserve(order), Answer::Held { id, expires_at_ms: 0 })
    }

    #[test]
    fn only_what_was_announced_and_told_since_is_excused_and_no_journal() {
        let records = [
            reserve(0, "A", "a"),
            reserve(1, "B", "b"),
            record(2, Call::Ticket { id: "a".to_owned() }, Answer::Lost),
            record(3, Call::Ticket { id: "unknown".to_owned() }, Answer::Lost),
        ];
        let lost = [Lost::parse("A", "7 5").unwrap()];
        let check_since = |since_us, check, serials: &[u64], entries: &[&str], is_excused| {
            let found = Violation::new(check, String::new())
                .records(records.iter().filter(|record| serials.contains(&record.serial)));
            let found = entries.iter().fold(found, |found, sku| found.entries(sku, [1]));
            let verdict = Verdict { violations: vec![found], ..Verdict::default() };
            let (verdict, excused) = verdict.excuse(&records, &lost, since_us);
            let expected = (is_excused, usize::from(is_excused));
            assert_eq!((verdict.holds(), excused), expected, "{serials:?} {entries:?}");
        };
        let check = |of, serials: &[u64], entries: &[&str], is_excused| {
            check_since(0, of, serials, entries, is_excused);
        };
        check(Check::Outcomes, &[0], &[], true);
        check(Check::Outcomes, &[0, 2], &["A"], true);
        check(Check::Journal, &[0], &[], false);
        check(Check::Outcomes, &[1], &[], false);
        check(Check::Order, &[0, 1], &[], false);
        check(Check::Accounts, &[0], &["B"], false);
        check(Check::Outcomes, &[3], &[], false);
        check(Check::Accounts, &[], &[], false);
        check_since(1_500_000, Check::Outcomes, &[0], &["A"], false);
        check_since(1_500_000, Check::Outcomes, &[0, 2], &["A"], true);
    }

    #[test]
    fn what_cannot_be_read_excuses_nothing() {
        let lost = |versions| Lost::parse("A", versions);
        assert_eq!(lost("7 5"), Some(Lost { sku: "A".to_owned(), known: 7, found: 5 }));
        assert_eq!([lost("5 7"), lost("7"), lost("7 x")], [None, None, None]);
    }
}
