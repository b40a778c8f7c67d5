//! Plain packets of proven flows, of which nothing need be known but their entry.
//!
//! The same is decided in the general way by [`super::forward`] and [`super::returning`]. What
//! opens or ends a conversation, challenges it or is challenged by it, is left to those.

use super::{begin, returning, standing};
use crate::family::Family;
use crate::flow::{Entry, FLOW_CHALLENGED, Owner};
use crate::order::{Be16, Words as _};
use crate::parse::Plain;
use crate::path::Path;
use crate::tables::Tables;
use crate::verdict::Action;
use crate::wire::{Forwarding, Hop, MARK_LOCAL, MARK_ORIGIN, MARK_SERVICE};

/// Writes down the path of a packet between addresses with these marks, by its flow's entry, and
/// gives where it leaves; None leaves it to the general way.
#[inline(always)]
pub fn entered<F: Family, T: Tables<F>>(
    packet: &Plain<F>,
    tables: &T,
    (from, to, arrival): (u32, u32, Hop),
    path: &mut Path<F>,
) -> Option<Hop> {
    if to & MARK_SERVICE != 0 {
        return forward(packet, tables, arrival, path);
    }
    if from & MARK_ORIGIN != 0 && to & MARK_LOCAL == 0 {
        return back(packet, tables, path);
    }
    None
}

#[inline(always)]
fn forward<F: Family, T: Tables<F>>(
    packet: &Plain<F>,
    tables: &T,
    arrival: Hop,
    path: &mut Path<F>,
) -> Option<Hop> {
    let flow = tables.flow(&packet.tuple)?;
    if flow.flags() & FLOW_CHALLENGED != 0 {
        return None;
    }
    let owner = flow.owner();
    let server = standing(tables, &owner).ok()?;
    let action = match Forwarding::from_number(owner.forwarding) {
        Forwarding::Nat => Action::ToServer,
        Forwarding::Dsr if server.next_hop.is_known() => Action::Direct,
        Forwarding::Ipip | Forwarding::Gue if server.next_hop.is_known() => Action::Tunnel,
        _ => return None,
    };
    let now = tables.now();
    // Once in a unit of the clock a client that is to stay together is told of, too.
    if flow.seen() != now && begin::has_affinity(tables, &owner) {
        return None;
    }
    flow.touch(arrival, now);
    let end = (F::address(&server.line.address), owner.server_port);
    put(path, (&owner, action, now), arrival, end);
    Some(server.next_hop)
}

#[inline(always)]
fn back<F: Family, T: Tables<F>>(packet: &Plain<F>, tables: &T, path: &mut Path<F>) -> Option<Hop> {
    let source = F::source(&packet.tuple);
    let origin = tables.origin(&source)?;
    let service = returning::service_end::<F>(&source, tables.device(origin.device)?)?;
    let flow = tables.flow(&F::tuple(F::destination(&packet.tuple), service))?;
    let (owner, hop) = (flow.owner(), flow.client_hop());
    let (_, source_port, _) = F::parts(&source);
    let own = owner.server == origin.server
        && owner.device == origin.device
        && owner.server_port == source_port
        && flow.flags() & FLOW_CHALLENGED == 0;
    if !own || standing(tables, &owner).is_err() {
        return None;
    }
    let now = tables.now();
    flow.touch_time(now);
    let (address, port, _) = F::parts(&service);
    put(path, (&owner, Action::ToClient, now), hop, (address, port));
    Some(hop)
}

/// The client's end stays as it is.
#[inline(always)]
fn put<F: Family>(
    path: &mut Path<F>,
    (owner, action, now): (&Owner, Action, u64),
    hop: Hop,
    (address, port): (F::Address, Be16),
) {
    path.device = owner.device;
    path.server = owner.server;
    path.epoch = owner.epoch;
    path.incarnation = owner.incarnation;
    path.learnt = now as u32;
    path.hop = hop;
    path.address = address.copied();
    path.port = port;
    path.other_port = Be16::default();
    path.action = action;
    path.forwarding = owner.forwarding;
}
