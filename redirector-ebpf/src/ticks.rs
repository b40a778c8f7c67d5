//! Reads the kernel's count of ticks and its monotonic clock side by side, for the daemon, which
//! learns from it how the one follows from the other before it loads the XDP program.
//!
//! A classifier, because a test run of one costs some microseconds: that of an XDP program waits
//! for the kernel's dispatcher each time.

#![no_std]
#![no_main]
// The classifier macro makes an undocumented wrapper of each documented program.
#![allow(missing_docs)]

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::bpf_jiffies64;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;

/// Writes both over the first 16 bytes of its packet; returns 0, or what the kernel refused.
#[classifier]
pub fn read_ticks(context: TcContext) -> i32 {
    // The ticks first: what comes in between makes a tick look later than it was, never earlier.
    // SAFETY: the helper takes no argument.
    let ticks = unsafe { bpf_jiffies64() };
    // SAFETY: as above.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    context.store(0, &[ticks, now_ns], 0).map_or_else(|error| error as i32, |()| 0)
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
