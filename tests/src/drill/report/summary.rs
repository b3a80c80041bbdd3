//! What clients asked for and what they were told, in numbers.
//!
//! Latency runs from when the scenario wanted a call to be sent, not from when it was: a service
//! that stalls keeps later calls from being sent at all, and a clock that starts at their sending
//! would leave that wait out (coordinated omission; Gil Tene, How NOT to Measure Latency, 2013).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use super::latency::Latency;
use super::outcome::{Fate, Outcomes};
use super::timeline::Timeline;
use crate::drill::course::Course;
use crate::drill::record::{Answer, Call, Counters, Order, Record, Role, Settlement, SkuEvidence};

/// What the summary needs to know of the scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Basics {
    /// The product whose demand jumps.
    pub hot_sku: String,
    /// The limit that the edge has for it, in units per second, where it is known.
    pub hot_limit_per_s: Option<u32>,
    /// For how long orders were scheduled.
    pub duration: Duration,
}

/// A drill in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Of which scenario.
    pub basics: Basics,
    /// The hot product.
    pub hot: Part,
    /// All other products together.
    pub others: Part,
    /// Who asked, in the order of [`Role`]; the drill itself is left out.
    pub roles: Vec<RolePart>,
    /// How long confirmations and releases took, of any product.
    pub settlements: Latency,
    /// The same over time.
    pub timeline: Timeline,
    /// What became of the hot product, if nobody had registered it.
    pub course: Option<Course>,
}

/// The orders for some of the products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The orders that were sent, by what they were told.
    pub calls: Calls,
    /// What became of the holds.
    pub holds: Holds,
    /// How long those took that the edge admitted and the service answered, be it with a ticket.
    pub admitted: Latency,
    /// How long it took until customers knew: held or sold out, at once or by their ticket.
    pub outcome: Latency,
    /// How long the edge took to say no.
    pub over_limit: Latency,
    /// Where the units are in the end.
    pub stock: Counters,
}

/// What one kind of client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolePart {
    /// Who.
    pub role: Role,
    /// Their orders.
    pub calls: Calls,
    /// What became of their holds.
    pub holds: Holds,
}

/// Orders by what the client was told. Each counts once by its answer, so that these add up to
/// `offered`; one that was answered with a ticket counts again by what the ticket came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// All of them, repeats included.
    pub offered: u64,
    /// 201: held.
    pub held: u64,
    /// 202: a ticket.
    pub queued: u64,
    /// Of `queued`: the ticket told the client that the order is held.
    pub queued_held: u64,
    /// Of `queued`: the ticket told the client that it is sold out.
    pub queued_sold_out: u64,
    /// 409: sold out.
    pub sold_out: u64,
    /// 503: the lane is full.
    pub lane_full: u64,
    /// 409 from the edge: sold out, and nobody was asked.
    pub sold_out_at_edge: u64,
    /// 429: over the limit, from the edge.
    pub over_limit: u64,
    /// Any other answer.
    pub refused: u64,
    /// The client hung up first.
    pub hung_up: u64,
    /// The connection broke first.
    pub lost: u64,
}

impl Calls {
    /// Those that the service answered: the edge let them through for certain.
    pub fn admitted(&self) -> u64 {
        self.held + self.queued + self.sold_out + self.lane_full
    }

    /// Those that the client heard nothing about.
    pub fn unanswered(&self) -> u64 {
        self.hung_up + self.lost
    }

    /// Those with a ticket that never told the client what became of the order.
    pub fn queued_untold(&self) -> u64 {
        self.queued - self.queued_held - self.queued_sold_out
    }

    /// Those that are held in the end, told at once or by ticket.
    pub fn held_in_all(&self) -> u64 {
        self.held + self.queued_held
    }

    /// Those that are sold out in the end, told at once or by ticket.
    pub fn sold_out_in_all(&self) -> u64 {
        self.sold_out + self.queued_sold_out + self.sold_out_at_edge
    }

    fn count(&mut self, order: &Record, fate: Option<Fate>) {
        self.offered += 1;
        let told = match &order.answer {
            Answer::Held { .. } => &mut self.held,
            Answer::Queued { .. } => &mut self.queued,
            Answer::SoldOut { .. } => &mut self.sold_out,
            Answer::SoldOutAtEdge { .. } => &mut self.sold_out_at_edge,
            Answer::OverLimit => &mut self.over_limit,
            Answer::Refused { problem, .. } if problem == "lane-full" => &mut self.lane_full,
            Answer::Refused { .. } | Answer::Settled => &mut self.refused,
            Answer::HungUp => &mut self.hung_up,
            Answer::Lost => &mut self.lost,
        };
        *told += 1;
        if let Answer::Queued { .. } = order.answer {
            self.queued_held += u64::from(fate == Some(Fate::Held));
            self.queued_sold_out += u64::from(fate == Some(Fate::SoldOut));
        }
    }
}

/// Holds: each reservation counts once, however often and by which call it was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    /// Reservations that a client was told are held.
    pub held: u64,
    /// Those that only the drill's own questions brought to light: their clients never knew.
    pub witnessed: u64,
    /// Those that a client was told are confirmed.
    pub confirmed: u64,
    /// Those that a client was told are released.
    pub released: u64,
    /// Those that expired: by the journal, since nobody is told.
    pub expired: u64,
}

impl Summary {
    /// Counts. A release or confirmation belongs to the product that its hold was for.
    pub fn of(records: &[Record], evidence: &[SkuEvidence], basics: &Basics) -> Self {
        let origins = Origins::of(records, evidence);
        let outcomes = Outcomes::of(records);
        let is_hot = |sku: &str| sku == basics.hot_sku;
        let mut roles: BTreeMap<Role, RolePart> = BTreeMap::new();
        let [mut hot, mut others] = [true, false].map(|wanted| {
            let orders = orders(records).filter(|(_, order)| is_hot(&order.sku) == wanted);
            part(orders.map(|(record, _)| record), &outcomes)
        });
        for (record, _) in orders(records) {
            let fate = outcomes.of_order(record).map(|outcome| outcome.fate);
            role_part(&mut roles, record.role).calls.count(record, fate);
        }
        for (id, end) in ends(records, evidence) {
            let Some(origin) = origins.0.get(id) else { continue };
            end.count(if is_hot(origin.sku) { &mut hot.holds } else { &mut others.holds });
            if let Some(role) = origin.role {
                end.count(&mut role_part(&mut roles, role).holds);
            }
        }
        for sku in evidence {
            let part = if is_hot(&sku.sku) { &mut hot } else { &mut others };
            part.stock.available += sku.counters.available;
            part.stock.held += sku.counters.held;
            part.stock.confirmed += sku.counters.confirmed;
        }
        let settled = records.iter().filter(|record| record.answer == Answer::Settled);
        Self {
            hot,
            others,
            roles: roles.into_values().collect(),
            settlements: Latency::of(settled.map(latency_us)),
            timeline: Timeline::of(records, evidence, basics),
            course: None,
            basics: basics.clone(),
        }
    }
}

impl Summary {
    /// The same, with what became of a product that nobody had registered.
    pub fn course(self, course: Option<Course>) -> Self {
        Self { course, ..self }
    }
}

/// The orders of clients: what the drill itself asks again afterwards is no demand.
pub(super) fn orders(records: &[Record]) -> impl Iterator<Item = (&Record, &Order)> {
    let of_clients = records.iter().filter(|record| record.role != Role::Witness);
    of_clients.filter_map(|record| match &record.call {
        Call::Reserve(order) => Some((record, order)),
        Call::Settle { .. } | Call::Ticket { .. } => None,
    })
}

/// From when the call should have been sent.
pub(super) fn latency_us(record: &Record) -> u64 {
    record.ended_us.saturating_sub(record.scheduled_us)
}

fn part<'a>(orders: impl Iterator<Item = &'a Record>, outcomes: &Outcomes<'_>) -> Part {
    let mut calls = Calls::default();
    let [mut admitted, mut until_told, mut over_limit] = [const { Vec::new() }; 3];
    for record in orders {
        let outcome = outcomes.of_order(record);
        calls.count(record, outcome.map(|outcome| outcome.fate));
        let told_us = outcome.map(|outcome| outcome.told_us);
        until_told.extend(told_us.map(|told_us| told_us.saturating_sub(record.scheduled_us)));
        if record.answer.is_from_service() {
            admitted.push(latency_us(record));
        } else if record.answer == Answer::OverLimit {
            over_limit.push(latency_us(record));
        }
    }
    let [admitted, outcome, over_limit] = [admitted, until_told, over_limit].map(Latency::of);
    Part { calls, admitted, outcome, over_limit, ..Part::default() }
}

fn role_part(roles: &mut BTreeMap<Role, RolePart>, role: Role) -> &mut RolePart {
    let none = RolePart { role, calls: Calls::default(), holds: Holds::default() };
    roles.entry(role).or_insert(none)
}

/// Whose hold it is, and of what.
#[derive(Clone, Copy)]
struct Origin<'a> {
    sku: &'a str,
    role: Option<Role>,
}

/// Reservations and tickets by id (a ticket's is that of the reservation it leads to).
struct Origins<'a>(HashMap<&'a str, Origin<'a>>);

impl<'a> Origins<'a> {
    fn of(records: &'a [Record], evidence: &'a [SkuEvidence]) -> Self {
        let mut origins = HashMap::new();
        for record in records {
            let (Call::Reserve(order), Some(id)) = (&record.call, told_id(&record.answer)) else {
                continue;
            };
            let role = Some(record.role).filter(|role| *role != Role::Witness);
            origins.entry(id).or_insert(Origin { sku: &order.sku, role });
        }
        // Holds that no client was ever told about.
        for sku in evidence {
            for id in sku.journal.iter().filter_map(|entry| entry.reservation_id.as_deref()) {
                origins.entry(id).or_insert(Origin { sku: &sku.sku, role: None });
            }
        }
        Self(origins)
    }
}

fn told_id(answer: &Answer) -> Option<&str> {
    match answer {
        Answer::Held { id, .. } => Some(id),
        Answer::Queued { ticket } => Some(ticket),
        _ => None,
    }
}

/// Something that happens to a hold once.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Event {
    Held,
    Witnessed,
    Confirmed,
    Released,
    Expired,
}

impl Event {
    fn count(self, holds: &mut Holds) {
        *match self {
            Self::Held => &mut holds.held,
            Self::Witnessed => &mut holds.witnessed,
            Self::Confirmed => &mut holds.confirmed,
            Self::Released => &mut holds.released,
            Self::Expired => &mut holds.expired,
        } += 1;
    }
}

fn ends<'a>(records: &'a [Record], evidence: &'a [SkuEvidence]) -> HashSet<(&'a str, Event)> {
    let told = records.iter().filter_map(|record| match (&record.call, &record.answer) {
        (_, Answer::Held { id, .. }) if record.role == Role::Witness => {
            Some((id.as_str(), Event::Witnessed))
        }
        (_, Answer::Held { id, .. }) => Some((id.as_str(), Event::Held)),
        (Call::Settle { id, how }, Answer::Settled) => Some((
            id.as_str(),
            match how {
                Settlement::Confirm => Event::Confirmed,
                Settlement::Release => Event::Released,
            },
        )),
        _ => None,
    });
    let entries = evidence.iter().flat_map(|sku| &sku.journal);
    let expired = entries.filter(|entry| entry.cause == "expire");
    let expired =
        expired.filter_map(|entry| Some((entry.reservation_id.as_deref()?, Event::Expired)));
    let mut ends: HashSet<_> = told.chain(expired).collect();
    // What the witness heard again is no news.
    let heard: Vec<_> = ends.iter().filter(|(_, event)| *event == Event::Held).copied().collect();
    for (id, _) in heard {
        ends.remove(&(id, Event::Witnessed));
    }
    ends
}
