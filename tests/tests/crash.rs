//! `kill -9` of the service, at random moments of a sale: nothing that clients were told is lost,
//! nothing happens twice, nobody is overtaken, nothing is oversold. The drill's verdict judges, and
//! believes only what clients were told (`cartgate_tests::drill::siege` says how it is played).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

use cartgate_tests::drill::round::Noticed;
use cartgate_tests::drill::scenario::{Overrides, Scenario};
use cartgate_tests::drill::siege::{Round, Siege};
use cartgate_tests::drill::verdict::Check;
use cartgate_tests::paths::repo_root;
use cartgate_tests::process::eventually;
use cartgate_tests::random::Random;
use cartgate_tests::{Service, ServiceOptions, Shop, shop};

/// How often the service is killed in one sale.
const KILLS_PER_ROUND: usize = 20;

const SKU: &str = "SCARCE";

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_were_told_survives_ten_kills() {
    survive(10, "siege").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: make test-crash"]
async fn what_clients_were_told_survives_a_hundred_kills() {
    survive(100, "siege-long").await;
}

/// Plays sales until the service was killed so often.
async fn survive(kills: usize, name: &str) {
    let out = repo_root().join("target/drill").join(name);
    let mut siege = Siege::start(scenario(), Random::from_env(), out).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < kills {
        let round = siege.round(KILLS_PER_ROUND.min(kills - seen.len())).await.unwrap();
        println!("{} calls, {} kills: {:?}", round.calls, round.kills.len(), round.kills);
        acquit(&round);
        seen.extend(round.kills);
    }
    // A service that nobody called would survive anything.
    let is_idle = |kill: &&Noticed| kill.answers_before == 0 || kill.answers_after == 0;
    let idle: Vec<&Noticed> = seen.iter().filter(is_idle).collect();
    assert!(idle.is_empty(), "killed without load: {idle:?}");
    let hit = seen.iter().filter(|kill| kill.unanswered > 0).count();
    assert!(hit * 2 > kills, "only {hit} of {kills} kills met calls under way");
}

fn acquit(Round { verdict, out, .. }: &Round) {
    assert!(verdict.holds(), "records are in {}\n{verdict}", out.display());
    for check in Check::ALL.into_iter().filter(|check| !check.is_of_edge()) {
        assert!(verdict.checked.count(check) > 0, "nothing to check for {}", check.name());
    }
    let records = fs::read_to_string(out.join("records.jsonl")).unwrap();
    for told in ["held", "queued", "sold-out", "settled", "lost", "hung-up"] {
        assert!(records.contains(&format!("\"{told}\"")), "nobody was told: {told}");
    }
}

fn scenario() -> Scenario {
    let path = repo_root().join("tests/scenarios/siege.toml");
    Scenario::read(&path, Overrides::default()).unwrap()
}

/// Control: a service that comes back with the data of an earlier kill is found out.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_forgets_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let siege =
        Siege::start(scenario(), Random::from_env(), dir.path().join("siege")).await.unwrap();
    let round = siege.sabotage(turn_back).round(5).await.unwrap();
    assert_eq!(round.kills.len(), 5);
    let forgotten = round.verdict.violations.iter().find(|violation| {
        violation.check == Check::Outcomes && violation.what.contains("knows nothing of it")
    });
    assert!(forgotten.is_some(), "{}", round.verdict);
}

/// Keeps the data of the second kill, and puts them back at the fifth: in one short life there might be
/// nothing to forget.
fn turn_back(kill: usize, data: &Path) {
    let kept = data.with_extension("kept");
    match kill {
        2 => copy(data, &kept),
        5 => {
            fs::remove_dir_all(data).unwrap();
            copy(&kept, data);
        }
        _ => {}
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("--recursive").args([from, to]).status();
    assert!(copied.unwrap().success());
}

/// Orders that wait in a lane when the service dies are judged after the restart, in the order in
/// which they came.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_of_tickets_survives_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let options = ServiceOptions::new(dir.path());
    let slow = options.clone().settings("wait_ms = 1\n[lanes]\nreserves_per_s = 2\n");
    let mut service = Service::start(&slow).await.unwrap();
    let shop = Shop::at(service.address());
    shop.set_stock(SKU, 20).await.unwrap();
    let mut tickets = Vec::new();
    while tickets.len() < 50 {
        let answer = shop.reserve(&shop::Order::one(SKU)).await.unwrap();
        match answer.status {
            201 => tickets.push(answer.reservation_id().to_owned()),
            202 => tickets.push(answer.ticket().to_owned()),
            _ => panic!("{answer:?}"),
        }
    }
    service.process.kill().await.unwrap();

    let service = Service::start(&options).await.unwrap();
    let shop = Shop::at(service.address());
    for (place, ticket) in tickets.iter().enumerate() {
        let path = format!("/v1/tickets/{ticket}");
        let outcome = eventually("a ticket's outcome", || async {
            let answer = shop.get(&path).await.unwrap();
            (answer.status != 202).then_some(answer)
        });
        let expected = if place < 20 { 200 } else { 409 };
        let outcome = outcome.await;
        assert_eq!(outcome.status, expected, "ticket {place}: {outcome:?}");
    }
    let stock = shop.stock(SKU).await.unwrap().body;
    assert_eq!((&stock["available"], &stock["held"]), (&0.into(), &20.into()), "{stock}");
}
