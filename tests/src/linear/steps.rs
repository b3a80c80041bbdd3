//! All that may happen, as a history tells it: operations, and what happens to holds by itself.

use std::collections::HashMap;

use super::facts::{Facts, Orders};
use super::history::{Action, Answer, End, History, Operation};
use super::state::{Standing, State};

/// How far the service's clock and the clients' may differ. Both are this machine's; the service
/// counts whole milliseconds.
pub(super) const CLOCKS_DIFFER_US: u64 = 5_000;

/// What may happen at one moment.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Not before this.
    pub(super) from_us: u64,
    /// Not after this; if there is no such time, perhaps never.
    pub(super) by_us: Option<u64>,
    /// Another step with the same effect, which may happen instead of this one whenever this one
    /// may: then this one need not be looked at before that one has happened.
    pub(super) twin: Option<usize>,
    pub(super) what: What,
}

/// What happens.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// A client's operation.
    Operation(Operation),
    /// The order's hold runs out of time.
    Expire(usize),
    /// The order's hold goes back, since nobody was told of it.
    LetGo(usize),
}

/// All steps of a history, by `from_us`.
#[derive(Debug)]
pub(super) struct Steps {
    pub(super) all: Vec<Step>,
    /// By order, those that nobody was told of.
    unheard: Vec<Vec<usize>>,
}

impl Steps {
    pub(super) fn read(history: &History, orders: &Orders) -> Self {
        // A read that got no answer says and does nothing.
        let operations = history.operations.iter();
        let telling = operations.filter(|o| o.has_effect() || o.told.is_some());
        let mut all: Vec<Step> = telling.map(|operation| step(operation, orders)).collect();
        all.extend(orders.iter().filter_map(|(order, facts)| expiry(order, facts)));
        all.extend(history.operations.iter().filter_map(|operation| let_go(operation, orders)));
        all.sort_by_key(|step| step.from_us);
        pair(&mut all, orders);
        let mut unheard = vec![Vec::new(); orders.len()];
        for (place, step) in all.iter().enumerate().filter(|(_, step)| step.by_us.is_none()) {
            if let Some(order) = step.order(orders) {
                unheard[order].push(place);
            }
        }
        Self { all, unheard }
    }

    /// Of the steps that nobody was told of, those that can change nothing any more after `step`
    /// led to `state`: they need not be told from those that have happened.
    pub(super) fn idle(
        &self,
        state: &State,
        step: &Step,
        orders: &Orders,
    ) -> impl Iterator<Item = usize> {
        let order = step.order(orders);
        let standing = order.map_or(Standing::Open, |order| state.standing(order));
        let unheard = order.map_or(&[][..], |order| &self.unheard[order]);
        unheard.iter().copied().filter(move |place| match standing {
            Standing::Open | Standing::Held => false,
            // Nobody can take it again, nor may it be let go.
            Standing::Promised => !matches!(
                &self.all[*place].what,
                What::Expire(_) | What::Operation(Operation { action: Action::Settle { .. }, .. })
            ),
            _ => true,
        })
    }
}

impl Step {
    /// Whether it sets the stock: what changes nothing now may change something later.
    pub(super) fn is_set(&self) -> bool {
        let What::Operation(operation) = &self.what else { return false };
        matches!(operation.action, Action::Set { .. })
    }

    /// Whether it is too late for it, now and for ever: versions only grow.
    pub(super) fn is_past(&self, state: &State) -> bool {
        let What::Operation(Operation { told: Some(told), .. }) = &self.what else { return false };
        match told.answer {
            Answer::Stock { version, .. } if version == state.version() => {
                told.answer != state.shown()
            }
            Answer::Stock { version, .. } => version < state.version(),
            _ => false,
        }
    }

    /// The place of the order that it is about.
    fn order(&self, orders: &Orders) -> Option<usize> {
        match &self.what {
            What::Operation(operation) => Some(orders.place(operation.order()?)),
            What::Expire(order) | What::LetGo(order) => Some(*order),
        }
    }
}

fn step(operation: &Operation, orders: &Orders) -> Step {
    let told = operation.told.as_ref();
    let by_us = match (operation.action, told.map(|told| &told.answer)) {
        // A ticket leaves open when the order is decided; another answer may tell.
        (Action::Reserve { order, .. }, Some(Answer::Queued { .. })) => {
            orders.of(orders.place(order)).decided_us
        }
        _ => told.map(|told| told.at_us),
    };
    let what = What::Operation(operation.clone());
    Step { from_us: operation.call_us, by_us, twin: None, what }
}

fn expiry(order: usize, facts: &Facts) -> Option<Step> {
    let from_us = facts.expires_us?.saturating_sub(CLOCKS_DIFFER_US);
    let what = What::Expire(order);
    Some(Step { from_us, by_us: None, twin: None, what })
}

/// A hold that its client was not told of may go back, also when the order has a ticket by then: its
/// repeat waits in the lane, and takes the units anew.
fn let_go(operation: &Operation, orders: &Orders) -> Option<Step> {
    match (operation.action, &operation.told) {
        (Action::Reserve { order, .. }, None) => {
            let (from_us, what) = (operation.call_us, What::LetGo(orders.place(order)));
            Some(Step { from_us, by_us: None, twin: None, what })
        }
        _ => None,
    }
}

/// Finds twins: steps of orders of which nothing else is known, what one order asks for again and again, and
/// units set twice. Without this, n of them of which nobody knows whether they have happened would be 2^n
/// possibilities; with it they are n + 1.
fn pair(steps: &mut [Step], orders: &Orders) {
    let mut last = HashMap::new();
    for (place, step) in steps.iter_mut().enumerate() {
        if let Some(kind) = kind(step, orders) {
            step.twin = last.insert(kind, place);
        }
    }
}

/// What twins have in common.
#[derive(PartialEq, Eq, Hash)]
enum Kind {
    Set { units: u64 },
    Reserve(Whose),
    LetGo(Whose),
    Settle(Whose, End),
}

#[derive(PartialEq, Eq, Hash)]
enum Whose {
    /// Any order's of so many units of which nothing else is known.
    Any { units: u64 },
    /// One order's, at this stage.
    One { order: usize, stage: Stage },
}

/// How many orders have their places in the queue, and how many holds are overdue, for a call at some time.
/// Between two calls for which these are the same, none is judged otherwise than the other.
type Stage = (usize, usize);

fn kind(step: &Step, orders: &Orders) -> Option<Kind> {
    if let What::Operation(Operation { told: None, action: Action::Set { units }, .. }) = step.what
    {
        return Some(Kind::Set { units });
    }
    let order = step.order(orders)?;
    let whose = |stage| match orders.of(order) {
        Facts { operations: 1, units, .. } => Whose::Any { units: *units },
        _ => Whose::One { order, stage },
    };
    match &step.what {
        What::Operation(Operation { told: None, action, call_us, .. }) => match *action {
            Action::Reserve { .. } => Some(Kind::Reserve(whose(stage(*call_us, orders)))),
            Action::Settle { end, .. } => Some(Kind::Settle(whose(stage(*call_us, orders)), end)),
            _ => None,
        },
        // It is judged by nothing but that the order has a hold.
        What::LetGo(_) => Some(Kind::LetGo(whose(Stage::default()))),
        What::Operation(_) | What::Expire(_) => None,
    }
}

fn stage(call_us: u64, orders: &Orders) -> Stage {
    let count = |us: fn(&Facts) -> Option<u64>| {
        orders.iter().filter(|(_, facts)| us(facts).is_some_and(|us| us < call_us)).count()
    };
    let overdue_us = |facts: &Facts| Some(facts.expires_us?.saturating_add(CLOCKS_DIFFER_US));
    (count(|facts| facts.placed_us), count(overdue_us))
}
