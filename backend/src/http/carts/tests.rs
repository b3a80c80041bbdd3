//! What a process that died in the middle of a cart has left behind, and calls that meet.

use std::sync::Arc;

use cartgate_ledger::{Claim, CommandId};
use cartgate_policy::SkuForm;
use cartgate_policy::document::Document;
use cartgate_policy::problem::ProblemType;
use serde_json::json;

use super::*;
use crate::clock;
use crate::config::Config;
use crate::customers::Customers;
use crate::engine::Engine;
use crate::http::App;
use crate::lanes::Lanes;
use crate::metrics::Metrics;
use crate::store::Store as _;
use crate::store::memory::Memory;

fn sku(text: &str) -> Sku {
    Sku::parse(text).unwrap()
}

/// A service with so much in stock of A and B.
async fn call(a: u64, b: u64) -> Call {
    call_on(Arc::new(Memory::new(4)), a, b).await
}

async fn call_on(store: Arc<Memory>, a: u64, b: u64) -> Call {
    let config = Config { wait_ms: 60_000, ..Config::default() };
    let metrics = Arc::new(Metrics::default());
    let settings = config.lane_settings();
    let lanes = Lanes::start(store.clone(), settings, clock::wall(), Arc::clone(&metrics)).unwrap();
    let customers = Customers::new(&config.customers).unwrap();
    let app = App::new(&config, Engine::local(lanes, store), customers, metrics, clock::wall());
    let call = Call::of(Arc::new(app));
    for (name, units) in [("A", a), ("B", b)] {
        let set = Command::Set { units, expected_version: None };
        assert!(call.outcome(&sku(name), set).await.is_ok());
    }
    call
}

/// One unit of A and one of B.
fn cart<'a>(call: &'a Call, key: &str) -> Cart<'a> {
    let body = json!({"lines": [{"sku": "A"}, {"sku": "B"}]});
    let request =
        CartRequest::read(Document::Json(body), &SkuForm::default()).map_err(|refused| refused.0);
    Cart { call, lines: request.unwrap().lines(&call.app, key) }
}

fn problem(refused: Result<(), Refused>) -> ProblemType {
    refused.err().unwrap().0.problem_type
}

async fn available(call: &Call, name: &str) -> u64 {
    call.app.engine.stock(&sku(name)).await.unwrap().unwrap().counters.available
}

/// Takes and claims a line of a cart, as a process does before it dies.
async fn leave_behind(call: &Call, key: &str, index: usize) -> CommandId {
    let line = cart(call, key).lines.remove(index);
    let id = line.reserve.id;
    assert!(call.outcome(&line.sku, Command::Reserve(line.reserve)).await.is_ok());
    let claimed = call.claim(&line.sku, id).await.ok().flatten().unwrap();
    assert_eq!(claimed.claim, Claim::Claimed);
    id
}

#[tokio::test]
async fn a_repeat_completes_what_was_left_behind() {
    let call = call(1, 1).await;
    let id = leave_behind(&call, "k", 0).await;
    // One that has no time to take the other line leaves this one where it is.
    let mut late = cart(&call, "k");
    assert!(late.look_up().await.is_ok());
    late.give_back(Failure::Passing(Refused::unavailable())).await;
    assert_eq!(available(&call, "A").await, 0);
    let mut repeat = cart(&call, "k");
    assert!(repeat.hold_or_give_back().await.is_ok());
    assert_eq!(repeat.lines[0].reserve.id, id);
    assert_eq!((available(&call, "A").await, available(&call, "B").await), (0, 0));
}

#[tokio::test]
async fn a_repeat_gives_back_what_was_left_behind() {
    let call = call(1, 0).await;
    let id = leave_behind(&call, "k", 0).await;
    assert_eq!(available(&call, "A").await, 0);
    assert_eq!(problem(cart(&call, "k").hold_or_give_back().await), ProblemType::SoldOut);
    assert_eq!(available(&call, "A").await, 1);
    let (_, line) = call.app.engine.reservation(id).await.unwrap().unwrap();
    assert!(line.is_forgone(), "{line:?}");
}

/// One line has ended since, the other went back: there is no such cart any more.
#[tokio::test]
async fn a_repeat_does_not_sell_half_of_a_cart_as_a_whole() {
    let call = call(1, 1).await;
    let id = leave_behind(&call, "k", 0).await;
    assert!(call.outcome(&sku("A"), Command::Release { id }).await.is_ok());
    assert_eq!(problem(cart(&call, "k").hold_or_give_back().await), ProblemType::HoldReleased);
    assert_eq!((available(&call, "A").await, available(&call, "B").await), (1, 1));
}

/// Two calls with one key have taken the same lines. What becomes of the slower one changes nothing
/// for the other, which was answered 201.
#[tokio::test]
async fn a_call_takes_nothing_back_that_another_was_told_of() {
    let call = call(1, 1).await;
    let (mut quick, mut slow) = (cart(&call, "k"), cart(&call, "k"));
    for cart in [&mut quick, &mut slow] {
        assert!(cart.look_up().await.is_ok() && cart.take().await.is_ok());
    }
    assert!(quick.claim().await.is_ok());
    slow.give_back(Failure::Passing(Refused::unavailable())).await;
    slow.give_back(Failure::Line(Refused::unavailable())).await;
    assert!(slow.claim().await.is_ok());
    slow.give_back(Failure::Line(Refused::unavailable())).await;
    assert!(cart(&call, "k").hold_or_give_back().await.is_ok());
    assert_eq!((available(&call, "A").await, available(&call, "B").await), (0, 0));
}

/// Another call has claimed `B` and is about to claim `A`. The slower one finds `A`'s lane full: that
/// is no reason to take `B` from the other, which is about to be answered 201.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_finds_no_room_takes_nothing_back() {
    let store = Arc::new(Memory::new(4));
    let call = call_on(Arc::clone(&store), 1, 1).await;
    let b = leave_behind(&call, "k", 1).await;
    let (mut quick, mut slow) = (cart(&call, "k"), cart(&call, "k"));
    assert!(quick.look_up().await.is_ok() && quick.take().await.is_ok());
    assert!(slow.look_up().await.is_ok());
    // From here on the owner stands still, in the middle of this commit.
    store.hold_up();
    let commits = store.commits();
    let set = call.submit(&sku("A"), Command::Set { units: 2, expected_version: None }).unwrap();
    let set = tokio::spawn(set.outcome());
    while store.commits() == commits {
        tokio::task::yield_now().await;
    }
    let a = quick.lines[0].reserve.id;
    let last_claim = call.submit(&sku("A"), Command::Claim { id: a }).unwrap();
    while call.submit(&sku("A"), Command::Expire).is_ok() {}
    let failure = slow.claim().await.err().unwrap();
    let (refused, claimed) = tokio::join!(slow.give_back(failure), async {
        store.let_go();
        last_claim.outcome().await
    });
    assert_eq!(refused.0.problem_type, ProblemType::LaneFull);
    assert!(matches!(claimed, Ok(Outcome::Settled(hold)) if hold.is_held()));
    assert!(set.await.unwrap().is_ok());
    for id in [a, b] {
        let (_, line) = store.reservation(id).unwrap().unwrap();
        assert!(line.is_held() && line.claim == Claim::Claimed, "{line:?}");
    }
}

/// A lane is so slow that a line goes back before the last one is there.
#[tokio::test]
async fn what_went_back_before_it_was_claimed_makes_no_cart() {
    let call = call(1, 1).await;
    let mut slow = cart(&call, "k");
    assert!(slow.look_up().await.is_ok() && slow.take().await.is_ok());
    let hold = slow.lines[0].reservation.clone().unwrap();
    let cancel = Command::Cancel { id: hold.id, attempt: hold.attempt, even_claimed: false };
    assert!(call.outcome(&sku("A"), cancel).await.is_ok());
    let failure = slow.claim().await.err().unwrap();
    let refused = slow.give_back(failure).await;
    assert_eq!(refused.0.problem_type, ProblemType::Unavailable);
    assert_eq!((available(&call, "A").await, available(&call, "B").await), (1, 1));
    let (_, line) = call.app.engine.reservation(hold.id).await.unwrap().unwrap();
    assert!(line.is_forgone(), "{line:?}");
}
