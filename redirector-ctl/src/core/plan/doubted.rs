//! What pass 1 does not believe: servers that say no are kept while too few others are well.

use super::super::spec::Server;
use super::Planner;

/// Others that are to answer have done so by then, or have failed.
const LOOK_AGAIN_MS: u64 = 1000;

pub(super) fn pass(planner: &mut Planner<'_>) {
    let refusals = planner.deaths.refusals();
    planner.plan.unsure = refusals.unsure;
    if refusals.unsure {
        planner.wake_at(planner.ctx.now_ms.saturating_add(LOOK_AGAIN_MS));
    }
    for kept in refusals.doubted {
        let server = planner.plan.spec.servers.get(&kept.server);
        if server.is_none_or(Server::is_out) {
            continue;
        }
        let devices = match kept.devices_len {
            1 => format!("device {}", kept.device),
            len => format!("device {} and {} others", kept.device, len - 1),
        };
        let what = format!("server {} is kept for {devices}, though it fails", kept.server);
        let min = planner.ctx.observed.doubt.healthy_min;
        let by = format!(
            "fewer than {min} other servers are well for it, so that the check itself may be wrong \
             ({}): correct the check or mend the servers, or declare the server failed to end its \
             flows",
            kept.error
        );
        planner.block(what, by);
    }
}
