//! Laws that hold for every problem, tried on random ones.

use proptest::prelude::*;

use super::*;

fn eligibility() -> impl Strategy<Value = Eligibility> {
    prop_oneof![
        4 => Just(Eligibility::Eligible),
        1 => Just(Eligibility::Refuses("draining".to_owned())),
    ]
}

fn vector(most: f64) -> impl Strategy<Value = Vector> {
    proptest::collection::vec(0.0..most, RESOURCES_MAX).prop_map(|figures| Vector::new(&figures))
}

fn server() -> impl Strategy<Value = Server> {
    let measured = proptest::option::weighted(0.2, vector(120.0));
    let part = prop_oneof![3 => Just(1.0), 1 => 0.0..1.0];
    let given = (vector(100.0), eligibility(), part, measured);
    given.prop_map(|(capacity, eligibility, part, measured)| {
        // From 50 to 150.
        let capacity: Vec<f64> = (0..RESOURCES_MAX).map(|r| 50.0 + capacity.get(r)).collect();
        let capacity = Vector::new(&capacity);
        Server { id: 0, name: String::new(), capacity, eligibility, part, measured }
    })
}

fn device(servers_len: u32) -> impl Strategy<Value = Device> {
    let at = move || (0..servers_len).prop_map(ServerAt);
    let only = proptest::collection::btree_set(at(), 0..=servers_len as usize)
        .prop_map(|servers| Allowed::Only(servers.into_iter().collect()));
    let allowed = prop_oneof![2 => Just(Allowed::All), 1 => only];
    let places = (at(), allowed, proptest::option::weighted(0.1, at()));
    let figures = (vector(25.0), vector(10.0), 0.0_f32..0.2);
    let group = proptest::option::weighted(0.2, 0_u32..3);
    let surge = proptest::option::weighted(0.3, (0.0_f32..0.1, vector(60.0)));
    let surge = surge.prop_map(|surge| {
        surge.map_or(Surge::default(), |(per_period, size)| Surge { per_period, size })
    });
    (places, figures, group, any::<bool>(), surge).prop_map(
        |((server, allowed, pinned), (demand, error, cost), group, rests, surge)| Device {
            id: 0,
            name: String::new(),
            demand,
            error,
            surge,
            server,
            sampled_on: None,
            allowed,
            pinned,
            group,
            cost,
            resting_until_ms: if rests { 2000 } else { 0 },
            backup: None,
        },
    )
}

fn a_problem() -> impl Strategy<Value = Problem> {
    (1_u32..7, 1_usize..=RESOURCES_MAX).prop_flat_map(|(servers_len, resources_len)| {
        let servers = proptest::collection::vec(server(), servers_len as usize);
        let devices = proptest::collection::vec(device(servers_len), 0..40);
        (servers, devices).prop_map(move |(servers, devices)| {
            let resources = ["requests", "bytes", "cpu", "memory"][..resources_len].to_vec();
            let mut problem = Problem { resources, servers, devices };
            for (id, server) in (0..).zip(&mut problem.servers) {
                (server.id, server.name) = (id, format!("s{id}"));
            }
            for (id, device) in (0..).zip(&mut problem.devices) {
                (device.id, device.name) = (id, format!("d{id}"));
            }
            problem
        })
    })
}

/// The problem after the moves of a proposal.
fn after(problem: &Problem, proposal: &Proposal) -> Problem {
    let mut after = problem.clone();
    for one in &proposal.moves {
        let device = &mut after.devices[one.device.0 as usize];
        // What was measured of a server does not show the move.
        device.sampled_on = device.sampled_on.or(Some(device.server));
        device.server = one.to;
    }
    after
}

fn shares(problem: &Problem) -> Vec<f64> {
    let rules = Rules::default();
    let calm = Calm::default();
    let fleet = Fleet::new(problem, Fit { rules: &rules, calm: &calm, now_ms: 0 });
    fleet.lines.iter().map(|line| line.share()).collect()
}

fn hottest(problem: &Problem) -> f64 {
    shares(problem).into_iter().fold(0.0, f64::max)
}

/// Whether the association of a device breaks a constraint.
fn breaks(problem: &Problem, at: usize) -> bool {
    let device = &problem.devices[at];
    let meets = |other: &Device| {
        other.id != device.id && other.group == device.group && other.server == device.server
    };
    device.pinned.is_some_and(|pin| pin != device.server)
        || !device.allowed.has(device.server)
        || (device.group.is_some() && problem.devices.iter().any(meets))
}

/// The problem without devices whose association breaks a constraint.
fn sound(problem: Problem) -> Problem {
    let mut sound = Problem { devices: Vec::new(), ..problem.clone() };
    for device in problem.devices {
        sound.devices.push(device);
        if breaks(&sound, sound.devices.len() - 1) {
            sound.devices.pop();
        }
    }
    sound
}

const NOW_MS: u64 = 1000;
/// What summing in another order may change.
const DUST: f64 = 1e-6;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_device_is_put_where_it_may_not_be(problem in a_problem()) {
        let proposal = propose(&problem, &Rules::default(), NOW_MS);
        let after = after(&problem, &proposal);
        for one in &proposal.moves {
            let at = one.device.0 as usize;
            prop_assert!(!breaks(&after, at), "{}", proposal.text(&problem));
            prop_assert_eq!(&after.server(one.to).eligibility, &Eligibility::Eligible);
            prop_assert_ne!(one.from, one.to);
        }
    }

    #[test]
    fn a_broken_constraint_is_mended_or_reported(problem in a_problem()) {
        let proposal = propose(&problem, &Rules::default(), NOW_MS);
        let after = after(&problem, &proposal);
        for at in 0..problem.devices.len() {
            // In a group that shares a server one device may stay: the report names the others.
            let is_reported = proposal.blocked.iter().any(|blocked| match blocked {
                Blocked::Device { device, .. } => {
                    let device = problem.device(*device);
                    device.id as usize == at || device.group == problem.devices[at].group
                }
                Blocked::Server { .. } => false,
            });
            prop_assert!(!breaks(&after, at) || is_reported, "{}", proposal.text(&problem));
        }
    }

    #[test]
    fn the_hottest_server_never_gets_hotter(problem in a_problem().prop_map(sound)) {
        let proposal = propose(&problem, &Rules::default(), NOW_MS);
        let after = hottest(&after(&problem, &proposal));
        prop_assert!(after <= hottest(&problem) + DUST, "{}", proposal.text(&problem));
        prop_assert!((after - proposal.after).abs() < DUST);
    }

    #[test]
    fn nor_with_any_first_part_of_the_moves(
        problem in a_problem().prop_map(sound),
        most in 0_usize..6,
    ) {
        let rules = Rules { moves_max: most, ..Rules::default() };
        let proposal = propose(&problem, &rules, NOW_MS);
        prop_assert!(proposal.moves.len() <= most);
        prop_assert!(hottest(&after(&problem, &proposal)) <= hottest(&problem) + DUST);
    }

    #[test]
    fn no_server_is_filled_beyond_its_capacity_and_one_that_is_is_reported(problem in a_problem()) {
        let proposal = propose(&problem, &Rules::default(), NOW_MS);
        let (before, after) = (shares(&problem), shares(&after(&problem, &proposal)));
        for (server, (before, after)) in (0..).map(ServerAt).zip(before.into_iter().zip(after)) {
            prop_assert!(after <= before.max(1.0) + DUST);
            let is_reported = proposal.blocked.iter().any(
                |blocked| matches!(blocked, Blocked::Server { server: at, .. } if *at == server)
            );
            prop_assert!(after <= 1.0 + DUST || is_reported, "{}", proposal.text(&problem));
        }
    }

    #[test]
    fn a_server_that_fills_is_filled_to_its_part_and_no_further(problem in a_problem()) {
        let (rules, calm) = (Rules::default(), Calm::default());
        let mended = {
            // What mends a constraint is no matter of load, and moves the limit of the others.
            let mut proposal = propose(&problem, &rules, NOW_MS);
            proposal.moves.retain(|one| matches!(one.reason, Reason::Breach(_)));
            after(&problem, &proposal)
        };
        let fleet = Fleet::new(&problem, Fit { rules: &rules, calm: &calm, now_ms: NOW_MS });
        let proposal = propose(&problem, &rules, NOW_MS);
        let (before, after) = (shares(&mended), shares(&after(&problem, &proposal)));
        for (server, (before, after)) in fleet.servers().zip(before.into_iter().zip(after)) {
            let part = problem.server(server).part;
            let limit = fleet.limit() * part;
            prop_assert!(part >= 1.0 || after <= before.max(limit) + DUST, "{server:?}: {before} \
                {after} {limit} {}", proposal.text(&problem));
        }
    }

    #[test]
    fn devices_that_rest_or_are_pinned_move_only_to_mend(problem in a_problem()) {
        let proposal = propose(&problem, &Rules::default(), NOW_MS);
        for one in proposal.moves.iter().filter(|one| !matches!(one.reason, Reason::Breach(_))) {
            let device = problem.device(one.device);
            prop_assert!(device.pinned.is_none() && device.resting_until_ms <= NOW_MS);
        }
    }

    #[test]
    fn no_device_moves_twice_in_one_proposal(problem in a_problem()) {
        let moves = propose(&problem, &Rules::default(), NOW_MS).moves;
        let mut devices: Vec<DeviceAt> = moves.iter().map(|one| one.device).collect();
        devices.sort();
        devices.dedup();
        prop_assert_eq!(devices.len(), moves.len());
    }

    #[test]
    fn a_move_for_load_gains_what_it_must(problem in a_problem()) {
        let rules = Rules::default();
        for one in propose(&problem, &rules, NOW_MS).moves {
            let is_worth_it = one.gain >= rules.gain_per_cost * one.cost - DUST;
            prop_assert!(is_worth_it || matches!(one.reason, Reason::Breach(_)));
        }
    }

    #[test]
    fn the_same_problem_gives_the_same_proposal(problem in a_problem()) {
        let rules = Rules::default();
        let once = propose(&problem, &rules, NOW_MS);
        prop_assert_eq!(&once, &propose(&problem.clone(), &rules, NOW_MS));
        let calm = Calm::default();
        prop_assert_eq!(decide(&problem, &rules, &calm, 1), decide(&problem, &rules, &calm, 1));
    }

    #[test]
    fn planning_again_on_the_result_ends_in_few_rounds(problem in a_problem()) {
        let mut problem = problem;
        for _ in 0..100 {
            let proposal = propose(&problem, &Rules::default(), NOW_MS);
            if proposal.moves.is_empty() {
                return Ok(());
            }
            problem = after(&problem, &proposal);
        }
        prop_assert!(false, "still moving after 100 rounds");
    }

    #[test]
    fn room_for_surges_breaks_nothing_and_fills_nobody(problem in a_problem().prop_map(sound)) {
        // Nothing is imbalance, so that all moves are for room.
        let rules = Rules { trigger_floor: 100.0, trigger_share: 1.5, ..Rules::default() };
        let rules = Rules { trigger_hits: 33, surge_gain: 1e-9, ..rules };
        let (proposal, _) = decide(&problem, &rules, &Calm::default(), NOW_MS);
        let after = after(&problem, &proposal);
        let (before, limit) = (shares(&problem), (1.0 + rules.stop) * proposal.bound);
        for one in &proposal.moves {
            prop_assert_eq!(one.reason, Reason::Surges);
            prop_assert!(one.gain >= rules.gain_per_cost * one.cost - DUST);
            prop_assert!(!breaks(&after, one.device.0 as usize), "{}", proposal.text(&problem));
            let device = problem.device(one.device);
            prop_assert!(device.pinned.is_none() && device.resting_until_ms <= NOW_MS);
        }
        prop_assert!(shares(&after).into_iter().zip(before).all(
            |(after, before)| after <= before.max(limit) + DUST
        ), "{}", proposal.text(&problem));
    }

    #[test]
    fn a_backup_is_another_server_that_the_device_may_use(problem in a_problem()) {
        let backups = spread_backups(&problem, &Rules::default());
        for (device, backup) in problem.devices.iter().zip(backups) {
            let Some(backup) = backup else { continue };
            prop_assert_ne!(backup, device.server);
            prop_assert!(device.allowed.has(backup));
            prop_assert_eq!(&problem.server(backup).eligibility, &Eligibility::Eligible);
            prop_assert!(problem.server(backup).part >= 1.0, "who fills does not inherit");
        }
    }
}
