//! The driver program: loading it, aiming it at a program, reading its stamps.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, HashMap, MapData, ProgramArray};
use aya::programs::{ProgramFd, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use redirector_common::checksum::checksum;
use redirector_ctl::platform::bpf::LAB_OBJECT;

use crate::random::Random;

/// Packets between two stamps; as in the driver program. So few that most samples see no other task
/// on the CPU.
pub const STAMP_INTERVAL: u32 = 4096;
/// Length of the frames in bytes; as in the driver program.
pub const HEAD_LEN: usize = 80;
/// Flows of the sequence by which flows are chosen unevenly; as in the driver program.
const SEQUENCE_LEN: u32 = 1 << 20;
/// Exponent of the uneven choice.
pub const ZIPF_EXPONENT: f64 = 1.1;
/// Odd, so that flows are visited in another order than they were entered in.
const STRIDE: u64 = 0x9e37_79b1;
/// Words of the driver's orders; as in the driver program.
const RUN_WORDS: usize = 20;

/// Where in a packet the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// IPv4, from a client.
    V4,
    /// IPv4, to a client.
    V4Back,
    /// IPv6, from a client.
    V6,
    /// IPv6, to a client.
    V6Back,
}

/// What packets the driver makes.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// The frame; client address and port are replaced in each packet.
    pub frame: Vec<u8>,
    /// Where the client is in it.
    pub shape: Shape,
    /// Number of flows: a power of two.
    pub flows: u64,
    /// Number of the first flow.
    pub first: u64,
    /// Flows are visited in the order of their numbers instead of a random one.
    pub in_order: bool,
    /// Devices over which flows are spread; 0 for the frame's own.
    pub devices: u64,
    /// Flows are chosen unevenly (Zipf).
    pub uneven: bool,
    /// So many packets of 65,536 are SYNs of senders never seen before.
    pub strangers: u64,
    /// The program under test leaves something in front of the packet.
    pub grows: bool,
    /// Packets of a run.
    pub packets: u32,
}

impl Traffic {
    /// Packets like `frame` of `flows` flows, enough of them to visit each flow or to take
    /// several samples.
    pub fn new(frame: Vec<u8>, shape: Shape, flows: u64) -> Self {
        let intervals = (flows / u64::from(STAMP_INTERVAL)).clamp(64, 256) as u32;
        Self {
            frame,
            shape,
            flows,
            first: 0,
            in_order: false,
            devices: 0,
            uneven: false,
            strangers: 0,
            grows: false,
            packets: samples(intervals),
        }
    }

    fn words(&self, egress: u32) -> Result<[u64; RUN_WORDS]> {
        let mut frame = self.frame.clone();
        frame.resize(HEAD_LEN, 0);
        self.blank(&mut frame);
        let mut words = [0_u64; RUN_WORDS];
        for (word, bytes) in words.iter_mut().zip(frame.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into()?);
        }
        let orders = [
            self.flows - 1,
            if self.in_order { 1 } else { STRIDE },
            self.first,
            self.shape as u64,
            self.devices,
            u64::from(self.uneven),
            self.strangers,
            HEAD_LEN as u64,
            u64::from(egress),
            0,
        ];
        words[HEAD_LEN / 8..].copy_from_slice(&orders);
        Ok(words)
    }

    /// Zeroes what the driver fills in, and makes the header's checksum right without it.
    fn blank(&self, frame: &mut [u8]) {
        match self.shape {
            Shape::V4 => frame[26..30].fill(0),
            Shape::V4Back => frame[30..34].fill(0),
            Shape::V6 | Shape::V6Back => return,
        }
        if self.devices != 0 {
            frame[30..34].fill(0);
        }
        frame[18..20].fill(0);
        frame[24..26].fill(0);
        let sum = checksum(&frame[14..34]).get();
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Packets that give so many samples; the interval after the first stamp warms caches up and does
/// not count.
const fn samples(len: u32) -> u32 {
    STAMP_INTERVAL * (len + 1) + 1
}

/// The loaded driver.
pub struct Driver {
    /// The object, with the floors and the programs for live frames.
    pub ebpf: Ebpf,
    run: Array<MapData, [u64; RUN_WORDS]>,
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
        let measured = ["driver", "floor_drop", "floor_grow", "floor_tx", "floor_fib"];
        let live = ["lower_bound", "generator", "bare_redirect", "bound_redirect", "sink"];
        for name in measured.into_iter().chain(live) {
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

    /// Gives the programs that hand frames on the interface by which they send.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn send_by(&mut self, ifindex: u32) -> Result<()> {
        let map = self.ebpf.map_mut("EGRESS").context("map EGRESS")?;
        Ok(Array::<_, u32>::try_from(map)?.set(0, ifindex, 0)?)
    }

    /// Makes the sequence by which flows are chosen unevenly: rank r with weight r^-1.1, ranks
    /// spread over the flows.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn make_sequence(&mut self) -> Result<()> {
        let mut sequence: Array<_, u32> =
            self.ebpf.take_map("SEQUENCE").context("map SEQUENCE")?.try_into()?;
        let mut total = 0.0;
        let cumulated: Vec<f64> = (1..=SEQUENCE_LEN)
            .map(|rank| {
                total += f64::from(rank).powf(-ZIPF_EXPONENT);
                total
            })
            .collect();
        let mut random = Random::new(1);
        for index in 0..SEQUENCE_LEN {
            let draw = random.bits() as f64 / u64::MAX as f64 * total;
            let rank = cumulated.partition_point(|sum| *sum < draw) as u64;
            let flow = rank.wrapping_mul(STRIDE) & u64::from(SEQUENCE_LEN - 1);
            sequence.set(index, flow as u32, 0)?;
        }
        Ok(())
    }

    /// Enters flows into the table of the lower bound.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn enter_bound(&mut self, entries: &mut dyn Iterator<Item = Bound>) -> Result<()> {
        let table = self.ebpf.map_mut("BOUND").context("map BOUND")?;
        let mut table: HashMap<_, [u8; 16], [u8; 48]> = HashMap::try_from(table)?;
        for Bound { key, value } in entries {
            table.insert(key, value, 0)?;
        }
        Ok(())
    }

    /// A program of the driver's object.
    ///
    /// # Errors
    ///
    /// When there is none of that name.
    pub fn own(&mut self, name: &str) -> Result<ProgramFd> {
        Ok(xdp(&mut self.ebpf, name)?.fd()?.try_clone()?)
    }

    /// Runs packets through a program.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn drive(&mut self, program: &ProgramFd, traffic: &Traffic) -> Result<()> {
        let frame = self.aim(program, traffic)?;
        self.run(&frame, traffic.packets)
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
        self.prepare(traffic, 0)
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

    /// Orders packets that leave by `egress`; gives a frame to begin with.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn prepare(&mut self, traffic: &Traffic, egress: u32) -> Result<Vec<u8>> {
        self.run.set(0, traffic.words(egress)?, 0)?;
        let mut frame = traffic.frame.clone();
        frame.resize(HEAD_LEN, 0);
        Ok(frame)
    }

    /// Measures a program; samples in ns a packet, the harness included.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn measure(&mut self, program: &ProgramFd, traffic: &Traffic) -> Result<Vec<f64>> {
        self.drive(program, traffic)?;
        let mut stamps = Vec::new();
        for index in 0..=traffic.packets / STAMP_INTERVAL {
            stamps.push(self.stamps.get(&index, 0)?);
        }
        let interval = f64::from(STAMP_INTERVAL);
        Ok(stamps.windows(2).skip(1).map(|s| (s[1] - s[0]) as f64 / interval).collect())
    }
}

/// An entry of the lower bound's table, as it lies there.
pub struct Bound {
    key: [u8; 16],
    value: [u8; 48],
}

impl Bound {
    /// A flow of TCP from `client` to `service`, sent on to `server` by these Ethernet addresses.
    pub fn new(
        client: (Ipv4Addr, u16),
        service: (Ipv4Addr, u16),
        server: (Ipv4Addr, u16),
        ethernet: &[u8; 12],
    ) -> Self {
        let words = |to: (Ipv4Addr, u16)| {
            let mut bytes = [0; 12];
            bytes[..4].copy_from_slice(&client.0.octets());
            bytes[4..8].copy_from_slice(&to.0.octets());
            bytes[8..10].copy_from_slice(&client.1.to_be_bytes());
            bytes[10..].copy_from_slice(&to.1.to_be_bytes());
            bytes
        };
        let (before, after) = (words(service), words(server));
        // A checksum is an inverted sum: of the old words it is what takes them out.
        let delta = |len: usize| {
            let added = checksum(&after[..len]).get();
            let sum = u32::from(checksum(&before[..len]).get()) + u32::from(!added);
            ((sum & 0xffff) + (sum >> 16)) as u16
        };
        let (mut key, mut value) = ([0; 16], [0; 48]);
        key[..12].copy_from_slice(&before);
        key[12..].copy_from_slice(&6_u32.to_ne_bytes());
        value[..12].copy_from_slice(&after);
        value[12..14].copy_from_slice(&delta(8).to_be_bytes());
        value[14..16].copy_from_slice(&delta(12).to_be_bytes());
        value[16..28].copy_from_slice(ethernet);
        Self { key, value }
    }
}

/// A program of an object.
///
/// # Errors
///
/// When there is none of that name.
pub fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name).with_context(|| format!("program {name}"))?;
    Ok(program.try_into()?)
}
