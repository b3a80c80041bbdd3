//! The ledger against a model of it that is slow and plain: one list of what was decided, gone
//! through afresh for every number. It has no counters, no index and no journal to get wrong.

mod common;

use cartgate_ledger::{
    Adjust, Adjustment, Circumstances, Claim, Command, CommandId, Counters, OnExpired, Outcome,
    Refusal, Reservation, ReservationState, Reserve, Terms, UnixMs,
};
use common::Owner;
use common::history::{Step, any_history};
use proptest::prelude::*;

#[derive(Default)]
struct Model {
    now: u64,
    version: u64,
    total: u64,
    terms: Terms,
    decided: Vec<Reservation>,
    adjusted: Vec<Adjustment>,
}

impl Model {
    fn answer(&mut self, command: &Command, given: Circumstances<'_>) -> Outcome {
        self.now = self.now.max(given.now.0);
        let own = command.id().and_then(|id| self.place(id));
        if let Some(own) = own.filter(|own| self.is_due(*own)) {
            self.expire(own);
        }
        match command {
            Command::Set { units, expected_version } => self.set(*units, *expected_version, given),
            Command::Adjust(adjust) => self.adjust(adjust, given),
            Command::Reserve(reserve) => self.reserve(reserve, given),
            Command::Expire if self.must_wait(given) => Outcome::Deferred,
            Command::Expire => self.level(),
            Command::Confirm { id, quantity, on_expired } => match self.place(*id) {
                Some(own) => {
                    let units = quantity.map_or(self.decided[own].quantity, |some| some.get());
                    self.confirm(own, units, *on_expired, given)
                }
                None => Outcome::Refused(Refusal::UnknownHold),
            },
            Command::Release { id }
            | Command::Extend { id, .. }
            | Command::Claim { id }
            | Command::Cancel { id, .. } => match self.place(*id) {
                Some(own) => self.settle(own, command, given),
                None => Outcome::Refused(Refusal::UnknownHold),
            },
        }
    }

    fn set(&mut self, units: u64, expected: Option<u64>, given: Circumstances<'_>) -> Outcome {
        if self.must_wait(given) {
            return Outcome::Deferred;
        }
        if expected.is_some() && expected != Some(self.version) {
            return Outcome::Refused(Refusal::VersionDiffers { version: self.version });
        }
        if self.version > 0 && units == self.total {
            return self.level();
        }
        let committed = self.counters().held + self.counters().confirmed;
        if units < committed {
            return Outcome::Refused(Refusal::BelowCommitted { committed });
        }
        self.total = units;
        self.version += 1;
        self.level()
    }

    fn adjust(&mut self, adjust: &Adjust, given: Circumstances<'_>) -> Outcome {
        if self.place(adjust.id).is_some() {
            return Outcome::Refused(Refusal::KeyReused);
        }
        if let Some(first) = self.adjusted.iter().find(|first| first.id == adjust.id) {
            return if first.fingerprint == adjust.fingerprint {
                Outcome::Adjusted(first.clone())
            } else {
                Outcome::Refused(Refusal::KeyReused)
            };
        }
        if self.version == 0 {
            return Outcome::Refused(Refusal::UnknownSku);
        }
        if self.must_wait(given) {
            return Outcome::Deferred;
        }
        let committed = self.counters().held + self.counters().confirmed;
        let total = i128::from(self.total) + i128::from(adjust.by);
        if total < i128::from(committed) {
            return Outcome::Refused(Refusal::BelowCommitted { committed });
        }
        self.total = total as u64;
        self.version += 1;
        let adjustment = Adjustment {
            id: adjust.id,
            fingerprint: adjust.fingerprint,
            decided_at: UnixMs(self.now),
            version: self.version,
            counters: self.counters(),
        };
        if adjust.repeatable {
            self.adjusted.push(adjustment.clone());
        }
        Outcome::Adjusted(adjustment)
    }

    fn reserve(&mut self, reserve: &Reserve, given: Circumstances<'_>) -> Outcome {
        let is_claimed = given.is_awaited && !reserve.is_tentative;
        let until = UnixMs(self.now + given.unclaimed_ms);
        let own = self.place(reserve.id);
        if self.adjusted.iter().any(|adjusted| adjusted.id == reserve.id) {
            return Outcome::Refused(Refusal::KeyReused);
        }
        if let Some(own) = own {
            let first = &mut self.decided[own];
            if first.fingerprint != reserve.fingerprint {
                return Outcome::Refused(Refusal::KeyReused);
            }
            if is_held(first) {
                first.attempt += reserve.attempt;
                first.claim = match first.claim {
                    Claim::Unclaimed { until: before } if !is_claimed => {
                        Claim::Unclaimed { until: before.max(until) }
                    }
                    _ => Claim::Claimed,
                };
            }
            if first.claim != Claim::Forgone {
                return first_answer(first);
            }
        }
        if reserve.claim_by < given.now {
            return Outcome::Refused(Refusal::Abandoned);
        }
        let closed = self.closed_to(reserve);
        if closed.is_none() && self.must_wait(given) {
            return Outcome::Deferred;
        }
        let claim = if is_claimed { Claim::Awaited } else { Claim::Unclaimed { until } };
        let reservation = Reservation {
            id: reserve.id,
            fingerprint: reserve.fingerprint,
            customer: reserve.customer.clone(),
            quantity: reserve.quantity.get(),
            decided_at: UnixMs(self.now),
            since: UnixMs(self.now),
            attempt: own.map_or(0, |own| self.decided[own].attempt) + reserve.attempt,
            claim: if closed.is_some() { Claim::Forgone } else { claim },
            state: closed.unwrap_or_else(|| self.decide(reserve)),
        };
        let is_taken = is_held(&reservation);
        self.version += u64::from(is_taken);
        // What passes is kept for those alone who have not been told.
        if is_taken || (reserve.repeatable && (closed.is_none() || !given.is_awaited)) {
            self.decided.retain(|before| before.id != reserve.id);
            self.decided.push(reservation.clone());
        }
        first_answer(&reservation)
    }

    fn closed_to(&self, reserve: &Reserve) -> Option<ReservationState> {
        let Terms { customer_cap, opens_at, closes_at } = self.terms;
        if self.version == 0 {
            return Some(ReservationState::UnknownSku);
        }
        match (opens_at, closes_at) {
            (Some(opens_at), _) if opens_at.0 > self.now => {
                Some(ReservationState::NotOpenYet { opens_at })
            }
            (_, Some(closed_at)) if closed_at.0 <= self.now => {
                Some(ReservationState::Closed { closed_at })
            }
            _ if customer_cap.is_some() && reserve.customer.is_none() => {
                Some(ReservationState::CustomerRequired)
            }
            _ => None,
        }
    }

    fn decide(&self, reserve: &Reserve) -> ReservationState {
        let available = self.counters().available;
        if let Some((cap, committed)) =
            self.above_cap(reserve.customer.as_deref(), reserve.quantity.get())
        {
            return ReservationState::OverCap { cap, committed };
        }
        if available < u64::from(reserve.quantity.get()) {
            return ReservationState::SoldOut { available };
        }
        ReservationState::Held { expires_at: UnixMs(self.now + reserve.hold_ms) }
    }

    fn above_cap(&self, customer: Option<&str>, more: u32) -> Option<(std::num::NonZeroU32, u64)> {
        let cap = self.terms.customer_cap?;
        let theirs = self.decided.iter().filter(|r| r.customer.as_deref() == customer);
        let committed = theirs.map(|r| held_units(r) + sold_units(r)).sum();
        let is_above = committed + u64::from(more) > u64::from(cap.get());
        (is_above && customer.is_some()).then_some((cap, committed))
    }

    fn confirm(
        &mut self,
        own: usize,
        units: u32,
        on_expired: OnExpired,
        given: Circumstances<'_>,
    ) -> Outcome {
        let Reservation { quantity, state, customer, .. } = self.decided[own].clone();
        let expires_at = match (state, on_expired) {
            (ReservationState::Confirmed { quantity: sold, .. }, _) if sold == units => {
                return Outcome::Settled(self.decided[own].clone());
            }
            (ReservationState::Held { expires_at }, _)
            | (ReservationState::Expired { expires_at }, OnExpired::Reacquire) => expires_at,
            _ => return why_not(state),
        };
        if units > quantity {
            return Outcome::Refused(Refusal::MoreThanHeld { quantity });
        }
        if is_held(&self.decided[own]) {
            self.version += if units < quantity { 2 } else { 1 };
        } else {
            if self.must_wait(given) {
                return Outcome::Deferred;
            }
            if let Some((cap, committed)) = self.above_cap(customer.as_deref(), units) {
                return Outcome::Refused(Refusal::OverCap { cap, committed });
            }
            let available = self.counters().available;
            if available < u64::from(units) {
                return Outcome::Refused(Refusal::SoldOut { available });
            }
            self.version += 2;
        }
        self.end(own, ReservationState::Confirmed { expires_at, quantity: units }, Claim::Claimed)
    }

    fn settle(&mut self, own: usize, command: &Command, given: Circumstances<'_>) -> Outcome {
        let reservation = &mut self.decided[own];
        let ReservationState::Held { expires_at } = reservation.state else {
            return match (command, reservation.state) {
                (Command::Release { .. }, ReservationState::Released { .. })
                | (Command::Claim { .. } | Command::Cancel { .. }, _) => {
                    Outcome::Settled(reservation.clone())
                }
                (_, state) => why_not(state),
            };
        };
        let released = ReservationState::Released { expires_at };
        match command {
            Command::Release { .. } => {
                self.version += 1;
                return self.end(own, released, Claim::Claimed);
            }
            Command::Cancel { attempt, even_claimed, .. } => {
                let may = *even_claimed || reservation.claim != Claim::Claimed;
                if may && *attempt == reservation.attempt {
                    self.version += 1;
                    return self.end(own, released, Claim::Forgone);
                }
            }
            Command::Extend { hold_ms, hold_ms_max, .. } => {
                let longest = reservation.decided_at.0 + hold_ms_max;
                let wished = (self.now + hold_ms).min(longest);
                let expires_at = UnixMs(wished.max(expires_at.0));
                reservation.state = ReservationState::Held { expires_at };
                reservation.attempt += 1;
                reservation.claim = Claim::Claimed;
            }
            // Nobody has heard of what nobody waits for.
            _ if !given.is_awaited => {}
            _ => {
                reservation.attempt += 1;
                reservation.claim = Claim::Claimed;
            }
        }
        Outcome::Settled(self.decided[own].clone())
    }

    fn end(&mut self, own: usize, state: ReservationState, claim: Claim) -> Outcome {
        let since = UnixMs(self.now);
        self.decided[own] = Reservation { state, claim, since, ..self.decided[own].clone() };
        Outcome::Settled(self.decided[own].clone())
    }

    /// Expires what is due, as far as it may; then tells whether there is more.
    fn must_wait(&mut self, given: Circumstances<'_>) -> bool {
        for _ in 0..given.expire_max {
            let due = (0..self.decided.len()).filter(|place| self.is_due(*place));
            let first =
                due.min_by_key(|place| (due_at(&self.decided[*place]), self.decided[*place].id));
            first.into_iter().for_each(|first| self.expire(first));
        }
        (0..self.decided.len()).any(|place| self.is_due(place))
    }

    fn expire(&mut self, place: usize) {
        let Reservation { state, claim, .. } = self.decided[place];
        let ReservationState::Held { expires_at } = state else { return };
        let is_forgone = matches!(claim, Claim::Unclaimed { until } if until < expires_at);
        let claim = if is_forgone { Claim::Forgone } else { claim };
        self.version += 1;
        self.end(place, ReservationState::Expired { expires_at }, claim);
    }

    fn is_due(&self, place: usize) -> bool {
        is_held(&self.decided[place]) && due_at(&self.decided[place]) <= self.now
    }

    fn place(&self, id: CommandId) -> Option<usize> {
        self.decided.iter().position(|decided| decided.id == id)
    }

    fn counters(&self) -> Counters {
        let held = self.decided.iter().map(held_units).sum();
        let confirmed = self.decided.iter().map(sold_units).sum();
        Counters { available: self.total - held - confirmed, held, confirmed }
    }

    fn level(&self) -> Outcome {
        Outcome::Stock { counters: self.counters(), version: self.version }
    }
}

fn is_held(reservation: &Reservation) -> bool {
    matches!(reservation.state, ReservationState::Held { .. })
}

fn held_units(reservation: &Reservation) -> u64 {
    if is_held(reservation) { reservation.quantity.into() } else { 0 }
}

fn sold_units(reservation: &Reservation) -> u64 {
    match reservation.state {
        ReservationState::Confirmed { quantity, .. } => quantity.into(),
        _ => 0,
    }
}

fn due_at(hold: &Reservation) -> u64 {
    let unclaimed = if let Claim::Unclaimed { until } = hold.claim { until.0 } else { u64::MAX };
    unclaimed.min(hold.state.expires_at().map_or(u64::MAX, |expires_at| expires_at.0))
}

fn first_answer(first: &Reservation) -> Outcome {
    match first.state {
        ReservationState::SoldOut { available } => Outcome::Refused(Refusal::SoldOut { available }),
        ReservationState::OverCap { cap, committed } => {
            Outcome::Refused(Refusal::OverCap { cap, committed })
        }
        ReservationState::UnknownSku => Outcome::Refused(Refusal::UnknownSku),
        ReservationState::NotOpenYet { opens_at } => {
            let opens_in_ms = opens_at.0 - first.decided_at.0;
            Outcome::Refused(Refusal::NotOpenYet { opens_at, opens_in_ms })
        }
        ReservationState::Closed { closed_at } => Outcome::Refused(Refusal::Closed { closed_at }),
        ReservationState::CustomerRequired => Outcome::Refused(Refusal::CustomerRequired),
        ReservationState::Held { expires_at }
        | ReservationState::Confirmed { expires_at, .. }
        | ReservationState::Released { expires_at }
        | ReservationState::Expired { expires_at } => {
            let state = ReservationState::Held { expires_at };
            Outcome::Held(Reservation { state, ..first.clone() })
        }
    }
}

fn why_not(state: ReservationState) -> Outcome {
    Outcome::Refused(match state {
        ReservationState::Confirmed { quantity, .. } => Refusal::AlreadyConfirmed { quantity },
        ReservationState::Released { .. } => Refusal::AlreadyReleased,
        ReservationState::Expired { .. } => Refusal::AlreadyExpired,
        _ => Refusal::UnknownHold,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_ledger_does_as_the_model(history in any_history()) {
        let (mut owner, mut model) = (Owner::default(), Model::default());
        for step in history {
            let (command, given) = match step {
                Step::Ask(command, given) => (command, given),
                Step::Terms(terms) => {
                    owner.set_terms(terms);
                    model.terms = terms;
                    continue;
                }
            };
            loop {
                let outcome = owner.try_once(&command, given);
                prop_assert_eq!(&outcome, &model.answer(&command, given), "{:?}", command);
                prop_assert_eq!(owner.stock.counters(), model.counters());
                prop_assert_eq!(owner.stock.version(), model.version);
                if outcome != Outcome::Deferred {
                    break;
                }
            }
        }
    }
}
