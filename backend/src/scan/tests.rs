//! Whole scans of logs in memory.

use std::io::{Cursor, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::logs::LINE_BYTES_MAX;
use super::peaks::Bounds;
use super::*;

/// 2026-11-29T10:00:00Z
const BEGIN_MS: u64 = 1_795_946_400_000;

const ASKED: Asked = Asked { window_ms: 1_000, threshold_per_s: 10, late_ms: 5_000, items_max: 3 };

fn reading() -> Reading {
    let keys = |all: &[&str]| all.iter().map(|&key| key.to_owned()).collect();
    let method = "POST".to_owned().try_into().unwrap();
    Reading {
        format: None,
        keys: Keys {
            time_key: keys(&["start_time", "time"]),
            method_key: keys(&["method"]),
            path_key: keys(&["path"]),
            status_key: keys(&["response_code", "status"]),
        },
        places: Places::named(method, &["path:/cart/{sku}/add".parse().unwrap()]),
        since: None,
    }
}

fn log(text: impl Into<Vec<u8>>) -> Log {
    Log::new("a log", Cursor::new(text.into())).unwrap()
}

fn gz(text: &str) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(text.as_bytes()).unwrap();
    gz.finish().unwrap()
}

fn time(ms: u64) -> String {
    crate::http::Rfc3339(UnixMs(BEGIN_MS + ms)).to_string()
}

/// Somebody puts `sku` into a cart, `ms` after the beginning.
fn text(ms: u64, sku: &str, status: u16) -> String {
    let at = time(ms);
    format!("[{at}] \"POST /cart/{sku}/add HTTP/1.1\" {status} - 0 0 1 1 \"-\" \"x\" \"y\" \"z\"\n")
}

fn json_line(ms: u64, sku: &str, status: u16) -> String {
    let path = format!("/cart/{sku}/add");
    let line = json!({
        "start_time": time(ms), "method": "POST", "path": path, "response_code": status,
    });
    format!("{line}\n")
}

/// So many requests for `sku` within a second, evenly.
fn second(ms: u64, sku: &str, requests: u64) -> String {
    (0..requests).map(|n| text(ms + n * 1_000 / requests, sku, 201)).collect()
}

fn found(logs: &mut [Log], reading: &Reading, asked: Asked) -> Value {
    serde_json::to_value(scan(logs, reading, asked, ROOM).unwrap()).unwrap()
}

/// Name, peak per second and requests of each that is proposed.
fn hot(report: &Value) -> Vec<(&str, f64, u64)> {
    let items = report["hot_items"].as_array().unwrap().iter();
    let item = |item: &'_ Value| (item["peak_per_s"].as_f64(), item["requests"].as_u64());
    items
        .map(|it| (it["sku"].as_str().unwrap(), item(it).0.unwrap(), item(it).1.unwrap()))
        .collect()
}

#[test]
fn a_cart_is_a_request_for_each_of_its_skus() {
    let line = |n: u64| {
        let (at, lines) = (time(n * 10), if n < 20 { "A=1,B=3" } else { "B=1" });
        format!(
            "{}\n",
            json!({"time": at, "method": "POST", "path": "/v1/carts", "status": 201, "lines": lines})
        )
    };
    let method = "POST".to_owned().try_into().unwrap();
    let places = Places::named(method, &["lines:lines".parse().unwrap()]);
    let text: String = (0..30).map(line).collect();
    let report = found(&mut [log(text)], &Reading { places, ..reading() }, ASKED);
    assert_eq!(report["lines"]["counted"], 30);
    assert_eq!(hot(&report), [("B", 30.0, 30), ("A", 20.0, 20)]);
}

#[test]
fn what_is_hot_is_proposed_and_the_rest_is_shown() {
    let tee = second(0, "TEE", 9);
    let sneaker: String = (0..30).map(|n| json_line(500 + n * 10, "SNEAKER", 429)).collect();
    let other = "[2026-11-29T10:00:01.000Z] \"GET / HTTP/1.1\" 200 - 0 0\n\n\
                 [2026-11-29T10:00:01.000Z] \"POST /cart/a+b/add HTTP/1.1\" 400 - 0 0\n\
                 starting\n";
    let report = found(&mut [log(tee + &sneaker + other)], &reading(), ASKED);
    assert_eq!(
        report,
        json!({
            "window_ms": 1_000, "threshold_per_s": 10, "late_ms": 5_000,
            "lines": {
                "read": 42, "counted": 39, "other": 1, "no_sku": 1, "old": 0, "unreadable": 1,
                "late": 0,
            },
            "first_at": time(0), "last_at": time(888),
            "hot_items": [{
                "sku": "SNEAKER", "peak_per_s": 30.0, "peak_at": "2026-11-29T09:59:59.791Z",
                "requests": 30, "denied": 30,
            }],
            "hot_items_more": 0,
            "below": [{
                "sku": "TEE", "peak_per_s": 9.0, "peak_at": "2026-11-29T09:59:59.889Z",
                "requests": 9, "denied": 0,
            }],
        })
    );
}

#[test]
fn people_read_a_table() {
    let lines =
        second(0, "TEE", 9) + &second(0, "LIMITED-SNEAKER", 1_840) + &text(7_000, "TEE", 429);
    let report = scan(&mut [log(lines)], &reading(), ASKED, ROOM).unwrap();
    let expected = "\
1,850 lines: 1,850 requests for a SKU (2026-11-29T10:00:00.000Z to 2026-11-29T10:00:07.000Z), 0 other

hot, 10/s or more over 1 s:
  SKU                    peak/s  from                            requests        denied
  LIMITED-SNEAKER         1,840  2026-11-29T10:00:00.000Z           1,840             0

below that:
  SKU        peak/s  from                            requests        denied
  TEE             9  2026-11-29T09:59:59.889Z              10             1
";
    assert_eq!(report.to_string(), expected);
    let reason = "access log: 1,840/s over 1 s at 2026-11-29T10:00:00.000Z, threshold 10/s";
    assert_eq!(report.reason(&report.hot_items[0]), reason);
}

#[test]
fn nothing_hot_and_nothing_at_all_are_no_errors() {
    let report = scan(&mut [log("")], &reading(), ASKED, ROOM).unwrap();
    assert_eq!(
        report.to_string(),
        "0 lines: 0 requests for a SKU, 0 other\n\nhot, 10/s or more over 1 s:\n  none\n"
    );
    let report = found(&mut [log(second(0, "TEE", 9))], &reading(), ASKED);
    assert_eq!(hot(&report), []);
}

#[test]
fn the_threshold_is_a_rate_whatever_the_window() {
    let lines = second(0, "A", 10);
    let asked = |window_ms| Asked { window_ms, ..ASKED };
    // One more would be needed.
    assert_eq!(hot(&found(&mut [log(&*lines)], &reading(), asked(1_001))), []);
    assert_eq!(hot(&found(&mut [log(&*lines)], &reading(), asked(1_000))), [("A", 10.0, 10)]);
    assert_eq!(hot(&found(&mut [log(&*lines)], &reading(), asked(100))), [("A", 10.0, 10)]);
}

#[test]
fn the_highest_are_proposed_if_there_are_too_many() {
    let lines: String = (10..20).map(|n| second(n * 10_000, &format!("A{n}"), n)).collect();
    let report = found(&mut [log(lines)], &reading(), ASKED);
    let expected = [("A19", 19.0, 19), ("A18", 18.0, 18), ("A17", 17.0, 17)];
    assert_eq!((hot(&report), &report["hot_items_more"]), (expected.to_vec(), &json!(7)));
}

#[test]
fn gz_is_told_by_what_is_in_it() {
    let (first, second) = (second(0, "A", 20), second(1_000, "A", 20));
    // Two that were put one behind the other are one.
    let both = [gz(&first), gz(&second)].concat();
    let report = found(&mut [log(both)], &reading(), ASKED);
    assert_eq!(hot(&report), [("A", 20.0, 40)]);
    let mut broken = gz(&first);
    broken.truncate(broken.len() - 9);
    let error = scan(&mut [log(broken)], &reading(), ASKED, ROOM).unwrap_err();
    assert!(matches!(error, ScanError::Log(LogError::Read { .. })), "{error:?}");
}

#[test]
fn logs_of_several_edges_are_one() {
    let even: String = (0..10).map(|n| text(n * 100, "A", 201)).collect();
    let odd: String = (0..10).map(|n| json_line(n * 100 + 50, "A", 429)).collect();
    // One that was rotated, and stopped before the others began.
    let before = second(0, "B", 12).replace("T10:", "T08:");
    let report = found(&mut [log(even), log(odd), log(before)], &reading(), ASKED);
    assert_eq!(hot(&report), [("A", 20.0, 20), ("B", 12.0, 12)]);
    assert_eq!(
        (&report["hot_items"][0]["denied"], &report["lines"]["late"]),
        (&10.into(), &0.into())
    );
}

#[test]
fn a_request_that_took_long_is_where_it_began() {
    // Ten begin at once. Each takes longer than the one before, and ends after what began later.
    let lines: String =
        (0..10).map(|n| text(n, "A", 201) + &text(n * 500 + 499, "B", 201)).collect();
    let report = found(&mut [log(&*lines)], &reading(), ASKED);
    assert_eq!((hot(&report), &report["lines"]["late"]), (vec![("A", 10.0, 10)], &0.into()));
    // Whoever does not wait for them says so.
    let report =
        scan(&mut [log(lines)], &reading(), Asked { late_ms: 1_000, ..ASKED }, ROOM).unwrap();
    assert!(report.hot_items.is_empty());
    let said = report.to_string();
    assert!(said.contains("7 came more than 1,000 ms late: they are in no peak"), "{said}");
}

#[test]
fn what_is_old_is_passed_over() {
    let lines = second(0, "OLD", 20) + &second(5_000, "NEW", 20);
    let since = Some(UnixMs(BEGIN_MS + 5_000));
    let report = found(&mut [log(lines)], &Reading { since, ..reading() }, ASKED);
    assert_eq!((hot(&report), &report["lines"]["old"]), (vec![("NEW", 20.0, 20)], &20.into()));
}

#[test]
fn a_log_of_something_else_is_an_error_that_shows_how_it_should_be() {
    let lines = "10.0.0.1 - - [29/Nov/2026:10:00:00 +0000] \"GET / HTTP/1.1\" 200 12\n".repeat(3);
    let half = lines.clone() + &second(0, "A", 3);
    assert!(scan(&mut [log(half)], &reading(), ASKED, ROOM).is_ok());
    let error = scan(&mut [log(lines)], &reading(), ASKED, ROOM).unwrap_err();
    let expected = "3 of 3 lines cannot be read, the first of them \"10.0.0.1 - - [29/Nov/2026:10:00:00 \
        +0000] \\\"GET / HTTP/1.1\\\" 200 12\" because it does not begin with [TIME] \"METHOD PATH PROTOCOL\" \
        STATUS. A line has to look like {\"start_time\": \"2026-11-29T10:00:00.000Z\", \"method\": \"POST\", \
        \"path\": \"/cart/SKU/add\", \"response_code\": 200} (other keys: --time-key, --method-key, --path-key, \
        --status-key) or like [2026-11-29T10:00:00.000Z] \"POST /cart/SKU/add HTTP/1.1\" 200 ...";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn bytes_that_are_no_log_are_read_to_their_end() {
    let mut bytes = vec![0_u8; 3 * LINE_BYTES_MAX];
    bytes.push(b'\n');
    bytes.extend(second(0, "A", 20).into_bytes());
    // A line that is still being written.
    bytes.extend(b"[2026-11-29T10:00:0");
    let report = found(&mut [log(bytes)], &reading(), ASKED);
    assert_eq!(hot(&report), [("A", 20.0, 20)]);
    assert_eq!(report["lines"]["unreadable"], 2);
}

#[test]
fn the_longest_line_is_read_and_a_longer_one_is_not() {
    for (longer, unreadable) in [(0, 0), (1, 1)] {
        let line = text(0, "A", 201);
        let line = line.trim_end();
        let filler = "x".repeat(LINE_BYTES_MAX - line.len() + longer);
        let lines = format!("{line}{filler}\n{}", text(1, "A", 201));
        let report = found(&mut [log(lines)], &reading(), ASKED);
        assert_eq!(report["lines"]["unreadable"], unreadable);
        assert_eq!(report["lines"]["read"], 2);
    }
}

#[test]
fn a_flood_of_invented_skus_is_told_of_and_hides_nothing() {
    let flood: String = (0..2_000).map(|n| text(n, &format!("X{n}"), 404)).collect();
    let mut lines: Vec<&str> = flood.lines().collect();
    let real = second(0, "A", 20);
    lines.extend(real.lines());
    let mut text = lines.join("\n");
    let room = Room { waiting_max: 5_000, bounds: Bounds { seats_max: 100, cells_max: 100_000 } };
    let report = scan(&mut [log(&*text)], &reading(), ASKED, room).unwrap();
    let said = report.to_string();
    assert_eq!(report.hot_items[0].sku.as_str(), "A");
    assert!(said.contains("There were more SKUs than are kept apart"), "{said}");
    // The invented ones that are shown say how little is known of them.
    assert!(said.contains(">= 1 ") && said.contains("  at most "), "{said}");
    // Where fewer can wait than come in, they are let go before what is late.
    text.push('\n');
    let room = Room { waiting_max: 10, ..room };
    let report = found_in(&text, room);
    assert_eq!(report["lines"]["late"], 20);
    assert_eq!(report["lines"]["counted"], 2_020);
}

fn found_in(text: &str, room: Room) -> Value {
    serde_json::to_value(scan(&mut [log(text)], &reading(), ASKED, room).unwrap()).unwrap()
}

#[test]
fn short_windows_need_times_that_are_exact() {
    let lines: String = (0..20).map(|_| text(0, "A", 201).replace(".000Z", "Z")).collect();
    let asked = |window_ms| Asked { window_ms, ..ASKED };
    let error = scan(&mut [log(&*lines)], &reading(), asked(500), ROOM).unwrap_err();
    assert!(matches!(error, ScanError::Coarse { window_ms: 500 }), "{error}");
    assert_eq!(hot(&found(&mut [log(&*lines)], &reading(), asked(1_000))), [("A", 20.0, 20)]);
    let exact = lines + &text(1, "A", 201);
    assert!(scan(&mut [log(exact)], &reading(), asked(500), ROOM).is_ok());
}

#[test]
fn a_directory_stands_for_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: Vec<u8>| fs::write(dir.path().join(name), bytes).unwrap();
    write("access.log", second(60_000, "A", 20).into_bytes());
    fs::create_dir(dir.path().join("edge-1")).unwrap();
    write("edge-1/access.log.1", gz(&second(0, "A", 30)));
    std::os::unix::fs::symlink(dir.path(), dir.path().join("edge-1/back")).unwrap();
    let mut logs = logs::open(&[dir.path().to_path_buf()]).unwrap();
    assert_eq!(logs.len(), 2);
    assert_eq!(hot(&found(&mut logs, &reading(), ASKED)), [("A", 30.0, 50)]);
    for n in 0..600 {
        write(&format!("{n}"), Vec::new());
    }
    let error = logs::open(&[dir.path().to_path_buf()]).err().unwrap();
    assert!(matches!(error, LogError::TooMany { max: 512 }), "{error:?}");
    let error = logs::open(&[dir.path().join("none")]).err().unwrap();
    assert!(matches!(error, LogError::Read { .. }), "{error:?}");
}
