//! Live frames over veth: who makes them, who only hands them on, and who counts them.

use aya_ebpf::bindings::xdp_action::{XDP_ABORTED, XDP_DROP};
use aya_ebpf::helpers::generated::bpf_redirect;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::XdpContext;

/// Interface that the bare redirect sends by.
#[map]
static EGRESS: Array<u32> = Array::with_max_entries(1, 0);
/// Frames that came to the sink.
#[map]
static SUNK: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Makes the driver's packets and sends them.
#[xdp]
pub fn generator(context: XdpContext) -> u32 {
    match super::drive(&context) {
        // SAFETY: the helper takes plain numbers and only notes the target.
        Some(egress) => (unsafe { bpf_redirect(egress, 0) }) as u32,
        None => XDP_ABORTED,
    }
}

/// The least that a gateway does: hand the frame on.
#[xdp]
pub fn bare_redirect(_context: XdpContext) -> u32 {
    redirect()
}

/// Hands the frame on.
#[inline(always)]
pub fn redirect() -> u32 {
    match EGRESS.get(0) {
        // SAFETY: the helper takes plain numbers and only notes the target.
        Some(egress) => (unsafe { bpf_redirect(*egress, 0) }) as u32,
        None => XDP_ABORTED,
    }
}

/// Counts frames and drops them.
#[xdp]
pub fn sink(_context: XdpContext) -> u32 {
    if let Some(sunk) = SUNK.get_ptr_mut(0) {
        // SAFETY: this CPU's own value, and no other program runs on it meanwhile.
        unsafe { *sunk += 1 };
    }
    XDP_DROP
}
