//! Who is asked and watched: all that the spec names, and nobody else. Of very many devices only
//! those are looked at that a change has made others.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::kernel::Kernel;
use super::owner::Owner;
use crate::core::differing::differing;
use crate::core::shared::Shared;
use crate::core::spec::{CheckPace, Device, Name, Server, Spec};
use crate::platform::probe::{Path, Target};

/// Of whom everything that is asked and watched was made.
pub(super) type Watched = (BTreeMap<Name, Server>, Shared<BTreeMap<Name, Device>>);

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
                && differing(devices, &self.spec.devices, alike).is_empty()
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
        for (name, was, is) in differing(devices, &self.spec.devices, is_asked_alike) {
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
}

/// What there is to ask for a device.
fn add_targets(targets: &mut BTreeMap<Path, Target>, spec: &Spec, name: &Name, device: &Device) {
    for server in &device.servers {
        let Some(known) = spec.servers.get(server) else { continue };
        let address = SocketAddr::new(known.address, device.server_port);
        let check = device.check.clone();
        // How many answers decide is no reason to forget those that came.
        let pace = CheckPace { rise: None, fall: None, ..device.check_pace };
        let target = Target { address, protocol: device.protocol, check, pace };
        targets.insert((server.clone(), name.clone()), target);
    }
}
