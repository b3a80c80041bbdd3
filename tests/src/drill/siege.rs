//! A drill whose service is killed with `SIGKILL` again and again while the sale goes on, and
//! started again on the same data each time.
//!
//! Customers go straight to the service: an edge would answer for it while it is dead. The verdict
//! is that of every drill. To it a call without an answer may have taken effect or not, which is
//! all that a kill can do to a call; whatever was answered, it holds the service to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::sleep;

use super::open_files;
use super::rehearsal::DrillError;
use super::results;
use super::round::{Moment, Noticed, Played, noticed};
use super::scenario::Scenario;
use super::target::{Target, TargetError};
use super::verdict::Verdict;
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
    pub kills: Vec<Noticed>,
    /// Calls of customers.
    pub calls: usize,
    /// Where records, evidence and verdict are.
    pub out: PathBuf,
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
        let options = ServiceOptions::new(&out).settings(&scenario.service_toml());
        let service = Service::start(&options).await.map_err(TargetError::Start)?;
        let sabotage: Sabotage = |_, _| {};
        Ok(Self { scenario, random, out, options, service, sabotage, rounds: 0 })
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
        let target = Target::processes(self.service.address(), &[]);
        let round =
            Played::until(async |_| self.kill_often(kills).await, &scenario, &target, &out).await?;
        Ok(Round {
            kills: noticed(&round.outcome.load, &round.met),
            calls: round.calls,
            verdict: round.outcome.verdict,
            out,
        })
    }

    async fn kill_often(&mut self, kills: usize) -> Result<Vec<Moment>, DrillError> {
        let mut moments = Vec::new();
        while moments.len() < kills {
            let (least, most) = LIVES_MS;
            sleep(Duration::from_millis(least + self.random.below(most - least))).await;
            let moment = Moment::begin();
            self.service.process.kill().await.map_err(DrillError::Stop)?;
            moments.push(moment.end());
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
