//! What clients did to one SKU, and what they were told.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What clients did to one SKU, in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// All operations.
    pub operations: Vec<Operation>,
}

/// One call of one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Who made it.
    pub client: usize,
    /// It has not happened before this. Microseconds since the recording began, as all times here.
    pub call_us: u64,
    /// What it asked for.
    pub action: Action,
    /// What came back; nothing if the answer was lost, or never made.
    pub told: Option<Told>,
}

/// An answer, and when it was complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// When.
    pub at_us: u64,
    /// What it says.
    pub answer: Answer,
}

/// What an operation asks for. Orders are numbered; those that repeat one another, by their key,
/// have one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Units to be held for an order.
    Reserve {
        /// The order.
        order: usize,
        /// How many units.
        units: u64,
    },
    /// What became of an order that was given a ticket.
    Ticket {
        /// The order.
        order: usize,
    },
    /// The end of an order's hold.
    Settle {
        /// The order.
        order: usize,
        /// How its hold is to end.
        end: End,
    },
    /// So many units for sale in all.
    Set {
        /// How many.
        units: u64,
    },
    /// Where the units are.
    Read,
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum End {
    /// With a sale.
    Confirmed,
    /// Given back.
    Released,
    /// By its time.
    Expired,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The order has its units.
    Held {
        /// The reservation.
        id: String,
        /// When it expires, by the recording's time.
        expires_us: u64,
    },
    /// The order waits, with a ticket.
    Queued {
        /// The ticket, which is the reservation's id as well.
        id: String,
    },
    /// Too few units were left.
    SoldOut {
        /// How many.
        available: u64,
    },
    /// The hold has ended as asked, now or before.
    Settled,
    /// The hold had ended before, otherwise.
    Ended(End),
    /// The units are for sale.
    Set,
    /// More units are held and sold than were to be for sale.
    BelowCommitted {
        /// How many.
        committed: u64,
    },
    /// Where the units are.
    Stock {
        /// On the shelf.
        available: u64,
        /// In holds.
        held: u64,
        /// Sold.
        confirmed: u64,
        /// How many changes there were.
        version: u64,
    },
    /// Anything else: never right.
    Strange {
        /// The status.
        status: u16,
        /// The problem's type.
        problem: String,
    },
}

impl Operation {
    /// The order that it is about.
    pub fn order(&self) -> Option<usize> {
        match self.action {
            Action::Reserve { order, .. }
            | Action::Ticket { order }
            | Action::Settle { order, .. } => Some(order),
            Action::Set { .. } | Action::Read => None,
        }
    }

    /// Whether it can change anything.
    pub fn has_effect(&self) -> bool {
        !matches!(self.action, Action::Read | Action::Ticket { .. })
    }

    /// Whether it was told what is never right.
    pub fn is_hopeless(&self) -> bool {
        matches!(self.answer(), Some(Answer::Strange { .. }))
    }

    /// What it was told.
    pub fn answer(&self) -> Option<&Answer> {
        self.told.as_ref().map(|told| &told.answer)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, call_us, action, told } = self;
        let s = |us: u64| us as f64 / 1e6;
        match told {
            Some(Told { at_us, answer }) => {
                write!(f, "{:9.6} .. {:9.6}  client {client:2}  ", s(*call_us), s(*at_us))?;
                write!(f, "{action}: {answer}")
            }
            None => {
                write!(f, "{:9.6} ..            client {client:2}  ", s(*call_us))?;
                write!(f, "{action}: perhaps")
            }
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserve { order, units } => write!(f, "reserve {units} for order {order}"),
            Self::Ticket { order } => write!(f, "ticket of order {order}"),
            Self::Settle { order, end } => write!(f, "order {order} to be {}", end.name()),
            Self::Set { units } => write!(f, "set {units}"),
            Self::Read => write!(f, "read"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { id, expires_us } => {
                write!(f, "held until {:.6} as {id}", *expires_us as f64 / 1e6)
            }
            Self::Queued { id } => write!(f, "queued as {id}"),
            Self::SoldOut { available } => write!(f, "sold out, {available} available"),
            Self::Settled => write!(f, "done"),
            Self::Ended(end) => write!(f, "it was {}", end.name()),
            Self::Set => write!(f, "done"),
            Self::BelowCommitted { committed } => write!(f, "refused, {committed} committed"),
            Self::Stock { available, held, confirmed, version } => write!(
                f,
                "{available} available, {held} held, {confirmed} confirmed, version {version}"
            ),
            Self::Strange { status, problem } => write!(f, "status {status} {problem}"),
        }
    }
}

impl End {
    fn name(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }
}
