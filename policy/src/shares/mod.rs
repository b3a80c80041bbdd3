//! How a limit of the whole fleet is divided among its edges.
//!
//! - [`divide`] says who is to have how much, by what each is asked for.
//! - A [`Book`] is the service's: what edges may still use, and so what is left to grant.
//! - A [`Meter`] is an edge's: its share as units that come and are taken.
//!
//! How the two talk to each other: [`crate::fleet`].

mod book;
mod fair;
mod meter;

pub use book::{Book, Granted};
pub use fair::divide;
pub use meter::{Allowance, Meter};
