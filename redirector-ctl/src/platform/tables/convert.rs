//! From the core's values to wire types.

use std::net::{IpAddr, Ipv4Addr};

use redirector_common::family::Endpoint4;
use redirector_common::headers::{PROTOCOL_TCP, PROTOCOL_UDP};
use redirector_common::order::{Be16, Be32};
use redirector_common::wire::Association;

use super::TablesError;
use crate::core::op::{AssociationWord, Endpoint};
use crate::core::spec::Protocol;

pub(super) fn wire_word(word: &AssociationWord) -> Association {
    Association::new(word.server, word.previous, word.backup, word.epoch, word.epochs_open)
}

pub(super) fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => PROTOCOL_TCP,
        Protocol::Udp => PROTOCOL_UDP,
    }
}

fn ipv4(address: IpAddr) -> Result<Ipv4Addr, TablesError> {
    match address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(_) => Err(TablesError::Ipv6(address)),
    }
}

pub(super) fn address_bytes(address: IpAddr) -> Result<[u8; 16], TablesError> {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&ipv4(address)?.octets());
    Ok(bytes)
}

pub(super) fn endpoint(endpoint: &Endpoint) -> Result<Endpoint4, TablesError> {
    Ok(Endpoint4 {
        address: Be32::new(u32::from(ipv4(endpoint.address)?)),
        port: Be16::new(endpoint.port),
        protocol: protocol_number(endpoint.protocol),
        pad: 0,
    })
}
