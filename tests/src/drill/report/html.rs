//! The report as a page: one file, without scripts and without anything to fetch.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::charts::{BLUE, Chart, GREEN, INK, Line, RED, Scale, Stroke};
use super::summary::{Calls, Holds, Summary};
use super::terminal::{
    CALLS, HOLDS, LATENCY_NOTE, ROLE_COLUMNS, Row, STOCK, event_words, latencies, latency_cells,
    role_cells,
};
use super::timeline::{Bin, Timeline};
use super::words;

/// Of more violations than this nobody reads the last one, and a page of millions does not open.
const VIOLATIONS_SHOWN_MAX: usize = 50;

const STYLE: &str = include_str!("style.css");

/// What the report says besides the numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The scenario's name.
    pub scenario: String,
    /// What the scenario is about, in a sentence or two; may be empty.
    pub description: String,
    /// What repeats the run.
    pub seed: u64,
    /// Whether the verdict holds.
    pub holds: bool,
    /// The verdict in a sentence.
    pub verdict: String,
    /// What did not hold: one paragraph each.
    pub violations: Vec<String>,
    /// More to know about the run (when, against what, limits), as names and values.
    pub facts: Vec<(String, String)>,
}

/// The page.
pub fn render(summary: &Summary, meta: &Meta) -> String {
    let title = format!("Drill: {}", meta.scenario);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { h1 { (title) } (head(summary, meta)) }
                (verdict(meta))
                (course(summary))
                (charts(summary))
                (numbers(summary))
                footer {
                    "Made by cartgate's drill from what its clients were told, and from the "
                    "service's journal."
                }
            }
        }
    };
    page.into_string()
}

fn head(summary: &Summary, meta: &Meta) -> Markup {
    let seconds = summary.basics.duration.as_secs_f64();
    html! {
        @if !meta.description.is_empty() { p { (meta.description) } }
        dl.facts {
            div { dt { "hot product" } dd { (summary.basics.hot_sku) } }
            div { dt { "orders for" } dd { (seconds) " s" } }
            div { dt { "seed" } dd { (meta.seed) } }
            @for (name, value) in &meta.facts { div { dt { (name) } dd { (value) } } }
        }
    }
}

fn verdict(meta: &Meta) -> Markup {
    let shown = meta.violations.len().min(VIOLATIONS_SHOWN_MAX);
    let (shown, others) = meta.violations.split_at(shown);
    html! {
        section.verdict.holds[meta.holds].broken[!meta.holds] {
            h2 { @if meta.holds { "✓ The verdict holds" } @else { "✗ The verdict does not hold" } }
            p { (meta.verdict) }
            @if !shown.is_empty() { ol { @for violation in shown { li { (violation) } } } }
            @if !others.is_empty() {
                p { "And " (words::count(others.len() as u64)) " more: all of them are in "
                    code { "verdict.json" } ", beside this page." }
            }
        }
    }
}

/// The numbers are those of the marks in the charts.
fn course(summary: &Summary) -> Markup {
    let Some(course) = &summary.course else { return html! {} };
    html! {
        section.course {
            table {
                caption { "What became of " (summary.basics.hot_sku) ", which nobody registered" }
                thead {
                    tr { td {} th scope="col" { "seconds" } th scope="col" { "what" } th scope="col" { "why" } }
                }
                tbody {
                    @for (event, number) in course.events.iter().zip(1_u32..) {
                        tr {
                            th scope="row" { (number) }
                            td { (words::at_s(event.at_us)) }
                            td.text { (event_words(event)) }
                            td.text { (event.note) }
                        }
                    }
                }
            }
            p.note {
                "As the drill saw it, asking the service ten times a second; the reasons are the service's. "
                "The numbers stand in the charts, too."
            }
        }
    }
}

fn charts(summary: &Summary) -> Markup {
    let timeline = &summary.timeline;
    let limit = summary.basics.hot_limit_per_s;
    let events = summary.course.iter().flat_map(|course| &course.events);
    let marks: Vec<f64> = events.map(|event| event.at_us as f64 / 1e6).collect();
    let charts = [
        demand(timeline, &timeline.hot, "Demand, hot product", limit),
        demand(timeline, &timeline.others, "Demand, all others", None),
        waiting(timeline),
        latency(timeline),
        stock(timeline, &timeline.hot, "Stock, hot product"),
        stock(timeline, &timeline.others, "Stock, all others"),
    ];
    html! {
        section.charts { @for chart in charts { (Chart { marks: marks.clone(), ..chart }.figure()) } }
        p.note {
            "Demand counts when the scenario wants an order to be sent; admitted, 429 and sold out at the "
            "edge when it was sent. Orders whose client hung up, or that had another answer, are in the demand "
            "alone. Waiting counts the orders without an answer yet: the queue, as clients see it; "
            "with a ticket, those that were answered 202 and do not know their outcome yet. "
            "Latency is that of orders the service answered, until their first answer: a ticket is "
            "one, and what came of it is in the table, as \u{201c}until outcome\u{201d}. Each point covers "
            (timeline.bin.as_secs_f64()) " s; stock is that at its end. On a logarithmic axis, "
            "what is 0 is not drawn."
        }
    }
}

fn demand(timeline: &Timeline, bins: &[Bin], title: &'static str, limit: Option<u32>) -> Chart {
    // After the last order of all there is no demand to show, only late answers to wait for.
    let asked = |bin: &Bin| bin.offered + bin.admitted + bin.over_limit + bin.sold_out_at_edge;
    let end = bins.iter().rposition(|bin| asked(bin) > 0);
    let bins = &bins[..end.map_or(0, |last| last + 1)];
    let rate = |count: u64| Some(count as f64 / timeline.bin.as_secs_f64());
    let mut lines = vec![
        line(timeline, bins, "demand", INK, Stroke::Thin, |bin| rate(bin.offered)),
        line(timeline, bins, "429", RED, Stroke::Dashed, |bin| rate(bin.over_limit)),
        line(timeline, bins, "admitted", BLUE, Stroke::Thick, |bin| rate(bin.admitted)),
    ];
    if bins.iter().any(|bin| bin.sold_out_at_edge > 0) {
        let sold_out = |bin: &Bin| rate(bin.sold_out_at_edge);
        lines.push(line(timeline, bins, "sold out, at the edge", GREEN, Stroke::Dashed, sold_out));
    }
    if let Some(limit) = limit {
        let limit = f64::from(limit);
        lines.push(line(timeline, bins, "limit", INK, Stroke::Dotted, |_| Some(limit)));
    }
    chart(timeline, title, "orders per second", Scale::for_lines(&lines), lines)
}

fn waiting(timeline: &Timeline) -> Chart {
    let waiting = |bin: &Bin| Some(bin.waiting_max as f64);
    let tickets = |bin: &Bin| Some(bin.tickets_max as f64);
    let lines = vec![
        line(timeline, &timeline.others, "all others", BLUE, Stroke::Thin, waiting),
        line(timeline, &timeline.hot, "hot, with a ticket", RED, Stroke::Dashed, tickets),
        line(timeline, &timeline.hot, "hot product", RED, Stroke::Thick, waiting),
    ];
    chart(timeline, "Queue depth", "orders at once, at most", Scale::Linear, lines)
}

fn latency(timeline: &Timeline) -> Chart {
    let ms = |us: Option<u64>| us.map(|us| us as f64 / 1000.0);
    let (p50, p99) = (move |bin: &Bin| ms(bin.p50_us), move |bin: &Bin| ms(bin.p99_us));
    let (hot, others) = (&timeline.hot, &timeline.others);
    let lines = vec![
        line(timeline, others, "others p50", BLUE, Stroke::Thin, p50),
        line(timeline, others, "others p99", BLUE, Stroke::Dotted, p99),
        line(timeline, hot, "hot p50", RED, Stroke::Thick, p50),
        line(timeline, hot, "hot p99", RED, Stroke::Dashed, p99),
    ];
    let unit = "milliseconds, until the first answer; a ticket (202) counts as one";
    chart(timeline, "Latency, admitted", unit, Scale::Log, lines)
}

fn stock(timeline: &Timeline, bins: &[Bin], title: &'static str) -> Chart {
    let units = |units: u64| Some(units as f64);
    let lines = vec![
        line(timeline, bins, "available", INK, Stroke::Thin, |bin| units(bin.stock?.available)),
        line(timeline, bins, "held", RED, Stroke::Dashed, |bin| units(bin.stock?.held)),
        line(timeline, bins, "confirmed", GREEN, Stroke::Thick, |bin| units(bin.stock?.confirmed)),
    ];
    chart(timeline, title, "units", Scale::for_lines(&lines), lines)
}

fn chart(
    timeline: &Timeline,
    title: &'static str,
    unit: &'static str,
    scale: Scale,
    lines: Vec<Line>,
) -> Chart {
    Chart { title, unit, scale, seconds: timeline.seconds(), lines, marks: Vec::new() }
}

/// A bin's value is drawn in the middle of its time.
fn line(
    timeline: &Timeline,
    bins: &[Bin],
    label: &'static str,
    colour: plotters::style::RGBColor,
    stroke: Stroke,
    value: impl Fn(&Bin) -> Option<f64>,
) -> Line {
    let middle = |index| (index as f64 + 0.5) * timeline.bin.as_secs_f64();
    let points = bins.iter().enumerate().map(|(index, bin)| (middle(index), value(bin))).collect();
    Line { label, colour, stroke, points }
}

fn numbers(summary: &Summary) -> Markup {
    let Summary { hot, others, .. } = summary;
    let calls = |rows: &[Row<Calls>]| split(rows, &hot.calls, &others.calls, Some(|c| c.offered));
    let holds = |rows: &[Row<Holds>]| split(rows, &hot.holds, &others.holds, None);
    html! {
        section.numbers {
            div.pair {
                (table("Orders, by what their client was told first", &SPLIT_OF_DEMAND, calls(&CALLS)))
                div {
                    (table("Holds, each counted once", &SPLIT, holds(&HOLDS)))
                    (table("Stock in the end, units", &SPLIT, split(&STOCK, hot, others, None)))
                }
            }
            (table("Latency, milliseconds", &LATENCY_COLUMNS, latency_rows(summary)))
            p.note { (LATENCY_NOTE.join(" ")) }
            (table("Orders by client", &ROLE_COLUMNS, role_rows(summary)))
        }
    }
}

const SPLIT: [&str; 3] = ["hot product", "all others", "together"];
const SPLIT_OF_DEMAND: [&str; 5] = ["hot product", "", "all others", "", "together"];
const LATENCY_COLUMNS: [&str; 6] = ["calls", "p50", "p90", "p99", "p99.9", "max"];

type Cells = (&'static str, Vec<String>);

/// Rows with the numbers of the hot product, of all others, and of both; of a `whole`, its shares.
fn split<T>(rows: &[Row<T>], hot: &T, others: &T, whole: Option<fn(&T) -> u64>) -> Vec<Cells> {
    let row = |(label, number): &Row<T>| {
        let numbers = [number(hot), number(others)];
        let mut cells = Vec::new();
        for (number, of) in numbers.into_iter().zip([hot, others]) {
            cells.push(words::count(number));
            cells.extend(whole.map(|whole| words::percent(number, whole(of))));
        }
        cells.push(words::count(numbers.iter().sum()));
        (*label, cells)
    };
    rows.iter().map(row).collect()
}

fn latency_rows(summary: &Summary) -> Vec<Cells> {
    let rows = latencies(summary).into_iter();
    rows.map(|(label, latency)| (label, latency_cells(latency).to_vec())).collect()
}

fn role_rows(summary: &Summary) -> Vec<Cells> {
    let rows = summary.roles.iter().map(|role| {
        let cells = role_cells(&role.calls, &role.holds).map(words::count);
        (words::role(role.role), cells.to_vec())
    });
    rows.collect()
}

fn table(title: &str, columns: &[&str], rows: Vec<Cells>) -> Markup {
    html! {
        table {
            caption { (title) }
            thead { tr { td {} @for column in columns { th scope="col" { (column) } } } }
            tbody {
                @for (label, cells) in &rows {
                    tr {
                        th.part[label.starts_with(' ')].detail[label.starts_with("    ")] scope="row" {
                            (label.trim_start())
                        }
                        @for cell in cells { td { (cell) } }
                    }
                }
            }
        }
    }
}
