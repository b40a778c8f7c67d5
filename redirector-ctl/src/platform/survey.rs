//! Gathers the facts that [`crate::core::doctor`] judges, without changing anything: files under
//! /proc and /sys, netlink, ethtool, questions to neighbours, and connections to servers that are
//! closed at once.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::core::doctor::{Facts, Machine, Wanted};
use crate::platform::netlink::{Netlink, NetlinkError};
use crate::platform::{bpf, privileges};

mod links;
mod reach;

/// What is to be looked at.
#[derive(Debug, Clone)]
pub struct Site {
    /// Where tables are pinned.
    pub bpffs_dir: PathBuf,
    /// Interfaces with what is wanted of them.
    pub interfaces: Vec<(String, Wanted)>,
    /// Servers: name, address, and a TCP port that a device has there.
    pub servers: Vec<(String, IpAddr, Option<u16>)>,
    /// Devices and their service addresses.
    pub services: Vec<(String, IpAddr)>,
    /// Some device is `stateless`.
    pub stateless: bool,
    /// Some device is forwarded with `nat`.
    pub nat: bool,
}

/// Why there are no facts.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// The kernel gives no netlink socket.
    #[error("cannot open a netlink socket")]
    Socket(#[from] std::io::Error),
    /// The kernel does not tell of its interfaces.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// Looks at everything. Takes some seconds where neighbours or servers do not answer.
///
/// # Errors
/// When the kernel does not tell of its interfaces.
pub async fn survey(site: &Site) -> Result<Facts, SurveyError> {
    let (netlink, _changes) = Netlink::open()?;
    let known = links::Known::of(&netlink).await?;
    let interfaces = links::interfaces(site, &known).await;
    let reach = reach::Reach { site, netlink: &netlink, known: &known };
    Ok(Facts {
        machine: machine(site),
        interfaces,
        servers: reach.servers().await,
        services: reach.services().await,
        services_len: site.services.len(),
        stateless: site.stateless,
        nat: site.nat,
    })
}

fn machine(site: &Site) -> Machine {
    let dir = &site.bpffs_dir;
    let on_bpffs = bpf::is_bpffs(dir) || dir.parent().is_some_and(bpf::is_bpffs);
    let lacking = privileges::lacking().into_iter();
    let memlock = rustix::process::getrlimit(rustix::process::Resource::Memlock);
    let tracked_len = word("/proc/sys/net/netfilter/nf_conntrack_count");
    Machine {
        kernel: word("/proc/sys/kernel/osrelease").unwrap_or_default(),
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        bpffs_dir: dir.display().to_string(),
        bpffs: on_bpffs,
        lockdown: word("/sys/kernel/security/lockdown").map(|text| chosen(&text)),
        lacking: lacking.map(|need| (need.name.to_owned(), need.purpose.to_owned())).collect(),
        memlock_bytes: memlock.current,
        clock_source: word("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        ip_forward: word("/proc/sys/net/ipv4/ip_forward").as_deref() == Some("1"),
        tracked_len: tracked_len.and_then(|text| text.parse().ok()),
        cpus_len: std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// The content of a file of the kernel's, without the white space around it.
fn word(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The word in brackets, of those that could be chosen.
fn chosen(text: &str) -> String {
    let inside = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or(text, |(word, _)| word).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_modes_the_one_in_brackets_is_in_force() {
        assert_eq!(chosen("none [integrity] confidentiality"), "integrity");
        assert_eq!(chosen("none"), "none");
    }
}
