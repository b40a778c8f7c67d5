//! Checks of servers.
