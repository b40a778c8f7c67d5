//! Pictures of a simulated week, as SVG files.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use plotters::prelude::*;

use super::strategy::Kind;
use super::weather::DAY;
use super::week::Score;

const SIZE: (u32, u32) = (960, 480);
/// Strategies in the course of time; all of them would hide each other.
const IN_TIME: [Kind; 3] = [Kind::TwoChoices, Kind::Thresholds, Kind::Planner];
/// Minutes in one point of a curve.
const STEP: usize = 30;

/// Writes `max_over_bound.svg` and `error_and_moves.svg` into a directory, which is made.
pub(super) fn write(dir: &Path, scores: &[Score]) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("make the directory {}", dir.display()))?;
    let in_time = |path: &Path| draw_in_time(path, scores);
    let compared = |path: &Path| draw_compared(path, scores);
    for (name, drawn) in [
        ("max_over_bound.svg", in_time(&dir.join("max_over_bound.svg"))),
        ("error_and_moves.svg", compared(&dir.join("error_and_moves.svg"))),
    ] {
        // The library's errors are not for other threads, which is what anyhow asks for.
        drawn.map_err(|error| anyhow::anyhow!("draw {name} in {}: {error}", dir.display()))?;
    }
    Ok(())
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// The hottest server over what it must carry, in the course of the days.
fn draw_in_time(path: &Path, scores: &[Score]) -> Drawn {
    let shown: Vec<&Score> = scores.iter().filter(|score| IN_TIME.contains(&score.kind)).collect();
    let days = shown.first().map_or(1.0, |score| score.max_over_bound.len() as f64 / DAY as f64);
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Hottest server over the least it must carry", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..days, 1.0..2.6)?;
    chart.configure_mesh().x_desc("days").y_desc("ratio").draw()?;
    for (index, score) in shown.into_iter().enumerate() {
        let color = Palette99::pick(index).to_rgba();
        let points = score.max_over_bound.chunks(STEP).enumerate().map(|(at, chunk)| {
            let mean = chunk.iter().sum::<f64>() / chunk.len() as f64;
            ((at * STEP) as f64 / DAY as f64, mean)
        });
        let line = LineSeries::new(points, color.stroke_width(1));
        let key = move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2));
        chart.draw_series(line)?.label(score.kind.name()).legend(key);
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .border_style(BLACK)
        .background_style(WHITE)
        .draw()?;
    Ok(root.present()?)
}

/// Tracking error against moves: down and left is better.
fn draw_compared(path: &Path, scores: &[Score]) -> Drawn {
    // A logarithm has no place for nothing.
    let point =
        |score: &Score| (score.moves_per_device_day().max(1e-4), score.tracking_error[0].max(1e-6));
    let range = |values: Vec<f64>| -> Range<f64> {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(0.0, f64::max);
        low / 2.0..high * 20.0
    };
    let moves = range(scores.iter().map(|score| point(score).0).collect());
    let errors = range(scores.iter().map(|score| point(score).1).collect());
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Tracking error and moves: down and left is better", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(moves.log_scale(), errors.log_scale())?;
    chart.configure_mesh().x_desc("moves per device and day").y_desc("tracking error").draw()?;
    for (index, score) in scores.iter().enumerate() {
        let color = Palette99::pick(index).to_rgba();
        let named = EmptyElement::at(point(score))
            + Circle::new((0, 0), 5, color.filled())
            + Text::new(score.kind.name(), (8, -6), ("sans-serif", 14));
        chart.draw_series(std::iter::once(named))?;
    }
    Ok(root.present()?)
}
