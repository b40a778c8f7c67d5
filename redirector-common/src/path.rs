//! A verdict that holds for more packets than one: those of the same flow in the same direction,
//! and the later fragments of the same packet.

use crate::family::Family;
use crate::flow::Owner;
use crate::order::{Be16, Words as _};
use crate::verdict::{Action, Reason, Verdict};
use crate::wire::{DEVICE_NONE, Hop, SERVER_NONE};

/// What packets of one kind are turned into, for as long as their flow may go on.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct Path<F: Family> {
    /// Device.
    pub device: u32,
    /// Server.
    pub server: u16,
    /// The device's epoch when the flow was opened.
    pub epoch: u16,
    /// The server's incarnation when the flow was opened.
    pub incarnation: u32,
    /// When it was learnt, in units of the tables' clock.
    pub learnt: u32,
    /// To the server: the way that packets came by. To the client: the way that they go.
    pub hop: Hop,
    /// New address of the server's end.
    pub address: F::Address,
    /// New address of the client's end.
    pub other: F::Address,
    /// New port of the server's end.
    pub port: Be16,
    /// New port of the client's end; zero to leave that end.
    pub other_port: Be16,
    /// What is done: an [`Action`] that redirects.
    pub action: Action,
    /// How a tunnel is made.
    pub forwarding: u8,
}

impl<F: Family> Path<F> {
    /// A place for a path.
    #[inline(always)]
    pub fn nowhere() -> Self {
        Self {
            device: DEVICE_NONE,
            server: SERVER_NONE,
            epoch: 0,
            incarnation: 0,
            learnt: 0,
            hop: Hop::UNKNOWN,
            address: F::Address::default(),
            other: F::Address::default(),
            port: Be16::default(),
            other_port: Be16::default(),
            action: Action::Pass,
            forwarding: 0,
        }
    }

    /// The path of packets that are treated as `verdict` says, learnt `now`.
    #[inline(always)]
    pub fn of(verdict: &Verdict<F>, hop: Hop, now: u64) -> Self {
        Self {
            device: verdict.device,
            server: verdict.server,
            epoch: verdict.epoch,
            incarnation: verdict.incarnation,
            learnt: now as u32,
            hop,
            address: verdict.address.copied(),
            other: verdict.other.copied(),
            port: verdict.port,
            other_port: verdict.other_port,
            action: verdict.action,
            forwarding: verdict.forwarding,
        }
    }

    /// Whose flow it is; the server's port is not part of it.
    #[inline(always)]
    pub fn owner(&self) -> Owner {
        Owner {
            device: self.device,
            server: self.server,
            epoch: self.epoch,
            incarnation: self.incarnation,
            server_port: Be16::default(),
            forwarding: self.forwarding,
        }
    }

    /// The verdict again, for a packet that leaves by `egress`.
    #[inline(always)]
    pub fn follow(&self, out: &mut Verdict<F>, reason: Reason, egress: Hop) {
        out.set(self.action, reason);
        out.charge(self.device, self.server);
        out.epoch = self.epoch;
        out.incarnation = self.incarnation;
        out.address = self.address.copied();
        out.other = self.other.copied();
        out.port = self.port;
        out.other_port = self.other_port;
        out.forwarding = self.forwarding;
        out.egress = egress;
    }
}
