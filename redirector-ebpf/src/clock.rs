//! The program's clock: the monotonic one, as of the last tick of the kernel's timer.
//!
//! The kernel counts a tick whenever the monotonic clock has gone on by a tick's length, and
//! several at once where it slept (`tick_do_update_jiffies64`), so the count times that length,
//! from a fixed beginning, is the monotonic clock. To read the count is one load; the helper that
//! gives the coarse clock is a call.

use core::ptr::read_volatile;

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns};
use redirector_common::flow::{CLOCK_SHIFT, WINDOW_SHIFT};

/// Length of a tick in nanoseconds; zero where the count does not follow the clock, and the coarse
/// clock is asked instead. Set at load.
#[unsafe(no_mangle)]
pub static TICK_NS: u64 = 0;

/// What the monotonic clock showed at tick zero, in nanoseconds; before its beginning where the
/// count began above zero, and then it wraps. Set at load.
#[unsafe(no_mangle)]
pub static TICK_ZERO_NS: u64 = 0;

/// Nanoseconds as of the last tick.
#[inline(always)]
pub fn coarse_ns() -> u64 {
    // SAFETY: read once; set at load, and constant to the verifier, which leaves out the other way.
    let tick_ns = unsafe { read_volatile(&TICK_NS) };
    if tick_ns == 0 {
        // SAFETY: the helper takes no argument and touches no memory of ours.
        return unsafe { bpf_ktime_get_coarse_ns() };
    }
    // SAFETY: as of the tick's length.
    let zero_ns = unsafe { read_volatile(&TICK_ZERO_NS) };
    // SAFETY: the helper takes no argument; the kernel puts a load in its place.
    let ticks = unsafe { bpf_jiffies64() };
    ticks.wrapping_mul(tick_ns).wrapping_add(zero_ns)
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
