//! The clients' records, sorted: which calls belong to one order, and which settle one hold.

use std::collections::HashMap;

use super::super::record::{Answer, Call, Order, Record, Settlement};

/// All calls, by what they are about.
pub(super) struct Calls<'a> {
    /// Orders, in the order of their first call.
    pub(super) orders: Vec<OneOrder<'a>>,
    /// Settlements, by reservation id.
    settlements: HashMap<&'a str, Vec<&'a Record>>,
    /// Which order was told an id (as reservation or as ticket), and by which call. An id that two
    /// orders were told is here once, with the first.
    told: HashMap<&'a str, (usize, &'a Record)>,
}

/// One order and all that was said about it: by the calls that placed and repeated it, and by those
/// that asked for its ticket.
///
/// Calls with the same key, customer, SKU and quantity are one order; one without a key is always
/// an order of its own.
pub(super) struct OneOrder<'a> {
    pub(super) wish: &'a Order,
    pub(super) calls: Vec<&'a Record>,
}

/// What a client was told of a hold.
#[derive(Clone, Copy)]
pub(super) struct Held<'a> {
    pub(super) id: &'a str,
    pub(super) expires_at_ms: u64,
    /// The call that was told first.
    pub(super) by: &'a Record,
}

impl<'a> Calls<'a> {
    pub(super) fn sort(records: &'a [Record]) -> Self {
        let mut calls =
            Self { orders: Vec::new(), settlements: HashMap::new(), told: HashMap::new() };
        let mut keyed: HashMap<&Order, usize> = HashMap::new();
        for record in records {
            match &record.call {
                Call::Reserve(wish) => {
                    let next = calls.orders.len();
                    let place = match wish.key {
                        Some(_) => *keyed.entry(wish).or_insert(next),
                        None => next,
                    };
                    if place == next {
                        calls.orders.push(OneOrder { wish, calls: Vec::new() });
                    }
                    calls.add(place, record);
                }
                Call::Settle { id, .. } => calls.settlements.entry(id).or_default().push(record),
                Call::Ticket { .. } => {}
            }
        }
        // A ticket may be asked for by a record that stands before the one that was given it.
        for record in records {
            if let Call::Ticket { id } = &record.call
                && let Some((place, _)) = calls.told.get(id.as_str())
            {
                calls.add(*place, record);
            }
        }
        calls
    }

    fn add(&mut self, place: usize, record: &'a Record) {
        if let Some(id) = told_id(&record.answer) {
            self.told.entry(id).or_insert((place, record));
        }
        if let Some(order) = self.orders.get_mut(place) {
            order.calls.push(record);
        }
    }

    /// The orders of each SKU.
    pub(super) fn by_sku(&self) -> HashMap<&str, Vec<&OneOrder<'a>>> {
        let mut orders: HashMap<&str, Vec<&OneOrder<'a>>> = HashMap::new();
        for order in &self.orders {
            orders.entry(order.wish.sku.as_str()).or_default().push(order);
        }
        orders
    }

    /// The order that was told `id` first, and the call that was.
    pub(super) fn owner(&self, id: &str) -> Option<(usize, &'a Record)> {
        self.told.get(id).copied()
    }

    /// The calls that were to end a hold.
    pub(super) fn settlements(&self, id: &str) -> &[&'a Record] {
        self.settlements.get(id).map_or(&[], Vec::as_slice)
    }

    /// Orders that were told of a hold, with what the first answer said.
    pub(super) fn held(&self) -> impl Iterator<Item = (&OneOrder<'a>, Held<'a>)> {
        self.orders.iter().filter_map(|order| order.held().map(|held| (order, held)))
    }
}

impl<'a> OneOrder<'a> {
    /// The order cannot have reached the service before this.
    pub(super) fn asked_us(&self) -> u64 {
        self.calls.iter().map(|call| call.sent_us).min().unwrap_or_default()
    }

    /// By this time it certainly had its place among the orders of its SKU: it was decided, or had
    /// a ticket.
    pub(super) fn placed_by_us(&self) -> Option<u64> {
        self.first_answer(|answer| is_decision(answer) || matches!(answer, Answer::Queued { .. }))
    }

    /// By this time it was certainly decided.
    pub(super) fn decided_by_us(&self) -> Option<u64> {
        self.first_answer(is_decision)
    }

    /// What it was told first of a hold.
    pub(super) fn held(&self) -> Option<Held<'a>> {
        let told = self.calls.iter().filter_map(|by| match &by.answer {
            Answer::Held { id, expires_at_ms } => {
                Some(Held { id, expires_at_ms: *expires_at_ms, by })
            }
            _ => None,
        });
        told.min_by_key(|held| held.by.ended_us)
    }

    /// The units that were available when it was refused, and the call that was told first.
    pub(super) fn sold_out(&self) -> Option<(u64, &'a Record)> {
        let told = self.calls.iter().filter_map(|call| match call.answer {
            Answer::SoldOut { available } => Some((available, *call)),
            _ => None,
        });
        told.min_by_key(|(_, call)| call.ended_us)
    }

    fn first_answer(&self, is_wanted: impl Fn(&Answer) -> bool) -> Option<u64> {
        let wanted = self.calls.iter().filter(|call| is_wanted(&call.answer));
        wanted.map(|call| call.ended_us).min()
    }
}

/// The id that an answer to an order tells.
pub(super) fn told_id(answer: &Answer) -> Option<&str> {
    match answer {
        Answer::Held { id, .. } => Some(id),
        Answer::Queued { ticket } => Some(ticket),
        _ => None,
    }
}

/// Whether an answer says what became of an order.
pub(in super::super) fn is_decision(answer: &Answer) -> bool {
    matches!(answer, Answer::Held { .. } | Answer::SoldOut { .. })
}

/// Whether a call with this answer may have taken effect or not: there is no answer, or one that
/// somebody on the way may have given, or the service as it died.
pub(in super::super) fn is_unknown(answer: &Answer) -> bool {
    match answer {
        Answer::HungUp | Answer::Lost => true,
        Answer::Refused { status, problem } => {
            // A full lane and a paused sale are said before anything is done.
            let is_before = matches!(problem.as_str(), "lane-full" | "paused");
            problem.is_empty() || (*status >= 500 && !is_before)
        }
        _ => false,
    }
}

/// Whether one of these settlements is, or may be, why a hold ended like this.
pub(super) fn may_have_ended(settlements: &[&Record], how: Settlement) -> bool {
    settlements.iter().any(|record| {
        let is_such = matches!(record.call, Call::Settle { how: h, .. } if h == how);
        is_such && (record.answer == Answer::Settled || is_unknown(&record.answer))
    })
}
