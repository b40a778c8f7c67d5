//! Address families, so that the packet path is written once.
//!
//! A family says which types its addresses, headers and map keys have, and how its network header
//! is read (`parse`) and built (`answer`). Everything else is generic.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::frame::Frame;
use crate::headers::{
    ETHER_TYPE_IPV4, ETHER_TYPE_IPV6, IPV4_LEN, IPV6_LEN, Icmp, Ipv4, Ipv6, PROTOCOL_ICMP,
    PROTOCOL_ICMPV6, PROTOCOL_IPV4, PROTOCOL_IPV6,
};
pub use crate::ip_header::{IpHeader, OWN_HOPS};
pub use crate::keys::{
    ClientKey4, ClientKey6, Endpoint4, Endpoint6, FragmentKey4, FragmentKey6, Quote4, Quote6,
    Tuple4, Tuple6,
};
use crate::order::{Be16, Be32, Be128, Words, joined, joined_pair};
use crate::parse::Network;
use crate::verdict::Reason;
use crate::{answer, parse};

/// What differs between address families.
pub trait Family: Copy + 'static {
    /// An address as it lies in a header.
    type Address: Words + PartialEq + Default + core::fmt::Debug;
    /// The network header without options and extension headers.
    type Header: FromBytes + IntoBytes + KnownLayout + Immutable + Copy + IpHeader<Self::Address>;
    /// The beginning of a packet that an ICMP error quotes: header and 8 bytes.
    type Quote: FromBytes + IntoBytes + KnownLayout + Immutable + Copy;
    /// Key of the service and origin tables.
    type Endpoint: Copy + PartialEq;
    /// Key of the flow tables: source and destination of a packet, ports and protocol.
    type Tuple: Copy + PartialEq;
    /// Key of the table of fragmented packets.
    type FragmentKey: Copy;
    /// Key of the table of clients: client and device.
    type ClientKey: Copy;

    /// Length of the network header in bytes.
    const HEADER_LEN: usize;
    /// EtherType.
    const ETHER_TYPE: Be16;
    /// Protocol number of its ICMP.
    const ICMP: u8;
    /// Protocol number of such a packet inside another.
    const INSIDE: u8;
    /// Type of an echo request.
    const ECHO_REQUEST: u8;
    /// Type of an echo reply.
    const ECHO_REPLY: u8;
    /// Types of errors: the first and the last of those that quote a packet.
    const ERRORS: &'static [u8];
    /// Type and code of "does not fit".
    const TOO_BIG: (u8, u8);
    /// Type and code of "no hop left".
    const NO_HOP_LEFT: (u8, u8);
    /// Whether its ICMP checksum covers the addresses.
    const ICMP_COVERS_ADDRESSES: bool;
    /// Whether the protocol tells fragmented packets with the same ends and identification apart.
    const FRAGMENTS_BY_PROTOCOL: bool;
    /// Where this family's local addresses begin in the table of local addresses.
    const LOCALS_BEGIN: u32;

    /// The key of an address, port and protocol.
    fn endpoint(address: Self::Address, port: Be16, protocol: u8) -> Self::Endpoint;

    /// The key of a conversation, as `source` sends it to `destination`, which has its protocol.
    fn tuple(source: Self::Endpoint, destination: Self::Endpoint) -> Self::Tuple;

    /// The source of a tuple.
    fn source(tuple: &Self::Tuple) -> Self::Endpoint;

    /// The destination of a tuple.
    fn destination(tuple: &Self::Tuple) -> Self::Endpoint;

    /// The same tuple, put together in whole words. Where a key has just been written field by
    /// field, whoever reads it in words waits until all of that has reached memory.
    fn in_words(tuple: &Self::Tuple) -> Self::Tuple;

    /// Whether two tuples are the same, compared in words.
    fn same(one: &Self::Tuple, other: &Self::Tuple) -> bool;

    /// Whether two ends are the same, compared in words.
    fn same_end(one: &Self::Endpoint, other: &Self::Endpoint) -> bool;

    /// The key of a fragmented packet. Over IPv6 the protocol is not part of it: each fragment may
    /// name another header that follows (RFC 8200, section 4.5).
    fn fragment_key(
        source: Self::Address,
        destination: Self::Address,
        identification: u32,
        protocol: u8,
    ) -> Self::FragmentKey;

    /// The key of a client of a device.
    fn client_key(client: Self::Address, device: u32) -> Self::ClientKey;

    /// The address, port and protocol of a key.
    fn parts(endpoint: &Self::Endpoint) -> (Self::Address, Be16, u8);

    /// An address from the 16 bytes of a table line; IPv4 uses the first four.
    fn address(bytes: &[u8; 16]) -> Self::Address;

    /// A number made of a tuple, in which each bit depends on each of the tuple's.
    fn hash(tuple: &Self::Tuple) -> u32;

    /// Reads and checks the network header at `at`, options or extension headers included.
    ///
    /// # Errors
    ///
    /// A reason to pass it on untouched.
    fn network(frame: &impl Frame, at: usize, ip: &mut Network<Self>) -> Result<(), Reason>;

    /// Reads the network header at `at` of a packet that an ICMP error quotes: there may be less of
    /// it than it says, and its checksum is not ours to judge.
    ///
    /// # Errors
    ///
    /// A reason to pass the error on untouched.
    fn quoted(frame: &impl Frame, at: usize) -> Result<Network<Self>, Reason>;

    /// A header from `source` to `destination` in front of `payload_len` bytes of `protocol`.
    fn header(
        source: Self::Address,
        destination: Self::Address,
        protocol: u8,
        payload_len: usize,
        service_class: u8,
    ) -> Self::Header;

    /// The checksum of an ICMP header and the packet it quotes, sent under `ip`.
    fn icmp_checksum(ip: &Self::Header, icmp: &Icmp, quote: &Self::Quote) -> Be16;
}

/// IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct V4;

/// IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct V6;

impl V4 {
    /// The words of a tuple.
    #[inline(always)]
    fn with_addresses(source: Be32, destination: Be32, ends: u64) -> [u64; 2] {
        [joined_pair([source.raw(), destination.raw()]), ends]
    }
}

impl V6 {
    /// The words of a tuple.
    #[inline(always)]
    fn with_addresses(source: Be128, destination: Be128, ends: u64) -> [u64; 5] {
        let ([a, b, c, d], [e, f, g, h]) = (source.raw(), destination.raw());
        [joined_pair([a, b]), joined_pair([c, d]), joined_pair([e, f]), joined_pair([g, h]), ends]
    }
}

#[inline(always)]
fn same_words<const LEN: usize>(one: &[u64; LEN], other: &[u64; LEN]) -> bool {
    let mut differs = 0;
    for (one, other) in one.iter().zip(other) {
        differs |= one ^ other;
    }
    differs == 0
}

macro_rules! key_functions {
    ($endpoint:ident, $tuple:ident, $fragment:ident, $client:ident, $words:literal) => {
        #[inline(always)]
        fn endpoint(address: Self::Address, port: Be16, protocol: u8) -> $endpoint {
            $endpoint { address, port, protocol, pad: 0, pad_words: [0; $words] }
        }

        #[inline(always)]
        fn tuple(source: $endpoint, destination: $endpoint) -> $tuple {
            $tuple {
                source: source.address.copied(),
                destination: destination.address.copied(),
                source_port: source.port,
                destination_port: destination.port,
                protocol: destination.protocol,
                pad: 0,
                pad_word: 0,
            }
        }

        #[inline(always)]
        fn source(tuple: &$tuple) -> $endpoint {
            Self::endpoint(tuple.source, tuple.source_port, tuple.protocol)
        }

        #[inline(always)]
        fn destination(tuple: &$tuple) -> $endpoint {
            Self::endpoint(tuple.destination, tuple.destination_port, tuple.protocol)
        }

        #[inline(always)]
        fn in_words(tuple: &$tuple) -> $tuple {
            let ports = [tuple.source_port.raw(), tuple.destination_port.raw()];
            let ends = joined([ports[0], ports[1], u16::from_ne_bytes([tuple.protocol, 0]), 0]);
            let words: [u64; size_of::<$tuple>() / 8] =
                Self::with_addresses(tuple.source, tuple.destination, ends);
            zerocopy::transmute!(words)
        }

        #[inline(always)]
        fn same(one: &$tuple, other: &$tuple) -> bool {
            let one: &[u64; size_of::<$tuple>() / 8] = zerocopy::transmute_ref!(one);
            let other: &[u64; size_of::<$tuple>() / 8] = zerocopy::transmute_ref!(other);
            same_words(one, other)
        }

        #[inline(always)]
        fn same_end(one: &$endpoint, other: &$endpoint) -> bool {
            let one: &[u64; size_of::<$endpoint>() / 8] = zerocopy::transmute_ref!(one);
            let other: &[u64; size_of::<$endpoint>() / 8] = zerocopy::transmute_ref!(other);
            same_words(one, other)
        }

        #[inline(always)]
        fn fragment_key(
            source: Self::Address,
            destination: Self::Address,
            identification: u32,
            protocol: u8,
        ) -> $fragment {
            let protocol = if Self::FRAGMENTS_BY_PROTOCOL { protocol } else { 0 };
            $fragment { source, destination, identification, protocol, pad: 0, pad_word: 0 }
        }

        #[inline(always)]
        fn client_key(client: Self::Address, device: u32) -> $client {
            $client { client, device }
        }

        #[inline(always)]
        fn parts(endpoint: &$endpoint) -> (Self::Address, Be16, u8) {
            (endpoint.address, endpoint.port, endpoint.protocol)
        }

        #[inline(always)]
        fn hash(tuple: &$tuple) -> u32 {
            let ports =
                u32::from(tuple.source_port.raw()) << 16 | u32::from(tuple.destination_port.raw());
            let mut mixed = tuple.source.fold().wrapping_mul(0x9e37_79b1);
            mixed = (mixed ^ (mixed >> 15) ^ ports).wrapping_mul(0x85eb_ca6b);
            mixed ^= tuple.destination.fold().rotate_left(16) ^ u32::from(tuple.protocol);
            mixed = (mixed ^ (mixed >> 13)).wrapping_mul(0xc2b2_ae35);
            mixed ^ (mixed >> 16)
        }
    };
}

impl Family for V4 {
    type Address = Be32;
    type Header = Ipv4;
    type Quote = Quote4;
    type Endpoint = Endpoint4;
    type Tuple = Tuple4;
    type FragmentKey = FragmentKey4;
    type ClientKey = ClientKey4;

    const HEADER_LEN: usize = IPV4_LEN;
    const ETHER_TYPE: Be16 = ETHER_TYPE_IPV4;
    const ICMP: u8 = PROTOCOL_ICMP;
    const INSIDE: u8 = PROTOCOL_IPV4;
    const ECHO_REQUEST: u8 = 8;
    const ECHO_REPLY: u8 = 0;
    const ERRORS: &'static [u8] = &[3, 4, 11, 12];
    const TOO_BIG: (u8, u8) = (3, 4);
    const NO_HOP_LEFT: (u8, u8) = (11, 0);
    const ICMP_COVERS_ADDRESSES: bool = false;
    const FRAGMENTS_BY_PROTOCOL: bool = true;
    const LOCALS_BEGIN: u32 = 0;

    key_functions!(Endpoint4, Tuple4, FragmentKey4, ClientKey4, 0);

    #[inline(always)]
    fn address(bytes: &[u8; 16]) -> Be32 {
        Be32::from_raw(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    #[inline(always)]
    fn network(frame: &impl Frame, at: usize, ip: &mut Network<Self>) -> Result<(), Reason> {
        parse::network4(frame, at, ip)
    }

    #[inline(always)]
    fn quoted(frame: &impl Frame, at: usize) -> Result<Network<Self>, Reason> {
        parse::quoted4(frame, at)
    }

    #[inline(always)]
    fn header(
        source: Be32,
        destination: Be32,
        protocol: u8,
        payload_len: usize,
        service_class: u8,
    ) -> Ipv4 {
        answer::header4(source, destination, protocol, payload_len, service_class)
    }

    #[inline(always)]
    fn icmp_checksum(_ip: &Ipv4, icmp: &Icmp, quote: &Quote4) -> Be16 {
        answer::icmp_sum(icmp).add_all(&quote.words).finish()
    }
}

impl Family for V6 {
    type Address = Be128;
    type Header = Ipv6;
    type Quote = Quote6;
    type Endpoint = Endpoint6;
    type Tuple = Tuple6;
    type FragmentKey = FragmentKey6;
    type ClientKey = ClientKey6;

    const HEADER_LEN: usize = IPV6_LEN;
    const ETHER_TYPE: Be16 = ETHER_TYPE_IPV6;
    const ICMP: u8 = PROTOCOL_ICMPV6;
    const INSIDE: u8 = PROTOCOL_IPV6;
    const ECHO_REQUEST: u8 = 128;
    const ECHO_REPLY: u8 = 129;
    const ERRORS: &'static [u8] = &[1, 2, 3, 4];
    const TOO_BIG: (u8, u8) = (2, 0);
    const NO_HOP_LEFT: (u8, u8) = (3, 0);
    const ICMP_COVERS_ADDRESSES: bool = true;
    const FRAGMENTS_BY_PROTOCOL: bool = false;
    const LOCALS_BEGIN: u32 = crate::wire::LOCALS_PER_FAMILY;

    key_functions!(Endpoint6, Tuple6, FragmentKey6, ClientKey6, 2);

    #[inline(always)]
    fn address(bytes: &[u8; 16]) -> Be128 {
        Be128::from_bytes(*bytes)
    }

    #[inline(always)]
    fn network(frame: &impl Frame, at: usize, ip: &mut Network<Self>) -> Result<(), Reason> {
        parse::network6(frame, at, ip)
    }

    #[inline(always)]
    fn quoted(frame: &impl Frame, at: usize) -> Result<Network<Self>, Reason> {
        parse::quoted6(frame, at)
    }

    #[inline(always)]
    fn header(
        source: Be128,
        destination: Be128,
        protocol: u8,
        payload_len: usize,
        service_class: u8,
    ) -> Ipv6 {
        answer::header6(source, destination, protocol, payload_len, service_class)
    }

    #[inline(always)]
    fn icmp_checksum(ip: &Ipv6, icmp: &Icmp, quote: &Quote6) -> Be16 {
        answer::icmp_sum(icmp)
            .add_all(&quote.words)
            .add(ip.source)
            .add(ip.destination)
            .add(ip.payload_length)
            .add(Be16::new(u16::from(PROTOCOL_ICMPV6)))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unchanged<F: Family>(address: [F::Address; 2], ports: [u16; 2], protocol: u8) -> bool
    where
        F::Tuple: PartialEq,
    {
        let end = |n: usize| F::endpoint(address[n], Be16::new(ports[n]), protocol);
        let tuple = F::tuple(end(0), end(1));
        F::in_words(&tuple) == tuple
    }

    proptest! {
        #[test]
        fn a_tuple_in_words_is_the_same_tuple(bytes: [[u8; 16]; 2], ports: [u16; 2], protocol: u8) {
            let v4 = [0, 1].map(|n: usize| V4::address(&bytes[n]));
            let v6 = [0, 1].map(|n: usize| V6::address(&bytes[n]));
            prop_assert!(unchanged::<V4>(v4, ports, protocol));
            prop_assert!(unchanged::<V6>(v6, ports, protocol));
        }
    }
}
