//! Floods from ever new sources against proven flows (G4): none of these is lost or moved, and who
//! comes anew is served.
//!
//! The flood also hits the addresses and ports of the proven flows themselves. Their device is
//! moved before it begins, so that a flow whose entry is lost would be seen on the other server.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use redirector_common::tcp::{ACK, PSH, SYN};
use redirector_ctl::core::op::{AssociationWord, Op};
use redirector_ctl::platform::bpf::{RecorderLimits, TableLimits};
use redirector_ctl::platform::clock::monotonic_ns;
use redirector_ctl::platform::tables::{FlowCensus, IdleTimes, Sweep};

use super::Outcome;
use crate::bench::driver::{Driver, Shape, Traffic};
use crate::bench::frames;
use crate::bench::routed_namespace;
use crate::data_path::packets::{Packet, from_client};
use crate::data_path::program::Program;
use crate::data_path::{
    SERVICE_PORT, TCP, UDP, device_address, server_address, server_port, topology,
};
use crate::report::Row;
use crate::run::Run;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// TCP segments that open a conversation.
    Syn,
    /// TCP segments in the middle of one.
    Ack,
    /// UDP datagrams.
    Udp,
}

impl Sort {
    /// Name of the row.
    pub fn name(self) -> &'static str {
        match self {
            Self::Syn => "flood_syn",
            Self::Ack => "flood_ack",
            Self::Udp => "flood_udp",
        }
    }

    fn protocol(self) -> u8 {
        if self == Self::Udp { UDP } else { TCP }
    }
}

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Packets of the flood.
    pub packets: u64,
    /// Sources of the flood, a power of two.
    pub sources: u64,
    /// Proven flows.
    pub live: u64,
    /// Packets between two packets of a client that comes anew.
    pub slice: u32,
    /// Sizes of the tables.
    pub limits: TableLimits,
}

impl Size {
    /// For figures.
    pub const LARGE: Self = Self {
        packets: 10_000_000,
        sources: 1 << 24,
        live: 100_000,
        slice: 40_000,
        limits: TableLimits {
            devices_max: 16,
            servers_max: 16,
            flows_max: 262_144,
            candidates_max: 65_536,
            clients_max: 1024,
            fragments_max: 1024,
            paths_max: 65_536,
            recorder: RecorderLimits::DEFAULT,
        },
    };
    /// For a test.
    pub const SMALL: Self = Self {
        packets: 200_000,
        sources: 1 << 18,
        live: 10_000,
        slice: 5_000,
        limits: TableLimits { flows_max: 16_384, candidates_max: 16_384, ..Self::LARGE.limits },
    };
}

/// Floods, and checks every flow afterwards.
///
/// # Errors
/// When the program cannot be loaded or run (needs root).
pub fn run(sort: Sort, size: Size) -> Result<Outcome> {
    let run = Run::new()?;
    routed_namespace(&run)?.enter(|| Flood::begin(sort, size)?.finish())
}

/// A flow's client by its number, as the driver makes them.
fn client(flow: u64) -> (Ipv4Addr, u16) {
    match frames::client(Shape::V4, flow) {
        SocketAddr::V4(client) => (*client.ip(), client.port()),
        SocketAddr::V6(client) => unreachable!("{client} is no IPv4 client"),
    }
}

/// Where the flows were opened, and where a new decision would send them.
const OLD: u16 = 1;
const NEW: u16 = 2;

struct Flood {
    sort: Sort,
    size: Size,
    program: Program,
    violations: Vec<String>,
    served: u64,
}

impl Flood {
    /// Loads the program, opens and proves the flows, and moves their device.
    fn begin(sort: Sort, size: Size) -> Result<Self> {
        let mut program = Program::load_here(&size.limits)?;
        program.apply(&topology(4, 2, sort.protocol()))?;
        let mut flood = Self { sort, size, program, violations: Vec::new(), served: 0 };
        for flow in 0..size.live {
            let client = client(flow);
            flood.run(&flood.asks(client, SYN, (100, 0)))?;
            flood.run(&flood.answers(client, OLD, SYN | ACK, (500, 101)))?;
            flood.run(&flood.asks(client, ACK, (101, 501)))?;
        }
        let word =
            AssociationWord { server: NEW, previous: 0, backup: 0, epoch: 2, epochs_open: 1 };
        flood.program.apply(&[Op::CommitAssociations { words: vec![(0, word)] }])?;
        let proven = flood.census()?.flows_len;
        anyhow::ensure!(proven == size.live, "{proven} of {} flows were proven", size.live);
        Ok(flood)
    }

    fn finish(mut self) -> Result<Outcome> {
        let rate = self.flood()?;
        self.check_live()?;
        self.serve_anew((Ipv4Addr::new(10, 1, 9, 1), 1000), |_| Ok(()))?;
        let census = self.census()?;
        self.check_bounds(&census);
        let Self { sort, size, violations, served, .. } = self;
        let name = sort.name();
        let row = Row::promise(name, "packets", size.packets, violations.len() as u64);
        let note = format!(
            "{name}: {} flows each on its server, {served} new conversations served meanwhile, \
             {} flows and {} candidates in the tables, {rate:.2} million packets a second",
            size.live, census.flows_len, census.candidates_len
        );
        let violations = violations.into_iter().map(|what| format!("{name}: {what}")).collect();
        Ok(Outcome { rows: vec![row], violations, notes: vec![note] })
    }

    /// Sends the flood, with the packets of clients that come anew in between. Gives millions of
    /// packets a second.
    fn flood(&mut self) -> Result<f64> {
        let frame = self.asks(client(0), self.flags(), (7, 9)).bytes();
        let traffic = Traffic::new(frame, Shape::V4, self.size.sources);
        let mut driver = Driver::load()?;
        let target = self.program.runner().xdp()?.fd()?.try_clone()?;
        let frame = driver.aim(&target, &traffic)?;
        let (mut left, mut spent_ns, mut newcomers) = (self.size.packets, 0, 0_u16);
        while left > 0 {
            newcomers += 1;
            let newcomer = (Ipv4Addr::new(10, 1, 9, 2), 1000 + newcomers);
            let slice = u64::from(self.size.slice);
            self.serve_anew(newcomer, |_| {
                let packets = left.min(slice);
                let began = monotonic_ns();
                driver.run(&frame, packets as u32)?;
                spent_ns += monotonic_ns() - began;
                left -= packets;
                Ok(())
            })?;
        }
        Ok(self.size.packets as f64 * 1000.0 / spent_ns as f64)
    }

    fn flags(&self) -> u8 {
        if self.sort == Sort::Syn { SYN } else { ACK }
    }

    /// A client's whole conversation; `meanwhile` is what happens between its first packets.
    fn serve_anew(
        &mut self,
        client: (Ipv4Addr, u16),
        mut meanwhile: impl FnMut(&Self) -> Result<()>,
    ) -> Result<()> {
        let mut steps = vec![self.to_server(self.asks(client, SYN, (100, 0)), NEW)?];
        meanwhile(self)?;
        steps.push(self.to_client(self.answers(client, NEW, SYN | ACK, (500, 101)), client)?);
        meanwhile(self)?;
        steps.push(self.to_server(self.asks(client, ACK, (101, 501)), NEW)?);
        steps.push(self.to_server(self.asks(client, ACK | PSH, (101, 501)), NEW)?);
        steps.push(self.to_client(self.answers(client, NEW, ACK | PSH, (501, 101)), client)?);
        steps.push(self.to_server(self.asks(client, ACK, (101, 501)), NEW)?);
        let wrong: Vec<_> = steps.into_iter().flatten().collect();
        if wrong.is_empty() {
            self.served += 1;
        } else {
            self.violations.push(format!("{client:?} came anew: {}", wrong.join("; ")));
        }
        Ok(())
    }

    /// Every proven flow is on its server, both ways.
    fn check_live(&mut self) -> Result<()> {
        for flow in 0..self.size.live {
            let client = client(flow);
            let there = self.to_server(self.asks(client, ACK, (101, 501)), OLD)?;
            let back = self.to_client(self.answers(client, OLD, ACK, (501, 101)), client)?;
            self.violations.extend(there.into_iter().chain(back));
        }
        Ok(())
    }

    fn check_bounds(&mut self, census: &FlowCensus) {
        // Both families have tables of these sizes; only one is used.
        let limits = &self.size.limits;
        let expected = self.size.live..=self.size.live + self.served;
        if !expected.contains(&census.flows_len) {
            self.violations.push(format!("{} proven flows, not {expected:?}", census.flows_len));
        }
        if census.candidates_len > u64::from(limits.candidates_max) {
            self.violations.push(format!("{} candidates", census.candidates_len));
        }
    }

    fn asks(&self, client: (Ipv4Addr, u16), flags: u8, numbers: (u32, u32)) -> Packet {
        let packet = from_client(client, (device_address(0), SERVICE_PORT), flags, numbers);
        if self.sort == Sort::Udp { packet.as_udp() } else { packet }
    }

    fn answers(&self, client: (Ipv4Addr, u16), server: u16, flags: u8, n: (u32, u32)) -> Packet {
        self.asks(client, ACK, (0, 0)).answer((server_address(server), server_port(0)), flags, n)
    }

    fn run(&self, packet: &Packet) -> Result<Packet> {
        let outcome = self.program.run(&packet.bytes())?;
        Packet::read(&outcome.frame).map_err(anyhow::Error::msg)
    }

    /// What is wrong if a client's packet does not go to `server`.
    fn to_server(&self, packet: Packet, server: u16) -> Result<Option<String>> {
        let left = self.run(&packet)?;
        let expected = (server_address(server), server_port(0));
        let wrong = left.destination != expected || left.source != packet.source;
        Ok(wrong.then(|| format!("{:?} went to {:?}", packet.source, left.destination)))
    }

    /// What is wrong if a server's packet does not go to `client` from the service address.
    fn to_client(&self, packet: Packet, client: (Ipv4Addr, u16)) -> Result<Option<String>> {
        let left = self.run(&packet)?;
        let expected = (device_address(0), SERVICE_PORT);
        let wrong = left.source != expected || left.destination != client;
        Ok(wrong.then(|| format!("{client:?} was answered from {:?}", left.source)))
    }

    fn census(&mut self) -> Result<FlowCensus> {
        let never = IdleTimes { tcp_ms: u64::from(u32::MAX), other_ms: u64::from(u32::MAX) };
        let sweep = Sweep {
            now_ns: monotonic_ns(),
            idle: never,
            idle_of: Default::default(),
            draining: Default::default(),
            closing_ms: u64::from(u32::MAX),
        };
        self.program.tables.sweep_flows(&sweep).context("count the flows")
    }
}
