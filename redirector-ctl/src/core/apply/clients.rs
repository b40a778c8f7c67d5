//! One client of one device on another server. That is no part of the spec: the packet path keeps
//! it with the client's open flows, and forgets it after them.

use std::net::IpAddr;

use super::super::change::{Context, Move, SpecError};
use super::super::spec::{Affinity, Name, Spec};
use super::super::validate::Problems;
use super::moves::check_target;

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

impl Spec {
    /// Whether the client may be moved, and as what.
    ///
    /// # Errors
    /// Everything that stands against it.
    pub fn client_move(
        &self,
        wish: &ClientMove,
        ctx: &Context<'_>,
    ) -> Result<ClientHold, SpecError> {
        let ClientMove { device: name, client, server } = wish;
        let mut problems = Problems::default();
        let Some(device) = self.devices.get(name) else {
            problems.not_found("unknown_device", "device", format!("there is no device {name}"));
            return problems.into_result(ClientHold::nobody(*client));
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
        check_target(self, device, &as_device, ctx, &mut problems);
        let known = self.servers.get(server);
        problems.into_result(ClientHold {
            client: *client,
            device: device.id,
            server: known.map_or(0, |known| known.id),
            epoch: device.association.epoch,
            incarnation: known.map_or(0, |known| known.incarnation),
        })
    }
}

impl ClientHold {
    /// Stands where problems make it of no use.
    fn nobody(client: IpAddr) -> Self {
        Self { client, device: 0, server: 0, epoch: 0, incarnation: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::change::Change;
    use crate::core::fixtures::{all_well, at, device_spec, ip, three_and_three};
    use crate::core::observed::Observed;

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

    fn codes(refused: Result<ClientHold, SpecError>) -> Vec<&'static str> {
        refused.unwrap_err().problems.into_iter().map(|problem| problem.code).collect()
    }

    #[test]
    fn a_client_is_held_in_the_present_epoch_of_the_device_and_life_of_the_server() {
        let (spec, observed) = with_affinity();
        let held = spec.client_move(&wish("d1", "10.0.1.11", "s2"), &at(0, &observed)).unwrap();
        let (device, server) = (&spec.devices["d1"], &spec.servers["s2"]);
        assert_eq!((held.device, held.epoch), (device.id, device.association.epoch));
        assert_eq!((held.server, held.incarnation), (server.id, server.incarnation));
        assert_eq!(held.client, ip("10.0.1.11"));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_reason() {
        let (spec, observed) = with_affinity();
        let ask = |device, client, server| {
            codes(spec.client_move(&wish(device, client, server), &at(0, &observed)))
        };
        assert_eq!(ask("d9", "10.0.1.11", "s2"), ["unknown_device"]);
        assert_eq!(ask("d2", "10.0.1.11", "s2"), ["no_client_affinity"]);
        assert_eq!(ask("d1", "fd00::11", "s2"), ["bad_address"]);
        assert_eq!(ask("d1", "10.0.1.11", "s9"), ["unknown_server"]);
        assert_eq!(ask("d1", "10.0.1.11", "s3"), ["server_not_allowed"]);
    }
}
