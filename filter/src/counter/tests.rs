//! Threads that count in one store, one after the other in any order, and really at once.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::*;
use crate::count::SetError;
use crate::count::tests::{Store, Timed};

const S: u64 = 1_000_000_000;
const SETS: u32 = 4;

fn limit((per_second, burst): (u64, u64)) -> Limit {
    Limit::new(per_second, burst).unwrap()
}

fn sku(name: &str) -> Sku {
    Sku::parse(name).unwrap()
}

fn client(address: &str) -> Client {
    use cartgate_policy::extract::Head;
    let head = Head::new(vec![]);
    ClientSource::SourceAddress.client(&head, address.as_bytes(), &[1; 16])
}

fn of_sku(sku: &Sku, limit: Limit, cost: u64) -> Charge<'_> {
    let cost = Quantity::new(cost).unwrap();
    Charge { subject: Subject::Sku { sku, sets_count: SETS }, limit, cost, is_shadow: false }
}

fn of_listed(sku: &Sku, limit: Limit, cost: u64) -> Charge<'_> {
    let subject = Subject::Listed { sku, others: limit, sets_count: SETS };
    Charge { subject, ..of_sku(sku, limit, cost) }
}

fn of_client(sku: &Sku, client: Client, limit: Limit, cost: u64) -> Charge<'_> {
    let source = &ClientSource::SourceAddress;
    let subject = Subject::Client { sku, client, source, sets_count: SETS };
    Charge { subject, ..of_sku(sku, limit, cost) }
}

/// Units admitted over time: never above a limit, over any window.
#[derive(Default)]
struct Admitted(Vec<(u64, u64)>);

impl Admitted {
    fn check(&self, per_second: u64, burst: u64) {
        for (start, (from, _)) in self.0.iter().enumerate() {
            let mut sum = 0;
            for (at, cost) in &self.0[start..] {
                sum += cost;
                let above_burst = sum.saturating_sub(burst);
                assert!(above_burst * S <= per_second * (at - from), "{sum} in {} ns", at - from);
            }
        }
    }
}

fn denied(verdict: Verdict) -> usize {
    match verdict.refused {
        Some((n, Decision::Denied { .. })) => n,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_cost_of_a_refusal_is_nobodys() {
    let clock = Timed::default();
    clock.now_ns.set(S);
    let counter = Counter::new(clock.clone(), [0; 16]);
    let (a, one, two) = (sku("A"), client("192.0.2.1"), client("192.0.2.2"));
    let (product, person) = (limit((1, 3)), limit((1, 2)));
    let ask = |client| {
        let charges = [of_listed(&a, product, 1), of_client(&a, client, person, 1)];
        counter.charge(&charges).unwrap()
    };
    // The client's limit refuses the third, and the product still has one for somebody else.
    assert_eq!([ask(one).refused, ask(one).refused], [None; 2]);
    assert_eq!(denied(ask(one)), 1);
    assert_eq!(ask(two).refused, None);
    // Now the product's does, again and again, and costs the client nothing.
    for _ in 0..5 {
        assert_eq!(denied(ask(two)), 0);
    }
    clock.now_ns.set(2 * S);
    assert_eq!(ask(two).refused, None);
}

#[test]
fn a_cost_that_a_client_can_never_have_is_refused_as_such() {
    let clock = Timed::default();
    let counter = Counter::new(clock, [0; 16]);
    let (a, one) = (sku("A"), client("192.0.2.1"));
    let ask = |cost| {
        let charges = [of_sku(&a, limit((10, 10)), cost), of_client(&a, one, limit((1, 2)), cost)];
        counter.charge(&charges).unwrap()
    };
    assert_eq!(ask(5).refused, Some((1, Decision::OverBurst)));
    // Also while the product has nothing left, and would have soon.
    assert_eq!(counter.charge(&[of_sku(&a, limit((10, 10)), 10)]).unwrap().refused, None);
    assert_eq!(denied(ask(1)), 0);
    assert_eq!(ask(5).refused, Some((1, Decision::OverBurst)));
}

/// Most requests above a client's limit are only looked at, and what they change must not be forgotten.
#[test]
fn what_a_refusal_says_comes_true() {
    let (a, one) = (sku("A"), client("192.0.2.1"));
    let product = limit((1_000_000, 1_000_000));
    let ask = |counter: &Counter<Timed>, person, cost| {
        let charges = [of_sku(&a, product, cost), of_client(&a, one, limit(person), cost)];
        counter.charge(&charges).unwrap().refused
    };
    let check = |clock: &Timed, retry_after_ns| {
        let counter = Counter::new(clock.clone(), [0; 16]);
        let denied = Some((1, Decision::Denied { retry_after_ns }));
        assert_eq!(ask(&counter, (100, 2), 1), denied);
        clock.now_ns.set(clock.now_ns.get() + retry_after_ns);
        assert_eq!(ask(&counter, (100, 2), 1), None);
    };
    // The limit was raised while the client owed 100 units of a slower one.
    let clock = Timed::default();
    clock.now_ns.set(S);
    assert_eq!(ask(&Counter::new(clock.clone(), [0; 16]), (1, 100), 100), None);
    check(&clock, 99 * S / 100);
    // Something else wrote to all of the keys.
    let clock = Timed::default();
    for set in 0..SETS {
        let key = [CLIENTS_KEY, b"source_address/", &set.to_le_bytes()].concat();
        clock.set(&key, b"?", None).unwrap();
    }
    check(&clock, S / 100);
}

/// What a client is to one limit leases it nothing of another, even if it sends the same to both.
#[test]
fn no_limit_is_spent_from_what_is_leased_of_another() {
    use cartgate_policy::extract::Head;
    let sources = [r#"{"cookie": "session"}"#, r#"{"header": "x-device"}"#];
    let sources: [ClientSource; 2] = sources.map(|json| serde_json::from_str(json).unwrap());
    let alike = Head::new(vec![(b"cookie", b"session=me"), (b"x-device", b"me")]);
    for head in [alike, Head::new(vec![])] {
        let clock = Timed::default();
        let counter = Counter::new(clock.clone(), [0; 16]);
        let (a, plenty, few) = (sku("A"), limit((100_000, 10_000)), limit((1, 2)));
        let of = |source, limit| {
            let client = ClientSource::client(source, &head, b"", &[1; 16]);
            let subject = Subject::Client { sku: &a, client, source, sets_count: SETS };
            Charge { subject, ..of_sku(&a, limit, 1) }
        };
        let charges = [of_sku(&a, plenty, 1), of(&sources[0], plenty), of(&sources[1], few)];
        let admitted = (0..1_000).filter(|n| {
            clock.now_ns.set(S + n * 1_000);
            counter.charge(&charges).unwrap().refused.is_none()
        });
        assert_eq!(admitted.count(), 2);
    }
}

proptest! {
    /// Threads take turns in any order, with leases, several limits, costs, and pauses.
    #[test]
    fn no_limit_is_exceeded_over_any_window(
        product in (1..100_000_u64, 1..500_u64), person in (1..1_000_u64, 1..100_u64),
        is_listed: bool,
        requests in prop::collection::vec(
            (0..3_usize, 0..2_usize, prop_oneof![0..1_000_u64, 0..3_000_000_u64, 0..90_000_000_u64],
             1..4_u64),
            1..300,
        ),
    ) {
        let clock = Timed::default();
        let counters = [0; 3].map(|_| Counter::new(clock.clone(), [0; 16]));
        let (a, clients) = (sku("A"), [client("192.0.2.1"), client("192.0.2.2")]);
        let (mut of_product, mut of_clients) = (Admitted::default(), <[Admitted; 2]>::default());
        clock.now_ns.set(S);
        for (thread, who, pause, cost) in requests {
            clock.now_ns.set(clock.now_ns.get() + pause);
            let first = match is_listed {
                true => of_listed(&a, limit(product), cost),
                false => of_sku(&a, limit(product), cost),
            };
            let charges = [first, of_client(&a, clients[who], limit(person), cost)];
            let verdict = counters[thread].charge(&charges).unwrap();
            if verdict.refused.is_none() {
                of_product.0.push((clock.now_ns.get(), cost));
                of_clients[who].0.push((clock.now_ns.get(), cost));
            }
        }
        of_product.check(product.0, product.1);
        of_clients.iter().for_each(|of_client| of_client.check(person.0, person.1));
    }
}

/// A store that somebody else comes to, just before it is called for the `n`th time.
struct Meddled<F> {
    clock: Timed,
    before: Cell<u32>,
    meddle: F,
}

impl<F: Fn()> Meddled<F> {
    fn clock(&self) -> &Timed {
        self.before.set(self.before.get().wrapping_sub(1));
        if self.before.get() == 0 {
            (self.meddle)();
        }
        &self.clock
    }
}

impl<F: Fn()> SharedStore for Meddled<F> {
    type Error = ();

    fn get(&self, key: &[u8]) -> Result<Option<(Vec<u8>, u32)>, ()> {
        self.clock().get(key)
    }

    fn set(
        &self,
        key: &[u8],
        value: &[u8],
        cas: Option<u32>,
    ) -> Result<(), crate::count::SetError<()>> {
        self.clock().set(key, value, cas)
    }

    fn now_ns(&self) -> Result<u64, ()> {
        self.clock().now_ns()
    }
}

/// Wherever another thread comes between, what was taken of the product is there for the next.
#[test]
fn what_is_taken_in_vain_is_not_lost() {
    let (a, one) = (sku("A"), client("192.0.2.1"));
    let (product, person) = (limit((1_000, 100)), limit((1, 1)));
    let mut in_vain = 0;
    for before in 1..12 {
        let clock = Timed::default();
        clock.now_ns.set(S);
        let other = Counter::new(clock.clone(), [0; 16]);
        let meddle = || assert!(other.charge(&[of_client(&a, one, person, 1)]).is_ok());
        let store = Meddled { clock, before: Cell::new(before), meddle };
        let counter = Counter::new(store, [0; 16]);
        let charges = [of_sku(&a, product, 1), of_client(&a, one, person, 1)];
        let first = counter.charge(&charges).unwrap().refused.is_none();
        in_vain += u32::from(!first);
        let ask = || counter.charge(&[of_sku(&a, product, 1)]).unwrap();
        let admitted = (0..200).filter(|_| ask().refused.is_none()).count();
        // All but what could be in leases.
        assert_eq!(usize::from(first) + admitted, 95, "before call {before}");
    }
    assert!(in_vain > 0, "nobody came between");
}

proptest! {
    /// One thread comes between what another does, anywhere.
    #[test]
    fn no_limit_is_exceeded_by_who_comes_between(
        product in (1..100_000_u64, 1..500_u64), person in (1..1_000_u64, 1..100_u64),
        requests in prop::collection::vec(
            (prop_oneof![0..1_000_u64, 0..3_000_000_u64, 0..90_000_000_u64], 1..6_u64, 0..12_u32),
            1..200,
        ),
    ) {
        let clock = Timed::default();
        clock.now_ns.set(S);
        let (a, one) = (sku("A"), client("192.0.2.1"));
        let admitted = std::cell::RefCell::new(Admitted::default());
        let charges = |cost| {
            [of_sku(&a, limit(product), cost), of_client(&a, one, limit(person), cost)]
        };
        let note = |verdict: Verdict, cost| if verdict.refused.is_none() {
            admitted.borrow_mut().0.push((clock.now_ns.get(), cost));
        };
        let other = Counter::new(clock.clone(), [0; 16]);
        let meddle = || note(other.charge(&charges(1)).unwrap(), 1);
        let counter =
            Counter::new(Meddled { clock: clock.clone(), before: Cell::new(0), meddle }, [0; 16]);
        for (pause, cost, before) in requests {
            clock.now_ns.set(clock.now_ns.get() + pause);
            counter.store.before.set(before);
            note(counter.charge(&charges(cost)).unwrap(), cost);
        }
        admitted.borrow().check(product.0, product.1);
        admitted.borrow().check(person.0, person.1);
    }
}

/// A clock that goes on with every look at it.
struct Racing<'a> {
    store: &'a Store,
    now_ns: &'a AtomicU64,
}

impl SharedStore for Racing<'_> {
    type Error = ();

    fn get(&self, key: &[u8]) -> Result<Option<(Vec<u8>, u32)>, ()> {
        self.store.get(key)
    }

    fn set(
        &self,
        key: &[u8],
        value: &[u8],
        cas: Option<u32>,
    ) -> Result<(), crate::count::SetError<()>> {
        self.store.set(key, value, cas)
    }

    fn now_ns(&self) -> Result<u64, ()> {
        Ok(self.now_ns.fetch_add(1_000, Ordering::SeqCst))
    }
}

/// Threads that come between one another's looking and taking: over the whole time no more is admitted
/// than the limits allow, of the product and of each client.
#[test]
fn threads_at_once_admit_no_more_than_the_limits() {
    let (store, clock) = (Store::default(), AtomicU64::new(S));
    let (product, person) = ((20_000, 300), (8_000, 200));
    let clients = [client("192.0.2.1"), client("192.0.2.2")];
    let run = |thread: usize| {
        let racing = Racing { store: &store, now_ns: &clock };
        let (counter, a) = (Counter::new(racing, [0; 16]), sku("A"));
        let mut admitted = [0_u64; 2];
        for n in 0..20_000 {
            let who = (n + thread) % 2;
            let of_client = of_client(&a, clients[who], limit(person), 1);
            let verdict = counter.charge(&[of_listed(&a, limit(product), 1), of_client]);
            // Contended is a refusal, too.
            if verdict.is_ok_and(|verdict| verdict.refused.is_none()) {
                admitted[who] += 1;
            }
        }
        admitted
    };
    let admitted: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|n| scope.spawn(move || run(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let seconds = (clock.into_inner() - S) as f64 / S as f64;
    let most = |(per_second, burst): (u64, u64)| per_second as f64 * seconds + burst as f64;
    let of_client =
        |who: usize| admitted.iter().map(|by_thread| by_thread[who]).sum::<u64>() as f64;
    let all = of_client(0) + of_client(1);
    assert!(all <= most(product), "{all} of {}", most(product));
    for who in 0..2 {
        assert!(of_client(who) <= most(person), "{} of {}", of_client(who), most(person));
    }
    assert!(all >= 0.5 * most(person), "{all}: the test proves nothing");
}

fn in_shadow(charge: Charge<'_>) -> Charge<'_> {
    Charge { is_shadow: true, ..charge }
}

/// What is enforced is charged once, whatever those in shadow say, and they are charged for what they would
/// have admitted.
#[test]
fn a_limit_in_shadow_refuses_nothing_and_costs_the_others_nothing() {
    let clock = Timed::default();
    clock.now_ns.set(S);
    let counter = Counter::new(clock, [0; 16]);
    let (a, b, one) = (sku("A"), sku("B"), client("192.0.2.1"));
    let denied_by =
        |verdict: &Verdict| verdict.would_be.iter().map(|(n, _)| *n).collect::<Vec<_>>();
    let ask = || {
        let charges = [
            in_shadow(of_listed(&a, limit((1, 1)), 1)),
            of_client(&a, one, limit((1, 4)), 1),
            in_shadow(of_listed(&b, limit((1, 2)), 1)),
        ];
        counter.charge(&charges).unwrap()
    };
    for expected in [&[][..], &[0], &[0, 2], &[0, 2]] {
        let verdict = ask();
        assert_eq!((verdict.refused, denied_by(&verdict)), (None, expected.to_vec()));
    }
    // The four units that are enforced were charged once each.
    let verdict = ask();
    assert_eq!(denied(verdict.clone()), 1);
    // One that can never be admitted would be refused as such, and the rest goes on.
    let c = sku("C");
    let charges = [in_shadow(of_listed(&a, limit((1, 1)), 2)), of_listed(&c, limit((1, 2)), 2)];
    let verdict = counter.charge(&charges).unwrap();
    assert_eq!((verdict.refused, verdict.would_be), (None, vec![(0, Decision::OverBurst)]));
}

/// A store that fails for what is in shadow, which nobody must notice.
#[test]
fn what_fails_in_shadow_refuses_nothing() {
    let (a, one) = (sku("A"), client("192.0.2.1"));
    let counter = Counter::new(Failing, [0; 16]);
    let shadow = in_shadow(of_sku(&a, limit((1, 1)), 1));
    let verdict = counter.charge(&[shadow]).unwrap();
    assert_eq!((verdict.refused, verdict.would_be), (None, vec![]));
    let of_client = of_client(&a, one, limit((1, 1)), 1);
    assert_eq!(counter.charge(&[shadow, in_shadow(of_client)]), Ok(Verdict::default()));
    assert!(counter.charge(&[shadow, of_client]).is_err());
}

struct Failing;

impl SharedStore for Failing {
    type Error = ();

    fn get(&self, _: &[u8]) -> Result<Option<(Vec<u8>, u32)>, ()> {
        Err(())
    }

    fn set(&self, _: &[u8], _: &[u8], _: Option<u32>) -> Result<(), SetError<()>> {
        Err(SetError::Store(()))
    }

    fn now_ns(&self) -> Result<u64, ()> {
        Ok(1)
    }
}
