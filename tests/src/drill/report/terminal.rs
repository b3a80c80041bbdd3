//! The summary for a terminal: 80 columns, no colours, the verdict on top.

use std::fmt::Write;

use super::latency::Latency;
use super::summary::{Calls, Holds, Part, Summary};
use super::words;
use crate::drill::course::Event;

/// How wide a terminal is.
const COLUMNS: usize = 80;

/// Lays the summary out. `verdict` is one sentence or more, shown as it is.
pub fn render(summary: &Summary, holds: bool, verdict: &str) -> String {
    let mut text = String::new();
    // Unwrap safety, in all of this file: writing to a string cannot fail.
    writeln!(text, "{}", if holds { "THE VERDICT HOLDS" } else { "THE VERDICT DOES NOT HOLD" })
        .unwrap();
    for line in verdict.lines() {
        writeln!(text, "  {line}").unwrap();
    }
    write_course(&mut text, summary);
    let Summary { hot, others, .. } = summary;
    write_head(&mut text, "orders");
    for (label, number) in CALLS {
        write_numbers(&mut text, label, [number(&hot.calls), number(&others.calls)]);
    }
    write_head(&mut text, "holds, each counted once");
    for (label, number) in HOLDS {
        write_numbers(&mut text, label, [number(&hot.holds), number(&others.holds)]);
    }
    write_head(&mut text, "stock in the end, units");
    for (label, number) in STOCK {
        write_numbers(&mut text, label, [number(hot), number(others)]);
    }
    write_latencies(&mut text, summary);
    write_roles(&mut text, summary);
    text
}

fn write_course(text: &mut String, summary: &Summary) {
    let Some(course) = &summary.course else { return };
    let title = format!("what became of {}, which nobody registered", summary.basics.hot_sku);
    writeln!(text, "\n{}", cut(&title)).unwrap();
    for event in &course.events {
        let (at, what) = (words::at_s(event.at_us), event_words(event));
        let line = format!("{at:>8} s  {what}: {}", event.note);
        writeln!(text, "{}", cut(line.trim_end_matches([':', ' ']))).unwrap();
    }
}

/// What happened, and how often.
pub(super) fn event_words(event: &Event) -> String {
    match event.times {
        1 => event.what.words().to_owned(),
        times => format!("{}, the first of {times} times", event.what.words()),
    }
}

/// As much of a line as a terminal shows.
fn cut(line: &str) -> String {
    line.chars().take(COLUMNS).collect()
}

/// A row of a table: its name, and the number in it.
pub(super) type Row<T> = (&'static str, fn(&T) -> u64);

/// Orders, by what the client was told first, and at the end of it all. An indented row is part of
/// the one above it.
pub(super) const CALLS: [Row<Calls>; 16] = [
    ("offered", |calls| calls.offered),
    ("admitted: answered by the service", Calls::admitted),
    ("  held (201)", |calls| calls.held),
    ("  sold out (409)", |calls| calls.sold_out),
    ("  ticket (202)", |calls| calls.queued),
    ("    of these, held in the end", |calls| calls.queued_held),
    ("    of these, sold out in the end", |calls| calls.queued_sold_out),
    ("    of these, not decided when asked", Calls::queued_untold),
    ("  lane full (503)", |calls| calls.lane_full),
    ("sold out, at the edge (409)", |calls| calls.sold_out_at_edge),
    ("over the limit, at the edge (429)", |calls| calls.over_limit),
    ("refused otherwise", |calls| calls.refused),
    ("hung up by the client", |calls| calls.hung_up),
    ("connection lost", |calls| calls.lost),
    ("held in all, at once or by ticket", Calls::held_in_all),
    ("sold out in all, at once or by ticket", Calls::sold_out_in_all),
];

/// Holds.
pub(super) const HOLDS: [Row<Holds>; 5] = [
    ("held, told to a client", |holds| holds.held),
    ("held, told to the drill itself only", |holds| holds.witnessed),
    ("confirmed", |holds| holds.confirmed),
    ("released", |holds| holds.released),
    ("expired", |holds| holds.expired),
];

/// Stock in the end.
pub(super) const STOCK: [Row<Part>; 3] = [
    ("available", |part| part.stock.available),
    ("held", |part| part.stock.held),
    ("confirmed", |part| part.stock.confirmed),
];

/// The latencies there are, with their names.
pub(super) fn latencies(summary: &Summary) -> [(&'static str, Latency); 7] {
    [
        ("hot product, admitted", summary.hot.admitted),
        ("hot product, until outcome", summary.hot.outcome),
        ("hot product, 429", summary.hot.over_limit),
        ("all others, admitted", summary.others.admitted),
        ("all others, until outcome", summary.others.outcome),
        ("all others, 429", summary.others.over_limit),
        ("confirm and release", summary.settlements),
    ]
}

/// From when until when latency counts, for people; in lines that fit a terminal.
pub(super) const LATENCY_NOTE: [&str; 3] = [
    "From when a call should have been sent (corrected for coordinated omission).",
    "Admitted: until the first answer, and a ticket is one. Until outcome: until a",
    "customer was told \u{201c}held\u{201d} or \u{201c}sold out\u{201d}, at once or by ticket.",
];

fn write_head(text: &mut String, title: &str) {
    let [hot, others, together] = ["hot product", "all others", "together"];
    writeln!(text, "\n{title:<43}{hot:>12}{others:>12}{together:>12}").unwrap();
}

fn write_numbers(text: &mut String, label: &str, [hot, others]: [u64; 2]) {
    let [hot, others, together] = [hot, others, hot + others].map(words::count);
    writeln!(text, "  {label:<41}{hot:>12}{others:>12}{together:>12}").unwrap();
}

fn write_latencies(text: &mut String, summary: &Summary) {
    let names = ["calls", "p50", "p90", "p99", "p99.9", "max"];
    write!(text, "\n{:<30}", "latency, ms").unwrap();
    for name in names {
        write!(text, "{name:>8}").unwrap();
    }
    for (label, latency) in latencies(summary) {
        write!(text, "\n  {label:<28}").unwrap();
        for cell in latency_cells(latency) {
            write!(text, "{cell:>8}").unwrap();
        }
    }
    text.push('\n');
    for line in LATENCY_NOTE {
        writeln!(text, "  {line}").unwrap();
    }
}

/// The number of calls and the percentiles in milliseconds; dashes where there were no calls.
pub(super) fn latency_cells(latency: Latency) -> [String; 6] {
    let Latency { count, p50_us, p90_us, p99_us, p99_9_us, max_us } = latency;
    let [p50, p90, p99, p99_9, max] = [p50_us, p90_us, p99_us, p99_9_us, max_us]
        .map(|us| if count == 0 { "-".to_owned() } else { words::ms(us) });
    [words::count(count), p50, p90, p99, p99_9, max]
}

fn write_roles(text: &mut String, summary: &Summary) {
    write!(text, "\n{:<25}", "orders by client").unwrap();
    for name in ROLE_COLUMNS {
        write!(text, "{name:>9}").unwrap();
    }
    text.push('\n');
    for role in &summary.roles {
        write!(text, "  {:<23}", words::role(role.role)).unwrap();
        for number in role_cells(&role.calls, &role.holds) {
            write!(text, "{:>9}", words::count(number)).unwrap();
        }
        text.push('\n');
    }
}

/// What is said of each role.
pub(super) const ROLE_COLUMNS: [&str; 6] =
    ["offered", "admitted", "429", "no reply", "held", "bought"];

/// The numbers under [`ROLE_COLUMNS`].
pub(super) fn role_cells(calls: &Calls, holds: &Holds) -> [u64; 6] {
    [
        calls.offered,
        calls.admitted(),
        calls.over_limit,
        calls.unanswered(),
        holds.held,
        holds.confirmed,
    ]
}
