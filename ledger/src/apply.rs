//! The one place where stock changes.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::settle::{cancel, claim, claim_repeated, confirm, extend, release};
use crate::{
    Adjust, Adjustment, Cause, Claim, Command, CommandId, JournalEntry, Outcome, Refusal,
    Reservation, ReservationState, Reserve, Stock, UNITS_MAX, UnixMs,
};

/// What [`apply`] did, to be written in one atomic commit. May collect many commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The journal's new entries, in order.
    pub entries: Vec<JournalEntry>,
    /// Reservations that are new or stand elsewhere than before; the last of one id counts.
    pub reservations: Vec<Reservation>,
    /// Adjustments that may be repeated.
    pub adjustments: Vec<Adjustment>,
    /// What customers have bought.
    pub purchases: Vec<Purchase>,
}

/// Units that a customer has bought. They count against its cap for as long as the SKU is sold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purchase {
    /// Who bought them.
    pub customer: Arc<str>,
    /// The version of the SKU by which they were sold: no two purchases of a SKU have the same.
    pub version: u64,
    /// How many.
    pub units: u32,
}

/// What a command is judged under, apart from the stock itself.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The time.
    pub now: UnixMs,
    /// What became of the command that [`Command::id`] names, if the caller knows and the stock
    /// itself does not hold it any more. The latest that [`Changes`] said of it, committed or not.
    pub recalled: Option<Recalled<'a>>,
    /// Whether somebody waits for the outcome.
    pub is_awaited: bool,
    /// How long a hold that nobody knows of stays off the shelf, in milliseconds.
    pub unclaimed_ms: u64,
    /// The most holds that expire because of this command, not counting its own; at least one
    /// does, so that trying again comes to an end. If more are due, it is deferred.
    pub expire_max: usize,
}

/// What became of a command that came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recalled<'a> {
    /// It was to reserve.
    Reservation(&'a Reservation),
    /// It was to adjust.
    Adjustment(&'a Adjustment),
}

/// Applies `command` to `stock`.
///
/// A SKU's time never runs backwards: if `now` is earlier than a time it has seen, that counts
/// instead. Every hold that is due is back on the shelf before units are counted, set or adjusted.
pub fn apply(
    stock: &mut Stock,
    command: &Command,
    circumstances: Circumstances<'_>,
    changes: &mut Changes,
) -> Outcome {
    stock.now = stock.now.max(circumstances.now);
    // The hold that the command is about may run out of time as it comes.
    let expired = command.id().and_then(|id| expire_own(stock, id, changes));
    let recalled = match &expired {
        Some(expired) => Some(Recalled::Reservation(expired)),
        None => circumstances.recalled,
    };
    let circumstances = Circumstances { recalled, ..circumstances };
    match command {
        Command::Set { units, expected_version } => {
            set(stock, *units, *expected_version, circumstances, changes)
        }
        Command::Adjust(command) => adjust(stock, command, circumstances, changes),
        Command::Reserve(command) => reserve(stock, command, circumstances, changes),
        Command::Confirm { id, quantity, on_expired } => {
            confirm(stock, *id, *quantity, *on_expired, circumstances, changes)
        }
        Command::Release { id } => release(stock, *id, circumstances, changes),
        Command::Extend { id, hold_ms, hold_ms_max } => {
            extend(stock, *id, *hold_ms, *hold_ms_max, circumstances, changes)
        }
        Command::Claim { id } => claim(stock, *id, circumstances, changes),
        Command::Cancel { id, attempt, even_claimed } => {
            cancel(stock, *id, *attempt, *even_claimed, circumstances, changes)
        }
        Command::Expire => match expire_due(stock, circumstances.expire_max, changes) {
            Due::None => level(stock),
            Due::More => Outcome::Deferred,
        },
    }
}

/// Whether holds are still due after some have expired.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    None,
    More,
}

/// Returns to the shelf what is due, but no more than `max` holds: at least one.
pub(crate) fn expire_due(stock: &mut Stock, max: usize, changes: &mut Changes) -> Due {
    for _ in 0..max.max(1) {
        let Some(hold) = stock.pop_due(stock.now) else { return Due::None };
        expire(stock, hold, changes);
    }
    match stock.next_due() {
        Some(due_at) if due_at <= stock.now => Due::More,
        _ => Due::None,
    }
}

/// Ends the hold that `id` took if it is due.
fn expire_own(stock: &mut Stock, id: CommandId, changes: &mut Changes) -> Option<Reservation> {
    stock.hold(id)?.due_at().filter(|due_at| *due_at <= stock.now)?;
    let hold = stock.remove_hold(id)?;
    Some(expire(stock, hold, changes))
}

fn expire(stock: &mut Stock, mut hold: Reservation, changes: &mut Changes) -> Reservation {
    if let ReservationState::Held { expires_at } = hold.state {
        hold.state = ReservationState::Expired { expires_at };
        // One that had all of its time is not forgone: whoever asks then is told that it is over.
        if matches!(hold.claim, Claim::Unclaimed { until } if until < expires_at) {
            hold.claim = Claim::Forgone;
        }
    }
    hold.since = stock.now;
    move_units(stock, Cause::Expire, Some(hold.id), hold.quantity.into(), changes);
    changes.reservations.push(hold.clone());
    hold
}

fn level(stock: &Stock) -> Outcome {
    Outcome::Stock { counters: stock.counters, version: stock.version }
}

fn set(
    stock: &mut Stock,
    units: u64,
    expected_version: Option<u64>,
    circumstances: Circumstances<'_>,
    changes: &mut Changes,
) -> Outcome {
    if units > UNITS_MAX {
        return too_many_units();
    }
    if expire_due(stock, circumstances.expire_max, changes) == Due::More {
        return Outcome::Deferred;
    }
    let version = stock.version;
    if expected_version.is_some_and(|expected| expected != version) {
        return Outcome::Refused(Refusal::VersionDiffers { version });
    }
    let is_repeat = version > 0 && units == stock.counters.total();
    if !is_repeat && !move_units(stock, Cause::Set, None, units.cast_signed(), changes) {
        return below_committed(stock);
    }
    level(stock)
}

fn below_committed(stock: &Stock) -> Outcome {
    Outcome::Refused(Refusal::BelowCommitted { committed: stock.counters.committed() })
}

fn too_many_units() -> Outcome {
    Outcome::Refused(Refusal::TooManyUnits { units_max: UNITS_MAX })
}

fn adjust(
    stock: &mut Stock,
    command: &Adjust,
    circumstances: Circumstances<'_>,
    changes: &mut Changes,
) -> Outcome {
    match circumstances.recalled {
        Some(Recalled::Adjustment(first)) => return command.repeat(first),
        Some(Recalled::Reservation(_)) => return Outcome::Refused(Refusal::KeyReused),
        None if stock.hold(command.id).is_some() => return Outcome::Refused(Refusal::KeyReused),
        None => {}
    }
    if stock.version == 0 {
        return Outcome::Refused(Refusal::UnknownSku);
    }
    if stock.counters.total().saturating_add_signed(command.by) > UNITS_MAX {
        return too_many_units();
    }
    if expire_due(stock, circumstances.expire_max, changes) == Due::More {
        return Outcome::Deferred;
    }
    if !move_units(stock, Cause::Adjust, Some(command.id), command.by, changes) {
        return below_committed(stock);
    }
    let adjustment = Adjustment {
        id: command.id,
        fingerprint: command.fingerprint,
        decided_at: stock.now,
        version: stock.version,
        counters: stock.counters,
    };
    if command.repeatable {
        changes.adjustments.push(adjustment.clone());
    }
    Outcome::Adjusted(adjustment)
}

impl Adjust {
    /// The answer to this command if `first` is what became of it when it came before.
    pub fn repeat(&self, first: &Adjustment) -> Outcome {
        if first.fingerprint == self.fingerprint {
            Outcome::Adjusted(first.clone())
        } else {
            Outcome::Refused(Refusal::KeyReused)
        }
    }
}

fn reserve(
    stock: &mut Stock,
    command: &Reserve,
    circumstances: Circumstances<'_>,
    changes: &mut Changes,
) -> Outcome {
    if stock.hold(command.id).is_some() {
        return claim_repeated(stock, command, circumstances, changes);
    }
    let attempts_before = match circumstances.recalled {
        Some(Recalled::Adjustment(_)) => return Outcome::Refused(Refusal::KeyReused),
        // Nobody has ever been told of that one.
        Some(Recalled::Reservation(first))
            if first.is_forgone() && first.fingerprint == command.fingerprint =>
        {
            first.attempt
        }
        Some(Recalled::Reservation(first)) => return command.repeat(first),
        None => 0,
    };
    // Judged by the caller's clock, which `claim_by` was read from: the SKU's own time may be ahead
    // of it, if the clock was set back.
    if circumstances.now > command.claim_by {
        return Outcome::Refused(Refusal::Abandoned);
    }
    let (state, claim) = match refused_by_sale(stock, command) {
        Some(state) => (state, Claim::Forgone),
        None if expire_due(stock, circumstances.expire_max, changes) == Due::More => {
            return Outcome::Deferred;
        }
        None => (take_units(stock, command, changes), claim_of(command, stock.now, circumstances)),
    };
    let reservation = Reservation {
        id: command.id,
        fingerprint: command.fingerprint,
        customer: command.customer.clone(),
        quantity: command.quantity.get(),
        decided_at: stock.now,
        since: stock.now,
        attempt: attempts_before.saturating_add(command.attempt),
        claim,
        state,
    };
    stock.restore_hold(reservation.clone());
    // What a repeat changes is told to whoever waits, and kept only for whoever asks later.
    let is_told = reservation.is_forgone() && circumstances.is_awaited;
    if reservation.is_held() || (command.repeatable && !is_told) {
        changes.reservations.push(reservation.clone());
    }
    command.repeat(&reservation)
}

/// Why there is no sale now, or not for this customer; `None`: there is.
fn refused_by_sale(stock: &Stock, command: &Reserve) -> Option<ReservationState> {
    if stock.version == 0 {
        return Some(ReservationState::UnknownSku);
    }
    let terms = stock.terms();
    if let Some(opens_at) = terms.opens_at.filter(|opens_at| stock.now < *opens_at) {
        return Some(ReservationState::NotOpenYet { opens_at });
    }
    if let Some(closed_at) = terms.closes_at.filter(|closes_at| stock.now >= *closes_at) {
        return Some(ReservationState::Closed { closed_at });
    }
    let is_nameless = terms.customer_cap.is_some() && command.customer.is_none();
    is_nameless.then_some(ReservationState::CustomerRequired)
}

fn take_units(stock: &mut Stock, command: &Reserve, changes: &mut Changes) -> ReservationState {
    if let Some((cap, committed)) =
        over_cap(stock, command.customer.as_deref(), command.quantity.get())
    {
        return ReservationState::OverCap { cap, committed };
    }
    let available = stock.counters.available;
    let quantity = command.quantity.get().into();
    if move_units(stock, Cause::Reserve, Some(command.id), quantity, changes) {
        ReservationState::Held { expires_at: stock.now.plus_ms(command.hold_ms) }
    } else {
        ReservationState::SoldOut { available }
    }
}

/// The cap that `quantity` more units would break, and the units that the customer has.
pub(crate) fn over_cap(
    stock: &Stock,
    customer: Option<&str>,
    quantity: u32,
) -> Option<(NonZeroU32, u64)> {
    let cap = stock.terms().customer_cap?;
    let committed = stock.customer_units(customer?);
    (committed + u64::from(quantity) > u64::from(cap.get())).then_some((cap, committed))
}

/// Who knows of the outcome of `command` when it has been decided.
pub(crate) fn claim_of(command: &Reserve, now: UnixMs, circumstances: Circumstances<'_>) -> Claim {
    if circumstances.is_awaited && !command.is_tentative {
        Claim::Awaited
    } else {
        Claim::Unclaimed { until: now.plus_ms(circumstances.unclaimed_ms) }
    }
}

impl Reserve {
    /// The answer to this command if `first` is what became of it when it came before. A
    /// reservation that is [forgone](Reservation::is_forgone) is no answer: then the command is to
    /// be applied.
    pub fn repeat(&self, first: &Reservation) -> Outcome {
        if first.fingerprint != self.fingerprint {
            return Outcome::Refused(Refusal::KeyReused);
        }
        if let Some(refusal) = first.state.refusal(first.decided_at) {
            return Outcome::Refused(refusal);
        }
        let held = |expires_at| ReservationState::Held { expires_at };
        let state = first.state.expires_at().map_or(first.state, held);
        Outcome::Held(Reservation { state, ..first.clone() })
    }
}

/// Moves units and writes the journal entry. Returns false, and changes nothing, if there are not
/// enough units to move.
pub(crate) fn move_units(
    stock: &mut Stock,
    cause: Cause,
    id: Option<CommandId>,
    quantity: i64,
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
