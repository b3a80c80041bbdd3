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
use super::course::{Course, Seen};
use super::evidence::Evidence;
use super::load::Load;
use super::record::Record;
use super::rehearsal::{Place, Plan, Rehearsed};
use super::report::{self, Basics, Meta, Summary};
use super::verdict::{Check, Limit, Limits, Span, Verdict};
use super::weigh::{self, Hollow};
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
    /// What became of a product that nobody registered.
    pub(super) course: Option<Course>,
    pub(super) verdict: Verdict,
}

/// The verdict, as it is kept in `verdict.json`.
#[derive(Serialize)]
struct Judged<'a> {
    #[serde(flatten)]
    verdict: &'a Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    course: Option<&'a Course>,
}

/// What the service says, as it is kept in `evidence.json`.
#[derive(Serialize)]
pub(super) struct Books {
    /// The versions before the drill.
    pub(super) journal_from: HashMap<String, u64>,
    #[serde(flatten)]
    pub(super) evidence: Evidence,
    /// What was seen of a product that nobody registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hot_item: Option<Seen>,
}

impl Outcome {
    /// Writes what the verdict rests on, the witness's records among it, and all of the verdict.
    pub(super) fn save(&self, out: &Path) -> Result<(), WriteError> {
        let Outcome { load, books, course, verdict, .. } = self;
        save_records(out, &load.records)?;
        save(&out.join("evidence.json"), |file| Ok(serde_json::to_writer(file, books)?))?;
        let verdict_json = out.join("verdict.json");
        let judged = Judged { verdict, course: course.as_ref() };
        save(&verdict_json, |file| Ok(serde_json::to_writer_pretty(file, &judged)?))
    }

    /// Whether the verdict is worth something. One that does not hold always is.
    pub(super) fn weigh(&self) -> Result<(), Hollow> {
        if !self.verdict.holds() {
            return Ok(());
        }
        weigh::calls(&self.load)?;
        weigh::checks(&self.verdict.checked)?;
        self.course.as_ref().map_or(Ok(()), |course| weigh::course(&self.assortment.hot, course))
    }

    /// Writes the report.
    pub(super) fn report(&self, plan: &Plan) -> Result<Rehearsed, WriteError> {
        let Outcome { assortment, load, books, course, verdict, .. } = self;
        let summary = Summary::of(&load.records, &books.evidence.skus, &basics(plan, assortment));
        let summary = summary.course(course.clone());
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

fn basics(Plan { scenario, .. }: &Plan, assortment: &Assortment) -> Basics {
    Basics {
        hot_sku: assortment.hot.clone(),
        hot_limit_per_s: Some(scenario.hot_limit().per_second),
        duration: Duration::from_secs(scenario.duration_s.into()),
    }
}

/// What the report says beside the numbers.
fn meta(plan: &Plan, outcome: &Outcome) -> Meta {
    let Plan { scenario, place, .. } = plan;
    let Outcome { limits, load, books, verdict, .. } = outcome;
    let began_at = i64::try_from(load.began_at_ms).unwrap_or_default();
    let limit = |of: Limit| format!("{}/s, burst {}", of.per_second, of.burst);
    let hot_limit = match &outcome.course {
        Some(Course { known: Some(Span { from_us, until_us }), .. }) => {
            let [from_s, until_s] = [from_us, until_us].map(|us| *us as f64 / 1e6);
            format!("{}, judged from {from_s:.1} s to {until_s:.1} s", limit(scenario.hot_limit()))
        }
        Some(Course { known: None, .. }) => "none that all edges knew".to_owned(),
        None => limit(scenario.hot_limit()),
    };
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
        ("limit of the hot product", hot_limit),
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
}
