//! Suspicion: what packets say against a server, before a check has been made. A pure state
//! machine over counters that somebody else reads; it neither reads nor asks.
//!
//! A suspicion cuts nothing. It makes the server's checks be asked at once and with little
//! patience; what they answer decides. So a rule here may be wrong, at the price of one check.
//!
//! What was asked is always compared with what was answered, both counted by the packet path. Who
//! reads the counters late sees both of a longer time; and to be sure, a look that comes late
//! begins anew, because whatever kept us may have kept the packets too.

use redirector_common::wire::ServerCount;

/// When to suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Time between two looks, in ms.
    pub interval_ms: u64,
    /// How long a server that is asked may say nothing, in ms.
    pub silence_ms: u64,
}

impl Patience {
    /// The same with looks that are at least so far apart.
    #[must_use]
    pub fn stretched(self, interval_ms: u64) -> Self {
        Self { interval_ms: self.interval_ms.max(interval_ms), ..self }
    }
}

/// Why a server is suspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// It was asked and has not said anything for so many ms.
    Silent {
        /// Since when, in ms.
        for_ms: u64,
    },
    /// SYNs went to it and none was answered for so many ms, whatever else it says.
    Unaccepted {
        /// Since when, in ms.
        for_ms: u64,
    },
    /// It refused a new flow with RST.
    Refused,
    /// Somebody said that it cannot be reached.
    Unreachable,
}

impl Suspicion {
    /// The words of [`Suspicion::name`].
    pub const NAMES: [&str; 4] = ["silent", "unaccepted", "refused", "unreachable"];

    /// The word for it in labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        let [silent, unaccepted, refused, unreachable] = Self::NAMES;
        match self {
            Self::Silent { .. } => silent,
            Self::Unaccepted { .. } => unaccepted,
            Self::Refused => refused,
            Self::Unreachable => unreachable,
        }
    }
}

impl std::fmt::Display for Suspicion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Silent { for_ms } => write!(f, "asked, but silent for {for_ms} ms"),
            Self::Unaccepted { for_ms } => {
                write!(f, "no connection accepted for {for_ms} ms, though some were asked for")
            }
            Self::Refused => f.write_str("it refused a connection"),
            Self::Unreachable => f.write_str("an ICMP error says that it cannot be reached"),
        }
    }
}

/// A look that comes so many intervals after the one before begins anew.
const LATE: u64 = 7;
/// Shortest and longest time between two suspicions of one server that are not about what it does
/// not say, in ms. Each that comes soon after the last doubles it.
const REST_MIN_MS: u64 = 200;
const REST_MAX_MS: u64 = 5000;
/// A server that speaks after all, within so many ms, has taught us how long it may be silent:
/// twice as long. Half of that lesson is forgotten after as many ms as this.
const LESSON_MAX_MS: u64 = 1000;
const FORGET_MS: u64 = 10_000;

/// What is known of one server from the looks before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watch {
    last: Option<(ServerCount, u64)>,
    /// Since when it is asked and says nothing; None while it speaks or nobody asks.
    silent_since_ms: Option<u64>,
    /// Since when SYNs to it are not answered.
    unaccepted_since_ms: Option<u64>,
    /// How long it had been silent, and since when, when it was last suspected of that; None once
    /// it has spoken.
    accused: Option<(u64, u64)>,
    /// How long it has been silent without being dead, and when that was learnt, in ms.
    lesson: Option<(u64, u64)>,
    /// It has said something since that look: ms.
    spoke_after_ms: Option<u64>,
    /// When it was last suspected, and how long after that it is left in peace.
    rest: Option<(u64, u64)>,
}

impl Watch {
    /// Looks at the counters, sums over CPUs, as they are at `now_ms`. Times are ms of a clock that
    /// never goes back.
    pub fn look(
        &mut self,
        counts: ServerCount,
        now_ms: u64,
        patience: Patience,
    ) -> Option<Suspicion> {
        let known = self.last.replace((counts, now_ms));
        let late_ms = patience.interval_ms.saturating_mul(LATE);
        let before = known.filter(|(before, at_ms)| {
            now_ms.saturating_sub(*at_ms) <= late_ms && !has_begun_anew(before, &counts)
        });
        let Some((before, at_ms)) = before else {
            (self.silent_since_ms, self.unaccepted_since_ms) = (None, None);
            self.accused = None;
            return None;
        };
        if counts.answered != before.answered || counts.accepted != before.accepted {
            self.spoke_after_ms = Some(at_ms);
        }
        self.note(&before, &counts, now_ms);
        if let Some(for_ms) = self.silent_for(now_ms, patience) {
            return Some(Suspicion::Silent { for_ms });
        }
        if self.rest.is_some_and(|(at_ms, rest_ms)| now_ms.saturating_sub(at_ms) < rest_ms) {
            return None;
        }
        let suspicion = self.suspicion(&before, &counts, now_ms, patience)?;
        self.rest(now_ms);
        Some(suspicion)
    }

    /// The last time since which packets of the server have passed for certain, in ms.
    #[must_use]
    pub fn heard_since_ms(&self) -> Option<u64> {
        self.spoke_after_ms
    }

    /// Follows the two runs of silence.
    fn note(&mut self, before: &ServerCount, now: &ServerCount, now_ms: u64) {
        if now.answered != before.answered {
            self.silent_since_ms = None;
            if let Some((_, since_ms)) = self.accused.take() {
                self.learn(now_ms.saturating_sub(since_ms), now_ms);
            }
        }
        // Questions that came with the last answers count: those who wait for them may not ask
        // again for a long time.
        let asked = now.waiting != before.waiting;
        if asked && now.waiting > 0 {
            self.silent_since_ms.get_or_insert(now_ms);
        }
        if now.accepted != before.accepted {
            self.unaccepted_since_ms = None;
        } else if now.opened != before.opened {
            self.unaccepted_since_ms.get_or_insert(now_ms);
        }
    }

    fn suspicion(
        &mut self,
        before: &ServerCount,
        now: &ServerCount,
        now_ms: u64,
        patience: Patience,
    ) -> Option<Suspicion> {
        if now.unreachable != before.unreachable {
            return Some(Suspicion::Unreachable);
        }
        if now.refused != before.refused {
            return Some(Suspicion::Refused);
        }
        let for_ms = now_ms.saturating_sub(self.unaccepted_since_ms?);
        if for_ms < patience.silence_ms {
            return None;
        }
        // It is told once: who has been asked about it begins a new run with the next SYN.
        self.unaccepted_since_ms = None;
        Some(Suspicion::Unaccepted { for_ms })
    }

    /// How long the present silence has lasted, if that is too long. While it lasts it is told
    /// again each time that it has become twice as long.
    fn silent_for(&mut self, now_ms: u64, patience: Patience) -> Option<u64> {
        let since_ms = self.silent_since_ms?;
        let for_ms = now_ms.saturating_sub(since_ms);
        let told_ms = self.accused.map_or(0, |(told_ms, _)| told_ms.saturating_mul(2));
        if for_ms < patience.silence_ms.max(self.lesson_ms(now_ms)).max(told_ms) {
            return None;
        }
        self.accused = Some((for_ms, since_ms));
        Some(for_ms)
    }

    /// It was silent for so long and is not dead.
    fn learn(&mut self, for_ms: u64, now_ms: u64) {
        if for_ms <= LESSON_MAX_MS {
            let lesson_ms = for_ms.saturating_mul(2).max(self.lesson_ms(now_ms)).min(LESSON_MAX_MS);
            self.lesson = Some((lesson_ms, now_ms));
        }
    }

    /// What is left of what it has taught us, in ms.
    fn lesson_ms(&self, now_ms: u64) -> u64 {
        let Some((lesson_ms, at_ms)) = self.lesson else { return 0 };
        let halves = now_ms.saturating_sub(at_ms) / FORGET_MS;
        u32::try_from(halves).ok().and_then(|halves| lesson_ms.checked_shr(halves)).unwrap_or(0)
    }

    /// Leaves the server in peace for a while, for longer the sooner this comes after the last.
    fn rest(&mut self, now_ms: u64) {
        let again = |(at_ms, rest_ms): (u64, u64)| {
            let soon = now_ms.saturating_sub(at_ms) < rest_ms.saturating_mul(4);
            soon.then_some(rest_ms.saturating_mul(2).min(REST_MAX_MS))
        };
        self.rest = Some((now_ms, self.rest.and_then(again).unwrap_or(REST_MIN_MS)));
    }
}

/// Counters that grow for ever have become less: the place has a new holder.
fn has_begun_anew(before: &ServerCount, now: &ServerCount) -> bool {
    now.answered < before.answered || now.opened < before.opened || now.accepted < before.accepted
}

#[cfg(test)]
mod tests;
