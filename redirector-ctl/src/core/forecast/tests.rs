//! What the forecasters owe to a plan: a percentile that holds, a winner that fits the series, and
//! a defined answer where little is known.

use super::*;

const SETTINGS: Settings = Settings { period_ms: 1000, horizon: 2, season: 96, gap_max: 10 };

/// The series after these samples, one a period from `from` on.
fn after(from: u64, values: impl IntoIterator<Item = f64>) -> Series {
    let mut series = Series::default();
    extend(&mut series, from, values);
    series
}

fn extend(series: &mut Series, from: u64, values: impl IntoIterator<Item = f64>) {
    for (n, value) in (from..).zip(values) {
        series.observe(&SETTINGS, n * 1000, value);
    }
}

fn forecast(series: &Series, slot: u64) -> Forecast {
    series.forecast(&SETTINGS, slot * 1000).expect("a series with recent samples has a forecast")
}

/// Numbers from 0 to 1 that look random: the fractions of multiples of the golden ratio, stirred.
fn noise(n: u64) -> f64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

fn day(n: u64) -> f64 {
    let phase = (n % 96) as f64 / 96.0 * std::f64::consts::TAU;
    100.0 + 60.0 * phase.sin()
}

#[test]
fn without_a_sample_there_is_no_forecast() {
    assert_eq!(Series::default().forecast(&SETTINGS, 0), None);
}

#[test]
fn one_sample_is_forecast_with_half_of_itself_on_top() {
    let forecast = forecast(&after(0, [10.0]), 0);
    assert_eq!((forecast.p90, forecast.by), (15.0, Forecaster::LastValue));
}

#[test]
fn a_series_that_does_not_change_needs_no_margin() {
    let forecast = forecast(&after(0, [10.0; 40]), 39);
    assert_eq!((forecast.p90, forecast.mae), (10.0, 0.0));
}

#[test]
fn a_random_walk_is_mostly_best_forecast_by_its_last_value() {
    let (mut series, mut x, mut wins) = (Series::default(), 1000.0, 0);
    for n in 0..2000_u64 {
        x += 20.0 * (noise(n) - 0.5);
        series.observe(&SETTINGS, n * 1000, x);
        wins += u32::from(forecast(&series, n).by == Forecaster::LastValue);
    }
    assert!(wins > 1200, "{wins} of 2000");
}

#[test]
fn noise_around_a_level_is_best_forecast_by_its_mean() {
    let series = after(0, (0..90).map(|n| 100.0 + 40.0 * noise(n)));
    let forecast = forecast(&series, 89);
    assert_eq!(forecast.by, Forecaster::Ewma);
    assert!((125.0..145.0).contains(&forecast.p90), "{forecast:?}");
}

#[test]
fn a_steady_rise_is_best_forecast_by_its_trend() {
    let forecast = forecast(&after(0, (0..90).map(|n| 5.0 * n as f64)), 89);
    assert_eq!(forecast.by, Forecaster::DampedTrend);
    assert!(forecast.p90 >= 445.0, "{forecast:?}");
}

#[test]
fn a_daily_course_is_best_forecast_by_the_season_once_a_day_has_been_seen() {
    let first_day = after(0, (0..90).map(day));
    assert_ne!(forecast(&first_day, 89).by, Forecaster::Seasonal);
    let series = after(0, (0..300).map(day));
    let forecast = forecast(&series, 299);
    assert_eq!(forecast.by, Forecaster::Seasonal);
    assert!((forecast.point - day(301)).abs() < 5.0, "{forecast:?} for {}", day(301));
}

#[test]
fn the_season_moves_with_a_level_that_shifts() {
    let mut series = after(0, (0..300).map(day));
    extend(&mut series, 300, (300..340).map(|n| day(n) + 50.0));
    let forecast = forecast(&series, 339);
    assert!((forecast.point - day(341) - 50.0).abs() < 8.0, "{forecast:?}");
}

#[test]
fn nine_values_in_ten_stay_below_the_forecast() {
    let mut series = Series::default();
    let (mut below, mut all) = (0, 0);
    let mut made = [f64::NAN; 2];
    for n in 0..4000_u64 {
        // A skewed noise, as rates have.
        let value = day(n) + 50.0 * noise(n).powi(4);
        let p90 = made[(n % 2) as usize];
        if n > 400 {
            below += u32::from(value <= p90);
            all += 1;
        }
        series.observe(&SETTINGS, n * 1000, value);
        made[(n % 2) as usize] = forecast(&series, n).p90;
    }
    let share = f64::from(below) / f64::from(all);
    assert!((0.85..0.95).contains(&share), "{share}");
}

#[test]
fn a_burst_is_planned_for_as_soon_as_it_has_begun() {
    let mut series = after(0, (0..400).map(|n| 100.0 + 10.0 * (noise(n) - 0.5)));
    extend(&mut series, 400, [1000.0]);
    let forecast = forecast(&series, 400);
    assert!(forecast.point < 500.0, "its mean knows of no burst yet: {forecast:?}");
    assert_eq!(forecast.p90, 1000.0);
}

/// A hundred, and a thousand in each fortieth period from `first` on.
fn surging(first: u64, len: u64) -> impl Iterator<Item = f64> {
    let is_surge = move |n: u64| n >= first && (n - first).is_multiple_of(40);
    (0..len).map(move |n| if is_surge(n) { 1000.0 } else { 100.0 })
}

#[test]
fn how_often_and_how_far_a_series_surges_is_remembered() {
    let surge = after(0, surging(60, 400)).surge(&SETTINGS).expect("nine surges are a habit");
    // Half a season counts as calm, and what is old for less.
    assert!((0.012..0.025).contains(&surge.per_period), "{surge:?}");
    assert!((800.0..=900.0).contains(&surge.size), "{surge:?}");
}

#[test]
fn one_surge_is_no_habit_and_an_old_habit_is_forgotten() {
    assert_eq!(after(0, surging(60, 90)).surge(&SETTINGS), None);
    let mut series = after(0, surging(60, 150));
    assert!(series.surge(&SETTINGS).is_some());
    extend(&mut series, 150, [100.0; 400]);
    assert_eq!(series.surge(&SETTINGS), None);
}

#[test]
fn noise_and_a_daily_course_are_no_surges() {
    let series = after(0, (0..900).map(|n| day(n) * (1.0 + 0.3 * noise(n))));
    assert_eq!(series.surge(&SETTINGS), None);
}

#[test]
fn a_short_gap_is_bridged() {
    let mut series = after(0, [10.0; 40]);
    assert_eq!(series.observe(&SETTINGS, 45_000, 20.0), Taken::AfterGap(5));
    let after_gap = forecast(&series, 45);
    assert!(after_gap.point > 10.0 && after_gap.point <= 20.0, "{after_gap:?}");
}

#[test]
fn a_gap_is_no_trial_for_any_forecaster() {
    let mut series = after(0, [10.0; 40]);
    let before = series.loss(Forecaster::LastValue);
    series.observe(&SETTINGS, 45_000, 500.0);
    assert_eq!(series.loss(Forecaster::LastValue), before);
}

#[test]
fn after_a_long_gap_the_level_starts_again() {
    let mut series = after(0, (0..90).map(|n| 5.0 * n as f64));
    series.observe(&SETTINGS, 1_000_000, 20.0);
    let forecast = forecast(&series, 1000);
    assert_eq!(forecast.point, 20.0);
}

#[test]
fn an_old_series_gives_no_forecast() {
    let series = after(0, [10.0; 40]);
    assert!(series.forecast(&SETTINGS, 50_000).is_some());
    assert_eq!(series.forecast(&SETTINGS, 51_000), None);
}

#[test]
fn what_is_no_number_or_late_is_ignored() {
    let mut series = after(0, [10.0; 40]);
    let before = series.clone();
    assert_eq!(series.observe(&SETTINGS, 40_000, f64::NAN), Taken::NotANumber);
    assert_eq!(series.observe(&SETTINGS, 39_500, 90.0), Taken::Late);
    assert_eq!(series, before);
}

#[test]
fn absurd_values_are_cut_and_forecasts_stay_finite() {
    let values = [f64::INFINITY, -1.0, 0.0, f64::MAX, f64::NEG_INFINITY, 1e-300];
    let series = after(0, (0..200).map(|n| values[n % values.len()]));
    let forecast = forecast(&series, 199);
    for figure in [forecast.p90, forecast.point, forecast.mae] {
        assert!(figure.is_finite() && figure >= 0.0, "{forecast:?}");
    }
}

#[test]
fn a_series_has_a_bounded_size() {
    assert!(size_of::<Series>() <= 576, "{} bytes", size_of::<Series>());
}

#[test]
fn the_same_samples_give_the_same_forecast() {
    let values = || (0..500).map(|n| day(n) * (0.5 + noise(n)));
    assert_eq!(after(0, values()), after(0, values()));
}
