//! A proposal as text: what to do, with which figures, and why, in sentences.

use std::fmt;

use super::super::plan;
use super::calm::Verdict;
use super::problem::{DeviceAt, Problem, ServerAt};
use super::proposal::{Blocked, Breach, Move, Obstacle, Proposal, Reason, Stuck};

/// A proposal with the names of its problem; print it.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    proposal: &'a Proposal,
    problem: &'a Problem,
}

impl Proposal {
    /// The proposal as text. `problem` is the one it was made for.
    #[must_use]
    pub fn text<'a>(&'a self, problem: &'a Problem) -> Text<'a> {
        Text { proposal: self, problem }
    }

    /// What should be otherwise but stays, in words, with what stands in the way.
    #[must_use]
    pub fn blocked_words(&self, problem: &Problem) -> Vec<plan::Blocked> {
        self.blocked.iter().map(|blocked| blocked.words(problem)).collect()
    }
}

impl Move {
    /// Why, in a sentence.
    #[must_use]
    pub fn why(&self, problem: &Problem) -> String {
        let names = Names(problem);
        let (device, from, to) =
            (names.device(self.device), names.server(self.from), names.server(self.to));
        let figures = &self.figures;
        let relieved = |server: &str| {
            let resource = names.resource(figures.resource);
            let (before, after) = (percent(figures.from_before), percent(figures.from_after));
            format!("{server} goes from {before} to {after} of its {resource}")
        };
        let receiver = |server: &str| {
            let (before, after) = (percent(figures.to_before), percent(figures.to_after));
            format!("{server} from {before} to {after} of its worst")
        };
        match self.reason {
            Reason::Breach(breach) => format!("{device} {} {from}", breach.is_wrong_on()),
            Reason::Relief => format!("{}, and {}", relieved(from), receiver(to)),
            Reason::Swap(other) => {
                let other = names.device(other);
                format!("in exchange for {other} {}, and {}", relieved(from), receiver(to))
            }
            Reason::Surges => {
                format!("surges need room: {}, and {}", relieved(from), receiver(to))
            }
            Reason::SwapBack(other) => {
                format!("{} comes from {to} in exchange", names.device(other))
            }
        }
    }

    /// The figures behind it: what is expected of the device, what the move gains and costs.
    #[must_use]
    pub fn worth(&self, problem: &Problem) -> String {
        let (names, resource) = (Names(problem), self.figures.resource);
        let capacity = problem.server(self.from).capacity.get(resource);
        let need = problem.device(self.device).demand.get(resource) / capacity;
        format!(
            "{} is expected to need {} of its {}; gain {:.2} server-seconds, cost {:.3}",
            names.device(self.device),
            percent(need),
            names.resource(resource),
            self.gain,
            self.cost,
        )
    }
}

impl Breach {
    fn is_wrong_on(self) -> &'static str {
        match self {
            Self::PinnedElsewhere => "is pinned elsewhere than",
            Self::NotAllowed => "may not be on",
            Self::Group => "meets another device of its group on",
        }
    }
}

/// Names for positions.
struct Names<'a>(&'a Problem);

impl<'a> Names<'a> {
    fn device(&self, at: DeviceAt) -> &'a str {
        &self.0.device(at).name
    }

    fn server(&self, at: ServerAt) -> &'a str {
        &self.0.server(at).name
    }

    fn resource(&self, resource: usize) -> &'static str {
        self.0.resources.get(resource).copied().unwrap_or("load")
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Even => f.write_str("the load is even enough"),
            Self::Watched { hits, needed } => {
                write!(f, "uneven for {hits} periods of late, and it takes {needed}")
            }
            Self::Relieving => f.write_str("uneven for long enough"),
        }
    }
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.pinned, "pinned"),
            (self.resting, "resting"),
            (self.uncertain, "too hard to forecast"),
            (self.too_dear, "not worth their cost"),
            (self.over_budget, "too many for one minute"),
            (self.no_room, "without a server that has room"),
        ];
        let named = parts.iter().filter(|(count, _)| *count > 0);
        let texts: Vec<String> = named.map(|(count, what)| format!("{count} {what}")).collect();
        if texts.is_empty() {
            return f.write_str("no device of it can be moved");
        }
        write!(f, "devices: {}", texts.join(", "))
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refuses(why) => write!(f, "takes nothing: {why}"),
            Self::NotAllowed => f.write_str("is not allowed for it"),
            Self::Group => f.write_str("has a device of its group"),
            Self::NoRoom(share) => write!(f, "has no room at {}", percent(*share)),
        }
    }
}

impl Blocked {
    /// What stays as it is, and what stands in the way.
    fn words(&self, problem: &Problem) -> plan::Blocked {
        let names = Names(problem);
        match self {
            Self::Device { device, breach, by } => {
                let at = problem.device(*device).server;
                let (device, server) = (names.device(*device), names.server(at));
                let texts: Vec<String> =
                    by.iter().map(|(at, why)| format!("{} {why}", names.server(*at))).collect();
                let none = || "no other server".to_owned();
                plan::Blocked {
                    what: format!("{device} stays, though it {} {server}", breach.is_wrong_on()),
                    by: if texts.is_empty() { none() } else { texts.join(", ") },
                }
            }
            Self::Server { server, share, resource, by } => {
                let (server, resource) = (names.server(*server), names.resource(*resource));
                let what = format!("{server} stays at {} of its {resource}", percent(*share));
                plan::Blocked { what, by: by.to_string() }
            }
        }
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Proposal { before, after, bound, .. } = self.proposal;
        let [before, after, bound] = [before, after, bound].map(|share| percent(*share));
        writeln!(f, "proposal: hottest server {before} -> {after}, at best {bound}")?;
        if let Some(verdict) = self.proposal.verdict {
            writeln!(f, "  {verdict}")?;
        }
        let names = Names(self.problem);
        for one in &self.proposal.moves {
            let [from, to] = [one.from, one.to].map(|server| names.server(server));
            writeln!(f, "  move {} {from} -> {to}", names.device(one.device))?;
            writeln!(f, "    because {}", one.why(self.problem))?;
            if !matches!(one.reason, Reason::Breach(_)) {
                writeln!(f, "    gain {:.3}, cost {:.3} server-seconds", one.gain, one.cost)?;
            }
        }
        for plan::Blocked { what, by } in self.proposal.blocked_words(self.problem) {
            writeln!(f, "  blocked: {what}\n    by {by}")?;
        }
        if self.proposal.moves.is_empty() && self.proposal.blocked.is_empty() {
            writeln!(f, "  nothing to do")?;
        }
        Ok(())
    }
}
