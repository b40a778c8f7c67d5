//! Service addresses are announced: the gateway's kernel answers ARP and neighbour discovery for
//! them, because of a local route or, where that is not enough, an address of the interface.
//!
//! Only addresses that the daemon itself added are ever removed. Which those are is journalled
//! before they are added, so that a daemon that starts anew knows them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use crate::core::shared::Shared;
use crate::core::spec::{Device, Devices, Spec};
use crate::platform::netlink::{Link, Netlink, NetlinkError, answers_for_local_routes};
use crate::platform::store::Store;

/// An address on an interface; on [`LOOPBACK`] a local route to it, by which the kernel answers on
/// every interface.
type Place = (String, IpAddr);

const LOOPBACK: &str = "lo";

/// Changes that are made in one call of [`Announcer::reconcile`], each of which takes the kernel up
/// to 0.1 ms.
const AT_ONCE_MAX: usize = 256;

/// Keeps the service addresses of the spec on the announcing interfaces.
#[derive(Debug)]
pub(super) struct Announcer {
    netlink: Option<Netlink>,
    interfaces: Vec<Link>,
    /// Where local routes are.
    loopback: u32,
    /// What is there: addresses by whomever, and routes of ours.
    present: BTreeSet<Place>,
    /// What is there, or may be, because of us.
    ours: Shared<BTreeSet<Place>>,
    /// What the journal says of `ours`.
    on_disk: Shared<BTreeSet<Place>>,
    /// What it will say when the present write is over, and in its words.
    on_its_way: Shared<BTreeSet<Place>>,
    announced: Shared<Vec<String>>,
    /// What is wanted, and the devices because of which.
    wanted: Shared<BTreeSet<Place>>,
    wanted_for: Devices,
    /// What was wanted when all of it was there and nothing else.
    reached: Option<Shared<BTreeSet<Place>>>,
    /// There is more to be done than was done in the last call.
    has_more: bool,
}

impl Announcer {
    /// An announcer that announces nothing.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self::of(None, Vec::new(), BTreeSet::new(), BTreeSet::new())
    }

    /// An announcer for an interface that is not there.
    #[cfg(test)]
    pub(super) fn in_vain(netlink: Netlink, nowhere: Link) -> Self {
        Self::of(Some(netlink), vec![nowhere], BTreeSet::new(), BTreeSet::new())
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
        let local = netlink.local_routes().await?;
        let mut present: BTreeSet<Place> =
            local.into_iter().map(|address| (LOOPBACK.to_owned(), address.into())).collect();
        for link in &interfaces {
            for address in netlink.addresses(link.index).await? {
                present.insert((link.name.clone(), address));
            }
        }
        let ours: BTreeSet<Place> = journalled.iter().filter_map(|text| parse(text)).collect();
        let loopback = netlink.links().await?.into_iter().find(|link| link.name == LOOPBACK);
        let loopback = loopback.map_or(0, |link| link.index);
        Ok(Self { loopback, ..Self::of(Some(netlink), interfaces, present, ours) })
    }

    fn of(
        netlink: Option<Netlink>,
        interfaces: Vec<Link>,
        present: BTreeSet<Place>,
        ours: BTreeSet<Place>,
    ) -> Self {
        let announced = texts(&ours);
        let ours = Shared::from(ours);
        Self {
            netlink,
            interfaces,
            loopback: 0,
            present,
            on_disk: ours.clone(),
            on_its_way: ours.clone(),
            ours,
            announced,
            wanted: Shared::default(),
            wanted_for: Shared::default(),
            reached: None,
            has_more: false,
        }
    }

    /// Plans for a spec. To be journalled before [`Self::reconcile`].
    pub(super) fn prepare(&mut self, spec: &Spec) -> Shared<Vec<String>> {
        let wanted = self.wanted(spec);
        let is_reached = self.reached.as_ref().is_some_and(|reached| reached.is_same(&wanted));
        if !is_reached {
            let missing = wanted.iter().filter(|place| !self.present.contains(*place)).cloned();
            let missing: Vec<Place> = missing.collect();
            if !missing.is_empty() {
                self.ours.extend(missing);
            }
        }
        if !self.on_its_way.is_same(&self.ours) {
            self.on_its_way = self.ours.clone();
            self.announced = texts(&self.ours);
        }
        self.announced.clone()
    }

    /// What [`Self::prepare`] gave is on disk now.
    pub(super) fn journalled(&mut self) {
        self.on_disk.clone_from(&self.on_its_way);
    }

    /// Whether the journal names other addresses than are ours by now.
    pub(super) fn differs_from_journal(&self) -> bool {
        self.on_disk != self.ours
    }

    /// Whether an address of an interface is there because of us.
    pub(super) fn is_ours(&self, interface: &str, address: IpAddr) -> bool {
        self.ours.contains(&(interface.to_owned(), address))
    }

    /// An interface has come anew, with these addresses: what was announced on it went with the one
    /// before.
    pub(super) fn renew(&mut self, link: &Link, addresses: &[IpAddr]) {
        let Some(known) = self.interfaces.iter_mut().find(|known| known.name == link.name) else {
            return;
        };
        *known = link.clone();
        self.present.retain(|(interface, _)| *interface != link.name);
        self.present.extend(addresses.iter().map(|address| (link.name.clone(), *address)));
        self.reached = None;
    }

    /// Whether [`Self::reconcile`] is to be called again.
    pub(super) fn has_more(&self) -> bool {
        self.has_more
    }

    /// Adds what is missing and removes what is ours and not wanted any more, up to
    /// [`AT_ONCE_MAX`]. Returns what failed; the next call tries it again.
    pub(super) async fn reconcile(&mut self, spec: &Spec) -> Vec<NetlinkError> {
        let Some(netlink) = self.netlink.clone() else { return Vec::new() };
        let wanted = self.wanted(spec);
        if self.reached.as_ref().is_some_and(|reached| reached.is_same(&wanted)) {
            return Vec::new();
        }
        let mut failures = Vec::new();
        let missing = wanted.difference(&self.present).take(AT_ONCE_MAX).cloned();
        let missing: Vec<Place> = missing.collect();
        for place in &missing {
            match self.add(&netlink, place).await {
                Ok(()) => {
                    self.present.insert(place.clone());
                }
                Err(error) => failures.push(error),
            }
        }
        let room = AT_ONCE_MAX - missing.len();
        let unwanted: Vec<Place> = self.ours.difference(&wanted).take(room).cloned().collect();
        for place in &unwanted {
            match self.remove(&netlink, place).await {
                Ok(()) => {
                    self.present.remove(place);
                    self.ours.remove(place);
                }
                Err(error) => failures.push(error),
            }
        }
        let is_full = missing.len() + unwanted.len() >= AT_ONCE_MAX;
        // Whatever fails each time must not keep the rest waiting, nor be tried without end.
        self.has_more = is_full && failures.len() < AT_ONCE_MAX;
        self.reached = (!is_full && failures.is_empty()).then_some(wanted);
        failures
    }

    async fn add(&self, netlink: &Netlink, place: &Place) -> Result<(), NetlinkError> {
        match self.index(&place.0) {
            Some(index) => Means::of(place).add(netlink, index).await,
            None => Ok(()),
        }
    }

    async fn remove(&self, netlink: &Netlink, place: &Place) -> Result<(), NetlinkError> {
        match self.index(&place.0).filter(|_| self.present.contains(place)) {
            Some(index) => Means::of(place).remove(netlink, index).await,
            None => Ok(()),
        }
    }

    /// What the spec wants: the same as the last time for as long as no device's address differs.
    fn wanted(&mut self, spec: &Spec) -> Shared<BTreeSet<Place>> {
        if !self.wanted_for.is_same(&spec.devices) {
            let alike = |was: &Device, is: &Device| was.address == is.address;
            if !self.wanted_for.differing(&spec.devices, alike).is_empty() {
                self.wanted = self.places(spec).into();
            }
            self.wanted_for = spec.devices.clone();
        }
        self.wanted.clone()
    }

    fn places(&self, spec: &Spec) -> BTreeSet<Place> {
        let addresses: BTreeSet<IpAddr> = spec.devices.values().map(|d| d.address).collect();
        let of = |link: &Link| {
            let by_route = answers_for_local_routes(&link.name);
            let place = move |address: &IpAddr| {
                let by_route = by_route && address.is_ipv4();
                (if by_route { LOOPBACK } else { &link.name }.to_owned(), *address)
            };
            addresses.iter().map(place).collect::<Vec<_>>()
        };
        self.interfaces.iter().flat_map(of).collect()
    }

    fn index(&self, interface: &str) -> Option<u32> {
        if interface == LOOPBACK {
            return Some(self.loopback);
        }
        self.interfaces.iter().find(|link| link.name == interface).map(|link| link.index)
    }
}

/// What makes the kernel answer at a place.
enum Means {
    Route(Ipv4Addr),
    Address(IpAddr),
}

impl Means {
    fn of((interface, address): &Place) -> Self {
        match address {
            IpAddr::V4(address) if interface == LOOPBACK => Self::Route(*address),
            address => Self::Address(*address),
        }
    }

    async fn add(&self, netlink: &Netlink, index: u32) -> Result<(), NetlinkError> {
        match self {
            Self::Route(address) => netlink.add_local_route(index, *address).await,
            Self::Address(address) => netlink.add_address(index, *address).await,
        }
    }

    async fn remove(&self, netlink: &Netlink, index: u32) -> Result<(), NetlinkError> {
        match self {
            Self::Route(address) => netlink.remove_local_route(index, *address).await,
            Self::Address(address) => netlink.remove_address(index, *address).await,
        }
    }
}

fn texts(places: &BTreeSet<Place>) -> Shared<Vec<String>> {
    let texts = places.iter().map(|(interface, address)| format!("{interface} {address}"));
    texts.collect::<Vec<_>>().into()
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
    let Some((mut state, mut last)) = store.load()? else { return Ok(Vec::new()) };
    let (netlink, _events) = Netlink::open()?;
    let links = netlink.links().await?;
    let routes: BTreeSet<_> = netlink.local_routes().await?.into_iter().collect();
    let mut removed = Vec::new();
    for place in state.announced.iter().filter_map(|text| parse(text)) {
        let Some(link) = links.iter().find(|link| link.name == place.0) else { continue };
        let means = Means::of(&place);
        let (is_there, what) = match &means {
            Means::Route(address) => {
                (routes.contains(address), format!("local route to {address}"))
            }
            Means::Address(address) => {
                let known = netlink.addresses(link.index).await?;
                (known.contains(address), format!("address {address} of {}", link.name))
            }
        };
        if is_there {
            means.remove(&netlink, link.index).await?;
            removed.push(what);
        }
    }
    state.announced.clear();
    store.save(&state, &mut last)?;
    Ok(removed)
}
