//! A legacy frontend: the server-rendered pages of a shop that has nothing but forms.
//!
//! ```text
//! browser ──form──> this frontend ──one blocking call──> Envoy ──> the service
//!         <──page──                <─────answer─────────
//! ```
//!
//! It stands in for the frontends that cartgate is made for, which can make one HTTP call and show
//! a message. Nothing is repeated here, nothing is remembered, and no page needs a script:
//! `tests/legacy-frontend.md` has the same in VBScript and PHP.

mod call;
mod language;
mod page;

use std::io;

use axum::extract::{Form, Path, Query, State};
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, HeaderName, VARY};
use axum::response::{Html, IntoResponse};
use axum::routing::{get, post};
use maud::Markup;
use reqwest::Url;
use serde::Deserialize;
use thiserror::Error;
use tokio::net::TcpListener;

use call::Cartgate;
use language::Language;

/// A frontend, ready to serve.
#[derive(Clone, Debug)]
pub struct Frontend {
    cartgate: Cartgate,
    sku: String,
}

impl Frontend {
    /// Sells `sku`, through the edge at `edge`.
    ///
    /// # Errors
    /// The HTTP client cannot be made.
    pub fn new(edge: Url, sku: String) -> Result<Self, FrontendError> {
        let cartgate = Cartgate::at(edge).map_err(FrontendError::Client)?;
        Ok(Self { cartgate, sku })
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    /// The operating system takes the listener away.
    pub async fn serve(self, listener: TcpListener) -> Result<(), FrontendError> {
        let pages = axum::Router::new()
            .route("/", get(product))
            .route("/order", post(order))
            .route("/ticket/{id}", get(ticket))
            .with_state(self);
        axum::serve(listener, pages).await.map_err(FrontendError::Serve)
    }
}

/// Why there is no frontend.
#[derive(Debug, Error)]
pub enum FrontendError {
    /// No HTTP client.
    #[error("cannot make an HTTP client")]
    Client(#[source] reqwest::Error),
    /// No listener any more.
    #[error("cannot serve")]
    Serve(#[source] io::Error),
}

/// What the address of a page may say.
#[derive(Debug, Deserialize)]
struct Asked {
    lang: Option<String>,
}

/// The form on the product's page.
#[derive(Debug, Deserialize)]
struct OrderForm {
    sku: String,
    quantity: String,
    customer_id: String,
    lang: Option<String>,
}

async fn product(
    State(shop): State<Frontend>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> impl IntoResponse {
    let language = Language::of(asked.lang.as_deref(), &headers);
    answer(page::product(language, &shop.sku))
}

async fn order(
    State(shop): State<Frontend>,
    headers: HeaderMap,
    Form(form): Form<OrderForm>,
) -> impl IntoResponse {
    let language = Language::of(form.lang.as_deref(), &headers);
    let told = shop.cartgate.reserve(&form.sku, &form.quantity, &form.customer_id).await;
    answer(page::told(language, &form.sku, &told))
}

async fn ticket(
    State(shop): State<Frontend>,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> impl IntoResponse {
    let language = Language::of(asked.lang.as_deref(), &headers);
    answer(page::told(language, &shop.sku, &shop.cartgate.ask_again(&id).await))
}

/// A page is for this browser, now: what it says may be wrong a moment later.
fn answer(page: Markup) -> ([(HeaderName, &'static str); 2], Html<String>) {
    ([(CACHE_CONTROL, "no-store"), (VARY, "accept-language")], Html(page.into_string()))
}
