//! Edges and a service that report and grant over a network that loses, repeats and delays, with clocks that
//! run at different speeds; threads that take over from each other, and a service that forgets.

use proptest::prelude::*;

use std::collections::BTreeMap;

use super::*;
use crate::gcra::Limit;
use crate::shares::Allowance;

const SETTINGS: Settings =
    Settings { ttl_ms: 2_000, margin_ms: 3, report_every_ms: 200, edges_max: 100 };

fn sku() -> Sku {
    Sku::parse("A").unwrap()
}

fn item(limit: Option<u32>) -> Item {
    let limit = limit.map(|per_second| Limit::new(per_second.into(), per_second.into()).unwrap());
    Item {
        sku: sku(),
        limit,
        client_limit: None,
        opens_at_ms: None,
        closes_at_ms: None,
        sold_out_until_ms: None,
        is_paused: false,
    }
}

/// What may happen. Edges and messages are taken by remainder.
#[derive(Clone, Copy, Debug)]
enum Op {
    /// A report, and its answer, without any trouble.
    Exchange(usize),
    Send(usize),
    Deliver(usize),
    Lose(usize),
    Repeat(usize),
    /// An edge waits for its answer no longer.
    GiveUp(usize),
    /// Another thread goes on from what the one that reports has left.
    TakeOver(usize),
    /// An edge ends, and another begins in its place.
    Restart(usize),
    Ask(usize, u32),
    Pass(u64),
    Plan,
    Forget,
    Unregister,
    Register,
    /// The limit is taken away, and the item stays.
    Unlimit,
    /// It is another.
    Limit(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let any = any::<usize>;
    prop_oneof![
        40 => any().prop_map(Op::Exchange),
        10 => any().prop_map(Op::Send),
        15 => any().prop_map(Op::Deliver),
        4 => any().prop_map(Op::Lose),
        4 => any().prop_map(Op::Repeat),
        4 => any().prop_map(Op::GiveUp),
        3 => any().prop_map(Op::TakeOver),
        1 => any().prop_map(Op::Restart),
        10 => (any(), 0_u32..200).prop_map(|(edge, demand)| Op::Ask(edge, demand)),
        20 => (1_u64..700).prop_map(Op::Pass),
        20 => Just(Op::Plan),
        1 => Just(Op::Forget),
        1 => Just(Op::Unregister),
        2 => Just(Op::Register),
        1 => Just(Op::Unlimit),
        2 => (1_u32..120).prop_map(Op::Limit),
    ]
}

#[derive(Clone, Debug)]
enum Message {
    Report { edge: u64, report: Report },
    Reply { edge: u64, number: u64, reply: Reply },
}

struct Edge {
    id: u64,
    reporter: Reporter,
    /// What threads go by, as shared data have it.
    meters: BTreeMap<u16, Allowance>,
    is_waiting: bool,
    demand: u32,
    ahead_ms: u64,
    faster_ppm: i64,
}

impl Edge {
    fn now_ms(&self, real_ms: u64) -> u64 {
        let real = i128::from(real_ms);
        let local = real + real * i128::from(self.faster_ppm) / 1_000_000;
        u64::try_from(local).unwrap() + self.ahead_ms
    }

    fn share(&self, real_ms: u64) -> u32 {
        let entry = self.reporter.table().items.get(&sku());
        let entry = entry.filter(|entry| entry.item.limit.is_some());
        let is_good = self.now_ms(real_ms) < self.reporter.contact_until_ms();
        let meter = |entry: &Entry| self.meters.get(&entry.place).expect("each limit has a meter");
        entry.filter(|_| is_good).map_or(0, |entry| meter(entry).per_second)
    }
}

struct World {
    limit: u32,
    /// The highest that there was.
    limit_max: u32,
    real_ms: u64,
    fleet: Fleet,
    incarnations: u64,
    is_registered: Option<bool>,
    edges: Vec<Edge>,
    ids: u64,
    network: Vec<Message>,
}

impl World {
    fn new(limit: u32, clocks: &[(u64, i64)]) -> Self {
        let real_ms = 1_000;
        let new = |id: usize, &(ahead_ms, faster_ppm): &(u64, i64)| Edge {
            id: id as u64,
            reporter: Reporter::default(),
            meters: BTreeMap::new(),
            is_waiting: false,
            demand: 0,
            ahead_ms,
            faster_ppm,
        };
        let edges: Vec<_> = clocks.iter().enumerate().map(|(id, clock)| new(id, clock)).collect();
        let ids = edges.len() as u64;
        let fleet = Fleet::new(1, SETTINGS, real_ms);
        let (incarnations, network) = (1, Vec::new());
        let is_registered = Some(true);
        let mut world = Self {
            limit,
            limit_max: limit,
            real_ms,
            fleet,
            incarnations,
            is_registered,
            edges,
            ids,
            network,
        };
        world.register();
        world
    }

    fn register(&mut self) {
        match self.is_registered {
            Some(is_limited) => self.fleet.set(item(is_limited.then_some(self.limit))),
            None => self.fleet.remove(&sku()),
        }
    }

    fn run(&mut self, op: Op) {
        let message =
            |n: usize, network: &[Message]| (!network.is_empty()).then(|| n % network.len());
        let edges = self.edges.len();
        match op {
            Op::Exchange(edge) => self.exchange(edge % edges),
            Op::Send(edge) => self.send(edge % edges),
            Op::Deliver(n) => {
                if let Some(n) = message(n, &self.network) {
                    let message = self.network.swap_remove(n);
                    self.deliver(message);
                }
            }
            Op::Lose(n) => drop(message(n, &self.network).map(|n| self.network.swap_remove(n))),
            Op::Repeat(n) => {
                let again = message(n, &self.network).map(|n| self.network[n].clone());
                self.network.extend(again);
            }
            Op::GiveUp(edge) => self.give_up(edge % edges),
            Op::TakeOver(edge) => {
                let edge = &mut self.edges[edge % edges];
                let (old, number) = (&edge.reporter, edge.reporter.number());
                let (holds, until_ms) = (old.holds(), old.contact_until_ms());
                edge.reporter = Reporter::resume(old.table().clone(), number, holds, until_ms);
                edge.is_waiting = false;
            }
            Op::Restart(edge) => {
                let edge = &mut self.edges[edge % edges];
                (edge.id, edge.is_waiting) = (self.ids, false);
                edge.meters.clear();
                edge.reporter = Reporter::default();
                self.ids += 1;
            }
            Op::Ask(edge, demand) => self.edges[edge % edges].demand = demand,
            Op::Pass(ms) => self.real_ms += ms,
            Op::Plan => self.fleet.plan(self.real_ms),
            Op::Forget => {
                self.incarnations += 1;
                self.fleet = Fleet::new(self.incarnations, SETTINGS, self.real_ms);
                self.register();
            }
            Op::Unregister | Op::Register | Op::Unlimit => {
                self.is_registered = match op {
                    Op::Unregister => None,
                    _ => Some(matches!(op, Op::Register)),
                };
                self.register();
            }
            Op::Limit(limit) => {
                self.limit = limit;
                self.limit_max = self.limit_max.max(limit);
                self.register();
            }
        }
    }

    fn give_up(&mut self, n: usize) {
        let edge = &mut self.edges[n];
        if edge.is_waiting {
            edge.is_waiting = false;
            edge.reporter.fail(7, edge.now_ms(self.real_ms));
        }
    }

    fn send(&mut self, n: usize) {
        self.give_up(n);
        let edge = &mut self.edges[n];
        let now_ms = edge.now_ms(self.real_ms);
        // As long as all that its average is of.
        // There is one item: its meter has the first place.
        edge.reporter.ask(&[u64::from(edge.demand) * 1_000], 1_000_000);
        let report = edge.reporter.report(Vec::new(), 0, now_ms);
        edge.is_waiting = true;
        self.network.push(Message::Report { edge: edge.id, report });
    }

    fn exchange(&mut self, n: usize) {
        let others = self.network.len();
        self.send(n);
        // The report, and what comes back, if anything does.
        while self.network.len() > others
            && let Some(message) = self.network.pop()
        {
            self.deliver(message);
        }
    }

    fn deliver(&mut self, message: Message) {
        match message {
            Message::Report { edge, report } => {
                let reply = self.fleet.report(edge, &report, self.real_ms, 0);
                let number = report.number;
                self.network.extend(reply.map(|reply| Message::Reply { edge, number, reply }).ok());
            }
            Message::Reply { edge, number, reply } => {
                let edge = self.edges.iter_mut().find(|candidate| candidate.id == edge);
                if let Some(edge) = edge
                    && edge.is_waiting
                    && edge.reporter.number() == number
                {
                    edge.is_waiting = false;
                    let now_ms = edge.now_ms(self.real_ms);
                    let change = edge.reporter.accept(reply, now_ms);
                    edge.meters
                        .extend(change.shares.into_iter().map(|(_, place, share)| (place, share)));
                }
            }
        }
    }

    fn held(&self) -> Vec<u32> {
        self.edges.iter().map(|edge| edge.share(self.real_ms)).collect()
    }

    /// Everybody reports and is answered, every 300 ms.
    fn calm(&mut self, rounds: usize) {
        self.network.clear();
        for _ in 0..rounds {
            self.run(Op::Pass(300));
            self.run(Op::Plan);
            (0..self.edges.len()).for_each(|edge| self.exchange(edge));
        }
    }

    /// Whether it is soon so. A unit that cannot be divided is on its way now and then, for four reports.
    fn comes_to(&mut self, is_so: impl Fn(&[u32]) -> bool) -> bool {
        (0..8).any(|_| {
            self.calm(1);
            is_so(&self.held())
        })
    }
}

fn total(shares: &[u32]) -> u64 {
    shares.iter().map(|share| u64::from(*share)).sum()
}

fn clocks() -> impl Strategy<Value = Vec<(u64, i64)>> {
    prop::collection::vec((0_u64..10_000, -500_i64..=500), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn shares_never_exceed_the_limit_and_recover(
        limit in 1_u32..120,
        clocks in clocks(),
        ops in prop::collection::vec(op(), 0..200),
    ) {
        let mut world = World::new(limit, &clocks);
        world.run(Op::Pass(SETTINGS.ttl_ms + 10));
        for op in ops {
            world.run(op);
            let held = world.held();
            prop_assert!(total(&held) <= world.limit_max.into(), "after {:?}: {:?}", op, held);
        }
        // Once nothing goes wrong any more, all of the limit is used: after what is gone has expired, and a
        // report or two.
        world.run(Op::Register);
        world.calm(18);
        let limit = u64::from(world.limit);
        prop_assert!(world.comes_to(|held| total(held) == limit), "{:?}", world.held());
    }
}

#[test]
fn shares_follow_demand() {
    let mut world = World::new(100, &[(0, 0), (5_000, 0), (77, 0)]);
    world.calm(10);
    assert!(world.comes_to(|held| total(held) == 100));
    for (demands, expected) in [([500, 0, 0], [100, 0, 0]), ([500, 500, 10], [45, 45, 10])] {
        (0..3).for_each(|edge| world.run(Op::Ask(edge, demands[edge])));
        // One report says what is asked for, the next is told to give up, the third has done so, and the
        // fourth takes.
        world.calm(4);
        assert_eq!(world.held(), expected);
    }
}

/// Demand is never the same twice. Where there is not enough for all either, only what matters moves shares.
#[test]
fn a_little_less_demand_moves_no_shares() {
    let mut world = World::new(100, &[(0, 0), (0, 0)]);
    let mut held = |demand| {
        world.run(Op::Ask(0, 500));
        world.run(Op::Ask(1, demand));
        world.calm(12);
        world.held()
    };
    assert_eq!([held(40), held(38), held(36), held(35)], [[60, 40], [60, 40], [60, 40], [65, 35]]);
    assert_eq!([held(36), held(0), held(1), held(0)], [[64, 36], [100, 0], [99, 1], [100, 0]]);
}

#[test]
fn a_lost_edge_keeps_its_share_until_its_session_has_ended() {
    let mut world = World::new(100, &[(0, 0), (0, 0)]);
    (0..2).for_each(|edge| world.run(Op::Ask(edge, 500)));
    world.calm(10);
    assert_eq!(world.held(), [50, 50]);
    let mut waited_ms = 0;
    while world.held()[0] < 100 {
        world.run(Op::Pass(100));
        world.run(Op::Plan);
        world.exchange(0);
        waited_ms += 100;
        assert!(total(&world.held()) <= 100);
    }
    assert!((SETTINGS.ttl_ms..SETTINGS.ttl_ms + 500).contains(&waited_ms), "{waited_ms} ms");
}

#[test]
fn a_service_that_forgot_learns_what_edges_have() {
    let mut world = World::new(100, &[(0, 0), (0, 0), (0, 0)]);
    (0..2).for_each(|edge| world.run(Op::Ask(edge, 500)));
    world.calm(10);
    assert_eq!(world.held(), [50, 50, 0]);
    world.run(Op::Forget);
    world.run(Op::Ask(2, 500));
    // For the time of a session everybody keeps what it has, however much the third asks for.
    for _ in 0..5 {
        world.calm(1);
        assert_eq!(world.held(), [50, 50, 0]);
    }
    world.calm(6);
    let is_divided = |held: &[u32]| total(held) == 100 && held.iter().all(|share| *share >= 33);
    assert!(world.comes_to(is_divided), "{:?}", world.held());
}

#[test]
fn a_thread_that_takes_over_goes_on_with_the_shares() {
    let mut world = World::new(100, &[(0, 0), (0, 0)]);
    (0..2).for_each(|edge| world.run(Op::Ask(edge, 500)));
    world.calm(10);
    world.run(Op::TakeOver(0));
    for _ in 0..5 {
        assert_eq!(world.held(), [50, 50]);
        world.calm(1);
    }
}

#[test]
fn there_are_only_so_many_edges() {
    let settings = Settings { edges_max: 2, ..SETTINGS };
    let mut fleet = Fleet::new(1, settings, 0);
    let mut reporter = Reporter::default();
    let report = reporter.report(Vec::new(), 0, 0);
    let refused = |fleet: &mut Fleet, id, now_ms| fleet.report(id, &report, now_ms, 0).err();
    assert_eq!(
        [1, 2, 3].map(|id| refused(&mut fleet, id, 0)),
        [None, None, Some(NotTaken::TooManyEdges { max: 2 })]
    );
    let outdated = NotTaken::Outdated { number: report.number, taken: report.number };
    assert_eq!(refused(&mut fleet, 1, 0), Some(outdated));
    // Whoever is gone makes room.
    fleet.plan(SETTINGS.ttl_ms + SETTINGS.margin_ms);
    assert_eq!(refused(&mut fleet, 3, SETTINGS.ttl_ms + SETTINGS.margin_ms), None);
    assert_eq!(fleet.edges(), 1);
}

#[test]
fn demand_is_what_all_edges_are_asked_for() {
    for limit in [Some(100), None] {
        let mut world = World::new(100, &[(0, 0), (0, 0)]);
        world.fleet.set(item(limit));
        let known = |world: &World| {
            (world.fleet.demand(&sku()), world.fleet.acknowledged(&sku()), world.fleet.behind())
        };
        world.calm(1);
        assert_eq!(known(&world), (Some(0), Some(0), 2), "told, and nobody has said so");
        (0..2).for_each(|edge| world.run(Op::Ask(edge, 70)));
        world.calm(1);
        assert_eq!(known(&world), (Some(140), Some(2), 0));
        world.fleet.remove(&sku());
        assert_eq!(known(&world), (None, None, 2));
        world.fleet.set(item(limit));
        assert_eq!(known(&world), (Some(0), Some(0), 2), "of what it is now nobody was asked");
        world.exchange(0);
        assert_eq!(known(&world), (Some(70), Some(0), 2));
        world.calm(2);
        assert_eq!(known(&world), (Some(140), Some(2), 0));
        // An edge that is gone is asked for nothing.
        for _ in 0..12 {
            world.run(Op::Pass(300));
            world.run(Op::Plan);
            world.exchange(0);
        }
        assert_eq!(known(&world), (Some(70), Some(1), 0));
    }
}

#[test]
fn only_what_is_news_is_told() {
    let mut world = World::new(100, &[(0, 0)]);
    world.calm(10);
    let quiet = |world: &mut World| {
        world.send(0);
        let Some(Message::Report { edge, report }) = world.network.pop() else { panic!() };
        let reply = world.fleet.report(edge, &report, world.real_ms, 0).unwrap();
        let said = (reply.items.len(), reply.gone.len(), reply.shares.len(), report.items.len());
        world.deliver(Message::Reply { edge, number: report.number, reply });
        said
    };
    assert_eq!(quiet(&mut world), (0, 0, 0, 0));
    world.fleet.set(Item { is_paused: true, ..item(Some(100)) });
    assert_eq!([quiet(&mut world), quiet(&mut world)], [(1, 0, 0, 0), (0, 0, 0, 0)]);
    world.fleet.remove(&sku());
    assert_eq!([quiet(&mut world), quiet(&mut world)], [(0, 1, 0, 0), (0, 0, 0, 0)]);
    // More than is remembered: all there is, instead of what is gone.
    let numbered = |n| Item { sku: Sku::parse(&format!("B{n}")).unwrap(), ..item(None) };
    for n in 0..3_000 {
        world.fleet.set(numbered(n));
        if n > 0 {
            world.fleet.remove(&numbered(n).sku);
        }
    }
    assert_eq!([quiet(&mut world), quiet(&mut world)], [(1, 0, 0, 0), (0, 0, 0, 0)]);
    assert_eq!(world.edges[0].reporter.table().items.len(), 1);
}
