//! What clients note: every call they made, when, and what came of it.

use serde::{Deserialize, Serialize};

/// One call of one client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its number, in the order in which calls were scheduled.
    pub serial: u64,
    /// Who made it.
    pub role: Role,
    /// What it asked for.
    pub call: Call,
    /// When it should have been sent, by the scenario: latency counts from here, so that a service
    /// that is slow for one client cannot hide it from the next (coordinated omission).
    pub scheduled_us: u64,
    /// When its first byte was sent. Microseconds since the drill began, as all times here.
    pub sent_us: u64,
    /// When its answer was complete, or it was clear that there would be none.
    pub ended_us: u64,
    /// What came back.
    pub answer: Answer,
}

/// The part that a client plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Wants something from the catalogue.
    Shopper,
    /// Wants the hot product.
    Fan,
    /// Hangs up early, and comes again with the same key.
    Impatient,
    /// A legacy frontend: posts forms, without keys.
    Legacy,
    /// Hammers one product, from few addresses.
    Bot,
    /// The drill itself, asking again for what is still open.
    Witness,
}

/// What a call asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// A reservation.
    Reserve(Order),
    /// The end of a hold.
    Settle {
        /// The reservation.
        id: String,
        /// How it is to end.
        how: Settlement,
    },
    /// What became of a ticket.
    Ticket {
        /// The ticket.
        id: String,
    },
}

/// A wish for stock.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Order {
    /// The product.
    pub sku: String,
    /// Units.
    pub quantity: u32,
    /// The customer.
    pub customer: String,
    /// The `Idempotency-Key`. Orders with the same key (and customer and SKU) are one order.
    pub key: Option<String>,
}

/// How a hold is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Settlement {
    /// With a sale.
    Confirm,
    /// By being given back.
    Release,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// 201, or 200 to a ticket: held.
    Held {
        /// The reservation.
        id: String,
        /// When the hold expires, in milliseconds since 1970.
        expires_at_ms: u64,
    },
    /// 202: a ticket, still queued.
    Queued {
        /// The ticket.
        ticket: String,
    },
    /// 409 `sold-out`, from the service: the order was judged.
    SoldOut {
        /// The units that were available, fewer than asked for.
        available: u64,
    },
    /// 409 `sold-out`, from the edge: nobody was asked.
    SoldOutAtEdge {
        /// When it may be had again, in milliseconds from the answer.
        recheck_in_ms: u64,
    },
    /// 429 `over-limit`, from the edge.
    OverLimit,
    /// 200 to a settlement.
    Settled,
    /// Any other answer.
    Refused {
        /// The status.
        status: u16,
        /// The last part of the problem's type; empty if it was none.
        problem: String,
    },
    /// The client hung up before an answer came.
    HungUp,
    /// The connection broke before an answer came.
    Lost,
}

impl Answer {
    /// Whether the edge let the call through for certain: this answer can only come from behind it.
    pub fn is_from_service(&self) -> bool {
        match self {
            Self::Held { .. } | Self::Queued { .. } | Self::SoldOut { .. } | Self::Settled => true,
            Self::Refused { problem, .. } => problem == "lane-full",
            Self::SoldOutAtEdge { .. } | Self::OverLimit | Self::HungUp | Self::Lost => false,
        }
    }
}

/// What the service shows of a SKU when the drill is over: its journal and its counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkuEvidence {
    /// The product.
    pub sku: String,
    /// All of its journal.
    pub journal: Vec<Entry>,
    /// Where its units are.
    pub counters: Counters,
    /// The version that the service gives for it.
    pub version: u64,
}

/// A journal entry, as `GET /v1/skus/{sku}/journal` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number.
    pub version: u64,
    /// When, in RFC 3339.
    pub at: String,
    /// `set`, `reserve`, `confirm`, `release` or `expire`.
    pub cause: String,
    /// The reservation concerned; none for `set`.
    #[serde(default)]
    pub reservation_id: Option<String>,
    /// The units that moved; for `set` the new total.
    pub quantity: u64,
    /// Before.
    pub before: Counters,
    /// After.
    pub after: Counters,
}

/// Where units are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// On the shelf.
    pub available: u64,
    /// In holds.
    pub held: u64,
    /// Sold.
    pub confirmed: u64,
}

/// A reservation as `GET /v1/reservations/{id}` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationEvidence {
    /// Its id.
    pub reservation_id: String,
    /// `held`, `confirmed`, `released` or `expired`.
    pub state: String,
    /// The product.
    pub sku: String,
    /// Units.
    pub quantity: u64,
}
