//! `[[device]]`: where clients reach a device, how their packets get to its servers, and what
//! happens to open flows.

use super::probing;
use super::problem::Report;
use super::reader::Section;
use super::sections::{ADDRESS, DEVICES, name, stand_in};
use super::{DEADLINE_MAX_MS, DEADLINE_MS, DEFAULT_POLICY};
use crate::core::change::DeviceSpec;
use crate::core::seed::SeedDevice;
use crate::core::service::{IDLE_MAX_MS, IDLE_MIN_MS, MSS_MAX, MSS_MIN};
use crate::core::spec::{Affinity, FlowPolicy, Forwarding, Protocol, Tracking};

const PROTOCOLS: [(&str, Protocol); 3] =
    [("tcp", Protocol::Tcp), ("udp", Protocol::Udp), ("any", Protocol::Any)];
const TRACKINGS: [(&str, Tracking); 2] =
    [("tracked", Tracking::Tracked), ("stateless", Tracking::Stateless)];
const AFFINITIES: [(&str, Affinity); 2] = [("flow", Affinity::Flow), ("client", Affinity::Client)];

/// The device `n` of the file.
pub(super) fn device(section: &mut Section<'_>, n: usize, report: &mut Report<'_>) -> SeedDevice {
    let name = name(section, n, report);
    let address = section.parsed("address", ADDRESS, report);
    let remedy = "write the address at which clients reach the device";
    let address = section.require("address", address, remedy, report);
    let protocol = section.word("protocol", &PROTOCOLS, report).unwrap_or(Protocol::Tcp);
    let port = port(section, (protocol, n), report);
    let servers = section.strings("servers", report);
    let remedy = "list at least one server that can reach the device, such as [\"s1\"]";
    let servers = section.require("servers", servers, remedy, report);
    let on_planned = section.inline_table("on_planned", report);
    let on_overload = section.inline_table("on_overload", report);
    let on_failure = section.inline_table("on_failure", report);
    let idle = IDLE_MIN_MS..=IDLE_MAX_MS;
    let forwardings = Forwarding::ALL.map(|forwarding| (forwarding.name(), forwarding));
    let device = DeviceSpec {
        address: address.unwrap_or_else(|| stand_in(DEVICES, n)),
        port,
        ports: section.port_ranges("ports", report).unwrap_or_default(),
        protocol,
        server_port: section.number("server_port", 1..=u16::MAX, report).unwrap_or(port),
        forwarding: section.word("forwarding", &forwardings, report).unwrap_or_default(),
        tracking: section.word("tracking", &TRACKINGS, report).unwrap_or_default(),
        affinity: section.word("affinity", &AFFINITIES, report).unwrap_or_default(),
        mss_max: section.number("mss_max", MSS_MIN..=MSS_MAX, report),
        tcp_idle_timeout_ms: section.number("tcp_idle_timeout_ms", idle.clone(), report),
        udp_idle_timeout_ms: section.number("udp_idle_timeout_ms", idle, report),
        servers: servers.unwrap_or_default(),
        pinned: section.boolean("pinned", report).unwrap_or(false),
        keep_apart: section.string("keep_apart", report),
        on_planned: on_planned
            .and_then(|section| policy(section, report))
            .unwrap_or(DEFAULT_POLICY),
        on_overload: on_overload.and_then(|section| policy(section, report)),
        on_failure: on_failure.and_then(|section| policy(section, report)),
        fail_back_after_ms: section.number("fail_back_after_ms", 0..=DEADLINE_MAX_MS, report),
        check: probing::check(section, report),
        check_pace: probing::pace(section, report),
        server: section.string("server", report),
    };
    SeedDevice { name, device }
}

/// The first port; 0 for protocol any, a stand-in where it cannot be read.
fn port(
    section: &mut Section<'_>,
    (protocol, n): (Protocol, usize),
    report: &mut Report<'_>,
) -> u16 {
    let port = section.number("port", 1..=u16::MAX, report);
    if protocol == Protocol::Any {
        return port.unwrap_or(0);
    }
    let port = section.require("port", port, "write the port at which clients connect", report);
    port.unwrap_or_else(|| u16::MAX - u16::try_from(n).unwrap_or_default())
}

fn policy(mut section: Section<'_>, report: &mut Report<'_>) -> Option<FlowPolicy> {
    let words = [("keep", 0), ("drain", 1), ("reset", 2)];
    let kind = section.word("kind", &words, report);
    let kind = section.require("kind", kind, "write one of: keep, drain, reset", report);
    let deadline_ms = section.number("deadline_ms", 1..=DEADLINE_MAX_MS, report);
    let policy = match kind? {
        0 => FlowPolicy::Keep,
        1 => FlowPolicy::Drain { deadline_ms: deadline_ms.unwrap_or(DEADLINE_MS) },
        _ => FlowPolicy::Reset,
    };
    if deadline_ms.is_some() && !matches!(policy, FlowPolicy::Drain { .. }) {
        let detail = "only `drain` has a deadline; remove it or write kind = \"drain\"";
        report.problem(&section.field("deadline_ms"), detail);
    }
    section.finish(report);
    Some(policy)
}
