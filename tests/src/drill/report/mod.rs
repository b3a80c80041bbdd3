//! The report: what happened in the drill, in numbers and in pictures.
//!
//! ```text
//! records, evidence ──> Summary ──┬──> terminal   80 columns, for whoever waits for it
//!                       (numbers)  └──> html       one file, for whoever reads it later
//! ```
//!
//! Everything that is counted is counted in [`Summary::of`]; the renderers only lay out. Neither
//! reads a file, a clock or the network.

mod charts;
pub mod html;
mod latency;
mod outcome;
#[cfg(test)]
mod sample;
mod stock;
pub mod summary;
pub mod terminal;
#[cfg(test)]
mod tests;
mod timeline;
mod words;

pub use html::Meta;
pub use latency::Latency;
pub use summary::{Basics, Calls, Holds, Part, RolePart, Summary};
pub use timeline::{Bin, Timeline};
