//! Pass 3: drains that are over. They end from the oldest on, because the packet path keeps a
//! contiguous run of epochs open.

use std::collections::BTreeMap;

use super::super::change::Change;
use super::super::spec::{Device, Drain, FlowPolicy, Name, Server, Tracking};
use super::Planner;

/// A census counts for a drain only if it began this long after the association last changed, so
/// that no packet that read the earlier word is still on its way through the program.
const CENSUS_AFTER_MS: u64 = 1000;

pub(super) fn pass(planner: &mut Planner<'_>) {
    let mut ended: BTreeMap<Name, usize> = BTreeMap::new();
    let mut why = Vec::new();
    let mut wake_at_ms: Option<u64> = None;
    for (name, device) in &planner.plan.spec.devices {
        let mut len = 0;
        for drain in &device.association.drains {
            let Some(reason) = over(planner, device, drain) else {
                if let Some(at) = deadline_at_ms(device, drain) {
                    wake_at_ms = Some(wake_at_ms.map_or(at, |earlier| earlier.min(at)));
                }
                break;
            };
            why.push(format!("{name}: {reason}"));
            len += 1;
        }
        if len > 0 {
            ended.insert(name.clone(), len);
        }
    }
    if let Some(at_ms) = wake_at_ms {
        planner.wake_at(at_ms);
    }
    if !ended.is_empty() {
        planner.decide(Change::EndDrains { drains: ended }, why.join("; "));
    }
}

/// What the reason for ending drains, as [`pass`] puts it together, says of one device.
pub fn of_device(why: &str, device: &str) -> String {
    let of = |part: &str| part.strip_prefix(device)?.strip_prefix(": ").map(str::to_owned);
    why.split("; ").filter_map(of).collect::<Vec<_>>().join("; ")
}

/// When a drain ends at the latest. Nobody counts the flows of a stateless device, so its drains
/// must end by time: where none is said, by the device's own for planned moves.
fn deadline_at_ms(device: &Device, drain: &Drain) -> Option<u64> {
    let own = match (device.tracking, device.on_planned) {
        (Tracking::Tracked, _) => None,
        (Tracking::Stateless, FlowPolicy::Drain { deadline_ms }) => Some(deadline_ms),
        (Tracking::Stateless, FlowPolicy::Keep | FlowPolicy::Reset) => Some(0),
    };
    let own_at_ms = own.map(|ms| device.association.changed_at_ms.saturating_add(ms));
    drain.deadline_at_ms.or(own_at_ms)
}

/// Why a drain is over; None while it is not.
fn over(planner: &Planner<'_>, device: &Device, drain: &Drain) -> Option<String> {
    let (server, epoch) = (&drain.server, drain.epoch);
    if deadline_at_ms(device, drain).is_some_and(|at| at <= planner.ctx.now_ms) {
        return Some(format!("the deadline of epoch {epoch} on {server} has passed"));
    }
    let known = planner.plan.spec.servers.get(server);
    if known.is_none_or(Server::is_out) {
        return Some(format!("{server} of epoch {epoch} serves no more"));
    }
    if device.tracking == Tracking::Stateless {
        return None;
    }
    let census = planner.ctx.observed.census.as_ref()?;
    let counts_from = device.association.changed_at_ms.saturating_add(CENSUS_AFTER_MS);
    let empty = !census.flows.contains_key(&(device.id, epoch));
    (census.began_at_ms >= counts_from && empty)
        .then(|| format!("the last flow of epoch {epoch} on {server} has ended"))
}

#[cfg(test)]
mod tests {
    use super::of_device;

    #[test]
    fn a_device_hears_of_its_own_drains_only() {
        let why = "disk: s1 of epoch 3 serves no more; disk-b: the deadline of epoch 1 on s1 has \
                   passed; disk: the last flow of epoch 4 on s2 has ended";
        let of_disk = "s1 of epoch 3 serves no more; the last flow of epoch 4 on s2 has ended";
        assert_eq!(of_device(why, "disk"), of_disk);
    }
}
