//! TCP, UDP and ICMP from text.

use std::net::IpAddr;

use super::super::Version;
use super::{Around, Built, Words, Wrong, checksum, hex, layers_of, number, octets};

fn ports(words: &mut Words<'_>) -> Result<[[u8; 2]; 2], Wrong> {
    let (from, to) = words.pair()?;
    let port = |word: &str| {
        let port: Option<u16> = number(word);
        port.map(u16::to_be_bytes).ok_or_else(|| format!("`{word}` is no port"))
    };
    Ok([port(from)?, port(to)?])
}

/// The checksum of a transport header and its payload under the pseudo-header (RFC 9293, RFC 8200).
fn sum(around: Around, protocol: u8, bytes: &[u8]) -> u16 {
    let Some((from, to)) = around.ends else { return 0 };
    let len = (bytes.len() as u32).to_be_bytes();
    let protocol = match (from, protocol) {
        // ICMP alone has none.
        (IpAddr::V4(_), 1) => return checksum(&[bytes]),
        (_, protocol) => [0, 0, 0, protocol],
    };
    checksum(&[&octets(from), &octets(to), &len, &protocol, bytes])
}

fn with_sum(mut bytes: Vec<u8>, at: usize, sum: u16) -> Vec<u8> {
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    bytes
}

pub(super) fn tcp(mut words: Words<'_>, rest: &[&str], around: Around) -> Result<Built, Wrong> {
    let ports = ports(&mut words)?;
    let (mut flags, mut window, mut offset) = (0_u8, 8192_u16, None);
    let (mut sequence, mut acknowledgement, mut options) = (0_u32, 0_u32, Vec::new());
    while let Some(word) = words.next() {
        match word {
            "seq" => sequence = words.number()?,
            "ack" => acknowledgement = words.number()?,
            "win" => window = words.number()?,
            "opt" => options = hex(words.word()?)?,
            "offset" => offset = Some(words.number::<u8>()?),
            letters => {
                for letter in letters.chars() {
                    let bit = "FSRPA".find(letter).ok_or_else(|| words.unknown(letters))?;
                    flags |= 1 << bit;
                }
            }
        }
    }
    let mut bytes = ports.concat();
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(acknowledgement.to_be_bytes());
    let header_len = 20 + options.len();
    bytes.push(offset.unwrap_or((header_len / 4) as u8) << 4);
    bytes.push(flags);
    bytes.extend(window.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(options);
    bytes.extend(layers_of(rest, around)?.bytes);
    let sum = sum(around, 6, &bytes);
    Ok(Built { ether_type: 0, protocol: 6, bytes: with_sum(bytes, 16, sum) })
}

pub(super) fn udp(mut words: Words<'_>, rest: &[&str], around: Around) -> Result<Built, Wrong> {
    let mut bytes = ports(&mut words)?.concat();
    let (mut len, mut given) = (None, None);
    while let Some(word) = words.next() {
        match word {
            "sum" => given = Some(words.number()?),
            "len" => len = Some(words.number::<u16>()?),
            other => return Err(words.unknown(other)),
        }
    }
    let payload = layers_of(rest, around)?.bytes;
    bytes.extend(len.unwrap_or((8 + payload.len()) as u16).to_be_bytes());
    bytes.extend([0; 2]);
    bytes.extend(payload);
    // A sum of zero is sent as all ones (RFC 768).
    let sum = given.unwrap_or_else(|| match sum(around, 17, &bytes) {
        0 => 0xffff,
        sum => sum,
    });
    Ok(Built { ether_type: 0, protocol: 17, bytes: with_sum(bytes, 6, sum) })
}

pub(super) fn icmp(mut words: Words<'_>, rest: &[&str], around: Around) -> Result<Built, Wrong> {
    let v4 = matches!(around.version, Version::V4);
    let (kind, code): (u8, u8) = match words.word()? {
        "echo" => (if v4 { 8 } else { 128 }, 0),
        "reply" => (if v4 { 0 } else { 129 }, 0),
        "unreachable" => (if v4 { 3 } else { 1 }, 1),
        "toobig" => {
            if v4 {
                (3, 4)
            } else {
                (2, 0)
            }
        }
        "expired" => (if v4 { 11 } else { 3 }, 0),
        word => {
            let (kind, code) = word.split_once('.').ok_or_else(|| words.unknown(word))?;
            let part = |part: &str| number(part).ok_or_else(|| format!("`{part}` is no number"));
            (part(kind)?, part(code)?)
        }
    };
    let mut rest_word: u32 = 0;
    while let Some(word) = words.next() {
        match word {
            "rest" => rest_word = words.number()?,
            other => return Err(words.unknown(other)),
        }
    }
    let protocol = if v4 { 1 } else { 58 };
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend(rest_word.to_be_bytes());
    bytes.extend(layers_of(rest, around)?.bytes);
    let sum = sum(around, protocol, &bytes);
    Ok(Built { ether_type: 0, protocol, bytes: with_sum(bytes, 2, sum) })
}
