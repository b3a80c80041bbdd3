//! Does the cluster work, and would it go on without a node?

use super::super::cluster_nodes::ClusterNodes;
use super::super::facts::{NodeFacts, StoreFacts};
use super::super::report::Finding;
use crate::store::redis::keys::SLOTS;

/// What a node says of its cluster.
pub(super) fn of_node(facts: &NodeFacts) -> Vec<Finding> {
    if facts.is_cluster() { vec![state(facts), coverage(facts)] } else { Vec::new() }
}

/// What the servers are together.
pub(super) fn of_store(facts: &StoreFacts) -> Vec<Finding> {
    match &facts.cluster {
        Some(nodes) => vec![slots(nodes), spare(nodes), moves(nodes)],
        None => vec![alone(facts)],
    }
}

fn state(facts: &NodeFacts) -> Finding {
    match facts.info.text("cluster_state") {
        Some("ok") => Finding::ok("cluster", "cluster_state ok"),
        state => Finding::bad("cluster", format!("cluster_state {}", state.unwrap_or("unknown")))
            .change("see which nodes are down: CLUSTER NODES; start them, or promote their replicas: CLUSTER FAILOVER TAKEOVER"),
    }
}

fn coverage(facts: &NodeFacts) -> Finding {
    match facts.settings.text("cluster-require-full-coverage") {
        Some("yes") => {
            let found = "one slot without a server stops the buckets of all others";
            Finding::warn("coverage", found).set("cluster-require-full-coverage", "no")
        }
        Some(_) => Finding::ok("coverage", "buckets go on when others' slots are not served"),
        None => Finding::warn("coverage", "cluster-require-full-coverage is unknown")
            .change(format!("ACL SETUSER {} +config|get", facts.user)),
    }
}

fn slots(nodes: &ClusterNodes) -> Finding {
    let served = nodes.slots_served();
    let primaries = nodes.primaries().count();
    if served == usize::from(SLOTS) {
        return Finding::ok("slots", format!("all {SLOTS}, by {primaries} primaries"));
    }
    Finding::bad("slots", format!("{served} of {SLOTS} are served"))
        .change("redis-cli --cluster fix <any node>, once you know why")
}

fn spare(nodes: &ClusterNodes) -> Finding {
    let bare: Vec<String> = nodes
        .primaries()
        .filter(|node| !node.has_failed() && nodes.replicas_of(&node.id) == 0)
        .map(|node| format!("{}:{}", node.host, node.port))
        .collect();
    if bare.is_empty() {
        return Finding::ok("replicas", "every primary has one");
    }
    let found = format!("without any: {}", bare.join(", "));
    Finding::warn("replicas", found)
        .change("redis-cli --cluster add-node <new node> <any node> --cluster-slave")
}

fn moves(nodes: &ClusterNodes) -> Finding {
    let mut moving: Vec<u16> = nodes.0.iter().flat_map(|node| node.moving.clone()).collect();
    moving.sort_unstable();
    moving.dedup();
    if moving.is_empty() {
        return Finding::ok("moves", "no slot is on its way to another node");
    }
    let found = format!("slots on their way to another node: {moving:?}");
    Finding::warn("moves", found)
        .change("if nobody moves them now: redis-cli --cluster fix <any node>")
}

fn alone(facts: &StoreFacts) -> Finding {
    match facts.primaries {
        1 => Finding::ok("primary", "one server takes writes"),
        0 => Finding::bad("primary", "no server that was named takes writes")
            .change("name the primary in --store, or promote one: REPLICAOF NO ONE"),
        many => Finding::bad(
            "primary",
            format!("{many} servers take writes, and know nothing of each other"),
        )
        .change("name one of them, or make the others its replicas: REPLICAOF <host> <port>"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Level;
    use super::super::testing::check;
    use super::*;

    const GOOD: &str = "\
aa 10.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-8191
bb 10.0.0.2:7000@17000 master - 0 0 2 connected 8192-16383
cc 10.0.0.3:7000@17000 slave aa 0 0 1 connected
dd 10.0.0.4:7000@17000 slave bb 0 0 2 connected
";

    fn judged(judge: fn(&ClusterNodes) -> Finding, text: &str, level: Level, part: &str) {
        let finding = judge(&ClusterNodes::parse(text));
        assert_eq!(finding.level, level, "{finding:?}");
        assert!(finding.found.contains(part), "{finding:?}");
    }

    #[test]
    fn every_slot_has_a_server_and_a_spare() {
        judged(slots, GOOD, Level::Ok, "all 16384, by 2 primaries");
        judged(slots, &GOOD.replace("8192-16383", "8192-16382"), Level::Bad, "16383 of 16384");
        judged(
            slots,
            &GOOD.replace("master - 0 0 2", "master,fail - 0 0 2"),
            Level::Bad,
            "8192 of",
        );
        judged(spare, GOOD, Level::Ok, "every primary");
        judged(spare, &GOOD.replace("slave bb", "slave aa"), Level::Warn, "10.0.0.2:7000");
        judged(spare, &GOOD.replace("slave bb", "slave,fail bb"), Level::Warn, "10.0.0.2:7000");
        judged(moves, GOOD, Level::Ok, "no slot");
        judged(moves, &GOOD.replace("0-8191", "0-8191 [7->-bb]"), Level::Warn, "[7]");
    }

    #[test]
    fn a_node_says_how_the_cluster_is() {
        check(state, "cluster_state:ok", Level::Ok, "ok");
        check(state, "cluster_state:fail", Level::Bad, "CLUSTER NODES");
        check(state, "", Level::Bad, "unknown");
        check(coverage, "", Level::Ok, "go on");
        check(coverage, "cluster-require-full-coverage:yes", Level::Warn, "full-coverage no");
    }

    #[test]
    fn one_server_takes_writes() {
        for (primaries, level) in [(0, Level::Bad), (1, Level::Ok), (2, Level::Bad)] {
            assert_eq!(alone(&StoreFacts { primaries, ..StoreFacts::default() }).level, level);
        }
    }
}
