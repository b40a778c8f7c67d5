//! Changes of associations: which server new flows of a device go to, which takes over, what open
//! flows do.

use std::collections::{BTreeMap, BTreeSet};

use super::super::change::{Context, Move};
use super::super::fitness::{Obstacle, obstacle};
use super::super::spec::{
    Association, Cause, Device, Drain, FlowPolicy, Name, Server, Slots, Spec, Tracking,
};
use super::super::validate::Problems;
use super::service::STATELESS_KEEP;

/// Most epochs besides the present one that the association word can keep open.
pub(super) const DRAINS_MAX: usize = 255;

/// Moves devices, all or none.
pub(super) fn associate(
    spec: &mut Spec,
    moves: &[Move],
    cause: Cause,
    ctx: &Context<'_>,
    problems: &mut Problems,
) {
    if moves.is_empty() {
        problems.malformed("no_moves", "moves", "there is nothing to move: name a device");
    }
    let mut seen = BTreeSet::new();
    for (n, wish) in moves.iter().enumerate() {
        let mut part = Problems::default();
        if !seen.insert(&wish.device) {
            let detail = format!("device {} is named twice: name it once", wish.device);
            part.malformed("duplicate_device", "device", detail);
        } else if let Some(device) = spec.devices.get(&wish.device) {
            check_target(spec, device, wish, ctx, &mut part);
            if device.tracking == Tracking::Stateless && wish.policy == Some(FlowPolicy::Keep) {
                part.refused("stateless_keep", "policy", STATELESS_KEEP);
            }
            let left = left(&spec.servers, device, wish);
            if left == Left::Serving && cause != Cause::Failure {
                check_room(device, wish, cause, &mut part);
            }
        } else {
            let detail = format!("there is no device {}", wish.device);
            part.not_found("unknown_device", "device", detail);
        }
        problems.under(&format!("moves[{n}]"), part);
    }
    for wish in moves {
        let Some(device) = spec.devices.get_mut(&wish.device) else { continue };
        if device.association.server == wish.server {
            continue;
        }
        let policy = wish.policy.unwrap_or(device.policy_of(cause));
        let left = left(&spec.servers, device, wish);
        let to = Turn { server: &wish.server, policy, cause, left };
        turn(&mut spec.slots, device, &to, ctx.now_ms);
    }
}

/// What the device leaves. Who wishes all its flows reset gets that whatever it leaves.
fn left(servers: &BTreeMap<Name, Server>, device: &Device, wish: &Move) -> Left {
    if wish.policy == Some(FlowPolicy::Reset) {
        return Left::Serving;
    }
    Left::of(servers, device, &wish.server)
}

/// Whether the wished server may take the device.
pub(super) fn check_target(
    spec: &Spec,
    device: &Device,
    wish: &Move,
    ctx: &Context<'_>,
    problems: &mut Problems,
) {
    let (name, server) = (&wish.device, &wish.server);
    if device.association.server == *server {
        return;
    }
    if !spec.servers.contains_key(server) {
        let detail = format!("there is no server {server}: device {name} may use {}", list(device));
        problems.refused("unknown_server", "server", detail);
        return;
    }
    if !device.servers.contains(server) {
        let detail = format!(
            "server {server} is not among the servers of device {name} ({}): add it there first",
            list(device)
        );
        problems.refused("server_not_allowed", "server", detail);
        return;
    }
    let against = |server: &Name| obstacle(spec, ctx.observed, server, name);
    let Some(found) = against(server).filter(|found| found.is_firm()) else { return };
    let is_dead = |found| matches!(found, Obstacle::Dead | Obstacle::DeadForDevice);
    let all_dead = device.servers.iter().all(|server| against(server).is_some_and(is_dead));
    if is_dead(found) && all_dead {
        return; // No choice is better than this one, so the operator's stands.
    }
    let others: Vec<&str> = device
        .servers
        .iter()
        .filter(|other| *other != server && against(other).is_none_or(|found| !found.is_firm()))
        .map(String::as_str)
        .collect();
    let hint = match others.as_slice() {
        [] => "no other server is fit either".to_owned(),
        fit => format!("fit would be {}", fit.join(", ")),
    };
    let detail = format!("server {server} {found}, so device {name} cannot move to it: {hint}");
    problems.refused("server_unfit", "server", detail);
}

/// Whether the association word can still keep the open flows' epochs open.
fn check_room(device: &Device, wish: &Move, cause: Cause, problems: &mut Problems) {
    let stays = device.association.server == wish.server;
    let resets = wish.policy.unwrap_or(device.policy_of(cause)) == FlowPolicy::Reset;
    if stays || resets || open_span(device) < DRAINS_MAX {
        return;
    }
    let detail = format!(
        "device {} has open flows of {DRAINS_MAX} earlier associations: wait for the oldest to \
         end, or move it with policy reset",
        wish.device
    );
    problems.refused("too_many_drains", "device", detail);
}

/// How many epochs the word has to keep open besides the present one.
fn open_span(device: &Device) -> usize {
    usize::from(device.association.epochs_open())
}

fn list(device: &Device) -> String {
    device.servers.join(", ")
}

/// A change of one association that has been found right.
pub(super) struct Turn<'a> {
    pub(super) server: &'a Name,
    pub(super) policy: FlowPolicy,
    pub(super) cause: Cause,
    pub(super) left: Left,
}

/// What a device leaves behind with its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Left {
    /// A server that serves: the flows of the present epoch are on it, and only there.
    Serving,
    /// A server that serves nothing. Its flows are refused because of that, so what lives of the
    /// present epoch is what others have taken over since.
    Gone {
        /// Who has taken flows over, if it is not the device's next server anyway.
        heir: Option<Name>,
    },
}

impl Left {
    /// What `device` leaves when it goes to server `to`.
    pub(super) fn of(servers: &BTreeMap<Name, Server>, device: &Device, to: &Name) -> Self {
        let serves = |name: &Name| servers.get(name).is_some_and(|server| !server.is_out());
        let now = &device.association;
        if serves(&now.server) {
            return Self::Serving;
        }
        Self::Gone { heir: now.backup.clone().filter(|backup| backup != to && serves(backup)) }
    }
}

/// Changes the server of a device.
pub(super) fn turn(slots: &mut Slots, device: &mut Device, to: &Turn<'_>, now_ms: u64) {
    match &to.left {
        Left::Serving => begin_epoch(slots, device, to, now_ms),
        Left::Gone { heir } => {
            if let Some(heir) = heir {
                let next = next_epoch(slots, device.id);
                let was = &mut device.association;
                let (server, deadline_at_ms) = (heir.clone(), None);
                let epoch = was.epoch;
                was.drains.push(Drain { server, epoch, deadline_at_ms, failed: false });
                was.epoch = next;
            }
            // Without an heir the epoch goes on. To close it would reset the clients that have
            // come back already: the packet path sends them to the backup from the moment that it
            // knows of a death, well before anything is decided here.
            if device.association.backup.as_ref() == Some(to.server) {
                device.association.backup = None;
            }
            device.association.server.clone_from(to.server);
        }
    }
    let now = &mut device.association;
    now.cause = to.cause;
    now.changed_at_ms = now_ms;
    // Only who must leave comes here with a full word: then the oldest flows are reset rather than
    // the move refused.
    while usize::from(now.epoch.wrapping_sub(now.oldest_epoch())) > DRAINS_MAX {
        now.drains.remove(0);
    }
}

/// Begins a new epoch of the device on another server; the policy says what becomes of the old one.
fn begin_epoch(slots: &mut Slots, device: &mut Device, to: &Turn<'_>, now_ms: u64) {
    let epoch = next_epoch(slots, device.id);
    let was = &mut device.association;
    let deadline_at_ms = match to.policy {
        FlowPolicy::Keep => None,
        FlowPolicy::Drain { deadline_ms } => Some(now_ms.saturating_add(deadline_ms)),
        FlowPolicy::Reset => Some(now_ms),
    };
    // A wish to reset means all open flows. A failure (of this one path: its server serves) ends
    // those of the failed server only: flows that drain elsewhere live, and because epochs close
    // from the oldest on, the failed one waits for its turn.
    let failed = to.cause == Cause::Failure;
    if to.policy == FlowPolicy::Reset && !failed {
        was.drains.clear();
    }
    let earlier_stay = !was.drains.is_empty();
    if to.policy != FlowPolicy::Reset || earlier_stay {
        let (server, epoch) = (was.server.clone(), was.epoch);
        was.drains.push(Drain { server, epoch, deadline_at_ms, failed });
    }
    let left = std::mem::replace(&mut was.server, to.server.clone());
    if was.backup.as_ref() == Some(to.server) {
        was.backup = (!failed).then_some(left);
    }
    was.epoch = epoch;
}

/// The next epoch of a device id, also for its next holder.
pub(super) fn next_epoch(slots: &mut Slots, id: u32) -> u16 {
    let last = slots.epochs.entry(id).or_default();
    *last = last.wrapping_add(1);
    *last
}

impl Association {
    /// The oldest epoch whose flows may still be open.
    #[must_use]
    pub fn oldest_epoch(&self) -> u16 {
        self.drains.first().map_or(self.epoch, |drain| drain.epoch)
    }

    /// Server to which packets belong that are in mid-conversation and of no known flow. What is
    /// taken in for it gets the epoch before the present one, so that must be its drain's; and a
    /// server that failed would only get more that it cannot serve.
    #[must_use]
    pub fn previous(&self) -> Option<&Name> {
        let before = self.epoch.wrapping_sub(1);
        let last = self.drains.last().filter(|drain| drain.epoch == before && !drain.failed);
        last.map(|drain| &drain.server)
    }

    /// How many epochs before the present one are still accepted. Epochs wrap at 16 bits.
    #[must_use]
    pub fn epochs_open(&self) -> u8 {
        u8::try_from(self.epoch.wrapping_sub(self.oldest_epoch())).unwrap_or(u8::MAX)
    }
}

/// Sets the servers that take over by themselves.
pub(super) fn set_backups(
    spec: &mut Spec,
    backups: &BTreeMap<Name, Option<Name>>,
    problems: &mut Problems,
) {
    for (name, backup) in backups {
        let field = format!("backups[{name}]");
        let Some(device) = spec.devices.get_mut(name) else {
            problems.not_found("unknown_device", &field, format!("there is no device {name}"));
            continue;
        };
        let allowed =
            |server: &Name| device.servers.contains(server) && *server != device.association.server;
        if backup.as_ref().is_none_or(allowed) {
            device.association.backup.clone_from(backup);
        } else {
            let detail = format!("the backup of {name} must be another of {}", list(device));
            problems.refused("bad_backup", &field, detail);
        }
    }
}
