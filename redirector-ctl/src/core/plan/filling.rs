//! Servers that have filled: from now on they take as much as any other.

use super::super::change::Change;
use super::super::spec::Name;
use super::Planner;

pub(super) fn pass(planner: &mut Planner<'_>) {
    let mut filled: Vec<Name> = Vec::new();
    let mut until_ms: Option<u64> = None;
    for (name, server) in &planner.plan.spec.servers {
        let Some(filling) = server.filling else { continue };
        if filling.until_ms <= planner.ctx.now_ms {
            filled.push(name.clone());
        } else {
            until_ms = Some(until_ms.map_or(filling.until_ms, |ms| ms.min(filling.until_ms)));
        }
    }
    if let Some(at_ms) = until_ms {
        planner.wake_at(at_ms);
    }
    if !filled.is_empty() {
        let why = "their time is over: they take as much as any other".to_owned();
        planner.decide(Change::EndFillings { servers: filled }, why);
    }
}

/// Whether a server takes load gradually. Where there is a choice, another inherits.
pub(super) fn is_filling(planner: &Planner<'_>, name: &Name) -> bool {
    planner.plan.spec.servers.get(name).is_some_and(|server| server.is_filling())
}
