//! Programs of the harness, never of the product: a driver that hands every packet to the program
//! under test with a five-tuple of its own, the floors beside it, and (`lab_host`) what end hosts
//! need.
//!
//! A test run with `repeat` does not restore the packet, and its clock includes the kernel's own
//! work. So the driver restores the head of the frame, varies the flow through a bijection, stamps
//! the clock every [`STAMP_INTERVAL`] packets, and jumps into the program under test by a tail call
//! with a constant index.

#![no_std]
#![no_main]
// The xdp macro makes an undocumented wrapper of each documented program.
#![allow(missing_docs)]

mod lab_host;

use aya_ebpf::bindings::bpf_fib_lookup;
use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_TX};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::bpf_fib_lookup as bpf_fib_lookup_helper;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, ProgramArray};
use aya_ebpf::programs::XdpContext;

/// Bytes of the frame that are restored before each packet.
const HEAD_LEN: usize = 64;
/// Packets between two stamps.
const STAMP_INTERVAL: u64 = 32_768;
/// Most stamps of a run.
const STAMPS_MAX: u32 = 4096;
/// Ports of a client; flows beyond them come from further addresses.
const PORTS_BITS: u64 = 14;

/// What the driver does. Written before a run; `packets` counts on.
#[repr(C, align(8))]
pub struct Run {
    /// Head of the frame.
    pub head: [u64; HEAD_LEN / 8],
    /// Number of flows less one; the number is a power of two.
    pub flow_mask: u64,
    /// Odd, so that multiplying by it is a bijection: flows are not visited in order.
    pub stride: u64,
    /// 0: the client is the source. 1: it is the destination.
    pub reverse: u64,
    /// Packets so far.
    pub packets: u64,
}

#[map]
static RUN: Array<Run> = Array::with_max_entries(1, 0);
#[map]
static STAMPS: Array<u64> = Array::with_max_entries(STAMPS_MAX, 0);
#[map]
static TARGET: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Restores the frame, gives it the next flow and jumps into the program under test.
#[xdp(frags)]
pub fn driver(context: XdpContext) -> u32 {
    match drive(&context) {
        // SAFETY: the loader put a program of this type at index 0.
        Some(()) => unsafe { TARGET.tail_call(&context, 0) },
        None => return XDP_ABORTED,
    }
    XDP_ABORTED
}

#[inline(always)]
fn drive(context: &XdpContext) -> Option<()> {
    let run = RUN.get_ptr_mut(0)?;
    // SAFETY: test runs of the driver do not overlap, so nobody else has it.
    let run = unsafe { &mut *run };
    if run.packets % STAMP_INTERVAL == 0
        && let Some(stamp) = STAMPS.get_ptr_mut((run.packets / STAMP_INTERVAL) as u32)
    {
        // SAFETY: the helper takes no argument.
        let now = unsafe { bpf_ktime_get_ns() };
        // SAFETY: a value of the map, ours alone during the run.
        unsafe { *stamp = now };
    }
    let flow = run.packets.wrapping_mul(run.stride) & run.flow_mask;
    run.packets += 1;
    let start = context.data();
    if start + HEAD_LEN > context.data_end() {
        return None;
    }
    // SAFETY: in bounds by the check above; any bytes will do.
    let head = unsafe { &mut *(start as *mut [u64; HEAD_LEN / 8]) };
    *head = run.head;
    // What the upper half of the address loses the lower half gains, so that the header's checksum
    // stays right.
    let (further, port) = ((flow >> PORTS_BITS) as u16, (flow & ((1 << PORTS_BITS) - 1)) as u16);
    let (address, ports) = if run.reverse == 0 { (26, 34) } else { (30, 36) };
    put(start + address, 0x0a80 - further);
    put(start + address + 2, further);
    put(start + ports, 1024 + port);
    Some(())
}

/// Writes a number in network order.
#[inline(always)]
fn put(at: usize, value: u16) {
    // SAFETY: every caller writes inside the head whose bounds `drive` has checked.
    unsafe { *(at as *mut u16) = value.to_be() };
}

/// The empty target: what is measured with it is the harness itself.
#[xdp(frags)]
pub fn floor_drop(_context: XdpContext) -> u32 {
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
    // SAFETY: every field of the kernel's structure accepts zero.
    let mut question: bpf_fib_lookup = unsafe { core::mem::zeroed() };
    question.family = AF_INET;
    question.l4_protocol = 6;
    question.ifindex = context.ingress_ifindex() as u32;
    // SAFETY: in bounds by the check above; the destination address of an IPv4 header.
    question.__bindgen_anon_4.ipv4_dst = unsafe { (start as *const u32).byte_add(30).read() };
    let len = size_of::<bpf_fib_lookup>() as i32;
    // SAFETY: the context is the kernel's own, the structure is ours and as long as stated.
    let found = unsafe { bpf_fib_lookup_helper(context.ctx.cast(), &mut question, len, 0) };
    if found != 0 {
        return XDP_ABORTED;
    }
    // SAFETY: in bounds by the check above; any bytes will do.
    let addresses = unsafe { &mut *(start as *mut [[u8; 6]; 2]) };
    *addresses = [question.dmac, question.smac];
    XDP_TX
}

/// Address family of IPv4.
const AF_INET: u8 = 2;

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
