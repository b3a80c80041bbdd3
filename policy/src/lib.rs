//! The edge's decisions as pure functions.
//!
//! Which SKU and quantity a request asks for, in one canonical form, and whether the SKU's limit
//! admits it. The filter in Envoy and the service behind it both read requests through this crate,
//! so that they can never see two different SKUs in the same bytes.
//!
//! The crate knows no clock, no I/O, no async, no proxy-wasm: time and randomness come in as
//! arguments. It builds natively and for wasm32.

pub mod answer;
pub mod client;
pub mod config;
pub mod document;
pub mod extract;
pub mod fleet;
pub mod gcra;
pub mod heavy;
pub mod lease;
mod object;
pub mod problem;
mod quantity;
mod range;
pub mod shares;
mod sku;
pub mod slots;

pub use quantity::{Quantity, QuantityError};
pub use sku::{Case, Sku, SkuError, SkuForm, SkuPattern, SkuPatternError, Unicode};
