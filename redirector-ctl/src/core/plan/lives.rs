//! Pass 1: servers that died, and servers that came back.

use super::super::change::Change;
use super::super::health::Health;
use super::super::spec::Name;
use super::Planner;

pub(super) fn pass(planner: &mut Planner<'_>) {
    let servers = &planner.plan.spec.servers;
    let over = |name: &&Name| servers.get(*name).is_some_and(|server| server.life_over);
    let (dead, living): (Vec<&Name>, Vec<&Name>) = servers.keys().partition(over);
    let ended: Vec<Name> =
        living.into_iter().filter(|name| planner.deaths.server(name)).cloned().collect();
    let back = |name: &&Name| planner.ctx.observed.server(name) == Health::Healthy;
    let begun: Vec<Name> = dead.into_iter().filter(back).cloned().collect();
    if !ended.is_empty() {
        let why: Vec<String> = ended.iter().map(|name| last_words(planner, name)).collect();
        planner.decide(Change::EndLives { servers: ended }, why.join("; "));
    }
    if !begun.is_empty() {
        let why = "answering again; nothing of an earlier life resumes".to_owned();
        planner.decide(Change::BeginLives { servers: begun }, why);
    }
}

/// What the checks of a dead server met with.
fn last_words(planner: &Planner<'_>, name: &Name) -> String {
    let Some(paths) = planner.ctx.observed.paths.get(name) else { return name.clone() };
    let error = paths.values().find_map(|path| path.last_error.as_deref());
    let error = error.unwrap_or("no answer");
    format!("{name} fails all its checks ({} devices), with {error}", paths.len())
}
