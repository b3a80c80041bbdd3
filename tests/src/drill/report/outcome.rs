//! What customers were told in the end: a ticket is an answer, and not yet an outcome.

use std::collections::HashMap;

use crate::drill::record::{Answer, Call, Record, Role};

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Held,
    SoldOut,
}

impl Fate {
    fn told_by(answer: &Answer) -> Option<Self> {
        match answer {
            Answer::Held { .. } => Some(Self::Held),
            Answer::SoldOut { .. } | Answer::SoldOutAtEdge { .. } => Some(Self::SoldOut),
            _ => None,
        }
    }
}

/// What became of an order, and when the call ended that told its customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) fate: Fate,
    pub(super) told_us: u64,
}

/// What tickets came to. What only the witness was told, no customer knows: it is left out.
pub(super) struct Outcomes<'a>(HashMap<&'a str, Outcome>);

impl<'a> Outcomes<'a> {
    pub(super) fn of(records: &'a [Record]) -> Self {
        let mut outcomes = HashMap::new();
        for record in records.iter().filter(|record| record.role != Role::Witness) {
            let Call::Ticket { id } = &record.call else { continue };
            let Some(fate) = Fate::told_by(&record.answer) else { continue };
            let told = Outcome { fate, told_us: record.ended_us };
            let first: &mut Outcome = outcomes.entry(id.as_str()).or_insert(told);
            if told.told_us < first.told_us {
                *first = told;
            }
        }
        Self(outcomes)
    }

    /// What the customer of this order was told, by its answer or by its ticket; none where that
    /// was neither "held" nor "sold out".
    pub(super) fn of_order(&self, order: &Record) -> Option<Outcome> {
        if let Answer::Queued { ticket } = &order.answer {
            return self.0.get(ticket.as_str()).copied();
        }
        let fate = Fate::told_by(&order.answer)?;
        Some(Outcome { fate, told_us: order.ended_us })
    }

    /// For how long the customer of this order had a ticket and no outcome, if there was a ticket.
    pub(super) fn ticket_span(&self, order: &Record) -> Option<(u64, u64)> {
        let Answer::Queued { ticket } = &order.answer else { return None };
        let told_us = self.0.get(ticket.as_str()).map_or(u64::MAX, |outcome| outcome.told_us);
        Some((order.ended_us, told_us))
    }
}
