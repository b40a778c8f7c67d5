//! The XDP program of the redirector: frame -> packet -> decide -> verdict -> frame, one reason
//! counted at the one exit.
//!
//! This file only connects the parts. It knows neither packet memory (`frame`) nor maps (`maps`),
//! and it does not think (`redirector_common::decide`).

#![no_std]
#![no_main]
// The xdp macro makes an undocumented wrapper of each documented program.
#![allow(missing_docs)]

mod clock;
mod frame;
mod latest;
mod maps;
mod recall;
mod recorder;
mod response;
mod route;
mod step;
mod tables;

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::{bindings::xdp_md, macros::xdp, programs::XdpContext};
use aya_log_ebpf::warn;
use redirector_common::family::{Family, V4, V6};
use redirector_common::frame::Frame as _;
use redirector_common::packet::Packet;
use redirector_common::parse;
use redirector_common::response::Saying;
use redirector_common::verdict::{Reason, Verdict};

use crate::frame::PacketMemory;

/// Entry point. Returns an XDP action.
#[xdp(frags)]
pub fn redirector(context: XdpContext) -> u32 {
    let link = match parse::link(&PacketMemory::new(context.ctx)) {
        Ok(link) => link,
        Err(reason) => return passed(context.ctx, reason as u32),
    };
    let walked = if link.ether_type == V4::ETHER_TYPE {
        step::walk::<V4>(context.ctx, &link)
    } else if link.ether_type == V6::ETHER_TYPE {
        step::walk::<V6>(context.ctx, &link)
    } else {
        Err(Reason::NotIp as u32)
    };
    walked.unwrap_or_else(|reason| passed(context.ctx, reason))
}

/// A packet that is not looked at any further.
#[inline(always)]
fn passed(context: *mut xdp_md, reason: u32) -> u32 {
    maps::count_reason(reason, PacketMemory::new(context).len() as u64);
    XDP_PASS
}

/// Counts a packet at its one exit, and tells of what an operator should hear.
#[inline(always)]
fn count<F: Family>(
    context: *mut xdp_md,
    packet: &Packet<F>,
    verdict: &Verdict<F>,
    frame_len: u64,
) {
    let reason = verdict.reason;
    let other = (&verdict.other, verdict.other_port);
    let client = redirector_common::response::client::<F>(&packet.tuple, verdict.action, other);
    let saying = Saying::new(client, verdict.action, &packet.segment);
    if !packet.is_error() {
        response::note(&verdict.account(), &saying);
    }
    let packets = maps::count(&verdict.account(), &packet.segment, verdict.lasting, frame_len);
    if worth_telling(reason) && packets.is_power_of_two() {
        // Once for the first packet, then ever more rarely: never a line per packet.
        warn!(&XdpContext::new(context), "{} packets on this CPU: {}", packets, reason.name());
    }
}

/// Reasons that an operator should hear of.
#[inline(always)]
fn worth_telling(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NotConfigured
            | Reason::FlowsFull
            | Reason::NoServer
            | Reason::NoRoom
            | Reason::PortsFull
    )
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// The BPF object alone is dual-licensed: some helpers are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
