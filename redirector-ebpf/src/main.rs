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

use aya_ebpf::{macros::xdp, programs::XdpContext};
use aya_log_ebpf::warn;
use redirector_common::decide::decide;
use redirector_common::family::V4;
use redirector_common::verdict::{Action, Reason, Verdict};

use crate::frame::Frame;
use crate::maps::KernelTables;

/// Entry point. Returns an XDP action.
#[xdp(frags)]
pub fn redirector(context: XdpContext) -> u32 {
    let frame = Frame::new(&context);
    let verdict = match frame.parse() {
        Ok(packet) => decide(&packet, &KernelTables),
        Err(reason) => Verdict::<V4>::plain(Action::Pass, reason),
    };
    let frame_len = frame.len();
    let (action, reason) = frame.apply(&verdict);
    let packets = maps::count(&verdict, reason, frame_len);
    if worth_telling(reason) && packets.is_power_of_two() {
        // Once for the first packet, then ever more rarely: never a line per packet.
        warn!(&context, "{} packets on this CPU: {}", packets, reason.name());
    }
    action
}

/// Reasons that an operator should hear of.
#[inline(always)]
fn worth_telling(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NotConfigured | Reason::FlowsFull | Reason::NoServer | Reason::ResetFailed
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
