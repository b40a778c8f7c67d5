//! Sizes of the tables, and what they cost.

use redirector_common::flow::Flow;
use redirector_common::record::{CLASSES_LEN, RECORD_LEN_MAX, Record};
use redirector_common::wire::{INTERFACES_LEN, ORIGINS_PER_DEVICE, RecentSyn, SYNS_LEN};

use super::AttachError;

/// Sizes of the tables. A pinned table keeps its size until `redirector detach`.
///
/// Flows, candidates, clients, fragments and paths have a table of this size for each address
/// family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableLimits {
    /// Devices.
    pub devices_max: u32,
    /// Servers, at most 4095.
    pub servers_max: u16,
    /// Proven flows.
    pub flows_max: u32,
    /// Flows not yet proven.
    pub candidates_max: u32,
    /// Clients whose flows stay together.
    pub clients_max: u32,
    /// Packets of which fragments are under way.
    pub fragments_max: u32,
    /// Paths that each CPU remembers; rounded up to a power of two.
    pub paths_max: u32,
    /// What the flight recorder keeps.
    pub recorder: RecorderLimits,
}

/// What the flight recorder keeps in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecorderLimits {
    /// Packets that each CPU keeps of each class, rounded up to a power of two; 0 for no recorder.
    pub packets_max: u32,
    /// One of so many plain packets is a sample, rounded up to a power of two; 0 for none.
    pub sample_one_in: u32,
    /// Most bytes of headers that are kept, up to 128.
    pub snap_len: u32,
}

impl RecorderLimits {
    /// Those of a configuration that says nothing.
    pub const DEFAULT: Self =
        Self { packets_max: 1024, sample_one_in: 1024, snap_len: RECORD_LEN_MAX as u32 };

    /// Places in the ring of each class; 0 for no recorder.
    #[must_use]
    pub fn ring_len(&self) -> u32 {
        match self.packets_max {
            0 => 0,
            len => len.next_power_of_two(),
        }
    }

    /// Bits that the number of a sample does not have; all for no samples.
    #[must_use]
    pub(super) fn mask(&self) -> u64 {
        match self.sample_one_in {
            0 => u64::MAX,
            one_in => u64::from(one_in.next_power_of_two()) - 1,
        }
    }

    /// Memory of its rings, in bytes.
    #[must_use]
    pub fn memory(&self, cpus: u64) -> u64 {
        u64::from(self.ring_len()) * u64::from(CLASSES_LEN) * size_of::<Record>() as u64 * cpus
    }
}

impl Default for TableLimits {
    fn default() -> Self {
        Self {
            devices_max: 4096,
            servers_max: 1024,
            flows_max: 262_144,
            candidates_max: 65_536,
            clients_max: 65_536,
            fragments_max: 4096,
            paths_max: 65_536,
            recorder: RecorderLimits::DEFAULT,
        }
    }
}

impl TableLimits {
    /// Memory that the tables take when made, and when every entry is in use, in bytes; about, by
    /// the kernel's own layout (48 bytes and a list head of 16 for each entry of a hash).
    #[must_use]
    pub fn memory(&self, cpus: u64) -> (u64, u64) {
        let entry = |key: u64, value: u64| 64 + key.next_multiple_of(8) + value.next_multiple_of(8);
        let (flow, path) = (size_of::<Flow>() as u64, 72);
        let both = |of: &dyn Fn(u64) -> u64| of(16) + of(40);
        let arrays = u64::from(self.devices_max) * (16 + 64 + 32 + (40 + 328) * cpus)
            + u64::from(self.servers_max) * (64 + 64 * cpus)
            + u64::from(INTERFACES_LEN) * 64
            + u64::from(SYNS_LEN) * size_of::<RecentSyn>() as u64 * cpus
            + self.recorder.memory(cpus)
            + u64::from(self.paths_max.next_power_of_two()) * (64 + 128) * cpus;
        let made = u64::from(self.candidates_max) * both(&|key| entry(key, flow) + entry(key, key))
            + u64::from(self.fragments_max) * both(&|key| entry(key, path));
        let used = u64::from(self.flows_max) * both(&|key| entry(key, flow) + entry(key, key))
            + u64::from(self.clients_max) * both(&|key| entry(key / 2, flow))
            + u64::from(self.devices_max) * u64::from(ORIGINS_PER_DEVICE) * 2 * entry(24, 8);
        (arrays + made, arrays + made + used)
    }
}

/// Pinned tables keep the size they were made with. Too little room for what may be configured is
/// an error; another room for flows is only told.
pub(super) fn check_sizes(made: &TableLimits, wanted: &TableLimits) -> Result<(), AttachError> {
    let rooms = [
        ("devices_max", made.devices_max, wanted.devices_max),
        ("servers_max", made.servers_max.into(), wanted.servers_max.into()),
    ];
    for (field, made, wanted) in rooms {
        if made < wanted {
            return Err(AttachError::TooSmall { field, made, wanted });
        }
    }
    let rooms = |of: &TableLimits| (of.flows_max, of.candidates_max, of.clients_max);
    let (flows_max, candidates_max, clients_max) = rooms(made);
    if rooms(made) != rooms(wanted) {
        tracing::warn!(
            flows_max,
            candidates_max,
            clients_max,
            "the pinned tables of flows and clients keep their size; `redirector detach` makes \
             room for another, and ends all flows"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_entries_cost_more_memory_and_unused_ones_less() {
        let small = TableLimits::default();
        let large = TableLimits { flows_max: 2 * small.flows_max, ..small };
        let (made, used) = small.memory(2);
        assert!(made < used);
        assert_eq!(large.memory(2).0, made, "flows take memory as they come");
        assert!(large.memory(2).1 > used);
    }
}
