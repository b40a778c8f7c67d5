//! Who accepted whom: the clients' record of every flow beside the servers' own logs.
//!
//! The redirector's counters have no say here. A flow that its client believes on one server must
//! be in that server's log and in no other's, and no server may have accepted a flow that no client
//! knows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use anyhow::Result;

use crate::device::Kind;
use crate::flows::Flow;
use crate::lab::Lab;

/// What broke in `flows` (all that clients opened since the lab began) as their clients tell it,
/// and every difference from the servers' logs.
///
/// # Errors
/// When a log cannot be read.
pub fn violations(lab: &Lab, flows: &[Flow]) -> Result<Vec<String>> {
    let mut violations: Vec<String> = flows.iter().flat_map(Flow::violations).collect();
    violations.extend(differences(lab, flows)?);
    Ok(violations)
}

/// Compares flows with the servers' logs; returns every difference.
///
/// # Errors
/// When a log cannot be read.
pub fn differences(lab: &Lab, flows: &[Flow]) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    for device in lab.plan().devices.iter().filter(|device| device.kind == Kind::Echo) {
        let mut by_clients: BTreeMap<&str, BTreeSet<SocketAddr>> = BTreeMap::new();
        for flow in flows.iter().filter(|flow| flow.address == device.service()) {
            by_clients.entry(flow.server_name()).or_default().insert(flow.local);
        }
        for (name, server) in &lab.servers {
            let by_clients = by_clients.remove(name.as_str()).unwrap_or_default();
            let by_server = server.accepted(device.server_port)?;
            let of = &device.name;
            differences.extend(by_clients.difference(&by_server).map(|client| {
                format!("{of}: {client} believes to be on {name}, which did not accept it")
            }));
            differences.extend(by_server.difference(&by_clients).map(|client| {
                format!("{of}: {name} accepted {client}, which does not know of it")
            }));
        }
        differences.extend(
            by_clients
                .keys()
                .map(|name| format!("{of}: flows on unknown {name}", of = device.name)),
        );
    }
    Ok(differences)
}
