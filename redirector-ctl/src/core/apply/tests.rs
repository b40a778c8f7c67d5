//! Every refusal, all problems at once, and what an accepted change keeps.

mod filling;
mod full;
mod leaving;
mod many;
mod servers;
mod service;
mod stateless;

use super::super::change::{Change, DeviceSpec, Move, ProblemKind, SpecError, SpecLimits};
use super::super::fixtures::*;
use super::super::health::Health;
use super::super::observed::Observed;
use super::super::seed::Seed;
use super::super::spec::{AdminState, Cause, FlowPolicy, LoadSources, Protocol, Spec};

/// The problems of a change that must be refused: code, kind, field.
fn refused(spec: &Spec, change: &Change) -> Vec<(&'static str, ProblemKind, String)> {
    refused_seeing(spec, change, &Observed::default())
}

fn refused_seeing(
    spec: &Spec,
    change: &Change,
    observed: &Observed,
) -> Vec<(&'static str, ProblemKind, String)> {
    match spec.apply(change, &at(2000, observed)) {
        Ok(_) => panic!("{change} was accepted"),
        Err(SpecError { problems }) => {
            problems.into_iter().map(|p| (p.code, p.kind, p.field)).collect()
        }
    }
}

fn problem(
    code: &'static str,
    kind: ProblemKind,
    field: &str,
) -> (&'static str, ProblemKind, String) {
    (code, kind, field.to_owned())
}

fn move_to(device: &str, server: &str, policy: Option<FlowPolicy>) -> Change {
    let moves = vec![Move { device: device.into(), server: server.into(), policy }];
    Change::Associate { moves, cause: Cause::Planned }
}

fn put(name: &str, edit: impl FnOnce(&mut DeviceSpec)) -> Change {
    let mut device = device_spec(9, &["s1", "s2"]);
    edit(&mut device);
    Change::PutDevice { name: name.into(), device }
}

use ProblemKind::{Conflict, Malformed, NotFound, Refused};

#[test]
fn a_device_needs_a_service_address_of_its_own_and_known_servers() {
    let spec = three_and_three();
    for (change, expected) in [
        (put("-", |_| {}), problem("bad_name", Malformed, "name")),
        (put("d9", |d| d.address = ip("224.0.0.1")), problem("bad_address", Malformed, "address")),
        (put("d9", |d| d.port = 0), problem("bad_port", Malformed, "port")),
        (put("d9", |d| d.server_port = 0), problem("bad_port", Malformed, "server_port")),
        (
            put("d9", |d| d.address = ip("10.0.1.1")),
            problem("duplicate_service", Conflict, "address"),
        ),
        (put("d9", |d| d.address = ip("10.0.2.1")), problem("server_address", Conflict, "address")),
        (put("d9", |d| d.servers.clear()), problem("no_servers", Refused, "servers")),
        (
            put("d9", |d| d.servers = names(&["s1", "s1"])),
            problem("duplicate_server", Malformed, "servers[1]"),
        ),
        (
            put("d9", |d| d.servers = names(&["s1", "s8"])),
            problem("unknown_server", Refused, "servers[1]"),
        ),
        (
            put("d9", |d| d.server_port = 10901),
            problem("duplicate_server_port", Conflict, "server_port"),
        ),
        (
            put("d9", |d| d.server = Some("s3".into())),
            problem("server_not_allowed", Refused, "server"),
        ),
    ] {
        assert_eq!(refused(&spec, &change), [expected], "{change}");
    }
}

#[test]
fn the_same_service_address_and_server_port_may_be_used_with_another_protocol() {
    let spec = three_and_three();
    let change = put("d9", |d| {
        d.address = ip("10.0.1.1");
        d.server_port = 10901;
        d.protocol = Protocol::Udp;
    });
    assert!(spec.apply(&change, &at(2000, &Observed::default())).is_ok());
}

#[test]
fn all_problems_of_a_change_are_told_together() {
    let spec = three_and_three();
    let change = put("Disk", |d| {
        d.address = ip("ff02::1");
        d.port = 0;
        d.servers = names(&["s1", "nobody", "s1"]);
        d.server = Some("s3".into());
    });
    assert_eq!(
        refused(&spec, &change),
        [
            problem("bad_name", Malformed, "name"),
            problem("bad_address", Malformed, "address"),
            problem("bad_port", Malformed, "port"),
            problem("family_mismatch", Refused, "servers[0]"),
            problem("unknown_server", Refused, "servers[1]"),
            problem("duplicate_server", Malformed, "servers[2]"),
            problem("server_not_allowed", Refused, "server"),
        ]
    );
}

#[test]
fn what_is_not_there_cannot_be_changed() {
    let spec = three_and_three();
    let nobody = || "nobody".to_owned();
    for (change, expected) in [
        (Change::RemoveServer { name: nobody() }, problem("unknown_server", NotFound, "name")),
        (
            Change::SetServerState { name: nobody(), state: AdminState::Draining },
            problem("unknown_server", NotFound, "name"),
        ),
        (Change::RemoveDevice { name: nobody() }, problem("unknown_device", NotFound, "name")),
        (move_to("nobody", "s1", None), problem("unknown_device", NotFound, "moves[0].device")),
        (move_to("d1", "nobody", None), problem("unknown_server", Refused, "moves[0].server")),
    ] {
        assert_eq!(refused(&spec, &change), [expected], "{change}");
    }
}

#[test]
fn a_server_in_use_cannot_be_removed() {
    let spec = three_and_three();
    let found = refused(&spec, &Change::RemoveServer { name: "s1".into() });
    let in_use = problem("server_in_use", Conflict, "name");
    assert_eq!(found, [in_use.clone(), in_use.clone(), in_use.clone()], "one for each device");

    // Flows still drain on a server that the device does not list any more.
    let moved = changed(&spec, &[move_to("d1", "s2", None)], &at(2000, &Observed::default()));
    let only = |n| device(n, &["s2", "s3"]);
    let left = changed(&moved, &[only(1), only(2), only(3)], &at(2000, &Observed::default()));
    assert_eq!(refused(&left, &Change::RemoveServer { name: "s1".into() }), [in_use]);
}

#[test]
fn full_tables_refuse_new_holders() {
    let spec = three_and_three();
    let observed = Observed::default();
    let code = |devices_max, change: &Change| {
        let mut ctx = at(2000, &observed);
        ctx.limits = SpecLimits { devices_max, servers_max: 3, ..LIMITS };
        match spec.apply(change, &ctx) {
            Ok(_) => panic!("{change} was accepted"),
            Err(refused) => refused.problems.iter().map(|p| p.code).collect::<Vec<_>>(),
        }
    };
    assert_eq!(code(3, &server(4)), ["servers_full"]);
    assert_eq!(code(3, &device(4, &["s1"])), ["devices_full"]);
    let many: Vec<String> = (0..64).map(|n| format!("x{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut codes = code(1, &device(4, &many));
    codes.dedup();
    assert_eq!(codes, ["unknown_server", "services_full", "returns_full", "devices_full"]);
}

#[test]
fn the_room_for_ways_back_counts_each_server_of_a_device_once() {
    let observed = Observed::default();
    let mut ctx = at(2000, &observed);
    ctx.limits = SpecLimits { devices_max: 2, servers_max: 70, ..LIMITS };
    let names: Vec<String> = (1..=65).map(|n| format!("s{n}")).collect();
    let list: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut changes: Vec<Change> = (1..=65).map(server).collect();
    changes.extend([device(1, &list[..64]), device(2, &list[..64]), move_to("d1", "s2", None)]);
    let full = changed(&Spec::default(), &changes, &ctx);
    assert_eq!(Seed::verify(&full, &ctx), Ok(()), "a drain on a server of the list needs no room");
    let without_s1 = full.apply(&device(1, &list[1..]), &ctx).unwrap_err();
    assert_eq!(without_s1.problems[0].code, "returns_full", "flows drain on s1 still");
}

#[test]
fn a_device_cannot_move_to_a_server_that_is_out_of_service() {
    let spec = three_and_three();
    let mut observed = all_well(&spec);
    let unfit = [problem("server_unfit", Refused, "moves[0].server")];
    for state in [AdminState::Draining, AdminState::Inactive] {
        let set = Change::SetServerState { name: "s2".into(), state };
        let out = changed(&spec, &[set], &at(2000, &observed));
        assert_eq!(refused_seeing(&out, &move_to("d1", "s2", None), &observed), unfit);
    }
    set_path(&mut observed, "s2", "d1", Health::Dead, 1500);
    assert_eq!(refused_seeing(&spec, &move_to("d1", "s2", None), &observed), unfit);
    set_path(&mut observed, "s2", "d1", Health::Healthy, 1500);
    observed.next_hops.remove("s2");
    assert_eq!(refused_seeing(&spec, &move_to("d1", "s2", None), &observed), unfit);
}

#[test]
fn a_refusal_says_which_servers_would_do() {
    let spec = three_and_three();
    let mut observed = all_well(&spec);
    kill(&mut observed, "s2", false, 1500);
    let error = spec.apply(&move_to("d1", "s2", None), &at(2000, &observed)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "moves[0].server: server s2 is dead, so device d1 cannot move to it: fit would be s1, s3"
    );
}

#[test]
fn among_dead_servers_the_operator_chooses_freely() {
    let spec = three_and_three();
    let mut observed = all_well(&spec);
    for server in ["s1", "s2", "s3"] {
        kill(&mut observed, server, false, 1500);
    }
    assert!(spec.apply(&move_to("d1", "s2", None), &at(2000, &observed)).is_ok());
}

#[test]
fn a_bulk_move_happens_as_a_whole_or_not_at_all() {
    let spec = three_and_three();
    let one = |device: &str, server: &str| Move {
        device: device.into(),
        server: server.into(),
        policy: None,
    };
    let moves = vec![one("d1", "s2"), one("d2", "nobody"), one("d1", "s3"), one("d7", "s1")];
    let change = Change::Associate { moves, cause: Cause::Planned };
    assert_eq!(
        refused(&spec, &change),
        [
            problem("unknown_server", Refused, "moves[1].server"),
            problem("duplicate_device", Malformed, "moves[2].device"),
            problem("unknown_device", NotFound, "moves[3].device"),
        ]
    );
    let none = Change::Associate { moves: Vec::new(), cause: Cause::Planned };
    assert_eq!(refused(&spec, &none), [problem("no_moves", Malformed, "moves")]);
}

#[test]
fn a_move_to_the_present_server_changes_nothing() {
    let spec = three_and_three();
    let next =
        spec.apply(&move_to("d1", "s1", Some(FlowPolicy::Reset)), &at(2000, &all_well(&spec)));
    assert_eq!(next.as_ref(), Ok(&spec), "not even the generation");
}

#[test]
fn a_move_opens_an_epoch_and_the_policy_says_what_open_flows_do() {
    let spec = three_and_three();
    let well = all_well(&spec);
    let after = |policy| {
        let moved = changed(&spec, &[move_to("d1", "s2", policy)], &at(2000, &well));
        let now = moved.devices["d1"].association.clone();
        assert_eq!((now.server.as_str(), now.epoch, now.changed_at_ms), ("s2", 2, 2000));
        assert_eq!(moved.generation, spec.generation + 1);
        now.drains.iter().map(|d| (d.server.clone(), d.epoch, d.deadline_at_ms)).collect::<Vec<_>>()
    };
    assert_eq!(after(None), [("s1".into(), 1, Some(2000 + HOUR_MS))]);
    assert_eq!(after(Some(FlowPolicy::Keep)), [("s1".into(), 1, None)]);
    assert_eq!(after(Some(FlowPolicy::Reset)), []);
    assert_eq!(after(Some(FlowPolicy::Drain { deadline_ms: 5 })), [("s1".into(), 1, Some(2005))]);
}

#[test]
fn another_holder_of_an_id_never_repeats_an_epoch_or_a_life() {
    let spec = three_and_three();
    let nothing = Observed::default();
    let ids = (spec.devices["d1"].id, spec.servers["s1"].id);
    let remove = [
        Change::RemoveDevice { name: "d1".into() },
        Change::RemoveDevice { name: "d2".into() },
        Change::RemoveDevice { name: "d3".into() },
        Change::RemoveServer { name: "s1".into() },
    ];
    let gone = changed(&spec, &remove, &at(2000, &nothing));
    let again = changed(&gone, &[server(1), device(1, &["s1"])], &at(2000, &nothing));
    assert_eq!((again.devices["d1"].id, again.servers["s1"].id), ids);
    assert_eq!(again.devices["d1"].association.epoch, 3, "one to close, one to open");
    assert_eq!(again.servers["s1"].incarnation, 2);
}

#[test]
fn new_settings_keep_the_association_unless_flows_could_not_be_brought_back() {
    let spec = three_and_three();
    let well = all_well(&spec);
    let with = |edit: &dyn Fn(&mut DeviceSpec)| {
        let mut device = device_spec(1, &["s1", "s2", "s3"]);
        edit(&mut device);
        let put = Change::PutDevice { name: "d1".into(), device };
        changed(&spec, &[put], &at(2000, &well)).devices["d1"].association.clone()
    };
    let before = &spec.devices["d1"].association;
    assert_eq!(&with(&|d| d.on_planned = FlowPolicy::Reset), before);
    let other_port = with(&|d| d.server_port = 12000);
    assert_eq!((other_port.epoch, other_port.drains.len()), (2, 0), "flows are reset");
    let not_allowed = with(&|d| d.servers = names(&["s2", "s3"]));
    assert_eq!((not_allowed.server.as_str(), not_allowed.drains.len()), ("s2", 1));
    let wished = with(&|d| d.server = Some("s3".into()));
    assert_eq!((wished.server.as_str(), wished.drains.len()), ("s3", 1));
}

#[test]
fn a_new_device_goes_to_the_first_fit_server() {
    let spec = three_and_three();
    let mut observed = all_well(&spec);
    for (server, health) in [("s1", Health::Dead), ("s2", Health::Unknown), ("s3", Health::Healthy)]
    {
        set_path(&mut observed, server, "d4", health, 1500);
    }
    let put = device(4, &["s1", "s2", "s3"]);
    let after = changed(&spec, &[put], &at(2000, &observed));
    assert_eq!(after.devices["d4"].association.server, "s3");
}
