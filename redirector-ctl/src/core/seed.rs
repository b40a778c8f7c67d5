//! A spec from a configuration: its servers and devices, with what an earlier spec knew of those
//! that remain.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::apply::{DevicePut, ServerPut, Taken, put_device, put_server};
use super::change::{Context, DeviceSpec, SpecError};
use super::spec::{AdminState, Device, LoadSources, Name, Server, Spec};
use super::validate::Problems;

/// The servers and devices of a configuration, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// Its servers.
    pub servers: Vec<SeedServer>,
    /// Its devices.
    pub devices: Vec<SeedDevice>,
}

/// A server of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedServer {
    /// Its name.
    pub name: Name,
    /// Address on which it serves its devices.
    pub address: IpAddr,
    /// What the operator wants of it. None: active, or what an earlier spec says.
    pub state: Option<AdminState>,
    /// Where figures about its load come from.
    #[serde(default)]
    pub load: LoadSources,
}

/// A device of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedDevice {
    /// Its name.
    pub name: Name,
    /// Its settings.
    #[serde(flatten)]
    pub device: DeviceSpec,
}

impl Seed {
    /// The configuration that a spec could have come from.
    #[must_use]
    pub fn of(spec: &Spec) -> Self {
        let server = |(name, server): (&Name, &Server)| SeedServer {
            name: name.clone(),
            address: server.address,
            state: Some(server.state),
            load: server.load.clone(),
        };
        let device = |(name, device): (&Name, &Device)| SeedDevice {
            name: name.clone(),
            device: DeviceSpec {
                address: device.address,
                port: device.port,
                ports: device.ports.clone(),
                protocol: device.protocol,
                server_port: device.server_port,
                forwarding: device.forwarding,
                tracking: device.tracking,
                affinity: device.affinity,
                mss_max: device.mss_max,
                tcp_idle_timeout_ms: device.tcp_idle_timeout_ms,
                udp_idle_timeout_ms: device.udp_idle_timeout_ms,
                servers: device.servers.clone(),
                pinned: device.pinned,
                keep_apart: device.keep_apart.clone(),
                on_planned: device.on_planned,
                on_overload: device.on_overload,
                on_failure: None,
                fail_back_after_ms: device.fail_back_after_ms,
                check: device.check.clone(),
                check_pace: device.check_pace,
                server: Some(device.association.server.clone()),
            },
        };
        Self {
            servers: spec.servers.iter().map(server).collect(),
            devices: spec.devices.iter().map(device).collect(),
        }
    }

    /// The spec that this configuration asks for. Names that `earlier` has keep their ids, lives,
    /// epochs, and where the configuration still allows it their administrative states and
    /// associations.
    ///
    /// # Errors
    /// Every problem of the configuration together; fields are `server[0].address`,
    /// `device[2].servers[1]`.
    pub fn spec(&self, earlier: &Spec, ctx: &Context<'_>) -> Result<Spec, SpecError> {
        let mut spec = Spec {
            generation: earlier.generation,
            slots: earlier.slots.clone(),
            clients: earlier.clients.clone(),
            ..Spec::default()
        };
        let mut problems = Problems::default();
        self.put_servers(&mut spec, earlier, ctx, &mut problems);
        self.put_devices(&mut spec, earlier, ctx, &mut problems);
        // Epochs of devices that are gone are closed, as when a device is removed.
        for (name, device) in &earlier.devices {
            if !spec.devices.contains_key(name) {
                let last = spec.slots.epochs.entry(device.id).or_default();
                *last = last.wrapping_add(1);
            }
        }
        spec.forget_ended_clients();
        if spec != *earlier {
            spec.generation = spec.generation.saturating_add(1);
        }
        problems.into_result(spec)
    }

    /// Whether a spec that comes from outside, a file, is one that changes could have made.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn verify(spec: &Spec, ctx: &Context<'_>) -> Result<(), SpecError> {
        let again = Self::of(spec).spec(spec, ctx)?;
        let mut problems = Problems::default();
        if again != *spec {
            let detail =
                "its ids, associations or limits do not fit together: were limits lowered?";
            problems.refused("inconsistent", "spec", detail);
        }
        problems.into_result(())
    }

    fn put_servers(
        &self,
        spec: &mut Spec,
        earlier: &Spec,
        ctx: &Context<'_>,
        problems: &mut Problems,
    ) {
        // Ids that remain are taken first, so that no new server gets one of them.
        let mut order: Vec<(usize, &SeedServer)> = self.servers.iter().enumerate().collect();
        order.sort_by_key(|(_, server)| !earlier.servers.contains_key(&server.name));
        for (n, server) in order {
            let mut part = Problems::default();
            if spec.servers.contains_key(&server.name) {
                let detail = format!("server {} is there twice: rename one", server.name);
                part.conflict("duplicate_name", "name", detail);
            } else {
                let was = earlier.servers.get(&server.name).cloned();
                let kept = was.as_ref().map(|was| was.state);
                let state = server.state.or(kept).unwrap_or_default();
                let (name, load) = (&server.name, &server.load);
                let put = ServerPut { name, address: server.address, state, load };
                put_server(spec, &put, was, ctx, &mut part);
            }
            problems.under(&format!("server[{n}]"), part);
        }
        if earlier.servers.is_empty() {
            // All of them begin together, so that none of them is to be spared for the others.
            spec.servers.values_mut().for_each(|server| server.filling = None);
        }
    }

    fn put_devices(
        &self,
        spec: &mut Spec,
        earlier: &Spec,
        ctx: &Context<'_>,
        problems: &mut Problems,
    ) {
        let mut order: Vec<(usize, &SeedDevice)> = self.devices.iter().enumerate().collect();
        order.sort_by_key(|(_, device)| !earlier.devices.contains_key(&device.name));
        let mut taken = Taken::by(spec);
        for (n, device) in order {
            let mut part = Problems::default();
            if spec.devices.contains_key(&device.name) {
                let detail = format!("device {} is there twice: rename one", device.name);
                part.conflict("duplicate_name", "name", detail);
            } else {
                let mut was = earlier.devices.get(&device.name).cloned();
                let (name, wish) = (&device.name, &device.device);
                if let Some(was) = &mut was {
                    // Flows on a server that is gone are reset by its absence, and those on a
                    // server that has another address by its new life.
                    was.association.drains.retain(|d| can_drain(&spec.servers, wish, &d.server));
                }
                let put = DevicePut { name, device: wish, honour_server: false };
                put_device((spec, &taken), &put, was, ctx, &mut part);
                if let Some(put) = spec.devices.get_mut(name) {
                    // The server that it left may be gone with the earlier configuration.
                    put.association.drains.retain(|d| can_drain(&spec.servers, wish, &d.server));
                    taken.add(name, put);
                }
            }
            problems.under(&format!("device[{n}]"), part);
        }
    }
}

/// Whether flows of the device may still be on this server.
fn can_drain(servers: &BTreeMap<Name, Server>, wish: &DeviceSpec, server: &Name) -> bool {
    let known = servers.get(server);
    known.is_some_and(|known| wish.forwarding.joins(wish.address, known.address))
}

#[cfg(test)]
mod tests {
    use super::super::change::{Change, Move};
    use super::super::fixtures::*;
    use super::super::spec::{Cause, FlowPolicy};
    use super::*;

    fn keep(server: &str) -> Change {
        let policy = Some(FlowPolicy::Keep);
        let moves = vec![Move { device: "d1".into(), server: server.into(), policy }];
        Change::Associate { moves, cause: Cause::Planned }
    }

    #[test]
    fn without_its_newest_drain_a_device_has_no_previous_server() {
        let spec = three_and_three();
        let well = all_well(&spec);
        let earlier = changed(&spec, &[keep("s2"), keep("s3")], &at(2000, &well));
        let mut seed = Seed::of(&earlier);
        seed.servers.retain(|server| server.name != "s2");
        for SeedDevice { device, .. } in &mut seed.devices {
            device.servers.retain(|server| server != "s2");
            device.server = None;
        }
        let next = seed.spec(&earlier, &at(3000, &well)).unwrap();
        let now = &next.devices["d1"].association;
        let drains: Vec<_> = now.drains.iter().map(|d| (d.server.as_str(), d.epoch)).collect();
        assert_eq!((now.server.as_str(), now.epoch, drains), ("s3", 3, vec![("s1", 1)]));
        assert_eq!(now.previous(), None, "what is taken in would get epoch 2, not s1's");
        assert_eq!(earlier.devices["d1"].association.previous(), Some(&"s2".to_owned()));
    }
}
