//! What the tables should hold, in bytes, worked out from the desired state without the daemon's
//! own writer: for comparing with what they do hold.
//!
//! Ways to servers (next hops) are measured, not desired, and stay out of it; so do lines that
//! nothing refers to any more.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Result, bail};
use redirector_common::family::{Family, V4};
use redirector_common::flow::Flow;
use redirector_common::order::{Be16, Be32};
use redirector_common::wire::{
    Association, DEVICE_AFFINITY, DEVICE_STATELESS, DeviceLine, Hop, Origin, ServerLine, ServerWord,
};
use redirector_ctl::core::image::Image;
use redirector_ctl::core::observed::Observed;
use redirector_ctl::core::op::{DeviceSettings, Endpoint, ServerState};
use redirector_ctl::core::spec::Spec;
use zerocopy::IntoBytes;

use super::tables::{self, Tables, Words};

/// What differs between the tables pinned below `pins` and those that `spec` asks for, in words.
///
/// # Errors
/// When a table cannot be read, or the spec has what no lab has (IPv6).
pub fn differences(pins: &Path, spec: &Spec) -> Result<Vec<String>> {
    let image = Image::of(spec, &Observed::default());
    let bank = Words::open(pins)?.bank()?;
    let expected = bytes(&image, bank)?;
    let mut found = Tables::read(pins)?.desired;
    found.retain(|name, line| keep(name, line, &image, bank));
    let found = Tables { desired: found, flows: Vec::new() };
    Ok(found.differences_from(&Tables { desired: expected, flows: Vec::new() }))
}

/// Clients that the spec has on a server of their own and the table of clients has not, in words.
///
/// # Errors
/// As [`differences`].
pub fn clients_not_held(pins: &Path, spec: &Spec) -> Result<Vec<String>> {
    let found = tables::clients(pins)?;
    let mut missing = Vec::new();
    for (device, hold) in spec.client_holds() {
        let key = V4::client_key(Be32::new(v4(hold.client)?.into()), hold.device);
        let owner = found.get(key.as_bytes()).map(owner);
        let held = (hold.device, hold.server, hold.epoch, hold.incarnation);
        let is_held = owner == Some(held);
        if !is_held {
            let client = hold.client;
            missing.push(format!("client {client} of {device} is not on {}", hold.server));
        }
    }
    Ok(missing)
}

/// Device, server, epoch and incarnation of an entry.
fn owner(entry: &Flow) -> (u32, u16, u16, u32) {
    let (identity, life) = (entry.word_at(0), entry.word_at(1));
    (identity as u32, (identity >> 32) as u16, (identity >> 48) as u16, life as u32)
}

/// The whole content as bytes, by table and key.
fn bytes(image: &Image, bank: u32) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut all = BTreeMap::new();
    for (id, word) in &image.words {
        let word =
            Association::new(word.server, word.previous, word.backup, word.epoch, word.epochs_open);
        if word != Association::NONE {
            all.insert(tables::association(id * 2 + bank), word.as_bytes().to_vec());
        }
    }
    for (id, server) in &image.servers {
        let state = match server.state {
            ServerState::Absent => ServerWord::ABSENT,
            ServerState::Alive => ServerWord::alive(server.incarnation),
            ServerState::Dead => ServerWord::dead(server.incarnation),
        };
        let address = address(server.address)?;
        let line = ServerLine { state, next_hop: Hop::UNKNOWN, address, family: 4, pad: [0; 3] };
        all.insert(tables::server(*id), line.as_bytes().to_vec());
    }
    for (id, settings) in &image.devices {
        all.insert(tables::device(*id), device_line(settings)?.as_bytes().to_vec());
    }
    for (endpoint, device) in &image.services {
        all.insert(tables::service(key(endpoint)?.as_bytes()), device.to_ne_bytes().to_vec());
    }
    for (endpoint, (device, server)) in &image.returns {
        let origin = Origin { device: *device, server: *server, pad: 0 };
        all.insert(tables::origin(key(endpoint)?.as_bytes()), origin.as_bytes().to_vec());
    }
    Ok(all)
}

/// Takes out of what was read what is not desired state. True where something is left.
fn keep(name: &str, line: &mut [u8], image: &Image, bank: u32) -> bool {
    if let Some(index) = tables::index_of_association(name) {
        return index % 2 == bank;
    }
    if let Some(id) = tables::index_of_device(name) {
        return image.devices.contains_key(&id);
    }
    if tables::is_server(name) {
        line[size_of::<ServerWord>()..][..size_of::<Hop>()].fill(0);
        return !line.starts_with(ServerWord::ABSENT.as_bytes());
    }
    true
}

fn device_line(settings: &DeviceSettings) -> Result<DeviceLine> {
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    Ok(DeviceLine {
        address: address(settings.address)?,
        port: Be16::new(settings.port),
        port_last: Be16::new(settings.port_last),
        server_port: Be16::new(settings.server_port),
        mss_max: Be16::new(settings.mss_max),
        protocol: settings.protocol,
        forwarding: settings.forwarding as u8,
        flags: flag(settings.stateless, DEVICE_STATELESS)
            | flag(settings.affinity, DEVICE_AFFINITY),
        ..DeviceLine::default()
    })
}

fn key(endpoint: &Endpoint) -> Result<<V4 as Family>::Endpoint> {
    let address = Be32::new(v4(endpoint.address)?.into());
    Ok(V4::endpoint(address, Be16::new(endpoint.port), endpoint.protocol))
}

/// An address as it lies in a line.
fn address(address: IpAddr) -> Result<[u8; 16]> {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&v4(address)?.octets());
    Ok(bytes)
}

fn v4(address: IpAddr) -> Result<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => bail!("{address} is IPv6, which this reader does not know"),
    }
}
