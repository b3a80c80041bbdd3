//! What it costs to ask who somebody is, and to tell a collector of traces: reservations per second with it, over
//! without. All take turns.

use std::future::pending;
use std::time::Duration;

use axum::Router;
use cartgate_backend::http::server;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use super::figures::Figure;
use super::http::{load, used};
use super::request::{Skus, Template};
use super::run::{Run, progress};
use super::statistics::Series;
use super::watch::{fill, fill_by};
use crate::{Service, Shop, tokens};

/// Turns of each: more than elsewhere, since what is looked for is small.
const TURNS: u32 = 7;

/// What is to be left of the reservations per second.
const LEFT: f64 = 0.95;

/// With a bearer token, over development mode.
///
/// # Panics
/// Something fails, or is refused.
pub async fn of_access(run: &mut Run) {
    let file = run.dir().join("tokens.toml");
    let token = tokens::create(&file, "cart", "reserve");
    let admin = tokens::create(&file, "bench", "admin");
    let open = run.start(&run.service_options("open", "")).await;
    let closed = run.start(&run.service_options("closed", &tokens::setting(&file))).await;
    fill(&open, 0).await;
    fill_by(&Shop::showing(&admin, closed.address()), 0).await;
    let bearer = format!("authorization: Bearer {token}\r\n");
    // The same bytes, which development mode does not look at.
    let ask = |service: &Service| {
        Template::reservation_with(&service.address().to_string(), &bearer, Skus::Hot)
    };
    let series = turns(run, [("closed", &closed, ask(&closed)), ("open", &open, ask(&open))]).await;
    let left = series.ratio(("closed", "per_s"), ("open", "per_s"));
    run.add(Figure::new("auth_cost", left, "x").at_least(LEFT).note(used("closed", &series)));
    run.add(Figure::new("open_per_s", series.median(("open", "per_s")), "/s"));
}

/// With one in a hundred requests told to a collector, over none.
///
/// # Panics
/// As above.
pub async fn of_tracing(run: &mut Run) {
    let collector = Collector::start().await;
    let settings = format!("[tracing]\notlp = {:?}\nsample = 0.01\n", collector.url);
    let traced = run.start(&run.service_options("traced", &settings)).await;
    let untraced = run.start(&run.service_options("untraced", "")).await;
    for service in [&traced, &untraced] {
        fill(service, 0).await;
    }
    let ask = |service: &Service| Template::reservation(service.address(), Skus::Hot);
    let both = [("traced", &traced, ask(&traced)), ("untraced", &untraced, ask(&untraced))];
    let series = turns(run, both).await;
    let left = series.ratio(("traced", "per_s"), ("untraced", "per_s"));
    run.add(Figure::new("trace_cost", left, "x").at_least(LEFT).note(used("traced", &series)));
}

/// Loads two services in turn, the one that was last first.
async fn turns(run: &Run, both: [(&'static str, &Service, Template); 2]) -> Series {
    let mut series = Series::default();
    let turns = if run.extent.is_smoke { 1 } else { TURNS };
    for turn in 0..turns {
        progress(&format!("{} and {}, turn {} of {turns}", both[0].0, both[1].0, turn + 1));
        for place in [turn % 2, (turn + 1) % 2] {
            let (name, service, template) = &both[place as usize];
            load(run, service, name, template, 201, &mut series).await;
        }
    }
    series
}

/// Takes whatever it is sent, and forgets it.
struct Collector {
    url: String,
    taking: AbortHandle,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(async |body: axum::body::Bytes| drop(body));
        let serve = server::serve(listener, router, 16, pending(), Duration::ZERO);
        Self { url, taking: tokio::spawn(serve).abort_handle() }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.taking.abort();
    }
}
