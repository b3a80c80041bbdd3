//! What there is of an embedded store, and where it is.

use super::super::facts::DataFacts;
use super::super::report::Finding;
use super::speed::{WRITE_SLOW, WRITE_TOO_SLOW, took};
use crate::cause::chain;
use crate::store::StoreError;
use crate::store::embedded::examine::{Contents, Obstacle, PARTS};

/// Both files of the log, and the tables of one window: with less, commits fail soon.
const FREE_LOW: u64 = 256 << 20;

/// Less, and merging all tables once may not find room.
const FREE_SCARCE: u64 = 2 << 30;

/// Others of the machine may read it, or enter the directory.
const OTHERS: u32 = 0o005;

pub(in super::super) fn all(facts: &DataFacts) -> Vec<Finding> {
    let mut findings = match &facts.contents {
        Ok(contents) => {
            vec![store(contents), log(contents), journal(facts, contents), holds(facts, contents)]
        }
        Err(error) => vec![unread(facts, error)],
    };
    findings.extend([write(facts), space(facts), secret(facts)]);
    findings
}

/// Whoever is told to restore gives up all that came after the backup: only damage is worth that.
fn unread(facts: &DataFacts, error: &StoreError) -> Finding {
    let finding = Finding::bad("store", chain(error));
    match Obstacle::of(error) {
        Obstacle::Damage => restore(facts, finding),
        Obstacle::Version => finding.change("use the cartgate that made it"),
        Obstacle::Missing => finding.change(format!(
            "name the directory that `serve --data` names; if that is {}, bring back what is not there: \
             {}",
            facts.at,
            PARTS.join(", ")
        )),
        Obstacle::InUse | Obstacle::Unreadable | Obstacle::Other => {
            finding.change("see what the system's log says of the disk, and examine it again")
        }
    }
}

fn restore(facts: &DataFacts, finding: Finding) -> Finding {
    finding
        .change(format!("move {} away, and keep it", facts.at))
        .change(format!("cartgate restore FILE --data {}, of the last good backup", facts.at))
}

fn store(contents: &Contents) -> Finding {
    let Contents { format, buckets, .. } = contents;
    Finding::ok("store", format!("format {format}, {buckets} buckets"))
}

fn log(contents: &Contents) -> Finding {
    let Contents { commit, unprojected, is_torn, .. } = contents;
    let mut found =
        format!("intact up to commit {commit}, {unprojected} are not in the tables yet");
    if *is_torn {
        found.push_str("; one more was being written, was never answered, and is dropped");
    }
    Finding::ok("log", found)
}

fn journal(facts: &DataFacts, contents: &Contents) -> Finding {
    let Contents { skus, entries, wrong_journals, .. } = contents;
    let Some((count, first)) = wrong_journals else {
        let found = format!(
            "{entries} entries of {skus} SKUs, without gaps; each stock is the sum of its journal"
        );
        return Finding::ok("journal", found);
    };
    let found = format!("{count} of {skus} are wrong: {}", chain(first));
    restore(facts, Finding::bad("journal", found))
}

fn holds(facts: &DataFacts, contents: &Contents) -> Finding {
    let Contents { holds, tickets, wrong_holds, .. } = contents;
    match wrong_holds {
        None => {
            Finding::ok("holds", format!("{holds}, as the counters say; {tickets} tickets wait"))
        }
        Some(error) => restore(facts, Finding::bad("holds", error.to_string())),
    }
}

fn write(facts: &DataFacts) -> Finding {
    let remedy = "a disk that syncs faster: every commit waits for it";
    match &facts.write {
        Ok(time) => {
            let what = "a write of 4 KiB with fdatasync";
            took("write", what, Some(*time), (WRITE_SLOW, WRITE_TOO_SLOW), remedy)
        }
        Err(reason) => Finding::bad("write", format!("nothing can be written: {reason}"))
            .change(format!("let the service's user write in {}, and make room", facts.at)),
    }
}

fn space(facts: &DataFacts) -> Finding {
    let found = format!("{} MiB are free on its disk", facts.free >> 20);
    let remedy = "make room, or move the store to a larger disk: when it is full no order is taken";
    match facts.free {
        ..FREE_LOW => Finding::bad("disk", found).change(remedy),
        FREE_LOW..FREE_SCARCE => Finding::warn("disk", found).change(remedy),
        _ => Finding::ok("disk", found),
    }
}

fn secret(facts: &DataFacts) -> Finding {
    let mode = facts.mode & 0o777;
    if mode & OTHERS == 0 {
        return Finding::ok("secret", format!("mode {mode:03o}: not everybody's to read"));
    }
    let found = format!(
        "mode {mode:03o}: everybody on this machine may read the store's secret, and its customers"
    );
    Finding::warn("secret", found).change(format!("chmod o-rwx {}", facts.at))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cartgate_ledger::JournalError;
    use cartgate_policy::Sku;

    use super::super::super::facts::Took;
    use super::super::super::report::Level;
    use super::*;

    fn contents() -> Contents {
        Contents {
            format: 3,
            buckets: 64,
            commit: 70,
            unprojected: 7,
            is_torn: false,
            skus: 2,
            entries: 9,
            wrong_journals: None,
            holds: 4,
            tickets: 1,
            wrong_holds: None,
        }
    }

    fn facts(contents: Contents) -> DataFacts {
        let median = Duration::from_micros(200);
        DataFacts {
            at: "/data".to_owned(),
            mode: 0o40_700,
            free: 1 << 40,
            write: Ok(Took { median, worst: median }),
            contents: Ok(contents),
        }
    }

    fn check(facts: &DataFacts, check: &str, level: Level, part: &str) {
        let findings = all(facts);
        let finding = findings.iter().find(|finding| finding.check == check).unwrap();
        let text = format!("{} {}", finding.found, finding.change.join(" "));
        assert_eq!(finding.level, level, "{finding:?}");
        assert!(text.contains(part), "{finding:?}");
        assert_eq!(finding.change.is_empty(), level == Level::Ok, "{finding:?}");
    }

    #[test]
    fn everything_is_ok_in_a_good_store() {
        let findings = all(&facts(contents()));
        assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
    }

    #[test]
    fn a_torn_tail_is_told_and_no_harm() {
        let torn = facts(Contents { is_torn: true, ..contents() });
        check(&torn, "log", Level::Ok, "never answered");
    }

    #[test]
    fn what_contradicts_itself_is_to_be_restored() {
        let sku = Sku::parse("A").unwrap();
        let source = JournalError::Gap { version: 3, next: 5 };
        let wrong = Some((1, StoreError::Journal { sku: sku.clone(), source }));
        let journal = facts(Contents { wrong_journals: wrong, ..contents() });
        check(&journal, "journal", Level::Bad, "entry 3 is followed by entry 5");
        let wrong_holds = Some(StoreError::Holds { sku, counted: 2, held: 1 });
        let holds = facts(Contents { wrong_holds, ..contents() });
        check(&holds, "holds", Level::Bad, "cartgate restore FILE --data /data");
        let lost = failed(StoreError::CommitLost { number: 7 });
        check(&lost, "store", Level::Bad, "cartgate restore FILE --data /data");
        check(&lost, "store", Level::Bad, "the log is damaged, commit 7");
    }

    fn failed(error: StoreError) -> DataFacts {
        DataFacts { contents: Err(error), ..facts(contents()) }
    }

    /// A store that is good is not given up.
    #[test]
    fn what_proves_no_damage_is_not_to_be_restored() {
        let poisoned =
            StoreError::Database { action: "be read", source: Box::new(fjall::Error::Poisoned) };
        for (error, part) in [
            (StoreError::Format { stored: 4, supported: 3 }, "use the cartgate that made it"),
            (StoreError::NoStore, "bring back what is not there: log, keyspaces"),
            (poisoned, "examine it again"),
        ] {
            let facts = failed(error);
            check(&facts, "store", Level::Bad, part);
            let change = all(&facts).into_iter().flat_map(|finding| finding.change);
            assert!(!change.into_iter().any(|change| change.contains("restore")));
        }
    }

    #[test]
    fn where_it_is_matters() {
        let good = || facts(contents());
        for (free, level) in [(1 << 20, Level::Bad), (1 << 30, Level::Warn)] {
            check(&DataFacts { free, ..good() }, "disk", level, "make room");
        }
        for mode in [0o755, 0o704, 0o701] {
            let open = DataFacts { mode, ..good() };
            check(&open, "secret", Level::Warn, "chmod o-rwx /data");
        }
        check(&DataFacts { mode: 0o2770, ..good() }, "secret", Level::Ok, "770");
        let refused = DataFacts { write: Err("denied".to_owned()), ..good() };
        check(&refused, "write", Level::Bad, "denied");
        let slow = Took { median: Duration::from_millis(30), worst: Duration::from_secs(1) };
        check(&DataFacts { write: Ok(slow), ..good() }, "write", Level::Warn, "30.00 ms");
    }
}
