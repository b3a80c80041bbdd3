//! Steps of the wall clock, in the middle of a flood.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use cartgate_tests::client::exchange;
use cartgate_tests::envoy::{EnvoyOptions, WallClock};
use cartgate_tests::flood::{check_never_above, check_used, flood};
use cartgate_tests::process::eventually;
use cartgate_tests::{Edge, EnvoyConfig, filter};
use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};

const LASTS: Duration = Duration::from_secs(4);

/// Sets the wall clock so many hours ahead, and waits until Envoy's answers are dated by it.
async fn set_hours_ahead(edge: &Edge, clock: &WallClock, hours: i64) {
    clock.set(hours * 3600).unwrap();
    eventually("an answer with the new date", || async {
        let answer = exchange(edge.envoy.address(), "GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await;
        let date = rfc2822::parse(answer.header("date")?).ok()?.timestamp();
        let off = date.duration_since(Timestamp::now()) - SignedDuration::from_hours(hours);
        (off.abs() < SignedDuration::from_mins(5)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_of_the_wall_clock_change_nothing() {
    let limit = (200, 100);
    let dir = tempfile::tempdir().unwrap();
    let clock = WallClock::new(dir.path()).await.unwrap();
    let config = EnvoyConfig::shipped().unwrap().route_everything();
    let config = config.filter_configuration(&filter::configuration((1, 1), &[("HOT", limit)]));
    let options = EnvoyOptions::workers(2).wall_clock(&clock);
    let edge = Edge::start_with(config, &options).await.unwrap();
    let began = Instant::now();
    let steps = async {
        // The burst has been used up by then.
        tokio::time::sleep(LASTS / 4).await;
        set_hours_ahead(&edge, &clock, 1).await;
        tokio::time::sleep_until((began + LASTS / 2).into()).await;
        set_hours_ahead(&edge, &clock, -1).await;
        began.elapsed()
    };
    let asked = flood(edge.envoy.address(), |_| "HOT".to_owned(), 16, LASTS);
    let (mut admitted, stepped) = tokio::join!(asked, steps);
    assert!(stepped < LASTS * 3 / 4, "too late to show anything: {stepped:?}");
    check_never_above(limit, &mut admitted);
    check_used(0.95, limit, LASTS, &admitted);
}
