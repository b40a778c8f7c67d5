//! Ports of a device: ranges, how they are written and ordered, and what they become at the
//! servers.
//!
//! A range is written as a text, `"3260"` or `"860-870"`, in the configuration, in the state file
//! and over the API alike; a number is taken too.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::spec::Protocol;

/// Longest range whose ports have an entry each in the tables, in ports. A longer one takes the one
/// entry for all ports of its address and protocol.
pub const NARROW_LEN_MAX: u32 = 16;

/// Most ranges that a device may have besides its first port.
pub const RANGES_MAX: usize = 16;

/// Ports from one to another, both included: 1 to 65535, the first not above the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The ports from `first` to `last`; None if that is no range of ports.
    #[must_use]
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (1..=last).contains(&first).then_some(Self { first, last })
    }

    /// Its first port.
    #[must_use]
    pub fn first(self) -> u16 {
        self.first
    }

    /// Its last port.
    #[must_use]
    pub fn last(self) -> u16 {
        self.last
    }

    /// How many ports there are; never 0.
    #[must_use]
    pub fn ports_len(self) -> u32 {
        u32::from(self.last - self.first) + 1
    }

    /// Its ports, in order.
    pub fn ports(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }

    /// Whether some port is in both.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The range this far away; None if that leaves 1 to 65535.
    fn moved(self, distance: i32) -> Option<Self> {
        let moved = |port: u16| u16::try_from(i32::from(port) + distance).ok();
        Self::new(moved(self.first)?, moved(self.last)?)
    }
}

/// The same ports as ranges in order, none of which overlap or touch.
#[must_use]
pub fn merged(ranges: impl IntoIterator<Item = PortRange>) -> Vec<PortRange> {
    let mut sorted: Vec<PortRange> = ranges.into_iter().collect();
    sorted.sort_unstable();
    let mut merged: Vec<PortRange> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(before) if u32::from(range.first) <= u32::from(before.last) + 1 => {
                before.last = before.last.max(range.last);
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// All ports of a device, at its service address and at its servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMap {
    protocol: Protocol,
    ranges: Vec<PortRange>,
    /// From a service port to the servers' port.
    distance: i32,
}

impl PortMap {
    /// The ports of a device of `protocol` whose port `port` is `server_port` at the servers, with
    /// `ports` besides, which keep that distance.
    #[must_use]
    pub fn new(protocol: Protocol, (port, server_port): (u16, u16), ports: &[PortRange]) -> Self {
        let own = PortRange::new(port, port);
        let ranges = merged(own.into_iter().chain(ports.iter().copied()));
        Self { protocol, ranges, distance: i32::from(server_port) - i32::from(port) }
    }

    /// Protocol of these ports.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The service ports: ranges in order, none of which overlap or touch. Empty for protocol any.
    #[must_use]
    pub fn ranges(&self) -> &[PortRange] {
        &self.ranges
    }

    /// The same ports at the servers; None if one of them leaves 1 to 65535.
    #[must_use]
    pub fn at_servers(&self) -> Option<Vec<PortRange>> {
        self.ranges.iter().map(|range| range.moved(self.distance)).collect()
    }

    /// First service port; 0 for protocol any.
    #[must_use]
    pub fn first(&self) -> u16 {
        self.ranges.first().map_or(0, |range| range.first)
    }

    /// Last service port; 0 for protocol any.
    #[must_use]
    pub fn last(&self) -> u16 {
        self.ranges.last().map_or(0, |range| range.last)
    }

    /// Whether the tables have one entry for all ports of the address and protocol, instead of one
    /// a port.
    #[must_use]
    pub fn is_wide(&self) -> bool {
        self.protocol == Protocol::Any
            || self.ranges.iter().any(|range| range.ports_len() > NARROW_LEN_MAX)
    }

    /// These ports at `address`, for people: `10.0.1.100:3260/tcp`, `[fd00::1]:860-870/tcp`,
    /// `10.0.1.100/any`.
    #[must_use]
    pub fn service(&self, address: IpAddr) -> String {
        let list: Vec<String> = self.ranges.iter().map(ToString::to_string).collect();
        let protocol = self.protocol.name();
        match (list.is_empty(), address) {
            (true, _) => format!("{address}/{protocol}"),
            (false, IpAddr::V4(_)) => format!("{address}:{}/{protocol}", list.join(",")),
            (false, IpAddr::V6(_)) => format!("[{address}]:{}/{protocol}", list.join(",")),
        }
    }

    /// How many entries the device takes at its service address, and at each of its servers.
    #[must_use]
    pub fn entries_len(&self) -> usize {
        let ports_len = || self.ranges.iter().map(|range| range.ports_len() as usize).sum();
        if self.is_wide() { 1 } else { ports_len() }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            self.first.fmt(f)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// Why a text is no range of ports, and what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a port nor a range of ports; write one such as \"3260\" or \"860-870\"")]
pub struct BadPortRange(String);

impl FromStr for PortRange {
    type Err = BadPortRange;

    fn from_str(text: &str) -> Result<Self, BadPortRange> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        // Only digits: the standard reader would take a sign too.
        let port = |digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| plain)
        };
        let range = port(first).zip(port(last)).and_then(|(first, last)| Self::new(first, last));
        range.ok_or_else(|| BadPortRange(text.to_owned()))
    }
}

impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

/// Reads a range as it is written.
struct Written;

impl de::Visitor<'_> for Written {
    type Value = PortRange;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port or a range of ports such as \"3260\" or \"860-870\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<PortRange, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<PortRange, E> {
        number.to_string().parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<PortRange, E> {
        number.to_string().parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn ranges(texts: &[&str]) -> Vec<PortRange> {
        texts.iter().map(|text| text.parse().expect("a range")).collect()
    }

    fn map(port: u16, server_port: u16, ports: &[&str]) -> PortMap {
        PortMap::new(Protocol::Tcp, (port, server_port), &ranges(ports))
    }

    #[test]
    fn a_range_is_written_as_one_port_or_two_and_read_as_a_number_too() {
        for (written, shown) in [
            (json!("3260"), json!("3260")),
            (json!(3260), json!("3260")),
            (json!("860-870"), json!("860-870")),
            (json!("7-7"), json!("7")),
        ] {
            let range: PortRange = serde_json::from_value(written).expect("a range");
            assert_eq!(serde_json::to_value(range).expect("JSON"), shown);
        }
    }

    #[test]
    fn what_is_no_range_of_ports_is_told_how_one_looks() {
        for bad in ["", "0", "0-5", "70000", "870-860", "-5", "5-", "+5", "1-2-3", "a", " 5"] {
            let error = bad.parse::<PortRange>().expect_err(bad).to_string();
            assert!(error.ends_with("write one such as \"3260\" or \"860-870\""), "{error}");
        }
        for bad in [json!(0), json!(-5), json!(65_536), json!(true), json!(5.5), json!(null)] {
            assert!(serde_json::from_value::<PortRange>(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn ranges_that_overlap_or_touch_become_one() {
        let all = map(3260, 3260, &["3300-3310", "3261", "3305-3320", "3262-3263", "65535"]);
        assert_eq!(all.ranges(), ranges(&["3260-3263", "3300-3320", "65535"]));
        assert_eq!((all.first(), all.last(), all.entries_len()), (3260, 65535, 1));
    }

    #[test]
    fn the_ports_at_the_servers_keep_their_distance() {
        assert_eq!(
            map(860, 10860, &["3260-3262"]).at_servers(),
            Some(ranges(&["10860", "13260-13262"]))
        );
        assert_eq!(map(3260, 860, &["3000"]).at_servers(), Some(ranges(&["600", "860"])));
        assert_eq!(map(3260, 60000, &["9000"]).at_servers(), None);
        assert_eq!(map(3260, 260, &["3000"]).at_servers(), None);
    }

    #[test]
    fn more_than_sixteen_ports_in_a_row_are_wide_however_they_are_written() {
        assert!(!map(100, 100, &["101-115", "200-215"]).is_wide());
        assert_eq!(map(100, 100, &["101-115", "200-215"]).entries_len(), 32);
        assert!(map(100, 100, &["101-116"]).is_wide());
        let any = PortMap::new(Protocol::Any, (0, 0), &[]);
        assert!(any.is_wide());
        assert_eq!((any.first(), any.last(), any.at_servers()), (0, 0, Some(Vec::new())));
    }

    fn any_range() -> impl Strategy<Value = PortRange> {
        (1_u16.., 0_u16..40).prop_map(|(first, more)| {
            PortRange::new(first, first.saturating_add(more)).expect("a range")
        })
    }

    proptest! {
        #[test]
        fn a_written_range_is_read_as_the_same(range in any_range()) {
            prop_assert_eq!(range.to_string().parse(), Ok(range));
        }

        #[test]
        fn merging_keeps_the_ports_and_changes_nothing_twice(
            ranges in proptest::collection::vec(any_range(), 0..8)
        ) {
            let once = merged(ranges.clone());
            let ports = |ranges: &[PortRange]| {
                ranges.iter().flat_map(|r| r.ports()).collect::<std::collections::BTreeSet<_>>()
            };
            prop_assert_eq!(ports(&once), ports(&ranges));
            prop_assert!(once.is_sorted_by(|a, b| u32::from(a.last()) + 1 < u32::from(b.first())));
            prop_assert_eq!(merged(once.clone()), once);
        }
    }
}
