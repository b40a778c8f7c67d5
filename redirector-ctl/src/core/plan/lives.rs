//! Pass 1: servers that died, and servers that came back.

use super::super::change::Change;
use super::super::fitness::obstacle;
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
    let back: Vec<Name> = dead.into_iter().filter(back).cloned().collect();
    if !ended.is_empty() {
        let why: Vec<String> = ended.iter().map(|name| last_words(planner, name)).collect();
        planner.decide(Change::EndLives { servers: ended }, why.join("; "));
    }
    let (held, begun): (Vec<Name>, Vec<Name>) =
        back.into_iter().partition(|name| until_ms(planner, name).is_some());
    if let Some(until_ms) = held.iter().filter_map(|name| until_ms(planner, name)).min() {
        planner.wake_at(until_ms);
    }
    if !begun.is_empty() {
        let why = "answering again; nothing of an earlier life resumes".to_owned();
        planner.decide(Change::BeginLives { servers: begun }, why);
    }
}

/// Until when a server that answers again stays out all the same: it has died too often. None when
/// it may begin, also because nobody else can serve one of its devices: a server that may die again
/// is better than none.
fn until_ms(planner: &Planner<'_>, name: &Name) -> Option<u64> {
    let until_ms = *planner.ctx.observed.held_down.get(name)?;
    let (spec, observed) = (&planner.plan.spec, planner.ctx.observed);
    let alone = spec.devices.iter().any(|(device, wish)| {
        let unfit = |server: &Name| obstacle(spec, observed, server, device).is_some();
        wish.servers.contains(name) && wish.servers.iter().all(unfit)
    });
    (until_ms > planner.ctx.now_ms && !alone).then_some(until_ms)
}

/// What the checks of a dead server met with.
fn last_words(planner: &Planner<'_>, name: &Name) -> String {
    let Some(paths) = planner.ctx.observed.paths.get(name) else { return name.clone() };
    let error = paths.values().find_map(|path| path.last_error.as_deref());
    let error = error.unwrap_or("no answer");
    format!("{name} fails all its checks ({} devices), with {error}", paths.len())
}
