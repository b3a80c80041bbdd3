//! The door: who may ask which route.
//!
//! What opens a route is what the OpenAPI document says of it, and nothing else does: one that it does not
//! have is open to nobody.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use cartgate_policy::problem::{Problem, ProblemType};
use serde_json::Value;
use utoipa::openapi::OpenApi;

use super::extract::single;
use super::openapi::TOKEN;
use super::refused::{Refused, try_later};
use crate::access::{Access, Client, Denied, Scope, Scopes, Shown};
use crate::clock::Clock;

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
    clock: Clock,
    routes: Routes,
}

/// By pattern of the path, and method.
type Routes = HashMap<String, HashMap<Method, Opens>>;

impl Door {
    pub(super) fn new(access: Arc<Access>, clock: Clock, document: &OpenApi) -> Self {
        Self { access, clock, routes: routes(document) }
    }

    /// Who asks, if they may; `None`: anybody may.
    async fn let_in(&self, request: &Parts) -> Result<Option<Client>, Refused> {
        let Some(path) = request.extensions.get::<MatchedPath>() else { return Ok(None) };
        let methods = self.routes.get(path.as_str());
        let methods = methods.ok_or_else(|| Refused(Problem::new(ProblemType::NotFound)))?;
        // Whoever may read something may ask for its head.
        let method = if request.method == Method::HEAD { &Method::GET } else { &request.method };
        let wanted = match methods.get(method) {
            Some(Opens::Anybody) => return Ok(None),
            Some(Opens::Scopes(wanted)) => *wanted,
            // The router says that the route has no such method: to everybody, if all may ask it.
            None if methods.values().all(|opens| *opens == Opens::Anybody) => return Ok(None),
            None => return self.client(request).await.map(Some),
        };
        let client = self.client(request).await?;
        if client.scopes.open(wanted) {
            return Ok(Some(client));
        }
        let names: Vec<&str> = wanted.iter().map(Scope::name).collect();
        Err(Refused(Problem::new(ProblemType::InsufficientScope).with("scopes", names)))
    }

    async fn client(&self, request: &Parts) -> Result<Client, Refused> {
        self.shown_by(request).await.map_err(|denied| match denied {
            Denied::NoKeys => {
                Refused(try_later(ProblemType::Unavailable).detail(denied.to_string()))
            }
            denied if self.access.may_try() => {
                let problem = Problem::new(ProblemType::Unauthenticated);
                Refused(problem.detail(denied.to_string()))
            }
            _ => Refused(Problem::new(ProblemType::TooManyAttempts).retry_after_s(1)),
        })
    }

    async fn shown_by(&self, request: &Parts) -> Result<Client, Denied> {
        // Of two, nobody knows which is meant.
        let once = |name| single(&request.headers, name).map_err(|_| Denied::Unknown);
        let (authorization, forwarded) = (once(&header::AUTHORIZATION)?, once(&FORWARDED)?);
        self.access.client(Shown { authorization, forwarded }, (self.clock)()).await
    }
}

/// Lets in who may ask; in development mode, everybody, and says so.
pub(super) async fn keep(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    if door.access.is_development() {
        let mut response = next.run(request).await;
        response.headers_mut().insert(ACCESS, HeaderValue::from_static("development"));
        return response;
    }
    // A body cannot be shared between threads, and who asks may take a while to know.
    let (parts, body) = request.into_parts();
    match door.let_in(&parts).await {
        Ok(client) => {
            if let Some(client) = client {
                tracing::Span::current().record("client", &*client.name);
            }
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refused) => {
            let challenge = match refused.0.problem_type {
                ProblemType::InsufficientScope => Some("Bearer error=\"insufficient_scope\""),
                ProblemType::Unauthenticated => Some("Bearer"),
                _ => None,
            };
            let mut response = refused.into_response();
            if let Some(challenge) = challenge.map(HeaderValue::from_static) {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            }
            response
        }
    }
}

/// What the document says of each route.
fn routes(document: &OpenApi) -> Routes {
    let document = serde_json::to_value(document).unwrap_or_default();
    let paths = document["paths"].as_object().into_iter().flatten();
    let of_path = |(path, item): (&String, &Value)| {
        let operations = item.as_object().into_iter().flatten();
        let methods = operations.filter_map(|(method, operation)| {
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).ok()?;
            Some((method, opens(&operation["security"])?))
        });
        (path.clone(), methods.collect())
    };
    paths.map(of_path).collect()
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
    use axum::Router;
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    use super::*;
    use crate::access::AccessConfig;
    use crate::access::tokens::Keeper;
    use crate::{clock, http};

    /// The table, route by route: whoever changes one changes it here, too.
    #[test]
    fn each_route_is_opened_by_these_scopes() {
        let mut table: Vec<String> = routes(&http::openapi())
            .iter()
            .flat_map(|(path, methods)| methods.iter().map(move |route| (path, route)))
            .map(|(path, (method, opens))| match opens {
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
                "/docs GET: reserve, stock, hot-items, edge, read",
                "/docs/problems GET: reserve, stock, hot-items, edge, read",
                "/live GET: anybody",
                "/metrics GET: read",
                "/openapi.json GET: reserve, stock, hot-items, edge, read",
                "/ready GET: anybody",
                "/v1/backup GET: admin",
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

    /// Also an administrator does not get to what nobody has written down.
    #[tokio::test]
    async fn what_the_document_does_not_have_is_open_to_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tokens.toml");
        let token = Keeper::of(&file).create("admin", &[Scope::Admin], None).unwrap();
        let config = AccessConfig { tokens: Some(file), ..AccessConfig::default() };
        let access = Arc::new(Access::new(&config).await.unwrap());
        let door = Arc::new(Door::new(access, clock::wall(), &http::openapi()));
        let router = Router::new()
            .route("/hidden", get(async || "here"))
            .route("/metrics", get(async || "here"))
            .layer(from_fn_with_state(door, keep));
        let service = TowerToHyperService::new(router);
        for (path, expected) in [("/metrics", StatusCode::OK), ("/hidden", StatusCode::NOT_FOUND)] {
            let request = Request::get(path).header("authorization", format!("Bearer {token}"));
            let answer = service.call(request.body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(answer.status(), expected, "{path}");
        }
    }
}
