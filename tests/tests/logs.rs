//! The daemon's log: events with fields, in either form, and the packet path's own messages.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redirector_tests::data_path::Version;
use redirector_tests::fault::Fault;
use redirector_tests::greeters::{API, Greeters};
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::wait::{self, Look};
use reqwest::Method;
use serde_json::{Value, json};

const LOGGED_WITHIN: Duration = Duration::from_secs(20);
/// A SYN that nobody answers; it is not sent again in this time.
const SYN_TIMEOUT: Duration = Duration::from_millis(500);

/// Waits for a line of the log.
fn line(site: &Greeters, what: &str, is_it: impl Fn(&str) -> bool) -> Result<String> {
    wait::until(what, LOGGED_WITHIN, || {
        let log = site.redirector.log();
        let found = log.lines().find(|line| is_it(line)).map(str::to_owned);
        Ok(found.map_or(Look::NotYet(log), Look::Done))
    })
}

#[test]
fn a_log_in_json_is_an_object_a_line_and_a_move_has_its_fields() -> Result<()> {
    let mut site = Greeters::start_behind(Version::V4, "", |_| {
        Ok(format!("listen = \"{API}\"\n\n[log]\nformat = \"json\"\n"))
    })?;
    let api = site.redirector.api()?;
    api.move_device("disk", "s2")?;
    let moved = line(&site, "the move in the log", |line| line.contains("\"kind\":\"move\""))?;
    let moved: Value = serde_json::from_str(&moved).with_context(|| moved.clone())?;
    let event = api.events(0)?.into_iter().find(|event| event.kind == "move").context("a move")?;
    let generation = api.status()?["generation"].clone();
    let expected = json!({
        "level": "INFO", "id": event.id, "kind": "move", "device": "disk", "server": "s2",
        "cause": "planned", "generation": generation, "message": event.text
    });
    for (field, value) in expected.as_object().context("an object")? {
        ensure!(moved[field] == *value, "{field} is not {value} in {moved}");
    }
    let audit = line(&site, "the audit line", |line| line.contains("\"target\":\"audit\""))?;
    ensure!(audit.contains("\"outcome\":\"done\""), "{audit}");
    let log = site.redirector.log();
    for line in log.lines() {
        ensure!(serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()), "{line}");
    }
    site.redirector.stop()
}

#[test]
fn a_log_for_people_has_the_sentence_the_fields_and_the_programs_own_messages() -> Result<()> {
    let mut site = Greeters::start(Version::V4, "")?;
    let api = site.redirector.api()?;
    api.move_device("disk", "s2")?;
    let moved = line(&site, "the move in the log", |line| line.contains("kind=\"move\""))?;
    for part in [
        "INFO",
        "device disk moved from s1 to s2",
        "device=\"disk\" server=\"s2\" cause=\"planned\"",
    ] {
        ensure!(moved.contains(part), "no {part} in {moved}");
    }

    for server in ["s1", "s2"] {
        let failed = json!({ "state": "failed" });
        let path = format!("/v1/servers/{server}");
        api.send_json(Method::PATCH, &path, &failed)?.accepted()?;
    }
    let service = site.service();
    let refused = site.client.enter(|| Ok(TcpStream::connect_timeout(&service, SYN_TIMEOUT)))?;
    ensure!(refused.is_err(), "a connection without a server");
    let told = line(&site, "the program's message", |line| line.contains("on this CPU"))?;
    ensure!(told.contains("WARN") && told.contains("packets on this CPU: no_server"), "{told}");
    site.redirector.stop()
}

#[test]
fn a_log_that_cannot_be_written_keeps_no_check_from_being_made() -> Result<()> {
    let mut lab = Lab::build(Plan::standard(1 << 20))?;
    let starter = ["sh", "-c", "exec \"$@\" 2> /dev/full", "sh"];
    lab.redirector.set_starter(starter.map(str::to_owned).to_vec());
    lab.start_redirector()?;
    lab.redirector.wait_until_all_healthy()?;
    let api = lab.api()?;
    let victim = api.device("echo-a")?.association.server;
    Fault::Kill.inject(&mut lab, &victim)?;
    wait::until("the failover", LOGGED_WITHIN, || {
        let now = api.device("echo-a")?.association.server;
        Ok(if now == victim { Look::NotYet(now) } else { Look::Done(()) })
    })
}
