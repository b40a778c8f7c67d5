//! Address rewriting, in place.
//!
//! Each checksum stays as right, or as wrong, as it was, so that end-to-end protection holds.
//! Source: RFC 1624 equation 3, RFC 3022; RFC 5508 for what ICMP errors quote.

use core::mem::replace;

use crate::checksum::ChecksumDelta;
use crate::family::{Family, IpHeader};
use crate::frame::Frame;
use crate::headers::{Icmp, PROTOCOL_TCP, PROTOCOL_UDP, Ports, TCP_LEN, Tcp, UDP_LEN, Udp};
use crate::order::Be16;
use crate::packet::{Kind, OFFSET_MASK, Packet};
use crate::path::Path;
use crate::verdict::{Action, Reason, Verdict};

/// New ends of a packet: which are changed, and which of them is the server's.
///
/// Not options: where one of those is None, the compiler keeps what is not there in a register, and
/// the verifier refuses that.
#[derive(Clone, Copy)]
pub struct Ends<'a, F: Family> {
    server: (&'a F::Address, Be16),
    client: (&'a F::Address, Be16),
    server_is_destination: bool,
    changes_source: bool,
    changes_destination: bool,
}

impl<'a, F: Family> Ends<'a, F> {
    /// The ends that a verdict gives its packet.
    #[inline(always)]
    pub fn of(verdict: &'a Verdict<F>) -> Self {
        let server = (&verdict.address, verdict.port);
        Self::new(verdict.action, server, (&verdict.other, verdict.other_port))
    }

    /// The ends that a path gives its packets.
    #[inline(always)]
    pub fn along(path: &'a Path<F>) -> Self {
        Self::new(path.action, (&path.address, path.port), (&path.other, path.other_port))
    }

    /// A server as the new destination; the client's end stays.
    #[inline(always)]
    pub fn to_server(address: &'a F::Address, port: Be16) -> Self {
        Self::new(Action::ToServer, (address, port), (address, Be16::default()))
    }

    #[inline(always)]
    fn new(action: Action, server: (&'a F::Address, Be16), client: (&'a F::Address, Be16)) -> Self {
        Self::directed(server, client, matches!(action, Action::ToServer))
    }

    /// The same ends of a packet that goes to the server, or to the client: said once more where
    /// the compiler is to know which.
    #[inline(always)]
    pub fn going(&self, to_server: bool) -> Self {
        Self::directed(self.server, self.client, to_server)
    }

    /// A client's end without a port stays as it is.
    #[inline(always)]
    fn directed(
        server: (&'a F::Address, Be16),
        client: (&'a F::Address, Be16),
        to_server: bool,
    ) -> Self {
        let both = client.1.raw() != 0;
        Self {
            server,
            client,
            server_is_destination: to_server,
            changes_source: both || !to_server,
            changes_destination: both || to_server,
        }
    }

    /// The same for the packet that an error quotes, which went the other way.
    #[inline(always)]
    fn turned(self) -> Self {
        Self {
            server_is_destination: !self.server_is_destination,
            changes_source: self.changes_destination,
            changes_destination: self.changes_source,
            ..self
        }
    }

    /// The new source.
    #[inline(always)]
    fn source(&self) -> (F::Address, Be16) {
        let (address, port) = if self.server_is_destination { self.client } else { self.server };
        (*address, port)
    }

    /// The new destination.
    #[inline(always)]
    fn destination(&self) -> (F::Address, Be16) {
        let (address, port) = if self.server_is_destination { self.server } else { self.client };
        (*address, port)
    }
}

/// Whether everything that [`translate`] changes is there.
///
/// # Errors
///
/// `Truncated`; nothing has changed.
#[inline(always)]
pub fn check<F: Family>(frame: &impl Frame, packet: &Packet<F>) -> Result<(), Reason> {
    let transport = usize::from(packet.layout.transport) & OFFSET_MASK;
    frame.header::<F::Header>(usize::from(packet.layout.network) & OFFSET_MASK)?;
    match packet.kind {
        Kind::Segment => frame.header::<Tcp>(transport).map(drop),
        Kind::Datagram => frame.header::<Udp>(transport).map(drop),
        Kind::Error => {
            frame.header::<Icmp>(transport)?;
            let quoted = usize::from(packet.layout.quoted_transport) & OFFSET_MASK;
            if has_ports(packet.protocol) {
                frame.header::<Ports>(quoted)?;
            }
            frame.header::<F::Header>(usize::from(packet.layout.quoted_network) & OFFSET_MASK)?;
            Ok(())
        }
        Kind::Other | Kind::LaterFragment | Kind::Echo => Ok(()),
    }
}

/// Gives a packet that is no error its new ends and takes one hop; its headers lie at `network` and
/// `transport`.
///
/// Shape: what [`check`] has found to be there.
///
/// # Errors
///
/// Only where [`check`] would have failed.
#[inline(always)]
pub fn translate<F: Family>(
    frame: &mut impl Frame,
    kind: Kind,
    (network, transport): (usize, usize),
    ends: &Ends<'_, F>,
) -> Result<(), Reason> {
    let ip: &mut F::Header = frame.header_mut(network)?;
    let addresses = put::<F>(ip, ends);
    ip.account(addresses);
    ip.take_hop();
    match kind {
        Kind::Segment => {
            let tcp: &mut Tcp = frame.header_mut(transport)?;
            let ports = put_ports::<F>(&mut tcp.source, &mut tcp.destination, ends);
            tcp.checksum = addresses.and(ports).applied_to(tcp.checksum);
        }
        Kind::Datagram => {
            let udp: &mut Udp = frame.header_mut(transport)?;
            let ports = put_ports::<F>(&mut udp.source, &mut udp.destination, ends);
            udp.checksum = datagram_sum(addresses.and(ports), udp.checksum);
        }
        _ => {}
    }
    Ok(())
}

/// The checksum of a datagram. Zero means that none was made and stays; one that comes out as zero
/// is sent as all ones (RFC 768).
#[inline(always)]
fn datagram_sum(delta: ChecksumDelta, checksum: Be16) -> Be16 {
    if checksum.raw() == 0 {
        return checksum;
    }
    let sum = delta.applied_to(checksum);
    if sum.raw() == 0 { Be16::from_raw(0xffff) } else { sum }
}

#[inline(always)]
fn has_ports(protocol: u8) -> bool {
    matches!(protocol, PROTOCOL_TCP | PROTOCOL_UDP)
}

/// An offset after the frame's head has moved, in the form that the verifier follows.
#[inline(always)]
pub fn at(offset: u16, moved: isize) -> usize {
    (isize::from(offset as i16) + moved) as usize & OFFSET_MASK
}

#[inline(always)]
fn put<F: Family>(ip: &mut F::Header, ends: &Ends<'_, F>) -> ChecksumDelta {
    let mut delta = ChecksumDelta::none();
    if ends.changes_source {
        let (address, _) = ends.source();
        delta = delta.remove(replace(ip.source(), address)).add(address);
    }
    if ends.changes_destination {
        let (address, _) = ends.destination();
        delta = delta.remove(replace(ip.destination(), address)).add(address);
    }
    delta
}

#[inline(always)]
fn put_ports<F: Family>(
    source: &mut Be16,
    destination: &mut Be16,
    ends: &Ends<'_, F>,
) -> ChecksumDelta {
    let mut delta = ChecksumDelta::none();
    if ends.changes_source {
        let (_, port) = ends.source();
        delta = delta.remove(replace(source, port)).add(port);
    }
    if ends.changes_destination {
        let (_, port) = ends.destination();
        delta = delta.remove(replace(destination, port)).add(port);
    }
    delta
}

/// Gives an ICMP error its new ends, and the packet that it quotes those of a packet that went the
/// other way.
///
/// Shape and errors as of [`translate`].
///
/// # Errors
///
/// Only where [`check`] would have failed.
#[inline(always)]
pub fn translate_error<F: Family>(
    frame: &mut impl Frame,
    packet: &Packet<F>,
    verdict: &Verdict<F>,
    moved: isize,
) -> Result<(), Reason> {
    let ends = &Ends::of(verdict);
    let layout = &packet.layout;
    let quoted = ends.turned();
    let quoted_network = at(layout.quoted_network, moved);
    let before: F::Header = *frame.header(quoted_network)?;
    // Everything in the quoted packet that changes, the quoted checksums included, changes the
    // error's own checksum.
    let (addresses, mut delta) = frame.change(quoted_network, |ip: &mut F::Header| {
        let addresses = put::<F>(ip, &quoted);
        let checksum = ip.checksum();
        ip.account(addresses);
        (addresses, addresses.remove(checksum).add(ip.checksum()))
    })?;
    if has_ports(packet.protocol) {
        let quoted_transport = at(layout.quoted_transport, moved);
        let ports = frame.change(quoted_transport, |ports: &mut Ports| {
            put_ports::<F>(&mut ports.source, &mut ports.destination, &quoted)
        })?;
        let inner = quoted_sum(frame, packet, addresses.and(ports), moved);
        delta = delta.and(ports).and(inner);
    }
    let outer = frame.change(at(layout.network, moved), |ip: &mut F::Header| {
        let ends = outer_ends(&before, ip, ends);
        let outer = put::<F>(ip, &ends);
        ip.account(outer);
        ip.take_hop();
        outer
    })?;
    if F::ICMP_COVERS_ADDRESSES {
        delta = delta.and(outer);
    }
    frame.change(at(layout.transport, moved), |icmp: &mut Icmp| {
        icmp.checksum = delta.applied_to(icmp.checksum);
    })
}

/// The new ends of the error itself. It comes from wherever the quoted packet met its end: only if
/// that is the very host that the packet was sent to, that host's address is hidden too.
#[inline(always)]
fn outer_ends<'a, F: Family>(
    quoted: &F::Header,
    outer: &mut F::Header,
    ends: &Ends<'a, F>,
) -> Ends<'a, F> {
    let mut quoted = *quoted;
    let from_end = *outer.source() == *quoted.destination();
    Ends { changes_source: ends.changes_source && from_end, ..*ends }
}

/// The quoted packet's own checksum, where enough of it is quoted; gives what that does to the
/// error's.
#[inline(always)]
fn quoted_sum<F: Family>(
    frame: &mut impl Frame,
    packet: &Packet<F>,
    delta: ChecksumDelta,
    moved: isize,
) -> ChecksumDelta {
    /// Where the checksums lie in their headers.
    const TCP_SUM: u16 = TCP_LEN as u16 - 4;
    const UDP_SUM: u16 = UDP_LEN as u16 - 2;
    let is_tcp = packet.protocol == PROTOCOL_TCP;
    let offset = packet.layout.quoted_transport + if is_tcp { TCP_SUM } else { UDP_SUM };
    if offset + size_of::<Be16>() as u16 > packet.layout.end {
        return ChecksumDelta::none();
    }
    let changed = frame.change(at(offset, moved), |checksum: &mut Be16| {
        let old = *checksum;
        *checksum = if is_tcp { delta.applied_to(old) } else { datagram_sum(delta, old) };
        ChecksumDelta::none().remove(old).add(*checksum)
    });
    changed.unwrap_or(ChecksumDelta::none())
}

/// Lowers the largest segment that a SYN asks for (RFC 9293, option 2) to `mss_max` bytes.
///
/// Options that cannot be read are left alone.
#[inline(always)]
pub fn clamp_mss<F: Family>(
    frame: &mut impl Frame,
    packet: &Packet<F>,
    mss_max: Be16,
    moved: isize,
) {
    /// More options than fit beside a largest-segment option.
    const OPTIONS_MAX: usize = 12;
    const END: u8 = 0;
    const PADDING: u8 = 1;
    const LARGEST_SEGMENT: u8 = 2;
    let transport = at(packet.layout.transport, moved);
    let Ok(tcp) = frame.header::<Tcp>(transport) else { return };
    let end = transport + tcp.header_len();
    let mut option = transport + TCP_LEN;
    for _ in 0..OPTIONS_MAX {
        if option + 4 > end {
            return;
        }
        let Ok([kind, len, high, low]) = frame.header::<[u8; 4]>(option & OFFSET_MASK) else {
            return;
        };
        match (*kind, *len) {
            (END, _) => return,
            (PADDING, _) => option += 1,
            (LARGEST_SEGMENT, 4) => {
                let old = u16::from_be_bytes([*high, *low]);
                if old > mss_max.get() {
                    let odd = (option - transport) % 2 == 1;
                    put_mss(frame, (transport, option), (Be16::new(old), mss_max), odd);
                }
                return;
            }
            (_, len @ 2..) => option += usize::from(len),
            _ => return,
        }
    }
}

#[inline(always)]
fn put_mss(
    frame: &mut impl Frame,
    (transport, option): (usize, usize),
    (old, new): (Be16, Be16),
    odd: bool,
) {
    let [high, low] = new.get().to_be_bytes();
    let put = frame.change((option + 2) & OFFSET_MASK, |value: &mut [u8; 2]| *value = [high, low]);
    if put.is_err() {
        return;
    }
    // An option at an odd place has its bytes in two words, the other way round.
    let word = |value: Be16| if odd { Be16::from_raw(value.raw().swap_bytes()) } else { value };
    let delta = ChecksumDelta::none().remove(word(old)).add(word(new));
    let _ = frame.change(transport & OFFSET_MASK, |tcp: &mut Tcp| {
        tcp.checksum = delta.applied_to(tcp.checksum);
    });
}
