//! Why the program could not be loaded or attached, in words that say what to do.

use std::io;
use std::path::PathBuf;

use redirector_common::wire::{ABI_VERSION, IFINDEX_MAX};

use super::AttachMode;
use crate::platform::tables::TablesError;

/// Why the program could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The directory is not on a BPF file system.
    #[error(
        "{0} is not on a BPF file system; mount one with `mount -t bpf bpf /sys/fs/bpf`, or set \
         redirector.bpffs_dir to a directory on one"
    )]
    NotBpffs(PathBuf),
    /// Tables of another layout are pinned.
    #[error(
        "tables of layout {found} are pinned in {dir}, this daemon has layout {ABI_VERSION}; run \
         `redirector detach` with the old daemon stopped (its open flows end), then start again"
    )]
    OtherAbi {
        /// Directory of the pinned tables.
        dir: PathBuf,
        /// Their layout, from the directory's name.
        found: String,
    },
    /// Tables that are pinned are smaller than what is configured.
    #[error(
        "limits.{field} is {wanted}, but the pinned table was made for {made}; set it back, or run \
         `redirector detach` (its open flows end) and start again"
    )]
    TooSmall {
        /// Field of the configuration.
        field: &'static str,
        /// Room of the pinned table.
        made: u32,
        /// What the configuration asks for.
        wanted: u32,
    },
    /// A limit is outside what the tables can hold.
    #[error("limits.{field} is {value}; it must be from 1 to {max}")]
    Limit {
        /// Field of the configuration.
        field: &'static str,
        /// What it says.
        value: u64,
        /// The most it may be.
        max: u64,
    },
    /// An interface's index does not fit a hop.
    #[error("interface {name} has index {index}; indexes above {IFINDEX_MAX} are not supported")]
    InterfaceIndex {
        /// Its name.
        name: String,
        /// Its index.
        index: u32,
    },
    /// The object could not be loaded or verified.
    #[error("cannot load the program on kernel {kernel}: {detail}")]
    Load {
        /// Release of the running kernel.
        kernel: String,
        /// The cause with the tail of the verifier's log.
        detail: String,
    },
    /// The program could not be attached to an interface.
    #[error("cannot attach to interface {interface} in {mode} mode: {detail}")]
    Attach {
        /// Interface.
        interface: String,
        /// Mode asked for.
        mode: &'static str,
        /// The cause, and what to do.
        detail: String,
    },
    /// The program is attached in another mode, which only detaching changes.
    #[error(
        "the program is attached to interface {interface} in {in_force} mode, and {wanted} is \
         configured; set it back, or run `redirector detach` (its open flows end) and start again"
    )]
    OtherMode {
        /// Interface.
        interface: String,
        /// Mode in force.
        in_force: &'static str,
        /// Mode asked for.
        wanted: &'static str,
    },
    /// A pinned link is on another interface than its name says: interfaces were renamed.
    #[error(
        "the program pinned for interface {interface} is attached to the interface with index \
         {index}: was it renamed? Name it back, or run `redirector detach` (its open flows end) \
         and start again"
    )]
    Elsewhere {
        /// Interface by whose name the link is pinned.
        interface: String,
        /// Index of the interface that it is on.
        index: u32,
    },
    /// A file or directory of the BPF file system could not be used.
    #[error("cannot {attempt} {path}")]
    Pin {
        /// What was attempted.
        attempt: &'static str,
        /// On which path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The maps could not be opened.
    #[error("cannot open the tables")]
    Tables(#[from] TablesError),
}

pub(super) fn load_error(error: &(dyn std::error::Error + 'static)) -> AttachError {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |release| release.trim().to_owned());
    // The verifier's log is long and its cause stands at the end.
    const TAIL_LEN: usize = 2000;
    let text = chain(error);
    let start = text.ceil_char_boundary(text.len().saturating_sub(TAIL_LEN));
    AttachError::Load { kernel, detail: text[start..].to_owned() }
}

/// An error with its causes in one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

pub(super) fn attach_detail(error: &aya::programs::ProgramError, mode: AttachMode) -> String {
    let text = chain(error);
    let code = match error {
        aya::programs::ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    };
    match (code, mode) {
        (Some(libc::EBUSY), _) => {
            format!(
                "{text}; another XDP program is attached there: remove it first (if it is ours, \
                 from before the interface was renamed, with `redirector detach`)"
            )
        }
        (Some(libc::EOPNOTSUPP), AttachMode::Native) => format!(
            "{text}; its driver has no native XDP, or not with this MTU and offloads (switch off \
             LRO and GRO-HW, lower the MTU); or set mode = \"generic\""
        ),
        (Some(libc::EPERM), _) => format!("{text}; CAP_NET_ADMIN and CAP_BPF are needed"),
        _ => text,
    }
}
