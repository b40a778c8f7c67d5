//! SYNs that were on their way to a server when it died: run through the program once more, which
//! sends them to the survivor, without waiting for the client's own second.
//!
//! A SYN goes again only if its flow is still a candidate of the dead server and nothing has
//! answered it. What the program makes of it is what it would make of the client's own repetition,
//! which then finds its candidate in place. Flows without an entry (stateless devices, beyond the
//! rate of new entries) are left to their clients.

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, PerCpuArray};
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp};
use redirector_common::family::Family;
use redirector_common::flow::{FLOW_ANSWERED, Flow};
use redirector_common::frame::Frame;
use redirector_common::packet::Packet;
use redirector_common::parse;
use redirector_common::verdict::Reason;
use redirector_common::wire::{Hop, RecentSyn, SYNS_LEN};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::convert::WireFamily;
use super::per_family::FamilyTables;
use super::raw::Wire;
use super::{Tables, TablesError, map_error, open, owner};
use crate::platform::bpf::PROGRAM;

/// SYNs sent again at most after one death; each costs some 50 us of the loop's time.
const RECALLED_MAX: usize = 1024;

/// The rings of SYNs, and the program to run them through.
pub(super) struct Recall {
    syns: PerCpuArray<MapData, Wire<RecentSyn>>,
    program: Option<Ebpf>,
}

impl Recall {
    pub(super) fn new(syns: MapData) -> Result<Self, TablesError> {
        Ok(Self { syns: open("SYNS", Map::PerCpuArray(syns))?, program: None })
    }

    /// SYNs of the last `age_max_ns` that were sent to one of `servers`, newest first.
    fn recent(
        &self,
        servers: &[u16],
        (now_ns, age_max_ns): (u64, u64),
    ) -> Result<Vec<RecentSyn>, TablesError> {
        let mut found = Vec::new();
        for index in 0..SYNS_LEN {
            let per_cpu = self.syns.get(&index, 0);
            let per_cpu = per_cpu.map_err(|source| map_error("read recent SYNs".into(), source))?;
            found.extend(per_cpu.iter().map(|syn| syn.0).filter(|syn| {
                let age_ns = now_ns.saturating_sub(syn.at_ns);
                syn.len != 0 && servers.contains(&syn.server) && age_ns <= age_max_ns
            }));
        }
        found.sort_unstable_by_key(|syn| std::cmp::Reverse(syn.at_ns));
        found.truncate(RECALLED_MAX);
        Ok(found)
    }

    /// Runs a frame through the program as if it came in now; what becomes of it is real.
    fn run(program: &Xdp, syn: &RecentSyn) -> std::io::Result<()> {
        let frame = &syn.frame[..usize::from(syn.len).min(syn.frame.len())];
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index,
        // egress_ifindex.
        let words = [0, frame.len() as u32, 0, syn.ifindex, 0, 0];
        let context: Vec<u8> = words.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.ctx_in = Some(&context);
        options.repeat = 1;
        options.attrs = TestRunAttrs::new().xdp_live_frames(1);
        program.test_run(options).map(drop).map_err(std::io::Error::other)
    }
}

impl Tables {
    /// Gives the tables the program that belongs to them, to run SYNs through again.
    pub(in crate::platform) fn set_program(&mut self, program: Ebpf) {
        self.recall.program = Some(program);
    }

    /// The program that belongs to the tables.
    pub(in crate::platform) fn program_mut(&mut self) -> Option<&mut Ebpf> {
        self.recall.program.as_mut()
    }

    /// Sends SYNs that went to these servers within the last `age_max_ns` and were not answered
    /// through the program again. Gives how many.
    ///
    /// # Errors
    ///
    /// When the kernel refuses (test runs with live frames need 5.18).
    pub fn recall(
        &self,
        servers: &[u16],
        (now_ns, age_max_ns): (u64, u64),
    ) -> Result<usize, TablesError> {
        let Some(ebpf) = &self.recall.program else { return Ok(0) };
        let Some(program) = ebpf.program(PROGRAM) else { return Ok(0) };
        let Ok(program) = <&Xdp>::try_from(program) else { return Ok(0) };
        let mut sent = 0;
        for syn in self.recall.recent(servers, (now_ns, age_max_ns))? {
            if self.v4.still_waits(&syn)? || self.v6.still_waits(&syn)? {
                Recall::run(program, &syn).map_err(|source| TablesError::Io {
                    attempt: "send a SYN of a dead server's again".to_owned(),
                    source,
                })?;
                sent += 1;
            }
        }
        Ok(sent)
    }
}

impl<F: WireFamily> FamilyTables<F> {
    /// Whether the SYN's flow is a candidate of its server, and unanswered.
    fn still_waits(&self, syn: &RecentSyn) -> Result<bool, TablesError> {
        let Some(key) = tuple::<F>(syn) else { return Ok(false) };
        let failed = |source| map_error("look for a SYN's flow".to_owned(), source);
        let candidates: HashMap<_, Wire<F::Tuple>, Wire<Flow>> =
            HashMap::try_from(&self.candidates).map_err(failed)?;
        let Ok(flow) = candidates.get(&Wire(key), 0) else { return Ok(false) };
        let answered = flow.0.word_at(3) >> 32 & u64::from(FLOW_ANSWERED) != 0;
        Ok(owner(&flow.0).2 == syn.server && !answered)
    }
}

/// Whose SYN it is; None if it is of the other family.
fn tuple<F: Family>(syn: &RecentSyn) -> Option<F::Tuple> {
    let frame = Bytes(syn.frame.get(..usize::from(syn.len))?);
    let link = parse::link(&frame).ok()?;
    if link.ether_type != F::ETHER_TYPE {
        return None;
    }
    let mut packet = Packet::<F>::nothing();
    parse::packet(&frame, link.network, Hop::UNKNOWN, &mut packet).ok()?;
    packet.opens().then_some(packet.tuple)
}

/// A frame that is only read.
struct Bytes<'a>(&'a [u8]);

impl Frame for Bytes<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn linear_len(&self) -> usize {
        self.0.len()
    }

    fn header<T: FromBytes + KnownLayout + Immutable>(&self, at: usize) -> Result<&T, Reason> {
        let rest = self.0.get(at..).ok_or(Reason::Truncated)?;
        T::ref_from_prefix(rest).map(|(header, _)| header).map_err(|_| Reason::Truncated)
    }

    fn header_mut<T: FromBytes + IntoBytes + KnownLayout + Immutable>(
        &mut self,
        _: usize,
    ) -> Result<&mut T, Reason> {
        Err(Reason::Truncated)
    }

    fn moved_head(self, _: isize) -> Result<Self, Self> {
        Err(self)
    }

    fn shortened(self, _: usize) -> Result<Self, Self> {
        Err(self)
    }
}
