//! What can be done to a hold.

use std::num::NonZeroU32;

use crate::apply::{Due, claim_of, expire_due, move_units, over_cap};
use crate::{
    Cause, Changes, Circumstances, Claim, CommandId, OnExpired, Outcome, Purchase, Recalled,
    Refusal, Reservation, ReservationState, Reserve, Stock,
};

/// Somebody asks again for what is held.
pub(crate) fn claim_repeated(
    stock: &mut Stock,
    command: &Reserve,
    circumstances: Circumstances<'_>,
    changes: &mut Changes,
) -> Outcome {
    let Some(mut hold) = stock.remove_hold(command.id) else {
        return Outcome::Refused(Refusal::UnknownHold);
    };
    if hold.fingerprint == command.fingerprint {
        hold.attempt = hold.attempt.saturating_add(command.attempt);
        hold.claim = match (hold.claim, claim_of(command, stock.now, circumstances)) {
            // Never shorter than what was said before.
            (Claim::Unclaimed { until }, Claim::Unclaimed { until: later }) => {
                Claim::Unclaimed { until: until.max(later) }
            }
            // Somebody waits now, or did before: then this attempt's end must not undo the first's.
            _ => Claim::Claimed,
        };
        changes.reservations.push(hold.clone());
    }
    let outcome = command.repeat(&hold);
    stock.restore_hold(hold);
    outcome
}

pub(crate) fn confirm(
    stock: &mut Stock,
    id: CommandId,
    quantity: Option<NonZeroU32>,
    on_expired: OnExpired,
    circumstances: Circumstances<'_>,
    changes: &mut Changes,
) -> Outcome {
    let hold = stock.hold(id);
    let recalled = circumstances.recalled;
    let Some(reservation) = hold.or_else(|| reservation_of(recalled)) else {
        return Outcome::Refused(Refusal::UnknownHold);
    };
    let units = quantity.map_or(reservation.quantity, NonZeroU32::get);
    match reservation.state {
        ReservationState::Confirmed { quantity, .. } if quantity == units => {
            return Outcome::Settled(reservation.clone());
        }
        ReservationState::Held { .. } => {}
        ReservationState::Expired { .. } if on_expired == OnExpired::Reacquire => {}
        state => return ended(state),
    }
    if units > reservation.quantity {
        let quantity = reservation.quantity;
        return Outcome::Refused(Refusal::MoreThanHeld { quantity });
    }
    if reservation.is_held() {
        return sell(stock, id, units, changes);
    }
    let reservation = reservation.clone();
    reacquire(stock, reservation, units, circumstances, changes)
}

/// Sells `units` of a hold; the others go back on the shelf.
fn sell(stock: &mut Stock, id: CommandId, units: u32, changes: &mut Changes) -> Outcome {
    let Some(hold) = stock.remove_hold(id) else {
        return Outcome::Refused(Refusal::UnknownHold);
    };
    move_units(stock, Cause::Confirm, Some(id), units.into(), changes);
    if units < hold.quantity {
        move_units(stock, Cause::Release, Some(id), (hold.quantity - units).into(), changes);
    }
    sold(stock, hold, units, changes)
}

/// Takes the units of an expired hold again, and sells them.
fn reacquire(
    stock: &mut Stock,
    reservation: Reservation,
    units: u32,
    circumstances: Circumstances<'_>,
    changes: &mut Changes,
) -> Outcome {
    if expire_due(stock, circumstances.expire_max, changes) == Due::More {
        return Outcome::Deferred;
    }
    if let Some((cap, committed)) = over_cap(stock, reservation.customer.as_deref(), units) {
        return Outcome::Refused(Refusal::OverCap { cap, committed });
    }
    let available = stock.counters().available;
    let id = Some(reservation.id);
    if !move_units(stock, Cause::Reserve, id, units.into(), changes) {
        return Outcome::Refused(Refusal::SoldOut { available });
    }
    move_units(stock, Cause::Confirm, id, units.into(), changes);
    sold(stock, reservation, units, changes)
}

fn sold(
    stock: &mut Stock,
    mut reservation: Reservation,
    units: u32,
    changes: &mut Changes,
) -> Outcome {
    if let Some(expires_at) = reservation.state.expires_at() {
        reservation.state = ReservationState::Confirmed { expires_at, quantity: units };
    }
    reservation.claim = Claim::Claimed;
    reservation.since = stock.now;
    stock.count_purchase(&reservation, units.into());
    if let Some(customer) = reservation.customer.clone() {
        changes.purchases.push(Purchase { customer, version: stock.version(), units });
    }
    changes.reservations.push(reservation.clone());
    Outcome::Settled(reservation)
}

pub(crate) fn release(
    stock: &mut Stock,
    id: CommandId,
    circumstances: Circumstances<'_>,
    changes: &mut Changes,
) -> Outcome {
    if let Some(hold) = stock.remove_hold(id) {
        return give_back(stock, hold, Cause::Release, Claim::Claimed, changes);
    }
    match reservation_of(circumstances.recalled) {
        Some(released) if matches!(released.state, ReservationState::Released { .. }) => {
            Outcome::Settled(released.clone())
        }
        Some(other) => ended(other.state),
        None => Outcome::Refused(Refusal::UnknownHold),
    }
}

pub(crate) fn cancel(
    stock: &mut Stock,
    id: CommandId,
    attempt: u32,
    even_claimed: bool,
    circumstances: Circumstances<'_>,
    changes: &mut Changes,
) -> Outcome {
    let is_last = |hold: &&Reservation| {
        hold.attempt == attempt && (even_claimed || hold.claim != Claim::Claimed)
    };
    if stock.hold(id).filter(is_last).is_some()
        && let Some(hold) = stock.remove_hold(id)
    {
        return give_back(stock, hold, Cause::Cancel, Claim::Forgone, changes);
    }
    stands(stock, id, circumstances)
}

fn give_back(
    stock: &mut Stock,
    mut hold: Reservation,
    cause: Cause,
    claim: Claim,
    changes: &mut Changes,
) -> Outcome {
    if let ReservationState::Held { expires_at } = hold.state {
        hold.state = ReservationState::Released { expires_at };
    }
    hold.claim = claim;
    hold.since = stock.now;
    move_units(stock, cause, Some(hold.id), hold.quantity.into(), changes);
    changes.reservations.push(hold.clone());
    Outcome::Settled(hold)
}

pub(crate) fn extend(
    stock: &mut Stock,
    id: CommandId,
    hold_ms: u64,
    hold_ms_max: u64,
    circumstances: Circumstances<'_>,
    changes: &mut Changes,
) -> Outcome {
    let Some(mut hold) = stock.remove_hold(id) else {
        let reservation = reservation_of(circumstances.recalled);
        let state = reservation.map(|reservation| reservation.state);
        return state.map_or(Outcome::Refused(Refusal::UnknownHold), ended);
    };
    if let ReservationState::Held { expires_at } = hold.state {
        let latest = hold.decided_at.plus_ms(hold_ms_max);
        let expires_at = stock.now.plus_ms(hold_ms).min(latest).max(expires_at);
        hold.state = ReservationState::Held { expires_at };
    }
    hold.attempt = hold.attempt.saturating_add(1);
    hold.claim = Claim::Claimed;
    changes.reservations.push(hold.clone());
    stock.restore_hold(hold.clone());
    Outcome::Settled(hold)
}

pub(crate) fn claim(
    stock: &mut Stock,
    id: CommandId,
    circumstances: Circumstances<'_>,
    changes: &mut Changes,
) -> Outcome {
    // To claim is to hear of it: whoever has gone by now has not.
    if !circumstances.is_awaited {
        return stands(stock, id, circumstances);
    }
    let Some(mut hold) = stock.remove_hold(id) else {
        return stands(stock, id, circumstances);
    };
    hold.attempt = hold.attempt.saturating_add(1);
    hold.claim = Claim::Claimed;
    changes.reservations.push(hold.clone());
    stock.restore_hold(hold.clone());
    Outcome::Settled(hold)
}

/// Where a reservation stands, with nothing changed.
fn stands(stock: &Stock, id: CommandId, circumstances: Circumstances<'_>) -> Outcome {
    let reservation = stock.hold(id).or_else(|| reservation_of(circumstances.recalled));
    reservation.map_or(Outcome::Refused(Refusal::UnknownHold), |reservation| {
        Outcome::Settled(reservation.clone())
    })
}

fn reservation_of(recalled: Option<Recalled<'_>>) -> Option<&Reservation> {
    match recalled {
        Some(Recalled::Reservation(reservation)) => Some(reservation),
        Some(Recalled::Adjustment(_)) | None => None,
    }
}

/// Why nothing more can be done to a hold that ended in another way than asked for.
fn ended(state: ReservationState) -> Outcome {
    Outcome::Refused(match state {
        ReservationState::Confirmed { quantity, .. } => Refusal::AlreadyConfirmed { quantity },
        ReservationState::Released { .. } => Refusal::AlreadyReleased,
        ReservationState::Expired { .. } => Refusal::AlreadyExpired,
        // There never was a hold; `Held` would be in the stock, and a caller that recalls one has
        // mixed up two stocks.
        _ => Refusal::UnknownHold,
    })
}
