//! Devices without entries: the service address names the device, and the association decides.
//!
//! Only while such a device drains do its new flows get entries, so that they stay where they were
//! opened; flows without one are then those of the server that it leaves. Its address counts as
//! that of a tracked device meanwhile, so that their entries are found where those of tracked
//! devices are.

use super::begin::{self, Holding};
use super::to_server;
use crate::family::Family;
use crate::flow::Local;
use crate::packet::Packet;
use crate::tables::Tables;
use crate::verdict::{Action, Reason, Verdict};
use crate::wire::{Association, SERVER_NONE};

#[inline(always)]
pub(super) fn drains(word: Association) -> bool {
    word.epochs_open() > 0 && word.previous() != SERVER_NONE
}

/// Whether the packet opens a flow while the device drains, or belongs to such a flow.
#[inline(always)]
pub(super) fn is_pinned<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    holding: &Holding<'_>,
) -> bool {
    drains(holding.word) && (packet.opens() || tables.candidate(&packet.tuple).is_some())
}

/// A client's packet of a flow without an entry.
#[inline(always)]
pub(super) fn forward<F: Family, T: Tables<F>>(
    packet: &Packet<F>,
    tables: &T,
    holding: &Holding<'_>,
    out: &mut Verdict<F>,
) {
    let midway = drains(holding.word) && !packet.opens();
    let Some((id, server)) = begin::choose(tables, holding.word, midway) else {
        let (device, server) = (holding.device, holding.word.server());
        return out.set_for(Action::Drop, Reason::NoServer, device, server);
    };
    let owner = begin::new_owner(packet, holding, midway, (id, &server));
    to_server(packet, tables, (&owner, Local::default(), &server), (Reason::Stateless, out));
}
