//! The driver program: loading it, aiming it at a program, reading its stamps.

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, MapData, ProgramArray};
use aya::programs::{ProgramFd, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use redirector_ctl::platform::bpf::LAB_OBJECT;

/// Packets between two stamps; as in the driver program.
const STAMP_INTERVAL: u32 = 32_768;
/// Stamps of a run; the interval after the first stamp warms caches up and does not count.
const STAMPS: u32 = 14;
/// Packets of a run.
pub const PACKETS: u32 = STAMP_INTERVAL * (STAMPS - 1) + 1;
/// Length of the frame's head, which is the whole frame here: the least that Ethernet carries,
/// without checksum.
const HEAD_LEN: usize = 64;

/// What packets the driver makes.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// The frame; client address and port are replaced in each packet.
    pub frame: Vec<u8>,
    /// Number of flows: a power of two.
    pub flows: u64,
    /// The client is the destination.
    pub reverse: bool,
}

/// The loaded driver.
pub struct Driver {
    ebpf: Ebpf,
    run: Array<MapData, [u64; 12]>,
    stamps: Array<MapData, u64>,
    target: ProgramArray<MapData>,
}

impl Driver {
    /// Loads the driver and the floors.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn load() -> Result<Self> {
        let mut ebpf = EbpfLoader::new().load(LAB_OBJECT).context("load the bench's programs")?;
        for name in ["driver", "floor_drop", "floor_tx", "floor_fib"] {
            xdp(&mut ebpf, name)?.load().with_context(|| format!("load {name}"))?;
        }
        let mut take = |name| ebpf.take_map(name).with_context(|| format!("map {name}"));
        let (run, stamps, target) = (take("RUN")?, take("STAMPS")?, take("TARGET")?);
        Ok(Self {
            ebpf,
            run: run.try_into()?,
            stamps: stamps.try_into()?,
            target: target.try_into()?,
        })
    }

    /// Measures one of the driver's own floors; samples in ns a packet, the harness included.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn measure_own(&mut self, name: &str, traffic: &Traffic) -> Result<Vec<f64>> {
        let program = xdp(&mut self.ebpf, name)?.fd()?.try_clone()?;
        self.measure(&program, traffic)
    }

    /// Measures a program; samples in ns a packet, the harness included.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn measure(&mut self, program: &ProgramFd, traffic: &Traffic) -> Result<Vec<f64>> {
        let frame = self.aim(program, traffic)?;
        self.run(&frame, PACKETS)?;
        self.samples()
    }

    /// Aims the driver at a program and gives it traffic from its first flow on. Gives the frame
    /// that runs begin with.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn aim(&mut self, program: &ProgramFd, traffic: &Traffic) -> Result<Vec<u8>> {
        ensure!(traffic.flows.is_power_of_two(), "{} flows: no power of two", traffic.flows);
        self.target.set(0, program, 0).context("aim the driver")?;
        let mut frame = traffic.frame.clone();
        frame.resize(HEAD_LEN, 0);
        let mut words = [0_u64; 12];
        for (word, bytes) in words.iter_mut().zip(frame.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into()?);
        }
        words[8] = traffic.flows - 1;
        words[9] = 0x9e37_79b1;
        words[10] = u64::from(traffic.reverse);
        self.run.set(0, words, 0)?;
        Ok(frame)
    }

    /// Runs so many packets, going on after those of the run before.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn run(&mut self, frame: &[u8], packets: u32) -> Result<()> {
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.repeat = packets;
        let result = xdp(&mut self.ebpf, "driver")?.test_run(options)?;
        ensure!(result.return_value != 0, "the driver could not reach the program under test");
        Ok(())
    }

    fn samples(&self) -> Result<Vec<f64>> {
        let mut stamps = Vec::new();
        for index in 0..STAMPS {
            stamps.push(self.stamps.get(&index, 0)?);
        }
        let interval = f64::from(STAMP_INTERVAL);
        Ok(stamps.windows(2).skip(1).map(|s| (s[1] - s[0]) as f64 / interval).collect())
    }
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("program {name}"))?;
    Ok(program.try_into()?)
}
