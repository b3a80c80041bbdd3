//! The service's HTTP face.
//!
//! | route                                     |                                               |
//! |-------------------------------------------|-----------------------------------------------|
//! | `POST /v1/reservations`                   | hold stock; waits for the outcome             |
//! | `GET  /v1/reservations/{id}`              | where a reservation stands                    |
//! | `POST /v1/reservations/{id}/confirm`      | the units are sold, all or some of them       |
//! | `POST /v1/reservations/{id}/release`      | the units go back                             |
//! | `POST /v1/reservations/{id}/extend`       | the hold lasts longer                         |
//! | `GET  /v1/tickets/{id}`                   | what the call would have answered by now      |
//! | `POST /v1/carts`                          | hold several lines, or none of them           |
//! | `PUT  /v1/skus/{sku}/stock`               | put units up for sale                         |
//! | `POST /v1/skus/{sku}/adjustments`         | put more units up for sale, or take some off  |
//! | `GET  /v1/skus/{sku}`                     | where a SKU's units are                       |
//! | `GET  /v1/skus/{sku}/journal`             | every change, with before and after           |
//! | `POST /v1/stock-imports`                  | put units up for sale, SKU by SKU, as many as there are |
//! | `GET  /v1/stock-exports`                  | all SKUs, and how many units of each there are |
//! | `GET  /v1/hot-items`                      | SKUs with a lane and terms of their own       |
//! | `PUT  /v1/hot-items/{sku}`                | give a SKU these, or change them              |
//! | `PATCH /v1/hot-items/{sku}`               | change some of these, and leave the others    |
//! | `GET  /v1/hot-items/{sku}`                | its terms, its lane, what is asked of it      |
//! | `DELETE /v1/hot-items/{sku}`              | take them away                                |
//! | `GET  /v1/hot-items/{sku}/history`        | what was changed of these, by whom and why    |
//! | `POST /v1/edges/{edge}/reports`           | what an edge is asked for, and what it is told |
//! | `GET  /v1/edges`                          | how many edges there are                      |
//! | `GET  /v1/backup`                         | all of the store, as it stands after one commit |
//! | `GET  /live`, `/ready`, `/metrics`        | for operators                                 |
//! | `GET  /openapi.json`, `/docs`, `/docs/problems` | all of this, to read                    |
//!
//! Every answer below `/v1` says in `cartgate-durability` what it survives: the level that its commit
//! has [reached], or that every commit has if it rests on none of its own.
//!
//! [reached]: crate::store::tenure::Reached

mod adjustments;
mod answer;
mod backup;
mod call;
mod carts;
pub mod docs;
mod door;
mod edges;
mod extract;
mod hot_items;
mod in_flight;
mod in_stock;
mod journal;
mod observe;
mod openapi;
mod prefer;
mod probes;
mod refused;
mod reservations;
pub mod server;
mod settlements;
mod skus;
mod stock_exports;
pub(crate) mod stock_imports;
mod tickets;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use cartgate_ledger::UnixMs;
use cartgate_policy::SkuForm;
use cartgate_policy::problem::{Problem, ProblemType};
use tokio::sync::{Semaphore, watch};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::Access;
use crate::clock::Clock;
use crate::command_id::CommandIds;
use crate::config::{CLAIM_GRACE_MS, Config};
use crate::control::Control;
use crate::customers::Customers;
use crate::engine::Engine;
use crate::metrics::Metrics;
use crate::store::imports::Records;

pub(crate) use answer::Rfc3339;
use door::Door;
use in_flight::InFlight;
use in_stock::InStock;
use refused::Refused;
use stock_imports::Seats;

/// The most bytes of a request body that are read.
pub const BODY_BYTES_MAX: usize = 64 * 1_024;

/// What every route works with.
pub struct App {
    /// The engine.
    pub engine: Arc<Engine>,
    /// What edges are told.
    pub control: Arc<Control>,
    metrics: Arc<Metrics>,
    clock: Clock,
    customers: Customers,
    ids: CommandIds,
    in_stock: InStock,
    in_flight: InFlight,
    import_records: Records,
    import_seats: Seats,
    /// One backup at a time: each makes the disk read all that there is.
    backup_seat: Arc<Semaphore>,
    /// How SKUs are spelt in requests.
    sku_form: SkuForm,
    /// How long a hold lasts, and how long it may be made to last, in milliseconds.
    hold_ms: u64,
    hold_ms_max: u64,
    /// How long a hold that nobody knows of stays off the shelf, in milliseconds.
    unclaimed_ms: u64,
    /// How long a caller waits before it gets a ticket.
    wait: Duration,
    stopping: watch::Sender<bool>,
}

impl App {
    /// Routes work with this engine.
    pub fn new(
        config: &Config,
        engine: Engine,
        customers: Customers,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        let engine = Arc::new(engine);
        let import_records = match engine.shared_api() {
            Some(api) => Records::Shared(api),
            None => Records::in_files(&config.data.join("imports"), engine.durability()),
        };
        Self {
            control: Arc::new(Control::new(config, &engine, &metrics, &clock)),
            customers,
            ids: CommandIds::new(engine.buckets(), engine.secret()),
            in_stock: InStock::default(),
            in_flight: InFlight::default(),
            import_records,
            import_seats: Seats::default(),
            backup_seat: Arc::new(Semaphore::new(1)),
            sku_form: config.sku.clone(),
            hold_ms: config.hold_ms,
            hold_ms_max: config.hold_ms_max(),
            unclaimed_ms: config.unclaimed_ms,
            wait: Duration::from_millis(config.wait_ms),
            stopping: watch::Sender::default(),
            engine,
            metrics,
            clock,
        }
    }

    /// Whoever would go on for long is to end soon.
    pub fn begin_to_stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until then.
    async fn stopping(&self) {
        // The sender is here.
        let _ = self.stopping.subscribe().wait_for(|is_stopping| *is_stopping).await;
    }

    /// The last moment at which somebody waits for what is asked now.
    fn claim_by(&self) -> UnixMs {
        let wait_ms = u64::try_from(self.wait.as_millis()).unwrap_or(u64::MAX);
        (self.clock)().plus_ms(wait_ms.saturating_add(CLAIM_GRACE_MS))
    }
}

/// All routes, as they are documented: each says who may ask it.
fn documented() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(reservations::create))
        .routes(routes!(reservations::show))
        .routes(routes!(settlements::confirm))
        .routes(routes!(settlements::release))
        .routes(routes!(settlements::extend))
        .routes(routes!(tickets::show))
        .routes(routes!(carts::create))
        .routes(routes!(skus::show))
        .routes(routes!(skus::set_stock))
        .routes(routes!(adjustments::create))
        .routes(routes!(journal::show))
        .routes(routes!(stock_imports::create))
        .routes(routes!(stock_exports::show))
        .routes(routes!(hot_items::list))
        .routes(routes!(hot_items::show, hot_items::register, hot_items::amend, hot_items::remove))
        .routes(routes!(hot_items::history))
        .routes(routes!(edges::show))
        .routes(routes!(edges::report))
        .routes(routes!(backup::show))
        .routes(routes!(probes::live))
        .routes(routes!(probes::ready))
        .routes(routes!(probes::metrics))
        .routes(routes!(docs::document))
        .routes(routes!(docs::reference))
        .routes(routes!(docs::problems))
}

/// The OpenAPI 3.1 document of all routes.
pub fn openapi() -> OpenApi {
    openapi::complete(documented().into_openapi())
}

/// What machines of the operator's own ask, without access being asked for.
pub fn probes(app: Arc<App>) -> Router {
    Router::new()
        .route("/live", get(probes::live))
        .route("/ready", get(probes::ready))
        .route("/metrics", get(probes::metrics))
        .fallback(async || Refused(Problem::new(ProblemType::NotFound)))
        .with_state(app)
}

/// All routes, behind `access`.
pub fn router(app: Arc<App>, access: Arc<Access>) -> Router {
    let (router, document) = documented().split_for_parts();
    let door = Arc::new(Door::new(access, Arc::clone(&app.clock), &document));
    router
        .fallback(async || Refused(Problem::new(ProblemType::NotFound)))
        .method_not_allowed_fallback(async || Refused(Problem::new(ProblemType::MethodNotAllowed)))
        .layer(from_fn_with_state(door, door::keep))
        .layer(from_fn_with_state(Arc::clone(&app), observe::observe))
        .with_state(app)
}
