//! One sale that goes on until something else is over, and what customers noticed of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::cast::{Assortment, Cast};
use super::customer::Clock;
use super::evidence::Witness;
use super::load::{self, Load};
use super::progress::Counts;
use super::record::{Answer, Record, Role};
use super::rehearsal::{DrillError, Heard};
use super::results::{self, Books, Outcome};
use super::scenario::Scenario;
use super::target::Target;
use super::verdict::{Case, judge};

/// How long a service may take to show its books.
const PATIENCE: Duration = Duration::from_secs(60);

/// Something that was done to the system, by what customers noticed of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noticed {
    /// Answers of the service since the last was over.
    pub answers_before: usize,
    /// Calls under way that never got an answer.
    pub unanswered: usize,
    /// Answers of the service until the next began, or to the end.
    pub answers_after: usize,
}

/// When it was, in microseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) from_us: u64,
    until_us: u64,
}

impl Moment {
    pub(super) fn begin() -> Self {
        let now_us = now_us();
        Self { from_us: now_us, until_us: now_us }
    }

    pub(super) fn end(self) -> Self {
        Self { until_us: now_us(), ..self }
    }
}

/// A sale from its beginning to its end.
pub(super) struct Played<T> {
    pub(super) outcome: Outcome,
    /// Calls of customers.
    pub(super) calls: usize,
    /// What came of what the sale has met with.
    pub(super) met: T,
}

impl<T> Played<T> {
    /// Plays one sale with products of its own until `meeting` is over, which sees what is counted
    /// meanwhile, and judges it. Results go to
    /// `out`, whose name tells the products from those of other sales.
    pub(super) async fn until(
        meeting: impl AsyncFnOnce(&Counts) -> Result<T, DrillError>,
        scenario: &Scenario,
        target: &Target,
        out: &Path,
    ) -> Result<Self, DrillError> {
        let run = out.file_name().unwrap_or_default().to_string_lossy();
        let assortment = Assortment::new(scenario, &run);
        let journal_from = target.stock(scenario, &assortment).await?;
        let is_over = Arc::new(AtomicBool::new(false));
        let cast = Cast::new(scenario, &assortment);
        let still_open = is_over.clone();
        let cast = cast.take_while(move |_| !still_open.load(Ordering::Relaxed));
        let counts = Arc::default();
        let clock = Clock::start(scenario.lasts());
        let sale = load::run(scenario, clock, cast, target, &counts);
        let meeting = async {
            let met = meeting(&counts).await;
            is_over.store(true, Ordering::Relaxed);
            met
        };
        let (load, met) = tokio::join!(sale, meeting);
        let mut load = load.map_err(DrillError::Broke)?;
        let path = results::save_records(out, &load.records)?;
        let (calls, met) = (load.records.len(), met?);
        let skus: Vec<&str> = assortment.skus().collect();
        let witness = Witness::at(target.service()).patience(PATIENCE).repeat_everything();
        let evidence = witness.gather(&skus, &mut load.records).await.map_err(|source| {
            let heard = Heard::last(&load.records);
            DrillError::Evidence { source, heard, path }
        })?;
        let case = Case::new(&load.records, &evidence.reservations, &evidence.skus);
        let verdict = judge(&case.starts(&journal_from));
        let limits = assortment.limits(scenario);
        let (books, course) = (Books { journal_from, evidence, hot_item: None }, None);
        let outcome = Outcome { assortment, limits, load, books, course, verdict };
        outcome.save(out)?;
        Ok(Self { outcome, calls, met })
    }
}

/// What customers noticed of each.
pub(super) fn noticed(load: &Load, moments: &[Moment]) -> Vec<Noticed> {
    let began_us = load.began_at_ms * 1_000;
    let customers = || load.records.iter().filter(|record| record.role != Role::Witness);
    let answers = |from_us: u64, until_us: u64| {
        let within = |record: &&Record| (from_us..until_us).contains(&(began_us + record.ended_us));
        customers().filter(within).filter(|record| record.answer.is_from_service()).count()
    };
    let mut all = Vec::new();
    for (place, Moment { from_us, until_us }) in moments.iter().copied().enumerate() {
        let last_us = place.checked_sub(1).map_or(0, |last| moments[last].until_us);
        let next_us = moments.get(place + 1).map_or(u64::MAX, |next| next.from_us);
        let is_cut = |record: &&Record| {
            let (sent_us, ended_us) = (began_us + record.sent_us, began_us + record.ended_us);
            record.answer == Answer::Lost && sent_us <= until_us && from_us <= ended_us
        };
        all.push(Noticed {
            answers_before: answers(last_us, from_us),
            unanswered: customers().filter(is_cut).count(),
            answers_after: answers(until_us, next_us),
        });
    }
    all
}

fn now_us() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}
