//! May cartgate do what it does, and may nobody else?

use super::super::facts::{Door, NodeFacts, Refusal, Trial};
use super::super::report::Finding;

pub(super) fn all(facts: &NodeFacts) -> Vec<Finding> {
    let mut findings = vec![door(facts)];
    if facts.is_primary() {
        findings.push(access(facts));
    }
    findings
}

fn door(facts: &NodeFacts) -> Finding {
    let Door { has_password, is_tls, is_local } = facts.door;
    if is_local {
        return Finding::ok("door", "this machine's own");
    }
    if !has_password {
        return Finding::warn("door", "no password: whoever reaches the port can change stock")
            .change(
                "redis.conf: user default off, and a user for cartgate (redis/redis.conf has one)",
            )
            .change("then --store redis://user:password@...");
    }
    if !is_tls {
        return Finding::warn("door", "a password, but whoever is on the way can read it")
            .change("redis.conf: tls-port, tls-cert-file, tls-key-file (redis/redis.conf has them)")
            .change("then --store rediss://...");
    }
    Finding::ok("door", "password and TLS")
}

fn access(facts: &NodeFacts) -> Finding {
    let refused: Vec<(&Trial, &Refusal)> =
        facts.trials.iter().filter_map(|trial| Some((trial, trial.refusal.as_ref()?))).collect();
    let Some((_, first)) = refused.first() else {
        let found = format!("`{}` may do all {} things", facts.user, facts.trials.len());
        return Finding::ok("access", found);
    };
    let names: Vec<&str> = refused.iter().map(|(trial, _)| trial.command.as_str()).collect();
    let found = format!("refused: {} ({} {})", names.join(", "), first.code, first.detail);
    Finding::bad("access", found.trim_end()).change(remedy(facts, &refused))
}

/// What would help against all refusals, if it is rights that are missing; else, against the first.
fn remedy(facts: &NodeFacts, refused: &[(&Trial, &Refusal)]) -> String {
    let mut rules: Vec<String> = Vec::new();
    for (Trial { command, .. }, Refusal { code, detail }) in refused {
        let prefix = &facts.prefix;
        match code.as_str() {
            "NOPERM" if detail.contains("key") => rules.push(format!("~{prefix}:* ~{{{prefix}:*")),
            "NOPERM" if detail.contains("channel") => rules.push(format!("&{prefix}:*")),
            "NOPERM" => rules.push(format!("+{}", command.to_lowercase())),
            code => return other_remedy(code).to_owned(),
        }
    }
    if refused.iter().any(|(trial, _)| trial.command == "EVALSHA") {
        rules.push("+script|load".to_owned());
    }
    rules.sort();
    rules.dedup();
    format!("ACL SETUSER {} {}", facts.user, rules.join(" "))
}

fn other_remedy(code: &str) -> &'static str {
    match code {
        "OOM" => "give it more memory: CONFIG SET maxmemory",
        "NOREPLICAS" => "start its replicas, or: CONFIG SET min-replicas-to-write 0",
        "MISCONF" => "mend its disk; its log says what failed",
        "READONLY" => "name the primary in --store",
        "CLUSTERDOWN" => "see which nodes are down: CLUSTER NODES",
        "LOADING" => "wait until it has read its files",
        "ERR" => "is it a Redis, or something like one that lacks commands?",
        _ => "see the server's log",
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Level;
    use super::super::testing::{check_facts, good};
    use super::*;

    fn with(refusals: &[(&str, &str, &str)]) -> NodeFacts {
        let trials = refusals.iter().map(|&(command, code, detail)| {
            let refusal = Refusal { code: code.to_owned(), detail: detail.to_owned() };
            Trial { command: command.to_owned(), refusal: Some(refusal) }
        });
        NodeFacts { trials: trials.collect(), ..good() }
    }

    #[test]
    fn what_is_refused_is_named_with_the_rule_that_lets_it() {
        check_facts(access, &good(), Level::Ok, "`cartgate` may do all 1 things");
        let denied = "this user has no permissions to run the 'xadd' command";
        let facts = with(&[("XADD", "NOPERM", denied), ("EVALSHA", "NOPERM", "no permissions")]);
        check_facts(access, &facts, Level::Bad, "ACL SETUSER cartgate +evalsha +script|load +xadd");
        let keys = "this user has no permissions to access one of the keys used as arguments";
        let facts = with(&[("HSET", "NOPERM", keys), ("HGET", "NOPERM", keys)]);
        check_facts(access, &facts, Level::Bad, "ACL SETUSER cartgate ~cg:* ~{cg:*");
        let facts = with(&[("PUBLISH", "NOPERM", "No permissions to access a channel")]);
        check_facts(access, &facts, Level::Bad, "ACL SETUSER cartgate &cg:*");
        let facts = with(&[("HSET", "OOM", "command not allowed")]);
        check_facts(access, &facts, Level::Bad, "maxmemory");
    }

    #[test]
    fn an_open_door_is_told() {
        let door_of = |has_password, is_tls, is_local| NodeFacts {
            door: Door { has_password, is_tls, is_local },
            ..good()
        };
        check_facts(door, &door_of(true, true, false), Level::Ok, "TLS");
        check_facts(door, &door_of(false, false, true), Level::Ok, "own");
        check_facts(door, &door_of(false, true, false), Level::Warn, "user default off");
        check_facts(door, &door_of(true, false, false), Level::Warn, "rediss://");
    }
}
