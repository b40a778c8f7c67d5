//! Checks of single values: names, addresses, ports. Each says what is wrong and what to do.
//!
//! What depends on other servers and devices is checked where the change is applied (`apply`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::change::{ProblemKind, SpecError, SpecProblem};

/// Longest name, in bytes.
const NAME_LEN_MAX: usize = 63;

/// Collects everything that is wrong with a change.
#[derive(Debug, Default)]
pub(super) struct Problems {
    list: Vec<SpecProblem>,
}

impl Problems {
    pub(super) fn add(
        &mut self,
        kind: ProblemKind,
        code: &'static str,
        field: impl Into<String>,
        detail: impl Into<String>,
    ) {
        let (field, detail) = (field.into(), detail.into());
        self.list.push(SpecProblem { code, kind, field, detail });
    }

    pub(super) fn malformed(&mut self, code: &'static str, field: &str, detail: impl Into<String>) {
        self.add(ProblemKind::Malformed, code, field, detail);
    }

    pub(super) fn conflict(&mut self, code: &'static str, field: &str, detail: impl Into<String>) {
        self.add(ProblemKind::Conflict, code, field, detail);
    }

    pub(super) fn refused(&mut self, code: &'static str, field: &str, detail: impl Into<String>) {
        self.add(ProblemKind::Refused, code, field, detail);
    }

    pub(super) fn not_found(&mut self, code: &'static str, field: &str, detail: impl Into<String>) {
        self.add(ProblemKind::NotFound, code, field, detail);
    }

    /// Takes over the problems of a part, whose fields lie under `prefix`.
    pub(super) fn under(&mut self, prefix: &str, part: Self) {
        for mut problem in part.list {
            problem.field = format!("{prefix}.{}", problem.field);
            self.list.push(problem);
        }
    }

    pub(super) fn into_result<T>(self, value: T) -> Result<T, SpecError> {
        if self.list.is_empty() { Ok(value) } else { Err(SpecError { problems: self.list }) }
    }
}

/// A name: 1 to 63 of `a-z 0-9 - . _`, beginning with a letter or digit.
pub(super) fn name(name: &str, field: &str, problems: &mut Problems) {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
    let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = (1..=NAME_LEN_MAX).contains(&name.len());
    if fits && name.starts_with(first) && name.chars().all(inner) {
        return;
    }
    problems.malformed(
        "bad_name",
        field,
        format!(
            "{name:?} is not a name: use 1 to {NAME_LEN_MAX} of a-z 0-9 - . _ and begin with a \
             letter or digit"
        ),
    );
}

/// An address that one host can have.
pub(super) fn host_address(address: IpAddr, field: &str, problems: &mut Problems) {
    if let Some(detail) = address_flaw(address) {
        problems.malformed("bad_address", field, detail);
    }
}

/// Why an address is none that one host can have on a network, and what to do; None if it is one.
#[must_use]
pub fn address_flaw(address: IpAddr) -> Option<String> {
    let what = match address {
        IpAddr::V4(v4) => flaw_v4(v4),
        IpAddr::V6(v6) => flaw_v6(v6),
    };
    what.map(|what| format!("{address} is {what}: use an address that one host can have"))
}

fn flaw_v4(v4: Ipv4Addr) -> Option<&'static str> {
    if v4.is_unspecified() || v4.octets()[0] == 0 {
        Some("the unspecified network")
    } else if v4.is_loopback() {
        Some("a loopback address, which never leaves its host")
    } else if v4.is_multicast() {
        Some("a multicast address")
    } else if v4.is_broadcast() || v4 >= Ipv4Addr::new(240, 0, 0, 0) {
        Some("a broadcast or reserved address")
    } else {
        None
    }
}

fn flaw_v6(v6: Ipv6Addr) -> Option<&'static str> {
    if v6.is_unspecified() {
        Some("the unspecified address")
    } else if v6.is_loopback() {
        Some("a loopback address, which never leaves its host")
    } else if v6.is_multicast() {
        Some("a multicast address")
    } else if v6.is_unicast_link_local() {
        Some("a link-local address, which is none beyond its link")
    } else if v6.to_ipv4_mapped().is_some() {
        Some("an IPv4 address in IPv6 form, which is never in a packet")
    } else {
        None
    }
}

/// A port: 1 to 65535.
pub(super) fn port(port: u16, field: &str, problems: &mut Problems) {
    if port == 0 {
        problems.malformed(
            "bad_port",
            field,
            "0 is not a port: use 1 to 65535; only protocol any goes without",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(check: impl FnOnce(&mut Problems)) -> Vec<&'static str> {
        let mut problems = Problems::default();
        check(&mut problems);
        problems.list.iter().map(|problem| problem.code).collect()
    }

    #[test]
    fn names_are_short_lower_case_and_begin_with_a_letter_or_digit() {
        for good in ["a", "0", "disk-a", "s1.rack_2", &"x".repeat(63)] {
            assert_eq!(codes(|p| name(good, "name", p)), Vec::<&str>::new(), "{good}");
        }
        for bad in ["", "-a", ".a", "Disk", "a b", "a/b", "grün", &"x".repeat(64)] {
            assert_eq!(codes(|p| name(bad, "name", p)), ["bad_name"], "{bad}");
        }
    }

    #[test]
    fn addresses_that_no_single_host_can_have_are_refused() {
        for good in
            ["10.0.0.1", "192.0.2.7", "169.254.1.1", "223.255.255.254", "2001:db8::1", "fd00::1"]
        {
            let address = good.parse().expect("an address");
            assert_eq!(codes(|p| host_address(address, "a", p)), Vec::<&str>::new(), "{good}");
        }
        for (bad, what) in [
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("127.0.0.1", "loopback"),
            ("224.0.0.1", "multicast"),
            ("255.255.255.255", "broadcast"),
            ("250.1.1.1", "reserved"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("ff02::1", "multicast"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("::ffff:10.0.0.1", "IPv6 form"),
        ] {
            let address = bad.parse().expect("an address");
            assert_eq!(codes(|p| host_address(address, "a", p)), ["bad_address"], "{bad}");
            let detail = address_flaw(address).expect("it is bad");
            assert!(detail.contains(what), "{detail}");
        }
    }
}
