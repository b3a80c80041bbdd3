//! What the parts mean together. Every function here is pure: a filter and what is around it go in,
//! [`Finding`]s come out.

mod body;
mod buffer;
mod chain;
mod cluster;
mod crash;
mod head;
mod module;
mod routes;
mod start;
#[cfg(test)]
mod testing;

use super::find::{Filter, World};
use super::place::{Place, Spot};
use super::report::{Examined, Finding};

/// A check.
type Check = fn(&Filter<'_>, &World<'_>) -> Vec<Finding>;

/// All of them, from what keeps the filter from starting to what only may be wrong.
const ALL: [Check; 14] = [
    start::configuration,
    chain::place,
    chain::disabled,
    body::waits,
    buffer::limit,
    buffer::window,
    cluster::service,
    crash::policy,
    crash::vm_id,
    head::paths,
    head::headers,
    head::retries,
    routes::prefixes,
    module::file,
];

/// Judges a filter.
pub(super) fn of(filter: &Filter<'_>, world: &World<'_>) -> Examined {
    let name = if filter.name.is_empty() { "without a name" } else { &filter.name };
    Examined {
        filter: name.to_owned(),
        file: filter.place.spot.file.to_string(),
        line: filter.place.spot.line,
        is: filter.is(),
        findings: ALL.iter().flat_map(|check| check(filter, world)).collect(),
    }
}

/// What the connection managers around a filter say at `path`; else, where they would.
fn setting<'t>(filter: &Filter<'t>, world: &World<'t>, path: &str) -> Result<Place<'t>, Spot> {
    let managers = filter.managers(world);
    // Of several patches the last wins.
    let found = managers.iter().rev().find_map(|manager| manager.at(path));
    found.ok_or_else(|| match managers.last() {
        Some(manager) => manager.spot_of(path),
        None => filter.surroundings(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::report::Level;
    use super::testing::{ENVOY, ISTIO, examine};

    #[test]
    fn everything_is_good_in_good_files() {
        for yaml in [ENVOY, ISTIO] {
            let examined = examine(yaml);
            let others: Vec<_> =
                examined.findings.iter().filter(|f| f.level != Level::Good).collect();
            assert!(others.is_empty(), "{others:#?}");
        }
    }
}
