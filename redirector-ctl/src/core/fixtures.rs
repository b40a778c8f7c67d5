//! Small specs and observations for the tests of the core.

use std::net::IpAddr;

use super::change::{Change, Context, DeviceSpec, SpecLimits};
use super::health::{Health, PathHealth, Silence};
use super::observed::Observed;
use super::op::NextHop;
use super::service::FamilySet;
use super::spec::{
    Affinity, Check, CheckPace, FlowPolicy, Forwarding, LoadSources, Name, Protocol, Spec, Tracking,
};

pub(crate) const LIMITS: SpecLimits = SpecLimits {
    devices_max: 64,
    servers_max: 16,
    locals: FamilySet::BOTH,
    tunnel_sources: FamilySet::BOTH,
    fill_ms: 0,
};
pub(crate) const HOUR_MS: u64 = 3_600_000;

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn names(names: &[&str]) -> Vec<Name> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

pub(crate) fn at(now_ms: u64, observed: &Observed) -> Context<'_> {
    Context { now_ms, limits: LIMITS, observed }
}

pub(crate) fn server(n: u8) -> Change {
    let address = ip(&format!("10.0.2.{n}"));
    let load = LoadSources::default();
    Change::PutServer { name: format!("s{n}"), address, state: None, load }
}

/// Device number `n` on these servers; the first of them has it.
pub(crate) fn device_spec(n: u8, servers: &[&str]) -> DeviceSpec {
    DeviceSpec {
        address: ip(&format!("10.0.1.{n}")),
        port: 10809,
        ports: Vec::new(),
        protocol: Protocol::Tcp,
        server_port: 10900 + u16::from(n),
        forwarding: Forwarding::Nat,
        tracking: Tracking::Tracked,
        affinity: Affinity::Flow,
        mss_max: None,
        tcp_idle_timeout_ms: None,
        udp_idle_timeout_ms: None,
        servers: names(servers),
        pinned: false,
        keep_apart: None,
        on_planned: FlowPolicy::Drain { deadline_ms: HOUR_MS },
        on_overload: None,
        on_failure: None,
        fail_back_after_ms: None,
        check: Check::Connect,
        check_pace: CheckPace::default(),
        server: None,
    }
}

pub(crate) fn device(n: u8, servers: &[&str]) -> Change {
    Change::PutDevice { name: format!("d{n}"), device: device_spec(n, servers) }
}

/// The spec after these changes, all of which are right, at time 1000 with nothing known of health.
pub(crate) fn spec(changes: &[Change]) -> Spec {
    changed(&Spec::default(), changes, &at(1000, &Observed::default()))
}

pub(crate) fn changed(spec: &Spec, changes: &[Change], ctx: &Context<'_>) -> Spec {
    let apply = |spec: Spec, change: &Change| match spec.apply(change, ctx) {
        Ok(next) => next,
        Err(refused) => panic!("{change} is refused: {refused}"),
    };
    changes.iter().fold(spec.clone(), apply)
}

/// Three servers and three devices, each of which may use all three.
pub(crate) fn three_and_three() -> Spec {
    let mut d2 = device_spec(2, &["s1", "s2", "s3"]);
    d2.server = Some("s2".into());
    let mut d3 = device_spec(3, &["s1", "s2", "s3"]);
    d3.server = Some("s3".into());
    spec(&[
        server(1),
        server(2),
        server(3),
        device(1, &["s1", "s2", "s3"]),
        Change::PutDevice { name: "d2".into(), device: d2 },
        Change::PutDevice { name: "d3".into(), device: d3 },
    ])
}

/// All servers of the spec healthy for all their devices, and reachable.
pub(crate) fn all_well(spec: &Spec) -> Observed {
    let mut observed = Observed::default();
    for (device, known) in &spec.devices {
        for server in &known.servers {
            set_path(&mut observed, server, device, Health::Healthy, 1000);
        }
    }
    for (name, server) in &spec.servers {
        let mac = [2, 0, 0, 0, 0, u8::try_from(server.id).unwrap_or(0xff)];
        observed.next_hops.insert(name.clone(), NextHop { mac, port: 1 });
    }
    observed
}

/// What checks of one path say since `since_ms`; a dead path is a refused one.
pub(crate) fn set_path(
    observed: &mut Observed,
    server: &str,
    device: &str,
    health: Health,
    since_ms: u64,
) {
    let failing = matches!(health, Health::Dead | Health::Suspect);
    let path = PathHealth {
        health,
        since_ms,
        answer_at_ms: (health != Health::Unknown).then_some(since_ms),
        refused_since_ms: failing.then_some(since_ms),
        well_at_ms: (health == Health::Healthy).then_some(since_ms),
        last_error: failing.then(|| "connection refused".to_owned()),
        ..PathHealth::default()
    };
    // By then the others have been asked for the device as well.
    for (_, of) in
        observed.paths.iter_mut().filter(|(name, of)| *name != server && of.contains_key(device))
    {
        of.change(&device.to_owned(), |other| {
            other.well_at_ms = (other.health == Health::Healthy).then_some(since_ms);
        });
    }
    observed.paths.entry(server.to_owned()).or_default().insert(device.to_owned(), path);
}

/// The server is refused, or falls silent, for all its devices.
pub(crate) fn kill(observed: &mut Observed, server: &str, silent: bool, since_ms: u64) {
    let devices: Vec<Name> =
        observed.paths.get(server).into_iter().flatten().map(|(name, _)| name.clone()).collect();
    for device in devices {
        set_path(observed, server, &device, Health::Dead, since_ms);
        if silent && let Some(of) = observed.paths.get_mut(server) {
            of.change(&device, |path| {
                path.answer_at_ms = Some(since_ms.saturating_sub(200));
                path.silence = Some(Silence { since_ms, last_ms: since_ms });
                path.last_error = Some("no answer within 200 ms".to_owned());
            });
        }
    }
}
