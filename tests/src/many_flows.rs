//! Very many open flows, without the clients and servers that it would take: copies of one in the
//! packet path's table.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, MapData};
use redirector_common::wire::ABI_VERSION;

use crate::wait::{self, Look};

const PROVEN_WITHIN: Duration = Duration::from_secs(10);

/// Keys and values as bytes: the key's are source, destination, ports and protocol of IPv4.
type Table = HashMap<MapData, [u8; 16], [u8; 48]>;

/// Puts `flows_len` copies of the one open flow into the table below a lab's bpffs, each of another
/// client: 16 flows each, from 172.16.0.0 on.
///
/// # Errors
/// When there is no proven flow, or the kernel refuses.
pub fn copy_flow(bpffs: &Path, flows_len: u32) -> Result<()> {
    let dir = bpffs.join(format!("redirector/abi-{ABI_VERSION}"));
    let map = MapData::from_pin(dir.join("FLOWS4")).context("the table of flows")?;
    let mut table: Table = Table::try_from(Map::HashMap(map))?;
    let key = wait::until("the flow's proof", PROVEN_WITHIN, || {
        Ok(match table.keys().next() {
            Some(key) => Look::Done(key?),
            None => Look::NotYet("no proven flow".to_owned()),
        })
    })?;
    let flow = table.get(&key, 0)?;
    for number in 0..flows_len {
        let mut other = key;
        other[..4].copy_from_slice(&(0xac10_0000 + (number >> 4)).to_be_bytes());
        other[8..10].copy_from_slice(&(1024 + (number & 15) as u16).to_be_bytes());
        table.insert(other, flow, 0)?;
    }
    Ok(())
}
