//! Empties the tables of a loaded program, so that one that took the verifier a second serves for
//! many cases.

use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, Map, MapData, MapInfo};
use redirector_common::family::{ClientKey4, ClientKey6, V4, V6};
use redirector_common::flow::Flow;
use redirector_common::path::Path;

use super::Runner;

const FLOW: usize = size_of::<Flow>();
const PATH4: usize = size_of::<Path<V4>>();
const PATH6: usize = size_of::<Path<V6>>();
const CLIENT4: usize = size_of::<ClientKey4>();
const CLIENT6: usize = size_of::<ClientKey6>();
const LINE4: usize = 64;
const LINE6: usize = 128;

/// Empties every hash table and forgets every path; arrays that the daemon writes stay.
///
/// # Errors
///
/// When a table is not there, or the kernel refuses.
pub fn empty(runner: &Runner) -> Result<()> {
    let ids = runner.xdp()?.info()?.map_ids()?.context("the kernel names a program's maps")?;
    for id in ids {
        let name = MapInfo::from_id(id)?.name_as_str().unwrap_or_default().to_owned();
        let data = MapData::from_id(id)?;
        match name.as_str() {
            "SERVICES4" => clear::<8, 4>(Map::HashMap(data)),
            "SERVICES6" => clear::<24, 4>(Map::HashMap(data)),
            "ORIGINS4" => clear::<8, 8>(Map::HashMap(data)),
            "ORIGINS6" => clear::<24, 8>(Map::HashMap(data)),
            "FLOWS4" => clear::<16, FLOW>(Map::HashMap(data)),
            "FLOWS6" => clear::<40, FLOW>(Map::HashMap(data)),
            "CANDIDATES4" => clear::<16, FLOW>(Map::LruHashMap(data)),
            "CANDIDATES6" => clear::<40, FLOW>(Map::LruHashMap(data)),
            "CLIENTS4" => clear::<CLIENT4, FLOW>(Map::HashMap(data)),
            "CLIENTS6" => clear::<CLIENT6, FLOW>(Map::HashMap(data)),
            "PORTS4" => clear::<16, 16>(Map::HashMap(data)),
            "PORTS6" => clear::<40, 40>(Map::HashMap(data)),
            "NEW_PORTS4" => clear::<16, 16>(Map::LruHashMap(data)),
            "NEW_PORTS6" => clear::<40, 40>(Map::LruHashMap(data)),
            "FRAGMENTS4" => clear::<16, PATH4>(Map::LruHashMap(data)),
            "FRAGMENTS6" => clear::<40, PATH6>(Map::LruHashMap(data)),
            "FRONT4" => zero::<LINE4>(data),
            "FRONT6" => zero::<LINE6>(data),
            _ => Ok(()),
        }
        .with_context(|| format!("empty {name}"))?;
    }
    Ok(())
}

fn clear<const K: usize, const V: usize>(map: Map) -> Result<()> {
    let mut map: HashMap<MapData, [u8; K], [u8; V]> = map.try_into()?;
    let keys = map.keys().collect::<Result<Vec<_>, _>>()?;
    for key in keys {
        map.remove(&key)?;
    }
    Ok(())
}

fn zero<const V: usize>(data: MapData) -> Result<()> {
    let mut array: Array<MapData, [u8; V]> = Map::Array(data).try_into()?;
    for index in 0..array.len() {
        array.set(index, [0; V], 0)?;
    }
    Ok(())
}
