//! The search for an order of steps in which every answer is right.
//!
//! Wing and Gong (*Testing and verifying concurrent objects*, JPDC 1993): take any step that may be
//! the next, since no other had to be complete before its call; go back where none fits. Lowe
//! (*Testing for linearizability*, CCPE 2017): never look twice at the same steps done with the
//! same state behind them. Steps that need not happen are tried last, so that an honest history is
//! mostly found right at the first try.
//!
//! Three things are known of this model and shorten the search. A step that fits and changes
//! nothing can be taken at once, without looking at others: it would change nothing later either,
//! unless it sets the stock. A read that shows an earlier version than the state's will never fit
//! again. And steps that can change nothing any more count as done, whether they have happened or
//! not.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::vec;

use super::facts::Orders;
use super::history::{History, Operation};
use super::model::after;
use super::state::State;
use super::steps::{Step, Steps, What};

/// What became of the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is such an order; it was found after looking at so many configurations.
    Linearizable(usize),
    /// There is none.
    Refused,
    /// Nobody knows: there are more configurations than were to be looked at.
    Undecided,
}

/// Searches for an order in which every answer of `history` is right. Looks at `configurations_max`
/// configurations at most: each is a set of steps that are done, with the state behind them.
pub fn check(history: &History, configurations_max: usize) -> Verdict {
    if history.operations.iter().any(Operation::is_hopeless) {
        return Verdict::Refused;
    }
    let orders = Orders::read(&history.operations);
    let steps = Steps::read(history, &orders);
    let (seen, hashers) = Default::default();
    let mut search = Search { orders: &orders, steps: &steps, seen, hashers };
    let mut path = Vec::new();
    search.enter(Done::none(steps.all.len()), State::new(orders.len()), &mut path);
    while let Some(Configuration { done, next }) = path.last_mut() {
        if done.is_whole(&steps.all) {
            return Verdict::Linearizable(search.seen.len());
        }
        let Some((place, state)) = next.next() else {
            path.pop();
            continue;
        };
        let idle = steps.idle(&state, &steps.all[place], &orders);
        let done = done.with(idle.chain([place]));
        search.enter(done, state, &mut path);
        if search.seen.len() > configurations_max {
            return Verdict::Undecided;
        }
    }
    Verdict::Refused
}

struct Search<'a> {
    orders: &'a Orders,
    steps: &'a Steps,
    /// Configurations that were looked at, each by 128 bits: that two of them are the same by
    /// chance is less likely than that the machine errs.
    seen: HashSet<(u64, u64)>,
    hashers: (RandomState, RandomState),
}

/// A set of steps that are done, and what is still to be tried as the next, with the state that it
/// leads to.
struct Configuration {
    done: Done,
    next: vec::IntoIter<(usize, State)>,
}

impl Search<'_> {
    fn enter(&mut self, done: Done, state: State, path: &mut Vec<Configuration>) {
        let configuration = (&done, &state);
        let (first, second) = &self.hashers;
        if self.seen.insert((first.hash_one(configuration), second.hash_one(configuration))) {
            let next = self.next(&done, &state).into_iter();
            path.push(Configuration { done, next });
        }
    }

    /// What may be next, and what it leads to; nothing if there is no way on from here.
    fn next(&self, done: &Done, state: &State) -> Vec<(usize, State)> {
        let candidates = self.candidates(done);
        let mut next = Vec::new();
        for place in candidates {
            let step = &self.steps.all[place];
            if step.is_past(state) {
                return Vec::new();
            }
            match after(state, step, self.orders) {
                Some(same) if same == *state && !step.is_set() => return vec![(place, same)],
                Some(other) => next.push((place, other)),
                None => {}
            }
        }
        next
    }

    /// The steps that no other must precede, the most likely first: what was answered soonest, then
    /// what happens by itself, then what nobody was told of.
    fn candidates(&self, done: &Done) -> Vec<usize> {
        let (mut candidates, mut by_us) = (Vec::new(), u64::MAX);
        for (place, step) in self.steps.all.iter().enumerate().skip(done.first_open()) {
            if step.from_us > by_us {
                break;
            }
            if done.has(place) {
                continue;
            }
            by_us = by_us.min(step.by_us.unwrap_or(u64::MAX));
            if step.twin.is_none_or(|twin| done.has(twin)) {
                candidates.push(place);
            }
        }
        candidates.sort_by_key(|place| likelihood(&self.steps.all[*place]));
        candidates
    }
}

fn likelihood(step: &Step) -> (u8, u64) {
    match (&step.what, step.by_us) {
        (What::Operation(_), Some(by_us)) => (0, by_us),
        (What::Expire(_), _) => (1, step.from_us),
        // The latest first: what has not been seen for long has most likely not happened.
        (What::Operation(_), None) => (2, u64::MAX - step.from_us),
        (What::LetGo(_), _) => (3, u64::MAX - step.from_us),
    }
}

/// A set of steps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Done(Vec<u64>);

impl Done {
    fn none(steps: usize) -> Self {
        Self(vec![0; steps.div_ceil(64)])
    }

    fn has(&self, place: usize) -> bool {
        self.0[place / 64] >> (place % 64) & 1 == 1
    }

    fn with(&self, places: impl IntoIterator<Item = usize>) -> Self {
        let mut done = self.clone();
        for place in places {
            done.0[place / 64] |= 1 << (place % 64);
        }
        done
    }

    /// No step before this one is left.
    fn first_open(&self) -> usize {
        let full = self.0.iter().take_while(|word| **word == u64::MAX).count();
        full * 64
    }

    /// Whether all that must happen has happened.
    fn is_whole(&self, steps: &[Step]) -> bool {
        steps.iter().enumerate().all(|(place, step)| step.by_us.is_none() || self.has(place))
    }
}
