//! Which worker is to have which buckets: a pure function of what all of them have reported.
//!
//! Nobody is in charge. Every worker works out the same from the same reports, and does its own part
//! of it; where their reports differ for a moment, leases decide. A bucket weighs what it has to do,
//! and a little by itself. Free buckets go to whoever has least. Others move only when the difference
//! is worth a handover, and then as few as level it: once level, loads have to change by much before
//! anything moves again.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::tenure::{WorkerId, WorkerReport};

/// What a worker is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Buckets that it is to take, once they are free.
    pub(super) take: Vec<u16>,
    /// Buckets that it is to give back.
    pub(super) give: Vec<u16>,
}

/// What `me` is to do. It has reported as well.
pub(super) fn plan(me: WorkerId, reports: &[WorkerReport], buckets: u16) -> Plan {
    let mut spread = Spread::new(reports, buckets);
    let mut plan = Plan::default();
    let free = spread.free(buckets);
    for bucket in &free {
        plan.take.extend((spread.place() == Some(me)).then_some(*bucket));
    }
    if !free.is_empty() {
        // What these have to do is not known before somebody has them.
        return plan;
    }
    for Move { bucket, from, to } in spread.level() {
        plan.give.extend((from == me).then_some(bucket));
        plan.take.extend((to == me).then_some(bucket));
    }
    plan
}

struct Move {
    bucket: u16,
    from: WorkerId,
    to: WorkerId,
}

/// Who has which buckets, each with its weight.
struct Spread {
    workers: BTreeMap<WorkerId, Share>,
    /// What a bucket weighs that has nothing to do.
    empty: u64,
}

#[derive(Default)]
struct Share {
    buckets: BTreeMap<u16, u64>,
    /// What it is about to take weighs as well.
    weight: u64,
}

impl Spread {
    fn new(reports: &[WorkerReport], buckets: u16) -> Self {
        let loads = reports.iter().flat_map(|report| &report.buckets);
        let total: u64 = loads.map(|(_, per_s)| u64::from(*per_s)).sum();
        let empty = total / (4 * u64::from(buckets.max(1))) + 1;
        let mut spread = Self { workers: BTreeMap::new(), empty };
        let mut owned = BTreeSet::new();
        for report in reports {
            let share = spread.workers.entry(report.worker).or_default();
            for (bucket, per_s) in &report.buckets {
                // While one hands it to another, both may say that they have it.
                if owned.insert(*bucket) {
                    let weight = u64::from(*per_s) + empty;
                    share.buckets.insert(*bucket, weight);
                    share.weight += weight;
                }
            }
        }
        spread
    }

    fn free(&self, buckets: u16) -> Vec<u16> {
        let is_free = |bucket: &u16| !self.workers.values().any(|s| s.buckets.contains_key(bucket));
        (0..buckets).filter(is_free).collect()
    }

    /// Gives a free bucket to whoever has least.
    fn place(&mut self) -> Option<WorkerId> {
        let (worker, share) = self.workers.iter_mut().min_by_key(|(_, share)| share.weight)?;
        share.weight += self.empty;
        Some(*worker)
    }

    /// Moves buckets from whoever has most to whoever has least, if that is worth it.
    fn level(&mut self) -> Vec<Move> {
        let mut moves = Vec::new();
        let total: u64 = self.workers.values().map(|share| share.weight).sum();
        let mean = total / (self.workers.len() as u64).max(1);
        if self.gap() <= mean / 4 {
            return moves;
        }
        while let Some(next) = self.next_move(mean / 16) {
            self.apply(&next);
            moves.push(next);
        }
        moves
    }

    fn gap(&self) -> u64 {
        let weights = || self.workers.values().map(|share| share.weight);
        weights().max().unwrap_or_default() - weights().min().unwrap_or_default()
    }

    /// The move that makes the gap smallest, if it makes it smaller by more than `worth`.
    fn next_move(&self, worth: u64) -> Option<Move> {
        let (from, most) = self.workers.iter().max_by_key(|(id, s)| (s.weight, **id))?;
        let (to, least) = self.workers.iter().min_by_key(|(id, s)| (s.weight, **id))?;
        let gap = most.weight - least.weight;
        let left = |weight: u64| gap.abs_diff(2 * weight);
        let best = most.buckets.iter().min_by_key(|(bucket, weight)| (left(**weight), **bucket));
        let (bucket, weight) = best?;
        let is_worth_it = left(*weight) + worth < gap;
        is_worth_it.then_some(Move { bucket: *bucket, from: *from, to: *to })
    }

    fn apply(&mut self, Move { bucket, from, to }: &Move) {
        let weight = self.workers.get_mut(from).and_then(|share| {
            let weight = share.buckets.remove(bucket)?;
            share.weight -= weight;
            Some(weight)
        });
        if let (Some(weight), Some(share)) = (weight, self.workers.get_mut(to)) {
            // Not among its buckets yet: what moves does not move on at once.
            share.weight += weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    /// Workers that act on one another's last reports.
    struct Workers {
        buckets: u16,
        loads: Vec<u32>,
        owns: BTreeMap<WorkerId, Vec<u16>>,
    }

    impl Workers {
        fn new(buckets: u16, workers: u64) -> Self {
            let owns = (0..workers).map(|id| (WorkerId(id), Vec::new())).collect();
            Self { buckets, loads: vec![0; buckets.into()], owns }
        }

        fn reports(&self) -> Vec<WorkerReport> {
            let load = |bucket: &u16| (*bucket, self.loads[usize::from(*bucket)]);
            let report = |(worker, owned): (&WorkerId, &Vec<u16>)| WorkerReport {
                worker: *worker,
                buckets: owned.iter().map(load).collect(),
            };
            self.owns.iter().map(report).collect()
        }

        /// Everybody does its part. Returns how many buckets were given back.
        fn round(&mut self) -> usize {
            let reports = self.reports();
            let plans: Vec<_> =
                self.owns.keys().map(|id| (*id, plan(*id, &reports, self.buckets))).collect();
            for (id, plan) in &plans {
                self.owns.get_mut(id).unwrap().retain(|bucket| !plan.give.contains(bucket));
            }
            for (id, plan) in &plans {
                for bucket in &plan.take {
                    let is_free = !self.owns.values().any(|owned| owned.contains(bucket));
                    assert!(is_free, "{id:?} takes bucket {bucket}, which is another's");
                    self.owns.get_mut(id).unwrap().push(*bucket);
                }
            }
            plans.iter().map(|(_, plan)| plan.give.len()).sum()
        }

        fn owned(&self) -> usize {
            self.owns.values().map(Vec::len).sum()
        }

        fn any_loads(&mut self, random: &mut StdRng) {
            let most = 10_u32.pow(random.random_range(0..6));
            self.loads.fill_with(|| random.random_range(0..=most));
        }
    }

    fn each(check: impl Fn(&mut StdRng, Workers)) {
        for seed in 0..500 {
            println!("seed {seed}");
            let mut random = StdRng::seed_from_u64(seed);
            let workers = Workers::new(random.random_range(1..100), random.random_range(1..9));
            check(&mut random, workers);
        }
    }

    #[test]
    fn every_free_bucket_is_one_workers_at_once() {
        each(|_, mut workers| {
            workers.round();
            assert_eq!(workers.owned(), usize::from(workers.buckets));
            let counts = || workers.owns.values().map(Vec::len);
            assert!(counts().max().unwrap() - counts().min().unwrap() <= 1);
        });
    }

    #[test]
    fn whatever_the_loads_it_comes_to_rest_and_stays() {
        each(|random, mut workers| {
            workers.round();
            workers.any_loads(random);
            let rounds = (0..20).take_while(|_| workers.round() > 0).count();
            assert!(rounds < 10, "still moving after {rounds} rounds");
            assert_eq!(workers.owned(), usize::from(workers.buckets));
            assert_eq!(workers.round(), 0);
        });
    }

    #[test]
    fn nobody_has_much_more_than_another_unless_it_is_one_bucket() {
        each(|random, mut workers| {
            workers.any_loads(random);
            for _ in 0..20 {
                workers.round();
            }
            let spread = Spread::new(&workers.reports(), workers.buckets);
            let total: u64 = spread.workers.values().map(|share| share.weight).sum();
            let mean = total / spread.workers.len() as u64;
            let heaviest = spread.workers.values().flat_map(|s| s.buckets.values()).max().unwrap();
            assert!(spread.gap() <= mean / 4 + heaviest, "{} over {mean}", spread.gap());
        });
    }

    #[test]
    fn a_little_more_or_less_to_do_moves_nothing() {
        each(|random, workers| {
            let loads = (workers.owns.len() * 8).max(workers.buckets.into());
            let mut workers = Workers::new(loads as u16, workers.owns.len() as u64);
            workers.loads.fill(1_000);
            while workers.round() > 0 || workers.owned() == 0 {}
            for _ in 0..20 {
                workers.loads.fill_with(|| random.random_range(970..1_030));
                assert_eq!(workers.round(), 0);
            }
        });
    }

    #[test]
    fn when_one_goes_the_others_keep_what_they_have() {
        each(|random, mut workers| {
            workers.round();
            workers.any_loads(random);
            while workers.round() > 0 {}
            let before = workers.owns.clone();
            let gone = WorkerId(random.random_range(0..workers.owns.len() as u64));
            if workers.owns.len() > 1 {
                workers.owns.remove(&gone);
                workers.round();
                assert_eq!(workers.owned(), usize::from(workers.buckets));
                let kept = |(id, owned): (&WorkerId, &Vec<u16>)| {
                    owned
                        .iter()
                        .all(|bucket| before[id].contains(bucket) || before[&gone].contains(bucket))
                };
                assert!(workers.owns.iter().all(kept));
            }
        });
    }
}
