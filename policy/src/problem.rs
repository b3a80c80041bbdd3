//! Answers to requests that did not get what they asked for: problem details (RFC 9457).
//!
//! Every problem that the edge or the service can answer is listed here, with its stable `type`,
//! its status and its title.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

/// The media type of a problem (RFC 9457, section 3).
pub const CONTENT_TYPE: &str = "application/problem+json";

macro_rules! problem_types {
    ($($(#[$meta:meta])* $name:ident, $slug:literal, $status:literal, $title:literal;)*) => {
        /// What went wrong, as clients can rely on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ProblemType { $($(#[$meta])* $name,)* }

        impl ProblemType {
            /// Every type there is, in the order of this page.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The last part of the `type` URI: `over-limit`.
            pub fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug,)* }
            }

            /// The HTTP status.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// The summary for people; the same for every occurrence.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

problem_types! {
    /// Edge: the SKU's limit does not admit the request now.
    OverLimit, "over-limit", 429, "Too many people are asking for this product";
    /// Edge: one client asks for more of the SKU than one may.
    ClientOverLimit, "client-over-limit", 429, "You are asking for this product too often";
    /// Edge: the quantity is above the SKU's burst, or a client's, so that it could never be admitted.
    OverBurst, "over-burst", 422, "The quantity is more than this product's limit ever admits at once";
    /// Edge: the route needs a SKU and the request names none.
    NoSku, "no-sku", 400, "The request names no product";
    /// Edge and service: the request cannot be understood.
    InvalidRequest, "invalid-request", 400, "The request cannot be understood";
    /// Edge and service: the body is larger than is read.
    BodyTooLarge, "body-too-large", 413, "The request body is too large";
    /// Service: the body did not come in time.
    RequestTimeout, "request-timeout", 408, "The request did not come in time";
    /// Edge and service: a kind of body, or an encoding, that is not read.
    UnsupportedMediaType, "unsupported-media-type", 415, "This kind of request body is not supported";
    /// Edge and service: fewer units are available than asked for, mostly none; holds may still expire.
    /// `available` says how many.
    SoldOut, "sold-out", 409, "Not enough of this product is left";
    /// Service: the customer would hold and have bought more units than one may. `cap` says how many
    /// that are, `committed` how many the customer has.
    OverCap, "over-cap", 409, "No customer may take more of this product";
    /// Service: there is a cap on what a customer may have, and the request names no customer.
    CustomerRequired, "customer-required", 400, "The request names no customer";
    /// Edge and service: the sale has not begun. `opens_at` says when it does, `opens_in_ms` how long that is
    /// from now.
    NotOpenYet, "not-open-yet", 403, "The sale of this product has not begun";
    /// Edge and service: the sale is over, since `closed_at`.
    SaleClosed, "sale-closed", 403, "The sale of this product is over";
    /// Service: no such SKU in stock.
    UnknownSku, "unknown-sku", 404, "There is no such product";
    /// Service: no such reservation.
    UnknownReservation, "unknown-reservation", 404, "There is no such reservation";
    /// Service: no such ticket, or one that has lapsed.
    UnknownTicket, "unknown-ticket", 404, "There is no such ticket";
    /// Service: the hold has expired.
    HoldExpired, "hold-expired", 409, "The reservation has expired";
    /// Service: the hold was released before.
    HoldReleased, "hold-released", 409, "The reservation was released";
    /// Service: the hold was confirmed before. `confirmed_quantity` says how many of its units.
    HoldConfirmed, "hold-confirmed", 409, "The reservation is already confirmed";
    /// Service: more units are to be sold than the hold has; `quantity` says how many it has.
    MoreThanHeld, "more-than-held", 409, "The reservation holds fewer units than this";
    /// Service: the SKU does not stand at the version that was expected, but at `version`.
    VersionDiffers, "version-differs", 409, "The stock has changed since";
    /// Service: the SKU does not stand at the version of `If-Match`, but at `version`.
    StockChanged, "stock-changed", 412, "The stock is not what it was when it was read";
    /// Service: more units than a SKU can have, which is `units_max`.
    TooManyUnits, "too-many-units", 409, "No product can have as many units";
    /// Service: less stock than is held and confirmed already.
    StockBelowCommitted, "stock-below-committed", 409, "More than this is already held or sold";
    /// Service: the key came before, with another body (draft-ietf-httpapi-idempotency-key-header).
    IdempotencyKeyReused, "idempotency-key-reused", 422, "This Idempotency-Key belongs to another request";
    /// Service: the key came before, and its first request is not answered yet (the same draft).
    InFlight, "in-flight", 409, "The first request with this Idempotency-Key is still being answered";
    /// Service: the SKU is no hot item.
    UnknownHotItem, "unknown-hot-item", 404, "This product is no hot item";
    /// Service: there are as many hot items as there may be, which is `max`.
    TooManyHotItems, "too-many-hot-items", 409, "There are too many hot items";
    /// Service: a hot item is not the one that was to be changed: it has `version`, or is none any more.
    HotItemChanged, "hot-item-changed", 412, "The hot item has changed since";
    /// Edge and service: an operator has paused the sale.
    Paused, "paused", 503, "The sale of this product is paused";
    /// Service: an edge's report is not newer than one that was taken.
    ReportOutdated, "report-outdated", 409, "A newer report of this edge was taken";
    /// Service: the content is not what the request's digest says.
    DigestMismatch, "digest-mismatch", 422, "The content is not what its digest says";
    /// Service: a later request goes on with the import of this content.
    ImportTakenOver, "import-taken-over", 409, "Another request imports this content";
    /// Service: another backup is being made.
    BackupUnderWay, "backup-under-way", 409, "Another backup is under way";
    /// Service: what it keeps is in a store that is backed up by its own means.
    BackupElsewhere, "backup-elsewhere", 501, "This service has no store of its own to back up";
    /// Service: the SKU's lane holds as many commands as it may.
    LaneFull, "lane-full", 503, "Too many reservations are waiting";
    /// Edge and service: it is stopping, or its store failed; the edge cannot count.
    Unavailable, "unavailable", 503, "The service cannot take reservations now";
    /// Service: the request has no token, or none that is good.
    Unauthenticated, "unauthenticated", 401, "This request needs a valid token";
    /// Service: the token is good, and not for this: it has none of `scopes`.
    InsufficientScope, "insufficient-scope", 403, "This token is not for this request";
    /// Service: too many requests came without a token that is good.
    TooManyAttempts, "too-many-attempts", 429, "Too many requests came without a valid token";
    /// Edge and service: no such route.
    NotFound, "not-found", 404, "There is nothing here";
    /// Service: the route exists, with other methods.
    MethodNotAllowed, "method-not-allowed", 405, "This method is not allowed here";
}

impl ProblemType {
    /// The `type` member: a stable name, not a place to fetch from.
    pub fn uri(self) -> String {
        format!("urn:cartgate:problem:{}", self.slug())
    }
}

/// One occurrence of a problem.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// What went wrong.
    pub problem_type: ProblemType,
    /// Earliest sensible time for another try, in whole seconds from now: `Retry-After`.
    pub retry_after_s: Option<u32>,
    /// Other words for the type's title.
    title: Option<String>,
    /// A few at most, in the order in which they were added.
    members: Vec<(&'static str, Value)>,
}

impl Problem {
    /// A problem without details.
    pub fn new(problem_type: ProblemType) -> Self {
        Self { problem_type, retry_after_s: None, title: None, members: Vec::new() }
    }

    /// Says what is particular about this occurrence: for people, not to branch on.
    pub fn detail(self, detail: impl Into<String>) -> Self {
        self.with("detail", detail.into())
    }

    /// Adds an extension member (RFC 9457, section 3.2), such as `sku`, or gives it another value.
    pub fn with(mut self, member: &'static str, value: impl Into<Value>) -> Self {
        match self.members.iter_mut().find(|(name, _)| *name == member) {
            Some((_, before)) => *before = value.into(),
            None => self.members.push((member, value.into())),
        }
        self
    }

    /// Says when to try again.
    pub fn retry_after_s(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Says it in the words of a language: the title, and what is said below, unless there is a `detail`.
    pub fn in_words(mut self, title: &str, text: &str) -> Self {
        self.title = Some(title.to_owned());
        if text.is_empty() || self.member("detail").is_some() {
            return self;
        }
        self.detail(text)
    }

    /// An extension member that was added, or `detail`.
    pub fn member(&self, member: &str) -> Option<&Value> {
        self.members.iter().find(|(name, _)| *name == member).map(|(_, value)| value)
    }

    /// The body, as JSON.
    pub fn body(&self) -> Vec<u8> {
        // Nothing in it can fail to be JSON: no maps but with text keys.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut body = serializer.serialize_map(None)?;
        body.serialize_entry("type", &self.problem_type.uri())?;
        let title = self.title.as_deref().unwrap_or(self.problem_type.title());
        body.serialize_entry("title", title)?;
        body.serialize_entry("status", &self.problem_type.status())?;
        for (member, value) in &self.members {
            body.serialize_entry(member, value)?;
        }
        body.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn body_has_the_members_of_rfc_9457() {
        let problem = Problem::new(ProblemType::SoldOut).detail("0 left").with("sku", "A");
        let body: Value = serde_json::from_slice(&problem.body()).unwrap_or_default();
        assert_eq!(
            body,
            json!({
                "type": "urn:cartgate:problem:sold-out", "title": "Not enough of this product is left",
                "status": 409, "detail": "0 left", "sku": "A",
            })
        );
    }

    #[test]
    fn no_member_is_there_twice() {
        let problem =
            Problem::new(ProblemType::NoSku).with("sku", "A").with("line", 1).with("sku", 2);
        assert_eq!(
            String::from_utf8(problem.body()).unwrap(),
            "{\"type\":\"urn:cartgate:problem:no-sku\",\"title\":\"The request names no product\",\
             \"status\":400,\"sku\":2,\"line\":1}"
        );
    }

    #[test]
    fn slugs_are_distinct() {
        let mut slugs: Vec<_> = ProblemType::ALL.iter().map(|t| t.slug()).collect();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), ProblemType::ALL.len());
    }
}
