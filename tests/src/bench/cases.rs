//! The cases: which packets, over which tables.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use aya::programs::ProgramFd;
use redirector_common::tcp::{ACK, SYN};
use redirector_common::verdict::Reason;
use redirector_ctl::platform::bpf::TableLimits;

use super::driver::Traffic;
use crate::data_path::packets::{Packet, from_client};
use crate::data_path::program::Program;
use crate::data_path::{SERVICE_PORT, TCP, device_address, server_address, server_port, topology};
use crate::report::Row;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// Swap the Ethernet addresses and send back.
    FloorTx,
    /// A SYN of a flow never seen: decision, and an entry among the candidates with eviction.
    NewFlow,
    /// A client's segment, one flow.
    Tracked1,
    /// The same, 1,024 flows.
    Tracked1k,
    /// A server's segment, 1,024 flows.
    Reverse1k,
    /// A segment to an address that is none of ours.
    NotOurs,
    /// Ask the kernel's routing table for the way to the client: what remembering it saves.
    FibLookup,
}

const FLOWS_1K: u64 = 1024;
const FLOWS_NEW: u64 = 1 << 20;

impl Case {
    /// In the order of the report.
    pub const ALL: [Self; 7] = [
        Self::FloorTx,
        Self::NewFlow,
        Self::Tracked1,
        Self::Tracked1k,
        Self::Reverse1k,
        Self::NotOurs,
        Self::FibLookup,
    ];

    /// The stable name of the row.
    pub fn name(self) -> &'static str {
        match self {
            Self::FloorTx => "floor_tx",
            Self::NewFlow => "new_flow_v4",
            Self::Tracked1 => "tracked_v4_1",
            Self::Tracked1k => "tracked_v4_1k",
            Self::Reverse1k => "reverse_v4_1k",
            Self::NotOurs => "not_ours",
            Self::FibLookup => "fib_lookup_v4_1k",
        }
    }

    /// The packets of the case.
    pub fn traffic(self) -> Traffic {
        let (packet, flows) = match self {
            Self::NewFlow => (segment(SYN), FLOWS_NEW),
            Self::Tracked1 => (segment(ACK), 1),
            Self::Tracked1k => (segment(ACK), FLOWS_1K),
            Self::Reverse1k | Self::FibLookup => (answer(client(0), ACK), FLOWS_1K),
            Self::FloorTx | Self::NotOurs => {
                let elsewhere = (Ipv4Addr::new(192, 0, 2, 1), 443);
                (from_client(client(0), elsewhere, ACK, (101, 501)), FLOWS_1K)
            }
        };
        Traffic {
            frame: packet.bytes(),
            flows,
            reverse: matches!(self, Self::Reverse1k | Self::FibLookup),
        }
    }

    /// The harness's own program that is measured, for floors.
    pub fn floor(self) -> Option<&'static str> {
        match self {
            Self::FloorTx => Some("floor_tx"),
            Self::FibLookup => Some("floor_fib"),
            _ => None,
        }
    }

    /// The reason under which its packets leave.
    fn reason(self) -> Option<Reason> {
        match self {
            Self::FloorTx | Self::FibLookup => None,
            Self::NewFlow => Some(Reason::Opened),
            Self::Tracked1 | Self::Tracked1k => Some(Reason::Established),
            Self::Reverse1k => Some(Reason::Returned),
            Self::NotOurs => Some(Reason::NotOurs),
        }
    }
}

/// The sizes of a daemon's default configuration.
pub fn limits() -> TableLimits {
    TableLimits::default()
}

/// A client by number, as the driver makes them.
fn client(flow: u64) -> (Ipv4Addr, u16) {
    let (further, port) = ((flow >> 14) as u16, (flow & 0x3fff) as u16);
    let [a, b] = (0x0a80 - further).to_be_bytes();
    let [c, d] = further.to_be_bytes();
    (Ipv4Addr::new(a, b, c, d), 1024 + port)
}

fn service() -> (Ipv4Addr, u16) {
    (device_address(0), SERVICE_PORT)
}

fn segment(flags: u8) -> Packet {
    from_client(client(0), service(), flags, (101, 501))
}

fn answer(to: (Ipv4Addr, u16), flags: u8) -> Packet {
    let server = (server_address(1), server_port(0));
    from_client(to, service(), ACK, (0, 0)).answer(server, flags, (500, 101))
}

/// The programs under test, with their flows in place.
pub struct Setup {
    /// One proven flow.
    one: Program,
    /// 1,024 proven flows.
    many: Program,
    /// Whose candidates are filled by new flows.
    new: Program,
}

impl Setup {
    /// Loads the programs, proves their flows, and checks that each case meets the reason it is
    /// named for.
    ///
    /// # Errors
    ///
    /// When the kernel refuses or a packet leaves under another reason.
    pub fn new() -> Result<Self> {
        let setup = Self { one: program(1)?, many: program(FLOWS_1K)?, new: program(0)? };
        for case in Case::ALL {
            let Some(expected) = case.reason() else { continue };
            let (_, met) = setup.program(case).explain(&case.traffic().frame)?;
            ensure!(met == expected, "{} leaves under {}", case.name(), met.name());
        }
        Ok(setup)
    }

    fn program(&self, case: Case) -> &Program {
        match case {
            Case::Tracked1 => &self.one,
            Case::NewFlow => &self.new,
            _ => &self.many,
        }
    }

    /// The program of a case.
    ///
    /// # Errors
    ///
    /// When it is not loaded.
    pub fn program_for(&self, case: Case) -> Result<&ProgramFd> {
        Ok(self.program(case).runner().xdp()?.fd()?)
    }

    /// How many instructions the verifier walked.
    ///
    /// # Errors
    ///
    /// When the kernel does not tell.
    pub fn instructions(&self) -> Result<Row> {
        let count = super::verified(self.many.runner().xdp()?)?;
        Ok(Row::samples("instructions_verified", "instructions", &[f64::from(count)]))
    }
}

/// A program with `flows` proven flows.
fn program(flows: u64) -> Result<Program> {
    let mut program = Program::load_here(&limits())?;
    program.apply(&topology(4, 2, TCP))?;
    for flow in 0..flows {
        let from = client(flow);
        program.run(&from_client(from, service(), SYN, (100, 0)).bytes())?;
        program.run(&answer(from, SYN | ACK).bytes())?;
        program.run(&from_client(from, service(), ACK, (101, 501)).bytes())?;
    }
    Ok(program)
}
