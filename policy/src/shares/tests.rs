//! Edges and a service that report and grant over a network that loses, repeats and delays, with clocks that
//! run at different speeds, and a service that forgets.

use proptest::prelude::*;

use super::*;

const TTL_MS: u64 = 2_000;

fn terms(limit: u32) -> Terms {
    Terms { limit, ttl_ms: TTL_MS, margin_ms: 3, edges_max: 100 }
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
    Ask(usize, u32),
    Pass(u64),
    Plan,
    Forget,
}

fn op() -> impl Strategy<Value = Op> {
    let any = any::<usize>;
    prop_oneof![
        40 => any().prop_map(Op::Exchange),
        10 => any().prop_map(Op::Send),
        15 => any().prop_map(Op::Deliver),
        4 => any().prop_map(Op::Lose),
        4 => any().prop_map(Op::Repeat),
        10 => (any(), 0_u32..200).prop_map(|(edge, demand)| Op::Ask(edge, demand)),
        20 => (1_u64..700).prop_map(Op::Pass),
        20 => Just(Op::Plan),
        1 => Just(Op::Forget),
    ]
}

#[derive(Clone, Copy, Debug)]
enum Message {
    Report { report: Report, number: u64 },
    Reply { edge: u64, grant: Grant, number: u64 },
}

#[derive(Clone, Debug)]
struct Edge {
    share: Share,
    demand: u32,
    /// The number of its last report, and when it was sent.
    sent: (u64, u64),
    ahead_ms: u64,
    faster_ppm: i64,
}

impl Edge {
    fn now_ms(&self, real_ms: u64) -> u64 {
        let real = i128::from(real_ms);
        let local = real + real * i128::from(self.faster_ppm) / 1_000_000;
        u64::try_from(local).unwrap() + self.ahead_ms
    }
}

struct World {
    terms: Terms,
    real_ms: u64,
    book: Book,
    incarnations: u64,
    edges: Vec<Edge>,
    network: Vec<Message>,
}

impl World {
    fn new(limit: u32, clocks: &[(u64, i64)]) -> Self {
        let (terms, real_ms) = (terms(limit), 1_000);
        let edge = |&(ahead_ms, faster_ppm): &(u64, i64)| {
            let (share, demand, sent) = Default::default();
            Edge { share, demand, sent, ahead_ms, faster_ppm }
        };
        let (book, network) = (Book::new(1, terms, real_ms), Vec::new());
        let edges = clocks.iter().map(edge).collect();
        Self { terms, real_ms, book, incarnations: 1, edges, network }
    }

    fn run(&mut self, op: Op) {
        let message =
            |n: usize, network: &[Message]| (!network.is_empty()).then(|| n % network.len());
        match op {
            Op::Exchange(edge) => self.exchange(edge % self.edges.len()),
            Op::Send(edge) => self.send(edge % self.edges.len()),
            Op::Deliver(n) => {
                if let Some(n) = message(n, &self.network) {
                    let message = self.network.swap_remove(n);
                    self.deliver(message);
                }
            }
            Op::Lose(n) => drop(message(n, &self.network).map(|n| self.network.swap_remove(n))),
            Op::Repeat(n) => {
                let again = message(n, &self.network).map(|n| self.network[n]);
                self.network.extend(again);
            }
            Op::Ask(edge, demand) => {
                let count = self.edges.len();
                self.edges[edge % count].demand = demand;
            }
            Op::Pass(ms) => self.real_ms += ms,
            Op::Plan => self.book.plan(self.real_ms),
            Op::Forget => {
                self.incarnations += 1;
                self.book = Book::new(self.incarnations, self.terms, self.real_ms);
            }
        }
    }

    fn send(&mut self, n: usize) {
        let edge = &mut self.edges[n];
        let now_ms = edge.now_ms(self.real_ms);
        edge.sent = (edge.sent.0 + 1, now_ms);
        let held = edge.share.held(now_ms);
        let report = Report { edge: n as u64, demand: edge.demand, held };
        self.network.push(Message::Report { report, number: edge.sent.0 });
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
            Message::Report { report, number } => {
                let grant = self.book.report(report, self.real_ms);
                let reply = |grant| Message::Reply { edge: report.edge, grant, number };
                self.network.extend(grant.map(reply));
            }
            Message::Reply { edge, grant, number } => {
                let edge = &mut self.edges[usize::try_from(edge).unwrap()];
                if edge.sent.0 == number {
                    edge.share.accept(grant, edge.sent.1);
                }
            }
        }
    }

    fn held(&self) -> Vec<u32> {
        let held = |edge: &Edge| edge.share.held(edge.now_ms(self.real_ms));
        self.edges.iter().map(|edge| held(edge).map_or(0, |grant| grant.per_second)).collect()
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
}

impl World {
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
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn grants_never_exceed_the_limit_and_recover(
        limit in 0_u32..120,
        clocks in clocks(),
        ops in prop::collection::vec(op(), 0..150),
    ) {
        let mut world = World::new(limit, &clocks);
        world.run(Op::Pass(TTL_MS + 10));
        for op in ops {
            world.run(op);
            let held = world.held();
            prop_assert!(total(&held) <= u64::from(limit), "after {:?}: {:?}", op, held);
        }
        // Once nothing goes wrong any more, all of the limit is used: after whatever was granted has
        // expired, and a report or two.
        world.calm(18);
        prop_assert!(world.comes_to(|held| total(held) == u64::from(limit)), "{:?}", world.held());
    }
}

#[test]
fn an_edge_goes_on_with_the_latest_grant() {
    let mut share = Share::default();
    let grant = |incarnation, seq| Grant { incarnation, seq, per_second: 5, ttl_ms: TTL_MS };
    assert_eq!(share.held(0), None);
    for (given, kept) in [((1, 2), (1, 2)), ((1, 1), (1, 2)), ((1, 3), (1, 3)), ((2, 1), (2, 1))] {
        share.accept(grant(given.0, given.1), 1_000);
        assert_eq!(share.held(2_999), Some(grant(kept.0, kept.1)));
    }
    // One that is not taken lasts no longer for it.
    share.accept(grant(2, 1), 2_000);
    assert_eq!(share.held(3_000), None);
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

#[test]
fn a_lost_edge_keeps_its_part_until_its_grant_has_expired() {
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
    assert!((TTL_MS..TTL_MS + 500).contains(&waited_ms), "{waited_ms} ms");
}

#[test]
fn a_service_that_forgot_learns_what_edges_hold() {
    let mut world = World::new(100, &[(0, 0), (0, 0), (0, 0)]);
    (0..2).for_each(|edge| world.run(Op::Ask(edge, 500)));
    world.calm(10);
    assert_eq!(world.held(), [50, 50, 0]);
    world.run(Op::Forget);
    world.run(Op::Ask(2, 500));
    // For the time of a grant everybody keeps what it has, however much the third asks for.
    world.calm(5);
    assert_eq!(world.held(), [50, 50, 0]);
    world.calm(6);
    let is_divided = |held: &[u32]| total(held) == 100 && held.iter().all(|share| *share >= 33);
    assert!(world.comes_to(is_divided), "{:?}", world.held());
}

#[test]
fn there_are_only_so_many_edges() {
    let mut book = Book::new(1, Terms { edges_max: 2, ..terms(10) }, 0);
    book.plan(TTL_MS + 10);
    let report = |edge| Report { edge, demand: 5, held: None };
    let granted = |edge, book: &mut Book| book.report(report(edge), TTL_MS + 10).is_some();
    assert_eq!([1, 2, 3].map(|edge| granted(edge, &mut book)), [true, true, false]);
    // Whoever is gone makes room.
    book.plan(3 * TTL_MS + 20);
    assert!(book.report(report(3), 3 * TTL_MS + 20).is_some());
}
