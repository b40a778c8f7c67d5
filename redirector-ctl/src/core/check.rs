//! How a server is asked whether it serves a device, as a value: the kinds of checks, what each may
//! be told, and what is wrong with what it was told.
//!
//! A check is written as a word (`"nbd"`) or as a table (`{ kind = "nbd", export = "disk-a" }`), in
//! the configuration, in the state file and over the API alike. It is shown as a word where a word
//! says everything.

mod flaws;
mod form;
mod pace;
#[cfg(test)]
mod tests;

pub use flaws::Flaw;
pub use form::{CheckBody, CheckForm};
pub use pace::CheckPace;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::change::DeviceSpec;
use super::spec::Protocol;
use super::validate::Problems;

/// How a server is asked whether it serves a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(try_from = "CheckForm", into = "CheckForm")]
pub enum Check {
    /// It accepts a connection.
    #[default]
    Connect,
    /// It also sends its first bytes.
    Greeting,
    /// It answers an HTTP request.
    Http(HttpCheck),
    /// It has an NBD export.
    Nbd(NbdCheck),
    /// It has an iSCSI target.
    Iscsi(IscsiCheck),
    /// It answers the NULL call of NFS.
    Nfs {
        /// The version that is called; None: 4 over TCP, 3 over UDP.
        version: Option<u8>,
    },
    /// It answers the negotiation of SMB 2 and 3.
    Smb,
    /// A program says so.
    Exec {
        /// The program, an absolute path, and its arguments. Never empty.
        command: Vec<String>,
    },
}

/// Kinds of checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckKind {
    /// The server accepts a connection. A process that hangs still accepts, because its kernel does
    /// it.
    Connect,
    /// The server accepts a connection and sends its first bytes within the time-out. Not for a
    /// server that takes one client at a time.
    Greeting,
    /// The server answers a GET request over HTTP/1.1 with an expected status.
    Http,
    /// The server has the export (NBD's fixed newstyle handshake, NBD_OPT_INFO).
    Nbd,
    /// The server has the target: it lists it in a discovery session, or takes a login to it.
    Iscsi,
    /// The server answers NFS's NULL call (ONC RPC program 100003).
    Nfs,
    /// The server answers SMB2 NEGOTIATE with a dialect of SMB 2 or 3.
    Smb,
    /// A program of the redirector's own host ends with 0. Only from the configuration file.
    Exec,
}

impl CheckKind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Connect,
        Self::Greeting,
        Self::Http,
        Self::Nbd,
        Self::Iscsi,
        Self::Nfs,
        Self::Smb,
        Self::Exec,
    ];

    /// The word for it in texts, the same as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Greeting => "greeting",
            Self::Http => "http",
            Self::Nbd => "nbd",
            Self::Iscsi => "iscsi",
            Self::Nfs => "nfs",
            Self::Smb => "smb",
            Self::Exec => "exec",
        }
    }
}

/// A request over HTTP/1.1 and the answer that is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCheck {
    /// Path and query, from `/` on.
    pub path: String,
    /// What the request names as the host; None: the server's address and port.
    pub host: Option<String>,
    /// Lowest status that is a good answer.
    pub status_min: u16,
    /// Highest status that is a good answer.
    pub status_max: u16,
}

impl Default for HttpCheck {
    fn default() -> Self {
        Self { path: "/".to_owned(), host: None, status_min: 200, status_max: 399 }
    }
}

/// An NBD export.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NbdCheck {
    /// Its name; empty for the server's default export.
    pub export: String,
    /// Its size in bytes, if that matters.
    pub size_bytes: Option<u64>,
}

/// An iSCSI target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IscsiCheck {
    /// Its name; None: any target at all.
    pub target: Option<String>,
    /// Under which name the redirector logs in; None: [`INITIATOR`].
    pub initiator: Option<String>,
    /// How the target is asked for.
    pub session: IscsiSession,
}

/// The name under which the redirector logs in where nothing else is said.
pub const INITIATOR: &str = "iqn.2026-01.invalid.redirector:check";

/// How an iSCSI target is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum IscsiSession {
    /// A discovery session and SendTargets: the server lists the target.
    #[default]
    Discovery,
    /// A login to the target itself, followed by a logout. Needs `target`.
    Normal,
}

impl IscsiSession {
    /// The word for it in texts, the same as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Discovery => "discovery",
            Self::Normal => "normal",
        }
    }
}

impl Check {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> CheckKind {
        match self {
            Self::Connect => CheckKind::Connect,
            Self::Greeting => CheckKind::Greeting,
            Self::Http(_) => CheckKind::Http,
            Self::Nbd(_) => CheckKind::Nbd,
            Self::Iscsi(_) => CheckKind::Iscsi,
            Self::Nfs { .. } => CheckKind::Nfs,
            Self::Smb => CheckKind::Smb,
            Self::Exec { .. } => CheckKind::Exec,
        }
    }
}

/// As people read it: `nbd export=disk-a`.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = CheckBody::from(self.clone());
        f.write_str(body.kind.name())?;
        body.given().iter().try_for_each(|(field, value)| write!(f, " {field}={value}"))
    }
}

/// Reports what is wrong with a device's check beside its own fields: that it does not go with the
/// protocol, and its pace.
pub(super) fn judge(wish: &DeviceSpec, problems: &mut Problems) {
    wish.check_pace.judge(problems);
    let (kind, udp) = (wish.check.kind().name(), wish.protocol == Protocol::Udp);
    match wish.check {
        Check::Connect | Check::Exec { .. } => {}
        _ if wish.protocol == Protocol::Any => {
            let detail = format!(
                "`{kind}` asks at a port, and protocol any has none: use connect, which asks \
                 whether the host answers at all, or exec"
            );
            problems.refused("check_needs_port", "check", detail);
        }
        Check::Http(_) | Check::Nbd(_) | Check::Iscsi(_) | Check::Smb if udp => {
            let detail = format!(
                "`{kind}` is a check over TCP, and the device's protocol is udp: use connect, nfs \
                 or exec"
            );
            problems.refused("check_needs_tcp", "check", detail);
        }
        Check::Nfs { version: Some(4) } if udp => {
            let detail = "NFS version 4 has no UDP (RFC 7530, 3.1): use version 3";
            problems.refused("check_needs_tcp", "check.version", detail);
        }
        _ => {}
    }
}

/// Refuses what may come from the configuration file only: whoever reaches the API must not run
/// programs as the daemon's user.
pub(super) fn judge_from_outside(wish: &DeviceSpec, problems: &mut Problems) {
    if wish.check.kind() == CheckKind::Exec {
        let detail = "an `exec` check is only taken from the configuration file, because it runs a \
                      program as the daemon's user: write it there and restart the daemon, or \
                      choose another check";
        problems.refused("exec_from_api", "check", detail);
    }
}
