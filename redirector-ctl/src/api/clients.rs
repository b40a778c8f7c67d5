//! `/v1/devices/{name}/clients/{address}`: one client of one device on another server.

use std::net::IpAddr;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::caller::Asked;
use super::extract::{Body, PathNames, no_address};
use super::limits::FLOWS_MAX;
use super::openapi::ChangeProblems;
use super::problem::Problem;
use super::reply::Reply;
use crate::core::apply::ClientMove;
use crate::core::change::Change;
use crate::core::spec::Spec;
use crate::daemon::{Applied, FlowFilter, FlowPlace};

/// A server for one client of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutClient {
    /// The server that is to get its new flows; one of the device's servers.
    #[schema(example = "s2")]
    pub server: String,
    /// What happens to the flows that it has open on other servers.
    #[serde(default)]
    pub open_flows: OpenFlows,
}

/// What happens to the open flows of a client that is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OpenFlows {
    /// They stay where they are.
    #[default]
    Keep,
    /// They are reset, so that the client connects again.
    Reset,
}

/// A client that was moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MovedClient {
    /// The device.
    pub device: String,
    /// The client.
    #[schema(value_type = String, example = "10.0.1.11")]
    pub client: IpAddr,
    /// The server that gets its new flows.
    pub server: String,
    /// Its open flows that were reset.
    pub flows_reset: u64,
    /// Generation of the desired state that holds it.
    #[serde(default)]
    pub generation: u64,
    /// The event that tells of it; see `/v1/events`.
    pub event: u64,
}

/// A client that is on a server of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OwnServer {
    /// The client.
    #[schema(value_type = String, example = "10.0.1.11")]
    pub client: IpAddr,
    /// The server that gets its new flows.
    pub server: String,
    /// When it was moved: ms since the Unix epoch.
    pub moved_at_ms: u64,
}

impl OwnServer {
    /// The clients of a device that were moved by themselves.
    pub(super) fn all_of(spec: &Spec, device: &str) -> Vec<Self> {
        let held = spec.clients.get(device).into_iter().flatten();
        held.map(|(client, held)| Self {
            client: *client,
            server: held.server.clone(),
            moved_at_ms: held.moved_at_ms,
        })
        .collect()
    }
}

/// Moves one client of a device with affinity `client`: its new flows go to another server, for as
/// long as it has open flows there or anywhere, and `closing_timeout_ms` after the last packet. A
/// move of the device moves it along only when its open flows end. Until then it is part of the
/// desired state: when this is answered it is on disk and in force, and a restart keeps it.
#[utoipa::path(put, path = "/v1/devices/{name}/clients/{address}", tag = "devices",
    request_body = PutClient,
    params(
        ("name" = String, Path, description = "Name of the device"),
        ("address" = String, Path, description = "Address of the client"),
        ("if-match" = Option<String>, Header, description = "The generation you have seen"),
    ),
    responses((status = 200, body = MovedClient), ChangeProblems))]
pub(super) async fn put_client(
    State(api): State<Api>,
    PathNames((device, address)): PathNames,
    asked: Asked,
    Body(body): Body<PutClient>,
) -> Result<Reply<MovedClient>, Problem> {
    let client: IpAddr = address.parse().map_err(|_| no_address("bad_address", &address))?;
    let PutClient { server, open_flows } = body;
    let wish = ClientMove { device: device.clone(), client, server: server.clone() };
    let Applied { generation, events } = api.change(asked, Change::MoveClient(wish)).await?;
    let event = events.first().copied().unwrap_or_default();
    let flows_reset = match open_flows {
        OpenFlows::Keep => 0,
        OpenFlows::Reset => reset(&api, &device, &server, client).await?,
    };
    let moved = MovedClient { device, client, server, flows_reset, generation, event };
    let generation = api.daemon.snapshot().await?.spec.generation;
    Ok(Reply::ok(generation, moved))
}

/// Closes the client's flows to the device on all other servers; gives how many.
async fn reset(api: &Api, device: &str, server: &str, client: IpAddr) -> Result<u64, Problem> {
    let snapshot = api.daemon.snapshot().await?;
    let of = snapshot.spec.devices.get(device).map(|known| known.id);
    let stays = snapshot.spec.servers.get(server).map(|known| known.id);
    let filter = FlowFilter { device: of, server: None, client: Some(client) };
    let (mut place, mut closed) = (FlowPlace::default(), 0);
    loop {
        let (page, _) = api.daemon.flows(filter, place, FLOWS_MAX).await??;
        for flow in page.flows.iter().filter(|flow| Some(flow.server) != stays && flow.may_go_on) {
            closed += u64::from(api.daemon.close_flow(flow.key).await??.is_some());
        }
        match page.next {
            Some(next) => place = next,
            None => return Ok(closed),
        }
    }
}
