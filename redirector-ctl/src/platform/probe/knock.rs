//! Whether a server answers for a service address that it has itself (`dsr`, `ipip`, `gue`): one
//! SYN for that address, sent to the server as the program sends clients' packets, and its answer.
//!
//! It goes beside the check of the server's own address, and the worse of both counts. The SYN can
//! be sent on by nobody: it has one hop left. A half-open connection is ended by RST, as
//! the kernel's stack would drop what comes from a service address that it announces itself.
//!
//! Not asked are servers to which no way is known, over which no client's packet would go either,
//! those where the gateway has no address of the service address's family to ask from, and devices
//! of UDP, of which nothing but their own protocol can tell whether an answer is due.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures::future::{Either, select};
use redirector_common::wire::Tags;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use self::line::{Heard, Knock};
use super::check::{Attempt, Outcome, PORT_DISCARD, answered, attempt};
use super::race::{self, Finding, Limits, Means};
use super::{DirectService, Path, Target};
use crate::core::check::{Check, CheckKind};
use crate::core::health::CheckResult;
use crate::core::spec::Protocol;

mod line;
pub(super) mod segment;

/// Questions waiting to be sent at most; then checks wait.
const KNOCKS_MAX: usize = 64;

/// The first of the ports from which is asked; all above it are used (RFC 6335's dynamic ports).
/// That one of them is the kernel's own at that moment does no harm: answers are told apart by
/// their numbers, too.
const PORT_FIRST: u16 = 0xc000;

/// Spreads sequence numbers that differ by one.
const STRIDE: u32 = 0x9e37_79b1;

/// How packets get from here to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Index of the interface that frames leave by.
    pub out: u32,
    /// Our Ethernet address on it.
    pub from: [u8; 6],
    /// The next hop's.
    pub to: [u8; 6],
    /// Tags of frames.
    pub tags: Tags,
    /// An address of ours that the server can answer, no service address.
    pub source_v4: Option<Ipv4Addr>,
    /// The same of IPv6.
    pub source_v6: Option<Ipv6Addr>,
}

/// Our ends of tunnels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TunnelEnds {
    /// Source of tunnels over IPv4.
    pub source_v4: Option<Ipv4Addr>,
    /// Source of tunnels over IPv6.
    pub source_v6: Option<Ipv6Addr>,
    /// UDP port of GUE.
    pub gue_port: u16,
}

/// The ways to all servers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ways {
    /// Server address -> the way to it, where that is known.
    pub of: BTreeMap<IpAddr, Way>,
    /// Our ends of tunnels.
    pub tunnel: TunnelEnds,
}

/// Where checks have their SYNs sent.
#[derive(Debug, Clone)]
pub(super) struct Knocker {
    ways: watch::Receiver<Ways>,
    knocks: mpsc::Sender<Knock>,
}

impl Knocker {
    /// One that knows no way yet. Must be called within a tokio runtime.
    pub(super) fn new() -> (watch::Sender<Ways>, Self) {
        let (tell, ways) = watch::channel(Ways::default());
        let (knocks, queue) = mpsc::channel(KNOCKS_MAX);
        tokio::spawn(line::run(queue));
        (tell, Self { ways, knocks })
    }

    /// What to ask a server with, which is waited for a while: at a start the first check finds the
    /// neighbour. None where it cannot be asked.
    async fn call(&self, target: &Target, limit: Duration) -> Option<Call<'_>> {
        let service = target.service.filter(|_| target.protocol != Protocol::Udp)?;
        let server = target.address.ip();
        let mut ways = self.ways.clone();
        let known = timeout(limit, ways.wait_for(|ways| ways.of.contains_key(&server)));
        let (way, tunnel) = match known.await {
            Ok(Ok(ways)) => (*ways.of.get(&server)?, ways.tunnel),
            _ => return None,
        };
        let here = match service.address {
            SocketAddr::V4(_) => way.source_v4.map(IpAddr::from),
            SocketAddr::V6(_) => way.source_v6.map(IpAddr::from),
        }?;
        let to = Road { way, tunnel, server, forwarding: service.forwarding };
        Some(Call { to, service, protocol: target.protocol, here, knocks: &self.knocks })
    }
}

/// All that the frames to a server depend on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Road {
    way: Way,
    tunnel: TunnelEnds,
    server: IpAddr,
    forwarding: crate::core::service::Forwarding,
}

/// How one server is asked for one service address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    to: Road,
    service: DirectService,
    protocol: Protocol,
    here: IpAddr,
    knocks: &'a mpsc::Sender<Knock>,
}

impl Call<'_> {
    /// A host without ports is asked at one that hardly any serves, and a RST is its answer.
    fn address(&self) -> SocketAddr {
        match self.protocol {
            Protocol::Any => SocketAddr::new(self.service.address.ip(), PORT_DISCARD),
            _ => self.service.address,
        }
    }

    async fn attempt(&self, once: Attempt<'_>, chance: u32) -> Outcome {
        let here = SocketAddr::new(self.here, PORT_FIRST | chance as u16);
        let sequence = chance.wrapping_mul(STRIDE);
        let (answer, heard) = oneshot::channel();
        let knock = Knock::new(&self.to, (here, self.address()), sequence, answer);
        // Nobody can be asked where there is no socket for it, which the log has told.
        let unasked = || Outcome::from(CheckResult::NotRefused);
        let Some(knock) = knock else { return unasked() };
        if self.knocks.send(knock).await.is_err() {
            return unasked();
        }
        match once.in_time(heard).await {
            Some(Ok(Heard::Accepted)) => answered(&once.watch).into(),
            Some(Ok(Heard::Refused)) if self.protocol == Protocol::Any => {
                answered(&once.watch).into()
            }
            Some(Ok(Heard::Refused)) => CheckResult::Refused(self.refusal()).into(),
            Some(Ok(Heard::NotSent(text))) => CheckResult::NotAsked(text).into(),
            Some(Err(_)) => unasked(),
            None => once.silent(),
        }
    }

    fn refusal(&self) -> String {
        let service = self.service.address;
        format!(
            "its own address answers, but it refuses connections to the service address \
             {service}: does its program listen there?"
        )
    }

    fn silence(&self) -> String {
        let service = match self.protocol {
            Protocol::Any => self.service.address.ip().to_string(),
            _ => self.service.address.to_string(),
        };
        let forwarding = self.service.forwarding;
        let tunnel = match forwarding.is_tunnel() {
            true => format!(", and does its end of the {} tunnel work", forwarding.name()),
            false => String::new(),
        };
        format!(
            "its own address answers, but it does not answer for the service address {service}: \
             is that on its loopback interface{tunnel}?"
        )
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked<'a> {
    /// The server at its own address.
    Server(&'a Target, &'a Path),
    /// The server for a service address that it has itself.
    Service(&'a Call<'a>),
}

impl Asked<'_> {
    /// Asks once.
    pub(super) async fn attempt(self, once: Attempt<'_>, chance: u32) -> Outcome {
        match self {
            Self::Server(target, path) => attempt(target, path, once, chance).await,
            Self::Service(call) => call.attempt(once, chance).await,
        }
    }

    /// Whether a lost packet makes an attempt fail, and another one costs little.
    pub(super) fn is_lossy(self) -> bool {
        let Self::Server(target, _) = self else { return true };
        let is_datagram = target.protocol == Protocol::Udp;
        match &target.check {
            Check::Exec { .. } => false,
            check => !is_datagram || check.kind() == CheckKind::Nfs,
        }
    }
}

/// A whole check: of the server's own address, and of the service address where it has that itself.
pub(super) async fn ask(
    target: &Target,
    path: &Path,
    knocker: &Knocker,
    (limits, means): (Limits, Means<'_>),
) -> Finding {
    let own = race::ask(Asked::Server(target, path), limits, means);
    if target.service.is_none() {
        return own.await;
    }
    let at_service = async {
        let call = knocker.call(target, limits.answer).await?;
        // Whoever is under suspicion has accepted a connection by then: this one has its time.
        let limits = Limits { connect: limits.answer, ..limits };
        let means = Means { anew: None, ..means };
        bad(&call, race::ask(Asked::Service(&call), limits, means).await.result)
    };
    let (own, bad) = match select(std::pin::pin!(own), std::pin::pin!(at_service)).await {
        Either::Left((own, _)) if !is_good(&own.result) => return own,
        Either::Left((own, at_service)) => (own, at_service.await),
        Either::Right((bad, own)) => (own.await, bad),
    };
    match bad {
        Some(bad) if is_good(&own.result) => Finding { result: bad, ..own },
        _ => own,
    }
}

fn is_good(result: &CheckResult) -> bool {
    matches!(result, CheckResult::Answered { .. } | CheckResult::NotRefused)
}

/// What speaks against a server whose own address answers. Silence is judged as any other is: where
/// too few are heard, it is as likely ours.
fn bad(call: &Call<'_>, at_service: CheckResult) -> Option<CheckResult> {
    match at_service {
        CheckResult::Answered { .. } | CheckResult::NotRefused => None,
        CheckResult::Silent(_) => Some(CheckResult::Silent(call.silence())),
        other @ (CheckResult::Refused(_) | CheckResult::Failed(_) | CheckResult::NotAsked(_)) => {
            Some(other)
        }
    }
}

#[cfg(test)]
mod tests;
