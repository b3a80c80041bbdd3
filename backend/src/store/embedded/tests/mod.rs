//! What is special about the embedded store. What it has in common with others is in
//! `store/conformance.rs`.

mod format;
mod pinned;
mod projector;
mod torn;
