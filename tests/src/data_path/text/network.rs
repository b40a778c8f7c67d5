//! Tags, network headers and extension headers from text.

use std::net::IpAddr;

use super::super::Version;
use super::{Around, Built, Words, Wrong, address, checksum, hex, layers_of, octets};

pub(super) fn tag(
    kind: &str,
    mut words: Words<'_>,
    rest: &[&str],
    around: Around,
) -> Result<Built, Wrong> {
    let mut control: u16 = words.number()?;
    while let Some(word) = words.next() {
        match word {
            "prio" => control |= words.number::<u16>()? << 13,
            other => return Err(words.unknown(other)),
        }
    }
    let inside = layers_of(rest, around)?;
    let mut bytes = control.to_be_bytes().to_vec();
    bytes.extend(inside.ether_type.to_be_bytes());
    bytes.extend(inside.bytes);
    let ether_type = if kind == "qinq" { 0x88a8 } else { 0x8100 };
    Ok(Built { ether_type, protocol: 0, bytes })
}

/// What a network header's words say.
struct Facts {
    ends: (IpAddr, IpAddr),
    hops: u8,
    class: u8,
    id: u16,
    keeps_whole: bool,
    options: Vec<u8>,
    fragment: Option<Fragment>,
    len: Option<u16>,
    version: Option<u8>,
    bad_sum: bool,
}

struct Fragment {
    id: u32,
    offset: u16,
    more: bool,
}

fn facts(words: &mut Words<'_>, version: Version) -> Result<Facts, Wrong> {
    let (from, to) = words.pair()?;
    let mut facts = Facts {
        ends: (address(from, version)?, address(to, version)?),
        hops: 64,
        class: 0,
        id: 0,
        keeps_whole: false,
        options: Vec::new(),
        fragment: None,
        len: None,
        version: None,
        bad_sum: false,
    };
    while let Some(word) = words.next() {
        match word {
            "hops" => facts.hops = words.number()?,
            "tos" => facts.class = words.number()?,
            "id" => facts.id = words.number()?,
            "df" => facts.keeps_whole = true,
            "opt" => facts.options = hex(words.word()?)?,
            "len" => facts.len = Some(words.number()?),
            "version" => facts.version = Some(words.number()?),
            "badsum" => facts.bad_sum = true,
            "frag" => {
                let (id, offset) = (words.number()?, words.number()?);
                facts.fragment = Some(Fragment { id, offset, more: false });
            }
            "more" => match &mut facts.fragment {
                Some(fragment) => fragment.more = true,
                None => return Err("`more` without `frag`".to_owned()),
            },
            other => return Err(words.unknown(other)),
        }
    }
    Ok(facts)
}

pub(super) fn ip(mut words: Words<'_>, rest: &[&str], around: Around) -> Result<Built, Wrong> {
    let facts = facts(&mut words, around.version)?;
    let inside = layers_of(rest, Around { ends: Some(facts.ends), ..around })?;
    Ok(match around.version {
        Version::V4 => ip4(&facts, &inside),
        Version::V6 => ip6(&facts, inside),
    })
}

fn ip4(facts: &Facts, inside: &Built) -> Built {
    let header_len = 20 + facts.options.len();
    let total_len = facts.len.unwrap_or((header_len + inside.bytes.len()) as u16);
    let (mut id, mut flags) = (facts.id, if facts.keeps_whole { 0x4000 } else { 0 });
    if let Some(fragment) = &facts.fragment {
        id = fragment.id as u16;
        flags |= (fragment.offset / 8) | if fragment.more { 0x2000 } else { 0 };
    }
    let version = facts.version.unwrap_or(4);
    let mut header = vec![version << 4 | (header_len / 4) as u8, facts.class];
    header.extend(total_len.to_be_bytes());
    header.extend(id.to_be_bytes());
    header.extend(flags.to_be_bytes());
    header.extend([facts.hops, inside.protocol, 0, 0]);
    header.extend(octets(facts.ends.0));
    header.extend(octets(facts.ends.1));
    header.extend(&facts.options);
    let sum = checksum(&[&header]) ^ u16::from(facts.bad_sum);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header.extend(&inside.bytes);
    Built { ether_type: 0x0800, protocol: 4, bytes: header }
}

fn ip6(facts: &Facts, inside: Built) -> Built {
    let (mut next, mut payload) = (inside.protocol, inside.bytes);
    if let Some(fragment) = &facts.fragment {
        let mut header = vec![next, 0];
        header.extend(((fragment.offset / 8 * 8) | u16::from(fragment.more)).to_be_bytes());
        header.extend(fragment.id.to_be_bytes());
        header.extend(payload);
        (next, payload) = (44, header);
    }
    let version = u32::from(facts.version.unwrap_or(6));
    let payload_len = facts.len.unwrap_or(payload.len() as u16);
    let mut header = (version << 28 | u32::from(facts.class) << 20).to_be_bytes().to_vec();
    header.extend(payload_len.to_be_bytes());
    header.extend([next, facts.hops]);
    header.extend(octets(facts.ends.0));
    header.extend(octets(facts.ends.1));
    header.extend(payload);
    Built { ether_type: 0x86dd, protocol: 41, bytes: header }
}

pub(super) fn extension(
    kind: &str,
    mut words: Words<'_>,
    rest: &[&str],
    around: Around,
) -> Result<Built, Wrong> {
    let len: usize = words.number()?;
    if !len.is_multiple_of(8) || len == 0 {
        return Err(format!("{len} is no length of an extension header"));
    }
    let inside = layers_of(rest, around)?;
    let mut bytes = vec![0; len];
    bytes[0] = inside.protocol;
    bytes[1] = (len / 8 - 1) as u8;
    if kind != "routing" {
        // One option that is nothing but padding (RFC 8200, PadN).
        bytes[2] = 1;
        bytes[3] = (len - 4) as u8;
    }
    bytes.extend(inside.bytes);
    let protocol = match kind {
        "hopopt" => 0,
        "dstopt" => 60,
        _ => 43,
    };
    Ok(Built { ether_type: 0, protocol, bytes })
}
