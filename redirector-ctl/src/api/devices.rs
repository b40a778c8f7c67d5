//! `/v1/devices`: what clients reach at one address, whichever server is behind it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::associations::Association;
use super::caller::Asked;
use super::clients::OwnServer;
use super::device_view::View;
use super::extract::{Body, OnlyNew, PathName};
use super::load::Traffic;
use super::openapi::{ChangeProblems, ReadProblems};
use super::problem::Problem;
use super::reply::{self, Reply};
use super::responses::Responses;
use super::wire::{self, Count, Policy, PolicyBody};
use crate::config::DEFAULT_POLICY;
use crate::core::change::{Change, DeviceSpec};
use crate::core::check::CheckForm;
use crate::core::spec::{
    Affinity, Check, CheckPace, FlowPolicy, Forwarding, PortRange, Protocol, Tracking,
};

/// A device: where clients reach it, through which server, and what flows it has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Device {
    /// Its name.
    #[schema(example = "disk-a")]
    pub name: String,
    /// Address at which clients reach it.
    #[schema(value_type = String, example = "10.0.1.100")]
    pub address: IpAddr,
    /// Port at which clients reach it; 0 for protocol `any`.
    #[schema(example = 10809)]
    pub port: u16,
    /// Further ports at which clients reach it: single ones and ranges, in order.
    #[serde(default)]
    #[schema(value_type = Vec<String>, example = json!(["860-870", "3260"]))]
    pub ports: Vec<PortRange>,
    /// Protocol of the service address.
    pub protocol: Protocol,
    /// What `port` is at its servers; `ports` keep that distance.
    #[schema(example = 10901)]
    pub server_port: u16,
    /// How a client's packet gets to its server.
    #[serde(default)]
    pub forwarding: Forwarding,
    /// Whether the packet path keeps an entry for each open flow.
    #[serde(default)]
    pub tracking: Tracking,
    /// What is kept together on one server.
    #[serde(default)]
    pub affinity: Affinity,
    /// Largest segment that SYNs may ask for, in bytes, if there is a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mss_max: Option<u16>,
    /// Idle time after which an open TCP flow is forgotten, in ms, where it is the device's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_idle_timeout_ms: Option<u64>,
    /// Idle time after which another flow is forgotten, in ms, where it is the device's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp_idle_timeout_ms: Option<u64>,
    /// Servers that can reach it, in order of preference.
    pub servers: Vec<String>,
    /// Whether load never moves it.
    #[serde(default)]
    pub pinned: bool,
    /// Devices with the same word here are kept on different servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_apart: Option<String>,
    /// What happens to open flows on a planned move.
    #[schema(value_type = PolicyBody)]
    pub on_planned: Policy,
    /// What happens to open flows when it is moved for load.
    #[schema(value_type = PolicyBody)]
    pub on_overload: Policy,
    /// What happens to open flows when its server is dead: they are reset, always.
    #[serde(default = "reset")]
    #[schema(value_type = PolicyBody)]
    pub on_failure: Policy,
    /// After so many ms of health its first server gets it back after a failover; else never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_back_after_ms: Option<u64>,
    /// How a server is asked whether it serves the device.
    #[schema(value_type = CheckForm)]
    pub check: Check,
    /// Time from the end of one check to the next, in ms, where it is the device's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_interval_ms: Option<u64>,
    /// Time after which an unanswered check has failed, in ms, where it is the device's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_timeout_ms: Option<u64>,
    /// Answered checks in a row that bring a server back, where the number is the device's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rise: Option<u32>,
    /// Failed checks in a row that make a server dead, where the number is the device's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fall: Option<u32>,
    /// Through which server it is reached.
    pub association: Association,
    /// Its clients that were moved by themselves, for as long as that holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved_clients: Vec<OwnServer>,
    /// Its open flows.
    pub flows_len: u64,
    /// Its open flows on each server that has some.
    pub flows_by_server: BTreeMap<String, u64>,
    /// What went to its servers.
    pub to_server: Count,
    /// What went to its clients.
    pub to_client: Count,
    /// Flows opened since the tables were made.
    pub flows_opened: u64,
    /// Requests of its clients since the tables were made: segments with payload and TCP's PSH, or
    /// datagrams. What is written at once counts as one, what is large or written in pieces as
    /// several.
    pub requests: u64,
    /// Its traffic, and what is expected of it.
    #[serde(default)]
    pub traffic: Traffic,
    /// How long its servers took to answer, if that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub responses: Option<Responses>,
}

/// A device to create or replace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutDevice {
    /// Address at which clients reach it.
    #[serde(deserialize_with = "wire::address")]
    #[schema(value_type = String, example = "10.0.1.100")]
    pub address: IpAddr,
    /// Port at which clients reach it, from 1. Left out for protocol `any`, and only for that.
    #[serde(default, deserialize_with = "wire::port", skip_serializing_if = "is_zero")]
    #[schema(example = 10809)]
    pub port: u16,
    /// Further ports at which clients reach it, at most 16 items: ports and ranges such as
    /// `"860-870"`. With more than 16 ports in a row there must be no gaps between its ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, max_items = 16, example = json!(["860-870", "3260"]))]
    pub ports: Vec<PortRange>,
    /// Protocol of the service address; `tcp` when left out.
    #[serde(default = "tcp")]
    pub protocol: Protocol,
    /// What `port` is at its servers, while `ports` keep that distance; the same as `port` when
    /// left out. With `nat` and `full-nat` no other device may have one of these ports at the same
    /// server; with `dsr`, `ipip` and `gue` it is the same as `port`.
    #[serde(
        default,
        deserialize_with = "wire::port_option",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(example = 10901)]
    pub server_port: Option<u16>,
    /// How a client's packet gets to its server; `nat` when left out. `full-nat` needs `[local]` in
    /// the configuration, `ipip` and `gue` need `[tunnel]`.
    #[serde(default)]
    pub forwarding: Forwarding,
    /// Whether the packet path keeps an entry for each open flow; `tracked` when left out.
    /// `stateless` goes neither with `full-nat` nor with affinity `client` nor with policy `keep`.
    #[serde(default)]
    pub tracking: Tracking,
    /// What is kept together on one server; `flow` when left out.
    #[serde(default)]
    pub affinity: Affinity,
    /// Largest segment that SYNs may ask for, in bytes; no limit when left out. TCP only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 216, maximum = 65_495)]
    pub mss_max: Option<u16>,
    /// Idle time after which an open TCP flow is forgotten, in ms; `[flows]` says it when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1000, maximum = 2_592_000_000_u64)]
    pub tcp_idle_timeout_ms: Option<u64>,
    /// Idle time after which another flow is forgotten, in ms; `[flows]` says it when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1000, maximum = 2_592_000_000_u64)]
    pub udp_idle_timeout_ms: Option<u64>,
    /// Servers that can reach it, in order of preference; at least one.
    #[schema(min_items = 1)]
    pub servers: Vec<String>,
    /// Whether load never moves it.
    #[serde(default)]
    pub pinned: bool,
    /// Devices with the same word here are kept on different servers: by plans for load always, by
    /// failovers and backups where another server may take the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_apart: Option<String>,
    /// What happens to open flows on a planned move; `drain` for one hour when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PolicyBody>)]
    pub on_planned: Option<Policy>,
    /// What happens to open flows when it is moved for load. Left out: as `on_planned`, but a drain
    /// lasts 60 s at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PolicyBody>)]
    pub on_overload: Option<Policy>,
    /// What happens to open flows when its server is dead: `reset`, and nothing else is accepted. A
    /// server that returns knows nothing of what its clients have done since, so that nothing of an
    /// earlier life may resume; until then they would wait for nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PolicyBody>)]
    pub on_failure: Option<Policy>,
    /// How long its preferred server, the first of `servers`, must be healthy again until it goes
    /// back there after a failover, in ms; it never does when this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_back_after_ms: Option<u64>,
    /// How a server is asked whether it serves the device; `connect` when left out. Not `exec`,
    /// which only the configuration file may have.
    #[serde(default)]
    #[schema(value_type = CheckForm)]
    pub check: Check,
    /// Time from the end of one check to the next, in ms; as `[health]` says when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 10, maximum = 60_000)]
    pub check_interval_ms: Option<u64>,
    /// Time after which an unanswered check has failed, in ms; as `[health]` says when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 60_000)]
    pub check_timeout_ms: Option<u64>,
    /// Answered checks in a row that bring a server back; as `[health]` says when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100)]
    pub rise: Option<u32>,
    /// Failed checks in a row that make a server dead; as `[health]` says when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100)]
    pub fall: Option<u32>,
    /// The server through which it is to be reached. Left out: the present one where it is still in
    /// `servers`, otherwise the first that is fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

fn reset() -> Policy {
    Policy(FlowPolicy::Reset)
}

fn tcp() -> Protocol {
    Protocol::Tcp
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(port: &u16) -> bool {
    *port == 0
}

impl From<PutDevice> for DeviceSpec {
    fn from(body: PutDevice) -> Self {
        Self {
            address: body.address,
            port: body.port,
            ports: body.ports,
            protocol: body.protocol,
            server_port: body.server_port.unwrap_or(body.port),
            forwarding: body.forwarding,
            tracking: body.tracking,
            affinity: body.affinity,
            mss_max: body.mss_max,
            tcp_idle_timeout_ms: body.tcp_idle_timeout_ms,
            udp_idle_timeout_ms: body.udp_idle_timeout_ms,
            servers: body.servers,
            pinned: body.pinned,
            keep_apart: body.keep_apart,
            on_planned: body.on_planned.map_or(DEFAULT_POLICY, |policy| policy.0),
            on_overload: body.on_overload.map(|policy| policy.0),
            on_failure: body.on_failure.map(|policy| policy.0),
            fail_back_after_ms: body.fail_back_after_ms,
            check: body.check,
            check_pace: CheckPace {
                interval_ms: body.check_interval_ms,
                timeout_ms: body.check_timeout_ms,
                rise: body.rise,
                fall: body.fall,
            },
            server: body.server,
        }
    }
}

/// Shows one device.
#[utoipa::path(get, path = "/v1/devices/{name}", tag = "devices",
    params(("name" = String, Path, description = "Name of the device")),
    responses((status = 200, body = Device), ReadProblems))]
pub(super) async fn get_device(
    State(api): State<Api>,
    PathName(name): PathName,
) -> Result<Reply<Device>, Problem> {
    show(&api, &name, StatusCode::OK).await
}

/// Creates or replaces a device. With another address, protocol, forwarding or tracking, or other
/// ports, its open flows are reset, because they were opened for the old ones.
#[utoipa::path(put, path = "/v1/devices/{name}", tag = "devices", request_body = PutDevice,
    params(
        ("name" = String, Path, description = "Name of the device"),
        ("if-match" = Option<String>, Header, description = "The generation you have seen"),
        ("if-none-match" = Option<String>, Header, description = "`*`: do not replace"),
    ),
    responses((status = 200, body = Device), (status = 201, body = Device), ChangeProblems))]
pub(super) async fn put_device(
    State(api): State<Api>,
    PathName(name): PathName,
    asked: Asked,
    only_new: OnlyNew,
    Body(body): Body<PutDevice>,
) -> Result<Reply<Device>, Problem> {
    let before = api.daemon.snapshot().await?;
    let known = before.spec.devices.contains_key(&name);
    only_new.check("device", &name, known)?;
    // What was judged above must still be so when the change is made.
    let asked = asked.or_on_top_of(only_new.0.then_some(before.spec.generation));
    let status = if known { StatusCode::OK } else { StatusCode::CREATED };
    let change = Change::PutDevice { name: name.clone(), device: body.into() };
    api.change(asked, change).await?;
    show(&api, &name, status).await
}

/// Removes a device. Its open flows are reset.
#[utoipa::path(delete, path = "/v1/devices/{name}", tag = "devices",
    params(
        ("name" = String, Path, description = "Name of the device"),
        ("if-match" = Option<String>, Header, description = "The generation you have seen"),
    ),
    responses((status = 204, description = "It is gone"), ChangeProblems))]
pub(super) async fn delete_device(
    State(api): State<Api>,
    PathName(name): PathName,
    asked: Asked,
) -> Result<Response, Problem> {
    let applied = api.change(asked, Change::RemoveDevice { name }).await?;
    Ok(reply::gone(applied.generation))
}

async fn show(api: &Api, name: &str, status: StatusCode) -> Result<Reply<Device>, Problem> {
    let snapshot = api.daemon.snapshot().await?;
    let body = View::of(&snapshot).device(name).ok_or_else(|| Problem::unknown("device", name))?;
    Ok(Reply { status, generation: snapshot.spec.generation, body })
}
