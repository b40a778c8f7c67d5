//! One client of a device is moved by itself: its new flows follow, its open ones do what was
//! wished, and every other client stays.

use std::fs;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_tests::data_path::Version;
use redirector_tests::greeters::{Greeters, echo};
use redirector_tests::wait::{self, Look};
use reqwest::Method;
use serde_json::json;
use socket2::{Domain, Socket, Type};

/// The client's address, and a second one that stands for another client.
const CLIENT: &str = "10.1.0.11";
const OTHER: &str = "10.1.0.12";
const SERVICE: &str = "10.1.0.100:7000";
/// The packet path notes what it remembers once a second.
const RESET_WITHIN: Duration = Duration::from_secs(8);

fn site() -> Result<Greeters> {
    let site = Greeters::start(Version::V4, "affinity = \"client\"\n")?;
    site.client.ip(&[format!("address add {OTHER}/24 dev eth0")])?;
    Ok(site)
}

/// A connection from that address, and the name of the server behind it.
fn connect(site: &Greeters, from: &str) -> Result<(TcpStream, String)> {
    let from = SocketAddr::new(from.parse::<IpAddr>()?, 0);
    let to: SocketAddr = SERVICE.parse()?;
    let socket = site.client.enter(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&from.into())?;
        socket.connect_timeout(&to.into(), Duration::from_secs(5))?;
        Ok(socket)
    })?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut name = [0; 2];
    stream.read_exact(&mut name).context("no greeting")?;
    Ok((stream, String::from_utf8_lossy(&name).into_owned()))
}

fn move_client(site: &Greeters, to: &str, open_flows: &str) -> Result<String> {
    let words = ["device", "move-client", "disk", CLIENT, "--to", to, "--open-flows", open_flows];
    let output = site.redirector.cli(&words)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_client_that_is_moved_takes_its_new_flows_along_and_nobody_else() -> Result<()> {
    let site = site()?;
    let (mut open, server) = connect(&site, CLIENT)?;
    ensure!(server == "s1", "the device begins on s1, not {server}");
    let (mut others, server) = connect(&site, OTHER)?;
    ensure!(server == "s1", "{server}");
    echo(&mut open)?;
    echo(&mut others)?;

    move_client(&site, "s2", "keep")?;
    let (mut moved, server) = connect(&site, CLIENT)?;
    ensure!(server == "s2", "its new flow is on {server}");
    echo(&mut moved)?;
    echo(&mut open).context("its open flow stays where it is")?;
    ensure!(connect(&site, OTHER)?.1 == "s1", "another client went along");

    // A flow more finds the same server, also when the others are over.
    drop((open, moved));
    ensure!(connect(&site, CLIENT)?.1 == "s2", "it was forgotten between two flows");
    Ok(())
}

#[test]
fn a_client_that_is_moved_stays_moved_through_a_kill_and_the_loss_of_the_tables() -> Result<()> {
    let mut site = site()?;
    move_client(&site, "s2", "keep")?;
    site.redirector.kill()?;
    // As after a restart of the machine: of all that was in the kernel nothing is left.
    unpin(&site.bpffs.dir().join("redirector"))?;
    site.redirector.start(&site.gateway)?;
    site.redirector.wait_until_all_healthy()?;
    ensure!(connect(&site, CLIENT)?.1 == "s2", "the client is back on the device's server");
    ensure!(connect(&site, OTHER)?.1 == "s1", "another client went along");
    let device = site.redirector.api()?.devices()?.remove(0);
    let moved = device.moved_clients.iter().map(|one| (one.client.to_string(), &*one.server));
    ensure!(moved.eq([(CLIENT.to_owned(), "s2")]), "{:?}", device.moved_clients);
    Ok(())
}

/// Takes away everything that is pinned there.
fn unpin(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            unpin(&path)?;
        } else {
            fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

#[test]
fn open_flows_of_a_client_that_is_moved_are_reset_if_that_is_wished() -> Result<()> {
    let site = site()?;
    let (mut open, _) = connect(&site, CLIENT)?;
    let (mut others, _) = connect(&site, OTHER)?;
    echo(&mut open)?;
    echo(&mut others)?;
    let said = move_client(&site, "s2", "reset")?;
    ensure!(said.contains("1 were reset"), "{said}");
    wait::until("the open flow's reset", RESET_WITHIN, || {
        Ok(if echo(&mut open).is_err() { Look::Done(()) } else { Look::NotYet("alive".into()) })
    })?;
    ensure!(connect(&site, CLIENT)?.1 == "s2", "the client did not come back to s2");
    echo(&mut others).context("another client's flow was reset")
}

#[test]
fn a_client_of_a_device_that_keeps_flows_apart_cannot_be_moved_and_is_told_why() -> Result<()> {
    let site = Greeters::start(Version::V4, "")?;
    let refused = move_client(&site, "s2", "keep").expect_err("it was moved");
    let text = format!("{refused:#}");
    ensure!(text.contains("give it affinity"), "{text}");
    let path = format!("/v1/devices/disk/clients/{CLIENT}");
    let answer = site.redirector.api()?.send_json(Method::PUT, &path, &json!({"server": "s2"}))?;
    ensure!(answer.status == 409 || answer.status == 422, "{answer:?}");
    let path = "/v1/devices/disk/clients/nowhere";
    let answer = site.redirector.api()?.send_json(Method::PUT, path, &json!({"server": "s2"}))?;
    ensure!(answer.status == 400 && answer.body["code"] == "bad_address", "{answer:?}");
    Ok(())
}
