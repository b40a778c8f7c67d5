//! The harness sees what it is there to see: a judge that finds nothing wrong must first be shown
//! something wrong. No redirector here: clients speak to servers through plain routing.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_tests::fault::Fault;
use redirector_tests::flows::{End, Flows, first_served};
use redirector_tests::io::{BLOCK_BYTES, Fio, Job, Work, compare};
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::scenario::ledger;
use redirector_tests::topology::server_address;
use redirector_tests::wait::{self, Look};

const DISK_BYTES: u64 = 64 * BLOCK_BYTES;
const WITHIN: Duration = Duration::from_secs(20);
/// errno of fio for a block that is not what was written.
const EILSEQ: u64 = 84;

fn lab() -> Result<Lab> {
    Lab::build(Plan::standard(DISK_BYTES))
}

#[test]
fn a_flow_that_its_server_knows_and_no_client_claims_is_found() -> Result<()> {
    let lab = lab()?;
    let echo = lab.device("echo-a")?.clone();
    let flows = Flows::from(lab.client("c1")?)?;
    let flow = flows.open((server_address(1), echo.server_port).into())?;
    let found = ledger::differences(&lab, &[])?;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("s1 accepted"), "{found:?}");

    let mut claimed = flow.clone();
    claimed.address = echo.service();
    assert_eq!(ledger::differences(&lab, &[claimed.clone()])?, Vec::<String>::new());
    claimed.server = "s2 1".to_owned();
    let found = ledger::differences(&lab, &[claimed])?;
    assert_eq!(found.len(), 2, "{found:?}");
    Ok(())
}

#[test]
fn the_end_of_a_flow_is_seen_and_a_dead_server_serves_nobody() -> Result<()> {
    for fault in [Fault::Kill, Fault::Cut, Fault::Freeze, Fault::Stop] {
        let mut lab = lab()?;
        let echo_port = lab.device("echo-a")?.server_port;
        let address = (server_address(1), echo_port).into();
        let flows = Flows::from(lab.client("c1")?)?;
        flows.open(address)?;
        fault.inject(&mut lab, "s1")?;
        let client = lab.client("c2")?;
        let served = first_served(client, address, |_| true, Duration::from_secs(1));
        ensure!(served.is_err(), "{fault}: a dead server served {served:?}");
        let (end, _) = wait::until("the end of the flow", WITHIN, || {
            let flow = flows.look().into_iter().next().context("the flow")?;
            Ok(match flow.end {
                Some(end) => Look::Done(end),
                None => Look::NotYet(format!("{} answers", flow.answers)),
            })
        })?;
        ensure!((end == End::Silent) == (fault != Fault::Kill), "{fault}: {end:?}");
        fault.repair(&mut lab, "s1")?;
        first_served(lab.client("c2")?, address, |_| true, WITHIN)
            .with_context(|| format!("{fault}: after the repair"))?;
    }
    Ok(())
}

#[test]
fn one_wrong_byte_on_a_disk_is_found() -> Result<()> {
    let lab = lab()?;
    let disk = lab.device("disk-a")?;
    let uri = format!("nbd://{}:{}/{}", server_address(1), disk.server_port, disk.name);
    let write = Job {
        name: "writer".to_owned(),
        uri: uri.clone(),
        bytes: DISK_BYTES,
        seed: 3,
        depth: 1,
        work: Work::WriteAndVerify { rate: None },
    };
    let written = Fio::start(&lab.on_client("c1", "writer")?, &write)?.finish(WITHIN)?;
    let done = (written.error, written.written_bytes, written.verified_bytes);
    assert_eq!(done, (0, DISK_BYTES, DISK_BYTES), "{written:?}");
    let backing = lab.backing_file("disk-a");
    let compared = compare(&lab.on_client("c2", "compare")?, &uri, &backing)?;
    assert_eq!((compared.differing, compared.empty_blocks), (0, 0), "{compared:?}");

    let file = File::options().read(true).write(true).open(&backing)?;
    let at = DISK_BYTES / 2 + 1000;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[!byte[0]], at)?;
    let check = Job { work: Work::VerifyAcknowledged, ..write };
    let checked = Fio::start(&lab.on_client("c1", "checker")?, &check)?.finish(WITHIN)?;
    assert_eq!(checked.error, EILSEQ, "{checked:?}");
    Ok(())
}
