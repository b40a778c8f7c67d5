//! One client of one device on another server: into the tables at once, and told.

use super::EventKind;
use super::events::About;
use super::kernel::Kernel;
use super::owner::Owner;
use crate::core::apply::ClientMove;
use crate::core::change::SpecError;
use crate::core::spec::Cause;
use crate::platform::tables::TablesError;

/// Why a client was not moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveClientError {
    /// It cannot be.
    #[error(transparent)]
    Refused(#[from] SpecError),
    /// The kernel did not take it.
    #[error("the client cannot be kept on another server")]
    Kernel(#[from] TablesError),
}

impl<K: Kernel> Owner<K> {
    /// Lets the client's new flows go to another server; gives the event that tells of it.
    pub(super) fn move_client(&mut self, wish: &ClientMove) -> Result<u64, MoveClientError> {
        let hold = self.spec.client_move(wish, &self.context())?;
        self.kernel.hold_client(&hold)?;
        let ClientMove { device, client, server } = wish;
        let about = About {
            device: Some(device.clone()),
            server: Some(server.clone()),
            cause: Some(Cause::Planned),
        };
        let text = format!("client {client} of device {device}: its new flows go to {server}");
        Ok(self.events.record(self.now_ms(), EventKind::Move, about, text))
    }
}
