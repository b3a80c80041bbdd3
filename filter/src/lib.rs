//! The filter that Envoy loads: a thin shell over `cartgate-policy`.
//!
//! - `abi` is what Envoy calls, and `host` all that calls Envoy: the only two with `unsafe`.
//! - `filter` is all that one worker thread has: a configuration or two, and the requests that wait.
//! - `edge` holds what all requests under one configuration share.
//! - `fleet` is what is known of hot items, and how the service is told what is asked for.
//! - `admit` gives the verdict, and `counter` charges requests to limits, in the state that all threads share (`count`).
//! - `request` is one request's life, and `bodies` watches over those that wait for their bodies.
//! - `reply` makes the answers, and `mark` tells verdicts to the access log and the service.
//!
//! Every worker thread runs its own copy of this module; only `host::SharedData` is common to them.
//! Nothing here panics, whatever comes in: a fallible step names its failure mode, and each denies
//! rather than admits, unless the configuration says otherwise.

pub mod abi;
mod admit;
mod bodies;
mod count;
mod counter;
mod edge;
mod filter;
mod fleet;
mod header_map;
mod host;
mod mark;
mod metrics;
mod reply;
mod request;
