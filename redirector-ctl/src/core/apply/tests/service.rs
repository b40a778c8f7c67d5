//! What a device may say of its ports, families and treatment, and what it may not.

use super::super::super::ports::PortRange;
use super::super::super::service::FamilySet;
use super::super::super::spec::{Affinity, Device, Forwarding, LoadSources, Tracking};
use super::*;

fn ports(texts: &[&str]) -> Vec<PortRange> {
    texts.iter().map(|text| text.parse().expect("a range")).collect()
}

/// A device of its own address and port, with this treatment.
fn with(edit: impl FnOnce(&mut DeviceSpec)) -> Change {
    put("d9", edit)
}

/// A device as [`with`] has it, but with the same port at the servers.
fn direct(forwarding: Forwarding, edit: impl FnOnce(&mut DeviceSpec)) -> Change {
    with(|d| {
        (d.forwarding, d.server_port) = (forwarding, d.port);
        edit(d);
    })
}

fn any(d: &mut DeviceSpec) {
    (d.protocol, d.port, d.server_port) = (Protocol::Any, 0, 0);
}

fn put_server(name: &str, address: &str) -> Change {
    let (address, load) = (ip(address), LoadSources::default());
    Change::PutServer { name: name.into(), address, state: None, load }
}

/// The device of that name after these changes.
fn made(spec: &Spec, name: &str, changes: &[Change]) -> Device {
    changed(spec, changes, &at(2000, &Observed::default())).devices[name].clone()
}

#[test]
fn a_device_of_ipv6_has_servers_of_ipv6() {
    let spec = changed(
        &three_and_three(),
        &[put_server("v6a", "fd00:2::1"), put_server("v6b", "fd00:2::2")],
        &at(2000, &Observed::default()),
    );
    let v6 = |d: &mut DeviceSpec| {
        (d.address, d.servers) = (ip("fd00:1::9"), names(&["v6a", "v6b"]));
    };
    let device = made(&spec, "d9", &[with(v6)]);
    assert_eq!(device.service(), "[fd00:1::9]:10809/tcp");
    let mixed = with(|d| d.servers = names(&["s1", "v6a"]));
    assert_eq!(refused(&spec, &mixed), [problem("family_mismatch", Refused, "servers[1]")]);
    for forwarding in [Forwarding::Ipip, Forwarding::Gue] {
        let mixed = direct(forwarding, |d| d.servers = names(&["s1", "v6a"]));
        assert_eq!(made(&spec, "d9", &[mixed]).servers, names(&["s1", "v6a"]));
    }
}

#[test]
fn a_server_does_not_change_its_family_under_its_devices() {
    let spec = three_and_three();
    let found = refused(&spec, &put_server("s1", "fd00:2::1"));
    assert_eq!(found, vec![problem("family_mismatch", Refused, "address"); 3], "of each device");
    // Flows still drain on a server that the device does not list any more.
    let only = |n| device(n, &["s2", "s3"]);
    let changes = [move_to("d1", "s2", None), only(1), only(2), only(3)];
    let left = changed(&spec, &changes, &at(2000, &Observed::default()));
    let found = refused(&left, &put_server("s1", "fd00:2::1"));
    assert_eq!(found, [problem("family_mismatch", Refused, "address")]);
}

#[test]
fn a_configuration_that_changes_a_servers_family_ends_what_drains_there() {
    let well = Observed::default();
    let earlier = changed(&three_and_three(), &[move_to("d1", "s2", None)], &at(2000, &well));
    let mut seed = Seed::of(&earlier);
    seed.servers[0].address = ip("fd00:2::1");
    for each in &mut seed.devices {
        each.device.servers = names(&["s2", "s3"]);
    }
    let next = seed.spec(&earlier, &at(3000, &well)).expect("it is right");
    assert_eq!(next.devices["d1"].association.drains, []);
    assert_eq!(Seed::verify(&next, &at(3000, &well)), Ok(()));
}

#[test]
fn servers_of_a_direct_device_have_its_own_port() {
    let spec = three_and_three();
    for forwarding in [Forwarding::Dsr, Forwarding::Ipip, Forwarding::Gue] {
        let elsewhere = with(|d| d.forwarding = forwarding);
        let expected = problem("direct_server_port", Refused, "server_port");
        assert_eq!(refused(&spec, &elsewhere), [expected], "{}", forwarding.name());
        let device = made(&spec, "d9", &[direct(forwarding, |_| {})]);
        assert_eq!((device.forwarding, device.server_port), (forwarding, device.port));
    }
}

#[test]
fn what_full_nat_and_tunnels_send_from_must_be_there() {
    let spec = changed(
        &three_and_three(),
        &[put_server("v6", "fd00:2::1")],
        &at(2000, &Observed::default()),
    );
    let observed = Observed::default();
    let check = |change: &Change, locals, tunnel_sources| {
        let mut ctx = at(2000, &observed);
        ctx.limits = SpecLimits { locals, tunnel_sources, ..LIMITS };
        match spec.apply(change, &ctx) {
            Ok(_) => Vec::new(),
            Err(refused) => refused.problems.iter().map(|p| (p.code, p.field.clone())).collect(),
        }
    };
    let (v4, v6) = (FamilySet { v4: true, v6: false }, FamilySet { v4: false, v6: true });
    let full_nat = with(|d| d.forwarding = Forwarding::FullNat);
    let missing = vec![("no_local_address", "forwarding".to_owned())];
    assert_eq!(check(&full_nat, FamilySet::NONE, FamilySet::BOTH), missing);
    assert_eq!(check(&full_nat, v6, FamilySet::BOTH), missing);
    assert_eq!(check(&full_nat, v4, FamilySet::NONE), []);
    let mixed = direct(Forwarding::Gue, |d| d.servers = names(&["s1", "v6"]));
    let missing = ("no_tunnel_source", "forwarding".to_owned());
    assert_eq!(check(&mixed, FamilySet::NONE, FamilySet::NONE), [missing.clone(), missing.clone()]);
    assert_eq!(check(&mixed, FamilySet::NONE, v4), std::slice::from_ref(&missing));
    assert_eq!(check(&mixed, FamilySet::NONE, FamilySet::BOTH), []);
    let only_v4 = direct(Forwarding::Ipip, |d| d.address = ip("fd00:1::9"));
    assert_eq!(check(&only_v4, FamilySet::NONE, v4), [], "the servers' family counts");
    assert_eq!(check(&only_v4, FamilySet::NONE, v6), [missing]);
}

#[test]
fn a_server_moves_only_to_where_its_tunnels_have_a_source() {
    let observed = Observed::default();
    let tunnel = direct(Forwarding::Ipip, |d| d.servers = names(&["s4"]));
    let spec = changed(&three_and_three(), &[server(4), tunnel], &at(2000, &observed));
    let mut ctx = at(2000, &observed);
    assert!(spec.apply(&put_server("s4", "fd00:2::4"), &ctx).is_ok());
    ctx.limits.tunnel_sources.v6 = false;
    let error = spec.apply(&put_server("s4", "fd00:2::4"), &ctx).unwrap_err();
    assert_eq!(
        error.to_string(),
        "address: it serves device d9 with ipip, and there is no IPv6 address to send from: write \
         one into [tunnel] of the configuration"
    );
}

#[test]
fn what_does_not_go_together_is_refused_with_its_field() {
    let spec = three_and_three();
    for (change, code, field) in [
        (
            with(|d| (d.tracking, d.forwarding) = (Tracking::Stateless, Forwarding::FullNat)),
            "stateless_full_nat",
            "tracking",
        ),
        (
            with(|d| (d.tracking, d.affinity) = (Tracking::Stateless, Affinity::Client)),
            "stateless_affinity",
            "affinity",
        ),
        (
            with(|d| (d.tracking, d.on_planned) = (Tracking::Stateless, FlowPolicy::Keep)),
            "stateless_keep",
            "on_planned",
        ),
        (
            with(|d| {
                any(d);
                d.forwarding = Forwarding::FullNat;
            }),
            "full_nat_needs_ports",
            "forwarding",
        ),
        (
            with(|d| (d.protocol, d.mss_max) = (Protocol::Udp, Some(1400))),
            "wrong_protocol",
            "mss_max",
        ),
        (
            with(|d| {
                any(d);
                d.mss_max = Some(1400);
            }),
            "wrong_protocol",
            "mss_max",
        ),
        (with(|d| d.udp_idle_timeout_ms = Some(5000)), "wrong_protocol", "udp_idle_timeout_ms"),
        (
            with(|d| (d.protocol, d.tcp_idle_timeout_ms) = (Protocol::Udp, Some(5000))),
            "wrong_protocol",
            "tcp_idle_timeout_ms",
        ),
    ] {
        assert_eq!(refused(&spec, &change), [problem(code, Refused, field)], "{change}");
    }
    for mss_max in [0, 215, 65_496] {
        let change = with(|d| d.mss_max = Some(mss_max));
        assert_eq!(refused(&spec, &change), [problem("out_of_range", Malformed, "mss_max")]);
    }
    for ms in [0, 999, 30 * 24 * HOUR_MS + 1] {
        let change = with(|d| d.tcp_idle_timeout_ms = Some(ms));
        let expected = problem("out_of_range", Malformed, "tcp_idle_timeout_ms");
        assert_eq!(refused(&spec, &change), [expected]);
    }
}

#[test]
fn protocol_any_has_no_ports_and_is_asked_for_its_host_only() {
    let spec = three_and_three();
    let device = made(&spec, "d9", &[with(any)]);
    assert_eq!(device.service(), "10.0.1.9/any");
    assert!(device.is_wide());
    assert_eq!((device.port_first(), device.port_last(), device.server_port_first()), (0, 0, 0));
    let ported = with(|d| {
        (d.protocol, d.ports, d.check) =
            (Protocol::Any, ports(&["1-2"]), super::super::super::spec::Check::Smb);
    });
    assert_eq!(
        refused(&spec, &ported),
        [
            problem("check_needs_port", Refused, "check"),
            problem("ports_of_any", Refused, "port"),
            problem("ports_of_any", Refused, "server_port"),
            problem("ports_of_any", Refused, "ports"),
        ]
    );
    let spec = changed(&spec, &[with(any)], &at(2000, &Observed::default()));
    let again = put("d8", any);
    let mut found = refused(&spec, &again);
    found.sort();
    assert_eq!(
        found,
        [
            problem("duplicate_server_protocol", Conflict, "protocol"),
            problem("duplicate_service", Conflict, "address"),
        ]
    );
    let elsewhere = put("d8", |d| {
        any(d);
        (d.address, d.servers) = (ip("10.0.1.8"), names(&["s3"]));
    });
    assert!(spec.apply(&elsewhere, &at(2000, &Observed::default())).is_ok());
}

#[test]
fn ports_are_kept_in_order_and_must_stay_ports_at_the_servers() {
    let spec = three_and_three();
    let device = made(&spec, "d9", &[with(|d| d.ports = ports(&["10812", "10810-10811", "200"]))]);
    assert_eq!(device.ports, ports(&["200", "10810-10812"]));
    assert_eq!(device.all_ports(), ports(&["200", "10809-10812"]));
    assert_eq!(device.all_server_ports(), ports(&["300", "10909-10912"]));
    assert_eq!((device.port_first(), device.port_last()), (200, 10812));
    assert_eq!(device.server_port_first(), 300);
    for (change, code) in [
        (with(|d| d.ports = ports(&["65500"])), "ports_out_of_range"),
        (with(|d| (d.server_port, d.ports) = (9, ports(&["10800"]))), "ports_out_of_range"),
        (with(|d| d.ports = ports(&["20000-20016"])), "ports_with_gaps"),
        (
            with(|d| d.ports = (1..=17).map(|n| PortRange::new(2 * n, 2 * n).unwrap()).collect()),
            "too_many_ranges",
        ),
    ] {
        assert_eq!(refused(&spec, &change), [problem(code, Refused, "ports")]);
    }
}

#[test]
fn ports_of_one_address_or_server_belong_to_one_device() {
    let beside = with(|d| d.ports = ports(&["860-863"]));
    let spec = changed(&three_and_three(), &[beside], &at(2000, &Observed::default()));
    let service = problem("duplicate_service", Conflict, "address");
    let at_server = problem("duplicate_server_port", Conflict, "server_port");
    let one = |port: u16, server_port: u16, more: &[&str]| {
        put("d8", |d| (d.port, d.server_port, d.ports) = (port, server_port, ports(more)))
    };
    assert_eq!(refused(&spec, &one(863, 20000, &[])), std::slice::from_ref(&service));
    assert_eq!(refused(&spec, &one(80, 20000, &["10000-10809"])), {
        [problem("ports_with_gaps", Refused, "ports"), service]
    });
    assert_eq!(refused(&spec, &one(864, 963, &[])), [at_server], "where 863 is at the servers");
    assert!(spec.apply(&one(864, 863, &[]), &at(2000, &Observed::default())).is_ok());
}

#[test]
fn one_device_of_an_address_or_server_has_many_ports_in_a_row() {
    let wide = with(|d| d.ports = ports(&["10810-10830"]));
    let spec = changed(&three_and_three(), &[wide], &at(2000, &Observed::default()));
    let another = |address: &str, servers: &[&str]| {
        put("d8", |d| {
            (d.address, d.servers) = (ip(address), names(servers));
            (d.port, d.server_port, d.ports) = (20000, 20000, ports(&["20001-20030"]));
        })
    };
    let second = |code| problem(code, Conflict, "ports");
    assert_eq!(refused(&spec, &another("10.0.1.9", &["s3"])), [second("second_wide_service")]);
    assert_eq!(refused(&spec, &another("10.0.1.8", &["s2"])), [second("second_wide_server")]);
    assert!(spec.apply(&another("10.0.1.8", &["s3"]), &at(2000, &Observed::default())).is_ok());
    let narrow = put("d8", |d| (d.port, d.server_port) = (20000, 20000));
    assert!(spec.apply(&narrow, &at(2000, &Observed::default())).is_ok(), "beside a wide one");
}

#[test]
fn servers_that_answer_by_themselves_may_have_one_port_for_many_devices() {
    let spec = three_and_three();
    let first = direct(Forwarding::Dsr, |_| {});
    let second = put("d8", |d| {
        (d.address, d.forwarding) = (ip("10.0.1.8"), Forwarding::Ipip);
        d.server_port = d.port;
    });
    let nat = put("d7", |d| (d.address, d.server_port) = (ip("10.0.1.7"), d.port));
    let full_nat = put("d6", |d| {
        (d.address, d.forwarding) = (ip("10.0.1.6"), Forwarding::FullNat);
        d.server_port = d.port;
    });
    let all = [first, second, nat];
    let spec = changed(&spec, &all, &at(2000, &Observed::default()));
    let expected = problem("duplicate_server_port", Conflict, "server_port");
    assert_eq!(refused(&spec, &full_nat), [expected], "but not two that answer this way");
}

#[test]
fn ports_and_what_they_come_to_at_the_servers_have_their_limits() {
    let observed = Observed::default();
    let mut ctx = at(2000, &observed);
    ctx.limits.devices_max = 4;
    let spec = changed(&Spec::default(), &[server(1), server(2)], &ctx);
    let many = put("d9", |d| {
        d.ports = (0..16).map(|n| PortRange::new(100 + 20 * n, 115 + 20 * n).unwrap()).collect();
    });
    let codes = |ctx: &_| match spec.apply(&many, ctx) {
        Ok(_) => Vec::new(),
        Err(refused) => refused.problems.iter().map(|p| p.code).collect(),
    };
    assert_eq!(codes(&ctx), ["services_full", "returns_full"]);
    ctx.limits.devices_max = 65;
    assert_eq!(codes(&ctx), Vec::<&str>::new());
}

#[test]
fn another_way_to_the_servers_retires_the_open_flows_and_other_settings_do_not() {
    let well = Observed::default();
    let plain = |d: &mut DeviceSpec| d.server_port = d.port;
    let spec = changed(&three_and_three(), &[put("d9", plain)], &at(1000, &well));
    let after = |edit: &dyn Fn(&mut DeviceSpec)| {
        let change = put("d9", |d| {
            plain(d);
            edit(d);
        });
        let spec = changed(&spec, &[move_to("d9", "s2", None), change], &at(2000, &well));
        let now = &spec.devices["d9"].association;
        (now.epoch, now.drains.len())
    };
    for same in [
        &(|_: &mut DeviceSpec| {}) as &dyn Fn(&mut DeviceSpec),
        &|d| d.affinity = Affinity::Client,
        &|d| d.mss_max = Some(1400),
        &|d| d.tcp_idle_timeout_ms = Some(5000),
        &|d| d.ports = ports(&["10809"]),
    ] {
        assert_eq!(after(same), (2, 1));
    }
    for other in [
        &(|d: &mut DeviceSpec| d.ports = ports(&["10810"])) as &dyn Fn(&mut DeviceSpec),
        &|d| d.protocol = Protocol::Udp,
        &|d| d.address = ip("10.0.1.10"),
        &|d| d.server_port = 700,
        &|d| d.forwarding = Forwarding::Dsr,
        &|d| d.tracking = Tracking::Stateless,
    ] {
        assert_eq!(after(other), (3, 0));
    }
}
