//! Loading, attaching, replacing and removing the XDP program.
//!
//! Maps and links are pinned under a directory of the BPF file system, so that packets keep flowing
//! with the last table when the daemon stops, crashes or is upgraded (G6). A starting daemon reuses
//! the maps and replaces the program through the pinned link, atomically; it never detaches first.

use std::io;
use std::path::{Path, PathBuf};

use aya::maps::{Map, MapData, MapInfo};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use redirector_common::record::{CLASSES_LEN, RECORD_LEN_MAX};
use redirector_common::wire::{ABI_VERSION, IFINDEX_MAX, ORIGINS_PER_DEVICE, SERVER_ID_MAX};

use super::tables::{FamilyMaps, FlowView, Gateway, Maps, RecordView, Tables};

mod error;
mod explain;
mod explain_frame;
mod limits;
mod log_reader;
mod pins;
mod ticks;

pub use error::AttachError;
use error::{attach_detail, chain, load_error};
pub use explain::{ExplainError, Explained, Explainer, Question, XdpAction};
pub use explain_frame::Leaves;
use limits::check_sizes;
pub use limits::{RecorderLimits, TableLimits};
pub use log_reader::LogReader;
use pins::{PINNED_MAPS, Writer, check_links, detach_others, make_directories, pin_error};
pub use pins::{attached_index, detach, is_bpffs};
use ticks::Ticks;

/// The program, built by `build.rs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/redirector-xdp"));

/// The benchmark's programs; the daemon itself never loads them, and a binary that does not name
/// them does not carry them.
pub static LAB_OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/redirector-lab"));

/// Services of a device, on average, for which the tables have room.
const SERVICES_PER_DEVICE: u32 = 4;

/// Name of the program in the object, for [`load_only`].
pub const PROGRAM: &str = "redirector";

/// How the program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver, before the kernel makes a socket buffer.
    Native,
    /// After it: slow, for drivers that cannot do better. Only when asked for.
    Generic,
}

impl AttachMode {
    /// The word for it in the configuration and in texts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
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
    /// How a program is attached to it now; None when none is.
    pub in_force: Option<AttachMode>,
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
    /// What the program must know of the gateway.
    pub gateway: Gateway,
}

/// What comes with the tables of a program that is attached.
pub struct Attached {
    /// Reads what the program has to tell.
    pub log_reader: LogReader,
    /// Reads flows beside the daemon.
    pub flows: FlowView,
    /// Reads what the flight recorder keeps, beside the daemon.
    pub records: RecordView,
}

/// Loads the program, takes over pinned maps, attaches to or replaces the program on each
/// interface.
///
/// What was attached before and is not asked for any more is detached. On an error everything that
/// was in force stays in force.
///
/// # Errors
///
/// As of [`AttachError`]; each says what to do.
pub fn attach(options: &AttachOptions) -> Result<(Tables, Attached), AttachError> {
    check(options)?;
    let maps_dir = maps_dir(&options.bpffs_dir);
    let links_dir = options.bpffs_dir.join("links");
    make_directories(&options.bpffs_dir, &maps_dir, &links_dir)?;
    check_links(&links_dir, &options.interfaces)?;
    let mut ebpf = load(&options.limits, Some(&maps_dir))?;
    let program: &mut Xdp = program_of(&mut ebpf)?;
    program.load().map_err(|error| load_error(&error))?;
    let log_reader = LogReader::new(&mut ebpf);
    let maps = take_maps(&mut ebpf)?;
    let flows = FlowView::new(&maps)?;
    let records = RecordView::new(&maps)?;
    let mut tables = Tables::new(maps)?;
    check_sizes(&tables.sizes(), &options.limits)?;
    let program: &mut Xdp = program_of(&mut ebpf)?;
    for interface in &options.interfaces {
        attach_to(program, interface, &links_dir)?;
    }
    // Nothing fails from here on but the file system. Until a new interface has its word, its
    // packets pass; one that is dropped must not lose its word while an error may still keep its
    // program there.
    tables.set_gateway(&options.gateway)?;
    detach_others(&links_dir, &options.interfaces)?;
    tables.set_program(ebpf);
    Ok((tables, Attached { log_reader, flows, records }))
}

/// Attaches the program that belongs to tables in force to an interface of them that has come anew,
/// or from which it has been taken off. False when it is there already.
///
/// # Errors
///
/// As of [`attach`]; then nothing is attached there but what was.
pub fn attach_anew(
    tables: &mut Tables,
    bpffs_dir: &Path,
    interface: &Interface,
) -> Result<bool, AttachError> {
    let Interface { name, index, .. } = interface;
    if *index > IFINDEX_MAX {
        return Err(AttachError::InterfaceIndex { name: name.clone(), index: *index });
    }
    let links_dir = bpffs_dir.join("links");
    match attached_index(&links_dir.join(name)) {
        Some(attached) if attached == *index => return Ok(false),
        // An interface that was renamed: its link is still ours, and in use.
        Some(index) => return Err(AttachError::Elsewhere { interface: name.clone(), index }),
        None => {}
    }
    let no_program = || load_error(&io::Error::other("the tables have no program"));
    let program = program_of(tables.program_mut().ok_or_else(no_program)?)?;
    attach_to(program, interface, &links_dir).map(|()| true)
}

/// Loads the program and its tables without attaching or pinning anything: for running packets
/// through it.
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

/// Where the tables of this layout are pinned.
#[must_use]
pub fn maps_dir(bpffs_dir: &Path) -> PathBuf {
    bpffs_dir.join(format!("abi-{ABI_VERSION}"))
}

fn check(options: &AttachOptions) -> Result<(), AttachError> {
    let limits = &options.limits;
    let ranges = [
        ("devices_max", u64::from(limits.devices_max), 1 << 24),
        ("servers_max", u64::from(limits.servers_max), u64::from(SERVER_ID_MAX)),
        ("flows_max", u64::from(limits.flows_max), 1 << 28),
        ("candidates_max", u64::from(limits.candidates_max), 1 << 28),
        ("clients_max", u64::from(limits.clients_max), 1 << 28),
        ("fragments_max", u64::from(limits.fragments_max), 1 << 24),
        ("paths_max", u64::from(limits.paths_max), 1 << 24),
        ("snap_len", u64::from(limits.recorder.snap_len), RECORD_LEN_MAX as u64),
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

fn load(limits: &TableLimits, maps_dir: Option<&Path>) -> Result<Ebpf, AttachError> {
    let servers_len = u32::from(limits.servers_max) + 1;
    let paths_max = limits.paths_max.next_power_of_two();
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| load_error(&error))? as u32;
    let origins_max = limits.devices_max.saturating_mul(ORIGINS_PER_DEVICE);
    let sizes = [
        ("ASSOCIATIONS", limits.devices_max * 2),
        ("DEVICES", limits.devices_max),
        ("DEVICE_COUNT", limits.devices_max),
        ("QUESTIONS", limits.devices_max),
        ("RESPONSES", limits.devices_max),
        ("SERVERS", servers_len),
        ("SERVER_COUNT", servers_len),
        ("RECORDS", limits.recorder.ring_len().max(1) * CLASSES_LEN),
    ];
    let sizes_of_each_family = [
        // Every device has its ports, and its address answers echo requests.
        ("SERVICES", limits.devices_max.saturating_mul(SERVICES_PER_DEVICE)),
        ("ORIGINS", origins_max),
        ("FLOWS", limits.flows_max),
        ("CANDIDATES", limits.candidates_max),
        ("CLIENTS", limits.clients_max),
        ("PORTS", limits.flows_max),
        ("NEW_PORTS", limits.candidates_max),
        ("FRAGMENTS", limits.fragments_max),
        ("FRONT", paths_max.saturating_mul(cpus)),
    ];
    let mut names = Vec::new();
    for (name, entries) in sizes_of_each_family {
        names.extend(["4", "6"].map(|digit| (format!("{name}{digit}"), entries)));
    }
    let front_mask = paths_max - 1;
    let ticks = Ticks::learn()?;
    let mut loader = EbpfLoader::new();
    for (name, entries) in sizes {
        loader.map_max_entries(name, entries);
    }
    for (name, entries) in &names {
        loader.map_max_entries(name, *entries);
    }
    let recorder = &limits.recorder;
    let (ring, mask) = (recorder.ring_len(), recorder.mask());
    loader.override_global("FRONT_MASK", &front_mask, true);
    ticks.tell(&mut loader);
    loader.override_global("RECORD_RING", &ring, true);
    loader.override_global("RECORD_MASK", &mask, true);
    loader.override_global("RECORD_SNAP", &recorder.snap_len, true);
    let pinned = maps_dir.map(|dir| PINNED_MAPS.map(|(name, _)| (name, dir.join(name))));
    for (name, path) in pinned.into_iter().flatten() {
        // A map that is pinned keeps its size, and the handle must know it: it checks each index.
        if let Ok(made) = MapInfo::from_pin(&path) {
            loader.map_max_entries(name, made.max_entries());
        }
        loader.map_pin_path(name, path);
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
        vlans: take("VLANS")?,
        marks: take("MARKS")?,
        locals: take("LOCALS")?,
        associations: take("ASSOCIATIONS")?,
        servers: take("SERVERS")?,
        devices: take("DEVICES")?,
        reason_count: take("REASON_COUNT")?,
        device_count: take("DEVICE_COUNT")?,
        responses: take("RESPONSES")?,
        server_count: take("SERVER_COUNT")?,
        syns: take("SYNS")?,
        records: take("RECORDS")?,
        recorder: take("RECORDER")?,
        v4: take_family(&mut take, '4')?,
        v6: take_family(&mut take, '6')?,
    })
}

fn take_family(
    take: &mut impl FnMut(&str) -> Result<MapData, AttachError>,
    digit: char,
) -> Result<FamilyMaps, AttachError> {
    let mut take = |name: &str| take(&format!("{name}{digit}"));
    Ok(FamilyMaps {
        services: take("SERVICES")?,
        origins: take("ORIGINS")?,
        flows: take("FLOWS")?,
        candidates: take("CANDIDATES")?,
        clients: take("CLIENTS")?,
        ports: take("PORTS")?,
        new_ports: take("NEW_PORTS")?,
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
    let mode = match interface.mode {
        AttachMode::Native => XdpMode::Driver,
        AttachMode::Generic => XdpMode::Skb,
    };
    let failed = |detail| {
        let (interface, mode) = (interface.name.clone(), interface.mode.name());
        AttachError::Attach { interface, mode, detail }
    };
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
