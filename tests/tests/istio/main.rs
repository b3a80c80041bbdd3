//! What is in `istio/edge`, in a mesh: a real istiod, and the proxies that it configures. `make test-istio`
//! builds Istio and runs this, once for each version of it that we name.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod comparison;
mod failures;
mod istioctl;
mod neighbours;
mod placements;
mod plugins;
mod reports;
mod site;
mod upgrade;
