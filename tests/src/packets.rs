//! Raw Ethernet frames into and out of a namespace's interface, and a judge of what may leave a
//! gateway.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use etherparse::{Ipv4HeaderSlice, TcpHeaderSlice, ip_number};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvfrom, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::netns::Namespace;
use crate::wait;

/// Longest frame that is captured whole.
const FRAME_MAX: usize = 1 << 16;
/// How often a capture looks whether it is to stop.
const LOOK_INTERVAL_MS: i64 = 20;
/// What is queued when a capture is stopped is read for so long, as more may come without end.
const DRAINED_WITHIN: Duration = Duration::from_secs(2);
/// Room for frames that come faster than they are read.
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;
/// `sll_pkttype` of frames that this host itself sends, from linux/if_packet.h.
const PACKET_OUTGOING: u8 = 4;
/// Bytes of an Ethernet header.
pub const ETHERNET_LEN: usize = 14;

/// A packet socket bound to one interface.
pub struct PacketSocket {
    socket: OwnedFd,
    mac: [u8; 6],
}

impl PacketSocket {
    /// Opens one on `interface` inside `namespace`.
    ///
    /// # Errors
    /// When there is no such interface or we are not root.
    pub fn open(namespace: &Namespace, interface: &str) -> Result<Self> {
        namespace.enter(|| {
            let address = link_address(interface)?;
            let mac = address.addr().context("an interface without a MAC address")?;
            let (family, kind) = (AddressFamily::Packet, SockType::Raw);
            let protocol = SockProtocol::EthAll;
            let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol)
                .context("open a packet socket (needs root)")?;
            bind(socket.as_raw_fd(), &address)
                .with_context(|| format!("bind a packet socket to {interface}"))?;
            setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES)
                .context("a receive buffer")?;
            let interval = TimeVal::milliseconds(LOOK_INTERVAL_MS);
            setsockopt(&socket, sockopt::ReceiveTimeout, &interval).context("a time-out")?;
            Ok(Self { socket, mac })
        })
    }

    /// The interface's own MAC address.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Sends one frame as it is.
    ///
    /// # Errors
    /// When the kernel refuses it: shorter than an Ethernet header, longer than the MTU.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let len = send(self.socket.as_raw_fd(), frame, MsgFlags::empty())
            .with_context(|| format!("send a frame of {} bytes", frame.len()))?;
        anyhow::ensure!(len == frame.len(), "{len} of {} bytes were sent", frame.len());
        Ok(())
    }

    /// The next frame of the queue, waited for a moment.
    fn receive(&self, buffer: &mut [u8]) -> Result<Next> {
        match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), buffer) {
            Ok((_, Some(from))) if from.pkttype() == PACKET_OUTGOING => Ok(Next::Ours),
            Ok((len, _)) => Ok(Next::In(buffer[..len].to_vec())),
            Err(Errno::EINTR) => Ok(Next::Ours),
            Err(Errno::EAGAIN) => Ok(Next::Nothing),
            Err(error) => Err(error).context("receive a frame"),
        }
    }
}

/// What the queue of a packet socket held next.
enum Next {
    /// A frame that came in from the wire.
    In(Vec<u8>),
    /// A frame that this host itself sent, which is not captured.
    Ours,
    /// Nothing came for a moment.
    Nothing,
}

/// The link address of an interface, index included, without any unsafe code of ours.
fn link_address(interface: &str) -> Result<LinkAddr> {
    getifaddrs()
        .context("list the interfaces")?
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr().copied())
        .with_context(|| format!("no interface {interface}"))
}

/// Everything that comes in on an interface, from the start to [`Capture::stop`].
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Vec<u8>>>>,
}

impl Capture {
    /// Starts to capture on `interface` inside `namespace`.
    ///
    /// # Errors
    /// As [`PacketSocket::open`].
    pub fn start(namespace: &Namespace, interface: &str) -> Result<Self> {
        let socket = PacketSocket::open(namespace, interface)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("capture".into()).spawn(move || {
            let mut buffer = vec![0; FRAME_MAX];
            let mut frames = Vec::new();
            let mut stopped_at = None;
            loop {
                match socket.receive(&mut buffer)? {
                    Next::In(frame) => frames.push(frame),
                    Next::Ours => {}
                    // What came before the stop may still be queued, and is part of the capture.
                    Next::Nothing if stopped_at.is_some() => return Ok(frames),
                    Next::Nothing => {}
                }
                if stopped_at.is_none() && stopped.load(Ordering::Relaxed) {
                    stopped_at = Some(wait::now());
                }
                if stopped_at.is_some_and(|at| at.elapsed() > DRAINED_WITHIN) {
                    return Ok(frames);
                }
            }
        })?;
        Ok(Self { stop, thread })
    }

    /// Stops and returns the frames.
    ///
    /// # Errors
    /// When receiving failed.
    pub fn stop(self) -> Result<Vec<Vec<u8>>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the capture panicked"))?
    }
}

/// What is wrong with the form of an IPv4 frame: lengths that contradict each other, a wrong header
/// checksum, a TCP header that does not fit. Other protocols have no wrong form.
pub fn malformed(frame: &[u8]) -> Option<String> {
    let packet = frame.get(ETHERNET_LEN..).unwrap_or_default();
    if frame.get(12..ETHERNET_LEN) != Some(&[0x08, 0x00]) {
        return None;
    }
    let header = match Ipv4HeaderSlice::from_slice(packet) {
        Ok(header) => header,
        Err(error) => return Some(format!("IPv4 header: {error}")),
    };
    let (header_len, total_len) = (header.slice().len(), usize::from(header.total_len()));
    if total_len < header_len || total_len > packet.len() {
        return Some(format!("total length {total_len} in {} bytes", packet.len()));
    }
    if ones_complement_sum(header.slice()) != 0xffff {
        return Some("wrong IPv4 header checksum".to_owned());
    }
    if header.protocol() == ip_number::TCP && !header.is_fragmenting_payload() {
        let segment = &packet[header_len..total_len];
        if let Err(error) = TcpHeaderSlice::from_slice(segment) {
            return Some(format!("TCP header: {error}"));
        }
    }
    None
}

/// The sum of RFC 1071 over a header of even length: 0xffff with its checksum in place, whatever
/// the bits that have no meaning yet.
fn ones_complement_sum(header: &[u8]) -> u16 {
    let words = header.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let mut sum: u32 = words.map(u32::from).sum();
    while let carry @ 1.. = sum >> 16 {
        sum = (sum & 0xffff) + carry;
    }
    sum as u16
}

/// Source and destination of an IPv4 frame with a plain Ethernet header.
pub fn ipv4_ends(frame: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let header = Ipv4HeaderSlice::from_slice(frame.get(ETHERNET_LEN..)?).ok()?;
    Some((header.source_addr(), header.destination_addr()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    fn segment() -> Vec<u8> {
        let mut frame = Vec::new();
        PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 0, 1, 11], [10, 0, 1, 100], 64)
            .tcp(4000, 7000, 1, 1000)
            .write(&mut frame, b"payload")
            .unwrap();
        frame
    }

    #[test]
    fn a_good_segment_has_nothing_wrong() {
        assert_eq!(malformed(&segment()), None);
    }

    #[test]
    fn each_wrong_form_is_found() {
        let mut short = segment();
        short.truncate(50);
        assert!(malformed(&short).unwrap().contains("total length"));
        let mut ihl = segment();
        ihl[ETHERNET_LEN] = 0x44;
        assert!(malformed(&ihl).unwrap().contains("IPv4 header"));
        let mut checksum = segment();
        checksum[ETHERNET_LEN + 8] -= 1;
        assert!(malformed(&checksum).unwrap().contains("checksum"));
        let mut reserved_bit = segment();
        reserved_bit[ETHERNET_LEN + 6] |= 0x80;
        assert!(malformed(&reserved_bit).unwrap().contains("checksum"));
        let mut offset = segment();
        offset[ETHERNET_LEN + 20 + 12] = 0xf0;
        assert!(malformed(&offset).unwrap().contains("TCP header"));
    }
}
