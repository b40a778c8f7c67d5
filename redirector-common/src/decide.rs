//! The packet decision: the only place of the packet path that thinks.
//!
//! It sees a [`Packet`] and the [`Tables`] and gives a [`Verdict`]; it never sees the frame. The
//! order is that of the design: known flows first, then service addresses, then the way back.

use crate::family::Family;
use crate::flow::{Entry, FLOW_ANSWERED, FLOW_CHALLENGED, FLOW_CLOSING, Flow, Owner};
use crate::order::Be16;
use crate::packet::Packet;
use crate::tcp::{ACK, FIN, RST, SYN, continues, proves};
use crate::verdict::{Action, Reason, Verdict};
use crate::wire::{Association, DeviceLine, Hop, Origin, SERVER_NONE, ServerLine};

/// What the decision reads and writes: maps in the kernel, ordinary collections in tests.
pub trait Tables<F: Family> {
    /// A flow's entry, for as long as the packet lasts.
    type Entry<'a>: Entry
    where
        Self: 'a;

    /// A monotonic clock, in units of about a second (see [`crate::flow::CLOCK_SHIFT`]).
    fn now(&self) -> u64;
    /// The entry of a proven flow.
    fn flow(&self, key: &F::FlowKey) -> Option<Self::Entry<'_>>;
    /// The entry of a flow that is not proven yet.
    fn candidate(&self, key: &F::FlowKey) -> Option<Self::Entry<'_>>;
    /// The device that a service address names.
    fn service(&self, destination: &F::Endpoint) -> Option<u32>;
    /// What a server's endpoint means on the way back.
    fn origin(&self, source: &F::Endpoint) -> Option<Origin>;
    /// The device's association, from the bank in force: one word, loaded whole.
    fn association(&self, device: u32) -> Option<Association>;
    /// A server's line, its words loaded once.
    fn server(&self, id: u16) -> Option<ServerLine>;
    /// A device's line.
    fn device(&self, device: u32) -> Option<&DeviceLine>;
    /// Enters a candidate; may evict another one.
    fn open(&self, key: &F::FlowKey, flow: &Flow);
    /// Makes a candidate a proven flow. False if the table is full: the candidate then stays what
    /// it is.
    fn prove(&self, key: &F::FlowKey, flow: &Flow) -> bool;
}

/// Decides what becomes of a packet.
#[inline(always)]
pub fn decide<F: Family, T: Tables<F>>(packet: &Packet<F>, tables: &T) -> Verdict<F> {
    let key = F::flow_key(packet.source, packet.destination);
    // A SYN is always a new decision: no entry may capture it (G3).
    let flow = if packet.opens() { None } else { tables.flow(&key) };
    let device = match flow {
        Some(flow) => match known(packet, tables, &key, &flow) {
            Ok(verdict) => return verdict,
            Err(device) => Some(device),
        },
        None => tables.service(&packet.destination),
    };
    if let Some(device) = device {
        return unknown(packet, tables, &key, device);
    }
    if let Some(origin) = tables.origin(&packet.source) {
        return back(packet, tables, origin);
    }
    Verdict::plain(Action::Pass, Reason::NotOurs)
}

/// A client's packet of a proven flow; `Err` with the device for a datagram whose flow is over.
#[inline(always)]
fn known<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    key: &F::FlowKey,
    flow: &impl Entry,
) -> Result<Verdict<F>, u32> {
    let owner = flow.owner();
    // Somebody began anew with the same addresses and ports: if it was the client, its numbers say
    // so.
    if packet.is_tcp()
        && flow.flags() & FLOW_CHALLENGED != 0
        && let Some(candidate) = tables.candidate(key)
        && continued_by(packet, &candidate)
        && proven_by(packet, &candidate)
        && let Ok(server) = standing(tables, &candidate.owner())
    {
        return Ok(prove(packet, tables, key, (candidate.owner(), server)));
    }
    match standing(tables, &owner) {
        Ok(server) => {
            flow.touch(packet.arrival, tables.now());
            if packet.has(FIN | RST) {
                flow.mark(FLOW_CLOSING);
            }
            Ok(to_server(packet, &server, &owner, Reason::Established))
        }
        // A datagram has no conversation that could be reset: it simply gets a new decision, and
        // whoever answers it is heard.
        Err(_) if !packet.is_tcp() => {
            flow.mark(FLOW_CHALLENGED);
            Err(owner.device)
        }
        Err(reason) => {
            // The client has been told, so the entry has done its work.
            flow.mark(FLOW_CLOSING);
            Ok(refuse(packet, &owner, reason))
        }
    }
}

/// A client's packet without a proven flow.
#[inline(always)]
fn unknown<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    key: &F::FlowKey,
    device: u32,
) -> Verdict<F> {
    if packet.opens() {
        if let Some(flow) = tables.flow(key) {
            flow.mark(FLOW_CHALLENGED);
        }
        return begin(packet, tables, key, device);
    }
    let Some(candidate) = tables.candidate(key) else {
        return begin(packet, tables, key, device);
    };
    let owner = candidate.owner();
    match standing(tables, &owner) {
        Ok(server) => {
            candidate.touch(packet.arrival, tables.now());
            if packet.has(FIN | RST) {
                candidate.mark(FLOW_CLOSING);
            }
            if proven_by(packet, &candidate) {
                return prove(packet, tables, key, (owner, server));
            }
            to_server(packet, &server, &owner, Reason::Candidate)
        }
        Err(_) if !packet.is_tcp() => begin(packet, tables, key, device),
        Err(reason) => refuse(packet, &owner, reason),
    }
}

/// A new decision, by the device's association.
#[inline(always)]
fn begin<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    key: &F::FlowKey,
    device: u32,
) -> Verdict<F> {
    let (Some(word), Some(line)) = (tables.association(device), tables.device(device)) else {
        return Verdict::plain(Action::Pass, Reason::NotConfigured);
    };
    let adopts = packet.is_tcp() && !packet.opens();
    let Some((id, server)) = choose(tables, word, adopts) else {
        return Verdict::plain(Action::Drop, Reason::NoServer).of(device, word.server());
    };
    let owner = Owner {
        device,
        server: id,
        // What is adopted for the previous server belongs to the drain and ends with the drain's
        // epoch.
        epoch: word.epoch().wrapping_sub(u16::from(adopts && id != word.server())),
        incarnation: server.state.incarnation(),
        server_port: line.server_port,
    };
    let client_next = packet.segment.as_ref().filter(|_| !adopts).map_or(0, |syn| syn.next);
    let repeated = packet.opens()
        && match tables.candidate(key) {
            // A repeated SYN finds its candidate in place; the client may be behind another hop by
            // now.
            Some(candidate) if candidate.owner() == owner => {
                candidate.touch(packet.arrival, tables.now());
                candidate.client_next() == client_next
            }
            _ => false,
        };
    // A RST needs no entry at all.
    if !repeated && !packet.has(RST) {
        let flow = Flow::new(owner, packet.arrival, tables.now()).with_client_next(client_next);
        tables.open(key, &flow);
    }
    let reason = match (repeated, adopts) {
        (true, _) => Reason::Candidate,
        (false, true) => Reason::Adopted,
        (false, false) => Reason::Opened,
    };
    to_server(packet, &server, &owner, reason)
}

/// The server of a new decision: in mid-conversation the one that the device is being moved away
/// from has the best chance; otherwise the device's own, or its backup.
#[inline(always)]
fn choose<F: Family, T: Tables<F>>(
    tables: &T,
    word: Association,
    adopts: bool,
) -> Option<(u16, ServerLine)> {
    let previous = if adopts { word.previous() } else { SERVER_NONE };
    for id in [previous, word.server(), word.backup()] {
        if let Some(server) = alive(tables, id) {
            return Some((id, server));
        }
    }
    None
}

/// A candidate becomes a proven flow.
#[inline(always)]
fn prove<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    key: &F::FlowKey,
    (owner, server): (Owner, ServerLine),
) -> Verdict<F> {
    let flags = if packet.has(FIN) { FLOW_CLOSING } else { 0 };
    let flow = Flow::new(owner, packet.arrival, tables.now()).with_flags(flags);
    let reason = if tables.prove(key, &flow) { Reason::Proven } else { Reason::FlowsFull };
    to_server(packet, &server, &owner, reason)
}

/// A server's packet.
#[inline(always)]
fn back<F: Family, T: Tables<F>>(packet: &Packet<F>, tables: &T, origin: Origin) -> Verdict<F> {
    let Some(line) = tables.device(origin.device) else {
        return Verdict::plain(Action::Pass, Reason::NotConfigured);
    };
    let service = F::endpoint(F::address(&line.address), line.port, line.protocol);
    let key = F::flow_key(packet.destination, service);
    let flow = tables.flow(&key);
    if concerns_candidate(packet, tables, origin, flow.as_ref())
        && let Some(candidate) = tables.candidate(&key)
        && candidate.owner().server == origin.server
    {
        note_answer(packet, &candidate);
        return to_client(packet, tables, origin, &candidate, line);
    }
    match flow {
        Some(flow) => {
            if packet.has(FIN | RST) {
                flow.mark(FLOW_CLOSING);
            }
            to_client(packet, tables, origin, &flow, line)
        }
        None => {
            Verdict::plain(Action::Pass, Reason::ReturnUnknown).of(origin.device, origin.server)
        }
    }
}

/// Whether a server's packet may belong to a candidate: there is no proven flow, or a new
/// conversation challenges it and this opens that one, or answers what the flow's own server cannot
/// have sent.
#[inline(always)]
fn concerns_candidate<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    origin: Origin,
    flow: Option<&impl Entry>,
) -> bool {
    let Some(flow) = flow else { return true };
    if flow.flags() & FLOW_CHALLENGED == 0 {
        return false;
    }
    let owner = flow.owner();
    packet.has(SYN) || owner.server != origin.server || standing(tables, &owner).is_err()
}

/// Notes in a candidate what its server has sent. A RST proves nothing: it is also what answers a
/// spoofed segment.
#[inline(always)]
fn note_answer<F: Family>(packet: &Packet<F>, candidate: &impl Entry) {
    if packet.has(FIN | RST) {
        candidate.mark(FLOW_CLOSING);
    }
    if !packet.has(RST) {
        candidate.answered(packet.segment.as_ref().map_or(0, |segment| segment.next));
    }
}

/// Whether this segment goes on where the candidate's own SYN began. A flow that lives beside a
/// challenge has other numbers, however far it reads.
#[inline(always)]
fn continued_by<F: Family>(packet: &Packet<F>, candidate: &impl Entry) -> bool {
    match &packet.segment {
        Some(segment) => continues(segment.sequence, candidate.client_next()),
        None => true,
    }
}

/// Whether this packet of the client proves a candidate: it acknowledges what only the server could
/// have sent, or, for datagrams, the server has been seen answering.
#[inline(always)]
fn proven_by<F: Family>(packet: &Packet<F>, candidate: &impl Entry) -> bool {
    let answered = candidate.flags() & FLOW_ANSWERED != 0;
    match &packet.segment {
        Some(segment) => {
            answered
                && segment.has(ACK)
                && !segment.has(RST)
                && proves(segment.acknowledgement, candidate.server_next())
        }
        None => answered,
    }
}

/// Whether a flow may go on: its server lives the same life, and its epoch is open. Gives the
/// server's line, or why not.
#[inline(always)]
fn standing<F: Family, T: Tables<F>>(tables: &T, owner: &Owner) -> Result<ServerLine, Reason> {
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

/// The line of a server that is alive.
#[inline(always)]
fn alive<F: Family, T: Tables<F>>(tables: &T, id: u16) -> Option<ServerLine> {
    if id == SERVER_NONE {
        return None;
    }
    tables.server(id).filter(|server| server.state.is_alive())
}

/// Sends a client's packet to its server.
#[inline(always)]
fn to_server<F: Family>(
    packet: &Packet<F>,
    server: &ServerLine,
    owner: &Owner,
    reason: Reason,
) -> Verdict<F> {
    let to = (F::address(&server.address), owner.server_port);
    translated(packet, Action::ToServer, reason, to, server.next_hop).of(owner.device, owner.server)
}

/// Sends a server's packet to the client of `flow`, if the flow is that server's and may go on.
#[inline(always)]
fn to_client<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    origin: Origin,
    flow: &impl Entry,
    line: &DeviceLine,
) -> Verdict<F> {
    let owner = flow.owner();
    let own = owner.server == origin.server && owner.device == origin.device;
    if !own || standing(tables, &owner).is_err() {
        return Verdict::plain(Action::Drop, Reason::ReturnStale).of(origin.device, origin.server);
    }
    flow.touch_time(tables.now());
    let to = (F::address(&line.address), line.port);
    translated(packet, Action::ToClient, Reason::Returned, to, flow.client_hop())
        .of(owner.device, owner.server)
}

/// A verdict that rewrites, unless the packet has no hop left.
#[inline(always)]
fn translated<F: Family>(
    packet: &Packet<F>,
    action: Action,
    reason: Reason,
    to: (F::Address, Be16),
    egress: Hop,
) -> Verdict<F> {
    if packet.ttl <= 1 {
        return Verdict::plain(Action::Drop, Reason::TtlExpired);
    }
    let (address, port) = to;
    Verdict { address, port, egress, ..Verdict::plain(action, reason) }
}

/// Answers a flow that may not go on, if it can be answered: never a RST, never without ACK (RFC
/// 9293).
#[inline(always)]
fn refuse<F: Family>(packet: &Packet<F>, owner: &Owner, reason: Reason) -> Verdict<F> {
    let verdict = if packet.has(RST) || !packet.has(ACK) {
        Verdict::plain(Action::Drop, Reason::Unanswerable)
    } else {
        Verdict::plain(Action::Reset, reason)
    };
    verdict.of(owner.device, owner.server)
}
