//! Servers and devices as one document: what `redirector export` writes and `redirector apply`
//! reads. Its parts are the bodies of the API's own changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::devices::{Device, PutDevice};
use super::servers::{PutServer, Server};
use super::wire::Policy;
use crate::config::DEFAULT_POLICY;
use crate::core::spec::FlowPolicy;

/// All servers and devices, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Desired {
    /// The servers.
    #[serde(default)]
    pub servers: BTreeMap<String, PutServer>,
    /// The devices.
    #[serde(default)]
    pub devices: BTreeMap<String, PutDevice>,
}

impl From<&Server> for PutServer {
    fn from(server: &Server) -> Self {
        Self {
            address: server.address,
            state: Some(server.state.wish()),
            metrics_url: server.metrics_url.clone(),
            agent_address: server.agent_address,
            bytes_per_second_max: server.bytes_per_second_max,
        }
    }
}

impl PutServer {
    /// The same with what it leaves out, which stays as it is.
    #[must_use]
    pub fn in_full(mut self, known: Option<&Self>) -> Self {
        let state = self.state.or(known.and_then(|known| known.state));
        self.state = Some(state.unwrap_or_default());
        self
    }
}

/// Without the server through which it is reached: that changes by itself, and a document that is
/// applied later must not undo it.
impl From<&Device> for PutDevice {
    fn from(device: &Device) -> Self {
        Self {
            address: device.address,
            port: device.port,
            ports: device.ports.clone(),
            protocol: device.protocol,
            server_port: Some(device.server_port),
            forwarding: device.forwarding,
            tracking: device.tracking,
            affinity: device.affinity,
            mss_max: device.mss_max,
            tcp_idle_timeout_ms: device.tcp_idle_timeout_ms,
            udp_idle_timeout_ms: device.udp_idle_timeout_ms,
            servers: device.servers.clone(),
            pinned: device.pinned,
            keep_apart: device.keep_apart.clone(),
            on_planned: Some(device.on_planned),
            on_overload: Some(device.on_overload),
            on_failure: Some(device.on_failure),
            fail_back_after_ms: device.fail_back_after_ms,
            check: device.check.clone(),
            check_interval_ms: device.check_interval_ms,
            check_timeout_ms: device.check_timeout_ms,
            rise: device.rise,
            fall: device.fall,
            server: None,
        }
    }
}

impl PutDevice {
    /// The same with what it leaves out, as the API would take it.
    #[must_use]
    pub fn in_full(mut self) -> Self {
        self.server_port = Some(self.server_port.unwrap_or(self.port));
        let on_planned = self.on_planned.unwrap_or(Policy(DEFAULT_POLICY));
        self.on_planned = Some(on_planned);
        self.on_overload = Some(self.on_overload.unwrap_or(Policy(on_planned.0.under_load())));
        self.on_failure = Some(self.on_failure.unwrap_or(Policy(FlowPolicy::Reset)));
        self
    }
}
