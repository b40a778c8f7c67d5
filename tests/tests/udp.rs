//! A device that speaks UDP: a conversation stays on its server through a move, a new one follows.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::responder::Responder;
use redirector_tests::topology::service_address;
use redirector_tests::wait;
use reqwest::Method;
use serde_json::json;

const PORT: u16 = 5000;
const SERVER_PORT: u16 = 5001;
const WITHIN: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_millis(200);

/// A client's socket that takes answers from the service address alone.
fn conversation(lab: &Lab) -> Result<UdpSocket> {
    let service: SocketAddr = (service_address(20), PORT).into();
    let socket = lab.client("c1")?.enter(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(service)?;
        Ok(socket)
    })?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Asks until somebody answers: UDP may lose, and the gateway must first learn a neighbour.
fn ask(socket: &UdpSocket) -> Result<String> {
    wait::until_ok("an answer", WITHIN, || {
        socket.send(b"who")?;
        let mut answer = [0; 64];
        let len = socket.recv(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..len]).into_owned())
    })
}

#[test]
fn a_udp_conversation_stays_on_its_server_and_a_new_one_follows_the_move() -> Result<()> {
    let lab = Lab::start(Plan::standard(1 << 20))?;
    let at = (Ipv4Addr::UNSPECIFIED, SERVER_PORT).into();
    let responders = ["s1", "s2", "s3"]
        .map(|name| lab.network.host(name).and_then(|server| Responder::start(server, at, name)));
    for responder in &responders {
        ensure!(responder.is_ok(), "a responder did not start");
    }
    let device = json!({
        "address": service_address(20), "port": PORT, "protocol": "udp",
        "server_port": SERVER_PORT, "servers": ["s1", "s2", "s3"]
    });
    let api = lab.api()?;
    api.send_json(Method::PUT, "/v1/devices/clock", &device)?.accepted()?;
    let first = conversation(&lab)?;
    assert_eq!(ask(&first)?, "s1");
    api.move_device("clock", "s2").context("the move")?;
    let second = conversation(&lab)?;
    assert_eq!(ask(&second)?, "s2");
    for _ in 0..20 {
        assert_eq!(ask(&first)?, "s1");
        assert_eq!(ask(&second)?, "s2");
    }
    Ok(())
}
