//! The loaded program and the host's decision must agree, byte for byte, on every packet of random
//! histories.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use redirector_common::tcp::{ACK, FIN, PSH, RST, SYN};
use redirector_ctl::core::op::{AssociationWord, Op, ServerState};
use redirector_tests::data_path::packets::{Packet, from_client};
use redirector_tests::data_path::program::{SMALL, settled_tick};
use redirector_tests::data_path::{
    Host, Program, SERVICE_PORT, TCP, UDP, device_address, server_address, server_port, topology,
};

const SERVERS: u16 = 4;
const DEVICES: u32 = 3;

/// A small generator with a seed, so that a failure can be run again (SplitMix64, Steele et al.
/// 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// A random packet of a small world, so that flows are met again and again.
fn packet(random: &mut Random, udp: bool) -> Vec<u8> {
    let client = (Ipv4Addr::new(10, 1, 9, random.below(3) as u8), 40_000 + random.below(4) as u16);
    let device = random.below(u64::from(DEVICES)) as u32;
    let flags = random.pick(&[SYN, ACK, ACK, ACK | PSH, ACK | FIN, RST, SYN | ACK, FIN]);
    let numbers = (random.pick(&[100, 101, 102]), random.pick(&[0, 500, 501, 502, 9_000_000]));
    let mut packet = from_client(client, (device_address(device), SERVICE_PORT), flags, numbers);
    if random.below(2) == 0 {
        let server = 1 + random.below(u64::from(SERVERS)) as u16;
        let from = (server_address(server), server_port(device));
        packet = packet.answer(from, random.pick(&[SYN | ACK, ACK, RST, ACK | FIN]), numbers);
    }
    if random.below(50) == 0 {
        packet.ttl = random.below(3) as u8;
    }
    if udp {
        packet = packet.as_udp();
    }
    let payload = vec![0x5a; random.pick(&[0, 0, 1, 12, 700])];
    let mut bytes = packet.with_payload(&payload).bytes();
    match random.below(40) {
        // Damage: a byte changed, a tail cut off, a tail added.
        0 => {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.next() as u8;
        }
        1 => bytes.truncate(14 + random.below(bytes.len() as u64 - 13) as usize),
        2 => bytes.resize(bytes.len() + random.below(20) as usize, 0),
        _ => {}
    }
    bytes
}

/// A random change of the tables.
fn op(random: &mut Random) -> Op {
    let server = |random: &mut Random| random.below(u64::from(SERVERS) + 1) as u16;
    let word = |random: &mut Random| AssociationWord {
        server: server(random),
        previous: server(random),
        backup: server(random),
        epoch: random.below(5) as u16,
        epochs_open: random.below(3) as u8,
    };
    match random.below(4) {
        0 => Op::SetServerState {
            id: 1 + random.below(u64::from(SERVERS)) as u16,
            state: random.pick(&[ServerState::Alive, ServerState::Alive, ServerState::Dead]),
            incarnation: random.below(3) as u32,
        },
        1 => Op::CommitAssociations { words: (0..DEVICES).map(|d| (d, word(random))).collect() },
        2 => Op::SetNextHop { id: 1 + random.below(u64::from(SERVERS)) as u16, next_hop: None },
        _ => {
            let device = random.below(u64::from(DEVICES)) as u32;
            Op::CommitAssociations { words: vec![(device, word(random))] }
        }
    }
}

/// A frame as fields and as bytes, for comparison by eye.
fn side(name: &str, action: u32, frame: &[u8]) -> String {
    format!("{name:>9}: action {action}, {:?}\n           {frame:02x?}", Packet::read(frame))
}

/// Runs a history on both; gives how often each reason was met.
fn history(seed: u64, packets: u64, udp: bool) -> BTreeMap<&'static str, u64> {
    let protocol = if udp { UDP } else { TCP };
    let mut random = Random(seed);
    let mut program = Program::load(&SMALL).unwrap();
    let mut host = Host::new();
    let ops = topology(SERVERS, DEVICES, protocol);
    program.apply(&ops).unwrap();
    host.apply(&ops);
    let mut met = BTreeMap::new();
    for step in 0..packets {
        if random.below(500) == 0 {
            let change = op(&mut random);
            program.apply(std::slice::from_ref(&change)).unwrap();
            host.apply(&[change]);
        }
        let frame = packet(&mut random, udp);
        host.now.set(settled_tick().unwrap());
        let (expected, reason) = host.run(&frame);
        let actual = program.run(&frame).unwrap();
        assert!(
            expected == actual,
            "seed {seed}, step {step}, reason {}\n{}\n{}\n{}",
            reason.name(),
            side("in", 0, &frame),
            side("expected", expected.action, &expected.frame),
            side("actual", actual.action, &actual.frame),
        );
        *met.entry(reason.name()).or_default() += 1;
    }
    let counted: BTreeMap<_, _> = program
        .reasons()
        .unwrap()
        .into_iter()
        .filter(|(_, count)| count.packets > 0)
        .map(|(reason, count)| (reason.name(), count.packets))
        .collect();
    assert_eq!(met, counted, "every packet is counted once, under the reason that the host names");
    met
}

#[test]
fn the_program_and_the_host_agree_on_tcp() {
    let mut met = BTreeMap::new();
    for seed in 1..=4 {
        met.extend(history(seed, 50_000, false));
    }
    for reason in
        ["established", "proven", "adopted", "reset_dead", "reset_retired", "return_stale"]
    {
        assert!(met.contains_key(reason), "the histories never met {reason}: {met:?}");
    }
}

#[test]
fn the_program_and_the_host_agree_on_udp() {
    let met = history(11, 50_000, true);
    for reason in ["established", "proven", "opened", "returned"] {
        assert!(met.contains_key(reason), "the history never met {reason}: {met:?}");
    }
}

#[test]
fn garbage_of_every_length_never_leaves_as_a_malformed_packet() {
    let mut program = Program::load(&SMALL).unwrap();
    program.apply(&topology(SERVERS, DEVICES, TCP)).unwrap();
    let client = (Ipv4Addr::new(10, 1, 9, 1), 40_000);
    let good = from_client(client, (device_address(0), SERVICE_PORT), SYN, (1, 0))
        .with_payload(&[7; 40])
        .bytes();
    let mut random = Random(5);
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
        let len = 14 + random.below(120) as usize;
        frames.push((0..len).map(|_| random.next() as u8).collect());
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
