//! How many files the daemon may have open: checks, connections of the API and tables are files.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit that programs begin with (often 1024) to the one that the kernel lets us have,
/// so that clients of the API cannot take the files that checks need. Gives the limit in force;
/// None for no limit.
///
/// # Errors
/// When the kernel refuses.
pub fn raise_limit() -> io::Result<Option<u64>> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    Ok(maximum)
}
