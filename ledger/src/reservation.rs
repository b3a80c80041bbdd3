//! What becomes of a command, and who knows of it.

use std::num::NonZeroU32;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{CommandId, Counters, Fingerprint, Refusal, UnixMs};

/// What became of a reserve command: kept for as long as a repeat must get the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The command.
    pub id: CommandId,
    /// What a repeat must have in common with it.
    pub fingerprint: Fingerprint,
    /// Who asked, if known.
    pub customer: Option<Arc<str>>,
    /// Units asked for; if there is a hold, units in it.
    pub quantity: u32,
    /// When it was decided.
    pub decided_at: UnixMs,
    /// Since when it stands where it stands.
    pub since: UnixMs,
    /// How often it was asked for: each repeat raises it. Whoever hangs up cancels an attempt, and
    /// not what somebody else has asked for since.
    pub attempt: u32,
    /// Whether anybody knows of it.
    pub claim: Claim,
    /// Where it stands.
    pub state: ReservationState,
}

/// Whether anybody knows of a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Claim {
    /// Somebody waited as it was decided: the answer is on its way, or was given.
    Awaited,
    /// Nobody waited, or it is a line of a cart that is not yet complete: it goes back on the shelf
    /// if nobody claims it.
    Unclaimed {
        /// At this moment.
        until: UnixMs,
    },
    /// Somebody has read it, repeated its command, or confirmed it.
    Claimed,
    /// There is nothing to know of: it went back before its time because nobody had claimed it, or
    /// the terms of the sale refused it. A repeat of its command is judged anew.
    Forgone,
}

/// Where a reservation stands. Only `Held` can change, and only once; but for `Expired`, which turns
/// into `Confirmed` if the units are taken again by [`OnExpired::Reacquire`](crate::OnExpired), and for
/// a reservation that is [forgone](Reservation::is_forgone), whose command is judged anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReservationState {
    /// The units are off the shelf until `expires_at`.
    Held {
        /// From this moment on the hold has expired.
        expires_at: UnixMs,
    },
    /// Units were sold.
    Confirmed {
        /// When the hold would have expired.
        expires_at: UnixMs,
        /// How many: the others went back on the shelf.
        quantity: u32,
    },
    /// The units were given back.
    Released {
        /// When the hold would have expired.
        expires_at: UnixMs,
    },
    /// The units went back when the time was up.
    Expired {
        /// When the hold expired, or would have if somebody had claimed it.
        expires_at: UnixMs,
    },
    /// There was never a hold: too few units were available.
    SoldOut {
        /// The units that were available, fewer than asked for.
        available: u64,
    },
    /// There was never a hold: the customer would have had too many.
    OverCap {
        /// The most units that a customer may have.
        cap: NonZeroU32,
        /// The units that the customer held and had bought.
        committed: u64,
    },
    /// There was never a hold, nor the SKU.
    UnknownSku,
    /// There was never a hold: the sale had not begun.
    NotOpenYet {
        /// When it was to begin.
        opens_at: UnixMs,
    },
    /// There was never a hold: the sale was over.
    Closed {
        /// Since when.
        closed_at: UnixMs,
    },
    /// There was never a hold: there was a cap on what a customer may have, and no customer named.
    CustomerRequired,
}

impl ReservationState {
    /// Why there never was a hold, as it is told at `now`; `None` if there was one.
    pub fn refusal(self, now: UnixMs) -> Option<Refusal> {
        Some(match self {
            Self::SoldOut { available } => Refusal::SoldOut { available },
            Self::OverCap { cap, committed } => Refusal::OverCap { cap, committed },
            Self::UnknownSku => Refusal::UnknownSku,
            Self::NotOpenYet { opens_at } => {
                let opens_in_ms = opens_at.0.saturating_sub(now.0);
                Refusal::NotOpenYet { opens_at, opens_in_ms }
            }
            Self::Closed { closed_at } => Refusal::Closed { closed_at },
            Self::CustomerRequired => Refusal::CustomerRequired,
            Self::Held { .. }
            | Self::Confirmed { .. }
            | Self::Released { .. }
            | Self::Expired { .. } => return None,
        })
    }

    /// When the hold expires or would have; `None` if there never was one.
    pub fn expires_at(self) -> Option<UnixMs> {
        match self {
            Self::Held { expires_at }
            | Self::Confirmed { expires_at, .. }
            | Self::Released { expires_at }
            | Self::Expired { expires_at } => Some(expires_at),
            Self::SoldOut { .. }
            | Self::OverCap { .. }
            | Self::UnknownSku
            | Self::NotOpenYet { .. }
            | Self::Closed { .. }
            | Self::CustomerRequired => None,
        }
    }
}

impl Reservation {
    /// Whether it holds units.
    pub fn is_held(&self) -> bool {
        matches!(self.state, ReservationState::Held { .. })
    }

    /// Whether it went back on the shelf without anybody knowing of it, or the terms of the sale
    /// refused it: then a repeat of its command is judged anew.
    pub fn is_forgone(&self) -> bool {
        self.claim == Claim::Forgone
    }

    /// When the hold goes back on the shelf by itself; `None` if there is none.
    pub fn due_at(&self) -> Option<UnixMs> {
        let ReservationState::Held { expires_at } = self.state else { return None };
        match self.claim {
            Claim::Unclaimed { until } => Some(until.min(expires_at)),
            Claim::Awaited | Claim::Claimed | Claim::Forgone => Some(expires_at),
        }
    }
}

/// What became of an adjustment: kept for as long as a repeat must get the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjustment {
    /// The command.
    pub id: CommandId,
    /// What a repeat must have in common with it.
    pub fingerprint: Fingerprint,
    /// When it was decided.
    pub decided_at: UnixMs,
    /// The SKU's version from then on.
    pub version: u64,
    /// Its counters from then on.
    pub counters: Counters,
}
