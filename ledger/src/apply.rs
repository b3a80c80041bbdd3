//! The one place where stock changes.

use crate::{
    Cause, Command, CommandId, Counters, JournalEntry, Reservation, ReservationState, Reserve,
    Stock, UnixMs,
};

/// What [`apply`] did, to be written in one atomic commit. May collect many commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The journal's new entries, in order.
    pub entries: Vec<JournalEntry>,
    /// Reservations that are new or stand elsewhere than before; the last of one id counts.
    pub reservations: Vec<Reservation>,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// To [`Command::Set`]: the counters from now on; to [`Command::Expire`] as well.
    Stock(Counters),
    /// To [`Command::Reserve`]: this hold was taken, now or when the command first came. It says
    /// `Held` even if the hold has ended since: a repeat gets the first answer.
    Held(Reservation),
    /// To [`Command::Confirm`] and [`Command::Release`]: the hold has ended as asked, now or before.
    Settled(Reservation),
    /// Nothing changed.
    Refused(Refusal),
}

/// Why a command changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The SKU was never put up for sale.
    UnknownSku,
    /// Fewer units are available than asked for.
    SoldOut {
        /// The units available when it was decided: mostly none.
        available: u64,
    },
    /// Nobody waits for the outcome any more.
    Abandoned,
    /// The command's id came before, with another fingerprint.
    KeyReused,
    /// Fewer units than are held and confirmed.
    BelowCommitted {
        /// The units held and confirmed.
        committed: u64,
    },
    /// No hold was taken by that command, or it is forgotten.
    UnknownHold,
    /// The hold was sold before.
    AlreadyConfirmed,
    /// The hold was given back before.
    AlreadyReleased,
    /// The hold has run out of time.
    AlreadyExpired,
}

/// Applies `command` to `stock` at `now`.
///
/// A SKU's time never runs backwards: if `now` is earlier than a time it has seen, that counts
/// instead. Every hold that is due is returned to the shelf before the command is judged.
///
/// `recalled` is what became of the command that [`Command::id`] names, if the caller knows and the
/// stock itself does not hold it any more.
pub fn apply(
    stock: &mut Stock,
    command: &Command,
    recalled: Option<&Reservation>,
    now: UnixMs,
    changes: &mut Changes,
) -> Outcome {
    stock.now = stock.now.max(now);
    let kept = changes.reservations.len();
    expire_due(stock, changes);
    // The hold that the command is about may be among those that have just expired.
    let expired = changes.reservations[kept..].iter().find(|r| Some(r.id) == command.id()).cloned();
    let recalled = expired.as_ref().or(recalled);
    match command {
        Command::Set { units } => set(stock, *units, changes),
        Command::Reserve(command) => reserve(stock, command, recalled, now, changes),
        Command::Confirm { id } => settle(stock, Settlement::Confirm, *id, recalled, changes),
        Command::Release { id } => settle(stock, Settlement::Release, *id, recalled, changes),
        Command::Expire => Outcome::Stock(stock.counters),
    }
}

fn expire_due(stock: &mut Stock, changes: &mut Changes) {
    while let Some(mut hold) = stock.pop_due(stock.now) {
        if let ReservationState::Held { expires_at } = hold.state {
            hold.state = ReservationState::Expired { expires_at };
        }
        move_units(stock, Cause::Expire, Some(hold.id), hold.quantity.into(), changes);
        changes.reservations.push(hold);
    }
}

fn set(stock: &mut Stock, units: u64, changes: &mut Changes) -> Outcome {
    let is_repeat = stock.version > 0 && units == stock.counters.total();
    if !is_repeat && !move_units(stock, Cause::Set, None, units, changes) {
        let committed = stock.counters.committed();
        return Outcome::Refused(Refusal::BelowCommitted { committed });
    }
    Outcome::Stock(stock.counters)
}

fn reserve(
    stock: &mut Stock,
    command: &Reserve,
    recalled: Option<&Reservation>,
    now: UnixMs,
    changes: &mut Changes,
) -> Outcome {
    if let Some(first) = stock.hold(command.id).or(recalled) {
        return command.repeat(first);
    }
    // Judged by the caller's clock, which `claim_by` was read from: the SKU's own time may be ahead
    // of it, if the clock was set back.
    if now > command.claim_by {
        return Outcome::Refused(Refusal::Abandoned);
    }
    if stock.version == 0 {
        return Outcome::Refused(Refusal::UnknownSku);
    }
    let available = stock.counters.available;
    let quantity = command.quantity.get();
    let is_held = move_units(stock, Cause::Reserve, Some(command.id), quantity.into(), changes);
    let state = if is_held {
        ReservationState::Held { expires_at: stock.now.plus_ms(command.hold_ms) }
    } else {
        ReservationState::SoldOut { available }
    };
    let reservation = Reservation {
        id: command.id,
        fingerprint: command.fingerprint,
        customer: command.customer.clone(),
        quantity,
        decided_at: stock.now,
        state,
    };
    stock.restore_hold(reservation.clone());
    if is_held || command.repeatable {
        changes.reservations.push(reservation.clone());
    }
    command.repeat(&reservation)
}

impl Reserve {
    /// The answer to this command if `first` is what became of it when it came before.
    pub fn repeat(&self, first: &Reservation) -> Outcome {
        if first.fingerprint != self.fingerprint {
            return Outcome::Refused(Refusal::KeyReused);
        }
        match first.state {
            ReservationState::Held { expires_at }
            | ReservationState::Confirmed { expires_at }
            | ReservationState::Released { expires_at }
            | ReservationState::Expired { expires_at } => {
                let state = ReservationState::Held { expires_at };
                Outcome::Held(Reservation { state, ..first.clone() })
            }
            ReservationState::SoldOut { available } => {
                Outcome::Refused(Refusal::SoldOut { available })
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Settlement {
    Confirm,
    Release,
}

fn settle(
    stock: &mut Stock,
    settlement: Settlement,
    id: CommandId,
    recalled: Option<&Reservation>,
    changes: &mut Changes,
) -> Outcome {
    let Some(mut hold) = stock.remove_hold(id) else {
        return settle_ended(settlement, recalled);
    };
    if let ReservationState::Held { expires_at } = hold.state {
        let (cause, state) = match settlement {
            Settlement::Confirm => (Cause::Confirm, ReservationState::Confirmed { expires_at }),
            Settlement::Release => (Cause::Release, ReservationState::Released { expires_at }),
        };
        hold.state = state;
        move_units(stock, cause, Some(id), hold.quantity.into(), changes);
    }
    changes.reservations.push(hold.clone());
    Outcome::Settled(hold)
}

fn settle_ended(settlement: Settlement, recalled: Option<&Reservation>) -> Outcome {
    use ReservationState as State;
    use Settlement::{Confirm, Release};
    let Some(ended) = recalled else {
        return Outcome::Refused(Refusal::UnknownHold);
    };
    match (ended.state, settlement) {
        (State::Confirmed { .. }, Confirm) | (State::Released { .. }, Release) => {
            Outcome::Settled(ended.clone())
        }
        (State::Confirmed { .. }, Release) => Outcome::Refused(Refusal::AlreadyConfirmed),
        (State::Released { .. }, Confirm) => Outcome::Refused(Refusal::AlreadyReleased),
        (State::Expired { .. }, _) => Outcome::Refused(Refusal::AlreadyExpired),
        // `Held` would be in the stock; a caller that recalls one has mixed up two stocks.
        (State::Held { .. } | State::SoldOut { .. }, _) => Outcome::Refused(Refusal::UnknownHold),
    }
}

/// Moves units and writes the journal entry. Returns false, and changes nothing, if there are not
/// enough units to move.
fn move_units(
    stock: &mut Stock,
    cause: Cause,
    id: Option<CommandId>,
    quantity: u64,
    changes: &mut Changes,
) -> bool {
    let before = stock.counters;
    let Some(after) = cause.move_units(before, quantity) else {
        return false;
    };
    stock.counters = after;
    stock.version += 1;
    let (version, at) = (stock.version, stock.now);
    changes.entries.push(JournalEntry { version, at, cause, id, quantity, before, after });
    true
}
