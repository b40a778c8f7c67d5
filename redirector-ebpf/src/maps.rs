//! The kernel's tables, and the only place that reads and writes them.
//!
//! Names have at most 15 characters, or the kernel cuts them. Sizes here are defaults; the daemon
//! sets those of its configuration at load. Arrays that the daemon changes while packets flow can
//! be mapped into its memory, so that a change is one aligned 8-byte store. Tables whose keys hold
//! addresses exist once for each family; `Maps` says which are whose.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use redirector_common::evidence;
use redirector_common::family::{
    ClientKey4, ClientKey6, Endpoint4, Endpoint6, Family, FragmentKey4, FragmentKey6, Tuple4,
    Tuple6, V4, V6,
};
use redirector_common::flow::Flow;
use redirector_common::front::FrontUse;
use redirector_common::order::{Be32, Be128};
use redirector_common::path::Path;
use redirector_common::request;
use redirector_common::response::ResponseTimes;
use redirector_common::tables::Route;
use redirector_common::tcp::Segment;
use redirector_common::verdict::{Account, Action, REASONS_LEN, Reason};
use redirector_common::wire::{
    CONTROL_LEN, Count, DeviceCount, DeviceLine, INTERFACES_LEN, InterfaceLine, LOCALS_LEN,
    MARKS_LEN, ORIGINS_PER_DEVICE, Origin, ServerCount, ServerLine, Tags, VlanKey,
};

use crate::latest;
use crate::route;
use crate::step::Step;
use crate::tables::KernelTables;

/// Words of the table set itself. Writer: daemon. Reader: program. 128 bytes, a page when mapped.
#[map]
pub static CONTROL: Array<u64> = Array::with_max_entries(CONTROL_LEN, BPF_F_MMAPABLE);

/// What is needed to send by an interface, by its index; zero where the program is not attached.
/// Writer: daemon, at attach. Reader: program. 4 MiB, of which only lines in use cost memory of the
/// caches.
#[map]
pub static INTERFACES: Array<InterfaceLine> =
    Array::with_max_entries(INTERFACES_LEN, BPF_F_MMAPABLE);

/// Tags of a frame -> the interface that has them. Writer: daemon, at attach. Reader: program, for
/// tagged frames. Full: the daemon refuses the interface.
#[map]
static VLANS: HashMap<VlanKey, u32> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// What may be known of an address, four bits by its hash. Writer: daemon, bits before what they
/// announce. Reader: program. 8 KiB.
#[map]
pub static MARKS: Array<u64> = Array::with_max_entries(MARKS_LEN, BPF_F_MMAPABLE);

/// Local addresses of full NAT. Writer: daemon, at start. Reader: program. 2 KiB.
#[map]
pub static LOCALS: Array<[u8; 16]> = Array::with_max_entries(LOCALS_LEN, 0);

/// Two banks of association words, interleaved: device d's word of bank b is at 2d + b. Writer:
/// daemon, by single stores. Reader: program. 16 bytes a device.
#[map]
pub static ASSOCIATIONS: Array<u64> = Array::with_max_entries(2 * 4096, BPF_F_MMAPABLE);

/// A line per server. Writer: daemon, state and next hop by single stores. Reader: program. 64
/// bytes a server.
#[map]
pub static SERVERS: Array<ServerLine> = Array::with_max_entries(1024, BPF_F_MMAPABLE);

/// A line per device. Writer: daemon, while nothing names the device. Reader: program. 64 bytes a
/// device.
#[map]
pub static DEVICES: Array<DeviceLine> = Array::with_max_entries(4096, 0);

/// Packets and bytes per reason and CPU. Writer: program. Reader: daemon.
#[map]
static REASON_COUNT: PerCpuArray<Count> = PerCpuArray::with_max_entries(REASONS_LEN, 0);

/// Packets, bytes, flows opened and requests per device and CPU. Writer: program. Reader: daemon.
#[map]
static DEVICE_COUNT: PerCpuArray<DeviceCount> = PerCpuArray::with_max_entries(4096, 0);

/// Traffic and signs of life per server and CPU. Writer: program. Reader: daemon.
#[map]
static SERVER_COUNT: PerCpuArray<ServerCount> = PerCpuArray::with_max_entries(1024, 0);

/// Of each device, the question whose answer is waited for. Program's own. 32 bytes a device.
#[map]
pub static QUESTIONS: Array<[u64; 4]> = Array::with_max_entries(4096, 0);

/// How long answers took, per device and CPU. Writer: program. Reader: daemon.
#[map]
pub static RESPONSES: PerCpuArray<ResponseTimes> = PerCpuArray::with_max_entries(4096, 0);

/// What a CPU has used of its rates: a window and a number for each. Program's own.
#[map]
pub static RATES: PerCpuArray<Rate> = PerCpuArray::with_max_entries(2, 0);

/// Lines of the front that each CPU has, less one; a power of two less one. Set at load.
#[unsafe(no_mangle)]
pub static FRONT_MASK: u32 = 0;

/// Whether the front is of use to this CPU. Program's own.
#[map]
pub static FRONT_USE: PerCpuArray<FrontUse> = PerCpuArray::with_max_entries(1, 0);

/// A rate within a window of time. Shape: 16 bytes.
#[repr(C, align(8))]
pub struct Rate {
    /// Number of the window.
    pub window: u64,
    /// How many were taken in it.
    pub used: u64,
}

/// A remembered path. Shape: one or two cache lines.
#[repr(C, align(64))]
pub struct Line<F: Family> {
    /// Whose packets.
    pub tuple: F::Tuple,
    /// What they are turned into.
    pub path: Path<F>,
}

const _: () = assert!(size_of::<Line<V4>>() == 64);
const _: () = assert!(size_of::<Line<V6>>() == 128);

/// The tables of a family.
pub trait Maps: Family {
    /// Service address -> device.
    fn services() -> &'static HashMap<Self::Endpoint, u32>;
    /// Server's endpoint -> device and server.
    fn origins() -> &'static HashMap<Self::Endpoint, Origin>;
    /// Both, as this CPU has looked them up last.
    fn latest() -> &'static PerCpuArray<latest::Line<Self>>;
    /// Proven flows.
    fn flows() -> &'static HashMap<Self::Tuple, Flow>;
    /// Flows not yet proven.
    fn candidates() -> &'static LruHashMap<Self::Tuple, Flow>;
    /// Clients whose flows stay together.
    fn clients() -> &'static HashMap<Self::ClientKey, Flow>;
    /// Local ports of proven flows.
    fn ports() -> &'static HashMap<Self::Tuple, Self::Tuple>;
    /// Local ports of flows not yet proven.
    fn new_ports() -> &'static LruHashMap<Self::Tuple, Self::Tuple>;
    /// Fragmented packets.
    fn fragments() -> &'static LruHashMap<Self::FragmentKey, Path<Self>>;
    /// Remembered paths.
    fn front() -> &'static Array<Line<Self>>;
    /// What lies between the steps of this CPU's packet.
    fn step() -> Option<&'static mut Step<Self>>;
    /// Asks the kernel's routing table.
    fn ask_route(tables: &KernelTables, source: Self::Address, destination: Self::Address)
    -> Route;
    /// An interface's own address.
    fn own(line: &InterfaceLine) -> Option<Self::Address>;
}

macro_rules! family_maps {
    ($family:ty, $endpoint:ty, $tuple:ty, $fragment:ty, $client:ty,
     $services:ident $latest:ident $origins:ident $flows:ident $candidates:ident $clients:ident
     $ports:ident $new_ports:ident $fragments:ident $front:ident $step:ident,
     $own:expr, $route:expr) => {
        /// Service address -> device. Writer: daemon. Reader: program. Full: the daemon refuses the
        /// device. Memory is taken as entries come, about 80 bytes each.
        #[map]
        static $services: HashMap<$endpoint, u32> =
            HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

        /// Server's endpoint -> device and server. Writer: daemon. Reader: program. Room for 64
        /// servers a device, which is the most that the daemon accepts; memory is taken as entries
        /// come, about 80 bytes each.
        #[map]
        static $origins: HashMap<$endpoint, Origin> =
            HashMap::with_max_entries(ORIGINS_PER_DEVICE * 4096, BPF_F_NO_PREALLOC);

        /// Service addresses and servers' endpoints as each CPU has looked them up last. Program's
        /// own. Full: the newer one takes the line.
        #[map]
        static $latest: PerCpuArray<latest::Line<$family>> =
            PerCpuArray::with_max_entries(latest::LINES_LEN, 0);

        /// Proven flows; nothing evicts them (G4). Writer: program creates, daemon reaps. Full:
        /// flows stay candidates, under the reason `flows_full`.
        #[map]
        static $flows: HashMap<$tuple, Flow> =
            HashMap::with_max_entries(262_144, BPF_F_NO_PREALLOC);

        /// Flows not yet proven: floods live and die here. Writer: program. Full: the least
        /// recently used goes.
        #[map]
        static $candidates: LruHashMap<$tuple, Flow> = LruHashMap::with_max_entries(65_536, 0);

        /// Where the flows of clients are that stay together. Writer: program creates for proven
        /// flows, daemon reaps. Full: a client's flows may part.
        #[map]
        static $clients: HashMap<$client, Flow> =
            HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

        /// A server's packet to a local port -> the client's flow, for proven flows. Writer:
        /// program creates, daemon reaps. Full: flows stay candidates.
        #[map]
        static $ports: HashMap<$tuple, $tuple> =
            HashMap::with_max_entries(262_144, BPF_F_NO_PREALLOC);

        /// The same for candidates. Writer: program creates, daemon gives back what came to
        /// nothing. Full: the least recently used goes.
        #[map]
        static $new_ports: LruHashMap<$tuple, $tuple> = LruHashMap::with_max_entries(65_536, 0);

        /// What became of the first fragments of packets. Writer: program. Full: the least recently
        /// used goes, and its later fragments pass to the kernel.
        #[map]
        static $fragments: LruHashMap<$fragment, Path<$family>> =
            LruHashMap::with_max_entries(4096, 0);

        /// Remembered paths, a part for each CPU: a cache, so that no packet of a busy flow needs
        /// more than one line. Writer and reader: program. Full: the newer path takes the line.
        #[map]
        static $front: Array<Line<$family>> = Array::with_max_entries(1, BPF_F_MMAPABLE);

        /// What lies between the steps of a packet. Program's own.
        #[map]
        static $step: PerCpuArray<Step<$family>> = PerCpuArray::with_max_entries(1, 0);

        impl Maps for $family {
            #[inline(always)]
            fn services() -> &'static HashMap<$endpoint, u32> {
                &$services
            }

            #[inline(always)]
            fn origins() -> &'static HashMap<$endpoint, Origin> {
                &$origins
            }

            #[inline(always)]
            fn latest() -> &'static PerCpuArray<latest::Line<$family>> {
                &$latest
            }

            #[inline(always)]
            fn flows() -> &'static HashMap<$tuple, Flow> {
                &$flows
            }

            #[inline(always)]
            fn candidates() -> &'static LruHashMap<$tuple, Flow> {
                &$candidates
            }

            #[inline(always)]
            fn clients() -> &'static HashMap<$client, Flow> {
                &$clients
            }

            #[inline(always)]
            fn ports() -> &'static HashMap<$tuple, $tuple> {
                &$ports
            }

            #[inline(always)]
            fn new_ports() -> &'static LruHashMap<$tuple, $tuple> {
                &$new_ports
            }

            #[inline(always)]
            fn fragments() -> &'static LruHashMap<$fragment, Path<$family>> {
                &$fragments
            }

            #[inline(always)]
            fn front() -> &'static Array<Line<$family>> {
                &$front
            }

            #[inline(always)]
            fn step() -> Option<&'static mut Step<$family>> {
                // SAFETY: this CPU's own value, and no other program runs on it meanwhile.
                $step.get_ptr_mut(0).map(|step| unsafe { &mut *step })
            }

            #[inline(always)]
            fn ask_route(
                tables: &KernelTables,
                source: Self::Address,
                destination: Self::Address,
            ) -> Route {
                $route(tables, source, destination)
            }

            #[inline(always)]
            fn own(line: &InterfaceLine) -> Option<Self::Address> {
                let address = $own(line);
                (address != Self::Address::default()).then_some(address)
            }
        }
    };
}

family_maps! {
    V4, Endpoint4, Tuple4, FragmentKey4, ClientKey4,
    SERVICES4 LATEST4 ORIGINS4 FLOWS4 CANDIDATES4 CLIENTS4 PORTS4 NEW_PORTS4 FRAGMENTS4
    FRONT4 STEP4,
    |line: &InterfaceLine| Be32::from_raw(u32::from_ne_bytes(line.address_v4)),
    |tables: &KernelTables, source: Be32, destination: Be32| {
        route::ask4(tables.context, source, destination)
    }
}

family_maps! {
    V6, Endpoint6, Tuple6, FragmentKey6, ClientKey6,
    SERVICES6 LATEST6 ORIGINS6 FLOWS6 CANDIDATES6 CLIENTS6 PORTS6 NEW_PORTS6 FRAGMENTS6
    FRONT6 STEP6,
    |line: &InterfaceLine| Be128::from_bytes(line.address_v6),
    |tables: &KernelTables, source: Be128, destination: Be128| {
        route::ask6(tables.context, source, destination)
    }
}

/// The interface that a frame came in by: its own, or that of its VLAN.
#[inline(always)]
pub fn arrival(ifindex: u32, tags: Tags) -> Option<u16> {
    if tags == Tags::NONE {
        return Some(ifindex as u16);
    }
    // SAFETY: four aligned bytes, copied out at once.
    unsafe { VLANS.get(VlanKey { ifindex, tags: tags.0 }) }.map(|index| *index as u16)
}

/// Counts a packet under its reason, its device and its server; gives back this CPU's packets of
/// the reason.
#[inline(always)]
pub fn count(account: &Account, segment: &Segment, lasting: bool, frame_len: u64) -> u64 {
    let reason = account.reason;
    // Only what is really carried or answered is a device's and a server's traffic: a health
    // check's answer, which passes, is neither.
    let carried = !matches!(account.action, Action::Pass | Action::Drop);
    if carried && let Some(counts) = DEVICE_COUNT.get_ptr_mut(account.device) {
        // SAFETY: this CPU's own value, and no other program runs on it meanwhile.
        let counts = unsafe { &mut *counts };
        match account.action {
            Action::ToClient => add(&mut counts.to_client, frame_len),
            _ => add(&mut counts.to_server, frame_len),
        };
        if request::ends(account, segment) {
            counts.requests += 1;
        }
        counts.flows_opened += u64::from(matches!(reason, Reason::Opened | Reason::Affine));
    }
    if carried && let Some(counts) = SERVER_COUNT.get_ptr_mut(u32::from(account.server)) {
        // SAFETY: as above.
        let counts = unsafe { &mut *counts };
        add(&mut counts.carried, frame_len);
        evidence::note(counts, account, segment, lasting);
    }
    count_reason(reason as u32, frame_len)
}

/// Counts a packet under the reason with this number; gives back this CPU's packets of it.
#[inline(always)]
pub fn count_reason(reason: u32, frame_len: u64) -> u64 {
    match REASON_COUNT.get_ptr_mut(reason) {
        // SAFETY: this CPU's own value, and no other program runs on it meanwhile.
        Some(counts) => add(unsafe { &mut *counts }, frame_len),
        None => 0,
    }
}

#[inline(always)]
fn add(count: &mut Count, frame_len: u64) -> u64 {
    count.packets += 1;
    count.bytes += frame_len;
    count.packets
}
