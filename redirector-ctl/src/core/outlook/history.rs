//! The last hour of a figure and of what was expected of it, in steps of [`POINT_MS`].

use std::collections::VecDeque;

/// Time between two points, in ms.
pub const POINT_MS: u64 = 5000;
/// Points kept: an hour. Older ones are forgotten.
pub const POINTS_MAX: usize = 720;

/// What was measured at a moment, and what was expected then.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// When: ms since the Unix epoch.
    pub at_ms: u64,
    /// Of a server its score, a share of what it carries; of a device bytes a second. None when it
    /// was not known.
    pub value: Option<f32>,
    /// The middle of what was expected.
    pub p50: Option<f32>,
    /// Nine times out of ten it was expected to be at most this much.
    pub p90: Option<f32>,
}

/// Points, oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    points: VecDeque<Point>,
}

impl History {
    pub(super) fn push(&mut self, point: Point) {
        if self.points.len() >= POINTS_MAX {
            self.points.pop_front();
        }
        self.points.push_back(point);
    }

    /// The points, oldest first.
    pub fn points(&self) -> impl Iterator<Item = &Point> {
        self.points.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hour_is_kept_and_no_more() {
        let mut history = History::default();
        for n in 0..POINTS_MAX as u64 + 5 {
            history.push(Point { at_ms: n, value: None, p50: None, p90: None });
        }
        assert_eq!(history.points().count(), POINTS_MAX);
        assert_eq!(history.points().next().map(|point| point.at_ms), Some(5));
    }
}
