//! A verdict carried out on its frame, in steps: everything is checked and the room is made before
//! the first byte is written (G8).
//!
//! The steps are separate so that the kernel's verifier, which walks every way through a function,
//! meets each only once. [`apply`] is all of them.

use crate::answer;
use crate::family::{Family, IpHeader};
use crate::frame::Frame;
use crate::headers::{
    ETHER_TYPE_QINQ, ETHER_TYPE_VLAN, ETHERNET_LEN, Ethernet, Station, VLAN_LEN, VlanTag,
};
use crate::nat::{self, Ends};
use crate::order::Be16;
use crate::packet::{OFFSET_MASK, Packet};
use crate::tables::{Interface, Tables};
use crate::tunnel;
use crate::verdict::{Action, Reason, Verdict};
use crate::wire::{ServerLine, Tags};

/// Where a frame leaves the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// To the kernel's stack.
    Pass,
    /// Nowhere.
    Drop,
    /// By the interface that the work names.
    Send,
    /// By the interface that it came in by.
    Back,
}

/// What is to be done next with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Next {
    /// Nothing: the exit is decided.
    Leave,
    /// [`answer`].
    Answer,
    /// [`write`], or [`write_error`] for an ICMP error that is translated.
    Write,
}

/// The work that a verdict makes: how the frame changes from its beginning to its network header,
/// and where it leaves.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// Where it leaves.
    pub exit: Exit,
    /// Index of the interface that it leaves by, for [`Exit::Send`].
    pub ifindex: u16,
    /// New Ethernet addresses.
    destination: Station,
    source: Station,
    /// New EtherType of the packet.
    ether_type: Be16,
    /// Tags before and after.
    tags_before: Tags,
    tags: Tags,
    /// Length of outer headers in bytes.
    outer_len: u16,
    /// How far the network header moves away from the frame's beginning, in bytes.
    moved: i16,
    /// Longest packet that would have been taken, in bytes; counts for `TooBig`.
    mtu: u32,
}

impl Work {
    /// A place for work.
    #[inline(always)]
    pub fn none() -> Self {
        Self {
            exit: Exit::Pass,
            ifindex: 0,
            destination: Station::default(),
            source: Station::default(),
            ether_type: Be16::default(),
            tags_before: Tags::NONE,
            tags: Tags::NONE,
            outer_len: 0,
            moved: 0,
            mtu: 0,
        }
    }

    #[inline(always)]
    fn leave(&mut self, exit: Exit) -> Next {
        self.exit = exit;
        Next::Leave
    }
}

/// Carries a verdict out. Where the frame leaves is in `work`, the reason really met in `verdict`.
#[inline(always)]
pub fn apply<F: Family, X: Frame, T: Tables<F>>(
    frame: X,
    packet: &Packet<F>,
    (verdict, work): (&mut Verdict<F>, &mut Work),
    (tables, tags): (&T, Tags),
) -> X {
    let (mut frame, next) = prepare(frame, packet, (verdict, work), (tables, tags));
    match next {
        Next::Leave => frame,
        Next::Answer => answer(frame, packet, (verdict, work), tables),
        Next::Write => {
            if translates_error(packet, verdict) {
                write_error(&mut frame, packet, (verdict, work));
            } else {
                write(&mut frame, packet, (verdict, work), tables);
            }
            if clamps(verdict) {
                clamp(&mut frame, packet, verdict, work);
            }
            frame
        }
    }
}

/// Checks everything, and makes the room that the packet needs.
#[inline(always)]
pub fn prepare<F: Family, X: Frame, T: Tables<F>>(
    frame: X,
    packet: &Packet<F>,
    (verdict, work): (&mut Verdict<F>, &mut Work),
    (tables, tags): (&T, Tags),
) -> (X, Next) {
    match verdict.action {
        Action::Pass => (frame, work.leave(Exit::Pass)),
        Action::Drop => (frame, work.leave(Exit::Drop)),
        Action::Reset | Action::Echo | Action::Unreachable => {
            // The place still holds another packet's work.
            work.mtu = 0;
            (frame, Next::Answer)
        }
        Action::ToServer | Action::ToClient | Action::Direct | Action::Tunnel => {
            make_room(frame, packet, (verdict, work), (tables, tags))
        }
    }
}

#[inline(always)]
fn make_room<F: Family, X: Frame, T: Tables<F>>(
    frame: X,
    packet: &Packet<F>,
    (verdict, work): (&mut Verdict<F>, &mut Work),
    (tables, tags): (&T, Tags),
) -> (X, Next) {
    let server = tunnel_server(tables, verdict);
    work.outer_len = server.map_or(0, |line| tunnel::outer_len(line, verdict.forwarding)) as u16;
    work.ether_type = ether_type::<F>(server);
    let mut interface = tables.interface(verdict.egress.ifindex());
    if let Some(known) = interface
        && known.mtu != 0
        && packet.len() + usize::from(work.outer_len) > known.mtu as usize
    {
        // What may be fragmented is left to the kernel, which can do that; but outer headers forbid
        // it, and what owns its destination address is not routed there.
        let whole = keeps_whole(&frame, packet);
        if whole || matches!(verdict.action, Action::Direct | Action::Tunnel) {
            work.mtu = known.mtu - u32::from(work.outer_len);
            return (frame, too_big(tables, verdict, work));
        }
        interface = None;
    }
    let checked = outside(&frame, (verdict, work), (interface, tags))
        .and_then(|()| nat::check(&frame, packet));
    if let Err(reason) = checked {
        verdict.reason = reason;
        return (frame, work.leave(Exit::Pass));
    }
    if work.moved == 0 {
        return (frame, Next::Write);
    }
    match frame.moved_head(isize::from(work.moved)) {
        Ok(frame) => (frame, Next::Write),
        Err(frame) => {
            verdict.reason = Reason::NoRoom;
            (frame, work.leave(Exit::Drop))
        }
    }
}

#[inline(always)]
fn tunnel_server<'a, F: Family, T: Tables<F>>(
    tables: &'a T,
    verdict: &Verdict<F>,
) -> Option<&'a ServerLine> {
    match verdict.action {
        Action::Tunnel => tables.server(verdict.server).map(|server| server.line),
        _ => None,
    }
}

#[inline(always)]
fn ether_type<F: Family>(server: Option<&ServerLine>) -> Be16 {
    server.map_or(F::ETHER_TYPE, tunnel::ether_type)
}

#[inline(always)]
fn keeps_whole<F: Family>(frame: &impl Frame, packet: &Packet<F>) -> bool {
    let network = usize::from(packet.layout.network) & OFFSET_MASK;
    frame.header::<F::Header>(network).is_ok_and(IpHeader::keeps_whole)
}

/// The packet's sender is told that it does not fit, as far as the rate allows.
#[inline(always)]
fn too_big<F: Family, T: Tables<F>>(tables: &T, verdict: &mut Verdict<F>, work: &mut Work) -> Next {
    if tables.may_answer() {
        verdict.action = Action::Unreachable;
        verdict.reason = Reason::TooBig;
        return Next::Answer;
    }
    verdict.reason = Reason::AnswerLimited;
    work.leave(Exit::Drop)
}

/// What the frame's beginning will be, and where it leaves.
#[inline(always)]
fn outside<F: Family>(
    frame: &impl Frame,
    (verdict, work): (&Verdict<F>, &mut Work),
    (interface, tags_before): (Option<Interface>, Tags),
) -> Result<(), Reason> {
    let ethernet: &Ethernet = frame.header(0)?;
    work.tags_before = tags_before;
    match interface {
        Some(interface) => {
            work.exit = Exit::Send;
            work.ifindex = interface.own.ifindex();
            work.destination = verdict.egress.station();
            work.source = interface.own.station();
            work.tags = interface.tags;
        }
        // Neighbour or interface unknown: the kernel's stack resolves and routes the rewritten
        // packet.
        None => {
            work.exit = Exit::Pass;
            work.destination = ethernet.destination;
            work.source = ethernet.source;
            work.tags = tags_before;
        }
    }
    let tags_len = |tags: Tags| (tags.count() * VLAN_LEN) as i16;
    work.moved = work.outer_len as i16 + tags_len(work.tags) - tags_len(tags_before);
    Ok(())
}

/// Turns the frame into its answer and sends it back; what cannot be answered is dropped.
#[inline(always)]
pub fn answer<F: Family, X: Frame, T: Tables<F>>(
    frame: X,
    packet: &Packet<F>,
    (verdict, work): (&mut Verdict<F>, &mut Work),
    tables: &T,
) -> X {
    let answered = match verdict.action {
        Action::Reset => answer::reset(frame, packet),
        Action::Echo => answer::echo(frame, packet),
        _ => answer::unreachable(frame, packet, tables, (verdict.reason, work.mtu)),
    };
    match answered {
        Ok(frame) => {
            work.exit = Exit::Back;
            frame
        }
        Err((frame, reason)) => {
            work.exit = Exit::Drop;
            verdict.reason = reason;
            frame
        }
    }
}

/// Rewrites or wraps a packet that is no error. Only what [`prepare`] has found to be there is
/// touched.
#[inline(always)]
pub fn write<F: Family, T: Tables<F>>(
    frame: &mut impl Frame,
    packet: &Packet<F>,
    (verdict, work): (&mut Verdict<F>, &mut Work),
    tables: &T,
) {
    let moved = isize::from(work.moved);
    let network = nat::at(packet.layout.network, moved);
    let inside = match (verdict.action, tunnel_server(tables, verdict)) {
        (Action::Tunnel, Some(server)) => {
            let outer = network - usize::from(work.outer_len);
            let inner = (&packet.tuple, packet.len());
            tunnel::wrap(frame, inner, tables, (server, verdict.forwarding, outer))
        }
        (Action::ToServer | Action::ToClient, _) => {
            let transport = nat::at(packet.layout.transport, moved);
            nat::translate(frame, packet.kind, (network, transport), &Ends::of(verdict))
        }
        _ => frame.change(network, |ip: &mut F::Header| ip.take_hop()),
    };
    finish(frame, inside, (verdict, work));
}

/// Whether the packet is an error that has to be translated; where servers own the service address
/// it goes to them as it is.
#[inline(always)]
pub fn translates_error<F: Family>(packet: &Packet<F>, verdict: &Verdict<F>) -> bool {
    packet.is_error() && matches!(verdict.action, Action::ToServer | Action::ToClient)
}

/// Rewrites an ICMP error and what it quotes. Only what [`prepare`] has found to be there is
/// touched.
#[inline(always)]
pub fn write_error<F: Family>(
    frame: &mut impl Frame,
    packet: &Packet<F>,
    (verdict, work): (&mut Verdict<F>, &mut Work),
) {
    let inside = nat::translate_error(frame, packet, verdict, isize::from(work.moved));
    finish(frame, inside, (verdict, work));
}

#[inline(always)]
fn finish<F: Family>(
    frame: &mut impl Frame,
    inside: Result<(), Reason>,
    (verdict, work): (&mut Verdict<F>, &mut Work),
) {
    if inside.is_err() || write_link(frame, work).is_err() {
        verdict.reason = Reason::NoRoom;
        work.exit = Exit::Drop;
    }
}

/// Whether the packet's largest segment is to be limited.
#[inline(always)]
pub fn clamps<F: Family>(verdict: &Verdict<F>) -> bool {
    verdict.mss_max.raw() != 0
}

/// Limits the largest segment that a SYN asks for.
#[inline(always)]
pub fn clamp<F: Family>(
    frame: &mut impl Frame,
    packet: &Packet<F>,
    verdict: &Verdict<F>,
    work: &Work,
) {
    nat::clamp_mss(frame, packet, verdict.mss_max, isize::from(work.moved));
}

/// Writes Ethernet header and tags. Where the number of tags stays, so does their priority.
#[inline(always)]
fn write_link(frame: &mut impl Frame, work: &Work) -> Result<(), Reason> {
    let count = work.tags.count();
    let first_type = match count {
        0 => work.ether_type,
        1 => ETHER_TYPE_VLAN,
        _ => ETHER_TYPE_QINQ,
    };
    frame.change(0, |ethernet: &mut Ethernet| {
        ethernet.destination = work.destination;
        ethernet.source = work.source;
        ethernet.ether_type = first_type;
    })?;
    if count == 0 {
        return Ok(());
    }
    let kept = count == work.tags_before.count();
    let put = |frame: &mut _, at: usize, id: u16, ether_type: Be16| {
        Frame::change(frame, at, |tag: &mut VlanTag| {
            let priority = if kept { tag.control.get() & 0xf000 } else { 0 };
            *tag = VlanTag { control: Be16::new(priority | id), ether_type };
        })
    };
    if count == 1 {
        return put(frame, ETHERNET_LEN, work.tags.inner(), work.ether_type);
    }
    put(frame, ETHERNET_LEN, work.tags.outer(), ETHER_TYPE_VLAN)?;
    put(frame, ETHERNET_LEN + VLAN_LEN, work.tags.inner(), work.ether_type)
}
