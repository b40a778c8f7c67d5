//! The kernel's tables, and the only place that reads and writes them.
//!
//! Names have at most 15 characters, or the kernel cuts them. Sizes here are defaults; the daemon
//! sets those of its configuration at load. Arrays that the daemon changes while packets flow can
//! be mapped into its memory, so that a change is one aligned 8-byte store.

use core::marker::PhantomData;
use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use redirector_common::decide::Tables;
use redirector_common::family::{Endpoint4, FlowKey4, V4};
use redirector_common::flow::{Entry, Flow};
use redirector_common::headers::Mac;
use redirector_common::verdict::{Action, REASONS_LEN, Reason, Verdict};
use redirector_common::wire::{
    Association, CONTROL_BANK, CONTROL_LEN, Count, DeviceCount, DeviceLine, Hop, INTERFACES_LEN,
    ORIGINS_PER_DEVICE, Origin, SERVER_NEXT_HOP_WORD, SERVER_STATE_WORD, ServerLine, ServerWord,
};

use crate::clock;

/// Words of the table set itself. Writer: daemon. Reader: program. 64 bytes, a page when mapped.
#[map]
static CONTROL: Array<u64> = Array::with_max_entries(CONTROL_LEN, BPF_F_MMAPABLE);

/// Own Ethernet address by interface index, as a [`Hop`]; zero where the program is not attached.
/// Writer: daemon, at attach. Reader: program. 512 KiB.
#[map]
static INTERFACES: Array<u64> = Array::with_max_entries(INTERFACES_LEN, BPF_F_MMAPABLE);

/// Service address -> device. Writer: daemon. Reader: program. Full: the daemon refuses the device.
#[map]
static SERVICES: HashMap<Endpoint4, u32> = HashMap::with_max_entries(4096, 0);

/// Server's endpoint -> device and server. Writer: daemon. Reader: program. Room for 64 servers a
/// device, which is the most that the daemon accepts; memory is taken as entries come, about 80
/// bytes each.
#[map]
static ORIGINS: HashMap<Endpoint4, Origin> =
    HashMap::with_max_entries(ORIGINS_PER_DEVICE * 4096, BPF_F_NO_PREALLOC);

/// Two banks of association words, interleaved: device d's word of bank b is at 2d + b. Writer:
/// daemon, by single stores. Reader: program. 16 bytes a device.
#[map]
static ASSOCIATIONS: Array<u64> = Array::with_max_entries(2 * 4096, BPF_F_MMAPABLE);

/// A line per server. Writer: daemon, state and next hop by single stores. Reader: program. 64
/// bytes a server.
#[map]
static SERVERS: Array<ServerLine> = Array::with_max_entries(1024, BPF_F_MMAPABLE);

/// A line per device. Writer: daemon, while nothing names the device. Reader: program. 32 bytes a
/// device.
#[map]
static DEVICES: Array<DeviceLine> = Array::with_max_entries(4096, 0);

/// Proven flows; nothing evicts them (G4). Writer: program creates, daemon reaps. Full: flows stay
/// candidates, under the reason `flows_full`. 129 bytes a flow at maximum size.
#[map]
static FLOWS: HashMap<FlowKey4, Flow> = HashMap::with_max_entries(262_144, 0);

/// Flows not yet proven: floods live and die here. Writer: program. Full: the least recently used
/// goes. 129 bytes a candidate at maximum size.
#[map]
static CANDIDATES: LruHashMap<FlowKey4, Flow> = LruHashMap::with_max_entries(65_536, 0);

/// Packets and bytes per reason and CPU. Writer: program. Reader: daemon.
#[map]
static REASON_COUNT: PerCpuArray<Count> = PerCpuArray::with_max_entries(REASONS_LEN, 0);

/// Packets, bytes and flows opened per device and CPU. Writer: program. Reader: daemon.
#[map]
static DEVICE_COUNT: PerCpuArray<DeviceCount> = PerCpuArray::with_max_entries(4096, 0);

/// Packets and bytes, both directions, per server and CPU. Writer: program. Reader: daemon.
#[map]
static SERVER_COUNT: PerCpuArray<Count> = PerCpuArray::with_max_entries(1024, 0);

/// The kernel's maps as the decision's tables.
pub struct KernelTables;

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

#[inline(always)]
fn entry<'a>(flow: *mut Flow) -> KernelEntry<'a> {
    KernelEntry { words: flow.cast(), table: PhantomData }
}

impl Tables<V4> for KernelTables {
    type Entry<'a> = KernelEntry<'a>;

    #[inline(always)]
    fn now(&self) -> u64 {
        clock::now()
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey4) -> Option<KernelEntry<'_>> {
        FLOWS.get_ptr_mut(key).map(entry)
    }

    #[inline(always)]
    fn candidate(&self, key: &FlowKey4) -> Option<KernelEntry<'_>> {
        CANDIDATES.get_ptr_mut(key).map(entry)
    }

    #[inline(always)]
    fn service(&self, destination: &Endpoint4) -> Option<u32> {
        // SAFETY: four aligned bytes, copied out at once.
        unsafe { SERVICES.get(destination) }.copied()
    }

    #[inline(always)]
    fn origin(&self, source: &Endpoint4) -> Option<Origin> {
        // SAFETY: eight aligned bytes, copied out at once.
        unsafe { ORIGINS.get(source) }.copied()
    }

    #[inline(always)]
    fn association(&self, device: u32) -> Option<Association> {
        let bank = load(CONTROL.get_ptr(CONTROL_BANK)?) as u32 & 1;
        let index = device.checked_mul(2)? | bank;
        Some(Association(load(ASSOCIATIONS.get_ptr(index)?)))
    }

    #[inline(always)]
    fn server(&self, id: u16) -> Option<ServerLine> {
        let line = SERVERS.get_ptr(u32::from(id))?;
        let words: *const u64 = line.cast();
        Some(ServerLine {
            state: ServerWord(load(words.wrapping_add(SERVER_STATE_WORD))),
            next_hop: Hop(load(words.wrapping_add(SERVER_NEXT_HOP_WORD))),
            // SAFETY: inside the line; written only while the state is absent.
            address: unsafe { (*line).address },
            pad: [0; 4],
        })
    }

    #[inline(always)]
    fn device(&self, device: u32) -> Option<&DeviceLine> {
        DEVICES.get(device)
    }

    #[inline(always)]
    fn open(&self, key: &FlowKey4, flow: &Flow) {
        // An LRU map makes room by itself; an error (no memory for the moment) leaves this packet
        // without an entry, and the next one tries again.
        let _ = CANDIDATES.insert(key, flow, 0);
    }

    #[inline(always)]
    fn prove(&self, key: &FlowKey4, flow: &Flow) -> bool {
        let proved = FLOWS.insert(key, flow, 0).is_ok();
        if proved {
            // It may have been evicted meanwhile, which is as good.
            let _ = CANDIDATES.remove(key);
        }
        proved
    }
}

/// Our own Ethernet address on an interface; None where the program is not attached.
#[inline(always)]
pub fn own_address(ifindex: u16) -> Option<Mac> {
    let hop = Hop(*INTERFACES.get(u32::from(ifindex))?);
    hop.is_known().then(|| hop.mac())
}

/// Counts a packet under its reason, its device and its server; gives back this CPU's packets of
/// the reason.
#[inline(always)]
pub fn count(verdict: &Verdict<V4>, reason: Reason, frame_len: u64) -> u64 {
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
        counts.flows_opened += u64::from(matches!(reason, Reason::Opened));
    }
    if carried && let Some(counts) = SERVER_COUNT.get_ptr_mut(u32::from(verdict.server)) {
        // SAFETY: as above.
        add(unsafe { &mut *counts }, frame_len);
    }
    match REASON_COUNT.get_ptr_mut(reason as u32) {
        // SAFETY: as above.
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
