//! Waking clients that only wait: one spurious ACK from the service address.
//!
//! A client whose request was acknowledged by a server that then died has nothing to send, so the
//! packet path has nothing to answer. A segment outside its window makes its stack answer with its
//! true numbers (RFC 9293, section 3.10.7.4; Linux `tcp_send_dupack`), and that answer meets the
//! exact RST. No number of the flow has to be known for it. The kernel routes the segment; it does
//! not pass the XDP program.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};

use redirector_common::checksum::{ChecksumUpdate, checksum};
use redirector_common::headers::{DONT_FRAGMENT, IPV4_LEN, Ipv4, PROTOCOL_TCP, TCP_LEN, Tcp};
use redirector_common::order::{Be16, Be32};
use redirector_common::tcp::ACK;
use socket2::{Domain, Protocol, Socket, Type};
use zerocopy::IntoBytes as _;

/// Length of the segment over IPv4, in bytes.
const LEN: usize = IPV4_LEN + TCP_LEN;
/// Far enough from each other that at most one of two tries falls into a window.
const STRIDE: u32 = 0x5555_5555;

/// Sends spurious ACKs.
#[derive(Debug)]
pub struct Tickler {
    socket: Socket,
}

impl Tickler {
    /// Opens a raw socket; needs CAP_NET_RAW.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn open() -> io::Result<Self> {
        // IPPROTO_RAW: the header is ours too (raw(7)).
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    /// Wakes a client, for the `tried`th time.
    ///
    /// # Errors
    ///
    /// When there is no route to the client or no room in the socket.
    pub fn wake(&self, service: SocketAddrV4, client: SocketAddrV4, tried: u8) -> io::Result<()> {
        let bytes = segment(service, client, STRIDE.wrapping_mul(u32::from(tried) + 1));
        let to = SocketAddr::V4(SocketAddrV4::new(*client.ip(), 0));
        self.socket.send_to(&bytes, &to.into()).map(drop)
    }
}

/// An IPv4 packet with an ACK from `service` to `client`.
fn segment(service: SocketAddrV4, client: SocketAddrV4, sequence: u32) -> [u8; LEN] {
    let address = |of: SocketAddrV4| Be32::new(u32::from(*of.ip()));
    let mut ip = Ipv4 {
        version_ihl: 0x45,
        tos: 0,
        total_length: Be16::new(LEN as u16),
        identification: Be16::new(0),
        flags_fragment: DONT_FRAGMENT,
        ttl: 64,
        protocol: PROTOCOL_TCP,
        checksum: Be16::new(0),
        source: address(service),
        destination: address(client),
    };
    ip.checksum = checksum(ip.as_bytes());
    let mut tcp = Tcp {
        source: Be16::new(service.port()),
        destination: Be16::new(client.port()),
        sequence: Be32::new(sequence),
        acknowledgement: Be32::new(sequence),
        data_offset: ((TCP_LEN / 4) << 4) as u8,
        flags: ACK,
        window: Be16::new(1024),
        checksum: Be16::new(0),
        urgent: Be16::new(0),
    };
    let header = checksum(tcp.as_bytes());
    tcp.checksum = ChecksumUpdate::new(header)
        .add_u32(ip.source)
        .add_u32(ip.destination)
        .add(Be16::new(u16::from(PROTOCOL_TCP)))
        .add(Be16::new(TCP_LEN as u16))
        .finish();
    let mut bytes = [0; LEN];
    bytes[..IPV4_LEN].copy_from_slice(ip.as_bytes());
    bytes[IPV4_LEN..].copy_from_slice(tcp.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segment_is_a_bare_ack_with_right_checksums() {
        let service: SocketAddrV4 = "10.0.1.100:10809".parse().unwrap();
        let client: SocketAddrV4 = "10.0.1.11:40000".parse().unwrap();
        let bytes = segment(service, client, 7);
        assert_eq!(checksum(&bytes[..IPV4_LEN]).raw(), 0);
        let mut with_pseudo_header = bytes[12..].to_vec();
        with_pseudo_header.extend([0, PROTOCOL_TCP, 0, TCP_LEN as u8]);
        assert_eq!(checksum(&with_pseudo_header).raw(), 0);
        assert_eq!(bytes[12..20], [10, 0, 1, 100, 10, 0, 1, 11]);
        assert_eq!(bytes[IPV4_LEN..IPV4_LEN + 8], [0x2a, 0x39, 0x9c, 0x40, 0, 0, 0, 7]);
        assert_eq!(bytes[IPV4_LEN + 13], ACK);
    }
}
