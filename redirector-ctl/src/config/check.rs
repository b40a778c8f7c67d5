//! What cannot be seen in one field alone: names used twice, and everything that `core` says of
//! servers and devices.

use std::collections::BTreeMap;

use super::problem::Report;
use super::{Config, InterfaceConfig};
use crate::core::change::{Context, SpecProblem};
use crate::core::observed::Observed;
use crate::core::spec::Spec;

/// Longest name of a network interface: `IFNAMSIZ` less the final 0 (netdevice(7)).
const INTERFACE_NAME_MAX: usize = 15;

/// Checks what was read of the file as a whole.
pub(super) fn check(config: &Config, report: &mut Report<'_>) {
    let interfaces: Vec<&str> = config.interfaces.iter().map(|each| each.name.as_str()).collect();
    check_interface_names(&interfaces, report);
    check_twice("interface", &interfaces, report);
    let servers: Vec<&str> = config.servers.iter().map(|each| each.name.as_str()).collect();
    check_twice("server", &servers, report);
    let devices: Vec<&str> = config.devices.iter().map(|each| each.name.as_str()).collect();
    check_twice("device", &devices, report);
    check_tags(&config.interfaces, report);
    check_own_addresses(config, report);
    check_seed(config, report);
}

fn check_tags(interfaces: &[InterfaceConfig], report: &mut Report<'_>) {
    for (n, interface) in interfaces.iter().enumerate() {
        if interface.vlan.is_some() && interface.announce {
            let detail = "the kernel answers ARP without tags, so nobody on the VLAN would hear \
                          it; name a VLAN interface of the kernel instead, or route the service \
                          addresses to the gateway";
            report.problem(&format!("interface[{n}].announce"), detail);
        }
    }
}

/// What we send from must be ours alone: packets to it would otherwise be taken for another's.
fn check_own_addresses(config: &Config, report: &mut Report<'_>) {
    let local = config.local.addresses.iter().copied().enumerate();
    let local = local.map(|(n, address)| (format!("local.addresses[{n}]"), address));
    let tunnel = config.tunnel.sources().map(|address| {
        let family = if address.is_ipv4() { "v4" } else { "v6" };
        (format!("tunnel.source_{family}"), address)
    });
    for (field, address) in local.chain(tunnel) {
        let server = config.servers.iter().find(|server| server.address == address);
        let device = config.devices.iter().find(|device| device.device.address == address);
        let holder = match (server, device) {
            (Some(server), _) => format!("the address of server {}", server.name),
            (None, Some(device)) => format!("the service address of device {}", device.name),
            (None, None) => continue,
        };
        let detail = format!("{address} is {holder}; write an address of the redirector's own");
        report.problem(&field, detail);
    }
}

fn check_interface_names(names: &[&str], report: &mut Report<'_>) {
    for (n, name) in names.iter().enumerate() {
        let field = format!("interface[{n}].name");
        if name.is_empty() || name.len() > INTERFACE_NAME_MAX {
            let detail = format!(
                "`{name}` has {} bytes, the kernel's interface names have 1 to \
                 {INTERFACE_NAME_MAX}; write the name that `ip link` shows",
                name.len()
            );
            report.problem(&field, detail);
        } else if name.contains(|c: char| c == '/' || c.is_whitespace()) {
            let detail = format!("`{name}` is no interface name; write the one `ip link` shows");
            report.problem(&field, detail);
        }
    }
}

fn check_twice(kind: &str, names: &[&str], report: &mut Report<'_>) {
    let mut first_uses: BTreeMap<&str, usize> = BTreeMap::new();
    for (n, name) in names.iter().enumerate() {
        let first = *first_uses.entry(name).or_insert(n);
        if first != n {
            let detail = format!(
                "the {kind} `{name}` is already given as {kind}[{first}]; remove one or choose \
                 another name"
            );
            report.problem(&format!("{kind}[{n}].name"), detail);
        }
    }
}

/// Asks `core` to make a spec of the servers and devices, and reports its problems here.
fn check_seed(config: &Config, report: &mut Report<'_>) {
    // The time stamps of a spec that is thrown away do not matter.
    let observed = Observed::default();
    let ctx = Context { now_ms: 0, limits: config.spec_limits(), observed: &observed };
    let Err(refusal) = config.seed().spec(&Spec::default(), &ctx) else { return };
    let stand_ins = stand_ins(config, report);
    let only_follows = |problem: &SpecProblem| {
        report.has_problem_in(&problem.field)
            || (problem.code == "no_local_address" && report.has_problem_in("local"))
            || (problem.code == "no_tunnel_source" && report.has_problem_in("tunnel"))
            || stand_ins.iter().any(|address| mentions(&problem.detail, address))
    };
    let news: Vec<SpecProblem> =
        refusal.problems.into_iter().filter(|problem| !only_follows(problem)).collect();
    for problem in news {
        report.problem(&problem.field, problem.detail);
    }
}

/// The addresses that stand where the file has none that can be read.
fn stand_ins(config: &Config, report: &Report<'_>) -> Vec<String> {
    let servers = config.servers.iter().enumerate();
    let servers = servers.map(|(n, each)| (format!("server[{n}].address"), each.address));
    let devices = config.devices.iter().enumerate();
    let devices = devices.map(|(n, each)| (format!("device[{n}].address"), each.device.address));
    let unread = servers.chain(devices).filter(|(field, _)| report.has_problem_in(field));
    unread.map(|(_, address)| address.to_string()).collect()
}

/// Whether the text has the address as a word: 198.18.0.1 is not in 198.18.0.12.
fn mentions(text: &str, address: &str) -> bool {
    let is_address = |c: char| c.is_ascii_alphanumeric() || c == '.';
    text.split(|c| !is_address(c)).any(|word| word == address)
}
