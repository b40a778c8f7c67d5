//! Room for surges, and relief of none but those that are imbalanced.

use super::*;

/// Four servers as even as can be, the first with a device that now and then needs 30 more.
fn surging() -> Problem {
    let ones: &[f64] = &[1.0; 30];
    let mut problem = problem(&[&[1.0; 26], ones, ones, ones]);
    surges(add(&mut problem, ServerAt(0), &[4.0]));
    problem
}

fn surges(device: &mut Device) {
    device.surge = Surge { per_period: 0.05, size: Vector::new(&[30.0]) };
}

/// The moves of these periods, everything being carried out.
fn moves_of(problem: &mut Problem, len: u64) -> Vec<Move> {
    carried_out(problem, len).into_iter().flat_map(|one| one.moves).collect()
}

fn load(problem: &Problem, server: u32) -> f64 {
    let here = |device: &&Device| device.server == ServerAt(server);
    problem.devices.iter().filter(here).map(|device| device.demand.get(0)).sum()
}

#[test]
fn a_server_with_a_device_that_surges_is_left_room() {
    let problem = surging();
    let (proposal, _) = decide(&problem, &Rules::default(), &Calm::default(), 0);
    reads("surges", &problem, &proposal);
}

#[test]
fn the_room_is_made_move_by_move_until_the_others_are_as_full_as_they_may_be() {
    let mut problem = surging();
    let moves = moves_of(&mut problem, 20);
    assert!(moves.iter().all(|one| one.reason == Reason::Surges), "{moves:?}");
    // Each of the others has room for one: up to 5 % above the even load of 30.
    assert_eq!((moves.len(), load(&problem, 0)), (3, 27.0));
    assert!((1..4).all(|server| load(&problem, server) <= 31.5 + 1e-6));
}

#[test]
fn a_device_that_surges_goes_where_there_is_room_for_another_already() {
    let mut problem = problem(&[&[1.0; 28], &[1.0; 28], &[1.0; 28], &[1.0; 20]]);
    for device in [3, 90] {
        surges(&mut problem.devices[device]);
    }
    let (proposal, _) = decide(&problem, &Rules::default(), &Calm::default(), 0);
    let moves: Vec<_> = proposal.moves.iter().map(|one| (one.device, one.to)).collect();
    assert_eq!(moves, [(DeviceAt(3), ServerAt(3))]);
}

#[test]
fn without_surges_even_servers_are_left_alone() {
    let mut problem = surging();
    problem.devices.iter_mut().for_each(|device| device.surge = Surge::default());
    assert_eq!(moves_of(&mut problem, 20), []);
}

#[test]
fn room_is_made_neither_for_what_costs_more_nor_while_a_server_is_relieved() {
    let mut dear = surging();
    dear.devices.iter_mut().for_each(|device| device.cost = 1.0);
    assert_eq!(moves_of(&mut dear, 20), []);
    let mut hot = surging();
    add(&mut hot, ServerAt(3), &[10.0]);
    let quick = Rules { trigger_hits: 1, ..Rules::default() };
    let (proposal, _) = decide(&hot, &quick, &Calm::default(), 0);
    assert!(!proposal.moves.is_empty());
    assert!(proposal.moves.iter().all(|one| one.reason == Reason::Relief), "{proposal:?}");
}

#[test]
fn only_servers_that_are_imbalanced_are_relieved_and_halfway() {
    // Even are 40; the first is half above it, the second a tenth.
    let problem = problem(&[&[1.0; 60], &[1.0; 44], &[1.0; 30], &[1.0; 26]]);
    let rules = Rules { trigger_hits: 1, churn_share: 1.0, ..Rules::default() };
    let (proposal, _) = decide(&problem, &rules, &Calm::default(), 0);
    assert!(proposal.moves.iter().all(|one| one.from == ServerAt(0)));
    // Halfway from 42 to 46.
    assert_eq!(proposal.moves.len(), 60 - 44);
    let all = propose(&problem, &rules, 0);
    assert!(all.moves.iter().any(|one| one.from == ServerAt(1)), "who asks for all gets all");
}
