//! Clients whose flows to a device stay together: putting one on another server.

use std::net::IpAddr;

use aya::maps::HashMap;
use redirector_common::flow::{Flow, Owner};
use redirector_common::order::Be16;
use redirector_common::wire::Hop;

use super::convert::WireFamily;
use super::per_family::FamilyTables;
use super::raw::Wire;
use super::{CLOCK_SHIFT, Tables, TablesError, map_error};
use crate::core::apply::ClientHold;

impl Tables {
    /// Lets the client's new flows to the device go to the server, as if it had a flow there. The
    /// entry is replaced whole, and forgotten like that of any client.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, as it does when the table of clients is full.
    pub fn hold_client(&mut self, hold: &ClientHold, now_ns: u64) -> Result<(), TablesError> {
        let line = self.devices.get(&hold.device, 0);
        let line =
            line.map_err(|source| map_error("read the line of a device".to_owned(), source))?;
        let forwarding = line.0.forwarding;
        let owner = Owner {
            device: hold.device,
            server: hold.server,
            epoch: hold.epoch,
            incarnation: hold.incarnation,
            // Each flow has its own.
            server_port: Be16::new(0),
            forwarding,
        };
        let entry = Flow::new(owner, Hop::UNKNOWN, now_ns >> CLOCK_SHIFT);
        match hold.client {
            IpAddr::V4(_) => self.v4.hold_client(hold, &entry),
            IpAddr::V6(_) => self.v6.hold_client(hold, &entry),
        }
    }
}

impl<F: WireFamily> FamilyTables<F> {
    fn hold_client(&mut self, hold: &ClientHold, entry: &Flow) -> Result<(), TablesError> {
        let failed = |source| map_error("keep a client on a server".to_owned(), source);
        let Some(address) = F::wire_address(hold.client) else { return Ok(()) };
        let key = F::client_key(address, hold.device);
        let mut clients: HashMap<_, Wire<F::ClientKey>, Wire<Flow>> =
            HashMap::try_from(&mut self.clients).map_err(failed)?;
        clients.insert(Wire(key), Wire(*entry), 0).map_err(failed)
    }
}
