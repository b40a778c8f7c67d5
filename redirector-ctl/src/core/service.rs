//! How a device's packets are treated: the choices of a device besides its address and servers, and
//! what follows from them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use redirector_common::wire;

use super::change::DeviceSpec;
use super::ports::{PortMap, PortRange};
use super::spec::{Device, Name};
pub use super::validate::address_flaw;

/// Smallest segment that a device may limit SYNs to, in bytes: what every IPv4 host must take less
/// the longest headers (RFC 791, RFC 9293: 576 - 60 - 60), and then less what tunnels may need.
pub const MSS_MIN: u16 = 216;

/// Largest segment, in bytes: the longest IPv4 packet less the shortest headers.
pub const MSS_MAX: u16 = 65_495;

/// Shortest idle time after which flows may be forgotten, in ms.
pub const IDLE_MIN_MS: u64 = 1000;

/// Longest idle time after which flows may be forgotten, in ms: 30 days.
pub const IDLE_MAX_MS: u64 = 30 * 24 * 3_600_000;

/// Protocol of a service address.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP, protocol number 6.
    Tcp,
    /// UDP, protocol number 17.
    Udp,
    /// Every protocol but TCP, UDP and ICMP. It has no ports; flows are told apart by their client.
    Any,
}

impl Protocol {
    /// The word for it in texts, the same as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Any => "any",
        }
    }
}

/// How a client's packet gets to its server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Forwarding {
    /// The destination is rewritten; the servers' way back leads through the redirector.
    #[default]
    Nat,
    /// The source is rewritten too, to a local address and port: the server answers the redirector
    /// and never sees the client's address.
    FullNat,
    /// Only the Ethernet address changes: the servers are on the redirector's own network, own the
    /// service address and answer by themselves.
    Dsr,
    /// The packet is put into another IP packet; the servers own the service address and answer by
    /// themselves.
    Ipip,
    /// The packet is put into a UDP datagram (GUE); the servers own the service address and answer
    /// by themselves.
    Gue,
}

impl Forwarding {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Nat, Self::FullNat, Self::Dsr, Self::Ipip, Self::Gue];

    /// The word for it in texts, the same as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::FullNat => "full-nat",
            Self::Dsr => "dsr",
            Self::Ipip => "ipip",
            Self::Gue => "gue",
        }
    }

    /// Whether the servers answer by themselves, so that their packets are never seen here. They
    /// own the service address and its ports then.
    #[must_use]
    pub fn is_direct(self) -> bool {
        matches!(self, Self::Dsr | Self::Ipip | Self::Gue)
    }

    /// Whether packets travel inside others, so that the two ends may be of any family.
    #[must_use]
    pub fn is_tunnel(self) -> bool {
        matches!(self, Self::Ipip | Self::Gue)
    }

    /// Whether packets for the service address `service` can be sent to a server at `server`.
    #[must_use]
    pub fn joins(self, service: IpAddr, server: IpAddr) -> bool {
        self.is_tunnel() || service.is_ipv4() == server.is_ipv4()
    }
}

/// As the packet path has it.
impl From<Forwarding> for wire::Forwarding {
    fn from(forwarding: Forwarding) -> Self {
        match forwarding {
            Forwarding::Nat => Self::Nat,
            Forwarding::FullNat => Self::FullNat,
            Forwarding::Dsr => Self::Dsr,
            Forwarding::Ipip => Self::Ipip,
            Forwarding::Gue => Self::Gue,
        }
    }
}

/// Whether the packet path keeps an entry for each open flow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tracking {
    /// It does.
    #[default]
    Tracked,
    /// It does not: the association alone decides. Entries are made for flows that open while the
    /// device drains.
    Stateless,
}

impl Tracking {
    /// The word for it in texts, the same as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tracked => "tracked",
            Self::Stateless => "stateless",
        }
    }
}

/// What is kept together on one server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Affinity {
    /// Each flow for itself.
    #[default]
    Flow,
    /// All flows of one client to the device: a new one joins those that are open.
    Client,
}

impl Affinity {
    /// The word for it in texts, the same as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::Client => "client",
        }
    }
}

/// Families of which there is something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FamilySet {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

impl FamilySet {
    /// Neither.
    pub const NONE: Self = Self { v4: false, v6: false };
    /// Both.
    pub const BOTH: Self = Self { v4: true, v6: true };

    /// The families of these addresses.
    #[must_use]
    pub fn of(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        addresses.into_iter().fold(Self::NONE, |set, address| Self {
            v4: set.v4 || address.is_ipv4(),
            v6: set.v6 || address.is_ipv6(),
        })
    }

    /// Whether there is something of the family of this address.
    #[must_use]
    pub fn has(self, address: IpAddr) -> bool {
        if address.is_ipv4() { self.v4 } else { self.v6 }
    }
}

/// `IPv4` or `IPv6`.
pub(super) fn family_name(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

impl DeviceSpec {
    /// Its ports, at the service address and at the servers.
    #[must_use]
    pub fn port_map(&self) -> PortMap {
        PortMap::new(self.protocol, (self.port, self.server_port), &self.ports)
    }

    /// Where clients reach it, for people: `10.0.1.100:3260/tcp`, `[fd00::1]:860-870/tcp`,
    /// `10.0.1.100/any`.
    #[must_use]
    pub fn service(&self) -> String {
        self.port_map().service(self.address)
    }
}

impl Device {
    /// Its ports, at the service address and at the servers.
    #[must_use]
    pub fn port_map(&self) -> PortMap {
        PortMap::new(self.protocol, (self.port, self.server_port), &self.ports)
    }

    /// All its service ports: ranges in order, none of which overlap or touch. Empty for protocol
    /// any.
    #[must_use]
    pub fn all_ports(&self) -> Vec<PortRange> {
        self.port_map().ranges().to_vec()
    }

    /// The same ports at its servers.
    #[must_use]
    pub fn all_server_ports(&self) -> Vec<PortRange> {
        self.port_map().at_servers().unwrap_or_default()
    }

    /// First service port; 0 for protocol any.
    #[must_use]
    pub fn port_first(&self) -> u16 {
        self.port_map().first()
    }

    /// Last service port; 0 for protocol any.
    #[must_use]
    pub fn port_last(&self) -> u16 {
        self.port_map().last()
    }

    /// Port at the servers of the first service port; 0 for protocol any.
    #[must_use]
    pub fn server_port_first(&self) -> u16 {
        self.all_server_ports().first().map_or(0, |range| range.first())
    }

    /// Whether the tables have one entry for all ports of its address and protocol.
    #[must_use]
    pub fn is_wide(&self) -> bool {
        self.port_map().is_wide()
    }

    /// Where clients reach it, for people, as [`DeviceSpec::service`] has it.
    #[must_use]
    pub fn service(&self) -> String {
        self.port_map().service(self.address)
    }

    /// Server to which packets belong that are in mid-conversation and of no known flow.
    ///
    /// A tracked device's unknown flows were opened before the newest change, at the latest. A
    /// stateless device's flows have no entries but those opened since it drains, so what has none
    /// was opened before the oldest change that still drains.
    #[must_use]
    pub fn previous(&self) -> Option<&Name> {
        match self.tracking {
            Tracking::Tracked => self.association.previous(),
            Tracking::Stateless => {
                let oldest = self.association.drains.first().filter(|drain| !drain.failed);
                oldest.map(|drain| &drain.server)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::Change;
    use super::super::fixtures::*;
    use super::super::observed::Observed;
    use super::super::seed::Seed;
    use super::super::spec::Spec;
    use super::*;

    /// A spec whose device `d1` has every choice made otherwise than by default.
    fn chosen() -> Spec {
        let mut wish = device_spec(1, &["s1", "s2", "s3"]);
        wish.ports = vec!["860-870".parse().expect("a range")];
        wish.forwarding = Forwarding::FullNat;
        wish.affinity = Affinity::Client;
        (wish.mss_max, wish.tcp_idle_timeout_ms) = (Some(1400), Some(60_000));
        let mut other = device_spec(2, &["s1", "s2"]);
        (other.protocol, other.port, other.server_port) = (Protocol::Any, 0, 0);
        (other.tracking, other.udp_idle_timeout_ms) = (Tracking::Stateless, Some(5000));
        let put = |name: &str, device| Change::PutDevice { name: name.into(), device };
        let changes = [put("d1", wish), put("d2", other)];
        changed(&three_and_three(), &changes, &at(2000, &Observed::default()))
    }

    #[test]
    fn a_state_file_keeps_every_choice_and_is_a_spec_that_changes_could_have_made() {
        let spec = chosen();
        let text = serde_json::to_string(&spec).expect("JSON");
        assert_eq!(serde_json::from_str::<Spec>(&text).expect("a spec"), spec);
        assert_eq!(Seed::verify(&spec, &at(3000, &Observed::default())), Ok(()));
        let seed = Seed::of(&spec);
        let text = serde_json::to_string(&seed).expect("JSON");
        assert_eq!(serde_json::from_str::<Seed>(&text).expect("a seed"), seed);
    }

    #[test]
    fn a_state_file_of_before_these_choices_is_read_as_the_defaults() {
        let spec = three_and_three();
        let seed = Seed::of(&spec);
        let mut spec_json = serde_json::to_value(&spec).expect("JSON");
        let mut seed_json = serde_json::to_value(&seed).expect("JSON");
        let of_spec = spec_json["devices"].as_object_mut().expect("an object").values_mut();
        let of_seed = seed_json["devices"].as_array_mut().expect("a list").iter_mut();
        for device in of_spec.chain(of_seed) {
            let device = device.as_object_mut().expect("an object");
            for choice in ["forwarding", "tracking", "affinity"] {
                assert!(device.remove(choice).is_some(), "{choice}");
            }
            for absent in ["ports", "mss_max", "tcp_idle_timeout_ms", "udp_idle_timeout_ms"] {
                assert!(!device.contains_key(absent), "{absent}");
            }
        }
        assert_eq!(serde_json::from_value::<Spec>(spec_json).expect("a spec"), spec);
        assert_eq!(serde_json::from_value::<Seed>(seed_json).expect("a seed"), seed);
    }

    #[test]
    fn words_in_texts_are_those_of_json() {
        let word = |value: serde_json::Result<serde_json::Value>| value.expect("JSON");
        for forwarding in Forwarding::ALL {
            assert_eq!(word(serde_json::to_value(forwarding)), forwarding.name());
            let in_packets = wire::Forwarding::from(forwarding);
            assert_eq!(in_packets.is_direct(), forwarding.is_direct(), "{}", forwarding.name());
        }
        for tracking in [Tracking::Tracked, Tracking::Stateless] {
            assert_eq!(word(serde_json::to_value(tracking)), tracking.name());
        }
        for affinity in [Affinity::Flow, Affinity::Client] {
            assert_eq!(word(serde_json::to_value(affinity)), affinity.name());
        }
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Any] {
            assert_eq!(word(serde_json::to_value(protocol)), protocol.name());
        }
    }
}
