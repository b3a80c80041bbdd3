//! A ticket's course, as server-sent events (HTML, section 9.2), for a page that shows how far it is.
//!
//! `queued` comes at the beginning and whenever something has changed, `outcome` once, at the end: their
//! data are what `GET` would answer, a problem included, but for one that passes. Who gets no `outcome` asks
//! again; who gets one closes, or its browser asks again.

use std::convert::Infallible;

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use cartgate_ledger::CommandId;
use futures_util::stream::{self, Stream};
use http_body_util::BodyExt as _;
use tokio::time::sleep;

use super::{Call, Found, LOOK_EVERY, Refused, TicketView, look, view};

const MEDIA_TYPE: &str = "text/event-stream";

/// Whether a request would rather have events than one answer.
pub(super) fn are_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    accepted.flat_map(|line| line.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_it = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(MEDIA_TYPE));
        // A weight of nothing is a refusal (RFC 9110, section 12.4.2).
        is_it && !parts.any(is_weight_of_nothing)
    })
}

fn is_weight_of_nothing(part: &str) -> bool {
    let weight = part.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
    weight.is_some_and(|(_, weight)| weight.trim().parse() == Ok(0.0_f32))
}

/// Where a stream of events is.
struct Course {
    call: Call,
    id: Option<CommandId>,
    /// What was found and is not told yet.
    next: Option<Result<Found, Refused>>,
    /// What was told last.
    told: Option<TicketView>,
}

/// The events from what was found `first` to the outcome, or to the end of the service.
pub(super) fn of(call: Call, id: Option<CommandId>, first: Result<Found, Refused>) -> Response {
    let course = Course { call, id, next: Some(first), told: None };
    let mut response = Sse::new(events(course)).keep_alive(KeepAlive::default()).into_response();
    // Proxies that gather answers would keep a shopper waiting for news.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn events(course: Course) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(Some(course), async |course| {
        let mut course = course?;
        loop {
            let found = match course.next.take() {
                Some(found) => found,
                None => course.look_later().await?,
            };
            match found {
                Ok(Found::Queued(waits)) => {
                    let view = view(&course.call, waits.id, Some(&waits)).await;
                    if course.told != Some(view) {
                        course.told = Some(view);
                        let event = Event::default().event("queued").json_data(view).ok()?;
                        return Some((Ok(event), Some(course)));
                    }
                }
                // The store is away, or a lane is full: the order waits all the same.
                Err(refused) if refused.0.problem_type.status() == 503 => {}
                decided => {
                    let answer = match decided {
                        Ok(found) => found.answer(&course.call).await,
                        Err(refused) => Err(refused),
                    };
                    return Some((Ok(outcome(answer).await), None));
                }
            }
        }
    })
}

impl Course {
    /// What there is to say a little later; `None`: the service stops.
    async fn look_later(&self) -> Option<Result<Found, Refused>> {
        tokio::select! {
            () = sleep(LOOK_EVERY) => Some(look(&self.call, self.id).await),
            () = self.call.app.stopping() => None,
        }
    }
}

/// The last event: the body of an answer.
async fn outcome(answer: Result<Response, Refused>) -> Event {
    let answer = answer.unwrap_or_else(|refused| refused.into_response());
    // It is all there.
    let body = answer.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    Event::default().event("outcome").data(String::from_utf8_lossy(&body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_for_who_asks_for_them() {
        let check = |accept: &'static str, expected| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(are_wanted(&headers), expected, "{accept}");
        };
        check("text/event-stream", true);
        check("application/json;q=0.1, Text/Event-Stream;q=1", true);
        check("*/*", false);
        check("application/json, text/event-stream; Q=0.0", false);
        check("text/event-stream;q=0.001", true);
        check("text/event-streams", false);
        assert!(!are_wanted(&HeaderMap::new()));
    }
}
