//! The drill: a sale rehearsed, and judged by what its customers were told.
//!
//! ```text
//! scenario ──> cast ──> load ──> records ──┬──> verdict ──> exit status
//!  (TOML)     (who asks  (open     (what    │      ^
//!              what,      loop)    clients  │      ├── evidence: journals and reservations,
//!              when)        :      noted)   │      │         as the service shows them
//!                         watch ──> course ─┼──────┘
//!                                           └──> report
//! ```
//!
//! With a scenario's `[detection]` nobody registers the hot product: the drill watches what becomes of it
//! (`watch`), and tells its course from being noticed to being let go (`course`).
//!
//! The drill is a witness. It shares no code with the service: nothing here knows `ledger` or
//! `backend`, only HTTP and what clients have written down.

pub mod cast;
pub mod connection;
pub mod course;
pub mod customer;
pub mod diary;
pub mod evidence;
pub mod fleet;
pub mod load;
pub mod open_files;
pub mod poisson;
pub mod progress;
pub mod record;
pub mod rehearsal;
pub mod report;
pub mod results;
pub mod round;
pub mod scenario;
pub mod settings;
pub mod siege;
pub mod storm;
pub mod target;
pub mod verdict;
pub mod watch;
pub mod weigh;
pub mod wire;
