//! Linearizability: is there one order of all that clients did, in which each answer is right?
//!
//! ```text
//! record ──> Operation... ──┬─ of SKU A ──> steps ──> check ──┬──> Linearizable
//! (clients)  (call, answer) └─ of SKU B ──> (model)  (search) └──> Refused ──> shrink ──> a story
//! ```
//!
//! A history is linearizable (Herlihy, Wing: *Linearizability: a correctness condition for
//! concurrent objects*, TOPLAS 1990) if every operation can be thought to happen at one moment
//! between its call and its answer, and these moments in their order make all answers right. SKUs
//! share nothing, so each has a history of its own: linearizability is local (same paper).
//!
//! What is found comes from the clients' view alone; no journal is asked.
//!
//! - An operation **without an answer** may have happened at any time since its call, or never:
//!   its client hung up, its request or its answer was lost, the service was killed. Read over such
//!   kills this is durable linearizability (Izraelevitz, Mendes, Scott, DISC 2016).
//! - An operation with **a ticket** (202) happens later, and has its place in the queue: whoever
//!   asks after that ticket was given is decided after it.
//! - **A hold expires by itself**: not before its `expires_at`, and before anything is judged that
//!   was asked for after it. Holds last equally long: who took later expires later. A hold that
//!   nobody was told of may go back at any time.
//!
//! The search is our own since no crate has these three. stateright's `LinearizabilityTester` lets
//! a client have one operation without an answer, its last, and remembers no failed branch; todc's
//! `WGLChecker` panics at a call without an answer, and was last released in 2023.

mod facts;
mod history;
mod model;
mod notebook;
mod record;
mod search;
mod shrink;
mod state;
mod steps;
#[cfg(test)]
mod tests;

pub use history::{Action, Answer, End, History, Operation, Told};
pub use record::{Plan, Recording, record};
pub use search::{Verdict, check};
pub use shrink::{Story, shrink};
