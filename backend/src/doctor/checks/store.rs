//! What cartgate has in it.

use super::super::facts::{MadeWith, StoreFacts};
use super::super::report::Finding;
use crate::store::redis::FORMAT;

/// The most buckets that a store can be made with.
const BUCKETS_MAX: u16 = 4_096;

pub(super) fn all(facts: &StoreFacts) -> Vec<Finding> {
    let mut findings = vec![made_with(facts)];
    if facts.made_with.is_some() {
        findings.push(lost(facts));
    }
    findings
}

fn made_with(facts: &StoreFacts) -> Finding {
    let Some(MadeWith { format, buckets }) = &facts.made_with else {
        return Finding::ok("store", "none yet: the first cartgate that starts makes it");
    };
    let found = format!("format {format}, {buckets} buckets, {} workers", facts.workers);
    if format.parse() != Ok(FORMAT) {
        return Finding::bad("store", format!("{found}: this version knows format {FORMAT}"))
            .change("use the version of cartgate that made it");
    }
    if !buckets.parse().is_ok_and(|buckets: u16| (1..=BUCKETS_MAX).contains(&buckets)) {
        return Finding::bad("store", format!("{found}: there can be 1 to {BUCKETS_MAX}"))
            .change("restore the key from a backup: somebody has changed it");
    }
    Finding::ok("store", found)
}

fn lost(facts: &StoreFacts) -> Finding {
    if facts.lost == 0 {
        return Finding::ok("tail", "no SKU has lost anything");
    }
    let found = format!("{} SKUs have lost something in a failover", facts.lost);
    Finding::bad("tail", found)
        .change("compare each with the shop's orders, set its stock, then acknowledge it")
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Level;
    use super::*;

    fn check(judge: fn(&StoreFacts) -> Finding, store: (&str, &str, u64), expected: (Level, &str)) {
        let (format, buckets, lost) = store;
        let made_with = MadeWith { format: format.to_owned(), buckets: buckets.to_owned() };
        let facts =
            StoreFacts { made_with: Some(made_with), lost, workers: 2, ..StoreFacts::default() };
        let finding = judge(&facts);
        assert_eq!(finding.level, expected.0, "{finding:?}");
        assert!(finding.found.contains(expected.1), "{finding:?}");
    }

    #[test]
    fn a_store_of_another_format_is_not_touched() {
        assert_eq!(made_with(&StoreFacts::default()).level, Level::Ok);
        let ours = &*FORMAT.to_string();
        check(made_with, (ours, "64", 0), (Level::Ok, "64 buckets, 2 workers"));
        check(made_with, ("999", "64", 0), (Level::Bad, "format 999"));
        check(made_with, (ours, "0", 0), (Level::Bad, "0 buckets"));
        check(made_with, (ours, "x", 0), (Level::Bad, "1 to 4096"));
    }

    #[test]
    fn a_lost_tail_is_told() {
        check(lost, ("1", "64", 0), (Level::Ok, "no SKU"));
        check(lost, ("1", "64", 3), (Level::Bad, "3 SKUs"));
    }
}
