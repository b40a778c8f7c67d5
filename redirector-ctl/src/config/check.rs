//! What cannot be seen in one field alone: names used twice, and everything that `core` says of
//! servers and devices.

use std::collections::{BTreeMap, BTreeSet};

use super::problem::Report;
use super::sections::{Draft, Placed};
use crate::core::change::{Context, SpecLimits, SpecProblem};
use crate::core::observed::Observed;
use crate::core::seed::{Seed, SeedDevice, SeedServer};
use crate::core::spec::Spec;

/// Longest name of a network interface: `IFNAMSIZ` less the final 0 (netdevice(7)).
const INTERFACE_NAME_MAX: usize = 15;

/// Checks what was read of the file as a whole.
pub(super) fn check(draft: &Draft, report: &mut Report<'_>) {
    check_interfaces(&draft.interfaces, report);
    check_names(&draft.interfaces, "interface", report);
    check_names(&draft.servers, "server", report);
    check_names(&draft.devices, "device", report);
    check_seed(draft, report);
}

fn check_interfaces<T>(interfaces: &[Placed<T>], report: &mut Report<'_>) {
    for placed in interfaces {
        let Some(name) = &placed.name else { continue };
        let field = format!("{}.name", placed.path);
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

fn check_names<T>(list: &[Placed<T>], kind: &str, report: &mut Report<'_>) {
    let mut first_uses: BTreeMap<&str, &str> = BTreeMap::new();
    for placed in list {
        let Some(name) = &placed.name else { continue };
        if let Some(first) = first_uses.get(name.as_str()) {
            let detail = format!(
                "the {kind} `{name}` is already given as {first}; remove one or choose another name"
            );
            report.problem(&format!("{}.name", placed.path), detail);
        } else {
            first_uses.insert(name, &placed.path);
        }
    }
}

/// Asks `core` to make a spec of the servers and devices, and reports its problems here.
fn check_seed(draft: &Draft, report: &mut Report<'_>) {
    let servers = first_of_each_name(&draft.servers);
    let devices = first_of_each_name(&draft.devices);
    let seed = Seed {
        servers: servers.iter().map(|(_, server): &(_, &SeedServer)| (*server).clone()).collect(),
        devices: devices.iter().map(|(_, device): &(_, &SeedDevice)| (*device).clone()).collect(),
    };
    let limits =
        SpecLimits { devices_max: draft.limits.devices_max, servers_max: draft.limits.servers_max };
    // The time stamps of a spec that is thrown away do not matter.
    let observed = Observed::default();
    let ctx = Context { now_ms: 0, limits, observed: &observed };
    let Err(refusal) = seed.spec(&Spec::default(), &ctx) else { return };
    let unread = names_of_unread(&draft.servers);
    for problem in &refusal.problems {
        if !only_follows(problem, &seed, &unread) {
            let field = in_file(&problem.field, &servers, &devices);
            report.problem(&field, problem.detail.clone());
        }
    }
}

/// The readable items with the names that were not used before, and where the file has them.
fn first_of_each_name<T>(list: &[Placed<T>]) -> Vec<(&str, &T)> {
    let mut seen = BTreeSet::new();
    list.iter()
        .filter(|placed| seen.insert(&placed.name))
        .filter_map(|placed| Some((placed.path.as_str(), placed.item.as_ref()?)))
        .collect()
}

fn names_of_unread(servers: &[Placed<SeedServer>]) -> BTreeSet<&str> {
    let unread = servers.iter().filter(|placed| placed.item.is_none());
    unread.filter_map(|placed| placed.name.as_deref()).collect()
}

/// Whether the problem is only that `core` was not told of a server that has mistakes of its own.
fn only_follows(problem: &SpecProblem, seed: &Seed, unread: &BTreeSet<&str>) -> bool {
    let Some((list, index, rest)) = split(&problem.field) else { return false };
    let Some(device) = seed.devices.get(index).filter(|_| list == "device") else { return false };
    let server = match split(rest) {
        Some(("servers", index, "")) => device.device.servers.get(index),
        _ if rest == "server" => device.device.server.as_ref(),
        _ => None,
    };
    server.is_some_and(|name| unread.contains(name.as_str()))
}

/// `core` counts only what it was given; the file has more where an item could not be read.
fn in_file<S, D>(field: &str, servers: &[(&str, S)], devices: &[(&str, D)]) -> String {
    let Some((list, index, rest)) = split(field) else { return field.to_owned() };
    let path = match list {
        "server" => servers.get(index).map(|(path, _)| *path),
        "device" => devices.get(index).map(|(path, _)| *path),
        _ => None,
    };
    match path {
        Some(path) if rest.is_empty() => path.to_owned(),
        Some(path) => format!("{path}.{rest}"),
        None => field.to_owned(),
    }
}

/// Takes `device[2].servers[1]` apart into `device`, 2 and `servers[1]`.
fn split(field: &str) -> Option<(&str, usize, &str)> {
    let (list, rest) = field.split_once('[')?;
    let (index, rest) = rest.split_once(']')?;
    Some((list, index.parse().ok()?, rest.strip_prefix('.').unwrap_or(rest)))
}
