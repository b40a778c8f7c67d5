//! A stateless device under the real daemon: no entry while nothing moves, and no flow that loses
//! its server while the device drains, even when the entries of that time are lost.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::maps::{HashMap, Map, MapData};
use redirector_common::flow::Flow;
use redirector_common::keys::{Tuple4, Tuple6};
use redirector_common::verdict::Reason;
use redirector_common::wire::ABI_VERSION;
use redirector_tests::data_path::Version;
use redirector_tests::greeters::{Greeters, echo};
use redirector_tests::wait;

const DEADLINE: Duration = Duration::from_secs(20);
const FLOW_LEN: usize = size_of::<Flow>();

/// Takes every entry out of a pinned table of flows; gives how many there were.
fn empty<const KEY_LEN: usize>(site: &Greeters, name: &str, lru: bool) -> Result<usize> {
    let maps_dir = site.bpffs.dir().join(format!("redirector/abi-{ABI_VERSION}"));
    let map =
        MapData::from_pin(maps_dir.join(name)).with_context(|| format!("open table {name}"))?;
    let map = if lru { Map::LruHashMap(map) } else { Map::HashMap(map) };
    let mut map: HashMap<MapData, [u8; KEY_LEN], [u8; FLOW_LEN]> = map.try_into()?;
    let keys: Vec<[u8; KEY_LEN]> = map.keys().collect::<Result<_, _>>()?;
    for key in &keys {
        // The daemon may have taken it first.
        let _ = map.remove(key);
    }
    Ok(keys.len())
}

/// The same of all of a family's.
fn entries_taken(site: &Greeters, version: Version) -> Result<usize> {
    const KEY4: usize = size_of::<Tuple4>();
    const KEY6: usize = size_of::<Tuple6>();
    Ok(match version {
        Version::V4 => {
            empty::<KEY4>(site, "FLOWS4", false)? + empty::<KEY4>(site, "CANDIDATES4", true)?
        }
        Version::V6 => {
            empty::<KEY6>(site, "FLOWS6", false)? + empty::<KEY6>(site, "CANDIDATES6", true)?
        }
    })
}

fn moves_without_an_entry(version: Version) -> Result<()> {
    let mut site = Greeters::start(version, "tracking = \"stateless\"")?;
    let (mut old, name) = wait::until_ok("a first connection", DEADLINE, || site.connect())?;
    ensure!(name == "s1", "the device is on {name}");
    echo(&mut old)?;
    ensure!(entries_taken(&site, version)? == 0, "a flow has an entry while nothing moves");

    site.redirector.api()?.move_device("disk", "s2")?;
    let (mut new, name) = wait::until_ok("a connection after the move", DEADLINE, || {
        let (stream, name) = site.connect()?;
        ensure!(name == "s2", "still on {name}");
        Ok((stream, name))
    })?;
    ensure!(name == "s2", "new flows go to {name}");
    echo(&mut new)?;
    echo(&mut old).context("the flow opened before the move")?;

    ensure!(entries_taken(&site, version)? > 0, "no flow has an entry while the device drains");
    // For the rest of the clock's unit the front still has the paths. After that the new flow's
    // packets are taken for the old server's, whose RST tells better.
    let repinned = wait::until_ok("a packet counted as repinned", DEADLINE, || {
        echo(&mut new).context("the new flow, its entry lost")?;
        echo(&mut old).context("the old flow, all entries lost")?;
        let count = site.count(Reason::Repinned)?;
        ensure!(count > 0, "none yet");
        Ok(count)
    })?;
    echo(&mut new).context("the new flow, given back to its server")?;
    eprintln!("{version:?}: {repinned} packets by which flows were given back to their servers");
    ensure!(site.count(Reason::Stateless)? > 0, "nothing went without an entry");
    site.redirector.stop()
}

#[test]
fn a_stateless_device_of_ipv4_keeps_its_flows_through_a_move_and_a_loss_of_entries() -> Result<()> {
    moves_without_an_entry(Version::V4)
}

#[test]
fn a_stateless_device_of_ipv6_keeps_its_flows_through_a_move_and_a_loss_of_entries() -> Result<()> {
    moves_without_an_entry(Version::V6)
}
