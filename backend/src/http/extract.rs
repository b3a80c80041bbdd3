//! What routes read from requests. Every extractor answers with a problem, never with the
//! framework's plain text.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use cartgate_ledger::CommandId;
use cartgate_policy::Sku;
use cartgate_policy::document::Document;
use cartgate_policy::fleet::Report;
use cartgate_policy::problem::{Problem, ProblemType};
use http_body_util::LengthLimitError;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::sleep;

use super::refused::Refused;
use super::{App, BODY_BYTES_MAX};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The most bytes that are read of an edge's report: 10,000 hot items, two hundred bytes each at the most.
const REPORT_BYTES_MAX: usize = 2 * 1_024 * 1_024;

/// How long a request's body may take to come.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// The most items on one page, and how many if nobody says.
const PAGE_LIMIT_MAX: usize = 1_000;

/// The longest customer id and idempotency key, in bytes.
const NAME_LEN_MAX: usize = 255;

/// The SKU in the path.
pub(super) struct SkuPath(pub(super) Sku);

impl FromRequestParts<Arc<App>> for SkuPath {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
        let text = segment(parts, app).await?;
        app.sku_form.parse(&text).map(Self).map_err(Refused::invalid)
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

/// The id of an edge in the path.
pub(super) struct EdgePath(pub(super) u64);

impl<S: Send + Sync> FromRequestParts<S> for EdgePath {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let text = segment(parts, state).await?;
        let is_id = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let id = u64::from_str_radix(&text, 16).ok().filter(|_| is_id);
        id.map(Self).ok_or_else(|| Refused::invalid("an edge's id is 16 hexadecimal digits"))
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

/// The `Idempotency-Key` header (draft-ietf-httpapi-idempotency-key-header), taken as it is.
pub(super) struct IdempotencyKey(Option<Box<str>>);

impl IdempotencyKey {
    pub(super) fn as_deref(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// The key, of a request that cannot do without.
    pub(super) fn required(&self) -> Result<&str, Refused> {
        self.as_deref().ok_or_else(|| Refused::invalid("this request needs an Idempotency-Key"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let Some(key) = single(&parts.headers, &IDEMPOTENCY_KEY)? else { return Ok(Self(None)) };
        match std::str::from_utf8(key) {
            Ok(key) if key.is_ascii() => {
                check_name("Idempotency-Key", key)?;
                Ok(Self(Some(key.into())))
            }
            _ => Err(Refused::invalid("Idempotency-Key must be ASCII")),
        }
    }
}

/// The version in the `If-Match` header (RFC 9110, section 13.1.1): what is changed has to have it.
pub(super) struct IfMatch(pub(super) Option<u64>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let Some(value) = single(&parts.headers, &IF_MATCH)? else { return Ok(Self(None)) };
        let digits = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_digit));
        let version = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        version.map(|version| Self(Some(version))).ok_or_else(|| {
            Refused::invalid("If-Match must be one ETag, as it was given: a version such as \"7\"")
        })
    }
}

/// The body, read as the edge reads it.
pub(super) struct DocumentBody(pub(super) Document);

impl<S: Send + Sync> FromRequest<S> for DocumentBody {
    type Rejection = Refused;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Refused> {
        let (parts, body) = request.into_parts();
        // Before the body comes: it would be in vain.
        let content_type = content_type(&parts.headers)?;
        Ok(Self(Document::parse(content_type, &read(body, BODY_BYTES_MAX).await?)?))
    }
}

/// The body, if there is any.
pub(super) struct OptionalBody(pub(super) Option<Document>);

impl<S: Send + Sync> FromRequest<S> for OptionalBody {
    type Rejection = Refused;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Refused> {
        let (parts, body) = request.into_parts();
        let body = read(body, BODY_BYTES_MAX).await?;
        if body.is_empty() {
            return Ok(Self(None));
        }
        Ok(Self(Some(Document::parse(content_type(&parts.headers)?, &body)?)))
    }
}

/// A report of an edge.
pub(super) struct ReportBody(pub(super) Report);

impl<S: Send + Sync> FromRequest<S> for ReportBody {
    type Rejection = Refused;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Refused> {
        let body = read(request.into_body(), REPORT_BYTES_MAX).await?;
        serde_json::from_slice(&body).map(Self).map_err(Refused::invalid)
    }
}

/// The content type of a body that is not compressed.
fn content_type(headers: &HeaderMap) -> Result<Option<&[u8]>, Refused> {
    let encoding = single(headers, &CONTENT_ENCODING)?;
    if encoding.is_some_and(|e| !e.eq_ignore_ascii_case(b"identity")) {
        let problem = Problem::new(ProblemType::UnsupportedMediaType);
        return Err(Refused(problem.detail("the body must not be compressed")));
    }
    single(headers, &CONTENT_TYPE)
}

async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Refused> {
    tokio::select! {
        biased;
        body = to_bytes(body, bytes_max) => body.map_err(|error| body_refused(&error, bytes_max)),
        // Mostly the body is there with the head, and no clock is set.
        () = async { sleep(BODY_WITHIN).await } => {
            Err(Refused(Problem::new(ProblemType::RequestTimeout)))
        }
    }
}

/// A JSON body, of the fields of `T` and no others.
pub(super) fn from_json<T: DeserializeOwned>(document: Document) -> Result<T, Refused> {
    match document {
        // Serde takes a struct's fields in order from an array as well: nobody means that.
        Document::Json(value) if !value.is_object() => {
            Err(Refused::invalid("the body must be a JSON object"))
        }
        Document::Json(value) => serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            match path.as_str() {
                "." => Refused::invalid(error.inner()),
                path => Refused::invalid(format_args!("{path}: {}", error.inner())),
            }
        }),
        Document::Form(_) => {
            let problem = Problem::new(ProblemType::UnsupportedMediaType);
            Err(Refused(problem.detail("the body must be application/json")))
        }
    }
}

/// The size of a page: what is asked for, or as much as there may be in one.
pub(super) fn check_limit(limit: Option<usize>) -> Result<usize, Refused> {
    let limit = limit.unwrap_or(PAGE_LIMIT_MAX);
    if (1..=PAGE_LIMIT_MAX).contains(&limit) {
        return Ok(limit);
    }
    Err(Refused::invalid(format_args!("limit is 1 to {PAGE_LIMIT_MAX}")))
}

/// Refuses a JSON object with other members than these.
pub(super) fn check_members(body: &Value, known: &[&str]) -> Result<(), Refused> {
    let mut members = body.as_object().into_iter().flatten().map(|(name, _)| name);
    match members.find(|name| !known.contains(&name.as_str())) {
        Some(name) => {
            let known = known.join(", ");
            Err(Refused::invalid(format_args!("unknown member {name:?}: there are {known}")))
        }
        None => Ok(()),
    }
}

/// Refuses what names nobody, or is too long for a name.
pub(super) fn check_name(field: &str, name: &str) -> Result<(), Refused> {
    if (1..=NAME_LEN_MAX).contains(&name.len()) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    let message = format!("{field} must be 1 to {NAME_LEN_MAX} bytes without control characters");
    Err(Refused::invalid(message))
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

fn body_refused(error: &axum::Error, bytes_max: usize) -> Refused {
    if std::error::Error::source(error).is_some_and(|source| source.is::<LengthLimitError>()) {
        let problem = Problem::new(ProblemType::BodyTooLarge);
        return Refused(problem.detail(format!("at most {bytes_max} bytes are read")));
    }
    Refused::invalid("the body ended early")
}

#[cfg(test)]
mod tests {
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
