//! What facts mean. Every function here is pure: what was read goes in, a [`Finding`] comes out.

mod access;
mod cluster;
mod durability;
pub(super) mod embedded;
mod memory;
mod replication;
mod speed;
mod store;
#[cfg(test)]
mod testing;

use super::facts::{NodeFacts, StoreFacts};
use super::report::{Examined, Finding};

/// The oldest Redis with all that is needed: scripts that may write when memory is full, for one.
const OLDEST: (u64, u64) = (7, 0);

/// Judges a server.
pub(super) fn node(facts: &NodeFacts) -> Examined {
    let mut findings = vec![version(facts)];
    findings.extend(durability::all(facts));
    findings.extend(memory::all(facts));
    findings.extend(replication::all(facts));
    findings.extend(cluster::of_node(facts));
    findings.extend(speed::all(facts));
    findings.extend(access::all(facts));
    Examined { server: facts.at.clone(), is: what_it_is(facts), findings }
}

/// Judges what its servers are together.
pub(super) fn store(facts: &StoreFacts) -> Vec<Finding> {
    let mut findings = cluster::of_store(facts);
    findings.extend(store::all(facts));
    findings
}

/// A server that should be there, and cannot be asked.
pub(super) fn absent(at: &str, reason: &str) -> Examined {
    let finding = Finding::bad("reach", reason).change("start it, or take it out of the cluster");
    Examined { server: at.to_owned(), is: "cannot be asked".to_owned(), findings: vec![finding] }
}

fn what_it_is(facts: &NodeFacts) -> String {
    let info = &facts.info;
    let name = match info.text("valkey_version") {
        Some(version) => format!("Valkey {version}"),
        None => format!("Redis {}", info.version()),
    };
    let role = if facts.is_primary() { "primary" } else { "replica" };
    format!("{name}, {role}")
}

fn version(facts: &NodeFacts) -> Finding {
    let version = facts.info.version();
    if facts.info.is_at_least(OLDEST) {
        return Finding::ok("version", version);
    }
    Finding::bad("version", format!("{version} lacks what scripts need since 7.0"))
        .change("install Redis 7.0 or newer, or Valkey")
}

#[cfg(test)]
mod tests {
    use super::testing::{check, good};
    use super::*;
    use crate::doctor::report::Level;

    #[test]
    fn everything_is_ok_in_a_good_server() {
        let examined = node(&good());
        let others: Vec<_> = examined.findings.iter().filter(|f| f.level != Level::Ok).collect();
        assert!(others.is_empty(), "{others:#?}");
        assert_eq!(examined.is, "Redis 7.0.15, primary");
    }

    #[test]
    fn a_server_may_be_too_old() {
        check(version, "redis_version:6.2.6", Level::Bad, "6.2.6");
        check(version, "redis_version:7.0.0", Level::Ok, "7.0.0");
        check(version, "redis_version:8.2.1", Level::Ok, "8.2.1");
    }
}
