//! How long a server usually takes to answer a check, and how long to wait for it when in doubt. By
//! the rule for retransmission time-outs (RFC 6298), which is about the same question. Pure.

/// Smoothed time of answers and its variation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AnswerTime {
    /// Smoothed time and variation, in us; None before the first answer.
    known: Option<(u64, u64)>,
}

impl AnswerTime {
    /// Takes in an answer that took so many us.
    pub fn note(&mut self, took_us: u64) {
        self.known = Some(match self.known {
            None => (took_us, took_us / 2),
            Some((usual, varies)) => {
                let varies = (varies.saturating_mul(3)).saturating_add(usual.abs_diff(took_us)) / 4;
                (usual.saturating_mul(7).saturating_add(took_us) / 8, varies)
            }
        });
    }

    /// How long an answer may take before its lack means something, in us; None if there has not
    /// been any answer.
    #[must_use]
    pub fn patience_us(&self) -> Option<u64> {
        let (usual, varies) = self.known?;
        Some(usual.saturating_add(varies.saturating_mul(4)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn before_the_first_answer_nothing_is_known_and_after_it_three_times_its_time_is_allowed() {
        let mut time = AnswerTime::default();
        assert_eq!(time.patience_us(), None);
        time.note(10_000);
        assert_eq!(time.patience_us(), Some(30_000));
    }

    #[test]
    fn steady_answers_make_patience_short_and_a_slow_one_makes_it_long_again() {
        let mut time = AnswerTime::default();
        (0..50).for_each(|_| time.note(1000));
        let short = time.patience_us().unwrap();
        assert!(short < 1100, "{short}");
        time.note(50_000);
        assert!(time.patience_us().unwrap() > 50_000);
    }

    proptest! {
        #[test]
        fn a_server_that_always_takes_the_same_time_is_always_waited_for(took_us in 0..1u64 << 40) {
            let mut time = AnswerTime::default();
            for _ in 0..100 {
                time.note(took_us);
                prop_assert!(time.patience_us().unwrap() >= took_us.saturating_sub(8));
            }
        }
    }
}
