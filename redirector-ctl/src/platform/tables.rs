//! The kernel's tables as the daemon sees them: ops go in, counters and flows come out.
//!
//! The daemon is the only writer of everything but flows, candidates and counters. Associations,
//! server words and the bank in force are kernel memory mapped here, so that a change is one 8-byte
//! store. Blocking, but short; a sweep of the flow table is bounded by its size.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use redirector_common::family::{V4, V6};
use redirector_common::flow::{CLOCK_SHIFT, FLOW_CLOSING, Flow};
use redirector_common::response::ResponseTimes;
use redirector_common::wire::{
    self, CONTROL_BANK, CONTROL_EDITION, DeviceLine, Hop, INTERFACE_WORDS, Origin,
    SERVER_ADDRESS_WORD, SERVER_FAMILY_WORD, SERVER_ID_MAX, SERVER_NEXT_HOP_WORD,
    SERVER_STATE_WORD, SERVER_WORDS, ServerWord, VlanKey,
};

use super::bpf::TableLimits;
use crate::core::op::{AssociationWord, DeviceSettings, NextHop, Op, ServerState};

mod clients;
mod content;
mod convert;
mod counters;
mod error;
mod flows;
mod gateway;
mod grace;
mod listing;
mod per_family;
mod raw;
mod recall;
mod records;

pub use content::Content;
pub(super) use convert::WireFamily;
use convert::wire_word;
pub use convert::{address_bytes, device_line};
pub use counters::{Count, Counters, DeviceCount, Responses};
pub use error::TablesError;
use flows::owner;
pub use flows::{FlowCensus, IdleTimes, Refused, Sweep};
pub use gateway::{Gateway, GatewayInterface};
use grace::{Grace, wait_for_packets};
pub use listing::{FlowEntry, FlowFilter, FlowKey, FlowPage, FlowPlace, FlowView};
pub(super) use per_family::FamilyMaps;
use per_family::FamilyTables;
use raw::MappedWords;
pub(super) use raw::Wire;
use recall::Recall;
pub use records::{RecordView, Recorded, RecorderCounts};

/// The maps by name, as the loader found them.
pub(super) struct Maps {
    pub control: MapData,
    pub interfaces: MapData,
    pub vlans: MapData,
    pub marks: MapData,
    pub locals: MapData,
    pub associations: MapData,
    pub servers: MapData,
    pub devices: MapData,
    pub reason_count: MapData,
    pub device_count: MapData,
    pub responses: MapData,
    pub server_count: MapData,
    pub syns: MapData,
    pub records: MapData,
    pub recorder: MapData,
    pub v4: FamilyMaps,
    pub v6: FamilyMaps,
}

/// The kernel's tables.
pub struct Tables {
    control: MappedWords,
    interfaces: MappedWords,
    marks: MappedWords,
    associations: MappedWords,
    servers: MappedWords,
    vlans: HashMap<MapData, Wire<VlanKey>, u32>,
    locals: Array<MapData, Wire<[u8; 16]>>,
    devices: Array<MapData, Wire<DeviceLine>>,
    reason_count: PerCpuArray<MapData, Wire<wire::Count>>,
    device_count: PerCpuArray<MapData, Wire<wire::DeviceCount>>,
    responses: PerCpuArray<MapData, Wire<ResponseTimes>>,
    server_count: PerCpuArray<MapData, Wire<wire::ServerCount>>,
    recall: Recall,
    records: RecordView,
    v4: FamilyTables<V4>,
    v6: FamilyTables<V6>,
    /// Interface index by position in the configuration.
    ports: Vec<u16>,
    /// What is marked of each address. The table holds it by hash, so this cannot be read back.
    marks_of: BTreeMap<IpAddr, u32>,
    /// Local addresses of the gateway, which are marked too.
    gateway_marks: BTreeSet<IpAddr>,
    /// Of the packets that may still be reading the bank which is not in force.
    grace: Grace,
}

impl Tables {
    /// Opens the maps.
    ///
    /// # Errors
    ///
    /// When a map is not of the kind that this daemon was built with.
    pub(super) fn new(maps: Maps) -> Result<Self, TablesError> {
        let records = RecordView::new(&maps)?;
        Ok(Self {
            control: map_words("CONTROL", &maps.control, 8)?,
            interfaces: map_words("INTERFACES", &maps.interfaces, INTERFACE_WORDS * 8)?,
            marks: map_words("MARKS", &maps.marks, 8)?,
            associations: map_words("ASSOCIATIONS", &maps.associations, 8)?,
            servers: map_words("SERVERS", &maps.servers, SERVER_WORDS * 8)?,
            vlans: open("VLANS", Map::HashMap(maps.vlans))?,
            locals: open("LOCALS", Map::Array(maps.locals))?,
            devices: open("DEVICES", Map::Array(maps.devices))?,
            reason_count: open("REASON_COUNT", Map::PerCpuArray(maps.reason_count))?,
            device_count: open("DEVICE_COUNT", Map::PerCpuArray(maps.device_count))?,
            responses: open("RESPONSES", Map::PerCpuArray(maps.responses))?,
            server_count: open("SERVER_COUNT", Map::PerCpuArray(maps.server_count))?,
            recall: Recall::new(maps.syns)?,
            records,
            v4: FamilyTables::new(maps.v4)?,
            v6: FamilyTables::new(maps.v6)?,
            ports: Vec::new(),
            marks_of: BTreeMap::new(),
            gateway_marks: BTreeSet::new(),
            grace: Grace::begin(),
        })
    }

    /// Carries out one op. Idempotent.
    ///
    /// # Errors
    ///
    /// When an id is outside its table or the kernel refuses; what was written before stays
    /// written, and applying the op again is safe.
    pub fn apply(&mut self, op: &Op) -> Result<(), TablesError> {
        let applied = self.write(op);
        let service = matches!(op, Op::AddService { .. } | Op::RemoveService { .. });
        if service || matches!(op, Op::AddReturn { .. } | Op::RemoveReturn { .. }) {
            self.begin_edition();
        }
        applied
    }

    /// What CPUs remember of service addresses and servers' endpoints counts no more.
    fn begin_edition(&mut self) {
        let edition = self.control.load(CONTROL_EDITION as usize);
        self.control.store(CONTROL_EDITION as usize, edition.wrapping_add(1));
    }

    fn write(&mut self, op: &Op) -> Result<(), TablesError> {
        match op {
            Op::SetServerAddress { id, address } => self.set_server_address(*id, *address),
            Op::SetServerState { id, state, incarnation } => {
                let word = match state {
                    ServerState::Absent => ServerWord::ABSENT,
                    ServerState::Alive => ServerWord::alive(*incarnation),
                    ServerState::Dead => ServerWord::dead(*incarnation),
                };
                self.store_server(*id, SERVER_STATE_WORD, word.0)
            }
            Op::SetNextHop { id, next_hop } => {
                let hop = next_hop.map_or(Hop::UNKNOWN, |hop| self.hop(hop));
                self.store_server(*id, SERVER_NEXT_HOP_WORD, hop.0)
            }
            Op::SetDevice { id, settings } => self.set_device(*id, settings),
            Op::CommitAssociations { words } => self.commit_associations(words),
            Op::SetMarks { address, marks } => {
                self.set_marks(*address, *marks);
                Ok(())
            }
            Op::AddService { service, device } => {
                self.v4.add_service(service, *device)?;
                self.v6.add_service(service, *device)
            }
            Op::RemoveService { service } => {
                self.v4.remove_service(service)?;
                self.v6.remove_service(service)
            }
            Op::AddReturn { endpoint, device, server } => {
                let origin = Origin { device: *device, server: *server, pad: 0 };
                self.v4.add_return(endpoint, origin)?;
                self.v6.add_return(endpoint, origin)
            }
            Op::RemoveReturn { endpoint } => {
                self.v4.remove_return(endpoint)?;
                self.v6.remove_return(endpoint)
            }
        }
    }

    fn set_marks(&mut self, address: IpAddr, marks: u32) {
        let was = match marks {
            0 => self.marks_of.remove(&address),
            marks => self.marks_of.insert(address, marks),
        };
        if was.unwrap_or_default() & !marks == 0 {
            self.put_marks(address);
        } else {
            self.clear_marks(address);
        }
    }

    /// Writes an address. One that differs makes the server absent first: its line is never read
    /// half-written.
    fn set_server_address(&mut self, id: u16, address: IpAddr) -> Result<(), TablesError> {
        let bytes = address_bytes(address);
        let family = if address.is_ipv6() { 6 } else { 4 };
        let base = self.server_base(id)?;
        let word = |range: std::ops::Range<usize>| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[range]);
            u64::from_ne_bytes(word)
        };
        let words = [word(0..8), word(8..16)];
        let at = base + SERVER_ADDRESS_WORD;
        let known = [self.servers.load(at), self.servers.load(at + 1)];
        if known == words && self.servers.load(base + SERVER_FAMILY_WORD) == family {
            return Ok(());
        }
        if self.servers.load(base + SERVER_STATE_WORD) != ServerWord::ABSENT.0 {
            // Packets that have read the old state must not read the new address.
            self.servers.store(base + SERVER_STATE_WORD, ServerWord::ABSENT.0);
            wait_for_packets()?;
        }
        self.clear_server_count(id)?;
        self.servers.store(at, words[0]);
        self.servers.store(at + 1, words[1]);
        self.servers.store(base + SERVER_FAMILY_WORD, family);
        Ok(())
    }

    fn set_device(&mut self, id: u32, settings: &DeviceSettings) -> Result<(), TablesError> {
        self.check_device(id)?;
        let line = device_line(settings);
        let known = self
            .devices
            .get(&id, 0)
            .map_err(|source| map_error(format!("read device {id}"), source))?;
        if known.0 == line {
            return Ok(());
        }
        if known.0 != DeviceLine::default() {
            // Packets that found the line by a service address that is gone now must not read both.
            wait_for_packets()?;
            // Nor others what those may have noted under the edition after its going.
            self.begin_edition();
        }
        self.clear_device_count(id)?;
        self.devices
            .set(id, Wire(line), 0)
            .map_err(|source| map_error(format!("write device {id}"), source))
    }

    /// One association is one store into the bank in force; several are written into the other
    /// bank, which is then put in force by one store.
    fn commit_associations(&mut self, words: &[(u32, AssociationWord)]) -> Result<(), TablesError> {
        for (device, _) in words {
            self.check_device(*device)?;
        }
        let bank = self.bank();
        if let [(device, word)] = words {
            self.associations.store(*device as usize * 2 + bank, wire_word(word).0);
            return Ok(());
        }
        // Or a packet in flight since before the last flip would see words of two commits.
        self.grace.end()?;
        for device in 0..self.associations.words_len() / 2 {
            let (from, to) = (device * 2 + bank, device * 2 + (1 - bank));
            let word = self.associations.load(from);
            if self.associations.load(to) != word {
                self.associations.store(to, word);
            }
        }
        for (device, word) in words {
            self.associations.store(*device as usize * 2 + (1 - bank), wire_word(word).0);
        }
        self.control.store(CONTROL_BANK as usize, 1 - bank as u64);
        self.grace = Grace::begin();
        Ok(())
    }

    /// Sizes of the tables as they were made, which may be longer ago than this daemon.
    pub(super) fn sizes(&self) -> TableLimits {
        TableLimits {
            devices_max: (self.associations.words_len() / 2) as u32,
            servers_max: (self.servers.words_len() / SERVER_WORDS - 1) as u16,
            flows_max: self.v4.flows_max,
            candidates_max: self.v4.candidates_max,
            clients_max: self.v4.clients_max,
            ..TableLimits::default()
        }
    }

    fn present_servers(&self) -> Vec<u16> {
        let len = (self.servers.words_len() / SERVER_WORDS).min(usize::from(SERVER_ID_MAX) + 1);
        let state = |id: &usize| self.servers.load(id * SERVER_WORDS + SERVER_STATE_WORD);
        (1..len).filter(|id| state(id) != 0).map(|id| id as u16).collect()
    }

    fn bank(&self) -> usize {
        (self.control.load(CONTROL_BANK as usize) & 1) as usize
    }

    fn hop(&self, hop: NextHop) -> Hop {
        match self.ports.get(usize::from(hop.port)) {
            Some(ifindex) => Hop::new(hop.mac, *ifindex),
            None => Hop::UNKNOWN,
        }
    }

    fn store_server(&mut self, id: u16, word: usize, value: u64) -> Result<(), TablesError> {
        let base = self.server_base(id)?;
        self.servers.store(base + word, value);
        Ok(())
    }

    fn server_base(&self, id: u16) -> Result<usize, TablesError> {
        let base = usize::from(id) * SERVER_WORDS;
        if id == 0 || id > SERVER_ID_MAX || base >= self.servers.words_len() {
            let len = self.servers.words_len() / SERVER_WORDS;
            let (what, limit) = ("server", "servers_max");
            return Err(TablesError::OutOfRange { what, id: u32::from(id), len, limit });
        }
        Ok(base)
    }

    fn check_device(&self, id: u32) -> Result<(), TablesError> {
        let len = self.associations.words_len() / 2;
        if id as usize >= len {
            let (what, limit) = ("device", "devices_max");
            return Err(TablesError::OutOfRange { what, id, len, limit });
        }
        Ok(())
    }
}

/// What is gone already is as good as removed.
fn gone(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(())
        }
        other => other,
    }
}

fn map_error(attempt: String, source: MapError) -> TablesError {
    TablesError::Map { attempt, source }
}

/// Checks what a map's entries look like; gives how many it holds.
fn shape(name: &'static str, map: &MapData, lens: (usize, usize)) -> Result<u32, TablesError> {
    let info =
        map.info().map_err(|source| map_error(format!("read the shape of map {name}"), source))?;
    let found = (info.key_size() as usize, info.value_size() as usize);
    if found != lens {
        return Err(TablesError::Shape { name, found, wanted: lens });
    }
    Ok(info.max_entries())
}

fn max_entries(name: &str, map: &MapData) -> Result<u32, TablesError> {
    map.info()
        .map(|info| info.max_entries())
        .map_err(|source| map_error(format!("read the size of map {name}"), source))
}

fn map_words(name: &str, map: &MapData, value_len: usize) -> Result<MappedWords, TablesError> {
    let entries = max_entries(name, map)?;
    MappedWords::new(map, entries, value_len)
        .map_err(|source| TablesError::Io { attempt: format!("map {name} into memory"), source })
}

fn open<T: TryFrom<Map, Error = MapError>>(name: &str, map: Map) -> Result<T, TablesError> {
    T::try_from(map).map_err(|source| map_error(format!("open map {name}"), source))
}
