//! A daemon that was kept from running accuses nobody: the packets went on without it.

use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;
use redirector_tests::flows::Flows;
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::wait::{self, Look};

/// Answers that each flow gets while the daemon is stopped: one in 20 ms, so that these are some
/// 50 ms, 500 ms and 5 s.
const STALLS: [u64; 3] = [3, 25, 250];
/// Answers afterwards: time for many checks and looks at the evidence.
const AFTERWARDS: u64 = 75;

#[test]
fn a_daemon_that_was_stopped_for_50_ms_500_ms_or_5_s_accuses_nobody() -> Result<()> {
    let lab = Lab::start(Plan::standard(1 << 20))?;
    let flows = Flows::from(lab.client("c1")?)?;
    for device in ["echo-a", "echo-b"] {
        flows.open(lab.device(device)?.service())?;
    }
    for answers in STALLS {
        lab.redirector.signal(Signal::SIGSTOP)?;
        more_answers(&flows, answers)?;
        lab.redirector.signal(Signal::SIGCONT)?;
        more_answers(&flows, AFTERWARDS)?;
    }
    let accusing = |kind: &str| matches!(kind, "server_dead" | "failover" | "frozen");
    let accused = lab.api()?.events(0)?.into_iter().find(|event| accusing(&event.kind));
    assert!(accused.is_none(), "{accused:?}");
    for flow in flows.close() {
        assert_eq!(flow.violations(), Vec::<String>::new());
    }
    Ok(())
}

/// Waits until every flow has so many answers more.
fn more_answers(flows: &Flows, more: u64) -> Result<()> {
    let answers = || flows.look().iter().map(|flow| flow.answers).min().unwrap_or_default();
    let goal = answers() + more;
    wait::until(&format!("{more} answers more"), Duration::from_secs(60), || {
        let seen = answers();
        Ok(if seen >= goal { Look::Done(()) } else { Look::NotYet(format!("{seen} of {goal}")) })
    })
}
