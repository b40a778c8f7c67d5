//! Waking clients that only wait: one spurious ACK from the service address.
//!
//! A client whose request was acknowledged by a server that then died has nothing to send, so the
//! packet path has nothing to answer. A segment outside its window makes its stack answer with its
//! true numbers (RFC 9293, section 3.10.7.4; Linux `tcp_send_dupack`), and that answer meets the
//! exact RST. No number of the flow has to be known for it. The kernel routes the segment; it does
//! not pass the XDP program.

use std::io;
use std::net::{IpAddr, SocketAddr};

use redirector_common::answer::{header4, header6};
use redirector_common::checksum::{Checksum, checksum};
use redirector_common::headers::{PROTOCOL_TCP, TCP_LEN, Tcp};
use redirector_common::order::{Be16, Be32, Be128, Words};
use redirector_common::tcp::ACK;
use socket2::{Domain, Protocol, Socket, Type};
use zerocopy::IntoBytes as _;

/// Far enough from each other that at most one of two tries falls into a window.
const STRIDE: u32 = 0x5555_5555;

/// Sends spurious ACKs.
#[derive(Debug)]
pub struct Tickler {
    v4: Socket,
    /// None where the kernel has no IPv6.
    v6: Option<Socket>,
}

impl Tickler {
    /// Opens raw sockets; needs CAP_NET_RAW.
    ///
    /// # Errors
    ///
    /// When the kernel refuses one for IPv4.
    pub fn open() -> io::Result<Self> {
        Ok(Self { v4: raw_socket(Domain::IPV4)?, v6: raw_socket(Domain::IPV6).ok() })
    }

    /// Wakes a client, for the `tried`th time.
    ///
    /// # Errors
    ///
    /// When there is no route to the client, no room in the socket, or no IPv6 in the kernel.
    pub fn wake(&self, service: SocketAddr, client: SocketAddr, tried: u8) -> io::Result<()> {
        let Some(bytes) = segment(service, client, STRIDE.wrapping_mul(u32::from(tried) + 1))
        else {
            return Err(io::Error::other("client and service address are of two families"));
        };
        let socket = match client.ip() {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => self.v6.as_ref().ok_or_else(|| {
                io::Error::new(io::ErrorKind::Unsupported, "the kernel gave no IPv6 raw socket")
            })?,
        };
        socket.send_to(&bytes, &SocketAddr::new(client.ip(), 0).into()).map(drop)
    }
}

/// IPPROTO_RAW: the header is ours too (raw(7)).
fn raw_socket(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// An IP packet with an ACK from `service` to `client`; None if they are of two families.
fn segment(service: SocketAddr, client: SocketAddr, sequence: u32) -> Option<Vec<u8>> {
    let ports = (service.port(), client.port());
    match (service.ip(), client.ip()) {
        (IpAddr::V4(service), IpAddr::V4(client)) => {
            let (from, to) = (Be32::new(service.into()), Be32::new(client.into()));
            let ip = header4(from, to, PROTOCOL_TCP, TCP_LEN, 0);
            Some([ip.as_bytes(), ack(from, to, ports, sequence).as_bytes()].concat())
        }
        (IpAddr::V6(service), IpAddr::V6(client)) => {
            let (from, to) =
                (Be128::from_bytes(service.octets()), Be128::from_bytes(client.octets()));
            let ip = header6(from, to, PROTOCOL_TCP, TCP_LEN, 0);
            Some([ip.as_bytes(), ack(from, to, ports, sequence).as_bytes()].concat())
        }
        _ => None,
    }
}

/// The ACK with its checksum.
fn ack(from: impl Words, to: impl Words, ports: (u16, u16), sequence: u32) -> Tcp {
    let mut tcp = Tcp {
        source: Be16::new(ports.0),
        destination: Be16::new(ports.1),
        sequence: Be32::new(sequence),
        acknowledgement: Be32::new(sequence),
        data_offset: ((TCP_LEN / 4) << 4) as u8,
        flags: ACK,
        window: Be16::new(1024),
        checksum: Be16::new(0),
        urgent: Be16::new(0),
    };
    let header = Be16::from_raw(!checksum(tcp.as_bytes()).raw());
    tcp.checksum = Checksum::zero()
        .add(header)
        .add(from)
        .add(to)
        .add(Be16::new(u16::from(PROTOCOL_TCP)))
        .add(Be16::new(TCP_LEN as u16))
        .finish();
    tcp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_segment_is_a_bare_ack_with_right_checksums() {
        let service: SocketAddr = "10.0.1.100:10809".parse().unwrap();
        let client: SocketAddr = "10.0.1.11:40000".parse().unwrap();
        let bytes = segment(service, client, 7).unwrap();
        assert_eq!(checksum(&bytes[..20]).raw(), 0);
        let mut with_pseudo_header = bytes[12..].to_vec();
        with_pseudo_header.extend([0, PROTOCOL_TCP, 0, TCP_LEN as u8]);
        assert_eq!(checksum(&with_pseudo_header).raw(), 0);
        assert_eq!(bytes[12..20], [10, 0, 1, 100, 10, 0, 1, 11]);
        assert_eq!(bytes[20..28], [0x2a, 0x39, 0x9c, 0x40, 0, 0, 0, 7]);
        assert_eq!(bytes[20 + 13], ACK);
    }

    #[test]
    fn over_ipv6_too() {
        let service: SocketAddr = "[fd00::100]:10809".parse().unwrap();
        let client: SocketAddr = "[fd00::11]:40000".parse().unwrap();
        let bytes = segment(service, client, 7).unwrap();
        assert_eq!((bytes.len(), bytes[0] >> 4, bytes[6]), (60, 6, PROTOCOL_TCP));
        let mut with_pseudo_header = bytes[8..].to_vec();
        with_pseudo_header.extend([0, PROTOCOL_TCP, 0, TCP_LEN as u8]);
        assert_eq!(checksum(&with_pseudo_header).raw(), 0);
        assert!(segment("10.0.1.100:1".parse().unwrap(), client, 7).is_none());
    }
}
