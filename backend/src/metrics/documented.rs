//! Whether `docs/metrics.md` has what is registered, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry::trace::TraceId;

use super::*;
use crate::store::Durability;

const DOCUMENT: &str = include_str!("../../../docs/metrics.md");

/// Each metric's type and labels.
type Described = BTreeMap<String, (String, BTreeSet<String>)>;

/// Metrics of which each has been counted.
fn all() -> Metrics {
    let metrics = Metrics::default();
    let trace_id = TraceId::from_bytes([7; 16]);
    metrics.count_request("GET", "/v1/x", (404, Some(ProblemType::NotFound)), 0.1, Some(trace_id));
    metrics.count_commands("reserve", "held", 1);
    metrics.count_commit(Duration::from_millis(1), Reached::at_least(Durability::Disk), 2);
    metrics.count_tenure_end("given-back");
    metrics.count_import_lines("set", 1);
    metrics.count_report("answered");
    metrics.spans.count_dropped("full", 1);
    metrics
}

fn rendered(text: &str) -> Described {
    let mut described = Described::new();
    for line in text.lines().filter(|line| !line.starts_with("# ")) {
        let (sample, _) = line.split_once([' ', '{']).unwrap();
        // What is behind a `#` is an exemplar.
        let (own, _) = line.split_once(" # ").unwrap_or((line, ""));
        let labels = own.split_once('{').map_or("", |(_, rest)| rest.rsplit_once('}').unwrap().0);
        let typed = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let of_it = typed.filter(|(name, _)| sample.starts_with(name));
        let (name, kind) = of_it.max_by_key(|(name, _)| name.len()).unwrap();
        let name = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        let described = described.entry(name).or_insert_with(|| (kind.to_owned(), <_>::default()));
        let names = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        described.1.extend(names.filter(|name| name != "le"));
    }
    described
}

fn documented() -> Described {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `cartgate_"));
    let row = |row: &str| {
        let cells: Vec<_> = row[1..row.len() - 1].split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 6, "{row}");
        let plain = |text: &str| text.trim_matches(['`', ' ']).to_owned();
        let labels = cells[2].split(',').map(plain).filter(|label| !label.is_empty());
        (plain(cells[0]), (cells[1].to_owned(), labels.collect()))
    };
    rows.map(row).collect()
}

#[test]
fn what_is_registered_is_documented_and_nothing_else() {
    let lane = BucketDepths { bucket: 0, ..BucketDepths::default() };
    assert_eq!(documented(), rendered(&all().render(vec![lane])));
}

#[test]
fn a_sampled_request_is_an_exemplar() {
    let text = all().render(Vec::new());
    let exemplar = format!("# {{trace_id=\"{}\"}} 0.1", "07".repeat(16));
    assert_eq!(text.matches(&exemplar).count(), 1, "{text}");
    let bucket = text.lines().find(|line| line.contains(&exemplar)).unwrap();
    assert!(bucket.starts_with("cartgate_http_request_seconds_bucket{le=\"0.1024\""), "{bucket}");
}
