//! What the flight recorder keeps: read when somebody asks, beside the daemon.

use aya::maps::{Map, MapData, PerCpuArray};
use redirector_common::record::{CLASSES_LEN, RECORD_LASTING, RECORD_LEFT, Record, RecorderUse};
use redirector_common::verdict::Reason;

use super::listing::again;
use super::raw::Wire;
use super::{Maps, TablesError, map_error, open};

/// A packet that was decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// When, in ns of the monotonic clock.
    pub at_ns: u64,
    /// Interface that it came in by, or left by.
    pub ifindex: u32,
    /// Whether it is kept as it left; otherwise as it came in.
    pub left: bool,
    /// Why it was done with it what was done.
    pub reason: Reason,
    /// Device id; `DEVICE_NONE` for none.
    pub device: u32,
    /// Server id; `SERVER_NONE` for none.
    pub server: u16,
    /// Whether its flow is proven.
    pub proven: bool,
    /// Epoch and incarnation of its flow, where they are known.
    pub version: Option<(u16, u32)>,
    /// Length of the whole frame, in bytes.
    pub frame_len: u32,
    /// The frame's headers.
    pub headers: Vec<u8>,
}

/// What the recorder has done since it was loaded, over all CPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RecorderCounts {
    /// Packets recorded.
    pub recorded: u64,
    /// Those of them that newer ones have taken the place of.
    pub overwritten: u64,
    /// Packets left out because too many came at a time.
    pub left_out: u64,
}

/// The rings of the flight recorder, for reading alone.
pub struct RecordView {
    records: PerCpuArray<MapData, Wire<Record>>,
    recorder: PerCpuArray<MapData, Wire<RecorderUse>>,
}

impl RecordView {
    /// Handles of its own on the rings.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(in crate::platform) fn new(maps: &Maps) -> Result<Self, TablesError> {
        let records = Map::PerCpuArray(again(&maps.records)?);
        let recorder = Map::PerCpuArray(again(&maps.recorder)?);
        let (records, recorder) = (open("RECORDS", records)?, open("RECORDER", recorder)?);
        Ok(Self { records, recorder })
    }

    /// All records, oldest first. One that is being written is left out.
    ///
    /// # Errors
    /// When the kernel refuses to read.
    pub fn all(&self) -> Result<Vec<Recorded>, TablesError> {
        let mut found = Vec::new();
        for index in 0..self.records.len() {
            let per_cpu = self.records.get(&index, 0);
            let per_cpu = per_cpu.map_err(|source| map_error("read records".into(), source))?;
            found.extend(per_cpu.iter().filter_map(|record| recorded(&record.0)));
        }
        found.sort_by_key(|record| record.at_ns);
        Ok(found)
    }

    /// What the recorder has done.
    ///
    /// # Errors
    /// When the kernel refuses to read.
    pub fn counts(&self) -> Result<RecorderCounts, TablesError> {
        let per_cpu = self.recorder.get(&0, 0);
        let per_cpu = per_cpu.map_err(|source| map_error("read the recorder".into(), source))?;
        let ring_len = u64::from(self.records.len() / CLASSES_LEN);
        let mut counts = RecorderCounts::default();
        for of in per_cpu.iter().flat_map(|of| of.0.classes) {
            counts.recorded += of.recorded;
            counts.overwritten += of.recorded.saturating_sub(ring_len);
            counts.left_out += of.left_out;
        }
        Ok(counts)
    }
}

/// A record as the daemon speaks of it; `None` if it is not whole.
fn recorded(record: &Record) -> Option<Recorded> {
    if record.end == 0 || record.begin != record.end {
        return None;
    }
    let reason = *Reason::ALL.get(record.reason as usize)?;
    let version = (record.incarnation != 0).then_some((record.epoch, record.incarnation));
    Some(Recorded {
        at_ns: record.at_ns,
        ifindex: record.ifindex,
        left: record.flags & RECORD_LEFT != 0,
        reason,
        device: record.device,
        server: record.server,
        proven: record.flags & RECORD_LASTING != 0,
        version,
        frame_len: record.frame_len,
        headers: record.frame.get(..usize::from(record.len))?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros as _;

    #[test]
    fn a_record_that_is_being_written_is_not_read() {
        let mut record = Record { begin: 7, end: 7, len: 60, ..Record::new_zeroed() };
        assert_eq!(recorded(&record).map(|record| record.headers.len()), Some(60));
        for (begin, end) in [(8, 0), (8, 7), (0, 0)] {
            (record.begin, record.end) = (begin, end);
            assert_eq!(recorded(&record), None);
        }
    }
}
