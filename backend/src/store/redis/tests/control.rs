//! Who leads the fleet of edges, and what processes tell each other.

use futures_util::StreamExt as _;

use super::*;
use crate::store::redis::control::{LEAD_MS, Lead, Line};

#[tokio::test]
async fn one_leads_until_it_gives_the_lead_back_or_it_ends() {
    let mut rig = Rig::new();
    let lead = async |rig: &Rig, incarnation, lead| rig.api.lead(incarnation, lead).await.unwrap();
    assert!(!lead(&rig, 1, Lead::Keep).await, "nobody's");
    assert!(lead(&rig, 1, Lead::Take).await);
    let left_ms: u64 = rig.ask(&["PTTL", "cg:control"]);
    assert!((1..=LEAD_MS).contains(&left_ms), "{left_ms}");
    for other in [Lead::Take, Lead::Keep, Lead::GiveBack] {
        assert!(!lead(&rig, 2, other).await, "{other:?}");
    }
    assert!(lead(&rig, 1, Lead::Keep).await);
    assert!(!lead(&rig, 1, Lead::Take).await, "an incarnation leads once");
    assert!(lead(&rig, 1, Lead::GiveBack).await);
    assert!(lead(&rig, 2, Lead::Take).await);
    // Its time is over: it may have been another's in between.
    rig.run(&["DEL", "cg:control"]);
    assert!(!lead(&rig, 2, Lead::Keep).await);
}

/// A leader is needed most when nothing else works.
#[tokio::test]
async fn the_lead_is_kept_when_memory_is_full() {
    let mut rig = Rig::new();
    rig.run(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(rig.api.lead(1, Lead::Take).await.unwrap());
    assert!(rig.api.lead(1, Lead::Keep).await.unwrap());
}

#[tokio::test]
async fn whoever_listens_is_told() {
    let rig = Rig::new();
    let other = rig.server.store().api();
    rig.api.tell(Line::Leader, b"nobody hears").await.unwrap();
    let mut leader = rig.api.listen(Line::Leader).await.unwrap();
    let mut process = rig.api.listen(Line::Process(7)).await.unwrap();
    other.tell(Line::Leader, b"one").await.unwrap();
    other.tell(Line::Process(8), b"another's").await.unwrap();
    other.tell(Line::Process(7), b"two").await.unwrap();
    assert_eq!(leader.next().await.unwrap(), b"one");
    assert_eq!(process.next().await.unwrap(), b"two");
}
