//! Changes of servers: put, remove, administrative state.

use std::net::IpAddr;

use super::super::change::Context;
use super::super::spec::{AdminState, Device, Filling, LoadSources, Name, Server, Spec};
use super::super::validate::{self, Problems};
use super::service;

/// A server as it should be.
pub(in crate::core) struct ServerPut<'a> {
    /// Its name.
    pub(in crate::core) name: &'a Name,
    /// Its address.
    pub(in crate::core) address: IpAddr,
    /// What the operator wants of it.
    pub(in crate::core) state: AdminState,
    /// Where figures about its load come from.
    pub(in crate::core) load: &'a LoadSources,
}

/// Puts a server into a spec that does not hold it; `was` is the server of that name until now.
pub(in crate::core) fn put(
    spec: &mut Spec,
    put: &ServerPut<'_>,
    was: Option<Server>,
    ctx: &Context<'_>,
    problems: &mut Problems,
) {
    validate::name(put.name, "name", problems);
    validate::host_address(put.address, "address", problems);
    for (other, server) in &spec.servers {
        if server.address == put.address {
            let detail = format!("{} is the address of server {other} already", put.address);
            problems.conflict("duplicate_address", "address", detail);
        }
    }
    for (device, known) in &spec.devices {
        if known.address == put.address {
            let detail = format!(
                "{} is the service address of device {device}: the server needs one of its own",
                put.address
            );
            problems.conflict("service_address", "address", detail);
        }
    }
    for (field, detail) in put.load.flaws() {
        problems.malformed("bad_load_source", field, detail);
    }
    service::check_server(&spec.devices, (put.name, put.address), &ctx.limits, problems);
    let kept = was.as_ref().map(|was| was.id).filter(|id| *id <= ctx.limits.servers_max);
    let Some(id) = kept.or_else(|| free_id(spec, ctx.limits.servers_max)) else {
        let detail = format!(
            "all {} places for servers are taken: remove one or raise limits.servers_max",
            ctx.limits.servers_max
        );
        problems.refused("servers_full", "name", detail);
        return;
    };
    let mut server = Server {
        id,
        address: put.address,
        state: was.as_ref().map_or(put.state, |was| was.state),
        incarnation: was.as_ref().map_or(0, |was| was.incarnation),
        life_over: was.as_ref().is_some_and(|was| was.life_over),
        filling: was.as_ref().and_then(|was| was.filling),
        load: put.load.clone(),
    };
    if was.is_none_or(|was| was.id != id || was.address != put.address) {
        begin_life(spec, &mut server, ctx);
    }
    set(spec, &mut server, put.state, ctx);
    spec.servers.insert(put.name.clone(), server);
}

/// Removes a server that nothing refers to.
pub(super) fn remove(spec: &mut Spec, name: &Name, problems: &mut Problems) {
    if spec.servers.remove(name).is_none() {
        unknown(name, problems);
        return;
    }
    for (device, known) in &spec.devices {
        let detail = if known.servers.contains(name) {
            format!("device {device} lists it: take it out of the device's servers first")
        } else if drains_on(known, name) {
            format!("flows of device {device} still drain on it: wait, or move it with reset")
        } else {
            continue;
        };
        problems.conflict("server_in_use", "name", format!("server {name} is in use: {detail}"));
    }
}

fn drains_on(device: &Device, server: &Name) -> bool {
    device.association.drains.iter().any(|drain| drain.server == *server)
}

/// Sets what the operator wants of a server.
pub(super) fn set_state(
    spec: &mut Spec,
    (name, state): (&Name, AdminState),
    ctx: &Context<'_>,
    problems: &mut Problems,
) {
    let Some(mut server) = spec.servers.remove(name) else {
        unknown(name, problems);
        return;
    };
    set(spec, &mut server, state, ctx);
    spec.servers.insert(name.clone(), server);
}

/// The flows of a server that was out were reset, so that it begins a new life when it serves
/// again.
fn set(spec: &mut Spec, server: &mut Server, state: AdminState, ctx: &Context<'_>) {
    let was_out = std::mem::replace(&mut server.state, state).is_out();
    if was_out && !state.is_out() && !server.life_over {
        begin_life(spec, server, ctx);
    }
    if server.is_out() {
        server.filling = None;
    }
}

/// The next life of the server, or the first of a new holder of its id. If it is to serve, it takes
/// load gradually.
pub(super) fn begin_life(spec: &mut Spec, server: &mut Server, ctx: &Context<'_>) {
    let last = spec.slots.incarnations.entry(server.id).or_default();
    *last = last.wrapping_add(1);
    server.incarnation = *last;
    server.life_over = false;
    let filling = Filling::begin(ctx.now_ms, ctx.limits.fill_ms);
    server.filling = filling.filter(|_| !server.is_out());
}

pub(super) fn unknown(name: &Name, problems: &mut Problems) {
    problems.not_found("unknown_server", "name", format!("there is no server {name}"));
}

fn free_id(spec: &Spec, servers_max: u16) -> Option<u16> {
    let taken: std::collections::BTreeSet<u16> = spec.servers.values().map(|s| s.id).collect();
    (1..=servers_max).find(|id| !taken.contains(id))
}
