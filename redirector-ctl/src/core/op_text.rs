//! Ops as text: one line each, to be read in logs and compared in tests.

use std::fmt;
use std::net::SocketAddr;

use redirector_common::wire::Forwarding;

use super::op::protocol_name;
use super::op::{AssociationWord, DeviceSettings, Endpoint, NextHop, Op, ServerState};

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = SocketAddr::new(self.address, self.port);
        write!(f, "{at}/{}", protocol_name(self.protocol))
    }
}

impl fmt::Display for DeviceSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = SocketAddr::new(self.address, self.port);
        write!(f, "{at}")?;
        if self.port_last != self.port {
            write!(f, "-{}", self.port_last)?;
        }
        write!(f, "/{} at server port {}", protocol_name(self.protocol), self.server_port)?;
        if self.forwarding != Forwarding::Nat {
            write!(f, " by {:?}", self.forwarding)?;
        }
        if self.stateless {
            f.write_str(" stateless")?;
        }
        if self.affinity {
            f.write_str(" by client")?;
        }
        if self.mss_max != 0 {
            write!(f, " mss {}", self.mss_max)?;
        }
        Ok(())
    }
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.mac;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x} by port {}", self.port)
    }
}

impl fmt::Display for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "absent",
            Self::Alive => "alive",
            Self::Dead => "dead",
        })
    }
}

impl fmt::Display for AssociationWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, previous, backup, epoch, epochs_open } = self;
        write!(f, "server {server} previous {previous} backup {backup} epoch {epoch}-{epochs_open}")
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetServerAddress { id, address } => write!(f, "server {id} address {address}"),
            Self::SetServerState { id, state, incarnation } => {
                write!(f, "server {id} state {state} life {incarnation}")
            }
            Self::SetNextHop { id, next_hop: Some(hop) } => write!(f, "server {id} way {hop}"),
            Self::SetNextHop { id, next_hop: None } => write!(f, "server {id} way unknown"),
            Self::SetDevice { id, settings } => write!(f, "device {id} is {settings}"),
            Self::SetMarks { address, marks } => write!(f, "marks {address} {marks:#x}"),
            Self::CommitAssociations { words } => {
                f.write_str("commit")?;
                words.iter().try_for_each(|(id, word)| write!(f, " [device {id}: {word}]"))
            }
            Self::AddService { service, device } => write!(f, "service {service} device {device}"),
            Self::RemoveService { service } => write!(f, "service {service} none"),
            Self::AddReturn { endpoint, device, server } => {
                write!(f, "return {endpoint} device {device} server {server}")
            }
            Self::RemoveReturn { endpoint } => write!(f, "return {endpoint} none"),
        }
    }
}
