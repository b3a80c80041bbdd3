//! The service's HTTP face.
//!
//! | route                                     |                                               |
//! |-------------------------------------------|-----------------------------------------------|
//! | `POST /v1/reservations`                   | hold stock; waits for the outcome             |
//! | `GET  /v1/reservations/{id}`              | where a reservation stands                    |
//! | `POST /v1/reservations/{id}/confirm`      | the units are sold                            |
//! | `POST /v1/reservations/{id}/release`      | the units go back                             |
//! | `GET  /v1/tickets/{id}`                   | what the call would have answered by now      |
//! | `PUT  /v1/skus/{sku}/stock`               | put units up for sale                         |
//! | `GET  /v1/skus/{sku}`                     | where a SKU's units are                       |
//! | `GET  /v1/skus/{sku}/journal`             | every change, with before and after           |
//! | `GET  /live`, `/ready`, `/metrics`        | for operators                                 |

mod answer;
mod extract;
mod observe;
mod probes;
mod reservations;
pub mod server;
mod skus;
mod tickets;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post, put};
use cartgate_policy::problem::{Problem, ProblemType};

use crate::clock::Clock;
use crate::command_id::CommandIds;
use crate::lanes::Lanes;
use crate::metrics::Metrics;
use crate::store::Store;

use answer::Refused;

/// The most bytes of a request body that are read.
pub const BODY_BYTES_MAX: usize = 64 * 1_024;

/// What every route works with.
pub struct App {
    /// The engine.
    pub lanes: Lanes,
    /// What it has committed.
    pub store: Arc<dyn Store>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Clock,
    /// How long a hold lasts, in milliseconds.
    pub hold_ms: u64,
    /// How long a caller waits before it gets a ticket.
    pub wait: Duration,
}

impl App {
    fn command_ids(&self) -> CommandIds {
        CommandIds::new(*self.lanes.buckets(), self.store.secret())
    }
}

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/reservations", post(reservations::create))
        .route("/v1/reservations/{id}", get(reservations::show))
        .route("/v1/reservations/{id}/confirm", post(reservations::confirm))
        .route("/v1/reservations/{id}/release", post(reservations::release))
        .route("/v1/tickets/{id}", get(tickets::show))
        .route("/v1/skus/{sku}", get(skus::show))
        .route("/v1/skus/{sku}/stock", put(skus::set_stock))
        .route("/v1/skus/{sku}/journal", get(skus::journal))
        .route("/live", get(probes::live))
        .route("/ready", get(probes::ready))
        .route("/metrics", get(probes::metrics))
        .fallback(async || Refused(Problem::new(ProblemType::NotFound)))
        .method_not_allowed_fallback(async || Refused(Problem::new(ProblemType::MethodNotAllowed)))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&app), observe::observe))
        .with_state(app)
}
