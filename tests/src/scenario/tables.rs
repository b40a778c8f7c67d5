//! The kernel's tables as bytes, read through their pins without asking the daemon: whether a
//! daemon that died and came back has changed any.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use aya::maps::{Array, HashMap, Map, MapData};
use redirector_common::family::{ClientKey4, Endpoint4, Tuple4};
use redirector_common::flow::Flow;
use redirector_common::wire::{
    Association, CONTROL_BANK, DeviceLine, Origin, ServerLine, ServerWord,
};
use zerocopy::FromBytes as _;

/// Tables that say where flows go. None of them may change by a restart.
const CONTROL: &str = "CONTROL";
const WORDS: &str = "ASSOCIATIONS";
const SERVER_LINES: &str = "SERVERS";
const DEVICE_LINES: &str = "DEVICES";
const SERVICES: &str = "SERVICES4";
const ORIGINS: &str = "ORIGINS4";
const FLOWS: &str = "FLOWS4";
const CLIENTS: &str = "CLIENTS4";
const ENDPOINT: usize = size_of::<Endpoint4>();

/// Entries of several tables, by table and key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// What the daemon writes: service addresses, servers' endpoints, associations, servers,
    /// devices.
    pub desired: BTreeMap<String, Vec<u8>>,
    /// Keys of the flows.
    pub flows: Vec<Vec<u8>>,
}

impl Tables {
    /// Reads the tables pinned below `pins`.
    ///
    /// # Errors
    /// When a table is not there or has another layout than this reader knows.
    pub fn read(pins: &Path) -> Result<Self> {
        let mut tables = Self::default();
        array::<8>(pins, WORDS, &mut tables.desired)?;
        array::<{ size_of::<ServerLine>() }>(pins, SERVER_LINES, &mut tables.desired)?;
        array::<{ size_of::<DeviceLine>() }>(pins, DEVICE_LINES, &mut tables.desired)?;
        for (key, value) in hash::<ENDPOINT, 4>(pins, SERVICES)? {
            tables.desired.insert(service(&key), value);
        }
        for (key, value) in hash::<ENDPOINT, { size_of::<Origin>() }>(pins, ORIGINS)? {
            tables.desired.insert(origin(&key), value);
        }
        tables.flows = hash::<{ size_of::<Tuple4>() }, { size_of::<Flow>() }>(pins, FLOWS)?
            .into_keys()
            .collect();
        Ok(tables)
    }

    /// Forgets the flows that go elsewhere than to one of these service addresses, because their
    /// clients may end them at any time.
    pub fn keep_flows_to(&mut self, services: &[Ipv4Addr]) {
        // A tuple begins with the client's address, and the service's comes next.
        self.flows.retain(|tuple| services.iter().any(|to| tuple[4..8] == to.octets()));
    }

    /// What differs from `before`, in words: any entry of the desired tables, and flows that are
    /// gone.
    pub fn differences_from(&self, before: &Self) -> Vec<String> {
        let mut keys: Vec<&String> = before.desired.keys().chain(self.desired.keys()).collect();
        keys.sort();
        keys.dedup();
        let mut differences: Vec<String> = keys
            .into_iter()
            .filter(|key| before.desired.get(*key) != self.desired.get(*key))
            .map(|key| {
                let entry = |tables: &Self| format!("{:02x?}", tables.desired.get(key));
                format!("{key} was {} and is {}", entry(before), entry(self))
            })
            .collect();
        let lost = before.flows.iter().filter(|flow| !self.flows.contains(flow));
        differences.extend(lost.map(|flow| format!("the flow {flow:02x?} is gone")));
        differences
    }
}

/// The table of clients of IPv4: key -> entry.
///
/// # Errors
/// As [`Tables::read`].
pub(super) fn clients(pins: &Path) -> Result<BTreeMap<Vec<u8>, Flow>> {
    let mut clients = BTreeMap::new();
    for (key, value) in hash::<{ size_of::<ClientKey4>() }, { size_of::<Flow>() }>(pins, CLIENTS)? {
        let flow = Flow::read_from_bytes(&value);
        clients.insert(key, flow.map_err(|error| anyhow!("an entry of a client: {error:?}"))?);
    }
    Ok(clients)
}

/// What the entries are called: a word of the associations, two for each device.
pub(super) fn association(index: u32) -> String {
    line(WORDS, index)
}

/// A server's line.
pub(super) fn server(id: u16) -> String {
    line(SERVER_LINES, id.into())
}

/// A device's line.
pub(super) fn device(id: u32) -> String {
    line(DEVICE_LINES, id)
}

/// A service address.
pub(super) fn service(key: &[u8]) -> String {
    format!("{SERVICES} {key:02x?}")
}

/// A server's endpoint.
pub(super) fn origin(key: &[u8]) -> String {
    format!("{ORIGINS} {key:02x?}")
}

/// Index of a word of the associations, if that is what the name says.
pub(super) fn index_of_association(name: &str) -> Option<u32> {
    index_in(WORDS, name)
}

/// Id of a device, if that is what the name says.
pub(super) fn index_of_device(name: &str) -> Option<u32> {
    index_in(DEVICE_LINES, name)
}

/// Whether the name is of a server's line.
pub(super) fn is_server(name: &str) -> bool {
    index_in(SERVER_LINES, name).is_some()
}

fn line(table: &str, index: u32) -> String {
    format!("{table}[{index}]")
}

fn index_in(table: &str, name: &str) -> Option<u32> {
    name.strip_prefix(table)?.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Those words of the tables that change when a server dies, for looking at often.
pub struct Words {
    control: Array<MapData, [u8; 8]>,
    associations: Array<MapData, [u8; 8]>,
    servers: Array<MapData, [u8; size_of::<ServerLine>()]>,
}

impl Words {
    /// Opens the tables pinned below `pins`.
    ///
    /// # Errors
    /// When a table is not there or has another layout than this reader knows.
    pub fn open(pins: &Path) -> Result<Self> {
        let array = |name| anyhow::Ok(Map::Array(open(pins, name)?));
        Ok(Self {
            control: array(CONTROL)?.try_into().context("the layout of the control words")?,
            associations: array(WORDS)?.try_into().context("the layout of the associations")?,
            servers: array(SERVER_LINES)?.try_into().context("the layout of the servers")?,
        })
    }

    /// A server's state.
    ///
    /// # Errors
    /// When there is no such line.
    pub fn server(&self, id: u16) -> Result<ServerWord> {
        let line = self.servers.get(&id.into(), 0).with_context(|| format!("read server {id}"))?;
        let word = line.first_chunk().context("a line without a word")?;
        Ok(ServerWord(u64::from_ne_bytes(*word)))
    }

    /// A device's association, from the bank in force.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn association(&self, device: u32) -> Result<Association> {
        let index = device * 2 + self.bank()?;
        let word = self.associations.get(&index, 0);
        let word = word.with_context(|| format!("read device {device}"))?;
        Ok(Association(u64::from_ne_bytes(word)))
    }

    /// The bank of associations in force.
    ///
    /// # Errors
    /// When the kernel refuses to read.
    pub fn bank(&self) -> Result<u32> {
        let word = self.control.get(&CONTROL_BANK, 0).context("read the bank in force")?;
        Ok((u64::from_ne_bytes(word) & 1) as u32)
    }
}

fn open(pins: &Path, name: &str) -> Result<MapData> {
    let path = pins.join(name);
    MapData::from_pin(&path).with_context(|| format!("open the table {}", path.display()))
}

/// Reads the lines of an array that are not all zero.
fn array<const N: usize>(
    pins: &Path,
    name: &str,
    into: &mut BTreeMap<String, Vec<u8>>,
) -> Result<()> {
    let map = Map::Array(open(pins, name)?);
    let array: Array<MapData, [u8; N]> =
        map.try_into().with_context(|| format!("the layout of {name}"))?;
    for index in 0..array.len() {
        let line = array.get(&index, 0).with_context(|| format!("read {name}"))?;
        if line.iter().any(|byte| *byte != 0) {
            into.insert(self::line(name, index), line.to_vec());
        }
    }
    Ok(())
}

fn hash<const K: usize, const V: usize>(
    pins: &Path,
    name: &str,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let map = Map::HashMap(open(pins, name)?);
    let hash: HashMap<MapData, [u8; K], [u8; V]> =
        map.try_into().with_context(|| format!("the layout of {name}"))?;
    hash.iter()
        .map(|entry| {
            let (key, value) = entry.with_context(|| format!("read {name}"))?;
            Ok((key.to_vec(), value.to_vec()))
        })
        .collect()
}
