//! What a request does with the engine.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use cartgate_ledger::{Claim, Command, CommandId, Outcome, Reservation};
use cartgate_policy::Sku;

use super::App;
use super::observe::Observed;
use super::refused::{Refused, paused};
use crate::hot_items::{Changed, HotItem, Note};
use crate::lanes::{EnqueueError, Waiter};

/// One request, as far as the engine has to do with it.
pub(super) struct Call {
    pub(super) app: Arc<App>,
    observed: Observed,
}

impl FromRequestParts<Arc<App>> for Call {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        Ok(Self { app: Arc::clone(app), observed: Observed::from_parts(parts) })
    }
}

impl Call {
    /// A call that no request has made.
    #[cfg(test)]
    pub(super) fn of(app: Arc<App>) -> Self {
        Self { app, observed: Observed::new("-") }
    }

    /// The same, without spans for what is submitted: there is too much of it.
    pub(super) fn without_spans(self) -> Self {
        Self { observed: self.observed.without_spans(), ..self }
    }

    /// Puts a command in its lane.
    pub(super) fn submit(&self, sku: &Sku, command: Command) -> Result<Waiter, EnqueueError> {
        if let Command::Reserve(reserve) = &command {
            let is_hot = self.app.engine.is_hot(sku);
            self.app.control.count(sku, reserve.quantity.get().into(), is_hot);
            if is_hot {
                self.app.metrics.count_demand(sku, (self.app.clock)());
            }
        }
        let (trail, level) = (self.observed.trail().enqueued(), self.observed.level());
        self.app.engine.submit(sku.clone(), command, trail, level)
    }

    /// Puts a command in its lane, and waits for its outcome.
    pub(super) async fn outcome(&self, sku: &Sku, command: Command) -> Result<Outcome, Refused> {
        Ok(self.submit(sku, command)?.outcome().await?)
    }

    /// Makes a SKU a hot item, or one no more.
    pub(super) async fn change_hot_item(
        &self,
        sku: Sku,
        item: Option<HotItem>,
        note: Note,
    ) -> Result<Changed, EnqueueError> {
        let level = self.observed.level();
        let changed = self.app.engine.change_hot_item(sku, item, note, level).await;
        self.app.control.changed().await;
        changed
    }

    /// Refuses new reservations of a product whose sale is paused.
    pub(super) fn check_not_paused(&self, sku: &Sku) -> Result<(), Refused> {
        let known = self.app.engine.known_hot_item(sku);
        if known.is_some_and(|item| item.edge.is_paused) { Err(paused(sku)) } else { Ok(()) }
    }

    /// Refuses what is not in stock.
    pub(super) async fn check_in_stock(&self, sku: &Sku) -> Result<(), Refused> {
        self.app.in_stock.check(sku, &self.app.engine).await
    }

    /// Claims a hold: somebody is about to hear of it. Returns where the reservation stands then;
    /// `None` if it is forgotten.
    pub(super) async fn claim(
        &self,
        sku: &Sku,
        id: CommandId,
    ) -> Result<Option<Reservation>, Refused> {
        match self.outcome(sku, Command::Claim { id }).await? {
            Outcome::Settled(reservation) => Ok(Some(reservation)),
            _ => Ok(None),
        }
    }

    /// Reads a reservation for a caller to hear of it: a hold that nobody knew of is claimed.
    pub(super) async fn read(&self, id: CommandId) -> Result<Option<(Sku, Reservation)>, Refused> {
        let Some((sku, found)) = self.app.engine.reservation(id).await? else { return Ok(None) };
        if !(found.is_held() && is_unclaimed(&found)) {
            return Ok(Some((sku, found)));
        }
        let claimed = self.claim(&sku, id).await?;
        Ok(claimed.map(|claimed| (sku, claimed)))
    }
}

/// Whether a hold goes back by itself unless it is claimed.
pub(super) fn is_unclaimed(reservation: &Reservation) -> bool {
    matches!(reservation.claim, Claim::Unclaimed { .. })
}
