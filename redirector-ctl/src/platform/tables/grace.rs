//! Waiting for the packets in flight that may still read the bank which is not in force, beside
//! whoever writes: the next commit, which may be a failover, finds the time to have passed.

use std::io;
use std::thread::{self, JoinHandle};

use super::TablesError;
use super::raw::wait_for_packets_in_flight;

/// Whether packets may still read the other bank.
pub(super) enum Grace {
    /// None does.
    Over,
    /// Some may, and nobody waits for them yet.
    Owed,
    /// They are waited for.
    Waiting(JoinHandle<io::Result<()>>),
}

impl Grace {
    /// Packets of this moment may read the other bank. They are waited for from now on, a grace
    /// period of some 10 ms; should there be no thread for it, [`Self::end`] does it all.
    pub(super) fn begin() -> Self {
        let thread = thread::Builder::new().name("grace".into());
        thread.spawn(wait_for_packets_in_flight).map_or(Self::Owed, Self::Waiting)
    }

    /// Returns when no packet reads the other bank any more.
    ///
    /// # Errors
    ///
    /// As [`wait_for_packets`]; then some still may.
    pub(super) fn end(&mut self) -> Result<(), TablesError> {
        let is_over = match std::mem::replace(self, Self::Owed) {
            Self::Over => true,
            Self::Owed => false,
            Self::Waiting(thread) => matches!(thread.join(), Ok(Ok(()))),
        };
        if !is_over {
            wait_for_packets()?;
        }
        *self = Self::Over;
        Ok(())
    }
}

/// Waits until no packet is in flight that began before the call.
///
/// # Errors
///
/// When the kernel refuses, as with `nohz_full` CPUs.
pub(super) fn wait_for_packets() -> Result<(), TablesError> {
    wait_for_packets_in_flight().map_err(|source| TablesError::Io {
        attempt: "wait for packets in flight (membarrier; kernels with nohz_full CPUs refuse)"
            .to_owned(),
        source,
    })
}
