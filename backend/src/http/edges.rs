//! The edges' reports, and how many edges there are. Envoy does not expose these routes to shoppers.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use cartgate_policy::fleet::{NotTaken, Reply, Report};
use cartgate_policy::problem::{Problem, ProblemType};
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::answer::json;
use super::extract::{EdgePath, ReportBody};
use super::refused::Refused;
use crate::control::{FleetView, ReportError};

/// Report what an edge is asked for.
///
/// For the filter in Envoy, several times a second. The answer says which hot items there are, and what share
/// of each limit this edge may use. Reports are numbered; one that is not newer than what was taken is
/// refused.
#[utoipa::path(
    post, path = "/v1/edges/{edge}/reports", tag = "edges", security(("token" = ["edge"])),
    operation_id = "report",
    params(EdgePath),
    request_body(content((Report = "application/json", example = json!({
        "number": 1, "known": null, "holds": null, "is_all": true, "items": [], "over_ms": 200, "heavy": [],
    })))),
    responses((status = 200, description = "What the edge is told.", body = Reply)),
    extensions(("x-problems" = json!(["report-outdated"]))),
)]
pub(super) async fn report(
    State(app): State<Arc<App>>,
    EdgePath(edge): EdgePath,
    ReportBody(report): ReportBody,
) -> Result<Response, Refused> {
    let reply = app.control.report(edge, report).await?;
    Ok(json(StatusCode::OK, &reply))
}

/// How many edges there are.
#[utoipa::path(
    get, path = "/v1/edges", tag = "edges", security(("token" = ["read"])), operation_id = "show_edges",
    responses((status = 200, description = "How the edges stand.", body = EdgesView)),
)]
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
#[derive(Serialize, ToSchema)]
#[schema(as = Edges, examples(json!({
    "edges": 4, "behind": 0, "hot_items": 1, "incarnation": "00c0ffee00c0ffee", "revision": 12,
})))]
pub(super) struct EdgesView {
    /// Edges that report.
    edges: usize,
    /// Those of them that have not heard of the latest change.
    behind: usize,
    /// Hot items that they are told of.
    hot_items: usize,
    /// Whose memory that is: another one after the process that leads them has changed.
    incarnation: String,
    /// Counts the changes that they are told of.
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
