//! Following a request, through lanes and streams and across processes.
//!
//! ```text
//! traceparent ──> Trail ──── with the command, through lane or stream ────> whoever decides it
//!                   │                                                             │
//!                   └─ span `POST /v1/reservations`        spans `lane`, `commit` ┘
//!                                      │                        │
//!                                      └──> Spans (bounded) <───┘ ──> Exporter ──> a collector
//! ```
//!
//! Every request has a trace: its caller's, as W3C Trace Context has it, or a new one; its id is in all
//! that is logged of the request. Whether spans of it are recorded as well, that is whether it is
//! *sampled*, is decided once, when it comes in. What that costs a request that is not: one header to
//! read, or one random number to draw, and a comparison. So spans are made by hand, when they have ended;
//! nothing is entered or left, and no `tracing` layer looks at each.
//!
//! Spans tell of SKUs, and never of customers. Nor do they have paths, since these name reservations:
//! routes and request ids do.

mod config;
mod export;
mod parent;
mod spans;
mod trail;

pub use config::{OtlpUrl, OtlpUrlError, TracingConfig};
pub use export::{ExportError, Exporter};
pub use spans::Spans;
pub use trail::Trail;

pub(crate) use spans::{Begun, Ended, RequestSpan};
