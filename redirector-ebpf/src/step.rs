//! The steps of a packet, and what lies between them: a [`Packet`], then a [`Verdict`].

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::bpf_redirect;
use redirector_common::apply::{Exit, apply};
use redirector_common::decide;
use redirector_common::family::Family;
use redirector_common::frame::Frame as _;
use redirector_common::packet::Packet;
use redirector_common::parse::{self, Link};
use redirector_common::verdict::{Reason, Verdict};
use redirector_common::wire::{Hop, Tags};

use crate::frame::PacketMemory;
use crate::maps::{self, KernelTables, Maps};

/// What lies between the steps, one for each CPU.
#[repr(C)]
pub struct Step<F: Family> {
    packet: Packet<F>,
    verdict: Verdict<F>,
}

impl<F: Maps> Step<F> {
    /// Frame -> packet.
    #[inline(never)]
    pub fn parse(&mut self, context: *mut xdp_md, link: &Link) -> Result<(), Reason> {
        let frame = PacketMemory::new(context);
        let ingress = KernelTables::new(context).ingress();
        let index = maps::arrival(ingress, link.tags).ok_or(Reason::VlanUnknown)?;
        let arrival = Hop::new(maps::sender(&frame)?, index);
        parse::packet(&frame, link.network, arrival, &mut self.packet)
    }

    /// Packet -> verdict: the decision's first question.
    #[inline(never)]
    pub fn known(&mut self, context: *mut xdp_md) -> bool {
        decide::known(&self.packet, &KernelTables::new(context), &mut self.verdict)
    }

    /// Packet -> verdict: its second.
    #[inline(never)]
    pub fn to_service(&mut self, context: *mut xdp_md) -> bool {
        decide::to_service(&self.packet, &KernelTables::new(context), &mut self.verdict)
    }

    /// Packet -> verdict: its third.
    #[inline(never)]
    pub fn from_server(&mut self, context: *mut xdp_md) {
        decide::from_server(&self.packet, &KernelTables::new(context), &mut self.verdict);
    }

    /// Verdict -> frame; gives the XDP action.
    #[inline(never)]
    pub fn apply(&self, context: *mut xdp_md, tags: Tags) -> u32 {
        let tables = KernelTables::new(context);
        let frame = PacketMemory::new(context);
        let frame_len = frame.len() as u64;
        let (exit, reason) = apply(frame, &self.packet, &self.verdict, &tables, tags);
        crate::count(context, &self.verdict, reason, frame_len);
        match exit {
            Exit::Pass => XDP_PASS,
            Exit::Drop => XDP_DROP,
            Exit::Back => XDP_TX,
            Exit::Send(ifindex) if u32::from(ifindex) == tables.ingress() => XDP_TX,
            // SAFETY: the helper takes plain numbers and only notes the target.
            Exit::Send(ifindex) => (unsafe { bpf_redirect(u32::from(ifindex), 0) }) as u32,
        }
    }
}
