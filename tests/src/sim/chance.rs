//! Distributions that loads are drawn from, on top of the seeded sequence.

use crate::random::Random;

/// From 0 (included) to 1 (excluded).
pub(super) fn uniform(random: &mut Random) -> f64 {
    (random.bits() >> 11) as f64 / (1_u64 << 53) as f64
}

/// From `low` to `high`.
pub(super) fn between(random: &mut Random, low: f64, high: f64) -> f64 {
    low + (high - low) * uniform(random)
}

/// True once in `1 / probability` times.
pub(super) fn happens(random: &mut Random, probability: f64) -> bool {
    uniform(random) < probability
}

/// Normal with mean 0 and deviation 1 (Box and Muller, 1958).
pub(super) fn normal(random: &mut Random) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(random)).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(random)).cos()
}

/// Lognormal with median 1.
pub(super) fn lognormal(random: &mut Random, sigma: f64) -> f64 {
    (sigma * normal(random)).exp()
}

/// Pareto with this shape, at least 1.
pub(super) fn pareto(random: &mut Random, shape: f64) -> f64 {
    (1.0 - uniform(random)).powf(-1.0 / shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(draw: impl Fn(&mut Random) -> f64) -> f64 {
        let mut random = Random::new(7);
        (0..100_000).map(|_| draw(&mut random)).sum::<f64>() / 100_000.0
    }

    #[test]
    fn the_distributions_have_their_means() {
        assert!((mean(uniform) - 0.5).abs() < 0.01);
        assert!(mean(normal).abs() < 0.02);
        assert!((mean(|random| lognormal(random, 0.5)) - 0.125_f64.exp()).abs() < 0.02);
        assert!((mean(|random| pareto(random, 3.0)) - 1.5).abs() < 0.02);
    }
}
