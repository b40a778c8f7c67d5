//! Address families, so that the packet path is written once.
//!
//! A family says which types its addresses and map keys have. Adding IPv6 means one more
//! implementation here, one more parser in the kernel crate's frame, and two more maps; the
//! decision stays as it is.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::order::{Be16, Be32};

/// What differs between address families.
pub trait Family: Copy {
    /// An address as it lies in a header.
    type Address: Copy + PartialEq + Default;
    /// Key of the service and origin tables.
    type Endpoint: Copy;
    /// Key of the flow tables.
    type FlowKey: Copy;

    /// The key of an address, port and protocol.
    fn endpoint(address: Self::Address, port: Be16, protocol: u8) -> Self::Endpoint;

    /// The key of a client's conversation with a service address.
    fn flow_key(client: Self::Endpoint, service: Self::Endpoint) -> Self::FlowKey;

    /// The address, port and protocol of a key.
    fn parts(endpoint: &Self::Endpoint) -> (Self::Address, Be16, u8);

    /// An address from the 16 bytes of a table line; IPv4 uses the first four.
    fn address(bytes: &[u8; 16]) -> Self::Address;
}

/// IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct V4;

/// An IPv4 address, port and protocol. Shape: 8 bytes, network order.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Default,
)]
#[repr(C, align(8))]
pub struct Endpoint4 {
    /// Address.
    pub address: Be32,
    /// Port.
    pub port: Be16,
    /// Protocol number.
    pub protocol: u8,
    /// Zero.
    pub pad: u8,
}

/// A client's conversation with an IPv4 service address. Shape: 16 bytes, network order.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout, Default,
)]
#[repr(C, align(8))]
pub struct FlowKey4 {
    /// Client address.
    pub client: Be32,
    /// Service address.
    pub service: Be32,
    /// Client port.
    pub client_port: Be16,
    /// Service port.
    pub service_port: Be16,
    /// Protocol number.
    pub protocol: u8,
    /// Zero.
    pub pad: [u8; 3],
}

const _: () = assert!(size_of::<Endpoint4>() == 8);
const _: () = assert!(size_of::<FlowKey4>() == 16);

impl Family for V4 {
    type Address = Be32;
    type Endpoint = Endpoint4;
    type FlowKey = FlowKey4;

    #[inline(always)]
    fn endpoint(address: Be32, port: Be16, protocol: u8) -> Endpoint4 {
        Endpoint4 { address, port, protocol, pad: 0 }
    }

    #[inline(always)]
    fn flow_key(client: Endpoint4, service: Endpoint4) -> FlowKey4 {
        FlowKey4 {
            client: client.address,
            service: service.address,
            client_port: client.port,
            service_port: service.port,
            protocol: service.protocol,
            pad: [0; 3],
        }
    }

    #[inline(always)]
    fn parts(endpoint: &Endpoint4) -> (Be32, Be16, u8) {
        (endpoint.address, endpoint.port, endpoint.protocol)
    }

    #[inline(always)]
    fn address(bytes: &[u8; 16]) -> Be32 {
        Be32::from_raw(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
}
