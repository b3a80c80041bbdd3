//! What a client is told of its lines, in their order.
//!
//! | line of the answer                                         | says                              |
//! |------------------------------------------------------------|-----------------------------------|
//! | `{"line": n, "state": "resumed", ..counts}`                | lines up to `n` were decided by an earlier request; those of them that were refused last follow once more |
//! | `{"line": n, "problem": {..}}`                             | line `n` was not applied, and why |
//! | `{"line": n, "state": "progress", ..counts}`               | all lines up to `n` are decided, and it is durable: those not named in a problem are applied |
//! | `{"done": true, "lines": n, ..counts}`                     | all are, and the content was what its digest says |
//! | `{"done": false, "lines": n, ..counts, "problem": {..}}`   | it ended after line `n`, and why  |

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use cartgate_policy::problem::Problem;
use http_body_util::channel::Sender;
use serde::Serialize;
use utoipa::ToSchema;

use super::apply::Verdict;
use super::ended::Ended;
use crate::http::openapi::schemas;
use crate::store::imports::Counts;

/// Progress is told after so many lines, or so long.
const TELL_LINES: u64 = 1_000;
const TELL_EVERY: Duration = Duration::from_secs(1);

/// So many bytes of refusals are kept, to be told once more: some hundred of them.
const REFUSALS_KEPT: usize = 32 * 1_024;

/// The client's side of an import.
pub(super) struct Results {
    sender: Sender<Bytes, Infallible>,
    unsent: Vec<u8>,
    told: u64,
    told_at: Instant,
}

/// A line that was not applied.
#[derive(Serialize, ToSchema)]
#[schema(as = ImportRefusal)]
pub(in crate::http) struct Refusal<'a> {
    /// Its number, from 1.
    line: u64,
    /// Why.
    #[schema(schema_with = schemas::problem)]
    problem: &'a Problem,
}

/// How far an import is.
#[derive(Serialize, ToSchema)]
#[schema(as = ImportProgress)]
pub(in crate::http) struct Standing {
    /// All lines up to this one are decided, and it is durable: those not named in a problem are applied.
    line: u64,
    #[schema(schema_with = schemas::import_state)]
    state: &'static str,
    #[serde(flatten)]
    counts: Counts,
}

/// The end of an import.
#[derive(Serialize, ToSchema)]
#[schema(as = ImportEnd)]
pub(in crate::http) struct End<'a> {
    /// Whether all lines are decided, and the content was what its digest says.
    done: bool,
    /// The last line that was decided.
    lines: u64,
    #[serde(flatten)]
    counts: Counts,
    /// Why it ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schemas::problem, required = false)]
    problem: Option<&'a Problem>,
}

impl Results {
    pub(super) fn new(sender: Sender<Bytes, Infallible>) -> Self {
        Self { sender, unsent: Vec::new(), told: 0, told_at: Instant::now() }
    }

    /// An earlier request came as far as this.
    pub(super) fn resumed(&mut self, lines: u64, counts: Counts, refusals: &[u8]) {
        put(&mut self.unsent, &Standing { line: lines, state: "resumed", counts });
        self.unsent.extend_from_slice(refusals);
        self.told = lines;
    }

    /// What became of lines, the first of which has the number `first`. Counts them, and keeps what is
    /// said of those that were refused.
    pub(super) fn decided(
        &mut self,
        first: u64,
        verdicts: &[Verdict],
        counts: &mut Counts,
        kept: &mut Vec<u8>,
    ) {
        let said_before = self.unsent.len();
        for (line, verdict) in (first..).zip(verdicts) {
            match verdict {
                Verdict::Nothing => {}
                Verdict::Set => counts.set += 1,
                Verdict::Unchanged => counts.unchanged += 1,
                Verdict::Refused(refused) => {
                    counts.refused += 1;
                    put(&mut self.unsent, &Refusal { line, problem: &refused.0 });
                }
            }
        }
        keep_last(kept, &self.unsent[said_before..]);
        let line = first + verdicts.len() as u64 - 1;
        if line - self.told >= TELL_LINES || self.told_at.elapsed() >= TELL_EVERY {
            put(&mut self.unsent, &Standing { line, state: "progress", counts: *counts });
            (self.told, self.told_at) = (line, Instant::now());
        }
    }

    /// This is the end.
    pub(super) fn end(&mut self, lines: u64, counts: Counts, problem: Option<&Problem>) {
        put(&mut self.unsent, &End { done: problem.is_none(), lines, counts, problem });
    }

    /// Sends what there is. Whoever does not take it in is waited for: nothing more is read of it
    /// meanwhile.
    pub(super) async fn send(&mut self) -> Result<(), Ended> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let unsent = std::mem::take(&mut self.unsent).into();
        self.sender.send_data(unsent).await.map_err(|_| Ended::HungUp)
    }
}

fn put(to: &mut Vec<u8>, line: &impl Serialize) {
    // Nothing in it can fail to be JSON.
    if serde_json::to_writer(&mut *to, line).is_ok() {
        to.push(b'\n');
    }
}

/// Adds lines to those that are kept, and lets the first ones go.
fn keep_last(kept: &mut Vec<u8>, lines: &[u8]) {
    kept.extend_from_slice(lines);
    if let Some(over) = kept.len().checked_sub(REFUSALS_KEPT + 1) {
        let end = kept[over..].iter().position(|byte| *byte == b'\n');
        kept.drain(..end.map_or(kept.len(), |end| over + end + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let mut kept = Vec::new();
        for number in 0..10_000 {
            keep_last(&mut kept, format!("{number:08}\n").as_bytes());
        }
        assert!(kept.len() <= REFUSALS_KEPT && kept.len() > REFUSALS_KEPT - 9, "{}", kept.len());
        assert!(kept.starts_with(b"0000") && kept.ends_with(b"00009999\n"));
        keep_last(&mut kept, "x\n".repeat(REFUSALS_KEPT).as_bytes());
        assert!(kept.len() <= REFUSALS_KEPT && kept.starts_with(b"x\n"));
    }
}
