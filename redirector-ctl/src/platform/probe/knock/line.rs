//! The packet sockets by which servers are asked for service addresses, and the task that has them.
//!
//! Opened with the first question, so that a gateway whose devices are all rewritten has none. The
//! kernel gives them what passes the program, before its own stack looks at it; a filter lets it
//! wake us for answers only.
//!
//! Limits: [`WAITING_MAX`] questions are remembered, answered or not, so that a late or repeated
//! answer is ended as well; then the oldest is forgotten.

use std::collections::VecDeque;
use std::collections::btree_map::{BTreeMap, Entry};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::bind;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};

use super::segment::{self, Answer, Expected, Segment};
use super::{PORT_FIRST, Road};

const WAITING_MAX: usize = 2048;

/// The longest headers of an answer: IPv4 and TCP with all their options.
const ANSWER_LEN_MAX: usize = 128;

/// One SYN and what is to become of its answer.
#[derive(Debug)]
pub(super) struct Knock {
    out: u32,
    syn: Vec<u8>,
    reset: Vec<u8>,
    expected: Expected,
    answer: oneshot::Sender<Heard>,
}

/// What came of a SYN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    /// It was accepted.
    Accepted,
    /// It was answered by RST.
    Refused,
    /// It has not left, and why.
    NotSent(String),
}

impl Knock {
    /// None when no such frame can be made.
    pub(super) fn new(
        to: &Road,
        (here, service): (SocketAddr, SocketAddr),
        sequence: u32,
        answer: oneshot::Sender<Heard>,
    ) -> Option<Self> {
        let acknowledgement = sequence.wrapping_add(1);
        let ends = (here, service);
        Some(Self {
            out: to.way.out,
            syn: segment::frame(to, ends, (Segment::Syn, sequence))?,
            reset: segment::frame(to, ends, (Segment::Reset, acknowledgement))?,
            expected: Expected { service, here, acknowledgement },
            answer,
        })
    }
}

/// Asks for as long as somebody wants to. Without sockets it ends, and nobody is asked.
pub(super) async fn run(mut knocks: mpsc::Receiver<Knock>) {
    let Some(first) = knocks.recv().await else { return };
    let mut line = match Line::open() {
        Ok(line) => line,
        Err(error) => {
            tracing::warn!(
                %error,
                "no packet socket, so that servers with dsr, ipip or gue are asked at their own \
                 addresses only: give the daemon CAP_NET_RAW and AF_PACKET"
            );
            return;
        }
    };
    line.ask(first);
    let (mut v4, mut v6) = ([0; ANSWER_LEN_MAX], [0; ANSWER_LEN_MAX]);
    loop {
        let heard = tokio::select! {
            knock = knocks.recv() => match knock {
                Some(knock) => {
                    line.ask(knock);
                    continue;
                }
                None => return,
            },
            len = line.v4.recv(&mut v4) => len.map(|len| segment::answer(&v4[..len])),
            len = line.v6.recv(&mut v6) => len.map(|len| segment::answer(&v6[..len])),
        };
        match heard {
            Ok(Some(answer)) => line.take(answer),
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "no packet from the packet socket"),
        }
    }
}

struct Line {
    v4: UdpSocket,
    v6: UdpSocket,
    /// Sockets to send by, by interface.
    out: BTreeMap<u32, Socket>,
    waiting: BTreeMap<Expected, Waiting>,
    /// Those waiting, oldest first.
    order: VecDeque<Expected>,
}

struct Waiting {
    out: u32,
    reset: Vec<u8>,
    answer: Option<oneshot::Sender<Heard>>,
}

impl Line {
    fn open() -> io::Result<Self> {
        let v4 = listening(libc::ETH_P_IP, &filter(IPV4))?;
        let v6 = listening(libc::ETH_P_IPV6, &filter(IPV6))?;
        let (out, waiting) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { v4, v6, out, waiting, order: VecDeque::new() })
    }

    fn ask(&mut self, knock: Knock) {
        let Knock { out, syn, reset, expected, answer } = knock;
        if let Err(error) = self.send(out, &syn) {
            // Whoever asked may have given up.
            let _ = answer.send(Heard::NotSent(format!(
                "the question for {} cannot be sent: {error}",
                expected.service
            )));
            return;
        }
        if self.order.len() == WAITING_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.waiting.remove(&oldest);
        }
        let waiting = Waiting { out, reset, answer: Some(answer) };
        if self.waiting.insert(expected, waiting).is_none() {
            self.order.push_back(expected);
        }
    }

    fn take(&mut self, heard: Answer) {
        let Some(waiting) = self.waiting.get_mut(&heard.to) else { return };
        let answer = waiting.answer.take();
        let result = if heard.is_refusal { Heard::Refused } else { Heard::Accepted };
        if let Some(answer) = answer {
            let _ = answer.send(result);
        }
        if !heard.is_refusal {
            let (out, reset) = (waiting.out, std::mem::take(&mut waiting.reset));
            if let Err(error) = self.send(out, &reset) {
                tracing::debug!(%error, "a question's connection stays half open for a while");
            }
            if let Some(waiting) = self.waiting.get_mut(&heard.to) {
                waiting.reset = reset;
            }
        }
    }

    /// Sends a frame. An interface that does not take it may be another one by now.
    fn send(&mut self, out: u32, frame: &[u8]) -> io::Result<()> {
        let socket = match self.out.entry(out) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(sending(out)?),
        };
        let sent = socket.send(frame).map(drop);
        if sent.is_err() {
            self.out.remove(&out);
        }
        sent
    }
}

/// A socket for packets of one EtherType from all interfaces, from the IP header on.
/// Once it is open, the runtime waits for it as for any other socket of datagrams.
fn listening(ether_type: libc::c_int, filter: &[SockFilter]) -> io::Result<UdpSocket> {
    let protocol = Protocol::from(i32::from((ether_type as u16).to_be()));
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(protocol))?;
    socket.attach_filter(filter)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

/// A socket that sends whole frames by an interface, and hears nothing.
fn sending(out: u32) -> io::Result<Socket> {
    let is_it = |index: usize| u32::try_from(index) == Ok(out);
    let mut links = getifaddrs()?.filter_map(|of| of.address?.as_link_addr().copied());
    let link = links.find(|link| is_it(link.ifindex()));
    let link = link.ok_or_else(|| io::Error::other(format!("interface {out} is gone")))?;
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    socket.set_nonblocking(true)?;
    bind(socket.as_raw_fd(), &link)?;
    Ok(socket)
}

/// Where the parts of an IP header are.
#[derive(Clone, Copy)]
struct Offsets {
    protocol: u32,
    /// Offset of the fragment's place; None where that is in a header of its own.
    fragment: Option<u32>,
    /// Length of the header; None where its first byte tells.
    len: Option<u32>,
}

const IPV4: Offsets = Offsets { protocol: 9, fragment: Some(6), len: None };
const IPV6: Offsets = Offsets { protocol: 6, fragment: None, len: Some(40) };

/// Lets pass what may answer a SYN: TCP segments to our ports with ACK and SYN or RST.
fn filter(at: Offsets) -> Vec<SockFilter> {
    use libc::{
        BPF_ABS, BPF_B, BPF_H, BPF_IMM, BPF_IND, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD,
        BPF_LDX, BPF_MSH, BPF_RET,
    };
    let make =
        |code: u32, jumps: (u8, u8), k: u32| SockFilter::new(code as u16, jumps.0, jumps.1, k);
    // A jump to the end: how many instructions are between is known when all are there.
    const END: u8 = u8::MAX;
    let mut parts = vec![
        (BPF_LD | BPF_B | BPF_ABS, (0, 0), at.protocol),
        (BPF_JMP | BPF_JEQ | BPF_K, (0, END), u32::from(redirector_common::headers::PROTOCOL_TCP)),
    ];
    if let Some(fragment) = at.fragment {
        parts.push((BPF_LD | BPF_H | BPF_ABS, (0, 0), fragment));
        parts.push((BPF_JMP | BPF_JSET | BPF_K, (END, 0), 0x1fff));
    }
    parts.push(match at.len {
        Some(len) => (BPF_LDX | BPF_IMM, (0, 0), len),
        None => (BPF_LDX | BPF_B | BPF_MSH, (0, 0), 0),
    });
    parts.extend([
        (BPF_LD | BPF_H | BPF_IND, (0, 0), 2),
        (BPF_JMP | libc::BPF_JGE | BPF_K, (0, END), u32::from(PORT_FIRST)),
        (BPF_LD | BPF_B | BPF_IND, (0, 0), 13),
        (BPF_JMP | BPF_JSET | BPF_K, (0, END), u32::from(redirector_common::tcp::ACK)),
        (
            BPF_JMP | BPF_JSET | BPF_K,
            (0, END),
            u32::from(redirector_common::tcp::SYN | redirector_common::tcp::RST),
        ),
        (BPF_RET | BPF_K, (0, 0), ANSWER_LEN_MAX as u32),
        (BPF_RET | BPF_K, (0, 0), 0),
    ]);
    let last = parts.len() - 1;
    let end = |at: usize, jump: u8| if jump == END { (last - at - 1) as u8 } else { jump };
    let numbered = parts.into_iter().enumerate();
    numbered.map(|(n, (code, (yes, no), k))| make(code, (end(n, yes), end(n, no)), k)).collect()
}
