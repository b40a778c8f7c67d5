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
use crate::parse::{self, Plain};
use crate::path::Path;
use crate::tables::Tables;
use crate::tcp::{FIN, RST, SYN, Segment};
use crate::verdict::{Account, Action, Reason};
use crate::wire::{Hop, MARK_TRACKED, Tags};

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
        }
    }
}

/// Takes an untagged packet whose EtherType is that of family `F`, and which came in by interface
/// `ingress`, along the short way. False if it cannot go there: then nothing has changed.
#[inline(always)]
pub fn take<F: Family, T: Tables<F>>(
    frame: &mut impl Frame,
    tables: &T,
    ingress: u16,
    taken: &mut Taken,
) -> bool {
    let Some(plain) = parse::plain::<F>(frame) else { return false };
    taken.segment = plain.segment;
    let from = tables.marks(F::parts(&F::source(&plain.tuple)).0);
    let to = tables.marks(F::parts(&F::destination(&plain.tuple)).0);
    if !decide::may_be_ours(from, to) {
        taken.account = Account::of_nobody(Action::Pass, Reason::NotOurs);
        taken.exit = Exit::Pass;
        return true;
    }
    if plain.hops <= 1 {
        return false;
    }
    if (from | to) & MARK_TRACKED != 0 && !plain.segment.has(SYN | FIN | RST) {
        let arrival = Hop::new(plain.sender, ingress);
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
    let Some(to) = decide::unrecorded(&plain, to, tables) else { return false };
    let (device, server, reason) = (to.device, to.id, to.reason);
    taken.account = Account { action: Action::ToServer, reason, device, server };
    let address = F::address(&to.server.line.address);
    let ends = Ends::to_server(&address, to.port);
    send(frame, &plain, tables, (&ends, to.server.next_hop), taken)
}

/// Sends a packet along a path, if it may leave by `egress` as it is.
#[inline(always)]
fn follow<F: Family, T: Tables<F>>(
    frame: &mut impl Frame,
    plain: &Plain<F>,
    tables: &T,
    (path, egress): (&Path<F>, Hop),
    taken: &mut Taken,
) -> bool {
    let (device, server, reason) = (path.device, path.server, decide::reason_along(path));
    taken.account = Account { action: path.action, reason, device, server };
    send(frame, plain, tables, (&Ends::along(path), egress), taken)
}

/// Sends a packet on, if it may leave by `egress` as it is; then it gets its new ends.
#[inline(always)]
fn send<F: Family, T: Tables<F>>(
    frame: &mut impl Frame,
    plain: &Plain<F>,
    tables: &T,
    (ends, egress): (&Ends<'_, F>, Hop),
    taken: &mut Taken,
) -> bool {
    let Some(interface) = tables.interface(egress.ifindex()) else { return false };
    let fits = interface.mtu == 0 || plain.len <= interface.mtu as usize;
    if !fits || interface.tags != Tags::NONE {
        return false;
    }
    let places = (Plain::<F>::NETWORK, Plain::<F>::TRANSPORT);
    let inside = match taken.account.action {
        Action::ToServer => nat::translate(frame, plain.kind, places, &ends.going(true)),
        Action::ToClient => nat::translate(frame, plain.kind, places, &ends.going(false)),
        Action::Direct => frame.change(places.0, |ip: &mut F::Header| ip.take_hop()),
        _ => return false,
    };
    let outside = frame.change(0, |ethernet: &mut Ethernet| {
        ethernet.destination = egress.mac();
        ethernet.source = interface.own.mac();
    });
    taken.exit = Exit::Send;
    taken.ifindex = interface.own.ifindex();
    if inside.is_err() || outside.is_err() {
        // Both were read a moment ago.
        taken.account.reason = Reason::NoRoom;
        taken.exit = Exit::Drop;
    }
    true
}
