//! A verdict carried out on its frame: everything is checked before the first byte is written (G8).

use crate::answer;
use crate::family::{Family, IpHeader};
use crate::frame::Frame;
use crate::headers::{
    ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, ETHER_TYPE_QINQ, ETHER_TYPE_VLAN, ETHERNET_LEN, Ethernet,
    Mac, VLAN_LEN, VlanTag,
};
use crate::nat;
use crate::order::Be16;
use crate::packet::{OFFSET_MASK, Packet};
use crate::tables::{Interface, Tables};
use crate::tunnel;
use crate::verdict::{Action, Reason, Verdict};
use crate::wire::{Hop, ServerLine, Tags};

/// Where a frame leaves the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// To the kernel's stack.
    Pass,
    /// Nowhere.
    Drop,
    /// By the interface with this index.
    Send(u16),
    /// By the interface that it came in by.
    Back,
}

/// Carries a verdict out; gives where the frame leaves and the reason that was really met.
#[inline(always)]
pub fn apply<F: Family, X: Frame, T: Tables<F>>(
    frame: X,
    packet: &Packet<F>,
    verdict: &Verdict<F>,
    tables: &T,
    tags: Tags,
) -> (Exit, Reason) {
    match verdict.action {
        Action::Pass => (Exit::Pass, verdict.reason),
        Action::Drop => (Exit::Drop, verdict.reason),
        Action::ToServer | Action::ToClient | Action::Direct | Action::Tunnel => {
            redirect(frame, packet, verdict, tables, tags)
        }
        Action::Reset => back(answer::reset(frame, packet), verdict.reason),
        Action::Echo => back(answer::echo(frame, packet), verdict.reason),
        Action::Unreachable => {
            back(answer::unreachable(frame, packet, tables, (verdict.reason, 0)), verdict.reason)
        }
    }
}

/// An answer goes back; what cannot be answered is dropped.
#[inline(always)]
fn back<X>(answer: Result<X, Reason>, reason: Reason) -> (Exit, Reason) {
    match answer {
        Ok(_) => (Exit::Back, reason),
        Err(Reason::Truncated) => (Exit::Drop, Reason::NoRoom),
        Err(failed) => (Exit::Drop, failed),
    }
}

/// How the frame changes from its beginning to its network header.
#[derive(Debug, Clone, Copy)]
struct Outside {
    /// The interface it leaves by; None leaves it to the kernel.
    interface: Option<Interface>,
    /// Its Ethernet addresses.
    destination: Mac,
    source: Mac,
    /// Its tags, before and after.
    tags_before: Tags,
    tags: Tags,
    /// Length of outer headers.
    outer_len: usize,
    /// EtherType.
    ether_type: Be16,
}

impl Outside {
    /// How far the network header moves away from the frame's beginning.
    #[inline(always)]
    fn moved(&self) -> isize {
        let tags_len = |tags: Tags| (tags.count() * VLAN_LEN) as isize;
        self.outer_len as isize + tags_len(self.tags) - tags_len(self.tags_before)
    }
}

/// Sends a packet on, rewritten or wrapped.
#[inline(always)]
fn redirect<F: Family, X: Frame, T: Tables<F>>(
    frame: X,
    packet: &Packet<F>,
    verdict: &Verdict<F>,
    tables: &T,
    tags: Tags,
) -> (Exit, Reason) {
    let server = match verdict.action {
        Action::Tunnel => tables.server(verdict.server).map(|server| server.line),
        _ => None,
    };
    let outer_len = server.map_or(0, |line| tunnel::outer_len(line, verdict.forwarding));
    let mut interface = tables.interface(verdict.egress.ifindex());
    if let Some(known) = &interface
        && known.mtu != 0
        && packet.len() + outer_len > known.mtu as usize
    {
        match too_long(&frame, packet) {
            Long::ToKernel if !matches!(verdict.action, Action::Direct) => interface = None,
            Long::ToKernel => return (Exit::Drop, Reason::NoRoom),
            Long::Answer => {
                let mtu = known.mtu - outer_len as u32;
                return too_big(frame, packet, tables, mtu);
            }
        }
    }
    let outside = match outside(&frame, verdict.egress, (interface, tags), outer_len) {
        Ok(outside) => outside,
        Err(reason) => return (Exit::Pass, reason),
    };
    let outside = Outside { ether_type: ether_type::<F>(server), ..outside };
    if let Err(reason) = nat::check(&frame, packet) {
        return (Exit::Pass, reason);
    }
    let frame = match outside.moved() {
        0 => frame,
        moved => match frame.moved_head(moved) {
            Ok(frame) => frame,
            Err(reason) => return (Exit::Drop, reason),
        },
    };
    // From here on only what `check` has found to be there is touched.
    match write(frame, packet, (verdict, server), (tables, &outside)) {
        Ok(()) => (exit(&outside), verdict.reason),
        Err(_) => (Exit::Drop, Reason::NoRoom),
    }
}

#[inline(always)]
fn exit(outside: &Outside) -> Exit {
    match outside.interface {
        Some(interface) => Exit::Send(interface.own.ifindex()),
        // Neighbour or interface unknown: the kernel's stack resolves and routes the rewritten
        // packet.
        None => Exit::Pass,
    }
}

#[inline(always)]
fn ether_type<F: Family>(server: Option<&ServerLine>) -> Be16 {
    match server {
        Some(line) if tunnel::over_v6(line) => ETHER_TYPE_IPV6,
        Some(_) => ETHER_TYPE_IPV4,
        None => F::ETHER_TYPE,
    }
}

/// What becomes of a packet that does not fit.
enum Long {
    /// It may be fragmented, which the kernel can do.
    ToKernel,
    /// Its sender is told.
    Answer,
}

#[inline(always)]
fn too_long<F: Family>(frame: &impl Frame, packet: &Packet<F>) -> Long {
    match frame.header::<F::Header>(usize::from(packet.layout.network) & OFFSET_MASK) {
        Ok(ip) if ip.keeps_whole() => Long::Answer,
        _ => Long::ToKernel,
    }
}

#[inline(always)]
fn too_big<F: Family, X: Frame, T: Tables<F>>(
    frame: X,
    packet: &Packet<F>,
    tables: &T,
    mtu: u32,
) -> (Exit, Reason) {
    if !tables.may_answer() {
        return (Exit::Drop, Reason::AnswerLimited);
    }
    back(answer::unreachable(frame, packet, tables, (Reason::TooBig, mtu)), Reason::TooBig)
}

/// What the frame's beginning will be.
#[inline(always)]
fn outside(
    frame: &impl Frame,
    egress: Hop,
    (interface, tags_before): (Option<Interface>, Tags),
    outer_len: usize,
) -> Result<Outside, Reason> {
    let ethernet: &Ethernet = frame.header(0)?;
    let (destination, source, tags) = match interface {
        Some(interface) => (egress.mac(), interface.own.mac(), interface.tags),
        None => (ethernet.destination, ethernet.source, tags_before),
    };
    let ether_type = Be16::default();
    Ok(Outside { interface, destination, source, tags_before, tags, outer_len, ether_type })
}

/// Writes everything.
#[inline(always)]
fn write<F: Family, X: Frame, T: Tables<F>>(
    mut frame: X,
    packet: &Packet<F>,
    (verdict, server): (&Verdict<F>, Option<&ServerLine>),
    (tables, outside): (&T, &Outside),
) -> Result<(), Reason> {
    let moved = outside.moved();
    let network = nat::at(packet.layout.network, moved);
    match (verdict.action, server) {
        (Action::Tunnel, Some(server)) => {
            let outer = network - outside.outer_len;
            tunnel::wrap(&mut frame, packet, tables, (server, verdict.forwarding, outer))?;
        }
        (Action::Direct, _) => {
            frame.change(network, |ip: &mut F::Header| ip.take_hop())?;
        }
        _ => nat::translate(&mut frame, packet, verdict, moved)?,
    }
    if verdict.mss_max.raw() != 0 {
        nat::clamp_mss(&mut frame, packet, verdict.mss_max, moved);
    }
    write_link(&mut frame, outside)
}

/// Writes Ethernet header and tags. Where the number of tags stays, so does their priority.
#[inline(always)]
fn write_link(frame: &mut impl Frame, outside: &Outside) -> Result<(), Reason> {
    let count = outside.tags.count();
    let first_type = match count {
        0 => outside.ether_type,
        1 => ETHER_TYPE_VLAN,
        _ => ETHER_TYPE_QINQ,
    };
    frame.change(0, |ethernet: &mut Ethernet| {
        ethernet.destination = outside.destination;
        ethernet.source = outside.source;
        ethernet.ether_type = first_type;
    })?;
    if count == 0 {
        return Ok(());
    }
    let kept = count == outside.tags_before.count();
    let put = |frame: &mut _, at: usize, id: u16, ether_type: Be16| {
        Frame::change(frame, at, |tag: &mut VlanTag| {
            let priority = if kept { tag.control.get() & 0xf000 } else { 0 };
            *tag = VlanTag { control: Be16::new(priority | id), ether_type };
        })
    };
    if count == 1 {
        return put(frame, ETHERNET_LEN, outside.tags.inner(), outside.ether_type);
    }
    put(frame, ETHERNET_LEN, outside.tags.outer(), ETHER_TYPE_VLAN)?;
    put(frame, ETHERNET_LEN + VLAN_LEN, outside.tags.inner(), outside.ether_type)
}
