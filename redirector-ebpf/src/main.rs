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
mod maps;
mod route;
mod step;

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::{bindings::xdp_md, macros::xdp, programs::XdpContext};
use aya_log_ebpf::warn;
use redirector_common::family::{Family, V4, V6};
use redirector_common::frame::Frame as _;
use redirector_common::parse::{self, Link};
use redirector_common::verdict::{Action, Reason, Verdict};

use crate::frame::PacketMemory;
use crate::maps::Maps;

/// Entry point. Returns an XDP action.
#[xdp(frags)]
pub fn redirector(context: XdpContext) -> u32 {
    let link = match parse::link(&PacketMemory::new(context.ctx)) {
        Ok(link) => link,
        Err(reason) => return passed(context.ctx, reason),
    };
    if link.ether_type == V4::ETHER_TYPE {
        family::<V4>(context.ctx, &link)
    } else if link.ether_type == V6::ETHER_TYPE {
        family::<V6>(context.ctx, &link)
    } else {
        passed(context.ctx, Reason::NotIp)
    }
}

/// A packet of family `F`, step by step. Each is a function of its own in the object, because the
/// kernel gives a chain of calls 512 bytes of stack; what one step leaves for the next lies in a
/// map.
#[inline(always)]
fn family<F: Maps>(context: *mut xdp_md, link: &Link) -> u32 {
    let Some(step) = F::step() else { return XDP_PASS };
    if let Err(reason) = step.parse(context, link) {
        return passed(context, reason);
    }
    if !step.known(context) && !step.to_service(context) {
        step.from_server(context);
    }
    step.apply(context, link.tags)
}

/// A packet that is not looked at any further.
#[inline(always)]
fn passed(context: *mut xdp_md, reason: Reason) -> u32 {
    let mut verdict = Verdict::<V4>::undecided();
    verdict.set(Action::Pass, reason);
    count(context, &verdict, reason, PacketMemory::new(context).len() as u64);
    XDP_PASS
}

/// Counts a packet at its one exit, and tells of what an operator should hear.
#[inline(always)]
fn count<F: Family>(context: *mut xdp_md, verdict: &Verdict<F>, reason: Reason, frame_len: u64) {
    let packets = maps::count(verdict, reason, frame_len);
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
