//! Stock in bulk, for those who run the sale: a line for each SKU, millions of them if need be.
//!
//! What comes is applied while it comes, and what became of it is told in the answer meanwhile
//! (`results.rs`). Neither is ever in memory as a whole: a window of 4,096 lines is read while the one
//! before is applied, and if the client does not take in what it is told, nothing more is read.
//!
//! A client that says what the content's SHA-256 is (`Repr-Digest`, RFC 9530) may send it again after
//! whatever went wrong: what was applied is passed over (`store/imports.rs`). One that names another
//! digest than its content has is told at the end, when all of it is applied; but lines are passed over
//! only if they are those that were there before.
//!
//! On a shared store, two processes that are asked to import the same content at the same time apply up to
//! a window of it twice: the one that was asked first hears of the other only when it begins the next.

mod apply;
mod content;
mod ended;
mod gunzip;
mod lines;
pub(super) mod results;
mod run;
mod seats;
mod tries;
pub(crate) mod wanted;

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cartgate_policy::problem::{Problem, ProblemType};
use http_body_util::channel::Channel;

use self::content::Content;
use self::results::Results;
use self::run::Import;
use self::wanted::Format;
use super::call::Call;
use super::extract::single;
use super::openapi::parameters::{ContentEncoding, ReprDigest};
use super::openapi::schemas;
use super::refused::Refused;
use crate::store::imports::ContentDigest;

pub(super) use self::seats::Seats;

pub(crate) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// Put units up for sale, product by product.
///
/// A line for each product, as many as there are: NDJSON, or CSV with the header `sku,quantity`; compressed
/// with gzip or not. `quantity` is the total, as in `PUT .../stock`. Lines are applied while they come, and
/// the answer says meanwhile what became of them, in lines of JSON: each line that was refused and why, how
/// far it is, and at last `{"done": true}` or why it ended early. So the status is 200 whatever the lines
/// say: read the last one.
///
/// With `Repr-Digest` it may be sent again after anything that went wrong: what was applied is passed over.
#[utoipa::path(
    post, path = "/v1/stock-imports", tag = "stock", security(("token" = ["stock"])),
    operation_id = "import_stock",
    params(ReprDigest, ContentEncoding),
    request_body(content(
        (String = "application/x-ndjson", example = json!(schemas::NDJSON_EXAMPLE)),
        (String = "text/csv", example = json!(schemas::CSV_EXAMPLE)),
    )),
    responses((status = 200, description = "What became of the lines: one `ImportRefusal`, `ImportProgress` or `ImportEnd` a line.",
        content((String = "application/x-ndjson", example = json!(schemas::RESULTS_EXAMPLE))))),
)]
pub(super) async fn create(
    call: Call,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let (format, is_gzip) = (format(&headers)?, is_gzip(&headers)?);
    let digest = digest(&headers)?;
    let seat = call.app.import_seats.take(digest).await.ok_or_else(Refused::unavailable)?;
    let content = Content::new(body, is_gzip, format, call.app.sku_form.clone());
    let (sender, told) = Channel::<Bytes, Infallible>::new(1);
    Import::new(call.without_spans(), seat, digest, content, Results::new(sender)).start();
    let mut response = Response::new(Body::new(told));
    let media_type = HeaderValue::from_static(Format::Ndjson.media_type());
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    Ok(response)
}

/// How lines are written, by the media type. What else that says does not matter here.
fn format(headers: &HeaderMap) -> Result<Format, Refused> {
    let content_type = single(headers, &CONTENT_TYPE)?.unwrap_or_default();
    let media_type = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    let media_type = media_type.trim_ascii().to_ascii_lowercase();
    let formats = [Format::Ndjson, Format::Csv].into_iter();
    let mut named = formats.filter(|format| format.media_type().as_bytes() == media_type);
    named.next().ok_or_else(|| unsupported("the body must be application/x-ndjson or text/csv"))
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, Refused> {
    match single(headers, &CONTENT_ENCODING)? {
        None => Ok(false),
        Some(encoding) if encoding.eq_ignore_ascii_case(b"identity") => Ok(false),
        Some(encoding) if encoding.eq_ignore_ascii_case(b"gzip") => Ok(true),
        Some(_) => Err(unsupported("the body may be compressed with gzip, and nothing else")),
    }
}

fn unsupported(detail: &str) -> Refused {
    Refused(Problem::new(ProblemType::UnsupportedMediaType).detail(detail))
}

/// The digest that the content is said to have, before it was compressed.
fn digest(headers: &HeaderMap) -> Result<Option<ContentDigest>, Refused> {
    let Some(value) = single(headers, &REPR_DIGEST)? else { return Ok(None) };
    let wrong = || Refused::invalid("Repr-Digest must have a sha-256=:..:, as in RFC 9530");
    let text = std::str::from_utf8(value).map_err(|_| wrong())?;
    let mut members = text.split(',').map(str::trim);
    let coded = members.find_map(|member| member.strip_prefix("sha-256=:")?.strip_suffix(':'));
    let bytes = BASE64_STANDARD.decode(coded.ok_or_else(wrong)?).map_err(|_| wrong())?;
    bytes.try_into().map(|bytes| Some(ContentDigest(bytes))).map_err(|_| wrong())
}

/// A digest as a `Repr-Digest` has it.
pub(crate) fn repr_digest(digest: ContentDigest) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(digest.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let digest_of = |value: &str| digest(&headers(REPR_DIGEST, value)).map_err(|r| r.0);
        let (digest, text) = (ContentDigest([7; 32]), repr_digest(ContentDigest([7; 32])));
        assert_eq!(digest_of(&text), Ok(Some(digest)));
        assert_eq!(digest_of(&format!("sha-512=:AAAA:, {text}")), Ok(Some(digest)));
        for wrong in ["", "sha-256=:AAAA:", "sha-256=AAAA", "sha-512=:AAAA:", "sha-256=:!:"] {
            assert!(digest_of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_media_type_names_a_format() {
        let format_of = |value: &str| format(&headers(CONTENT_TYPE, value)).ok();
        assert_eq!(format_of("application/x-ndjson"), Some(Format::Ndjson));
        assert_eq!(format_of("Text/CSV; charset=utf-8; header=present"), Some(Format::Csv));
        assert_eq!(format_of("application/json"), None);
        assert!(format(&HeaderMap::new()).is_err());
    }
}
