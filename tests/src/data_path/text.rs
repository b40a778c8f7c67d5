//! Frames as lines of text: `client>gateway | ip client1>service0 hops 63 | tcp 40001>10809 S`.
//!
//! A frame is a row of layers, from the outside in, with `|` between them. Lengths, next protocols
//! and checksums are filled in, and always right, unless a word says otherwise. So what a frame is
//! turned into is compared with bytes whose every checksum was made anew. `ip` is the family that
//! the case runs for; `ip4` and `ip6` are what they say.
//!
//! | layer | words behind it |
//! |---|---|
//! | `A>B` | Ethernet; always first. `client`, `client2`, `gateway`, `server1`, .. |
//! | `vlan N`, `qinq N` | a tag (0x8100, 0x88a8); `prio N` |
//! | `ip A>B` | `hops N`, `tos N`, `id N`, `df`, `opt HEX`, `frag ID OFFSET [more]`, `badsum`.. |
//! | `hopopt N`, `dstopt N`, `routing N` | an IPv6 extension header of N bytes |
//! | `tcp A>B` | flags of `FSRPA`, `seq N`, `ack N`, `win N`, `opt HEX`, `offset N` |
//! | `udp A>B` | `sum N`, `len N` |
//! | `icmp WHAT` | `echo`, `reply`, `unreachable`, `toobig`, `expired`, or `TYPE.CODE`; `rest N` |
//! | `quote N`, `quote all` | what follows as a packet, cut N bytes behind its first header |
//! | `raw N` | nothing, but the protocol's number |
//! | `data N` | N bytes |
//! | `arp` | an ARP request |
//!
//! At the end: `pad N` makes the frame N bytes long with zeros, `cut N` cuts it to N bytes,
//! `poke AT HEX` writes bytes over it.
//!
//! Addresses: `client1`, `service0` (of device 0), `server1`, `local`, `tunnel`, `gateway`,
//! `probe`,
//! or digits.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    GATEWAY_MAC, GATEWAY_V4, GATEWAY_V6, LOCAL_V4, LOCAL_V6, TUNNEL_V4, TUNNEL_V6, Version,
    client_ip, device_ip, server_ip, server_mac,
};

mod network;
mod transport;

/// Ethernet addresses of clients.
const CLIENT_MACS: [[u8; 6]; 2] = [[2, 0, 1, 0, 0, 1], [2, 0, 1, 0, 0, 2]];

/// What is wrong with a text, in words.
pub type Wrong = String;

/// Bytes, and what they are to the layer in front of them.
struct Built {
    ether_type: u16,
    protocol: u8,
    bytes: Vec<u8>,
}

/// What layers need to know of those around them.
#[derive(Clone, Copy)]
struct Around {
    version: Version,
    /// Source and destination for a transport's checksum.
    ends: Option<(IpAddr, IpAddr)>,
}

/// The words of a layer, taken from first to last.
struct Words<'a> {
    words: std::str::SplitWhitespace<'a>,
    layer: &'a str,
}

impl<'a> Words<'a> {
    fn new(layer: &'a str) -> Self {
        Self { words: layer.split_whitespace(), layer }
    }

    fn next(&mut self) -> Option<&'a str> {
        self.words.next()
    }

    fn word(&mut self) -> Result<&'a str, Wrong> {
        self.next().ok_or_else(|| format!("a word is missing in `{}`", self.layer))
    }

    fn number<T: TryFrom<u64>>(&mut self) -> Result<T, Wrong> {
        let word = self.word()?;
        number(word).ok_or_else(|| format!("`{word}` is no number that fits `{}`", self.layer))
    }

    fn pair(&mut self) -> Result<(&'a str, &'a str), Wrong> {
        let word = self.word()?;
        word.split_once('>').ok_or_else(|| format!("`{word}` is not of the form A>B"))
    }

    fn unknown(&self, word: &str) -> Wrong {
        format!("`{word}` means nothing in `{}`", self.layer)
    }
}

/// A number, decimal or with `0x`.
pub(super) fn number<T: TryFrom<u64>>(word: &str) -> Option<T> {
    let value = match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok()?,
        None => word.parse().ok()?,
    };
    T::try_from(value).ok()
}

fn hex(digits: &str) -> Result<Vec<u8>, Wrong> {
    let byte = |at: usize| {
        let pair = digits.get(at..at + 2)?;
        u8::from_str_radix(pair, 16).ok()
    };
    let bytes = (0..digits.len()).step_by(2).map(byte).collect::<Option<Vec<_>>>();
    bytes.ok_or_else(|| format!("`{digits}` is no row of hexadecimal bytes"))
}

/// The bytes of a frame.
///
/// # Errors
///
/// What in the text means nothing.
pub fn frame(text: &str, version: Version) -> Result<Vec<u8>, Wrong> {
    let parts: Vec<&str> = text.split('|').map(str::trim).collect();
    let is_damage =
        |part: &&&str| ["pad ", "cut ", "poke "].iter().any(|word| part.starts_with(word));
    let layers_len = parts.len() - parts.iter().rev().take_while(is_damage).count();
    let (layers, damages) = parts.split_at(layers_len);
    let (ethernet, layers) = layers.split_first().ok_or("a frame without layers")?;
    let (from, to) = Words::new(ethernet).pair()?;
    let inside = layers_of(layers, Around { version, ends: None })?;
    let mut bytes = [mac(to)?, mac(from)?].concat();
    bytes.extend(inside.ether_type.to_be_bytes());
    bytes.extend(inside.bytes);
    for damage in damages {
        damaged(&mut bytes, damage)?;
    }
    Ok(bytes)
}

fn damaged(bytes: &mut Vec<u8>, damage: &str) -> Result<(), Wrong> {
    let mut words = Words::new(damage);
    match words.word()? {
        "pad" => bytes.resize(words.number()?, 0),
        "cut" => bytes.truncate(words.number()?),
        _ => {
            let at: usize = words.number()?;
            let new = hex(words.word()?)?;
            let place = bytes.get_mut(at..at + new.len());
            place.ok_or_else(|| format!("`{damage}` is outside"))?.copy_from_slice(&new);
        }
    }
    Ok(())
}

/// An Ethernet address by name.
pub(super) fn mac(name: &str) -> Result<[u8; 6], Wrong> {
    match name {
        "client" | "client1" => Ok(CLIENT_MACS[0]),
        "client2" => Ok(CLIENT_MACS[1]),
        "gateway" => Ok(GATEWAY_MAC),
        _ => match name.strip_prefix("server").and_then(number) {
            Some(id) => Ok(server_mac(id)),
            None => Err(format!("`{name}` is no Ethernet address")),
        },
    }
}

/// An address by name.
pub(super) fn address(name: &str, version: Version) -> Result<IpAddr, Wrong> {
    let of = |v4: Ipv4Addr, v6: Ipv6Addr| match version {
        Version::V4 => IpAddr::V4(v4),
        Version::V6 => IpAddr::V6(v6),
    };
    let numbered = |prefix: &str| name.strip_prefix(prefix).and_then(number::<u16>);
    if let Some(id) = numbered("client") {
        return Ok(client_ip(version, id));
    }
    if let Some(id) = numbered("service") {
        return Ok(device_ip(version, id.into()));
    }
    if let Some(id) = numbered("server") {
        return Ok(server_ip(version, id));
    }
    match name {
        "local" => Ok(of(LOCAL_V4, LOCAL_V6)),
        "tunnel" => Ok(of(TUNNEL_V4, TUNNEL_V6)),
        "gateway" => Ok(of(GATEWAY_V4, GATEWAY_V6)),
        "probe" => Ok(server_ip(version, 254)),
        digits => digits.parse().map_err(|_| format!("`{digits}` is no address")),
    }
}

fn layers_of(layers: &[&str], around: Around) -> Result<Built, Wrong> {
    let nothing = Built { ether_type: 0, protocol: 59, bytes: Vec::new() };
    let Some((layer, rest)) = layers.split_first() else { return Ok(nothing) };
    let mut words = Words::new(layer);
    match words.word()? {
        "arp" => Ok(Built { ether_type: 0x0806, bytes: vec![1; 28], ..nothing }),
        kind @ ("vlan" | "qinq") => network::tag(kind, words, rest, around),
        "ip4" => network::ip(words, rest, Around { version: Version::V4, ..around }),
        "ip6" => network::ip(words, rest, Around { version: Version::V6, ..around }),
        "ip" => network::ip(words, rest, around),
        kind @ ("hopopt" | "dstopt" | "routing") => network::extension(kind, words, rest, around),
        "tcp" => transport::tcp(words, rest, around),
        "udp" => transport::udp(words, rest, around),
        "icmp" => transport::icmp(words, rest, around),
        "quote" => quote(words, rest, around),
        "raw" => {
            let protocol = words.number()?;
            Ok(Built { protocol, ..layers_of(rest, around)? })
        }
        "data" => {
            let len: usize = words.number()?;
            let mut bytes: Vec<u8> = (0..len).map(|n| (n * 7 + 3) as u8).collect();
            bytes.extend(layers_of(rest, around)?.bytes);
            Ok(Built { bytes, ..nothing })
        }
        word => Err(words.unknown(word)),
    }
}

/// A packet as an ICMP error quotes it: cut some bytes behind its network header.
fn quote(mut words: Words<'_>, rest: &[&str], around: Around) -> Result<Built, Wrong> {
    let mut built = layers_of(rest, Around { ends: None, ..around })?;
    match words.word()? {
        "all" => {}
        word => {
            let behind: usize = number(word).ok_or_else(|| words.unknown(word))?;
            let header_len = match built.bytes.first() {
                Some(first) if first >> 4 == 4 => usize::from(first & 15) * 4,
                _ => 40,
            };
            built.bytes.truncate(header_len + behind);
        }
    }
    Ok(built)
}

/// The Internet checksum, without the shared crate's help. Source: RFC 1071.
fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum: u64 = 0;
    for pair in bytes.chunks(2) {
        sum += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
