//! Ops carried out on the host's tables, as `Tables::apply` does in the kernel.

use redirector_common::wire::{Association, Hop, Origin, ServerWord};
use redirector_ctl::core::op::{Op, ServerState};
use redirector_ctl::platform::tables::{address_bytes, device_line};

use super::Host;

impl Host {
    /// Carries out ops, as `Tables::apply` does in the kernel.
    pub fn apply(&mut self, ops: &[Op]) {
        for op in ops {
            self.apply_one(op);
        }
    }

    fn apply_one(&mut self, op: &Op) {
        match op {
            Op::SetServerAddress { id, address } => {
                let line = self.servers.entry(*id).or_default();
                line.address = address_bytes(*address);
                line.family = if address.is_ipv4() { 4 } else { 6 };
            }
            Op::SetServerState { id, state, incarnation } => {
                self.servers.entry(*id).or_default().state = match state {
                    ServerState::Absent => ServerWord::ABSENT,
                    ServerState::Alive => ServerWord::alive(*incarnation),
                    ServerState::Dead => ServerWord::dead(*incarnation),
                };
            }
            Op::SetNextHop { id, next_hop } => {
                let interfaces = &self.gateway.interfaces;
                let hop = next_hop.and_then(|hop| {
                    Some(Hop::new(hop.mac, interfaces.get(usize::from(hop.port))?.index))
                });
                self.servers.entry(*id).or_default().next_hop = hop.unwrap_or(Hop::UNKNOWN);
            }
            Op::SetDevice { id, settings } => {
                self.devices.insert(*id, device_line(settings));
            }
            Op::CommitAssociations { words } => {
                for (device, w) in words {
                    let word =
                        Association::new(w.server, w.previous, w.backup, w.epoch, w.epochs_open);
                    self.associations.insert(*device, word);
                }
            }
            Op::SetMarks { address, marks } => {
                self.marks.insert(*address, *marks);
                self.place_marks();
            }
            Op::AddService { service, device } => {
                self.v4.add_service(service, *device);
                self.v6.add_service(service, *device);
            }
            Op::RemoveService { service } => {
                self.v4.remove_service(service);
                self.v6.remove_service(service);
            }
            Op::AddReturn { endpoint: at, device, server } => {
                let origin = Origin { device: *device, server: *server, pad: 0 };
                self.v4.add_return(at, origin);
                self.v6.add_return(at, origin);
            }
            Op::RemoveReturn { endpoint: at } => {
                self.v4.remove_return(at);
                self.v6.remove_return(at);
            }
        }
    }
}
