//! What the service answers to an import, line by line: `http/stock_imports/results.rs` has all of it.

use axum::body::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Duration, timeout};

use crate::client::CallError;
use crate::store::imports::Counts;

/// Longer than a service says nothing of an import that goes on.
const SILENT_MAX: Duration = Duration::from_secs(60);

/// A line of the answer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum Told {
    /// It is over.
    End {
        done: bool,
        lines: u64,
        #[serde(flatten)]
        counts: Counts,
        #[serde(default)]
        problem: Value,
    },
    /// A line was refused.
    Refused { line: u64, problem: Value },
    /// Lines up to this one are decided.
    Standing {
        line: u64,
        state: String,
        #[serde(flatten)]
        counts: Counts,
    },
}

/// An answer that comes bit by bit.
pub(super) struct Answer {
    body: Incoming,
    begun: Vec<u8>,
    chunk: Bytes,
}

impl Answer {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, begun: Vec::new(), chunk: Bytes::new() }
    }

    /// The next line; an error if there is none, since the last one is known by what it says.
    pub(super) async fn next(&mut self) -> Result<Told, CallError> {
        let broken = |why: &str| CallError::NoAnswer(why.to_owned());
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.chunk) {
                self.begun.extend_from_slice(&self.chunk.split_to(end + 1));
                let told = serde_json::from_slice(&self.begun);
                self.begun.clear();
                return told.map_err(|error| broken(&format!("what is this? {error}")));
            }
            self.begun.extend_from_slice(&self.chunk);
            let frame = timeout(SILENT_MAX, self.body.frame()).await;
            let frame = frame.map_err(|_| broken("nothing was heard for a minute"))?;
            let frame = frame.ok_or_else(|| broken("it broke off"))?;
            let frame = frame.map_err(|error| CallError::NoAnswer(error.to_string()))?;
            self.chunk = frame.into_data().unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let told = |line: Value| serde_json::from_value::<Told>(line).unwrap();
        let counts = Counts { set: 1, unchanged: 2, refused: 3 };
        let end = json!({"done": true, "lines": 6, "set": 1, "unchanged": 2, "refused": 3});
        let problem = Value::Null;
        assert_eq!(told(end), Told::End { done: true, lines: 6, counts, problem });
        let refused = json!({"line": 2, "problem": {"status": 400}});
        let problem = json!({"status": 400});
        assert_eq!(told(refused), Told::Refused { line: 2, problem });
        let progress =
            json!({"line": 6, "state": "progress", "set": 1, "unchanged": 2, "refused": 3});
        let state = "progress".to_owned();
        assert_eq!(told(progress), Told::Standing { line: 6, state, counts });
    }
}
