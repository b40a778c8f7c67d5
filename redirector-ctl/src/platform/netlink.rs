//! The kernel's interfaces, routes and neighbours.
