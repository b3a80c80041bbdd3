//! How long a bucket stands still when its owner is killed: an API process and two workers, a steady
//! load on one SKU, and `kill -9` of whichever worker owns it, again and again.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::bench::closed::Caller;
use crate::bench::figures::Figure;
use crate::bench::request::{Skus, Template, sku_name};
use crate::bench::run::{Run, progress};
use crate::bench::statistics::median;
use crate::bench::tally::Numbers;
use crate::bench::watch::fill;
use crate::process::eventually;
use crate::redis::Redis;
use crate::{Service, Shop};

/// How often the owner is killed.
const KILLS: usize = 20;

/// Callers, and how long each rests before it asks again: some 400 reservations a second.
const CALLERS: usize = 8;
const REST: Duration = Duration::from_millis(20);

/// How many outcomes show that a bucket is sold from again: more than can have been on their way.
const AGAIN: usize = 50;

/// Measures.
///
/// # Panics
/// Something fails, a reservation is lost, or a bucket stands still for as long as anybody waits.
pub async fn measure(run: &mut Run) {
    let redis = super::server(run, &run.dir().join("takeover-redis")).await;
    let mut fleet = Fleet::start(run, &redis).await;
    fill(&fleet.api, 0).await;
    let bucket = bucket_of_hot(&redis).await;
    let outcomes = Outcomes::default();
    let callers = outcomes.ask(&fleet.api, &run.numbers).await;
    let kills = if run.extent.is_smoke { 1 } else { KILLS };
    let mut killed = Vec::with_capacity(kills);
    for kill in 1..=kills {
        progress(&format!("the owner is killed, {kill} of {kills}"));
        outcomes.more().await;
        killed.push(fleet.kill_owner(run, bucket).await);
        outcomes.more().await;
    }
    outcomes.stop();
    let told: u64 = callers.join_all().await.into_iter().sum();
    let stock = Shop::at(fleet.api.address()).stock(&sku_name(0)).await.expect("the stock");
    assert_eq!(stock.body["held"], told, "held, and told of");
    let gaps = gaps(&outcomes.state().at, &killed);
    report(run, &gaps, told);
}

/// The processes.
struct Fleet {
    store: String,
    api: Service,
    workers: [Service; 2],
    started: usize,
}

impl Fleet {
    async fn start(run: &Run, redis: &Redis) -> Self {
        let store = redis.url();
        let workers = [worker(run, &store, 1).await, worker(run, &store, 2).await];
        let options = run.service_options("takeover-api", "").store(&store).roles("api");
        Self { store, api: run.start(&options).await, workers, started: 2 }
    }

    /// Kills the bucket's owner once both workers have a part of all buckets, and starts another in
    /// its place. Returns when it was killed.
    async fn kill_owner(&mut self, run: &Run, bucket: u16) -> Instant {
        let workers = &self.workers;
        let owner = eventually("both workers own buckets, and one of them this one", || async {
            let logs = workers.each_ref().map(Service::log);
            let both = logs.iter().all(|log| log.contains(BEGINS));
            logs.iter().position(|log| owns(log, bucket)).filter(|_| both)
        })
        .await;
        let killed = Instant::now();
        self.workers[owner].process.kill().await.expect("the worker ends");
        self.started += 1;
        self.workers[owner] = worker(run, &self.store, self.started).await;
        killed
    }
}

/// Starts a worker with a log of its own.
async fn worker(run: &Run, store: &str, number: usize) -> Service {
    let options = run.service_options(&format!("takeover-worker-{number}"), "");
    run.start(&options.store(store).roles("worker")).await
}

/// What a worker says when it has taken a bucket, and when it has it no more.
const BEGINS: &str = "tenure begins";
const ENDS: &str = "tenure ends";

/// Whether a worker has a bucket now, by its log.
fn owns(log: &str, bucket: u16) -> bool {
    let this = format!("bucket={bucket}");
    let is_of_this = |line: &&str| line.split_whitespace().any(|word| word == this);
    let count = |what| log.lines().filter(is_of_this).filter(|line| line.contains(what)).count();
    count(BEGINS) > count(ENDS)
}

/// The bucket of the one SKU that there is.
async fn bucket_of_hot(redis: &Redis) -> u16 {
    let stocks: Vec<String> = redis.ask(&["KEYS", "{cg:*}:stock"]).await.expect("the keys");
    let [stock] = &stocks[..] else { panic!("one bucket with stock, not {stocks:?}") };
    let bucket = stock.strip_prefix("{cg:").and_then(|rest| rest.strip_suffix("}:stock"));
    bucket.and_then(|bucket| bucket.parse().ok()).expect("a bucket's key")
}

/// When callers heard of their reservations.
#[derive(Clone, Default)]
struct Outcomes(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    at: Vec<Instant>,
    is_over: bool,
}

impl Outcomes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no caller panics here")
    }

    /// Lets callers ask until told to stop. Each returns how many reservations it was told of.
    async fn ask(&self, api: &Service, numbers: &Numbers) -> JoinSet<u64> {
        let mut callers = JoinSet::new();
        for caller in Caller::connect_all(api.address(), CALLERS).await {
            let template = Template::reservation(api.address(), Skus::Hot);
            callers.spawn(self.clone().ask_again_and_again(caller, template, numbers.clone()));
        }
        callers
    }

    async fn ask_again_and_again(
        self,
        mut caller: Caller,
        mut template: Template,
        numbers: Numbers,
    ) -> u64 {
        let mut told = 0;
        while !self.state().is_over {
            let number = numbers.fetch_add(1, Ordering::Relaxed);
            let answer = caller.ask(template.numbered(number)).await.expect("an answer");
            assert_eq!(
                answer.status, 201,
                "a bucket without an owner keeps callers waiting: {answer:?}"
            );
            told += 1;
            self.state().at.push(Instant::now());
            sleep(REST).await;
        }
        told
    }

    /// Waits until some more have come.
    async fn more(&self) {
        let enough = self.state().at.len() + AGAIN;
        eventually("outcomes", || async { (self.state().at.len() >= enough).then_some(()) }).await;
    }

    fn stop(&self) {
        self.state().is_over = true;
    }
}

/// The longest time between two outcomes after each kill, until the next: the one that ends first
/// may have begun before the kill.
fn gaps(outcomes: &[Instant], kills: &[Instant]) -> Vec<Duration> {
    let ends = kills.iter().skip(1).map(Some).chain([None]);
    let longest = |(kill, end): (&Instant, Option<&Instant>)| {
        let all = outcomes.windows(2).map(|pair| (pair[0], pair[1]));
        let after = all.filter(|(_, until)| until > kill && end.is_none_or(|end| until <= end));
        after.map(|(from, until)| until - from).max().unwrap_or_default()
    };
    kills.iter().zip(ends).map(longest).collect()
}

fn report(run: &mut Run, gaps: &[Duration], told: u64) {
    let gaps: Vec<f64> = gaps.iter().map(Duration::as_secs_f64).collect();
    let max = gaps.iter().copied().fold(0.0, f64::max);
    let note = format!(
        "longest time without an outcome of the bucket after each of {} kill -9 of its owner; all \
         {told} reservations that callers were told of are there, and no other",
        gaps.len()
    );
    run.add(Figure::new("takeover_s_max", max, "s").at_most(3.0).note(note));
    run.add(Figure::new("takeover_s_median", median(&gaps), "s").at_most(3.0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_belongs_to_the_kill_that_it_ends_after() {
        let start = Instant::now();
        let at = |seconds: &[u64]| -> Vec<Instant> {
            seconds.iter().map(|seconds| start + Duration::from_secs(*seconds)).collect()
        };
        let outcomes = at(&[0, 9, 10, 13, 14, 18, 20, 21]);
        let gaps = gaps(&outcomes, &at(&[11, 19]));
        assert_eq!(gaps, [4, 2].map(Duration::from_secs));
    }

    #[test]
    fn an_owner_is_known_by_its_log() {
        let log = "a: tenure begins bucket=7\na: tenure begins bucket=71\n\
                   a: tenure ends bucket=7 reason=\"given-back\"\n";
        assert!(!owns(log, 7) && owns(log, 71) && !owns(log, 1));
        assert!(owns(&format!("{log}a: tenure begins bucket=7\n"), 7));
    }
}
