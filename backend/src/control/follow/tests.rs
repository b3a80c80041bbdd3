use proptest::prelude::*;

use super::*;

const STEP_MS: u64 = 200;

/// A lane, and edges that admit all they may some steps after they were told.
struct Model {
    follower: Follower,
    limit: Limit,
    wait_target_ms: NonZeroU32,
    told: Vec<u32>,
    late: usize,
    quantity: f64,
    drain_per_s: f64,
    waiting: f64,
    /// What is not a whole command yet.
    coming: f64,
    draining: f64,
}

/// What came of some time.
#[derive(Clone, Copy, Debug, Default)]
struct Result {
    wait_ms_max: f64,
    /// What was decided, over what the lane could have.
    busy: f64,
}

impl Model {
    fn new(limit: u32, wait_target_ms: u32, late: usize, quantity: f64, drain_per_s: f64) -> Self {
        let limit = Limit::new(limit.into(), limit.into()).unwrap();
        let follower = Follower::new(limit, None);
        let told = vec![follower.level as u32; late + 1];
        let wait_target_ms = NonZeroU32::new(wait_target_ms).unwrap();
        let (waiting, coming, draining) = Default::default();
        Self {
            follower,
            limit,
            wait_target_ms,
            told,
            late,
            quantity,
            drain_per_s,
            waiting,
            coming,
            draining,
        }
    }

    fn run(&mut self, for_ms: u64) -> Result {
        let mut result = Result::default();
        let mut decided_all = 0.0;
        for _ in 0..for_ms / STEP_MS {
            let told = f64::from(self.told[self.told.len() - 1 - self.late]);
            let mut decided = 0.0;
            for _ in 0..STEP_MS / 10 {
                self.coming += told / self.quantity / 100.0;
                self.waiting += self.coming.floor();
                self.coming -= self.coming.floor();
                // A lane that has nothing to do saves nothing up.
                self.draining = (self.draining + self.drain_per_s / 100.0)
                    .min(if self.waiting > 0.0 { f64::MAX } else { 1.0 });
                let now = self.draining.floor().min(self.waiting);
                self.draining -= now;
                self.waiting -= now;
                decided += now;
            }
            let seen = Seen {
                over_ms: STEP_MS,
                decided: decided as u64,
                waiting: self.waiting as u64,
                demand_per_s: 1_000_000,
                available: 1_000_000,
            };
            self.told.push(self.follower.step(self.limit, self.wait_target_ms, seen).per_second());
            result.wait_ms_max = result.wait_ms_max.max(self.waiting / self.drain_per_s * 1_000.0);
            decided_all += decided;
        }
        result.busy = decided_all / (self.drain_per_s * for_ms as f64 / 1_000.0);
        result
    }
}

#[track_caller]
fn check(model: &mut Model, what: &str) {
    let Result { wait_ms_max, busy } = model.run(10_000);
    let target_ms = f64::from(model.wait_target_ms.get());
    assert!(wait_ms_max <= target_ms, "{what}: waits {wait_ms_max} of {target_ms} ms");
    assert!(busy >= 0.9, "{what}: busy {busy}");
}

#[test]
fn the_wait_stays_below_its_target_and_the_lane_is_busy() {
    for drain_per_s in [20.0, 100.0, 1_000.0, 5_000.0] {
        for target_ms in [500, 1_000, 5_000] {
            for late in [0, 1, 2, 3] {
                for quantity in [1.0, 2.0] {
                    let what =
                        format!("{drain_per_s}/s, {target_ms} ms, {late} late, {quantity} units");
                    let limit = (drain_per_s * quantity * 4.0) as u32;
                    let mut model = Model::new(limit, target_ms, late, quantity, drain_per_s);
                    model.run(10_000);
                    check(&mut model, &what);
                    // It drains faster, and slower again: that fills the lane before it is noticed.
                    model.drain_per_s = drain_per_s * 2.0;
                    model.run(10_000);
                    check(&mut model, &format!("{what}, faster"));
                    model.drain_per_s = drain_per_s;
                    model.run(10_000);
                    check(&mut model, &format!("{what}, slower"));
                }
            }
        }
    }
}

#[test]
fn it_begins_at_the_pace_of_the_lane() {
    let limit = Limit::new(1_000, 3_000).unwrap();
    let begin = |pace: Option<u32>| Follower::new(limit, pace.and_then(NonZeroU32::new)).level;
    assert_eq!([None, Some(50), Some(5_000)].map(begin), [100.0, 50.0, 1_000.0]);
}

fn seen(waiting: u64, demand_per_s: u64, available: u64) -> Seen {
    Seen { over_ms: STEP_MS, decided: 20, waiting, demand_per_s, available }
}

#[test]
fn it_is_never_more_than_is_left() {
    let (limit, target) = (Limit::new(1_000, 3_000).unwrap(), NonZeroU32::new(1_000).unwrap());
    let mut follower = Follower::new(limit, NonZeroU32::new(1_000));
    let mut step = |available| {
        let limit = follower.step(limit, target, seen(0, 9_999, available));
        (limit.per_second(), limit.burst())
    };
    assert_eq!(step(5_000), (1_000, 3_000));
    assert_eq!(step(70), (70, 210));
    assert_eq!(step(0), (1, 3));
    // And it is back at once, if units are.
    assert_eq!(step(5_000), (1_000, 3_000));
}

/// Not by so little either as edges are not told of otherwise.
#[test]
fn it_is_not_a_little_more_than_is_left() {
    let limit = Limit::new(83_524, 83_524).unwrap();
    let target = NonZeroU32::new(25_936).unwrap();
    let mut follower = Follower::new(limit, None);
    for (decided, waiting, demand_per_s, available, over_ms) in [
        (2_396, 11_278, 7_966, 4_104, 1_032),
        (2_630, 18_898, 6_341, 0, 460),
        (4_448, 10_933, 5_432, 2_151, 0),
        (4_014, 30_477, 8_104, 2_602, 0),
        (4_281, 33_704, 3_914, 2_525, 836),
    ] {
        let seen = Seen { over_ms, decided, waiting, demand_per_s, available };
        let now = u64::from(follower.step(limit, target, seen).per_second());
        assert!(now <= available.max(1), "{now} of {available}");
    }
}

#[test]
fn what_nobody_asks_for_is_not_raised() {
    let (limit, target) = (Limit::new(1_000, 1_000).unwrap(), NonZeroU32::new(1_000).unwrap());
    let mut follower = Follower::new(limit, None);
    let mut steps = |demand_per_s| {
        let step = |_| follower.step(limit, target, seen(0, demand_per_s, 9_999)).per_second();
        (0..30).map(step).last().unwrap()
    };
    assert_eq!(steps(50), 100, "a rush that comes then is not let in all at once");
    assert_eq!(steps(2_000), 1_000);
}

proptest! {
    #[test]
    fn it_stays_within_its_bounds(
        per_second in 1_u64..100_000,
        burst_ratio in 1_u64..5,
        target_ms in 1_u32..60_000,
        steps in prop::collection::vec((0_u64..5_000, 0_u64..50_000, 0_u64..9_000, 0_u64..9_000, 0_u64..2_000), 1..50),
    ) {
        let limit = Limit::new(per_second, per_second * burst_ratio).unwrap();
        let target_ms = NonZeroU32::new(target_ms).unwrap();
        let mut follower = Follower::new(limit, None);
        for (decided, waiting, demand_per_s, available, over_ms) in steps {
            let seen = Seen { over_ms, decided, waiting, demand_per_s, available };
            let now = follower.step(limit, target_ms, seen);
            let bound = u64::from(limit.per_second()).min(available).max(1);
            prop_assert!((1..=bound).contains(&u64::from(now.per_second())), "{now:?} {bound}");
            prop_assert!(now.per_second() <= now.burst() && now.burst() <= limit.burst(), "{now:?}");
        }
    }
}
