//! The loaded program and the host's decision must agree, byte for byte, on every packet of random
//! histories of both families and every way of forwarding.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use redirector_common::family::{Family as _, V4, V6};
use redirector_common::parse;
use redirector_common::tcp::SYN;
use redirector_common::verdict::Reason;
use redirector_common::wire::Tags;
use redirector_tests::data_path::check::check;
use redirector_tests::data_path::describe::{fields, side_by_side, write_pcap};
use redirector_tests::data_path::frame::Bytes;
use redirector_tests::data_path::packets::{Packet, from_client};
use redirector_tests::data_path::program::{SMALL, settled_tick, tick};
use redirector_tests::data_path::replay::{host_routes, make_routes};
use redirector_tests::data_path::traffic::{Sent, World};
use redirector_tests::data_path::{
    DROP, Host, Outcome, Program, SERVICE_PORT, TCP, device_address, topology,
};
use redirector_tests::random::Random;

/// Frames that a history chooses from.
const FRAMES: usize = 8000;
/// Those of a history of plain packets.
const PLAIN_FRAMES: usize = 300;
/// Packets from one change of the tables to the next, on average.
const PACKETS_PER_CHANGE: usize = 300;
/// After so many packets the counts are compared.
const PACKETS_PER_COUNT: u64 = 10_000;

/// How often each reason was met.
type Met = BTreeMap<Reason, u64>;

/// A program and a host over the same tables.
struct Pair {
    program: Program,
    host: Host,
    met: Met,
}

impl Pair {
    fn new(world: &World) -> Self {
        let mut program = Program::load(&SMALL).unwrap();
        make_routes().unwrap();
        program.tables.set_gateway(&World::gateway()).unwrap();
        let mut host = Host::new();
        host.set_gateway(World::gateway());
        host_routes(&mut host);
        program.apply(&world.ops()).unwrap();
        host.apply(&world.ops());
        Self { program, host, met: Met::new() }
    }

    /// Runs a frame on both; false if the clock moved meanwhile, so that the two may differ.
    fn run(&mut self, sent: &Sent, place: &str) -> bool {
        let before = settled_tick().unwrap();
        self.host.now.set(before);
        let (expected, reason) = self.host.run(&sent.bytes);
        let actual = self.program.run(&sent.bytes).unwrap();
        if tick().unwrap() != before {
            return false;
        }
        *self.met.entry(reason).or_default() += 1;
        let sound = is_sound(sent, reason, &actual);
        if expected == actual && sound.is_ok() {
            return true;
        }
        let frames = [sent.bytes.as_slice(), &expected.frame, &actual.frame];
        panic!(
            "{place}, {}, actions {} and {}, sound: {sound:?}\n{}\nin: {}\n  {}\nas a file: {}",
            reason.name(),
            expected.action,
            actual.action,
            side_by_side(&expected.frame, &actual.frame),
            sent.text,
            fields(&sent.bytes).join("\n  "),
            write_pcap(place, &frames).unwrap().display()
        );
    }

    /// Every packet is counted once, under the reason that the host names, and requests are those
    /// that the host finds. Gives how many these are.
    fn compare_counts(&self, place: &str) -> u64 {
        let counted: Met = self
            .program
            .reasons()
            .unwrap()
            .into_iter()
            .filter(|(_, count)| count.packets > 0)
            .map(|(reason, count)| (reason, count.packets))
            .collect();
        assert_eq!(self.met, counted, "{place}: reasons of the host and of the program");
        let requests = self.host.requests.borrow();
        for (device, count) in self.program.tables.counters().unwrap().devices {
            let met = requests.get(&device).copied().unwrap_or_default();
            assert_eq!(met, count.requests, "{place}: requests of device {device}");
        }
        requests.values().sum()
    }
}

/// Whether what left is right in itself, if what came in was, or if the redirector made it.
fn is_sound(sent: &Sent, reason: Reason, outcome: &Outcome) -> Result<(), String> {
    let own = reason.help().starts_with("Answered:") && reason != Reason::EchoAnswered;
    if outcome.action == DROP || !(sent.is_sound || own) {
        return Ok(());
    }
    check(&outcome.frame)
}

/// Which packets a history is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Everything that a network carries.
    All,
    /// Few different ones, all of them such as may take the short way, so that most come again.
    Plain,
}

/// Whether a packet is such as most are.
fn is_plain(sent: &Sent) -> bool {
    let frame = Bytes::new(&sent.bytes);
    let Ok(link) = parse::link(&frame) else { return false };
    let v4 = link.ether_type == V4::ETHER_TYPE && parse::plain::<V4>(&frame).is_some();
    let v6 = link.ether_type == V6::ETHER_TYPE && parse::plain::<V6>(&frame).is_some();
    link.tags == Tags::NONE && (v4 || v6)
}

/// Runs a history on both; gives how often each reason was met.
///
/// The host runs what may take the short way along both, and compares.
fn history(seed: u64, packets: u64, kind: Kind) -> Met {
    let mut world = World::new(seed);
    let mut frames = world.frames(FRAMES).unwrap();
    if kind == Kind::Plain {
        frames.retain(is_plain);
        frames.truncate(PLAIN_FRAMES);
    }
    let mut pair = Pair::new(&world);
    let mut met = Met::new();
    let (mut short_len, mut requests_max) = (0, 0);
    for step in 1..=packets {
        if world.below(PACKETS_PER_CHANGE) == 0 {
            let change = world.op();
            pair.program.apply(std::slice::from_ref(&change)).unwrap();
            pair.host.apply(&[change]);
        }
        let sent = &frames[world.below(frames.len())];
        if !pair.run(sent, &format!("seed {seed}, step {step}")) {
            // A busy machine held this thread up: the tables have parted, and begin anew.
            met = sum(met, &pair.met);
            short_len += pair.host.short_len.get();
            pair = Pair::new(&world);
        }
        if step % PACKETS_PER_COUNT == 0 {
            let requests = pair.compare_counts(&format!("seed {seed}, step {step}"));
            requests_max = requests_max.max(requests);
        }
    }
    let met = sum(met, &pair.met);
    short_len += pair.host.short_len.get();
    eprintln!("seed {seed}: {packets} packets, {short_len} by the short way, {met:?}");
    let least = if kind == Kind::Plain { packets / 100 } else { packets / 1000 };
    assert!(short_len > least, "only {short_len} of {packets} took the short way");
    assert!(requests_max > 0, "no requests were compared");
    met
}

fn sum(mut one: Met, other: &Met) -> Met {
    for (reason, count) in other {
        *one.entry(*reason).or_default() += count;
    }
    one
}

/// Reasons that no history here can meet: nothing is configured that they need.
const OUT_OF_REACH: [Reason; 7] = [
    Reason::Extensions,
    Reason::NotConfigured,
    Reason::FlowsFull,
    Reason::NoRoom,
    Reason::Unrecorded,
    Reason::AnswerLimited,
    Reason::NotIp,
];

fn expect_all_reasons(met: &Met) {
    for reason in Reason::ALL.iter().filter(|reason| !OUT_OF_REACH.contains(reason)) {
        assert!(met.contains_key(reason), "the history never met {}: {met:?}", reason.name());
    }
}

#[test]
fn the_short_way_and_the_long_way_agree_on_a_hundred_thousand_plain_packets() {
    history(3, 100_000, Kind::Plain);
}

#[test]
fn the_program_and_the_host_agree_on_half_a_million_packets() {
    expect_all_reasons(&history(1, 500_000, Kind::All));
}

#[test]
fn the_program_and_the_host_agree_on_another_half_a_million_packets() {
    expect_all_reasons(&history(2, 500_000, Kind::All));
}

#[test]
fn garbage_of_every_length_never_leaves_as_a_malformed_packet() {
    let mut program = Program::load(&SMALL).unwrap();
    program.apply(&topology(4, 3, TCP)).unwrap();
    let client = (Ipv4Addr::new(10, 1, 9, 1), 40_000);
    let good = from_client(client, (device_address(0), SERVICE_PORT), SYN, (1, 0))
        .with_payload(&[7; 40])
        .bytes();
    let mut random = Random::new(5);
    let mut frames: Vec<Vec<u8>> = (14..=good.len()).map(|len| good[..len].to_vec()).collect();
    for version_ihl in 0..=255 {
        let mut frame = good.clone();
        frame[14] = version_ihl;
        frames.push(frame);
    }
    for (high, low) in [(16, 17), (46, 46)] {
        for value in 0..=255 {
            let mut frame = good.clone();
            frame[high] = value;
            frame[low] = value.wrapping_mul(7);
            frames.push(frame);
        }
    }
    for _ in 0..20_000 {
        let len = 14 + random.below(120);
        frames.push((0..len).map(|_| random.bits() as u8).collect());
    }
    for frame in &frames {
        let outcome = program.run(frame).unwrap();
        match outcome.action {
            2 => assert_eq!(outcome.frame, *frame, "what passes is untouched"),
            3 | 4 => {
                // The program vouches for headers, not for a payload that came in damaged.
                let sent = Packet::read(&outcome.frame);
                let came = Packet::read(frame);
                assert!(sent.is_ok() || came.is_err(), "{sent:?} from {frame:02x?}");
            }
            _ => {}
        }
    }
}
