//! Loading, attaching, replacing and removing the XDP program.
//!
//! Maps and links are pinned under a directory of the BPF file system, so that packets keep flowing with the last
//! table when the daemon stops, crashes or is upgraded (G6). A starting daemon reuses the maps and replaces the
//! program through the pinned link, atomically; it never detaches first.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use aya::maps::Map;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use redirector_common::wire::{ABI_VERSION, IFINDEX_MAX, SERVER_ID_MAX};

use super::tables::{Maps, Tables, TablesError};

mod log_reader;

pub use log_reader::LogReader;

/// The program, built by `build.rs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/redirector-xdp"));

/// The benchmark's programs; the daemon itself never loads them, and a binary that does not name them does not carry them.
pub static LAB_OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/redirector-lab"));

/// Maps that outlive the daemon.
const PINNED_MAPS: [&str; 12] = [
    "CONTROL",
    "INTERFACES",
    "ASSOCIATIONS",
    "SERVERS",
    "SERVICES",
    "ORIGINS",
    "DEVICES",
    "FLOWS",
    "CANDIDATES",
    "REASON_COUNT",
    "DEVICE_COUNT",
    "SERVER_COUNT",
];

/// Most servers of one device: the room that the table of servers' endpoints has.
pub const SERVERS_PER_DEVICE_MAX: u32 = 64;

/// Name of the program in the object, for [`load_only`].
pub const PROGRAM: &str = "redirector";

/// Sizes of the tables. A pinned table keeps its size until `redirector detach`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableLimits {
    /// Devices.
    pub devices_max: u32,
    /// Servers, at most 4095.
    pub servers_max: u16,
    /// Proven flows.
    pub flows_max: u32,
    /// Flows not yet proven.
    pub candidates_max: u32,
}

impl TableLimits {
    /// Kernel memory that tables of this size take, in bytes (measured per entry on kernel 6.18).
    pub fn bytes(&self, cpus: u32) -> u64 {
        let (devices, servers) = (u64::from(self.devices_max), u64::from(self.servers_max));
        let flows = u64::from(self.flows_max) + u64::from(self.candidates_max);
        // Two association words, the line, the service, 64 buckets and four entries for servers' endpoints, counters.
        let per_device = 16 + 32 + 80 + 64 * 16 + 4 * 80 + 40 * u64::from(cpus);
        flows * 121 + devices * per_device + servers * (64 + 16 * u64::from(cpus)) + 512 * 1024
    }
}

/// How the program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver, before the kernel makes a socket buffer.
    Native,
    /// After it: slow, for drivers that cannot do better. Only when asked for.
    Generic,
}

/// An interface to attach to, as the kernel knows it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Index in the kernel.
    pub index: u32,
    /// Our Ethernet address on it.
    pub mac: [u8; 6],
    /// How to attach.
    pub mode: AttachMode,
}

/// What to attach where.
#[derive(Debug, Clone)]
pub struct AttachOptions {
    /// Directory of ours on a BPF file system; made if it is not there.
    pub bpffs_dir: PathBuf,
    /// Interfaces, in the order of the configuration.
    pub interfaces: Vec<Interface>,
    /// Sizes of the tables.
    pub limits: TableLimits,
}

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

/// Loads the program, takes over pinned maps, attaches to or replaces the program on each interface.
///
/// What was attached before and is not asked for any more is detached. On an error everything that was in force
/// stays in force.
///
/// # Errors
///
/// As of [`AttachError`]; each says what to do.
pub fn attach(options: &AttachOptions) -> Result<(Tables, LogReader), AttachError> {
    check(options)?;
    let maps_dir = options.bpffs_dir.join(format!("abi-{ABI_VERSION}"));
    let links_dir = options.bpffs_dir.join("links");
    make_directories(options, &maps_dir, &links_dir)?;
    let mut ebpf = load(&options.limits, Some(&maps_dir))?;
    let program: &mut Xdp = program_of(&mut ebpf)?;
    program.load().map_err(|error| load_error(&error))?;
    let log_reader = LogReader::new(&mut ebpf);
    let mut tables = Tables::new(take_maps(&mut ebpf)?)?;
    let mut words = Vec::new();
    for interface in &options.interfaces {
        words.push((interface.index as u16, interface.mac));
    }
    tables.set_interfaces(&words);
    let program: &mut Xdp = program_of(&mut ebpf)?;
    for interface in &options.interfaces {
        attach_to(program, interface, &links_dir)?;
    }
    detach_others(&links_dir, &options.interfaces)?;
    Ok((tables, log_reader))
}

/// Loads the program and its tables without attaching or pinning anything: for running packets through it.
///
/// # Errors
///
/// As of [`attach`].
pub fn load_only(limits: &TableLimits) -> Result<(Ebpf, Tables), AttachError> {
    let mut ebpf = load(limits, None)?;
    program_of(&mut ebpf)?.load().map_err(|error| load_error(&error))?;
    let tables = Tables::new(take_maps(&mut ebpf)?)?;
    Ok((ebpf, tables))
}

/// Removes the program from all interfaces, and all tables with their flows.
///
/// Returns what was removed, one line each.
///
/// # Errors
///
/// When a pinned file cannot be removed.
pub fn detach(bpffs_dir: &Path) -> Result<Vec<String>, AttachError> {
    let mut removed = Vec::new();
    let links_dir = bpffs_dir.join("links");
    // Links first: the program must be off the interfaces before its tables are gone.
    for dir in [vec![links_dir], directories(bpffs_dir)?].concat() {
        for name in files(&dir)? {
            let path = dir.join(&name);
            std::fs::remove_file(&path).map_err(pin_error("remove", &path))?;
            removed.push(path.display().to_string());
        }
        if dir.exists() {
            std::fs::remove_dir(&dir).map_err(pin_error("remove", &dir))?;
        }
    }
    if bpffs_dir.exists() {
        std::fs::remove_dir(bpffs_dir).map_err(pin_error("remove", bpffs_dir))?;
    }
    Ok(removed)
}

fn check(options: &AttachOptions) -> Result<(), AttachError> {
    let limits = &options.limits;
    let ranges = [
        ("devices_max", u64::from(limits.devices_max), 1 << 24),
        ("servers_max", u64::from(limits.servers_max), u64::from(SERVER_ID_MAX)),
        ("flows_max", u64::from(limits.flows_max), 1 << 28),
        ("candidates_max", u64::from(limits.candidates_max), 1 << 28),
    ];
    for (field, value, max) in ranges {
        if value == 0 || value > max {
            return Err(AttachError::Limit { field, value, max });
        }
    }
    for interface in &options.interfaces {
        if interface.index > IFINDEX_MAX {
            let (name, index) = (interface.name.clone(), interface.index);
            return Err(AttachError::InterfaceIndex { name, index });
        }
    }
    Ok(())
}

fn make_directories(
    options: &AttachOptions,
    maps_dir: &Path,
    links_dir: &Path,
) -> Result<(), AttachError> {
    let parent = options.bpffs_dir.parent().unwrap_or(&options.bpffs_dir);
    if !is_bpffs(parent) && !is_bpffs(&options.bpffs_dir) {
        return Err(AttachError::NotBpffs(options.bpffs_dir.clone()));
    }
    for dir in directories(&options.bpffs_dir)? {
        if dir != *maps_dir {
            let name = dir.file_name().unwrap_or_default().to_string_lossy();
            let found = name.trim_start_matches("abi-").to_owned();
            return Err(AttachError::OtherAbi { dir, found });
        }
    }
    for dir in [maps_dir, links_dir] {
        std::fs::create_dir_all(dir).map_err(pin_error("make directory", dir))?;
    }
    Ok(())
}

fn load(limits: &TableLimits, maps_dir: Option<&Path>) -> Result<Ebpf, AttachError> {
    let servers_len = u32::from(limits.servers_max) + 1;
    let mut loader = EbpfLoader::new();
    loader
        .map_max_entries("ASSOCIATIONS", limits.devices_max * 2)
        .map_max_entries("DEVICES", limits.devices_max)
        .map_max_entries("DEVICE_COUNT", limits.devices_max)
        .map_max_entries("SERVICES", limits.devices_max)
        .map_max_entries("ORIGINS", limits.devices_max.saturating_mul(SERVERS_PER_DEVICE_MAX))
        .map_max_entries("SERVERS", servers_len)
        .map_max_entries("SERVER_COUNT", servers_len)
        .map_max_entries("FLOWS", limits.flows_max)
        .map_max_entries("CANDIDATES", limits.candidates_max);
    if let Some(maps_dir) = maps_dir {
        for name in PINNED_MAPS {
            loader.map_pin_path(name, maps_dir.join(name));
        }
    }
    loader.load(OBJECT).map_err(|error| load_error(&error))
}

fn program_of(ebpf: &mut Ebpf) -> Result<&mut Xdp, AttachError> {
    ebpf.program_mut(PROGRAM)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| load_error(&io::Error::other(format!("no XDP program named {PROGRAM}"))))
}

fn take_maps(ebpf: &mut Ebpf) -> Result<Maps, AttachError> {
    let mut take = |name: &str| match ebpf.take_map(name) {
        Some(
            Map::Array(data) | Map::HashMap(data) | Map::LruHashMap(data) | Map::PerCpuArray(data),
        ) => Ok(data),
        _ => Err(load_error(&io::Error::other(format!("the object has no map named {name}")))),
    };
    Ok(Maps {
        control: take("CONTROL")?,
        interfaces: take("INTERFACES")?,
        associations: take("ASSOCIATIONS")?,
        servers: take("SERVERS")?,
        services: take("SERVICES")?,
        origins: take("ORIGINS")?,
        devices: take("DEVICES")?,
        flows: take("FLOWS")?,
        candidates: take("CANDIDATES")?,
        reason_count: take("REASON_COUNT")?,
        device_count: take("DEVICE_COUNT")?,
        server_count: take("SERVER_COUNT")?,
    })
}

/// Replaces the program through the pinned link, or attaches it anew and pins the link.
fn attach_to(
    program: &mut Xdp,
    interface: &Interface,
    links_dir: &Path,
) -> Result<(), AttachError> {
    let path = links_dir.join(&interface.name);
    if path.exists() {
        if replaced(program, &path) {
            return Ok(());
        }
        // The interface of that link is gone, and with it the attachment: only the pin is left.
        std::fs::remove_file(&path).map_err(pin_error("remove stale link", &path))?;
    }
    let (mode, name) = match interface.mode {
        AttachMode::Native => (XdpMode::Driver, "native"),
        AttachMode::Generic => (XdpMode::Skb, "generic"),
    };
    let failed =
        |detail| AttachError::Attach { interface: interface.name.clone(), mode: name, detail };
    let id = program
        .attach_to_if_index(interface.index, mode)
        .map_err(|error| failed(attach_detail(&error, interface.mode)))?;
    let link = program.take_link(id).map_err(|error| failed(chain(&error)))?;
    let link = FdLink::try_from(link).map_err(|error| failed(chain(&error)))?;
    link.pin(&path).map_err(|error| failed(chain(&error)))?;
    Ok(())
}

/// Whether the program behind a pinned link could be replaced by this one.
fn replaced(program: &mut Xdp, path: &Path) -> bool {
    let Ok(link) = PinnedLink::from_pin(path) else { return false };
    let Ok(link) = XdpLink::try_from(FdLink::from(link)) else { return false };
    let Ok(id) = program.attach_to_link(link) else { return false };
    // Taken out of the program's hands, so that its end does not detach; the pin keeps the link.
    program.take_link(id).is_ok()
}

/// Detaches what an earlier configuration attached and this one does not name.
fn detach_others(links_dir: &Path, interfaces: &[Interface]) -> Result<(), AttachError> {
    for name in files(links_dir)? {
        if !interfaces.iter().any(|interface| interface.name.as_bytes() == name.as_bytes()) {
            let path = links_dir.join(&name);
            std::fs::remove_file(&path).map_err(pin_error("remove link", &path))?;
            tracing::info!(interface = %name.display(), "detached: no longer configured");
        }
    }
    Ok(())
}

fn is_bpffs(path: &Path) -> bool {
    const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type as i64 == BPF_FS_MAGIC)
}

fn files(dir: &Path) -> Result<Vec<std::ffi::OsString>, AttachError> {
    list(dir, |entry| !entry.path().is_dir()).map(|entries| {
        entries.into_iter().map(|path| path.file_name().unwrap_or_default().to_owned()).collect()
    })
}

/// Directories of pinned tables.
fn directories(bpffs_dir: &Path) -> Result<Vec<PathBuf>, AttachError> {
    list(bpffs_dir, |entry| entry.file_name().as_bytes().starts_with(b"abi-"))
}

fn list(
    dir: &Path,
    wanted: impl Fn(&std::fs::DirEntry) -> bool,
) -> Result<Vec<PathBuf>, AttachError> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(pin_error("list", dir))? {
        let entry = entry.map_err(pin_error("list", dir))?;
        if wanted(&entry) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

fn pin_error(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AttachError {
    let path = path.to_owned();
    move |source| AttachError::Pin { attempt, path, source }
}

fn load_error(error: &(dyn std::error::Error + 'static)) -> AttachError {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |release| release.trim().to_owned());
    // The verifier's log is long and its cause stands at the end.
    const TAIL_LEN: usize = 2000;
    let text = chain(error);
    let start = text.ceil_char_boundary(text.len().saturating_sub(TAIL_LEN));
    AttachError::Load { kernel, detail: text[start..].to_owned() }
}

/// An error with its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn attach_detail(error: &aya::programs::ProgramError, mode: AttachMode) -> String {
    let text = chain(error);
    let code = match error {
        aya::programs::ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    };
    match (code, mode) {
        (Some(libc::EBUSY), _) => {
            format!("{text}; another XDP program is attached there: remove it first")
        }
        (Some(libc::EOPNOTSUPP), AttachMode::Native) => format!(
            "{text}; its driver has no native XDP, or not with this MTU and offloads (switch off \
             LRO and GRO-HW, lower the MTU); or set mode = \"generic\""
        ),
        (Some(libc::EPERM), _) => format!("{text}; CAP_NET_ADMIN and CAP_BPF are needed"),
        _ => text,
    }
}
