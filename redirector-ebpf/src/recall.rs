//! SYNs that have begun new flows, kept for a while in a ring. Should their server turn out to have
//! been dead, the daemon runs them through the program again.
//!
//! Costs only the packets that begin flows, and makes no lookup: one place in an array, and a copy.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::bpf_xdp_load_bytes;
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use redirector_common::family::Family;
use redirector_common::packet::Packet;
use redirector_common::verdict::{Reason, Verdict};
use redirector_common::wire::{RECENT_SYN_LEN_MAX, RecentSyn, SYNS_LEN};

use crate::clock;

/// Rings of SYNs. Writer: program. Reader: daemon, when a server has died. Full: the oldest goes.
/// 144 KiB per CPU.
#[map]
static SYNS: PerCpuArray<RecentSyn> = PerCpuArray::with_max_entries(SYNS_LEN, 0);

/// How many SYNs this CPU has kept. Program's own.
#[map]
static SYNS_KEPT: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Keeps a SYN that has just begun a flow with an entry, before its frame is changed.
#[inline(always)]
pub fn keep<F: Family>(context: *mut xdp_md, packet: &Packet<F>, verdict: &Verdict<F>) {
    if !packet.opens() || !matches!(verdict.reason, Reason::Opened | Reason::Affine) {
        return;
    }
    let len = u32::from(packet.layout.end);
    if len == 0 || len > RECENT_SYN_LEN_MAX as u32 {
        return;
    }
    let Some(kept) = SYNS_KEPT.get_ptr_mut(0) else { return };
    // SAFETY: this CPU's own value, and no other program runs on it meanwhile.
    let index = unsafe { *kept };
    // SAFETY: as above.
    unsafe { *kept = index.wrapping_add(1) };
    let Some(place) = SYNS.get_ptr_mut(index as u32 & (SYNS_LEN - 1)) else { return };
    // SAFETY: as above.
    let place = unsafe { &mut *place };
    place.len = 0;
    // SAFETY: the frame has `len` bytes, which the helper checks, and the place has room for them.
    let copied = unsafe { bpf_xdp_load_bytes(context, 0, place.frame.as_mut_ptr().cast(), len) };
    if copied != 0 {
        return;
    }
    place.at_ns = clock::coarse_ns();
    // SAFETY: the context is the one that the kernel called us with.
    place.ifindex = unsafe { (*context).ingress_ifindex };
    place.server = verdict.server;
    place.len = len as u16;
}
