//! One line of an access log.
//!
//! Three forms are read: JSON, whatever its keys; Envoy's default text and Istio's, which begin alike;
//! and either of them behind the prefix that a container's log has for each line. Each line shows its
//! form by its first byte, so that a log may have several.

use cartgate_ledger::UnixMs;
use clap::ValueEnum;
use serde_json::{Map, Value};
use thiserror::Error;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A JSON object.
    Json,
    /// Envoy's default, or Istio's: `[TIME] "METHOD PATH PROTOCOL" STATUS ...`.
    Text,
}

/// The keys of a JSON line. Of several, the first that a line has counts.
#[derive(Clone, Debug, clap::Args)]
pub struct Keys {
    /// The key of the time at which a request began, in a JSON line; of several, the first that is there.
    #[arg(long, value_name = "KEY", value_delimiter = ',', default_value = "start_time,time")]
    pub time_key: Vec<String>,
    /// The key of the method.
    #[arg(long, value_name = "KEY", value_delimiter = ',', default_value = "method")]
    pub method_key: Vec<String>,
    /// The key of the path with its query.
    #[arg(long, value_name = "KEY", value_delimiter = ',', default_value = "path")]
    pub path_key: Vec<String>,
    /// The key of the response's status.
    #[arg(long, value_name = "KEY", value_delimiter = ',', default_value = "response_code,status")]
    pub status_key: Vec<String>,
}

/// What a line says of a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// When it began.
    pub(super) at: UnixMs,
    /// Its method; empty if it was no HTTP.
    pub(super) method: Vec<u8>,
    /// Its path with the query; empty if it was no HTTP.
    pub(super) target: Vec<u8>,
    /// The status of its response, 0 if there was none.
    pub(super) status: u16,
    /// The members of a JSON line.
    pub(super) members: Map<String, Value>,
}

/// Why a line cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LineError {
    /// It is longer than any line of an access log.
    #[error("it is longer than {max} bytes")]
    TooLong {
        /// The longest that is read, in bytes.
        max: usize,
    },
    /// It is no JSON object.
    #[error("it is no JSON object")]
    NoJson,
    /// Nothing is there under any of the keys.
    #[error("it has no {}", keys.join(" or "))]
    NoKey {
        /// The keys.
        keys: Vec<String>,
    },
    /// It is there, and is not what it has to be.
    #[error("{found} is no {expected}")]
    Wrong {
        /// What is there.
        found: String,
        /// What should be there.
        expected: &'static str,
    },
    /// It does not begin as Envoy's text does.
    #[error("it does not begin with [TIME] \"METHOD PATH PROTOCOL\" STATUS")]
    NoText,
}

/// Reads a line, in this format or in the one that it seems to have.
pub(super) fn read(line: &[u8], format: Option<Format>, keys: &Keys) -> Result<Entry, LineError> {
    let line = without_prefix(line);
    let is_json = format.map_or(line.starts_with(b"{"), |format| format == Format::Json);
    if is_json { from_json(line, keys) } else { from_text(line) }
}

/// What a container wrote: its runtime puts `TIME stdout F ` in front of each line (CRI).
fn without_prefix(line: &[u8]) -> &[u8] {
    let mut parts = line.splitn(4, |b| *b == b' ');
    match [parts.next(), parts.next(), parts.next(), parts.next()] {
        [Some(_), Some(b"stdout" | b"stderr"), Some(b"F"), Some(rest)] => rest,
        _ => line,
    }
}

fn from_json(line: &[u8], keys: &Keys) -> Result<Entry, LineError> {
    let members: Map<String, Value> =
        serde_json::from_slice(line).map_err(|_| LineError::NoJson)?;
    let at = text(&members, &keys.time_key)?;
    let status = member(&members, &keys.status_key)?;
    let number = match status {
        Value::Number(number) => number.as_u64().and_then(|number| number.try_into().ok()),
        Value::String(digits) => digits.parse().ok(),
        _ => None,
    };
    let status = number.ok_or_else(|| wrong(status.to_string().as_bytes(), "status"))?;
    Ok(Entry {
        at: time(at.as_bytes())?,
        method: text(&members, &keys.method_key)?.into(),
        target: text(&members, &keys.path_key)?.into(),
        status,
        members,
    })
}

fn member<'m>(members: &'m Map<String, Value>, keys: &[String]) -> Result<&'m Value, LineError> {
    let found = keys.iter().find_map(|key| members.get(key));
    found.ok_or_else(|| LineError::NoKey { keys: keys.to_vec() })
}

/// A member that is text, or `null`, by which Envoy says that there is none.
fn text<'m>(members: &'m Map<String, Value>, keys: &[String]) -> Result<&'m str, LineError> {
    match member(members, keys)? {
        Value::String(text) => Ok(text),
        Value::Null => Ok(""),
        other => Err(wrong(other.to_string().as_bytes(), "text")),
    }
}

fn from_text(line: &[u8]) -> Result<Entry, LineError> {
    let parts = || {
        let (at, rest) = cut(line.strip_prefix(b"[")?, b']')?;
        let (method, rest) = cut(rest.strip_prefix(b" \"")?, b' ')?;
        // Envoy lets no space into a path, but quotes: the end is told by what follows it.
        let (target, rest) = cut(rest, b' ')?;
        let (protocol, rest) = cut(rest, b'"')?;
        let is_protocol = protocol == b"-" || protocol.starts_with(b"HTTP/");
        let status = rest.strip_prefix(b" ")?.split(|b| *b == b' ').next()?;
        is_protocol.then_some((at, method, target, status))
    };
    let (at, method, target, status) = parts().ok_or(LineError::NoText)?;
    let number = str::from_utf8(status).ok().and_then(|digits| digits.parse().ok());
    Ok(Entry {
        at: time(at)?,
        method: method.into(),
        target: target.into(),
        status: number.ok_or_else(|| wrong(status, "status"))?,
        members: Map::new(),
    })
}

/// What is in front of the first `end`, and what is behind it.
fn cut(bytes: &[u8], end: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|b| *b == end)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

fn time(text: &[u8]) -> Result<UnixMs, LineError> {
    let parsed = str::from_utf8(text).ok().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let ms = parsed.and_then(|at| u64::try_from(at.as_millisecond()).ok());
    ms.map(UnixMs).ok_or_else(|| wrong(text, "time such as 2026-11-29T10:00:00.000Z"))
}

fn wrong(found: &[u8], expected: &'static str) -> LineError {
    LineError::Wrong { found: excerpt(found), expected }
}

/// The beginning of a line, for a message: what is not printable is escaped.
pub(super) fn excerpt(line: &[u8]) -> String {
    const BYTES_MAX: usize = 200;
    let shown = &line[..line.len().min(BYTES_MAX)];
    let more = if shown.len() < line.len() { "..." } else { "" };
    format!("{:?}{more}", String::from_utf8_lossy(shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: UnixMs = UnixMs(1_795_946_400_310);

    fn keys() -> Keys {
        let keys = |all: &[&str]| all.iter().map(|&key| key.to_owned()).collect();
        Keys {
            time_key: keys(&["start_time", "time"]),
            method_key: keys(&["method"]),
            path_key: keys(&["path"]),
            status_key: keys(&["response_code", "status"]),
        }
    }

    /// What is read of it: method, path and status of a request that began at `AT`.
    #[track_caller]
    fn check(line: &str, expected: (&str, &str, u16)) {
        let entry = read(line.as_bytes(), None, &keys()).unwrap();
        let found = (str::from_utf8(&entry.method), str::from_utf8(&entry.target), entry.status);
        assert_eq!((entry.at, found), (AT, (Ok(expected.0), Ok(expected.1), expected.2)));
    }

    #[track_caller]
    fn check_error(line: &str, expected: &str) {
        let error = read(line.as_bytes(), None, &keys()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn envoys_default_text() {
        check(
            r#"[2026-11-29T10:00:00.310Z] "POST /cart/SNEAKER/add?n=1 HTTP/2" 204 - 154 0 226 100 "10.0.35.28" "nsq2http" "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "locations" "tcp://10.0.2.1:80""#,
            ("POST", "/cart/SNEAKER/add?n=1", 204),
        );
        // Somebody who tries to look like the end of the request.
        check(
            r#"[2026-11-29T10:00:00.310Z] "GET /a"_429_-_ HTTP/1.1" 200 - 0 0 1 1 "-" "x" "y" "z" "-""#,
            ("GET", "/a\"_429_-_", 200),
        );
        // Nothing was understood of it.
        check(
            r#"[2026-11-29T10:00:00.310Z] "- - HTTP/1.1" 400 DPE 0 11 0 - "-" "-" "-" "-" "-""#,
            ("-", "-", 400),
        );
    }

    #[test]
    fn istios_default_text() {
        check(
            r#"[2026-11-29T10:00:00.310Z] "GET /status/418 HTTP/1.1" 418 - via_upstream - "-" 0 135 3 1 "-" "curl/7.73.0-DEV" "84961386-6d84-929d-98bd-c5aee93b5c88" "httpbin:8000" "127.0.0.1:80" inbound|8000|| 127.0.0.1:41854 10.44.1.27:80 10.44.1.23:37652 outbound_.8000_._.httpbin.foo.svc.cluster.local default"#,
            ("GET", "/status/418", 418),
        );
        // No HTTP.
        check(
            r#"[2026-11-29T10:00:00.310Z] "- - -" 0 - - - "-" 1033 3495 19 - "-" "-" "-" "-" "10.0.0.1:443" outbound|443||x 10.0.0.2:1 10.0.0.3:443 10.0.0.4:2 - -"#,
            ("-", "-", 0),
        );
    }

    #[test]
    fn json_of_envoy_of_istio_and_ours() {
        let expected = ("POST", "/cart/SNEAKER/add", 429);
        check(
            r#"{"authority":"shop","bytes_sent":0,"method":"POST","path":"/cart/SNEAKER/add","protocol":"HTTP/1.1","response_code":429,"response_code_details":"cartgate_denied","start_time":"2026-11-29T10:00:00.310Z","upstream_host":null}"#,
            expected,
        );
        check(
            r#"{"time":"2026-11-29T19:00:00.310+09:00","request_id":"x","method":"POST","path":"/cart/SNEAKER/add","status":"429"}"#,
            expected,
        );
        check(
            r#"{"start_time":"2026-11-29T10:00:00.310Z","method":null,"path":null,"response_code":0}"#,
            ("", "", 0),
        );
    }

    #[test]
    fn a_container_runtime_puts_something_in_front() {
        let line = r#"2026-11-29T10:00:01.123456789Z stdout F [2026-11-29T10:00:00.310Z] "GET / HTTP/1.1" 200 - 0"#;
        check(line, ("GET", "/", 200));
        // A part of a line that was too long for it.
        check_error(&line.replace(" F ", " P "), &LineError::NoText.to_string());
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let no_text = LineError::NoText.to_string();
        for line in [
            "[2026-11-29 10:00:00.310][12][info][main] [source/server/server.cc:430] starting",
            "[2026-11-29T10:00:00.310Z] \"GET / x\" 200",
            "[2026-11-29T10:00:00.310Z] \"GET / HTTP/1.1\"",
            "[2026-11-29T10:00:00.310Z",
            "10.0.0.1 - - [29/Nov/2026:10:00:00 +0000] \"GET / HTTP/1.1\" 200 12",
            "\u{0}\u{1}",
        ] {
            check_error(line, &no_text);
        }
        check_error("{\"method\":\"POST\"", "it is no JSON object");
        check_error("{}", "it has no start_time or time");
        check_error(r#"{"time":"yesterday"}"#, "it has no response_code or status");
        check_error(
            r#"{"time":"yesterday","status":200}"#,
            "\"yesterday\" is no time such as 2026-11-29T10:00:00.000Z",
        );
        check_error(r#"{"time":7,"status":200}"#, "\"7\" is no text");
        check_error(
            "[1900-01-01T00:00:00Z] \"GET / HTTP/1.1\" 200",
            "\"1900-01-01T00:00:00Z\" is no time such as 2026-11-29T10:00:00.000Z",
        );
        check_error("[2026-11-29T10:00:00Z] \"GET / HTTP/1.1\" OK", "\"OK\" is no status");
        assert_eq!(read(b"{\xff", None, &keys()), Err(LineError::NoJson));
        // Who says what format it is, is taken at his word.
        let json = read(b"[", Some(Format::Json), &keys());
        assert_eq!(json, Err(LineError::NoJson));
    }

    #[test]
    fn a_long_line_is_shown_in_part() {
        assert_eq!(excerpt(b"a\n\xff"), "\"a\\n\u{fffd}\"");
        assert!(excerpt(&[b'x'; 300]).ends_with("x\"..."));
    }
}
