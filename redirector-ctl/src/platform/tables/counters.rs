//! Counters, summed over CPUs.

use std::collections::BTreeMap;

use aya::maps::PerCpuValues;
use redirector_common::response::{BUCKETS_LEN, ResponseTimes, bucket_end_ns};
use redirector_common::verdict::Reason;
use redirector_common::wire::{self, ServerCount};
use zerocopy::FromZeros as _;

use super::raw::Wire;
use super::{RecorderCounts, Tables, TablesError, map_error};
use crate::core::drained::Carried;

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
    /// Requests of clients.
    pub requests: u64,
}

/// How long a device's servers took to answer its clients, since the device was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Responses {
    /// Answers by bucket, as `redirector_common::response` has them.
    pub buckets: [u64; BUCKETS_LEN],
    /// All times together, in nanoseconds.
    pub sum_ns: u64,
}

impl Default for Responses {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS_LEN], sum_ns: 0 }
    }
}

impl Responses {
    /// Answers that were timed.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buckets.iter().all(|of| *of == 0)
    }

    /// The time within which so many percent of the answers came, in nanoseconds: the end of their
    /// bucket, which is at most a quarter too much. None without answers.
    #[must_use]
    pub fn percentile_ns(&self, percent: u64) -> Option<u64> {
        let rank = (self.len() * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|of| {
            seen += of;
            seen >= rank
        })?;
        Some(bucket_end_ns(bucket))
    }

    fn add(mut self, times: &ResponseTimes) -> Self {
        for (of, more) in self.buckets.iter_mut().zip(times.buckets) {
            *of += u64::from(more);
        }
        self.sum_ns = self.sum_ns.saturating_add(times.sum_ns);
        self
    }
}

/// All counters, summed over CPUs; they grow for as long as the program's maps live.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Every reason, by number, also those never met.
    pub reasons: Vec<(Reason, Count)>,
    /// By device id; only devices that were met.
    pub devices: BTreeMap<u32, DeviceCount>,
    /// By device id; only devices of which answers were timed.
    pub responses: BTreeMap<u32, Responses>,
    /// By server id; only servers that were met.
    pub servers: BTreeMap<u16, Count>,
    /// What the flight recorder has done.
    pub recorder: RecorderCounts,
}

impl Counters {
    /// Bytes carried, both directions together.
    #[must_use]
    pub fn carried(&self) -> Carried {
        let device = |(id, of): (&u32, &DeviceCount)| {
            (*id, of.to_server.bytes.saturating_add(of.to_client.bytes))
        };
        Carried {
            devices: self.devices.iter().map(device).collect(),
            servers: self.servers.iter().map(|(id, of)| (*id, of.bytes)).collect(),
        }
    }
}

impl Tables {
    /// A new holder of a device's id begins at zero.
    pub(super) fn clear_device_count(&mut self, id: u32) -> Result<(), TablesError> {
        let no_traffic = zeros(Wire(wire::DeviceCount::default()))?;
        self.device_count
            .set(id, no_traffic, 0)
            .map_err(|source| map_error(format!("clear the counters of device {id}"), source))?;
        let no_times = zeros(Wire(ResponseTimes::new_zeroed()))?;
        self.responses
            .set(id, no_times, 0)
            .map_err(|source| map_error(format!("clear the times of device {id}"), source))
    }

    /// A new holder of a server's id begins at zero.
    pub(super) fn clear_server_count(&mut self, id: u16) -> Result<(), TablesError> {
        let zeros = zeros(Wire(ServerCount::default()))?;
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
        let mut counters = Counters { recorder: self.records.counts()?, ..Counters::default() };
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
                requests: per_cpu.iter().map(|c| c.0.requests).sum(),
            };
            counters.devices.insert(device, count);
            // Who was never asked has nothing to read.
            if count.to_server.packets == 0 {
                continue;
            }
            let per_cpu = self.responses.get(&device, 0).map_err(failed)?;
            let all = per_cpu.iter().fold(Responses::default(), |all, one| all.add(&one.0));
            if !all.is_empty() {
                counters.responses.insert(device, all);
            }
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
    pub fn signs(&self, server: u16) -> Result<ServerCount, TablesError> {
        let per_cpu = self.server_count.get(&u32::from(server), 0);
        let per_cpu = per_cpu.map_err(|source| {
            map_error(format!("read what packets say of server {server}"), source)
        })?;
        Ok(per_cpu.iter().fold(ServerCount::default(), |all, one| add(all, &one.0)))
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

fn add(all: ServerCount, one: &ServerCount) -> ServerCount {
    let ServerCount { carried, waiting, answered, opened, accepted, refused, unreachable } = *one;
    ServerCount {
        carried: wire::Count {
            packets: all.carried.packets.saturating_add(carried.packets),
            bytes: all.carried.bytes.saturating_add(carried.bytes),
        },
        waiting: all.waiting.saturating_add(waiting),
        answered: all.answered.saturating_add(answered),
        opened: all.opened.saturating_add(opened),
        accepted: all.accepted.saturating_add(accepted),
        refused: all.refused.saturating_add(refused),
        unreachable: all.unreachable.saturating_add(unreachable),
    }
}

fn sum(counts: impl Iterator<Item = wire::Count>) -> Count {
    counts.fold(Count::default(), |all, one| Count {
        packets: all.packets + one.packets,
        bytes: all.bytes + one.bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_ends_of_buckets_and_nothing_has_none() {
        let mut seen = Responses::default();
        assert_eq!(seen.percentile_ns(50), None);
        (seen.buckets[3], seen.buckets[20]) = (98, 2);
        assert_eq!(seen.percentile_ns(50), Some(bucket_end_ns(3)));
        assert_eq!(seen.percentile_ns(98), Some(bucket_end_ns(3)));
        assert_eq!(seen.percentile_ns(99), Some(bucket_end_ns(20)));
    }
}
