//! The daemon's checks against real servers of each protocol: what is good passes, and what is
//! wrong is said in words.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use redirector_ctl::core::check::{Check, CheckPace};
use redirector_ctl::core::health::CheckResult;
use redirector_ctl::core::spec::Protocol;
use redirector_ctl::platform::clock::Clock;
use redirector_ctl::platform::probe::{ProbeTiming, Prober, Target};
use redirector_tests::api::Api;
use redirector_tests::flows::Flows;
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::peers::Peers;
use redirector_tests::process::Process;
use redirector_tests::wait::{self, Look};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Of a check of a server that answers, on a busy machine.
const TIMEOUT_MS: u64 = 5000;
/// Of a check of a server that hangs.
const HANGING_TIMEOUT_MS: u64 = 300;
const WITHIN: Duration = Duration::from_secs(20);

/// The first verdict of the daemon's prober with this check, made in the servers' namespace.
fn asked(
    peers: &Peers,
    address: SocketAddr,
    protocol: Protocol,
    check: &Value,
    timeout_ms: u64,
) -> Result<CheckResult> {
    let check: Check = serde_json::from_value(check.clone())?;
    let pace = CheckPace { timeout_ms: Some(timeout_ms), ..CheckPace::default() };
    let target = Target { address, protocol, check, pace, service: None };
    let hour = Duration::from_secs(3600);
    let timing =
        ProbeTiming { interval: hour, timeout: hour, confirm_timeout: hour, jitter_pct: 0 };
    peers.namespace().enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (reports, mut results) = mpsc::channel(1);
            let mut prober = Prober::new(timing, Clock::start(), reports);
            let path = ("s1".to_owned(), "disk".to_owned());
            prober.set_targets(&BTreeMap::from([(path.clone(), target)]));
            loop {
                let result = results.recv().await.context("the prober has ended")?.result;
                // On a busy machine the prober's own timer may be late.
                if !matches!(&result, CheckResult::NotAsked(why) if why.contains("timer")) {
                    return Ok(result);
                }
                prober.nudge(&path);
            }
        })
    })
}

fn good(peers: &Peers, address: SocketAddr, check: Value) -> Result<()> {
    let result = asked(peers, address, Protocol::Tcp, &check, TIMEOUT_MS)?;
    ensure!(matches!(result, CheckResult::Answered { .. }), "{check}: {result:?}");
    Ok(())
}

fn bad(peers: &Peers, address: SocketAddr, check: Value, says: &str) -> Result<()> {
    let result = asked(peers, address, Protocol::Tcp, &check, TIMEOUT_MS)?;
    ensure!(matches!(&result, CheckResult::Refused(text) if text == says), "{check}: {result:?}");
    Ok(())
}

/// Stops a program, and waits until the last of its threads has stopped.
fn stop(program: &Process) -> Result<()> {
    program.signal(Signal::SIGSTOP)?;
    let tasks = format!("/proc/{}/task", program.id());
    wait::until("every thread to stop", WITHIN, || {
        let mut running = Vec::new();
        for task in std::fs::read_dir(&tasks)? {
            // A thread may end meanwhile.
            let stat = std::fs::read_to_string(task?.path().join("stat")).unwrap_or_default();
            running.extend((!stat.is_empty() && !stat.contains(") T ")).then_some(stat));
        }
        Ok(if running.is_empty() { Look::Done(()) } else { Look::NotYet(running.concat()) })
    })
}

/// Stops the server that was started last and asks it. Its kernel still accepts.
fn hangs(peers: &mut Peers, address: SocketAddr, check: Value) -> Result<()> {
    stop(peers.last()?)?;
    // First, because a stopped program does not take from its queue what other checks leave there.
    let connected = asked(peers, address, Protocol::Tcp, &json!("connect"), TIMEOUT_MS)?;
    ensure!(matches!(connected, CheckResult::Answered { .. }), "connect, stopped: {connected:?}");
    let result = asked(peers, address, Protocol::Tcp, &check, HANGING_TIMEOUT_MS)?;
    let says = "it accepted the connection, but within 300 ms there was no sign of";
    ensure!(
        matches!(&result, CheckResult::Refused(text) if text.starts_with(says)),
        "{check}, stopped: {result:?}"
    );
    Ok(())
}

#[test]
fn an_nbd_servers_exports_are_known_by_name_and_size() -> Result<()> {
    let mut peers = Peers::new()?;
    let nbdkit = peers.nbdkit(1 << 20)?;
    good(&peers, nbdkit, json!("nbd"))?;
    good(&peers, nbdkit, json!({"kind": "nbd", "size_bytes": 1 << 20}))?;
    // The first connection was the harness's own, to see whether nbdkit is there.
    let log = peers.last()?.log();
    let minds = |line: &str| line.contains("error") && !line.contains("memory[1]");
    ensure!(!log.lines().any(minds), "nbdkit minds how checks take leave: {log}");
    let qemu = peers.qemu_nbd("disk-a", 1 << 20)?;
    good(&peers, qemu, json!({"kind": "nbd", "export": "disk-a", "size_bytes": 1 << 20}))?;
    bad(
        &peers,
        qemu,
        json!({"kind": "nbd", "export": "disk-a", "size_bytes": 4096}),
        "its export \"disk-a\" has 1048576 bytes, not 4096",
    )?;
    bad(
        &peers,
        qemu,
        json!({"kind": "nbd", "export": "disk-b"}),
        "its export \"disk-b\" does not exist; it says \"export 'disk-b' not present\"",
    )?;
    let result = asked(&peers, qemu, Protocol::Tcp, &json!("http"), TIMEOUT_MS)?;
    ensure!(
        matches!(&result, CheckResult::Refused(text) if text.contains("not HTTP's: \"NBDMAGIC")),
        "{result:?}"
    );
    hangs(&mut peers, qemu, json!({"kind": "nbd", "export": "disk-a"}))
}

#[test]
fn an_iscsi_servers_targets_are_listed_or_logged_in_to() -> Result<()> {
    let (open, guarded) = ("iqn.2026-01.com.example:open", "iqn.2026-01.com.example:guarded");
    let mut peers = Peers::new()?;
    let tgtd = peers.tgtd(open, guarded)?;
    good(&peers, tgtd, json!("iscsi"))?;
    for target in [open, guarded] {
        good(&peers, tgtd, json!({"kind": "iscsi", "target": target}))?;
    }
    good(&peers, tgtd, json!({"kind": "iscsi", "target": open, "session": "normal"}))?;
    bad(
        &peers,
        tgtd,
        json!({"kind": "iscsi", "target": "iqn.2026-01.com.example:gone"}),
        "it lists 2 iSCSI targets for this initiator, and not \"iqn.2026-01.com.example:gone\"",
    )?;
    bad(
        &peers,
        tgtd,
        json!({"kind": "iscsi", "target": "iqn.2026-01.com.example:gone", "session": "normal"}),
        "the target does not exist (iSCSI login status 0x0203)",
    )?;
    bad(
        &peers,
        tgtd,
        json!({"kind": "iscsi", "target": guarded, "session": "normal"}),
        "it wants authentication, which a check has not: use the session `discovery`, or let this \
         initiator in without (iSCSI login status 0x0201)",
    )?;
    let sessions = peers.tgtadm("--op show --mode target")?;
    ensure!(!sessions.contains("I_T nexus:"), "checks leave sessions behind: {sessions}");
    // 0x46 is the opcode of a logout.
    let log = peers.last()?.log();
    let logout = |line: &str| line.contains("iscsi_task_queue") && line.ends_with(" 46");
    ensure!(log.lines().any(logout), "tgtd has seen no logout: {log}");
    hangs(&mut peers, tgtd, json!("iscsi"))
}

#[test]
fn an_nfs_server_answers_its_null_call_over_tcp_and_udp() -> Result<()> {
    let mut peers = Peers::new()?;
    let ganesha = peers.ganesha()?;
    good(&peers, ganesha, json!("nfs"))?;
    good(&peers, ganesha, json!({"kind": "nfs", "version": 3}))?;
    let udp = asked(&peers, ganesha, Protocol::Udp, &json!("nfs"), TIMEOUT_MS)?;
    ensure!(matches!(udp, CheckResult::Answered { .. }), "UDP: {udp:?}");
    // rpcbind speaks RPC too, and is no NFS server.
    let rpcbind = SocketAddr::new(ganesha.ip(), 111);
    let says = "it has no NFS (RPC program 100003 is not available there)";
    bad(&peers, rpcbind, json!("nfs"), says)?;
    let udp = asked(&peers, rpcbind, Protocol::Udp, &json!("nfs"), TIMEOUT_MS)?;
    ensure!(udp == CheckResult::Refused(says.to_owned()), "UDP, rpcbind: {udp:?}");
    hangs(&mut peers, ganesha, json!("nfs"))?;
    let udp = asked(&peers, ganesha, Protocol::Udp, &json!("nfs"), HANGING_TIMEOUT_MS)?;
    ensure!(matches!(udp, CheckResult::Silent(_)), "UDP, stopped: {udp:?}");
    Ok(())
}

#[test]
fn an_smb_server_negotiates_a_dialect() -> Result<()> {
    let mut peers = Peers::new()?;
    let smbd = peers.smbd()?;
    good(&peers, smbd, json!("smb"))?;
    hangs(&mut peers, smbd, json!("smb"))
}

#[test]
fn an_http_server_answers_with_a_status_that_is_expected() -> Result<()> {
    let mut peers = Peers::new()?;
    let http = peers.http()?;
    good(&peers, http, json!("http"))?;
    good(&peers, http, json!({"kind": "http", "path": "/health"}))?;
    let (min, max) = (404, 404);
    let missing = json!({"kind": "http", "path": "/x", "status_min": min, "status_max": max});
    good(&peers, http, missing)?;
    bad(
        &peers,
        http,
        json!({"kind": "http", "path": "/x"}),
        "its answer to GET /x is \"404 File not found\", not one from 200 to 399",
    )?;
    let log = peers.last()?.log();
    ensure!(!log.contains("Error"), "the server minds how checks take leave: {log}");
    hangs(&mut peers, http, json!("http"))
}

#[test]
fn no_server_passes_the_check_of_another_protocol() -> Result<()> {
    let (open, guarded) = ("iqn.2026-01.com.example:open", "iqn.2026-01.com.example:guarded");
    let mut peers = Peers::new()?;
    let servers = [
        ("nbd", peers.qemu_nbd("", 1 << 20)?),
        ("iscsi", peers.tgtd(open, guarded)?),
        ("nfs", peers.ganesha()?),
        ("smb", peers.smbd()?),
        ("http", peers.http()?),
    ];
    for (spoken, address) in servers {
        for (check, _) in servers {
            let (own, check) = (check == spoken, json!(check));
            let timeout_ms = if own { TIMEOUT_MS } else { HANGING_TIMEOUT_MS };
            let result = asked(&peers, address, Protocol::Tcp, &check, timeout_ms)?;
            let fits = match result {
                CheckResult::Answered { .. } => own,
                CheckResult::Refused(_) => !own,
                _ => false,
            };
            ensure!(fits, "a server that speaks {spoken}, asked with {check}: {result:?}");
        }
    }
    Ok(())
}

/// Waits for an event after number `after` that says this.
fn told(api: &Api, after: u64, says: &str) -> Result<()> {
    wait::until(&format!("an event that says {says:?}"), WITHIN, || {
        let events = api.events(after)?;
        let told = events.iter().any(|event| event.text.contains(says));
        Ok(if told { Look::Done(()) } else { Look::NotYet(format!("{events:?}")) })
    })
}

/// Puts disk-a again, with another check.
fn check_with(api: &Api, check: &Value) -> Result<()> {
    let path = "/v1/devices/disk-a";
    let now: Value = api.get(path)?;
    let mut body = json!({ "check": check });
    for field in ["address", "port", "server_port", "servers"] {
        body[field] = now[field].clone();
    }
    let after = api.send_json(Method::PUT, path, &body)?.accepted()?;
    ensure!(after["check"] == *check, "{check} is shown as {}", after["check"]);
    Ok(())
}

#[test]
fn an_export_of_the_wrong_size_is_an_event_in_words_and_a_command_is_not_taken() -> Result<()> {
    let lab = Lab::start(Plan::standard(1 << 20))?;
    let api = lab.api()?;
    check_with(&api, &json!({"kind": "nbd", "export": "disk-a", "size_bytes": 1 << 20}))?;
    lab.redirector.wait_until_all_healthy()?;
    let before = api.events(0)?.last().map_or(0, |event| event.id);
    check_with(&api, &json!({"kind": "nbd", "export": "disk-a", "size_bytes": 1 << 21}))?;
    let says = "dead for device disk-a: its export \"disk-a\" has 1048576 bytes, not 2097152";
    told(&api, before, says)?;
    let refused = check_with(&api, &json!({"kind": "exec", "command": ["/bin/true"]}));
    let refused = format!("{:#}", refused.err().context("a command over the API was taken")?);
    ensure!(refused.contains("answered 422") && refused.contains("exec_from_api"), "{refused}");
    Ok(())
}

/// Starts the redirector anew with another check of echo-b in its file.
fn check_echo_b_with(lab: &mut Lab, check: &str) -> Result<()> {
    let path = lab.redirector.config();
    let config = std::fs::read_to_string(path)?;
    let (before, after) = config.rsplit_once("check = \"greeting\"").context("the last device")?;
    std::fs::write(path, format!("{before}{check}{after}"))?;
    lab.redirector.start(lab.network.host("gateway")?)
}

#[test]
fn a_program_of_the_configuration_file_says_which_server_is_dead_for_its_device() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(1 << 20))?;
    lab.redirector.stop()?;
    let script = "[ $REDIRECTOR_SERVER != s2 ] || { echo no $REDIRECTOR_DEVICE at \
                  $REDIRECTOR_ADDRESS:$REDIRECTOR_PORT; exit 1; }";
    let check = format!(
        "check = {{ kind = \"exec\", command = [\"/bin/sh\", \"-c\", {script:?}] }}\n\
         check_timeout_ms = 5000\ncheck_interval_ms = 5000\nfall = 1"
    );
    check_echo_b_with(&mut lab, &check)?;
    let echo_b = lab.device("echo-b")?.server_port;
    let says =
        format!(": /bin/sh ended with exit status: 1; it says \"no echo-b at 10.0.2.12:{echo_b}\"");
    told(&lab.api()?, 0, &says)
}

#[test]
fn a_check_that_fails_on_every_server_ends_no_flow() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(1 << 20))?;
    lab.redirector.stop()?;
    let verdict = lab.run().dir().join("verdict");
    std::fs::write(&verdict, "")?;
    let script = format!("! grep -w -e all -e $REDIRECTOR_SERVER {}", verdict.display());
    let check = format!(
        "check = {{ kind = \"exec\", command = [\"/bin/sh\", \"-c\", {script:?}] }}\n\
         check_timeout_ms = 1000\ncheck_interval_ms = 1000"
    );
    check_echo_b_with(&mut lab, &check)?;
    lab.redirector.wait_until_all_healthy()?;
    let api = lab.api()?;
    let device = lab.device("echo-b")?;
    let flows = Flows::from(lab.client("c1")?)?;
    let flow = flows.open(device.service())?;
    let server = flow.server_name().to_owned();

    std::fs::write(&verdict, "all")?;
    wait::until("all servers to be kept", WITHIN, || {
        let status: Value = api.get("/v1/status")?;
        let blocked = status["blocked"].as_array().map_or(0, Vec::len);
        Ok(if blocked == 3 { Look::Done(()) } else { Look::NotYet(status.to_string()) })
    })?;
    let now: Value = api.get("/v1/devices/echo-b")?;
    ensure!(now["association"]["server"] == *server, "it left {server}: {now}");
    let answers = || flows.look().iter().map(|flow| flow.answers).sum::<u64>();
    let before = answers();
    wait::until("the open flow to go on", WITHIN, || {
        let now = answers();
        Ok(if now > before { Look::Done(()) } else { Look::NotYet(format!("{now} answers")) })
    })?;

    // A failure that others do not share is believed.
    std::fs::write(&verdict, &server)?;
    wait::until("the device to leave", WITHIN, || {
        let now: Value = api.get("/v1/devices/echo-b")?;
        let still = now["association"]["server"] == *server;
        Ok(if still { Look::NotYet(now.to_string()) } else { Look::Done(()) })
    })
}
