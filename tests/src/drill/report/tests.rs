//! The report as a whole.

use std::time::Duration;

use super::summary::{Basics, Calls, Holds, Summary};
use super::{Meta, html, sample, terminal};
use crate::drill::course::{Course, Event, What};
use crate::drill::record::{Answer, Call, Counters, Order, Record, Role, Settlement};
use crate::paths;

fn basics(seconds: u64) -> Basics {
    let hot_sku = sample::HOT_SKU.to_owned();
    Basics { hot_sku, hot_limit_per_s: Some(20), duration: Duration::from_secs(seconds) }
}

fn sample_summary(seconds: u64) -> Summary {
    let (records, evidence) = sample::sale(seconds);
    Summary::of(&records, &evidence, &basics(seconds))
}

fn meta(holds: bool) -> Meta {
    let violation = "limit: <b>23</b> units of the hot product were admitted within 1 s from \
                     12.400 s, and 21 may be\n(calls 1204, 1207 & 19 more)";
    Meta {
        scenario: "a limited sneaker".to_owned(),
        description: "A hundred times the usual crowd, from one second to the next.".to_owned(),
        seed: 20_261_120,
        holds,
        verdict: "7 checks over 7 814 records and 4 120 journal entries.".to_owned(),
        violations: if holds { vec![] } else { vec![violation.to_owned(); 2] },
        facts: vec![("edge".to_owned(), "http://127.0.0.1:10000".to_owned())],
    }
}

fn record(call: Call, answer: Answer) -> Record {
    let (serial, role) = (0, Role::Shopper);
    Record { serial, role, call, scheduled_us: 1_000, sent_us: 2_000, ended_us: 5_000, answer }
}

fn order(sku: &str, answer: Answer) -> Record {
    let (sku, customer) = (sku.to_owned(), "ann".to_owned());
    record(Call::Reserve(Order { sku, quantity: 1, customer, key: None }), answer)
}

fn held(id: &str) -> Answer {
    Answer::Held { id: id.to_owned(), expires_at_ms: 0 }
}

fn queued(ticket: &str) -> Answer {
    Answer::Queued { ticket: ticket.to_owned() }
}

/// The question what became of a ticket.
fn poll(ticket: &str, ended_ms: u64, answer: Answer) -> Record {
    let call = Call::Ticket { id: ticket.to_owned() };
    Record { ended_us: ended_ms * 1000, ..record(call, answer) }
}

fn settled(id: &str, how: Settlement) -> Record {
    record(Call::Settle { id: id.to_owned(), how }, Answer::Settled)
}

#[track_caller]
fn check(records: &[Record], calls: Calls, holds: Holds) {
    let summary = Summary::of(records, &[], &Basics { hot_sku: "A".to_owned(), ..basics(1) });
    assert_eq!((summary.hot.calls, summary.hot.holds), (calls, holds), "{records:#?}");
    let Calls { offered, sold_out_at_edge, over_limit, refused, .. } = calls;
    let not_admitted = sold_out_at_edge + over_limit + refused;
    assert_eq!(offered, calls.admitted() + calls.unanswered() + not_admitted);
}

#[test]
fn every_order_counts_once_by_what_its_client_was_told() {
    let refused = |problem: &str| Answer::Refused { status: 503, problem: problem.to_owned() };
    let one = Calls { offered: 1, ..Calls::default() };
    let cases = [
        (Answer::SoldOut { available: 0 }, Calls { sold_out: 1, ..one }),
        (queued("t"), Calls { queued: 1, ..one }),
        (refused("lane-full"), Calls { lane_full: 1, ..one }),
        (refused("unavailable"), Calls { refused: 1, ..one }),
        (Answer::SoldOutAtEdge { recheck_in_ms: 9 }, Calls { sold_out_at_edge: 1, ..one }),
        (Answer::OverLimit, Calls { over_limit: 1, ..one }),
        (Answer::HungUp, Calls { hung_up: 1, ..one }),
        (Answer::Lost, Calls { lost: 1, ..one }),
    ];
    for (answer, calls) in cases {
        check(&[order("A", answer.clone())], calls, Holds::default());
        check(&[order("B", answer)], Calls::default(), Holds::default());
    }
}

#[test]
fn every_hold_counts_once_however_often_it_was_told() {
    let confirmed = settled("1", Settlement::Confirm);
    let records = [
        order("A", held("1")),
        order("A", held("1")),
        confirmed.clone(),
        confirmed,
        order("A", queued("2")),
        poll("2", 9, held("2")),
        Record { role: Role::Witness, ..poll("2", 10, held("2")) },
        settled("2", Settlement::Release),
        order("B", held("3")),
        settled("3", Settlement::Confirm),
    ];
    let calls = Calls { offered: 3, held: 2, queued: 1, queued_held: 1, ..Calls::default() };
    let holds = Holds { held: 2, confirmed: 1, released: 1, ..Holds::default() };
    check(&records, calls, holds);
}

#[test]
fn an_order_with_a_ticket_counts_by_what_the_ticket_came_to() {
    let sold_out = || Answer::SoldOut { available: 0 };
    let one = Calls { offered: 1, queued: 1, ..Calls::default() };
    let (held_then, sold_out_then) =
        (Calls { queued_held: 1, ..one }, Calls { queued_sold_out: 1, ..one });
    let refused = Answer::Refused { status: 404, problem: "unknown-ticket".to_owned() };
    let cases = [
        (vec![poll("1", 9, queued("1")), poll("1", 10, held("1"))], held_then),
        (vec![poll("1", 9, Answer::Lost), poll("1", 10, sold_out())], sold_out_then),
        (vec![poll("1", 9, refused)], one),
        (vec![poll("2", 9, sold_out())], one),
        // What the witness hears, the customer does not know.
        (vec![Record { role: Role::Witness, ..poll("1", 9, sold_out()) }], one),
    ];
    for (mut records, calls) in cases {
        records.insert(0, order("A", queued("1")));
        let holds = Holds { held: calls.queued_held, ..Holds::default() };
        check(&records, calls, holds);
        let parts = [calls.queued_held, calls.queued_sold_out, calls.queued_untold()];
        assert_eq!(parts.iter().sum::<u64>(), calls.queued);
    }
    let both = Calls { held: 1, queued_held: 2, sold_out: 4, queued_sold_out: 8, ..one };
    let both = Calls { sold_out_at_edge: 16, ..both };
    assert_eq!((both.held_in_all(), both.sold_out_in_all()), (3, 28));
}

#[test]
fn the_outcome_takes_until_a_customer_is_told() {
    let records = [
        order("A", held("1")),
        // Asked for at 1 ms; that there is a queue is known at 5 ms, and the outcome at 801 ms.
        order("A", queued("2")),
        poll("2", 400, queued("2")),
        Record { role: Role::Witness, ..poll("2", 500, held("2")) },
        poll("2", 900, held("2")),
        poll("2", 801, held("2")),
        // Without an outcome: refused, and never decided.
        order("A", Answer::OverLimit),
        order("A", queued("3")),
    ];
    let basics = Basics { hot_sku: "A".to_owned(), ..basics(1) };
    let hot = Summary::of(&records, &[], &basics).hot;
    let found = [hot.outcome, hot.admitted].map(|of| [of.count, of.p50_us, of.max_us].map(rounded));
    assert_eq!(found, [[2, 4_000, 800_000], [3, 4_000, 4_000]]);
    let Summary { others, .. } =
        Summary::of(&records, &[], &Basics { hot_sku: "B".to_owned(), ..basics.clone() });
    assert_eq!((others.outcome.count, rounded(others.outcome.max_us)), (2, 800_000));
}

/// The histogram knows three figures.
fn rounded(us: u64) -> u64 {
    if us < 1000 { us } else { us / 1000 * 1000 }
}

#[test]
fn the_drills_own_questions_are_no_demand() {
    let again = Record { role: Role::Witness, ..order("A", held("1")) };
    let holds = Holds { witnessed: 1, ..Holds::default() };
    let again = [again];
    check(&again, Calls::default(), holds);
    let summary = Summary::of(&again, &[], &basics(1));
    assert!(summary.roles.is_empty(), "{summary:?}");
}

#[test]
fn latency_counts_from_when_a_call_should_have_been_sent() {
    let records = [order("A", held("1")), order("A", Answer::OverLimit)];
    let summary = Summary::of(&records, &[], &Basics { hot_sku: "A".to_owned(), ..basics(1) });
    for latency in [summary.hot.admitted, summary.hot.over_limit] {
        assert_eq!((latency.count, latency.max_us / 10), (1, 400), "{latency:?}");
    }
}

#[test]
fn the_timeline_holds_every_order_and_the_stock() {
    for seconds in [5, 20] {
        let summary = sample_summary(seconds);
        let timeline = &summary.timeline;
        assert_eq!(timeline.bin.as_millis(), if seconds == 5 { 100 } else { 1000 });
        assert_eq!(timeline.hot.len(), timeline.others.len());
        for (part, bins) in [(summary.hot, &timeline.hot), (summary.others, &timeline.others)] {
            let sum = |of: fn(&super::Bin) -> u64| bins.iter().map(of).sum::<u64>();
            assert_eq!(sum(|bin| bin.offered), part.calls.offered);
            assert_eq!(sum(|bin| bin.admitted), part.calls.admitted());
            assert_eq!(sum(|bin| bin.over_limit), part.calls.over_limit);
            assert!(bins.iter().any(|bin| bin.waiting_max > 0));
        }
        let total = |stock: Counters| stock.available + stock.held + stock.confirmed;
        assert!(timeline.others.iter().all(|bin| bin.stock.map(total) == Some(50_000)));
    }
}

#[test]
fn bins_count_what_happens_in_them() {
    let order = |scheduled_ms: u64, sent_ms: u64, ended_ms: u64, answer: Answer| {
        let [scheduled_us, sent_us, ended_us] =
            [scheduled_ms, sent_ms, ended_ms].map(|ms| ms * 1000);
        Record { scheduled_us, sent_us, ended_us, ..order("A", answer) }
    };
    let records = [
        order(0, 0, 250, held("1")),
        order(50, 150, 200, Answer::OverLimit),
        order(200, 200, 200, Answer::OverLimit),
        order(299, 299, 310, Answer::HungUp),
        order(0, 0, 90, queued("2")),
        poll("2", 150, held("2")),
    ];
    let duration = Duration::from_millis(300);
    let basics = Basics { hot_sku: "A".to_owned(), duration, ..basics(1) };
    let timeline = Summary::of(&records, &[], &basics).timeline;
    let counts = |bin: &super::Bin| {
        [bin.offered, bin.admitted, bin.over_limit, bin.waiting_max, bin.tickets_max]
    };
    let counts: Vec<_> = timeline.hot.iter().map(counts).collect();
    assert_eq!(counts, [[3, 2, 0, 3, 1], [0, 0, 1, 2, 1], [2, 0, 1, 2, 0], [0, 0, 0, 1, 0]]);
    let latencies = timeline.hot.iter().map(|bin| bin.p50_us.map(|us| us / 1000));
    assert_eq!(latencies.collect::<Vec<_>>(), [Some(90), None, None, None]);
}

#[test]
fn nothing_that_can_be_recorded_breaks_the_report() {
    let mut late = order(sample::HOT_SKU, held("1"));
    late.ended_us = u64::MAX;
    let mut early = late.clone();
    (early.scheduled_us, early.sent_us, early.ended_us) = (u64::MAX, u64::MAX, 0);
    for records in [vec![], vec![late.clone()], vec![early.clone()], vec![late, early]] {
        for duration in [Duration::ZERO, Duration::from_secs(3), Duration::MAX] {
            let summary = Summary::of(&records, &[], &Basics { duration, ..basics(1) });
            assert!(summary.timeline.hot.len() <= 1000);
            assert_well_formed(&html::render(&summary, &meta(true)));
            terminal::render(&summary, true, "");
        }
    }
}

#[test]
fn the_page_is_whole_and_nothing_in_it_runs_or_is_fetched() {
    for holds in [true, false] {
        let page = html::render(&sample_summary(20), &meta(holds));
        assert_well_formed(&page);
        for absent in ["<script", "<b>", " src=", " href=", "url(", "@import"] {
            assert!(!page.contains(absent), "{absent}");
        }
        assert!(page.contains("&lt;script&gt;"));
        assert_eq!(page.contains("✓ The verdict holds"), holds);
    }
}

#[test]
fn a_page_shows_some_violations_and_says_where_the_others_are() {
    for (count, more) in
        [(1, None), (50, None), (51, Some("And 1 more")), (1_050, Some("And 1\u{a0}000 more"))]
    {
        let meta = Meta { violations: vec!["a violation".to_owned(); count], ..meta(false) };
        let page = html::render(&sample_summary(1), &meta);
        assert_well_formed(&page);
        assert_eq!(page.matches("<li>").count(), count.min(50));
        assert_eq!(page.contains("verdict.json"), more.is_some());
        assert!(more.is_none_or(|more| page.contains(more)), "{count}");
    }
}

#[test]
fn page_and_terminal_tell_what_tickets_came_to() {
    let records = [order("A", queued("1")), poll("1", 9, held("1"))];
    let summary = Summary::of(&records, &[], &Basics { hot_sku: "A".to_owned(), ..basics(1) });
    let (page, text) = (html::render(&summary, &meta(true)), terminal::render(&summary, true, ""));
    for label in ["ticket (202)", "of these, held in the end", "hot product, until outcome"] {
        assert!(page.contains(label) && text.contains(label), "{label}");
    }
    let row = text.lines().find(|line| line.contains("held in all")).unwrap();
    assert_eq!(row.split_whitespace().rev().take(3).collect::<Vec<_>>(), ["1", "0", "1"]);
    assert!(page.contains("a ticket (202) counts as one"));
}

/// A product that was noticed after 2 s, for reasons, and sold out twice.
fn course() -> Course {
    let event = |what, at_us, times, note: &str| {
        let note = note.to_owned();
        Event { what, at_us, times, note }
    };
    let note = "1,840/s over 400 ms, threshold 500/s <and so on> ".repeat(3);
    let events = vec![
        event(What::Noticed, 2_049_000, 1, &note),
        event(What::SoldOut, 19_000_000, 2, ""),
        event(What::LetGo, 90_000_000, 1, "calm"),
    ];
    Course { events, known: None }
}

#[test]
fn page_and_terminal_tell_the_course_of_a_product() {
    let summary = sample_summary(20).course(Some(course()));
    let (page, text) = (html::render(&summary, &meta(true)), terminal::render(&summary, true, ""));
    assert_well_formed(&page);
    for words in ["hat became of", "noticed", "sold out, the first of 2 times", "19.0"] {
        assert!(page.contains(words) && text.contains(words), "{words}");
    }
    assert!(
        text.contains("\n     2.0 s  noticed: 1,840/s over 400 ms") && !text.contains("times:")
    );
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let without = html::render(&sample_summary(20), &meta(true));
    assert!(!without.contains("hat became of"), "{without}");
    let marks = |page: &str| page.matches(">\n3\n</text>").count();
    assert_eq!(marks(&page), marks(&without) + 6, "a mark in each of the charts");
}

#[test]
fn the_demand_shows_what_the_edge_called_sold_out() {
    let answer = Answer::SoldOutAtEdge { recheck_in_ms: 9 };
    let summary = Summary::of(&[order(sample::HOT_SKU, answer)], &[], &basics(1));
    assert_eq!(summary.timeline.hot[0].sold_out_at_edge, 1);
    let line = "sold out, at the edge";
    assert_eq!(html::render(&summary, &meta(true)).matches(line).count(), 2, "chart and table");
    assert_eq!(html::render(&sample_summary(1), &meta(true)).matches(line).count(), 1);
}

#[test]
fn the_terminal_gets_eighty_columns_and_the_verdict_first() {
    let text = terminal::render(&sample_summary(20), false, "1 of 7 checks did not hold.");
    assert!(text.starts_with("THE VERDICT DOES NOT HOLD\n  1 of 7"), "{text}");
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line:?}");
        assert_eq!(line.trim_end(), line);
    }
}

/// Every tag is closed, in order, and every `&` begins a reference.
#[track_caller]
fn assert_well_formed(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let body = page.strip_prefix("<!DOCTYPE html>").expect("a doctype");
    for tag in body.split('<').skip(1) {
        let (tag, _text) = tag.split_once('>').unwrap_or_else(|| panic!("<{tag} does not end"));
        let name = tag.split_whitespace().next().unwrap_or_default();
        if let Some(closed) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed));
        } else if !tag.ends_with('/') && name != "meta" {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new());
    for reference in page.split('&').skip(1) {
        assert!(reference.find(';').is_some_and(|end| end <= 6), "&{:.10}", reference);
    }
}

/// `cargo test -p cartgate-tests --lib sample_reports -- --ignored`
#[test]
#[ignore = "writes pages for people to look at"]
fn sample_reports_to_look_at() {
    let dir = paths::repo_root().join("target/drill/sample");
    std::fs::create_dir_all(&dir).unwrap();
    for (name, seconds, holds) in [("holds", 60, true), ("broken", 10, false)] {
        let summary = sample_summary(seconds);
        let meta = meta(holds);
        let page = dir.join(name).with_extension("html");
        std::fs::write(&page, html::render(&summary, &meta)).unwrap();
        println!("{}\n{}", page.display(), terminal::render(&summary, holds, &meta.verdict));
    }
}
