//! Who asks, as far as the kernel tells, and the audit line of what was asked.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::Api;
use super::accept::ended_early;
use super::extract::IfMatch;
use super::problem::Problem;
use super::role::Role;
use crate::core::change::Change;
use crate::daemon::{Applied, ChangeError};

/// Who is at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// A process of this machine, by the unix socket.
    Process {
        /// Its user.
        uid: u32,
        /// Its id, where the kernel tells it.
        pid: Option<i32>,
    },
    /// Somebody at this address.
    Address(SocketAddr),
    /// Somebody who has shown who he is.
    Known {
        /// His name in the file of credentials.
        name: Arc<str>,
        /// What he may do.
        role: Role,
        /// Where he is, where the kernel tells it.
        address: Option<SocketAddr>,
    },
    /// The kernel does not tell.
    Unknown,
}

impl Caller {
    /// Where he is, if he came over a network.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Known { address, .. } => *address,
            Self::Process { .. } | Self::Unknown => None,
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { uid, pid: Some(pid) } => write!(f, "uid {uid} pid {pid}"),
            Self::Process { uid, pid: None } => write!(f, "uid {uid}"),
            Self::Address(address) => address.fmt(f),
            Self::Known { name, role, address: Some(address) } => {
                write!(f, "{name} ({role}) at {address}")
            }
            Self::Known { name, role, address: None } => write!(f, "{name} ({role})"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// A connection whose other end is known.
pub(super) trait Peer: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static {
    /// Who is there.
    fn caller(&self) -> Caller;

    /// What he says first; it stays there to be read.
    fn first_byte(&self) -> impl Future<Output = io::Result<u8>> + Send;
}

impl Peer for TcpStream {
    fn caller(&self) -> Caller {
        self.peer_addr().map_or(Caller::Unknown, Caller::Address)
    }

    async fn first_byte(&self) -> io::Result<u8> {
        let mut first = [0];
        match self.peek(&mut first).await? {
            0 => Err(ended_early()),
            _ => Ok(first[0]),
        }
    }
}

impl Peer for UnixStream {
    fn caller(&self) -> Caller {
        let process =
            |peer: tokio::net::unix::UCred| Caller::Process { uid: peer.uid(), pid: peer.pid() };
        self.peer_cred().map_or(Caller::Unknown, process)
    }

    /// The socket speaks no TLS, so that nobody asks for this.
    async fn first_byte(&self) -> io::Result<u8> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or(Self::Unknown))
    }
}

/// Who asks for a change, and on top of which generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// Who.
    pub caller: Caller,
    /// The generation that he has seen; None for any.
    pub seen: Option<u64>,
}

impl Asked {
    /// The same, on top of this generation unless he named one himself.
    pub fn or_on_top_of(self, generation: Option<u64>) -> Self {
        Self { seen: self.seen.or(generation), ..self }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let IfMatch(seen) = IfMatch::from_request_parts(parts, state).await?;
        let Ok(caller) = Caller::from_request_parts(parts, state).await;
        Ok(Self { caller, seen })
    }
}

impl Api {
    /// Makes a change, and leaves a line of it in the log, target `audit`, whatever came of it.
    pub(super) async fn change(
        &self,
        asked: Asked,
        change: Change,
    ) -> Result<Applied, ChangeError> {
        let (caller, what) = (&asked.caller, change.to_string());
        let done = self.daemon.change(change, asked.seen).await;
        let (generation, outcome) = match &done {
            Ok(Applied { generation, .. }) => (Some(*generation), "done"),
            Err(error) => outcome_of(error),
        };
        audit(caller, &what, generation, outcome);
        done
    }
}

/// What an audit line says of a change that is not done: under which generation, and the outcome.
pub(super) fn outcome_of(error: &ChangeError) -> (Option<u64>, &'static str) {
    match error {
        ChangeError::NotApplied { generation, .. } => (Some(*generation), "accepted"),
        ChangeError::Stale { current } => (Some(*current), "stale"),
        ChangeError::Refused(_) => (None, "refused"),
        ChangeError::Unavailable(_) => (None, "failed"),
    }
}

/// An audit line: who, what, under which generation, and what came of it.
pub(super) fn audit(caller: &Caller, what: &str, generation: Option<u64>, outcome: &str) {
    tracing::info!(target: "audit", %caller, what, generation, outcome, "change");
}
