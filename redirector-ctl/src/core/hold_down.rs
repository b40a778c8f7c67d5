//! How long a server that died stays out after it answers again: longer with each death, so that
//! one that comes and goes does not take its clients along each time. Pure.

use std::collections::BTreeMap;

use super::spec::Name;

/// How long servers stay out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldDown {
    /// After its first death, in ms from the death; doubles with each further one.
    pub first_ms: u64,
    /// At most, in ms.
    pub max_ms: u64,
    /// A server that has lived for so long, in ms, has not died before.
    pub forget_ms: u64,
}

/// Who has died how often.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fallen {
    /// Server -> deaths in a row, and when the last one was: ms since the Unix epoch.
    deaths: BTreeMap<Name, (u32, u64)>,
}

impl Fallen {
    /// Notes a death; says until when the server stays out.
    pub fn note(&mut self, server: &Name, now_ms: u64, rule: HoldDown) -> u64 {
        let known = self.deaths.get(server).filter(|(len, at_ms)| {
            now_ms.saturating_sub(*at_ms) < rule.forget_ms.saturating_add(rule.out_ms(*len))
        });
        let len = known.map_or(1, |(len, _)| len.saturating_add(1));
        self.deaths.insert(server.clone(), (len, now_ms));
        now_ms.saturating_add(rule.out_ms(len))
    }

    /// Forgets servers that are no more.
    pub fn retain(&mut self, exists: impl Fn(&Name) -> bool) {
        self.deaths.retain(|server, _| exists(server));
    }
}

impl HoldDown {
    /// How long a server stays out after so many deaths in a row, in ms.
    fn out_ms(&self, deaths_len: u32) -> u64 {
        let factor = 1_u64.checked_shl(deaths_len.saturating_sub(1)).unwrap_or(u64::MAX);
        self.first_ms.saturating_mul(factor).min(self.max_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: HoldDown = HoldDown { first_ms: 1000, max_ms: 60_000, forget_ms: 600_000 };

    #[test]
    fn each_death_keeps_a_server_out_twice_as_long_up_to_the_limit() {
        let mut fallen = Fallen::default();
        let mut now_ms = 0;
        let mut out = Vec::new();
        for _ in 0..8 {
            out.push(fallen.note(&"s1".to_owned(), now_ms, RULE) - now_ms);
            now_ms += 100_000;
        }
        assert_eq!(out, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(fallen.note(&"s2".to_owned(), now_ms, RULE) - now_ms, 1000);
    }

    #[test]
    fn a_long_life_is_a_clean_slate() {
        let mut fallen = Fallen::default();
        let s1 = "s1".to_owned();
        assert_eq!(fallen.note(&s1, 0, RULE), 1000);
        assert_eq!(fallen.note(&s1, 600_999, RULE), 600_999 + 2000);
        let much_later = 600_999 + 602_000;
        assert_eq!(fallen.note(&s1, much_later, RULE), much_later + 1000);
        assert_eq!(HoldDown { first_ms: 0, ..RULE }.out_ms(70), 0);
        assert_eq!(RULE.out_ms(70), 60_000);
    }
}
