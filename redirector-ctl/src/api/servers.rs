//! `/v1/servers`: the heads through which devices are reached.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::associations::Carried;
use super::caller::Asked;
use super::extract::{Body, OnlyNew, Params, PathName};
use super::flows::{DrainingOn, Flows};
use super::load::Load;
use super::openapi::{ChangeProblems, ReadProblems};
use super::problem::Problem;
use super::reply::{self, Reply};
use super::wire;
use crate::core::change::Change;
use crate::core::health::Health;
use crate::core::spec::{self, AdminState, LoadSources, MetricsUrl, Standing};
use crate::daemon::Snapshot;

/// A server: what is wanted of it, what is measured of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Server {
    /// Its name.
    #[schema(example = "s1")]
    pub name: String,
    /// Address on which it serves its devices.
    #[schema(value_type = String, example = "10.0.2.11")]
    pub address: IpAddr,
    /// What the operator wants of it; `filling` instead of `active` while it takes load gradually,
    /// because it is new or has returned.
    pub state: Standing,
    /// How far it has filled; null when it does not fill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filling: Option<FillingState>,
    /// Its measured health.
    pub health: Health,
    /// Since when; RFC 3339.
    #[schema(format = DateTime)]
    pub health_since: Option<String>,
    /// What the last failed probe met with.
    pub health_detail: Option<String>,
    /// How long the last answered probe took, in ms.
    pub probe_ms: Option<f64>,
    /// Health for each device that it may serve: a server's process for one device can die alone.
    pub paths: BTreeMap<String, Health>,
    /// The way to it; null while its neighbour is unresolved.
    pub next_hop: Option<NextHop>,
    /// Devices that are reached through it now.
    pub devices: Vec<String>,
    /// How many devices these are.
    #[serde(default)]
    pub devices_len: usize,
    /// Open flows on it.
    pub flows_len: u64,
    /// What drains on it, of all devices together; null when nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<Draining>,
    /// Packets sent to it.
    pub packets: u64,
    /// Bytes sent to it.
    pub bytes: u64,
    /// Where its metrics are, if anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub metrics_url: Option<MetricsUrl>,
    /// Where its agent is, if anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub agent_address: Option<SocketAddr>,
    /// Traffic that it carries well, in bytes a second, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second_max: Option<u64>,
    /// How loaded it is.
    #[serde(default)]
    pub load: Load,
}

/// Where frames for a server leave, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NextHop {
    /// Ethernet address.
    #[schema(example = "02:00:00:00:00:01")]
    pub mac: String,
    /// Name of the interface.
    pub interface: String,
}

/// What drains on a server, of all devices together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Draining {
    /// Open flows of earlier associations.
    pub flows_len: u64,
    /// Clients that these flows are of; 0 until the flows have been counted.
    pub clients_len: u64,
    /// What they have carried at most: all that the server has carried since the first of these
    /// drains began. Null in the first moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carried: Option<Carried>,
}

/// How far a server has filled that takes load gradually.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FillingState {
    /// When it takes as much as any other; RFC 3339.
    #[schema(format = DateTime)]
    pub until: String,
    /// Up to which part of what any other server would be filled to it may be filled by moves for
    /// load now: grows evenly from 0 to 1. Fail-back gives it no larger part of the devices that
    /// prefer it, and it inherits devices only where no other server may.
    pub part_max: f64,
}

/// All servers, by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServerList {
    /// The servers.
    pub items: Vec<Server>,
}

/// A server to create or replace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutServer {
    /// Address on which it serves its devices. A new address begins a new life of the server.
    #[serde(deserialize_with = "wire::address")]
    #[schema(value_type = String, example = "10.0.2.11")]
    pub address: IpAddr,
    /// What is wanted of it. Left out: what was wanted before, `active` for a new server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<AdminState>,
    /// Where a node_exporter, or what speaks like one, gives its metrics: HTTP, an address and a
    /// port. Without any source of figures it takes no device for load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "http://10.0.2.11:9100/metrics")]
    pub metrics_url: Option<MetricsUrl>,
    /// Where an agent gives a line of HAProxy's agent-check to whoever connects over TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "10.0.2.11:9999")]
    pub agent_address: Option<SocketAddr>,
    /// Traffic that it carries well, to it and from it, in bytes a second: with it, what the packet
    /// path counts is a signal of its load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub bytes_per_second_max: Option<u64>,
}

impl From<PutServer> for LoadSources {
    fn from(body: PutServer) -> Self {
        Self {
            metrics_url: body.metrics_url,
            agent_address: body.agent_address,
            bytes_per_second_max: body.bytes_per_second_max,
        }
    }
}

/// A change of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchServer {
    /// What is wanted of it.
    pub state: AdminState,
}

/// How much of each server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ServerQuery {
    /// Without what grows with the devices: `devices` is empty, and `paths` has only those whose
    /// health is not the server's.
    #[serde(default)]
    #[param(required = false)]
    brief: bool,
}

/// Lists all servers.
#[utoipa::path(get, path = "/v1/servers", tag = "servers", params(ServerQuery),
    responses((status = 200, body = ServerList), ReadProblems))]
pub(super) async fn list_servers(
    State(api): State<Api>,
    Params(query): Params<ServerQuery>,
) -> Result<Reply<ServerList>, Problem> {
    let snapshot = api.daemon.snapshot().await?;
    let detail = if query.brief { Detail::Brief } else { Detail::Whole };
    let view = View::of(&snapshot, detail);
    let items = snapshot.spec.servers.keys().filter_map(|name| view.server(name)).collect();
    Ok(Reply::ok(snapshot.spec.generation, ServerList { items }))
}

/// Shows one server.
#[utoipa::path(get, path = "/v1/servers/{name}", tag = "servers",
    params(("name" = String, Path, description = "Name of the server")),
    responses((status = 200, body = Server), ReadProblems))]
pub(super) async fn get_server(
    State(api): State<Api>,
    PathName(name): PathName,
) -> Result<Reply<Server>, Problem> {
    show(&api, &name, StatusCode::OK).await
}

/// Creates or replaces a server.
#[utoipa::path(put, path = "/v1/servers/{name}", tag = "servers", request_body = PutServer,
    params(
        ("name" = String, Path, description = "Name of the server"),
        ("if-match" = Option<String>, Header, description = "The generation you have seen"),
        ("if-none-match" = Option<String>, Header, description = "`*`: do not replace"),
    ),
    responses((status = 200, body = Server), (status = 201, body = Server), ChangeProblems))]
pub(super) async fn put_server(
    State(api): State<Api>,
    PathName(name): PathName,
    asked: Asked,
    only_new: OnlyNew,
    Body(body): Body<PutServer>,
) -> Result<Reply<Server>, Problem> {
    let before = api.daemon.snapshot().await?;
    let known = before.spec.servers.contains_key(&name);
    only_new.check("server", &name, known)?;
    // What was judged above must still be so when the change is made.
    let asked = asked.or_on_top_of(only_new.0.then_some(before.spec.generation));
    let status = if known { StatusCode::OK } else { StatusCode::CREATED };
    let (address, state) = (body.address, body.state);
    let change = Change::PutServer { name: name.clone(), address, state, load: body.into() };
    api.change(asked, change).await?;
    show(&api, &name, status).await
}

/// Changes what is wanted of a server: `draining` moves its devices away and keeps its open flows,
/// `inactive` also resets its open flows, `failed` declares it dead: its devices fail over at once.
/// One that was out of service and is made `active` is `filling` at first.
#[utoipa::path(patch, path = "/v1/servers/{name}", tag = "servers", request_body = PatchServer,
    params(
        ("name" = String, Path, description = "Name of the server"),
        ("if-match" = Option<String>, Header, description = "The generation you have seen"),
    ),
    responses((status = 200, body = Server), ChangeProblems))]
pub(super) async fn patch_server(
    State(api): State<Api>,
    PathName(name): PathName,
    asked: Asked,
    Body(body): Body<PatchServer>,
) -> Result<Reply<Server>, Problem> {
    let change = Change::SetServerState { name: name.clone(), state: body.state };
    api.change(asked, change).await?;
    show(&api, &name, StatusCode::OK).await
}

/// Removes a server that no device lists and on which no flows drain.
#[utoipa::path(delete, path = "/v1/servers/{name}", tag = "servers",
    params(
        ("name" = String, Path, description = "Name of the server"),
        ("if-match" = Option<String>, Header, description = "The generation you have seen"),
    ),
    responses((status = 204, description = "It is gone"), ChangeProblems))]
pub(super) async fn delete_server(
    State(api): State<Api>,
    PathName(name): PathName,
    asked: Asked,
) -> Result<Response, Problem> {
    let applied = api.change(asked, Change::RemoveServer { name }).await?;
    Ok(reply::gone(applied.generation))
}

async fn show(api: &Api, name: &str, status: StatusCode) -> Result<Reply<Server>, Problem> {
    let snapshot = api.daemon.snapshot().await?;
    let body = View::of(&snapshot, Detail::Whole)
        .server(name)
        .ok_or_else(|| Problem::unknown("server", name))?;
    Ok(Reply { status, generation: snapshot.spec.generation, body })
}

/// A snapshot, with what servers need of it sorted by server.
struct View<'s> {
    snapshot: &'s Snapshot,
    flows: Flows,
    detail: Detail,
    /// Server -> how many devices are reached through it.
    devices_len: BTreeMap<&'s str, usize>,
    /// Server -> what drains there.
    draining: BTreeMap<String, DrainingOn>,
}

/// How much of each server is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detail {
    /// Everything.
    Whole,
    /// Not what grows with the devices.
    Brief,
}

impl<'s> View<'s> {
    fn of(snapshot: &'s Snapshot, detail: Detail) -> Self {
        let mut devices_len: BTreeMap<&str, usize> = BTreeMap::new();
        for device in snapshot.spec.devices.values() {
            *devices_len.entry(&device.association.server).or_default() += 1;
        }
        let flows = Flows::of(snapshot);
        let draining = flows.draining(snapshot);
        Self { snapshot, flows, detail, devices_len, draining }
    }

    /// Names of the devices that are reached through a server.
    fn devices(&self, server: &str) -> Vec<String> {
        if self.detail == Detail::Brief {
            return Vec::new();
        }
        let devices = self.snapshot.spec.devices.iter();
        let on_it = devices.filter(|(_, device)| device.association.server == server);
        on_it.map(|(name, _)| name.clone()).collect()
    }

    /// Health of a server for each device that may use it, or where that is not its own.
    fn paths(&self, server: &str, whole: Health) -> BTreeMap<String, Health> {
        let Some(seen) = self.snapshot.paths.get(server) else { return BTreeMap::new() };
        if self.detail == Detail::Brief {
            let others = seen.troubled.iter().filter(|(_, health)| **health != whole);
            return others.map(|(device, health)| (device.clone(), *health)).collect();
        }
        let devices = self.snapshot.spec.devices.iter();
        let listed = devices.filter(|(_, device)| device.servers.iter().any(|it| it == server));
        listed.map(|(device, _)| (device.clone(), seen.of(device))).collect()
    }

    fn server(&self, name: &str) -> Option<Server> {
        let server = self.snapshot.spec.servers.get(name)?;
        let health = self.snapshot.health.get(name);
        let count = self.snapshot.counters.servers.get(&server.id).copied().unwrap_or_default();
        Some(Server {
            name: name.to_owned(),
            address: server.address,
            state: server.standing(),
            filling: self.filling(server),
            health: health.map(|health| health.health).unwrap_or_default(),
            health_since: health.map(|health| wire::time(health.since_ms)),
            health_detail: health.and_then(|health| health.last_error.clone()),
            probe_ms: health.and_then(|health| health.probe_ms),
            paths: self.paths(name, health.map(|health| health.health).unwrap_or_default()),
            next_hop: self.next_hop(name),
            devices_len: self.devices_len.get(name).copied().unwrap_or_default(),
            devices: self.devices(name),
            flows_len: self.flows.on_server(server.id),
            draining: self.draining(name),
            packets: count.packets,
            bytes: count.bytes,
            metrics_url: server.load.metrics_url.clone(),
            agent_address: server.load.agent_address,
            bytes_per_second_max: server.load.bytes_per_second_max,
            load: self.load(name),
        })
    }

    fn draining(&self, name: &str) -> Option<Draining> {
        let of = *self.draining.get(name)?;
        let (flows_len, clients_len) = (of.flows_len, of.clients_len);
        Some(Draining { flows_len, clients_len, carried: of.bytes.map(Carried::from) })
    }

    fn filling(&self, server: &spec::Server) -> Option<FillingState> {
        let filling = server.filling.filter(|_| server.standing() == Standing::Filling)?;
        let until = wire::time(filling.until_ms);
        Some(FillingState { until, part_max: filling.part(self.snapshot.now_ms) })
    }

    fn load(&self, name: &str) -> Load {
        let load = self.snapshot.loads.servers.get(name);
        load.map(|load| Load::of(load, self.snapshot.now_ms)).unwrap_or_default()
    }

    fn next_hop(&self, name: &str) -> Option<NextHop> {
        let hop = self.snapshot.next_hops.get(name)?;
        let interface = self.snapshot.interfaces.get(usize::from(hop.port))?;
        Some(NextHop { mac: wire::mac(hop.mac), interface: interface.name.clone() })
    }
}
