//! What is kept of a drill: the report, the records, and the evidence.

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
use super::record::Record;
use super::rehearsal::{Place, Plan, Rehearsed};
use super::report::{self, Basics, Meta, Summary};
use super::verdict::{Check, Limit, Limits, Verdict};

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
    /// Writes everything that is kept.
    pub(super) fn write(&self, plan: &Plan) -> Result<Rehearsed, WriteError> {
        let Plan { scenario, out, .. } = plan;
        fs::create_dir_all(out).map_err(|source| WriteError { path: out.clone(), source })?;
        let Outcome { load, books, verdict, .. } = self;
        let basics = Basics {
            hot_sku: self.assortment.hot.clone(),
            hot_limit_per_s: Some(scenario.hot.limit.per_second),
            duration: Duration::from_secs(scenario.duration_s.into()),
        };
        let summary = Summary::of(&load.records, &books.evidence.skus, &basics);
        let page = report::html::render(&summary, &meta(plan, self));
        save(&out.join("report.html"), |file| file.write_all(page.as_bytes()))?;
        save(&out.join("records.jsonl"), |file| write_lines(file, &load.records))?;
        save(&out.join("evidence.json"), |file| Ok(serde_json::to_writer(file, books)?))?;
        let said = verdict.to_string();
        // Its last line says what the headline says.
        let said = said.rsplit_once('\n').map_or(said.as_str(), |(checks, _)| checks);
        let summary =
            report::terminal::render(&summary, verdict.holds(), said) + &notes(plan, load);
        Ok(Rehearsed { holds: verdict.holds(), summary })
    }
}

/// What the report says beside the numbers.
fn meta(plan: &Plan, outcome: &Outcome) -> Meta {
    let Plan { scenario, place, .. } = plan;
    let Outcome { limits, load, books, verdict, .. } = outcome;
    let began_at = i64::try_from(load.began_at_ms).unwrap_or_default();
    let limit = |of: Limit| format!("{}/s, burst {}", of.per_second, of.burst);
    let target = match place {
        Place::Own => "a service and an Envoy of its own".to_owned(),
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
