//! The program's clock is the kernel's monotonic one, as of the last tick of its timer.

use anyhow::{Context, Result, ensure};
use aya::maps::{Map, MapData, MapInfo, PerCpuArray};
use nix::time::{ClockId, clock_getres, clock_gettime};
use redirector_common::tcp::SYN;
use redirector_common::wire::{RecentSyn, SYNS_LEN};
use redirector_tests::data_path::packets::from_client;
use redirector_tests::data_path::program::SMALL;
use redirector_tests::data_path::{Program, SERVICE_PORT, TCP, device_address, topology};
use zerocopy::FromBytes as _;

/// Each costs the kernel some 20 ms, so that the clock is read over seconds.
const READINGS: u32 = 100;
const SYN_LEN: usize = size_of::<RecentSyn>();
const _: () = assert!(READINGS <= SYNS_LEN);

fn ns(time: nix::sys::time::TimeSpec) -> u64 {
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

fn coarse_ns() -> Result<u64> {
    Ok(ns(clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE)?))
}

/// The rings in which the program notes when a SYN came.
fn syns(program: &Program) -> Result<PerCpuArray<MapData, [u8; SYN_LEN]>> {
    let ids = program.runner().xdp()?.info()?.map_ids()?.context("a program names its maps")?;
    for id in ids {
        if MapInfo::from_id(id)?.name_as_str() == Some("SYNS") {
            return Ok(Map::PerCpuArray(MapData::from_id(id)?).try_into()?);
        }
    }
    anyhow::bail!("the program keeps no SYNs")
}

#[test]
fn the_programs_clock_is_the_monotonic_one_within_a_tick() -> Result<()> {
    let mut program = Program::load(&SMALL)?;
    program.apply(&topology(1, 1, TCP))?;
    let syns = syns(&program)?;
    let tick_ns = ns(clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)?);
    for number in 0..READINGS {
        let client = ([10, 200, 0, 1].into(), 1024 + number as u16);
        let syn = from_client(client, (device_address(0), SERVICE_PORT), SYN, (number, 0));
        let before_ns = coarse_ns()?;
        program.run(&syn.bytes())?;
        let after_ns = coarse_ns()?;
        let kept = syns.get(&number, 0)?;
        let kept = kept.iter().filter_map(|bytes| RecentSyn::read_from_bytes(bytes).ok());
        let at_ns = kept.map(|syn| syn.at_ns).max().context("no CPU has kept the SYN")?;
        ensure!(
            before_ns <= at_ns + tick_ns && at_ns <= after_ns + tick_ns,
            "{number}: the program says {at_ns}, the kernel {before_ns} to {after_ns}"
        );
    }
    Ok(())
}
