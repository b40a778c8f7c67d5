//! Attaching again, while the daemon runs: to an interface that was deleted and has come back, and
//! where the program has been taken off. Packets pass meanwhile.
//!
//! Only what the daemon itself made is touched: its own links and the lines of its own tables.
//! Where another program is, the event says so, and it is tried again with each sweep.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::EventKind;
use super::events::About;
use super::kernel::Kernel;
use super::owner::Owner;
use super::start::{attachable, gateway_interface, interfaces};
use crate::config::{Config, InterfaceConfig, XdpMode};
use crate::platform::netlink::{Link, Netlink, NetlinkError, XdpInForce};

/// What it takes to attach again.
#[derive(Debug, Default)]
pub(super) struct Attaching {
    /// The configured interfaces; their places are the ports of next hops.
    pub(super) wanted: Vec<InterfaceConfig>,
    pub(super) bpffs_dir: PathBuf,
    pub(super) netlink: Option<Netlink>,
    /// The interfaces at the last look.
    links: Vec<Link>,
    /// What does not succeed, by interface.
    failed: BTreeMap<String, String>,
}

impl Attaching {
    pub(super) fn of(config: &Config, netlink: &Netlink) -> Self {
        Self {
            wanted: config.interfaces.clone(),
            bpffs_dir: config.redirector.bpffs_dir.clone(),
            netlink: Some(netlink.clone()),
            ..Self::default()
        }
    }

    /// Names of the interfaces, in the order of the configuration.
    pub(super) fn names(&self) -> Vec<String> {
        self.wanted.iter().map(|wanted| wanted.name.clone()).collect()
    }
}

impl<K: Kernel> Owner<K> {
    /// Attaches wherever the program is missing, and says in `links` that it is there.
    pub(super) async fn attach_anew(&mut self, links: &mut [Link]) {
        for port in 0..self.attaching.wanted.len() {
            let wanted = self.attaching.wanted[port].clone();
            let Some(link) = links.iter().find(|link| link.name == wanted.name).cloned() else {
                continue;
            };
            let carrier = links.iter_mut().find(|other| other.index == link.carrier_index);
            let Some(carrier) = carrier else { continue };
            let known = self.gateway.interfaces.get(port);
            let is_new = known.is_some_and(|known| u32::from(known.index) != link.index);
            if !is_new && carrier.xdp != XdpInForce::Nothing {
                self.attaching.failed.remove(&wanted.name);
                continue;
            }
            let interface = attachable(&wanted, carrier);
            match self.kernel.attach(&self.attaching.bpffs_dir, &interface) {
                Ok(is_done) => {
                    carrier.xdp = match wanted.mode {
                        XdpMode::Native => XdpInForce::Native,
                        XdpMode::Generic => XdpInForce::Generic,
                    };
                    if is_done || is_new {
                        let link = Link { xdp: carrier.xdp, ..link };
                        self.take_interface((port, &wanted), &link).await;
                    }
                }
                Err(error) => self.tell_failed(&wanted.name, error.to_string()),
            }
        }
        self.attaching.links = links.to_vec();
    }

    /// What the program knows of an interface follows the kernel: how long packets may be, and our
    /// Ethernet address. What the kernel does not take is tried again with the next look.
    pub(super) fn follow_lines(&mut self, links: &[Link]) {
        let mut now = self.gateway.clone();
        let mut told = Vec::new();
        for known in &mut now.interfaces {
            let Some(link) = links.iter().find(|link| link.index == u32::from(known.index)) else {
                continue;
            };
            let name = &link.name;
            if known.mtu != link.mtu {
                told.push(format!("the MTU of interface {name} is {} now", link.mtu));
            }
            if known.mac != link.mac {
                told.push(format!("interface {name} has another Ethernet address"));
            }
            (known.mtu, known.mac) = (link.mtu, link.mac);
        }
        if told.is_empty() {
            return;
        }
        if let Err(error) = self.kernel.set_gateway(&now) {
            let what = told.join("; ");
            return self.error(format!("{what}, and the program cannot be told: {error}"));
        }
        self.gateway = now;
        for text in told {
            self.events.record(self.now_ms(), EventKind::Link, About::default(), text);
        }
    }

    /// Tries again what did not succeed.
    pub(super) async fn attach_again(&mut self) {
        if self.attaching.failed.is_empty() {
            return;
        }
        let mut links = std::mem::take(&mut self.attaching.links);
        self.attach_anew(&mut links).await;
        self.replan().await;
    }

    /// The program is at an interface again: it must know its index and addresses, and frames for
    /// the servers behind it leave by the new index.
    async fn take_interface(&mut self, (port, wanted): (usize, &InterfaceConfig), link: &Link) {
        let addresses = match self.addresses_of(link).await {
            Ok(addresses) => addresses,
            Err(error) => return self.tell_failed(&link.name, error.to_string()),
        };
        let own: Vec<IpAddr> = addresses
            .iter()
            .filter(|at| !self.announcer.is_ours(&link.name, **at))
            .copied()
            .collect();
        let mut gateway = self.gateway.clone();
        let Some(known) = gateway.interfaces.get_mut(port) else { return };
        *known = gateway_interface(wanted, link, &own);
        if let Err(error) = self.kernel.set_gateway(&gateway) {
            // It counts as new still, so that this is tried again.
            return self.tell_failed(&link.name, error.to_string());
        }
        self.gateway = gateway;
        for line in self.applied.servers.values_mut() {
            if line.next_hop.is_some_and(|hop| usize::from(hop.port) == port) {
                line.next_hop = None;
            }
        }
        if let Some(shown) = self.shown.interfaces.get_mut(port) {
            let link_up = shown.link_up;
            for now in interfaces(std::slice::from_ref(link)) {
                // Whether it has a carrier is told by whoever compares.
                *shown = super::InterfaceStatus { link_up, ..now };
            }
        }
        self.announcer.renew(link, &addresses);
        self.announce().await;
        self.attaching.failed.remove(&link.name);
        let text = format!(
            "the program is attached to interface {} (index {}) again, in {} mode",
            link.name,
            link.index,
            link.xdp.name()
        );
        self.events.record(self.now_ms(), EventKind::Link, About::default(), text);
    }

    async fn addresses_of(&self, link: &Link) -> Result<Vec<IpAddr>, NetlinkError> {
        match &self.attaching.netlink {
            Some(netlink) => netlink.addresses(link.index).await,
            None => Ok(Vec::new()),
        }
    }

    /// Says once what does not succeed.
    fn tell_failed(&mut self, interface: &str, error: String) {
        let known = self.attaching.failed.insert(interface.to_owned(), error.clone());
        if known.as_ref() != Some(&error) {
            let text = format!(
                "interface {interface} is not served until the program can be attached to it \
                 again, which is tried with each sweep: {error}"
            );
            self.events.record(self.now_ms(), EventKind::Error, About::default(), text);
        }
    }
}
