//! The door: who may ask which route.
//!
//! What opens a route is what the OpenAPI document says of it, and nothing else does: one that it does not
//! have is open to nobody.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use cartgate_policy::problem::{Problem, ProblemType};
use serde_json::Value;
use utoipa::openapi::OpenApi;

use super::extract::single;
use super::openapi::TOKEN;
use super::refused::Refused;
use crate::access::{Access, Client, Denied, Scope, Scopes, Shown};
use crate::clock;

/// Says that nobody is asked who they are.
const ACCESS: HeaderName = HeaderName::from_static("cartgate-access");

/// Where a sidecar says whose certificate it has seen.
const FORWARDED: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// What opens a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opens {
    /// Nothing is needed.
    Anybody,
    /// Any of these.
    Scopes(Scopes),
}

/// Who may ask which route.
pub(super) struct Door {
    access: Arc<Access>,
    /// By method and pattern of the path.
    routes: HashMap<(Method, String), Opens>,
}

impl Door {
    pub(super) fn new(access: Arc<Access>, document: &OpenApi) -> Self {
        Self { access, routes: routes(document) }
    }

    fn opens(&self, method: &Method, path: &str) -> Option<Opens> {
        // Whoever may read something may ask for its head.
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.routes.get(&(method.clone(), path.to_owned())).copied()
    }

    /// Who asks, if they may.
    fn let_in(&self, request: &Request) -> Result<Option<Client>, Refused> {
        let Some(path) = request.extensions().get::<MatchedPath>() else { return Ok(None) };
        let wanted = match self.opens(request.method(), path.as_str()) {
            Some(Opens::Anybody) => return Ok(None),
            Some(Opens::Scopes(wanted)) => wanted,
            // Another method than the route has, to which the router says so.
            None => Scopes::default(),
        };
        let client = self.client(request)?;
        if client.scopes.open(wanted) || wanted == Scopes::default() {
            return Ok(Some(client));
        }
        let names: Vec<&str> = wanted.iter().map(Scope::name).collect();
        Err(Refused(Problem::new(ProblemType::InsufficientScope).with("scopes", names)))
    }

    fn client(&self, request: &Request) -> Result<Client, Refused> {
        self.shown_by(request).map_err(|denied| match self.access.may_try() {
            true => {
                let problem = Problem::new(ProblemType::Unauthenticated);
                Refused(problem.detail(denied.to_string()))
            }
            false => Refused(Problem::new(ProblemType::TooManyAttempts).retry_after_s(1)),
        })
    }

    fn shown_by(&self, request: &Request) -> Result<Client, Denied> {
        // Of two, nobody knows which is meant.
        let once = |name| single(request.headers(), name).map_err(|_| Denied::Unknown);
        let (authorization, forwarded) = (once(&header::AUTHORIZATION)?, once(&FORWARDED)?);
        self.access.client(Shown { authorization, forwarded }, (clock::wall())())
    }
}

/// Lets in who may ask; in development mode, everybody, and says so.
pub(super) async fn keep(
    State(door): State<Arc<Door>>,
    mut request: Request,
    next: Next,
) -> Response {
    if door.access.is_development() {
        let mut response = next.run(request).await;
        response.headers_mut().insert(ACCESS, HeaderValue::from_static("development"));
        return response;
    }
    match door.let_in(&request) {
        Ok(client) => {
            if let Some(client) = client {
                tracing::Span::current().record("client", &*client.name);
                request.extensions_mut().insert(client);
            }
            next.run(request).await
        }
        Err(refused) => {
            let challenge = match refused.0.problem_type {
                ProblemType::InsufficientScope => "Bearer error=\"insufficient_scope\"",
                _ => "Bearer",
            };
            let mut response = refused.into_response();
            let headers = response.headers_mut();
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            response
        }
    }
}

/// What the document says of each route.
fn routes(document: &OpenApi) -> HashMap<(Method, String), Opens> {
    let document = serde_json::to_value(document).unwrap_or_default();
    let paths = document["paths"].as_object().into_iter().flatten();
    let all = paths.flat_map(|(path, item)| {
        let operations = item.as_object().into_iter().flatten();
        operations.filter_map(move |(method, operation)| {
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).ok()?;
            Some(((method, path.clone()), opens(&operation["security"])?))
        })
    });
    all.collect()
}

/// Each alternative names one scope; `{}` names none.
fn opens(security: &Value) -> Option<Opens> {
    let alternatives = security.as_array()?;
    if alternatives.iter().any(|alternative| alternative.as_object().is_some_and(|a| a.is_empty()))
    {
        return Some(Opens::Anybody);
    }
    let names = alternatives.iter().filter_map(|a| a[TOKEN].as_array()).flatten();
    let scopes: Option<Scopes> = names.map(|name| name.as_str()?.parse().ok()).collect();
    scopes.filter(|scopes| *scopes != Scopes::default()).map(Opens::Scopes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http;

    /// The table, route by route: whoever changes one changes it here, too.
    #[test]
    fn each_route_is_opened_by_these_scopes() {
        let mut table: Vec<String> = routes(&http::openapi())
            .into_iter()
            .map(|((method, path), opens)| match opens {
                Opens::Anybody => format!("{path} {method}: anybody"),
                Opens::Scopes(scopes) => {
                    let names: Vec<_> = scopes.iter().map(Scope::name).collect();
                    format!("{path} {method}: {}", names.join(", "))
                }
            })
            .collect();
        table.sort();
        assert_eq!(
            table,
            [
                "/live GET: anybody",
                "/metrics GET: read",
                "/ready GET: anybody",
                "/v1/carts POST: reserve",
                "/v1/edges GET: read",
                "/v1/edges/{edge}/reports POST: edge",
                "/v1/hot-items GET: hot-items, read",
                "/v1/hot-items/{sku} DELETE: hot-items",
                "/v1/hot-items/{sku} GET: hot-items, read",
                "/v1/hot-items/{sku} PATCH: hot-items",
                "/v1/hot-items/{sku} PUT: hot-items",
                "/v1/hot-items/{sku}/history GET: hot-items, read",
                "/v1/reservations POST: reserve",
                "/v1/reservations/{id} GET: reserve, read",
                "/v1/reservations/{id}/confirm POST: reserve",
                "/v1/reservations/{id}/extend POST: reserve",
                "/v1/reservations/{id}/release POST: reserve",
                "/v1/skus/{sku} GET: stock, read",
                "/v1/skus/{sku}/adjustments POST: stock",
                "/v1/skus/{sku}/journal GET: stock, read",
                "/v1/skus/{sku}/stock PUT: stock",
                "/v1/stock-exports GET: stock, read",
                "/v1/stock-imports POST: stock",
                "/v1/tickets/{id} GET: reserve, read",
            ]
        );
    }

    #[test]
    fn what_names_no_scope_is_open_to_nobody() {
        for wrong in [Value::Null, serde_json::json!([]), serde_json::json!([{"token": ["all"]}])] {
            assert_eq!(opens(&wrong), None, "{wrong}");
        }
        assert_eq!(opens(&serde_json::json!([{}])), Some(Opens::Anybody));
    }
}
