//! Proposals as text, compared with committed files, and the rules that keep them calm.
//!
//! `REDIRECTOR_BLESS=1 cargo test -p redirector-ctl balance` writes the files anew; look at the
//! diff.

use std::fs;
use std::path::PathBuf;

use super::*;

mod headroom;

const MINUTE_MS: u64 = 60_000;

/// Servers that can carry 100 of a resource.
fn servers(len: u16) -> Vec<Server> {
    let server = |id| Server {
        id,
        name: format!("s{}", id + 1),
        capacity: Vector::new(&[100.0; RESOURCES_MAX]),
        eligibility: Eligibility::Eligible,
        part: 1.0,
        measured: None,
    };
    (0..len).map(server).collect()
}

/// One resource; for each server the demands of its devices.
fn problem(demands: &[&[f64]]) -> Problem {
    let mut problem = Problem {
        resources: vec!["requests"],
        servers: servers(demands.len() as u16),
        devices: Vec::new(),
    };
    for (server, demands) in (0..).map(ServerAt).zip(demands) {
        for demand in *demands {
            add(&mut problem, server, &[*demand]);
        }
    }
    problem
}

fn add<'a>(problem: &'a mut Problem, server: ServerAt, demand: &[f64]) -> &'a mut Device {
    let id = problem.devices.len() as u32;
    problem.devices.push(Device {
        id,
        name: format!("d{}", id + 1),
        demand: Vector::new(demand),
        error: Vector::default(),
        surge: Surge::default(),
        server,
        sampled_on: None,
        allowed: Allowed::All,
        pinned: None,
        group: None,
        cost: 0.01,
        resting_until_ms: 0,
        backup: None,
    });
    problem.devices.last_mut().unwrap()
}

/// The proposal must read as in the file of that name.
fn reads(name: &str, problem: &Problem, proposal: &Proposal) {
    let text = proposal.text(problem).to_string();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("src/core/testdata/proposals")
        .join(format!("{name}.txt"));
    if std::env::var_os("REDIRECTOR_BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(expected, text, "\nexpected ({}):\n{expected}\nactual:\n{text}", path.display());
}

fn proposes(name: &str, problem: &Problem) {
    reads(name, problem, &propose(problem, &Rules::default(), 0));
}

/// What is decided in each of these periods of a minute, everything being carried out.
fn carried_out(problem: &mut Problem, len: u64) -> Vec<Proposal> {
    let (rules, mut calm) = (Rules::default(), Calm::default());
    let mut seen = Vec::new();
    for now_ms in (1..=len).map(|n| n * MINUTE_MS) {
        let (proposal, next) = decide(problem, &rules, &calm, now_ms);
        calm = next;
        for one in &proposal.moves {
            calm.moved(problem, &rules, one, 50, now_ms);
            problem.devices[one.device.0 as usize].server = one.to;
        }
        seen.push(proposal);
    }
    seen
}

/// The same, as verdicts and numbers of moves.
fn periods(problem: &mut Problem, len: u64) -> Vec<(Verdict, usize)> {
    let of = |one: Proposal| (one.verdict.unwrap(), one.moves.len());
    carried_out(problem, len).into_iter().map(of).collect()
}

#[test]
fn figures_are_finite_whatever_is_measured() {
    let vector = Vector::new(&[f64::NAN, -1.0, f64::INFINITY, 2.0, 9.0]);
    assert_eq!((vector.get(0), vector.get(1), vector.get(3)), (0.0, 0.0, 2.0));
    assert!(vector.get(2).is_finite());
    let mut absurd = problem(&[&[f64::INFINITY, f64::NAN], &[1.0]]);
    absurd.servers[1].capacity = Vector::new(&[0.0]);
    let proposal = propose(&absurd, &Rules::default(), 0);
    assert!(proposal.before.is_finite() && proposal.bound.is_finite(), "{proposal:?}");
}

#[test]
fn without_servers_or_devices_there_is_nothing_to_do() {
    assert_eq!(propose(&Problem::default(), &Rules::default(), 0).moves, []);
    assert_eq!(propose(&problem(&[&[], &[]]), &Rules::default(), 0).moves, []);
}

#[test]
fn even_servers_are_left_alone() {
    proposes("even", &problem(&[&[20.0, 20.0], &[21.0, 20.0]]));
}

#[test]
fn the_hottest_server_gives_the_smallest_device_that_is_enough() {
    proposes("relief", &problem(&[&[30.0, 20.0, 12.0, 8.0], &[10.0, 10.0], &[20.0, 21.0]]));
}

#[test]
fn a_server_that_refuses_gets_nothing_and_the_rest_share_evenly() {
    let mut problem = problem(&[&[30.0, 20.0, 12.0, 8.0], &[], &[20.0]]);
    problem.servers[1].eligibility = Eligibility::Refuses("its cpu was read 40 s ago".to_owned());
    proposes("refusing", &problem);
}

#[test]
fn pinned_and_resting_devices_stay_and_the_proposal_says_so() {
    let mut problem = problem(&[&[40.0, 30.0, 9.0], &[10.0]]);
    problem.devices[0].pinned = Some(ServerAt(0));
    problem.devices[1].resting_until_ms = 5000;
    problem.devices[2].error = Vector::new(&[8.0]);
    proposes("stuck", &problem);
}

#[test]
fn a_device_where_it_may_not_be_is_moved_whatever_it_costs() {
    let mut problem = problem(&[&[10.0, 10.0, 10.0], &[10.0], &[5.0]]);
    problem.devices[0].allowed = Allowed::Only(vec![ServerAt(1), ServerAt(2)]);
    problem.devices[1].pinned = Some(ServerAt(1));
    problem.devices[0].cost = 1000.0;
    problem.devices[3].group = Some(7);
    problem.devices[2].group = Some(7);
    add(&mut problem, ServerAt(1), &[3.0]).group = Some(7);
    proposes("breaches", &problem);
}

#[test]
fn what_cannot_be_honoured_is_reported_with_what_stands_in_the_way() {
    let mut problem = problem(&[&[60.0, 60.0], &[95.0]]);
    problem.servers.extend(servers(3).split_off(2));
    problem.servers[2].eligibility = Eligibility::Refuses("draining".to_owned());
    problem.devices[0].allowed = Allowed::Only(vec![ServerAt(1), ServerAt(2)]);
    proposes("impossible", &problem);
}

#[test]
fn a_filling_server_is_given_its_part_and_the_others_keep_the_rest() {
    let mut problem = problem(&[&[10.0; 8], &[]]);
    let given = |problem: &Problem| propose(problem, &Rules::default(), 0).moves.len();
    assert_eq!(given(&problem), 4, "as much as anybody");
    // Others are filled to 42 %: the even load and a little more.
    for (part, moves_len) in [(0.0, 0), (0.2, 0), (0.25, 1), (0.5, 2), (0.99, 4)] {
        problem.servers[1].part = part;
        assert_eq!(given(&problem), moves_len, "{part}");
    }
}

#[test]
fn a_crowd_of_filling_servers_hides_no_other_with_room() {
    let mut problem = problem(&[&[10.0; 9], &[10.0]]);
    problem.servers.extend(servers(14).split_off(2));
    problem.servers[2..].iter_mut().for_each(|server| server.part = 0.0);
    problem.devices[9].allowed = Allowed::Only(vec![ServerAt(1)]);
    let proposal = propose(&problem, &Rules { stop: 2.0, ..Rules::default() }, 0);
    assert!(proposal.moves.iter().all(|one| one.to == ServerAt(1)), "{}", proposal.text(&problem));
    assert!(!proposal.moves.is_empty());
}

#[test]
fn where_no_single_move_fits_two_devices_change_places() {
    let mut problem =
        Problem { resources: vec!["requests", "bytes"], servers: servers(2), devices: Vec::new() };
    for (server, demand) in [(0, [40.0, 5.0]), (0, [40.0, 5.0]), (1, [5.0, 40.0]), (1, [5.0, 40.0])]
    {
        add(&mut problem, ServerAt(server), &demand);
    }
    proposes("swap", &problem);
}

#[test]
fn devices_that_were_just_placed_count_although_the_sample_does_not_show_them() {
    let mut problem = problem(&[&[30.0, 30.0, 5.0], &[20.0, 20.0], &[20.0, 20.0]]);
    // The second server was sampled with nothing on it: its two devices came since.
    problem.servers[1].measured = Some(Vector::new(&[0.0]));
    for device in &mut problem.devices[3..5] {
        device.sampled_on = Some(ServerAt(0));
    }
    problem.servers[0].measured = Some(Vector::new(&[105.0]));
    let proposal = propose(&problem, &Rules::default(), 0);
    assert_eq!(format!("{:.3}", proposal.before), "0.650", "{}", proposal.text(&problem));
}

#[test]
fn measured_load_that_no_device_explains_stays_with_the_server() {
    let mut problem = problem(&[&[10.0, 10.0], &[10.0, 10.0]]);
    problem.servers[0].measured = Some(Vector::new(&[60.0]));
    let proposal = propose(&problem, &Rules::default(), 0);
    assert_eq!(format!("{:.3}", proposal.before), "0.600");
    assert!(proposal.moves.iter().all(|one| one.from == ServerAt(0)));
    assert_eq!(format!("{:.3}", proposal.after), "0.400");
}

#[test]
fn imbalance_must_last_three_periods_of_five() {
    let mut problem = problem(&[&[10.0; 8], &[10.0; 2]]);
    let seen = periods(&mut problem, 4);
    let watched = |hits| Verdict::Watched { hits, needed: 3 };
    assert_eq!(seen[..2], [(watched(1), 0), (watched(2), 0)]);
    assert_eq!(seen[2].0, Verdict::Relieving);
    assert!(seen[2].1 > 0);
}

#[test]
fn one_device_a_minute_moves_however_few_there_are_and_then_it_ends() {
    let moves: Vec<usize> =
        periods(&mut problem(&[&[10.0; 8], &[10.0; 2]]), 9).iter().map(|seen| seen.1).collect();
    assert_eq!(moves, [0, 0, 1, 1, 1, 0, 0, 0, 0]);
}

#[test]
fn a_burst_of_two_periods_moves_nothing() {
    let (rules, mut calm) = (Rules::default(), Calm::default());
    let even = problem(&[&[10.0; 5], &[10.0; 5]]);
    let burst = problem(&[&[10.0, 10.0, 10.0, 10.0, 40.0], &[10.0; 5]]);
    for (n, problem) in (0..).zip([&burst, &burst, &even, &even, &even, &burst, &burst, &even]) {
        let (proposal, next) = decide(problem, &rules, &calm, n * MINUTE_MS);
        calm = next;
        assert_eq!(proposal.moves, [], "period {n}");
    }
}

#[test]
fn a_device_rests_after_a_move_and_longer_after_a_long_blackout() {
    let rules = Rules::default();
    let problem = problem(&[&[10.0; 8], &[10.0; 2]]);
    let one = propose(&problem, &rules, 0).moves[0];
    let mut calm = Calm::default();
    calm.moved(&problem, &rules, &one, 10, 1000);
    assert_eq!(calm.resting_until_ms(one.device.0), 61_000);
    calm.moved(&problem, &rules, &one, 2000, 1000);
    assert_eq!(calm.resting_until_ms(one.device.0), 201_000);
}

#[test]
fn going_back_needs_twice_the_gain() {
    let rules = Rules { churn_share: 1.0, trigger_hits: 1, ..Rules::default() };
    // The gain of moving one back is just above three times the cost.
    let mut problem = problem(&[&[10.0; 6], &[10.0; 4]]);
    let gain = propose(&problem, &rules, 0).moves[0].gain;
    problem.devices.iter_mut().for_each(|device| device.cost = (gain / 4.0) as f32);
    let first = decide(&problem, &rules, &Calm::default(), 0).0.moves;
    assert_eq!(first.len(), 1, "worth it the first time");
    let mut calm = Calm::default();
    for device in 0..6 {
        // Each of them came from the second server two minutes ago.
        let came =
            Move { device: DeviceAt(device), from: ServerAt(1), to: ServerAt(0), ..first[0] };
        calm.moved(&problem, &rules, &came, 0, 0);
    }
    assert_eq!(decide(&problem, &rules, &calm, 2 * MINUTE_MS).0.moves, []);
    assert_eq!(decide(&problem, &rules, &calm, 11 * MINUTE_MS).0.moves.len(), 1);
}

#[test]
fn a_move_must_be_worth_three_times_its_cost() {
    let mut problem = problem(&[&[10.0; 8], &[10.0; 2]]);
    problem.devices.iter_mut().for_each(|device| device.cost = 1e6);
    proposes("too_dear", &problem);
}

#[test]
fn the_budget_takes_the_best_gain_per_cost_first() {
    let mut problem = problem(&[&[10.0; 8], &[10.0; 9], &[10.0; 1], &[10.0; 2]]);
    problem.devices[10].cost = 0.001;
    let rules = Rules { moves_max: 1, ..Rules::default() };
    let all = propose(&problem, &Rules::default(), 0).moves;
    let one = propose(&problem, &rules, 0).moves;
    assert_eq!(one.len(), 1);
    let rank = |one: &Move| one.gain / one.cost;
    assert!(all.iter().all(|other| rank(other) <= rank(&one[0])));
}

#[test]
fn the_death_of_a_server_adds_little_to_each_of_the_others() {
    let problem = problem(&[&[4.0; 12], &[4.0; 12], &[4.0; 12], &[4.0; 12], &[4.0; 12]]);
    let backups = spread_backups(&problem, &Rules::default());
    for dead in (0..5).map(ServerAt) {
        let mut heirs = [0; 5];
        for (device, backup) in problem.devices.iter().zip(&backups) {
            assert_ne!(Some(device.server), *backup);
            if device.server == dead {
                heirs[backup.unwrap().0 as usize] += 1;
            }
        }
        assert!(heirs.iter().all(|count| *count <= 3), "{dead:?}: {heirs:?}");
    }
}

#[test]
fn a_backup_that_does_well_enough_stays() {
    let mut problem = problem(&[&[4.0; 4], &[40.0], &[4.0]]);
    problem.devices[0].backup = Some(ServerAt(1));
    problem.devices[1].backup = Some(ServerAt(0));
    let backups = spread_backups(&problem, &Rules::default());
    assert_eq!(backups[0], Some(ServerAt(1)), "not the coldest, but good enough");
    assert_eq!(backups[1], Some(ServerAt(2)), "its backup was its own server");
}

#[test]
fn unevenness_of_an_idle_fleet_is_no_imbalance() {
    let idle = problem(&[&[5.0, 5.0], &[]]);
    let decided = |trigger_floor: f64| {
        let quick = Rules { trigger_window: 1, trigger_hits: 1, ..Rules::default() };
        let (proposal, _) = decide(&idle, &Rules { trigger_floor, ..quick }, &Calm::default(), 0);
        (proposal.verdict, proposal.moves.len(), proposal.blocked.len())
    };
    assert_eq!(decided(0.2), (Some(Verdict::Even), 0, 0));
    assert_eq!(decided(0.0), (Some(Verdict::Relieving), 1, 0));
}
