//! Threads of one edge that share a store, and a service.

use cartgate_policy::Quantity;
use cartgate_policy::fleet::{self, Item, Session, Settings};
use cartgate_policy::gcra::{Decision, Limit};

use super::*;
use crate::count::NS_PER_MS;
use crate::count::tests::Timed;
use crate::counter::{Charge, Counter, Subject, Verdict};

const S: u64 = 1_000 * NS_PER_MS;
const TICK_NS: u64 = TICK_MS as u64 * NS_PER_MS;

const SETTINGS: Settings =
    Settings { ttl_ms: 3_000, margin_ms: 5, report_every_ms: 200, edges_max: 10 };

/// The service's clock is not the edge's.
const AHEAD_MS: u64 = 5_000;
const UNIX_MS: u64 = 1_800_000_000_000;

fn sku(name: &str) -> Sku {
    Sku::parse(name).unwrap()
}

fn item(name: &str, limit: Option<(u64, u64)>) -> Item {
    Item {
        sku: sku(name),
        limit: limit.map(|(per_second, burst)| Limit::new(per_second, burst).unwrap()),
        client_limit: None,
        opens_at_ms: None,
        closes_at_ms: None,
        sold_out_until_ms: None,
        is_paused: false,
    }
}

struct Thread {
    fleet: Fleet<Timed>,
    counter: Counter<Timed>,
}

struct World {
    clock: Timed,
    threads: Vec<Thread>,
    service: fleet::Fleet,
    is_away: bool,
    reports: Vec<(usize, Report)>,
    calls: u32,
    contact: Option<(Contact, usize)>,
}

impl World {
    fn new(threads: usize) -> Self {
        let clock = Timed::default();
        clock.now_ns.set(S);
        let (is_away, reports, calls, contact) = Default::default();
        let service = fleet::Fleet::new(1, SETTINGS, 0);
        let threads = Vec::with_capacity(threads);
        Self { clock, threads, service, is_away, reports, calls, contact }.with(threads_of)
    }

    fn with(mut self, threads: impl Fn(&mut Self)) -> Self {
        threads(&mut self);
        self
    }

    fn start(&mut self) {
        let me = self.threads.len() as u64 + 1;
        let fleet = Fleet::new(self.clock.clone(), "cartgate", [0; 16], (me, me)).unwrap();
        let counter = Counter::new(self.clock.clone(), [0; 16]);
        self.threads.push(Thread { fleet, counter });
    }

    fn now_ns(&self) -> u64 {
        self.clock.now_ns.get()
    }

    /// Time passes, by a tick, of all threads but those that hang.
    fn tick(&mut self, hang: &[usize]) {
        self.clock.now_ns.set(self.now_ns() + TICK_NS);
        let now_ms = self.now_ns() / NS_PER_MS + AHEAD_MS;
        self.service.plan(now_ms);
        for n in (0..self.threads.len()).filter(|n| !hang.contains(n)) {
            let Thread { fleet, counter } = &self.threads[n];
            let ticked = fleet.tick().unwrap();
            if ticked.have_shares_changed {
                counter.forget_denials();
            }
            self.contact = ticked.contact.or(self.contact);
            let Some(report) = ticked.report else { continue };
            self.calls += 1;
            fleet.sent(Some(self.calls), 0);
            let reply = match self.is_away {
                true => None,
                false => self.service.report(fleet.edge, &report, now_ms, UNIX_MS + now_ms).ok(),
            };
            fleet.answered(self.calls, reply, 0).unwrap();
            self.reports.push((n, report));
        }
    }

    fn ticks(&mut self, times: usize) {
        (0..times).for_each(|_| self.tick(&[]));
    }

    /// A request for one unit. `None`: this thread does not know the item.
    fn ask(&self, thread: usize, name: &str) -> Option<Verdict> {
        let (Thread { fleet, counter }, sku) = (&self.threads[thread], sku(name));
        let view = fleet.view();
        let Some(item) = view.item(&sku) else {
            fleet.ask_other(&sku, 1);
            return None;
        };
        view.ask(item, 1);
        let (keys, contact_until_ns) = (fleet.keys(), view.contact_until_ns);
        let subject = Subject::Hot { sku: &sku, item, keys, contact_until_ns };
        let charge = Charge {
            subject,
            limit: item.item.limit.unwrap(),
            cost: Quantity::ONE,
            is_shadow: false,
        };
        Some(counter.charge(&[charge]).unwrap())
    }

    /// How many of so many requests for one unit pass, over all threads, one every millisecond.
    fn admitted(&mut self, requests: usize) -> usize {
        let mut admitted = 0;
        for n in 0..requests {
            self.clock.now_ns.set(self.now_ns() + NS_PER_MS);
            if n % TICK_MS as usize == TICK_MS as usize - 1 {
                let now_ns = self.now_ns();
                self.clock.now_ns.set(now_ns - TICK_NS);
                self.tick(&[]);
            }
            let verdict = self.ask(n % self.threads.len(), "HOT");
            admitted += usize::from(verdict.is_none_or(|verdict| verdict.refused.is_none()));
        }
        admitted
    }
}

fn threads_of(world: &mut World) {
    for _ in 0..world.threads.capacity() {
        world.start();
    }
}

#[test]
fn one_thread_reports_and_all_know() {
    let mut world = World::new(3);
    world.service.set(item("HOT", Some((100, 100))));
    world.ticks(3);
    for Thread { fleet, .. } in &world.threads {
        assert!(fleet.view().item(&sku("HOT")).is_some());
        // Half way through a report that took no time at all.
        let service_ms = UNIX_MS + AHEAD_MS + world.now_ns() / NS_PER_MS;
        assert_eq!(fleet.view().service_ms(world.now_ns()), service_ms);
    }
    assert!(world.reports.iter().all(|(thread, _)| *thread == 0));
    assert_eq!(world.contact, Some((Contact::Fresh, 1)));
    // What is another edge's is not mixed up with it.
    let other = Fleet::new(world.clock.clone(), "other", [0; 16], (9, 9)).unwrap();
    assert_eq!((other.edge, world.threads[2].fleet.edge), (9, 1));
    other.tick().unwrap();
    assert!(other.view().item(&sku("HOT")).is_none());
    world.service.remove(&sku("HOT"));
    world.ticks(6);
    assert!(world.threads.iter().all(|thread| thread.fleet.view().item(&sku("HOT")).is_none()));
}

#[test]
fn what_all_threads_are_asked_for_is_reported() {
    let mut world = World::new(2);
    world.service.set(item("HOT", Some((1_000, 1_000))));
    world.ticks(3);
    for _ in 0..20 {
        world.tick(&[]);
        for thread in 0..2 {
            (0..10).for_each(|_| _ = world.ask(thread, "HOT"));
            (0..6).for_each(|_| _ = world.ask(thread, "OTHER"));
        }
    }
    let (_, last) = world.reports.last().unwrap();
    // Twenty units in 100 ms.
    let [hot] = &last.items[..] else { panic!("{last:?}") };
    assert!(hot.sku == sku("HOT") && (180..=200).contains(&hot.demand), "{hot:?}");
    let heavy = world.reports.iter().flat_map(|(_, report)| &report.heavy);
    let units: u64 = heavy.clone().map(|heavy| heavy.units).sum();
    assert!(heavy.clone().all(|heavy| heavy.sku == sku("OTHER")) && (160..=240).contains(&units));
    let over_ms: u64 = world.reports.iter().map(|(_, report)| report.over_ms).sum();
    assert!((1_800..=2_300).contains(&over_ms), "{over_ms} ms");
}

/// Also of one that is sent in haste, to say that a share has come.
#[test]
fn a_report_tells_of_the_time_that_it_names() {
    let mut world = World::new(1);
    // Until the service has learnt that nobody has anything.
    world.ticks(40);
    world.reports.clear();
    for n in 0..40 {
        if n % 7 == 0 {
            world.service.set(item(&format!("HOT-{n}"), Some((1_000, 1_000))));
        }
        (0..6).for_each(|_| _ = world.ask(0, "OTHER"));
        world.tick(&[]);
    }
    let told = world.reports.iter().map(|(_, report)| (report.over_ms, report.heavy[0].units));
    let told: Vec<_> = told.skip(1).collect();
    assert!(told.contains(&(100, 6)) && told.contains(&(200, 12)), "{told:?}");
    assert!(told.iter().all(|(over_ms, units)| over_ms * 6 == units * 100), "{told:?}");
}

#[test]
fn another_thread_takes_over() {
    let mut world = World::new(2);
    world.service.set(item("HOT", Some((1_000, 1_000))));
    // Until the service has learnt that nobody has anything.
    world.ticks(80);
    let share = |world: &World| {
        let _ = world.ask(1, "HOT");
        world.threads[1].fleet.view().item(&sku("HOT")).unwrap().share.get().per_second
    };
    assert_eq!(share(&world), 1_000);
    let reports = world.reports.len();
    for _ in 0..30 {
        world.tick(&[0]);
        assert_eq!(share(&world), 1_000);
    }
    let (before, after): (Vec<_>, Vec<_>) =
        world.reports[reports..].iter().partition(|(thread, _)| *thread == 0);
    assert!(before.is_empty() && after.len() > 3, "{after:?}");
    assert!(after.iter().all(|(_, report)| report.holds == Some(1)));
    // The one that hung is not in charge any more, and what it hears too late is nobody's business.
    let reply = fleet::Reply {
        version: world.service.version(),
        session: Session::Begun,
        ttl_ms: 1,
        report_in_ms: 1,
        edges: 1,
        now_ms: 0,
        is_all: true,
        items: Vec::new(),
        gone: Vec::new(),
        shares: Vec::new(),
    };
    world.threads[0].fleet.sent(Some(77), 0);
    world.threads[0].fleet.answered(77, Some(reply), 0).unwrap();
    world.ticks(5);
    assert_eq!(share(&world), 1_000);
    assert!(world.reports[reports..].iter().all(|(thread, _)| *thread == 1));
}

#[test]
fn a_fleets_limit_is_kept_and_used() {
    let mut world = World::new(4);
    world.service.set(item("HOT", Some((200, 200))));
    world.ticks(80);
    // A full bucket, less what leases take of it, and then 200 a second.
    let admitted = world.admitted(10_000);
    assert!((2_100..=2_200).contains(&admitted), "{admitted} in 10 s");
}

/// A thread remembers that it was denied until shares change, also the one that hears of it first.
#[test]
fn a_share_that_grows_is_used_by_whoever_was_denied() {
    for threads in 1..=2 {
        let mut world = World::new(threads);
        world.service.set(item("HOT", Some((1, 1))));
        world.ticks(80);
        let is_admitted = |world: &World, thread| {
            world.ask(thread, "HOT").is_some_and(|verdict| verdict.refused.is_none())
        };
        for thread in 0..threads {
            assert!((0..9).any(|_| !is_admitted(&world, thread)));
        }
        world.service.set(item("HOT", Some((1_000, 1_000))));
        // Told, taken, and some units have come: the denial was for a second.
        world.ticks(8);
        assert!((0..threads).all(|thread| is_admitted(&world, thread)), "{threads} threads");
    }
}

#[test]
fn who_hears_nothing_goes_on_with_its_share_and_then_its_safe_share() {
    let mut world = World::new(2);
    world.service.set(item("HOT", Some((200, 200))));
    // Another edge, that asks for nothing: its report is as good as any.
    let other = fleet::Reporter::default().report(Vec::new(), 0, 0);
    let beside = |world: &mut World, number| {
        let now_ms = world.now_ns() / NS_PER_MS + AHEAD_MS;
        let report = Report { number, ..other.clone() };
        world.service.report(99, &report, now_ms, 0).unwrap();
    };
    for number in 1..=10 {
        beside(&mut world, number);
        world.admitted(500);
    }
    world.is_away = true;
    let stale = world.admitted(1_000);
    assert!((190..=200).contains(&stale), "{stale}");
    assert_eq!(world.contact.unwrap().0, Contact::Stale);
    world.admitted(2_500);
    let safe = world.admitted(3_000);
    assert!((290..=300).contains(&safe), "half of the limit: {safe}");
    assert_eq!(world.contact, Some((Contact::Lost, 1)));
    world.is_away = false;
    world.admitted(7_000);
    let fresh = world.admitted(1_000);
    assert!((190..=200).contains(&fresh), "{fresh}");
    assert_eq!(world.contact.unwrap().0, Contact::Fresh);
}

#[test]
fn a_place_that_has_become_anothers_admits_nobody() {
    let mut world = World::new(2);
    world.service.set(item("HOT", Some((1_000, 1_000))));
    world.ticks(80);
    assert_eq!(world.ask(1, "HOT").unwrap().refused, None);
    world.service.remove(&sku("HOT"));
    world.service.set(item("NEXT", Some((1_000, 1_000))));
    // One thread has not heard of it yet.
    (0..10).for_each(|_| world.tick(&[1]));
    let refused: Vec<_> = (0..200).map(|_| world.ask(1, "HOT").unwrap().refused).collect();
    assert!(matches!(refused.last(), Some(Some((0, Decision::Denied { .. })))), "{refused:?}");
    assert!(refused.iter().filter(|refused| refused.is_none()).count() <= 25, "a lease at most");
    world.ticks(1);
    assert_eq!(world.ask(1, "HOT"), None);
    assert_eq!(world.ask(1, "NEXT").unwrap().refused, None);
}

#[test]
fn what_an_item_was_asked_for_is_not_the_next_ones_demand() {
    let mut world = World::new(2);
    world.service.set(item("HOT", Some((1_000, 1_000))));
    world.ticks(80);
    world.service.remove(&sku("HOT"));
    world.service.set(item("NEXT", Some((1_000, 1_000))));
    for _ in 0..20 {
        (0..100).for_each(|_| _ = world.ask(0, "HOT"));
        world.tick(&[]);
    }
    assert!(world.threads[0].fleet.view().item(&sku("NEXT")).is_some_and(|item| item.place == 0));
    let named = world.reports.iter().flat_map(|(_, report)| &report.items);
    assert_eq!(named.filter(|item| item.sku == sku("NEXT") && item.demand > 0).count(), 0);
}

#[test]
fn values_that_cannot_be_read_are_as_good_as_none() {
    let mut world = World::new(1);
    world.service.set(item("HOT", Some((1_000, 1_000))));
    world.ticks(80);
    let keys = Keys::new("cartgate");
    for key in [&keys.pulse, &keys.table, &keys.asked, &keys.meter(0)] {
        count::update(&world.clock, key, |_, _| Ok(((), Some(b"?".to_vec())))).unwrap();
    }
    world.start();
    world.ticks(100);
    assert_eq!(world.ask(0, "HOT").unwrap().refused, None);
    assert_eq!(world.ask(1, "HOT").unwrap().refused, None);
    assert_eq!(world.threads[0].fleet.view().take_asked(), [1]);
}
