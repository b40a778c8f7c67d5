//! Packets in and packets out, as the files in `tests/fixtures/packets` say, through the loaded
//! program and through the host.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use redirector_common::verdict::Reason;
use redirector_common::wire::Forwarding;
use redirector_tests::data_path::fixture::{self, Case};
use redirector_tests::data_path::replay::Replay;
use redirector_tests::data_path::{DROP, PASS, TCP, UDP, Version};

/// Replays files; tells of every case that fails before it fails.
fn replay(files: &[&str]) -> Result<()> {
    let mut replay = Replay::new()?;
    let (mut cases_len, mut packets_len, mut wrong) = (0, 0, 0);
    for file in files {
        for case in fixture::cases(file)? {
            cases_len += 1;
            packets_len += case.exchanges().count();
            if let Err(error) = replay.run(&case) {
                wrong += 1;
                eprintln!("{error:#}");
            }
        }
    }
    eprintln!("{cases_len} cases, {packets_len} packets");
    ensure!(wrong == 0, "{wrong} of {cases_len} cases");
    Ok(())
}

#[test]
fn flows_of_every_way_and_protocol() -> Result<()> {
    replay(&["flows.txt", "fragments.txt"])
}

#[test]
fn headers_links_and_errors() -> Result<()> {
    replay(&["headers.txt", "links.txt", "errors.txt"])
}

#[test]
fn decisions_and_answers() -> Result<()> {
    replay(&["decisions.txt", "answers.txt"])
}

#[test]
fn every_file_is_replayed() -> Result<()> {
    let replayed = ["flows", "fragments", "headers", "links", "errors", "decisions", "answers"];
    let replayed: BTreeSet<String> = replayed.iter().map(|name| format!("{name}.txt")).collect();
    let mut there = BTreeSet::new();
    for entry in std::fs::read_dir(fixture::dir())? {
        there.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    assert_eq!(there, replayed);
    Ok(())
}

#[test]
fn there_are_at_least_two_hundred_cases_and_every_reason_is_met() -> Result<()> {
    let cases = fixture::all()?;
    assert!(cases.len() >= 200, "{} cases", cases.len());
    let met: BTreeSet<Reason> = cases.iter().flat_map(Case::exchanges).map(|e| e.reason).collect();
    let missing: Vec<&str> =
        Reason::ALL.iter().filter(|reason| !met.contains(reason)).map(|r| r.name()).collect();
    assert!(missing.is_empty(), "no case meets {missing:?}");
    Ok(())
}

/// Whether a case shows a packet out that is redirected this way.
fn shows(cases: &[Case], wanted: (Forwarding, Version, u8), direction: &str) -> bool {
    cases.iter().any(|case| {
        let one = case.devices.first().map(|device| device.settings);
        one.is_some_and(|of| (of.forwarding, case.version, of.protocol) == wanted)
            && case.exchanges().any(|exchange| {
                exchange.reason.help().starts_with(direction)
                    && exchange.expected.is_some()
                    && !matches!(exchange.action, DROP | PASS)
            })
    })
}

#[test]
fn every_way_family_protocol_and_direction_is_shown() -> Result<()> {
    let cases = fixture::all()?;
    let ways =
        [Forwarding::Nat, Forwarding::FullNat, Forwarding::Dsr, Forwarding::Ipip, Forwarding::Gue];
    for way in ways {
        for version in [Version::V4, Version::V6] {
            for protocol in [TCP, UDP, 0] {
                // A full-NAT flow is known by its local port, which other protocols do not have.
                if (way, protocol) == (Forwarding::FullNat, 0) {
                    continue;
                }
                let wanted = (way, version, protocol);
                assert!(shows(&cases, wanted, "To the server"), "{wanted:?} to the server");
                // Where servers answer by themselves nothing comes back.
                if !way.is_direct() {
                    assert!(shows(&cases, wanted, "To the client"), "{wanted:?} to the client");
                }
            }
        }
    }
    Ok(())
}
