//! Tiny TCP servers that say who they are, and the log of whom they accepted.
//!
//! Storage programs do not tell which server they run on; these do. On accepting a connection the
//! server sends one line, `<server> <connection id>`, and the same line again for every line it is
//! sent; a connection that has asked may cost it memory, as sessions of storage protocols do. Each
//! accepted connection is a line on standard output: `accepted <peer> <port>`. The client's side is
//! in `flows`.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::topology::is_gateway;

/// Serves on all `ports` until killed. The body of the hidden subcommand `echo-server`.
///
/// # Errors
/// When a port is taken.
pub fn serve(server: &str, ports: &[u16], session_bytes: u64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ids = Arc::new(AtomicU64::new(1));
        let mut loops = tokio::task::JoinSet::new();
        for &port in ports {
            // Of both families: what comes by IPv4 has an address that only looks like IPv6.
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await;
            let listener = listener.with_context(|| format!("listen on port {port}"))?;
            let server = server.to_owned();
            loops.spawn(accept(listener, port, server, session_bytes, Arc::clone(&ids)));
        }
        while let Some(ended) = loops.join_next().await {
            ended??;
        }
        Ok(())
    })
}

async fn accept(
    listener: TcpListener,
    port: u16,
    server: String,
    session_bytes: u64,
    ids: Arc<AtomicU64>,
) -> Result<()> {
    loop {
        let (stream, peer) = listener.accept().await?;
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        println!("accepted {peer} {port}");
        let id = ids.fetch_add(1, Ordering::Relaxed);
        let line = format!("{server} {id}\n");
        // A connection that breaks is its client's to notice.
        tokio::spawn(async move { answer(stream, &line, session_bytes).await });
    }
}

async fn answer(stream: TcpStream, line: &str, session_bytes: u64) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (read, mut write) = stream.into_split();
    write.write_all(line.as_bytes()).await?;
    let mut questions = BufReader::new(read).lines();
    // Not for a check, which takes its greeting and goes.
    let mut session = None;
    while questions.next_line().await?.is_some() {
        if session.is_none() && session_bytes > 0 {
            session = Some(Session::of(session_bytes)?);
        }
        write.write_all(line.as_bytes()).await?;
    }
    Ok(())
}

/// What a connection costs its server in memory: pages of a file that has no name, which the kernel
/// has back at once when this is dropped.
struct Session {
    _file: OwnedFd,
}

impl Session {
    fn of(bytes: u64) -> std::io::Result<Self> {
        let file = memfd_create("session", MemfdFlags::CLOEXEC)?;
        fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
        Ok(Self { _file: file })
    }
}

/// Reads the log of an echo server: the clients' ends of the connections accepted on `port`. The
/// gateway's health checks and the harness's own look from loopback are no clients.
///
/// # Errors
/// When a line is not one of ours.
pub fn accepted(log: &str, port: u16) -> Result<BTreeSet<SocketAddr>> {
    let mut peers = BTreeSet::new();
    for line in log.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["accepted", peer, at] = words[..] else {
            anyhow::bail!("an echo server printed {line:?}");
        };
        let peer: SocketAddr = peer.parse().with_context(|| format!("the peer in {line:?}"))?;
        let is_client = !peer.ip().is_loopback() && !is_gateway(peer.ip());
        if at.parse() == Ok(port) && is_client {
            peers.insert(peer);
        }
    }
    Ok(peers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_and_other_ports_are_not_counted_as_clients() {
        let log = "accepted 10.0.1.11:4000 7001\naccepted 10.0.2.1:4001 7001\n\
                   accepted 10.0.1.11:4002 7002\naccepted 127.0.0.1:4003 7001\n";
        let peers = accepted(log, 7001).unwrap();
        assert_eq!(peers, BTreeSet::from(["10.0.1.11:4000".parse().unwrap()]));
    }
}
