//! Packets that need no entry, and of which none may exist: those of a stateless device that does
//! not drain, and SYNs beyond the rate at which flows are entered. A flood is made of the latter.
//!
//! The same is decided in the general way by [`super::stateless`] and [`super::begin`].

use super::{begin, stateless};
use crate::family::Family;
use crate::order::Be16;
use crate::parse::Plain;
use crate::tables::{Server, Tables};
use crate::verdict::Reason;
use crate::wire::{DEVICE_AFFINITY, DEVICE_STATELESS, Forwarding, MARK_SERVICE, MARK_TRACKED};

/// Where such a packet goes.
pub struct Unrecorded<'a> {
    /// Its device.
    pub device: u32,
    /// Id of its server.
    pub id: u16,
    /// Its server.
    pub server: Server<'a>,
    /// Port at the server.
    pub port: Be16,
    /// Why it goes there.
    pub reason: Reason,
}

/// Where a plain packet to an address with marks `to` goes, if that takes no more than a look at
/// the device; None leaves it to the general way.
#[inline(always)]
pub fn unrecorded<'a, F: Family, T: Tables<F>>(
    packet: &Plain<F>,
    to: u32,
    tables: &'a T,
) -> Option<Unrecorded<'a>> {
    let opens = packet.segment.opens();
    // What a tracked device gets here is a SYN beyond the rate.
    let tracked = to & MARK_TRACKED != 0;
    if to & MARK_SERVICE == 0 || (tracked && (!opens || tables.opens_left())) {
        return None;
    }
    let destination = F::destination(&packet.tuple);
    let device = tables.service(&destination)?;
    let (line, word) = (tables.device(device)?, tables.association(device)?);
    let is_nat = matches!(Forwarding::from_number(line.forwarding), Forwarding::Nat);
    if !is_nat || (opens && line.mss_max.raw() != 0) {
        return None;
    }
    let reason = if line.flags & DEVICE_STATELESS != 0 {
        (!stateless::drains(word)).then_some(Reason::Stateless)?
    } else {
        (tracked && line.flags & DEVICE_AFFINITY == 0).then_some(Reason::Unrecorded)?
    };
    let (id, server) = begin::choose(tables, word, false)?;
    let (_, service_port, _) = F::parts(&destination);
    Some(Unrecorded { device, id, server, port: begin::server_port(service_port, line), reason })
}
