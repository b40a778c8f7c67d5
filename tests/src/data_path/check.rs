//! Whether a frame is right in itself, by a parser that shares nothing with the redirector's:
//! lengths and checksums of every header, of what is in tunnels, and of what ICMP errors quote.

use etherparse::checksum::Sum16BitWords;
use etherparse::{
    EtherType, Ethernet2Slice, IpNumber, Ipv4HeaderSlice, Ipv6ExtensionsSlice, Ipv6HeaderSlice,
    SingleVlanSlice, TcpSlice, UdpHeaderSlice,
};

use super::GUE_PORT;

/// Checks a frame; what is neither IPv4 nor IPv6 is always right.
///
/// # Errors
///
/// What is wrong, in words.
pub fn check(frame: &[u8]) -> Result<(), String> {
    let ethernet = Ethernet2Slice::from_slice_without_fcs(frame).map_err(text)?;
    let (mut kind, mut rest) = (ethernet.ether_type(), ethernet.payload().payload);
    for _ in 0..2 {
        if matches!(kind, EtherType::VLAN_TAGGED_FRAME | EtherType::PROVIDER_BRIDGING) {
            let tag = SingleVlanSlice::from_slice(rest).map_err(text)?;
            kind = tag.ether_type();
            rest = &rest[4..];
        }
    }
    match kind {
        EtherType::IPV4 | EtherType::IPV6 => packet(rest, Extent::Padded),
        _ => Ok(()),
    }
}

/// How the bytes of a packet may differ in number from what it says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// There may be padding behind it.
    Padded,
    /// It ends where its bytes end.
    Exact,
    /// Its end may be missing: an ICMP error quotes it.
    Quoted,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// What a transport's checksum covers besides itself.
struct Ends<'a> {
    source: &'a [u8],
    destination: &'a [u8],
}

fn packet(bytes: &[u8], extent: Extent) -> Result<(), String> {
    match bytes.first().map(|byte| byte >> 4) {
        Some(4) => packet4(bytes, extent),
        Some(6) => packet6(bytes, extent),
        other => Err(format!("IP version {other:?}")),
    }
}

/// The payload of a packet of which `said` bytes should be there; and whether all of it is.
fn payload(
    bytes: &[u8],
    header_len: usize,
    said: usize,
    extent: Extent,
) -> Result<(&[u8], bool), String> {
    let here = bytes.len();
    let fits = match extent {
        Extent::Padded => said <= here,
        Extent::Exact => said == here,
        Extent::Quoted => true,
    };
    if !fits || said < header_len {
        return Err(format!("a packet of {said} bytes in {here}"));
    }
    Ok((&bytes[header_len..said.min(here)], said <= here))
}

fn packet4(bytes: &[u8], extent: Extent) -> Result<(), String> {
    let header = Ipv4HeaderSlice::from_slice(bytes).map_err(text)?;
    let right = header.to_header().calc_header_checksum();
    if header.header_checksum() != right {
        return Err(format!("IP checksum {:#06x}, not {right:#06x}", header.header_checksum()));
    }
    let (header_len, said) = (header.slice().len(), usize::from(header.total_len()));
    let (payload, whole) = payload(bytes, header_len, said, extent)?;
    if header.is_fragmenting_payload() || !whole {
        return Ok(());
    }
    let ends = Ends { source: &header.source(), destination: &header.destination() };
    transport(header.protocol(), payload, &ends)
}

fn packet6(bytes: &[u8], extent: Extent) -> Result<(), String> {
    let header = Ipv6HeaderSlice::from_slice(bytes).map_err(text)?;
    let said = 40 + usize::from(header.payload_length());
    let (payload, whole) = payload(bytes, 40, said, extent)?;
    if !whole {
        return Ok(());
    }
    let (extensions, protocol, rest) =
        Ipv6ExtensionsSlice::from_slice(header.next_header(), payload).map_err(text)?;
    if extensions.is_fragmenting_payload() {
        return Ok(());
    }
    let ends = Ends { source: &header.source(), destination: &header.destination() };
    transport(protocol, rest, &ends)
}

fn transport(protocol: IpNumber, bytes: &[u8], ends: &Ends<'_>) -> Result<(), String> {
    match protocol {
        IpNumber::TCP => {
            TcpSlice::from_slice(bytes).map_err(text)?;
            sums_up("TCP", Some((ends, protocol)), bytes)
        }
        IpNumber::UDP => datagram(bytes, ends),
        IpNumber::ICMP => {
            sums_up("ICMP", None, bytes)?;
            message(bytes, &[3, 4, 11, 12])
        }
        IpNumber::IPV6_ICMP => {
            sums_up("ICMPv6", Some((ends, protocol)), bytes)?;
            message(bytes, &[1, 2, 3, 4])
        }
        IpNumber::IPV4 | IpNumber::IPV6 => packet(bytes, Extent::Exact),
        _ => Ok(()),
    }
}

fn datagram(bytes: &[u8], ends: &Ends<'_>) -> Result<(), String> {
    let header = UdpHeaderSlice::from_slice(bytes).map_err(text)?;
    if usize::from(header.length()) != bytes.len() {
        return Err(format!("a datagram of {} bytes in {}", header.length(), bytes.len()));
    }
    if header.checksum() != 0 {
        sums_up("UDP", Some((ends, IpNumber::UDP)), bytes)?;
    }
    if header.destination_port() == GUE_PORT { packet(&bytes[8..], Extent::Exact) } else { Ok(()) }
}

/// An ICMP message; errors quote a packet.
fn message(bytes: &[u8], errors: &[u8]) -> Result<(), String> {
    if bytes.len() < 8 {
        return Err(format!("an ICMP message of {} bytes", bytes.len()));
    }
    if !errors.contains(&bytes[0]) {
        return Ok(());
    }
    packet(&bytes[8..], Extent::Quoted).map_err(|wrong| format!("quoted: {wrong}"))
}

/// Whether all words, the checksum among them, sum up to all ones (RFC 1071).
fn sums_up(name: &str, pseudo: Option<(&Ends<'_>, IpNumber)>, bytes: &[u8]) -> Result<(), String> {
    let mut sum = Sum16BitWords::new().add_slice(bytes);
    if let Some((ends, protocol)) = pseudo {
        sum = sum
            .add_slice(ends.source)
            .add_slice(ends.destination)
            .add_4bytes((bytes.len() as u32).to_be_bytes())
            .add_2bytes([0, protocol.0]);
    }
    match sum.ones_complement() {
        0 => Ok(()),
        rest => Err(format!("the {name} checksum is wrong by {:#06x}", rest.to_be())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Version;
    use super::super::text;
    use super::check;

    fn judged(line: &str, version: Version) -> Result<(), String> {
        check(&text::frame(line, version).unwrap())
    }

    #[test]
    fn what_is_built_from_text_is_right() {
        for version in [Version::V4, Version::V6] {
            for line in [
                "client>gateway | ip client1>service0 | tcp 1>2 S | data 7",
                "client>gateway | qinq 3 | vlan 4 | ip client1>service0 | udp 1>2 | data 8",
                "client>gateway | ip client1>service0 | icmp echo rest 9 | data 3",
                "client>gateway | ip client1>service0 | udp 9>6080 sum 0 | ip4 client1>service0 \
                 | tcp 1>2 S",
                "client>gateway | ip client1>service0 | icmp unreachable | quote 8 \
                 | ip server1>client1 | tcp 1>2 S | data 100",
                "client>gateway | ip client1>service0 | ip6 client1>service0 | dstopt 8 \
                 | udp 1>2 | data 4",
            ] {
                assert_eq!(judged(line, version), Ok(()), "{line}");
            }
        }
    }

    #[test]
    fn a_byte_changed_anywhere_in_headers_or_payload_is_found() {
        let line = "client>gateway | ip client1>service0 | icmp unreachable | quote all \
                    | ip server1>client1 | tcp 1>2 S | data 8";
        for version in [Version::V4, Version::V6] {
            let right = text::frame(line, version).unwrap();
            let header_len = if version == Version::V4 { 20 } else { 40 };
            for at in 14 + header_len..right.len() {
                let mut wrong = right.clone();
                wrong[at] ^= 0x10;
                assert!(check(&wrong).is_err(), "byte {at} of {version:?}");
            }
        }
    }
}
