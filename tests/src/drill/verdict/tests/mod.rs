//! The verdict on a small true case, and on the same case falsified in one way after the other:
//! each must be found out by the check that is there for it, and by no other.

mod honest;
mod shop;

use std::collections::HashMap;

use super::super::record::{Answer, Call, Order, Record, Settlement};
use super::{Case, Check, Limit, Limits, Span, judge};
use shop::{Shop, Trial, record};

/// Holds last this long.
const HOLD_MS: u64 = 20_000;

fn order(customer: &str, quantity: u32, key: Option<&str>) -> Order {
    let (sku, customer) = ("A".to_owned(), customer.to_owned());
    Order { sku, quantity, customer, key: key.map(str::to_owned) }
}

fn call(order: &Order) -> Call {
    Call::Reserve(order.clone())
}

/// A call that is sent `s` seconds after the drill began and takes a tenth of a second.
fn at(s: u64) -> [u64; 2] {
    [s * 1_000_000, s * 1_000_000 + 100_000]
}

/// What clients did, by serial number, with the journal's versions (8 units are set in entry 1):
///
/// ```text
///  1  r1 held, one unit: entry 2          8  the ticket: held
///  2  r2 held under a key: entry 3        9  no answer, yet r5 was taken: entry 8
///  3  repeats 2                          10  4 of the 3 available: sold-out
///  4  confirms r1: entry 4               11  r6 held, after r2 has expired: entries 9 and 10
///  5  r3 held: entry 5                   12  2's key for 5 units: refused
///  6  releases r3: entry 6               13  over the limit
///  7  a ticket, r4 for 2 units: entry 7
/// ```
fn true_script() -> Script {
    let mut script = Script { shop: Shop::new(HOLD_MS), records: Vec::new() };
    script.shop.set(0, "A", 8);
    script.order(1, 1, order("c1", 1, None));
    script.order(2, 2, order("c2", 1, Some("k2")));
    script.order(3, 3, order("c2", 1, Some("k2")));
    script.settle(4, "r1", Settlement::Confirm);
    script.order(5, 5, order("c3", 1, None));
    script.settle(6, "r3", Settlement::Release);
    let held = script.order(7, 7, order("c4", 2, None));
    let ticket = "r4".to_owned();
    script.note(8, 8, Call::Ticket { id: ticket.clone() }, held);
    script.records[6].answer = Answer::Queued { ticket };
    script.order(9, 9, order("c5", 1, None));
    script.records[8].answer = Answer::Lost;
    script.order(10, 10, order("c6", 4, None));
    script.order(11, 25, order("c7", 1, None));
    script.order(12, 26, order("c2", 5, Some("k2")));
    script.note(13, 26, call(&order("c8", 1, None)), Answer::OverLimit);
    script
}

/// The true case, in which the edge is limited.
fn true_trial() -> Trial {
    let script = true_script();
    let limit = Limit { per_second: 4, burst: 8 };
    let limits = Limits::all(limit);
    script.shop.into_trial(script.records, Some(limits))
}

/// Clients and the shop, call by call. Each call is decided in the middle of its time.
struct Script {
    shop: Shop,
    records: Vec<Record>,
}

impl Script {
    fn order(&mut self, serial: u64, s: u64, order: Order) -> Answer {
        let answer = self.shop.reserve(s * 1_000 + 50, &order);
        self.note(serial, s, Call::Reserve(order), answer.clone());
        answer
    }

    fn settle(&mut self, serial: u64, id: &str, how: Settlement) {
        let answer = self.shop.settle(serial * 1_000 + 50, id, how);
        self.note(serial, serial, Call::Settle { id: id.to_owned(), how }, answer);
    }

    /// The edge says that an order cannot be had before so many milliseconds.
    fn sold_out_at_edge(&mut self, serial: u64, s: u64, recheck_in_ms: u64) {
        let answer = Answer::SoldOutAtEdge { recheck_in_ms };
        self.note(serial, s, call(&order("c10", 1, None)), answer);
    }

    fn note(&mut self, serial: u64, s: u64, call: Call, answer: Answer) {
        self.records.push(record(serial, call, at(s), answer));
    }
}

/// Falsifies the true case, and expects one violation: of this check, with these records and
/// entries, and with these words.
fn check(
    falsify: impl FnOnce(&mut Trial),
    check: Check,
    (records, entries): (&[u64], &[u64]),
    words: &str,
) {
    let mut trial = true_trial();
    falsify(&mut trial);
    let verdict = trial.judge();
    let [violation] = &verdict.violations[..] else { panic!("{words:?}: {verdict}") };
    assert_eq!(violation.check, check, "{verdict}");
    assert!(violation.what.contains(words), "{words:?}: {verdict}");
    assert_eq!(violation.records, records, "{verdict}");
    let versions: Vec<u64> = violation.entries.iter().map(|(_, version)| *version).collect();
    assert_eq!(versions, entries, "{verdict}");
}

#[test]
fn the_truth_holds() {
    let verdict = true_trial().judge();
    assert!(verdict.holds(), "{verdict}");
    // What was not looked at cannot fail.
    for check in Check::ALL.into_iter().filter(|check| *check != Check::SoldOut) {
        assert!(verdict.checked.count(check) > 0, "{verdict}");
    }
}

/// The true case goes on: all units are held from 26.05 s to 27.05 s, when r4 expires (entries 11 and 12), and
/// one is had again at 30 s. The edge says that they are.
fn sold_out_trial(s: u64, recheck_in_ms: u64) -> Trial {
    let mut script = true_script();
    script.order(14, 26, order("c9", 3, None));
    script.order(15, 30, order("c9", 1, None));
    script.sold_out_at_edge(16, s, recheck_in_ms);
    script.shop.into_trial(script.records, None)
}

#[test]
fn an_edge_may_call_sold_out_what_was_so_less_than_a_hold_ago() {
    for (s, recheck_in_ms) in [
        (26, 1_050),
        (27, 50),
        // It has not heard of the service since: the hold that expires first was taken 20 s before.
        (29, 10_000),
        (46, 10),
        // Longer than a hold lasts: that was said just now.
        (26, 60_000),
    ] {
        let verdict = sold_out_trial(s, recheck_in_ms).judge();
        assert!(verdict.holds(), "{verdict}");
        assert_eq!(verdict.checked.count(Check::SoldOut), 1);
    }
}

#[test]
fn an_edge_that_calls_sold_out_what_is_not_is_found_out() {
    let check = |s, recheck_in_ms, entry| {
        let verdict = sold_out_trial(s, recheck_in_ms).judge();
        let [violation] = &verdict.violations[..] else { panic!("{s}: {verdict}") };
        assert_eq!((violation.check, &violation.records[..]), (Check::SoldOut, &[16][..]));
        assert_eq!(violation.entries, [("A".to_owned(), entry)], "{verdict}");
        assert!(violation.what.contains("the edge said sold-out, but"), "{verdict}");
    };
    // Before it was, and long after.
    check(24, 1_000, 3);
    check(60, 1_000, 14);
    check(60, 15_000, 14);
    // What it says counts from so long ago: 41 s and 9 s are more than the 21 s that a word may be old.
    check(41, 12_000, 14);
    // Never.
    let mut script = true_script();
    script.sold_out_at_edge(16, 26, 10_000);
    let verdict = script.shop.into_trial(script.records, None).judge();
    assert_eq!(verdict.of(Check::SoldOut).count(), 1, "{verdict}");
}

#[test]
fn a_false_journal_is_found_out() {
    let check = |falsify: fn(&mut Trial), version, words| {
        check(falsify, Check::Journal, (&[], &[version]), words);
    };
    check(|t| drop(t.journal().remove(4)), 6, "follows entry 4");
    check(|t| drop(t.journal().pop()), 9, "the SKU's version is 10");
    check(|t| t.evidence[0].counters.available += 1, 10, "but the SKU shows");
    check(|t| t.journal()[3].after.confirmed = 2, 4, "does not add up");
    check(|t| t.journal()[3].before.held = 7, 4, "begins with");
    check(|t| t.journal()[3].cause = "steal".to_owned(), 4, "unknown cause");
    check(|t| t.journal()[5].at = "2001-01-01T00:00:00Z".to_owned(), 6, "dated before");
    check(|t| t.journal()[5].at = "now".to_owned(), 6, "no time");
    check(|t| t.journal()[5].reservation_id = None, 6, "names no reservation");
    check(|t| t.journal()[5].reservation_id = Some("r1".to_owned()), 6, "which entry 4 ended");
    check(|t| t.journal()[5].reservation_id = Some("r9".to_owned()), 6, "not taken before");
    check(|t| t.journal()[5].version = u64::MAX, u64::MAX, "follows entry 5");
    let applied_twice = |t: &mut Trial| {
        let twice = t.journal()[9].clone();
        shop::add(&mut t.evidence[0], twice);
    };
    check(applied_twice, 11, "which entry 10 took");
}

#[test]
fn a_missing_journal_is_found_out() {
    let records: &[u64] = &[1, 2, 5, 8, 11];
    check(|t| t.evidence.clear(), Check::Journal, (records, &[]), "no journal of it");
}

#[test]
fn a_unit_promised_twice_is_found_out() {
    let told_twice = |t: &mut Trial| {
        let answer = t.record(11).answer.clone();
        t.records.push(record(14, call(&order("c9", 1, None)), at(27), answer));
    };
    check(told_twice, Check::Promises, (&[11, 14], &[]), "two orders were told of r6");
    let too_many = |t: &mut Trial| {
        t.record(1).call = call(&order("c1", 2, None));
        t.reservations.get_mut("r1").unwrap().quantity = 2;
    };
    check(too_many, Check::Promises, (&[1], &[2]), "2 units were promised, but entry 2 took 1");
    let not_taken = |t: &mut Trial| {
        // Another's hold stands where it should be; one more answer is lost, to account for that.
        t.journal()[9].reservation_id = Some("stranger".to_owned());
        t.records.push(record(14, call(&order("c9", 1, None)), at(25), Answer::Lost));
    };
    check(not_taken, Check::Promises, (&[11], &[]), "the journal never took");
}

/// The journal has r2 expire, and sells its unit; but r2 is still shown as held.
#[test]
fn more_promises_than_stock_are_found_out() {
    let oversold = |t: &mut Trial| {
        t.reservations.get_mut("r2").unwrap().state = "held".to_owned();
        let mut journal = t.journal().clone();
        journal[0].quantity = 5;
        t.rewrite(journal);
        // Fewer units were set than in the true case, so the sold-out must say so.
        t.record(10).answer = Answer::SoldOut { available: 0 };
        let at_last = t.record(11).sent_us;
        // Who got no answer is told now: the clients can count all units.
        t.records.push(record(
            14,
            call(&order("c5", 1, None)),
            [at_last - 9, at_last],
            Answer::Lost,
        ));
        t.record(9).answer = Answer::Held { id: "r5".to_owned(), expires_at_ms: u64::MAX };
    };
    let (records, what) = (&[1, 2, 8, 9, 11], "6 units promised at one time, of a stock of 5");
    check(oversold, Check::Promises, (records, &[]), what);
}

#[test]
fn a_broken_promise_is_found_out() {
    let check = |falsify: fn(&mut Trial), found, words| {
        check(falsify, Check::Outcomes, found, words);
    };
    let lost_on_restart = |t: &mut Trial| {
        let journal = t.journal()[..9].to_vec();
        t.rewrite(journal);
        t.reservations.remove("r6");
    };
    check(lost_on_restart, (&[11], &[]), "knows nothing of it");
    let missing = |t: &mut Trial| drop(t.reservations.remove("r4"));
    check(missing, (&[8], &[7]), "is no reservation any more");
    let wrong_quantity = |t: &mut Trial| t.reservations.get_mut("r4").unwrap().quantity = 3;
    check(wrong_quantity, (&[8], &[]), "a reservation of 3 x A");
    let forgotten = |t: &mut Trial| t.reservations.get_mut("r1").unwrap().state = "held".to_owned();
    check(forgotten, (&[1, 4], &[]), "told that it is confirmed");
    check(|t| drop(t.forget(4)), (&[1], &[]), "confirmed, which nobody asked for");
    let too_early = |t: &mut Trial| t.journal()[8].at = "2001-09-09T01:47:01.500Z".to_owned();
    check(too_early, (&[2], &[9]), "expired before its time");
    let too_late = |t: &mut Trial| {
        let mut journal = t.journal().clone();
        journal.swap(8, 9);
        t.rewrite(journal);
    };
    check(too_late, (&[2], &[9]), "still held in entry 9");
}

#[test]
fn a_repeat_with_another_answer_is_found_out() {
    let check = |falsify: fn(&mut Trial), records: &[u64], words| {
        check(falsify, Check::Repeats, (records, &[]), words);
    };
    check(|t| t.record(3).answer = Answer::SoldOut { available: 0 }, &[2, 3], "both held and");
    let another = |t: &mut Trial| {
        t.record(3).answer = Answer::Held { id: "r9".to_owned(), expires_at_ms: 1 };
    };
    check(another, &[2, 3], "two reservations");
    let moved = |t: &mut Trial| {
        t.record(3).answer = Answer::Held { id: "r2".to_owned(), expires_at_ms: u64::MAX };
    };
    check(moved, &[2, 3], "two times");
    let reused = |t: &mut Trial| t.record(12).answer = Answer::SoldOut { available: 3 };
    check(reused, &[2, 12], "different quantities");
    let refused = |t: &mut Trial| t.record(3).answer = t.forget(12).answer;
    check(refused, &[3], "refused as another order");
}

#[test]
fn a_wrong_order_is_found_out() {
    let swapped = |t: &mut Trial| {
        let journal = t.journal();
        let first = journal[1].reservation_id.clone();
        journal[1].reservation_id = std::mem::replace(&mut journal[2].reservation_id, first);
    };
    check(swapped, Check::Order, (&[1, 2], &[2, 3]), "entry 3 was certain before entry 2");
    let untrue = |t: &mut Trial| t.record(10).answer = Answer::SoldOut { available: 2 };
    check(untrue, Check::Order, (&[10], &[7]), "never so many from entry 7 to entry 9");
    let enough = |t: &mut Trial| t.record(10).answer = Answer::SoldOut { available: 4 };
    check(enough, Check::Order, (&[10], &[7]), "no more asked for");
}

#[test]
fn a_limit_that_was_ignored_is_found_out() {
    let flood = |t: &mut Trial| {
        for serial in 20..24 {
            let sold_out = Answer::SoldOut { available: 3 };
            t.records.push(record(serial, call(&order("bot", 4, None)), at(10), sold_out));
        }
    };
    let mut trial = true_trial();
    flood(&mut trial);
    let verdict = trial.judge();
    assert!(verdict.violations.iter().all(|v| v.check == Check::Limit), "{verdict}");
    let within_1_s = verdict.violations.iter().find(|v| v.what.contains("within 1.000 s"));
    let violation = within_1_s.unwrap_or_else(|| panic!("{verdict}"));
    assert_eq!(violation.records, [10, 20, 21, 22, 23], "{verdict}");
    assert!(violation.what.contains("20 units admitted"), "{verdict}");
}

/// The same flood while edges did not know the limit, or only in part of the time.
#[test]
fn a_limit_is_judged_while_edges_knew_it() {
    let verdict = |from_s: u64, until_s: u64| {
        let mut trial = true_trial();
        for serial in 20..24 {
            let sold_out = Answer::SoldOut { available: 3 };
            trial.records.push(record(serial, call(&order("bot", 4, None)), at(10), sold_out));
        }
        let span = Span { from_us: from_s * 1_000_000, until_us: until_s * 1_000_000 };
        trial.limits.as_mut().unwrap().spans.insert("A".to_owned(), span);
        trial.judge()
    };
    for (from_s, until_s, judged) in [(11, 30, 1), (0, 10, 5), (0, 0, 0)] {
        let verdict = verdict(from_s, until_s);
        assert!(verdict.holds(), "{verdict}");
        assert_eq!(verdict.checked.count(Check::Limit), judged, "{verdict}");
    }
    let verdict = verdict(10, 11);
    assert!(!verdict.holds() && verdict.violations.iter().all(|v| v.check == Check::Limit));
    let said = verdict.to_string();
    assert!(said.contains("and all edges knew that from 10.000 to 11.000 s"), "{said}");
}

#[test]
fn false_accounts_are_found_out() {
    let check = |falsify: fn(&mut Trial), found, words| {
        check(falsify, Check::Accounts, found, words);
    };
    check(|t| drop(t.forget(9)), (&[], &[8]), "no client was told of 1 holds of 1");
    let applied_twice = |t: &mut Trial| {
        let mut twice = t.journal()[9].clone();
        twice.reservation_id = Some("r7".to_owned());
        shop::add(&mut t.evidence[0], twice);
    };
    check(applied_twice, (&[], &[8, 11]), "no client was told of 2 holds of 1");
    check(|t| drop(t.forget(8)), (&[7], &[]), "a ticket led to no outcome");
    let unwritten = |t: &mut Trial| {
        let mut journal = t.journal().clone();
        journal.remove(3);
        t.rewrite(journal);
    };
    check(unwritten, (&[], &[]), "r1 is confirmed, but the journal does not end it");
    let thief = |t: &mut Trial| {
        let mut stolen = t.journal()[9].clone();
        stolen.cause = "release".to_owned();
        shop::add(&mut t.evidence[0], stolen);
    };
    check(thief, (&[11], &[11]), "released, which nobody asked for");
}

/// What was in the journal before the drill was others' business: the clients' records say nothing
/// of it, and need not.
#[test]
fn what_was_there_before_is_not_judged() {
    let mut trial = true_trial();
    for serial in [1, 2, 3, 4, 12] {
        trial.forget(serial);
    }
    let verdict = trial.judge();
    let found = verdict.of(Check::Accounts).map(|violation| &violation.entries[..]);
    let strays: Vec<_> = [2, 3, 8].map(|version| ("A".to_owned(), version)).into();
    assert!(found.eq([&strays[..]]), "{verdict}");

    let starts = HashMap::from([("A".to_owned(), 4)]);
    let whole = trial.evidence.clone();
    // The same if only what came later was read.
    trial.evidence[0].journal.drain(..4);
    for evidence in [&whole, &trial.evidence] {
        let case = Case::new(&trial.records, &trial.reservations, evidence).starts(&starts);
        let verdict = judge(&case);
        assert!(verdict.holds(), "{verdict}");
    }
}

#[test]
fn a_long_list_is_cut_short() {
    let mut trial = true_trial();
    for serial in 100..130 {
        let sold_out = Answer::SoldOut { available: 9 };
        trial.records.push(record(serial, call(&order("c", 4, None)), at(serial), sold_out));
    }
    let shown = trial.judge().to_string();
    assert!(shown.contains("order     30 VIOLATIONS"), "{shown}");
    assert!(shown.contains("  - and 20 more"), "{shown}");
    assert!(shown.contains("#100 shopper 100.000..100.100 s 4 x A for c -> sold-out"), "{shown}");
    assert!(shown.ends_with("THE VERDICT DOES NOT HOLD"), "{shown}");
}
