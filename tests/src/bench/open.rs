//! The open loop: callers come when the schedule says, whatever became of those before them. Time
//! counts from the schedule, so that a system that keeps callers waiting cannot hide it.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, Exp};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::answer::Answer;
use super::closed::Caller;
use super::request::Template;
use super::tally::{Numbers, Tally};

/// Callers that are not waiting for anything, the longest idle last.
type Idle = Arc<Mutex<Vec<Caller>>>;

/// Sends `per_s` requests per second, at random moments (a Poisson process), for as long as it
/// `lasts`, on as many connections as that takes.
///
/// # Panics
/// A connection is not taken, or breaks.
pub async fn run(
    address: SocketAddr,
    template: Template,
    numbers: &Numbers,
    per_s: f64,
    lasts: Duration,
) -> Tally {
    let idle: Idle = Idle::default();
    let (send, mut arrivals) = mpsc::unbounded_channel();
    let began = Instant::now();
    // A thread of its own: the runtime's timers are exact to a millisecond.
    let clock = thread::spawn(move || {
        for due in schedule(per_s, lasts).map(|after| began + after) {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // Nobody listens any more when a caller has failed.
            let _ = send.send(due);
        }
    });
    let mut calls = JoinSet::new();
    while let Some(due) = arrivals.recv().await {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        calls.spawn(call(address, idle.clone(), template.clone(), number, due));
    }
    clock.join().expect("the schedule");
    let mut tally = Tally::new(lasts);
    while let Some(answered) = calls.join_next().await {
        let (answer, took) = answered.expect("a caller");
        tally.note(answer, took);
    }
    tally
}

/// The moments of arrival, from the beginning. The same each time: loads that are compared are alike.
fn schedule(per_s: f64, lasts: Duration) -> impl Iterator<Item = Duration> {
    let mut random = StdRng::seed_from_u64(per_s.to_bits());
    let gap = Exp::new(per_s).expect("a rate above zero");
    let gaps = std::iter::repeat_with(move || Duration::from_secs_f64(gap.sample(&mut random)));
    let times = gaps.scan(Duration::ZERO, |now, gap| {
        *now += gap;
        Some(*now)
    });
    times.take_while(move |at| *at < lasts)
}

/// Asks; says what was answered, and how long after the request was `due`.
async fn call(
    address: SocketAddr,
    idle: Idle,
    mut template: Template,
    number: u64,
    due: Instant,
) -> (Answer, Duration) {
    let found = idle.lock().expect("no caller panics here").pop();
    let mut caller = match found {
        Some(caller) => caller,
        None => Caller::connect(address).await.expect("a connection"),
    };
    let answer = caller.ask(template.numbered(number)).await.expect("an answer");
    let took = due.elapsed();
    idle.lock().expect("no caller panics here").push(caller);
    (answer, took)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_offers_what_it_says_and_is_the_same_each_time() {
        let lasts = Duration::from_secs(20);
        let times: Vec<Duration> = schedule(500.0, lasts).collect();
        assert!((9_500..10_500).contains(&times.len()), "{}", times.len());
        assert!(times.is_sorted() && times.last() < Some(&lasts));
        assert!(schedule(500.0, lasts).eq(times));
    }
}
