//! The rules of stock, as pure functions: `apply(stock, command, now)` says what happens.
//!
//! One [`Stock`] is one SKU's state. Everything that changes it is a [`Command`], and every change
//! becomes a [`JournalEntry`] with the counters before and after. The crate never reads a clock,
//! does no I/O and knows no store: time comes in, [`Changes`] go out, and whoever owns the stock
//! writes them in one atomic commit.
//!
//! Invariants, held by [`apply`] and tested as properties:
//! 1. `available + held + confirmed` is the quantity last set and what was adjusted since; none of
//!    them is ever negative.
//! 2. A hold ends once, and a repeated command changes nothing and gives the same outcome.
//! 3. The journal has no gaps, and folding it gives the counters.
//! 4. No customer takes more than its cap: what it holds and has bought counts.

mod apply;
mod command;
mod id_map;
mod journal;
mod outcome;
mod reservation;
mod settle;
mod stock;

pub use apply::{Changes, Circumstances, Purchase, Recalled, apply};
pub use command::{
    Adjust, Command, CommandId, Fingerprint, InvalidCommandId, OnExpired, Reserve, UnixMs,
};
pub use id_map::{IdHasher, IdMap};
pub use journal::{Cause, JournalEntry, JournalError, verify_next};
pub use outcome::{Outcome, Refusal};
pub use reservation::{Adjustment, Claim, Reservation, ReservationState};
pub use stock::{Counters, Stock, Terms, UNITS_MAX};
