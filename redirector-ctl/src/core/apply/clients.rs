//! One client of one device on another server: a part of the spec for as long as the packet path
//! keeps it with the client's open flows, and forgotten with them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::super::change::{Context, Move};
use super::super::spec::{Affinity, Device, HeldClient, Name, Server, Spec};
use super::super::validate::Problems;
use super::moves::check_target;

/// Clients of one device at most that are on servers of their own. Each is a part of every state
/// file that is written; who wants to move more moves the device.
pub const CLIENTS_PER_DEVICE_MAX: usize = 1024;

/// A wish: where a client's new flows are to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientMove {
    /// The device.
    pub device: Name,
    /// The client.
    pub client: IpAddr,
    /// The server that is to get its new flows.
    pub server: Name,
}

/// What the packet path has to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientHold {
    /// The client.
    pub client: IpAddr,
    /// The device's id.
    pub device: u32,
    /// The server's id.
    pub server: u16,
    /// The device's epoch.
    pub epoch: u16,
    /// The server's life.
    pub incarnation: u32,
}

/// Moves a client, or says everything that stands against it.
pub(super) fn move_(
    spec: &mut Spec,
    wish: &ClientMove,
    ctx: &Context<'_>,
    problems: &mut Problems,
) {
    let ClientMove { device: name, client, server } = wish;
    let Some(device) = spec.devices.get(name) else {
        problems.not_found("unknown_device", "device", format!("there is no device {name}"));
        return;
    };
    if device.affinity != Affinity::Client {
        let detail = format!(
            "device {name} does not keep a client's flows together, so its clients cannot be \
             moved one by one: give it affinity \"client\", or move the device"
        );
        problems.refused("no_client_affinity", "device", detail);
    }
    if client.is_ipv4() != device.address.is_ipv4() {
        let detail = format!(
            "client {client} and device {name} ({}) do not speak the same family: write the \
             address from which the client reaches the device",
            device.address
        );
        problems.malformed("bad_address", "client", detail);
    }
    let as_device = Move { device: name.clone(), server: server.clone(), policy: None };
    check_target(spec, device, &as_device, ctx, problems);
    let held = spec.clients.get(name);
    let is_known = held.is_some_and(|held| held.contains_key(client));
    if !is_known && held.map_or(0, BTreeMap::len) >= CLIENTS_PER_DEVICE_MAX {
        let detail = format!(
            "{CLIENTS_PER_DEVICE_MAX} clients of device {name} are on servers of their own \
             already, as many as there may be: move the device, or wait until some have closed \
             their flows"
        );
        problems.refused("moved_clients_full", "client", detail);
    }
    let epoch = device.association.epoch;
    let incarnation = spec.servers.get(server).map_or(0, |known| known.incarnation);
    let (server, moved_at_ms) = (server.clone(), ctx.now_ms);
    let held = HeldClient { server, epoch, incarnation, moved_at_ms };
    spec.clients.entry(name.clone()).or_default().insert(*client, held);
}

/// Forgets clients. Of those that are not known there is nothing to forget.
pub(super) fn forget(spec: &mut Spec, clients: &[(Name, IpAddr)]) {
    for (device, client) in clients {
        if let Some(held) = spec.clients.get_mut(device) {
            held.remove(client);
        }
    }
}

impl Spec {
    /// What the packet path has to know of the clients that were moved, with their devices' names.
    pub fn client_holds(&self) -> impl Iterator<Item = (&Name, ClientHold)> {
        let all = self.clients.iter();
        all.flat_map(|(name, held)| held.keys().map(move |client| (name, *client)))
            .filter_map(|(name, client)| Some((name, self.client_hold(name, client)?)))
    }

    /// What the packet path has to know of one; None when it was not moved.
    #[must_use]
    pub fn client_hold(&self, device: &Name, client: IpAddr) -> Option<ClientHold> {
        let HeldClient { server, epoch, incarnation, .. } =
            self.clients.get(device)?.get(&client)?;
        Some(ClientHold {
            client,
            device: self.devices.get(device)?.id,
            server: self.servers.get(server)?.id,
            epoch: *epoch,
            incarnation: *incarnation,
        })
    }

    /// Takes out the clients for whom the packet path does nothing any more: the server's life or
    /// the device's epoch is over.
    pub(in crate::core) fn forget_ended_clients(&mut self) {
        let (servers, devices) = (&self.servers, &self.devices);
        for (name, held) in &mut self.clients {
            let device = devices.get(name).filter(|device| device.affinity == Affinity::Client);
            held.retain(|_, one| device.is_some_and(|device| holds(one, device, servers)));
        }
        self.clients.retain(|_, held| !held.is_empty());
    }
}

/// Whether the packet path goes by it still.
fn holds(one: &HeldClient, device: &Device, servers: &BTreeMap<Name, Server>) -> bool {
    let lives = |server: &Server| server.incarnation == one.incarnation && !server.is_out();
    let now = &device.association;
    let is_open = one.epoch == now.epoch || now.drains.iter().any(|d| d.epoch == one.epoch);
    is_open && servers.get(&one.server).is_some_and(lives)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::change::{Change, SpecError};
    use crate::core::fixtures::{all_well, at, device_spec, ip, three_and_three};
    use crate::core::observed::Observed;
    use crate::core::spec::{Cause, FlowPolicy};

    fn wish(device: &str, client: &str, server: &str) -> ClientMove {
        ClientMove { device: device.into(), client: ip(client), server: server.into() }
    }

    /// Three servers, and device d1 with affinity client on s1.
    fn with_affinity() -> (Spec, Observed) {
        let spec = three_and_three();
        let observed = all_well(&spec);
        let mut device = device_spec(1, &["s1", "s2"]);
        device.affinity = Affinity::Client;
        let change = Change::PutDevice { name: "d1".into(), device };
        (spec.apply(&change, &at(0, &observed)).unwrap(), observed)
    }

    fn moved(spec: &Spec, wish: ClientMove, observed: &Observed) -> Result<Spec, SpecError> {
        spec.apply(&Change::MoveClient(wish), &at(0, observed))
    }

    #[test]
    fn a_client_is_held_in_the_present_epoch_of_the_device_and_life_of_the_server() {
        let (spec, observed) = with_affinity();
        let after = moved(&spec, wish("d1", "10.0.1.11", "s2"), &observed).unwrap();
        assert_eq!(after.generation, spec.generation + 1);
        let (device, server) = (&spec.devices["d1"], &spec.servers["s2"]);
        let held = after.client_hold(&"d1".to_owned(), ip("10.0.1.11")).unwrap();
        assert_eq!((held.device, held.epoch), (device.id, device.association.epoch));
        assert_eq!((held.server, held.incarnation), (server.id, server.incarnation));
        assert_eq!(after.client_holds().map(|(_, hold)| hold).collect::<Vec<_>>(), [held]);
    }

    #[test]
    fn it_ends_with_the_life_of_the_server_and_with_the_epoch_of_the_device() {
        let (spec, observed) = with_affinity();
        let held = moved(&spec, wish("d1", "10.0.1.11", "s2"), &observed).unwrap();
        let apply = |change: &Change| held.apply(change, &at(0, &observed)).unwrap().clients.len();
        let elsewhere = |policy| {
            let moves = vec![Move { device: "d1".into(), server: "s2".into(), policy }];
            Change::Associate { moves, cause: Cause::Planned }
        };
        let end = |server: &str| Change::EndLives { servers: vec![server.into()] };
        assert_eq!(apply(&end("s2")), 0);
        assert_eq!(apply(&end("s1")), 1);
        assert_eq!(apply(&elsewhere(Some(FlowPolicy::Reset))), 0);
        assert_eq!(apply(&elsewhere(Some(FlowPolicy::Keep))), 1);
        assert_eq!(apply(&Change::RemoveDevice { name: "d1".into() }), 0);
        let clients = vec![("d1".into(), ip("10.0.1.11")), ("d9".into(), ip("10.0.1.11"))];
        assert_eq!(apply(&Change::ForgetClients { clients }), 0);
    }

    #[test]
    fn there_is_a_limit_and_it_does_not_keep_a_moved_client_where_it_is() {
        let (mut spec, observed) = with_affinity();
        let one = moved(&spec, wish("d1", "10.0.1.11", "s2"), &observed).unwrap();
        let held = one.clients["d1"].values().next().unwrap();
        let many = (0..CLIENTS_PER_DEVICE_MAX as u32)
            .map(|n| (IpAddr::from((0x0a00_0200 + n).to_be_bytes()), held.clone()));
        spec.clients.insert("d1".into(), many.collect());
        let refused = moved(&spec, wish("d1", "10.0.1.11", "s2"), &observed).unwrap_err();
        assert_eq!(refused.problems[0].code, "moved_clients_full");
        assert!(moved(&spec, wish("d1", "10.0.2.1", "s1"), &observed).is_ok());
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_reason() {
        let (spec, observed) = with_affinity();
        let ask = |device, client, server| {
            let refused = moved(&spec, wish(device, client, server), &observed).unwrap_err();
            refused.problems.into_iter().map(|problem| problem.code).collect::<Vec<_>>()
        };
        assert_eq!(ask("d9", "10.0.1.11", "s2"), ["unknown_device"]);
        assert_eq!(ask("d2", "10.0.1.11", "s2"), ["no_client_affinity"]);
        assert_eq!(ask("d1", "fd00::11", "s2"), ["bad_address"]);
        assert_eq!(ask("d1", "10.0.1.11", "s9"), ["unknown_server"]);
        assert_eq!(ask("d1", "10.0.1.11", "s3"), ["server_not_allowed"]);
    }
}
