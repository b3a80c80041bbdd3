//! The edges' reports, and how many edges there are. Envoy does not expose these routes to shoppers.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use cartgate_policy::fleet::NotTaken;
use cartgate_policy::problem::{Problem, ProblemType};
use serde::Serialize;

use super::App;
use super::answer::json;
use super::extract::{EdgePath, ReportBody};
use super::refused::Refused;
use crate::control::{FleetView, ReportError};

/// `POST /v1/edges/{edge}/reports`
#[utoipa::path(post, path = "/v1/edges/{edge}/reports", tag = "edges", security(("token" = ["edge"])))]
pub(super) async fn report(
    State(app): State<Arc<App>>,
    EdgePath(edge): EdgePath,
    ReportBody(report): ReportBody,
) -> Result<Response, Refused> {
    let reply = app.control.report(edge, report).await?;
    Ok(json(StatusCode::OK, &reply))
}

/// `GET /v1/edges`
#[utoipa::path(get, path = "/v1/edges", tag = "edges", security(("token" = ["read"])))]
pub(super) async fn show(State(app): State<Arc<App>>) -> Result<Response, Refused> {
    let fleet = app.control.fleet().await.ok_or_else(Refused::unavailable)?;
    let FleetView { edges, behind, hot_items, version } = fleet;
    let view = EdgesView {
        edges,
        behind,
        hot_items,
        incarnation: format!("{:016x}", version.incarnation),
        revision: version.revision,
    };
    Ok(json(StatusCode::OK, &view))
}

/// How the fleet of edges stands.
#[derive(Serialize)]
struct EdgesView {
    edges: usize,
    behind: usize,
    hot_items: usize,
    incarnation: String,
    revision: u64,
}

impl From<ReportError> for Refused {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::NotTaken(NotTaken::Outdated { taken, .. }) => {
                Self(Problem::new(ProblemType::ReportOutdated)).with("taken", taken)
            }
            ReportError::NotTaken(error @ NotTaken::TooManyEdges { .. }) => {
                Self::unavailable().with("detail", error.to_string())
            }
            ReportError::NoLeader => Self::unavailable(),
        }
    }
}
