//! What a command is answered.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::{Adjustment, Counters, Reservation, UnixMs};

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// To [`Command::Set`](crate::Command::Set) and [`Command::Expire`](crate::Command::Expire): how
    /// the SKU stands from now on.
    Stock {
        /// Where the units are.
        counters: Counters,
        /// The version of the last journal entry.
        version: u64,
    },
    /// To [`Command::Adjust`](crate::Command::Adjust): how the SKU stood when it had been adjusted,
    /// now or when the command first came.
    Adjusted(Adjustment),
    /// To [`Command::Reserve`](crate::Command::Reserve): this hold was taken, now or when the
    /// command first came. It says `Held` even if the hold has ended since: a repeat gets the first
    /// answer.
    Held(Reservation),
    /// To all other commands: where the reservation stands from now on.
    Settled(Reservation),
    /// The command changed nothing.
    Refused(Refusal),
    /// As many holds have expired as may at once, and more are due that it must not be judged
    /// before: apply it again. Until then nothing may overtake it.
    Deferred,
}

/// Why a command changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The SKU was never put up for sale.
    UnknownSku,
    /// Fewer units are available than asked for.
    SoldOut {
        /// The units available when it was decided: mostly none.
        available: u64,
    },
    /// The customer would have more units than one may.
    OverCap {
        /// The most units that a customer may have.
        cap: NonZeroU32,
        /// The units that the customer held and had bought.
        committed: u64,
    },
    /// There is a cap on what a customer may have, and the command names none.
    CustomerRequired,
    /// The sale has not begun.
    NotOpenYet {
        /// When it does.
        opens_at: UnixMs,
        /// Milliseconds until then.
        opens_in_ms: u64,
    },
    /// The sale is over.
    Closed {
        /// Since when.
        closed_at: UnixMs,
    },
    /// Nobody waits for the outcome any more.
    Abandoned,
    /// The command's id came before, with another fingerprint.
    KeyReused,
    /// More units than a SKU can have.
    TooManyUnits {
        /// The most that it can have.
        units_max: u64,
    },
    /// Fewer units than are held and confirmed.
    BelowCommitted {
        /// The units held and confirmed.
        committed: u64,
    },
    /// The SKU does not stand at the version that was expected.
    VersionDiffers {
        /// Where it stands.
        version: u64,
    },
    /// No hold was taken by that command, or it is forgotten.
    UnknownHold,
    /// More units are to be sold than the hold has.
    MoreThanHeld {
        /// The units in the hold.
        quantity: u32,
    },
    /// The hold was sold before.
    AlreadyConfirmed {
        /// How many of its units.
        quantity: u32,
    },
    /// The hold was given back before.
    AlreadyReleased,
    /// The hold has run out of time.
    AlreadyExpired,
}
