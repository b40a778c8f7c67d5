//! An interface of the gateway that is deleted and made anew gets the program again, and so does
//! one from which it was taken off: packets flow as before, without a restart of the daemon. Nor
//! does another MTU take one.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redirector_common::verdict::Reason;
use redirector_tests::data_path::Version;
use redirector_tests::greeters::{Greeters, echo, echo_of};
use redirector_tests::netns::run_quietly;
use redirector_tests::wait::{self, Look};

const WITHIN: Duration = Duration::from_secs(30);

/// Waits until the daemon has said something.
fn expect_said(site: &Greeters, text: &str) -> Result<()> {
    wait::until(&format!("an event with {text:?}"), WITHIN, || {
        let events = site.redirector.api()?.events(0)?;
        let said = events.iter().any(|event| event.text.contains(text));
        Ok(if said { Look::Done(()) } else { Look::NotYet(format!("{:?}", events.last())) })
    })
}

/// Waits until the device is served by `server`.
fn expect_served(site: &Greeters, server: &str) -> Result<()> {
    wait::until_ok(&format!("a connection to {server}"), WITHIN, || {
        let (mut stream, name) = site.connect()?;
        ensure!(name == server, "the device is on {name}");
        echo(&mut stream)
    })
}

/// The indexes and programs of the gateway's links, as the kernel tells.
fn links(site: &Greeters) -> Result<String> {
    run_quietly(site.gateway.command("ip").args(["-d", "link", "show", "to-s2"]))
}

fn delete(site: &Greeters, name: &str) -> Result<()> {
    site.gateway.ip(&[format!("link del to-{name}")])?;
    expect_said(site, &format!("interface to-{name} is gone"))
}

fn an_interface_that_comes_back_is_served_again(version: Version) -> Result<()> {
    let mut site = Greeters::start(version, "")?;
    expect_served(&site, "s1")?;
    let other = links(&site)?;

    delete(&site, "c1")?;
    site.plug_in_again("c1")?;
    expect_said(&site, "the program is attached to interface to-c1")?;
    expect_served(&site, "s1")?;

    delete(&site, "s1")?;
    expect_served(&site, "s2")?;
    site.plug_in_again("s1")?;
    expect_said(&site, "the program is attached to interface to-s1")?;
    let api = site.redirector.api()?;
    wait::until_ok("a move back", WITHIN, || api.move_device("disk", "s1"))?;
    expect_served(&site, "s1")?;

    let now = links(&site)?;
    ensure!(now == other, "what was there stays as it was: {other} is {now}");
    site.redirector.stop()
}

#[test]
fn an_interface_that_comes_back_is_served_again_over_ipv4() -> Result<()> {
    an_interface_that_comes_back_is_served_again(Version::V4)
}

#[test]
fn an_interface_that_comes_back_is_served_again_over_ipv6() -> Result<()> {
    an_interface_that_comes_back_is_served_again(Version::V6)
}

#[test]
fn a_program_that_was_taken_off_is_attached_again() -> Result<()> {
    let mut site = Greeters::start(Version::V4, "")?;
    expect_served(&site, "s1")?;
    let link = site.bpffs.dir().join("redirector/links/to-c1");
    // With the last name of a link goes the attachment.
    std::fs::remove_file(&link).with_context(|| format!("remove {}", link.display()))?;
    expect_said(&site, "the program is attached to interface to-c1")?;
    expect_served(&site, "s1")?;
    ensure!(link.exists(), "the link is pinned again");
    site.redirector.stop()
}

/// More than one packet of an interface takes.
const LARGE_LEN: usize = 8000;

#[test]
fn clients_hear_of_an_mtu_that_became_smaller_while_the_daemon_runs() -> Result<()> {
    let mut site = Greeters::start(Version::V4, "")?;
    let (mut stream, _) = wait::until_ok("a connection", WITHIN, || site.connect())?;
    echo_of(&mut stream, LARGE_LEN).context("while everything fits")?;
    // Both ends of a link have one MTU.
    site.servers[0].ip(&["link set eth0 mtu 1300".to_owned()])?;
    site.gateway.ip(&["link set to-s1 mtu 1300".to_owned()])?;
    expect_said(&site, "the MTU of interface to-s1 is 1300 now")?;
    echo_of(&mut stream, LARGE_LEN).context("with packets that do not fit any more")?;
    wait::until("a packet that was too big", WITHIN, || {
        let too_big = site.count(Reason::TooBig)?;
        Ok(if too_big > 0 { Look::Done(()) } else { Look::NotYet("none".to_owned()) })
    })?;
    site.redirector.stop()
}
