//! The way to each server, kept up to date: a task that watches the kernel's routes and neighbours
//! for the owner. It only looks; the kernel resolves neighbours by itself when servers are checked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::core::op::NextHop;
use crate::platform::netlink::{Link, NetEvent, Netlink, NetlinkError, Route};

/// A look at everything even when nothing is said to have changed: the kernel drops messages when
/// they come too fast.
const REFRESH_INTERVAL: Duration = Duration::from_secs(2);
/// Changes that come within this time are looked at together.
const SETTLE_INTERVAL: Duration = Duration::from_millis(5);

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ways {
    /// Server address -> the way to it, where it is known.
    pub(super) hops: BTreeMap<IpAddr, NextHop>,
    /// Server address -> why no frames can be sent to it. Unresolved neighbours are not listed.
    pub(super) problems: BTreeMap<IpAddr, String>,
    /// Server addresses that are reached through a router.
    pub(super) routed: BTreeSet<IpAddr>,
    /// Server address -> the address of ours from which the kernel sends to it.
    pub(super) sources: BTreeMap<IpAddr, IpAddr>,
    /// All interfaces.
    pub(super) links: Vec<Link>,
}

/// Looks, and looks again after every change.
#[derive(Debug)]
pub(super) struct Watcher {
    netlink: Netlink,
    /// Names of the configured interfaces, in the order of the configuration: one that is deleted
    /// comes back with another index.
    ports: Vec<String>,
    addresses: watch::Receiver<BTreeSet<IpAddr>>,
    routes: BTreeMap<IpAddr, Option<Route>>,
}

impl Watcher {
    pub(super) fn new(
        netlink: Netlink,
        ports: Vec<String>,
        addresses: watch::Receiver<BTreeSet<IpAddr>>,
    ) -> Self {
        Self { netlink, ports, addresses, routes: BTreeMap::new() }
    }

    /// One look at everything.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) async fn look(&mut self) -> Result<Ways, NetlinkError> {
        let addresses = self.addresses.borrow_and_update().clone();
        self.routes.clear();
        for address in addresses {
            self.routes.insert(address, self.netlink.route_to(address).await?);
        }
        self.glance().await
    }

    /// A look with the routes as they were.
    async fn glance(&self) -> Result<Ways, NetlinkError> {
        let links = self.netlink.links().await?;
        let mut macs = BTreeMap::new();
        for neighbour in self.netlink.neighbours().await? {
            macs.insert((neighbour.out, neighbour.address), neighbour.mac);
        }
        let index = |name: &String| links.iter().find(|link| link.name == *name).map(|of| of.index);
        let ports: Vec<Option<u32>> = self.ports.iter().map(index).collect();
        let mut ways = Ways { links, ..Ways::default() };
        for (address, route) in &self.routes {
            if route.is_some_and(|route| route.gateway.is_some()) {
                ways.routed.insert(*address);
            }
            if let Some(source) = route.and_then(|route| route.source) {
                ways.sources.insert(*address, source);
            }
            match way(*address, *route, &ports, &macs) {
                Ok(Some(hop)) => {
                    ways.hops.insert(*address, hop);
                }
                Ok(None) => {}
                Err(problem) => {
                    ways.problems.insert(*address, problem);
                }
            }
        }
        Ok(ways)
    }

    /// Looks for ever and tells what is new. Ends when nobody listens.
    pub(super) async fn run(
        mut self,
        mut events: mpsc::Receiver<NetEvent>,
        out: mpsc::Sender<Ways>,
    ) {
        let mut told = Ways::default();
        loop {
            let routes_too = tokio::select! {
                event = events.recv() => match event {
                    Some(event) => event != NetEvent::Neighbours,
                    None => return,
                },
                changed = self.addresses.changed() => match changed {
                    Ok(()) => true,
                    Err(_) => return,
                },
                () = tokio::time::sleep(REFRESH_INTERVAL) => true,
            };
            tokio::time::sleep(SETTLE_INTERVAL).await;
            let mut all = routes_too;
            while let Ok(event) = events.try_recv() {
                all |= event != NetEvent::Neighbours;
            }
            let seen = if all { self.look().await } else { self.glance().await };
            match seen {
                Ok(ways) if ways == told => {}
                Ok(ways) => {
                    told = ways.clone();
                    if out.send(ways).await.is_err() {
                        return;
                    }
                }
                Err(error) => tracing::warn!(%error, "the network cannot be looked at"),
            }
        }
    }
}

/// The way to one address; None while the neighbour is unresolved.
fn way(
    address: IpAddr,
    route: Option<Route>,
    ports: &[Option<u32>],
    macs: &BTreeMap<(u32, IpAddr), [u8; 6]>,
) -> Result<Option<NextHop>, String> {
    let Some(route) = route else {
        return Err(format!("there is no route to {address}: add one"));
    };
    let Some(port) = ports.iter().position(|index| *index == Some(route.out)) else {
        return Err(format!(
            "{address} is reached over interface {}, which is not configured: add it to the \
                 configuration or correct the route",
            route.out
        ));
    };
    let neighbour = route.gateway.unwrap_or(address);
    let mac = macs.get(&(route.out, neighbour));
    let port = u16::try_from(port).map_err(|_| "too many interfaces".to_owned())?;
    Ok(mac.map(|mac| NextHop { mac: *mac, port }))
}
