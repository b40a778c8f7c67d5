//! What a change of a server needs, and what it keeps.

use super::*;

#[test]
fn a_server_needs_a_name_and_an_address_of_its_own() {
    let spec = three_and_three();
    let put = |name: &str, address: &str| Change::PutServer {
        name: name.into(),
        address: ip(address),
        state: None,
        load: LoadSources::default(),
    };
    for (change, expected) in [
        (put("S 4", "10.0.2.4"), problem("bad_name", Malformed, "name")),
        (put("s4", "127.0.0.1"), problem("bad_address", Malformed, "address")),
        (put("s4", "fe80::4"), problem("bad_address", Malformed, "address")),
        (put("s4", "10.0.2.1"), problem("duplicate_address", Conflict, "address")),
        (put("s4", "10.0.1.1"), problem("service_address", Conflict, "address")),
    ] {
        assert_eq!(refused(&spec, &change), [expected], "{change}");
    }
}

#[test]
fn a_new_address_begins_a_new_life_and_keeps_the_id() {
    let spec = three_and_three();
    let put = Change::PutServer {
        name: "s1".into(),
        address: ip("10.0.2.77"),
        state: None,
        load: LoadSources::default(),
    };
    let after = changed(&spec, &[put], &at(2000, &Observed::default()));
    let (was, now) = (&spec.servers["s1"], &after.servers["s1"]);
    assert_eq!((now.id, now.incarnation), (was.id, was.incarnation + 1));
}

#[test]
fn a_server_that_is_put_without_a_state_keeps_the_one_that_it_has_by_then() {
    let mut spec = three_and_three();
    let put = || Change::PutServer {
        name: "s1".into(),
        address: ip("10.0.2.1"),
        state: None,
        load: LoadSources { bytes_per_second_max: Some(1000), ..LoadSources::default() },
    };
    assert_eq!(spec.servers["s1"].state, AdminState::Active, "a new one");
    let drain = Change::SetServerState { name: "s1".into(), state: AdminState::Draining };
    spec = changed(&spec, &[drain, put()], &at(2000, &Observed::default()));
    let now = &spec.servers["s1"];
    assert_eq!((now.state, now.load.bytes_per_second_max), (AdminState::Draining, Some(1000)));
}

#[test]
fn an_inactive_server_begins_a_new_life_when_it_serves_again() {
    let spec = three_and_three();
    let set = |state| Change::SetServerState { name: "s1".into(), state };
    let off = changed(&spec, &[set(AdminState::Inactive)], &at(2000, &Observed::default()));
    assert_eq!(off.servers["s1"].incarnation, 1);
    let on = changed(&off, &[set(AdminState::Active)], &at(2000, &Observed::default()));
    assert_eq!(on.servers["s1"].incarnation, 2);
}
