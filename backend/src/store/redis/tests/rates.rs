//! What is asked of hot items, counted by many processes.

use std::time::Instant;

use super::*;
use crate::window::{Counts, Rates};

fn counts(demand: u64, admitted: u64) -> Counts {
    Counts { demand, admitted }
}

/// The rates of a SKU, once they are these: what is counted in this second is not shown yet.
async fn until_rates(rig: &Rig, name: &str, demand_per_s: f64, admitted_per_s: f64) {
    let expected = Rates { demand_per_s, admitted_per_s };
    let deadline = Instant::now() + Duration::from_secs(8);
    loop {
        let found = rig.api.rates(0, &sku(name)).await.unwrap();
        if found == expected {
            return;
        }
        assert!(Instant::now() < deadline, "{found:?}, not {expected:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn what_processes_count_is_summed_and_goes_by_itself() {
    let mut rig = Rig::new();
    let other = rig.server.store().api();
    assert_eq!(rig.api.rates(0, &sku("A")).await.unwrap(), Rates::default());
    rig.api.count(0, &[(sku("A"), counts(3, 2))]).await.unwrap();
    other.count(0, &[(sku("A"), counts(1, 1)), (sku("B"), counts(5, 0))]).await.unwrap();
    until_rates(&rig, "A", 0.4, 0.3).await;
    until_rates(&rig, "B", 0.5, 0.0).await;
    assert_eq!(rig.api.rates(0, &sku("C")).await.unwrap(), Rates::default());
    let left_s: i64 = rig.ask(&["TTL", "{cg:0}:rates:A"]);
    assert!((40..=60).contains(&left_s), "{left_s} s");
}

/// Each second has a place, and takes it from the one a minute before.
#[tokio::test]
async fn counts_take_the_places_of_what_is_old() {
    let mut rig = Rig::new();
    for place in 0..60 {
        rig.run(&["HSET", "{cg:0}:rates:A", &place.to_string(), &format!("{place} 9 9")]);
    }
    for _ in 0..3 {
        rig.api.count(0, &[(sku("A"), counts(1, 0))]).await.unwrap();
    }
    until_rates(&rig, "A", 0.3, 0.0).await;
    assert_eq!(rig.ask::<u64>(&["HLEN", "{cg:0}:rates:A"]), 60);
}
