//! The service behind the edge: the reservation engine and its HTTP face.
//!
//! - [`http`] reads requests and writes answers;
//! - [`lanes`] puts commands in order, applies them by the rules of `cartgate-ledger`, and answers
//!   once they are durable;
//! - [`store`] keeps everything;
//! - [`control`] keeps edges in step, and notices what turns hot;
//! - [`window`] counts what is asked of hot items;
//! - [`check_config`] checks what Envoy or Istio is told of the filter;
//! - [`trace`] follows a request through all of this;
//! - [`scan`] finds hot items in access logs;
//! - [`stock`] brings stock in and out in bulk, as a client of the service, which [`client`] is how to reach;
//! - [`backup`] makes a file of the store of a running service, and a store of such a file;
//! - [`cause`] says what caused an error;
//! - [`config`] is what an operator can set, [`serve`] puts the parts together.

pub mod access;
pub mod backup;
mod blocking;
pub mod cause;
pub mod check_config;
pub mod client;
pub mod clock;
mod command_id;
pub mod config;
pub mod control;
pub mod customers;
pub mod doctor;
pub mod engine;
mod grouped;
pub mod hot_items;
pub mod http;
pub mod lanes;
pub mod metrics;
mod random;
pub mod scan;
pub mod serve;
pub mod stock;
pub mod store;
pub mod trace;
mod trouble;
pub mod window;
