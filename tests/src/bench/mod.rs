//! Benchmarks of the real service, beside the conventional way, in one run (`make bench-engine`, and
//! `make bench-redis` for what is in [`redis`]).
//!
//! One file for each measurement; what they share is in [`run`]. The load generator is this process:
//! one thread, pinned to one core, its CPU time told apart from the servers'. What is compared takes
//! turns, and ratios are medians of the turns' ratios. What a caller was told is counted after the
//! service has been killed: a figure that cannot be trusted is none, and the run ends in a panic.

pub mod aftermath;
pub mod answer;
pub mod arguments;
pub mod backup;
pub mod closed;
pub mod control;
pub mod conventional;
pub mod cores;
pub mod cost;
pub mod cpu;
pub mod durability;
pub mod edge;
pub mod engine;
pub mod figures;
pub mod flood;
pub mod http;
pub mod import;
pub mod istio;
pub mod latency;
pub mod machine;
pub mod memory;
pub mod open;
pub mod postgres;
pub mod recovery;
pub mod redis;
pub mod request;
pub mod run;
pub mod statistics;
pub mod table;
pub mod tally;
pub mod trace;
pub mod watch;
