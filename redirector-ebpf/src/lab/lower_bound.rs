//! The lower bound of a rewriter that keeps flows: parse, one lookup in a kernel hash, rewrite.
//!
//! Nothing is decided, counted or checked beyond what memory safety asks for, and all that the
//! rewrite needs lies ready in the entry.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_PASS, XDP_TX};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::XdpContext;

use crate::live::redirect;

/// A packet's ends, as they lie in its headers. Shape: 16 bytes.
#[repr(C, align(8))]
pub struct Key {
    addresses: [u16; 4],
    ports: [u16; 2],
    protocol: u32,
}

/// A flow's new headers. Shape: 48 bytes; numbers as they lie in headers.
#[repr(C, align(8))]
pub struct Rewrite {
    addresses: [u16; 4],
    ports: [u16; 2],
    /// What is added to the IPv4 header's sum, and to that of the segment.
    header_delta: u16,
    segment_delta: u16,
    ethernet: [u16; 6],
    spare: [u32; 5],
}

const _: () = assert!(size_of::<Key>() == 16);
const _: () = assert!(size_of::<Rewrite>() == 48);

/// Flows. As the product's table: memory is taken as entries come.
#[map]
static BOUND: HashMap<Key, Rewrite> = HashMap::with_max_entries(1 << 21, BPF_F_NO_PREALLOC);

/// Ethernet, IPv4 without options and TCP, by 16-bit words.
type Words = [u16; 27];

const ETHER_TYPE: usize = 6;
const VERSION: usize = 7;
const HOPS_PROTOCOL: usize = 11;
const HEADER_SUM: usize = 12;
const ADDRESSES: usize = 13;
const PORTS: usize = 17;
const SEGMENT_SUM: usize = 25;

/// Rewrites a segment of a known flow and sends it back.
#[xdp(frags)]
pub fn lower_bound(context: XdpContext) -> u32 {
    rewrite(&context).map_or_else(|action| action, |()| XDP_TX)
}

/// The same, sent on as the bare redirect does.
#[xdp]
pub fn bound_redirect(context: XdpContext) -> u32 {
    rewrite(&context).map_or_else(|action| action, |()| redirect())
}

/// Rewrites a segment of a known flow; `Err` with the action for a packet that is none.
#[inline(always)]
fn rewrite(context: &XdpContext) -> Result<(), u32> {
    let start = context.data();
    if start + size_of::<Words>() > context.data_end() {
        return Err(XDP_PASS);
    }
    // SAFETY: in bounds by the check above; any bytes will do.
    let words = unsafe { &mut *(start as *mut Words) };
    let [hops, protocol] = words[HOPS_PROTOCOL].to_ne_bytes();
    let is_plain = words[VERSION].to_ne_bytes()[0] == 0x45;
    if words[ETHER_TYPE] != 0x0800_u16.to_be() || !is_plain || protocol != 6 || hops < 2 {
        return Err(XDP_PASS);
    }
    let key = Key {
        addresses: [words[ADDRESSES], words[14], words[15], words[16]],
        ports: [words[PORTS], words[18]],
        protocol: 6,
    };
    let Some(rewrite) = BOUND.get_ptr(&key) else { return Err(XDP_ABORTED) };
    // SAFETY: an entry that is never changed in place.
    let rewrite = unsafe { &*rewrite };
    words[..6].copy_from_slice(&rewrite.ethernet);
    words[ADDRESSES..PORTS].copy_from_slice(&rewrite.addresses);
    words[PORTS..PORTS + 2].copy_from_slice(&rewrite.ports);
    words[HOPS_PROTOCOL] = u16::from_ne_bytes([hops - 1, protocol]);
    // One hop less is one less in the first byte of its word.
    let hop = u32::from(!u16::from_ne_bytes([1, 0]));
    let header = u32::from(!words[HEADER_SUM]) + u32::from(rewrite.header_delta) + hop;
    words[HEADER_SUM] = !folded(header);
    let segment = u32::from(!words[SEGMENT_SUM]) + u32::from(rewrite.segment_delta);
    words[SEGMENT_SUM] = !folded(segment);
    Ok(())
}

#[inline(always)]
fn folded(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}
