//! One SKU as it should be: what each step makes of its state, and whether an answer fits.
//!
//! A second telling of the ledger's rules, shorter, which shares no code with it.

use super::facts::Orders;
use super::history::{Action, Answer, End, Operation};
use super::state::{Standing, State};
use super::steps::{CLOCKS_DIFFER_US, Step, What};

/// The state after `step`, if it can happen and its answer is right. A step that need not happen
/// and changes nothing does not.
pub(super) fn after(state: &State, step: &Step, orders: &Orders) -> Option<State> {
    let end = |order, standing| {
        let mut state = state.clone();
        state.end(order, orders.of(order).units, standing);
        Some(state)
    };
    match &step.what {
        What::Operation(operation) => {
            let next = operate(state, operation, orders)?;
            (step.by_us.is_some() || next != *state).then_some(next)
        }
        What::Expire(order) if is_next_to_expire(state, *order, orders) => {
            end(*order, Standing::Expired)
        }
        What::LetGo(order) if state.standing(*order) == Standing::Held => {
            end(*order, Standing::Open)
        }
        What::Expire(_) | What::LetGo(_) => None,
    }
}

fn operate(state: &State, operation: &Operation, orders: &Orders) -> Option<State> {
    let (answer, call_us) = (operation.answer(), operation.call_us);
    match operation.action {
        Action::Reserve { order, units } => {
            let order = orders.place(order);
            let mut state = state.clone();
            if state.standing(order) == Standing::Open {
                decide(&mut state, order, units, operation, orders)?;
            }
            match answer {
                None => Some(state),
                Some(Answer::Queued { id }) => orders.of(order).is(id).then_some(state),
                Some(answer) => tell(state, order, answer, orders),
            }
        }
        Action::Ticket { order } => {
            let order = orders.place(order);
            let is_open = state.standing(order) == Standing::Open;
            match answer? {
                Answer::Queued { id } => {
                    (is_open && orders.of(order).is(id)).then(|| state.clone())
                }
                answer => tell(state.clone(), order, answer, orders),
            }
        }
        Action::Settle { order, end } if !is_overdue(state, call_us, orders) => {
            settle(state, orders.place(order), end, answer, orders)
        }
        Action::Set { units } if !is_overdue(state, call_us, orders) => {
            let mut state = state.clone();
            let right = state.set(units);
            answer.is_none_or(|answer| *answer == right).then_some(state)
        }
        Action::Settle { .. } | Action::Set { .. } => None,
        Action::Read => (*answer? == state.shown()).then(|| state.clone()),
    }
}

/// Decides an order; `None` if it is too soon for it, or has an outcome that cannot be.
fn decide(
    state: &mut State,
    order: usize,
    units: u64,
    operation: &Operation,
    orders: &Orders,
) -> Option<()> {
    // An attempt that nobody was told of may have taken another hold than the one that was told.
    let is_told = operation.told.is_some();
    if is_overdue(state, operation.call_us, orders)
        || overtakes(state, order, operation.call_us, orders)
        || is_told && is_out_of_turn(state, order, orders)
    {
        return None;
    }
    let left = state.available();
    state.decide(order, units);
    let is_held = state.standing(order).is_held();
    (is_held || orders.of(order).may_be_sold_out(left)).then_some(())
}

/// The answer to an order that is decided. Whoever is told of a hold can rely on it.
fn tell(mut state: State, order: usize, answer: &Answer, orders: &Orders) -> Option<State> {
    let facts = orders.of(order);
    let is_right = match (state.standing(order), answer) {
        (Standing::Open, _) => false,
        // It was decided with as many units left as somebody was told first.
        (Standing::SoldOut, Answer::SoldOut { available }) => facts.sold_out == Some(*available),
        (Standing::SoldOut, _) => false,
        (_, Answer::Held { id, expires_us }) => {
            state.promise(order);
            facts.is(id) && facts.expires_us == Some(*expires_us)
        }
        _ => false,
    };
    is_right.then_some(state)
}

fn settle(
    state: &State,
    order: usize,
    end: End,
    answer: Option<&Answer>,
    orders: &Orders,
) -> Option<State> {
    let (mut next, standing) = (state.clone(), state.standing(order));
    let right = match standing.end() {
        Some(ended) if ended == end => Answer::Settled,
        Some(ended) => Answer::Ended(ended),
        None if standing.is_held() => {
            next.end(order, orders.of(order).units, end.into());
            Answer::Settled
        }
        None => return None,
    };
    answer.is_none_or(|answer| *answer == right).then_some(next)
}

/// Whether this is a hold, and none is due before it: when one goes back, all have gone back that
/// were due before.
fn is_next_to_expire(state: &State, order: usize, orders: &Orders) -> bool {
    let expires_us = |order| orders.of(order).expires_us.unwrap_or(u64::MAX);
    let mut held = state.standings().filter(|(_, standing)| standing.is_held());
    state.standing(order).is_held() && held.all(|(other, _)| expires_us(other) >= expires_us(order))
}

/// Whether something judged on behalf of a call at `call_us` would find a hold whose time was up by
/// then.
fn is_overdue(state: &State, call_us: u64, orders: &Orders) -> bool {
    let mut held = state.standings().filter(|(_, standing)| standing.is_held());
    held.any(|(order, _)| {
        let expires_us = orders.of(order).expires_us.unwrap_or(u64::MAX);
        expires_us.saturating_add(CLOCKS_DIFFER_US) < call_us
    })
}

/// Whether this order, asked for at `call_us`, would be decided before one that had its place by
/// then.
fn overtakes(state: &State, order: usize, call_us: u64, orders: &Orders) -> bool {
    open_but(state, order).any(|other| {
        let placed_us = orders.of(other).placed_us;
        placed_us.is_some_and(|placed_us| placed_us < call_us)
    })
}

/// Whether this order would take its units before one whose hold expires sooner: holds last equally
/// long.
fn is_out_of_turn(state: &State, order: usize, orders: &Orders) -> bool {
    let Some(expires_us) = orders.of(order).expires_us else { return false };
    open_but(state, order).any(|other| {
        let sooner = orders.of(other).expires_us;
        sooner.is_some_and(|sooner| sooner < expires_us)
    })
}

fn open_but(state: &State, order: usize) -> impl Iterator<Item = usize> {
    let others = state.standings().filter(move |(other, _)| *other != order);
    others.filter(|(_, standing)| *standing == Standing::Open).map(|(other, _)| other)
}
