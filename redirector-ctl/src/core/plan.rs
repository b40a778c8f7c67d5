//! Decisions: what to change, and why, from intent and measurement. Pure and deterministic, and
//! readable before it is carried out.
//!
//! The passes see what the earlier ones decided: ends and beginnings of servers' lives, servers
//! that have filled, devices that must leave their server, drains that are over, backups. Planning
//! again on the result gives nothing.

mod apart;
mod backups;
mod doubted;
mod drains;
mod fail_back;
mod filling;
mod leave;
mod lives;

use std::fmt;

use super::change::{Change, Context};
use super::observed::{Deaths, HeldBack};
use super::spec::Spec;

pub use drains::of_device as why_drains_ended;

/// One change and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What to change.
    pub change: Change,
    /// Why, in a sentence or several.
    pub why: String,
    /// The spec with this and all earlier decisions in it.
    pub after: Spec,
}

/// Something that should be changed but cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// What stays as it is.
    pub what: String,
    /// What stands in the way.
    pub by: String,
}

/// What to change now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Generation of the spec that was planned for.
    pub generation: u64,
    /// Now, in ms since the Unix epoch.
    pub now_ms: u64,
    /// The changes, in order.
    pub decisions: Vec<Decision>,
    /// What should change but cannot.
    pub blocked: Vec<Blocked>,
    /// Servers that refuse may be dead: others, who would be well if so, are to answer first.
    pub unsure: bool,
    /// Why deaths are not acted upon; None when they are.
    pub held_back: Option<HeldBack>,
    /// When to plan again even if nothing happens: ms since the Unix epoch.
    pub wake_at_ms: Option<u64>,
    /// The spec with all decisions in it.
    pub spec: Spec,
}

/// Decides what to change now.
#[must_use]
pub fn plan(spec: &Spec, ctx: &Context<'_>) -> Plan {
    let deaths = ctx.observed.deaths();
    let held_back = deaths.held_back();
    let mut planner = Planner {
        ctx: *ctx,
        deaths,
        plan: Plan {
            generation: spec.generation,
            now_ms: ctx.now_ms,
            decisions: Vec::new(),
            blocked: Vec::new(),
            unsure: false,
            held_back,
            wake_at_ms: None,
            spec: spec.clone(),
        },
    };
    lives::pass(&mut planner);
    doubted::pass(&mut planner);
    filling::pass(&mut planner);
    leave::pass(&mut planner);
    fail_back::pass(&mut planner);
    drains::pass(&mut planner);
    backups::pass(&mut planner);
    planner.plan
}

/// The plan in the making.
struct Planner<'a> {
    ctx: Context<'a>,
    deaths: Deaths<'a>,
    plan: Plan,
}

impl Planner<'_> {
    /// Takes a decision, so that the later passes see it. False, and a block, when the spec refuses
    /// it.
    fn decide(&mut self, change: Change, why: String) -> bool {
        match self.plan.spec.apply(&change, &self.ctx) {
            Ok(next) => {
                self.take(Decision { change, why, after: next });
                true
            }
            Err(refused) => {
                self.block(change.to_string(), refused.to_string());
                false
            }
        }
    }

    fn take(&mut self, decision: Decision) {
        self.plan.spec = decision.after.clone();
        self.plan.decisions.push(decision);
    }

    /// Plans again at that time at the latest.
    fn wake_at(&mut self, at_ms: u64) {
        let earlier_ms = self.plan.wake_at_ms.map_or(at_ms, |known| known.min(at_ms));
        self.plan.wake_at_ms = Some(earlier_ms);
    }

    fn block(&mut self, what: String, by: String) {
        self.plan.blocked.push(Blocked { what, by });
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "plan for generation {} -> {}", self.generation, self.spec.generation)?;
        if let Some(HeldBack { text, .. }) = &self.held_back {
            writeln!(f, "  held back: {text}")?;
        }
        for decision in &self.decisions {
            writeln!(f, "  {}\n    because {}", decision.change, decision.why)?;
        }
        for blocked in &self.blocked {
            writeln!(f, "  blocked: {}\n    by {}", blocked.what, blocked.by)?;
        }
        if self.decisions.is_empty() && self.blocked.is_empty() {
            writeln!(f, "  nothing to do")?;
        }
        if let Some(at) = self.wake_at_ms {
            writeln!(f, "  plan again in {} ms", at.saturating_sub(self.now_ms))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
