use proptest::prelude::*;

use super::*;

/// How often counts come from one place.
const EVERY_MS: u64 = 200;

fn sku(n: usize) -> Sku {
    Sku::parse(&format!("A{n}")).unwrap()
}

/// A detector, and time.
struct Rig {
    detector: Detector,
    now_ms: u64,
    /// Edges, each of which is asked for a part.
    edges: u64,
    registered: Vec<Sku>,
}

impl Rig {
    fn new(edges: u64) -> Self {
        let now_ms = 1_000_000;
        let detector = Detector::new(DetectionConfig::default(), now_ms);
        Self { detector, now_ms, edges, registered: Vec::new() }
    }

    /// Passes time in which SKUs are asked for, units per second. Each edge reports at a time of its own.
    /// Gives what was noticed, and after how long.
    fn run(&mut self, for_ms: u64, asked: &[(usize, u64)]) -> Option<(u64, Noticed)> {
        let until_ms = self.now_ms + for_ms;
        let from_ms = self.now_ms;
        while self.now_ms < until_ms {
            self.now_ms += 1;
            for edge in (0..self.edges).filter(|e| self.now_ms % EVERY_MS == e * 71 % EVERY_MS) {
                let over_ms = EVERY_MS.min(self.now_ms - from_ms);
                let part = |(n, per_s): &(usize, u64)| {
                    // Whole units, and nothing lost over time.
                    let by = |ms: u64| (per_s * ms / 1_000 + edge) / self.edges;
                    Heavy { sku: sku(*n), units: by(self.now_ms) - by(self.now_ms - over_ms) }
                };
                let heavy: Vec<_> = asked.iter().map(part).collect();
                self.detector.note(Source::Edges, &heavy, over_ms, self.now_ms);
            }
            if self.now_ms.is_multiple_of(50)
                && let Some(noticed) = self.look(100).into_iter().next()
            {
                return Some((self.now_ms - from_ms, noticed));
            }
        }
        None
    }

    fn look(&mut self, room: usize) -> Vec<Noticed> {
        let is_registered = |sku: &Sku| self.registered.contains(sku);
        for sku in self.detector.to_ask(self.now_ms, is_registered) {
            self.detector.learn(&sku, true, self.now_ms);
        }
        self.detector.noticed(self.now_ms, room, is_registered)
    }

    fn note(&mut self, source: Source, n: usize, units: u64) {
        let heavy = [Heavy { sku: sku(n), units }];
        self.detector.note(source, &heavy, EVERY_MS, self.now_ms);
    }
}

#[test]
fn a_step_is_noticed_within_400_ms_and_explains_itself() {
    for edges in [1, 4, 50] {
        for per_s in [600, 1_000, 5_000] {
            let mut rig = Rig::new(edges);
            assert_eq!(rig.run(3_000, &[(1, 50)]), None);
            let (after_ms, noticed) = rig.run(5_000, &[(1, per_s)]).unwrap();
            // As much as passes the threshold has to come, and the report of it.
            let needed_ms = 500 * 400 / per_s + EVERY_MS;
            assert!(after_ms <= needed_ms + 50, "{edges} edges, {per_s}/s: {after_ms} ms");
            assert!(noticed.per_s <= per_s + 10, "{noticed}");
            assert_eq!((noticed.sku, noticed.past_per_s), (sku(1), None));
        }
    }
    let mut rig = Rig::new(1);
    rig.note(Source::Edges, 1, 736);
    assert_eq!(rig.look(9)[0].to_string(), "1,840/s over 400 ms, threshold 500/s");
}

#[test]
fn what_stays_below_the_threshold_is_not_noticed() {
    for edges in [1, 4, 50] {
        assert_eq!(Rig::new(edges).run(20_000, &[(1, 490)]), None, "{edges} edges");
        assert!(Rig::new(edges).run(20_000, &[(1, 515)]).is_some(), "{edges} edges");
    }
}

#[test]
fn the_larger_of_two_counts_of_the_same_is_taken() {
    let mut rig = Rig::new(1);
    rig.note(Source::Edges, 1, 190);
    rig.note(Source::Api, 1, 190);
    assert_eq!(rig.look(9), []);
    rig.note(Source::Api, 1, 20);
    assert_eq!(rig.look(9)[0].per_s, 525);
}

#[test]
fn a_surge_is_noticed_by_its_past() {
    let mut rig = Rig::new(4);
    // The first minute there is no past to compare with.
    assert_eq!(rig.run(59_000, &[(1, 20), (2, 150), (3, 12)]), None);
    assert_eq!(rig.run(20_000, &[(1, 20), (2, 150), (3, 12)]), None);
    // Eight times as much as before; and not as much as it takes.
    assert_eq!(rig.run(1_000, &[(1, 160), (2, 150), (4, 90)]), None);
    let (_, noticed) = rig.run(1_000, &[(2, 150), (3, 160)]).unwrap();
    assert_eq!(noticed.sku, sku(3));
    let text = noticed.to_string();
    assert!(text.ends_with("/s over 400 ms, threshold 117/s after 12/s before"), "{text}");
    // One that was never heard of.
    rig.registered.push(sku(3));
    let (_, noticed) = rig.run(1_000, &[(2, 150), (5, 120)]).unwrap();
    assert_eq!((noticed.sku, noticed.threshold_per_s), (sku(5), 100));
}

#[test]
fn only_what_is_in_stock_and_not_registered_is_noticed() {
    let mut rig = Rig::new(1);
    rig.registered.push(sku(2));
    for n in [1, 2, 3] {
        rig.note(Source::Edges, n, 300 + n as u64);
    }
    let is_registered = |other: &Sku| *other == sku(2);
    let ask = |rig: &Rig| rig.detector.to_ask(rig.now_ms, is_registered);
    assert_eq!(ask(&rig), [sku(3), sku(1)], "the most asked for first");
    rig.detector.learn(&sku(3), false, rig.now_ms);
    assert_eq!(ask(&rig), [sku(1)]);
    assert_eq!(rig.detector.noticed(rig.now_ms, 9, is_registered), []);
    rig.detector.learn(&sku(1), true, rig.now_ms);
    assert_eq!(rig.detector.noticed(rig.now_ms, 9, is_registered)[0].sku, sku(1));
    assert_eq!(ask(&rig), []);
    // It may be put up for sale at any time.
    rig.now_ms += NOT_IN_STOCK_MS;
    rig.note(Source::Edges, 3, 300);
    assert_eq!(ask(&rig), [sku(3)]);
}

#[test]
fn only_so_many_are_registered() {
    let mut rig = Rig::new(1);
    let flood = |rig: &mut Rig| (0..100).for_each(|n| rig.note(Source::Edges, n, 500));
    flood(&mut rig);
    assert_eq!(rig.look(3).len(), 3, "as many as there is room for");
    assert_eq!(rig.look(9).len(), 2);
    assert_eq!(rig.look(9).len(), 0);
    rig.now_ms += 400;
    flood(&mut rig);
    assert_eq!(rig.look(9).len(), 2);
    rig.now_ms += 60_000;
    flood(&mut rig);
    // Those that nobody has asked about yet are not known to be in stock.
    for _ in 0..4 {
        rig.look(0);
    }
    assert_eq!(rig.look(9).len(), 5, "what was not used is not saved");
}

#[test]
fn when_the_table_is_full_the_smallest_give_way() {
    let mut rig = Rig::new(1);
    rig.now_ms += PAST_KNOWN_MS;
    rig.note(Source::Edges, 0, 20);
    for n in 1..3 * CANDIDATES_KEPT {
        rig.note(Source::Edges, n, 2 + n as u64 % 3);
        assert!(rig.detector.candidates.len() <= 2 * CANDIDATES_KEPT);
    }
    assert!(rig.detector.candidates.contains_key(&sku(0)), "the largest stays");
    // One that had to give way may have had a past of 10/s.
    let gone = (1..).map(sku).find(|sku| !rig.detector.candidates.contains_key(sku)).unwrap();
    let asked = |units| vec![Heavy { sku: gone.clone(), units }];
    rig.detector.note(Source::Edges, &asked(44), EVERY_MS, rig.now_ms);
    assert_eq!(rig.look(9), []);
    rig.detector.note(Source::Edges, &asked(44), EVERY_MS, rig.now_ms);
    let noticed = rig.look(9).remove(0);
    assert!(noticed.sku == gone && noticed.past_per_s >= Some(10), "{noticed}");
}

#[test]
fn a_calm_one_is_let_go() {
    let mut rig = Rig::new(1);
    let registered = sku(1);
    let calmed = |rig: &mut Rig, edges_per_s: u64| {
        rig.detector.calmed(rig.now_ms, [(&registered, edges_per_s)].into_iter())
    };
    let pass = |rig: &mut Rig, for_s: u64, per_s: u64| {
        for _ in 0..for_s {
            rig.now_ms += 1_000;
            if let [calmed] = &calmed(rig, per_s)[..] {
                return Some(calmed.to_string());
            }
        }
        None
    };
    assert_eq!(pass(&mut rig, 100, 250), None, "above half of the threshold");
    assert_eq!(pass(&mut rig, 30, 249), None);
    assert_eq!(pass(&mut rig, 1, 250), None, "and it begins anew");
    assert_eq!(pass(&mut rig, 30, 249), None);
    assert_eq!(pass(&mut rig, 1, 249), Some("below 250/s for 30.0 s".into()));
    // The API may be asked for more than edges say.
    let mut rig = Rig::new(1);
    for _ in 0..300 {
        rig.now_ms += 200;
        rig.note(Source::Api, 1, 55);
        assert_eq!(calmed(&mut rig, 0), []);
    }
    assert_eq!(pass(&mut rig, 30, 0), None);
    assert!(pass(&mut rig, 3, 0).is_some());
}

#[test]
fn what_a_surge_has_noticed_stays_while_the_surge_does() {
    let mut rig = Rig::new(1);
    rig.run(61_000, &[(2, 5)]);
    let (_, noticed) = rig.run(1_000, &[(1, 120)]).unwrap();
    let sku = noticed.sku;
    // The registry hears of it a moment later.
    assert_eq!(rig.detector.calmed(rig.now_ms, std::iter::empty()), []);
    for _ in 0..60 {
        rig.now_ms += 1_000;
        assert_eq!(rig.detector.calmed(rig.now_ms, [(&sku, 60)].into_iter()), []);
    }
    for _ in 0..=30 {
        rig.now_ms += 1_000;
        let calmed = rig.detector.calmed(rig.now_ms, [(&sku, 40)].into_iter());
        if let [calmed] = &calmed[..] {
            assert_eq!(calmed.below_per_s, 50);
            return;
        }
    }
    panic!("it was not let go");
}

#[test]
fn what_never_gets_into_the_registry_is_forgotten() {
    let mut rig = Rig::new(1);
    rig.run(61_000, &[(2, 5)]);
    rig.run(1_000, &[(1, 120)]).unwrap();
    for (after_ms, remembered) in [(9_000, 1), (2_000, 0)] {
        rig.now_ms += after_ms;
        assert_eq!(rig.detector.calmed(rig.now_ms, std::iter::empty()), []);
        assert_eq!(rig.detector.watched.len(), remembered);
    }
}

proptest! {
    /// Whenever counts come, and however long they are of: what is told was asked for, and in 600 ms.
    #[test]
    fn no_rate_is_made_up(
        reports in prop::collection::vec((1_u64..400, 0_u64..900, 1_u64..3_000), 1..60),
    ) {
        let mut rig = Rig::new(1);
        let mut all = Vec::new();
        for (pass_ms, units, over_ms) in reports {
            rig.now_ms += pass_ms;
            rig.detector.note(
                Source::Edges, &[Heavy { sku: sku(1), units }], over_ms, rig.now_ms,
            );
            all.push((rig.now_ms, units, over_ms));
            let told = rig.detector.candidates[&sku(1)].per_s(rig.now_ms) * 0.4;
            let part = |(at_ms, units, over_ms): &(u64, u64, u64)| {
                let from_ms = (at_ms - over_ms).max(rig.now_ms - 600);
                *units as f64 * at_ms.saturating_sub(from_ms) as f64 / *over_ms as f64
            };
            let most: f64 = all.iter().map(part).sum();
            prop_assert!(told <= most + 0.001, "{} of {}", told, most);
        }
    }
}
