//! Requests per device, as the API and the metrics tell them: those that real clients have made,
//! not one more or less.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redirector_tests::data_path::Version;
use redirector_tests::greeters::{Greeters, serve};
use redirector_tests::responder::Responder;
use redirector_tests::wait::{self, Look};
use reqwest::Method;
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(20);
/// The server's address, and service addresses that it has itself too.
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 0, 11));
const SERVICE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 121));
/// Where s1 greets with TCP, and where it answers datagrams.
const TCP_PORT: u16 = 7101;
const UDP_PORT: u16 = 7200;
/// Lengths of requests; the last one takes three segments.
const LENGTHS: [usize; 4] = [1, 40, 64, 3000];
/// So often each length is asked over each connection.
const TIMES: usize = 5;
/// Connections that ask, one after the other.
const ASKING: usize = 3;
/// Datagrams of one client.
const DATAGRAMS: usize = 50;

/// Whose answers go where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Nat,
    Dsr,
}

/// A site whose server s1 has a service address itself, and whose client sends nothing again that
/// is only late.
fn site() -> Result<Greeters> {
    let site = Greeters::start(Version::V4, "")?;
    site.client.sysctl("net/ipv4/tcp_early_retrans", "0")?;
    site.client.ip(&["route replace 10.1.0.0/24 dev eth0 src 10.1.0.11 rto_min 10s"])?;
    site.servers[0].ip(&[format!("address add {SERVICE}/32 dev lo")])?;
    serve(&site.servers[0], (Version::V4, TCP_PORT), "s1")?;
    // The gateway is also the router by which the server answers, from an address of the gateway's.
    for scope in ["all", "to-s1"] {
        site.gateway.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0")?;
    }
    site.gateway.sysctl("net/ipv4/conf/to-s1/accept_local", "1")?;
    Ok(site)
}

/// Makes a device on s1; gives where clients reach it.
fn make(site: &Greeters, mode: Mode, (protocol, port): (&str, u16)) -> Result<SocketAddr> {
    // With dsr the server's port is the device's own.
    let (forwarding, at) = match mode {
        Mode::Nat => ("nat", SocketAddr::new(SERVICE, port + 1000)),
        Mode::Dsr => ("dsr", SocketAddr::new(SERVICE, port)),
    };
    let device = json!({
        "address": SERVICE, "port": at.port(), "protocol": protocol, "server_port": port,
        "forwarding": forwarding, "servers": ["s1"],
    });
    site.redirector.api()?.send_json(Method::PUT, "/v1/devices/asked", &device)?.accepted()?;
    Ok(at)
}

fn shown(site: &Greeters) -> Result<Value> {
    site.redirector.api()?.get("/v1/devices/asked")
}

/// Requests of the device, as told once it has had so many flows, of which the last one was opened
/// after all that is to be counted.
fn requests(site: &Greeters, flows: usize) -> Result<u64> {
    wait::until(&format!("{flows} flows"), WITHIN, || {
        let device = shown(site)?;
        let opened = device["flows_opened"].as_u64().context("no flows_opened")?;
        let requests = device["requests"].as_u64().context("no requests")?;
        Ok(if opened >= flows as u64 {
            Look::Done(requests)
        } else {
            Look::NotYet(device.to_string())
        })
    })
}

/// A connection that has been greeted.
fn connect(site: &Greeters, at: SocketAddr) -> Result<TcpStream> {
    let mut stream = site.client.enter(|| {
        TcpStream::connect_timeout(&at, WITHIN).with_context(|| format!("connect {at}"))
    })?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.read_exact(&mut [0; 2]).context("no greeting")?;
    Ok(stream)
}

/// Asks by one write, and waits for the answer.
fn ask(stream: &mut TcpStream, len: usize) -> Result<()> {
    ensure!(stream.write(&vec![7; len])? == len, "the request was written in pieces");
    stream.read_exact(&mut vec![0; len]).with_context(|| format!("{len} bytes back"))
}

fn one_write_is_one_request(mode: Mode) -> Result<()> {
    let site = site()?;
    let at = make(&site, mode, ("tcp", TCP_PORT))?;
    for _ in 0..ASKING {
        let mut stream = connect(&site, at)?;
        for len in LENGTHS.into_iter().cycle().take(LENGTHS.len() * TIMES) {
            ask(&mut stream, len).with_context(|| format!("{mode:?}"))?;
        }
    }
    let mut last = connect(&site, at)?;
    let expected = (ASKING * LENGTHS.len() * TIMES) as u64;
    assert_eq!(requests(&site, ASKING + 1)?, expected, "{mode:?}: {}", shown(&site)?);
    let metrics = site.redirector.api()?.send(Method::GET, "/metrics", &[], Vec::new())?;
    let series = format!("\nredirector_device_requests_total{{device=\"asked\"}} {expected}\n");
    let page = metrics.accepted()?;
    let page = page.as_str().context("the metrics are a text")?;
    ensure!(page.contains(&series), "no{series}in:\n{page}");
    while_asked_a_rate_is_told(&site, &mut last)
}

/// The rate is that of the last looks at the counters, as the others are.
fn while_asked_a_rate_is_told(site: &Greeters, stream: &mut TcpStream) -> Result<()> {
    let (requests, packets) = wait::until("requests a second", WITHIN, || {
        ask(stream, 1)?;
        let traffic = &shown(site)?["traffic"];
        let rate = |of: &str| traffic[of].as_f64().filter(|rate| *rate > 0.0);
        let rates = rate("requests_per_second").zip(rate("packets_per_second"));
        Ok(rates.map_or_else(|| Look::NotYet(traffic.to_string()), Look::Done))
    })?;
    ensure!(requests < packets, "{requests} requests a second in {packets} packets");
    Ok(())
}

#[test]
fn a_request_of_one_write_is_counted_once_where_the_gateway_translates() -> Result<()> {
    one_write_is_one_request(Mode::Nat)
}

#[test]
fn a_request_of_one_write_is_counted_once_where_the_server_answers_by_itself() -> Result<()> {
    one_write_is_one_request(Mode::Dsr)
}

/// Asks so often over one socket, each time after the answer to the last one.
fn ask_by_datagrams(site: &Greeters, at: SocketAddr, times: usize) -> Result<()> {
    let socket = site.client.enter(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(at)?;
        Ok(socket)
    })?;
    socket.set_read_timeout(Some(WITHIN))?;
    for number in 0..times {
        socket.send(b"who")?;
        socket.recv(&mut [0; 64]).with_context(|| format!("answer {number} of {at}"))?;
    }
    Ok(())
}

fn one_datagram_is_one_request(mode: Mode) -> Result<()> {
    let site = site()?;
    // The kernel answers from the address that was asked only if that is the socket's own.
    let _at_both = [
        Responder::start(&site.servers[0], SocketAddr::new(SERVER, UDP_PORT), "s1")?,
        Responder::start(&site.servers[0], SocketAddr::new(SERVICE, UDP_PORT), "s1")?,
    ];
    let at = make(&site, mode, ("udp", UDP_PORT))?;
    ask_by_datagrams(&site, at, DATAGRAMS)?;
    ask_by_datagrams(&site, at, 1)?;
    assert_eq!(requests(&site, 2)?, DATAGRAMS as u64 + 1, "{mode:?}: {}", shown(&site)?);
    Ok(())
}

#[test]
fn a_datagram_is_a_request_where_the_gateway_translates() -> Result<()> {
    one_datagram_is_one_request(Mode::Nat)
}

#[test]
fn a_datagram_is_a_request_where_the_server_answers_by_itself() -> Result<()> {
    one_datagram_is_one_request(Mode::Dsr)
}
