//! `/v1/history`: the last hour of a server's or device's load, and what was expected of it.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::extract::Params;
use super::openapi::ReadProblems;
use super::problem::Problem;
use super::reply::Reply;
use super::wire;
use crate::core::outlook::{POINT_MS, Point};
use crate::daemon::HistoryOf;

/// A load over the last hour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// `share` of what a server carries well; `bytes_per_second` of a device.
    #[schema(example = "share")]
    pub unit: String,
    /// Time from one point to the next, in ms; longer where the daemon was busy.
    pub step_ms: u64,
    /// Points, oldest first.
    pub points: Vec<HistoryPoint>,
}

/// A load at a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryPoint {
    /// When; RFC 3339.
    #[schema(format = DateTime)]
    pub at: String,
    /// What was measured; null when it was not known.
    pub value: Option<f32>,
    /// The middle of what was expected then, one horizon ahead.
    pub p50: Option<f32>,
    /// What was expected to be exceeded once in ten times.
    pub p90: Option<f32>,
}

/// Of whom.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// Name of a server; this or `device`.
    server: Option<String>,
    /// Name of a device; this or `server`.
    device: Option<String>,
}

/// Shows the last hour of a server's or device's load.
#[utoipa::path(get, path = "/v1/history", tag = "plan", params(HistoryQuery),
    responses((status = 200, body = History), ReadProblems))]
pub(super) async fn get_history(
    State(api): State<Api>,
    Params(query): Params<HistoryQuery>,
) -> Result<Reply<History>, Problem> {
    let (of, unit, unknown) = match (query.server, query.device) {
        (Some(name), None) => {
            let unknown = Problem::unknown("server", &name);
            (HistoryOf::Server(name), "share", unknown)
        }
        (None, Some(name)) => {
            let unknown = Problem::unknown("device", &name);
            (HistoryOf::Device(name), "bytes_per_second", unknown)
        }
        _ => {
            let detail = "name one: ?server=NAME or ?device=NAME";
            return Err(Problem::malformed("bad_query", detail));
        }
    };
    let snapshot = api.daemon.snapshot().await?;
    let points = api.daemon.history(of).await?.ok_or(unknown)?;
    let points = points.into_iter().map(HistoryPoint::from).collect();
    let body = History { unit: unit.to_owned(), step_ms: POINT_MS, points };
    Ok(Reply::ok(snapshot.spec.generation, body))
}

impl From<Point> for HistoryPoint {
    fn from(point: Point) -> Self {
        Self { at: wire::time(point.at_ms), value: point.value, p50: point.p50, p90: point.p90 }
    }
}
