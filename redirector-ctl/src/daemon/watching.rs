//! Who is asked and watched: all that the spec names, and nobody else. Of very many devices only
//! those are looked at that a change has made others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::kernel::Kernel;
use super::owner::Owner;
use crate::core::spec::{CheckPace, Device, Devices, Name, Server, Spec};
use crate::platform::probe::{DirectService, Path, Target, TunnelEnds, Way, Ways};
use crate::platform::tables::Gateway;

/// Of whom everything that is asked and watched was made.
pub(super) type Watched = (BTreeMap<Name, Server>, Devices);

impl<K: Kernel> Owner<K> {
    /// Asks and watches what the spec names, and forgets what it does not name any more.
    pub(super) fn watch(&mut self) {
        let (servers, devices) = (&self.spec.servers, &self.spec.devices);
        let is_watched = |(of, known): &Watched| of == servers && known.is_same(devices);
        if self.kept.watched.as_ref().is_some_and(is_watched) {
            return;
        }
        let before = self.kept.watched.replace((servers.clone(), devices.clone()));
        let addresses = self.spec.server_addresses();
        self.addresses.send_if_modified(|known| {
            let differs = *known != addresses;
            *known = addresses;
            differs
        });
        self.watch_loads_after(before.as_ref());
        self.watch_paths(before.as_ref());
        let spec = &self.spec;
        self.shown.health.retain(|name, _| spec.servers.contains_key(name));
        self.observed.held_down.retain(|name, _| spec.servers.contains_key(name));
        self.observed.heard.retain(|name, _| spec.servers.contains_key(name));
        self.fallen.retain(|name| spec.servers.contains_key(name));
        self.own.checks.retain(|name, _| spec.servers.contains_key(name));
        // A way belongs to an address: a server that has moved must be found anew.
        let applied = &self.applied;
        self.observed.next_hops.retain(|name, _| {
            spec.servers.get(name).is_some_and(|server| {
                let line = applied.servers.get(&server.id);
                line.is_none_or(|line| line.address == server.address)
            })
        });
    }

    /// A load belongs to a name and an id.
    fn watch_loads_after(&mut self, before: Option<&Watched>) {
        let is_known = before.is_some_and(|(servers, devices)| {
            let sources = |(name, server): (&Name, &Server)| (name.clone(), server.load.clone());
            let alike = |was: &Device, is: &Device| was.id == is.id;
            servers.iter().map(sources).eq(self.spec.servers.iter().map(sources))
                && devices.differing(&self.spec.devices, alike).is_empty()
        });
        if !is_known {
            self.watch_loads();
        }
    }

    fn watch_paths(&mut self, before: Option<&Watched>) {
        let at = |of: &BTreeMap<Name, Server>| -> Vec<(Name, IpAddr)> {
            of.iter().map(|(name, server)| (name.clone(), server.address)).collect()
        };
        let known = before.filter(|(servers, _)| at(servers) == at(&self.spec.servers));
        let Some((_, devices)) = known else { return self.watch_all_paths() };
        let (mut gone, mut targets) = (Vec::new(), BTreeMap::new());
        for (name, was, is) in devices.differing(&self.spec.devices, is_asked_alike) {
            let stays = |server: &Name| is.is_some_and(|is| is.servers.contains(server));
            let left = was.into_iter().flat_map(|was| &was.servers).filter(|one| !stays(one));
            gone.extend(left.map(|server| (server.clone(), name.clone())));
            if let Some(is) = is {
                add_targets(&mut targets, &self.spec, name, is);
            }
        }
        let begun = self.prober.change_targets(&gone, &targets);
        for (server, device) in gone {
            if let Some(of) = self.observed.paths.get_mut(&server) {
                of.remove(&device);
            }
        }
        self.begin_paths(begun);
    }

    fn watch_all_paths(&mut self) {
        let mut targets = BTreeMap::new();
        for (name, device) in &self.spec.devices {
            add_targets(&mut targets, &self.spec, name, device);
        }
        let begun = self.prober.set_targets(&targets);
        for of in self.observed.paths.iter_mut() {
            let server = of.0;
            of.1.retain(|device| targets.contains_key(&(server.clone(), device.clone())));
        }
        self.begin_paths(begun);
    }

    /// Tells the checks how the program sends to each server. `sources` are the addresses from
    /// which the kernel does. A service address is nobody's to ask from: the kernel takes one where
    /// it has no other.
    pub(super) fn tell_ways(&self, sources: &BTreeMap<IpAddr, IpAddr>) {
        let services: BTreeSet<IpAddr> = self.spec.devices.values().map(|of| of.address).collect();
        let interfaces = &self.gateway.interfaces;
        let mut of = BTreeMap::new();
        for (name, server) in &self.spec.servers {
            let Some(hop) = self.observed.next_hops.get(name) else { continue };
            let Some(by) = interfaces.get(usize::from(hop.port)) else { continue };
            let source = sources.get(&server.address).filter(|source| !services.contains(source));
            let source = source.copied();
            let all = || std::iter::once(by).chain(interfaces);
            let v4 = source.and_then(v4).or_else(|| all().find_map(|of| of.address_v4));
            let v6 = source.and_then(v6).or_else(|| all().find_map(|of| of.address_v6));
            let way = Way {
                out: by.carrier.into(),
                from: by.mac,
                to: hop.mac,
                tags: by.tags,
                source_v4: v4.filter(|own| !services.contains(&(*own).into())),
                source_v6: v6.filter(|own| !services.contains(&(*own).into())),
            };
            of.insert(server.address, way);
        }
        let Gateway { tunnel_source_v4: source_v4, tunnel_source_v6: source_v6, gue_port, .. } =
            self.gateway;
        self.prober.set_ways(Ways { of, tunnel: TunnelEnds { source_v4, source_v6, gue_port } });
    }

    fn begin_paths(&mut self, begun: Vec<Path>) {
        self.observed.paths.retain(|_, of| !of.is_empty());
        for (server, device) in begun {
            self.observed.paths.entry(server).or_default().insert(device, Default::default());
        }
    }
}

/// Whether the same is asked for both.
fn is_asked_alike(was: &Device, is: &Device) -> bool {
    was.servers == is.servers
        && (was.server_port, was.protocol) == (is.server_port, is.protocol)
        && was.check == is.check
        && was.check_pace == is.check_pace
        && direct_service(was) == direct_service(is)
}

/// The service address that a device's servers must answer for themselves.
fn direct_service(device: &Device) -> Option<DirectService> {
    let address = SocketAddr::new(device.address, device.port);
    let forwarding = device.forwarding;
    forwarding.is_direct().then_some(DirectService { address, forwarding })
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

fn v6(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    }
}

/// What there is to ask for a device.
fn add_targets(targets: &mut BTreeMap<Path, Target>, spec: &Spec, name: &Name, device: &Device) {
    for server in &device.servers {
        let Some(known) = spec.servers.get(server) else { continue };
        let address = SocketAddr::new(known.address, device.server_port);
        let check = device.check.clone();
        // How many answers decide is no reason to forget those that came.
        let pace = CheckPace { rise: None, fall: None, ..device.check_pace };
        let service = direct_service(device);
        let target = Target { address, protocol: device.protocol, check, pace, service };
        targets.insert((server.clone(), name.clone()), target);
    }
}
