//! The service manager that started us, if one did (sd_notify(3)): it is told when we are ready,
//! that we are alive, and when we stop. Without one all of this does nothing.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use sd_notify::{NotifyState, notify, watchdog_enabled};

/// A supervisor that watches us.
#[derive(Debug)]
pub struct Watchdog {
    /// How often it is to hear of us: half of the time after which it acts, as
    /// sd_watchdog_enabled(3) advises.
    pub interval: Duration,
    alive: SyncSender<()>,
}

impl Watchdog {
    /// None where nobody watches.
    #[must_use]
    pub fn of_environment() -> Option<Self> {
        let limit = watchdog_enabled().filter(|limit| !limit.is_zero())?;
        let (alive, said) = sync_channel(1);
        // A thread of its own, because it is the supervisor's queue that may be full, and whoever
        // says that he lives must not wait for it.
        std::thread::spawn(move || said.iter().for_each(|()| tell(&[NotifyState::Watchdog])));
        Some(Self { interval: limit / 2, alive })
    }

    /// Whoever calls this is alive.
    pub fn alive(&self) {
        // What was said before and is not yet told says the same.
        let _ = self.alive.try_send(());
    }
}

/// We serve.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// We are about to end.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = notify(states) {
        tracing::warn!(%error, "the service manager cannot be told: see NOTIFY_SOCKET");
    }
}
