//! The loaded program, run on single packets.

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{Map, MapData, MapInfo, PerCpuArray};
use aya::programs::{TestRun, TestRunOptions, Xdp};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, unshare};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use redirector_common::flow::{CLOCK_SHIFT, WINDOW_SHIFT};
use redirector_common::verdict::Reason;
use redirector_ctl::core::op::Op;
use redirector_ctl::platform::bpf::{PROGRAM, RecorderLimits, TableLimits, load_only};
use redirector_ctl::platform::tables::{Count, Tables};

use super::frame::HEADROOM;

/// What the kernel keeps for itself of the room in front of a frame (`struct xdp_frame`).
const FRAME_RECORD_LEN: usize = 40;

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The XDP action: 1 drop, 2 pass, 3 TX, 4 redirect.
    pub action: u32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

/// The program over its own tables.
pub struct Program {
    runner: Runner,
    /// The tables, written as the daemon writes them.
    pub tables: Tables,
}

/// Tables that are small enough to be made for each test.
pub const SMALL: TableLimits = TableLimits {
    devices_max: 256,
    servers_max: 255,
    flows_max: 4096,
    candidates_max: 4096,
    clients_max: 1024,
    fragments_max: 1024,
    paths_max: 1024,
    recorder: RecorderLimits::DEFAULT,
};

impl Program {
    /// Loads the program, and tells it that it is attached where test packets come in. The calling
    /// thread gets a network namespace of its own, whose routing table is empty: the program asks
    /// it for packets of which no entry says the way. It also stays on its CPU, which is the one
    /// that remembers its packets' paths.
    ///
    /// # Errors
    ///
    /// When the kernel refuses (needs root).
    pub fn load(limits: &TableLimits) -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace (needs root)")?;
        stay_on_this_cpu()?;
        Self::load_here(limits)
    }

    /// The same in the namespace that the calling thread is in.
    ///
    /// # Errors
    ///
    /// As of [`Self::load`].
    pub fn load_here(limits: &TableLimits) -> Result<Self> {
        let (ebpf, mut tables) = load_only(limits).context("load the program")?;
        tables.set_gateway(&super::gateway())?;
        Ok(Self { runner: Runner { ebpf }, tables })
    }

    /// Carries out ops.
    ///
    /// # Errors
    ///
    /// The first refusal.
    pub fn apply(&mut self, ops: &[Op]) -> Result<()> {
        for op in ops {
            self.tables.apply(op).with_context(|| op.to_string())?;
        }
        Ok(())
    }

    /// Runs the program on one frame.
    ///
    /// # Errors
    ///
    /// When the kernel refuses: frames below 14 bytes never reach an XDP program.
    pub fn run(&self, frame: &[u8]) -> Result<Outcome> {
        self.runner.run(frame)
    }

    /// The program alone.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// The program alone, to attach it.
    pub fn runner_mut(&mut self) -> &mut Runner {
        &mut self.runner
    }

    /// The tables and the program, for two threads.
    pub fn split(&mut self) -> (&mut Tables, &Runner) {
        (&mut self.tables, &self.runner)
    }

    /// Packets and bytes of each reason so far.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn reasons(&self) -> Result<Vec<(Reason, Count)>> {
        let counts = self.runner.reason_counts()?;
        let mut reasons = Vec::with_capacity(Reason::ALL.len());
        for reason in Reason::ALL {
            let mut sum = Count::default();
            for count in counts.get(&(*reason as u32), 0)?.iter() {
                let [packets, bytes]: [u64; 2] = zerocopy::transmute!(*count);
                sum.packets += packets;
                sum.bytes += bytes;
            }
            reasons.push((*reason, sum));
        }
        Ok(reasons)
    }

    /// Runs the program on one frame and finds out under which reason it left.
    ///
    /// # Errors
    ///
    /// When not exactly one reason counted exactly one packet (G7).
    pub fn explain(&self, frame: &[u8]) -> Result<(Outcome, Reason)> {
        self.explain_run(|runner| runner.run(frame))
    }

    /// The same for a frame that can grow by only `headroom` bytes.
    ///
    /// # Errors
    ///
    /// As of [`Self::explain`].
    pub fn explain_in(&self, frame: &[u8], headroom: usize) -> Result<(Outcome, Reason)> {
        self.explain_run(|runner| runner.run_in(frame, headroom))
    }

    fn explain_run(
        &self,
        run: impl FnOnce(&Runner) -> Result<Outcome>,
    ) -> Result<(Outcome, Reason)> {
        let before = self.reasons()?;
        let outcome = run(&self.runner)?;
        let after = self.reasons()?;
        let mut met = Vec::new();
        for ((reason, before), (_, after)) in before.iter().zip(&after) {
            for _ in before.packets..after.packets {
                met.push(*reason);
            }
        }
        match met[..] {
            [reason] => Ok((outcome, reason)),
            _ => anyhow::bail!("one packet was counted under {met:?}"),
        }
    }
}

/// Keeps the calling thread on the CPU that it is on.
///
/// # Errors
///
/// When the kernel refuses.
pub fn stay_on_this_cpu() -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(nix::sched::sched_getcpu()?)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).context("stay on this CPU")
}

/// The tables' clock, read when it stays for a while: what it says holds for a packet that is run
/// at once. A thread that is held up finds by [`tick`] that it no longer does.
///
/// # Errors
///
/// When the kernel has no monotonic clock.
pub fn settled_tick() -> Result<u64> {
    settled(CLOCK_SHIFT)
}

/// The tables' clock.
///
/// # Errors
///
/// As of [`settled_tick`].
pub fn tick() -> Result<u64> {
    Ok(now_ns()? >> CLOCK_SHIFT)
}

/// The window of the program's rates, read when it stays for a while, as of [`settled_tick`].
///
/// # Errors
///
/// As of [`settled_tick`].
pub fn settled_window() -> Result<u64> {
    settled(WINDOW_SHIFT)
}

/// The window of the program's rates.
///
/// # Errors
///
/// As of [`settled_tick`].
pub fn window() -> Result<u64> {
    Ok(now_ns()? >> WINDOW_SHIFT)
}

/// The program's clock in units of `1 << shift` ns, read when it has just been told of the unit and
/// stays in it for a while.
fn settled(shift: u32) -> Result<u64> {
    /// How far the program's clock is behind: a tick of the kernel's timer, 10 ms on some, and what
    /// the kernel takes to count it.
    const BEHIND_NS: u64 = 15_000_000;
    /// What a packet may take.
    const LEFT_NS: u64 = 15_000_000;
    loop {
        let now_ns = now_ns()?;
        let into_ns = now_ns & ((1 << shift) - 1);
        if into_ns > BEHIND_NS && into_ns + LEFT_NS < 1 << shift {
            return Ok(now_ns >> shift);
        }
        std::thread::yield_now();
    }
}

fn now_ns() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64)
}

/// The loaded program without its tables.
pub struct Runner {
    ebpf: Ebpf,
}

impl Runner {
    /// Runs the program on one frame.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn run(&self, frame: &[u8]) -> Result<Outcome> {
        let mut out = vec![0_u8; frame.len() + 256];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut out);
        let result = self.xdp()?.test_run(options).context("run the program on a packet")?;
        out.truncate(result.data_size_out as usize);
        Ok(Outcome { action: result.return_value, frame: out })
    }

    /// Runs the program on one frame that can grow by only `headroom` bytes: what else the kernel
    /// would leave in front of it is taken by metadata.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn run_in(&self, frame: &[u8], headroom: usize) -> Result<Outcome> {
        let metadata_len = (HEADROOM - FRAME_RECORD_LEN - headroom) & !3;
        let mut bytes = vec![0; metadata_len];
        bytes.extend(frame);
        let mut out = vec![0_u8; bytes.len() + HEADROOM];
        // struct xdp_md: data, data_end, data_meta, and three words about interfaces.
        let words = [metadata_len as u32, bytes.len() as u32, 0, 0, 0, 0];
        let context: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let mut options = TestRunOptions::new();
        options.data_in = Some(&bytes);
        options.data_out = Some(&mut out);
        options.ctx_in = Some(&context);
        let result = self.xdp()?.test_run(options).context("run the program on a packet")?;
        out.truncate(result.data_size_out as usize);
        Ok(Outcome { action: result.return_value, frame: out.split_off(metadata_len) })
    }

    fn reason_counts(&self) -> Result<PerCpuArray<MapData, [u8; 16]>> {
        let ids = self.xdp()?.info()?.map_ids()?.context("the kernel names a program's maps")?;
        for id in ids {
            if MapInfo::from_id(id)?.name_as_str() == Some("REASON_COUNT") {
                return Ok(Map::PerCpuArray(MapData::from_id(id)?).try_into()?);
            }
        }
        anyhow::bail!("the program counts no reasons")
    }

    /// The loaded XDP program.
    ///
    /// # Errors
    ///
    /// Never, for the object that the daemon carries.
    pub fn xdp(&self) -> Result<&Xdp> {
        let program = self.ebpf.program(PROGRAM).context("the object has the program")?;
        Ok(program.try_into()?)
    }

    /// The same, to attach it.
    ///
    /// # Errors
    ///
    /// As of [`Self::xdp`].
    pub fn xdp_mut(&mut self) -> Result<&mut Xdp> {
        let program = self.ebpf.program_mut(PROGRAM).context("the object has the program")?;
        Ok(program.try_into()?)
    }
}
