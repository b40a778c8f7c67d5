//! Programs under test, with their devices and proven flows in place.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use aya::maps::{HashMap, MapData, MapInfo};
use aya::programs::ProgramFd;
use redirector_common::flow::{FLOW_WORDS, Flow, Owner};
use redirector_common::headers::PROTOCOL_UDP;
use redirector_common::order::Be16;
use redirector_common::tcp::{ACK, SYN};
use redirector_common::wire::{Forwarding, Hop, MARK_SERVICE, MARK_TRACKED};
use redirector_ctl::core::op::{Endpoint, Op};
use redirector_ctl::platform::bpf::TableLimits;

use super::driver::{Driver, Shape, Traffic};
use super::frames::{Way, client};
use crate::data_path::packets::CLIENT_MAC;
use crate::data_path::program::{Program, settled_tick};
use crate::data_path::{
    INGRESS, SERVICE_PORT, TCP, TestDevice, Version, device_ip, gateway, on, server_ip,
    server_port, servers,
};

/// Flows that are opened before their openings are answered: fewer than there are candidates.
const CHUNK: u64 = 16_384;
/// Servers of every program.
const SERVERS: u16 = 2;

/// The device whose packets are rewritten one way.
pub const NAT: u32 = 0;
/// The same for UDP.
pub const DATAGRAMS: u32 = 1;
/// The device whose servers own the service address.
pub const DSR: u32 = 2;
/// The device reached by IP in IP.
pub const IPIP: u32 = 3;
/// The device reached by GUE.
pub const GUE: u32 = 4;
/// The device whose packets are rewritten both ways.
pub const FULL_NAT: u32 = 5;
/// The device without entries.
pub const STATELESS: u32 = 6;

/// A program with its devices.
pub struct Subject {
    /// The program and its tables.
    pub program: Program,
    version: Version,
}

impl Subject {
    /// Loads a program with one device of each kind.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn new(version: Version, limits: &TableLimits) -> Result<Self> {
        let mut program = Program::load_here(limits)?;
        program.apply(&servers(version, SERVERS))?;
        for device in [
            TestDevice::new(version, NAT, TCP, Forwarding::Nat),
            TestDevice::new(version, DATAGRAMS, PROTOCOL_UDP, Forwarding::Nat),
            TestDevice::new(version, DSR, TCP, Forwarding::Dsr),
            TestDevice::new(version, IPIP, TCP, Forwarding::Ipip),
            TestDevice::new(version, GUE, TCP, Forwarding::Gue),
            TestDevice::new(version, FULL_NAT, TCP, Forwarding::FullNat),
            TestDevice::new(version, STATELESS, TCP, Forwarding::Nat).stateless(),
        ] {
            program.apply(&device.ops(SERVERS, version))?;
        }
        Ok(Self { program, version })
    }

    /// Lets so many entries be made for new flows in a second.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn limit(&mut self, new_flows_per_second_max: u64) -> Result<()> {
        let gateway =
            redirector_ctl::platform::tables::Gateway { new_flows_per_second_max, ..gateway() };
        Ok(self.program.tables.set_gateway(&gateway)?)
    }

    /// The loaded program.
    ///
    /// # Errors
    ///
    /// When it is not loaded.
    pub fn fd(&self) -> Result<&ProgramFd> {
        Ok(self.program.runner().xdp()?.fd()?)
    }

    /// The way to a device.
    pub fn way(&self, device: u32) -> Way {
        let far = SocketAddr::new(device_ip(self.version, device), SERVICE_PORT);
        Way { far, protocol: if device == DATAGRAMS { PROTOCOL_UDP } else { TCP } }
    }

    /// The way back from a device's server.
    pub fn way_back(&self, device: u32) -> Way {
        let far = SocketAddr::new(server_ip(self.version, 1), server_port(device));
        Way { far, ..self.way(device) }
    }

    /// Proves flows of a device, by packets as clients and servers send them.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn prove(&self, driver: &mut Driver, device: u32, flows: u64) -> Result<()> {
        let way = self.way(device);
        // The servers of some are not seen answering: a client that goes on proves its flow.
        let back = if matches!(device, DSR | IPIP | GUE) { way } else { self.way_back(device) };
        match device {
            FULL_NAT => self.prove_by_hand(flows),
            _ => prove_flows(driver, self.fd()?, (&way, &back), flows),
        }
    }

    /// The server of a full-NAT flow answers to where the flow's packets came from.
    fn prove_by_hand(&self, flows: u64) -> Result<()> {
        let (way, back) = (self.way(FULL_NAT), self.way_back(FULL_NAT));
        for flow in 0..flows {
            let mine = |mut frame: Vec<u8>| {
                put_client(&mut frame, client(Shape::V4, flow));
                frame
            };
            let opened = self.program.run(&mine(way.opening()))?;
            let local = local_end(&opened.frame).context("a frame with ports")?;
            self.program.run(&back.back_to(local, SYN | ACK, (500, 101)))?;
            self.program.run(&mine(way.out(ACK, (101, 501))))?;
        }
        Ok(())
    }

    /// Memory of the tables whose names begin so, by the kernel's own accounting, in bytes.
    ///
    /// # Errors
    ///
    /// When the kernel does not tell.
    pub fn memory(&self, name: &str) -> Result<u64> {
        let mut bytes = 0;
        for id in self.map_ids()? {
            let info = MapInfo::from_id(id)?;
            if info.name_as_str().is_some_and(|of| of.starts_with(name)) {
                bytes += memlock(&MapData::from_id(id)?)?;
            }
        }
        Ok(bytes)
    }

    fn map_ids(&self) -> Result<Vec<u32>> {
        let ids = self.program.runner().xdp()?.info()?.map_ids()?;
        ids.context("this kernel does not tell which tables a program has")
    }

    /// A table by name.
    fn map(&self, name: &str) -> Result<MapData> {
        for id in self.map_ids()? {
            if MapInfo::from_id(id)?.name_as_str() == Some(name) {
                return Ok(MapData::from_id(id)?);
            }
        }
        anyhow::bail!("the program has no table {name}")
    }
}

/// Proves flows by packets of their clients out and of their servers back, or of the clients alone
/// where both ways are one.
///
/// # Errors
///
/// When the kernel refuses.
pub fn prove_flows(
    driver: &mut Driver,
    program: &ProgramFd,
    (way, back): (&Way, &Way),
    flows: u64,
) -> Result<()> {
    let answer = if way.far == back.far {
        (way.out(ACK, (101, 501)), way.shape())
    } else {
        (back.back(SYN | ACK, (500, 101)), way.shape_back())
    };
    let opening = (way.opening(), way.shape());
    let proof = (way.out(ACK, (101, if way.far == back.far { 502 } else { 501 })), way.shape());
    let said = [opening, answer, proof];
    let chunk = flows.min(CHUNK);
    for first in (0..flows).step_by(CHUNK as usize) {
        for (frame, shape) in &said {
            let traffic = Traffic {
                first,
                in_order: true,
                packets: chunk as u32,
                ..Traffic::new(frame.clone(), *shape, chunk)
            };
            driver.drive(program, &traffic)?;
        }
    }
    Ok(())
}

fn memlock(map: &MapData) -> Result<u64> {
    use std::os::fd::{AsFd as _, AsRawFd as _};
    let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    Ok(line.context("a map's memlock")?.trim().parse()?)
}

/// Replaces the client's end of an IPv4 frame and mends the header's checksum.
pub(super) fn put_client(frame: &mut [u8], client: SocketAddr) {
    let IpAddr::V4(address) = client.ip() else { return };
    frame[26..30].copy_from_slice(&address.octets());
    frame[34..36].copy_from_slice(&client.port().to_be_bytes());
    frame[24..26].fill(0);
    let sum = redirector_common::checksum::checksum(&frame[14..34]).get();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// The source of an IPv4 frame with ports.
fn local_end(frame: &[u8]) -> Option<SocketAddr> {
    let address: [u8; 4] = frame.get(26..30)?.try_into().ok()?;
    let port: [u8; 2] = frame.get(34..36)?.try_into().ok()?;
    Some(SocketAddr::new(Ipv4Addr::from(address).into(), u16::from_be_bytes(port)))
}

/// Devices of one service address; as in the driver program.
const DEVICES_PER_ADDRESS: u32 = 1024;
/// Many devices, as the driver spreads flows over them: by 12.0.0.0 and ports from 10,000.
pub const DEVICES_MAX: u32 = 100_000;

/// The service address of a device of many.
pub fn spread_service(device: u32) -> (Ipv4Addr, u16) {
    let address = u32::from(Ipv4Addr::new(12, 0, 0, 0)) + device / DEVICES_PER_ADDRESS;
    (address.into(), 10_000 + (device % DEVICES_PER_ADDRESS) as u16)
}

/// A program with [`DEVICES_MAX`] devices, tracked or not.
///
/// # Errors
///
/// When the kernel refuses.
pub fn many_devices(tracked: bool) -> Result<Subject> {
    let limits = TableLimits { devices_max: 131_072, flows_max: 1 << 20, ..TableLimits::default() };
    let mut program = Program::load_here(&limits)?;
    program.apply(&servers(Version::V4, SERVERS))?;
    for id in 0..DEVICES_MAX {
        let (address, port) = spread_service(id);
        let device = TestDevice::new(Version::V4, id % DEVICES_PER_ADDRESS, TCP, Forwarding::Nat);
        let mut settings = device.settings;
        (settings.address, settings.port, settings.port_last) = (address.into(), port, port);
        settings.stateless = !tracked;
        let marks = MARK_SERVICE | if tracked { MARK_TRACKED } else { 0 };
        let service = Endpoint { address: address.into(), port, protocol: TCP };
        let mut ops = vec![
            Op::SetDevice { id, settings },
            Op::CommitAssociations { words: vec![(id, on(1))] },
            Op::AddService { service, device: id },
        ];
        if id % DEVICES_PER_ADDRESS == 0 {
            ops.push(Op::SetMarks { address: address.into(), marks });
        }
        program.apply(&ops)?;
    }
    Ok(Subject { program, version: Version::V4 })
}

impl Subject {
    /// Enters proven flows, spread over `devices` devices as the driver spreads them.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn enter_spread(&self, flows: u32, devices: u32) -> Result<()> {
        let map = aya::maps::Map::HashMap(self.map("FLOWS4")?);
        let mut table: HashMap<_, [u8; 16], [u64; FLOW_WORDS]> = HashMap::try_from(map)?;
        let now = settled_tick()?;
        for number in 0..flows {
            let spread = u64::from(number.wrapping_mul(0x9e37_79b1));
            let device = ((spread * u64::from(devices)) >> 32) as u32;
            let owner = Owner {
                device,
                server: 1,
                epoch: 1,
                incarnation: 1,
                server_port: Be16::new(server_port(device % DEVICES_PER_ADDRESS)),
                forwarding: Forwarding::Nat as u8,
            };
            let flow = Flow::new(owner, Hop::new(CLIENT_MAC, INGRESS), now);
            let words = std::array::from_fn(|word| flow.word_at(word));
            let (address, port) = spread_service(device);
            let near = client(Shape::V4, u64::from(number));
            let IpAddr::V4(near_address) = near.ip() else { continue };
            let mut key = [0; 16];
            key[..4].copy_from_slice(&near_address.octets());
            key[4..8].copy_from_slice(&address.octets());
            key[8..10].copy_from_slice(&near.port().to_be_bytes());
            key[10..12].copy_from_slice(&port.to_be_bytes());
            key[12] = TCP;
            table.insert(key, words, 0)?;
        }
        ensure!(flows > 0, "no flows");
        Ok(())
    }
}
