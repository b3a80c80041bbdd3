//! Real processes, started and watched: what the end-to-end suites and the demo stand on.
//!
//! Each harness starts its own Envoy, service or upstream, in a directory of its own and on ports
//! of its own, so that suites run side by side and share nothing. Nothing here sleeps and hopes:
//! every wait has a condition and a deadline, and what fails shows the log of the process at fault.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

pub mod bench;
pub mod browser;
pub mod client;
pub mod decisions;
pub mod drill;
pub mod edges;
pub mod envoy;
pub mod filter;
pub mod flood;
pub mod http1;
pub mod issuer;
pub mod istio;
pub mod legacy;
pub mod linear;
pub mod mangled;
pub mod no_leak;
pub mod paths;
pub mod ports;
pub mod process;
pub mod random;
pub mod ratelimit;
pub mod redis;
pub mod service;
pub mod shop;
pub mod site;
pub mod tls;
pub mod tokens;
pub mod upstream;

pub use envoy::{Envoy, EnvoyConfig};
pub use service::{Service, ServiceOptions, StoreKind};
pub use shop::{Answer, Order, Shop};
pub use site::{Edge, Site};
pub use upstream::Upstream;
