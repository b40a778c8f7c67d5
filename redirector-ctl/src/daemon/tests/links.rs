//! Interfaces as the kernel lists them, and one that it does not have.

use super::*;
use crate::platform::netlink::Netlink;

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

#[tokio::test]
async fn an_address_that_the_kernel_does_not_take_is_told_of_once_and_tried_again() {
    let (mut owner, _dir) = at_rest().await;
    let (netlink, _events) = Netlink::open().unwrap();
    owner.announcer = Announcer::in_vain(netlink, link("nowhere0", u32::from(u16::MAX)));
    owner.settle().await;
    owner.settle().await;
    let told = owner.events.after(0, usize::MAX).into_iter();
    let told: Vec<_> = told.filter(|event| event.kind == EventKind::Error).collect();
    assert_eq!(told.len(), owner.spec.devices.len(), "{told:?}");
    assert!(told[0].text.starts_with("cannot add address 10.0.1.1: "), "{told:?}");
    owner.announcer = Announcer::none();
    owner.announce_again().await;
    assert!(owner.shown.unannounced.is_empty(), "what is taken now is not owed any more");
}
