//! Commands into HTTP requests, each with the form in which people see its answer.

use reqwest::Method;
use serde::Serialize;
use serde_json::Value;

use super::args::{Ask, DeviceCommand};
use super::association_args::AssociationCommand;
use super::device_args::{AddDevice, PolicyArgs};
use super::flow_args::{ExplainCommand, FlowCommand};
use super::server_args::ServerCommand;
use super::{flow_table, plan, table};
use crate::api::associations::{MoveRequest, PatchAssociations, PutAssociation};
use crate::api::clients::PutClient;
use crate::api::devices::PutDevice;
use crate::api::explain::Explain;
use crate::api::many_devices::PatchDevices;
use crate::api::servers::{PatchServer, PutServer};
use crate::api::wire::AdminState;

/// A question or wish in the terms of HTTP.
#[derive(Debug)]
pub(super) struct Request {
    pub method: Method,
    /// Pieces of the path, not yet escaped.
    pub path: Vec<String>,
    pub query: Vec<(&'static str, String)>,
    pub body: Option<Value>,
    /// Create, but do not replace (`If-None-Match: *`).
    pub only_new: bool,
    /// Only on top of this generation (`If-Match`).
    pub seen: Option<u64>,
    /// What may have to drain after it.
    pub drains: Drains,
    pub show: Show,
}

/// What `--wait` waits for besides the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Drains {
    Nothing,
    Devices(Vec<String>),
    Server(String),
}

/// How people see the answer.
#[derive(Debug)]
pub(super) enum Show {
    /// Made of the body.
    Body(fn(&[u8]) -> serde_json::Result<String>),
    /// The same whatever the body.
    Text(String),
}

impl Request {
    pub(super) fn get(path: &[&str], show: fn(&[u8]) -> serde_json::Result<String>) -> Self {
        Self::new(Method::GET, path, Show::Body(show))
    }

    /// Something, for a program.
    pub fn show(path: &[&str]) -> Self {
        Self::new(Method::GET, path, Show::Text(String::new()))
    }

    /// All of a kind, for a program.
    pub fn list(what: &str) -> Self {
        Self::show(&[what])
    }

    /// The servers without what grows with the devices, for a program.
    pub fn brief_servers() -> Self {
        let query = vec![("brief", "true".to_owned())];
        Self { query, ..Self::list("servers") }
    }

    /// A page of the devices, for a program.
    pub fn devices_from(cursor: Option<String>) -> Self {
        let query = cursor.map(|cursor| ("cursor", cursor)).into_iter().collect();
        Self { query, ..Self::list("devices") }
    }

    /// The status, when the tables hold a generation.
    pub fn status_of(generation: u64) -> Self {
        let query = vec![("wait_generation", generation.to_string())];
        Self { query, ..Self::show(&["status"]) }
    }

    /// A change of one thing on top of a generation.
    pub fn change(
        method: Method,
        kind: &str,
        name: &str,
        body: Option<Value>,
        seen: Option<u64>,
    ) -> Self {
        Self { body, seen, ..Self::new(method, &[kind, name], Show::Text(String::new())) }
    }

    /// A change of many devices on top of a generation.
    pub fn patch_devices(body: &PatchDevices, seen: Option<u64>) -> Self {
        let request = Self::new(Method::PATCH, &["devices"], Show::Text(String::new()));
        Self { seen, ..request.with(body) }
    }

    /// The events after number `after`, as a stream.
    pub fn stream(after: u64) -> Self {
        let query = vec![("after", after.to_string())];
        Self { query, ..Self::get(&["events"], table::events) }
    }

    pub(super) fn new(method: Method, path: &[&str], show: Show) -> Self {
        let path = ["v1"].iter().chain(path).map(|piece| (*piece).to_owned()).collect();
        let (query, body, only_new, seen, drains) =
            (Vec::new(), None, false, None, Drains::Nothing);
        Self { method, path, query, body, only_new, seen, drains, show }
    }

    pub(super) fn with(mut self, body: &impl Serialize) -> Self {
        let body = serde_json::to_value(body).expect("wire types are always JSON");
        self.body = Some(body);
        self
    }
}

/// The request of a command.
///
/// # Errors
/// Arguments that do not fit together, in words.
pub(super) fn of(ask: Ask) -> Result<Request, String> {
    match ask {
        Ask::Export | Ask::Apply { .. } | Ask::Record(_) | Ask::Top { .. } => {
            Err("this asks more than one question".to_owned())
        }
        Ask::Status => Ok(Request::get(&["status"], table::status)),
        Ask::Server(command) => Ok(server(command)),
        Ask::Device(command) => device(command),
        Ask::Association(AssociationCommand::List(page)) => {
            let mut query = vec![("limit", page.limit.to_string())];
            query.extend(page.cursor.map(|cursor| ("cursor", cursor)));
            Ok(Request { query, ..Request::get(&["associations"], table::associations) })
        }
        Ask::Association(AssociationCommand::Set { moves, policy }) => set(moves, policy),
        Ask::Plan { command } => Ok(plan::request(command.unwrap_or_default())),
        Ask::Flow(command) => Ok(flow(command)),
        Ask::Explain(command) => Ok(explain(command)),
        Ask::Events { after, limit, .. } => {
            let query = vec![("after", after.to_string()), ("limit", limit.to_string())];
            Ok(Request { query, ..Request::get(&["events"], table::events) })
        }
    }
}

fn flow(command: FlowCommand) -> Request {
    match command {
        FlowCommand::List(list) => {
            let client = list.client.map(|client| client.to_string());
            let wishes = [
                ("device", list.device),
                ("server", list.server),
                ("client", client),
                ("cursor", list.cursor),
            ];
            let mut query = vec![("limit", list.limit.to_string())];
            query.extend(wishes.into_iter().filter_map(|(name, wish)| Some((name, wish?))));
            Request { query, ..Request::get(&["flows"], flow_table::flows) }
        }
        FlowCommand::Close { id } => {
            let show = Show::Text(format!("flow {id} is closed\n"));
            Request::new(Method::DELETE, &["flows", &id], show)
        }
    }
}

fn explain(command: ExplainCommand) -> Request {
    match command {
        ExplainCommand::Packet(packet) => {
            let show = Show::Body(flow_table::explanation);
            Request::new(Method::POST, &["explain"], show).with(&Explain::from(packet))
        }
        ExplainCommand::Death { server } => {
            let query = vec![("server", server)];
            Request { query, ..Request::get(&["explain", "death"], flow_table::death) }
        }
    }
}

fn server(command: ServerCommand) -> Request {
    match command {
        ServerCommand::List => Request::get(&["servers"], table::servers),
        ServerCommand::Show(server) => Request::get(&["servers", &server.name], table::server),
        ServerCommand::Drain(server) => state(&server.name, AdminState::Draining),
        ServerCommand::Activate(server) => state(&server.name, AdminState::Active),
        ServerCommand::Deactivate(server) => state(&server.name, AdminState::Inactive),
        ServerCommand::Fail(server) => state(&server.name, AdminState::Failed),
        ServerCommand::Add { name, address, state, sources } => {
            let body = PutServer {
                address,
                state: Some(state.into()),
                metrics_url: sources.metrics_url,
                agent_address: sources.agent_address,
                bytes_per_second_max: sources.bytes_per_second_max,
            };
            let show = Show::Body(table::server);
            let request = Request::new(Method::PUT, &["servers", &name], show).with(&body);
            Request { only_new: true, ..request }
        }
        ServerCommand::Remove(server) => {
            let show = Show::Text(format!("server {} is removed\n", server.name));
            Request::new(Method::DELETE, &["servers", &server.name], show)
        }
    }
}

fn state(name: &str, state: AdminState) -> Request {
    let show = Show::Body(table::server_state);
    let request = Request::new(Method::PATCH, &["servers", name], show);
    let drains = match state {
        AdminState::Active | AdminState::Failed => Drains::Nothing,
        AdminState::Draining | AdminState::Inactive => Drains::Server(name.to_owned()),
    };
    Request { drains, ..request.with(&PatchServer { state }) }
}

fn device(command: DeviceCommand) -> Result<Request, String> {
    match command {
        DeviceCommand::List(list) => {
            let wishes = [("search", list.search), ("cursor", list.cursor)];
            let mut query = vec![("limit", list.limit.to_string())];
            query.extend(wishes.into_iter().filter_map(|(name, wish)| Some((name, wish?))));
            Ok(Request { query, ..Request::get(&["devices"], table::devices) })
        }
        DeviceCommand::Show(device) => Ok(Request::get(&["devices", &device.name], table::device)),
        DeviceCommand::Move { name, to, policy } => {
            let body = PutAssociation { server: to, policy: policy.policy()? };
            let show = Show::Body(table::moved);
            let request = Request::new(Method::PUT, &["associations", &name], show).with(&body);
            Ok(Request { drains: Drains::Devices(vec![name]), ..request })
        }
        DeviceCommand::MoveClient { name, client, to, open_flows } => {
            let body = PutClient { server: to, open_flows: open_flows.into() };
            let path = ["devices", &name, "clients", &client.to_string()];
            Ok(Request::new(Method::PUT, &path, Show::Body(table::moved_client)).with(&body))
        }
        DeviceCommand::Add(device) => add(*device),
        DeviceCommand::Remove(device) => {
            let show = Show::Text(format!("device {} is removed\n", device.name));
            Ok(Request::new(Method::DELETE, &["devices", &device.name], show))
        }
    }
}

fn add(device: AddDevice) -> Result<Request, String> {
    let service = device.service;
    let body = PutDevice {
        address: service.address,
        port: service.port()?,
        protocol: service.protocol(),
        server_port: service.server_port,
        forwarding: service.forwarding(),
        tracking: service.tracking(),
        affinity: service.affinity(),
        mss_max: service.mss_max,
        tcp_idle_timeout_ms: service.tcp_idle_timeout_ms,
        udp_idle_timeout_ms: service.udp_idle_timeout_ms,
        ports: service.ports,
        servers: device.servers,
        pinned: device.pinned,
        keep_apart: device.keep_apart,
        on_planned: device.policy.policy()?,
        on_overload: device.on_overload.policy()?,
        on_failure: None,
        fail_back_after_ms: device.fail_back_after_ms,
        check: device.check.check()?,
        check_interval_ms: device.check.check_interval_ms,
        check_timeout_ms: device.check.check_timeout_ms,
        rise: device.check.rise,
        fall: device.check.fall,
        server: device.server,
    };
    let show = Show::Body(table::device);
    let request = Request::new(Method::PUT, &["devices", &device.name], show).with(&body);
    Ok(Request { only_new: true, ..request })
}

fn set(moves: Vec<(String, String)>, policy: PolicyArgs) -> Result<Request, String> {
    let policy = policy.policy()?;
    let devices = moves.iter().map(|(device, _)| device.clone()).collect();
    let moves = moves.into_iter();
    let associations =
        moves.map(|(device, server)| MoveRequest { device, server, policy }).collect();
    let show = Show::Body(table::moved);
    let request = Request::new(Method::PATCH, &["associations"], show);
    let drains = Drains::Devices(devices);
    Ok(Request { drains, ..request.with(&PatchAssociations { associations }) })
}
