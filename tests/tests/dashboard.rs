//! The dashboard in a real browser, in the gateway's namespace, against the real daemon: what it
//! shows, what can be done with it, and what it says when the daemon does not answer. Screenshots
//! are left in `artefacts/dashboard`.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redirector_tests::browser::Browser;
use redirector_tests::data_path::Version;
use redirector_tests::door::{Door, write};
use redirector_tests::greeters::{API, Greeters, PORT, echo, serve};
use redirector_tests::netns::Namespace;
use redirector_tests::wait::{self, Look, Pace};
use reqwest::Method;
use serde_json::json;

const SEEN_WITHIN: Duration = Duration::from_secs(20);
/// The second device's port at the servers.
const ARCHIVE_PORT: u16 = 7101;

/// Takes connections and drops them, which is all that a check by connecting asks for.
fn take_connections(server: &Namespace) -> Result<()> {
    let listener = server.listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), ARCHIVE_PORT))?;
    thread::spawn(move || listener.incoming().for_each(drop));
    Ok(())
}

fn wait_until_on(site: &Greeters, server: &str) -> Result<()> {
    let api = site.redirector.api()?;
    wait::until(&format!("disk to be on {server}"), SEEN_WITHIN, || {
        let devices = api.devices()?;
        let disk = devices.iter().find(|device| device.name == "disk").context("no disk")?;
        Ok(match disk.association.server == server {
            true => Look::Done(()),
            false => Look::NotYet(disk.association.server.clone()),
        })
    })
}

#[test]
fn the_dashboard_shows_moves_and_survives_what_happens_to_a_site() -> Result<()> {
    let archive = format!(
        "\n[[device]]\nname = \"archive\"\naddress = \"10.1.0.100\"\nport = 7001\n\
         server_port = {ARCHIVE_PORT}\nservers = [\"s1\", \"s2\"]\nserver = \"s2\""
    );
    let mut site = Greeters::start(Version::V4, &archive)?;
    site.servers.iter().try_for_each(take_connections)?;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let (mut stream, name) = wait::until_ok("a connection", SEEN_WITHIN, || site.connect())?;
        ensure!(name == "s1", "disk is on {name}");
        echo(&mut stream)?;
        streams.push(stream);
    }

    let mut browser = Browser::start(&site.gateway, &format!("http://{API}/"))?;
    for step in ["look", "dark", "phone", "filter", "move"] {
        browser.step(step)?;
    }
    wait_until_on(&site, "s2")?;
    streams.iter_mut().try_for_each(echo).context("a flow that drains")?;
    browser.step("drain")?;
    streams.truncate(1);
    browser.step("drained")?;
    browser.step("keyboard")?;
    wait_until_on(&site, "s1")?;
    browser.step("stale")?;
    wait_until_on(&site, "s1")?;

    site.gateway.ip(&["link set to-s1 down"])?;
    browser.step("failover")?;
    wait_until_on(&site, "s2")?;
    browser.step("timeline")?;

    site.redirector.stop()?;
    browser.step("lost")?;
    site.redirector.start(&site.gateway)?;
    browser.step("back")?;
    drop(browser);
    site.redirector.stop()
}

/// More than both devices' traffic, so that either server can carry all of it.
const BYTES_PER_SECOND_MAX: u64 = 400_000;

/// What becomes of open flows when load moves a device; otherwise they would be drained.
const KEEP: &str = "on_overload = { kind = \"keep\" }";

/// Keeps a device at `port` busy until the site is gone.
fn keep_busy(site: &Greeters, port: u16) -> Result<()> {
    let (mut stream, _) = wait::until_ok("a connection", SEEN_WITHIN, || site.connect_to(port))?;
    thread::spawn(move || {
        let mut pace = Pace::every(Duration::from_millis(10));
        while echo(&mut stream).is_ok() {
            pace.beat();
        }
    });
    Ok(())
}

#[test]
fn the_dashboard_asks_for_a_token_and_an_operator_applies_a_plan_with_it() -> Result<()> {
    let settings = format!(
        "{KEEP}\n\n[[device]]\nname = \"archive\"\naddress = \"10.1.0.100\"\nport = 7001\n\
         server_port = {ARCHIVE_PORT}\nservers = [\"s1\", \"s2\"]\nserver = \"s1\"\n{KEEP}\n\n\
         [plan]\ninterval_ms = 1000\ngain_per_cost = 0\nchurn_pct = 100\nmoves_max = 1\n"
    );
    let (mut door, listen) = (None, "10.1.0.1:7443".parse()?);
    let mut site = Greeters::start_behind(Version::V4, &settings, |dir| {
        let door = door.insert(Door::make(dir, listen)?);
        Ok(door.config())
    })?;
    let door = door.context("no door was made")?;
    for (server, name) in site.servers.iter().zip(["s1", "s2"]) {
        serve(server, (Version::V4, ARCHIVE_PORT), name)?;
    }
    let [viewer, operator, _] = &door.tokens;

    let mut browser = Browser::start(&site.client, &format!("https://{listen}/"))?;
    browser.step("locked")?;
    browser.step("wrong")?;
    browser.step_with("viewer", viewer)?;
    browser.step("logout")?;
    browser.step_with("operator", operator)?;

    let api = site.redirector.api()?;
    for (name, address) in [("s1", "10.2.0.11"), ("s2", "10.3.0.11")] {
        let body = json!({ "address": address, "bytes_per_second_max": BYTES_PER_SECOND_MAX });
        api.send_json(Method::PUT, &format!("/v1/servers/{name}"), &body)?.accepted()?;
    }
    for port in [PORT, 7001] {
        keep_busy(&site, port)?;
    }
    browser.step("plan")?;
    browser.step("history")?;
    browser.step("discard")?;
    let metrics = api.send(Method::GET, "/metrics", &[], Vec::new())?.accepted()?;
    let discarded = "redirector_plan_outcomes_total{outcome=\"discarded\"} 1\n";
    ensure!(metrics.as_str().is_some_and(|text| text.contains(discarded)), "{metrics}");
    browser.step("apply")?;
    let on_s2 = api.devices()?.iter().filter(|device| device.association.server == "s2").count();
    ensure!(on_s2 == 1, "{on_s2} devices are on s2");
    wait::until("the operator's name in the log", SEEN_WITHIN, || {
        let log = site.redirector.log_tail();
        let is_there = log.contains("caller=a-operator (operator) at 10.1.0.11:");
        Ok(if is_there { Look::Done(()) } else { Look::NotYet(log) })
    })?;

    write(&door.path("credentials"), "anna admin cert:anna\n", 0o640)?;
    browser.step("withdrawn")?;
    drop(browser);
    site.redirector.stop()
}
