//! Room for a crowd: each connection is an open file, of the drill and of what it starts.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;

use super::scenario::Scenario;

/// What a process opens besides connections.
const OTHERS: u64 = 500;

/// Lets this process, and those it starts, open as many files as the scenario may need: Envoy has a
/// connection on either side for each customer.
///
/// # Errors
/// The system does not allow it.
pub fn allow(scenario: &Scenario) -> Result<(), TooFewFiles> {
    let bots = scenario.bots.connections_each * usize::from(scenario.bots.addresses);
    let needed = 2 * (scenario.connections_max + bots) as u64 + OTHERS;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // No number means no limit.
    if current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(needed), maximum };
    let allowed = maximum.or(current).unwrap_or_default();
    setrlimit(Resource::Nofile, raised).map_err(|_| TooFewFiles { needed, allowed })
}

/// A crowd this large cannot be played here.
#[derive(Debug, Error)]
#[error(
    "{needed} open files are needed and {allowed} allowed: raise the limit (`ulimit -Hn`, \
     LimitNOFILE), or lower connections_max in the scenario"
)]
pub struct TooFewFiles {
    /// How many may be needed.
    pub needed: u64,
    /// How many there may be.
    pub allowed: u64,
}
