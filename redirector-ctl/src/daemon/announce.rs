//! Service addresses on announcing interfaces: the gateway's kernel answers ARP for them.
//!
//! Only addresses that the daemon itself added are ever removed. Which those are is journalled
//! before they are added, so that a daemon that starts anew knows them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use crate::core::spec::Spec;
use crate::platform::netlink::{Link, Netlink, NetlinkError};
use crate::platform::store::Store;

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
    /// What the journal says of `ours`.
    on_disk: BTreeSet<Place>,
    /// What it will say when the present write is over.
    on_its_way: BTreeSet<Place>,
}

impl Announcer {
    /// An announcer that announces nothing.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        let (present, ours, on_disk, on_its_way) = Default::default();
        Self { netlink: None, interfaces: Vec::new(), present, ours, on_disk, on_its_way }
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
        let ours: BTreeSet<Place> = journalled.iter().filter_map(|text| parse(text)).collect();
        let (on_disk, on_its_way) = (ours.clone(), BTreeSet::new());
        Ok(Self { netlink: Some(netlink), interfaces, present, ours, on_disk, on_its_way })
    }

    /// Plans for a spec. To be journalled before [`Self::reconcile`].
    pub(super) fn prepare(&mut self, spec: &Spec) -> Vec<String> {
        for place in self.wanted(spec) {
            if !self.present.contains(&place) {
                self.ours.insert(place);
            }
        }
        self.on_its_way.clone_from(&self.ours);
        self.ours.iter().map(|(interface, address)| format!("{interface} {address}")).collect()
    }

    /// What [`Self::prepare`] gave is on disk now.
    pub(super) fn journalled(&mut self) {
        self.on_disk.clone_from(&self.on_its_way);
    }

    /// Whether the journal names other addresses than are ours by now.
    pub(super) fn differs_from_journal(&self) -> bool {
        self.on_disk != self.ours
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

/// Removes all addresses that a daemon with this state directory added, for `redirector detach`.
/// Says what was removed, one line each.
///
/// # Errors
/// When a daemon is running, or the state file or the kernel cannot be used.
pub async fn withdraw(state_dir: &Path) -> anyhow::Result<Vec<String>> {
    if !state_dir.exists() {
        return Ok(Vec::new());
    }
    let store = Store::open(state_dir)?;
    let Some(mut state) = store.load()? else { return Ok(Vec::new()) };
    let (netlink, _events) = Netlink::open()?;
    let links = netlink.links().await?;
    let mut removed = Vec::new();
    for (interface, address) in state.announced.iter().filter_map(|text| parse(text)) {
        let Some(link) = links.iter().find(|link| link.name == interface) else { continue };
        if netlink.addresses(link.index).await?.contains(&address) {
            netlink.remove_address(link.index, address).await?;
            removed.push(format!("address {address} of {interface}"));
        }
    }
    state.announced.clear();
    store.save(&state)?;
    Ok(removed)
}
