//! The one call that a legacy frontend makes, and what its answer means.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::{Client, RequestBuilder, Url};
use serde_json::Value;

/// The service lets a caller wait for 8 s, and Envoy gives up after 15 s. Whoever gives up before
/// them never learns what became of the order.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What a customer is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Theirs, until then.
    Held { expires_at: Option<Timestamp> },
    /// Too many want it now.
    OverLimit,
    /// Nothing left at the moment.
    SoldOut,
    /// The sale has not begun.
    NotOpenYet,
    /// Still in the queue.
    Queued { ticket: String },
    /// Anything else.
    TryLater,
}

/// cartgate, as a frontend sees it.
#[derive(Clone, Debug)]
pub(super) struct Cartgate {
    client: Client,
    edge: Url,
}

impl Cartgate {
    pub(super) fn at(edge: Url) -> Result<Self, reqwest::Error> {
        let client = Client::builder().no_proxy().timeout(TIMEOUT).build()?;
        Ok(Self { client, edge })
    }

    /// Asks for a reservation, once. The fields go on as the browser sent them: cartgate judges
    /// them.
    pub(super) async fn reserve(&self, sku: &str, quantity: &str, customer_id: &str) -> Told {
        let fields = [("sku", sku), ("quantity", quantity), ("customer_id", customer_id)];
        match self.edge.join("/v1/reservations") {
            Ok(url) => ask(self.client.post(url).form(&fields)).await,
            Err(_) => Told::TryLater,
        }
    }

    /// Asks what became of a ticket.
    pub(super) async fn ask_again(&self, ticket: &str) -> Told {
        // It comes from the address of a page, where anybody can write anything.
        if ticket.is_empty() || !ticket.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Told::TryLater;
        }
        match self.edge.join(&format!("/v1/tickets/{ticket}")) {
            Ok(url) => ask(self.client.get(url)).await,
            Err(_) => Told::TryLater,
        }
    }
}

async fn ask(request: RequestBuilder) -> Told {
    let Ok(answer) = request.send().await else { return Told::TryLater };
    let status = answer.status().as_u16();
    let body = answer.bytes().await.unwrap_or_default();
    told(status, &serde_json::from_slice(&body).unwrap_or_default())
}

fn told(status: u16, body: &Value) -> Told {
    let problem = body["type"].as_str().and_then(|uri| uri.strip_prefix("urn:cartgate:problem:"));
    let text = |member: &str| body[member].as_str();
    match (status, problem) {
        (200 | 201, _) if text("state") == Some("held") => {
            Told::Held { expires_at: text("expires_at").and_then(|at| at.parse().ok()) }
        }
        (202, _) => text("ticket")
            .map_or(Told::TryLater, |ticket| Told::Queued { ticket: ticket.to_owned() }),
        (403, Some("not-open-yet")) => Told::NotOpenYet,
        (409, Some("sold-out")) => Told::SoldOut,
        (429, _) => Told::OverLimit,
        _ => Told::TryLater,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_answer_has_a_meaning() {
        let problem = |slug: &str| json!({ "type": format!("urn:cartgate:problem:{slug}") });
        let expires_at = "2026-11-20T10:15:00Z";
        let held = json!({ "state": "held", "expires_at": expires_at });
        let cases = [
            (201, held.clone(), Told::Held { expires_at: expires_at.parse().ok() }),
            (200, held, Told::Held { expires_at: expires_at.parse().ok() }),
            (201, json!({ "state": "held", "expires_at": 5 }), Told::Held { expires_at: None }),
            (200, json!({ "state": "expired" }), Told::TryLater),
            (202, json!({ "ticket": "77" }), Told::Queued { ticket: "77".to_owned() }),
            (202, Value::Null, Told::TryLater),
            (403, problem("not-open-yet"), Told::NotOpenYet),
            (403, Value::Null, Told::TryLater),
            (409, problem("sold-out"), Told::SoldOut),
            (409, problem("hold-expired"), Told::TryLater),
            (429, problem("over-limit"), Told::OverLimit),
            // Whoever says it, and in whatever words.
            (429, Value::Null, Told::OverLimit),
            (503, problem("lane-full"), Told::TryLater),
            (404, problem("unknown-sku"), Told::TryLater),
            (500, json!("oops"), Told::TryLater),
        ];
        for (status, body, expected) in cases {
            assert_eq!(told(status, &body), expected, "{status} {body}");
        }
    }
}
