//! Programs of the harness, never of the product: a driver that hands every packet to the program
//! under test with a five-tuple of its own, the floors beside it, and (`host`) what end hosts need.
//!
//! A test run with `repeat` does not restore the packet, and its clock includes the kernel's own
//! work. So the driver restores the head of the frame, varies the flow through a bijection, stamps
//! the clock every [`STAMP_INTERVAL`] packets, and jumps into the program under test by a tail call
//! with a constant index.

#![no_std]
#![no_main]
// The xdp macro makes an undocumented wrapper of each documented program.
#![allow(missing_docs)]

mod floors;
mod host;
mod live;
mod lower_bound;

use core::ptr::read_volatile;

use aya_ebpf::bindings::xdp_action::XDP_ABORTED;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, ProgramArray};
use aya_ebpf::programs::XdpContext;

/// Bytes of the frame that are restored before each packet.
const HEAD_LEN: usize = 80;
/// Packets between two stamps.
const STAMP_INTERVAL: u64 = 4096;
/// Most stamps of a run.
const STAMPS_MAX: u32 = 4096;
/// Ports of a client; flows beyond them come from further addresses.
const PORTS_BITS: u32 = 14;
/// First port of a client.
const PORTS_FIRST: u16 = 1024;
/// First address of clients: 10.128.0.0.
const CLIENTS: u32 = 0x0a80_0000;
/// First address of senders that nobody has seen before: 198.18.0.0.
const STRANGERS: u32 = 0xc612_0000;
/// Devices of one service address; each has a port.
const DEVICES_BITS: u32 = 10;
/// First service address of many devices: 12.0.0.0, and first port.
const DEVICES: u32 = 0x0c00_0000;
/// Its first port.
const DEVICES_PORT: u16 = 10_000;
/// Entries of the sequence of flows, less one.
const SEQUENCE_MASK: u64 = (1 << 20) - 1;

/// What the driver does. Written before a run; `packets` counts on.
#[repr(C, align(8))]
pub struct Run {
    /// Head of the frame; of IPv4, with zero for what varies and for the identification.
    pub head: [u64; HEAD_LEN / 8],
    /// Number of flows less one; the number is a power of two.
    pub flow_mask: u64,
    /// Odd, so that multiplying by it is a bijection: flows are not visited in order.
    pub stride: u64,
    /// Number of the first flow.
    pub first: u64,
    /// 0: the client is the source. 1: it is the destination. Plus 2 for IPv6.
    pub shape: u64,
    /// Number of devices over which flows are spread; 0 leaves the service address alone.
    pub devices_len: u64,
    /// 1: flows are chosen as the sequence says.
    pub by_sequence: u64,
    /// So many packets of 65,536 are SYNs of senders never seen before.
    pub strangers: u64,
    /// Length of the frame: a program under test may have put something in front.
    pub frame_len: u64,
    /// Interface that generated frames leave by.
    pub egress: u64,
    /// Packets so far.
    pub packets: u64,
}

#[map]
static RUN: Array<Run> = Array::with_max_entries(1, 0);
#[map]
static STAMPS: Array<u64> = Array::with_max_entries(STAMPS_MAX, 0);
#[map]
static TARGET: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map]
static SEQUENCE: Array<u32> = Array::with_max_entries(SEQUENCE_MASK as u32 + 1, 0);

/// Restores the frame, gives it the next flow and jumps into the program under test.
#[xdp(frags)]
pub fn driver(context: XdpContext) -> u32 {
    match drive(&context) {
        // SAFETY: the loader put a program of this type at index 0.
        Some(_) => unsafe { TARGET.tail_call(&context, 0) },
        None => return XDP_ABORTED,
    }
    XDP_ABORTED
}

/// Makes the next packet; gives the interface that it leaves by, for generators.
#[inline(always)]
fn drive(context: &XdpContext) -> Option<u32> {
    let run = RUN.get_ptr_mut(0)?;
    // SAFETY: test runs of the driver do not overlap, so nobody else has it.
    let run = unsafe { &mut *run };
    let packet = run.packets;
    run.packets += 1;
    if packet % STAMP_INTERVAL == 0
        && let Some(stamp) = STAMPS.get_ptr_mut((packet / STAMP_INTERVAL) as u32)
    {
        // SAFETY: the helper takes no argument.
        let now = unsafe { bpf_ktime_get_ns() };
        // SAFETY: a value of the map, ours alone during the run.
        unsafe { *stamp = now };
    }
    // A length of its own: the verifier does not follow sums of it with an address.
    let len = core::hint::black_box(context.data_end() - context.data());
    let grown = len as i32 - run.frame_len as i32;
    if grown != 0 {
        // SAFETY: the context is the kernel's own, and no reference into packet memory is alive.
        unsafe { bpf_xdp_adjust_head(context.ctx, grown) };
    }
    let start = context.data();
    if start + HEAD_LEN > context.data_end() {
        return None;
    }
    // SAFETY: in bounds by the check above; any bytes will do.
    let head = unsafe { &mut *(start as *mut [u64; HEAD_LEN / 8]) };
    for (word, wanted) in head.iter_mut().zip(&run.head) {
        // Word by word: what might overlap is otherwise moved by a loop over its bytes.
        // SAFETY: a word of the map's value.
        *word = unsafe { read_volatile(wanted) };
    }
    vary(start, run, packet);
    Some(run.egress as u32)
}

/// Gives a packet its ends.
#[inline(always)]
fn vary(start: usize, run: &Run, packet: u64) {
    let draw = packet.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = packet.wrapping_add(run.first);
    if (draw >> 48) < run.strangers {
        let flow = (number.wrapping_mul(0x9e37_79b1)) as u32;
        // SAFETY: inside the head, as of `put`: the flags of a TCP header behind an IPv4 one.
        unsafe { *((start + 47) as *mut u8) = SYN };
        let end = (STRANGERS + (flow >> PORTS_BITS), port(flow));
        return put_ends(start, run.shape, end, (0, 0));
    }
    let flow = if run.by_sequence == 0 {
        (number.wrapping_mul(run.stride) & run.flow_mask) as u32
    } else {
        // SAFETY: four aligned bytes that nobody writes during the run.
        SEQUENCE.get_ptr((packet & SEQUENCE_MASK) as u32).map_or(0, |flow| unsafe { *flow })
    };
    let flow = flow.wrapping_add((run.first & !run.flow_mask) as u32);
    let mut service = (0, 0);
    if run.devices_len != 0 {
        let spread = u64::from(flow.wrapping_mul(0x9e37_79b1));
        let device = (spread.wrapping_mul(run.devices_len) >> 32) as u32;
        let number = (device & ((1 << DEVICES_BITS) - 1)) as u16;
        service = (DEVICES + (device >> DEVICES_BITS), DEVICES_PORT + number);
    }
    put_ends(start, run.shape, (CLIENTS + (flow >> PORTS_BITS), port(flow)), service);
}

/// TCP's flag that opens a conversation.
const SYN: u8 = 2;

#[inline(always)]
fn port(flow: u32) -> u16 {
    PORTS_FIRST + (flow & ((1 << PORTS_BITS) - 1)) as u16
}

/// Writes the client's end, and the service address unless it is zero. What IPv4 addresses add to
/// the header's sum, the identification takes from it.
#[inline(always)]
fn put_ends(start: usize, shape: u64, client: (u32, u16), service: (u32, u16)) {
    match shape {
        0 | 1 => {
            let (address, ports) = if shape == 0 { (26, 34) } else { (30, 36) };
            let mut sum = put_address(start + address, client.0);
            put(start + ports, client.1);
            if service.0 != 0 {
                sum += put_address(start + 30, service.0);
                put(start + 36, service.1);
            }
            sum = (sum & 0xffff) + (sum >> 16);
            sum = (sum & 0xffff) + (sum >> 16);
            put(start + 18, !sum as u16);
        }
        _ => {
            let (address, ports) = if shape == 2 { (34, 54) } else { (50, 56) };
            put_address(start + address, client.0);
            put(start + ports, client.1);
        }
    }
}

/// Writes an address; gives the sum of its words.
#[inline(always)]
fn put_address(at: usize, value: u32) -> u32 {
    put(at, (value >> 16) as u16);
    put(at + 2, value as u16);
    (value >> 16) + (value & 0xffff)
}

/// Writes a number in network order.
#[inline(always)]
fn put(at: usize, value: u16) {
    // SAFETY: every caller writes inside the head whose bounds `drive` has checked.
    unsafe { *(at as *mut u16) = value.to_be() };
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
