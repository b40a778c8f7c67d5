//! Changes of devices: put and remove.

use std::collections::{BTreeMap, BTreeSet};

use super::super::change::{Context, DeviceSpec};
use super::super::check;
use super::super::fitness::obstacle;
use super::super::ports::merged;
use super::super::spec::{Association, Cause, Device, FlowPolicy, Name, Spec};
use super::super::validate::{self, Problems};
use super::moves::{self, Left, Turn};
use super::service;
use super::taken::Taken;

/// A device as it should be.
pub(in crate::core) struct DevicePut<'a> {
    /// Its name.
    pub(in crate::core) name: &'a Name,
    /// Its settings.
    pub(in crate::core) device: &'a DeviceSpec,
    /// Whether `device.server` moves a device that exists; otherwise it only counts for a new one.
    pub(in crate::core) honour_server: bool,
}

/// Puts a device into a spec that does not hold it; `was` is the device of that name until now.
/// `taken` is by the devices that the spec holds.
pub(in crate::core) fn put(
    (spec, taken): (&mut Spec, &Taken),
    put: &DevicePut<'_>,
    was: Option<Device>,
    ctx: &Context<'_>,
    problems: &mut Problems,
) {
    validate::name(put.name, "name", problems);
    if let Some(word) = &put.device.keep_apart {
        validate::name(word, "keep_apart", problems);
    }
    check::judge(put.device, problems);
    service::check((spec, taken), put.device, ctx, problems);
    check_servers(spec, put.device, problems);
    service::check_returns((spec, taken), put.device, problems);
    service::check_room(taken, put.device, was.as_ref(), ctx, problems);
    let kept = was.as_ref().map(|was| was.id).filter(|id| *id < ctx.limits.devices_max);
    let Some(id) = kept.or_else(|| taken.free_id(ctx.limits.devices_max)) else {
        let detail = format!(
            "all {} places for devices are taken: remove one or raise limits.devices_max",
            ctx.limits.devices_max
        );
        problems.refused("devices_full", "name", detail);
        return;
    };
    let was = was.filter(|was| was.id == id);
    let check_wish = was.is_none() || put.honour_server;
    if let Some(server) = put.device.server.as_ref().filter(|_| check_wish) {
        let stays = was.as_ref().is_some_and(|was| was.association.server == *server);
        check_wished(spec, put, server, problems);
        if !stays {
            check_fit(spec, put.name, server, ctx, problems);
        }
    }
    let device = settled(spec, put, id, was, ctx);
    spec.devices.insert(put.name.clone(), device);
}

/// Removes a device. Its epoch is closed, so that its flows are reset and never taken for flows of
/// the next holder of its id.
pub(super) fn remove(spec: &mut Spec, name: &Name, problems: &mut Problems) {
    match spec.devices.remove(name) {
        Some(device) => {
            moves::next_epoch(&mut spec.slots, device.id);
        }
        None => {
            problems.not_found("unknown_device", "name", format!("there is no device {name}"));
        }
    }
}

/// Removes devices and puts others; each device is looked at once.
pub(super) fn patch(
    spec: &mut Spec,
    gone: &[Name],
    wishes: &BTreeMap<Name, DeviceSpec>,
    ctx: &Context<'_>,
    problems: &mut Problems,
) {
    for (n, name) in gone.iter().enumerate() {
        let mut part = Problems::default();
        remove(spec, name, &mut part);
        problems.under(&format!("remove[{n}]"), part);
    }
    let known: Vec<(&Name, Option<Device>)> =
        wishes.keys().map(|name| (name, spec.devices.remove(name))).collect();
    let mut taken = Taken::by(spec);
    // Ids that remain are taken first, so that no new device gets one of them.
    let (kept, new): (Vec<_>, Vec<_>) = known.into_iter().partition(|(_, was)| was.is_some());
    for (name, was) in kept.into_iter().chain(new) {
        let device = &wishes[name];
        let mut part = Problems::default();
        check::judge_from_outside(device, &mut part);
        let wish = DevicePut { name, device, honour_server: true };
        put((spec, &taken), &wish, was, ctx, &mut part);
        if let Some(put) = spec.devices.get(name) {
            taken.add(name, put);
        }
        problems.under(&format!("put.{name}"), part);
    }
}

/// The device with its association: the one that it had, as far as the new settings allow it.
fn settled(
    spec: &mut Spec,
    put: &DevicePut<'_>,
    id: u32,
    was: Option<Device>,
    ctx: &Context<'_>,
) -> Device {
    let wish = put.device;
    let Some(was) = was else {
        let server = wish.server.clone().unwrap_or_else(|| choose(spec, put, ctx));
        let epoch = moves::next_epoch(&mut spec.slots, id);
        let (backup, drains, cause) = (None, Vec::new(), Cause::Planned);
        let changed_at_ms = ctx.now_ms;
        let association = Association { server, backup, epoch, drains, cause, changed_at_ms };
        return device(wish, id, association);
    };
    let same_flows = was.address == wish.address
        && was.port_map() == wish.port_map()
        && was.forwarding == wish.forwarding
        && was.tracking == wish.tracking;
    let mut next = device(wish, id, was.association);
    if next.association.backup.as_ref().is_some_and(|backup| !wish.servers.contains(backup)) {
        next.association.backup = None;
    }
    let wished = wish.server.clone().filter(|_| put.honour_server);
    let present = Some(next.association.server.clone()).filter(|now| wish.servers.contains(now));
    let server = wished.or(present).unwrap_or_else(|| choose(spec, put, ctx));
    // Flows name the old address or port in every packet of theirs: no later packet could be
    // brought back to them. Servers that got packets in one form do not know them in another, and
    // what has an entry is judged otherwise than what has none.
    let policy = if same_flows { wish.on_planned } else { FlowPolicy::Reset };
    if server != next.association.server || !same_flows {
        let cause = Cause::Planned;
        let left = if same_flows { Left::of(&spec.servers, &next, &server) } else { Left::Serving };
        let turn = Turn { server: &server, policy, cause, left };
        moves::turn(&mut spec.slots, &mut next, &turn, ctx.now_ms);
    }
    if next.association.backup.as_ref() == Some(&next.association.server) {
        next.association.backup = None;
    }
    next
}

fn device(wish: &DeviceSpec, id: u32, association: Association) -> Device {
    Device {
        id,
        address: wish.address,
        port: wish.port,
        ports: merged(wish.ports.iter().copied()),
        protocol: wish.protocol,
        server_port: wish.server_port,
        forwarding: wish.forwarding,
        tracking: wish.tracking,
        affinity: wish.affinity,
        mss_max: wish.mss_max,
        tcp_idle_timeout_ms: wish.tcp_idle_timeout_ms,
        udp_idle_timeout_ms: wish.udp_idle_timeout_ms,
        servers: wish.servers.clone(),
        pinned: wish.pinned,
        keep_apart: wish.keep_apart.clone(),
        on_planned: wish.on_planned,
        on_overload: wish.on_overload,
        fail_back_after_ms: wish.fail_back_after_ms,
        check: wish.check.clone(),
        check_pace: wish.check_pace,
        association,
    }
}

/// The first server that is fit and does not fill; failing that the first fit one; failing that the
/// first with nothing firm against it; failing that the first.
fn choose(spec: &Spec, put: &DevicePut<'_>, ctx: &Context<'_>) -> Name {
    let servers = &put.device.servers;
    let against = |server: &&Name| obstacle(spec, ctx.observed, server, put.name);
    let is_filling = |server: &Name| spec.servers.get(server).is_some_and(|s| s.is_filling());
    let fit = servers.iter().filter(|server| against(server).is_none());
    let fit = fit.min_by_key(|server| is_filling(server));
    let soft = || servers.iter().find(|server| against(server).is_none_or(|o| !o.is_firm()));
    fit.or_else(soft).or_else(|| servers.first()).cloned().unwrap_or_default()
}

fn check_servers(spec: &Spec, wish: &DeviceSpec, problems: &mut Problems) {
    if wish.servers.is_empty() {
        let detail = "a device needs at least one server through which it can be reached";
        problems.refused("no_servers", "servers", detail);
    }
    let mut seen = BTreeSet::new();
    for (n, name) in wish.servers.iter().enumerate() {
        let field = format!("servers[{n}]");
        if !seen.insert(name) {
            let detail = format!("server {name} is listed twice: list it once");
            problems.malformed("duplicate_server", &field, detail);
            continue;
        }
        let Some(server) = spec.servers.get(name) else {
            let detail = format!("there is no server {name}: add it first, or correct the name");
            problems.refused("unknown_server", &field, detail);
            continue;
        };
        if !wish.forwarding.joins(wish.address, server.address) {
            let detail = format!(
                "server {name} has address {} and the device {}: with {} both must be of one \
                 family; ipip and gue join any two",
                server.address,
                wish.address,
                wish.forwarding.name()
            );
            problems.refused("family_mismatch", &field, detail);
        }
    }
}

fn check_wished(spec: &Spec, put: &DevicePut<'_>, server: &Name, problems: &mut Problems) {
    if put.device.servers.contains(server) {
        return; // Whether it exists has been checked with the list.
    }
    let known = if spec.servers.contains_key(server) { "not in the list" } else { "unknown" };
    let detail = format!(
        "server {server} is {known}: choose one of the device's servers ({})",
        put.device.servers.join(", ")
    );
    problems.refused("server_not_allowed", "server", detail);
}

fn check_fit(
    spec: &Spec,
    device: &Name,
    server: &Name,
    ctx: &Context<'_>,
    problems: &mut Problems,
) {
    if !spec.servers.contains_key(server) {
        return;
    }
    if let Some(found) = obstacle(spec, ctx.observed, server, device).filter(|o| o.is_firm()) {
        let detail = format!("server {server} {found}: choose another, or none to have it chosen");
        problems.refused("server_unfit", "server", detail);
    }
}

impl Device {
    /// What happens to open flows when the association changes for this reason.
    #[must_use]
    pub fn policy_of(&self, cause: Cause) -> FlowPolicy {
        match cause {
            Cause::Failure => FlowPolicy::Reset,
            Cause::Planned => self.on_planned,
            Cause::Overload => self.on_overload.unwrap_or(self.on_planned.under_load()),
        }
    }

    /// Servers from which packets of this device may come, each once: those allowed and those on
    /// which flows drain.
    pub fn serving(&self) -> impl Iterator<Item = &Name> {
        let drains = self.association.drains.iter().map(|drain| &drain.server);
        let all: BTreeSet<&Name> = self.servers.iter().chain(drains).collect();
        all.into_iter()
    }
}
