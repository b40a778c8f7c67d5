//! How much the API takes, and what happens there.

use std::time::Duration;

/// Longest body, in bytes. A longer one is refused with 413.
pub(super) const BODY_LEN_MAX: usize = 1 << 20;

/// Longest head of a request, in bytes. A longer one is refused with 431.
pub(super) const HEAD_LEN_MAX: usize = 16 << 10;

/// Most header lines of a request. More are refused with 431.
pub(super) const HEADERS_MAX: usize = 64;

/// Most connections at a time over all listeners, and with HTTP/1 also requests. Further clients
/// wait in the kernel's queue.
pub(super) const CONNECTIONS_MAX: usize = 128;

/// Longest wait for the head of a request, also of the next one on a connection. Then it is closed.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for the rest of a request's body. Then it is refused with 408.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time for a whole request. Then it is answered with 503.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest life of a connection, so that a client that does not read its answer holds its place
/// for a limited time only.
pub(super) const CONNECTION_LIFE: Duration = Duration::from_secs(600);

/// Longest wait for open requests when the daemon stops.
pub(super) const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);

/// Most events in one answer, and how many there are unless fewer are asked for.
pub(super) const EVENTS_MAX: usize = 1000;
pub(super) const EVENTS_DEFAULT: usize = 100;

/// Longest request id that is taken over from a client, in bytes.
pub(super) const REQUEST_ID_LEN_MAX: usize = 64;
