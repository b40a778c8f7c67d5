//! Live frames over veth: one core makes them, takes them through a gateway and counts them.
//!
//! The generator is a test run whose frames are really sent (BPF_F_TEST_XDP_LIVE_FRAMES). All three
//! parts run in one core's softirq, so each figure contains generator, veth and sink.

use anyhow::{Context, Result, ensure};
use aya::maps::PerCpuArray;
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions};

use super::Arguments;
use super::driver::{Driver, Shape, Traffic, xdp};
use super::frames::Way;
use super::place::{Place, Receiving, attach, link, sysctl_if_there};
use super::subject::prove_flows;
use super::tables::enter_bound;
use crate::data_path::{SERVICE_PORT, TCP, server_address, server_port};
use crate::netns::run_quietly;
use crate::report::{Report, Row};
use crate::run::Run;
use crate::wait::now;

/// Frames of a run.
const FRAMES: u32 = 1 << 20;
/// Frames that are made at a time: as many as a driver takes from its ring.
const BATCH: u32 = 64;
/// Flows; a power of two.
const FLOWS: u64 = 1024;

/// What the gateway does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gateway {
    /// Hands frames on.
    Redirect,
    /// Finds each frame's flow in a kernel hash, rewrites it and hands it on: the least that a
    /// rewriter does.
    Bound,
    /// The product.
    Tracked,
    /// The kernel's own rewriting.
    NftDnat,
}

impl Gateway {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Redirect, "veth_live_redirect"),
        (Self::Bound, "veth_live_lower_bound"),
        (Self::Tracked, "veth_live_tracked"),
        (Self::NftDnat, "veth_live_nft_dnat"),
    ];

    /// Its program of the harness, if it has one.
    fn own(self) -> Option<&'static str> {
        match self {
            Self::Redirect => Some("bare_redirect"),
            Self::Bound => Some("bound_redirect"),
            Self::Tracked | Self::NftDnat => None,
        }
    }
}

/// A gateway with its neighbours, and the programs that must outlive their attachment.
struct Line {
    place: Place,
    driver: Driver,
    _program: Option<crate::data_path::Program>,
    egress: u32,
    traffic: Traffic,
}

/// Measures the rows that are asked for, and the ratio of the real program to the bare redirect.
///
/// # Errors
///
/// When the kernel refuses, or frames get lost.
pub fn measure(arguments: &Arguments, report: &mut Report) -> Result<()> {
    if !arguments.wants("veth_live") {
        return Ok(());
    }
    let run = Run::new()?;
    let mut lines = Vec::new();
    for (gateway, name) in Gateway::ALL {
        if gateway == Gateway::NftDnat
            && run_quietly(std::process::Command::new("nft").arg("-v")).is_err()
        {
            report.condition("veth_live_nft_dnat", "nft is not installed");
            continue;
        }
        lines.push((name, Line::new(&run, gateway, name)?, Vec::new()));
    }
    for _ in 0..arguments.rounds().max(3) {
        for (name, line, samples) in &mut lines {
            samples.push(line.run().with_context(|| (*name).to_owned())?);
        }
    }
    for (name, _, samples) in &lines {
        report.rows.push(Row::samples(name, "Mpps", samples));
    }
    let of = |wanted: &str| lines.iter().find(|(name, ..)| *name == wanted).map(|line| &line.2);
    for (name, part, whole, unit) in [
        ("veth_live_tracked_ratio", "veth_live_tracked", "veth_live_redirect", "of redirect"),
        ("veth_live_bound_ratio", "veth_live_lower_bound", "veth_live_redirect", "of redirect"),
        ("veth_live_nft_ratio", "veth_live_tracked", "veth_live_nft_dnat", "of nft DNAT"),
    ] {
        if let (Some(part), Some(whole)) = (of(part), of(whole)) {
            let ratios: Vec<f64> = part.iter().zip(whole).map(|(of, to)| of / to).collect();
            report.rows.push(Row::samples(name, unit, &ratios));
        }
    }
    Ok(())
}

impl Line {
    fn new(run: &Run, gateway: Gateway, name: &str) -> Result<Self> {
        let place = Place::new(run, &name.replace("veth_live_", "l-"), Receiving::Gro)?;
        let mut driver = Driver::load()?;
        let way = Way { far: (place.service(), SERVICE_PORT).into(), protocol: TCP };
        let mut traffic = Traffic::new(way.segment(), Shape::V4, FLOWS);
        let (_, mac) = link(&place.gateway, "clients0")?;
        traffic.frame[..6].copy_from_slice(&mac);
        let (egress, _) = link(&place.client, "eth0")?;
        attach(xdp(&mut driver.ebpf, "sink")?, &place.server, "eth0")?;
        let mut program = None;
        if let Some(own) = gateway.own() {
            let (sink_side, _) = link(&place.gateway, "servers0")?;
            driver.send_by(sink_side)?;
            attach(xdp(&mut driver.ebpf, own)?, &place.gateway, "clients0")?;
        }
        match gateway {
            Gateway::Redirect => {}
            Gateway::Bound => enter_bound(&mut driver, FLOWS)?,
            Gateway::Tracked => {
                let mut real = place.load()?;
                let back = Way { far: (server_address(1), server_port(0)).into(), ..way };
                let fd = real.runner().xdp()?.fd()?.try_clone()?;
                prove_flows(&mut driver, &fd, (&way, &back), FLOWS)?;
                attach(real.runner_mut().xdp_mut()?, &place.gateway, "clients0")?;
                program = Some(real);
            }
            Gateway::NftDnat => translate_in_kernel(&place)?,
        }
        Ok(Self { place, driver, _program: program, egress, traffic })
    }

    /// Sends frames; gives millions that arrived in a second.
    fn run(&mut self) -> Result<f64> {
        let Self { place, driver, egress, traffic, .. } = self;
        let frame = driver.prepare(traffic, *egress)?;
        let before = sunk(driver)?;
        let took = place.client.enter(|| {
            crate::data_path::program::stay_on_this_cpu()?;
            let mut options = TestRunOptions::new();
            options.data_in = Some(&frame);
            options.repeat = FRAMES;
            options.attrs = TestRunAttrs::new().xdp_live_frames(BATCH);
            let generator = xdp(&mut driver.ebpf, "generator")?;
            let start = now();
            generator.test_run(options).context("send live frames")?;
            Ok(start.elapsed())
        })?;
        let arrived = sunk(driver)? - before;
        ensure!(arrived > 0, "no frame arrived");
        Ok(arrived as f64 / took.as_secs_f64() / 1e6)
    }
}

fn sunk(driver: &Driver) -> Result<u64> {
    let map = driver.ebpf.map("SUNK").context("map SUNK")?;
    let counts: PerCpuArray<_, u64> = PerCpuArray::try_from(map)?;
    Ok(counts.get(&0, 0)?.iter().sum())
}

/// What the kernel has for the same work: nft's DNAT and forwarding.
fn translate_in_kernel(place: &Place) -> Result<()> {
    let gateway = &place.gateway;
    // Frames that a program sends arrive only where receiving is by NAPI.
    run_quietly(gateway.command("ethtool").args(["-K", "clients0", "gro", "on"]))?;
    let (_, mac) = link(&place.server, "eth0")?;
    let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
    gateway.ip(&[format!(
        "neighbour replace {} lladdr {mac} dev servers0 nud permanent",
        server_address(1)
    )])?;
    let rule = format!(
        "ip daddr {} tcp dport {SERVICE_PORT} dnat to {}:{}",
        place.service(),
        server_address(1),
        server_port(0)
    );
    for line in [
        "add table ip bench",
        "add chain ip bench pre { type nat hook prerouting priority -100 ; }",
        &format!("add rule ip bench pre {rule}"),
    ] {
        run_quietly(gateway.command("nft").arg(line)).context("nft (package nftables)")?;
    }
    for scope in ["all", "clients0"] {
        gateway.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0")?;
    }
    // The generator does not make the segments' checksums.
    sysctl_if_there(gateway, "net/netfilter/nf_conntrack_checksum", "0");
    Ok(())
}
