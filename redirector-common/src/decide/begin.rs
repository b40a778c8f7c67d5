//! New decisions, by the device's association.

use super::{alive, standing, to_server};
use crate::family::Family;
use crate::flow::{Entry, FLOW_ADOPTED, FLOW_DIRECT, Flow, Local, Owner};
use crate::order::Be16;
use crate::packet::Packet;
use crate::tables::{Server, Tables};
use crate::tcp::RST;
use crate::verdict::{Action, Reason, Verdict};
use crate::wire::{
    Association, DEVICE_AFFINITY, DEVICE_STATELESS, DeviceLine, Forwarding, SERVER_NONE,
};

/// How many local ports are tried for a flow before it is refused.
pub const PORT_TRIES_MAX: u32 = 16;

/// A device as its association is now.
pub(super) struct Holding<'a> {
    /// Its id.
    pub(super) device: u32,
    /// Its line.
    pub(super) line: &'a DeviceLine,
    /// Its association, loaded once.
    pub(super) word: Association,
}

/// A new decision.
#[inline(always)]
pub(super) fn begin<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    holding: &Holding<'_>,
    out: &mut Verdict<F>,
) {
    if packet.is_error() {
        return out.set(Action::Pass, Reason::ErrorUnknown);
    }
    let adopts = packet.is_tcp() && !packet.opens();
    let held = if adopts { None } else { held(packet, tables, holding) };
    let mut reason = match (adopts, held.is_some()) {
        (true, _) => Reason::Adopted,
        (false, true) => Reason::Affine,
        (false, false) => Reason::Opened,
    };
    let chosen = match held {
        Some(held) => Some(held),
        None => choose(tables, holding.word, adopts)
            .map(|(id, server)| (new_owner(packet, holding, adopts, (id, &server)), server)),
    };
    let Some((owner, server)) = chosen else {
        let (device, server) = (holding.device, holding.word.server());
        return out.set_for(Action::Drop, Reason::NoServer, device, server);
    };
    match entered(packet, tables, (&owner, &server), &mut reason) {
        Some(local) => to_server(packet, tables, (&owner, local, &server), (reason, out)),
        None => out.set_for(Action::Drop, Reason::PortsFull, owner.device, owner.server),
    }
}

/// Makes the flow's entry, as far as it needs one and the rate allows; gives its local end, or None
/// if it needs one and there is none.
#[inline(always)]
fn entered<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    (owner, server): (&Owner, &Server<'_>),
    reason: &mut Reason,
) -> Option<Local> {
    let forwarding = Forwarding::from_number(owner.forwarding);
    // A flood of SYNs ends here, before it costs a look at the candidates.
    if packet.opens() && !may_enter(tables, forwarding) {
        *reason = Reason::Unrecorded;
        return Some(Local::default());
    }
    let adopts = matches!(*reason, Reason::Adopted);
    let client_next = if packet.opens() { packet.segment.sequence.wrapping_add(1) } else { 0 };
    // A repeated SYN finds its candidate in place; the client may be behind another hop by now.
    if packet.opens()
        && let Some(candidate) = tables.candidate(&packet.tuple)
        && candidate.owner() == *owner
        && candidate.client_next() == client_next
    {
        candidate.touch(packet.arrival, tables.now());
        *reason = Reason::Candidate;
        return Some(candidate.local());
    }
    let mut local = Local::default();
    if matches!(forwarding, Forwarding::FullNat) {
        local = take_port(packet, tables, (owner, server))?;
    } else if packet.has(RST) {
        // A RST needs no entry at all.
        return Some(local);
    } else if !tables.may_open() {
        *reason = Reason::Unrecorded;
        return Some(local);
    }
    let flags = if adopts { FLOW_ADOPTED } else { 0 }
        | if forwarding.is_direct() { FLOW_DIRECT } else { 0 };
    let flow = Flow::new(*owner, packet.arrival, tables.now())
        .with_client_next(client_next)
        .with_flags(flags)
        .with_local(local);
    tables.open(&packet.tuple, &flow);
    Some(local)
}

/// Whether a SYN may be entered: what needs a local port needs an entry, beyond any rate.
#[inline(always)]
pub(super) fn may_enter<F: Family, T: Tables<F>>(tables: &T, forwarding: Forwarding) -> bool {
    matches!(forwarding, Forwarding::FullNat) || tables.opens_left()
}

/// Whose flow a new one is, on server `id`.
#[inline(always)]
pub(super) fn new_owner<F: Family>(
    packet: &Packet<F>,
    holding: &Holding<'_>,
    adopts: bool,
    (id, server): (u16, &Server<'_>),
) -> Owner {
    let Holding { device, line, word } = *holding;
    let back = if adopts && id != word.server() { epochs_back(word, line) } else { 0 };
    Owner {
        device,
        server: id,
        // What is adopted for the previous server belongs to the drain and ends with the drain's
        // epoch.
        epoch: word.epoch().wrapping_sub(back),
        incarnation: server.state.incarnation(),
        server_port: server_port(packet.destination_port(), line),
        forwarding: line.forwarding,
    }
}

/// How far back the epoch of what drains on the previous server is: of a tracked device that is the
/// newest drain, of a stateless one the oldest.
#[inline(always)]
fn epochs_back(word: Association, line: &DeviceLine) -> u16 {
    if line.flags & DEVICE_STATELESS != 0 { u16::from(word.epochs_open()) } else { 1 }
}

/// The port at the servers: as far from the first one there as the packet's is from the first
/// service port.
#[inline(always)]
pub(super) fn server_port(service_port: Be16, line: &DeviceLine) -> Be16 {
    let distance = service_port.get().wrapping_sub(line.port.get());
    Be16::new(line.server_port.get().wrapping_add(distance))
}

/// The server of a new decision: in mid-conversation the one that the device is being moved away
/// from has the best chance; otherwise the device's own, or its backup.
#[inline(always)]
pub(super) fn choose<F: Family, T: Tables<F>>(
    tables: &T,
    word: Association,
    adopts: bool,
) -> Option<(u16, Server<'_>)> {
    let previous = if adopts { word.previous() } else { SERVER_NONE };
    for id in [previous, word.server(), word.backup()] {
        if let Some(server) = alive(tables, id) {
            return Some((id, server));
        }
    }
    None
}

/// Where the client's open flows to the device are, if these are to stay together.
#[inline(always)]
fn held<'a, F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &'a T,
    holding: &Holding<'_>,
) -> Option<(Owner, Server<'a>)> {
    if holding.line.flags & DEVICE_AFFINITY == 0 {
        return None;
    }
    let entry = tables.client(&F::client_key(packet.source_address(), holding.device))?;
    let owner = Owner {
        server_port: server_port(packet.destination_port(), holding.line),
        ..entry.owner()
    };
    let server = standing(tables, &owner).ok()?;
    Some((owner, server))
}

/// Notes that the client has an open flow to the device there.
#[inline(always)]
pub(super) fn hold_client<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    owner: &Owner,
    flow: &Flow,
) {
    if !has_affinity(tables, owner) {
        return;
    }
    let key = F::client_key(packet.source_address(), owner.device);
    if let Some(entry) = tables.client(&key)
        && standing(tables, &entry.owner()).is_ok()
    {
        return;
    }
    tables.hold_client(&key, flow);
}

/// Notes that the client still has an open flow there.
#[inline(always)]
pub(super) fn keep_client<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    owner: &Owner,
    now: u64,
) {
    if has_affinity(tables, owner)
        && let Some(entry) = tables.client(&F::client_key(packet.source_address(), owner.device))
    {
        entry.touch_time(now);
    }
}

#[inline(always)]
pub(super) fn has_affinity<F: Family, T: Tables<F>>(tables: &T, owner: &Owner) -> bool {
    tables.device(owner.device).is_some_and(|line| line.flags & DEVICE_AFFINITY != 0)
}

/// Takes a local address and port that no other flow to the same endpoint of a server has.
#[inline(always)]
fn take_port<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    (owner, server): (&Owner, &Server<'_>),
) -> Option<Local> {
    let ports = tables.local_ports();
    let addresses_len = if F::LOCALS_BEGIN == 0 { ports.v4_len() } else { ports.v6_len() };
    let ports_len = u32::from(ports.last().wrapping_sub(ports.first())) + 1;
    if addresses_len == 0 {
        return None;
    }
    // Another sequence each second, so that a repeated SYN tries other ports.
    let start =
        F::hash(&packet.tuple).wrapping_add((tables.now() as u32).wrapping_mul(0x9e37_79b1));
    for attempt in 0..PORT_TRIES_MAX {
        let draw = start.wrapping_add(attempt.wrapping_mul(0x85eb_ca6b));
        let index = F::LOCALS_BEGIN as u16 + (draw >> 16) as u16 % addresses_len;
        let offset = ((draw & 0xffff) * ports_len) >> 16;
        let port = Be16::new(ports.first().wrapping_add(offset as u16));
        let local = Local { index, port };
        let key = port_key(packet, tables, (owner, local, server))?;
        if tables.take_port(&key, &packet.tuple) {
            return Some(local);
        }
    }
    None
}

/// Keeps a local address and port for a flow that is proven now.
#[inline(always)]
pub(super) fn keep_port<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    way: (&Owner, Local, &Server<'_>),
) -> bool {
    port_key(packet, tables, way).is_some_and(|key| tables.keep_port(&key, &packet.tuple))
}

/// What the server's packets to a local address and port look like.
#[inline(always)]
fn port_key<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    (owner, local, server): (&Owner, Local, &Server<'_>),
) -> Option<F::Tuple> {
    let address = tables.local(local.index)?;
    let origin = F::address(&server.line.address);
    let protocol = packet.protocol;
    Some(F::tuple(
        F::endpoint(origin, owner.server_port, protocol),
        F::endpoint(address, local.port, protocol),
    ))
}
