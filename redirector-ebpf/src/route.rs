//! The kernel's routing table, asked for packets of which no entry says the way.

use aya_ebpf::bindings::{bpf_fib_lookup, xdp_md};
use aya_ebpf::helpers::generated::bpf_fib_lookup as ask_kernel;
use redirector_common::order::{Be32, Be128};
use redirector_common::tables::Route;
use redirector_common::wire::Hop;

/// Address family of IPv4.
const AF_INET: u8 = 2;
/// Address family of IPv6.
const AF_INET6: u8 = 10;
/// The kernel forwards the packet as filled in.
const SUCCESS: i64 = 0;
/// The neighbour is not resolved.
const NO_NEIGHBOUR: i64 = 7;
/// The packet would not fit, which is found out later.
const TOO_LONG: i64 = 8;

/// Asks for an IPv4 packet.
#[inline(always)]
pub fn ask4(context: *mut xdp_md, source: Be32, destination: Be32) -> Route {
    let mut question = nothing_asked();
    question.family = AF_INET;
    question.__bindgen_anon_3.ipv4_src = source.raw();
    question.__bindgen_anon_4.ipv4_dst = destination.raw();
    ask(context, &mut question)
}

/// Asks for an IPv6 packet.
#[inline(always)]
pub fn ask6(context: *mut xdp_md, source: Be128, destination: Be128) -> Route {
    let mut question = nothing_asked();
    question.family = AF_INET6;
    question.__bindgen_anon_3.ipv6_src = source.raw();
    question.__bindgen_anon_4.ipv6_dst = destination.raw();
    ask(context, &mut question)
}

/// A question to be filled in. In words, opaque to the compiler: what it knows to be zero as a whole
/// it zeroes in a loop over bytes.
#[inline(always)]
fn nothing_asked() -> bpf_fib_lookup {
    let zero = core::hint::black_box(0_u64);
    // SAFETY: as long as the kernel's structure, every field of which accepts any bits.
    unsafe { core::mem::transmute([zero; size_of::<bpf_fib_lookup>() / 8]) }
}

#[inline(always)]
fn ask(context: *mut xdp_md, question: &mut bpf_fib_lookup) -> Route {
    // SAFETY: the context is the one that the kernel called us with.
    question.ifindex = unsafe { (*context).ingress_ifindex };
    let len = size_of::<bpf_fib_lookup>() as i32;
    // SAFETY: the context is the kernel's own, the structure is ours and as long as stated.
    match unsafe { ask_kernel(context.cast(), question, len, 0) } {
        SUCCESS => Route::Via(Hop::new(question.dmac, question.ifindex as u16)),
        NO_NEIGHBOUR | TOO_LONG => Route::Via(Hop::UNKNOWN),
        // To the gateway itself, or nowhere; a kernel that does not forward says so before it looks
        // whether the packet is for itself.
        _ => Route::Local,
    }
}
