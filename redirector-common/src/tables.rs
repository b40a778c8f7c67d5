//! What the packet path reads and writes: maps in the kernel, ordinary collections in tests.

use core::ops::Deref;

use crate::family::Family;
use crate::flow::{Entry, Flow};
use crate::order::{Be16, Be32, Be128};
use crate::path::Path;
use crate::verdict::Verdict;
use crate::wire::{Association, DeviceLine, Hop, LocalPorts, Origin, ServerLine, ServerWord, Tags};

/// Where the kernel's routing table sends a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// To the gateway itself.
    Local,
    /// To a neighbour; [`Hop::UNKNOWN`] while that is not resolved or the route is none of ours.
    Via(Hop),
}

/// A server as a packet sees it.
#[derive(Debug, Clone, Copy)]
pub struct Server<'a> {
    /// What the packet path may do with it.
    pub state: ServerWord,
    /// Where frames for it go.
    pub next_hop: Hop,
    /// Its line; the address in it changes only while the server is absent.
    pub line: &'a ServerLine,
}

/// What is needed to send by an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// Our own Ethernet address, and the interface that frames leave by.
    pub own: Hop,
    /// Tags of its frames.
    pub tags: Tags,
    /// Longest packet that it takes, in bytes; zero for not known.
    pub mtu: u32,
}

/// The tables, for packets of family `F`.
pub trait Tables<F: Family> {
    /// A flow's entry, for as long as the packet lasts.
    type Entry<'a>: Entry
    where
        Self: 'a;
    /// A path, likewise.
    type PathRef<'a>: Deref<Target = Path<F>>
    where
        Self: 'a;

    /// A monotonic clock, in units of about a second (see [`crate::flow::CLOCK_SHIFT`]).
    fn now(&self) -> u64;
    /// What may be known of an address: `MARK_` bits.
    fn marks(&self, address: F::Address) -> u32;
    /// The entry of a proven flow.
    fn flow(&self, key: &F::Tuple) -> Option<Self::Entry<'_>>;
    /// The entry of a flow that is not proven yet.
    fn candidate(&self, key: &F::Tuple) -> Option<Self::Entry<'_>>;
    /// The device that a service address names.
    fn service(&self, destination: &F::Endpoint) -> Option<u32>;
    /// What a server's endpoint means on the way back.
    fn origin(&self, source: &F::Endpoint) -> Option<Origin>;
    /// The device's association, from the bank in force: one word, loaded whole.
    fn association(&self, device: u32) -> Option<Association>;
    /// A server, its words loaded once.
    fn server(&self, id: u16) -> Option<Server<'_>>;
    /// A device's line.
    fn device(&self, device: u32) -> Option<&DeviceLine>;
    /// Enters a candidate; may evict another one.
    fn open(&self, key: &F::Tuple, flow: &Flow);
    /// Makes a candidate a proven flow. False if the table is full: the candidate then stays what
    /// it is.
    fn prove(&self, key: &F::Tuple, flow: &Flow) -> bool;
    /// Whether an entry may be made for a flow never seen before; takes one from the rate.
    fn may_open(&self) -> bool;
    /// Whether the rate of such entries has any left; takes none.
    fn opens_left(&self) -> bool;
    /// Whether a packet may be answered by the redirector itself; takes one from the rate.
    fn may_answer(&self) -> bool;

    /// Where a client's flows to a device are.
    fn client(&self, key: &F::ClientKey) -> Option<Self::Entry<'_>>;
    /// Notes where a client's flows to a device are.
    fn hold_client(&self, key: &F::ClientKey, flow: &Flow);

    /// Which client's flow a local address and port belong to; the key is a packet of the server.
    fn port_holder(&self, key: &F::Tuple) -> Option<F::Tuple>;
    /// Takes a local address and port for a client's flow. False if another flow has it.
    fn take_port(&self, key: &F::Tuple, holder: &F::Tuple) -> bool;
    /// Keeps a local address and port for as long as its flow is a proven one.
    fn keep_port(&self, key: &F::Tuple, holder: &F::Tuple) -> bool;
    /// Local ports, and how many local addresses there are.
    fn local_ports(&self) -> LocalPorts;
    /// A local address.
    fn local(&self, index: u16) -> Option<F::Address>;

    /// What became of the first fragment of a packet.
    fn fragment(&self, key: &F::FragmentKey) -> Option<Self::PathRef<'_>>;
    /// Notes what becomes of a packet's first fragment, for the others.
    fn note_fragment(&self, key: &F::FragmentKey, verdict: &Verdict<F>);

    /// The path that packets like this took before, if it is remembered.
    fn remembered(&self, packet: &F::Tuple) -> Option<Self::PathRef<'_>>;
    /// Remembers the path of a packet that is treated as `verdict` says. That of another flow is
    /// forgotten for it only when it is too old to be followed: where many more flows than there
    /// is room for come in turn, remembering them all would cost more than it spares.
    fn remember(&self, packet: &F::Tuple, verdict: &Verdict<F>, hop: Hop);
    /// The same with a path that is known already.
    fn remember_path(&self, packet: &F::Tuple, path: &Path<F>);
    /// Forgets the path of packets like this, as far as this CPU has it.
    fn forget(&self, packet: &F::Tuple);

    /// Where the kernel's routing table sends a packet from `source` to `destination`.
    fn route(&self, source: F::Address, destination: F::Address) -> Route;
    /// What is needed to send by an interface; None where the program is not attached.
    fn interface(&self, index: u16) -> Option<Interface>;
    /// The gateway's own address on an interface.
    fn own_address(&self, index: u16) -> Option<F::Address>;
    /// Source address of IPv4 tunnels.
    fn tunnel_source_v4(&self) -> Be32;
    /// Source address of IPv6 tunnels.
    fn tunnel_source_v6(&self) -> Be128;
    /// UDP port of GUE tunnels.
    fn gue_port(&self) -> Be16;
}
