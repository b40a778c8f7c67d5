//! Service addresses on announcing interfaces: the gateway's kernel answers ARP for them.
//!
//! Only addresses that the daemon itself added are ever removed. Which those are is journalled
//! before they are added, so that a daemon that starts anew knows them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::core::spec::Spec;
use crate::platform::netlink::{Link, Netlink, NetlinkError};

/// An address on an interface.
type Place = (String, IpAddr);

/// Keeps the service addresses of the spec on the announcing interfaces.
#[derive(Debug)]
pub(super) struct Announcer {
    netlink: Option<Netlink>,
    interfaces: Vec<Link>,
    /// What is there, by whomever.
    present: BTreeSet<Place>,
    /// What is there, or may be, because of us.
    ours: BTreeSet<Place>,
}

impl Announcer {
    /// An announcer that announces nothing.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        let (interfaces, present, ours) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        Self { netlink: None, interfaces, present, ours }
    }

    /// Looks at what is there; `journalled` is what an earlier daemon may have added.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) async fn new(
        netlink: Netlink,
        interfaces: Vec<Link>,
        journalled: &[String],
    ) -> Result<Self, NetlinkError> {
        let mut present = BTreeSet::new();
        for link in &interfaces {
            for address in netlink.addresses(link.index).await? {
                present.insert((link.name.clone(), address));
            }
        }
        let ours = journalled.iter().filter_map(|text| parse(text)).collect();
        Ok(Self { netlink: Some(netlink), interfaces, present, ours })
    }

    /// Plans for a spec. To be journalled before [`Self::reconcile`].
    pub(super) fn prepare(&mut self, spec: &Spec) -> Vec<String> {
        for place in self.wanted(spec) {
            if !self.present.contains(&place) {
                self.ours.insert(place);
            }
        }
        self.ours.iter().map(|(interface, address)| format!("{interface} {address}")).collect()
    }

    /// Adds what is missing and removes what is ours and not wanted any more. Returns what failed;
    /// it is tried again with the next call.
    pub(super) async fn reconcile(&mut self, spec: &Spec) -> Vec<NetlinkError> {
        let Some(netlink) = self.netlink.clone() else { return Vec::new() };
        let wanted = self.wanted(spec);
        let mut failures = Vec::new();
        for place in wanted.difference(&self.present.clone()) {
            let Some(index) = self.index(&place.0) else { continue };
            match netlink.add_address(index, place.1).await {
                Ok(()) => {
                    self.present.insert(place.clone());
                }
                Err(error) => failures.push(error),
            }
        }
        for place in self.ours.clone().difference(&wanted) {
            let gone = match self.index(&place.0).filter(|_| self.present.contains(place)) {
                Some(index) => netlink.remove_address(index, place.1).await,
                None => Ok(()),
            };
            match gone {
                Ok(()) => {
                    self.present.remove(place);
                    self.ours.remove(place);
                }
                Err(error) => failures.push(error),
            }
        }
        failures
    }

    fn wanted(&self, spec: &Spec) -> BTreeSet<Place> {
        let addresses: BTreeSet<IpAddr> = spec.devices.values().map(|d| d.address).collect();
        let of = |link: &Link| {
            let name = link.name.clone();
            addresses.iter().map(move |address| (name.clone(), *address)).collect::<Vec<_>>()
        };
        self.interfaces.iter().flat_map(of).collect()
    }

    fn index(&self, interface: &str) -> Option<u32> {
        self.interfaces.iter().find(|link| link.name == interface).map(|link| link.index)
    }
}

fn parse(text: &str) -> Option<Place> {
    let (interface, address) = text.split_once(' ')?;
    Some((interface.to_owned(), address.parse().ok()?))
}
