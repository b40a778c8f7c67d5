//! Programs of the lab's end hosts, which stand for what a network or another kernel would do: VLAN
//! tags put on and taken off, tunnels unwrapped, and the program that a veth's peer must have.

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_PASS};
use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT};
use aya_ebpf::helpers::generated::{bpf_skb_vlan_pop, bpf_skb_vlan_push, bpf_xdp_adjust_head};
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::{TcContext, XdpContext};
use redirector_common::headers::{
    ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, ETHER_TYPE_QINQ, ETHER_TYPE_VLAN, IPV4_LEN, IPV6_LEN,
    PROTOCOL_UDP, UDP_LEN,
};
use redirector_common::order::Be16;
use redirector_common::wire::Tags;

/// Protocol numbers of IPv4 and IPv6 inside another packet.
const INSIDE_V4: u8 = 4;
const INSIDE_V6: u8 = 41;

/// The host's [`Tags`]. Written before the programs are attached.
#[map]
static TAGS: Array<u32> = Array::with_max_entries(1, 0);
/// UDP port of GUE, host order. Written before the program is attached.
#[map]
static GUE_PORT: Array<u32> = Array::with_max_entries(1, 0);

/// Passes everything.
#[xdp(frags)]
pub fn pass(_context: XdpContext) -> u32 {
    XDP_PASS
}

/// Puts the host's tags on what it sends.
#[classifier]
pub fn push_tags(context: TcContext) -> i32 {
    let Some(tags) = TAGS.get(0) else { return TC_ACT_SHOT };
    let tags = Tags(*tags);
    let pushed = match tags.count() {
        0 => 0,
        1 => push(&context, ETHER_TYPE_VLAN, tags.inner()),
        _ => {
            push(&context, ETHER_TYPE_VLAN, tags.inner())
                | push(&context, ETHER_TYPE_QINQ, tags.outer())
        }
    };
    if pushed == 0 { TC_ACT_OK } else { TC_ACT_SHOT }
}

#[inline(always)]
fn push(context: &TcContext, ether_type: Be16, control: u16) -> i64 {
    // SAFETY: the context is the one that the kernel called us with.
    unsafe { bpf_skb_vlan_push(context.skb.skb, ether_type.raw(), control) }
}

/// Takes the host's tags off what it gets; whatever has others is not for it.
#[classifier]
pub fn pop_tags(context: TcContext) -> i32 {
    let Some(tags) = TAGS.get(0) else { return TC_ACT_SHOT };
    let tags = Tags(*tags);
    let popped = match tags.count() {
        0 => true,
        1 => pop(&context, tags.inner()),
        _ => pop(&context, tags.outer()) && pop(&context, tags.inner()),
    };
    if popped && tag(&context).is_none() { TC_ACT_OK } else { TC_ACT_SHOT }
}

#[inline(always)]
fn pop(context: &TcContext, expected: u16) -> bool {
    // SAFETY: the context is the one that the kernel called us with.
    tag(context) == Some(expected) && unsafe { bpf_skb_vlan_pop(context.skb.skb) } == 0
}

/// The VLAN of the outermost tag.
#[inline(always)]
fn tag(context: &TcContext) -> Option<u16> {
    // SAFETY: the context is the one that the kernel called us with.
    let skb = unsafe { &*context.skb.skb };
    (skb.vlan_present != 0).then_some(skb.vlan_tci as u16 & 0xfff)
}

/// Takes packets out of their tunnels (IP in IP, GUE variant 1) and passes everything, as servers
/// behind Katran do. Tags stay.
#[xdp(frags)]
pub fn unwrap_tunnels(context: XdpContext) -> u32 {
    let Some(outer) = tunnel(&context) else { return XDP_PASS };
    let Some(head) = read::<[u16; 11]>(&context, 0) else { return XDP_PASS };
    // SAFETY: the context is the kernel's own, and no reference into packet memory is alive.
    if unsafe { bpf_xdp_adjust_head(context.ctx, outer.len as i32) } != 0 {
        return XDP_ABORTED;
    }
    let [a, b, c, d, e, f, g, h, i, j, _] = head;
    let inside = outer.inside.raw();
    let written = match outer.network {
        14 => write(&context, [a, b, c, d, e, f, inside]),
        18 => write(&context, [a, b, c, d, e, f, g, h, inside]),
        _ => write(&context, [a, b, c, d, e, f, g, h, i, j, inside]),
    };
    if written.is_some() { XDP_PASS } else { XDP_ABORTED }
}

/// The outer headers of a tunnel's packet.
struct Outer {
    network: usize,
    len: usize,
    /// EtherType of the packet inside.
    inside: Be16,
}

#[inline(always)]
fn tunnel(context: &XdpContext) -> Option<Outer> {
    let mut network = 14;
    let mut ether_type: Be16 = read(context, 12)?;
    for _ in 0..2 {
        if ether_type == ETHER_TYPE_VLAN || ether_type == ETHER_TYPE_QINQ {
            ether_type = read(context, network + 2)?;
            network += 4;
        }
    }
    let (header_len, protocol): (usize, u8) = if ether_type == ETHER_TYPE_IPV4 {
        (IPV4_LEN, read(context, network + 9)?)
    } else if ether_type == ETHER_TYPE_IPV6 {
        (IPV6_LEN, read(context, network + 6)?)
    } else {
        return None;
    };
    let (len, inside) = match protocol {
        INSIDE_V4 => (header_len, ETHER_TYPE_IPV4),
        INSIDE_V6 => (header_len, ETHER_TYPE_IPV6),
        PROTOCOL_UDP => {
            let port: Be16 = read(context, network + header_len + 2)?;
            if u32::from(port.get()) != *GUE_PORT.get(0)? {
                return None;
            }
            let version: u8 = read(context, network + header_len + UDP_LEN)?;
            let inside = if version >> 4 == 6 { ETHER_TYPE_IPV6 } else { ETHER_TYPE_IPV4 };
            (header_len + UDP_LEN, inside)
        }
        _ => return None,
    };
    Some(Outer { network, len, inside })
}

#[inline(always)]
fn read<T: Copy>(context: &XdpContext, at: usize) -> Option<T> {
    let start = context.data() + at;
    if start + size_of::<T>() > context.data_end() {
        return None;
    }
    // SAFETY: in bounds by the check above; the types read here accept any bytes.
    Some(unsafe { (start as *const T).read_unaligned() })
}

#[inline(always)]
fn write<T>(context: &XdpContext, value: T) -> Option<()> {
    let start = context.data();
    if start + size_of::<T>() > context.data_end() {
        return None;
    }
    // SAFETY: in bounds by the check above.
    unsafe { (start as *mut T).write_unaligned(value) };
    Some(())
}
