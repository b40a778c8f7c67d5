//! One attempt of a check of one server, in all kinds of checks.
//!
//! Connections are closed with RST, so that checks leave no TIME_WAIT behind at either end. Where a
//! protocol has a farewell it is said before that, and its answer is waited for a moment.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::time::timeout;

use super::talk::{Fault, Talk};
use super::{Path, Target, exec, http, iscsi, nbd, nfs, smb};
use crate::core::check::Check;
use crate::core::health::CheckResult;
use crate::core::spec::Protocol;
use crate::platform::clock::Stopwatch;

/// The port at which a host is asked whether it is there (RFC 863): hardly any serves it, and a
/// connection that is accepted is an answer as well.
pub(super) const PORT_DISCARD: u16 = 9;

/// How long the answer to a farewell is waited for.
const FAREWELL: Duration = Duration::from_millis(100);

/// One time of asking.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    /// What is said of how long was waited. It is the check that says when the time is over.
    pub(super) limit: Duration,
    /// True when the time is over.
    pub(super) over: watch::Receiver<bool>,
    pub(super) watch: Stopwatch,
    /// How long the server's kernel took to accept a connection, in us and at least 1; 0 before.
    /// Of all attempts of a check, the first one to be accepted writes it.
    pub(super) accepted_us: &'a AtomicU64,
}

impl Attempt<'_> {
    /// What comes of `doing`; None when the time is over first.
    pub(super) async fn in_time<T>(&self, doing: impl Future<Output = T>) -> Option<T> {
        let mut over = self.over.clone();
        tokio::select! {
            biased;
            done = doing => Some(done),
            // That nobody is left to say so means the same.
            _ = over.wait_for(|over| *over) => None,
        }
    }

    async fn connect(&self, address: SocketAddr) -> Option<io::Result<TcpStream>> {
        let connected = self.in_time(TcpStream::connect(address)).await?;
        if connected.is_ok() {
            let took_us = u64::try_from(self.watch.elapsed().as_micros()).unwrap_or(u64::MAX);
            let first = (0, took_us.max(1));
            // Who comes second has nothing to say.
            let _ = self.accepted_us.compare_exchange(
                first.0,
                first.1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        Some(connected)
    }

    pub(super) fn silent(&self) -> Outcome {
        let text = format!("no answer within {} ms", self.limit.as_millis());
        Outcome { result: CheckResult::Silent(text), timed_out: true }
    }

    /// No answer in time, but a connection: the server's kernel is there.
    fn accepted_only(&self, what: &str) -> Outcome {
        let ms = self.limit.as_millis();
        let text =
            format!("it accepted the connection, but within {ms} ms there was no sign of {what}");
        Outcome { result: CheckResult::Refused(text), timed_out: true }
    }
}

/// What came of one attempt.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) result: CheckResult,
    /// Nothing came in time: a lost packet would look the same.
    pub(super) timed_out: bool,
}

impl From<CheckResult> for Outcome {
    fn from(result: CheckResult) -> Self {
        Self { result, timed_out: false }
    }
}

/// Asks once. `chance` makes one attempt's numbers differ from another's.
pub(super) async fn attempt(
    target: &Target,
    path: &Path,
    attempt: Attempt<'_>,
    chance: u32,
) -> Outcome {
    let address = target.address;
    match (target.protocol, &target.check) {
        // A program that was started is waited for here, and killed when its time is over.
        (_, Check::Exec { command }) => {
            exec::check(target, path, command, attempt.limit).await.into()
        }
        (Protocol::Tcp, Check::Connect) => connecting(address, &attempt).await,
        (Protocol::Tcp, Check::Greeting) => greeting(address, &attempt).await,
        (Protocol::Tcp, _) => conversation(target, &attempt, chance).await,
        (Protocol::Udp, Check::Nfs { version }) => {
            null_call(address, version.map_or(3, u32::from), chance, &attempt).await
        }
        (Protocol::Udp, _) => datagram(address, &attempt).await,
        (Protocol::Any, _) => host(address.ip(), &attempt).await,
    }
}

/// Whether a host answers at all: that it refuses a connection is an answer too.
async fn host(address: IpAddr, attempt: &Attempt<'_>) -> Outcome {
    match connecting(SocketAddr::new(address, PORT_DISCARD), attempt).await {
        Outcome { result: CheckResult::Refused(_), .. } => answered(&attempt.watch).into(),
        other => other,
    }
}

/// A socket that can send to this address.
async fn udp_socket(to: SocketAddr) -> io::Result<UdpSocket> {
    match to {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await,
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await,
    }
}

async fn connecting(address: SocketAddr, attempt: &Attempt<'_>) -> Outcome {
    match attempt.connect(address).await {
        Some(Ok(stream)) => {
            close(&stream);
            answered(&attempt.watch).into()
        }
        Some(Err(error)) => failure(&error),
        None => attempt.silent(),
    }
}

/// A conversation in the device's own protocol, within the limit.
async fn conversation(target: &Target, attempt: &Attempt<'_>, chance: u32) -> Outcome {
    let mut talk = match attempt.connect(target.address).await {
        Some(Ok(stream)) => Talk::new(stream),
        Some(Err(error)) => return failure(&error),
        None => return attempt.silent(),
    };
    let said = attempt.in_time(exchange(&mut talk, target, chance)).await;
    // From here on somebody has answered: the server's kernel has accepted the connection.
    let outcome = match &said {
        Some(Ok(())) => answered(&attempt.watch).into(),
        Some(Err(Fault::Wrong(text))) => CheckResult::Refused(text.clone()).into(),
        Some(Err(Fault::Io(error))) => {
            CheckResult::Refused(format!("no sign of {}: {error}", talk.waiting_for)).into()
        }
        None => attempt.accepted_only(talk.waiting_for),
    };
    // Whoever has not answered in time is not waited for again: the next check should come soon.
    if said.is_some() {
        // Nothing depends on it: the result is known.
        let _ = timeout(FAREWELL, talk.part()).await;
    }
    close(talk.stream());
    outcome
}

async fn exchange(talk: &mut Talk<TcpStream>, target: &Target, chance: u32) -> Result<(), Fault> {
    match &target.check {
        Check::Http(check) => http::exchange(talk, check, target.address).await,
        Check::Nbd(check) => nbd::exchange(talk, check).await,
        Check::Iscsi(check) => iscsi::exchange(talk, check, chance).await,
        Check::Nfs { version } => nfs::exchange(talk, version.map_or(4, u32::from), chance).await,
        Check::Smb => smb::exchange(talk, chance).await,
        Check::Connect | Check::Greeting | Check::Exec { .. } => Ok(()),
    }
}

/// A connection and the server's first byte, both within the limit.
async fn greeting(address: SocketAddr, attempt: &Attempt<'_>) -> Outcome {
    let mut stream = match attempt.connect(address).await {
        Some(Ok(stream)) => stream,
        Some(Err(error)) => return failure(&error),
        None => return attempt.silent(),
    };
    let mut first = [0_u8; 64];
    let read = attempt.in_time(stream.read(&mut first)).await;
    close(&stream);
    match read {
        // From here on somebody has answered: the server's kernel has accepted the connection.
        Some(Ok(0)) => {
            CheckResult::Refused("it closed the connection without a greeting".to_owned()).into()
        }
        Some(Ok(_)) => answered(&attempt.watch).into(),
        Some(Err(error)) => CheckResult::Refused(format!("no greeting: {error}")).into(),
        None => attempt.accepted_only("a greeting"),
    }
}

/// An empty datagram. Only a refusal says something: silence is normal for a UDP service.
async fn datagram(address: SocketAddr, attempt: &Attempt<'_>) -> Outcome {
    let exchange = async {
        let socket = udp_socket(address).await?;
        socket.connect(address).await?;
        socket.send(&[]).await?;
        let mut answer = [0_u8; 64];
        socket.recv(&mut answer).await
    };
    match attempt.in_time(exchange).await {
        Some(Ok(_)) => answered(&attempt.watch).into(),
        Some(Err(error)) => failure(&error),
        None => CheckResult::NotRefused.into(),
    }
}

/// NFS's NULL call over UDP. Unlike an empty datagram it must be answered.
async fn null_call(address: SocketAddr, version: u32, xid: u32, attempt: &Attempt<'_>) -> Outcome {
    let exchange = async {
        let socket = udp_socket(address).await?;
        socket.connect(address).await?;
        socket.send(&nfs::null_call(version, xid)).await?;
        let mut answer = [0_u8; nfs::REPLY_LEN_MAX];
        loop {
            let len = socket.recv(&mut answer).await?;
            if nfs::is_reply_to(&answer[..len], xid) {
                return Ok(nfs::read_reply(&answer[..len], version, xid));
            }
        }
    };
    match attempt.in_time(exchange).await {
        Some(Ok(Ok(()))) => answered(&attempt.watch).into(),
        Some(Ok(Err(text))) => CheckResult::Refused(text).into(),
        Some(Err(error)) => failure(&error),
        None => attempt.silent(),
    }
}

pub(super) fn answered(watch: &Stopwatch) -> CheckResult {
    let took_us = u64::try_from(watch.elapsed().as_micros()).unwrap_or(u64::MAX);
    CheckResult::Answered { took_us }
}

/// What an error of a socket says about the server, or about us.
fn failure(error: &io::Error) -> Outcome {
    use io::ErrorKind as Kind;
    let text = error.to_string();
    match error.kind() {
        Kind::ConnectionRefused | Kind::ConnectionReset | Kind::ConnectionAborted => {
            CheckResult::Refused(text).into()
        }
        // Our own kernel says this too, when nobody answers its ARP requests: it proves nothing
        // about our side, and a later attempt may find the neighbour.
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::TimedOut => {
            Outcome { result: CheckResult::Silent(text), timed_out: true }
        }
        _ => CheckResult::NotAsked(text).into(),
    }
}

fn close(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "a check's connection closes the slow way");
    }
}

#[cfg(test)]
mod tests;
