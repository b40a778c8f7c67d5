//! The flight recorder: headers of packets that were decided on, in rings that the daemon reads
//! when somebody asks what happened.
//!
//! Nobody is woken for a record, and nothing waits for its reader: the newest packet takes the
//! place of the oldest. What is always recorded has a rate, so that a flood costs a bounded amount.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::helpers::generated::bpf_xdp_load_bytes;
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;
use core::ptr::read_volatile;
use redirector_common::family::Family;
use redirector_common::packet::Packet;
use redirector_common::record::{
    self, CLASSES_LEN, Class, RECORD_LASTING, RECORD_LEFT, RECORD_LEN_MAX, Record, RecorderUse,
    WINDOW_SHARE_SHIFT,
};
use redirector_common::tcp::Segment;
use redirector_common::verdict::{Account, Verdict};

use crate::clock;
use crate::tables::store;

/// Rings of records, one for each class. Writer: program. Reader: daemon. Full: the oldest goes.
/// 552 KiB per CPU.
#[map]
static RECORDS: PerCpuArray<Record> = PerCpuArray::with_max_entries(CLASSES_LEN * 1024, 0);

/// What the recorder has done, per CPU. Writer: program. Reader: daemon.
#[map]
static RECORDER: PerCpuArray<RecorderUse> = PerCpuArray::with_max_entries(1, 0);

/// Records that a ring has room for, a power of two; zero for no recorder. Set at load.
#[unsafe(no_mangle)]
pub static RECORD_RING: u32 = 1024;

/// A plain packet is a sample if this CPU's number of its reason has none of these bits. Set at
/// load.
#[unsafe(no_mangle)]
pub static RECORD_MASK: u64 = u64::MAX;

/// Most bytes that are kept of a frame. Set at load.
#[unsafe(no_mangle)]
pub static RECORD_SNAP: u32 = RECORD_LEN_MAX as u32;

/// Whether the packet that was counted as this many of its reason is a sample.
#[inline(always)]
pub fn samples(packets: u64) -> bool {
    // SAFETY: read once; set at load, and constant to the verifier.
    packets & unsafe { read_volatile(&RECORD_MASK) } == 0
}

/// Whether a packet is always recorded, or as good as.
#[inline(always)]
pub fn wants<F: Family>(packet: &Packet<F>, verdict: &Verdict<F>) -> bool {
    record::class(verdict.action, verdict.reason, &packet.segment).is_some()
}

/// The place of a record that was left out: outside the rings.
pub const LEFT_OUT: u32 = u32::MAX;

/// What is known of a record besides its frame.
struct About {
    class: Class,
    device: u32,
    server: u16,
    reason: u32,
    ifindex: u32,
    frame_len: u32,
    flags: u32,
    epoch: u16,
    incarnation: u32,
}

/// Records a packet as it is now; gives the number of its place, from 1 on, or 0 if it is left out.
#[inline(always)]
pub fn keep<F: Family>(
    context: *mut xdp_md,
    packet: &Packet<F>,
    verdict: &Verdict<F>,
    (frame_len, flags): (u64, u32),
) -> u32 {
    let class = record::class(verdict.action, verdict.reason, &packet.segment);
    let Some(class) = class else { return 0 };
    let lasting = if verdict.lasting { RECORD_LASTING } else { 0 };
    let about = About {
        class,
        device: verdict.device,
        server: verdict.server,
        reason: verdict.reason as u32,
        // SAFETY: the context is the one that the kernel called us with.
        ifindex: unsafe { (*context).ingress_ifindex },
        frame_len: frame_len as u32,
        flags: flags | lasting,
        epoch: verdict.epoch,
        incarnation: verdict.incarnation,
    };
    write(context, &about, u32::from(record::headers_len(packet)))
}

/// Puts into a record what became of its packet in the end.
#[inline(always)]
pub fn amend<F: Family>(place: u32, verdict: &Verdict<F>) {
    let Some(record) = RECORDS.get_ptr_mut(place.wrapping_sub(1)) else { return };
    // SAFETY: this CPU's own place, and no other program runs on it meanwhile.
    unsafe { (*record).reason = verdict.reason as u32 };
}

/// Records a sample: a packet that went the short way, as it leaves.
#[inline(always)]
pub fn sample(context: *mut xdp_md, account: &Account, (segment, way): (&Segment, Way)) {
    let about = About {
        class: Class::Plain,
        device: account.device,
        server: account.server,
        reason: account.reason as u32,
        ifindex: way.ifindex,
        frame_len: way.frame_len,
        flags: RECORD_LEFT | RECORD_LASTING,
        epoch: 0,
        incarnation: 0,
    };
    let headers_len = match segment.flags {
        0 => way.transport + 8,
        _ => way.frame_len.saturating_sub(u32::from(record::payload_len(segment))),
    };
    write(context, &about, headers_len);
}

/// How a sample leaves.
pub struct Way {
    /// Interface that it leaves by.
    pub ifindex: u32,
    /// Length of its frame as it came in.
    pub frame_len: u32,
    /// Where its transport header was.
    pub transport: u32,
}

/// Writes a record; gives the number of its place, from 1 on, or 0 if there is none for it.
#[inline(always)]
fn write(context: *mut xdp_md, about: &About, headers_len: u32) -> u32 {
    // SAFETY: read once; set at load, and constant to the verifier.
    let ring = unsafe { read_volatile(&RECORD_RING) };
    if ring == 0 {
        return 0;
    }
    let Some(number) = take(about.class, ring) else { return 0 };
    let index = about.class as u32 * ring + (number as u32 & (ring - 1));
    let Some(record) = RECORDS.get_ptr_mut(index) else { return 0 };
    // SAFETY: read once; set at load, and constant to the verifier.
    let snap = unsafe { read_volatile(&RECORD_SNAP) };
    let len = core::hint::black_box(headers_len.min(snap).min(about.frame_len));
    if len == 0 || len > RECORD_LEN_MAX as u32 {
        return 0;
    }
    // SAFETY: this CPU's own place, and no other program runs on it meanwhile.
    let record = unsafe { &mut *record };
    store(&raw mut record.end, 0);
    store(&raw mut record.begin, number);
    let frame = record.frame.as_mut_ptr().cast();
    // SAFETY: the frame has `len` bytes, which the helper checks, and the place has room for them.
    if unsafe { bpf_xdp_load_bytes(context, 0, frame, len) } != 0 {
        return 0;
    }
    // SAFETY: the helper takes no argument.
    record.at_ns = unsafe { bpf_ktime_get_ns() };
    record.device = about.device;
    record.ifindex = about.ifindex;
    record.frame_len = about.frame_len;
    record.server = about.server;
    record.len = len as u16;
    record.reason = about.reason;
    record.flags = about.flags;
    record.incarnation = about.incarnation;
    record.epoch = about.epoch;
    store(&raw mut record.end, number);
    index + 1
}

/// The number of the next record of a class; `None` when its rate is used up.
#[inline(always)]
fn take(class: Class, ring: u32) -> Option<u64> {
    let of = RECORDER.get_ptr_mut(0)?;
    // SAFETY: this CPU's own value, and no other program runs on it meanwhile.
    let of = unsafe { &mut (*of).classes[class as usize] };
    let window = clock::window();
    if of.window != window {
        of.window = window;
        of.used = 0;
    }
    if of.used >= u64::from((ring >> WINDOW_SHARE_SHIFT).max(1)) {
        of.left_out += 1;
        return None;
    }
    of.used += 1;
    of.recorded += 1;
    Some(of.recorded)
}
