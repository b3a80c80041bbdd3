//! The OpenAPI 3.1 document.
//!
//! What is particular about a route stands beside its handler, in the attribute and the comment from which
//! `utoipa` makes its part of the document; the types that are read and written say themselves what they are.
//! Here is what many routes have in common:
//!
//! - [`parameters`]: what is read of paths and headers;
//! - [`schemas`]: what is read and written by hand, without a type that could say it;
//! - [`answers`]: headers of answers, and the problems that each route may answer;
//! - [`problems`]: what each problem means, and what is done about it.
//!
//! A route names its own problems in `x-problems`. Those that come of a body, a path or a token are added to
//! all routes that have one, and `x-problems` is gone from the document that is given away.

mod answers;
pub(super) mod parameters;
pub(super) mod problems;
pub(super) mod schemas;

pub(super) use answers::OF_ALL_ANSWERS;

use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, ComponentsBuilder, Info, License, OpenApi, OpenApiBuilder, Server, Tag,
};

use super::stock_imports::results;
use crate::store::imports::Counts;

/// The name under which routes say what scope they want.
pub(super) const TOKEN: &str = "token";

/// Where a service listens that nobody has told anything.
pub(super) const SERVER: &str = "http://127.0.0.1:8080";

/// What routes are grouped by, in the order of the page.
const TAGS: [(&str, &str); 6] = [
    ("reservations", "For frontends: hold, confirm, give back."),
    ("stock", "For those who run the sale: how many units there are, and what became of them."),
    ("hot items", "For those who run the sale: products that everybody wants at once."),
    ("edges", "For the filter in Envoy."),
    ("operation", "For operators."),
    ("documentation", "What you read."),
];

const DESCRIPTION: &str = "\
    Holds stock while a customer has it in the cart. A client needs a token with one of the scopes that a route \
    names, unless the service runs in development mode.\n\n\
    What goes wrong is told as a problem (RFC 9457, `application/problem+json`). Branch on its `type`, which is \
    stable, not on `title` or `detail`, which are for people. `docs/problems.md`, and `/docs/problems` on the \
    service, say of each what the client, the operator and support do about it.\n\n\
    Every answer below `/v1` says in `cartgate-durability` what it survives. Send `x-request-id`, or take the one \
    in the answer: it finds the request in the log. At its usual level that has who has changed stock or terms of a \
    sale; with `RUST_LOG=info,cartgate=debug` it has every request, and who has sent it.";

/// The document without its routes.
pub(super) fn head() -> OpenApi {
    let mut info = Info::new("cartgate", env!("CARGO_PKG_VERSION"));
    info.license = Some(License::new("Apache-2.0"));
    info.description = Some(DESCRIPTION.to_owned());
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([Server::new(SERVER)]))
        .tags(Some(TAGS.map(tag)))
        .components(Some(components()))
        .build()
}

fn tag((name, description): (&str, &str)) -> Tag {
    TagBuilder::new().name(name).description(Some(description)).build()
}

fn components() -> Components {
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("As `cartgate token create` makes them, or a JWT of your issuer."))
        .build();
    let mut components = ComponentsBuilder::new()
        .security_scheme(TOKEN, SecurityScheme::Http(token))
        .schema("Problem", problems::schema())
        .schema_from::<Counts>()
        .schema_from::<results::Refusal<'_>>()
        .schema_from::<results::Standing>()
        .schema_from::<results::End<'_>>()
        .build();
    components.parameters = parameters::of_every_request();
    components.headers = answers::headers();
    components.responses = answers::shared();
    components
}

/// Adds to routes what they have in common.
pub(super) fn complete(mut document: OpenApi) -> OpenApi {
    for (path, item) in &mut document.paths.paths {
        let has_parameters = path.contains('{');
        for operation in operations(item) {
            parameters::complete(operation);
            answers::complete(operation, path.starts_with("/v1/"), has_parameters);
            operation.extensions = None;
        }
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    [get, put, post, delete, patch].into_iter().flatten()
}

/// What a route says of itself for [`complete`] alone.
fn note<'a>(operation: &'a Operation, name: &str) -> Option<&'a serde_json::Value> {
    operation.extensions.as_ref()?.get(name)
}

#[cfg(test)]
mod tests;
