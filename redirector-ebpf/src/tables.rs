//! The kernel's maps as the decision's tables.

use core::marker::PhantomData;
use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::bindings::{BPF_NOEXIST, xdp_md};
use aya_ebpf::helpers::bpf_get_smp_processor_id;
use redirector_common::flow::{Entry, Flow};
use redirector_common::front::FrontUse;
use redirector_common::order::{Be16, Be32, Be128, Words as _};
use redirector_common::path::Path;
use redirector_common::tables::{Interface, Route, Server, Tables};
use redirector_common::verdict::Verdict;
use redirector_common::wire::{
    Association, CONTROL_ANSWER_MAX, CONTROL_BANK, CONTROL_GUE_PORT, CONTROL_LOCAL_PORTS,
    CONTROL_OPEN_MAX, CONTROL_TUNNEL_V4, CONTROL_TUNNEL_V6, DeviceLine, Hop, LocalPorts, Origin,
    SERVER_NONE, ServerWord, mark_place,
};

use crate::clock;
use crate::latest::{self, Kind};
use crate::maps::{
    ASSOCIATIONS, CONTROL, DEVICES, FRONT_MASK, FRONT_USE, INTERFACES, LOCALS, Line, MARKS, Maps,
    RATES, SERVERS,
};

/// The kernel's maps as the decision's tables.
pub struct KernelTables {
    /// The packet's.
    pub context: *mut xdp_md,
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
        // If the entry was reused meanwhile, what it holds is wrong but never torn, and the next
        // packet of its flow mends it.
        store(self.words.wrapping_add(index), value);
    }
}

/// Loads an aligned word of a map's value, once and whole.
#[inline(always)]
pub fn load(word: *const u64) -> u64 {
    // SAFETY: every caller passes an aligned word inside a value that a map lookup gave; the
    // verifier checks both.
    unsafe { read_volatile(word) }
}

/// Stores one, once and whole.
#[inline(always)]
pub fn store(word: *mut u64, value: u64) {
    // SAFETY: as for `load`.
    unsafe { write_volatile(word, value) }
}

/// A word of the control table.
#[inline(always)]
pub fn control(word: u32) -> u64 {
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

/// Whether a rate has any left in this window.
#[inline(always)]
fn is_left(rate: u32, max: u64) -> bool {
    let Some(rate) = RATES.get_ptr(rate) else { return true };
    // SAFETY: this CPU's own value, and no other program runs on it meanwhile.
    let rate = unsafe { &*rate };
    max == 0 || rate.used < max || rate.window != clock::window()
}

const RATE_OPEN: u32 = 0;
const RATE_ANSWER: u32 = 1;

/// Where the front is for a tuple on this CPU: which of the CPU's lines, and where they begin.
#[inline(always)]
fn place<F: Maps>(tuple: &F::Tuple) -> (u32, u32) {
    // SAFETY: read once; set at load, and constant to the verifier.
    let mask = unsafe { read_volatile(&FRONT_MASK) };
    // SAFETY: the helper takes no argument.
    let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
    (F::hash(tuple) & mask, cpu.wrapping_mul(mask.wrapping_add(1)))
}

/// Whether the front is of use to this CPU.
#[inline(always)]
fn front_use() -> Option<&'static mut FrontUse> {
    // SAFETY: this CPU's own value, and no other program runs on it meanwhile.
    FRONT_USE.get_ptr_mut(0).map(|of| unsafe { &mut *of })
}

/// The line in which a tuple's path may be remembered now: the front is of use, and no other
/// tuple's path of this unit of the clock is in it.
#[inline(always)]
fn free_line<F: Maps>(tuple: &F::Tuple, now: u64) -> Option<&'static mut Line<F>> {
    let (line, first) = place::<F>(tuple);
    if !front_use()?.is_open(line) {
        return None;
    }
    // SAFETY: this CPU's own line, and no other program runs on it meanwhile.
    let line = unsafe { &mut *F::front().get_ptr_mut(first.wrapping_add(line))? };
    (line.path.learnt != now as u32 || F::same(&line.tuple, tuple)).then_some(line)
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
        F::flows().get_ptr_mut(F::in_words(key)).map(entry)
    }

    #[inline(always)]
    fn candidate(&self, key: &F::Tuple) -> Option<KernelEntry<'_>> {
        F::candidates().get_ptr_mut(key).map(entry)
    }

    #[inline(always)]
    fn service(&self, destination: &F::Endpoint) -> Option<u32> {
        let found = latest::find::<F>(Kind::Service, destination, || {
            // SAFETY: four aligned bytes, copied out at once.
            let device = unsafe { F::services().get(destination) }.copied()?;
            Some(Origin { device, server: SERVER_NONE, pad: 0 })
        });
        found.map(|of| of.device)
    }

    #[inline(always)]
    fn origin(&self, source: &F::Endpoint) -> Option<Origin> {
        latest::find::<F>(Kind::Origin, source, || {
            // SAFETY: eight aligned bytes, copied out at once.
            unsafe { F::origins().get(source) }.copied()
        })
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
    fn opens_left(&self) -> bool {
        is_left(RATE_OPEN, control(CONTROL_OPEN_MAX))
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
        let (line, first) = place::<F>(packet);
        let front = front_use()?;
        if !front.opens(line) {
            return None;
        }
        let at = F::front().get_ptr(first.wrapping_add(line))?;
        // SAFETY: this CPU's own line, and no other program runs on it meanwhile.
        let of = unsafe { &*at };
        let found = F::same(&of.tuple, &F::in_words(packet));
        front.note(line, found);
        found.then_some(&of.path)
    }

    #[inline(always)]
    fn remember(&self, packet: &F::Tuple, verdict: &Verdict<F>, hop: Hop) {
        let now = clock::now();
        if let Some(line) = free_line::<F>(packet, now) {
            line.tuple = *packet;
            line.path = Path::of(verdict, hop, now);
        }
    }

    #[inline(always)]
    fn remember_path(&self, packet: &F::Tuple, path: &Path<F>) {
        if let Some(line) = free_line::<F>(packet, path.learnt.into()) {
            line.tuple = *packet;
            line.path = *path;
        }
    }

    #[inline(always)]
    fn forget(&self, packet: &F::Tuple) {
        let (line, first) = place::<F>(packet);
        if let Some(line) = F::front().get_ptr_mut(first.wrapping_add(line)) {
            // SAFETY: this CPU's own line, and no other program runs on it meanwhile.
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
