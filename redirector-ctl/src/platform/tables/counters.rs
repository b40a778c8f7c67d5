//! Counters, summed over CPUs.

use std::collections::BTreeMap;

use aya::maps::PerCpuValues;
use redirector_common::verdict::Reason;
use redirector_common::wire;

use super::raw::Wire;
use super::{Tables, TablesError, map_error};
use crate::core::suspicion::Signs;

/// Packets and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes of whole frames.
    pub bytes: u64,
}

/// Counters of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceCount {
    /// From clients.
    pub to_server: Count,
    /// From servers.
    pub to_client: Count,
    /// Flows opened.
    pub flows_opened: u64,
}

/// All counters, summed over CPUs; they grow for as long as the program's maps live.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Every reason, by number, also those never met.
    pub reasons: Vec<(Reason, Count)>,
    /// By device id; only devices that were met.
    pub devices: BTreeMap<u32, DeviceCount>,
    /// By server id; only servers that were met.
    pub servers: BTreeMap<u16, Count>,
}

impl Tables {
    /// A new holder of a device's id begins at zero.
    pub(super) fn clear_device_count(&mut self, id: u32) -> Result<(), TablesError> {
        let zeros = zeros(Wire(wire::DeviceCount::default()))?;
        self.device_count
            .set(id, zeros, 0)
            .map_err(|source| map_error(format!("clear the counters of device {id}"), source))
    }

    /// A new holder of a server's id begins at zero.
    pub(super) fn clear_server_count(&mut self, id: u16) -> Result<(), TablesError> {
        let zeros = zeros(Wire(wire::ServerCount::default()))?;
        self.server_count
            .set(u32::from(id), zeros, 0)
            .map_err(|source| map_error(format!("clear the counters of server {id}"), source))
    }

    /// All counters, summed over CPUs.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to read.
    pub fn counters(&self) -> Result<Counters, TablesError> {
        let failed = |source| map_error("read the counters".to_owned(), source);
        let mut counters = Counters::default();
        for reason in Reason::ALL {
            let per_cpu = self.reason_count.get(&(*reason as u32), 0).map_err(failed)?;
            counters.reasons.push((*reason, sum(per_cpu.iter().map(|c| c.0))));
        }
        for device in self.named_devices()? {
            let per_cpu = self.device_count.get(&device, 0).map_err(failed)?;
            let count = DeviceCount {
                to_server: sum(per_cpu.iter().map(|c| c.0.to_server)),
                to_client: sum(per_cpu.iter().map(|c| c.0.to_client)),
                flows_opened: per_cpu.iter().map(|c| c.0.flows_opened).sum(),
            };
            counters.devices.insert(device, count);
        }
        for server in self.present_servers() {
            let per_cpu = self.server_count.get(&u32::from(server), 0).map_err(failed)?;
            counters.servers.insert(server, sum(per_cpu.iter().map(|c| c.0.carried)));
        }
        Ok(counters)
    }

    /// What packets say of a server: one system call.
    ///
    /// # Errors
    ///
    /// When the kernel refuses to read.
    pub fn signs(&self, server: u16) -> Result<Signs, TablesError> {
        let per_cpu = self.server_count.get(&u32::from(server), 0);
        let per_cpu = per_cpu.map_err(|source| {
            map_error(format!("read what packets say of server {server}"), source)
        })?;
        Ok(per_cpu.iter().fold(Signs::default(), |all, one| add(all, &one.0)))
    }

    fn named_devices(&self) -> Result<Vec<u32>, TablesError> {
        let mut devices: Vec<u32> =
            self.services()?.into_iter().map(|(_, device)| device).collect();
        devices.sort_unstable();
        devices.dedup();
        Ok(devices)
    }
}

/// A value for every CPU there can be.
fn zeros<T: Copy>(zero: Wire<T>) -> Result<PerCpuValues<Wire<T>>, TablesError>
where
    Wire<T>: aya::Pod,
{
    let failed = |source| TablesError::Io { attempt: "count the CPUs".to_owned(), source };
    let cpus = aya::util::nr_cpus().map_err(|(_, source)| failed(source))?;
    PerCpuValues::try_from(vec![zero; cpus]).map_err(failed)
}

fn add(all: Signs, one: &wire::ServerCount) -> Signs {
    Signs {
        waiting: all.waiting.saturating_add(one.waiting),
        answered: all.answered.saturating_add(one.answered),
        opened: all.opened.saturating_add(one.opened),
        accepted: all.accepted.saturating_add(one.accepted),
        refused: all.refused.saturating_add(one.refused),
        unreachable: all.unreachable.saturating_add(one.unreachable),
    }
}

fn sum(counts: impl Iterator<Item = wire::Count>) -> Count {
    counts.fold(Count::default(), |all, one| Count {
        packets: all.packets + one.packets,
        bytes: all.bytes + one.bytes,
    })
}
