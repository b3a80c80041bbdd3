//! The documentation, as it is served and printed: made of the OpenAPI document, so that it cannot say
//! anything else.
//!
//! Pages are complete in themselves: they load nothing, and run nothing.

mod curl;
mod guides;
mod page;
mod reference;
mod shape;

use std::sync::LazyLock;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

pub use guides::markdown as problems_markdown;

/// All of it, made when it is first asked for.
static DOCS: LazyLock<Docs> = LazyLock::new(Docs::new);

struct Docs {
    document: String,
    reference: String,
    problems: String,
    /// What a browser is to do with a page: show it, in its own style.
    policy: Option<HeaderValue>,
}

impl Docs {
    fn new() -> Self {
        let document = super::openapi();
        let style = BASE64_STANDARD.encode(Sha256::digest(page::STYLE));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'"
        );
        Self {
            document: document.to_pretty_json().unwrap_or_default(),
            reference: reference::page(&document).into_string(),
            problems: guides::page(&document).into_string(),
            policy: HeaderValue::try_from(policy).ok(),
        }
    }

    fn page(&self, html: &'static str) -> Response {
        let content_type = HeaderValue::from_static("text/html; charset=utf-8");
        let mut response = ([(header::CONTENT_TYPE, content_type)], html).into_response();
        let headers = response.headers_mut();
        headers.extend(self.policy.clone().map(|policy| (header::CONTENT_SECURITY_POLICY, policy)));
        headers.insert(
            HeaderName::from_static("x-content-type-options"),
            HeaderValue::from_static("nosniff"),
        );
        response
    }
}

/// The page that explains every route.
pub fn reference_page() -> &'static str {
    &DOCS.reference
}

/// This document.
///
/// OpenAPI 3.1, for programs: generators of clients, test tools.
#[utoipa::path(
    get, path = "/openapi.json", tag = "documentation", operation_id = "openapi",
    security(("token" = ["reserve"]), ("token" = ["stock"]), ("token" = ["hot-items"]), ("token" = ["edge"]), ("token" = ["read"])),
    responses((status = 200, description = "The document.", body = Object, content_type = "application/json")),
)]
pub(super) async fn document() -> Response {
    let content_type = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, content_type)], DOCS.document.as_str()).into_response()
}

/// This page.
///
/// For people: every route, with an example to paste.
#[utoipa::path(
    get, path = "/docs", tag = "documentation", operation_id = "docs",
    security(("token" = ["reserve"]), ("token" = ["stock"]), ("token" = ["hot-items"]), ("token" = ["edge"]), ("token" = ["read"])),
    responses((status = 200, description = "The page.",
        body = String, content_type = "text/html", headers(("content-security-policy")))),
)]
pub(super) async fn reference() -> Response {
    DOCS.page(&DOCS.reference)
}

/// What each problem means.
///
/// And what the client, the operator and support do about it.
#[utoipa::path(
    get, path = "/docs/problems", tag = "documentation", operation_id = "docs_problems",
    security(("token" = ["reserve"]), ("token" = ["stock"]), ("token" = ["hot-items"]), ("token" = ["edge"]), ("token" = ["read"])),
    responses((status = 200, description = "The page.",
        body = String, content_type = "text/html", headers(("content-security-policy")))),
)]
pub(super) async fn problems() -> Response {
    DOCS.page(&DOCS.problems)
}

#[cfg(test)]
mod tests;
