//! What callers have been told, and how long it took.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::answer::Answer;

/// Numbers of requests: no two requests of a run have the same.
pub type Numbers = Arc<AtomicU64>;

/// A reservation that a caller was told of: the number of its request, and its id.
pub type Told = (u64, u128);

/// The longest time that is told from longer ones: a minute, in microseconds.
const LATENCY_US_MAX: u64 = 60_000_000;

/// What callers have been told.
#[derive(Debug)]
pub struct Tally {
    /// Answers that came in time, by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Every reservation that was told of, also too late to be counted.
    pub told: Vec<Told>,
    /// How long each answer took, in microseconds.
    pub latency_us: Histogram<u64>,
    /// How long the load lasted.
    pub lasted: Duration,
    /// Connections that broke before the answer came.
    pub broken: u64,
}

impl Tally {
    /// Of a load that lasts so long, before it began.
    ///
    /// # Panics
    /// Never: the histogram's bounds are valid.
    pub fn new(lasts: Duration) -> Self {
        Self {
            statuses: BTreeMap::new(),
            told: Vec::new(),
            latency_us: Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("valid bounds"),
            lasted: lasts,
            broken: 0,
        }
    }

    /// Counts an answer.
    pub fn note(&mut self, answer: Answer, took: Duration) {
        *self.statuses.entry(answer.status).or_default() += 1;
        self.latency_us.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Remembers what was told, though it may have come too late to be counted.
    pub fn note_told(&mut self, number: u64, answer: Answer) {
        if answer.status == 201 {
            self.told.extend(answer.id.map(|id| (number, id)));
        }
    }

    /// All answers.
    pub fn total(&self) -> u64 {
        self.statuses.values().sum()
    }

    /// Answers of this status.
    pub fn count(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or_default()
    }

    /// Answers per second, if all have this status.
    ///
    /// # Panics
    /// Some have another, or a connection broke: the figure would mean something else.
    pub fn per_s(&self, status: u16) -> f64 {
        assert_eq!(self.count(status), self.total(), "not all are {status}: {:?}", self.statuses);
        assert_eq!(self.broken, 0, "connections broke");
        self.total() as f64 / self.lasted.as_secs_f64()
    }

    /// The time within which 99 % were answered, in microseconds.
    pub fn p99_us(&self) -> f64 {
        self.latency_us.value_at_quantile(0.99) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn held(id: u128) -> Answer {
        Answer { status: 201, id: Some(id) }
    }

    #[test]
    fn a_rate_counts_what_came_while_the_load_lasted() {
        let mut tally = Tally::new(SECOND * 2);
        tally.note(held(10), SECOND);
        tally.note(held(20), SECOND);
        assert_eq!((tally.total(), tally.per_s(201)), (2, 1.0));
    }

    #[test]
    #[should_panic(expected = "not all are 201")]
    fn a_rate_of_refusals_is_no_rate() {
        let mut tally = Tally::new(SECOND);
        tally.note(Answer { status: 503, id: None }, SECOND);
        tally.per_s(201);
    }

    #[test]
    fn the_99th_of_100_is_the_p99() {
        let mut tally = Tally::new(SECOND);
        for ms in 1..=100 {
            tally.note(held(1), Duration::from_millis(ms));
        }
        assert!((98_900.0..99_200.0).contains(&tally.p99_us()), "{}", tally.p99_us());
    }
}
