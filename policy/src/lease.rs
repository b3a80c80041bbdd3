//! Units that one worker thread has charged before anybody asks for them.
//!
//! What costs at the edge is to look at a state that all worker threads share. A thread that sees many
//! requests for a SKU charges some units at once, and spends them by itself; and once it has learnt that
//! not one unit can be charged, it denies by itself until one can.
//!
//! Both are exact. A lease is good for [`Limit::lease_ns`] after it was charged, and charges count as
//! owed for as long ([`crate::gcra`]): so units admitted over any window of `w` seconds stay within
//! `per_second * w + burst`, however many threads there are. And while not one unit can be charged, nobody
//! changes the state, so that each denial names the true time. Units that nobody asks for in time are
//! lost to all; so a thread asks for as many as it has needed lately.

use crate::Quantity;
use crate::gcra::{Decision, Limit};

/// How many SKUs a thread remembers. Two that meet in a place take turns, and lose what they have left.
const PLACES: usize = 1_024;

/// What one thread knows of SKUs, by their fingerprints.
#[derive(Clone, Debug)]
pub struct Leases(Box<[Place]>);

/// What a thread can decide by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// Admitted, or denied.
    Decided(Decision),
    /// The shared state has to be charged for so many units; and for some more `ahead`, if it has them.
    Ask {
        /// What the request costs beyond what the thread has.
        cost: Quantity,
        /// What it will probably need.
        ahead: u32,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    fingerprint: u64,
    /// Units left, until when they are good, and when and how many were charged.
    left: u32,
    until_ns: u64,
    charged_ns: u64,
    charged: u32,
    /// Until when not one unit can be charged, by any thread.
    denied_until_ns: u64,
}

impl Leases {
    /// Whether it knows anything of the SKU with this `fingerprint`: else nobody need look at a clock.
    pub fn know(&self, fingerprint: u64) -> bool {
        self.0[Self::index(fingerprint)].fingerprint == fingerprint
    }

    /// Decides on a request for `cost` units of the SKU with this `fingerprint` at `now_ns`, as far as
    /// this thread can. What it [`Local::Ask`]s for is to be [noted](Self::note).
    pub fn decide(&mut self, fingerprint: u64, limit: Limit, cost: Quantity, now_ns: u64) -> Local {
        if !self.know(fingerprint) {
            return Local::Ask { cost, ahead: 0 };
        }
        self.0[Self::index(fingerprint)].decide(limit, cost, now_ns)
    }

    /// What [`Leases::decide`] would say; nothing is spent.
    pub fn look(&self, fingerprint: u64, limit: Limit, cost: Quantity, now_ns: u64) -> Local {
        self.clone_place(fingerprint).decide(limit, cost, now_ns)
    }

    /// Takes back `cost` units that were admitted and not needed in the end. They die when the lease
    /// that they are of does, or are dead already: the shared state is never told.
    pub fn put_back(&mut self, fingerprint: u64, cost: Quantity) {
        let place = &mut self.0[Self::index(fingerprint)];
        if place.fingerprint == fingerprint {
            place.left = place.left.saturating_add(cost.get()).min(place.charged);
        }
    }

    /// Notes what came of asking for `cost` at `now_ns`: the decision, and how many units were charged
    /// beyond it. Gives the decision on the whole request, a part of which the thread may have.
    pub fn note(
        &mut self,
        fingerprint: u64,
        limit: Limit,
        cost: Quantity,
        (decision, ahead): (Decision, u32),
        now_ns: u64,
    ) -> Decision {
        if !self.know(fingerprint) {
            self.0[Self::index(fingerprint)] = Place { fingerprint, ..Place::default() };
        }
        let place = &mut self.0[Self::index(fingerprint)];
        match decision {
            Decision::Admitted => {
                let charged = cost.get().saturating_add(ahead);
                *place = Place {
                    left: ahead,
                    until_ns: now_ns.saturating_add(limit.lease_ns()),
                    charged_ns: now_ns,
                    charged,
                    ..*place
                };
                decision
            }
            Decision::Denied { retry_after_ns } => {
                let one_after_ns = retry_after_ns.saturating_sub(limit.cost_ns(cost.get() - 1));
                place.denied_until_ns = now_ns.saturating_add(one_after_ns);
                place.denied(limit, retry_after_ns, now_ns)
            }
            Decision::OverBurst => decision,
        }
    }

    /// Forgets until when nothing can be charged: limits have been raised.
    pub fn forget_denials(&mut self) {
        self.0.iter_mut().for_each(|place| place.denied_until_ns = 0);
    }

    fn clone_place(&self, fingerprint: u64) -> Place {
        let place = self.0[Self::index(fingerprint)];
        if place.fingerprint == fingerprint { place } else { Place::default() }
    }

    fn index(fingerprint: u64) -> usize {
        usize::try_from(fingerprint % PLACES as u64).unwrap_or_default()
    }
}

impl Default for Leases {
    fn default() -> Self {
        Self(vec![Place::default(); PLACES].into())
    }
}

impl Place {
    fn decide(&mut self, limit: Limit, cost: Quantity, now_ns: u64) -> Local {
        let units = cost.get();
        if units > limit.burst() {
            return Local::Decided(Decision::OverBurst);
        }
        let (missing, ahead) = if now_ns >= self.until_ns {
            let ahead = self.needed(limit, now_ns);
            (self.left, self.charged) = (0, 0);
            (units, ahead)
        } else if units <= self.left {
            self.left -= units;
            return Local::Decided(Decision::Admitted);
        } else {
            // More are asked for than it thought.
            let ahead = self.charged.saturating_mul(2).min(limit.lease_units() / 2);
            (units - self.left, ahead)
        };
        if now_ns < self.denied_until_ns {
            let one_after_ns = self.denied_until_ns - now_ns;
            let retry_after_ns = one_after_ns.saturating_add(limit.cost_ns(missing - 1));
            return Local::Decided(self.denied(limit, retry_after_ns, now_ns));
        }
        Local::Ask { cost: Quantity::new(missing.into()).unwrap_or(cost), ahead }
    }

    /// The denial of a request for what is left and some more, which can be charged after
    /// `retry_after_ns`. If what is left dies before, it takes until as much can be charged again.
    fn denied(&self, limit: Limit, retry_after_ns: u64, now_ns: u64) -> Decision {
        let then_ns = now_ns.saturating_add(retry_after_ns);
        let dies_before = now_ns < self.until_ns && self.until_ns <= then_ns;
        let dead = if dies_before { self.left } else { 0 };
        Decision::Denied { retry_after_ns: retry_after_ns.saturating_add(limit.cost_ns(dead)) }
    }

    /// As many as were spent of the last lease, in the time of one.
    fn needed(&self, limit: Limit, now_ns: u64) -> u32 {
        let spent = u64::from(self.charged.saturating_sub(self.left));
        let since_ns = now_ns.saturating_sub(self.charged_ns).max(1);
        let needed = spent.saturating_mul(limit.lease_ns()) / since_ns;
        u32::try_from(needed).unwrap_or(u32::MAX).min(limit.lease_units() / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: u64 = 1_000_000_000;

    /// Threads that share a state.
    #[derive(Clone)]
    struct Edge {
        limit: Limit,
        state: crate::gcra::State,
        threads: Vec<Leases>,
        asked: usize,
    }

    impl Edge {
        fn new(limit: Limit, threads: usize) -> Self {
            let threads = vec![Leases::default(); threads];
            Self { limit, state: limit.fresh(), threads, asked: 0 }
        }

        fn decide(&mut self, thread: usize, cost: u32, now_ns: u64) -> Decision {
            let cost = Quantity::new(cost.into()).unwrap();
            let leases = &mut self.threads[thread];
            match leases.decide(7, self.limit, cost, now_ns) {
                Local::Decided(decision) => decision,
                Local::Ask { cost, ahead } => {
                    self.asked += 1;
                    let charged = self.limit.charge_ahead(self.state, cost, ahead, now_ns);
                    self.state = charged.1;
                    leases.note(7, self.limit, cost, (charged.0, charged.2), now_ns)
                }
            }
        }

        /// Looks, as one does at a limit that is not to be taken from yet.
        fn look(&mut self, thread: usize, cost: u32, now_ns: u64) -> Decision {
            let cost = Quantity::new(cost.into()).unwrap();
            let leases = &mut self.threads[thread];
            match leases.look(7, self.limit, cost, now_ns) {
                Local::Decided(decision) => decision,
                Local::Ask { cost, .. } => match self.limit.charge(self.state, cost, now_ns).0 {
                    Decision::Admitted => Decision::Admitted,
                    refused => leases.note(7, self.limit, cost, (refused, 0), now_ns),
                },
            }
        }
    }

    fn limit(per_second: u64, burst: u64) -> Limit {
        Limit::new(per_second, burst).unwrap()
    }

    #[test]
    fn a_thread_with_much_to_do_seldom_asks() {
        let mut edge = Edge::new(limit(1_000_000, 1_000_000), 1);
        for n in 0..20_000 {
            assert_eq!(edge.decide(0, 1, S + n * 50_000), Decision::Admitted);
        }
        assert!(edge.asked < 100, "asked {} times in a second", edge.asked);
    }

    const COST: Quantity = Quantity::ONE;

    /// A thread that has 1 of 1,000 units per second, charged at once, and 20 in a lease of 50 ms.
    fn leased(fingerprint: u64) -> (Limit, Leases) {
        let (limit, mut leases) = (limit(1_000, 1_000), Leases::default());
        leases.note(fingerprint, limit, COST, (Decision::Admitted, 20), S);
        (limit, leases)
    }

    /// How many units the thread admits by itself.
    fn spend(leases: &mut Leases, fingerprint: u64, limit: Limit, now_ns: u64) -> usize {
        let admitted = Local::Decided(Decision::Admitted);
        (0..100).take_while(|_| leases.decide(fingerprint, limit, COST, now_ns) == admitted).count()
    }

    #[test]
    fn a_lease_is_of_one_sku_and_for_some_time() {
        let (limit, leases) = leased(7);
        let spent = |fingerprint, now_ns| spend(&mut leases.clone(), fingerprint, limit, now_ns);
        assert_eq!(limit.lease_ns(), S / 20);
        assert_eq!(spent(7, S + S / 20 - 1), 20);
        assert_eq!(spent(7, S + S / 20), 0);
        // One that has the same place, and one that has another.
        assert_eq!(spent(7 + PLACES as u64, S), 0);
        assert_eq!(spent(8, S), 0);
        let ask = Local::Ask { cost: COST, ahead: 0 };
        assert_eq!(leases.look(7 + PLACES as u64, limit, COST, S), ask);
    }

    #[test]
    fn what_is_put_back_lives_no_longer() {
        let (limit, mut leases) = leased(7);
        let units = |units| Quantity::new(units).unwrap();
        assert_eq!(spend(&mut leases, 7, limit, S), 20);
        leases.put_back(7, units(3));
        leases.put_back(7 + PLACES as u64, units(3));
        assert_eq!(spend(&mut leases, 7, limit, S), 3);
        // One more is charged for a request, just before what was left dies.
        leases.put_back(7, units(3));
        let just_before = S + S / 20 - 1;
        let ask = leases.decide(7, limit, units(4), just_before);
        assert!(matches!(ask, Local::Ask { cost: COST, .. }), "{ask:?}");
        leases.note(7, limit, COST, (Decision::Admitted, 0), just_before);
        leases.put_back(7, units(4));
        assert_eq!(spend(&mut leases, 7, limit, just_before + 1), 1);
        // And nothing comes back from the dead.
        leases.put_back(7, units(1));
        assert_eq!(spend(&mut leases, 7, limit, just_before + S / 20), 0);
    }

    #[test]
    fn a_denial_can_be_forgotten() {
        let (limit, mut leases) = leased(7);
        let denied = Decision::Denied { retry_after_ns: 5 * S };
        leases.note(7, limit, COST, (denied, 0), S);
        assert_eq!(spend(&mut leases, 7, limit, S), 20);
        assert_eq!(
            leases.look(7, limit, COST, S + 1),
            Local::Decided(leases.0[7].denied(limit, 5 * S - 1, S + 1))
        );
        leases.forget_denials();
        assert!(matches!(leases.look(7, limit, COST, S + 1), Local::Ask { .. }));
    }

    /// The worst that can be: leased at once, and spent when all has been paid.
    #[test]
    fn what_is_leased_is_owed_while_it_can_be_spent() {
        let mut edge = Edge::new(limit(1_000, 1_000), 2);
        let mut now = S;
        while edge.threads[0].0[7].left < 20 {
            now += 100_000;
            assert_eq!(edge.decide(0, 1, now), Decision::Admitted);
        }
        now = edge.threads[0].0[7].until_ns - 1;
        let mut admitted = |thread| {
            (0..2_000).take_while(|_| edge.decide(thread, 1, now) == Decision::Admitted).count()
        };
        let sum = admitted(1) + admitted(0);
        assert!((950..=1_000).contains(&sum), "{sum} at once");
    }

    /// All threads ask all the time, or one alone: nearly all of the limit is used.
    #[test]
    fn little_is_lost() {
        for (threads, active, share) in [(4, 4, 0.99), (4, 1, 0.99), (1, 1, 0.99)] {
            let limit = limit(2_000, 500);
            let mut edge = Edge::new(limit, threads);
            let admitted = (0..500_000)
                .filter(|n| {
                    let now_ns = S + n * 20_000;
                    edge.decide(*n as usize % active, 1, now_ns) == Decision::Admitted
                })
                .count();
            let most = 10.0 * 2_000.0 + 500.0;
            assert!(admitted as f64 >= share * most, "{admitted} of {most}, {active} active");
            // Each thread asks once for each unit that comes, at the most; of the others it knows.
            let most = admitted * (active + 1);
            assert!(edge.asked <= most, "asked {} times for {admitted}", edge.asked);
        }
    }

    proptest! {
        /// Also of what a thread says by itself, or only looks at, and of requests for which it has a
        /// part.
        #[test]
        fn retry_after_is_exact(
            rate in prop_oneof![1..=1_000_u64, 1_000..=1_000_000_u64],
            burst in prop_oneof![1..=50_u64, 50..=500_u64],
            requests in prop::collection::vec(
                (0..2_usize, prop_oneof![0..1_000_u64, 0..1_000_000_u64, 0..60_000_000_u64], 1..50_u32),
                1..200,
            ),
        ) {
            let (mut edge, mut now) = (Edge::new(limit(rate, burst), 2), S);
            for (thread, pause, cost) in requests {
                now += pause;
                let looked = edge.look(thread, cost, now);
                let decision = edge.decide(thread, cost, now);
                prop_assert_eq!(looked, decision);
                if let Decision::Denied { retry_after_ns } = decision {
                    let then = now + retry_after_ns;
                    let just_before = edge.clone().decide(thread, cost, then - 1);
                    prop_assert_eq!(just_before, Decision::Denied { retry_after_ns: 1 });
                    prop_assert_eq!(edge.clone().decide(thread, cost, then), Decision::Admitted);
                }
            }
        }

        #[test]
        fn never_above_the_limit_over_any_window(
            rate in prop_oneof![1..=1_000_u64, 1_000..=1_000_000_u64],
            burst in prop_oneof![1..=50_u64, 50..=5_000_u64],
            requests in prop::collection::vec(
                (0..4_usize, prop_oneof![0..1_000_u64, 0..1_000_000_u64, 0..60_000_000_u64], 1..6_u32),
                1..400,
            ),
        ) {
            let limit = limit(rate, burst);
            let (mut edge, mut now) = (Edge::new(limit, 4), S);
            let mut admitted: Vec<(u64, u64)> = Vec::new();
            for (thread, pause, cost) in requests {
                now += pause;
                if edge.decide(thread, cost, now) == Decision::Admitted {
                    admitted.push((now, cost.into()));
                }
            }
            for (start, (from, _)) in admitted.iter().enumerate() {
                let mut sum = 0;
                for (at, cost) in &admitted[start..] {
                    sum += cost;
                    let above_burst = sum.saturating_sub(burst);
                    prop_assert!(above_burst * S <= rate * (at - from));
                }
            }
        }
    }
}
