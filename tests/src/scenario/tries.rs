//! How many tries it took to tell a client, read from the frames that came in on its interface.
//!
//! A try is a reset, or the spurious ACK that makes a silent client say its numbers. The client's
//! kernel takes a reset whose number is the one that it expects, and then knows the flow no more;
//! as nothing else comes from a dead server, that number does not change. So where all resets of a
//! flow that was told have one number, the first one was taken.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use etherparse::{NetSlice, SlicedPacket, TcpSlice, TransportSlice};

/// Most spurious ACKs of a first try.
const WAKES_MAX: usize = 1;

/// The tries by the client's port.
#[derive(Debug, Default)]
pub struct Tries(BTreeMap<u16, Try>);

/// What was sent to one client.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Try {
    wakes: usize,
    /// Sequence numbers of the resets.
    resets: Vec<u32>,
}

impl Tries {
    /// Reads the frames that came from `service`.
    pub fn read(frames: &[Vec<u8>], service: SocketAddr) -> Self {
        let mut tries = Self::default();
        for frame in frames {
            let Ok(packet) = SlicedPacket::from_ethernet(frame) else { continue };
            let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { continue };
            let from = packet.net.as_ref().and_then(source);
            if from == Some(service.ip()) && tcp.source_port() == service.port() {
                tries.take(tcp);
            }
        }
        tries
    }

    fn take(&mut self, tcp: &TcpSlice<'_>) {
        let of = self.0.entry(tcp.destination_port()).or_default();
        if tcp.rst() {
            of.resets.push(tcp.sequence_number());
        } else if tcp.ack() && !tcp.syn() && tcp.sequence_number() == tcp.acknowledgment_number() {
            // No segment of a real conversation has two equal numbers, but for one in 2^32.
            of.wakes += 1;
        }
    }

    /// Whether the client at this port, which was told, was told at the first try; if not, how.
    pub fn one_was_enough(&self, port: u16) -> Result<(), String> {
        let Try { wakes, resets } = self.0.get(&port).cloned().unwrap_or_default();
        let is_same = |pair: &[u32]| pair[0] == pair[1];
        if wakes <= WAKES_MAX && !resets.is_empty() && resets.windows(2).all(is_same) {
            return Ok(());
        }
        Err(format!("port {port} was woken {wakes} times and reset with the numbers {resets:?}"))
    }
}

fn source(net: &NetSlice<'_>) -> Option<IpAddr> {
    match net {
        NetSlice::Ipv4(ip) => Some(ip.header().source_addr().into()),
        NetSlice::Ipv6(ip) => Some(ip.header().source_addr().into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    /// A segment from the service to a client's port: a reset, or an ACK with these numbers.
    fn segment(port: u16, sequence: u32, acknowledged: Option<u32>) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 0, 1, 102], [10, 0, 1, 11], 64)
            .tcp(7000, port, sequence, 1000);
        let builder = match acknowledged {
            Some(number) => builder.ack(number),
            None => builder.rst(),
        };
        let mut frame = Vec::new();
        builder.write(&mut frame, &[]).unwrap();
        frame
    }

    #[test]
    fn one_wake_and_one_reset_are_a_first_try_and_more_are_not() {
        let frames = [
            vec![segment(1, 7, Some(7)), segment(1, 500, None)],
            vec![segment(2, 500, None), segment(2, 500, None)],
            vec![segment(3, 7, Some(7)), segment(3, 9, Some(9)), segment(3, 500, None)],
            vec![segment(4, 500, None), segment(4, 501, None)],
            vec![segment(5, 7, Some(8))],
        ]
        .concat();
        let tries = Tries::read(&frames, "10.0.1.102:7000".parse().unwrap());
        let enough: Vec<bool> = (1..=6).map(|port| tries.one_was_enough(port).is_ok()).collect();
        assert_eq!(enough, [true, true, false, false, false, false]);
    }

    #[test]
    fn what_another_address_sends_is_no_try() {
        let tries = Tries::read(&[segment(1, 500, None)], "10.0.1.103:7000".parse().unwrap());
        assert!(tries.one_was_enough(1).is_err());
    }
}
