//! The engine on a store that many processes share: API processes post commands into streams, a
//! bucket's owner reads them, decides them, and writes what became of them.
//!
//! `window` has what is read and not decided, `cursor` how far that is, `owner` the turns; `worker` has
//! the owners of a process, `assignment` how many of them there are to be. `front` is the API process.

mod assignment;
mod cursor;
mod front;
mod origin;
pub(super) mod owner;
#[cfg(test)]
mod rig;
mod share;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod ticket_tests;
mod tickets;
mod window;
mod worker;
#[cfg(test)]
mod worker_tests;

pub use front::{Front, FrontSettings, Later, PostBox};
pub use worker::Worker;
