use proptest::prelude::*;

use super::*;

const S: u64 = NANO;
const SAFE: Allowance = Allowance { per_second: 2, burst: 3 };

fn limit(per_second: u64, burst: u64) -> Limit {
    Limit::new(per_second, burst).unwrap()
}

fn units(units: u64) -> Quantity {
    Quantity::new(units).unwrap()
}

/// A meter that has been heard of all the time.
fn charge(meter: &mut Meter, cost: u64, ahead: u32, now_ns: u64) -> (Decision, u32) {
    let (decision, after, ahead) = meter.charge(units(cost), ahead, (SAFE, u64::MAX), now_ns);
    *meter = after;
    (decision, ahead)
}

fn denied(retry_after_ns: u64) -> (Decision, u32) {
    (Decision::Denied { retry_after_ns }, 0)
}

const ADMITTED: (Decision, u32) = (Decision::Admitted, 0);

#[test]
fn a_share_begins_with_nothing_and_fills() {
    let mut meter = Meter::empty(7, S);
    assert_eq!(charge(&mut meter, 1, 0, S), denied(S), "no share");
    meter = meter.granted(Allowance { per_second: 4, burst: 8 }, SAFE, u64::MAX, S);
    assert_eq!(charge(&mut meter, 1, 0, S), denied(S / 4));
    assert_eq!(charge(&mut meter, 1, 0, S + S / 4 - 1), denied(1));
    assert_eq!(charge(&mut meter, 1, 0, S + S / 4), ADMITTED);
    // Never more than its burst; and another share may have room for more than that.
    assert_eq!(charge(&mut meter, 9, 0, 100 * S), denied(S));
    assert_eq!(charge(&mut meter, 7, 9, 100 * S), (Decision::Admitted, 1));
}

#[test]
fn what_is_left_stays_left_as_far_as_there_is_room() {
    let mut meter = Meter::empty(7, 0);
    let share = |per_second| Allowance { per_second, burst: per_second };
    meter = meter.granted(share(10), SAFE, u64::MAX, 0);
    meter = meter.granted(share(100), SAFE, u64::MAX, 2 * S);
    assert_eq!(meter.left_nano, 10 * S - 10 * share(10).limit().unwrap().lease_ns());
    meter = meter.granted(share(3), SAFE, u64::MAX, 2 * S);
    assert_eq!(meter.left_nano, 3 * S);
    assert_eq!(meter.granted(share(0), SAFE, u64::MAX, 2 * S).left_nano, 0);
}

#[test]
fn who_hears_nothing_has_its_safe_share_from_then_on() {
    let meter = Meter::empty(7, 0).granted(Allowance { per_second: 100, burst: 100 }, SAFE, S, 0);
    let charge = |cost, now_ns| meter.charge(units(cost), 0, (SAFE, S), now_ns).0;
    assert_eq!(charge(90, S - 1), Decision::Admitted);
    assert_eq!(charge(4, S), Decision::Denied { retry_after_ns: ANOTHER_SHARE_NS });
    assert_eq!(charge(3, S), Decision::Admitted);
    let spent = meter.charge(units(3), 0, (SAFE, S), S).1;
    assert_eq!(
        spent.charge(units(1), 0, (SAFE, S), S).0,
        Decision::Denied { retry_after_ns: S / 2 }
    );
    assert_eq!(meter.share(SAFE, S, S - 1).per_second, 100);
    assert_eq!(meter.share(SAFE, S, S), SAFE);
    // One that never had a share: what is left of the safe one stays left.
    let mut meter = Meter::empty(7, 0);
    let mut charge = |cost, now_ns| {
        let (decision, after, _) = meter.charge(units(cost), 0, (SAFE, 0), now_ns);
        meter = after;
        decision
    };
    assert_eq!(charge(1, S * 3 / 4), Decision::Admitted);
    assert_eq!(charge(1, S), Decision::Admitted);
    assert_eq!(charge(3, 9 * S), Decision::Admitted);
}

#[test]
fn parts_of_a_limit() {
    let allowance = |per_second, burst| Allowance { per_second, burst };
    assert_eq!(Allowance::of(limit(100, 250), 10), allowance(10, 25));
    assert_eq!(Allowance::of(limit(100, 250), 0), allowance(0, 0));
    assert_eq!(Allowance::safe(limit(100, 250), 4), allowance(25, 62));
    assert_eq!(Allowance::safe(limit(100, 250), 1_000), allowance(1, 1));
    assert_eq!(Allowance::safe(limit(100, 250), 0), allowance(100, 250));
}

#[test]
fn bytes() {
    let meter = Meter { fingerprint: 1 << 63, share: SAFE, left_nano: 5, at_ns: u64::MAX };
    assert_eq!(Meter::from_bytes(&meter.to_bytes()), Some(meter));
    assert_eq!(Meter::from_bytes(&meter.to_bytes()[1..]), None);
    assert!(meter.is_of(1 << 63) && !meter.is_of(1));
}

#[test]
fn a_clock_that_goes_back_gives_nothing() {
    let mut meter =
        Meter::empty(7, 0).granted(Allowance { per_second: 1, burst: 5 }, SAFE, u64::MAX, 0);
    assert_eq!(charge(&mut meter, 5, 0, 5 * S), ADMITTED);
    assert_eq!(charge(&mut meter, 1, 0, 2 * S), denied(S));
    assert_eq!(charge(&mut meter, 1, 0, 5 * S), denied(S));
}

/// What happens at one of two edges: time passes, shares move from one to the other, requests come.
#[derive(Clone, Copy, Debug)]
enum Op {
    Pass(u64),
    Move(u32),
    Ask(usize, u64, u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..300 * S / 1_000).prop_map(Op::Pass),
        1 => (0..=100_u32).prop_map(Op::Move),
        5 => (0..2_usize, 1..8_u64, 0..5_u32).prop_map(|(edge, cost, ahead)| Op::Ask(edge, cost, ahead)),
    ]
}

proptest! {
    #[test]
    fn edges_together_stay_within_the_limit_however_shares_move(
        burst in 100_u64..300,
        ops in prop::collection::vec(op(), 1..300),
    ) {
        let limit = limit(100, burst);
        let (mut edges, mut now) = ([Meter::empty(0, 0), Meter::empty(1, 0)], S);
        let mut charged: Vec<(u64, u64)> = Vec::new();
        for op in ops {
            match op {
                Op::Pass(ns) => now += ns,
                Op::Move(first) => {
                    for (meter, per_second) in edges.iter_mut().zip([first, 100 - first]) {
                        let share = Allowance::of(limit, per_second);
                        *meter = meter.granted(share, SAFE, u64::MAX, now);
                    }
                }
                Op::Ask(edge, cost, ahead) => match charge(&mut edges[edge], cost, ahead, now) {
                    (Decision::Admitted, ahead) => charged.push((now, cost + u64::from(ahead))),
                    (Decision::Denied { retry_after_ns }, _) => {
                        prop_assert!(retry_after_ns > 0);
                        let share = edges[edge].share;
                        if cost * S <= share.room() && share.per_second > 0 {
                            let then = now + retry_after_ns;
                            let mut later = edges[edge];
                            prop_assert_eq!(charge(&mut later, cost, 0, then), ADMITTED);
                            let mut sooner = edges[edge];
                            prop_assert_eq!(charge(&mut sooner, cost, 0, then - 1), denied(1));
                        }
                    }
                    (Decision::OverBurst, _) => prop_assert!(false),
                },
            }
        }
        for (start, (from, _)) in charged.iter().enumerate() {
            let mut sum = 0;
            for (at, units) in &charged[start..] {
                sum += units;
                prop_assert!(sum.saturating_sub(burst) * S <= 100 * (at - from));
            }
        }
    }
}
