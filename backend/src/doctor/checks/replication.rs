//! Is there another server that could take this one's place, and would it know everything?

use super::super::facts::NodeFacts;
use super::super::report::Finding;

pub(super) fn all(facts: &NodeFacts) -> Vec<Finding> {
    if facts.is_primary() { vec![replicas(facts)] } else { vec![primary(facts)] }
}

fn replicas(facts: &NodeFacts) -> Finding {
    let replicas = facts.info.replicas();
    let online = replicas.iter().filter(|replica| replica.state == "online").count() as u64;
    let asked = facts.settings.number("min-replicas-to-write");
    let found = format!("{online} online");
    let Some(asked) = asked else {
        return Finding::warn("replicas", format!("{found}; min-replicas-to-write is unknown"))
            .change(format!("ACL SETUSER {} +config|get", facts.user));
    };
    let found = format!("{found}, min-replicas-to-write {asked}");
    if online < asked {
        return Finding::bad("replicas", format!("{found}: writes are refused"))
            .change("start its replicas")
            .change("or, if it is to go on without: CONFIG SET min-replicas-to-write 0");
    }
    if replicas.is_empty() {
        return Finding::warn("replicas", "none: if this server's disk dies, everything is lost")
            .change("start another server with: replicaof <this server's host> <its port>");
    }
    if asked == 0 {
        let found = format!("{found}: a primary that is cut off takes writes that will be lost");
        return Finding::warn("replicas", found).set("min-replicas-to-write", "1");
    }
    Finding::ok("replicas", found)
}

fn primary(facts: &NodeFacts) -> Finding {
    if facts.info.is("master_link_status", "up") {
        return Finding::ok("replication", "in step with its primary");
    }
    let down_s = facts.info.number("master_link_down_since_seconds");
    let found = down_s.map_or("it has never had its primary's data".to_owned(), |down_s| {
        format!("without its primary for {down_s} s")
    });
    Finding::bad("replication", format!("{found}: promoted, it would lack what came since"))
        .change("see that it reaches its primary, and what its log says: masterauth, TLS, network")
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Level;
    use super::super::testing::{check, check_facts, good};
    use super::*;

    #[test]
    fn a_primary_wants_a_replica_that_must_have_everything() {
        check(replicas, "", Level::Ok, "1 online");
        check(replicas, "min-replicas-to-write:0", Level::Warn, "min-replicas-to-write 1");
        check(replicas, "min-replicas-to-write:2", Level::Bad, "refused");
        let syncing = "slave0:ip=10.0.0.7,port=6379,state=wait_bgsave,offset=0,lag=0";
        check(replicas, syncing, Level::Bad, "0 online");
        let alone = "slave0:\nmin-replicas-to-write:0";
        check(replicas, alone, Level::Warn, "none");
        let mut facts = good();
        facts.settings.0 = None;
        check_facts(replicas, &facts, Level::Warn, "unknown");
    }

    #[test]
    fn a_replica_wants_its_primary() {
        check(primary, "role:slave\nmaster_link_status:up", Level::Ok, "in step");
        let down = "role:slave\nmaster_link_status:down\nmaster_link_down_since_seconds:9";
        check(primary, down, Level::Bad, "for 9 s");
        check(primary, "role:slave\nmaster_link_status:down", Level::Bad, "never");
    }
}
