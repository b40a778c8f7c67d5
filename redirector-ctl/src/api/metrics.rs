//! `/metrics`: what Prometheus reads, in its text format.
//!
//! Everything is made of one snapshot, in the same order every time. Names, units and labels are
//! stable from release to release. Labels are names of the spec and words of closed lists, never
//! anything that a packet or a request brought.

mod family;
mod of_daemon;
mod of_decisions;
mod of_devices;
mod of_loads;
mod of_servers;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::flows::Flows;
use super::openapi::ReadProblems;
use super::problem::Problem;
use super::usage::UsageCounts;
use crate::daemon::Snapshot;
use family::Page;

/// The text format that Prometheus has read since its first versions.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Metrics for Prometheus, in its text format 0.0.4.
#[utoipa::path(get, path = "/metrics", tag = "status",
    responses(
        (status = 200, description = "The metrics", content_type = "text/plain", body = String),
        ReadProblems
    ))]
pub(super) async fn get_metrics(State(api): State<Api>) -> Result<Response, Problem> {
    let snapshot = api.daemon.snapshot().await?;
    let text = render(&snapshot, &api.usage.counts(), api.metrics_devices_max);
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}

/// The page for a snapshot.
fn render(snapshot: &Snapshot, usage: &UsageCounts, devices_max: usize) -> String {
    let mut page = Page::default();
    let flows = Flows::of(snapshot);
    of_daemon::add(&mut page, snapshot, usage);
    of_decisions::add(&mut page, snapshot);
    of_servers::add(&mut page, snapshot, &flows);
    of_loads::add_servers(&mut page, snapshot);
    of_devices::add(&mut page, snapshot, &flows, devices_max);
    page.text()
}
