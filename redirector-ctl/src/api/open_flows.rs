//! `/v1/flows`: open flows one by one, and closing one.

use std::net::SocketAddr;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::caller::{Caller, audit};
use super::extract::{Params, PathName, address, within};
use super::limits::{FLOWS_DEFAULT, FLOWS_MAX};
use super::names::Names;
use super::openapi::ReadProblems;
use super::problem::Problem;
use super::reply::Reply;
use crate::daemon::{FlowEntry, FlowFilter, FlowKey, FlowPlace, Snapshot};

/// An open flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Flow {
    /// Names the flow for as long as it is open: protocol, client and service address.
    #[schema(example = "tcp-10.0.1.11-40000-10.0.1.100-10809")]
    pub id: String,
    /// `tcp`, `udp`, or the number of another protocol.
    #[schema(example = "tcp")]
    pub protocol: String,
    /// The client; its port is 0 where the protocol has none.
    #[schema(example = "10.0.1.11:40000")]
    pub client: String,
    /// The service address that it talks to.
    #[schema(example = "10.0.1.100:10809")]
    pub service: String,
    /// The device; null when it has been removed.
    pub device: Option<String>,
    /// The server that it stays on; null when it has been removed.
    pub server: Option<String>,
    /// Whether its client has proven it.
    pub stage: FlowStage,
    /// Whether it goes on.
    pub state: FlowState,
    /// Version of the device's association under which it was opened.
    pub epoch: u16,
    /// Time since its last packet, in ms; exact to about a second.
    pub idle_ms: u64,
}

/// Whether a client has proven its flow by acknowledging what only its server could have sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FlowStage {
    /// Not yet: many such flows at once may push it out of its table.
    Candidate,
    /// Yes: nothing pushes it out.
    Proven,
}

/// Whether a flow goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FlowState {
    /// It goes on.
    Open,
    /// One end has closed it.
    Closing,
    /// Its client's next segment is answered with a reset: its server is dead, its epoch is
    /// retired, or it was closed by request.
    Refused,
}

/// Some flows, in no order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowList {
    /// The flows. A page may be short or even empty although more follow.
    pub items: Vec<Flow>,
    /// Send it as `cursor` for what follows; null at the end.
    pub next: Option<String>,
}

/// Which flows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FlowQuery {
    /// Only flows of this device.
    device: Option<String>,
    /// Only flows on this server.
    server: Option<String>,
    /// Only flows of the client with this address.
    client: Option<String>,
    /// About so many, 1 to 1000; 100 when left out.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Where to go on: `next` of the page before.
    cursor: Option<String>,
}

/// Lists open flows, page by page, while they come and go: one that is open all the time is on a
/// page; one that is proven meanwhile may be on two. Devices with tracking `stateless` have none.
#[utoipa::path(get, path = "/v1/flows", tag = "flows", params(FlowQuery),
    responses((status = 200, body = FlowList), ReadProblems))]
pub(super) async fn list_flows(
    State(api): State<Api>,
    Params(query): Params<FlowQuery>,
) -> Result<Reply<FlowList>, Problem> {
    let limit = within("limit", query.limit, (FLOWS_DEFAULT, FLOWS_MAX))?;
    let place = query.cursor.as_deref().map_or(Ok(FlowPlace::default()), place)?;
    let snapshot = api.daemon.snapshot().await?;
    let filter = filter(&query, &snapshot)?;
    let (page, now_ns) = api.daemon.flows(filter, place, limit).await??;
    let names = Names::of(&snapshot);
    let items = page.flows.iter().map(|flow| Flow::of(flow, now_ns, &names)).collect();
    let next = page.next.map(cursor);
    Ok(Reply::ok(snapshot.spec.generation, FlowList { items, next }))
}

/// Closes one flow. A TCP client's next segment is answered with a reset that its kernel takes at
/// once, and a client that only waits is woken; its server hears nothing more of it. A flow of
/// another protocol is forgotten, so that its next packet is a new decision. It takes effect within
/// about a second.
#[utoipa::path(delete, path = "/v1/flows/{id}", tag = "flows",
    params(("id" = String, Path, description = "`id` of the flow")),
    responses((status = 204, description = "It is closed"), ReadProblems))]
pub(super) async fn close_flow(
    State(api): State<Api>,
    caller: Caller,
    PathName(id): PathName,
) -> Result<StatusCode, Problem> {
    let key = key(&id).ok_or_else(|| {
        let detail =
            "the id of a flow looks like tcp-10.0.1.11-40000-10.0.1.100-10809: see /v1/flows";
        Problem::malformed("bad_flow_id", detail)
    })?;
    let what = format!("close flow {id}");
    match api.daemon.close_flow(key).await?? {
        Some(_) => {
            audit(&caller, &what, None, "done");
            Ok(StatusCode::NO_CONTENT)
        }
        None => {
            audit(&caller, &what, None, "refused");
            let detail = format!("there is no open flow {id}: it may have ended, see /v1/flows");
            Err(Problem::new(StatusCode::NOT_FOUND, "unknown_flow", detail))
        }
    }
}

impl Flow {
    fn of(flow: &FlowEntry, now_ns: u64, names: &Names) -> Self {
        Self {
            id: id(&flow.key),
            protocol: protocol(flow.key.protocol),
            client: flow.key.client.to_string(),
            service: flow.key.service.to_string(),
            device: names.device(flow.device),
            server: names.server(flow.server),
            stage: stage(flow),
            state: state(flow),
            epoch: flow.epoch,
            idle_ms: flow.idle_ms(now_ns),
        }
    }
}

/// Whether its client has proven it.
pub(super) fn stage(flow: &FlowEntry) -> FlowStage {
    if flow.proven { FlowStage::Proven } else { FlowStage::Candidate }
}

/// Whether it goes on.
pub(super) fn state(flow: &FlowEntry) -> FlowState {
    match (flow.may_go_on, flow.closing) {
        (false, _) => FlowState::Refused,
        (true, true) => FlowState::Closing,
        (true, false) => FlowState::Open,
    }
}

fn filter(query: &FlowQuery, snapshot: &Snapshot) -> Result<FlowFilter, Problem> {
    let device = |name: &String| {
        let known = snapshot.spec.devices.get(name).map(|device| device.id);
        known.ok_or_else(|| Problem::unknown("device", name))
    };
    let server = |name: &String| {
        let known = snapshot.spec.servers.get(name).map(|server| server.id);
        known.ok_or_else(|| Problem::unknown("server", name))
    };
    let client = |text: &String| address("client", text);
    Ok(FlowFilter {
        device: query.device.as_ref().map(device).transpose()?,
        server: query.server.as_ref().map(server).transpose()?,
        client: query.client.as_ref().map(client).transpose()?,
    })
}

/// The protocols that have names.
const PROTOCOLS: [(u8, &str); 2] = [(6, "tcp"), (17, "udp")];

/// A protocol's name or number.
pub(super) fn protocol(number: u8) -> String {
    let known = PROTOCOLS.iter().find(|known| known.0 == number);
    known.map_or_else(|| number.to_string(), |known| known.1.to_owned())
}

/// The number of a protocol's name or number.
pub(super) fn protocol_number(text: &str) -> Option<u8> {
    let known = PROTOCOLS.iter().find(|known| known.1 == text).map(|known| known.0);
    known.or_else(|| text.parse().ok())
}

fn id(key: &FlowKey) -> String {
    let FlowKey { protocol: number, client, service } = key;
    let (client_port, service_port) = (client.port(), service.port());
    format!("{}-{}-{client_port}-{}-{service_port}", protocol(*number), client.ip(), service.ip())
}

fn key(id: &str) -> Option<FlowKey> {
    let parts: Vec<&str> = id.split('-').collect();
    let [name, client, client_port, service, service_port] = parts[..] else { return None };
    let at = |ip: &str, port: &str| Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?));
    Some(FlowKey {
        protocol: protocol_number(name)?,
        client: at(client, client_port)?,
        service: at(service, service_port)?,
    })
}

fn cursor(place: FlowPlace) -> String {
    let position = place.position.map_or_else(String::new, |position| format!("{position:x}"));
    format!("{}.{position}", place.table)
}

fn place(cursor: &str) -> Result<FlowPlace, Problem> {
    let parsed = || {
        let (table, position) = cursor.split_once('.')?;
        let table = table.parse().ok().filter(|table| *table < 4)?;
        let position = match position {
            "" => None,
            text => Some(u32::from_str_radix(text, 16).ok()?),
        };
        Some(FlowPlace { table, position })
    };
    parsed().ok_or_else(|| {
        let detail = format!("`{cursor}` is no cursor: send `next` of the page before");
        Problem::malformed("bad_query", detail).in_field("cursor")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_flow_and_a_cursor_its_place() {
        for (client, service) in
            [("10.0.1.11:40000", "10.0.1.100:80"), ("[fd00::11]:0", "[fd00::100]:0")]
        {
            for protocol in [6, 17, 47] {
                let (client, service) = (client.parse().unwrap(), service.parse().unwrap());
                let flow = FlowKey { protocol, client, service };
                assert_eq!(key(&id(&flow)), Some(flow), "{}", id(&flow));
            }
        }
        for nonsense in ["", "tcp", "tcp-1-2-3-4", "tcp-10.0.0.1-1-10.0.0.2", "x-::1-1-::2-2"] {
            assert_eq!(key(nonsense), None, "{nonsense}");
        }
        for at in [FlowPlace::default(), FlowPlace { table: 3, position: Some(0xabcd) }] {
            assert_eq!(place(&cursor(at)).unwrap(), at);
        }
        assert!(place("4.0").is_err() && place("").is_err() && place("1.x").is_err());
    }
}
