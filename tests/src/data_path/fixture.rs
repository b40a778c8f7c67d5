//! Cases of packets in and packets out, as text files (`tests/fixtures/packets`).
//!
//! A case is a block of lines, and runs for each family that it names, on tables of its own:
//!
//! | line | meaning |
//! |---|---|
//! | `case SENTENCE` | begins a case |
//! | `for v4 v6` | the families; both without this line |
//! | `device ID MODE PROTOCOL ..` | on server 1: `ports A-B`, `to PORT`, `stateless`.. |
//! | `servers v4`, `servers v6` | the family of the servers' addresses, for tunnels |
//! | `gateway ..` | `mtu N`, `ports A-B`, `no-locals`, `new_flows N`, `answers N` |
//! | `headroom N` | bytes by which frames can grow |
//! | `op ..` | a change of the tables, as below |
//! | `in FRAME` | a packet, in the words of [`super::text`] |
//! | `out ACTION REASON [FRAME]` | what becomes of it; `same` for unchanged |
//! | `wait tick` | until the tables' clock moves |
//! | `spent new_flows`, `spent answers` | the rate is used up from here on |
//!
//! Ops: `server ID alive|dead|absent [LIFE]`, `device ID on SERVER [previous N] [backup N]
//! [epoch N]
//! [open N]`, `hop ID none`, `hop ID via N` (position of the interface), `tracked ID`,
//! `service ID` (a service address without a device line).
//!
//! There are four servers. Interfaces: 0 is where packets come in, 1 another one, 2 and 3 have VLAN
//! 5, and VLAN 8 in VLAN 7, where packets come in. The kernel's routing table has clients 1 to 3
//! behind interface 1, and client 4 there without a neighbour.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use redirector_common::verdict::Reason;
use redirector_common::wire::{Forwarding, Tags};
use redirector_ctl::core::op::Op;
use redirector_ctl::platform::tables::{Gateway, GatewayInterface};

use super::text;
use super::{DROP, GATEWAY_MAC, INGRESS, PASS, REDIRECT, TX, TestDevice, Version};

mod read;

/// Index of the second interface.
pub const OTHER_INTERFACE: u16 = 30;

/// A case for one family.
#[derive(Debug, Clone)]
pub struct Case {
    /// File and line in which it begins.
    pub place: String,
    /// What it shows.
    pub name: String,
    /// Family.
    pub version: Version,
    /// Devices, in the order of their lines.
    pub devices: Vec<TestDevice>,
    /// Family of the servers' addresses.
    pub servers: Version,
    /// The gateway.
    pub gateway: Gateway,
    /// Bytes by which frames can grow, if not as many as usual.
    pub headroom: Option<usize>,
    /// What happens, one after another.
    pub steps: Vec<Step>,
}

/// What happens in a case.
#[derive(Debug, Clone)]
pub enum Step {
    /// A change of the tables.
    Apply(Op),
    /// The tables' clock moves.
    WaitTick,
    /// No more new flows get an entry.
    NewFlowsSpent,
    /// No more packets are answered.
    AnswersSpent,
    /// A packet comes in.
    Packet(Box<Exchange>),
}

/// A packet in, and what is to become of it.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// Line of the packet.
    pub line: usize,
    /// The packet.
    pub frame: Vec<u8>,
    /// XDP action by number.
    pub action: u32,
    /// Reason.
    pub reason: Reason,
    /// The packet out, if it is told.
    pub expected: Option<Vec<u8>>,
}

impl Case {
    /// The exchanges.
    pub fn exchanges(&self) -> impl Iterator<Item = &Exchange> {
        self.steps.iter().filter_map(|step| match step {
            Step::Packet(exchange) => Some(exchange.as_ref()),
            _ => None,
        })
    }
}

/// Where the cases are.
pub fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/packets")
}

/// The cases of a file in [`dir`].
///
/// # Errors
///
/// File, line and what is wrong there.
pub fn cases(file: &str) -> Result<Vec<Case>> {
    let path = dir().join(file);
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    read::cases(file, &text)
}

/// Every case there is.
///
/// # Errors
///
/// As of [`cases`].
pub fn all() -> Result<Vec<Case>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir()).context("list the fixtures")? {
        files.push(entry?.file_name().to_string_lossy().into_owned());
    }
    files.sort();
    let mut all = Vec::new();
    for file in files {
        all.extend(cases(&file)?);
    }
    Ok(all)
}

/// The gateway that cases begin with.
fn gateway() -> Gateway {
    let mut gateway = Gateway { local_ports: (2000, 2000), ..super::gateway() };
    let interface = |index: u16, carrier: u16, tags: Tags| GatewayInterface {
        index,
        carrier,
        mac: GATEWAY_MAC,
        tags,
        mtu: 1500,
        address_v4: Some(super::GATEWAY_V4),
        address_v6: Some(super::GATEWAY_V6),
    };
    gateway.interfaces.extend([
        interface(OTHER_INTERFACE, OTHER_INTERFACE, Tags::NONE),
        interface(20, INGRESS, Tags::one(5)),
        interface(21, INGRESS, Tags::two(7, 8)),
    ]);
    gateway
}

fn action(word: &str) -> Option<u32> {
    match word {
        "drop" => Some(DROP),
        "pass" => Some(PASS),
        "tx" => Some(TX),
        "redirect" => Some(REDIRECT),
        _ => None,
    }
}

fn forwarding(word: &str) -> Option<Forwarding> {
    match word {
        "nat" => Some(Forwarding::Nat),
        "full-nat" => Some(Forwarding::FullNat),
        "dsr" => Some(Forwarding::Dsr),
        "ipip" => Some(Forwarding::Ipip),
        "gue" => Some(Forwarding::Gue),
        _ => None,
    }
}

fn reason(word: &str) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|reason| reason.name() == word)
}

fn frame(text: &str, version: Version) -> Result<Vec<u8>> {
    text::frame(text, version).map_err(anyhow::Error::msg)
}
