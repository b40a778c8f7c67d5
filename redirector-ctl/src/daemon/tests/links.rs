//! Interfaces as the kernel lists them.

use super::*;

/// An interface with a carrier and the program.
pub(super) fn link(name: &str, index: u32) -> Link {
    Link {
        carrier_index: index,
        tags: redirector_common::wire::Tags::NONE,
        name: name.into(),
        index,
        mac: [2; 6],
        mtu: 1500,
        carrier: true,
        xdp: XdpInForce::Native,
    }
}
