//! The program's clock.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use redirector_common::flow::{CLOCK_SHIFT, WINDOW_SHIFT};

/// Nanoseconds as of the last timer tick: 3.5 ns a reading where the fine clock takes 31.
#[inline(always)]
pub fn coarse_ns() -> u64 {
    // SAFETY: the helper takes no argument and touches no memory of ours.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// The tables' clock. Its unit is about a second, so that a flow's line is written once a second,
/// not with each packet.
#[inline(always)]
pub fn now() -> u64 {
    coarse_ns() >> CLOCK_SHIFT
}

/// The window in which rates are kept.
#[inline(always)]
pub fn window() -> u64 {
    coarse_ns() >> WINDOW_SHIFT
}
