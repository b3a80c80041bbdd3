//! What is known of the orders in a history, by all that was ever said of them.

use std::collections::{HashMap, HashSet};

use super::history::{Action, Answer, Operation};

/// All orders of a history.
#[derive(Debug, Default)]
pub(super) struct Orders {
    facts: Vec<Facts>,
    /// Their places in `facts`, by the history's numbers.
    places: HashMap<usize, usize>,
    /// All reservations.
    ids: HashSet<String>,
}

/// What clients were told of one order, at any time.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) units: u64,
    /// As which reservation, and until when.
    pub(super) id: Option<String>,
    pub(super) expires_us: Option<u64>,
    /// Of how many units left.
    pub(super) sold_out: Option<u64>,
    /// From when on it had its place in the queue.
    pub(super) placed_us: Option<u64>,
    /// By when it was decided.
    pub(super) decided_us: Option<u64>,
    /// How many operations are about it.
    pub(super) operations: usize,
}

impl Orders {
    pub(super) fn read<'a>(operations: impl IntoIterator<Item = &'a Operation>) -> Self {
        let mut orders = Self::default();
        operations.into_iter().for_each(|operation| orders.learn(operation));
        orders
    }

    pub(super) fn len(&self) -> usize {
        self.facts.len()
    }

    /// The place of an order, by the history's number. Every order of the history has one.
    pub(super) fn place(&self, number: usize) -> usize {
        self.places[&number]
    }

    pub(super) fn of(&self, place: usize) -> &Facts {
        &self.facts[place]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Facts)> {
        self.facts.iter().enumerate()
    }

    fn learn(&mut self, operation: &Operation) {
        let Some(number) = operation.order() else { return };
        let place = *self.places.entry(number).or_insert(self.facts.len());
        if place == self.facts.len() {
            self.facts.push(Facts::default());
        }
        let facts = &mut self.facts[place];
        facts.operations += 1;
        if let Action::Reserve { units, .. } = operation.action {
            facts.units = units;
        }
        let Some(told) = &operation.told else { return };
        if let Answer::Held { id, .. } | Answer::Queued { id } = &told.answer
            && facts.id.is_none()
            && self.ids.insert(id.clone())
        {
            // Another order's id stays that order's.
            facts.id = Some(id.clone());
        }
        let earliest = |us: &mut Option<u64>| *us = Some(us.unwrap_or(u64::MAX).min(told.at_us));
        match &told.answer {
            Answer::Held { expires_us, .. } => {
                facts.expires_us.get_or_insert(*expires_us);
                earliest(&mut facts.decided_us);
            }
            Answer::SoldOut { available } => {
                facts.sold_out.get_or_insert(*available);
                earliest(&mut facts.decided_us);
            }
            Answer::Queued { .. } => earliest(&mut facts.placed_us),
            _ => {}
        }
    }
}

impl Facts {
    /// Whether it is this reservation.
    pub(super) fn is(&self, id: &str) -> bool {
        self.id.as_deref() == Some(id)
    }

    /// Whether the order may be refused with so many units left: somebody was told, or it has a
    /// place that others wait behind. Else that contradicts what was told, or changes nothing.
    pub(super) fn may_be_sold_out(&self, left: u64) -> bool {
        let is_untold = self.sold_out.is_none() && self.expires_us.is_none();
        self.sold_out == Some(left) || is_untold && self.placed_us.is_some()
    }
}
