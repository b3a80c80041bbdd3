//! `cartgate doctor`: is a store what it should be, and if not, what is to be changed?
//!
//! [`examine`] asks every server of a Redis that is, or is to be, the store: `read.rs` reads what each says of itself, `trial.rs`
//! tries what cartgate does there, on a key of its own that it takes away again. What that means is
//! judged by the pure functions in `checks/`, over `NodeFacts` and `StoreFacts`. Each of them gives a
//! [`Finding`]: what was looked at, what was found, and what is to be changed.
//!
//! It changes nothing, and it believes nothing: a user who may not write is found out by writing.
//!
//! [`examine_data`] examines an embedded store that no process has open (`embedded.rs`).

mod checks;
mod cluster_nodes;
mod embedded;
mod facts;
mod read;
mod report;
mod trial;

use std::collections::BTreeSet;

use redis::ConnectionInfo;
use thiserror::Error;

use crate::store::redis::Address;

use cluster_nodes::{ClusterNode, ClusterNodes};
use facts::StoreFacts;
use read::Node;

pub use embedded::{NotExamined, examine_data};
pub use report::{Examined, Finding, Level, Report};

/// No server could be asked anything.
#[derive(Debug, Error)]
#[error("no server of the store can be asked: {}", .0.join("; "))]
pub struct Unreachable(Vec<String>);

/// Examines every server of a store whose keys begin with `prefix`.
///
/// # Errors
/// None of them can be reached, or lets the user in.
pub fn examine(address: &Address, prefix: &str) -> Result<Report, Unreachable> {
    let (mut nodes, strangers) = reach(&address.seeds)?;
    let cluster = nodes.iter_mut().find_map(Node::cluster);
    let mut absent: Vec<Examined> = strangers;
    for info in others(&mut nodes, cluster.as_ref()) {
        match Node::reach(&info) {
            Ok(node) => nodes.push(node),
            Err(reason) => absent.push(checks::absent(&info.addr().to_string(), &reason)),
        }
    }
    let mut examined = Vec::with_capacity(nodes.len());
    let mut store = StoreFacts { cluster, ..StoreFacts::default() };
    for node in &mut nodes {
        let facts = node.facts(prefix);
        store.primaries += usize::from(facts.is_primary());
        if facts.is_primary() {
            node.store(prefix, &mut store);
        }
        examined.push(checks::node(&facts));
    }
    examined.extend(absent);
    Ok(Report { store: format!("{address:?}"), servers: examined, together: checks::store(&store) })
}

/// The servers that were named, and what is wrong with those that cannot be asked.
fn reach(seeds: &[ConnectionInfo]) -> Result<(Vec<Node>, Vec<Examined>), Unreachable> {
    let (mut nodes, mut reasons) = (Vec::new(), Vec::new());
    for seed in seeds {
        match Node::reach(seed) {
            Ok(node) => nodes.push(node),
            Err(reason) => reasons.push((seed.addr().to_string(), reason)),
        }
    }
    if nodes.is_empty() {
        let text = |(at, reason)| format!("{at}: {reason}");
        return Err(Unreachable(reasons.into_iter().map(text).collect()));
    }
    let absent = reasons.iter().map(|(at, reason)| checks::absent(at, reason)).collect();
    Ok((nodes, absent))
}

/// The servers that the ones we know tell of: all nodes of a cluster, or a primary's replicas.
fn others(nodes: &mut [Node], cluster: Option<&ClusterNodes>) -> Vec<ConnectionInfo> {
    let mut known: BTreeSet<String> = nodes.iter().map(|node| node.at().to_owned()).collect();
    // Under whatever name it was reached, a node knows itself by its id.
    let ids: BTreeSet<String> = nodes.iter_mut().filter_map(Node::cluster_id).collect();
    let Some(first) = nodes.first() else { return Vec::new() };
    let told: Vec<(String, u16)> = match cluster {
        Some(cluster) => {
            let is_new = |node: &&ClusterNode| node.is_there() && !ids.contains(&node.id);
            cluster.0.iter().filter(is_new).map(|node| (node.host.clone(), node.port)).collect()
        }
        None => {
            nodes.iter().flat_map(|node| node.info.replicas()).map(|r| (r.host, r.port)).collect()
        }
    };
    let infos = told.into_iter().map(|(host, port)| Address::node(first.seed(), &host, port));
    infos.filter(|info| known.insert(info.addr().to_string())).collect()
}
