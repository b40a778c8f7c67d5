//! Flows one by one: listed a page at a time without a hold on anything, and closed.
//!
//! Reading needs neither the daemon's state nor its time: a [`FlowView`] has handles of its own and
//! belongs to whoever reads.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;

use aya::maps::{HashMap, Map, MapData};
use redirector_common::family::{V4, V6};
use redirector_common::flow::Flow;
use redirector_common::headers::PROTOCOL_TCP;
use redirector_common::order::Be16;
use redirector_common::wire::{Association, SERVER_WORDS};

use super::convert::WireFamily;
use super::flows::{idle_ms, is_closing, may_go_on, owner};
use super::per_family::FamilyTables;
use super::raw::{Batch, BatchReader, MappedWords, Wire};
use super::{Maps, Tables, TablesError, gone, map_error, map_words};

/// Entries read by one system call.
const BATCH_LEN: u32 = 4096;
/// Entries looked at for one page; then it ends, however few were found.
const LOOKED_AT_MAX: usize = 65_536;
/// Half of all epochs away from the present one: no later association accepts it while its flow's
/// entry lasts.
const EPOCH_OF_CLOSED: u64 = 0x8000;
/// Replace only what is there (`BPF_EXIST`).
const ONLY_IF_THERE: u64 = 2;

/// A conversation's client, service address and protocol: the key of its entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowKey {
    /// Protocol number.
    pub protocol: u8,
    /// The client.
    pub client: SocketAddr,
    /// The service address that it talks to.
    pub service: SocketAddr,
}

/// A flow's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowEntry {
    /// Whose.
    pub key: FlowKey,
    /// Whether its client has proven it.
    pub proven: bool,
    /// Device id.
    pub device: u32,
    /// Server id.
    pub server: u16,
    /// The device's epoch when it was opened.
    pub epoch: u16,
    /// The server's incarnation when it was opened.
    pub incarnation: u32,
    /// Whether it may go on: its server lives that life, and its epoch is accepted.
    pub may_go_on: bool,
    /// Whether one end has closed it.
    pub closing: bool,
    /// The last packet of it, in units of the table's clock.
    pub seen: u64,
}

impl FlowEntry {
    /// How long ago its last packet came, in ms; exact to a second.
    #[must_use]
    pub fn idle_ms(&self, now_ns: u64) -> u64 {
        idle_ms(now_ns, self.seen)
    }
}

/// Which flows; None for any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlowFilter {
    /// Device id.
    pub device: Option<u32>,
    /// Server id.
    pub server: Option<u16>,
    /// The client's address.
    pub client: Option<IpAddr>,
}

impl FlowFilter {
    fn takes(&self, flow: &FlowEntry) -> bool {
        self.device.is_none_or(|device| device == flow.device)
            && self.server.is_none_or(|server| server == flow.server)
            && self.client.is_none_or(|client| client == flow.key.client.ip())
    }
}

/// Where a listing goes on: a table, and a place in it that stays good however the table changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FlowPlace {
    /// Tables before this one are done; see [`FlowView::page`].
    pub table: u8,
    /// The kernel's position; None for the beginning.
    pub position: Option<u32>,
}

/// Some flows, and where to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlowPage {
    /// The flows.
    pub flows: Vec<FlowEntry>,
    /// Where to go on; None at the end.
    pub next: Option<FlowPlace>,
}

/// The tables of flows, for reading alone.
pub struct FlowView {
    flows: [MapData; 2],
    candidates: [MapData; 2],
    pub(super) control: MappedWords,
    pub(super) associations: MappedWords,
    pub(super) servers: MappedWords,
}

impl FlowView {
    /// Handles of its own of the same maps.
    ///
    /// # Errors
    ///
    /// When the process has too many files open.
    pub(in crate::platform) fn new(maps: &Maps) -> Result<Self, TablesError> {
        Ok(Self {
            flows: [again(&maps.v4.flows)?, again(&maps.v6.flows)?],
            candidates: [again(&maps.v4.candidates)?, again(&maps.v6.candidates)?],
            control: map_words("CONTROL", &maps.control, 8)?,
            associations: map_words("ASSOCIATIONS", &maps.associations, 8)?,
            servers: map_words("SERVERS", &maps.servers, SERVER_WORDS * 8)?,
        })
    }

    /// About `limit` flows from `place` on: a few more where the kernel keeps them together, and
    /// fewer, even none, where a filter takes few.
    ///
    /// A flow that is open all the time while pages are read is met; one that comes or goes
    /// meanwhile may be, and one that is proven meanwhile may be met twice.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn page(
        &self,
        filter: &FlowFilter,
        place: FlowPlace,
        limit: usize,
    ) -> Result<FlowPage, TablesError> {
        let mut page = Paging { filter, limit, looked_at: 0, flows: Vec::new() };
        // Candidates before flows: one that is proven meanwhile is met in the other table too.
        for table in place.table..4 {
            let from = if table == place.table { place.position } else { None };
            let (proven, v6) = (table % 2 == 1, usize::from(table >= 2));
            let map = if proven { &self.flows[v6] } else { &self.candidates[v6] };
            let position = match v6 {
                0 => self.part::<V4>(map, (proven, from), &mut page)?,
                _ => self.part::<V6>(map, (proven, from), &mut page)?,
            };
            if position.is_some() {
                let next = Some(FlowPlace { table, position });
                return Ok(FlowPage { flows: page.flows, next });
            }
        }
        Ok(FlowPage { flows: page.flows, next: None })
    }

    /// Reads on in one table; gives where to go on in it, None when it is done.
    fn part<F: WireFamily>(
        &self,
        map: &MapData,
        (proven, from): (bool, Option<u32>),
        page: &mut Paging<'_>,
    ) -> Result<Option<u32>, TablesError> {
        let failed = |source| {
            let attempt = "read a batch of the flow table".to_owned();
            TablesError::Io { attempt, source }
        };
        let mut reader = BatchReader::<F::Tuple, Flow>::from_position(from);
        let mut room = BATCH_LEN;
        while !reader.is_done() {
            let before = reader.position();
            if page.is_full() {
                return Ok(before);
            }
            let entries = match reader.batch(map, room).map_err(failed)? {
                Batch::Entries(entries) => entries,
                // The next flows lie together and do not fit: on the next page, or all on this one.
                Batch::NoRoom if !page.flows.is_empty() => return Ok(before),
                Batch::NoRoom => {
                    room *= 2;
                    continue;
                }
            };
            let flows = entries.iter().map(|(key, flow)| self.entry::<F>(key, flow, proven));
            let taken: Vec<_> = flows.filter(|flow| page.filter.takes(flow)).collect();
            if taken.len() > page.left() && room > page.left_room() {
                // Again with less room, so that the page ends where the kernel can go on.
                room = (room / 2).max(page.left_room());
                reader = BatchReader::from_position(before);
                continue;
            }
            page.looked_at += entries.len();
            page.flows.extend(taken);
        }
        Ok(None)
    }

    /// An entry in plain words, judged by the live ones.
    pub(in crate::platform) fn entry<F: WireFamily>(
        &self,
        key: &F::Tuple,
        flow: &Flow,
        proven: bool,
    ) -> FlowEntry {
        let (client, service, protocol) = F::flow_parts(key);
        let (device, epoch, server) = owner(flow);
        FlowEntry {
            key: FlowKey { protocol, client, service },
            proven,
            device,
            server,
            epoch,
            incarnation: flow.word_at(1) as u32,
            may_go_on: may_go_on((&self.control, &self.associations, &self.servers), flow),
            closing: is_closing(flow),
            seen: flow.word_at(4),
        }
    }
}

/// A page in the making.
struct Paging<'a> {
    filter: &'a FlowFilter,
    limit: usize,
    looked_at: usize,
    flows: Vec<FlowEntry>,
}

impl Paging<'_> {
    fn left(&self) -> usize {
        self.limit.saturating_sub(self.flows.len())
    }

    /// Room in which no more than what is left can come.
    fn left_room(&self) -> u32 {
        u32::try_from(self.left()).unwrap_or(BATCH_LEN).max(1)
    }

    fn is_full(&self) -> bool {
        self.left() == 0 || self.looked_at >= LOOKED_AT_MAX
    }
}

/// Another handle of a map.
pub(super) fn again(map: &MapData) -> Result<MapData, TablesError> {
    let attempt = || "open a map again".to_owned();
    let fd = map.fd().as_fd().try_clone_to_owned();
    let fd = fd.map_err(|source| TablesError::Io { attempt: attempt(), source })?;
    MapData::from_fd(fd).map_err(|source| map_error(attempt(), source))
}

impl Tables {
    /// Closes a flow: its client's next TCP segment is answered with the exact RST, as after a
    /// death; of another protocol the entry goes, so that the next packet is a new decision. A CPU
    /// that remembers the flow's path follows that to the end of the clock's unit, at most 1.1 s.
    /// None when there is no such flow.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn close_flow(&mut self, key: &FlowKey) -> Result<Option<u32>, TablesError> {
        let bank = self.bank();
        let associations = &self.associations;
        let epoch_of = |device: u32| {
            let word = device as usize * 2 + bank;
            (word < associations.words_len()).then(|| Association(associations.load(word)).epoch())
        };
        match key.client.ip() {
            IpAddr::V4(_) => self.v4.close_flow(key, epoch_of),
            IpAddr::V6(_) => self.v6.close_flow(key, epoch_of),
        }
    }
}

impl<F: WireFamily> FamilyTables<F> {
    fn close_flow(
        &mut self,
        key: &FlowKey,
        epoch_of: impl Fn(u32) -> Option<u16>,
    ) -> Result<Option<u32>, TablesError> {
        let end = |at: SocketAddr| {
            let address = F::wire_address(at.ip())?;
            Some(F::endpoint(address, Be16::new(at.port()), key.protocol))
        };
        let (Some(client), Some(service)) = (end(key.client), end(key.service)) else {
            return Ok(None);
        };
        let tuple = F::tuple(client, service);
        let closed = close_in::<F>(&mut self.flows, &tuple, key.protocol, &epoch_of)?;
        let candidate = close_in::<F>(&mut self.candidates, &tuple, key.protocol, &epoch_of)?;
        Ok(closed.or(candidate))
    }
}

/// Closes a flow in one table; gives its device.
fn close_in<F: WireFamily>(
    map: &mut Map,
    tuple: &F::Tuple,
    protocol: u8,
    epoch_of: impl Fn(u32) -> Option<u16>,
) -> Result<Option<u32>, TablesError> {
    let failed = |source| map_error("close a flow".to_owned(), source);
    let mut map: HashMap<_, Wire<F::Tuple>, Wire<Flow>> = HashMap::try_from(map).map_err(failed)?;
    let Ok(Wire(mut flow)) = map.get(&Wire(*tuple), 0) else { return Ok(None) };
    let device = owner(&flow).0;
    let done = if protocol == PROTOCOL_TCP {
        let epoch = u64::from(epoch_of(device).unwrap_or_default()) ^ EPOCH_OF_CLOSED;
        flow.set_word_at(0, flow.word_at(0) << 16 >> 16 | epoch << 48);
        map.insert(Wire(*tuple), Wire(flow), ONLY_IF_THERE)
    } else {
        map.remove(&Wire(*tuple))
    };
    gone(done).map_err(failed)?;
    Ok(Some(device))
}
