//! A drill on many processes and Redis, to which things happen: processes die, hang, and lose their
//! network; servers die and come back, forget scripts, hand slots on and fail over.
//!
//! What is drawn, and when, a seed repeats. The verdict is that of every drill, with one exception:
//! what a failover has lost *and was announced* nobody is held to ([`Verdict::excuse`]). Faults that
//! lose nothing, which are all in which no replica becomes a primary, excuse nothing.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::fleet::{Fleet, FleetError, FleetPlan, Ground, GroundKind};
use super::open_files;
use super::progress::Counts;
use super::rehearsal::DrillError;
use super::results;
use super::round::{Moment, Noticed, Played, noticed};
use super::scenario::Scenario;
use super::target::Target;
use super::verdict::{Lost, Verdict};
use crate::random::Random;

/// How many buckets SKUs are spread over: few enough for a fault to meet most of what goes on.
const BUCKETS: u16 = 8;

/// How long nothing happens between two faults, in milliseconds; and until somebody was answered.
const PEACE_MS: (u64, u64) = (300, 1_200);

/// The longest that nobody is answered after a fault: leases last 1.5 s, and the machine may be busy.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How often it is looked whether somebody was.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long a worker stands still or is cut off, in milliseconds: a lease lasts 1,500.
const ABSENT_MS: (u64, u64) = (2_000, 4_000);

/// How long a process that was killed stays dead, in milliseconds: less than a lease, or more.
const DEAD_MS: (u64, u64) = (0, 2_500);

/// How far a replica is behind when it is promoted, in milliseconds.
const LAG_MS: (u64, u64) = (50, 500);

/// How far a replica that follows its primary may be behind, in microseconds.
const FOLLOWS_US: u64 = 1_000_000;

/// How long customers still come after the last fault; and nothing else happens after a failover, so
/// that leases of the server before end, and what it has lost is found by those who know of it.
const CALM: Duration = Duration::from_millis(2_500);

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of an API process.
    KillApi,
    /// `kill -9` of a worker.
    KillWorker,
    /// `SIGSTOP` of a worker for longer than a lease lasts, then `SIGCONT`.
    PauseWorker,
    /// A worker's connections break, and there are no new ones for a while.
    CutWorker,
    /// Nothing passes between a worker and Redis, and nobody is told.
    SilenceWorker,
    /// What a worker asks for is done, and it does not hear so.
    SilenceAnswers,
    /// All workers are stopped in order and started again, one after the other.
    RollWorkers,
    /// `SCRIPT FLUSH` of every server.
    FlushScripts,
    /// `kill -9` of a server that takes writes, which starts again with what its disk has.
    RestartRedis,
    /// `CLUSTER FAILOVER TAKEOVER`: a replica takes its primary's place, asking nobody. What it has
    /// not got by then, or its primary still writes, is lost.
    TakeOver,
    /// A slot moves to another primary, with a bucket in it.
    MoveSlot,
    /// A replica that lags behind becomes the primary: what it has not got is lost.
    FailOver,
}

impl Fault {
    /// What can happen there again and again.
    pub fn of(kind: GroundKind) -> &'static [Self] {
        use Fault::*;
        match kind {
            GroundKind::Single => &[
                KillApi,
                KillWorker,
                PauseWorker,
                CutWorker,
                SilenceWorker,
                SilenceAnswers,
                RollWorkers,
                FlushScripts,
                RestartRedis,
            ],
            GroundKind::Pair => &[KillApi, KillWorker, FlushScripts],
            GroundKind::Cluster => &[
                KillApi,
                KillWorker,
                PauseWorker,
                RollWorkers,
                FlushScripts,
                RestartRedis,
                TakeOver,
                MoveSlot,
            ],
        }
    }

    /// Whether what was answered may be lost.
    fn loses(self) -> bool {
        matches!(self, Self::TakeOver | Self::FailOver)
    }
}

/// A sale on a fleet, and what happens to it.
#[derive(Debug)]
pub struct Storm {
    scenario: Scenario,
    random: Random,
    out: PathBuf,
    fleet: Fleet,
    rounds: usize,
}

/// What came of one round: a sale from its beginning to its end.
#[derive(Clone, Debug)]
pub struct Round {
    /// What the judge says, but for what was lost and announced.
    pub verdict: Verdict,
    /// What happened, and what customers noticed of it.
    pub faults: Vec<(Fault, Noticed)>,
    /// What failovers have lost, as the processes announced it.
    pub lost: Vec<Lost>,
    /// How much was excused for that.
    pub excused: usize,
    /// Calls of customers.
    pub calls: usize,
    /// Where records, evidence and verdict are.
    pub out: PathBuf,
}

impl Storm {
    /// Starts a fleet without data. Everything goes below `out`.
    ///
    /// # Errors
    /// A part does not start.
    pub async fn start(
        ground: GroundKind,
        (apis, workers): (usize, usize),
        scenario: Scenario,
        random: Random,
        out: PathBuf,
    ) -> Result<Self, DrillError> {
        open_files::allow(&scenario)?;
        results::make_room(&out)?;
        let settings = scenario.service_toml();
        let plan = FleetPlan { ground, apis, workers, buckets: BUCKETS, settings };
        let fleet = Fleet::start(&plan, &out.join("data")).await?;
        Ok(Self { scenario, random, out, fleet, rounds: 0 })
    }

    /// Draws faults: of each kind as many as of another, as far as that goes.
    pub fn draw(&mut self, count: usize, from: &[Fault]) -> Vec<Fault> {
        let (mut drawn, mut deck) = (Vec::new(), Vec::new());
        while drawn.len() < count {
            if deck.is_empty() {
                deck = from.to_vec();
            }
            let place = self.random.below(deck.len() as u64) as usize;
            drawn.push(deck.swap_remove(place));
        }
        drawn
    }

    /// Plays one sale with products of its own while these happen, and judges it.
    ///
    /// # Errors
    /// A part does not come back, or does not show its books; or the drill itself breaks.
    pub async fn round(&mut self, faults: &[Fault]) -> Result<Round, DrillError> {
        self.rounds += 1;
        let out = self.out.join(format!("round-{}", self.rounds));
        results::make_room(&out)?;
        let scenario = Scenario { seed: self.random.next_u64(), ..self.scenario.clone() };
        let addresses = self.fleet.addresses();
        let target = Target::processes(addresses[0], &addresses[1..]);
        let played = Played::until(
            async |counts| self.happen(faults, counts).await,
            &scenario,
            &target,
            &out,
        )
        .await?;
        let noticed = noticed(&played.outcome.load, &played.met);
        let lost = self.fleet.lost().await?;
        let load = &played.outcome.load;
        let since_us = lost_since_us(faults, &played.met, load.began_at_ms);
        let (verdict, excused) = played.outcome.verdict.excuse(&load.records, &lost, since_us);
        let faults = faults.iter().copied().zip(noticed).collect();
        Ok(Round { verdict, faults, lost, excused, calls: played.calls, out })
    }

    async fn happen(
        &mut self,
        faults: &[Fault],
        counts: &Counts,
    ) -> Result<Vec<Moment>, DrillError> {
        let (mut moments, mut answered) = (Vec::new(), 0);
        for fault in faults {
            self.wait(PEACE_MS).await;
            until_more_than(answered, counts).await;
            let moment = Moment::begin();
            self.one(*fault).await?;
            moments.push(moment.end());
            answered = counts.answered();
            if fault.loses() {
                sleep(CALM).await;
            }
        }
        sleep(CALM).await;
        until_more_than(answered, counts).await;
        Ok(moments)
    }

    async fn one(&mut self, fault: Fault) -> Result<(), FleetError> {
        let api = self.random.below(self.fleet.apis.len() as u64) as usize;
        let worker = self.random.below(self.fleet.workers.len() as u64) as usize;
        match fault {
            Fault::KillApi => self.kill(true, api).await,
            Fault::KillWorker => self.kill(false, worker).await,
            Fault::PauseWorker => {
                self.fleet.workers[worker].service.process.pause();
                self.wait(ABSENT_MS).await;
                self.fleet.workers[worker].service.process.resume();
                Ok(())
            }
            Fault::CutWorker | Fault::SilenceWorker | Fault::SilenceAnswers => {
                self.cut_off(worker, fault).await;
                Ok(())
            }
            Fault::RollWorkers => {
                for worker in &mut self.fleet.workers {
                    worker.stop().await?;
                    worker.start_again().await?;
                }
                Ok(())
            }
            Fault::FlushScripts => {
                for server in self.fleet.ground.servers() {
                    server.ask::<()>(&["SCRIPT", "FLUSH"]).await?;
                }
                Ok(())
            }
            Fault::RestartRedis => self.restart_redis().await,
            Fault::TakeOver | Fault::MoveSlot => self.move_on(fault).await,
            Fault::FailOver => self.fail_over().await,
        }
    }

    async fn kill(&mut self, is_api: bool, number: usize) -> Result<(), FleetError> {
        let dead = self.draw_ms(DEAD_MS);
        let members = if is_api { &mut self.fleet.apis } else { &mut self.fleet.workers };
        members[number].kill().await?;
        sleep(dead).await;
        members[number].start_again().await
    }

    async fn cut_off(&mut self, worker: usize, fault: Fault) {
        let absent = self.draw_ms(ABSENT_MS);
        let Some(link) = &self.fleet.workers[worker].link else { return };
        match fault {
            Fault::CutWorker => link.cut(),
            Fault::SilenceAnswers => link.silence_answers(),
            _ => link.silence(),
        }
        sleep(absent).await;
        link.heal();
    }

    async fn restart_redis(&mut self) -> Result<(), FleetError> {
        let key = self.fleet.key_of_bucket(self.random.next_u64());
        match &mut self.fleet.ground {
            Ground::Single(redis) => redis.restart().await?,
            Ground::Pair(pair) => pair.primary.restart().await?,
            Ground::Cluster(cluster) => {
                let primary = cluster.primary_of(cluster.slot_of(&key).await).await;
                cluster.nodes[primary].restart().await?;
                cluster.until_ok().await;
            }
        }
        Ok(())
    }

    /// A bucket's slot goes to a replica of its primary, or to another primary.
    async fn move_on(&mut self, fault: Fault) -> Result<(), FleetError> {
        let key = self.fleet.key_of_bucket(self.random.next_u64());
        let Ground::Cluster(cluster) = &self.fleet.ground else { return Ok(()) };
        let slot = cluster.slot_of(&key).await;
        let primary = cluster.primary_of(slot).await;
        if fault == Fault::TakeOver {
            if let Some(replica) = cluster.replica_of(primary).await {
                cluster.take_over(replica).await;
            }
        } else {
            // Any slot that another primary has tells who that is.
            let other = cluster.primary_of(slot.wrapping_add(5_500) % 16_384).await;
            if other != primary {
                cluster.move_slot(slot, other).await?;
            }
        }
        cluster.until_ok().await;
        Ok(())
    }

    /// The replica hears of nothing any more for a while, and then everybody goes to it.
    async fn fail_over(&mut self) -> Result<(), FleetError> {
        let lag = self.draw_ms(LAG_MS);
        let Ground::Pair(pair) = &mut self.fleet.ground else { return Ok(()) };
        pair.link.silence();
        sleep(lag).await;
        pair.promote().await;
        // Nobody comes back to the old one.
        pair.primary.kill().await.map_err(FleetError::Stop)?;
        for member in self.fleet.apis.iter().chain(&self.fleet.workers) {
            member.link.iter().for_each(|link| link.lead_to(pair.replica.address()));
        }
        Ok(())
    }

    fn draw_ms(&mut self, (least, most): (u64, u64)) -> Duration {
        Duration::from_millis(least + self.random.below(most - least))
    }

    async fn wait(&mut self, span_ms: (u64, u64)) {
        sleep(self.draw_ms(span_ms)).await;
    }
}

/// Waits until the service has given more answers than that. If it takes too long, the records say so.
async fn until_more_than(answered: u64, counts: &Counts) {
    let more = async {
        while counts.answered() <= answered {
            sleep(LOOK_EVERY).await;
        }
    };
    // Whoever judges finds that nobody was answered.
    let _ = timeout(SILENCE_MAX, more).await;
}

/// When the first answer may have been given that a failover has lost, on the clock of records.
fn lost_since_us(faults: &[Fault], moments: &[Moment], began_at_ms: u64) -> u64 {
    let mut all = faults.iter().zip(moments);
    let first = all.find(|(fault, _)| fault.loses()).map(|(_, moment)| moment.from_us);
    first.map_or(u64::MAX, |us| us.saturating_sub(1_000 * began_at_ms + FOLLOWS_US))
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} calls; {} lost, {} excused", self.calls, self.lost.len(), self.excused)?;
        for (fault, Noticed { answers_before, unanswered, answers_after }) in &self.faults {
            writeln!(
                f,
                "{fault:?}: {answers_before} answers before it, {answers_after} after it, \
                 {unanswered} calls without one"
            )?;
        }
        write!(f, "{}", self.verdict)
    }
}
