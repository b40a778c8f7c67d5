//! The short way: a plain packet whose path is remembered, or which needs no entry, from frame to
//! frame in one go.
//!
//! Most packets are such, and nothing lies between their reading and their writing that another
//! step would have to find again. The decision is the same as on the long way, and made by the same
//! functions where it can be ([`decide::open`], [`nat::translate`]); a packet that is not plain, or
//! that needs more than a look, is left untouched for the long way. Tests run the same packets
//! along both.

use crate::apply::Exit;
use crate::decide;
use crate::family::{Family, IpHeader as _};
use crate::frame::Frame;
use crate::headers::Ethernet;
use crate::nat::{self, Ends};
use crate::order::Be16;
use crate::parse::{self, Plain};
use crate::path::Path;
use crate::response;
use crate::tables::Tables;
use crate::tcp::{FIN, RST, SYN, Segment};
use crate::tunnel;
use crate::verdict::{Account, Action, Reason};
use crate::wire::{Hop, MARK_SERVICE, MARK_TRACKED, Tags};

/// What became of a packet.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// To whose account it goes, and why.
    pub account: Account,
    /// Its TCP facts; all zero for UDP.
    pub segment: Segment,
    /// Where it leaves: not [`Exit::Back`].
    pub exit: Exit,
    /// Index of the interface that it leaves by, for [`Exit::Send`].
    pub ifindex: u16,
    /// The client's end ([`response::client`]), for what is carried.
    pub client: u64,
}

impl Taken {
    /// A place for what becomes of a packet.
    #[inline(always)]
    pub fn nothing() -> Self {
        Self {
            account: Account::of_nobody(Action::Pass, Reason::NotOurs),
            segment: Segment::default(),
            exit: Exit::Pass,
            ifindex: 0,
            client: 0,
        }
    }

    /// There is no room for what the packet would become.
    #[inline(always)]
    fn refuse(&mut self) {
        self.account.reason = Reason::NoRoom;
        self.exit = Exit::Drop;
    }
}

/// Takes an untagged packet whose EtherType is that of family `F`, and which came in by interface
/// `ingress`, along the short way.
///
/// # Errors
///
/// The frame as it was, if it cannot go there.
#[inline(always)]
pub fn take<F: Family, X: Frame, T: Tables<F>>(
    frame: X,
    tables: &T,
    ingress: u16,
    taken: &mut Taken,
) -> Result<X, X> {
    let Some(plain) = parse::plain::<F>(&frame) else { return Err(frame) };
    taken.segment = plain.segment;
    let to = tables.marks(F::parts(&F::destination(&plain.tuple)).0);
    // What the sender's address may be counts for nothing any more where this one may be both.
    let from = match !to & (MARK_SERVICE | MARK_TRACKED) {
        0 => 0,
        _ => tables.marks(F::parts(&F::source(&plain.tuple)).0),
    };
    if !decide::may_be_ours(from, to) {
        taken.account = Account::of_nobody(Action::Pass, Reason::NotOurs);
        taken.exit = Exit::Pass;
        return Ok(frame);
    }
    if plain.hops <= 1 {
        return Err(frame);
    }
    if (from | to) & MARK_TRACKED != 0 && !plain.segment.has(SYN | FIN | RST) {
        let arrival = Hop::to_station(plain.sender, ingress);
        if let Some(path) = tables.remembered(&plain.tuple)
            && let Some(egress) = decide::open(tables, &path, arrival)
        {
            return follow(frame, &plain, tables, (&path, egress), taken);
        }
        let mut path = Path::nowhere();
        let marks = (from, to, arrival);
        if let Some(egress) = decide::entered(&plain, tables, marks, &mut path) {
            tables.remember_path(&plain.tuple, &path);
            return follow(frame, &plain, tables, (&path, egress), taken);
        }
    }
    let Some(to) = decide::unrecorded(&plain, to, tables) else { return Err(frame) };
    let (device, server, reason) = (to.device, to.id, to.reason);
    taken.account = Account { action: Action::ToServer, reason, device, server };
    taken.client = response::asker::<F>(&plain.tuple);
    let address = F::address(&to.server.line.address);
    let ends = Ends::to_server(&address, to.port);
    send(frame, &plain, tables, (&ends, to.server.next_hop), taken)
}

/// Sends a packet along a path, if it may leave by `egress` as it is.
#[inline(always)]
fn follow<F: Family, X: Frame, T: Tables<F>>(
    frame: X,
    plain: &Plain<F>,
    tables: &T,
    (path, egress): (&Path<F>, Hop),
    taken: &mut Taken,
) -> Result<X, X> {
    let (device, server, reason) = (path.device, path.server, decide::reason_along(path));
    taken.account = Account { action: path.action, reason, device, server };
    taken.client = response::client::<F>(&plain.tuple, path.action, (&path.other, path.other_port));
    if matches!(path.action, Action::Tunnel) {
        return send_inside(frame, plain, tables, (path.forwarding, egress), taken);
    }
    send(frame, plain, tables, (&Ends::along(path), egress), taken)
}

/// Sends a packet on, if it may leave by `egress` as it is; then it gets its new ends.
#[inline(always)]
fn send<F: Family, X: Frame, T: Tables<F>>(
    mut frame: X,
    plain: &Plain<F>,
    tables: &T,
    (ends, egress): (&Ends<'_, F>, Hop),
    taken: &mut Taken,
) -> Result<X, X> {
    let Some(own) = way_out(tables, egress, plain.len) else { return Err(frame) };
    let places = (Plain::<F>::NETWORK, Plain::<F>::TRANSPORT);
    let inside = match taken.account.action {
        Action::ToServer => nat::translate(&mut frame, plain.kind, places, &ends.going(true)),
        Action::ToClient => nat::translate(&mut frame, plain.kind, places, &ends.going(false)),
        Action::Direct => frame.change(places.0, |ip: &mut F::Header| ip.take_hop()),
        _ => return Err(frame),
    };
    leave(&mut frame, (egress, own, F::ETHER_TYPE), inside, taken);
    Ok(frame)
}

/// Sends a packet on in another one, if that may leave by `egress` as it is.
#[inline(always)]
fn send_inside<F: Family, X: Frame, T: Tables<F>>(
    frame: X,
    plain: &Plain<F>,
    tables: &T,
    (forwarding, egress): (u8, Hop),
    taken: &mut Taken,
) -> Result<X, X> {
    let Some(server) = tables.server(taken.account.server) else { return Err(frame) };
    let outer_len = tunnel::outer_len(server.line, forwarding);
    let Some(own) = way_out(tables, egress, plain.len + outer_len) else { return Err(frame) };
    let mut frame = match frame.moved_head(outer_len as isize) {
        Ok(frame) => frame,
        Err(frame) => {
            taken.refuse();
            return Ok(frame);
        }
    };
    let tunnel = (server.line, forwarding, Plain::<F>::NETWORK);
    let inside = tunnel::wrap(&mut frame, (&plain.tuple, plain.len), tables, tunnel);
    leave(&mut frame, (egress, own, tunnel::ether_type(server.line)), inside, taken);
    Ok(frame)
}

/// Our own end of the way by `egress`, if a packet of `len` bytes may go there as it is.
#[inline(always)]
fn way_out<F: Family, T: Tables<F>>(tables: &T, egress: Hop, len: usize) -> Option<Hop> {
    let interface = tables.interface(egress.ifindex())?;
    let fits = interface.mtu == 0 || len <= interface.mtu as usize;
    (fits && interface.tags == Tags::NONE).then_some(interface.own)
}

/// Gives a frame its new Ethernet header and its exit.
#[inline(always)]
fn leave(
    frame: &mut impl Frame,
    (egress, own, ether_type): (Hop, Hop, Be16),
    inside: Result<(), Reason>,
    taken: &mut Taken,
) {
    let outside = frame.change(0, |ethernet: &mut Ethernet| {
        ethernet.destination = egress.station();
        ethernet.source = own.station();
        ethernet.ether_type = ether_type;
    });
    taken.exit = Exit::Send;
    taken.ifindex = own.ifindex();
    if inside.is_err() || outside.is_err() {
        // Both were read a moment ago.
        taken.refuse();
    }
}
