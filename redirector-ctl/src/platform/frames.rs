//! Frames that the platform itself makes and reads: what is in front of a packet, and its two ends.

use std::net::IpAddr;

use etherparse::NetSlice;
use redirector_common::family::{Family, V4, V6};
use redirector_common::headers::{ETHER_TYPE_QINQ, ETHER_TYPE_VLAN};
use redirector_common::order::Be16;
use redirector_common::wire::Tags;
use zerocopy::IntoBytes as _;

/// A frame from one Ethernet address to another, with tags, around a packet of a family.
pub(super) fn framed(
    (from, to): ([u8; 6], [u8; 6]),
    tags: Tags,
    (packet, is_v4): (&[u8], bool),
) -> Vec<u8> {
    let ether_type = if is_v4 { V4::ETHER_TYPE } else { V6::ETHER_TYPE };
    let mut frame = [to, from].concat();
    if tags.count() == 2 {
        frame.extend([ETHER_TYPE_QINQ, Be16::new(tags.outer())].as_bytes());
    }
    if tags.count() >= 1 {
        frame.extend([ETHER_TYPE_VLAN, Be16::new(tags.inner())].as_bytes());
    }
    frame.extend(ether_type.as_bytes());
    frame.extend(packet);
    frame
}

/// Source and destination; None if it is no IP packet.
pub(super) fn addresses(net: &NetSlice<'_>) -> Option<(IpAddr, IpAddr)> {
    match net {
        NetSlice::Ipv4(ip) => {
            Some((ip.header().source_addr().into(), ip.header().destination_addr().into()))
        }
        NetSlice::Ipv6(ip) => {
            Some((ip.header().source_addr().into(), ip.header().destination_addr().into()))
        }
        NetSlice::Arp(_) => None,
    }
}
