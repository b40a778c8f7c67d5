//! The RST that a dead server's clients get is exact: it passes connection tracking on its way, the
//! client's kernel takes it at once, and other flows do not feel it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use redirector_common::headers::PROTOCOL_TCP;
use redirector_common::verdict::Reason;
use redirector_common::wire::Forwarding;
use redirector_ctl::core::op::{AssociationWord, NextHop, Op, ServerState};
use redirector_tests::data_path::{Version, on, server_state};
use redirector_tests::gateway::{
    Device, Plan, SERVER, SERVER_V4, SERVER_V6, Side, Site, mac, server_ip,
};
use redirector_tests::netns::{Namespace, run_quietly};
use redirector_tests::talk::{self, accept};
use redirector_tests::wait;

/// What connection tracking lets through: what belongs to a connection, and what the client opens.
/// A RST that is not exact is invalid to it, and dropped.
const RULES: &str = "
table inet guard {
    counter invalid { }
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        ct state new iifname far0 accept
        ct state invalid counter name invalid drop
    }
    chain input {
        type filter hook input priority 0; policy drop;
        ct state established,related accept
        ct state invalid counter name invalid drop
        iifname lo accept
        meta l4proto { icmp, icmpv6 } accept
    }
}
";
/// Far below any retransmission that would tell the client otherwise.
const AT_ONCE: Duration = Duration::from_millis(150);
const PATIENCE: Duration = Duration::from_secs(5);
const MESSAGE: [u8; 1000] = [7; 1000];
/// Another server on the same machine.
const OTHER: u16 = 3;

fn guard(namespace: &Namespace, dir: &std::path::Path) -> Result<()> {
    let file = dir.join("guard.nft");
    std::fs::write(&file, RULES)?;
    run_quietly(namespace.command("nft").arg("-f").arg(file)).context("nft (package nftables)")?;
    Ok(())
}

/// Packets that connection tracking took for invalid.
fn invalid(namespace: &Namespace) -> Result<u64> {
    let mut nft = namespace.command("nft");
    let text = run_quietly(nft.args(["list", "counter", "inet", "guard", "invalid"]))?;
    let packets = text.split_whitespace().skip_while(|word| *word != "packets").nth(1);
    Ok(packets.with_context(|| format!("no counter in {text:?}"))?.parse()?)
}

/// States of connections in a namespace's table, by the client's port.
fn tracked(namespace: &Namespace, port: u16) -> Result<String> {
    let table =
        namespace.enter(|| Ok(std::fs::read_to_string("/proc/thread-self/net/nf_conntrack")?))?;
    let sport = format!("sport={port}");
    let line = table.lines().find(|line| line.split_whitespace().any(|word| word == sport));
    let line = line.with_context(|| format!("no connection from {port} in:\n{table}"))?;
    Ok(line.split_whitespace().nth(5).unwrap_or_default().to_owned())
}

/// Sends back what comes, until the connection ends in whatever way.
fn echo(listener: TcpListener) -> JoinHandle<Result<()>> {
    thread::spawn(move || {
        let (mut stream, _) = accept(&listener)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..len]).is_err() {
                break;
            }
        }
        Ok(())
    })
}

fn connect(site: &Site, device: &Device) -> Result<(TcpStream, JoinHandle<Result<()>>)> {
    let server = echo(site.server.namespace.listen(device.at_server())?);
    let service: SocketAddr = device.service();
    let stream =
        site.client.namespace.enter(|| Ok(TcpStream::connect_timeout(&service, PATIENCE)?))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok((stream, server))
}

fn exchange(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(&MESSAGE)?;
    stream.read_exact(&mut [0; MESSAGE.len()])
}

fn is_reset(outcome: &std::io::Result<()>) -> bool {
    outcome.as_ref().is_err_and(|error| {
        matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
    })
}

fn the_client_is_reset(version: Version, server: u16, timestamps: bool) -> Result<()> {
    let mut site = Site::build(Plan { router_mtu: Some(1500), ..Plan::PLAIN })?;
    let router = site.router().context("the site has a router")?;
    for host in [router, &site.client.namespace] {
        guard(host, site.run.dir())?;
    }
    let value = if timestamps { "1" } else { "0" };
    site.client.namespace.sysctl("net/ipv4/tcp_timestamps", value)?;

    let address = server_ip(server);
    let next_hop = Some(NextHop { mac: mac(Side::Servers, SERVER), port: 1 });
    site.apply(&[
        Op::SetServerAddress { id: OTHER, address },
        Op::SetNextHop { id: OTHER, next_hop },
        server_state(OTHER, ServerState::Alive),
    ])?;
    let device = |id: u16, server| {
        let ports = (PROTOCOL_TCP, 10_809, 20_000 + id);
        Device::new((id.into(), server), (version, 100 + id), ports, Forwarding::Nat)
    };
    let dying = device(1, server);
    let lasting = Device { server: OTHER, ..device(2, server) };
    site.add(&dying)?;
    site.add(&lasting)?;

    let (mut doomed, doomed_server) = connect(&site, &dying)?;
    let (mut other, other_server) = connect(&site, &lasting)?;
    for _ in 0..20 {
        exchange(&mut doomed)?;
        exchange(&mut other)?;
    }
    site.apply(&[server_state(server, ServerState::Dead)])?;
    let began = wait::now();
    let outcome = exchange(&mut doomed);
    let after = wait::now().saturating_duration_since(began);
    ensure!(is_reset(&outcome), "the client heard {outcome:?} after {after:?}");
    ensure!(after < AT_ONCE, "the client was reset after {after:?}");

    for _ in 0..20 {
        exchange(&mut other).context("the other flow")?;
    }
    for host in [site.router().context("the site has a router")?, &site.client.namespace] {
        let (gone, stays) = (doomed.local_addr()?.port(), other.local_addr()?.port());
        ensure!(tracked(host, gone)? == "CLOSE", "the reset flow is {}", tracked(host, gone)?);
        let state = tracked(host, stays)?;
        ensure!(state == "ESTABLISHED", "the other flow is {state}");
        ensure!(invalid(host)? == 0, "{} invalid packets", invalid(host)?);
    }
    let resets = site.count(Reason::ResetDead)?;
    ensure!((1..=2).contains(&resets), "{resets} resets for one flow");

    // The client comes back and is served by a server that lives.
    let word = AssociationWord { epoch: 2, ..on(OTHER) };
    let moved = Device { server: OTHER, ..dying };
    site.apply(&[Op::CommitAssociations { words: vec![(dying.id, word)] }])?;
    site.apply(&moved.returns())?;
    drop(doomed);
    drop(other);
    for ended in [doomed_server, other_server] {
        ended.join().map_err(|_| anyhow!("a server panicked"))??;
    }
    talk::tcp(site.ends(&moved), 100_000).context("the client's next connection")?;
    Ok(())
}

#[test]
fn the_clients_kernel_takes_the_reset_at_once() -> Result<()> {
    the_client_is_reset(Version::V4, SERVER_V4, true)
}

#[test]
fn also_without_timestamps() -> Result<()> {
    the_client_is_reset(Version::V4, SERVER_V4, false)
}

#[test]
fn also_over_ipv6() -> Result<()> {
    the_client_is_reset(Version::V6, SERVER_V6, true)
}

#[test]
fn also_over_ipv6_without_timestamps() -> Result<()> {
    the_client_is_reset(Version::V6, SERVER_V6, false)
}
