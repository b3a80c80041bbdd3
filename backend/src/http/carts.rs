//! Carts: several lines, held together or not at all.
//!
//! Each line is a reserve command with an id of its own, whose hold goes back by itself unless it is
//! claimed. Once all lines are held, all are claimed, and only then is the cart answered 201. If a
//! line cannot be had, what the others took goes back first. So a service that dies in the middle
//! leaves nothing behind for longer than `unclaimed_ms`, but for claims already made: a repeat of the
//! key completes the cart then, or gives them back.
//!
//! The same key may come in several calls at a time. A call takes back nothing that another has asked
//! for since: each of them raises the attempt that a cancel has to name.

mod request;
#[cfg(test)]
mod tests;

use axum::http::StatusCode;
use axum::response::Response;
use cartgate_ledger::{Command, Outcome, Refusal, Reservation, ReservationState, Reserve};
use cartgate_policy::Sku;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;

use super::answer::{ReservationView, json};
use super::call::{Call, is_unclaimed};
use super::extract::{DocumentBody, IdempotencyKey};
use super::openapi::parameters::RequiredIdempotencyKey;
use super::openapi::schemas;
use super::refused::Refused;
use crate::lanes::{EnqueueError, Waiter};

use request::{CartBody, CartRequest};

/// A cart on its way to being held.
struct Cart<'a> {
    call: &'a Call,
    lines: Vec<Line>,
}

/// So many units of one SKU.
struct Line {
    /// Its place in the request.
    index: usize,
    sku: Sku,
    reserve: Reserve,
    /// Where its reservation stands, as far as this call knows.
    reservation: Option<Reservation>,
    /// Whether its hold may be a claimed one that no 201 was given for: an earlier call came that
    /// far, or this one.
    may_be_claimed: bool,
}

/// Why a cart was not held.
enum Failure {
    /// A line cannot be had: nobody else has been told of this cart either.
    Line(Refused),
    /// It took too long, or there was no room: another call may still complete the cart.
    Passing(Refused),
}

impl From<EnqueueError> for Failure {
    fn from(error: EnqueueError) -> Self {
        Self::Passing(error.into())
    }
}

/// A cart that is held.
#[derive(Serialize, ToSchema)]
#[schema(as = Cart, examples(json!({"state": "held", "reservations": [{
    "reservation_id": schemas::ID_EXAMPLE, "state": "held", "sku": "EXAMPLE-TEE-M", "quantity": 1,
    "customer_id": "ann", "expires_at": "2026-12-01T10:15:00.000Z",
}]})))]
pub(super) struct CartView<'a> {
    #[schema(schema_with = schemas::held)]
    state: &'static str,
    /// One for each product. Each is confirmed, released or extended by itself.
    reservations: Vec<ReservationView<'a>>,
}

/// Reserve several products, all or none.
///
/// If one line cannot be had, nothing of the cart is held, and the problem says which line it was. Lines
/// of the same product are added up. The `Idempotency-Key` makes it safe to repeat, and is needed.
#[utoipa::path(
    post, path = "/v1/carts", tag = "reservations", security(("token" = ["reserve"])),
    operation_id = "reserve_cart",
    params(RequiredIdempotencyKey),
    request_body(content((CartBody = "application/json"))),
    responses((status = 201, description = "All lines are held.", body = CartView)),
    extensions(("x-problems" = json!([
        "no-sku", "unknown-sku", "sold-out", "over-cap", "customer-required", "not-open-yet",
        "sale-closed", "paused", "lane-full", "idempotency-key-reused",
        "hold-confirmed", "hold-released", "hold-expired",
    ]))),
)]
pub(super) async fn create(
    call: Call,
    key: IdempotencyKey,
    DocumentBody(document): DocumentBody,
) -> Result<Response, Refused> {
    let lines = CartRequest::read(document, &call.app.sku_form)?.lines(&call.app, key.required()?);
    let mut cart = Cart { call: &call, lines };
    cart.hold_or_give_back().await?;
    Ok(cart.view())
}

impl Cart<'_> {
    async fn hold_or_give_back(&mut self) -> Result<(), Refused> {
        self.look_up().await?;
        match self.hold().await {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.give_back(failure).await),
        }
    }

    /// Reads what became of lines that came before.
    async fn look_up(&mut self) -> Result<(), Refused> {
        for line in &mut self.lines {
            let is_in_stock = self.call.check_in_stock(&line.sku).await;
            is_in_stock.map_err(|refused| line.refused(refused))?;
            let found = self.call.app.engine.reservation(line.reserve.id).await?;
            let found = found.map(|(_, found)| found).filter(|found| !found.is_forgone());
            if found.as_ref().is_some_and(|found| found.fingerprint != line.reserve.fingerprint) {
                // Another cart's: nothing of it is to be given back.
                return Err(line.refused_by_ledger(Refusal::KeyReused));
            }
            line.may_be_claimed = found.is_some();
            line.reservation = found;
        }
        Ok(())
    }

    async fn hold(&mut self) -> Result<(), Failure> {
        self.check_found()?;
        self.take().await?;
        self.claim().await
    }

    /// Gives the first answer to a cart that was refused before.
    fn check_found(&self) -> Result<(), Failure> {
        let is_whole = self.lines.iter().all(|line| line.reservation.is_some());
        for line in &self.lines {
            if let Some(refusal) = line.refusal_before(is_whole) {
                return Err(Failure::Line(line.refused_by_ledger(refusal)));
            }
        }
        Ok(())
    }

    /// Takes the lines that are not held yet, all at the same time.
    async fn take(&mut self) -> Result<(), Failure> {
        let until = Instant::now() + self.call.app.wait;
        for line in self.missing() {
            let is_open = self.call.check_not_paused(&line.sku);
            is_open.map_err(|paused| Failure::Passing(line.refused(paused)))?;
        }
        // If one finds no room, the others are dropped, and take nothing.
        let submit =
            |line: &Line| self.call.submit(&line.sku, Command::Reserve(line.reserve.clone()));
        let missing = self.missing().map(submit).collect::<Result<Vec<_>, _>>()?;
        let mut failure = None;
        // What the others take is to be known even if one is refused: it goes back.
        for (line, waiter) in self.missing_mut().zip(missing) {
            match (line.outcome(waiter, until).await, &failure) {
                (Ok(hold), _) => line.reservation = Some(hold),
                (Err(passing @ Failure::Passing(_)), None) => failure = Some(passing),
                (Err(refused @ Failure::Line(_)), None | Some(Failure::Passing(_))) => {
                    failure = Some(refused);
                }
                (Err(_), Some(_)) => {}
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn missing(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.reservation.is_none())
    }

    fn missing_mut(&mut self) -> impl Iterator<Item = &mut Line> {
        self.lines.iter_mut().filter(|line| line.reservation.is_none())
    }

    /// Claims all lines, unless that was done before: also those that an earlier call has claimed, so
    /// that whoever gives them back does not take this call's.
    async fn claim(&mut self) -> Result<(), Failure> {
        if !self.lines.iter().any(Line::is_unclaimed) {
            return Ok(());
        }
        // If one finds no room, the others are dropped, and claim nothing.
        let submit =
            |line: &Line| self.call.submit(&line.sku, Command::Claim { id: line.reserve.id });
        let claims = self.lines.iter().filter(|line| line.is_to_claim()).map(submit);
        let claims = claims.collect::<Result<Vec<_>, _>>()?;
        self.lines.iter_mut().for_each(Line::note_claim);
        for claim in claims {
            match claim.outcome().await? {
                Outcome::Settled(claimed) if !has_lapsed(&claimed) => {}
                // It took so long that it went back.
                _ => return Err(Failure::Line(Refused::unavailable())),
            }
        }
        Ok(())
    }

    /// Gives back what this call has taken; and, if no call can have completed the cart, what earlier
    /// ones have left behind.
    async fn give_back(&self, failure: Failure) -> Refused {
        let (refused, even_claimed) = match failure {
            Failure::Line(refused) => (refused, true),
            Failure::Passing(refused) => (refused, false),
        };
        let lines = self.lines.iter().filter(|line| even_claimed || !line.may_be_claimed);
        // What finds no room now goes back by itself, or with a repeat of the key.
        let cancels: Vec<_> = lines.filter_map(|line| self.cancel(line)).collect();
        for cancel in cancels {
            // Gone with the engine: so is whoever would wait for more.
            let _ = cancel.outcome().await;
        }
        refused
    }

    fn cancel(&self, line: &Line) -> Option<Waiter> {
        let Reservation { id, attempt, .. } = *line.reservation.as_ref().filter(|r| r.is_held())?;
        let command = Command::Cancel { id, attempt, even_claimed: line.may_be_claimed };
        self.call.submit(&line.sku, command).ok()
    }

    fn view(&self) -> Response {
        let holds: Vec<_> = self.lines.iter().filter_map(Line::first_answer).collect();
        let views = holds.iter().filter_map(|(sku, hold)| ReservationView::new(sku, hold));
        json(StatusCode::CREATED, &CartView { state: "held", reservations: views.collect() })
    }
}

impl Line {
    /// Why a line that came before cannot be had now. One that has ended is part of a cart that was
    /// held once, if the cart `is_whole`: then a repeat gets the first answer.
    fn refusal_before(&self, is_whole: bool) -> Option<Refusal> {
        let first = self.reservation.as_ref()?;
        if let Outcome::Refused(refusal) = self.reserve.repeat(first) {
            return Some(refusal);
        }
        match first.state {
            // An end that nobody had claimed before was no part of a cart that was held.
            _ if is_whole && !has_lapsed(first) => None,
            ReservationState::Confirmed { quantity, .. } => {
                Some(Refusal::AlreadyConfirmed { quantity })
            }
            ReservationState::Released { .. } => Some(Refusal::AlreadyReleased),
            ReservationState::Expired { .. } => Some(Refusal::AlreadyExpired),
            _ => None,
        }
    }

    /// The hold, as it was when it was taken.
    fn first_answer(&self) -> Option<(&Sku, Reservation)> {
        match self.reserve.repeat(self.reservation.as_ref()?) {
            Outcome::Held(hold) => Some((&self.sku, hold)),
            _ => None,
        }
    }

    /// Whether its hold goes back by itself unless it is claimed.
    fn is_unclaimed(&self) -> bool {
        self.reservation.as_ref().is_some_and(|hold| hold.is_held() && is_unclaimed(hold))
    }

    /// Whether its hold is this call's to claim: nobody else has, or an earlier call may have.
    fn is_to_claim(&self) -> bool {
        let is_held = self.reservation.as_ref().is_some_and(Reservation::is_held);
        is_held && (self.may_be_claimed || self.is_unclaimed())
    }

    /// Its hold is being claimed, if it is to be: that is an attempt.
    fn note_claim(&mut self) {
        self.may_be_claimed |= self.is_to_claim();
        if self.may_be_claimed
            && let Some(hold) = self.reservation.as_mut().filter(|hold| hold.is_held())
        {
            hold.attempt = hold.attempt.saturating_add(1);
        }
    }

    async fn outcome(&self, waiter: Waiter, until: Instant) -> Result<Reservation, Failure> {
        let Ok(outcome) = timeout_at(until, waiter.outcome()).await else {
            return Err(Failure::Passing(self.refused(Refused::unavailable())));
        };
        match outcome? {
            Outcome::Held(hold) => Ok(hold),
            Outcome::Refused(refusal) => Err(Failure::Line(self.refused_by_ledger(refusal))),
            _ => Err(Failure::Passing(Refused::unavailable())),
        }
    }

    fn refused_by_ledger(&self, refusal: Refusal) -> Refused {
        self.refused(Refused::by_ledger(refusal, &self.sku))
    }

    /// Says which line it is about.
    fn refused(&self, refused: Refused) -> Refused {
        refused.with("line", self.index).with("sku", self.sku.as_str())
    }
}

/// Whether a line's hold went back before anybody was told of it.
fn has_lapsed(line: &Reservation) -> bool {
    line.is_forgone() || (!line.is_held() && is_unclaimed(line))
}
