//! Devices with open flows of as many earlier associations as their word can name.

use super::*;

/// A spec whose first device has no room for another epoch, and servers that are all well.
fn full() -> (Spec, Observed) {
    let mut spec = three_and_three();
    let well = all_well(&spec);
    for n in 0..255 {
        let to = if n % 2 == 0 { "s2" } else { "s1" };
        spec = changed(&spec, &[move_to("d1", to, Some(FlowPolicy::Keep))], &at(2000, &well));
    }
    (spec, well)
}

#[test]
fn a_full_word_refuses_planned_moves_and_never_a_failover() {
    let (spec, well) = full();
    assert_eq!(spec.devices["d1"].association.epochs_open(), 255);
    let full = [problem("too_many_drains", Refused, "moves[0].device")];
    assert_eq!(refused_seeing(&spec, &move_to("d1", "s3", None), &well), full);
    let moves = vec![Move { device: "d1".into(), server: "s3".into(), policy: None }];
    let failover = Change::Associate { moves, cause: Cause::Failure };
    let after = changed(&spec, &[failover], &at(2000, &well));
    assert_eq!(after.devices["d1"].association.epochs_open(), 255);
    let reset = move_to("d1", "s3", Some(FlowPolicy::Reset));
    let after = changed(&spec, &[reset], &at(2000, &well));
    assert_eq!(after.devices["d1"].association.epochs_open(), 0);
}

#[test]
fn whether_a_move_fits_into_a_full_word_is_asked_of_the_policy_for_its_cause() {
    let (spec, well) = full();
    let moves = vec![Move { device: "d1".into(), server: "s3".into(), policy: None }];
    let for_load = Change::Associate { moves, cause: Cause::Overload };
    let with = |on_planned, on_overload| {
        let mut spec = spec.clone();
        if let Some(device) = spec.devices.get_mut("d1") {
            (device.on_planned, device.on_overload) = (on_planned, Some(on_overload));
        }
        spec
    };
    let kept = with(FlowPolicy::Reset, FlowPolicy::Keep);
    let full = [problem("too_many_drains", Refused, "moves[0].device")];
    assert_eq!(refused_seeing(&kept, &for_load, &well), full, "no flow is reset unasked");
    let reset = with(FlowPolicy::Keep, FlowPolicy::Reset);
    let after = changed(&reset, &[for_load], &at(2000, &well));
    assert_eq!(after.devices["d1"].association.epochs_open(), 0);
}
