//! A short simulation that always ends the same way: orderings, not times.

use std::sync::OnceLock;

use super::*;

const SHORT: Setting =
    Setting { devices_len: 300, servers_len: 10, days: 1, warm_up_days: 1, seed: 1 };

/// All but the one that starts over every minute, which takes most of the time and is beyond doubt.
fn scores() -> &'static [Score] {
    static SCORES: OnceLock<Vec<Score>> = OnceLock::new();
    SCORES.get_or_init(|| {
        let kinds = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Lpt);
        week::run(SHORT, &kinds.collect::<Vec<_>>(), |_| {})
    })
}

fn of(scores: &[Score], kind: Kind) -> &Score {
    scores.iter().find(|score| score.kind == kind).unwrap()
}

#[test]
fn slow_rules_track_far_better_than_static_placement_and_move_less_than_reaction() {
    let scores = scores();
    let planner = of(scores, Kind::Slow);
    for kind in [Kind::NoMoves, Kind::Hash, Kind::TwoChoices, Kind::Thresholds] {
        let other = of(scores, kind);
        let error = other.tracking_error[0];
        assert!(planner.tracking_error[0] < error / 2.0, "{}: {error}", kind.name());
    }
    let reactive = of(scores, Kind::Reactive);
    assert!(planner.moves < reactive.moves, "{} of {}", planner.moves, reactive.moves);
    assert!(planner.reversals[0] <= reactive.reversals[0]);
}

#[test]
fn what_ships_tracks_better_than_reaction_with_fewer_moves() {
    let scores = scores();
    let (shipped, reactive) = (of(scores, Kind::Planner), of(scores, Kind::Reactive));
    assert!(shipped.tracking_error[0] < reactive.tracking_error[0]);
    assert!(shipped.moves < reactive.moves);
    assert_eq!(shipped.reversals[0], 0);
}

#[test]
fn the_planner_that_is_simulated_is_the_one_of_an_empty_configuration() {
    let plan = strategy::shipped().plan;
    let rules = strategy::rules(Kind::Planner);
    assert_eq!(rules.trigger_floor, f64::from(plan.trigger_floor_pct) / 100.0);
    assert_eq!(rules.moves_max, plan.moves_max as usize);
    assert_ne!(rules, strategy::rules(Kind::Slow));
}

#[test]
fn the_same_seed_gives_the_same_week() {
    let kinds = [Kind::Reactive, Kind::Planner];
    let figures = || {
        let scores = week::run(SHORT, &kinds, |_| {});
        scores.iter().map(|score| (score.moves, score.tracking_error)).collect::<Vec<_>>()
    };
    assert_eq!(figures(), figures());
}

#[test]
fn a_large_problem_is_evened_out_with_hardly_more_than_must_be_moved() {
    for kind in [Kind::Planner, Kind::Slow] {
        let solved = solve::one_resource(&strategy::rules(kind), &[1], 0);
        assert!(solved.before[0] > 1.15 && solved.after[0] <= 1.0501, "{solved:?}");
        assert!(solved.moved[0] <= 1.10, "{solved:?}");
    }
}

#[test]
fn three_resources_with_constraints_are_evened_out_too() {
    let solved = solve::three_resources(&strategy::rules(Kind::Slow), &[1], 0);
    assert!(solved.before[0] > 1.15 && solved.after[0] <= 1.0501, "{solved:?}");
}

#[test]
fn the_plan_for_a_small_case_is_within_a_percent_of_the_optimum() {
    let compared = exact::compare(1, None).unwrap();
    assert!((-1e-6..0.01).contains(&compared.gap), "{compared:?}");
}
