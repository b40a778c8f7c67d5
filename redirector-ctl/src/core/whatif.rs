//! What would be done if something happened: the planner, asked about a world that is not.

use super::change::{Context, ProblemKind, SpecError, SpecProblem};
use super::health::{Health, PathHealth};
use super::plan::{Plan, plan};
use super::spec::{Name, Spec};

/// What would be done if a server died now, with everything else as it is.
///
/// # Errors
/// When there is no such server.
pub fn death(spec: &Spec, ctx: &Context<'_>, server: &Name) -> Result<Plan, SpecError> {
    if !spec.servers.contains_key(server) {
        let detail =
            format!("there is no server {server}: see /v1/servers for those that there are");
        let (code, kind, field) = ("unknown_server", ProblemKind::NotFound, "server".to_owned());
        return Err(SpecError { problems: vec![SpecProblem { code, kind, field, detail }] });
    }
    let mut observed = ctx.observed.clone();
    // It is supposed to be dead, not to be doubted.
    observed.doubt.healthy_min = 0;
    let dead = PathHealth {
        health: Health::Dead,
        since_ms: ctx.now_ms,
        last_error: Some("the supposed death".to_owned()),
        ..PathHealth::default()
    };
    let allowed = spec.devices.iter().filter(|(_, device)| device.servers.contains(server));
    let paths = allowed.map(|(name, _)| (name.clone(), dead.clone())).collect();
    observed.paths.insert(server.clone(), paths);
    Ok(plan(spec, &Context { observed: &observed, ..*ctx }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::change::Change;
    use crate::core::fixtures::{all_well, at, three_and_three};

    #[test]
    fn a_supposed_death_moves_the_servers_devices_and_changes_nothing() {
        let spec = three_and_three();
        let observed = all_well(&spec);
        let ctx = at(1, &observed);
        let plan = death(&spec, &ctx, &"s1".to_owned()).unwrap();
        let moved: Vec<&str> = plan
            .decisions
            .iter()
            .filter_map(|decision| match &decision.change {
                Change::Associate { moves, .. } => Some(moves),
                _ => None,
            })
            .flatten()
            .map(|wish| wish.device.as_str())
            .collect();
        let on_s1 = spec.devices.iter().filter(|(_, device)| device.association.server == "s1");
        let on_s1: Vec<&str> = on_s1.map(|(name, _)| name.as_str()).collect();
        assert_eq!(moved, on_s1);
        assert!(!moved.is_empty() && plan.spec.servers["s1"].life_over);
        assert!(!spec.servers["s1"].life_over);
        let error = death(&spec, &ctx, &"s9".to_owned()).unwrap_err();
        assert_eq!(error.problems[0].code, "unknown_server");
    }
}
