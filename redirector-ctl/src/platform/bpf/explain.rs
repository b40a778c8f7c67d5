//! What the program would do with a packet, found by running it.
//!
//! A second copy of the same object is loaded. It shares the tables that the program only reads
//! (services, associations, servers, devices, interfaces) with the one that is attached. What the
//! program writes (flows, candidates, clients, ports, remembered paths, rates, counters) it has for
//! itself, empty; the described flow's own entries are copied in before each run and taken out
//! after it. So the decision is the program's own, over the live words, and nothing of it stays.
//! It does not see what a CPU remembers of paths and how much of the rates is used.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use redirector_common::family::{V4, V6};
use redirector_common::flow::Flow;
use redirector_common::order::Be16;
use redirector_common::verdict::Reason;
use redirector_common::wire::{Count, InterfaceLine};

use super::explain_frame::{Leaves, frame, leaves};
use super::ticks::Ticks;
use super::{AttachError, OBJECT, PINNED_MAPS, PROGRAM, Writer, load_error};
use crate::platform::tables::{FlowEntry, FlowKey, FlowView, Wire, WireFamily};

/// Tables of which the described flow's entries are copied.
const COPIED_MAPS: [&str; 3] = ["FLOWS", "CANDIDATES", "CLIENTS"];
/// Tables that the explainer has for itself, small; but for the last one, which no described packet
/// fills, they are emptied after each run.
const OWN_MAPS: [&str; 6] = ["FLOWS", "CANDIDATES", "CLIENTS", "PORTS", "NEW_PORTS", "FRAGMENTS"];
/// Room of the explainer's own tables; one flow at a time is in them.
const OWN_ENTRIES: u32 = 1024;

/// A packet of a client, described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Client, service address and protocol.
    pub key: FlowKey,
    /// TCP flags; of no account otherwise.
    pub flags: u8,
    /// TCP sequence number.
    pub sequence: u32,
    /// TCP acknowledgement number.
    pub acknowledgement: u32,
    /// Kernel's index of the interface by which it comes in.
    pub ingress: u32,
    /// The device that it is for, as far as that is known: its affinity is looked up then.
    pub device: Option<u32>,
}

/// The kernel's word for what becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XdpAction {
    /// Dropped.
    Drop,
    /// Given to the kernel's stack.
    Pass,
    /// Sent back by the interface that it came by.
    Back,
    /// Sent by another interface.
    Send,
}

/// What the program did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Under which reason it counted the packet.
    pub reason: Reason,
    /// What it did with the frame.
    pub action: XdpAction,
    /// The flow's entry as it lies in the live table, if there is one.
    pub found: Option<FlowEntry>,
    /// The entry that the packet would leave behind.
    pub left: Option<FlowEntry>,
    /// The frame afterwards, unless it is not sent.
    pub leaves: Option<Leaves>,
}

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The second copy of the program could not be loaded.
    #[error("cannot load the program a second time")]
    Load(#[from] AttachError),
    /// It was not loaded.
    #[error("the program is not loaded a second time")]
    NotLoaded,
    /// The program is not on the interface.
    #[error("the program is not attached to interface {0}; see `interfaces` of /v1/status")]
    NotAttached(u32),
    /// Client and service address are of two families.
    #[error("client and service address are of two families")]
    Families,
    /// A map could not be read or written.
    #[error("{attempt}")]
    Map {
        /// What was attempted.
        attempt: String,
        /// The kernel's answer.
        source: MapError,
    },
    /// The kernel refuses to run the program.
    #[error("cannot run the program on a packet: {0}")]
    Run(String),
    /// Not exactly one reason was counted.
    #[error("the packet was counted under {0} reasons instead of one; please report this")]
    Unclear(usize),
}

/// The second copy of the program.
pub struct Explainer {
    ebpf: Ebpf,
    maps_dir: PathBuf,
    cpus: u32,
}

impl Explainer {
    /// Loads it beside the program whose tables are pinned in `maps_dir`. Takes about a second, in
    /// which the kernel verifies it.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn load(maps_dir: &Path) -> Result<Self, ExplainError> {
        let failed = |error: &(dyn std::error::Error + 'static)| load_error(error);
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| failed(&error))? as u32;
        let ticks = Ticks::learn()?;
        let mut loader = EbpfLoader::new();
        let mut names = Vec::new();
        for name in OWN_MAPS {
            names.extend(["4", "6"].map(|digit| (format!("{name}{digit}"), OWN_ENTRIES)));
        }
        names.extend(["4", "6"].map(|digit| (format!("FRONT{digit}"), cpus)));
        for (name, entries) in &names {
            loader.map_max_entries(name, *entries);
        }
        let read_only = PINNED_MAPS.iter().filter(|(_, writer)| *writer == Writer::Daemon);
        for (name, _) in read_only {
            let path = maps_dir.join(name);
            let made = aya::maps::MapInfo::from_pin(&path).map_err(|error| failed(&error))?;
            loader.map_max_entries(name, made.max_entries());
            loader.map_pin_path(name, path);
        }
        loader.override_global("FRONT_MASK", &0_u32, true);
        ticks.tell(&mut loader);
        let mut ebpf = loader.load(OBJECT).map_err(|error| failed(&error))?;
        let program: &mut Xdp = super::program_of(&mut ebpf)?;
        program.load().map_err(|error| failed(&error))?;
        Ok(Self { ebpf, maps_dir: maps_dir.to_owned(), cpus })
    }

    /// Runs the program on the described packet.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, or the description makes no sense to it.
    pub fn explain(
        &mut self,
        question: &Question,
        view: &FlowView,
    ) -> Result<Explained, ExplainError> {
        match (question.key.client.ip(), question.key.service.ip()) {
            (IpAddr::V4(_), IpAddr::V4(_)) => self.run::<V4>(question, view, '4'),
            (IpAddr::V6(_), IpAddr::V6(_)) => self.run::<V6>(question, view, '6'),
            _ => Err(ExplainError::Families),
        }
    }

    fn run<F: WireFamily>(
        &mut self,
        question: &Question,
        view: &FlowView,
        digit: char,
    ) -> Result<Explained, ExplainError> {
        let line = self.interface(question.ingress)?;
        let (Some(client), Some(service)) = (
            endpoint::<F>(question.key.client, question.key.protocol),
            endpoint::<F>(question.key.service, question.key.protocol),
        ) else {
            return Err(ExplainError::Families);
        };
        let tuple = F::tuple(client, service);
        self.empty(digit)?;
        for name in COPIED_MAPS {
            let name = format!("{name}{digit}");
            if name.starts_with("CLIENTS") {
                let Some(device) = question.device else { continue };
                let key = F::client_key(F::parts(&client).0, device);
                self.copy::<F::ClientKey>(&name, &key)?;
            } else {
                self.copy::<F::Tuple>(&name, &tuple)?;
            }
        }
        let found = self.entry::<F>(view, &tuple, digit)?;
        let before = self.reasons()?;
        let ran = self.test_run(&frame(question, line.own.mac(), line.tags), line.own.ifindex());
        let after = self.reasons()?;
        let left = self.entry::<F>(view, &tuple, digit)?;
        self.empty(digit)?;
        let (action, bytes) = ran?;
        let met: Vec<Reason> = Reason::ALL
            .iter()
            .zip(before.iter().zip(&after))
            .filter_map(|(reason, (before, after))| (after > before).then_some(*reason))
            .collect();
        let [reason] = met[..] else { return Err(ExplainError::Unclear(met.len())) };
        let sent = matches!(action, XdpAction::Back | XdpAction::Send);
        let leaves = if sent { leaves(&bytes) } else { None };
        Ok(Explained { reason, action, found, left, leaves })
    }

    /// The interface's line: the address and interface by which frames for it come in, and tags.
    fn interface(&self, index: u32) -> Result<InterfaceLine, ExplainError> {
        let lines: Array<_, Wire<InterfaceLine>> = self.own("INTERFACES")?;
        let line = lines.get(&index, 0).map(|line| line.0).unwrap_or_default();
        if line.own.is_known() { Ok(line) } else { Err(ExplainError::NotAttached(index)) }
    }

    /// The entry of a flow in the explainer's own tables, as seen from the live words.
    fn entry<F: WireFamily>(
        &self,
        view: &FlowView,
        tuple: &F::Tuple,
        digit: char,
    ) -> Result<Option<FlowEntry>, ExplainError> {
        for (name, proven) in [("FLOWS", true), ("CANDIDATES", false)] {
            let map: HashMap<_, Wire<F::Tuple>, Wire<Flow>> =
                self.own(&format!("{name}{digit}"))?;
            if let Ok(Wire(flow)) = map.get(&Wire(*tuple), 0) {
                return Ok(Some(view.entry::<F>(tuple, &flow, proven)));
            }
        }
        Ok(None)
    }

    /// Copies an entry of a live table into the explainer's own.
    fn copy<K: zerocopy::FromBytes + zerocopy::IntoBytes + Copy + 'static>(
        &mut self,
        name: &str,
        key: &K,
    ) -> Result<(), ExplainError> {
        let failed = |source| map_error(format!("look up a flow in {name}"), source);
        let live = MapData::from_pin(self.maps_dir.join(name)).map_err(failed)?;
        let live =
            if name.starts_with("CANDIDATES") { Map::LruHashMap(live) } else { Map::HashMap(live) };
        let live: HashMap<MapData, Wire<K>, Wire<Flow>> = live.try_into().map_err(failed)?;
        let Ok(flow) = live.get(&Wire(*key), 0) else { return Ok(()) };
        let mut own: HashMap<_, Wire<K>, Wire<Flow>> = self.own_mut(name)?;
        own.insert(Wire(*key), flow, 0).map_err(failed)
    }

    /// Takes everything out of the explainer's own tables.
    fn empty(&mut self, digit: char) -> Result<(), ExplainError> {
        match digit {
            '4' => self.empty_of::<V4, 64>('4'),
            _ => self.empty_of::<V6, 128>('6'),
        }
    }

    fn empty_of<F: WireFamily, const LINE_LEN: usize>(
        &mut self,
        digit: char,
    ) -> Result<(), ExplainError> {
        self.clear::<F::Tuple, Flow>(&format!("FLOWS{digit}"))?;
        self.clear::<F::Tuple, Flow>(&format!("CANDIDATES{digit}"))?;
        self.clear::<F::ClientKey, Flow>(&format!("CLIENTS{digit}"))?;
        self.clear::<F::Tuple, F::Tuple>(&format!("PORTS{digit}"))?;
        self.clear::<F::Tuple, F::Tuple>(&format!("NEW_PORTS{digit}"))?;
        let name = format!("FRONT{digit}");
        let cpus = self.cpus;
        let failed = |source| map_error("forget a path".to_owned(), source);
        let mut front: Array<_, Wire<[u8; LINE_LEN]>> = self.own_mut(&name)?;
        for cpu in 0..cpus {
            front.set(cpu, Wire([0; LINE_LEN]), 0).map_err(failed)?;
        }
        Ok(())
    }

    fn clear<K, V>(&mut self, name: &str) -> Result<(), ExplainError>
    where
        K: zerocopy::FromBytes + zerocopy::IntoBytes + Copy + 'static,
        V: zerocopy::FromBytes + zerocopy::IntoBytes + Copy + 'static,
    {
        let failed = |source| map_error(format!("empty {name}"), source);
        let mut map: HashMap<_, Wire<K>, Wire<V>> = self.own_mut(name)?;
        let keys: Vec<Wire<K>> = map.keys().collect::<Result<_, _>>().map_err(failed)?;
        for key in keys {
            map.remove(&key).map_err(failed)?;
        }
        Ok(())
    }

    /// Packets of each reason, over all CPUs.
    fn reasons(&self) -> Result<Vec<u64>, ExplainError> {
        let failed = |source| map_error("read the counters".to_owned(), source);
        let counts: PerCpuArray<_, Wire<Count>> = self.own("REASON_COUNT")?;
        let sum = |reason: &Reason| {
            let per_cpu = counts.get(&(*reason as u32), 0).map_err(failed)?;
            Ok(per_cpu.iter().map(|count| count.0.packets).sum())
        };
        Reason::ALL.iter().map(sum).collect()
    }

    fn test_run(&self, bytes: &[u8], ingress: u16) -> Result<(XdpAction, Vec<u8>), ExplainError> {
        let failed = |error: &dyn std::error::Error| ExplainError::Run(error.to_string());
        let program = self.ebpf.program(PROGRAM).ok_or(ExplainError::NotLoaded)?;
        let program: &Xdp = program.try_into().map_err(|_| ExplainError::NotLoaded)?;
        // struct xdp_md: data, data_end, data_meta, and three words about interfaces.
        let words = [0, bytes.len() as u32, 0, u32::from(ingress), 0, 0];
        let context: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        // A tunnel, tags and an ICMP error make a frame longer.
        let mut out = vec![0; bytes.len() + 256];
        let mut options = TestRunOptions::new();
        options.data_in = Some(bytes);
        options.data_out = Some(&mut out);
        options.ctx_in = Some(&context);
        let result = program.test_run(options).map_err(|error| failed(&error))?;
        out.truncate(result.data_size_out as usize);
        let action = match result.return_value {
            1 => XdpAction::Drop,
            2 => XdpAction::Pass,
            3 => XdpAction::Back,
            4 => XdpAction::Send,
            other => return Err(ExplainError::Run(format!("it gave {other}"))),
        };
        Ok((action, out))
    }

    fn own<'m, T: TryFrom<&'m Map, Error = MapError>>(
        &'m self,
        name: &str,
    ) -> Result<T, ExplainError> {
        let map = self.ebpf.map(name).ok_or(ExplainError::NotLoaded)?;
        T::try_from(map).map_err(|source| map_error(format!("open {name}"), source))
    }

    fn own_mut<'m, T: TryFrom<&'m mut Map, Error = MapError>>(
        &'m mut self,
        name: &str,
    ) -> Result<T, ExplainError> {
        let map = self.ebpf.map_mut(name).ok_or(ExplainError::NotLoaded)?;
        T::try_from(map).map_err(|source| map_error(format!("open {name}"), source))
    }
}

fn endpoint<F: WireFamily>(at: SocketAddr, protocol: u8) -> Option<F::Endpoint> {
    Some(F::endpoint(F::wire_address(at.ip())?, Be16::new(at.port()), protocol))
}

fn map_error(attempt: String, source: MapError) -> ExplainError {
    ExplainError::Map { attempt, source }
}

impl From<io::Error> for ExplainError {
    fn from(error: io::Error) -> Self {
        Self::Load(load_error(&error))
    }
}
