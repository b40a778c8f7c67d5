//! What the redirector has of its own on the networks: `[local]`, from which full NAT sends,
//! `[tunnel]`, from which tunnels send, and the VLAN tags of an interface.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use redirector_common::wire::LOCALS_PER_FAMILY;

use super::problem::Report;
use super::reader::Section;
use super::sections::{ADDRESS, stand_in};
use crate::core::service::{FamilySet, address_flaw};

/// First and last port of full NAT: below those that the kernel gives to its own connections
/// (`net.ipv4.ip_local_port_range` is 32768 to 60999).
const PORTS: (u16, u16) = (1024, 32_767);
/// Port of GUE as IANA has it.
const GUE_PORT: u16 = 6080;
/// Network of the stand-ins of local addresses.
const LOCALS: Ipv4Addr = Ipv4Addr::new(198, 19, 128, 0);
/// Largest VLAN; 4095 is reserved and 0 is none (IEEE 802.1Q, 9.6).
const VLAN_MAX: u16 = 4094;

/// `[local]`: what full NAT sends from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalConfig {
    /// Addresses of this host and of no service; at most 64 of each family.
    pub addresses: Vec<IpAddr>,
    /// First port.
    pub port_first: u16,
    /// Last port.
    pub port_last: u16,
}

/// `[tunnel]`: what tunnels send from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelConfig {
    /// Outer source address of tunnels to servers of IPv4.
    pub source_v4: Option<Ipv4Addr>,
    /// Outer source address of tunnels to servers of IPv6.
    pub source_v6: Option<Ipv6Addr>,
    /// Port at which servers take GUE.
    pub gue_port: u16,
}

impl TunnelConfig {
    /// Its source addresses.
    pub fn sources(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.source_v4.into_iter().map(IpAddr::V4);
        v4.chain(self.source_v6.into_iter().map(IpAddr::V6))
    }

    /// The families of servers to which tunnels can be sent.
    #[must_use]
    pub fn families(&self) -> FamilySet {
        FamilySet::of(self.sources())
    }
}

/// VLAN tags of the frames on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vlan {
    /// One tag.
    One(u16),
    /// Two tags (QinQ).
    Two {
        /// The tag that comes first in the frame.
        outer: u16,
        /// The tag that comes after it.
        inner: u16,
    },
}

pub(super) fn local(mut section: Section<'_>, report: &mut Report<'_>) -> LocalConfig {
    let addresses = addresses(&mut section, report);
    let config = LocalConfig {
        addresses,
        port_first: section.number("port_first", 1..=u16::MAX, report).unwrap_or(PORTS.0),
        port_last: section.number("port_last", 1..=u16::MAX, report).unwrap_or(PORTS.1),
    };
    if config.port_first > config.port_last {
        let detail = format!(
            "{} is above port_last ({}), so there is no port between them; write at most that",
            config.port_first, config.port_last
        );
        report.problem("local.port_first", detail);
    }
    section.finish(report);
    config
}

fn addresses(section: &mut Section<'_>, report: &mut Report<'_>) -> Vec<IpAddr> {
    let texts = section.strings("addresses", report).unwrap_or_default();
    let mut addresses: Vec<IpAddr> = Vec::new();
    for (n, text) in texts.iter().enumerate() {
        let field = format!("local.addresses[{n}]");
        let Ok(address) = text.parse() else {
            report.problem(&field, format!("`{text}` is not {ADDRESS}"));
            addresses.push(stand_in(LOCALS, n));
            continue;
        };
        if addresses.contains(&address) {
            report.problem(&field, format!("{address} is listed twice; list it once"));
        } else {
            check_address(&field, address, report);
        }
        addresses.push(address);
    }
    for (family, of) in
        [("IPv4", IpAddr::is_ipv4 as fn(&IpAddr) -> bool), ("IPv6", IpAddr::is_ipv6)]
    {
        let len = addresses.iter().filter(|address| of(address)).count();
        if len > LOCALS_PER_FAMILY as usize {
            let detail = format!(
                "{len} {family} addresses are too many; list at most {LOCALS_PER_FAMILY} of a \
                 family"
            );
            report.problem("local.addresses", detail);
        }
    }
    addresses
}

pub(super) fn tunnel(mut section: Section<'_>, report: &mut Report<'_>) -> TunnelConfig {
    let v4 = "an IPv4 address; write one such as 10.0.2.1";
    let v6 = "an IPv6 address; write one such as fd00:2::1";
    let config = TunnelConfig {
        source_v4: section.parsed("source_v4", v4, report),
        source_v6: section.parsed("source_v6", v6, report),
        gue_port: section.number("gue_port", 1..=u16::MAX, report).unwrap_or(GUE_PORT),
    };
    if let Some(source) = config.source_v4 {
        check_address("tunnel.source_v4", source.into(), report);
    }
    if let Some(source) = config.source_v6 {
        check_address("tunnel.source_v6", source.into(), report);
    }
    section.finish(report);
    config
}

fn check_address(field: &str, address: IpAddr, report: &mut Report<'_>) {
    if let Some(flaw) = address_flaw(address) {
        report.problem(field, flaw);
    }
}

/// The tags of an interface: a number, or a list of the outer and the inner one.
pub(super) fn vlan(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<Vlan> {
    let tags = section.numbers("vlan", 1..=VLAN_MAX, report)?;
    match tags[..] {
        [only] => Some(Vlan::One(only)),
        [outer, inner] => Some(Vlan::Two { outer, inner }),
        _ => {
            let detail = format!(
                "{} tags are none that a frame can have here; write one, or [outer, inner]",
                tags.len()
            );
            report.problem(&section.field("vlan"), detail);
            None
        }
    }
}
