//! `/v1/explain/death`: what would be done if a server died.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::extract::Params;
use super::flows::Flows;
use super::openapi::ReadProblems;
use super::problem::Problem;
use super::reply::Reply;
use super::status::Blocked;
use crate::core::change::Change;
use crate::core::spec::Cause;

/// A supposed death.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeathQuery {
    /// The server that is supposed to die.
    server: String,
}

/// What would be done if a server died.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Death {
    /// The server.
    pub server: String,
    /// Its open flows, which would be reset.
    pub flows_reset: u64,
    /// Devices that would move.
    pub moves: Vec<DeathMove>,
    /// What should be changed then but could not.
    pub blocked: Vec<Blocked>,
    /// Why nothing would be done; null when something would.
    pub held_back: Option<String>,
}

/// A device that would move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeathMove {
    /// The device.
    pub device: String,
    /// From which server.
    pub from: String,
    /// To which server.
    pub to: String,
    /// Why.
    pub cause: Cause,
    /// Its open flows on the server that died.
    pub flows_reset: u64,
}

/// Says what would move where if a server died now, by asking the planner; nothing changes.
#[utoipa::path(get, path = "/v1/explain/death", tag = "explain", params(DeathQuery),
    responses((status = 200, body = Death), ReadProblems))]
pub(super) async fn explain_death(
    State(api): State<Api>,
    Params(query): Params<DeathQuery>,
) -> Result<Reply<Death>, Problem> {
    let plan = api.daemon.death(query.server.clone()).await??;
    let snapshot = api.daemon.snapshot().await?;
    let flows = Flows::of(&snapshot);
    let dead = snapshot.spec.servers.get(&query.server).map(|server| server.id);
    let dead = dead.ok_or_else(|| Problem::unknown("server", &query.server))?;
    let mut moves = Vec::new();
    for decision in &plan.decisions {
        let Change::Associate { moves: wishes, cause } = &decision.change else { continue };
        for wish in wishes {
            let Some(device) = snapshot.spec.devices.get(&wish.device) else { continue };
            let on_dead = flows.of_device(device.id).filter(|(server, _)| *server == dead);
            moves.push(DeathMove {
                device: wish.device.clone(),
                from: device.association.server.clone(),
                to: wish.server.clone(),
                cause: *cause,
                flows_reset: on_dead.map(|(_, len)| len).sum(),
            });
        }
    }
    let blocked = plan.blocked.into_iter().map(|of| Blocked { what: of.what, by: of.by });
    let body = Death {
        flows_reset: flows.on_server(dead),
        server: query.server,
        moves,
        blocked: blocked.collect(),
        held_back: plan.held_back.map(|held| held.text),
    };
    Ok(Reply::ok(snapshot.spec.generation, body))
}
