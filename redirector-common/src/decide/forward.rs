//! A client's packet: known flows, candidates, and what is neither.

use super::{begin, proof, refuse, standing, stateless, to_server, wide};
use crate::family::Family;
use crate::flow::{Entry, FLOW_CHALLENGED, FLOW_CLOSING, Owner};
use crate::packet::{Kind, Packet};
use crate::tables::Tables;
use crate::tcp::{FIN, RST};
use crate::verdict::{Action, Reason, Verdict};
use crate::wire::{DEVICE_STATELESS, Forwarding};

/// A packet to what may be a service address, and of no proven flow that may go on; false if it is
/// none.
#[inline(always)]
pub(super) fn forward<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    out: &mut Verdict<F>,
) -> bool {
    let Some(device) = service(packet, tables) else { return false };
    let (Some(line), Some(word)) = (tables.device(device), tables.association(device)) else {
        out.set(Action::Pass, Reason::NotConfigured);
        return true;
    };
    let holding = begin::Holding { device, line, word };
    if line.flags & DEVICE_STATELESS != 0 && !stateless::is_pinned(packet, tables, &holding) {
        stateless::forward(packet, tables, &holding, out);
        return true;
    }
    if packet.opens() {
        // Without an entry of its own a new conversation cannot take the old one's place.
        if begin::may_enter(tables, Forwarding::from_number(line.forwarding)) {
            challenge(packet, tables);
        }
    } else if candidate(packet, tables, out) {
        return true;
    }
    begin::begin(packet, tables, &holding, out);
    true
}

/// The device that the packet is for: by its port, or as one of all ports of its address.
#[inline(always)]
fn service<F: Family, T: Tables<F>>(packet: &Packet<F>, tables: &T) -> Option<u32> {
    let destination = packet.destination();
    if !matches!(packet.kind, Kind::Other)
        && let Some(device) = tables.service(&destination)
    {
        return Some(device);
    }
    let device = tables.service(&wide::<F>(&destination))?;
    let line = tables.device(device)?;
    let port = packet.destination_port().get();
    (line.port.get()..=line.port_last.get()).contains(&port).then_some(device)
}

/// A client's packet of a proven flow; false for a datagram whose flow is over.
#[inline(always)]
pub(super) fn known<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    flow: &impl Entry,
    out: &mut Verdict<F>,
) -> bool {
    let owner = flow.owner();
    let challenged = flow.flags() & FLOW_CHALLENGED != 0;
    // Somebody began anew with the same addresses and ports: if it was the client, its numbers say
    // so.
    if challenged && (succeeded(packet, tables) || breaks_with(packet, tables, &owner)) {
        proof::forget_both_ways(packet, tables, (&owner, flow.local()));
        return candidate(packet, tables, out);
    }
    match standing(tables, &owner) {
        Ok(server) => {
            if !packet.is_error() {
                touch(packet, tables, flow);
            }
            to_server(packet, tables, (&owner, flow.local(), &server), (Reason::Established, out));
            out.lasting = !challenged;
            true
        }
        // A datagram has no conversation that could be reset: it simply gets a new decision, and
        // whoever answers it is heard.
        Err(_) if !packet.is_tcp() && !packet.is_error() => {
            flow.mark(FLOW_CHALLENGED);
            false
        }
        Err(reason) => {
            refuse(packet, tables, (&owner, reason), out);
            // The client has been told, so the entry has done its work.
            if matches!(out.action, Action::Reset) {
                flow.mark(FLOW_CLOSING);
            }
            true
        }
    }
}

/// Whether the segment proves the conversation that challenges its flow.
#[inline(always)]
fn succeeded<F: Family, T: Tables<F>>(packet: &Packet<F>, tables: &T) -> bool {
    if !packet.is_tcp() {
        return false;
    }
    let Some(candidate) = tables.candidate(&packet.tuple) else { return false };
    proof::continued_by(packet, &candidate)
        && proof::proven_by(packet, tables, &candidate)
        && standing(tables, &candidate.owner()).is_ok()
}

/// Whether the client breaks what a server still holds of a conversation that may not go on here.
/// One that was only cut off answers a SYN on the old ports by the old numbers (RFC 5961, section
/// 4), and lets go when the client answers that with a RST.
#[inline(always)]
fn breaks_with<F: Family, T: Tables<F>>(packet: &Packet<F>, tables: &T, owner: &Owner) -> bool {
    packet.is_tcp()
        && packet.has(RST)
        && standing(tables, owner).is_err()
        && tables.candidate(&packet.tuple).is_some()
}

/// Notes a packet in its flow's entry, and, once in a unit of the clock, in its client's.
#[inline(always)]
fn touch<F: Family, T: Tables<F>>(packet: &Packet<F>, tables: &T, flow: &impl Entry) {
    let now = tables.now();
    if flow.seen() != now {
        begin::keep_client(packet, tables, &flow.owner(), now);
    }
    flow.touch(packet.arrival, now);
    if packet.has(FIN | RST) {
        flow.mark(FLOW_CLOSING);
    }
}

/// A SYN on the ports of a flow that lives.
#[inline(always)]
fn challenge<F: Family, T: Tables<F>>(packet: &Packet<F>, tables: &T) {
    if let Some(flow) = tables.flow(&packet.tuple) {
        flow.mark(FLOW_CHALLENGED);
        tables.forget(&packet.tuple);
    }
}

/// A packet of a flow that is not proven yet; false if there is none, or none that a datagram could
/// go on with.
#[inline(always)]
fn candidate<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    out: &mut Verdict<F>,
) -> bool {
    let Some(candidate) = tables.candidate(&packet.tuple) else { return false };
    let owner = candidate.owner();
    let server = match standing(tables, &owner) {
        Ok(server) => server,
        Err(_) if !packet.is_tcp() => return false,
        Err(reason) => {
            refuse(packet, tables, (&owner, reason), out);
            return true;
        }
    };
    let mut reason = Reason::Candidate;
    if !packet.is_error() {
        let proven = proof::proven_by(packet, tables, &candidate);
        candidate.touch(packet.arrival, tables.now());
        if packet.has(FIN | RST) {
            candidate.mark(FLOW_CLOSING);
        }
        if proven {
            reason = proof::prove(packet, tables, (&candidate, &server));
        }
    }
    to_server(packet, tables, (&owner, candidate.local(), &server), (reason, out));
    true
}
