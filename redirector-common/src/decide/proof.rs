//! What proves a flow: its client acknowledges what only its server could have sent.
//!
//! Where the servers answer by themselves, their packets are not seen. Then a flow is taken for
//! proven when its client's acknowledgements move on, or, without TCP, when it lasts; a sender that
//! keeps up a consistent conversation by itself cannot be told from a client there.

use super::begin;
use crate::family::Family;
use crate::flow::{
    Entry, FLOW_ADOPTED, FLOW_ANSWERED, FLOW_CLOSING, FLOW_DIRECT, Flow, Local, Owner,
};
use crate::order::Be16;
use crate::packet::Packet;
use crate::tables::{Server, Tables};
use crate::tcp::{ACK, FIN, RST, continues, proves};
use crate::verdict::Reason;
use crate::wire::Forwarding;

/// Whether this segment goes on where the candidate's own SYN began. A flow that lives beside a
/// challenge has other numbers, however far it reads.
#[inline(always)]
pub(super) fn continued_by<F: Family>(packet: &Packet<F>, candidate: &impl Entry) -> bool {
    continues(packet.segment.sequence, candidate.client_next())
}

/// Whether this packet of the client proves a candidate.
#[inline(always)]
pub(super) fn proven_by<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    candidate: &impl Entry,
) -> bool {
    if packet.is_tcp() && (!packet.has(ACK) || packet.has(RST)) {
        return false;
    }
    if candidate.flags() & FLOW_DIRECT != 0 {
        return proven_unseen(packet, tables, candidate);
    }
    if candidate.flags() & FLOW_ANSWERED == 0 {
        return false;
    }
    !packet.is_tcp() || proves(packet.segment.acknowledgement, candidate.server_next())
}

/// The same where the server's packets are not seen.
#[inline(always)]
fn proven_unseen<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    candidate: &impl Entry,
) -> bool {
    if !packet.is_tcp() {
        return candidate.seen() != tables.now();
    }
    if candidate.flags() & FLOW_ADOPTED == 0 && !continued_by(packet, candidate) {
        return false;
    }
    let acknowledged = packet.segment.acknowledgement;
    let ahead = acknowledged.wrapping_sub(candidate.server_next()) as i32 > 0;
    let before = candidate.flags() & FLOW_ANSWERED != 0;
    candidate.answered(acknowledged);
    before && ahead
}

/// A candidate becomes a proven flow; gives the reason under which its packet leaves.
#[inline(always)]
pub(super) fn prove<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    (candidate, server): (&impl Entry, &Server<'_>),
) -> Reason {
    let (owner, local) = (candidate.owner(), candidate.local());
    let flags = candidate.flags() & FLOW_DIRECT | if packet.has(FIN) { FLOW_CLOSING } else { 0 };
    let flow = Flow::new(owner, packet.arrival, tables.now()).with_flags(flags).with_local(local);
    if matches!(Forwarding::from_number(owner.forwarding), Forwarding::FullNat)
        && !begin::keep_port(packet, tables, (&owner, local, server))
    {
        return Reason::FlowsFull;
    }
    if !tables.prove(&packet.tuple, &flow) {
        return Reason::FlowsFull;
    }
    begin::hold_client(packet, tables, &owner, &flow);
    Reason::Proven
}

/// A new conversation takes the place of an old one: what is remembered of that is forgotten, both
/// ways.
#[inline(always)]
pub(super) fn forget_both_ways<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    (owner, local): (&Owner, Local),
) {
    tables.forget(&packet.tuple);
    if let Some(server) = tables.server(owner.server) {
        let address = F::address(&server.line.address);
        let origin = F::endpoint(address, owner.server_port, packet.protocol);
        let mut client = packet.source();
        if local.port != Be16::default()
            && let Some(address) = tables.local(local.index)
        {
            client = F::endpoint(address, local.port, packet.protocol);
        }
        tables.forget(&F::tuple(origin, client));
    }
}
