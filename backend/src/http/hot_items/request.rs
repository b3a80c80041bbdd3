//! What is asked for a hot item.

use std::num::NonZeroU32;

use cartgate_ledger::{Terms, UnixMs};
use cartgate_policy::gcra::Limit;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::ToSchema;

use crate::hot_items::{EdgeTerms, HotItem, Note, Origin, Reason, TERMS};
use crate::http::extract::check_members;
use crate::http::refused::Refused;

/// The terms of a hot item; what is left out has no bound.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({
    "reserves_per_s": 500, "customer_cap": 50, "limit": {"per_second": 500, "burst": 1_000},
    "reason": "drop of the week",
})))]
pub(in crate::http) struct HotItemRequest {
    /// Orders that are decided per second.
    #[schema(value_type = Option<u32>, minimum = 1)]
    reserves_per_s: Option<NonZeroU32>,
    /// Units that one customer may have, held and bought. Orders need a `customer_id` then.
    #[schema(value_type = Option<u32>, minimum = 1)]
    customer_cap: Option<NonZeroU32>,
    /// When the sale begins.
    #[serde(default, deserialize_with = "rfc_3339")]
    #[schema(value_type = Option<String>, format = DateTime)]
    opens_at: Option<UnixMs>,
    /// When it ends.
    #[serde(default, deserialize_with = "rfc_3339")]
    #[schema(value_type = Option<String>, format = DateTime)]
    closes_at: Option<UnixMs>,
    /// What all edges together admit. Its burst is one second's at least.
    limit: Option<LimitRequest>,
    /// What one client may take at an edge.
    client_limit: Option<LimitRequest>,
    /// Needs `limit`, which is the most then: the limit in force follows what is decided, so that nobody
    /// waits longer than about so many milliseconds.
    #[schema(value_type = Option<u32>, minimum = 1)]
    wait_target_ms: Option<NonZeroU32>,
    /// Whether new orders are refused.
    #[serde(default)]
    paused: bool,
    /// When it is to be a product like any other again. Not in the past.
    #[serde(default, deserialize_with = "rfc_3339")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<UnixMs>,
    /// Who asks for it.
    #[serde(default)]
    origin: Origin,
    /// Why, for its history: without control characters.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200)]
    reason: Option<Reason>,
}

/// A limit: a pace, and how many at once.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LimitRequest {
    /// Units per second, in the long run.
    #[schema(minimum = 1, maximum = 1_000_000)]
    per_second: u64,
    /// Units at once, after a pause. Left out: what is admitted in a second.
    #[schema(minimum = 1, maximum = 1_000_000)]
    burst: Option<u64>,
}

impl LimitRequest {
    fn limit(&self, name: &str) -> Result<Limit, Refused> {
        let limit = Limit::new(self.per_second, self.burst.unwrap_or(self.per_second));
        limit.map_err(|error| Refused::invalid(format_args!("{name}: {error}")))
    }
}

impl HotItemRequest {
    /// The entry that is asked for at `now`, and by whom; what the registry itself keeps is left open.
    pub(super) fn read(
        self,
        expected_version: Option<u64>,
        now: UnixMs,
    ) -> Result<(HotItem, Note), Refused> {
        let edge = self.edge()?;
        let Self { reserves_per_s, customer_cap, opens_at, closes_at, expires_at, .. } = self;
        if opens_at.zip(closes_at).is_some_and(|(opens_at, closes_at)| closes_at <= opens_at) {
            return Err(Refused::invalid("closes_at must be after opens_at"));
        }
        if expires_at.is_some_and(|expires_at| expires_at < now) {
            return Err(Refused::invalid("expires_at must not be in the past"));
        }
        let terms = Terms { customer_cap, opens_at, closes_at };
        let (origin, reason) = (self.origin, self.reason);
        let item = HotItem { reserves_per_s, terms, edge, origin, expires_at, ..<_>::default() };
        Ok((item, Note { origin, reason, expected_version, has_expired: false }))
    }

    fn edge(&self) -> Result<EdgeTerms, Refused> {
        let limit = self.limit.as_ref().map(|limit| limit.limit("limit")).transpose()?;
        let client_limit = self.client_limit.as_ref().map(|limit| limit.limit("client_limit"));
        if limit.is_some_and(|limit| limit.burst() < limit.per_second()) {
            return Err(Refused::invalid(
                "limit.burst must be at least limit.per_second: the limit is divided among the \
                 edges, and a share of one unit per second must have a burst of at least one unit",
            ));
        }
        if limit.is_none() && self.wait_target_ms.is_some() {
            return Err(Refused::invalid(
                "wait_target_ms needs limit: the most that the limit may come to",
            ));
        }
        Ok(EdgeTerms {
            limit,
            client_limit: client_limit.transpose()?,
            wait_target_ms: self.wait_target_ms,
            is_paused: self.paused,
        })
    }
}

/// Refuses a patch that names what no request has: with `null` it would change nothing, and tell nobody.
pub(super) fn check_patch(patch: &Value) -> Result<(), Refused> {
    let others = ["expires_at", "origin", "reason"];
    let known: Vec<&str> = TERMS.into_iter().chain(others).collect();
    check_members(patch, &known)?;
    let limits = ["limit", "client_limit"].into_iter();
    limits
        .map(|name| &patch[name])
        .try_for_each(|limit| check_members(limit, &["per_second", "burst"]))
}

/// Reads a time as RFC 3339 writes it, if there is one.
fn rfc_3339<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UnixMs>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
    let not_a_time =
        || D::Error::custom(format_args!("{text:?} is no time such as 2030-01-31T10:00:00Z"));
    let at: jiff::Timestamp = text.parse().map_err(|_| not_a_time())?;
    let ms = u64::try_from(at.as_millisecond()).map_err(|_| not_a_time())?;
    Ok(Some(UnixMs(ms)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: UnixMs = UnixMs(1_000_000);

    fn read(body: Value) -> Result<(HotItem, Note), Value> {
        let request: HotItemRequest =
            serde_json::from_value(body).map_err(|error| error.to_string())?;
        let refused = |refused: Refused| refused.0.member("detail").cloned().unwrap_or_default();
        request.read(Some(7), NOW).map_err(refused)
    }

    #[test]
    fn all_that_is_asked_for_is_read() {
        let (item, note) = read(json!({
            "limit": {"per_second": 500, "burst": 800}, "client_limit": {"per_second": 2, "burst": 1},
            "wait_target_ms": 3_000, "paused": true, "expires_at": "1970-01-01T00:16:40Z",
            "origin": "scheduled", "reason": "drop of the week",
        }))
        .unwrap();
        let edge = EdgeTerms {
            limit: Limit::new(500, 800).ok(),
            client_limit: Limit::new(2, 1).ok(),
            wait_target_ms: NonZeroU32::new(3_000),
            is_paused: true,
        };
        let (origin, expires_at) = (Origin::Scheduled, Some(NOW));
        assert_eq!(item, HotItem { edge, origin, expires_at, ..HotItem::default() });
        let reason = Reason::new("drop of the week").ok();
        assert_eq!(note, Note { origin, reason, expected_version: Some(7), has_expired: false });
        assert_eq!(read(json!({})).unwrap().0, HotItem::default());
        let (item, _) = read(json!({"limit": {"per_second": 9}})).unwrap();
        assert_eq!(item.edge.limit, Limit::new(9, 9).ok());
    }

    #[test]
    fn a_patch_names_what_there_is() {
        let is_good = |patch: Value| check_patch(&patch).is_ok();
        assert!(is_good(
            json!({"paused": true, "opens_at": null, "reason": "x", "limit": {"burst": 9}})
        ));
        assert!(is_good(json!({"limit": null})));
        for wrong in [json!({"": null}), json!({"pause": null}), json!({"limit": {"bust": null}})] {
            assert!(!is_good(wrong.clone()), "{wrong}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let check = |body: Value, expected: &str| {
            let detail = read(body.clone()).unwrap_err();
            assert!(detail.as_str().unwrap().contains(expected), "{body}: {detail}");
        };
        check(json!({"limit": {"per_second": 9, "burst": 8}}), "burst of at least one unit");
        check(json!({"limit": {"per_second": 0}}), "limit: must be a whole number");
        check(json!({"client_limit": {"per_second": 1, "burst": 1_000_001}}), "client_limit: must");
        check(json!({"limit": {"burst": 8}}), "per_second");
        check(json!({"limit": {"per_second": 9, "per_minute": 9}}), "per_minute");
        check(json!({"wait_target_ms": 100}), "wait_target_ms needs limit");
        check(json!({"limit": {"per_second": 9}, "wait_target_ms": 0}), "nonzero");
        check(json!({"expires_at": "1970-01-01T00:16:39.999Z"}), "in the past");
        check(json!({"origin": "bot"}), "bot");
        check(json!({"reason": "a\nb"}), "control characters");
        check(json!({"paused": "yes"}), "boolean");
        check(
            json!({"opens_at": "2030-01-01T00:00:00Z", "closes_at": "2030-01-01T00:00:00Z"}),
            "after opens_at",
        );
    }
}
