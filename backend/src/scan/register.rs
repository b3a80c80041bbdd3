//! Registering what was found at a running service.
//!
//! [`change`] decides what is to be sent, from what the service has: what somebody has registered by hand
//! or for a date is left alone, and what was detected before keeps all that is not asked for anew. The
//! registry is asked for one item after the other. When the service does not answer, the rest is not tried.

use std::fmt;

use axum::http::{Method, StatusCode};
use cartgate_ledger::UnixMs;
use cartgate_policy::Sku;
use cartgate_policy::problem::ProblemType;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::arguments::RegisterArguments;
use super::report::Report;
use crate::client::{Answer, CallError, ServiceArguments};
use crate::hot_items::TERMS;
use crate::http::Rfc3339;

/// What became of a proposal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Registration {
    pub(super) sku: Sku,
    #[serde(flatten)]
    pub(super) outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It is a hot item now.
    Registered,
    /// It was one that had been detected before, and stays one for longer.
    Renewed,
    /// It is one by somebody's decision.
    LeftAlone { origin: String },
    /// Somebody changed it in this very moment.
    ChangedMeanwhile,
    /// This would be sent, if it were not a dry run.
    WouldPut { path: String, body: Value },
    /// It was refused, or there was no answer.
    Failed { reason: String },
    /// The service did not answer for one before it.
    NotTried,
}

impl Registration {
    /// Whether what should be done was not.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed { .. } | Outcome::NotTried)
    }
}

impl fmt::Display for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.sku)?;
        match &self.outcome {
            Outcome::Registered => f.write_str("registered"),
            Outcome::Renewed => f.write_str("renewed"),
            Outcome::LeftAlone { origin } => write!(f, "left alone, its origin is {origin}"),
            Outcome::ChangedMeanwhile => f.write_str("left alone, somebody changed it just now"),
            Outcome::WouldPut { path, body } => write!(f, "would send PUT {path} {body}"),
            Outcome::Failed { reason } => write!(f, "FAILED: {reason}"),
            Outcome::NotTried => f.write_str("not tried"),
        }
    }
}

/// What is to be done with an item.
#[derive(Clone, Debug, PartialEq)]
enum Change {
    LeaveAlone { origin: String },
    Put { body: Value, is_new: bool },
}

/// What to do with a SKU of which the service has `before`.
fn change(before: Option<&Value>, asked: &RegisterArguments, reason: &str, now: UnixMs) -> Change {
    if let Some(before) = before {
        // Where nothing is said of it, somebody did it.
        let origin = before["origin"].as_str().unwrap_or("manual");
        if origin != "detected" {
            return Change::LeaveAlone { origin: origin.to_owned() };
        }
    }
    let kept = |name: &str| before?.get(name).filter(|value| !value.is_null()).cloned();
    let kept = TERMS.into_iter().filter_map(|name| Some((name.to_owned(), kept(name)?)));
    let mut body: Map<String, Value> = kept.collect();
    if let Some(per_second) = asked.limit_per_second {
        let burst = asked.limit_burst.unwrap_or(per_second);
        body.insert("limit".to_owned(), json!({ "per_second": per_second, "burst": burst }));
    }
    if let Some(reserves_per_s) = asked.reserves_per_s {
        body.insert("reserves_per_s".to_owned(), json!(reserves_per_s));
    }
    body.insert("origin".to_owned(), json!("detected"));
    body.insert("reason".to_owned(), json!(reason));
    if let Some(expires_at) = expires_at(before, asked, now) {
        body.insert("expires_at".to_owned(), expires_at);
    }
    Change::Put { body: body.into(), is_new: before.is_none() }
}

/// When it is to be taken out of the registry: never earlier than it would be without us.
fn expires_at(before: Option<&Value>, asked: &RegisterArguments, now: UnixMs) -> Option<Value> {
    let after_ms = u64::try_from(asked.expire_after.as_millis()).unwrap_or(u64::MAX);
    let ours = Rfc3339(now.plus_ms(after_ms)).to_string();
    let Some(before) = before else { return Some(json!(ours)) };
    let theirs = before["expires_at"].as_str()?;
    let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let is_later = time(theirs) > time(&ours);
    Some(json!(if is_later { theirs } else { &ours }))
}

/// Registers all that is proposed at a service, and says what became of each.
pub(super) async fn register(
    report: &Report,
    service: &ServiceArguments,
    asked: &RegisterArguments,
    now: UnixMs,
) -> Vec<Registration> {
    let mut registrations = Vec::with_capacity(report.hot_items.len());
    let mut is_away = false;
    for item in &report.hot_items {
        let outcome = match is_away {
            true => Ok(Outcome::NotTried),
            false => one(&item.sku, &report.reason(item), service, asked, now).await,
        };
        let outcome = outcome.unwrap_or_else(|error| {
            is_away = true;
            Outcome::Failed { reason: error.to_string() }
        });
        registrations.push(Registration { sku: item.sku.clone(), outcome });
    }
    registrations
}

async fn one(
    sku: &Sku,
    reason: &str,
    service: &ServiceArguments,
    asked: &RegisterArguments,
    now: UnixMs,
) -> Result<Outcome, CallError> {
    let path = format!("/v1/hot-items/{sku}");
    let found = service.call(Method::GET, &path, None, None).await?;
    let before = match found.status {
        StatusCode::OK => Some(&found.body),
        // Any other 404 is of somebody who is no cartgate.
        StatusCode::NOT_FOUND if found.body["type"] == ProblemType::UnknownHotItem.uri() => None,
        _ => return Ok(failed(&found)),
    };
    let (body, is_new) = match change(before, asked, reason, now) {
        Change::LeaveAlone { origin } => return Ok(Outcome::LeftAlone { origin }),
        Change::Put { body, .. } if asked.dry_run => return Ok(Outcome::WouldPut { path, body }),
        Change::Put { body, is_new } => (body, is_new),
    };
    let done = service.call(Method::PUT, &path, found.etag.as_deref(), Some(&body)).await?;
    Ok(match done.status {
        StatusCode::PRECONDITION_FAILED => Outcome::ChangedMeanwhile,
        status if status.is_success() && is_new => Outcome::Registered,
        status if status.is_success() => Outcome::Renewed,
        _ => failed(&done),
    })
}

fn failed(answer: &Answer) -> Outcome {
    Outcome::Failed { reason: answer.said() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        register: RegisterArguments,
    }

    const NOW: UnixMs = UnixMs(1_795_946_400_000);

    fn asked(line: &str) -> RegisterArguments {
        let words = ["scan", "--register", "http://shop"].into_iter();
        Command::parse_from(words.chain(line.split_whitespace())).register
    }

    /// What is sent for an item of which the service has `before`, without what is always the same.
    #[track_caller]
    fn check(before: Option<Value>, line: &str, expected: Value) {
        let is_new = before.is_none();
        let change = change(before.as_ref(), &asked(line), "why", NOW);
        let mut body = expected;
        body["origin"] = json!("detected");
        body["reason"] = json!("why");
        assert_eq!(change, Change::Put { body, is_new });
    }

    const IN_AN_HOUR: &str = "2026-11-29T11:00:00.000Z";

    #[test]
    fn what_is_new_gets_what_is_asked_for() {
        check(None, "", json!({"expires_at": IN_AN_HOUR}));
        let line = "--expire-after 1m --limit-per-second 5 --limit-burst 9 --reserves-per-s 4";
        let limit = json!({"per_second": 5, "burst": 9});
        let expires_at = "2026-11-29T10:01:00.000Z";
        let expected = json!({"limit": limit, "reserves_per_s": 4, "expires_at": expires_at});
        check(None, line, expected);
        let limit = json!({"per_second": 5, "burst": 5});
        check(None, "--limit-per-second 5", json!({"limit": limit, "expires_at": IN_AN_HOUR}));
    }

    #[test]
    fn what_was_detected_before_keeps_the_rest() {
        let limit = json!({"per_second": 7, "burst": 7});
        let before = json!({
            "sku": "A", "origin": "detected", "version": 3, "since": "2026-11-29T09:00:00.000Z",
            "limit": limit, "customer_cap": 2, "paused": true, "opens_at": null,
            "expires_at": "2026-11-29T10:30:00.000Z", "lane": {"reserve": 0}, "demand_per_s": 1.5,
        });
        let kept = json!({
            "limit": limit, "customer_cap": 2, "paused": true, "expires_at": IN_AN_HOUR,
            "reserves_per_s": 4,
        });
        check(Some(before.clone()), "--reserves-per-s 4", kept);
        // It is never taken out earlier than it would have been.
        let mut longer = before.clone();
        longer["expires_at"] = json!("2026-11-29T11:00:00.001Z");
        let limit = json!({"per_second": 5, "burst": 5});
        let kept = json!({
            "limit": limit, "customer_cap": 2, "paused": true,
            "expires_at": "2026-11-29T11:00:00.001Z",
        });
        check(Some(longer), "--limit-per-second 5", kept);
        let mut for_good = before;
        for_good["expires_at"] = Value::Null;
        let kept = json!({"limit": for_good["limit"], "customer_cap": 2, "paused": true});
        check(Some(for_good), "", kept);
    }

    #[test]
    fn what_somebody_decided_is_left_alone() {
        for (before, origin) in [
            (json!({"origin": "manual"}), "manual"),
            (json!({"origin": "scheduled"}), "scheduled"),
            (json!({"reserves_per_s": 5}), "manual"),
        ] {
            let change = change(Some(&before), &asked(""), "why", NOW);
            assert_eq!(change, Change::LeaveAlone { origin: origin.to_owned() });
        }
    }

    #[test]
    fn the_end_of_time_is_no_panic() {
        let asked = RegisterArguments { expire_after: Duration::MAX, ..asked("") };
        let expires_at = expires_at(None, &asked, NOW).unwrap();
        assert_eq!(expires_at, "9999-12-30T22:00:00.999Z");
    }

    #[test]
    fn people_and_machines_read_the_same() {
        let registration = |outcome| Registration { sku: Sku::parse("A").unwrap(), outcome };
        let left = registration(Outcome::LeftAlone { origin: "manual".to_owned() });
        assert_eq!(left.to_string(), "A: left alone, its origin is manual");
        let expected = json!({"sku": "A", "outcome": "left_alone", "origin": "manual"});
        assert_eq!(serde_json::to_value(&left).unwrap(), expected);
        assert!(!left.has_failed() && registration(Outcome::NotTried).has_failed());
    }
}
