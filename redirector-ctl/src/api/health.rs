//! `/v1/health` and `/v1/ready`: for supervisors, which look at the status alone.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::limits::HEALTH_TIMEOUT;
use super::openapi::ReadProblems;
use super::problem::Problem;
use super::reply::Reply;
use crate::daemon::Snapshot;

/// The daemon's loop turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Alive {
    /// How long the daemon has been running, in ms.
    pub uptime_ms: u64,
}

/// The packet path does what is desired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ready {
    /// Generation that the kernel's tables hold.
    pub applied_generation: u64,
}

/// Whether the daemon lives: 200 when its loop answers within two seconds, 503 when it hangs. A
/// supervisor should start a daemon anew that hangs; packets keep flowing meanwhile.
#[utoipa::path(get, path = "/v1/health", tag = "status",
    responses((status = 200, body = Alive), ReadProblems))]
pub(super) async fn get_health(State(api): State<Api>) -> Result<Reply<Alive>, Problem> {
    let snapshot = asked_in_time(&api).await?;
    let uptime_ms = snapshot.now_ms.saturating_sub(snapshot.started_at_ms);
    Ok(Reply::ok(snapshot.spec.generation, Alive { uptime_ms }))
}

/// Whether the packet path does what is desired: 200 when the program is on every interface and
/// tables and disk have what they should, 503 with what is missing otherwise. Dead servers are no
/// reason: handling them is what the daemon is for.
#[utoipa::path(get, path = "/v1/ready", tag = "status",
    responses((status = 200, body = Ready), ReadProblems))]
pub(super) async fn get_ready(State(api): State<Api>) -> Result<Reply<Ready>, Problem> {
    let snapshot = asked_in_time(&api).await?;
    let missing = missing(&snapshot);
    if !missing.is_empty() {
        let detail = missing.join("; ");
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", detail));
    }
    let applied_generation = snapshot.applied_generation;
    Ok(Reply::ok(snapshot.spec.generation, Ready { applied_generation }))
}

async fn asked_in_time(api: &Api) -> Result<std::sync::Arc<Snapshot>, Problem> {
    match tokio::time::timeout(HEALTH_TIMEOUT, api.daemon.snapshot()).await {
        Ok(snapshot) => Ok(snapshot?),
        Err(_) => {
            let seconds = HEALTH_TIMEOUT.as_secs();
            let detail = format!(
                "the daemon's loop has not answered within {seconds} s: if that lasts, start the \
                 daemon anew; packets keep flowing"
            );
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stalled", detail))
        }
    }
}

fn missing(snapshot: &Snapshot) -> Vec<String> {
    let without = snapshot.interfaces.iter().filter(|of| of.mode == "none" || of.mode == "other");
    let mut missing: Vec<String> = without
        .map(|of| format!("the program is not on interface {}: start the daemon anew", of.name))
        .collect();
    missing.extend(snapshot.owed.iter().cloned());
    let (applied, wanted) = (snapshot.applied_generation, snapshot.spec.generation);
    if applied < wanted && snapshot.owed.is_empty() {
        missing.push(format!("the tables hold generation {applied}, not yet {wanted}"));
    }
    missing
}
