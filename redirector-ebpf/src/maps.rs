//! The kernel's tables, and the only place that reads and writes them.
//!
//! Names have at most 15 characters, or the kernel cuts them. Sizes here are defaults; the daemon
//! sets those of its configuration at load. Arrays that the daemon changes while packets flow can
//! be mapped into its memory, so that a change is one aligned 8-byte store. Tables whose keys hold
//! addresses exist once for each family; `Maps` says which are whose.

use core::marker::PhantomData;
use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_NOEXIST, xdp_md};
use aya_ebpf::helpers::bpf_get_smp_processor_id;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use redirector_common::family::{
    ClientKey4, ClientKey6, Endpoint4, Endpoint6, Family, FragmentKey4, FragmentKey6, Tuple4,
    Tuple6, V4, V6,
};
use redirector_common::flow::{Entry, Flow};
use redirector_common::frame::Frame;
use redirector_common::headers::{Ethernet, Mac};
use redirector_common::order::{Be16, Be32, Be128, Words as _};
use redirector_common::path::Path;
use redirector_common::tables::{Interface, Route, Server, Tables};
use redirector_common::verdict::{Action, REASONS_LEN, Reason, Verdict};
use redirector_common::wire::{
    Association, CONTROL_ANSWER_MAX, CONTROL_BANK, CONTROL_GUE_PORT, CONTROL_LEN,
    CONTROL_LOCAL_PORTS, CONTROL_OPEN_MAX, CONTROL_TUNNEL_V4, CONTROL_TUNNEL_V6, Count,
    DeviceCount, DeviceLine, Hop, INTERFACES_LEN, InterfaceLine, LOCALS_LEN, LocalPorts, MARKS_LEN,
    ORIGINS_PER_DEVICE, Origin, ServerLine, ServerWord, Tags, VlanKey, mark_place,
};

use crate::clock;
use crate::route;
use crate::step::Step;

/// Words of the table set itself. Writer: daemon. Reader: program. 128 bytes, a page when mapped.
#[map]
static CONTROL: Array<u64> = Array::with_max_entries(CONTROL_LEN, BPF_F_MMAPABLE);

/// What is needed to send by an interface, by its index; zero where the program is not attached.
/// Writer: daemon, at attach. Reader: program. 4 MiB, of which only lines in use cost memory of the
/// caches.
#[map]
static INTERFACES: Array<InterfaceLine> = Array::with_max_entries(INTERFACES_LEN, BPF_F_MMAPABLE);

/// Tags of a frame -> the interface that has them. Writer: daemon, at attach. Reader: program, for
/// tagged frames. Full: the daemon refuses the interface.
#[map]
static VLANS: HashMap<VlanKey, u32> = HashMap::with_max_entries(4096, BPF_F_NO_PREALLOC);

/// What may be known of an address, four bits by its hash. Writer: daemon, bits before what they
/// announce. Reader: program. 8 KiB.
#[map]
static MARKS: Array<u64> = Array::with_max_entries(MARKS_LEN, BPF_F_MMAPABLE);

/// Local addresses of full NAT. Writer: daemon, at start. Reader: program. 2 KiB.
#[map]
static LOCALS: Array<[u8; 16]> = Array::with_max_entries(LOCALS_LEN, 0);

/// Two banks of association words, interleaved: device d's word of bank b is at 2d + b. Writer:
/// daemon, by single stores. Reader: program. 16 bytes a device.
#[map]
static ASSOCIATIONS: Array<u64> = Array::with_max_entries(2 * 4096, BPF_F_MMAPABLE);

/// A line per server. Writer: daemon, state and next hop by single stores. Reader: program. 64
/// bytes a server.
#[map]
static SERVERS: Array<ServerLine> = Array::with_max_entries(1024, BPF_F_MMAPABLE);

/// A line per device. Writer: daemon, while nothing names the device. Reader: program. 64 bytes a
/// device.
#[map]
static DEVICES: Array<DeviceLine> = Array::with_max_entries(4096, 0);

/// Packets and bytes per reason and CPU. Writer: program. Reader: daemon.
#[map]
static REASON_COUNT: PerCpuArray<Count> = PerCpuArray::with_max_entries(REASONS_LEN, 0);

/// Packets, bytes and flows opened per device and CPU. Writer: program. Reader: daemon.
#[map]
static DEVICE_COUNT: PerCpuArray<DeviceCount> = PerCpuArray::with_max_entries(4096, 0);

/// Packets and bytes, both directions, per server and CPU. Writer: program. Reader: daemon.
#[map]
static SERVER_COUNT: PerCpuArray<Count> = PerCpuArray::with_max_entries(1024, 0);

/// What a CPU has used of its rates: a window and a number for each. Program's own.
#[map]
static RATES: PerCpuArray<Rate> = PerCpuArray::with_max_entries(2, 0);

/// Lines of the front that each CPU has, less one; a power of two less one. Set at load.
#[unsafe(no_mangle)]
static FRONT_MASK: u32 = 0;

/// A rate within a window of time. Shape: 16 bytes.
#[repr(C, align(8))]
pub struct Rate {
    window: u64,
    used: u64,
}

/// A remembered path. Shape: one or two cache lines.
#[repr(C, align(64))]
pub struct Line<F: Family> {
    tuple: F::Tuple,
    path: Path<F>,
}

const _: () = assert!(size_of::<Line<V4>>() == 64);
const _: () = assert!(size_of::<Line<V6>>() == 128);

/// The tables of a family.
pub trait Maps: Family {
    /// Service address -> device.
    fn services() -> &'static HashMap<Self::Endpoint, u32>;
    /// Server's endpoint -> device and server.
    fn origins() -> &'static HashMap<Self::Endpoint, Origin>;
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
     $services:ident $origins:ident $flows:ident $candidates:ident $clients:ident $ports:ident
     $new_ports:ident $fragments:ident $front:ident $step:ident, $own:expr, $route:expr) => {
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

        /// The same for candidates. Writer: program. Full: the least recently used goes.
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
    SERVICES4 ORIGINS4 FLOWS4 CANDIDATES4 CLIENTS4 PORTS4 NEW_PORTS4 FRAGMENTS4 FRONT4 STEP4,
    |line: &InterfaceLine| Be32::from_raw(u32::from_ne_bytes(line.address_v4)),
    |tables: &KernelTables, source: Be32, destination: Be32| {
        route::ask4(tables.context, source, destination)
    }
}

family_maps! {
    V6, Endpoint6, Tuple6, FragmentKey6, ClientKey6,
    SERVICES6 ORIGINS6 FLOWS6 CANDIDATES6 CLIENTS6 PORTS6 NEW_PORTS6 FRAGMENTS6 FRONT6 STEP6,
    |line: &InterfaceLine| Be128::from_bytes(line.address_v6),
    |tables: &KernelTables, source: Be128, destination: Be128| {
        route::ask6(tables.context, source, destination)
    }
}

/// The kernel's maps as the decision's tables.
pub struct KernelTables {
    context: *mut xdp_md,
}

impl KernelTables {
    /// For the packet of a context.
    #[inline(always)]
    pub fn new(context: *mut xdp_md) -> Self {
        Self { context }
    }

    /// Index of the interface that the packet came in by.
    #[inline(always)]
    pub fn ingress(&self) -> u32 {
        // SAFETY: the context is the one that the kernel called us with.
        unsafe { (*self.context).ingress_ifindex }
    }
}

/// A flow's entry in the kernel's memory.
pub struct KernelEntry<'a> {
    words: *mut u64,
    table: PhantomData<&'a KernelTables>,
}

impl Entry for KernelEntry<'_> {
    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        load(self.words.wrapping_add(index))
    }

    #[inline(always)]
    fn set_word(&self, index: usize, value: u64) {
        let word = self.words.wrapping_add(index);
        // SAFETY: an aligned word of a value that the map gave us; the verifier bounds the index.
        // If the entry was reused meanwhile, what it holds is wrong but never torn, and the next
        // packet of its flow mends it.
        unsafe { write_volatile(word, value) }
    }
}

/// Loads an aligned word of a map's value, once and whole.
#[inline(always)]
fn load(word: *const u64) -> u64 {
    // SAFETY: every caller passes an aligned word inside a value that a map lookup gave; the
    // verifier checks both.
    unsafe { read_volatile(word) }
}

/// A word of the control table.
#[inline(always)]
fn control(word: u32) -> u64 {
    CONTROL.get_ptr(word).map_or(0, load)
}

#[inline(always)]
fn entry<'a>(flow: *mut Flow) -> KernelEntry<'a> {
    KernelEntry { words: flow.cast(), table: PhantomData }
}

/// Takes one of a rate; false when the window's are used up. A rate of zero has no limit.
#[inline(always)]
fn take(rate: u32, max: u64) -> bool {
    if max == 0 {
        return true;
    }
    let Some(rate) = RATES.get_ptr_mut(rate) else { return true };
    // SAFETY: this CPU's own value, and no other program runs on it meanwhile.
    let rate = unsafe { &mut *rate };
    let window = clock::window();
    if rate.window != window {
        rate.window = window;
        rate.used = 0;
    }
    rate.used += 1;
    rate.used <= max
}

const RATE_OPEN: u32 = 0;
const RATE_ANSWER: u32 = 1;

/// The line of the front in which a tuple is remembered, on this CPU.
#[inline(always)]
fn line<F: Maps>(tuple: &F::Tuple) -> Option<*mut Line<F>> {
    // SAFETY: read once; set at load, and constant to the verifier.
    let mask = unsafe { read_volatile(&FRONT_MASK) };
    // SAFETY: the helper takes no argument.
    let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
    let index = cpu.wrapping_mul(mask.wrapping_add(1)).wrapping_add(F::hash(tuple) & mask);
    F::front().get_ptr_mut(index)
}

impl<F: Maps> Tables<F> for KernelTables {
    type Entry<'a> = KernelEntry<'a>;
    type PathRef<'a> = &'a Path<F>;

    #[inline(always)]
    fn now(&self) -> u64 {
        clock::now()
    }

    #[inline(always)]
    fn marks(&self, address: F::Address) -> u32 {
        let (word, shift) = mark_place(address.fold());
        match MARKS.get_ptr(word) {
            Some(word) => (load(word) >> shift) as u32 & 0xf,
            None => 0,
        }
    }

    #[inline(always)]
    fn flow(&self, key: &F::Tuple) -> Option<KernelEntry<'_>> {
        F::flows().get_ptr_mut(key).map(entry)
    }

    #[inline(always)]
    fn candidate(&self, key: &F::Tuple) -> Option<KernelEntry<'_>> {
        F::candidates().get_ptr_mut(key).map(entry)
    }

    #[inline(always)]
    fn service(&self, destination: &F::Endpoint) -> Option<u32> {
        // SAFETY: four aligned bytes, copied out at once.
        unsafe { F::services().get(destination) }.copied()
    }

    #[inline(always)]
    fn origin(&self, source: &F::Endpoint) -> Option<Origin> {
        // SAFETY: eight aligned bytes, copied out at once.
        unsafe { F::origins().get(source) }.copied()
    }

    #[inline(always)]
    fn association(&self, device: u32) -> Option<Association> {
        let bank = control(CONTROL_BANK) as u32 & 1;
        let index = device.checked_mul(2)? | bank;
        Some(Association(load(ASSOCIATIONS.get_ptr(index)?)))
    }

    #[inline(always)]
    fn server(&self, id: u16) -> Option<Server<'_>> {
        let line = SERVERS.get(u32::from(id))?;
        Some(Server {
            state: ServerWord(load(&raw const line.state.0)),
            next_hop: Hop(load(&raw const line.next_hop.0)),
            line,
        })
    }

    #[inline(always)]
    fn device(&self, device: u32) -> Option<&DeviceLine> {
        DEVICES.get(device)
    }

    #[inline(always)]
    fn open(&self, key: &F::Tuple, flow: &Flow) {
        // An LRU map makes room by itself; an error (no memory for the moment) leaves this packet
        // without an entry, and the next one tries again.
        let _ = F::candidates().insert(key, flow, 0);
    }

    #[inline(always)]
    fn prove(&self, key: &F::Tuple, flow: &Flow) -> bool {
        let proved = F::flows().insert(key, flow, 0).is_ok();
        if proved {
            // It may have been evicted meanwhile, which is as good.
            let _ = F::candidates().remove(key);
        }
        proved
    }

    #[inline(always)]
    fn may_open(&self) -> bool {
        take(RATE_OPEN, control(CONTROL_OPEN_MAX))
    }

    #[inline(always)]
    fn may_answer(&self) -> bool {
        take(RATE_ANSWER, control(CONTROL_ANSWER_MAX))
    }

    #[inline(always)]
    fn client(&self, key: &F::ClientKey) -> Option<KernelEntry<'_>> {
        F::clients().get_ptr_mut(key).map(entry)
    }

    #[inline(always)]
    fn hold_client(&self, key: &F::ClientKey, flow: &Flow) {
        // A full table lets a client's flows part, which is what they do without it.
        let _ = F::clients().insert(key, flow, 0);
    }

    #[inline(always)]
    fn port_holder(&self, key: &F::Tuple) -> Option<F::Tuple> {
        // SAFETY: a key of the program's own making, replaced whole; copied out at once.
        if let Some(holder) = unsafe { F::ports().get(key) } {
            return Some(*holder);
        }
        // SAFETY: as above.
        unsafe { F::new_ports().get(key) }.copied()
    }

    #[inline(always)]
    fn take_port(&self, key: &F::Tuple, holder: &F::Tuple) -> bool {
        F::ports().get_ptr(key).is_none()
            && F::new_ports().insert(key, holder, u64::from(BPF_NOEXIST)).is_ok()
    }

    #[inline(always)]
    fn keep_port(&self, key: &F::Tuple, holder: &F::Tuple) -> bool {
        let kept = F::ports().insert(key, holder, 0).is_ok();
        if kept {
            let _ = F::new_ports().remove(key);
        }
        kept
    }

    #[inline(always)]
    fn local_ports(&self) -> LocalPorts {
        LocalPorts(control(CONTROL_LOCAL_PORTS))
    }

    #[inline(always)]
    fn local(&self, index: u16) -> Option<F::Address> {
        LOCALS.get(u32::from(index)).map(F::address)
    }

    #[inline(always)]
    fn fragment(&self, key: &F::FragmentKey) -> Option<&Path<F>> {
        // SAFETY: a value that is replaced whole, never changed in place.
        unsafe { F::fragments().get(key) }
    }

    #[inline(always)]
    fn note_fragment(&self, key: &F::FragmentKey, verdict: &Verdict<F>) {
        let path = Path::of(verdict, verdict.egress, clock::now());
        // Without an entry the later fragments pass to the kernel, counted.
        let _ = F::fragments().insert(key, &path, 0);
    }

    #[inline(always)]
    fn remembered(&self, packet: &F::Tuple) -> Option<&Path<F>> {
        // SAFETY: this CPU's own line, and no other program runs on it meanwhile.
        let line = unsafe { &*line::<F>(packet)? };
        F::same(&line.tuple, packet).then_some(&line.path)
    }

    #[inline(always)]
    fn remember(&self, packet: &F::Tuple, verdict: &Verdict<F>, hop: Hop) {
        if let Some(line) = line::<F>(packet) {
            // SAFETY: as above.
            let line = unsafe { &mut *line };
            line.tuple = *packet;
            line.path = Path::of(verdict, hop, clock::now());
        }
    }

    #[inline(always)]
    fn forget(&self, packet: &F::Tuple) {
        if let Some(line) = line::<F>(packet) {
            // SAFETY: as above.
            unsafe { (*line).path.learnt = 0 };
        }
    }

    #[inline(always)]
    fn route(&self, source: F::Address, destination: F::Address) -> Route {
        F::ask_route(self, source, destination)
    }

    #[inline(always)]
    fn interface(&self, index: u16) -> Option<Interface> {
        let line = INTERFACES.get(u32::from(index))?;
        let own = Hop(load(&raw const line.own.0));
        own.is_known().then_some(Interface { own, tags: line.tags, mtu: line.mtu })
    }

    #[inline(always)]
    fn own_address(&self, index: u16) -> Option<F::Address> {
        F::own(INTERFACES.get(u32::from(index))?)
    }

    #[inline(always)]
    fn tunnel_source_v4(&self) -> Be32 {
        Be32::from_raw(control(CONTROL_TUNNEL_V4) as u32)
    }

    #[inline(always)]
    fn tunnel_source_v6(&self) -> Be128 {
        let words = [control(CONTROL_TUNNEL_V6), control(CONTROL_TUNNEL_V6 + 1)];
        Be128::from_bytes(zerocopy::transmute!(words))
    }

    #[inline(always)]
    fn gue_port(&self) -> Be16 {
        Be16::from_raw(control(CONTROL_GUE_PORT) as u16)
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

/// Who sent the frame.
#[inline(always)]
pub fn sender(frame: &impl Frame) -> Result<Mac, Reason> {
    let ethernet: &Ethernet = frame.header(0)?;
    Ok(ethernet.source)
}

/// Counts a packet under its reason, its device and its server; gives back this CPU's packets of
/// the reason.
#[inline(always)]
pub fn count<F: Family>(verdict: &Verdict<F>, frame_len: u64) -> u64 {
    let reason = verdict.reason;
    // Only what is really carried or answered is a device's and a server's traffic: a health
    // check's answer, which passes, is neither.
    let carried = !matches!(verdict.action, Action::Pass | Action::Drop);
    if carried && let Some(counts) = DEVICE_COUNT.get_ptr_mut(verdict.device) {
        // SAFETY: this CPU's own value, and no other program runs on it meanwhile.
        let counts = unsafe { &mut *counts };
        match verdict.action {
            Action::ToClient => add(&mut counts.to_client, frame_len),
            _ => add(&mut counts.to_server, frame_len),
        };
        counts.flows_opened += u64::from(matches!(reason, Reason::Opened | Reason::Affine));
    }
    if carried && let Some(counts) = SERVER_COUNT.get_ptr_mut(u32::from(verdict.server)) {
        // SAFETY: as above.
        add(unsafe { &mut *counts }, frame_len);
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
