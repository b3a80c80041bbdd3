//! What is read of paths and headers: the extractors say it of themselves.

use std::collections::BTreeMap;

use utoipa::IntoParams;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr, Required};

use super::note;
use super::schemas::{ID_EXAMPLE, sku};
use crate::http::extract::{EdgePath, IdPath, IdempotencyKey, IfMatch, SkuPath};
use crate::http::prefer::Prefer;

/// The key of a request that cannot do without.
pub(in crate::http) struct RequiredIdempotencyKey;

/// The `Repr-Digest` of an import.
pub(in crate::http) struct ReprDigest;

/// The `Content-Encoding` of an import.
pub(in crate::http) struct ContentEncoding;

macro_rules! documents {
    ($($extractor:ty => $parameter:expr;)*) => {
        $(impl IntoParams for $extractor {
            fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
                vec![$parameter]
            }
        })*
    };
}

documents! {
    SkuPath => in_path("sku", "The product.", sku());
    IdPath => in_path(
        "id",
        "As it was given with the reservation or the ticket. One that is none was never given: 404.",
        text().min_length(Some(1)).examples([ID_EXAMPLE]),
    );
    EdgePath => in_path(
        "edge",
        "The edge: 16 hexadecimal digits, another one each time that its Envoy starts.",
        text().pattern(Some("^[0-9a-fA-F]{16}$")).examples(["00000000000000e1"]),
    );
    IdempotencyKey => in_header("Idempotency-Key", IDEMPOTENCY_KEY, name());
    RequiredIdempotencyKey => required(in_header("Idempotency-Key", IDEMPOTENCY_KEY, name()));
    IfMatch => in_header(
        "If-Match",
        "The `ETag` of what is to be changed: it is changed only if it has this version still.",
        text().pattern(Some("^\"[0-9]{1,19}\"$")).examples(["\"7\""]),
    );
    Prefer => in_header(
        "Prefer",
        "`wait=N`: how many seconds to wait at most, and never longer than the service's `wait_ms`, 8 s unless \
         it is set; or `respond-async`: not at all (RFC 7240). What is not understood counts for nothing.",
        text().examples(["wait=2"]),
    );
    ReprDigest => in_header(
        "Repr-Digest",
        "The SHA-256 of the content, before it is compressed (RFC 9530): with it the import can be resumed.",
        text().pattern(Some("^sha-256=:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=:$")),
    );
    ContentEncoding => in_header(
        "Content-Encoding",
        "How the body is compressed.",
        text().enum_values(Some(["gzip", "identity"])),
    );
}

const IDEMPOTENCY_KEY: &str = "Makes it safe to repeat the request: with the same key it is done once, and each \
    repeat gets the first answer. A new key for each new request, which nobody can guess. It is taken as it is, \
    byte for byte.";

/// What every request may have.
pub(super) fn of_every_request() -> BTreeMap<String, RefOr<Parameter>> {
    let id = in_header(
        "x-request-id",
        "Names the request in logs. Left out, empty or above 128 bytes: the service makes one.",
        text().examples(["7c3f0a5e-checkout"]),
    );
    let parent = in_header(
        "traceparent",
        "The span that asks (W3C Trace Context): its trace goes on. What is malformed counts for nothing.",
        text().examples(["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]),
    );
    let all = [id, parent].into_iter();
    all.map(|parameter| (parameter.name.clone(), parameter.into())).collect()
}

/// Adds to a route what every request may have; and a body may be left out, if the route says so.
pub(super) fn complete(operation: &mut Operation) {
    let names = of_every_request().into_keys();
    let references =
        names.map(|name| RefOr::Ref(Ref::new(format!("#/components/parameters/{name}"))));
    operation.parameters.get_or_insert_default().extend(references);
    if note(operation, "x-body-optional").is_some()
        && let Some(RefOr::T(body)) = &mut operation.request_body
    {
        body.required = None;
    }
}

fn in_path(name: &str, description: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    parameter(name, ParameterIn::Path, description, schema)
}

fn in_header(name: &str, description: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    parameter(name, ParameterIn::Header, description, schema)
}

fn required(mut parameter: Parameter) -> Parameter {
    parameter.required = Required::True;
    parameter
}

fn parameter(
    name: &str,
    place: ParameterIn,
    description: &str,
    schema: impl Into<RefOr<Schema>>,
) -> Parameter {
    // In this order: what is in a path stays required.
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// What [`check_name`](crate::http::extract::check_name) lets in, of what a header can have.
fn name() -> ObjectBuilder {
    let printable = "^[ -~]+$";
    text()
        .pattern(Some(printable))
        .min_length(Some(1))
        .max_length(Some(255))
        .examples(["order-4711"])
}
