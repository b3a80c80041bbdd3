//! What is kept of a drill: the records, the evidence, the verdict, and the report.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use thiserror::Error;

use super::cast::Assortment;
use super::evidence::Evidence;
use super::load::Load;
use super::record::{Answer, Record, Role};
use super::rehearsal::{Place, Plan, Rehearsed};
use super::report::{self, Basics, Meta, Summary};
use super::verdict::{Check, Checked, Limit, Limits, Verdict};
use crate::StoreKind;

/// Says that a drill has made the directory, and may clear it.
const MARKER: &str = ".drill";

/// Every call, a line each.
const RECORDS: &str = "records.jsonl";

/// What the terminal shows.
const SUMMARY: &str = "summary.txt";

/// What an earlier drill may have left.
const REMAINS: [&str; 7] =
    ["data", "log", RECORDS, SUMMARY, "evidence.json", "verdict.json", "report.html"];

/// Checks that find something to check in every drill worth the name. Repeats and outcomes may be
/// few; but without holds and journals nothing was sold, and without an admission nothing limited.
const TELLING: [Check; 5] =
    [Check::Journal, Check::Promises, Check::Order, Check::Limit, Check::Accounts];

/// Of so many calls one may fail: beyond that the drill is about a system that is down.
const CALLS_PER_FAILURE: u64 = 10;

/// Makes `out` a directory with a drill's marker. What an earlier drill has left there goes; what no
/// drill has made is left alone, since there is no telling what it is to others.
pub(super) fn make_room(out: &Path) -> Result<(), RoomError> {
    let broken = |path: &Path| {
        let path = path.to_owned();
        move |source| RoomError::Io { path, source }
    };
    fs::create_dir_all(out).map_err(broken(out))?;
    let marker = out.join(MARKER);
    let is_ours = marker.is_file();
    if !is_ours && fs::read_dir(out).map_err(broken(out))?.next().is_some() {
        return Err(RoomError::Strange { path: out.to_owned() });
    }
    fs::write(&marker, "A drill has made this directory, and the next one clears it.\n")
        .map_err(broken(&marker))?;
    for path in REMAINS.map(|name| out.join(name)) {
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(broken(&path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Keeps what is known before the service has shown its books, in case it never does: the records,
/// and the numbers that need nothing else. Gives the place of the records.
pub(super) fn save_load(
    plan: &Plan,
    assortment: &Assortment,
    load: &Load,
) -> Result<PathBuf, WriteError> {
    let path = save_records(&plan.out, &load.records)?;
    let summary = Summary::of(&load.records, &[], &basics(plan, assortment));
    let summary = report::terminal::render(&summary, false, "");
    // The first line is the verdict, and there is none yet.
    let numbers = summary.split_once('\n').map_or("", |(_, numbers)| numbers);
    let summary = format!("NO VERDICT: the numbers are what the customers noted\n{numbers}");
    save(&plan.out.join(SUMMARY), |file| file.write_all(summary.as_bytes()))?;
    Ok(path)
}

/// Keeps what clients noted. Gives the place.
pub(super) fn save_records(out: &Path, records: &[Record]) -> Result<PathBuf, WriteError> {
    let path = out.join(RECORDS);
    save(&path, |file| write_lines(file, records))?;
    Ok(path)
}

/// All that there is to know when the drill is over.
pub(super) struct Outcome {
    pub(super) assortment: Assortment,
    pub(super) limits: Limits,
    pub(super) load: Load,
    pub(super) books: Books,
    pub(super) verdict: Verdict,
}

/// What the service says, as it is kept in `evidence.json`.
#[derive(Serialize)]
pub(super) struct Books {
    /// The versions before the drill.
    pub(super) journal_from: HashMap<String, u64>,
    #[serde(flatten)]
    pub(super) evidence: Evidence,
}

impl Outcome {
    /// Writes what the verdict rests on, the witness's records among it, and all of the verdict.
    pub(super) fn save(&self, out: &Path) -> Result<(), WriteError> {
        let Outcome { load, books, verdict, .. } = self;
        save_records(out, &load.records)?;
        save(&out.join("evidence.json"), |file| Ok(serde_json::to_writer(file, books)?))?;
        let verdict_json = out.join("verdict.json");
        save(&verdict_json, |file| Ok(serde_json::to_writer_pretty(file, verdict)?))
    }

    /// Whether the verdict is worth something. One that does not hold always is.
    pub(super) fn weigh(&self) -> Result<(), Hollow> {
        if !self.verdict.holds() {
            return Ok(());
        }
        Tally::of(&self.load).weigh()?;
        weigh_checks(&self.verdict.checked)
    }

    /// Writes the report.
    pub(super) fn report(&self, plan: &Plan) -> Result<Rehearsed, WriteError> {
        let Outcome { assortment, load, books, verdict, .. } = self;
        let summary = Summary::of(&load.records, &books.evidence.skus, &basics(plan, assortment));
        let page = report::html::render(&summary, &meta(plan, self));
        save(&plan.out.join("report.html"), |file| file.write_all(page.as_bytes()))?;
        let said = verdict.to_string();
        // Its last line says what the headline says.
        let said = said.rsplit_once('\n').map_or(said.as_str(), |(checks, _)| checks);
        let summary =
            report::terminal::render(&summary, verdict.holds(), said) + &notes(plan, load);
        save(&plan.out.join(SUMMARY), |file| file.write_all(summary.as_bytes()))?;
        Ok(Rehearsed { holds: verdict.holds(), summary })
    }
}

fn weigh_checks(checked: &Checked) -> Result<(), Hollow> {
    let empty = TELLING.into_iter().filter(|check| checked.count(*check) == 0);
    let checks: Vec<&str> = empty.map(Check::name).collect();
    if checks.is_empty() { Ok(()) } else { Err(Hollow::Empty { checks: checks.join(", ") }) }
}

/// What customers' calls came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    offered: u64,
    lost: u64,
    refused: u64,
    not_sent: u64,
}

impl Tally {
    fn of(load: &Load) -> Self {
        let mut tally = Self { not_sent: load.not_sent, ..Self::default() };
        for record in load.records.iter().filter(|record| record.role != Role::Witness) {
            tally.offered += 1;
            match &record.answer {
                Answer::Lost => tally.lost += 1,
                // A full lane is the service's own word, and what it sheds a drill may want to see.
                answer @ Answer::Refused { .. } if !answer.is_from_service() => tally.refused += 1,
                _ => {}
            }
        }
        tally.offered += tally.not_sent;
        tally
    }

    fn weigh(self) -> Result<(), Hollow> {
        let Self { offered, lost, refused, not_sent } = self;
        if (lost + refused + not_sent) * CALLS_PER_FAILURE > offered {
            return Err(Hollow::Failures { offered, lost, refused, not_sent });
        }
        Ok(())
    }
}

fn basics(Plan { scenario, .. }: &Plan, assortment: &Assortment) -> Basics {
    Basics {
        hot_sku: assortment.hot.clone(),
        hot_limit_per_s: Some(scenario.hot.limit.per_second),
        duration: Duration::from_secs(scenario.duration_s.into()),
    }
}

/// What the report says beside the numbers.
fn meta(plan: &Plan, outcome: &Outcome) -> Meta {
    let Plan { scenario, place, .. } = plan;
    let Outcome { limits, load, books, verdict, .. } = outcome;
    let began_at = i64::try_from(load.began_at_ms).unwrap_or_default();
    let limit = |of: Limit| format!("{}/s, burst {}", of.per_second, of.burst);
    let target = match place {
        Place::Own(StoreKind::Embedded) => "a service and an Envoy of its own".to_owned(),
        Place::Own(StoreKind::Redis) => {
            "a Redis, an API process, two workers and an Envoy of its own; a worker was killed in \
             the middle"
                .to_owned()
        }
        Place::At { edge, service } => format!("{edge}, with the service at {service}"),
    };
    let facts = [
        ("began", Timestamp::from_millisecond(began_at).unwrap_or_default().to_string()),
        ("against", target),
        ("limit of the hot product", limit(scenario.hot.limit)),
        ("limit of all others, each", limit(limits.default)),
        ("calls not sent, for want of connections", load.not_sent.to_string()),
    ];
    let entries: usize = books.evidence.skus.iter().map(|sku| sku.journal.len()).sum();
    let (checks, calls) = (Check::ALL.len(), load.records.len());
    let checked = format!("{checks} checks of {calls} calls against {entries} journal entries.");
    Meta {
        scenario: scenario.name.clone(),
        description: scenario.description.clone(),
        seed: scenario.seed,
        holds: verdict.holds(),
        verdict: checked,
        violations: verdict.violations.iter().map(|violation| violation.what.clone()).collect(),
        facts: facts.map(|(name, value)| (name.to_owned(), value)).into(),
    }
}

/// What the terminal says below the summary.
fn notes(plan: &Plan, load: &Load) -> String {
    let not_sent = match load.not_sent {
        0 => String::new(),
        n => format!(
            "\n{n} calls were NOT SENT: all connections were in use. Give the scenario more \
             (connections_max), or the system less to do.\n"
        ),
    };
    let report = plan.out.join("report.html");
    format!("{not_sent}\nseed {}, report: {}\n", plan.scenario.seed, report.display())
}

fn write_lines(file: &mut BufWriter<File>, records: &[Record]) -> io::Result<()> {
    for record in records {
        serde_json::to_writer(&mut *file, record)?;
        file.write_all(b"\n")?;
    }
    Ok(())
}

fn save(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), WriteError> {
    let saved = File::create(path).and_then(|file| {
        let mut file = BufWriter::new(file);
        write(&mut file)?;
        file.flush()
    });
    saved.map_err(|source| WriteError { path: path.to_owned(), source })
}

/// A result could not be written.
#[derive(Debug, Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct WriteError {
    /// Where to.
    pub path: PathBuf,
    /// What the operating system says.
    pub source: io::Error,
}

/// There is no directory for the results.
#[derive(Debug, Error)]
pub enum RoomError {
    /// It may be somebody else's.
    #[error(
        "{} holds what no drill has made (it has no {MARKER}), and is left alone: give another \
         --out, or remove it",
        path.display()
    )]
    Strange {
        /// The directory.
        path: PathBuf,
    },
    /// The operating system does not allow it.
    #[error("cannot make room at {}: {source}", path.display())]
    Io {
        /// What is in the way.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
}

/// Why a verdict that holds says nothing.
#[derive(Debug, Error)]
pub enum Hollow {
    /// There was nothing to be wrong.
    #[error("the drill proves nothing: there was nothing to check for {checks}")]
    Empty {
        /// The checks that looked at nothing.
        checks: String,
    },
    /// Most of what was to be seen did not happen.
    #[error(
        "the drill proves nothing: of {offered} calls {lost} got no answer, {refused} were refused \
         and {not_sent} not sent, more than one in {CALLS_PER_FAILURE}"
    )]
    Failures {
        /// Calls that were to be made.
        offered: u64,
        /// Those without an answer.
        lost: u64,
        /// Those that were refused for other reasons than the limit, the stock or a full lane.
        refused: u64,
        /// Those that found no connection.
        not_sent: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_drill_has_made_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let (out, theirs) = (dir.path().join("new/out"), dir.path().join("theirs"));
        make_room(&out).unwrap();
        fs::create_dir_all(out.join("data/deep")).unwrap();
        fs::write(out.join(RECORDS), "old").unwrap();
        fs::write(out.join("notes"), "mine").unwrap();
        make_room(&out).unwrap();
        assert!(!out.join("data").exists() && !out.join(RECORDS).exists());
        assert_eq!(fs::read_to_string(out.join("notes")).unwrap(), "mine");

        fs::create_dir_all(theirs.join("data")).unwrap();
        let refused = make_room(&theirs).unwrap_err();
        assert!(matches!(refused, RoomError::Strange { .. }), "{refused}");
        assert!(theirs.join("data").is_dir());
        fs::remove_dir(theirs.join("data")).unwrap();
        make_room(&theirs).unwrap();
        assert!(matches!(make_room(&out.join("notes")), Err(RoomError::Io { .. })));
    }

    #[test]
    fn checks_that_looked_at_nothing_are_named() {
        let check = |checked: &str, expected: Option<&str>| {
            let error = weigh_checks(&serde_json::from_str(checked).unwrap()).err();
            assert_eq!(error.map(|error| error.to_string()).as_deref(), expected);
        };
        let all = r#"{"journal": 9, "promises": 1, "order": 1, "limit": 1, "accounts": 1}"#;
        check(all, None);
        let says = "the drill proves nothing: there was nothing to check for promises, limit";
        check(r#"{"journal": 9, "promises": 0, "order": 1, "accounts": 1}"#, Some(says));
    }

    #[test]
    fn one_failure_in_ten_calls_is_the_most() {
        let check = |offered, [lost, refused, not_sent]: [u64; 3], is_enough| {
            let tally = Tally { offered, lost, refused, not_sent };
            assert_eq!(tally.weigh().is_ok(), is_enough, "{tally:?}");
        };
        check(100, [0, 0, 0], true);
        check(100, [5, 3, 2], true);
        check(100, [5, 3, 3], false);
        check(100, [0, 100, 0], false);
        check(100, [0, 0, 11], false);
    }
}
