//! Flows: counted and reaped in one pass over the flow table, a batch of entries at a time.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use redirector_common::headers::{PROTOCOL_TCP, PROTOCOL_UDP};
use redirector_common::wire::{Association, SERVER_STATE_WORD};

use super::raw::BatchReader;
use super::{CLOCK_SHIFT, FLOW_CLOSING, Flow, FlowKey4, ServerWord, Tables, TablesError, Wire};
use super::{HashMap, Map, gone, map_error};

/// Entries read by one system call.
const BATCH_LEN: u32 = 4096;

/// What a sweep takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sweep {
    /// Monotonic clock, in ns: the clock of `bpf_ktime_get_ns`.
    pub now_ns: u64,
    /// TCP flows without a packet for so long go, in ms.
    pub tcp_idle_ms: u64,
    /// UDP flows without a packet for so long go, in ms.
    pub udp_idle_ms: u64,
    /// Flows of which one end has closed and that had no packet for so long go, in ms.
    pub closing_ms: u64,
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
    /// Flows taken away.
    pub reaped: u64,
}

/// Refused flows that a census lists.
const REFUSED_MAX: usize = 65_536;

/// A flow that is refused as soon as its client is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// The client.
    pub client: SocketAddrV4,
    /// The service address that it talks to.
    pub service: SocketAddrV4,
}

impl FlowCensus {
    /// Lists a refused flow whose client has not been told.
    fn list(&mut self, key: &FlowKey4, flow: &Flow) {
        if key.protocol == PROTOCOL_TCP && !is_closing(flow) && self.refused.len() < REFUSED_MAX {
            let at = |address: u32, port: u16| SocketAddrV4::new(address.into(), port);
            let client = at(key.client.get(), key.client_port.get());
            let service = at(key.service.get(), key.service_port.get());
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
            flows_max: self.flows_max.into(),
            candidates_max: self.candidates_max.into(),
            ..FlowCensus::default()
        };
        let mut over: Vec<(FlowKey4, Flow)> = Vec::new();
        // Candidates first: one that is proven meanwhile is met in the other table too, never in
        // neither.
        self.count_candidates(sweep, &mut census)?;
        let mut reader = BatchReader::<FlowKey4, Flow>::from_beginning();
        while let Some(batch) = self.read(&mut reader, false)? {
            for (key, flow) in batch {
                match self.fate(&key, &flow, sweep) {
                    Fate::Stays => {
                        census.flows_len += 1;
                        census.count(&flow);
                    }
                    Fate::Refused => {
                        census.flows_len += 1;
                        census.list(&key, &flow);
                    }
                    Fate::Idle => over.push((key, flow)),
                }
            }
        }
        census.reaped = self.reap(&over)?;
        Ok(census)
    }

    /// Takes flows away that are still as they were when they were judged.
    fn reap(&mut self, over: &[(FlowKey4, Flow)]) -> Result<u64, TablesError> {
        let failed = |source| map_error("reap a flow".to_owned(), source);
        let mut flows: HashMap<_, Wire<FlowKey4>, Wire<Flow>> =
            HashMap::try_from(&mut self.flows).map_err(failed)?;
        let mut reaped = 0;
        for (key, judged) in over {
            if flows.get(&Wire(*key), 0).is_ok_and(|now| now.0 == *judged) {
                gone(flows.remove(&Wire(*key))).map_err(failed)?;
                reaped += 1;
            }
        }
        Ok(reaped)
    }

    fn count_candidates(&self, sweep: &Sweep, census: &mut FlowCensus) -> Result<(), TablesError> {
        let mut reader = BatchReader::<FlowKey4, Flow>::from_beginning();
        while let Some(batch) = self.read(&mut reader, true)? {
            for (key, flow) in batch {
                census.candidates_len += 1;
                // What its client has not proven in the time that closing flows get is none.
                let fresh = Sweep { tcp_idle_ms: sweep.closing_ms, ..*sweep };
                if matches!(self.fate(&key, &flow, &fresh), Fate::Stays) {
                    census.count(&flow);
                }
            }
        }
        Ok(())
    }

    fn read(
        &self,
        reader: &mut BatchReader<FlowKey4, Flow>,
        candidates: bool,
    ) -> Result<Option<Vec<(FlowKey4, Flow)>>, TablesError> {
        let map = if candidates { &self.candidates } else { &self.flows };
        let (Map::HashMap(data) | Map::LruHashMap(data)) = map else { return Ok(None) };
        reader.next(data, BATCH_LEN).map_err(|source| TablesError::Io {
            attempt: "read a batch of the flow table".to_owned(),
            source,
        })
    }

    fn fate(&self, key: &FlowKey4, flow: &Flow, sweep: &Sweep) -> Fate {
        let idle_ticks = (sweep.now_ns >> CLOCK_SHIFT).saturating_sub(flow.word_at(4));
        let idle_ms = (idle_ticks << CLOCK_SHIFT) / 1_000_000;
        let open = self.may_go_on(flow);
        let limit_ms = match key.protocol {
            _ if is_closing(flow) => sweep.closing_ms,
            PROTOCOL_UDP => sweep.udp_idle_ms,
            _ => sweep.tcp_idle_ms,
        };
        match (idle_ms > limit_ms, open) {
            (true, _) => Fate::Idle,
            (false, true) => Fate::Stays,
            (false, false) => Fate::Refused,
        }
    }

    /// The packet path's own rule (`decide::standing`), read from the same words.
    fn may_go_on(&self, flow: &Flow) -> bool {
        let (device, epoch, server) = owner(flow);
        let Ok(base) = self.server_base(server) else { return false };
        let state = ServerWord(self.servers.load(base + SERVER_STATE_WORD));
        let incarnation = flow.word_at(1) as u32;
        if !state.is_alive() || state.incarnation() != incarnation {
            return false;
        }
        if self.check_device(device).is_err() {
            return false;
        }
        let word = Association(self.associations.load(device as usize * 2 + self.bank()));
        word.accepts(epoch)
    }
}

fn is_closing(flow: &Flow) -> bool {
    flow.word_at(3) >> 32 & u64::from(FLOW_CLOSING) != 0
}

/// Device, epoch and server of a flow.
fn owner(flow: &Flow) -> (u32, u16, u16) {
    let identity = flow.word_at(0);
    (identity as u32, (identity >> 48) as u16, (identity >> 32) as u16)
}
