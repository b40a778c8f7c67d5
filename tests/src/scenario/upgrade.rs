//! Another copy of the product takes over under I/O and flows: daemon and program are replaced, and
//! nobody notices. Tables of another layout are refused by their number, with everything left as it
//! is, so that the earlier copy can go on; and the way that the refusal names leads on.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_common::wire::ABI_VERSION;

use super::io_load::IoLoad;
use super::tables::Tables;
use super::{Outcome, ledger};
use crate::device::Kind;
use crate::flows::Flows;
use crate::lab::Lab;
use crate::netns::run_quietly;
use crate::report::Row;
use crate::topology::{GATEWAY_CLIENT_SIDE, GATEWAY_SERVER_SIDE};
use crate::wait::{self, Look};

/// Upgrades of a run that is worth reporting; every second one is a way back.
pub const UPGRADES: u64 = 30;
/// Flows opened on each echo device before the first upgrade.
const FLOWS_BEFORE: u32 = 5;
/// The kernel frees a program some time after its link has another one.
const REPLACED_WITHIN: Duration = Duration::from_secs(10);

/// Replaces daemon and program `upgrades` times under I/O; then tries tables of another layout.
///
/// # Errors
/// When the lab itself fails. Broken promises are in the outcome.
pub fn run(lab: &mut Lab, upgrades: u64, seed: u64) -> Result<Outcome> {
    let mut violations = Vec::new();
    let mut io = IoLoad::start(lab, seed)?;
    let flows = Flows::from(lab.client("c1")?)?;
    open_on_each_device(lab, &flows, FLOWS_BEFORE)?;
    let copies = [lab.redirector.program().to_owned(), copy_of(lab)?];
    let mut start_ms = Vec::new();
    for number in 1..=upgrades {
        let copy = &copies[(number % 2) as usize];
        let (ms, found) =
            replace(lab, &flows, copy).with_context(|| format!("upgrade {number}"))?;
        start_ms.push(ms);
        violations.extend(found.into_iter().map(|what| format!("upgrade {number}: {what}")));
        io.keep_going(lab)?;
    }
    violations.extend(refuse_other_layout(lab, &flows)?);
    let io = io.finish(lab)?;
    violations.extend(io.violations);
    let flows = flows.close();
    violations.extend(ledger::violations(lab, &flows)?);
    go_on_after_detaching(lab)?;
    Ok(Outcome {
        rows: vec![
            Row::promise("upgrade", "upgrades", upgrades, violations.len() as u64),
            Row::samples("upgrade_start", "ms", &start_ms),
        ],
        violations,
        notes: vec![format!(
            "upgrade: {} flows open or opened meanwhile, {} MiB of I/O verified",
            flows.len(),
            io.verified_bytes >> 20
        )],
    })
}

/// Another file with the same product, as a package manager would leave it.
fn copy_of(lab: &Lab) -> Result<PathBuf> {
    let copy = lab.run().dir().join("redirector-next");
    fs::copy(lab.redirector.program(), &copy).context("copy the product's program")?;
    Ok(copy)
}

/// Stops the daemon, starts `copy` instead, and looks at what is left; gives the ms from its start
/// to its first answer.
fn replace(lab: &mut Lab, flows: &Flows, copy: &Path) -> Result<(f64, Vec<String>)> {
    let (programs, tables) = (programs(lab)?, tables(lab)?);
    lab.redirector.stop()?;
    open_on_each_device(lab, flows, 1).context("while no daemon runs")?;
    lab.redirector.set_program(copy);
    let began = wait::now();
    lab.start_redirector()?;
    let start_ms = began.elapsed().as_secs_f64() * 1000.0;
    wait::until("another program on every link", REPLACED_WITHIN, || {
        let now = self::programs(lab)?;
        let same = now.iter().any(|program| programs.contains(program));
        Ok(if same { Look::NotYet(format!("{now:?}")) } else { Look::Done(()) })
    })?;
    let mut found = self::tables(lab)?.differences_from(&tables);
    lab.redirector.wait_until_all_healthy()?;
    open_on_each_device(lab, flows, 1)?;
    found.extend(self::tables(lab)?.differences_from(&tables));
    Ok((start_ms, found))
}

/// The tables, and of the flows those that stay open for the whole scenario.
fn tables(lab: &Lab) -> Result<Tables> {
    let devices = lab.plan().devices.iter().filter(|device| device.kind == Kind::Echo);
    let services: Vec<Ipv4Addr> = devices.map(|device| device.address).collect();
    let mut tables = Tables::read(&lab.pins())?;
    tables.keep_flows_to(&services);
    ensure!(!tables.flows.is_empty(), "no open flow is in the tables");
    Ok(tables)
}

/// Ids of the programs on the gateway's interfaces.
fn programs(lab: &Lab) -> Result<Vec<String>> {
    let gateway = lab.network.host("gateway")?;
    let mut ids = Vec::new();
    for interface in [GATEWAY_CLIENT_SIDE, GATEWAY_SERVER_SIDE] {
        let mut ip = gateway.command("ip");
        let text = run_quietly(ip.args(["-d", "link", "show", "dev", interface]))?;
        let mut words = text.split_whitespace().skip_while(|word| *word != "prog/xdp").skip(2);
        let id = words.next().with_context(|| format!("no program on {interface}: {text}"))?;
        ids.push(format!("{interface} {id}"));
    }
    Ok(ids)
}

/// Gives the tables the number of another layout, as an older or newer product would have left
/// them, and starts the daemon, which must refuse. Then gives them their number back: the way
/// back.
fn refuse_other_layout(lab: &mut Lab, flows: &Flows) -> Result<Vec<String>> {
    let (pins, programs) = (lab.pins(), programs(lab)?);
    let tables = tables(lab)?;
    lab.redirector.stop()?;
    let other = pins.with_file_name(format!("abi-{}", ABI_VERSION + 1));
    fs::rename(&pins, &other).context("rename the pinned tables")?;
    let config = fs::read_to_string(lab.redirector.config())?;
    let gateway = lab.network.host("gateway")?;
    let ended = lab.redirector.run_refused(gateway, "other-layout", &config)?;
    ensure!(!ended.status.success(), "tables of another layout were not refused: {}", ended.log);
    let mut violations = Vec::new();
    let number = format!("tables of layout {}", ABI_VERSION + 1);
    for says in [number.as_str(), "redirector detach"] {
        if !ended.log.contains(says) {
            violations.push(format!("the refusal does not say {says:?}: {}", ended.log));
        }
    }
    open_on_each_device(lab, flows, 1).context("after the refusal")?;
    fs::rename(&other, &pins).context("rename the pinned tables back")?;
    if self::programs(lab)? != programs {
        violations.push("the refused start touched the program".to_owned());
    }
    violations.extend(self::tables(lab)?.differences_from(&tables));
    lab.start_redirector().context("the way back")?;
    lab.redirector.wait_until_all_healthy()?;
    violations.extend(self::tables(lab)?.differences_from(&tables));
    open_on_each_device(lab, flows, 1).context("after the way back")?;
    Ok(violations)
}

/// What the refusal says to do: detach, with the daemon stopped, and start again.
fn go_on_after_detaching(lab: &mut Lab) -> Result<()> {
    lab.redirector.stop()?;
    let pins = lab.pins();
    let other = pins.with_file_name(format!("abi-{}", ABI_VERSION + 1));
    fs::rename(&pins, &other).context("rename the pinned tables")?;
    let program = lab.redirector.program().to_string_lossy().into_owned();
    let mut detach = lab.network.host("gateway")?.command(&program);
    run_quietly(detach.args(["detach", "--config"]).arg(lab.redirector.config()))?;
    ensure!(!other.exists(), "detach leaves {}", other.display());
    lab.start_redirector().context("after detaching")?;
    lab.redirector.wait_until_all_healthy()?;
    let flows = Flows::from(lab.client("c1")?)?;
    open_on_each_device(lab, &flows, 1).context("after detaching")
}

fn open_on_each_device(lab: &Lab, flows: &Flows, count: u32) -> Result<()> {
    for device in lab.plan().devices.iter().filter(|device| device.kind == Kind::Echo) {
        for _ in 0..count {
            flows.open(device.service())?;
        }
    }
    Ok(())
}
