//! The redirector's daemon and command line, as a library: the binary and the tests use the same
//! parts.
//!
//! Who may know whom: `core` knows nothing else here; `platform` knows `core`; `daemon` knows both
//! and owns all state; `api` knows the daemon's handle and `core`; `cli` knows only the API's wire
//! types.

pub mod api;
pub mod cli;
pub mod config;
pub mod core;
pub mod daemon;
pub mod doctor;
pub mod platform;
