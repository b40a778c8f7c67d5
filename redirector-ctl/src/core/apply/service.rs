//! Checks of a device's service address, ports and treatment: by themselves, beside those of other
//! devices, and beside what this redirector has to send from.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::change::{Context, DeviceSpec, SpecLimits};
use super::super::ports::{NARROW_LEN_MAX, PortRange, RANGES_MAX};
use super::super::service::{FamilySet, IDLE_MAX_MS, IDLE_MIN_MS, MSS_MAX, MSS_MIN, family_name};
use super::super::spec::{
    Affinity, Device, Devices, FlowPolicy, Forwarding, Name, Protocol, Spec, Tracking,
};
use super::super::validate::{self, Problems};
use super::taken::Taken;

/// Everything but the servers.
pub(super) fn check(
    (spec, taken): (&Spec, &Taken),
    wish: &DeviceSpec,
    ctx: &Context<'_>,
    problems: &mut Problems,
) {
    validate::host_address(wish.address, "address", problems);
    check_ports(wish, problems);
    check_others((spec, taken), wish, problems);
    check_forwarding(spec, wish, &ctx.limits, problems);
    check_failure(wish, problems);
    check_tracking(wish, problems);
    check_mss(wish, problems);
    check_idle_timeouts(wish, problems);
}

fn check_ports(wish: &DeviceSpec, problems: &mut Problems) {
    if wish.protocol == Protocol::Any {
        let given = [
            ("port", wish.port != 0),
            // Left out, it is what `port` is.
            ("server_port", wish.server_port != wish.port),
            ("ports", !wish.ports.is_empty()),
        ];
        for (field, _) in given.iter().filter(|(_, given)| *given) {
            let detail = "protocol any has no ports: leave it out, or choose tcp or udp";
            problems.refused("ports_of_any", field, detail);
        }
        return;
    }
    validate::port(wish.port, "port", problems);
    validate::port(wish.server_port, "server_port", problems);
    if wish.port == 0 || wish.server_port == 0 {
        return;
    }
    if wish.ports.len() > RANGES_MAX {
        let detail = format!(
            "{} ranges of ports are too many: list at most {RANGES_MAX}, or make several devices",
            wish.ports.len()
        );
        problems.refused("too_many_ranges", "ports", detail);
    }
    let map = wish.port_map();
    if map.at_servers().is_none() {
        let detail = format!(
            "at the servers these ports are as far from server_port ({}) as here from port ({}), \
             and that leaves 1 to 65535: choose another server_port, or fewer ports",
            wish.server_port, wish.port
        );
        problems.refused("ports_out_of_range", "ports", detail);
    }
    if map.is_wide() && map.ranges().len() > 1 {
        let detail = format!(
            "with more than {} ports in a row all ports of a device must be in one row, and here \
             are gaps between {}: make a device of each row",
            NARROW_LEN_MAX,
            list(map.ranges())
        );
        problems.refused("ports_with_gaps", "ports", detail);
    }
}

/// Beside the addresses of other devices and of servers.
fn check_others((spec, taken): (&Spec, &Taken), wish: &DeviceSpec, problems: &mut Problems) {
    let map = wish.port_map();
    let near = taken.at_service((wish.address, wish.protocol), map.ranges());
    for (other, known) in near.into_iter().filter_map(|name| spec.devices.get_key_value(name)) {
        let theirs = known.port_map();
        if overlap(map.ranges(), theirs.ranges()) || wish.protocol == Protocol::Any {
            let at = known.service();
            let detail = format!(
                "{at} is the service address of device {other} already: choose another address{}",
                if wish.protocol == Protocol::Any { "" } else { " or other ports" }
            );
            problems.conflict("duplicate_service", "address", detail);
        } else if map.is_wide() && theirs.is_wide() {
            let detail = format!(
                "device {other} has more than {} ports in a row at {} already, and one address and \
                 protocol can have one such device: choose another address or fewer ports",
                NARROW_LEN_MAX, wish.address
            );
            problems.conflict("second_wide_service", "ports", detail);
        }
    }
    for (server, known) in &spec.servers {
        if known.address == wish.address {
            let detail = format!(
                "{} is the address of server {server}: a device needs a service address of its own",
                wish.address
            );
            problems.conflict("server_address", "address", detail);
        }
    }
}

fn overlap(ours: &[PortRange], theirs: &[PortRange]) -> bool {
    ours.iter().any(|range| theirs.iter().any(|other| range.overlaps(*other)))
}

fn list(ranges: &[PortRange]) -> String {
    ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn check_forwarding(spec: &Spec, wish: &DeviceSpec, limits: &SpecLimits, problems: &mut Problems) {
    let (forwarding, name) = (wish.forwarding, wish.forwarding.name());
    if forwarding.is_direct() && wish.server_port != wish.port {
        let detail = format!(
            "with {name} the servers own the service address and its ports, so that they get \
             packets for port {}: leave server_port out, or choose nat or full-nat",
            wish.port
        );
        problems.refused("direct_server_port", "server_port", detail);
    }
    if forwarding == Forwarding::FullNat {
        if wish.protocol == Protocol::Any {
            let detail = "full-nat tells flows apart by their ports, and protocol any has none: \
                          choose nat";
            problems.refused("full_nat_needs_ports", "forwarding", detail);
        }
        if !limits.locals.has(wish.address) {
            let family = family_name(wish.address);
            let detail = format!(
                "full-nat sends from a local {family} address, and there is none: list some in \
                 local.addresses of the configuration, or choose nat"
            );
            problems.refused("no_local_address", "forwarding", detail);
        }
    }
    if forwarding.is_tunnel() {
        let servers = wish.servers.iter().filter_map(|name| spec.servers.get(name));
        let families = FamilySet::of(servers.map(|server| server.address));
        check_tunnel_sources(wish.forwarding, families, limits, problems);
    }
}

/// Whether tunnels to servers of these families have an address to be sent from.
fn check_tunnel_sources(
    forwarding: Forwarding,
    families: FamilySet,
    limits: &SpecLimits,
    problems: &mut Problems,
) {
    let sources = limits.tunnel_sources;
    for (needed, there, family, field) in [
        (families.v4, sources.v4, "IPv4", "source_v4"),
        (families.v6, sources.v6, "IPv6", "source_v6"),
    ] {
        if needed && !there {
            let detail = format!(
                "{} needs an {family} address to send to the {family} servers from, and there is \
                 none: write tunnel.{field} into the configuration, or choose nat",
                forwarding.name()
            );
            problems.refused("no_tunnel_source", "forwarding", detail);
        }
    }
}

fn check_tracking(wish: &DeviceSpec, problems: &mut Problems) {
    if wish.tracking == Tracking::Tracked {
        return;
    }
    if wish.forwarding == Forwarding::FullNat {
        let detail = "full-nat keeps a local port for each flow, and a stateless device keeps \
                      nothing: choose tracked, or nat";
        problems.refused("stateless_full_nat", "tracking", detail);
    }
    if wish.affinity == Affinity::Client {
        let detail = "a stateless device does not remember where a client's flows are: choose \
                      affinity flow, or tracking tracked";
        problems.refused("stateless_affinity", "affinity", detail);
    }
    let policies = [("on_planned", Some(wish.on_planned)), ("on_overload", wish.on_overload)];
    for (field, policy) in policies {
        if policy == Some(FlowPolicy::Keep) {
            problems.refused("stateless_keep", field, STATELESS_KEEP);
        }
    }
}

/// Why a stateless device cannot keep its flows.
pub(super) const STATELESS_KEEP: &str = "the open flows of a stateless device are not counted, so \
    that keep would never end: choose drain with a deadline, or reset";

/// A dead server has no open flows: what it held is gone or unknown, and a later life resumes
/// nothing of it (G10). Silence about that would let clients wait for nobody until their own
/// time-outs, some 15 minutes for TCP.
fn check_failure(wish: &DeviceSpec, problems: &mut Problems) {
    let word = match wish.on_failure {
        None | Some(FlowPolicy::Reset) => return,
        Some(FlowPolicy::Keep) => "keep",
        Some(FlowPolicy::Drain { .. }) => "drain",
    };
    let detail = format!(
        "{word} is not possible: a dead server serves no flow, and one that returns must not \
         resume what it held before; write reset or leave it out. A server that still lives can be \
         left without resets: drain it (server drain) instead of declaring it failed, and give its \
         check more time or a larger fall if it is found dead too soon"
    );
    problems.refused("failure_policy", "on_failure", detail);
}

fn check_mss(wish: &DeviceSpec, problems: &mut Problems) {
    let Some(mss) = wish.mss_max else { return };
    if !(MSS_MIN..=MSS_MAX).contains(&mss) {
        let detail =
            format!("{mss} is out of range; write a whole number from {MSS_MIN} to {MSS_MAX}");
        problems.malformed("out_of_range", "mss_max", detail);
    }
    needs("mss_max", wish.protocol == Protocol::Tcp, ("TCP", wish.protocol), problems);
}

fn check_idle_timeouts(wish: &DeviceSpec, problems: &mut Problems) {
    let (tcp, protocol) = (wish.protocol == Protocol::Tcp, wish.protocol);
    for (field, value, fits, of) in [
        ("tcp_idle_timeout_ms", wish.tcp_idle_timeout_ms, tcp, "TCP"),
        ("udp_idle_timeout_ms", wish.udp_idle_timeout_ms, !tcp, "UDP and other protocols"),
    ] {
        let Some(value) = value else { continue };
        let range = IDLE_MIN_MS..=IDLE_MAX_MS;
        if !range.contains(&value) {
            let (from, to) = (range.start(), range.end());
            let detail =
                format!("{value} is out of range; write a whole number from {from} to {to}");
            problems.malformed("out_of_range", field, detail);
        }
        needs(field, fits, (of, protocol), problems);
    }
}

fn needs(field: &str, fits: bool, (of, protocol): (&str, Protocol), problems: &mut Problems) {
    if !fits {
        let detail = format!(
            "it is for {of}, and the device's protocol is {}: leave it out",
            protocol.name()
        );
        problems.refused("wrong_protocol", field, detail);
    }
}

/// What comes from a server's address and port must name one device only, or the way back would be
/// a guess. Where servers answer by themselves nothing of theirs comes here.
pub(super) fn check_returns(
    (spec, taken): (&Spec, &Taken),
    wish: &DeviceSpec,
    problems: &mut Problems,
) {
    let map = wish.port_map();
    let Some(ours) = map.at_servers().filter(|_| !wish.forwarding.is_direct()) else { return };
    let near = taken.at_servers(&wish.servers, wish.protocol, &ours);
    for (other, known) in near.into_iter().filter_map(|name| spec.devices.get_key_value(name)) {
        let serving: BTreeSet<&Name> = known.serving().collect();
        let Some(shared) = wish.servers.iter().find(|server| serving.contains(server)) else {
            continue;
        };
        if wish.protocol == Protocol::Any {
            let detail = format!(
                "server {shared} serves device {other} with protocol any already: what comes from \
                 a server without a port must belong to one device, so use other servers"
            );
            problems.conflict("duplicate_server_protocol", "protocol", detail);
        } else if overlap(&ours, &known.all_server_ports()) {
            let detail = format!(
                "server {shared} serves device {other} at port {}/{} already: what comes from a \
                 server's port must belong to one device, so give each device its own port there",
                list(&ours),
                wish.protocol.name()
            );
            problems.conflict("duplicate_server_port", "server_port", detail);
        } else if map.is_wide() && known.is_wide() {
            let detail = format!(
                "server {shared} serves device {other} at more than {} ports in a row already, and \
                 can do that for one device of a protocol: use other servers or fewer ports",
                NARROW_LEN_MAX
            );
            problems.conflict("second_wide_server", "ports", detail);
        }
    }
}

/// Whether the tables of service addresses and of the ways back have room.
pub(super) fn check_room(
    taken: &Taken,
    wish: &DeviceSpec,
    was: Option<&Device>,
    ctx: &Context<'_>,
    problems: &mut Problems,
) {
    let own = wish.port_map().entries_len();
    // Each may have an entry more, by which its address answers echo requests.
    let len = own + 1 + taken.services_len;
    let max = ctx.limits.services_max();
    if len > max {
        let detail = format!(
            "{len} ports of devices, with those for echo, do not fit into the table of {max}: list \
             fewer ports or raise limits.devices_max"
        );
        problems.refused("services_full", "ports", detail);
    }
    let mut servers: BTreeSet<&Name> = wish.servers.iter().collect();
    // Flows may drain on the server that it leaves, even if that is not in the list any more.
    let left = was.map(|was| &was.association);
    servers.extend(left.iter().map(|left| &left.server));
    servers.extend(left.iter().flat_map(|left| left.drains.iter().map(|drain| &drain.server)));
    let len = taken.returns_len + servers.len() * own;
    let max = ctx.limits.returns_max();
    if len > max {
        let detail = format!(
            "{len} pairs of a server's port and a device do not fit into the table of {max}: list \
             fewer servers or ports, or raise limits.devices_max"
        );
        problems.refused("returns_full", "servers", detail);
    }
}

/// Whether a server with this address can go on serving the devices that name it.
pub(super) fn check_server(
    devices: &Devices,
    (server, address): (&Name, IpAddr),
    limits: &SpecLimits,
    problems: &mut Problems,
) {
    for (device, known) in devices {
        if !known.serving().any(|serving| serving == server) {
            continue;
        }
        let forwarding = known.forwarding.name();
        let detail = if !known.forwarding.joins(known.address, address) {
            format!(
                "it serves device {device} at {}, and with {forwarding} both must be of one \
                 family: take it out of the device's servers first",
                known.address
            )
        } else if known.forwarding.is_tunnel() && !limits.tunnel_sources.has(address) {
            format!(
                "it serves device {device} with {forwarding}, and there is no {} address to send \
                 from: write one into [tunnel] of the configuration",
                family_name(address)
            )
        } else {
            continue;
        };
        problems.refused("family_mismatch", "address", detail);
    }
}
