//! The steps of a packet, and what lies between them: a [`Packet`], then a [`Verdict`].
//!
//! Each step is a function of its own in the object, with global linkage: the kernel gives a chain
//! of calls 512 bytes of stack, and it verifies a global function once by itself instead of along
//! every way that leads to it. So a step gets nothing but the context, and finds the rest in a map.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::bpf_redirect;
use redirector_common::apply::{self, Exit, Next, Work};
use redirector_common::decide;
use redirector_common::family::{Family, V4, V6};
use redirector_common::frame::Frame;
use redirector_common::headers::{Ethernet, Station};
use redirector_common::packet::Packet;
use redirector_common::parse::{self, Link, Plain};
use redirector_common::record::RECORD_LEFT;
use redirector_common::response::Saying;
use redirector_common::short_way::{self, Taken};
use redirector_common::verdict::{REASONS_LEN, Reason, Verdict};
use redirector_common::wire::{Hop, Tags};

use crate::frame::PacketMemory;
use crate::maps::{self, Maps};
use crate::recall;
use crate::recorder;
use crate::response;
use crate::tables::KernelTables;

/// What lies between the steps, one for each CPU.
#[repr(C)]
pub struct Step<F: Family> {
    network: usize,
    tags: Tags,
    frame_len: u64,
    packet: Packet<F>,
    verdict: Verdict<F>,
    work: Work,
    /// Place of the packet's record, from 1 on; 0 if it has none.
    record: u32,
}

impl<F: Maps> Step<F> {
    /// Frame -> packet.
    #[inline(always)]
    fn parse(&mut self, context: *mut xdp_md) -> Result<(), Reason> {
        let frame = PacketMemory::new(context);
        let ingress = KernelTables::new(context).ingress();
        let index = maps::arrival(ingress, self.tags).ok_or(Reason::VlanUnknown)?;
        let arrival = Hop::to_station(sender(&frame)?, index);
        let network = self.network & parse::NETWORK_MASK;
        parse::packet(&frame, network, arrival, &mut self.packet)?;
        // The length of all buffers costs a call; a packet that ends in the first one has no more.
        let (end, linear_len) = (usize::from(self.packet.layout.end), frame.linear_len());
        self.frame_len = if end <= linear_len { linear_len } else { frame.len() } as u64;
        Ok(())
    }

    /// Verdict -> what is to be done with the frame.
    #[inline(always)]
    fn prepare(&mut self, context: *mut xdp_md) -> Next {
        let tables = KernelTables::new(context);
        let frame = PacketMemory::new(context);
        let way = (&mut self.verdict, &mut self.work);
        apply::prepare(frame, &self.packet, way, (&tables, self.tags)).1
    }

    /// Counts the packet at its one exit; gives the XDP action.
    #[inline(always)]
    fn leave(&self, context: *mut xdp_md) -> u32 {
        let tables = KernelTables::new(context);
        crate::count(context, &self.packet, &self.verdict, self.frame_len);
        exit(self.work.exit, u32::from(self.work.ifindex), tables.ingress())
    }
}

/// The XDP action by which a frame leaves.
#[inline(always)]
fn exit(exit: Exit, ifindex: u32, ingress: u32) -> u32 {
    match exit {
        Exit::Pass => XDP_PASS,
        Exit::Drop => XDP_DROP,
        Exit::Back => XDP_TX,
        Exit::Send if ifindex == ingress => XDP_TX,
        // SAFETY: the helper takes plain numbers and only notes the target.
        Exit::Send => (unsafe { bpf_redirect(ifindex, 0) }) as u32,
    }
}

/// Who sent the frame.
#[inline(always)]
fn sender(frame: &impl Frame) -> Result<Station, Reason> {
    let ethernet: &Ethernet = frame.header(0)?;
    Ok(ethernet.source)
}

/// The steps of a family, as functions of the object.
pub trait Steps: Maps {
    /// Frame -> frame, for most packets: gives the XDP action, or [`NOT_TAKEN`] for the others.
    fn short(context: *mut xdp_md) -> u32;
    /// Frame -> packet -> verdict: the decision's first question. Gives [`KNOWN`] when it has an
    /// answer, [`UNKNOWN`] when it has none, or a reason's number to pass the frame.
    fn meet(context: *mut xdp_md) -> u32;
    /// Packet -> verdict: its second.
    fn to_service(context: *mut xdp_md) -> u32;
    /// Packet -> verdict: its third.
    fn from_server(context: *mut xdp_md) -> u32;
    /// Verdict -> room in the frame, and for most packets all the rest: then gives the XDP action,
    /// else the number of what is next, above all actions.
    fn carry_out(context: *mut xdp_md) -> u32;
    /// Frame -> its answer.
    fn answer(context: *mut xdp_md) -> u32;
    /// Frame -> the packet that goes on.
    fn write(context: *mut xdp_md) -> u32;
    /// The same for an ICMP error.
    fn write_error(context: *mut xdp_md) -> u32;
    /// The rest of the work on a SYN.
    fn clamp(context: *mut xdp_md) -> u32;
    /// Counts the packet, and gives the XDP action.
    fn leave(context: *mut xdp_md) -> u32;
    /// Records the packet as it came in.
    fn record(context: *mut xdp_md) -> u32;
    /// Records what became of it.
    fn amend(context: *mut xdp_md) -> u32;
}

/// Keeps the compiler from seeing that a step does without its context: the caller would then pass
/// nothing in its place, which the verifier refuses.
#[inline(always)]
fn used(context: *mut xdp_md) -> *mut xdp_md {
    core::hint::black_box(context)
}

macro_rules! steps {
    ($family:ty, $short:ident
     $($name:ident $function:ident($step:ident, $context:ident) $body:block)+) => {
        $(
            #[unsafe(no_mangle)]
            #[inline(never)]
            extern "C" fn $function(context: *mut xdp_md) -> u32 {
                let $context = used(context);
                let Some($step) = <$family>::step() else { return FAILED };
                $body
            }
        )+

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $short(context: *mut xdp_md) -> u32 {
            short::<$family>(used(context))
        }

        impl Steps for $family {
            #[inline(always)]
            fn short(context: *mut xdp_md) -> u32 {
                $short(context)
            }

            $(
                #[inline(always)]
                fn $name(context: *mut xdp_md) -> u32 {
                    $function(context)
                }
            )+
        }
    };
}

/// What a step gives that does not find its place: to all of them, that there is nothing to do.
const FAILED: u32 = 1;
/// What a step gives that has nothing to tell.
const DONE: u32 = 0;

macro_rules! steps_of {
    ($family:ty, $short:ident $meet:ident $to_service:ident $from_server:ident $carry_out:ident
     $answer:ident $write:ident $write_error:ident $clamp:ident $leave:ident $record:ident
     $amend:ident) => {
        steps! { $family, $short
            meet $meet(step, context) {
                match step.parse(context) {
                    Ok(()) => {}
                    Err(reason) => return reason as u32,
                }
                // From here on the compiler knows no more of the packet than the verifier does.
                let step = core::hint::black_box(step);
                let tables = KernelTables::new(context);
                match decide::known(&step.packet, &tables, &mut step.verdict) {
                    true => KNOWN,
                    false => UNKNOWN,
                }
            }
            to_service $to_service(step, context) {
                let tables = KernelTables::new(context);
                let decided = decide::to_service(&step.packet, &tables, &mut step.verdict);
                if decided {
                    let step = core::hint::black_box(step);
                    recall::keep(context, &step.packet, &step.verdict);
                }
                u32::from(decided)
            }
            from_server $from_server(step, context) {
                let tables = KernelTables::new(context);
                decide::from_server(&step.packet, &tables, &mut step.verdict);
                DONE
            }
            carry_out $carry_out(step, context) {
                match step.prepare(context) {
                    Next::Answer => return ANSWER,
                    Next::Write if apply::translates_error(&step.packet, &step.verdict) => {
                        return WRITE_ERROR;
                    }
                    Next::Write if apply::clamps(&step.verdict) => return WRITE_CLAMPED,
                    Next::Write => {
                        let tables = KernelTables::new(context);
                        let way = (&mut step.verdict, &mut step.work);
                        apply::write(&mut PacketMemory::new(context), &step.packet, way, &tables);
                    }
                    Next::Leave => {}
                }
                let step = core::hint::black_box(step);
                step.leave(context)
            }
            answer $answer(step, context) {
                let tables = KernelTables::new(context);
                let way = (&mut step.verdict, &mut step.work);
                apply::answer(PacketMemory::new(context), &step.packet, way, &tables);
                DONE
            }
            write $write(step, context) {
                let tables = KernelTables::new(context);
                let way = (&mut step.verdict, &mut step.work);
                apply::write(&mut PacketMemory::new(context), &step.packet, way, &tables);
                DONE
            }
            write_error $write_error(step, context) {
                let way = (&mut step.verdict, &mut step.work);
                apply::write_error(&mut PacketMemory::new(context), &step.packet, way);
                DONE
            }
            clamp $clamp(step, context) {
                let mut frame = PacketMemory::new(context);
                apply::clamp(&mut frame, &step.packet, &step.verdict, &step.work);
                DONE
            }
            leave $leave(step, context) {
                step.leave(context)
            }
            record $record(step, context) {
                let of = (step.frame_len, 0);
                let place = recorder::keep(context, &step.packet, &step.verdict, of);
                step.record = if place == 0 { recorder::LEFT_OUT } else { place };
                DONE
            }
            amend $amend(step, context) {
                if step.record != 0 {
                    recorder::amend(step.record, &step.verdict);
                } else {
                    let of = (PacketMemory::new(context).len() as u64, RECORD_LEFT);
                    recorder::keep(context, &step.packet, &step.verdict, of);
                }
                DONE
            }
        }
    };
}

steps_of!(V4, short4 meet4 to_service4 from_server4 carry_out4 answer4 write4 write_error4
    clamp4 leave4 record4 amend4);
steps_of!(V6, short6 meet6 to_service6 from_server6 carry_out6 answer6 write6 write_error6
    clamp6 leave6 record6 amend6);

/// Takes a packet of family `F` from its frame to its XDP action; `Err` with the number of the
/// reason for which it passes untouched.
///
/// Most packets take one call, and those of a flow that is known two more: a return costs where the
/// processor must not predict it.
#[inline(always)]
pub fn walk<F: Steps>(context: *mut xdp_md, link: &Link) -> Result<u32, u32> {
    if link.tags == Tags::NONE {
        let action = F::short(context);
        if action != NOT_TAKEN {
            return Ok(action);
        }
    }
    let Some(step) = F::step() else { return Ok(XDP_PASS) };
    step.network = link.network;
    step.tags = link.tags;
    step.record = 0;
    match F::meet(context) {
        KNOWN => {}
        UNKNOWN => {
            if F::to_service(context) == 0 {
                F::from_server(context);
            }
        }
        reason => return Err(reason),
    }
    // From here on the compiler knows no more of the packet than that the steps may change it.
    let step = core::hint::black_box(step);
    let wanted = recorder::wants(&step.packet, &step.verdict);
    if wanted {
        F::record(context);
    }
    let action = finish::<F>(context);
    let step = core::hint::black_box(step);
    // What an exit turns out to be, no hop or too small, is known only now.
    if wanted || recorder::wants(&step.packet, &step.verdict) {
        F::amend(context);
    }
    Ok(action)
}

/// Verdict -> XDP action.
#[inline(always)]
fn finish<F: Steps>(context: *mut xdp_md) -> u32 {
    match F::carry_out(context) {
        ANSWER => {
            F::answer(context);
        }
        WRITE_ERROR => {
            F::write_error(context);
        }
        WRITE_CLAMPED => {
            F::write(context);
            F::clamp(context);
        }
        action => return action,
    }
    F::leave(context)
}

/// Frame -> frame, for most packets; gives the XDP action, or [`NOT_TAKEN`].
#[inline(always)]
fn short<F: Maps>(context: *mut xdp_md) -> u32 {
    let tables = KernelTables::new(context);
    let frame = PacketMemory::new(context);
    let frame_len = frame.linear_len() as u64;
    let ingress = tables.ingress();
    let mut taken = Taken::nothing();
    if short_way::take::<F, _, _>(frame, &tables, ingress as u16, &mut taken).is_err() {
        return NOT_TAKEN;
    }
    let saying = Saying::new(taken.client, taken.account.action, &taken.segment);
    response::note(&taken.account, &saying);
    let packets = maps::count(&taken.account, &taken.segment, true, frame_len);
    if recorder::samples(packets) && !matches!(taken.exit, Exit::Pass) {
        let (ifindex, transport) = (u32::from(taken.ifindex), Plain::<F>::TRANSPORT as u32);
        let way = recorder::Way { ifindex, frame_len: frame_len as u32, transport };
        recorder::sample(context, &taken.account, (&taken.segment, way));
    }
    exit(taken.exit, u32::from(taken.ifindex), ingress)
}

/// What [`Steps::short`] gives, above all XDP actions.
const NOT_TAKEN: u32 = 16;
/// What [`Steps::meet`] gives, above all reasons.
const KNOWN: u32 = REASONS_LEN;
const UNKNOWN: u32 = KNOWN + 1;
/// What [`Steps::carry_out`] gives, above all XDP actions.
const ANSWER: u32 = 16;
const WRITE_ERROR: u32 = 17;
const WRITE_CLAMPED: u32 = 18;
