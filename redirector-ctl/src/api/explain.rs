//! `/v1/explain`: what becomes of a packet, and why.

use std::net::{IpAddr, SocketAddr};

use axum::extract::State;
use redirector_common::tcp::{ACK, FIN, PSH, RST, SYN};
use redirector_common::verdict::Reason;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::extract::Body;
use super::names::Names;
use super::open_flows::{self, FlowStage, FlowState};
use super::openapi::AskProblems;
use super::problem::Problem;
use super::reply::Reply;
use super::wire;
use crate::core::spec::{Device, Protocol};
use crate::daemon::{Explained, FlowEntry, FlowKey, Question, Snapshot, XdpAction};

/// A packet of a client, described.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// The client's address.
    #[serde(deserialize_with = "wire::address")]
    #[schema(value_type = String, example = "10.0.1.11")]
    pub client: IpAddr,
    /// The client's port; 0 where the protocol has none, and when left out.
    #[serde(default)]
    pub client_port: u16,
    /// The device that it is sent to, by its first port. Either this or `service`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "disk-a")]
    pub device: Option<String>,
    /// Address and port that it is sent to, whether they are a device's or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub service: Option<SocketAddr>,
    /// `tcp`, `udp`, or the number of another protocol. The device's, or `tcp`, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Flags of the TCP segment; `syn` alone when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<Vec<TcpFlag>>,
    /// Its sequence number; 1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u32>,
    /// Its acknowledgement number; 1 when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledgement: Option<u32>,
    /// The interface by which it comes in; the first one of the configuration when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "clients0")]
    pub interface: Option<String>,
}

/// A flag of a TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TcpFlag {
    /// It opens a conversation.
    Syn,
    /// It acknowledges something.
    Ack,
    /// It has something to deliver.
    Psh,
    /// Its sender has nothing more to send.
    Fin,
    /// It breaks the conversation off.
    Rst,
}

/// What becomes of a packet, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// Stable name of the reason, as in `/v1/status` and the metrics.
    #[schema(example = "established")]
    pub reason: String,
    /// What it means.
    pub help: String,
    /// Which rule of the decision has an answer for it.
    pub rule: Rule,
    /// What is done with the frame.
    pub action: PacketAction,
    /// The device that it is for; null when it is none's.
    pub device: Option<String>,
    /// The server that it goes to, or would have gone to; null when there is none.
    pub server: Option<String>,
    /// The words of the device's association; null without a device.
    pub association: Option<AssociationWords>,
    /// The flow's entry, as it is in the tables; null when there is none.
    pub flow: Option<FlowWords>,
    /// The entry that the packet would leave behind; null for none. Nothing was left behind by the
    /// question.
    pub flow_after: Option<FlowWords>,
    /// What leaves; null when nothing does.
    pub leaves: Option<LeavesAs>,
}

/// The rules of the decision, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// It is not for a service address, or no packet that can be redirected: it passes.
    NotOurs,
    /// Its flow is known: the flow's server, if it lives and the epoch is open.
    KnownFlow,
    /// It opens a conversation: the device's server, or its backup.
    NewFlow,
    /// It is of an unknown conversation: the previous server while the device drains, otherwise the
    /// present one.
    MidConversation,
    /// Its device has no entries: the association alone.
    Stateless,
    /// It is answered by the redirector itself, or dropped because nobody can take it.
    Refused,
}

/// What is done with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PacketAction {
    /// Given to the kernel, untouched.
    Pass,
    /// Dropped.
    Drop,
    /// Sent on.
    Send,
    /// Sent out by the interface that it came by: to a server there, or as an answer.
    Back,
}

/// A device's association as the packet path has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AssociationWords {
    /// Server of new flows.
    pub server: String,
    /// Server that takes over when that one is dead.
    pub backup: Option<String>,
    /// Epoch of new flows.
    pub epoch: u16,
    /// How many earlier associations drain.
    pub drains_len: usize,
}

/// A flow's entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowWords {
    /// The server that it stays on.
    pub server: Option<String>,
    /// Whether its client has proven it.
    pub stage: FlowStage,
    /// Whether it goes on.
    pub state: FlowState,
    /// Version of the device's association under which it was opened.
    pub epoch: u16,
    /// Life of the server in which it was opened.
    pub incarnation: u32,
}

/// A frame that leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeavesAs {
    /// Source of the outermost packet.
    #[schema(example = "10.0.1.11:40000")]
    pub source: String,
    /// Its destination.
    #[schema(example = "10.0.2.11:10901")]
    pub destination: String,
    /// Ethernet address that the frame goes to.
    #[schema(example = "02:00:00:00:00:01")]
    pub mac: String,
    /// Length of the frame, in bytes.
    pub bytes: usize,
}

/// Explains what becomes of a client's packet, by running the program on it: a second copy of the
/// one that is attached, over the same tables of services, associations, servers and devices, with
/// a copy of the described flow's entries. No table and no counter changes. What a CPU remembers of
/// paths for a second, and how much of the rates is used, is left out. The first question takes
/// about a second, because the kernel verifies the program then.
#[utoipa::path(post, path = "/v1/explain", tag = "explain", request_body = Explain,
    responses((status = 200, body = Explanation), AskProblems))]
pub(super) async fn explain(
    State(api): State<Api>,
    Body(body): Body<Explain>,
) -> Result<Reply<Explanation>, Problem> {
    let snapshot = api.daemon.snapshot().await?;
    let question = question(&body, &snapshot)?;
    let explained = api.daemon.explain(question).await??;
    let explanation = Explanation::of(&explained, &question, &snapshot);
    Ok(Reply::ok(snapshot.spec.generation, explanation))
}

fn question(body: &Explain, snapshot: &Snapshot) -> Result<Question, Problem> {
    let device = match &body.device {
        Some(name) => {
            Some(snapshot.spec.devices.get(name).ok_or_else(|| Problem::unknown("device", name))?)
        }
        None => None,
    };
    let service = match (device, body.service) {
        (Some(device), None) => SocketAddr::new(device.address, device.port),
        (None, Some(service)) => service,
        _ => {
            let detail = "write either `device` or `service`: where the packet is sent to";
            return Err(Problem::malformed("bad_field", detail).in_field("device"));
        }
    };
    let protocol = protocol(body, device)?;
    let flags = body.flags.as_deref().unwrap_or(&[TcpFlag::Syn]);
    let device = device.or_else(|| serves(snapshot, service));
    Ok(Question {
        key: FlowKey { protocol, client: SocketAddr::new(body.client, body.client_port), service },
        flags: flags.iter().fold(0, |all, flag| all | flag.bit()),
        sequence: body.sequence.unwrap_or(1),
        acknowledgement: body.acknowledgement.unwrap_or(1),
        ingress: ingress(body, snapshot)?,
        device: device.map(|device| device.id),
    })
}

fn protocol(body: &Explain, device: Option<&Device>) -> Result<u8, Problem> {
    let text = match (&body.protocol, device.map(|device| device.protocol)) {
        (Some(text), _) => text,
        (None, Some(Protocol::Udp)) => "udp",
        (None, Some(Protocol::Any)) => {
            let detail = "the device takes all protocols: write the number of one, such as 47";
            return Err(Problem::malformed("bad_field", detail).in_field("protocol"));
        }
        (None, _) => "tcp",
    };
    open_flows::protocol_number(text).ok_or_else(|| {
        let detail = format!("`{text}`: write tcp, udp or a number up to 255");
        Problem::malformed("bad_field", detail).in_field("protocol")
    })
}

/// The device with a service address; of several ports any one.
fn serves(snapshot: &Snapshot, service: SocketAddr) -> Option<&Device> {
    let mut devices = snapshot.spec.devices.values();
    devices.find(|device| device.address == service.ip() && serves_port(device, service.port()))
}

fn serves_port(device: &Device, port: u16) -> bool {
    device.all_ports().iter().any(|range| range.ports().any(|one| one == port))
}

fn ingress(body: &Explain, snapshot: &Snapshot) -> Result<u32, Problem> {
    let mut interfaces = snapshot.interfaces.iter();
    let found = match &body.interface {
        Some(name) => interfaces.find(|interface| interface.name == *name),
        None => interfaces.next(),
    };
    found.map(|interface| interface.index).ok_or_else(|| {
        let detail = "there is no such interface: see `interfaces` of /v1/status";
        Problem::malformed("unknown_interface", detail).in_field("interface")
    })
}

impl TcpFlag {
    fn bit(self) -> u8 {
        match self {
            Self::Syn => SYN,
            Self::Ack => ACK,
            Self::Psh => PSH,
            Self::Fin => FIN,
            Self::Rst => RST,
        }
    }
}

impl Explanation {
    fn of(explained: &Explained, question: &Question, snapshot: &Snapshot) -> Self {
        let names = Names::of(snapshot);
        let entry = explained.left.as_ref().or(explained.found.as_ref());
        // An entry says it; without one the address that the packet leaves for.
        let device_id = entry.map(|entry| entry.device).or(question.device);
        let left_for = explained.leaves.and_then(|leaves| {
            let mut servers = snapshot.spec.servers.iter();
            let found = servers.find(|(_, server)| server.address == leaves.destination.ip());
            found.map(|(name, _)| name.clone())
        });
        let flow = |entry: &FlowEntry| FlowWords {
            server: names.server(entry.server),
            stage: open_flows::stage(entry),
            state: open_flows::state(entry),
            epoch: entry.epoch,
            incarnation: entry.incarnation,
        };
        let rule = Rule::of(explained.reason);
        let device = device_id.and_then(|id| names.device(id)).filter(|_| rule != Rule::NotOurs);
        let association = device.as_ref().and_then(|name| snapshot.spec.devices.get(name));
        Self {
            reason: explained.reason.name().to_owned(),
            help: explained.reason.help().to_owned(),
            rule,
            action: PacketAction::of(explained.action),
            server: entry.and_then(|entry| names.server(entry.server)).or(left_for),
            association: association.map(|device| AssociationWords {
                server: device.association.server.clone(),
                backup: device.association.backup.clone(),
                epoch: device.association.epoch,
                drains_len: device.association.drains.len(),
            }),
            device,
            flow: explained.found.as_ref().map(flow),
            flow_after: explained.left.as_ref().map(flow),
            leaves: explained.leaves.map(|leaves| LeavesAs {
                source: leaves.source.to_string(),
                destination: leaves.destination.to_string(),
                mac: wire::mac(leaves.mac),
                bytes: leaves.len,
            }),
        }
    }
}

impl Rule {
    fn of(reason: Reason) -> Self {
        use Reason as R;
        match reason {
            R::Established | R::Candidate | R::Proven | R::FlowsFull => Self::KnownFlow,
            R::Opened | R::Affine | R::Unrecorded => Self::NewFlow,
            R::Adopted | R::Repinned => Self::MidConversation,
            R::Stateless => Self::Stateless,
            R::NoServer
            | R::ResetDead
            | R::ResetRetired
            | R::Unanswerable
            | R::HopsExceeded
            | R::NoRoom
            | R::EchoAnswered
            | R::TooBig
            | R::PortsFull
            | R::AnswerLimited
            | R::NoHop => Self::Refused,
            _ => Self::NotOurs,
        }
    }
}

impl PacketAction {
    fn of(action: XdpAction) -> Self {
        match action {
            XdpAction::Drop => Self::Drop,
            XdpAction::Pass => Self::Pass,
            XdpAction::Back => Self::Back,
            XdpAction::Send => Self::Send,
        }
    }
}
