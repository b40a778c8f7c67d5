//! The kernel's tables as bytes, read through their pins without asking the daemon: whether a
//! daemon that died and came back has changed any.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, Map, MapData};
use redirector_common::family::{Endpoint4, Tuple4};
use redirector_common::flow::Flow;
use redirector_common::wire::{DeviceLine, Origin, ServerLine};

/// Tables that say where flows go. None of them may change by a restart.
const WORDS: &str = "ASSOCIATIONS";
const SERVER_LINES: &str = "SERVERS";
const DEVICE_LINES: &str = "DEVICES";
const SERVICES: &str = "SERVICES4";
const ORIGINS: &str = "ORIGINS4";
const FLOWS: &str = "FLOWS4";
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
            tables.desired.insert(format!("{SERVICES} {key:02x?}"), value);
        }
        for (key, value) in hash::<ENDPOINT, { size_of::<Origin>() }>(pins, ORIGINS)? {
            tables.desired.insert(format!("{ORIGINS} {key:02x?}"), value);
        }
        tables.flows = hash::<{ size_of::<Tuple4>() }, { size_of::<Flow>() }>(pins, FLOWS)?
            .into_keys()
            .collect();
        Ok(tables)
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
            into.insert(format!("{name}[{index}]"), line.to_vec());
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
