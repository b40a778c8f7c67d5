//! The sections of the file: their fields, defaults and ranges.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use toml::de::DeTable;

use super::problem::Report;
use super::reader::Section;
use super::{
    Config, FlowsConfig, HealthConfig, InterfaceConfig, LimitsConfig, RedirectorConfig, XdpMode,
};
use super::{api, device, log, own, planning, recorder};
use crate::core::seed::SeedServer;
use crate::core::service::{IDLE_MAX_MS, IDLE_MIN_MS};
use crate::core::spec::AdminState;

const STATE_DIR: &str = "/var/lib/redirector";
const BPFFS_DIR: &str = "/sys/fs/bpf/redirector";
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
/// Largest rate that can be asked for, a CPU and second: more than one can do.
const RATE_MAX: u32 = 100_000_000;
/// Largest table the daemon makes: 16 million entries, some gigabytes.
const ENTRIES_MAX: u32 = 1 << 24;
/// Most devices: what one daemon looks after with its checks, its journal and its lists.
const DEVICES_MAX: u32 = 1 << 17;
pub(super) const ADDRESS: &str = "an address; write one such as 10.0.1.100 or fd00:1::100";

/// Networks of the stand-ins of servers and devices.
const SERVERS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
pub(super) const DEVICES: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 0);

const ADMIN_STATES: [(&str, AdminState); 4] = [
    ("active", AdminState::Active),
    ("draining", AdminState::Draining),
    ("inactive", AdminState::Inactive),
    ("failed", AdminState::Failed),
];
const MODES: [(&str, XdpMode); 2] = [("native", XdpMode::Native), ("generic", XdpMode::Generic)];

/// Reads the whole text. What is missing or wrong is reported and replaced by its default or a
/// stand-in, so that the rest can still be checked.
pub(super) fn read(text: &str, report: &mut Report<'_>) -> Config {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        report.syntax(error.span(), error.message());
    }
    let mut root = Section::root(table.into_inner());
    let config = Config {
        redirector: redirector(root.section("redirector", report), report),
        api: api::api(root.section("api", report), report),
        log: log::log(root.section("log", report), report),
        limits: limits(root.section("limits", report), report),
        health: health(root.section("health", report), report),
        flows: flows(root.section("flows", report), report),
        load: planning::load(root.section("load", report), report),
        plan: planning::plan(root.section("plan", report), report),
        recorder: recorder::recorder(root.section("recorder", report), report),
        local: own::local(root.section("local", report), report),
        tunnel: own::tunnel(root.section("tunnel", report), report),
        interfaces: every(root.sections("interface", report), interface, report),
        servers: every(root.sections("server", report), server, report),
        devices: every(root.sections("device", report), device::device, report),
    };
    if config.interfaces.is_empty() && !report.has_problem_in("interface") {
        let remedy = "is missing; add one with the name of a network interface";
        report.problem("interface", remedy);
    }
    root.finish(report);
    config
}

/// The item `n` of a list; `n` makes its stand-ins differ from those of the others.
type Read<T> = fn(&mut Section<'_>, usize, &mut Report<'_>) -> T;

fn every<T>(sections: Vec<Section<'_>>, read: Read<T>, report: &mut Report<'_>) -> Vec<T> {
    let mut list = Vec::new();
    for (n, mut section) in sections.into_iter().enumerate() {
        list.push(read(&mut section, n, report));
        section.finish(report);
    }
    list
}

/// The address `n` of a network that is for benchmarks of network devices only (RFC 2544). It
/// stands where the file has none that can be read; what follows from it is not for the user.
pub(super) fn stand_in(network: Ipv4Addr, n: usize) -> IpAddr {
    let host = u16::try_from(n).unwrap_or(u16::MAX);
    IpAddr::V4(Ipv4Addr::from_bits(network.to_bits() | u32::from(host)))
}

pub(super) fn name(section: &mut Section<'_>, n: usize, report: &mut Report<'_>) -> String {
    let name = section.string("name", report);
    let name = section.require("name", name, "give it a name", report);
    name.unwrap_or_else(|| format!("unnamed-{n}"))
}

fn redirector(mut section: Section<'_>, report: &mut Report<'_>) -> RedirectorConfig {
    let config = RedirectorConfig {
        state_dir: path(&mut section, "state_dir", report).unwrap_or_else(|| STATE_DIR.into()),
        bpffs_dir: path(&mut section, "bpffs_dir", report).unwrap_or_else(|| BPFFS_DIR.into()),
        stats_interval_ms: section
            .number("stats_interval_ms", 100..=MINUTE_MS, report)
            .unwrap_or(500),
    };
    section.finish(report);
    config
}

fn limits(mut section: Section<'_>, report: &mut Report<'_>) -> LimitsConfig {
    let entries = 1..=ENTRIES_MAX;
    let paths_max = section.number("paths_max", entries.clone(), report).unwrap_or(65_536);
    let config = LimitsConfig {
        devices_max: section.number("devices_max", 1..=DEVICES_MAX, report).unwrap_or(4096),
        servers_max: section.number("servers_max", 1..=4095, report).unwrap_or(1024),
        flows_max: section.number("flows_max", entries.clone(), report).unwrap_or(262_144),
        candidates_max: section.number("candidates_max", entries.clone(), report).unwrap_or(65_536),
        clients_max: section.number("clients_max", entries.clone(), report).unwrap_or(65_536),
        fragments_max: section.number("fragments_max", entries, report).unwrap_or(4096),
        paths_max: paths_max.next_power_of_two(),
        new_flows_per_second_max: section
            .number("new_flows_per_second_max", 0..=RATE_MAX, report)
            .unwrap_or(20_000),
        answers_per_second_max: section
            .number("answers_per_second_max", 0..=RATE_MAX, report)
            .unwrap_or(20_000),
    };
    section.finish(report);
    config
}

fn health(mut section: Section<'_>, report: &mut Report<'_>) -> HealthConfig {
    let interval_ms = section.number("interval_ms", 10..=MINUTE_MS, report).unwrap_or(200);
    let timeout_ms = section.number("timeout_ms", 1..=MINUTE_MS, report);
    let config = HealthConfig {
        interval_ms,
        timeout_ms: timeout_ms.unwrap_or(interval_ms.min(200)),
        rise: section.number("rise", 1..=100, report).unwrap_or(2),
        fall: section.number("fall", 1..=100, report).unwrap_or(2),
        jitter_pct: section.number("jitter_pct", 0..=50, report).unwrap_or(10),
        evidence_interval_ms: section.number("evidence_interval_ms", 0..=1000, report).unwrap_or(3),
        silence_ms: section.number("silence_ms", 3..=MINUTE_MS, report).unwrap_or(6),
        confirm_timeout_ms: section
            .number("confirm_timeout_ms", 1..=MINUTE_MS, report)
            .unwrap_or(20),
        confirm_fall: section.number("confirm_fall", 1..=100, report).unwrap_or(1),
        silent_share_max_pct: section.number("silent_share_max_pct", 1..=99, report).unwrap_or(50),
        mass_hold_ms: section.number("mass_hold_ms", 0..=DAY_MS, report).unwrap_or(5000),
        healthy_min: section.number("healthy_min", 0..=1000, report).unwrap_or(1),
        hold_down_ms: section.number("hold_down_ms", 0..=HOUR_MS, report).unwrap_or(1000),
        hold_down_max_ms: section
            .number("hold_down_max_ms", 0..=DAY_MS, report)
            .unwrap_or(MINUTE_MS),
        hold_down_forget_ms: section
            .number("hold_down_forget_ms", 0..=DAY_MS, report)
            .unwrap_or(10 * MINUTE_MS),
    };
    if config.timeout_ms > interval_ms {
        let detail = format!(
            "{} is longer than interval_ms ({interval_ms}), so probes would overlap; write at most \
             {interval_ms} or raise interval_ms",
            config.timeout_ms
        );
        report.problem("health.timeout_ms", detail);
    }
    section.finish(report);
    config
}

fn flows(mut section: Section<'_>, report: &mut Report<'_>) -> FlowsConfig {
    let idle = IDLE_MIN_MS..=IDLE_MAX_MS;
    let config = FlowsConfig {
        tcp_idle_timeout_ms: section
            .number("tcp_idle_timeout_ms", idle.clone(), report)
            .unwrap_or(5 * DAY_MS),
        udp_idle_timeout_ms: section
            .number("udp_idle_timeout_ms", idle.clone(), report)
            .unwrap_or(MINUTE_MS),
        closing_timeout_ms: section.number("closing_timeout_ms", idle, report).unwrap_or(30_000),
        sweep_interval_ms: section
            .number("sweep_interval_ms", 100..=HOUR_MS, report)
            .unwrap_or(1000),
    };
    section.finish(report);
    config
}

fn interface(section: &mut Section<'_>, n: usize, report: &mut Report<'_>) -> InterfaceConfig {
    InterfaceConfig {
        name: name(section, n, report),
        mode: section.word("mode", &MODES, report).unwrap_or_default(),
        announce: section.boolean("announce", report).unwrap_or(false),
        vlan: own::vlan(section, report),
    }
}

fn server(section: &mut Section<'_>, n: usize, report: &mut Report<'_>) -> SeedServer {
    let name = name(section, n, report);
    let address = section.parsed("address", ADDRESS, report);
    let remedy = "write the address on which the server serves its devices";
    let address = section.require("address", address, remedy, report);
    let state = section.word("state", &ADMIN_STATES, report);
    let load = planning::sources(section, report);
    SeedServer { name, address: address.unwrap_or_else(|| stand_in(SERVERS, n)), state, load }
}

/// An absolute path.
pub(super) fn path(
    section: &mut Section<'_>,
    key: &'static str,
    report: &mut Report<'_>,
) -> Option<PathBuf> {
    let path = PathBuf::from(section.string(key, report)?);
    if path.is_absolute() {
        return Some(path);
    }
    let detail = format!("`{}` is not an absolute path; begin it with /", path.display());
    report.problem(&section.field(key), detail);
    None
}
