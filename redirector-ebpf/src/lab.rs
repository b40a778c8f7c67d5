//! Programs of the harness, never of the product: what the far end of a gateway's veth needs, and the floor and
//! driver of the benchmark.

#![no_std]
#![no_main]
// The xdp macro makes an undocumented wrapper of each documented program.
#![allow(missing_docs)]

use aya_ebpf::{bindings::xdp_action::XDP_PASS, macros::xdp, programs::XdpContext};

/// Passes everything: a veth delivers XDP_TX and redirected frames only to a peer that has an XDP program.
#[xdp(frags)]
pub fn pass(_context: XdpContext) -> u32 {
    XDP_PASS
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
