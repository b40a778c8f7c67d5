//! Floors: programs that do one thing alone, so that what it costs can be told.

use aya_ebpf::bindings::bpf_fib_lookup;
use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_TX};
use aya_ebpf::helpers::generated::bpf_fib_lookup as bpf_fib_lookup_helper;
use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

/// Address family of IPv4.
const AF_INET: u8 = 2;
/// As much as a GUE tunnel over IPv4 puts in front.
const OUTER_LEN: i32 = 28;

/// The empty target: what is measured with it is the harness itself.
#[xdp(frags)]
pub fn floor_drop(_context: XdpContext) -> u32 {
    XDP_DROP
}

/// Makes room in front and does nothing with it: half of what this costs is the driver's taking it
/// away again.
#[xdp(frags)]
pub fn floor_grow(context: XdpContext) -> u32 {
    // SAFETY: the context is the kernel's own, and no reference into packet memory is alive.
    unsafe { bpf_xdp_adjust_head(context.ctx, -OUTER_LEN) };
    XDP_DROP
}

/// The floor of every redirector: swap the Ethernet addresses, send back.
#[xdp(frags)]
pub fn floor_tx(context: XdpContext) -> u32 {
    let start = context.data();
    if start + 12 > context.data_end() {
        return XDP_ABORTED;
    }
    // SAFETY: in bounds by the check above; any bytes will do.
    let addresses = unsafe { &mut *(start as *mut [[u16; 3]; 2]) };
    addresses.swap(0, 1);
    XDP_TX
}

/// The alternative to remembering the way back: ask the kernel's routing table for every packet.
#[xdp(frags)]
pub fn floor_fib(context: XdpContext) -> u32 {
    let start = context.data();
    if start + 34 > context.data_end() {
        return XDP_ABORTED;
    }
    // In words: zeroed as a whole it is by a loop over its bytes.
    let mut words = core::hint::black_box([0_u64; size_of::<bpf_fib_lookup>() / 8]);
    // SAFETY: as long and aligned as the kernel's structure, every field of which accepts zero.
    let question = unsafe { &mut *(&raw mut words).cast::<bpf_fib_lookup>() };
    question.family = AF_INET;
    question.l4_protocol = 6;
    question.ifindex = context.ingress_ifindex() as u32;
    // SAFETY: in bounds by the check above; the destination address of an IPv4 header.
    question.__bindgen_anon_4.ipv4_dst = unsafe { (start as *const u32).byte_add(30).read() };
    let len = size_of::<bpf_fib_lookup>() as i32;
    // SAFETY: the context is the kernel's own, the structure is ours and as long as stated.
    let found = unsafe { bpf_fib_lookup_helper(context.ctx.cast(), question, len, 0) };
    if found != 0 {
        return XDP_ABORTED;
    }
    // SAFETY: in bounds by the check above; any bytes will do.
    let addresses = unsafe { &mut *(start as *mut [[u8; 6]; 2]) };
    *addresses = [question.dmac, question.smac];
    XDP_TX
}
