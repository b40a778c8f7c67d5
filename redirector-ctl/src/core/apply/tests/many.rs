//! Many devices in one change.

use std::collections::BTreeMap;

use super::*;

#[test]
fn devices_that_are_put_together_are_those_that_are_put_one_by_one() {
    let spec = three_and_three();
    let known = all_well(&spec);
    let put: BTreeMap<_, _> = [("d2", 9), ("d7", 7), ("d8", 8)]
        .map(|(name, n)| (name.to_owned(), device_spec(n, &["s2", "s3"])))
        .into();
    let remove = vec!["d1".to_owned()];
    let mut singly = vec![Change::RemoveDevice { name: "d1".into() }];
    let one = |(name, device): (&String, &DeviceSpec)| Change::PutDevice {
        name: name.clone(),
        device: device.clone(),
    };
    singly.extend(put.iter().map(one));
    let together = changed(&spec, &[Change::PatchDevices { remove, put }], &at(2000, &known));
    let singly = changed(&spec, &singly, &at(2000, &known));
    assert_eq!(together.devices, singly.devices);
    assert_eq!(together.slots, singly.slots);
    assert_eq!(
        (together.generation, singly.generation),
        (1 + spec.generation, 4 + spec.generation)
    );
}

#[test]
fn of_devices_that_are_put_together_each_problem_is_told_under_its_name() {
    let spec = three_and_three();
    let put = [("d7", 7), ("d8", 7)].map(|(name, n)| (name.to_owned(), device_spec(n, &["s9"])));
    let change = Change::PatchDevices { remove: vec!["d9".into()], put: put.into() };
    let found = refused(&spec, &change);
    for expected in [
        problem("unknown_device", NotFound, "remove[0].name"),
        problem("unknown_server", Refused, "put.d7.servers[0]"),
        problem("unknown_server", Refused, "put.d8.servers[0]"),
    ] {
        assert!(found.contains(&expected), "{expected:?} is not in {found:?}");
    }
    assert!(found.iter().any(|(_, kind, field)| *kind == Conflict && field.starts_with("put.d8.")));
}
