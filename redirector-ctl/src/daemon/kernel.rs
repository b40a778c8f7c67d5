//! What the owner needs of the kernel's tables, so that the loop can be tested without a kernel.

use std::path::Path;

use redirector_common::wire::ServerCount;

use crate::core::apply::ClientHold;
use crate::core::op::Op;
use crate::platform::bpf::{self, AttachError, Interface};
use crate::platform::clock::monotonic_ns;
use crate::platform::tables::{Counters, FlowCensus, FlowKey, Gateway, Sweep, Tables, TablesError};

/// The kernel's tables. Calls block, but not for long; see [`super::measure`] for the sweep.
pub(super) trait Kernel {
    /// Carries out one op; idempotent.
    fn apply(&mut self, op: &Op) -> Result<(), TablesError>;
    /// All counters.
    fn counters(&self) -> Result<Counters, TablesError>;
    /// What packets say of a server.
    fn signs(&self, server: u16) -> Result<ServerCount, TablesError>;
    /// Sends SYNs that went to these servers within so many ms, and were not answered, to whoever
    /// serves now; gives how many.
    fn recall(&self, servers: &[u16], within_ms: u64) -> Result<usize, TablesError>;
    /// Closes a flow; gives its device, None when there is no such flow.
    fn close_flow(&mut self, key: &FlowKey) -> Result<Option<u32>, TablesError>;
    /// Lets a client's new flows to a device go to a server.
    fn hold_client(&mut self, hold: &ClientHold) -> Result<(), TablesError>;
    /// Counts flows and takes away those that are over.
    fn sweep(&mut self, sweep: &Sweep) -> Result<FlowCensus, TablesError>;
    /// Attaches the program to an interface; false when it is there already.
    fn attach(&mut self, bpffs_dir: &Path, interface: &Interface) -> Result<bool, AttachError>;
    /// Makes the gateway known to the program.
    fn set_gateway(&mut self, gateway: &Gateway) -> Result<(), TablesError>;
}

impl Kernel for Tables {
    fn apply(&mut self, op: &Op) -> Result<(), TablesError> {
        Self::apply(self, op)
    }

    fn counters(&self) -> Result<Counters, TablesError> {
        Self::counters(self)
    }

    fn signs(&self, server: u16) -> Result<ServerCount, TablesError> {
        Self::signs(self, server)
    }

    fn recall(&self, servers: &[u16], within_ms: u64) -> Result<usize, TablesError> {
        Self::recall(self, servers, (monotonic_ns(), within_ms.saturating_mul(1_000_000)))
    }

    fn close_flow(&mut self, key: &FlowKey) -> Result<Option<u32>, TablesError> {
        Self::close_flow(self, key)
    }

    fn hold_client(&mut self, hold: &ClientHold) -> Result<(), TablesError> {
        Self::hold_client(self, hold, monotonic_ns())
    }

    fn sweep(&mut self, sweep: &Sweep) -> Result<FlowCensus, TablesError> {
        self.sweep_flows(sweep)
    }

    fn attach(&mut self, bpffs_dir: &Path, interface: &Interface) -> Result<bool, AttachError> {
        bpf::attach_anew(self, bpffs_dir, interface)
    }

    fn set_gateway(&mut self, gateway: &Gateway) -> Result<(), TablesError> {
        Self::set_gateway(self, gateway)
    }
}
