//! Datagrams longer than the MTU: all their fragments go where the first one goes, both ways.

use anyhow::{Context, Result, ensure};
use redirector_common::headers::PROTOCOL_UDP;
use redirector_common::verdict::Reason;
use redirector_common::wire::Forwarding;
use redirector_tests::data_path::Version;
use redirector_tests::gateway::{Device, Plan, SERVER_V4, SERVER_V6, Site};
use redirector_tests::talk;

/// Three fragments over an MTU of 1500.
const DATAGRAM_LEN: usize = 4000;
const DATAGRAMS: usize = 200;
/// Fragments after the first one.
const LATER: u64 = 2;

#[test]
fn fragments_follow_the_first_one_both_ways() -> Result<()> {
    let mut site = Site::build(Plan::PLAIN)?;
    let modes =
        [Forwarding::Nat, Forwarding::FullNat, Forwarding::Dsr, Forwarding::Ipip, Forwarding::Gue];
    let (mut id, mut past) = (0, 0);
    for forwarding in modes {
        for (version, server) in [(Version::V4, SERVER_V4), (Version::V6, SERVER_V6)] {
            let ports = (PROTOCOL_UDP, 10_809, 20_000 + id);
            let device = Device::new((id.into(), server), (version, 100 + id), ports, forwarding);
            id += 1;
            site.add(&device)?;
            let before = [Reason::FragmentForwarded, Reason::FragmentReturned]
                .map(|reason| site.count(reason));
            let ends = site.ends(&device);
            talk::udp(ends, DATAGRAMS, DATAGRAM_LEN)
                .with_context(|| format!("{forwarding:?} {version:?}"))?;
            let [forwarded, returned] = before;
            let forwarded = site.count(Reason::FragmentForwarded)? - forwarded?;
            let returned = site.count(Reason::FragmentReturned)? - returned?;
            let later = DATAGRAMS as u64 * LATER;
            // Where servers answer by themselves, their fragments are not the program's.
            past += if forwarding.is_direct() { later } else { 0 };
            let expected = if forwarding.is_direct() { (later, 0) } else { (later, later) };
            ensure!((forwarded, returned) == expected, "{forwarding:?}: {forwarded}, {returned}");
        }
    }
    let unknown = site.count(Reason::FragmentUnknown)?;
    ensure!(
        unknown == past,
        "{unknown} fragments passed unknown, not the {past} of direct answers"
    );
    Ok(())
}
