//! How much the API takes, and what happens there.

use std::num::NonZeroU32;
use std::time::Duration;

/// Requests in a second over all clients, and how many may come at once after a pause. More are
/// refused with 429: each is a turn of the daemon's loop.
pub(super) const REQUESTS_PER_SECOND_MAX: NonZeroU32 = NonZeroU32::new(1000).unwrap();
pub(super) const REQUESTS_AT_ONCE_MAX: NonZeroU32 = NonZeroU32::new(2000).unwrap();

/// Failed attempts to be let in that are answered and logged in full, in a second from one address,
/// and how many may come at once. More are refused with 429.
pub(super) const FAILURES_PER_SECOND_MAX: NonZeroU32 = NonZeroU32::MIN;
pub(super) const FAILURES_AT_ONCE_MAX: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// Addresses of which failures are remembered; beyond it those that have rested are forgotten.
pub(super) const FAILURES_REMEMBERED_MAX: usize = 10_000;

/// Longest body, in bytes. A longer one is refused with 413.
pub(super) const BODY_LEN_MAX: usize = 1 << 20;

/// Longest head of a request, in bytes. A longer one is refused with 431.
pub(super) const HEAD_LEN_MAX: usize = 16 << 10;

/// Most header lines of a request. More are refused with 431.
pub(super) const HEADERS_MAX: usize = 64;

/// Most connections at a time on the socket, and with HTTP/1 also requests. Further clients wait
/// in the kernel's queue.
pub(super) const SOCKET_CONNECTIONS_MAX: usize = 128;

/// The same on the port, so that whoever takes all its places leaves the socket's to others.
pub(super) const PORT_CONNECTIONS_MAX: usize = 1152;

/// Most connections at a time from one address beyond loopback. More are closed at once.
pub(super) const CONNECTIONS_PER_ADDRESS_MAX: usize = 256;

/// Longest wait for a client to get through TLS's handshake. Then its connection is closed.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for the head of a request, also of the next one on a connection. Then it is closed.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for the rest of a request's body. Then it is refused with 408.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time for a whole request. Then it is answered with 503.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest wait for a generation, in ms, and how long unless another time is asked for.
pub(super) const WAIT_MAX_MS: u64 = 15_000;
pub(super) const WAIT_DEFAULT_MS: u64 = 10_000;
/// Time between two looks at whether a generation is there, while events come and while none does.
pub(super) const WAIT_LOOK_MIN: Duration = Duration::from_millis(50);
pub(super) const WAIT_LOOK_MAX: Duration = Duration::from_secs(1);

/// Longest wait for the daemon's loop before it counts as hanging.
pub(super) const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest life of a connection, so that a client that does not read its answer holds its place
/// for a limited time only.
pub(super) const CONNECTION_LIFE: Duration = Duration::from_secs(600);

/// Most event streams at a time, so that they leave connections to others. More are refused with
/// 503.
pub(super) const STREAMS_MAX: usize = 32;

/// Longest life of an event stream, which then says goodbye; shorter than its connection's.
pub(super) const STREAM_LIFE: Duration = Duration::from_secs(540);

/// A stream without events says so after this time, by which both ends see that the other lives.
pub(super) const STREAM_PAUSE: Duration = Duration::from_secs(15);

/// Events that a stream takes from the daemon at once, and the most that it holds.
pub(super) const STREAM_BATCH_LEN: usize = 64;

/// Longest time that a client may take nothing of its answer. Then its connection is cut.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for open requests when the daemon stops.
pub(super) const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);

/// Most events in one answer, and how many there are unless fewer are asked for.
pub(super) const EVENTS_MAX: usize = 1000;
pub(super) const EVENTS_DEFAULT: usize = 100;

/// Most devices on one page, and how many there are unless fewer are asked for.
pub(super) const DEVICES_MAX: usize = 1000;

/// Most flows on one page, and how many there are unless other numbers are asked for.
pub(super) const FLOWS_MAX: usize = 1000;
pub(super) const FLOWS_DEFAULT: usize = 100;

/// Longest request id that is taken over from a client, in bytes.
pub(super) const REQUEST_ID_LEN_MAX: usize = 64;
