//! Flows: counted and reaped in one pass over the flow table, a batch of entries at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use redirector_common::family::Family;
use redirector_common::headers::PROTOCOL_TCP;
use redirector_common::wire::{
    Association, CONTROL_BANK, SERVER_NONE, SERVER_STATE_WORD, SERVER_WORDS,
};
use zerocopy::{FromBytes, IntoBytes};

use super::convert::WireFamily;
use super::per_family::FamilyTables;
use super::raw::{BatchReader, MappedWords};
use super::{CLOCK_SHIFT, FLOW_CLOSING, Flow, ServerWord, Tables, TablesError, Wire};
use super::{HashMap, Map, MapError, gone, map_error};

/// Entries read by one system call.
const BATCH_LEN: u32 = 4096;

/// How long flows without a packet are kept, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdleTimes {
    /// TCP flows.
    pub tcp_ms: u64,
    /// All others.
    pub other_ms: u64,
}

/// What a sweep takes away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// Monotonic clock, in ns: the clock of `bpf_ktime_get_ns`.
    pub now_ns: u64,
    /// Flows without a packet for so long go.
    pub idle: IdleTimes,
    /// The same for devices that have times of their own, by id.
    pub idle_of: BTreeMap<u32, IdleTimes>,
    /// Flows of which one end has closed and that had no packet for so long go, in ms.
    pub closing_ms: u64,
    /// Associations (device id, epoch) whose clients are counted, because they drain.
    pub draining: BTreeSet<(u32, u16)>,
}

impl Sweep {
    fn idle_of(&self, device: u32) -> IdleTimes {
        self.idle_of.get(&device).copied().unwrap_or(self.idle)
    }
}

/// What a sweep met.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlowCensus {
    /// Size of the table of proven flows, as it was made.
    pub flows_max: u64,
    /// Size of the table of candidates, as it was made.
    pub candidates_max: u64,
    /// Proven flows left.
    pub flows_len: u64,
    /// Candidates; an estimate, as they come and go.
    pub candidates_len: u64,
    /// Flows, candidates too, that may go on: (device, epoch, server) -> how many.
    pub by_epoch: BTreeMap<(u32, u16, u16), u64>,
    /// How many of these have been closed by one end and are kept for what may still come.
    pub closing: BTreeMap<(u32, u16, u16), u64>,
    /// TCP flows that are refused and whose client has not been heard since; at most
    /// [`REFUSED_MAX`] of them.
    pub refused: Vec<Refused>,
    /// Clients of the flows of associations that drain, by (device, epoch). A client whose flows
    /// one end has closed counts until they are gone.
    pub draining_clients: BTreeMap<(u32, u16), BTreeSet<IpAddr>>,
    /// Clients taken away, by device id: they have no open flows there any more.
    pub clients_gone: Vec<(u32, IpAddr)>,
    /// Flows taken away.
    pub reaped: u64,
}

/// Refused flows that a census lists.
const REFUSED_MAX: usize = 65_536;

/// A flow that is refused as soon as its client is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// The client.
    pub client: SocketAddr,
    /// The service address that it talks to.
    pub service: SocketAddr,
}

impl FlowCensus {
    /// Lists a refused flow whose client has not been told.
    fn list<F: WireFamily>(&mut self, key: &F::Tuple, flow: &Flow) {
        let (client, service, protocol) = F::flow_parts(key);
        if protocol == PROTOCOL_TCP && !is_closing(flow) && self.refused.len() < REFUSED_MAX {
            self.refused.push(Refused { client, service });
        }
    }

    fn count(&mut self, flow: &Flow) {
        *self.by_epoch.entry(owner(flow)).or_default() += 1;
        if is_closing(flow) {
            *self.closing.entry(owner(flow)).or_default() += 1;
        }
    }
}

/// Why a flow goes, or that it stays.
enum Fate {
    Stays,
    /// Its server is dead, lives another life, or its epoch is retired. The entry stays, because it
    /// is what the client's next segment is answered by; that marks it as closing.
    Refused,
    Idle,
}

impl Tables {
    /// Counts all flows and takes away those that are over.
    ///
    /// # Errors
    ///
    /// When the kernel refuses; flows taken away before stay away.
    pub fn sweep_flows(&mut self, sweep: &Sweep) -> Result<FlowCensus, TablesError> {
        let mut census = FlowCensus {
            flows_max: u64::from(self.v4.flows_max) + u64::from(self.v6.flows_max),
            candidates_max: u64::from(self.v4.candidates_max) + u64::from(self.v6.candidates_max),
            ..FlowCensus::default()
        };
        let standing = Standing { tables: self };
        let over4 = standing.survey(&self.v4, sweep, &mut census)?;
        let over6 = standing.survey(&self.v6, sweep, &mut census)?;
        census.reaped = self.v4.reap(&over4)? + self.v6.reap(&over6)?;
        Ok(census)
    }
}

/// Clients by address and device: their keys and last packets.
type Clients<F> = BTreeMap<(IpAddr, u32), (<F as Family>::ClientKey, u64)>;

/// A server's packet to a local port, and the flow that has the port.
type Port<F> = (<F as Family>::Tuple, <F as Family>::Tuple);

/// A flow with the local port by which its server knows it, in network order. One that began anew
/// has another port than before.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Holding {
    flow: Vec<u8>,
    port: u16,
}

impl Holding {
    /// That of an entry; None where servers see the client itself.
    fn of<F: WireFamily>(key: &F::Tuple, entry: &Flow) -> Option<Self> {
        let port = (entry.word_at(5) >> 32) as u16;
        (port != 0).then(|| Self { flow: key.as_bytes().to_vec(), port })
    }

    /// That by which a port was taken.
    fn by<F: WireFamily>((key, holder): &Port<F>) -> Self {
        let (_, port, _) = F::parts(&F::destination(key));
        Self { flow: holder.as_bytes().to_vec(), port: port.raw() }
    }
}

/// What is to be taken away.
struct Over<F: WireFamily> {
    flows: Vec<(F::Tuple, Flow)>,
    clients: Vec<F::ClientKey>,
    ports: Vec<Port<F>>,
    new_ports: Vec<Port<F>>,
}

/// The tables by which flows are judged.
struct Standing<'a> {
    tables: &'a Tables,
}

impl Standing<'_> {
    /// Looks through the flows of a family.
    fn survey<F: WireFamily>(
        &self,
        of: &FamilyTables<F>,
        sweep: &Sweep,
        census: &mut FlowCensus,
    ) -> Result<Over<F>, TablesError> {
        // Clients and ports are entered beside their flows. Those read first have their flow in
        // the table when that is read, unless it is gone.
        let mut clients = of.all_clients()?;
        let (ports, new_ports) = (all_ports::<F>(&of.ports)?, all_ports::<F>(&of.new_ports)?);
        // Candidates before flows: one that is proven meanwhile is met in the other table too,
        // never in neither.
        let mut in_use = self.count_candidates(of, sweep, census)?;
        let mut over = Vec::new();
        let mut reader = BatchReader::<F::Tuple, Flow>::from_beginning();
        while let Some(batch) = read(&of.flows, &mut reader)? {
            for (key, flow) in batch {
                let fate = self.fate::<F>(&key, &flow, sweep);
                match fate {
                    Fate::Stays => {
                        census.flows_len += 1;
                        census.count(&flow);
                        let (device, epoch, _) = owner(&flow);
                        if sweep.draining.contains(&(device, epoch)) {
                            let clients = census.draining_clients.entry((device, epoch));
                            clients.or_default().insert(F::flow_parts(&key).0.ip());
                        }
                    }
                    Fate::Refused => {
                        census.flows_len += 1;
                        census.list::<F>(&key, &flow);
                    }
                    Fate::Idle => over.push((key, flow)),
                }
                if !matches!(fate, Fate::Idle) {
                    in_use.extend(Holding::of::<F>(&key, &flow));
                }
                if matches!(fate, Fate::Stays) {
                    clients.remove(&(F::flow_parts(&key).0.ip(), owner(&flow).0));
                }
            }
        }
        // Whoever is between two flows finds the server of the last one for a while.
        clients.retain(|_, (_, seen)| idle_ms(sweep.now_ns, *seen) > sweep.closing_ms);
        census.clients_gone.extend(clients.keys().map(|(client, device)| (*device, *client)));
        let clients = clients.into_values().map(|(key, _)| key).collect();
        let given_back = |ports: Vec<Port<F>>| {
            ports.into_iter().filter(|port| !in_use.contains(&Holding::by::<F>(port))).collect()
        };
        let (ports, new_ports) = (given_back(ports), given_back(new_ports));
        Ok(Over { flows: over, clients, ports, new_ports })
    }

    /// Counts candidates; gives the local ports of those that may still be proven.
    fn count_candidates<F: WireFamily>(
        &self,
        of: &FamilyTables<F>,
        sweep: &Sweep,
        census: &mut FlowCensus,
    ) -> Result<BTreeSet<Holding>, TablesError> {
        // What its client has not proven in the time that closing flows get is none.
        let idle = IdleTimes { tcp_ms: sweep.closing_ms, ..sweep.idle };
        let (idle_of, draining) = (BTreeMap::new(), BTreeSet::new());
        let fresh = Sweep { idle, idle_of, draining, ..*sweep };
        let mut holding = BTreeSet::new();
        let mut reader = BatchReader::<F::Tuple, Flow>::from_beginning();
        while let Some(batch) = read(&of.candidates, &mut reader)? {
            for (key, flow) in batch {
                census.candidates_len += 1;
                let fate = self.fate::<F>(&key, &flow, &fresh);
                if matches!(fate, Fate::Stays) {
                    census.count(&flow);
                }
                if !matches!(fate, Fate::Idle) {
                    holding.extend(Holding::of::<F>(&key, &flow));
                }
            }
        }
        Ok(holding)
    }

    fn fate<F: WireFamily>(&self, key: &F::Tuple, flow: &Flow, sweep: &Sweep) -> Fate {
        let idle_ms = idle_ms(sweep.now_ns, flow.word_at(4));
        let open = self.tables.may_go_on(flow);
        let idle = sweep.idle_of(owner(flow).0);
        let (_, _, protocol) = F::parts(&F::destination(key));
        let limit_ms = match protocol {
            _ if is_closing(flow) => sweep.closing_ms,
            PROTOCOL_TCP => idle.tcp_ms,
            _ => idle.other_ms,
        };
        match (idle_ms > limit_ms, open) {
            (true, _) => Fate::Idle,
            (false, true) => Fate::Stays,
            (false, false) => Fate::Refused,
        }
    }
}

impl<F: WireFamily> FamilyTables<F> {
    /// Takes away what is over: flows that are still as they were when they were judged, and what
    /// belonged to flows that are gone.
    fn reap(&mut self, over: &Over<F>) -> Result<u64, TablesError> {
        let failed = |source| map_error("reap a flow".to_owned(), source);
        let mut flows: HashMap<_, Wire<F::Tuple>, Wire<Flow>> =
            HashMap::try_from(&mut self.flows).map_err(failed)?;
        let mut reaped = 0;
        for (key, judged) in &over.flows {
            if flows.get(&Wire(*key), 0).is_ok_and(|now| now.0 == *judged) {
                gone(flows.remove(&Wire(*key))).map_err(failed)?;
                reaped += 1;
            }
        }
        let mut clients: HashMap<_, Wire<F::ClientKey>, Wire<Flow>> =
            HashMap::try_from(&mut self.clients).map_err(failed)?;
        for key in &over.clients {
            gone(clients.remove(&Wire(*key))).map_err(failed)?;
        }
        give_back::<F>(&mut self.ports, &over.ports).map_err(failed)?;
        give_back::<F>(&mut self.new_ports, &over.new_ports).map_err(failed)?;
        Ok(reaped)
    }

    /// Clients whose flows stay together, by address and device, and when their last packet came,
    /// in units of the table's clock.
    fn all_clients(&self) -> Result<Clients<F>, TablesError> {
        let mut clients = BTreeMap::new();
        let mut reader = BatchReader::<F::ClientKey, Flow>::from_beginning();
        while let Some(batch) = read(&self.clients, &mut reader)? {
            let client =
                |(key, flow): (F::ClientKey, Flow)| (F::client_parts(&key), (key, flow.word_at(4)));
            clients.extend(batch.into_iter().map(client));
        }
        Ok(clients)
    }
}

/// Local ports with the flows that have taken them.
fn all_ports<F: WireFamily>(map: &Map) -> Result<Vec<Port<F>>, TablesError> {
    let mut ports = Vec::new();
    let mut reader = BatchReader::<F::Tuple, F::Tuple>::from_beginning();
    while let Some(batch) = read(map, &mut reader)? {
        ports.extend(batch);
    }
    Ok(ports)
}

/// Gives ports back that are still those flows' which had them when they were judged.
fn give_back<F: WireFamily>(map: &mut Map, over: &[Port<F>]) -> Result<(), MapError> {
    let mut ports: HashMap<_, Wire<F::Tuple>, Wire<F::Tuple>> = HashMap::try_from(map)?;
    for (key, holder) in over {
        if ports.get(&Wire(*key), 0).is_ok_and(|now| now.0 == *holder) {
            gone(ports.remove(&Wire(*key)))?;
        }
    }
    Ok(())
}

fn read<K: FromBytes + IntoBytes + Copy, V: FromBytes + IntoBytes + Copy>(
    map: &Map,
    reader: &mut BatchReader<K, V>,
) -> Result<Option<Vec<(K, V)>>, TablesError> {
    let (Map::HashMap(data) | Map::LruHashMap(data)) = map else { return Ok(None) };
    reader.next(data, BATCH_LEN).map_err(|source| TablesError::Io {
        attempt: "read a batch of the flow table".to_owned(),
        source,
    })
}

impl Tables {
    /// The packet path's own rule (`decide::standing`), read from the same words.
    fn may_go_on(&self, flow: &Flow) -> bool {
        may_go_on((&self.control, &self.associations, &self.servers), flow)
    }
}

/// Whether a flow may go on, by the words of the control table, the associations and the servers.
pub(super) fn may_go_on(
    (control, associations, servers): (&MappedWords, &MappedWords, &MappedWords),
    flow: &Flow,
) -> bool {
    let (device, epoch, server) = owner(flow);
    let at = usize::from(server) * SERVER_WORDS + SERVER_STATE_WORD;
    if server == SERVER_NONE || at >= servers.words_len() {
        return false;
    }
    let state = ServerWord(servers.load(at));
    if !state.is_alive() || state.incarnation() != flow.word_at(1) as u32 {
        return false;
    }
    let bank = (control.load(CONTROL_BANK as usize) & 1) as usize;
    let word = device as usize * 2 + bank;
    word < associations.words_len() && Association(associations.load(word)).accepts(epoch)
}

/// How long ago a packet came, in ms; exact to a second. `seen` is in units of the table's clock.
pub(super) fn idle_ms(now_ns: u64, seen: u64) -> u64 {
    ((now_ns >> CLOCK_SHIFT).saturating_sub(seen) << CLOCK_SHIFT) / 1_000_000
}

pub(super) fn is_closing(flow: &Flow) -> bool {
    flow.word_at(3) >> 32 & u64::from(FLOW_CLOSING) != 0
}

/// Device, epoch and server of a flow.
pub(super) fn owner(flow: &Flow) -> (u32, u16, u16) {
    let identity = flow.word_at(0);
    (identity as u32, (identity >> 48) as u16, (identity >> 32) as u16)
}
