//! The open loop: customers come when the schedule says, whatever becomes of those before them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{JoinError, spawn_blocking};

use super::cast::Arrival;
use super::connection::Pool;
use super::customer::{Clock, Street, play};
use super::progress::{Counts, Progress};
use super::record::Record;
use super::scenario::Scenario;
use super::target::Target;

/// What the customers have noted.
#[derive(Debug)]
pub struct Load {
    /// Every call, numbered in the order in which they were scheduled.
    pub records: Vec<Record>,
    /// Calls that were not made, since all connections were in use: the drill offered less than
    /// its scenario says.
    pub not_sent: u64,
    /// When time 0 was, in milliseconds since 1970.
    pub began_at_ms: u64,
}

/// Plays `cast`, in its order, against `target`, and counts what comes of it. Ends when all customers
/// have, and at the latest when the scenario's time by `clock` has passed.
///
/// # Errors
/// The schedule broke down, which is a fault of the drill.
pub async fn run(
    scenario: &Scenario,
    clock: Clock,
    cast: impl Iterator<Item = Arrival> + Send + 'static,
    target: &Target,
    counts: &Arc<Counts>,
) -> Result<Load, JoinError> {
    let (notes, mut noted) = mpsc::unbounded_channel();
    let street = Arc::new(Street {
        clock,
        host: target.host().to_owned(),
        people: Pool::new(target.edges(), None, scenario.connections_max),
        bots: bots(scenario, target),
        counts: counts.clone(),
        notes,
    });
    let progress = Progress::start(counts.clone(), scenario.duration_s);
    let runtime = Handle::current();
    let schedule = spawn_blocking(move || keep_time(cast, &street, &runtime));
    // Every customer holds the street, and with it an end of this channel: it closes behind the last.
    let mut records = Vec::new();
    while noted.recv_many(&mut records, 1_024).await > 0 {}
    progress.finish();
    schedule.await?;
    number(&mut records);
    Ok(Load { records, not_sent: counts.not_sent(), began_at_ms: clock.began_at_ms() })
}

/// Sends every customer on their way in time. On a thread of its own: the runtime's timers are exact
/// to a millisecond, and come later still when it is busy with answers.
fn keep_time(cast: impl Iterator<Item = Arrival>, street: &Arc<Street>, runtime: &Handle) {
    for arrival in cast {
        let Arrival { at_us, .. } = arrival;
        let early_us = at_us.saturating_sub(street.clock.now_us());
        if early_us > 0 {
            thread::sleep(Duration::from_micros(early_us));
        }
        runtime.spawn(play(street.clone(), arrival));
    }
}

/// The bots' addresses are loopback's, where everybody can have as many as they like; a system
/// elsewhere sees them all come from here.
fn bots(scenario: &Scenario, target: &Target) -> Vec<Arc<Pool>> {
    let edges = target.edges();
    let is_here = |edge: &SocketAddr| edge.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST);
    let has_loopback = edges.iter().all(is_here);
    let pool = |number: u8| {
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, number.saturating_add(2)));
        let from = has_loopback.then_some(address);
        Pool::new(edges, from, scenario.bots.connections_each)
    };
    (0..scenario.bots.addresses).map(pool).collect()
}

fn number(records: &mut [Record]) {
    records.sort_by_key(|record| (record.scheduled_us, record.sent_us));
    for (serial, record) in (0..).zip(records) {
        record.serial = serial;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::net::TcpListener;

    use super::super::cast::{Assortment, Cast};
    use super::super::record::{Answer, Call, Role};
    use super::super::scenario::Overrides;
    use super::*;
    use crate::paths::repo_root;

    #[tokio::test(flavor = "multi_thread")]
    async fn against_a_system_that_never_answers_nobody_is_forgotten_and_the_drill_ends() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let target = Target::at(&url, &url).await.unwrap();
        let path = repo_root().join("tests/scenarios/short.toml");
        let mut scenario = Scenario::read(&path, Overrides::default()).unwrap();
        (scenario.duration_s, scenario.drain_s, scenario.connections_max) = (1, 2, 5);
        let cast = || Cast::new(&scenario, &Assortment::new(&scenario, ""));
        let arrivals: Vec<Arrival> = cast().collect();
        let again = arrivals.iter().filter(|arrival| arrival.role == Role::Impatient).count();

        let began = Instant::now();
        let load = run(&scenario, Clock::start(scenario.lasts()), cast(), &target, &Arc::default())
            .await
            .unwrap();
        let took = began.elapsed().as_secs_f64();
        assert!((1.0..10.0).contains(&took), "{took} s");
        assert!(load.not_sent > 0, "five connections are not enough");
        assert_eq!(load.records.len() + load.not_sent as usize, arrivals.len() + again);
        let (unheard, serials): (Vec<_>, Vec<_>) =
            load.records.iter().map(|record| (&record.answer, record.serial)).unzip();
        assert!(unheard.iter().all(|told| matches!(told, Answer::Lost | Answer::HungUp)));
        assert!(serials.into_iter().eq(0..load.records.len() as u64));
        assert!(load.records.iter().all(|record| matches!(record.call, Call::Reserve(_))));
    }
}
