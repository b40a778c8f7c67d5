//! What may be wrong with a gateway besides its configuration file: rules over facts, each with its
//! remedy. How the facts are had is not here.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Serialize;

mod machine;
mod network;
#[cfg(test)]
mod tests;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Cannot be seen from here, or is only worth knowing.
    Note,
    /// It works, with a loss that is named.
    Warning,
    /// Something will not work.
    Fault,
}

impl Verdict {
    /// The word for it in texts, the same as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

/// What one check found about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check; stable from release to release.
    pub check: &'static str,
    /// What was looked at: an interface, a server, a device, `machine`.
    pub subject: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What was seen, in a sentence.
    pub detail: String,
    /// What to do about it; none where there is nothing to do.
    pub remedy: Option<String>,
}

impl Finding {
    fn good(check: &'static str, subject: &str, detail: impl Into<String>) -> Self {
        let (subject, detail) = (subject.to_owned(), detail.into());
        Self { check, subject, verdict: Verdict::Good, detail, remedy: None }
    }

    fn bad(self, verdict: Verdict, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict, detail: detail.into(), remedy: Some(remedy.into()), ..self }
    }
}

/// Everything that the rules look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The machine.
    pub machine: Machine,
    /// The configured interfaces, in their order.
    pub interfaces: Vec<Interface>,
    /// The configured servers.
    pub servers: Vec<Server>,
    /// The configured service addresses, or those of very many that were looked at.
    pub services: Vec<Service>,
    /// How many there are.
    pub services_len: usize,
    /// Some device is `stateless`: its packets' way back is the kernel's.
    pub stateless: bool,
    /// Some device is forwarded with `nat`: the servers' way back leads through here.
    pub nat: bool,
}

/// What concerns the machine as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// The kernel's release, such as `6.1.0-18-amd64`.
    pub kernel: String,
    /// It describes its types (BTF).
    pub btf: bool,
    /// Where tables are pinned.
    pub bpffs_dir: String,
    /// A BPF file system is mounted there.
    pub bpffs: bool,
    /// The lockdown in force; None where the kernel has none.
    pub lockdown: Option<String>,
    /// Capabilities that are missing, with what they are for.
    pub lacking: Vec<(String, String)>,
    /// Memory that may be locked, in bytes; None for no limit.
    pub memlock_bytes: Option<u64>,
    /// The kernel's clock source; None where it cannot be seen.
    pub clock_source: Option<String>,
    /// It forwards IPv4 packets.
    pub ip_forward: bool,
    /// Connections that the kernel tracks now; None where it does not track.
    pub tracked_len: Option<u64>,
    /// Processors.
    pub cpus_len: usize,
}

/// A configured interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// What the configuration wants of it.
    pub wanted: Wanted,
    /// What the kernel knows of it; None when there is no such interface.
    pub link: Option<Link>,
}

/// What the configuration wants of an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The program is to run in the driver.
    pub native: bool,
    /// Frames that carry VLAN tags are ours.
    pub tagged: bool,
    /// Service addresses are announced there.
    pub announces: bool,
}

/// What the kernel knows of an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// It is up and has a carrier.
    pub up: bool,
    /// MTU in bytes.
    pub mtu: u32,
    /// What kind of virtual interface it is, such as `veth`; empty for hardware.
    pub kind: String,
    /// Its driver, where it can be seen.
    pub driver: Option<String>,
    /// The interface that it is a part of, such as a bond, and that one's kind.
    pub part_of: Option<(String, String)>,
    /// How an XDP program is attached, if one is.
    pub xdp: Option<String>,
    /// That program is ours.
    pub xdp_is_ours: bool,
    /// Its offloads, by the kernel's names for them; empty where they cannot be seen.
    pub offloads: BTreeMap<String, bool>,
    /// Queues that take packets in; None where they cannot be seen.
    pub queues_len: Option<u32>,
    /// Reverse path filter in force: 0 none, 1 strict, 2 loose.
    pub rp_filter: u8,
    /// It takes packets whose source is an address of this host.
    pub accept_local: bool,
}

impl Link {
    fn has(&self, offload: &str) -> bool {
        self.offloads.get(offload).copied().unwrap_or_default()
    }
}

/// A configured server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// How packets to it leave: the interface's name, and the router if there is one.
    pub route: Option<(String, Option<IpAddr>)>,
    /// That interface is a configured one.
    pub by_ours: bool,
    /// It, or the router to it, answered for its Ethernet address.
    pub resolved: bool,
    /// Whether connections are answered.
    pub answers: Answers,
}

/// What a server made of connections to a port of a device's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers {
    /// The port that was asked; None when no device is at this server.
    pub port: Option<u16>,
    /// It answered (accepted or refused) the address that is nearest to it.
    pub near: bool,
    /// For each address of this gateway on the other interfaces: whether it was answered.
    pub far: Vec<(IpAddr, bool)>,
}

/// A configured service address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The device's name.
    pub device: String,
    /// The address.
    pub address: IpAddr,
    /// Who else answers for it: the interface and the Ethernet address.
    pub others: Vec<(String, String)>,
    /// It was asked for on some network.
    pub asked: bool,
}

/// Applies every rule.
#[must_use]
pub fn examine(facts: &Facts) -> Vec<Finding> {
    let mut findings = machine::check(facts);
    findings.extend(network::check(facts));
    findings
}

/// The worst of all verdicts.
#[must_use]
pub fn worst(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Good)
}
