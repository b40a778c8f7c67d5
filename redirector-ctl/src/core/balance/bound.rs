//! What the hottest server must carry at least.

use super::fleet::Line;
use super::problem::Vector;

/// A share of capacity below which no association of the devices can bring the hottest server: the
/// even level of the fullest resource, or the heaviest device on the largest server. 0 without
/// servers.
pub(super) fn bound(resources_len: usize, lines: &[Line], heaviest: Vector) -> f64 {
    let of = |resource: usize| {
        let largest = lines.iter().map(|line| line.capacity(resource)).fold(0.0, f64::max);
        let alone = if largest > 0.0 { heaviest.get(resource) / largest } else { 0.0 };
        level(resource, lines).max(alone)
    };
    (0..resources_len).map(of).fold(0.0, f64::max)
}

/// The share to which servers that may take more can be filled evenly. A server that may not and is
/// below that level does not help, so the others stand higher without it.
fn level(resource: usize, lines: &[Line]) -> f64 {
    let mut sharing: Vec<&Line> = lines.iter().collect();
    loop {
        let load: f64 = sharing.iter().map(|line| line.load(resource)).sum();
        let capacity: f64 = sharing.iter().map(|line| line.capacity(resource)).sum();
        let level = if capacity > 0.0 { load / capacity } else { 0.0 };
        let before_len = sharing.len();
        sharing.retain(|line| line.eligible || line.share_of(resource) >= level);
        if sharing.len() == before_len {
            return level;
        }
    }
}
