//! A refused history made small, for people to read.
//!
//! Only what makes a history weaker is done, so that what is left is refused for a fault of the
//! service and never for what was left out: reads go, and answers are forgotten as if they had been
//! lost.

use std::fmt;
use std::time::{Duration, Instant};

use super::history::{Action, History, Operation};
use super::search::{Verdict, check};

/// How many configurations are looked at for each attempt. An attempt that takes more is given up.
const CONFIGURATIONS_MAX: usize = 5_000;

/// How long it may take in all: somebody waits to read it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A refused history without what does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// The answers that contradict one another, among operations without an answer.
    pub history: History,
}

/// Makes a refused history smaller, operation by operation, as long as it is refused.
pub fn shrink(history: &History) -> Story {
    let began = Instant::now();
    let mut history = shortest(history);
    let mut size = history.operations.len();
    while size > 0 {
        let mut start = 0;
        while start < history.operations.len() && began.elapsed() < PATIENCE {
            let end = (start + size).min(history.operations.len());
            match without(&history, start, end) {
                Some(less) if is_refused(&less) => {
                    start = end - (history.operations.len() - less.operations.len());
                    history = less;
                }
                _ => start = end,
            }
        }
        size /= 2;
    }
    Story { history }
}

/// The shortest beginning that is refused. Whatever comes after a refused one changes nothing.
fn shortest(history: &History) -> History {
    let told = history.operations.iter().filter_map(|operation| operation.told.as_ref());
    let mut ends: Vec<u64> = told.map(|told| told.at_us).collect();
    ends.sort_unstable();
    let place = ends.partition_point(|end| !is_refused(&until(history, *end)));
    let end = ends.get(place).copied().unwrap_or(u64::MAX);
    until(history, end)
}

/// What was known at `end_us`.
fn until(history: &History, end_us: u64) -> History {
    let known = history.operations.iter().filter(|operation| operation.call_us <= end_us);
    let known = known.cloned().map(|operation| Operation {
        told: operation.told.filter(|told| told.at_us <= end_us),
        ..operation
    });
    History { operations: known.collect() }
}

/// The history with the answers from `start` to `end` forgotten; nothing if there are none.
fn without(history: &History, start: usize, end: usize) -> Option<History> {
    let (mut operations, mut is_less) = (Vec::new(), false);
    for (place, operation) in history.operations.iter().enumerate() {
        if !(start..end).contains(&place) || operation.told.is_none() {
            operations.push(operation.clone());
            continue;
        }
        is_less = true;
        if operation.has_effect() {
            operations.push(Operation { told: None, ..operation.clone() });
        }
    }
    is_less.then_some(History { operations })
}

fn is_refused(history: &History) -> bool {
    check(history, CONFIGURATIONS_MAX) == Verdict::Refused
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operations = &self.history.operations;
        let told = || operations.iter().filter(|operation| operation.told.is_some());
        let orders: Vec<usize> = told().filter_map(Operation::order).collect();
        let matters = |operation: &&Operation| {
            operation.told.is_some()
                || matches!(operation.action, Action::Set { .. })
                || operation.order().is_some_and(|order| orders.contains(&order))
        };
        writeln!(f, "these answers contradict one another (s since the recording began):")?;
        for operation in operations.iter().filter(matters) {
            writeln!(f, "{operation}")?;
        }
        let others = operations.len() - operations.iter().filter(matters).count();
        writeln!(f, "whatever {others} others did, of which no answer is needed")
    }
}
