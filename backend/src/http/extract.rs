//! What routes read from requests. Every extractor answers with a problem, never with the
//! framework's plain text.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use cartgate_ledger::CommandId;
use cartgate_policy::Sku;
use cartgate_policy::document::Document;
use cartgate_policy::problem::{Problem, ProblemType};
use http_body_util::LengthLimitError;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::BODY_BYTES_MAX;
use super::answer::Refused;

/// How long a request's body may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// The SKU in the path.
pub(super) struct SkuPath(pub(super) Sku);

impl<S: Send + Sync> FromRequestParts<S> for SkuPath {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let text = segment(parts, state).await?;
        Sku::parse(&text).map(Self).map_err(Refused::invalid)
    }
}

/// The id in the path; `None` if it is none that we ever gave.
pub(super) struct IdPath(pub(super) Option<CommandId>);

impl<S: Send + Sync> FromRequestParts<S> for IdPath {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        Ok(Self(segment(parts, state).await?.parse().ok()))
    }
}

async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, Refused> {
    let segment = Path::<String>::from_request_parts(parts, state).await;
    segment.map(|Path(text)| text).map_err(|e: PathRejection| Refused::invalid(e.body_text()))
}

/// The query, of the fields of `T` and no others.
pub(super) struct StrictQuery<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for StrictQuery<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|Query(query)| Self(query))
            .map_err(|e: QueryRejection| Refused::invalid(e.body_text()))
    }
}

/// The body, read as the edge reads it.
pub(super) struct DocumentBody(pub(super) Document);

impl<S: Send + Sync> FromRequest<S> for DocumentBody {
    type Rejection = Refused;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Refused> {
        let (parts, body) = request.into_parts();
        let encoding = single(&parts.headers, &CONTENT_ENCODING)?;
        if encoding.is_some_and(|e| !e.eq_ignore_ascii_case(b"identity")) {
            let problem = Problem::new(ProblemType::UnsupportedMediaType);
            return Err(Refused(problem.detail("the body must not be compressed")));
        }
        let content_type = single(&parts.headers, &CONTENT_TYPE)?;
        let body = match timeout(BODY_WITHIN, to_bytes(body, BODY_BYTES_MAX)).await {
            Ok(body) => body.map_err(|error| body_refused(&error))?,
            Err(_) => return Err(Refused(Problem::new(ProblemType::RequestTimeout))),
        };
        Ok(Self(Document::parse(content_type, &body)?))
    }
}

/// A JSON body, of the fields of `T` and no others.
pub(super) fn from_json<T: DeserializeOwned>(document: Document) -> Result<T, Refused> {
    match document {
        // Serde takes a struct's fields in order from an array as well: nobody means that.
        Document::Json(value) if !value.is_object() => {
            Err(Refused::invalid("the body must be a JSON object"))
        }
        Document::Json(value) => serde_json::from_value(value).map_err(Refused::invalid),
        Document::Form(_) => {
            let problem = Problem::new(ProblemType::UnsupportedMediaType);
            Err(Refused(problem.detail("the body must be application/json")))
        }
    }
}

/// The value of a header that must not be there twice.
pub(super) fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a [u8]>, Refused> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value.map(|value| value.as_bytes())),
        (_, Some(_)) => Err(Refused::invalid(format_args!("{name} is there more than once"))),
    }
}

fn body_refused(error: &axum::Error) -> Refused {
    if std::error::Error::source(error).is_some_and(|source| source.is::<LengthLimitError>()) {
        let problem = Problem::new(ProblemType::BodyTooLarge);
        return Refused(problem.detail(format!("at most {BODY_BYTES_MAX} bytes are read")));
    }
    Refused::invalid("the body ended early")
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use http_body_util::channel::Channel;

    use super::*;

    /// Time stands still but for waiting: the ten seconds are over at once.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for_for_ever() {
        let (_sender, body) = Channel::<Bytes>::new(1);
        let request = Request::builder().header(CONTENT_TYPE, "application/json");
        let request = request.body(Body::new(body)).unwrap();
        let refused = DocumentBody::from_request(request, &()).await.err().unwrap();
        assert_eq!(refused.0.problem_type, ProblemType::RequestTimeout);
    }
}
