//! `[recorder]`: what the flight recorder keeps in memory and on disk.

use redirector_common::record::RECORD_LEN_MAX;

use super::problem::Report;
use super::reader::Section;

/// Least bytes of headers: Ethernet, IPv6 and the ports and numbers of TCP.
const SNAP_LEN_MIN: u32 = 64;
const MIB: u64 = 1 << 20;

/// `[recorder]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecorderConfig {
    /// Packets that each CPU keeps of each of three classes, rounded up to a power of two; 0 for no
    /// recorder.
    pub packets_max: u32,
    /// One of so many packets of open flows is kept, rounded up to a power of two; 0 for none.
    pub sample_one_in: u32,
    /// Most bytes of a packet's headers that are kept; its payload never is.
    pub snap_len: u32,
    /// Dumps that are kept on disk; the oldest goes.
    pub dumps_max: u32,
    /// Bytes that they may have together; the oldest goes.
    pub dump_bytes_max: u64,
    /// How long after a failover its dump is made, in ms.
    pub after_failover_ms: u64,
    /// Least time between two dumps that failovers cause, in ms; what comes meanwhile is in the
    /// next one.
    pub rest_ms: u64,
}

pub(super) fn recorder(mut section: Section<'_>, report: &mut Report<'_>) -> RecorderConfig {
    let snap_len_max = RECORD_LEN_MAX as u32;
    let config = RecorderConfig {
        packets_max: section.number("packets_max", 0..=65_536, report).unwrap_or(1024),
        sample_one_in: section.number("sample_one_in", 0..=1 << 30, report).unwrap_or(1024),
        snap_len: section
            .number("snap_len", SNAP_LEN_MIN..=snap_len_max, report)
            .unwrap_or(snap_len_max),
        dumps_max: section.number("dumps_max", 1..=1000, report).unwrap_or(20),
        dump_bytes_max: section.number("dump_bytes_max", MIB..=1 << 40, report).unwrap_or(64 * MIB),
        after_failover_ms: section.number("after_failover_ms", 0..=60_000, report).unwrap_or(1000),
        rest_ms: section.number("rest_ms", 0..=3_600_000, report).unwrap_or(10_000),
    };
    section.finish(report);
    config
}
