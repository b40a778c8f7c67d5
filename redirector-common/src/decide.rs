//! The packet decision: the only place of the packet path that thinks.
//!
//! It sees a [`Packet`] and the [`Tables`] and gives a [`Verdict`]; it never sees the frame. The
//! verdict is written into a place that the caller has for it: in the kernel that is no stack.

mod begin;
mod entered;
mod forward;
mod proof;
mod returning;
mod stateless;
mod unrecorded;

pub use begin::PORT_TRIES_MAX;
pub use entered::entered;
pub use unrecorded::{Unrecorded, unrecorded};

use crate::family::Family;
use crate::flow::{Local, Owner};
use crate::headers::{PROTOCOL_TCP, PROTOCOL_UDP};
use crate::order::{Be16, Words as _};
use crate::packet::{Kind, Packet};
use crate::path::Path;
use crate::tables::{Server, Tables};
use crate::tcp::{ACK, FIN, RST, SYN};
use crate::verdict::{Action, Reason, Verdict};
use crate::wire::{
    Forwarding, Hop, MARK_LOCAL, MARK_ORIGIN, MARK_SERVICE, MARK_TRACKED, SERVER_NONE,
};

/// Decides what becomes of a packet: three questions, of which the first that has an answer counts.
#[inline(always)]
pub fn decide<F: Family, T: Tables<F>>(packet: &Packet<F>, tables: &T, out: &mut Verdict<F>) {
    if !known(packet, tables, out) && !to_service(packet, tables, out) {
        from_server(packet, tables, out);
    }
}

/// Is it known already: not ours by its addresses, or of a flow that has an entry?
#[inline(always)]
pub fn known<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    out: &mut Verdict<F>,
) -> bool {
    let (from, to) = marks(packet, tables);
    if !may_be_ours(from, to) {
        not_ours(packet, out);
        return true;
    }
    match packet.kind {
        Kind::LaterFragment => {
            later_fragment(packet, tables, out);
            return true;
        }
        Kind::Echo => {
            echo(packet, tables, out);
            return true;
        }
        _ => {}
    }
    if (from | to) & MARK_TRACKED == 0 {
        return false;
    }
    if ordinary(packet)
        && let Some(path) = tables.remembered(&packet.tuple)
        && along(packet, tables, &path, out)
    {
        return true;
    }
    // A SYN is always a new decision: no entry may capture it (G3).
    if to & MARK_SERVICE == 0 || packet.opens() {
        return false;
    }
    let Some(flow) = tables.flow(&packet.tuple) else { return false };
    let decided = forward::known(packet, tables, &flow, out);
    if decided {
        note(packet, tables, out);
    }
    decided
}

/// Is it for a service address?
#[inline(always)]
pub fn to_service<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    out: &mut Verdict<F>,
) -> bool {
    if tables.marks(packet.destination_address()) & MARK_SERVICE == 0 {
        return false;
    }
    let decided = forward::forward(packet, tables, out);
    if decided {
        note(packet, tables, out);
    }
    decided
}

/// Is it from a server's endpoint? What is not passes.
#[inline(always)]
pub fn from_server<F: Family, T: Tables<F>>(packet: &Packet<F>, tables: &T, out: &mut Verdict<F>) {
    let (from, to) = marks(packet, tables);
    if from & MARK_ORIGIN != 0 && returning::back(packet, tables, to, out) {
        note(packet, tables, out);
    } else {
        not_ours(packet, out);
    }
}

/// Whether a packet may concern us, by the marks of its ends.
#[inline(always)]
pub fn may_be_ours(from: u32, to: u32) -> bool {
    to & (MARK_SERVICE | MARK_LOCAL) != 0 || from & MARK_ORIGIN != 0
}

/// What may be known of both ends.
#[inline(always)]
fn marks<F: Family, T: Tables<F>>(packet: &Packet<F>, tables: &T) -> (u32, u32) {
    if matches!(packet.kind, Kind::LaterFragment | Kind::Echo) {
        return (tables.marks(packet.ip.source), tables.marks(packet.ip.destination));
    }
    (tables.marks(packet.source_address()), tables.marks(packet.destination_address()))
}

/// Whether a packet tells nothing that a flow's entry must hear of at once.
#[inline(always)]
fn ordinary<F: Family>(packet: &Packet<F>) -> bool {
    !packet.is_error() && !packet.first_fragment && !packet.has(SYN | FIN | RST)
}

/// Remembers what later packets, or the later fragments of this one, are to be treated like.
#[inline(always)]
fn note<F: Family, T: Tables<F>>(packet: &Packet<F>, tables: &T, verdict: &Verdict<F>) {
    if verdict.lasting && redirects(verdict.action) && ordinary(packet) {
        let hop = match verdict.action {
            Action::ToClient => verdict.egress,
            _ => packet.arrival,
        };
        tables.remember(&packet.tuple, verdict, hop);
    }
    if packet.first_fragment && redirects(verdict.action) {
        tables.note_fragment(&fragment_key(packet), verdict);
    }
}

#[inline(always)]
fn not_ours<F: Family>(packet: &Packet<F>, out: &mut Verdict<F>) {
    let reason = match packet.kind {
        Kind::Error => Reason::ErrorUnknown,
        Kind::LaterFragment => Reason::FragmentUnknown,
        _ => Reason::NotOurs,
    };
    out.set(Action::Pass, reason);
}

#[inline(always)]
fn redirects(action: Action) -> bool {
    matches!(action, Action::ToServer | Action::ToClient | Action::Direct | Action::Tunnel)
}

/// A packet whose like came this way within the clock's last unit, if its flow may still go on.
///
/// What the flow's entry would be told is told once in a unit, by the packet that learns the path
/// anew. A client that comes by another hop learns anew at once; its server's packets within the
/// unit.
#[inline(always)]
fn along<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    path: &Path<F>,
    out: &mut Verdict<F>,
) -> bool {
    let Some(egress) = open(tables, path, packet.arrival) else { return false };
    if !packet.may_travel() {
        return false;
    }
    path.follow(out, reason_along(path), egress);
    true
}

/// Where packets that came by `arrival` leave along a path; None when they may not take it.
#[inline(always)]
pub fn open<F: Family, T: Tables<F>>(tables: &T, path: &Path<F>, arrival: Hop) -> Option<Hop> {
    if path.learnt != tables.now() as u32 {
        return None;
    }
    let server = standing(tables, &path.owner()).ok()?;
    if matches!(path.action, Action::ToClient) {
        return Some(path.hop);
    }
    // What still has its service address in front is no use to the kernel's stack.
    let goes = server.next_hop.is_known() || matches!(path.action, Action::ToServer);
    (goes && path.hop == arrival).then_some(server.next_hop)
}

/// Why a packet goes along a path.
#[inline(always)]
pub fn reason_along<F: Family>(path: &Path<F>) -> Reason {
    match path.action {
        Action::ToClient => Reason::Returned,
        _ => Reason::Established,
    }
}

/// A fragment without ports: it follows its packet's first one.
#[inline(always)]
fn later_fragment<F: Family, T: Tables<F>>(packet: &Packet<F>, tables: &T, out: &mut Verdict<F>) {
    let Some(path) = tables.fragment(&fragment_key(packet)) else {
        return out.set(Action::Pass, Reason::FragmentUnknown);
    };
    if standing(tables, &path.owner()).is_err() || !packet.may_travel() {
        return out.set_for(Action::Drop, Reason::Unanswerable, path.device, path.server);
    }
    let reason = match path.action {
        Action::ToClient => Reason::FragmentReturned,
        _ => Reason::FragmentForwarded,
    };
    path.follow(out, reason, path.hop);
}

#[inline(always)]
fn fragment_key<F: Family>(packet: &Packet<F>) -> F::FragmentKey {
    let ip = &packet.ip;
    F::fragment_key(ip.source, ip.destination, ip.identification, ip.protocol)
}

/// An echo request: answered for every address that is some device's service address.
#[inline(always)]
fn echo<F: Family, T: Tables<F>>(packet: &Packet<F>, tables: &T, out: &mut Verdict<F>) {
    match tables.service(&packet.destination()) {
        Some(device) => {
            answer(tables, out, Action::Echo, Reason::EchoAnswered);
            out.charge(device, SERVER_NONE);
        }
        None => out.set(Action::Pass, Reason::NotOurs),
    }
}

/// A verdict that answers the packet, as far as the rate allows.
#[inline(always)]
fn answer<F: Family, T: Tables<F>>(
    tables: &T,
    out: &mut Verdict<F>,
    action: Action,
    reason: Reason,
) {
    if tables.may_answer() {
        out.set(action, reason);
    } else {
        out.set(Action::Drop, Reason::AnswerLimited);
    }
}

/// The key under which all ports of an address are entered, and that for all protocols.
#[inline(always)]
fn wide<F: Family>(endpoint: &F::Endpoint) -> F::Endpoint {
    let (address, _, protocol) = F::parts(endpoint);
    let own = matches!(protocol, PROTOCOL_TCP | PROTOCOL_UDP);
    F::endpoint(address, Be16::default(), if own { protocol } else { 0 })
}

/// Whether a flow may go on: its server lives the same life, and its epoch is open. Gives the
/// server, or why not.
#[inline(always)]
fn standing<'a, F: Family, T: Tables<F>>(
    tables: &'a T,
    owner: &Owner,
) -> Result<Server<'a>, Reason> {
    let Some(server) = alive(tables, owner.server) else {
        return Err(Reason::ResetDead);
    };
    if server.state.incarnation() != owner.incarnation {
        return Err(Reason::ResetDead);
    }
    match tables.association(owner.device) {
        Some(word) if word.accepts(owner.epoch) => Ok(server),
        _ => Err(Reason::ResetRetired),
    }
}

/// A server that is alive.
#[inline(always)]
fn alive<F: Family, T: Tables<F>>(tables: &T, id: u16) -> Option<Server<'_>> {
    if id == SERVER_NONE {
        return None;
    }
    tables.server(id).filter(|server| server.state.is_alive())
}

/// Sends a client's packet to its server, in the way of its device.
#[inline(always)]
fn to_server<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    (owner, local, server): (&Owner, Local, &Server<'_>),
    (reason, out): (Reason, &mut Verdict<F>),
) {
    let forwarding = Forwarding::from_number(owner.forwarding);
    let action = match forwarding {
        Forwarding::Nat | Forwarding::FullNat => Action::ToServer,
        Forwarding::Dsr => Action::Direct,
        Forwarding::Ipip | Forwarding::Gue => Action::Tunnel,
    };
    // A packet that still has its client's or a source of ours in front is no use to the kernel's
    // stack, which would take it for its own or for a forged one.
    if forwarding.is_direct() && !server.next_hop.is_known() {
        return out.set_for(Action::Drop, Reason::NoHop, owner.device, owner.server);
    }
    let reason = if packet.is_error() { Reason::ErrorForwarded } else { reason };
    send(packet, tables, (action, reason), out);
    out.charge(owner.device, owner.server);
    out.forwarding = owner.forwarding;
    out.epoch = owner.epoch;
    out.incarnation = owner.incarnation;
    out.egress = server.next_hop;
    out.address = F::address(&server.line.address).copied();
    out.port = owner.server_port;
    if matches!(forwarding, Forwarding::FullNat) {
        let Some(address) = tables.local(local.index) else {
            return out.set_for(Action::Drop, Reason::PortsFull, owner.device, owner.server);
        };
        out.other = address;
        out.other_port = local.port;
    }
    if packet.has(SYN)
        && let Some(line) = tables.device(owner.device)
    {
        out.mss_max = line.mss_max;
    }
}

/// Sends the packet on, unless it has no hop left.
#[inline(always)]
fn send<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    (action, reason): (Action, Reason),
    out: &mut Verdict<F>,
) {
    if packet.may_travel() {
        out.set(action, reason);
    } else if packet.is_error() {
        out.set(Action::Drop, Reason::Unanswerable);
    } else {
        answer(tables, out, Action::Unreachable, Reason::HopsExceeded);
    }
}

/// Answers a flow that may not go on, if it can be answered: never a RST, never without ACK (RFC
/// 9293), and not beyond the rate.
#[inline(always)]
fn refuse<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    (owner, reason): (&Owner, Reason),
    out: &mut Verdict<F>,
) {
    if packet.is_error() {
        out.set(Action::Pass, Reason::ErrorUnknown);
    } else if packet.has(RST) || !packet.has(ACK) || packet.first_fragment {
        out.set(Action::Drop, Reason::Unanswerable);
    } else {
        answer(tables, out, Action::Reset, reason);
    }
    out.charge(owner.device, owner.server);
}
