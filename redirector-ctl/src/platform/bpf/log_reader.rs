//! The program's own messages, read from its ring and given to the daemon's log.

use std::time::Duration;

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::Log;

/// How often the ring is looked into. Messages are rare (the program halves their rate with each),
/// and the ring holds far more than comes in this time.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Reads what the program has to tell. Without a reader nothing is lost but the messages.
pub struct LogReader {
    logger: Option<EbpfLogger<&'static dyn Log>>,
}

impl LogReader {
    /// Opens the program's ring; the program must be loaded.
    pub(super) fn new(ebpf: &mut Ebpf) -> Self {
        match EbpfLogger::init(ebpf) {
            Ok(logger) => Self { logger: Some(logger) },
            Err(error) => {
                tracing::warn!(%error, "the program's messages cannot be read");
                Self { logger: None }
            }
        }
    }

    /// Passes messages on, for ever.
    pub async fn run(self) {
        let Some(mut logger) = self.logger else { return };
        let mut interval = tokio::time::interval(LOOK_INTERVAL);
        loop {
            interval.tick().await;
            logger.flush();
        }
    }
}
