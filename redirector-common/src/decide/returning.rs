//! A server's packet: the source is rewritten back to the service address.

use super::{alive, send, standing, wide};
use crate::family::Family;
use crate::flow::{Entry, FLOW_ADOPTED, FLOW_CHALLENGED, FLOW_CLOSING, FLOW_REPINNED, Flow, Owner};
use crate::order::Be16;
use crate::packet::{Kind, Packet};
use crate::tables::{Route, Tables};
use crate::tcp::{FIN, RST, SYN};
use crate::verdict::{Action, Reason, Verdict};
use crate::wire::{
    Association, DEVICE_STATELESS, DeviceLine, Forwarding, MARK_LOCAL, Origin, SERVER_NONE,
};

/// A packet of what may be a server's endpoint; false if it is none.
#[inline(always)]
pub(super) fn back<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    marks: u32,
    out: &mut Verdict<F>,
) -> bool {
    let Some(origin) = origin(packet, tables) else { return false };
    let Some(line) = tables.device(origin.device) else {
        out.set(Action::Pass, Reason::NotConfigured);
        return true;
    };
    let Some(service) = service_end::<F>(&packet.source(), line) else { return false };
    let holder = match marks & MARK_LOCAL {
        0 => None,
        _ => tables.port_holder(&packet.tuple),
    };
    let key = holder.unwrap_or(F::tuple(packet.destination(), service));
    let flow = tables.flow(&key);
    if concerns_candidate(packet, tables, (origin, marks), flow.as_ref())
        && let Some(candidate) = tables.candidate(&key)
    {
        if candidate.owner().server == origin.server && meets(packet, marks, &candidate) {
            if let Some(other) = other_server(packet, tables, &candidate) {
                repin(packet, tables, (&key, &other), (origin, out));
            } else {
                note_answer(packet, &candidate);
                to_client(packet, tables, (origin, &candidate), (&key, service, out));
            }
            return true;
        }
        // Whoever had the SYN before is not to answer it beside the server that has it now.
        if flow.is_none() && candidate.flags() & FLOW_ADOPTED == 0 {
            out.set_for(Action::Drop, Reason::ReturnStale, origin.device, origin.server);
            return true;
        }
    }
    match flow {
        Some(flow) if !meets(packet, marks, &flow) => {
            out.set_for(Action::Drop, Reason::ReturnStale, origin.device, origin.server);
        }
        Some(flow) => {
            to_client(packet, tables, (origin, &flow), (&key, service, out));
            let returned = matches!(out.action, Action::ToClient);
            if returned && packet.has(FIN | RST) {
                flow.mark(FLOW_CLOSING);
            }
            out.lasting = returned && flow.flags() & FLOW_CHALLENGED == 0;
        }
        None => without_entry(packet, tables, (origin, line), (&key, service, out)),
    }
    true
}

/// Whether a packet to an address with these marks is for the end by which its server knows the
/// client of this entry: another local port is that of an earlier conversation.
#[inline(always)]
fn meets<F: Family>(packet: &Packet<F>, marks: u32, entry: &impl Entry) -> bool {
    let port = entry.local().port;
    marks & MARK_LOCAL == 0 || port == Be16::default() || port == packet.destination_port()
}

/// A server's packet of which there is no entry.
#[inline(always)]
fn without_entry<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    (origin, line): (Origin, &DeviceLine),
    (key, service, out): (&F::Tuple, F::Endpoint, &mut Verdict<F>),
) {
    if line.flags & DEVICE_STATELESS != 0
        && let Some(other) = other_server_stateless(packet, tables, origin, line)
    {
        return repin(packet, tables, (key, &other), (origin, out));
    }
    by_route(packet, tables, (origin, line), (service, out));
}

/// What the packet's source is: a server's port, or one of all ports of a server.
#[inline(always)]
fn origin<F: Family, T: Tables<F>>(packet: &Packet<F>, tables: &T) -> Option<Origin> {
    let source = packet.source();
    if !matches!(packet.kind, Kind::Other)
        && let Some(origin) = tables.origin(&source)
    {
        return Some(origin);
    }
    tables.origin(&wide::<F>(&source))
}

/// The service address's end of the conversation; None if the port is none of the device's.
#[inline(always)]
pub(super) fn service_end<F: Family>(
    source: &F::Endpoint,
    line: &DeviceLine,
) -> Option<F::Endpoint> {
    let (_, source_port, protocol) = F::parts(source);
    let distance = source_port.get().wrapping_sub(line.server_port.get());
    if distance > line.port_last.get().wrapping_sub(line.port.get()) {
        return None;
    }
    let service_port = Be16::new(line.port.get().wrapping_add(distance));
    Some(F::endpoint(F::address(&line.address), service_port, protocol))
}

/// Whether a server's packet may belong to a candidate: there is no proven flow, or a new
/// conversation challenges it and this opens that one, or answers what the flow's own server cannot
/// have sent.
#[inline(always)]
fn concerns_candidate<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    (origin, marks): (Origin, u32),
    flow: Option<&impl Entry>,
) -> bool {
    let Some(flow) = flow else { return true };
    if flow.flags() & FLOW_CHALLENGED == 0 {
        return false;
    }
    let owner = flow.owner();
    packet.has(SYN)
        || owner.server != origin.server
        || !meets(packet, marks, flow)
        || standing(tables, &owner).is_err()
}

/// Notes in a candidate what its server has sent. A RST proves nothing: it is also what answers a
/// spoofed segment. With a SYN its numbers begin, whatever it has said before of a conversation
/// that it remembers and nobody else (RFC 5961, section 4).
#[inline(always)]
fn note_answer<F: Family>(packet: &Packet<F>, candidate: &impl Entry) {
    if packet.is_error() {
        return;
    }
    if packet.has(FIN | RST) {
        candidate.mark(FLOW_CLOSING);
    }
    if packet.has(SYN) && !packet.has(RST) {
        candidate.accepted(packet.segment.next);
    } else if !packet.has(RST) {
        candidate.answered(packet.segment.next);
    }
}

/// A flow met in mid-conversation was given to the wrong server, which says so by a RST: whose it
/// may be instead, while the device still drains.
#[inline(always)]
fn other_server<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    candidate: &impl Entry,
) -> Option<Owner> {
    let guessed = candidate.flags() & (FLOW_ADOPTED | FLOW_REPINNED) == FLOW_ADOPTED;
    if !packet.has(RST) || !guessed {
        return None;
    }
    let owner = candidate.owner();
    let word = tables.association(owner.device)?;
    let id = if owner.server == word.server() { word.previous() } else { word.server() };
    other_owner(tables, (word, 1), Owner { server: id, ..owner })
}

/// The same for a stateless device, whose flows without an entry go to the previous server.
#[inline(always)]
fn other_server_stateless<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    origin: Origin,
    line: &DeviceLine,
) -> Option<Owner> {
    if !packet.has(RST) {
        return None;
    }
    let word = tables.association(origin.device)?;
    if word.epochs_open() == 0 || origin.server != word.previous() {
        return None;
    }
    let owner = Owner {
        device: origin.device,
        server: word.server(),
        epoch: word.epoch(),
        incarnation: 0,
        server_port: packet.source_port(),
        forwarding: line.forwarding,
    };
    other_owner(tables, (word, word.epochs_open()), owner)
}

/// The owner with the epoch and incarnation that its server has now; None if that is not alive.
#[inline(always)]
fn other_owner<F: Family, T: Tables<F>>(
    tables: &T,
    (word, epochs_back): (Association, u8),
    owner: Owner,
) -> Option<Owner> {
    if word.previous() == SERVER_NONE || word.epochs_open() == 0 {
        return None;
    }
    // Another server would know the flow by another local port, and so not at all.
    if matches!(Forwarding::from_number(owner.forwarding), Forwarding::FullNat) {
        return None;
    }
    let server = alive(tables, owner.server)?;
    let back = if owner.server == word.server() { 0 } else { u16::from(epochs_back) };
    let epoch = word.epoch().wrapping_sub(back);
    Some(Owner { epoch, incarnation: server.state.incarnation(), ..owner })
}

/// The flow goes to its other possible server, and the client does not hear of the RST.
#[inline(always)]
fn repin<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    (key, owner): (&F::Tuple, &Owner),
    (origin, out): (Origin, &mut Verdict<F>),
) {
    // The way back to the client is learnt anew from its next packet.
    let Route::Via(hop) = tables.route(packet.source_address(), packet.destination_address())
    else {
        return out.set_for(Action::Pass, Reason::ReturnUnknown, origin.device, origin.server);
    };
    let flow = Flow::new(*owner, hop, tables.now()).with_flags(FLOW_ADOPTED | FLOW_REPINNED);
    tables.open(key, &flow);
    out.set_for(Action::Drop, Reason::Repinned, origin.device, origin.server);
}

/// Sends a server's packet to the client of `flow`, if the flow is that server's and may go on.
#[inline(always)]
fn to_client<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    (origin, flow): (Origin, &impl Entry),
    (key, service, out): (&F::Tuple, F::Endpoint, &mut Verdict<F>),
) {
    let owner = flow.owner();
    let own = owner.server == origin.server
        && owner.device == origin.device
        && owner.server_port == packet.source_port();
    if !own || standing(tables, &owner).is_err() {
        return out.set_for(Action::Drop, Reason::ReturnStale, origin.device, origin.server);
    }
    let mut reason = Reason::ErrorReturned;
    if !packet.is_error() {
        flow.touch_time(tables.now());
        reason = Reason::Returned;
    }
    send(packet, tables, (Action::ToClient, reason), out);
    out.charge(owner.device, owner.server);
    out.epoch = owner.epoch;
    out.incarnation = owner.incarnation;
    out.egress = flow.client_hop();
    show_service(packet, tables, service, out);
    if flow.local().port != Be16::default() {
        let (client, client_port, _) = F::parts(&F::source(key));
        out.other = client;
        out.other_port = client_port;
    }
}

/// What the client sees as the packet's source.
#[inline(always)]
fn show_service<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    service: F::Endpoint,
    out: &mut Verdict<F>,
) {
    let (address, port, _) = F::parts(&service);
    out.address = address;
    out.port = port;
    if packet.has(SYN)
        && let Some(line) = tables.device(out.device)
    {
        out.mss_max = line.mss_max;
    }
}

/// Sends a server's packet to a client of whom there is no entry, where the kernel would send it.
#[inline(always)]
fn by_route<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    (origin, line): (Origin, &DeviceLine),
    (service, out): (F::Endpoint, &mut Verdict<F>),
) {
    let Origin { device, server, .. } = origin;
    // Otherwise it is the server's own business: full NAT has an entry for each flow, and where
    // servers answer by themselves nothing of theirs comes here.
    let translates = matches!(Forwarding::from_number(line.forwarding), Forwarding::Nat);
    let route = tables.route(packet.source_address(), packet.destination_address());
    let Route::Via(hop) = route else {
        return out.set_for(Action::Pass, Reason::ReturnUnknown, device, server);
    };
    if !translates {
        return out.set_for(Action::Pass, Reason::ReturnUnknown, device, server);
    }
    let reason = if packet.is_error() { Reason::ErrorReturned } else { Reason::ReturnedUntracked };
    send(packet, tables, (Action::ToClient, reason), out);
    out.charge(device, server);
    out.egress = hop;
    if let (Some(word), Some(known)) = (tables.association(device), tables.server(server)) {
        out.epoch = word.epoch();
        out.incarnation = known.state.incarnation();
    }
    show_service(packet, tables, service, out);
}
