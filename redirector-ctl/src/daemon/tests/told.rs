//! What the daemon says of what it does and finds.

use super::super::start::{gateway_interface, interfaces};
use super::links::link;
use super::*;
use crate::config::{InterfaceConfig, XdpMode};

#[tokio::test]
async fn a_failover_says_what_becomes_of_flows_while_older_ones_drain() {
    let (mut owner, _dir) = at_rest().await;
    owner.change(&move_d1("s2"), None).await.unwrap();
    for _ in 0..2 {
        let refused = CheckResult::Refused("connection refused".to_owned());
        let report = owner.prober.report("s2", "d1", refused);
        owner.take_report(&report);
    }
    well_beside(&mut owner, "s2");
    owner.decide().await;
    let events = owner.events.after(0, usize::MAX);
    let failover = events.iter().find(|event| event.kind == EventKind::Failover).unwrap();
    let says = "open flows on s2 are reset when those that drain from before have ended";
    assert!(failover.text.contains(says), "{failover:?}");
}

#[tokio::test]
async fn a_move_that_brings_devices_together_that_are_to_be_kept_apart_says_so() {
    let (mut owner, _dir) = at_rest().await;
    for name in ["d1", "d2"] {
        owner.spec.devices.get_mut(name).unwrap().keep_apart = Some("mirror".into());
    }
    owner.change(&move_d1("s2"), None).await.unwrap();
    let last = owner.events.after(0, usize::MAX).pop().unwrap();
    assert!(last.text.contains("it meets d2 there, though mirror keeps them apart"), "{last:?}");
    owner.change(&move_d1("s3"), None).await.unwrap();
    let last = owner.events.after(0, usize::MAX).pop().unwrap();
    assert!(!last.text.contains("meets"), "{last:?}");
}

/// The gateway has these interfaces, as they are now.
fn has(owner: &mut Owner<Model>, links: &[Link]) {
    let (mode, announce, vlan) = (XdpMode::Native, false, None);
    owner.shown.interfaces = interfaces(links);
    for link in links {
        let wanted = InterfaceConfig { name: link.name.clone(), mode, announce, vlan };
        owner.gateway.interfaces.push(gateway_interface(&wanted, link, &[]));
        owner.attaching.wanted.push(wanted);
    }
}

#[tokio::test]
async fn the_program_hears_of_another_mtu_and_ethernet_address() {
    let (mut owner, _dir) = at_rest().await;
    has(&mut owner, &[link("clients0", 2), link("servers0", 7)]);
    let other = Link { mtu: 9000, mac: [4; 6], ..link("servers0", 7) };
    let links = vec![link("clients0", 2), other];
    owner.take_ways(Ways { links: links.clone(), ..Ways::default() }).await;
    let known = |of: &Gateway| of.interfaces.iter().map(|of| (of.mtu, of.mac)).collect::<Vec<_>>();
    assert_eq!(known(&owner.kernel.gateway), [(1500, [2; 6]), (9000, [4; 6])]);
    let shown = &owner.snapshot().interfaces[1];
    assert_eq!((shown.mtu, shown.mac), (9000, [4; 6]));
    let told = owner.events.after(0, usize::MAX);
    let said = |text: &str| told.iter().filter(|event| event.text == text).count();
    assert_eq!(said("the MTU of interface servers0 is 9000 now"), 1);
    owner.take_ways(Ways { links, ..Ways::default() }).await;
    assert_eq!(owner.events.after(0, usize::MAX).len(), told.len(), "told once");
}

#[tokio::test]
async fn an_interface_that_came_anew_is_attached_to_and_next_hops_over_it_are_written_anew() {
    let (mut owner, _dir) = at_rest().await;
    let links = |servers0| vec![link("clients0", 2), servers0];
    let before = link("servers0", 7);
    let anew = Link { xdp: XdpInForce::Nothing, ..link("servers0", 9) };
    has(&mut owner, &links(before.clone()));
    owner.take_ways(Ways { links: links(before.clone()), ..Ways::default() }).await;
    assert_eq!((owner.kernel.attached.len(), owner.kernel.writes.len()), (0, 0));

    owner.take_ways(Ways { links: links(anew), ..Ways::default() }).await;
    assert_eq!(owner.kernel.attached, [("servers0".to_owned(), 9)]);
    assert_eq!(owner.gateway.interfaces[1].index, 9);
    let shown = &owner.snapshot().interfaces[1];
    assert_eq!((shown.index, shown.mode.as_str()), (9, "native"));
    let behind = owner.observed.next_hops.values().filter(|hop| hop.port == 1).count();
    assert!(behind > 0 && owner.kernel.writes.len() == behind, "{:?}", owner.kernel.writes);
}

#[tokio::test]
async fn an_interface_that_came_anew_is_told_of_until_the_kernel_takes_it() {
    let (mut owner, _dir) = at_rest().await;
    has(&mut owner, &[link("servers0", 7)]);
    owner.kernel.broken = true;
    let anew = Link { xdp: XdpInForce::Nothing, ..link("servers0", 9) };
    owner.take_ways(Ways { links: vec![anew], ..Ways::default() }).await;
    owner.kernel.broken = false;
    owner.attach_again().await;
    assert_eq!(owner.kernel.gateway.interfaces[0].index, 9);
    assert_eq!(owner.gateway.interfaces[0].index, 9);
}

#[tokio::test]
async fn the_mode_that_is_shown_is_the_one_in_force() {
    let (mut owner, _dir) = at_rest().await;
    let native = link("clients0", 7);
    let gone = Link { xdp: XdpInForce::Nothing, ..native.clone() };
    owner.shown.interfaces = interfaces(&[native]);
    assert_eq!(owner.snapshot().interfaces[0].mode, "native");
    owner.take_ways(Ways { links: vec![gone], ..Ways::default() }).await;
    assert_eq!(owner.snapshot().interfaces[0].mode, "none");
    let last = owner.events.after(0, usize::MAX).pop();
    assert!(last.is_some_and(|last| last.text.contains("clients0 is none")));
}
