//! What a change does: [`Spec::apply`] makes a new spec or says everything that is wrong with the
//! change.
//!
//! Nothing else makes a spec (but `seed`, of the same pieces), so a spec that exists is a valid
//! one.

mod clients;
mod devices;
mod lives;
mod moves;
mod servers;
mod service;
mod taken;
#[cfg(test)]
mod tests;

pub use clients::{ClientHold, ClientMove};
pub(super) use devices::{DevicePut, put as put_device};
pub(super) use servers::{ServerPut, put as put_server};
pub(super) use taken::Taken;

use super::change::{Change, Context, SpecError};
use super::check;
use super::spec::Spec;
use super::validate::Problems;

impl Spec {
    /// The spec after `change`, with the next generation; `self` again, same generation, when the
    /// change changes nothing.
    ///
    /// # Errors
    /// Every problem of the change together, not only the first.
    pub fn apply(&self, change: &Change, ctx: &Context<'_>) -> Result<Self, SpecError> {
        let mut next = self.clone();
        let mut problems = Problems::default();
        next.change(change, ctx, &mut problems);
        next.forget_ended_clients();
        if next != *self {
            next.generation = self.generation.saturating_add(1);
        }
        problems.into_result(next)
    }

    /// Does what it can of `change` and notes what is wrong with it; the caller throws the result
    /// of a wrong change away.
    fn change(&mut self, change: &Change, ctx: &Context<'_>, problems: &mut Problems) {
        match change {
            Change::PutServer { name, address, state, load } => {
                let was = self.servers.remove(name);
                let before = was.as_ref().map(|was| was.state);
                let state = state.or(before).unwrap_or_default();
                let put = ServerPut { name, address: *address, state, load };
                put_server(self, &put, was, ctx, problems);
            }
            Change::RemoveServer { name } => servers::remove(self, name, problems),
            Change::SetServerState { name, state } => {
                servers::set_state(self, (name, *state), ctx, problems);
            }
            Change::PutDevice { name, device } => {
                check::judge_from_outside(device, problems);
                let was = self.devices.remove(name);
                let put = DevicePut { name, device, honour_server: true };
                let taken = Taken::by(self);
                put_device((self, &taken), &put, was, ctx, problems);
            }
            Change::RemoveDevice { name } => devices::remove(self, name, problems),
            Change::PatchDevices { remove, put } => {
                devices::patch(self, remove, put, ctx, problems);
            }
            Change::Associate { moves, cause } => {
                moves::associate(self, moves, *cause, ctx, problems);
            }
            Change::MoveClient(wish) => clients::move_(self, wish, ctx, problems),
            Change::ForgetClients { clients } => clients::forget(self, clients),
            Change::EndLives { servers } => lives::end(self, servers, problems),
            Change::BeginLives { servers } => lives::begin(self, servers, ctx, problems),
            Change::EndFillings { servers } => lives::end_fillings(self, servers, problems),
            Change::EndDrains { drains } => lives::end_drains(self, drains, problems),
            Change::SetBackups { backups } => moves::set_backups(self, backups, problems),
        }
    }
}
