//! Calls and answers, as HTTP has them.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::record::{Answer, Call, Order, Settlement};

/// A request, ready to be sent.
pub type Outgoing = Request<Full<Bytes>>;

/// The request for `call` to `host`. Orders are posted as a form, or as JSON.
///
/// # Errors
/// An id or a key cannot be part of a request: whoever gave it has not given an id.
pub fn request(host: &str, call: &Call, form: bool) -> Result<Outgoing, hyper::http::Error> {
    let (method, path) = match call {
        Call::Reserve(_) => (Method::POST, "/v1/reservations".to_owned()),
        Call::Settle { id, how } => (Method::POST, format!("/v1/reservations/{id}/{}", verb(*how))),
        Call::Ticket { id } => (Method::GET, format!("/v1/tickets/{id}")),
    };
    let request = Request::builder().method(method).uri(path).header(HOST, host);
    let Call::Reserve(order) = call else { return request.body(Full::default()) };
    let request = match &order.key {
        Some(key) => request.header("idempotency-key", key),
        None => request,
    };
    let (media_type, body) = if form {
        ("application/x-www-form-urlencoded", form_of(order))
    } else {
        ("application/json", json_of(order))
    };
    request.header(CONTENT_TYPE, media_type).body(Full::from(body))
}

/// What an answer to `call` says.
pub fn answer(call: &Call, status: StatusCode, body: &[u8]) -> Answer {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let number = |name: &str| body[name].as_u64();
    let problem = text("type").strip_prefix("urn:cartgate:problem:").unwrap_or("").to_owned();
    match (call, status.as_u16(), problem.as_str()) {
        (Call::Settle { .. }, 200, _) => Answer::Settled,
        (Call::Reserve(_), 201, _) | (Call::Ticket { .. }, 200, _) => Answer::Held {
            id: text("reservation_id"),
            expires_at_ms: unix_ms(&text("expires_at")).unwrap_or(0),
        },
        (Call::Reserve(_) | Call::Ticket { .. }, 202, _) => {
            Answer::Queued { ticket: text("ticket") }
        }
        // Only the service knows how many there are.
        (_, 409, "sold-out") => match (number("available"), number("recheck_in_ms")) {
            (Some(available), _) => Answer::SoldOut { available },
            (None, Some(recheck_in_ms)) => Answer::SoldOutAtEdge { recheck_in_ms },
            (None, None) => Answer::Refused { status: 409, problem },
        },
        (_, 429, "over-limit") => Answer::OverLimit,
        (_, status, _) => Answer::Refused { status, problem },
    }
}

fn verb(how: Settlement) -> &'static str {
    match how {
        Settlement::Confirm => "confirm",
        Settlement::Release => "release",
    }
}

fn json_of(Order { sku, quantity, customer, .. }: &Order) -> String {
    json!({ "sku": sku, "quantity": quantity, "customer_id": customer }).to_string()
}

/// Names are plain (the scenario says so): nothing needs an escape.
fn form_of(Order { sku, quantity, customer, .. }: &Order) -> String {
    format!("sku={sku}&quantity={quantity}&customer_id={customer}")
}

fn unix_ms(rfc_3339: &str) -> Option<u64> {
    let at: Timestamp = rfc_3339.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Call {
        let key = Some("k".to_owned());
        Call::Reserve(Order { sku: "A".to_owned(), quantity: 2, customer: "c".to_owned(), key })
    }

    fn ticket() -> Call {
        Call::Ticket { id: "7".to_owned() }
    }

    fn settle() -> Call {
        Call::Settle { id: "7".to_owned(), how: Settlement::Confirm }
    }

    #[test]
    fn requests_are_as_the_service_takes_them() {
        let check = |call: &Call, form, line: &str, media_type: Option<&str>| {
            let request = request("shop", call, form).unwrap();
            assert_eq!(format!("{} {}", request.method(), request.uri()), line);
            let found = request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap());
            assert_eq!(found, media_type);
        };
        let reserve = "POST /v1/reservations";
        check(&order(), false, reserve, Some("application/json"));
        check(&order(), true, reserve, Some("application/x-www-form-urlencoded"));
        check(&settle(), false, "POST /v1/reservations/7/confirm", None);
        check(&ticket(), false, "GET /v1/tickets/7", None);
        assert_eq!(request("shop", &order(), false).unwrap().headers()["idempotency-key"], "k");
    }

    #[test]
    fn answers_are_read() {
        let check = |call: &Call, status, body: &str, expected| {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(answer(call, status, body.as_bytes()), expected, "{status} {body}");
        };
        let held = r#"{"reservation_id":"7","expires_at":"1970-01-01T00:00:01.5Z"}"#;
        let expected = Answer::Held { id: "7".to_owned(), expires_at_ms: 1_500 };
        check(&order(), 201, held, expected.clone());
        check(&ticket(), 200, held, expected);
        check(&settle(), 200, held, Answer::Settled);
        let queued = Answer::Queued { ticket: "7".to_owned() };
        check(&order(), 202, r#"{"ticket":"7"}"#, queued);
        let sold_out = r#"{"type":"urn:cartgate:problem:sold-out","available":1}"#;
        check(&order(), 409, sold_out, Answer::SoldOut { available: 1 });
        let at_edge = r#"{"type":"urn:cartgate:problem:sold-out","sku":"A","recheck_in_ms":9}"#;
        check(&order(), 409, at_edge, Answer::SoldOutAtEdge { recheck_in_ms: 9 });
        check(&order(), 429, r#"{"type":"urn:cartgate:problem:over-limit"}"#, Answer::OverLimit);
        let refused =
            |status, problem: &str| Answer::Refused { status, problem: problem.to_owned() };
        let expired = r#"{"type":"urn:cartgate:problem:hold-expired"}"#;
        check(&settle(), 409, expired, refused(409, "hold-expired"));
        let neither = r#"{"type":"urn:cartgate:problem:sold-out"}"#;
        check(&order(), 409, neither, refused(409, "sold-out"));
        for (status, problem) in [(403, "not-open-yet"), (403, "sale-closed"), (503, "paused")] {
            let gate = format!(r#"{{"type":"urn:cartgate:problem:{problem}","sku":"A"}}"#);
            check(&order(), status, &gate, refused(status, problem));
        }
        check(&order(), 503, "upstream connect error", refused(503, ""));
        check(&order(), 429, "", refused(429, ""));
    }
}
