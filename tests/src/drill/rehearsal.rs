//! A drill from beginning to end.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use thiserror::Error;
use tokio::task::JoinError;

use super::cast::{Assortment, Cast};
use super::course::Course;
use super::customer::Clock;
use super::evidence::{EvidenceError, Witness};
use super::fleet::FleetError;
use super::load;
use super::open_files::{self, TooFewFiles};
use super::record::Record;
use super::results::{self, Books, Outcome, RoomError, WriteError};
use super::scenario::Scenario;
use super::target::{Target, TargetError};
use super::verdict::{Case, judge};
use super::watch::Watch;
use super::weigh::Hollow;
use crate::StoreKind;

/// What is to be rehearsed, and where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The sale.
    pub scenario: Scenario,
    /// The system.
    pub place: Place,
    /// Where report, records, evidence and logs go; absolute.
    pub out: PathBuf,
    /// How long the service may take to show its books.
    pub patience: Duration,
}

/// The system to be drilled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// One that the drill starts, on such a store.
    Own(StoreKind),
    /// One that runs already.
    At {
        /// The URL of its edge.
        edge: String,
        /// The URL of its service.
        service: String,
    },
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Rehearsed {
    /// Whether the verdict holds.
    pub holds: bool,
    /// For a terminal.
    pub summary: String,
}

/// Plays a scenario, judges it, and writes the report.
///
/// # Errors
/// The drill could not run, or proves nothing, or its results cannot be written: nothing is known
/// about the system.
pub async fn rehearse(plan: &Plan) -> Result<Rehearsed, DrillError> {
    let Plan { scenario, place, out, .. } = plan;
    open_files::allow(scenario)?;
    results::make_room(out)?;
    let (mut target, run) = match place {
        Place::Own(store) => (Target::start(*store, scenario, out).await?, String::new()),
        Place::At { edge, service } => (Target::at(edge, service).await?, run_name()),
    };
    target.probe().await?;
    let mishap = target.mishap(Duration::from_secs(scenario.duration_s.into()) / 2);
    let outcome = play(plan, &target, &run, mishap).await?;
    outcome.save(out)?;
    target.stop().await?;
    outcome.weigh()?;
    Ok(outcome.report(plan)?)
}

/// Tells this run from others against the same system: the seconds since 1970, in hexadecimal.
fn run_name() -> String {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}", since_1970.as_secs())
}

async fn play(
    plan: &Plan,
    target: &Target,
    run: &str,
    mishap: impl Future<Output = Result<(), FleetError>>,
) -> Result<Outcome, DrillError> {
    let Plan { scenario, patience, .. } = plan;
    let assortment = Assortment::new(scenario, run);
    let mut limits = assortment.limits(scenario);
    let journal_from = target.stock(scenario, &assortment).await?;
    let cast = Cast::new(scenario, &assortment);
    let (counts, clock) = (Arc::default(), Clock::start(scenario.lasts()));
    let sale = async { tokio::join!(load::run(scenario, clock, cast, target, &counts), mishap) };
    let mut watch = scenario
        .detection
        .is_some()
        .then(|| Watch::start(target.service(), &assortment.hot, clock));
    let (load, mishap) = match &mut watch {
        Some(watch) => watch.during(sale).await,
        None => sale.await,
    };
    let mut load = load.map_err(DrillError::Broke)?;
    mishap?;
    let path = results::save_load(plan, &assortment, &load)?;
    let no_evidence = |source, records: &[Record]| {
        let heard = Heard::last(records);
        DrillError::Evidence { source, heard, path: path.clone() }
    };
    let seen = match watch {
        Some(watch) => Some(watch.end(*patience).await),
        None => None,
    };
    let seen = seen.transpose().map_err(|source| no_evidence(source, &load.records))?;
    let course = seen.as_ref().map(Course::of);
    if let Some(course) = &course {
        // A limit that was never known is none to judge by.
        limits.spans.insert(assortment.hot.clone(), course.known.unwrap_or_default());
    }
    eprintln!("reading the journals, and judging {} calls", load.records.len());
    let skus: Vec<&str> = assortment.skus().collect();
    let witness = Witness::at(target.service()).patience(*patience);
    let gathered = witness.gather(&skus, &mut load.records).await;
    let evidence = gathered.map_err(|source| no_evidence(source, &load.records))?;
    let case = Case::new(&load.records, &evidence.reservations, &evidence.skus);
    let case = case.limits(&limits).starts(&journal_from);
    let verdict = judge(&case);
    let books = Books { journal_from, evidence, hot_item: seen };
    Ok(Outcome { assortment, limits, load, books, course, verdict })
}

/// When customers last heard of the service: who looks for what killed it wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    last_us: Option<u64>,
}

impl Heard {
    pub(super) fn last(records: &[Record]) -> Self {
        let heard = records.iter().filter(|record| record.answer.is_from_service());
        Self { last_us: heard.map(|record| record.ended_us).max() }
    }
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last_us {
            Some(us) => {
                let since_s = Duration::from_micros(us).as_secs_f64();
                write!(
                    f,
                    "the service has not answered customers since {since_s:.1} s into the drill"
                )
            }
            None => write!(f, "the service has not answered a single customer"),
        }
    }
}

/// An error and its causes, in one line: this is where they are shown.
fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line += &format!(": {cause}");
        source = cause.source();
    }
    line
}

/// Why a drill says nothing about the system.
#[derive(Debug, Error)]
pub enum DrillError {
    /// There is nothing to drill.
    #[error("{0}")]
    Target(#[from] TargetError),
    /// The service does not show its books.
    #[error(
        "no evidence: {}; {heard}. What customers noted is in {}",
        chain(source),
        path.display()
    )]
    Evidence {
        /// What it says instead.
        source: EvidenceError,
        /// When it last said something.
        heard: Heard,
        /// The records.
        path: PathBuf,
    },
    /// The verdict holds, and is worth nothing.
    #[error("{0}")]
    Hollow(#[from] Hollow),
    /// The results have no place.
    #[error("{0}")]
    Room(#[from] RoomError),
    /// A part of the drill itself broke.
    #[error("the drill broke down: {0}")]
    Broke(#[source] JoinError),
    /// What was started could not be stopped.
    #[error("cannot watch over processes: {0}")]
    Stop(#[source] io::Error),
    /// A part of what is drilled is broken, and nobody has done that.
    #[error("{0}")]
    Fleet(#[from] FleetError),
    /// There is no room for the crowd.
    #[error("{0}")]
    Files(#[from] TooFewFiles),
    /// A result could not be written.
    #[error("{0}")]
    Write(#[from] WriteError),
}
