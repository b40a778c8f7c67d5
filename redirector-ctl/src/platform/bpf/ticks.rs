//! How the kernel's count of ticks follows from its monotonic clock, which the program has to know
//! to tell the time by a load instead of a call.
//!
//! The kernel counts a tick when the monotonic clock has gone on by a tick's length since the last
//! one (`tick_do_update_jiffies64`), but only where its timers are precise or its ticks may stop;
//! otherwise ticks can be lost for ever, and the program asks for the coarse clock.

use std::io;

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use zerocopy::IntoBytes as _;

use super::error::{AttachError, load_error};
use crate::platform::clock;

/// The program that reads both, built by `build.rs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/redirector-ticks"));

/// Name of the program in its object.
const PROGRAM: &str = "read_ticks";

/// Ticks that are waited for in a look at them.
const TICKS_LEN: u64 = 2;
/// Looks after the first one, of which one has to say the same as those before.
const LOOKS_MAX: usize = 16;
/// Readings in which that many ticks must have passed: one takes a microsecond or more, so this is
/// ten seconds at least.
const READINGS_MAX: usize = 10_000_000;

/// How the kernel's count of ticks follows from its monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ticks {
    /// Length of a tick in ns; zero where the count does not follow the clock.
    pub(super) tick_ns: u64,
    /// What the clock showed at tick zero, in ns; wraps where that is before its beginning.
    pub(super) zero_ns: u64,
}

/// The count of ticks and, read after it, the monotonic clock in ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reading {
    ticks: u64,
    now_ns: u64,
}

impl Reading {
    /// When tick zero was, if the last tick is counted at its very moment; it never is earlier.
    fn zero_ns(&self, tick_ns: u64) -> u64 {
        self.now_ns.wrapping_sub(self.ticks.wrapping_mul(tick_ns))
    }
}

impl Ticks {
    /// Learns it from the kernel; takes a few ticks. Where it cannot be learnt, `tick_ns` is zero.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the program that reads the count.
    pub(super) fn learn() -> Result<Self, AttachError> {
        let Some(tick_ns) = clock::tick_ns() else {
            tracing::warn!("the kernel's timers are not precise: packets ask for the coarse clock");
            return Ok(Self::default());
        };
        let reader = Reader::load()?;
        let mut earliest = reader.zero_ns(tick_ns)?;
        for _ in 0..LOOKS_MAX {
            let zero_ns = reader.zero_ns(tick_ns)?;
            if agree(tick_ns, earliest, zero_ns) {
                return Ok(Self { tick_ns, zero_ns: earlier(earliest, zero_ns) });
            }
            earliest = earlier(earliest, zero_ns);
        }
        tracing::warn!("the kernel's ticks do not follow its clock: packets ask the coarse clock");
        Ok(Self::default())
    }

    /// Tells the program that is to be loaded.
    pub(super) fn tell<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        loader.override_global("TICK_NS", &self.tick_ns, true);
        loader.override_global("TICK_ZERO_NS", &self.zero_ns, true);
    }
}

/// The earlier of two moments, which may lie before the clock's beginning.
fn earlier(one_ns: u64, other_ns: u64) -> u64 {
    if (other_ns.wrapping_sub(one_ns) as i64) < 0 { other_ns } else { one_ns }
}

/// Whether two looks found tick zero at the same moment, as far as a program can tell that has to
/// share its CPU: nearer to each other than half a tick.
fn agree(tick_ns: u64, one_ns: u64, other_ns: u64) -> bool {
    (other_ns.wrapping_sub(one_ns) as i64).unsigned_abs() < tick_ns / 2
}

/// The loaded program that reads both.
struct Reader {
    ebpf: Ebpf,
}

impl Reader {
    fn load() -> Result<Self, AttachError> {
        let mut ebpf = EbpfLoader::new().load(OBJECT).map_err(|error| load_error(&error))?;
        let program = ebpf.program_mut(PROGRAM).ok_or_else(nothing_there)?;
        let program: &mut SchedClassifier =
            program.try_into().map_err(|error| load_error(&error))?;
        program.load().map_err(|error| load_error(&error))?;
        Ok(Self { ebpf })
    }

    /// The earliest moment at which tick zero may have been, by a few ticks. A tick can be counted
    /// late, and read later still, but never early.
    fn zero_ns(&self, tick_ns: u64) -> Result<u64, AttachError> {
        let first = self.read()?;
        let mut earliest = first.zero_ns(tick_ns);
        for _ in 0..READINGS_MAX {
            let reading = self.read()?;
            earliest = earlier(earliest, reading.zero_ns(tick_ns));
            if reading.ticks.wrapping_sub(first.ticks) > TICKS_LEN {
                break;
            }
        }
        Ok(earliest)
    }

    fn read(&self) -> Result<Reading, AttachError> {
        // As long as a packet has to be.
        let packet = [0_u8; 64];
        let mut words = [0_u64; 8];
        let mut options = TestRunOptions::new();
        options.data_in = Some(&packet);
        options.data_out = Some(words.as_mut_bytes());
        let program = self.ebpf.program(PROGRAM).ok_or_else(nothing_there)?;
        let program: &SchedClassifier = program.try_into().map_err(|error| load_error(&error))?;
        let result = program.test_run(options).map_err(|error| load_error(&error))?;
        if result.return_value != 0 {
            let code = result.return_value as i32;
            return Err(load_error(&io::Error::other(format!("{PROGRAM} returned {code}"))));
        }
        Ok(Reading { ticks: words[0], now_ns: words[1] })
    }
}

fn nothing_there() -> AttachError {
    load_error(&io::Error::other(format!("no classifier named {PROGRAM}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK_NS: u64 = 4_000_000;

    #[test]
    fn a_count_that_began_above_zero_has_its_zero_before_the_clocks_beginning() {
        let reading = Reading { ticks: 4_294_892_296, now_ns: 1_000 };
        let zero_ns = reading.zero_ns(TICK_NS);
        let shown_ns = reading.ticks.wrapping_mul(TICK_NS).wrapping_add(zero_ns);
        assert_eq!(shown_ns, 1_000);
    }

    #[test]
    fn moments_before_the_clocks_beginning_are_earlier_than_those_after_it() {
        let before = 0_u64.wrapping_sub(500);
        assert_eq!((earlier(before, 300), earlier(300, before)), (before, before));
        assert!(agree(TICK_NS, before, 300) && agree(TICK_NS, 300, before));
    }

    #[test]
    fn looks_that_lie_apart_do_not_agree() {
        assert!(!agree(TICK_NS, 7_000_000, 9_000_000));
        assert!(!agree(TICK_NS, 9_000_000, 7_000_000));
    }
}
