//! Why the tables could not be read or written, in words that say what to do.

use std::io;

use aya::maps::MapError;

/// Why the tables could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TablesError {
    /// A system call on a map failed.
    #[error("{attempt}")]
    Map {
        /// What was attempted on which map.
        attempt: String,
        /// The kernel's answer.
        source: MapError,
    },
    /// A system call failed.
    #[error("{attempt}")]
    Io {
        /// What was attempted.
        attempt: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// An id is outside its table.
    #[error("{what} {id} does not fit the table of {len}; raise limits.{limit} and restart")]
    OutOfRange {
        /// "device" or "server".
        what: &'static str,
        /// The id.
        id: u32,
        /// The table's size.
        len: usize,
        /// Name of the limit in the configuration.
        limit: &'static str,
    },
    /// A pinned map was made by another program.
    #[error(
        "map {name} has keys and values of {found:?} bytes, not {wanted:?}; run `redirector \
         detach` with the daemon stopped (its open flows end), then start again"
    )]
    Shape {
        /// Map.
        name: &'static str,
        /// Bytes of key and value.
        found: (usize, usize),
        /// What this daemon was built with.
        wanted: (usize, usize),
    },
}
