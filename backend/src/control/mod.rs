//! The service's side of hot items at the edges.

pub mod detector;
pub mod follow;
