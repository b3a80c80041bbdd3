//! What the parts mean together. Every function here is pure: a filter and what is around it go in,
//! [`Finding`]s come out.

mod body;
mod buffer;
mod chain;
mod cluster;
mod crash;
mod disabled;
mod discovery;
mod head;
mod module;
mod routes;
mod start;
#[cfg(test)]
mod testing;
mod virtual_service;

use super::find::{Filter, World};
use super::report::{Examined, Finding};

/// A check.
type Check = fn(&Filter<'_>, &World<'_>) -> Vec<Finding>;

/// All of them, from what keeps the filter from starting to what only may be wrong.
const ALL: [Check; 16] = [
    start::configuration,
    chain::place,
    discovery::types,
    disabled::switch,
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
    virtual_service::names,
    module::code,
];

/// Judges a filter.
pub(super) fn of(filter: &Filter<'_>, world: &World<'_>) -> Examined {
    let mut findings: Vec<Finding> = ALL.iter().flat_map(|check| check(filter, world)).collect();
    // Two places of a filter may have one patch around them, of which one word is enough.
    findings.dedup();
    let name = if filter.name.is_empty() { "without a name" } else { &filter.name };
    Examined {
        filter: name.to_owned(),
        file: filter.place.spot.file.to_string(),
        line: filter.place.spot.line,
        is: filter.is(),
        findings,
    }
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

    #[test]
    fn of_what_two_places_have_in_common_one_word_is_enough() {
        let (before, behind) = ISTIO.split_once("    - applyTo: HTTP_FILTER").unwrap();
        let (insert, _) = behind.split_once("    - applyTo: NETWORK_FILTER").unwrap();
        let twice =
            format!("{before}    - applyTo: HTTP_FILTER{insert}    - applyTo: HTTP_FILTER{behind}");
        let count = |yaml: &str, check: &str| {
            examine(yaml).findings.iter().filter(|finding| finding.check == check).count()
        };
        for check in ["paths", "retries"] {
            assert_eq!(count(&twice, check), count(ISTIO, check), "{check}");
        }
        assert_eq!(count(&twice, "chain"), 2);
    }
}
