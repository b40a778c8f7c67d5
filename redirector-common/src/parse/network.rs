//! Network headers of each family: options and extension headers included.

use crate::family::{V4, V6};
use crate::frame::Frame;
use crate::headers::{
    Extension, FRAGMENT_OFFSET, Fragment6, IPV4_LEN, IPV6_LEN, Ipv4, Ipv6, MORE_FRAGMENTS,
};
use crate::ip_header::adds_up;
use crate::order::{Be32, Words as _};
use crate::packet::{OFFSET_MASK, TRANSPORT_MAX};
use crate::parse::{Network, Part};
use crate::verdict::Reason;

/// IPv6 extension headers that are looked past; RFC 8504 lets a node set such a limit.
const EXTENSIONS_MAX: usize = 6;
/// IPv6 hop-by-hop options.
const HOP_BY_HOP: u8 = 0;
/// IPv6 routing header.
const ROUTING: u8 = 43;
/// IPv6 fragment header.
const FRAGMENT: u8 = 44;
/// IPv6 destination options.
const DESTINATION_OPTIONS: u8 = 60;

/// Checks an IPv4 header against itself.
///
/// # Errors
///
/// `Truncated` or `BadHeader`. Source: RFC 791; RFC 1812 section 5.2.2 for the checksum, which a
/// router must not leave unchecked.
#[inline(always)]
pub fn network4(frame: &impl Frame, at: usize, network: &mut Network<V4>) -> Result<(), Reason> {
    let ip: &Ipv4 = frame.header(at)?;
    let ip_len = usize::from(ip.total_length.get());
    let header_len = ip.header_len();
    if ip.version_ihl >> 4 != 4 || header_len < IPV4_LEN || ip_len < header_len {
        return Err(Reason::BadHeader);
    }
    let mut sum = ip.words_sum();
    if header_len > IPV4_LEN {
        sum += options_sum(frame, at, header_len)?;
    }
    if !adds_up(sum) {
        return Err(Reason::BadHeader);
    }
    *network = facts4(ip, at, ip_len);
    Ok(())
}

/// The sum of the options' words.
#[inline(always)]
fn options_sum(frame: &impl Frame, at: usize, header_len: usize) -> Result<u32, Reason> {
    /// Options are at most ten numbers of 32 bits (RFC 791).
    const OPTIONS_MAX: usize = 10;
    let mut sum = 0;
    for n in 0..OPTIONS_MAX {
        let offset = IPV4_LEN + n * size_of::<Be32>();
        if offset >= header_len {
            break;
        }
        let word: &Be32 = frame.header(at + offset)?;
        let raw = word.raw();
        sum += (raw & 0xffff) + (raw >> 16);
    }
    Ok(sum)
}

#[inline(always)]
fn facts4(ip: &Ipv4, at: usize, ip_len: usize) -> Network<V4> {
    let fragment = ip.flags_fragment.raw();
    Network {
        source: ip.source,
        destination: ip.destination,
        protocol: ip.protocol,
        hops: ip.ttl,
        part: if fragment & FRAGMENT_OFFSET.raw() != 0 {
            Part::Later
        } else if fragment & MORE_FRAGMENTS.raw() != 0 {
            Part::First
        } else {
            Part::Whole
        },
        identification: u32::from(ip.identification.raw()),
        transport: at + ip.header_len(),
        end: at + ip_len,
    }
}

/// Reads the IPv4 header that an ICMP error quotes.
///
/// # Errors
///
/// `Truncated` or `IcmpOther`.
#[inline(always)]
pub fn quoted4(frame: &impl Frame, at: usize) -> Result<Network<V4>, Reason> {
    let ip: &Ipv4 = frame.header(at)?;
    if ip.version_ihl >> 4 != 4 || ip.header_len() < IPV4_LEN {
        return Err(Reason::IcmpOther);
    }
    Ok(facts4(ip, at, usize::from(ip.total_length.get())))
}

/// Checks an IPv6 header, and looks past its extension headers.
///
/// # Errors
///
/// `Truncated`, `BadHeader`, or `Extensions` where the chain is too long, leads to a header that
/// hides the transport, or says that the packet goes on to another destination. Source: RFC 8200.
#[inline(always)]
pub fn network6(frame: &impl Frame, at: usize, network: &mut Network<V6>) -> Result<(), Reason> {
    let ip: &Ipv6 = frame.header(at)?;
    if ip.version_class_label.get() >> 28 != 6 {
        return Err(Reason::BadHeader);
    }
    *network = facts6(ip, at);
    if is_extension(network.protocol) {
        past_extensions(frame, network)?;
    }
    if network.transport > network.end {
        return Err(Reason::BadHeader);
    }
    Ok(())
}

#[inline(always)]
fn facts6(ip: &Ipv6, at: usize) -> Network<V6> {
    Network {
        source: ip.source.copied(),
        destination: ip.destination.copied(),
        protocol: ip.next_header,
        hops: ip.hop_limit,
        part: Part::Whole,
        identification: 0,
        transport: at + IPV6_LEN,
        end: at + IPV6_LEN + usize::from(ip.payload_length.get()),
    }
}

#[inline(always)]
fn is_extension(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION_OPTIONS)
}

/// Moves on to the transport header, or to the end of a later fragment's headers.
#[inline(always)]
fn past_extensions(frame: &impl Frame, network: &mut Network<V6>) -> Result<(), Reason> {
    for _ in 0..EXTENSIONS_MAX {
        if network.transport > TRANSPORT_MAX {
            return Err(Reason::Extensions);
        }
        match network.protocol {
            FRAGMENT => {
                let header: &Fragment6 = frame.header(network.transport & OFFSET_MASK)?;
                network.protocol = header.next_header;
                network.identification = header.identification.raw();
                network.transport += size_of::<Fragment6>();
                let offset_more = header.offset_more.get();
                if offset_more >> 3 != 0 {
                    network.part = Part::Later;
                    return Ok(());
                }
                if offset_more & 1 != 0 {
                    network.part = Part::First;
                }
            }
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                let header: &Extension = frame.header(network.transport & OFFSET_MASK)?;
                // A packet that goes on from here to somewhere else (RFC 8200, section 4.4) is for
                // that; its checksum too is made with that address.
                if network.protocol == ROUTING && header.segments_left != 0 {
                    return Err(Reason::Extensions);
                }
                network.protocol = header.next_header;
                network.transport += (usize::from(header.length) + 1) * 8;
            }
            _ => return Ok(()),
        }
    }
    if is_extension(network.protocol) || network.transport > TRANSPORT_MAX {
        return Err(Reason::Extensions);
    }
    Ok(())
}

/// Reads the IPv6 header that an ICMP error quotes. Extension headers inside are not looked past.
///
/// # Errors
///
/// `Truncated` or `IcmpOther`.
#[inline(always)]
pub fn quoted6(frame: &impl Frame, at: usize) -> Result<Network<V6>, Reason> {
    let ip: &Ipv6 = frame.header(at)?;
    if ip.version_class_label.get() >> 28 != 6 || is_extension(ip.next_header) {
        return Err(Reason::IcmpOther);
    }
    Ok(facts6(ip, at))
}
