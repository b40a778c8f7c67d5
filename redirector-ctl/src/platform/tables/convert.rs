//! From the core's values to wire types and back, per address family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use redirector_common::family::{ClientKey4, ClientKey6, Endpoint4, Endpoint6, Family, V4, V6};
use redirector_common::order::{Be16, Be32, Be128};
use redirector_common::wire::{
    Association, DEVICE_AFFINITY, DEVICE_STATELESS, DeviceLine, Forwarding,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::core::op::{AssociationWord, DeviceSettings, Endpoint};

pub(super) fn wire_word(word: &AssociationWord) -> Association {
    Association::new(word.server, word.previous, word.backup, word.epoch, word.epochs_open)
}

/// A family as the daemon needs it: keys as bytes, addresses as the standard library has them.
pub(in crate::platform) trait WireFamily:
    Family<
        Endpoint: FromBytes + IntoBytes + Copy + 'static,
        Tuple: FromBytes + IntoBytes + Immutable + Copy + 'static,
        ClientKey: FromBytes + IntoBytes + Copy + 'static,
    >
{
    /// An address; None if it is of the other family.
    fn wire_address(address: IpAddr) -> Option<Self::Address>;
    /// The address again.
    fn plain_address(address: Self::Address) -> IpAddr;
    /// Client and device of a key.
    fn client_parts(key: &Self::ClientKey) -> (IpAddr, u32);

    /// An endpoint's key; None if it is of the other family.
    fn wire_endpoint(endpoint: &Endpoint) -> Option<Self::Endpoint> {
        let address = Self::wire_address(endpoint.address)?;
        Some(Self::endpoint(address, Be16::new(endpoint.port), endpoint.protocol))
    }

    /// The endpoint of a key.
    fn plain_endpoint(key: &Self::Endpoint) -> Endpoint {
        let (address, port, protocol) = Self::parts(key);
        Endpoint { address: Self::plain_address(address), port: port.get(), protocol }
    }

    /// Client and service address of a flow's key, and its protocol.
    fn flow_parts(key: &Self::Tuple) -> (SocketAddr, SocketAddr, u8) {
        let at = |endpoint: Self::Endpoint| {
            let Endpoint { address, port, .. } = Self::plain_endpoint(&endpoint);
            SocketAddr::new(address, port)
        };
        let (_, _, protocol) = Self::parts(&Self::destination(key));
        (at(Self::source(key)), at(Self::destination(key)), protocol)
    }
}

impl WireFamily for V4 {
    fn wire_address(address: IpAddr) -> Option<Be32> {
        match address {
            IpAddr::V4(address) => Some(Be32::new(address.into())),
            IpAddr::V6(_) => None,
        }
    }

    fn plain_address(address: Be32) -> IpAddr {
        Ipv4Addr::from(address.get()).into()
    }

    fn client_parts(key: &ClientKey4) -> (IpAddr, u32) {
        (Self::plain_address(key.client), key.device)
    }
}

impl WireFamily for V6 {
    fn wire_address(address: IpAddr) -> Option<Be128> {
        match address {
            IpAddr::V6(address) => Some(Be128::from_bytes(address.octets())),
            IpAddr::V4(_) => None,
        }
    }

    fn plain_address(address: Be128) -> IpAddr {
        Ipv6Addr::from(address.to_bytes()).into()
    }

    fn client_parts(key: &ClientKey6) -> (IpAddr, u32) {
        (Self::plain_address(key.client), key.device)
    }
}

const _: () = assert!(size_of::<Endpoint4>() == 8 && size_of::<Endpoint6>() == 24);

/// The 16 bytes of a table line, in network order; IPv4 uses the first four.
pub fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
        IpAddr::V6(address) => address.octets(),
    }
}

/// The address of such bytes.
pub(super) fn address_from(bytes: &[u8; 16], is_v6: bool) -> IpAddr {
    match is_v6 {
        true => Ipv6Addr::from(*bytes).into(),
        false => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
    }
}

/// A device's settings as the packet path reads them.
pub fn device_line(settings: &DeviceSettings) -> DeviceLine {
    let flags = if settings.stateless { DEVICE_STATELESS } else { 0 }
        | if settings.affinity { DEVICE_AFFINITY } else { 0 };
    DeviceLine {
        address: address_bytes(settings.address),
        port: Be16::new(settings.port),
        port_last: Be16::new(settings.port_last),
        server_port: Be16::new(settings.server_port),
        mss_max: Be16::new(settings.mss_max),
        protocol: settings.protocol,
        forwarding: settings.forwarding as u8,
        flags,
        ..DeviceLine::default()
    }
}

pub(super) fn device_settings(line: &DeviceLine, is_v6: bool) -> DeviceSettings {
    DeviceSettings {
        address: address_from(&line.address, is_v6),
        port: line.port.get(),
        port_last: line.port_last.get(),
        protocol: line.protocol,
        server_port: line.server_port.get(),
        forwarding: Forwarding::from_number(line.forwarding),
        stateless: line.flags & DEVICE_STATELESS != 0,
        affinity: line.flags & DEVICE_AFFINITY != 0,
        mss_max: line.mss_max.get(),
    }
}
