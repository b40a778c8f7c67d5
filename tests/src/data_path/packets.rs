//! Packets as values, built and read by an independent parser.

use std::net::Ipv4Addr;

use etherparse::{Ethernet2Header, PacketBuilder, SlicedPacket, TransportSlice};

/// A TCP segment or UDP datagram over IPv4 in an Ethernet frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Ethernet source.
    pub source_mac: [u8; 6],
    /// Ethernet destination.
    pub destination_mac: [u8; 6],
    /// Source address and port.
    pub source: (Ipv4Addr, u16),
    /// Destination address and port.
    pub destination: (Ipv4Addr, u16),
    /// Hops left.
    pub ttl: u8,
    /// What is inside.
    pub transport: Transport,
    /// Payload.
    pub payload: Vec<u8>,
}

/// The transport header's facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP: flags as in `redirector_common::tcp`, sequence and acknowledgement numbers.
    Tcp {
        /// Flags.
        flags: u8,
        /// Sequence number.
        sequence: u32,
        /// Acknowledgement number.
        acknowledgement: u32,
    },
    /// UDP.
    Udp,
}

/// Ethernet address of every client.
pub const CLIENT_MAC: [u8; 6] = [2, 0, 1, 0, 0, 1];

/// A client's TCP segment to a service address.
pub fn from_client(
    client: (Ipv4Addr, u16),
    service: (Ipv4Addr, u16),
    flags: u8,
    (sequence, acknowledgement): (u32, u32),
) -> Packet {
    Packet {
        source_mac: CLIENT_MAC,
        destination_mac: super::GATEWAY_MAC,
        source: client,
        destination: service,
        ttl: 64,
        transport: Transport::Tcp { flags, sequence, acknowledgement },
        payload: Vec::new(),
    }
}

impl Packet {
    /// The same with a payload.
    pub fn with_payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// The same as a UDP datagram.
    pub fn as_udp(mut self) -> Self {
        self.transport = Transport::Udp;
        self
    }

    /// A packet back from `server` to the source of this one.
    pub fn answer(&self, server: (Ipv4Addr, u16), flags: u8, numbers: (u32, u32)) -> Self {
        let (sequence, acknowledgement) = numbers;
        let transport = match self.transport {
            Transport::Tcp { .. } => Transport::Tcp { flags, sequence, acknowledgement },
            Transport::Udp => Transport::Udp,
        };
        Self {
            source_mac: [2, 0, 2, 0, 0, 1],
            destination_mac: super::GATEWAY_MAC,
            source: server,
            destination: self.source,
            ttl: 64,
            transport,
            payload: Vec::new(),
        }
    }

    /// The frame's bytes, every checksum right.
    pub fn bytes(&self) -> Vec<u8> {
        let ip = PacketBuilder::ethernet2(self.source_mac, self.destination_mac).ipv4(
            self.source.0.octets(),
            self.destination.0.octets(),
            self.ttl,
        );
        let mut bytes = Vec::new();
        match self.transport {
            Transport::Udp => ip
                .udp(self.source.1, self.destination.1)
                .write(&mut bytes, &self.payload)
                .expect("a vector takes everything"),
            Transport::Tcp { flags, sequence, acknowledgement } => {
                let mut header =
                    etherparse::TcpHeader::new(self.source.1, self.destination.1, sequence, 8192);
                header.acknowledgment_number = acknowledgement;
                header.fin = flags & 1 != 0;
                header.syn = flags & 2 != 0;
                header.rst = flags & 4 != 0;
                header.psh = flags & 8 != 0;
                header.ack = flags & 16 != 0;
                ip.tcp_header(header)
                    .write(&mut bytes, &self.payload)
                    .expect("a vector takes everything");
            }
        }
        bytes
    }

    /// Reads a frame, and checks every length and checksum in it.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let sliced = SlicedPacket::from_ethernet(bytes).map_err(|error| error.to_string())?;
        let (ethernet, _) =
            Ethernet2Header::from_slice(bytes).map_err(|error| error.to_string())?;
        let Some(etherparse::NetSlice::Ipv4(ip)) = &sliced.net else {
            return Err("no IPv4 header".to_owned());
        };
        let header = ip.header();
        let right = header.to_header().calc_header_checksum();
        if header.header_checksum() != right {
            return Err(format!("IP checksum {:#06x}, not {right:#06x}", header.header_checksum()));
        }
        let addresses = (header.source_addr(), header.destination_addr());
        let (transport, ports, payload) = read_transport(&sliced, addresses)?;
        Ok(Self {
            source_mac: ethernet.source,
            destination_mac: ethernet.destination,
            source: (addresses.0, ports.0),
            destination: (addresses.1, ports.1),
            ttl: header.ttl(),
            transport,
            payload,
        })
    }
}

type TransportParts = (Transport, (u16, u16), Vec<u8>);

fn read_transport(
    sliced: &SlicedPacket<'_>,
    (source, destination): (Ipv4Addr, Ipv4Addr),
) -> Result<TransportParts, String> {
    let (from, to) = (source.octets(), destination.octets());
    match &sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let right = tcp
                .to_header()
                .calc_checksum_ipv4_raw(from, to, tcp.payload())
                .map_err(|error| error.to_string())?;
            if tcp.checksum() != right {
                return Err(format!("TCP checksum {:#06x}, not {right:#06x}", tcp.checksum()));
            }
            let flags = u8::from(tcp.fin())
                | u8::from(tcp.syn()) << 1
                | u8::from(tcp.rst()) << 2
                | u8::from(tcp.psh()) << 3
                | u8::from(tcp.ack()) << 4;
            let transport = Transport::Tcp {
                flags,
                sequence: tcp.sequence_number(),
                acknowledgement: tcp.acknowledgment_number(),
            };
            Ok((transport, (tcp.source_port(), tcp.destination_port()), tcp.payload().to_vec()))
        }
        Some(TransportSlice::Udp(udp)) => {
            let right = udp
                .to_header()
                .calc_checksum_ipv4_raw(from, to, udp.payload())
                .map_err(|error| error.to_string())?;
            if udp.checksum() != 0 && udp.checksum() != right {
                return Err(format!("UDP checksum {:#06x}, not {right:#06x}", udp.checksum()));
            }
            let ports = (udp.source_port(), udp.destination_port());
            Ok((Transport::Udp, ports, udp.payload().to_vec()))
        }
        _ => Err("neither TCP nor UDP".to_owned()),
    }
}
