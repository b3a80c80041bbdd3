//! Is anything forgotten, and is there room?

use super::super::facts::NodeFacts;
use super::super::report::Finding;

/// From here on it is time for more.
const FULL_SOON: u64 = 75;

/// From here on a burst may not fit.
const FULL: u64 = 90;

/// How much of a machine's memory data may take, in per cent: a rewrite of the log copies pages that
/// change meanwhile, and replicas and clients have buffers.
const SHARE_OF_MACHINE: u64 = 60;

pub(super) fn all(facts: &NodeFacts) -> Vec<Finding> {
    vec![eviction(facts), room(facts)]
}

fn eviction(facts: &NodeFacts) -> Finding {
    let policy = facts.info.text("maxmemory_policy").unwrap_or("unknown");
    let evicted = facts.info.number("evicted_keys").unwrap_or(0);
    if policy != "noeviction" {
        let found = format!("maxmemory-policy {policy}: when memory is full, stock is deleted");
        return Finding::bad("eviction", found).set("maxmemory-policy", "noeviction");
    }
    if evicted > 0 {
        let found = format!("noeviction, but {evicted} keys were evicted before that was set");
        return Finding::bad("eviction", found)
            .change("compare each SKU with its journal: GET /v1/skus/{sku}/journal")
            .change("then forget the count: CONFIG RESETSTAT");
    }
    Finding::ok("eviction", "noeviction")
}

fn room(facts: &NodeFacts) -> Finding {
    let number = |name| facts.info.number(name).unwrap_or(0);
    let (max, machine) = (number("maxmemory"), number("total_system_memory"));
    let used = number("used_memory").saturating_sub(number("mem_not_counted_for_evict"));
    if max == 0 {
        let found = format!("{} used, and no limit but the machine's", mib(used));
        let limit = format!("{}mb", (machine / 100 * SHARE_OF_MACHINE) >> 20);
        return Finding::warn("memory", found).set("maxmemory", &limit);
    }
    let percent = used.saturating_mul(100) / max;
    let found = format!("{} of {} used, {percent} %", mib(used), mib(max));
    let more = format!("{}mb", max.saturating_mul(2) >> 20);
    match percent {
        FULL.. => Finding::bad("memory", format!("{found}: reservations will be refused"))
            .set("maxmemory", &more),
        FULL_SOON.. => Finding::warn("memory", found).set("maxmemory", &more),
        _ => Finding::ok("memory", found),
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::super::super::report::Level;
    use super::super::testing::check;
    use super::*;

    #[test]
    fn whatever_evicts_is_bad() {
        check(eviction, "", Level::Ok, "noeviction");
        for policy in ["allkeys-lru", "volatile-ttl"] {
            let lines = format!("maxmemory_policy:{policy}");
            check(eviction, &lines, Level::Bad, "CONFIG SET maxmemory-policy noeviction");
        }
        check(eviction, "evicted_keys:3", Level::Bad, "3 keys");
    }

    #[test]
    fn room_is_judged_by_what_is_left() {
        check(room, "", Level::Ok, "95 MiB of 953 MiB used, 10 %");
        check(room, "used_memory:800000000", Level::Warn, "maxmemory 1907mb");
        check(room, "used_memory:950000000", Level::Bad, "refused");
        let buffers = "used_memory:950000000\nmem_not_counted_for_evict:500000000";
        check(room, buffers, Level::Ok, "45 %");
        check(room, "maxmemory:0", Level::Warn, "maxmemory 4915mb");
    }
}
