//! The loop between the service and its edges: how soon a hot item is noticed and limited everywhere, how
//! well a fleet's limit is kept and used, and what all of that costs (`make bench-control`).
//!
//! Four real Envoys, whose wall clocks are up to five seconds off, and a real service. Envoy answers what
//! the filter admits by itself: the loop is measured here, not the engine.

mod cost;
mod detection;
mod edges;
mod limit;
mod load;
mod states;

use super::run::{Run, progress};

/// Measures everything.
///
/// # Panics
/// Envoy, the filter or the service is not built, or something is answered otherwise than it should be.
pub async fn measure(run: &mut Run) {
    progress("steps: how soon a product that nobody has registered is limited at every edge");
    detection::measure(run).await;
    progress("a fleet's limit, while demand moves between edges");
    limit::measure(run).await;
    progress("states: sold out, open");
    states::measure(run).await;
    progress("what it costs");
    cost::measure(run).await;
}
