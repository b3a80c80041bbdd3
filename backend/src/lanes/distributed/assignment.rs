//! Which worker is to have which buckets: worked out from what all of them have reported, and from
//! nothing else.
//!
//! Nobody is in charge. Every worker works out the same from the same reports, and does its own part
//! of it; where their reports differ for a moment, leases decide. A bucket weighs what it has to do,
//! and a little by itself. Free buckets go to whoever has least. Others move only when the difference
//! is worth a handover, and then as few as level it: once level, loads have to change by much before
//! anything moves again.
//!
//! Whoever is to take a bucket may not reach the server that has it, and nobody else knows. So a bucket
//! that stays free is anybody's, and whoever gets it keeps it for a while.

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

/// At how many looks in a row a bucket may be free before everybody tries to take it: as long as a
/// lease lasts. Who was to take it is there, or would be off the list by then.
const FREE_LOOKS: u32 = 4;

/// For how many looks a bucket is kept that was taken in another's place, or came back, a minute: given
/// to that one again it might be nobody's again.
const KEPT_LOOKS: u32 = 150;

/// A worker's part in the division, from look to look.
pub(super) struct Assignment {
    me: WorkerId,
    buckets: u16,
    /// Buckets that are free, each with the number of looks at which it was so.
    free: BTreeMap<u16, u32>,
    /// Buckets that are kept once they are this worker's, each with the number of looks for which.
    kept: BTreeMap<u16, u32>,
}

impl Assignment {
    pub(super) fn new(me: WorkerId, buckets: u16) -> Self {
        let (free, kept) = Default::default();
        Self { me, buckets, free, kept }
    }

    /// What this worker is to do. It has reported as well.
    pub(super) fn plan(&mut self, reports: &[WorkerReport]) -> Plan {
        let mut spread = Spread::new(reports, self.buckets);
        let mut plan = Plan::default();
        self.count_look(&spread.free(self.buckets));
        // Who has it can reach it.
        self.kept.retain(|bucket, _| !spread.is_anothers(*bucket, self.me));
        for (bucket, looks) in &self.free {
            let is_mine = spread.place() == Some(self.me);
            let is_anybodys = *looks > FREE_LOOKS;
            if is_anybodys {
                self.kept.insert(*bucket, KEPT_LOOKS);
            }
            plan.take.extend((is_mine || is_anybodys).then_some(*bucket));
        }
        if !self.free.is_empty() {
            // What these have to do is not known before somebody has them.
            return plan;
        }
        spread.keep(self.me, self.kept.keys());
        for Move { bucket, from, to } in spread.level() {
            if from == self.me {
                plan.give.push(bucket);
                // Should it come back.
                self.kept.insert(bucket, KEPT_LOOKS);
            }
            plan.take.extend((to == self.me).then_some(bucket));
        }
        plan
    }

    fn count_look(&mut self, free: &[u16]) {
        let looks =
            |bucket: &u16| (*bucket, self.free.get(bucket).copied().unwrap_or_default() + 1);
        self.free = free.iter().map(looks).collect();
        self.kept.retain(|_, looks| {
            *looks -= 1;
            *looks > 0
        });
    }
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

    fn is_anothers(&self, bucket: u16, me: WorkerId) -> bool {
        self.workers.iter().any(|(id, share)| *id != me && share.buckets.contains_key(&bucket))
    }

    /// Gives a free bucket to whoever has least.
    fn place(&mut self) -> Option<WorkerId> {
        let (worker, share) = self.workers.iter_mut().min_by_key(|(_, share)| share.weight)?;
        share.weight += self.empty;
        Some(*worker)
    }

    /// Has a worker keep buckets, whatever they weigh.
    fn keep<'a>(&mut self, worker: WorkerId, kept: impl Iterator<Item = &'a u16>) {
        if let Some(share) = self.workers.get_mut(&worker) {
            kept.for_each(|bucket| {
                share.buckets.remove(bucket);
            });
        }
    }

    /// Moves buckets from whoever has most to whoever has least, if that is worth it.
    fn level(&mut self) -> Vec<Move> {
        let mut moves = Vec::new();
        let total: u64 = self.workers.values().map(|share| share.weight).sum();
        let mean = total / (self.workers.len() as u64).max(1);
        if self.gap() <= mean / 4 {
            return moves;
        }
        while let Some(next) = self.next_move() {
            self.apply(&next);
            moves.push(next);
        }
        moves
    }

    fn gap(&self) -> u64 {
        let weights = || self.workers.values().map(|share| share.weight);
        weights().max().unwrap_or_default() - weights().min().unwrap_or_default()
    }

    /// The move that makes the gap smallest, if it does so by a good part of what moves.
    fn next_move(&self) -> Option<Move> {
        let (from, most) = self.workers.iter().max_by_key(|(id, s)| (s.weight, **id))?;
        let (to, least) = self.workers.iter().min_by_key(|(id, s)| (s.weight, **id))?;
        let gap = most.weight - least.weight;
        let left = |weight: u64| gap.abs_diff(2 * weight);
        let best = most.buckets.iter().min_by_key(|(bucket, weight)| (left(**weight), **bucket));
        let (bucket, weight) = best?;
        let is_worth_it = left(*weight) + weight / 4 < gap;
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
        assignments: BTreeMap<WorkerId, Assignment>,
        /// One that cannot reach the buckets below a number.
        cut_off: Option<(WorkerId, u16)>,
    }

    impl Workers {
        fn new(buckets: u16, workers: u64) -> Self {
            let ids = || (0..workers).map(WorkerId);
            let owns = ids().map(|id| (id, Vec::new())).collect();
            let assignments = ids().map(|id| (id, Assignment::new(id, buckets))).collect();
            Self { buckets, loads: vec![0; buckets.into()], owns, assignments, cut_off: None }
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
            let mut plan = |id: &WorkerId| self.assignments.get_mut(id).unwrap().plan(&reports);
            let plans: Vec<_> = self.owns.keys().map(|id| (*id, plan(id))).collect();
            for (id, plan) in &plans {
                self.owns.get_mut(id).unwrap().retain(|bucket| !plan.give.contains(bucket));
            }
            for (id, plan) in &plans {
                for bucket in &plan.take {
                    let is_free = !self.owns.values().any(|owned| owned.contains(bucket));
                    let is_cut_off = |(who, below)| who == *id && *bucket < below;
                    if is_free && !self.cut_off.is_some_and(is_cut_off) {
                        self.owns.get_mut(id).unwrap().push(*bucket);
                    }
                    let is_sure = is_free || self.cut_off.is_some();
                    assert!(is_sure, "{id:?} takes bucket {bucket}, which is another's");
                }
            }
            plans.iter().map(|(_, plan)| plan.give.len()).sum()
        }

        fn owned(&self) -> usize {
            self.owns.values().map(Vec::len).sum()
        }

        fn mean(&self) -> usize {
            usize::from(self.buckets) / self.owns.len()
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

    #[test]
    fn whoever_joins_gets_a_part_also_of_what_has_come_back() {
        each(|_, mut workers| {
            // All of them join one that has everything.
            let ids: Vec<_> = workers.owns.keys().copied().collect();
            workers.owns.get_mut(&ids[0]).unwrap().extend(0..workers.buckets);
            while workers.round() > 0 {}
            // One after the other goes, and a new one comes.
            for (gone, new) in ids.iter().skip(1).zip(100..) {
                workers.owns.remove(gone);
                workers.round();
                workers.owns.insert(WorkerId(new), Vec::new());
                workers
                    .assignments
                    .insert(WorkerId(new), Assignment::new(WorkerId(new), workers.buckets));
                while workers.round() > 0 {}
                workers.round();
                assert_eq!(workers.owned(), usize::from(workers.buckets));
                let counts: Vec<_> = workers.owns.values().map(Vec::len).collect();
                let gap = counts.iter().max().unwrap() - counts.iter().min().unwrap();
                assert!(gap <= 1 + workers.mean() / 4, "{counts:?}");
            }
        });
    }

    /// One that reports, and cannot take what is to be its own.
    #[test]
    fn what_one_worker_cannot_reach_others_take_and_keep() {
        each(|random, mut workers| {
            if workers.owns.len() == 1 {
                return;
            }
            let who = WorkerId(random.random_range(0..workers.owns.len() as u64));
            workers.cut_off = Some((who, random.random_range(0..=workers.buckets)));
            workers.any_loads(random);
            let (mut free_for, mut given) = (vec![0; workers.buckets.into()], 0);
            for _ in 0..20 {
                given += workers.round();
                let owned: BTreeSet<_> = workers.owns.values().flatten().copied().collect();
                for (bucket, looks) in (0..).zip(&mut free_for) {
                    *looks = if owned.contains(&bucket) { 0 } else { *looks + 1 };
                    assert!(*looks <= FREE_LOOKS + 1, "bucket {bucket} is nobody's");
                }
            }
            let most = usize::from(workers.buckets) * workers.owns.len();
            assert!(given <= most, "given back {given} times, by each at most once");
        });
    }
}
