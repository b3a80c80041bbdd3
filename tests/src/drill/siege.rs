//! A drill whose service is killed with `SIGKILL` again and again while the sale goes on, and
//! started again on the same data each time.
//!
//! Customers go straight to the service: an edge would answer for it while it is dead. The verdict
//! is that of every drill. To it a call without an answer may have taken effect or not, which is
//! all that a kill can do to a call; whatever was answered, it holds the service to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::sleep;

use super::cast::{Assortment, Cast};
use super::evidence::Witness;
use super::load::{self, Load};
use super::open_files;
use super::record::{Answer, Record, Role};
use super::rehearsal::{DrillError, Heard};
use super::results::{self, Books, Outcome};
use super::scenario::Scenario;
use super::target::{Target, TargetError};
use super::verdict::{Case, Verdict, judge};
use crate::random::Random;
use crate::{Service, ServiceOptions};

/// How long the service lives at least and at most before it is killed again, in milliseconds.
const LIVES_MS: (u64, u64) = (150, 1_200);

/// One start in so many is killed as well, before the service is ready.
const STARTS_PER_KILL: u64 = 4;

/// How long the service has to fall over while it starts, in milliseconds.
const START_MS: u64 = 150;

/// How long customers still come after the last kill.
const CALM: Duration = Duration::from_millis(1_500);

/// How long the service may take to show its books.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is done to the service's data while it is dead, after so many kills.
pub type Sabotage = fn(usize, &Path);

/// A sale with a service of its own, to be killed.
#[derive(Debug)]
pub struct Siege {
    scenario: Scenario,
    random: Random,
    out: PathBuf,
    options: ServiceOptions,
    service: Service,
    sabotage: Sabotage,
    rounds: usize,
}

/// What came of one round: a sale from its beginning to its end.
#[derive(Clone, Debug)]
pub struct Round {
    /// What the judge says.
    pub verdict: Verdict,
    /// The kills.
    pub kills: Vec<Kill>,
    /// Calls of customers.
    pub calls: usize,
    /// Where records, evidence and verdict are.
    pub out: PathBuf,
}

/// One kill, by what customers noticed of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Answers of the service since it was started.
    pub answers_before: usize,
    /// Calls under way that never got an answer.
    pub in_flight: usize,
    /// Answers of the service until it was killed again, or to the end.
    pub answers_after: usize,
}

/// When a kill was, in microseconds since 1970: before the signal, and when the process was gone.
#[derive(Clone, Copy, Debug)]
struct Moment {
    from_us: u64,
    until_us: u64,
}

impl Siege {
    /// Starts a service without data. Everything goes below `out`. Kills are drawn from `random`,
    /// and so is each round's sale.
    ///
    /// # Errors
    /// The service does not start.
    pub async fn start(
        scenario: Scenario,
        random: Random,
        out: PathBuf,
    ) -> Result<Self, DrillError> {
        open_files::allow(&scenario)?;
        results::make_room(&out)?;
        let options = ServiceOptions::new(&out).settings(&scenario.service.to_toml());
        let service = Service::start(&options).await.map_err(TargetError::Start)?;
        Ok(Self { scenario, random, out, options, service, sabotage: |_, _| {}, rounds: 0 })
    }

    /// Lets somebody at the data whenever the service is dead.
    pub fn sabotage(self, sabotage: Sabotage) -> Self {
        Self { sabotage, ..self }
    }

    /// Plays one sale with products of its own, until the service was killed so often, and judges
    /// it.
    ///
    /// # Errors
    /// The service does not start again, or does not show its books; or the drill itself breaks.
    pub async fn round(&mut self, kills: usize) -> Result<Round, DrillError> {
        self.rounds += 1;
        let run = format!("round-{}", self.rounds);
        let out = self.out.join(&run);
        results::make_room(&out)?;
        let scenario = Scenario { seed: self.random.next_u64(), ..self.scenario.clone() };
        let assortment = Assortment::new(&scenario, &run);
        let url = self.service.url("");
        let target = Target::at(&url, &url).await?;
        let journal_from = target.stock(&scenario, &assortment).await?;
        let is_over = Arc::new(AtomicBool::new(false));
        let cast = Cast::new(&scenario, &assortment);
        let still_open = is_over.clone();
        let cast = cast.take_while(move |_| !still_open.load(Ordering::Relaxed));
        let sale = load::run(&scenario, cast, &target);
        let killing = async {
            let moments = self.kill_often(kills).await;
            is_over.store(true, Ordering::Relaxed);
            moments
        };
        let (load, moments) = tokio::join!(sale, killing);
        let mut load = load.map_err(DrillError::Broke)?;
        let path = results::save_records(&out, &load.records)?;
        let (calls, kills) = (load.records.len(), noticed(&load, &moments?));
        let skus: Vec<&str> = assortment.skus().collect();
        let witness = Witness::at(target.service()).patience(PATIENCE).repeat_everything();
        let evidence = witness.gather(&skus, &mut load.records).await.map_err(|source| {
            let heard = Heard::last(&load.records);
            DrillError::Evidence { source, heard, path }
        })?;
        let case = Case::new(&load.records, &evidence.reservations, &evidence.skus);
        let verdict = judge(&case.starts(&journal_from));
        let limits = assortment.limits(&scenario);
        let books = Books { journal_from, evidence };
        let outcome = Outcome { assortment, limits, load, books, verdict };
        outcome.save(&out)?;
        Ok(Round { verdict: outcome.verdict, kills, calls, out })
    }

    async fn kill_often(&mut self, kills: usize) -> Result<Vec<Moment>, DrillError> {
        let mut moments = Vec::new();
        while moments.len() < kills {
            let (least, most) = LIVES_MS;
            sleep(Duration::from_millis(least + self.random.below(most - least))).await;
            let from_us = now_us();
            self.service.process.kill().await.map_err(DrillError::Stop)?;
            moments.push(Moment { from_us, until_us: now_us() });
            (self.sabotage)(moments.len(), &self.options.data());
            self.start_again().await?;
        }
        sleep(CALM).await;
        Ok(moments)
    }

    /// Starts the service on the same data. Sometimes it takes more than one start.
    async fn start_again(&mut self) -> Result<(), DrillError> {
        while self.random.below(STARTS_PER_KILL) == 0 {
            let mut service = Service::spawn(&self.options).await.map_err(TargetError::Start)?;
            sleep(Duration::from_millis(self.random.below(START_MS))).await;
            service.process.kill().await.map_err(DrillError::Stop)?;
        }
        self.service = Service::start(&self.options).await.map_err(TargetError::Start)?;
        Ok(())
    }
}

/// What customers noticed of each kill.
fn noticed(load: &Load, moments: &[Moment]) -> Vec<Kill> {
    let began_us = load.began_at_ms * 1_000;
    let customers = || load.records.iter().filter(|record| record.role != Role::Witness);
    let answers = |from_us: u64, until_us: u64| {
        let within = |record: &&Record| (from_us..until_us).contains(&(began_us + record.ended_us));
        customers().filter(within).filter(|record| record.answer.is_from_service()).count()
    };
    let mut kills = Vec::new();
    for (place, Moment { from_us, until_us }) in moments.iter().copied().enumerate() {
        let last_us = place.checked_sub(1).map_or(0, |last| moments[last].until_us);
        let next_us = moments.get(place + 1).map_or(u64::MAX, |next| next.from_us);
        let is_cut = |record: &&Record| {
            let (sent_us, ended_us) = (began_us + record.sent_us, began_us + record.ended_us);
            record.answer == Answer::Lost && sent_us <= until_us && from_us <= ended_us
        };
        kills.push(Kill {
            answers_before: answers(last_us, from_us),
            in_flight: customers().filter(is_cut).count(),
            answers_after: answers(until_us, next_us),
        });
    }
    kills
}

fn now_us() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
}
