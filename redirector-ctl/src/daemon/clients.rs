//! Clients on servers of their own: held in the packet path, forgotten when it has forgotten them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::kernel::Kernel;
use super::owner::Owner;
use crate::core::change::Change;
use crate::core::spec::{Name, Spec};

impl<K: Kernel> Owner<K> {
    /// Notes that a client that was moved is to be held; [`Self::hold_clients`] does it.
    pub(super) fn owe_client(&mut self, change: &Change) {
        if let Change::MoveClient(wish) = change {
            self.owed.clients.insert((wish.device.clone(), wish.client));
        }
    }

    /// Holds all clients anew, at a start: the journal may know of one that the tables have lost,
    /// and an entry that is there is only written again.
    pub(super) fn owe_all_clients(&mut self) {
        let all = self.spec.client_holds().map(|(device, hold)| (device.clone(), hold.client));
        self.owed.clients = all.collect();
    }

    /// Writes the entries of clients that are to be held. What the kernel refuses is owed; it is
    /// tried again with every tick, and an event tells of it once.
    pub(super) fn hold_clients(&mut self) {
        let mut refused = BTreeSet::new();
        for (device, client) in std::mem::take(&mut self.owed.clients) {
            let Some(hold) = self.spec.client_hold(&device, client) else { continue };
            if let Err(error) = self.kernel.hold_client(&hold) {
                if self.refused_clients.insert((device.clone(), client)) {
                    self.error(format!(
                        "client {client} of device {device} is not on its server yet: {error}; it \
                         is tried again"
                    ));
                }
                refused.insert((device, client));
            }
        }
        self.refused_clients.retain(|known| refused.contains(known));
        self.owed.clients = refused;
    }

    /// Why a change is not in force yet, if it moved a client that the kernel does not take.
    pub(super) fn owed_to(&self, change: &Change) -> Option<String> {
        let Change::MoveClient(wish) = change else { return None };
        let is_owed = self.owed.clients.contains(&(wish.device.clone(), wish.client));
        is_owed.then(|| {
            "the kernel does not take the client's entry: the table of clients may be full, see \
             limits.clients_max"
                .to_owned()
        })
    }

    /// The change that forgets those of `gone` (device id and client) that were moved.
    pub(super) fn forget_clients(&self, gone: &[(u32, IpAddr)]) -> Option<Change> {
        let clients = moved_of(&self.spec, gone);
        (!clients.is_empty()).then_some(Change::ForgetClients { clients })
    }
}

fn moved_of(spec: &Spec, gone: &[(u32, IpAddr)]) -> Vec<(Name, IpAddr)> {
    let gone: BTreeSet<&(u32, IpAddr)> = gone.iter().collect();
    let moved = spec.client_holds().filter(|(_, hold)| gone.contains(&(hold.device, hold.client)));
    moved.map(|(device, hold)| (device.clone(), hold.client)).collect()
}
