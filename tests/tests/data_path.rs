//! What the loaded program does with packets, guarantee by guarantee.

use std::net::Ipv4Addr;

use redirector_common::tcp::{ACK, FIN, PSH, RST, SYN};
use redirector_common::verdict::Reason;
use redirector_ctl::core::op::{AssociationWord, Op, ServerState};
use redirector_ctl::core::spec::Protocol;
use redirector_tests::data_path::packets::{CLIENT_MAC, Packet, Transport, from_client};
use redirector_tests::data_path::program::SMALL;
use redirector_tests::data_path::{
    Program, SERVICE_PORT, device_address, on, server_address, server_mac, server_port,
    server_state, topology,
};

const PASS: u32 = 2;
const DROP: u32 = 1;
const TX: u32 = 3;
const CLIENT: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 1, 9, 1), 40_001);

/// A program with four servers and two devices, both on server 1, and a client's conversation with
/// device 0.
struct Bench {
    program: Program,
}

impl Bench {
    fn new(protocol: Protocol) -> Self {
        let mut program = Program::load(&SMALL).unwrap();
        program.apply(&topology(4, 2, protocol)).unwrap();
        Self { program }
    }

    fn tcp() -> Self {
        Self::new(Protocol::Tcp)
    }

    fn apply(&mut self, op: Op) {
        self.program.apply(&[op]).unwrap();
    }

    fn associate(&mut self, device: u32, word: AssociationWord) {
        self.apply(Op::CommitAssociations { words: vec![(device, word)] });
    }

    /// Sends a client's segment; gives the action, the packet that left and the reason.
    fn send(&mut self, flags: u8, numbers: (u32, u32)) -> (u32, Packet, Reason) {
        self.run(&client_segment(flags, numbers))
    }

    fn run(&mut self, packet: &Packet) -> (u32, Packet, Reason) {
        let (outcome, reason) = self.program.explain(&packet.bytes()).unwrap();
        (outcome.action, Packet::read(&outcome.frame).unwrap(), reason)
    }

    fn answer(&mut self, server: u16, flags: u8, numbers: (u32, u32)) -> (u32, Packet, Reason) {
        let from = (server_address(server), server_port(0));
        let packet = client_segment(ACK, (0, 0)).answer(from, flags, numbers);
        self.run(&packet)
    }

    /// Opens device 0's flow and proves it: the client's numbers are then 101 and 501.
    fn open_flow(&mut self, server: u16) {
        assert_eq!(self.send(SYN, (100, 0)).2, Reason::Opened);
        assert_eq!(self.answer(server, SYN | ACK, (500, 101)).2, Reason::Returned);
        assert_eq!(self.send(ACK, (101, 501)).2, Reason::Proven);
    }
}

fn client_segment(flags: u8, numbers: (u32, u32)) -> Packet {
    from_client(CLIENT, (device_address(0), SERVICE_PORT), flags, numbers)
}

fn server_of(packet: &Packet) -> (Ipv4Addr, u16) {
    packet.destination
}

fn at(server: u16) -> (Ipv4Addr, u16) {
    (server_address(server), server_port(0))
}

#[test]
fn a_syn_goes_to_the_devices_server_by_its_next_hop() {
    let mut bench = Bench::tcp();
    let (action, packet, reason) = bench.send(SYN, (100, 0));
    assert_eq!((action, reason), (TX, Reason::Opened));
    assert_eq!(server_of(&packet), at(1));
    assert_eq!(packet.source, CLIENT, "the server sees the client's own address");
    assert_eq!(packet.destination_mac, server_mac(1));
    assert_eq!(packet.ttl, 63);
}

#[test]
fn an_answer_comes_back_from_the_service_address_by_the_way_the_client_came() {
    let mut bench = Bench::tcp();
    bench.send(SYN, (100, 0));
    let (action, packet, reason) = bench.answer(1, SYN | ACK, (500, 101));
    assert_eq!((action, reason), (TX, Reason::Returned));
    assert_eq!(packet.source, (device_address(0), SERVICE_PORT));
    assert_eq!(packet.destination, CLIENT);
    assert_eq!(packet.destination_mac, CLIENT_MAC);
}

#[test]
fn a_flow_is_proven_only_by_what_its_server_alone_could_have_sent() {
    let mut bench = Bench::tcp();
    bench.send(SYN, (100, 0));
    bench.answer(1, SYN | ACK, (500, 101));
    assert_eq!(bench.send(ACK, (101, 7_000_000)).2, Reason::Candidate, "a guessed number");
    assert_eq!(bench.send(RST, (101, 501)).2, Reason::Candidate, "no acknowledgement");
    assert_eq!(bench.send(ACK, (101, 501)).2, Reason::Proven);
    assert_eq!(bench.send(ACK | PSH, (101, 501)).2, Reason::Established);
}

#[test]
fn a_server_that_only_refuses_proves_nothing() {
    let mut bench = Bench::tcp();
    bench.send(SYN, (100, 0));
    bench.answer(1, RST | ACK, (500, 101));
    assert_eq!(bench.send(ACK, (101, 500)).2, Reason::Candidate);
}

#[test]
fn a_proven_flow_stays_on_its_server_when_the_device_moves_and_a_new_flow_follows_the_device() {
    let mut bench = Bench::tcp();
    bench.open_flow(1);
    bench.associate(0, AssociationWord { previous: 1, epoch: 2, epochs_open: 1, ..on(2) });
    let (_, packet, reason) = bench.send(ACK | PSH, (101, 501));
    assert_eq!((server_of(&packet), reason), (at(1), Reason::Established));
    let other = from_client((CLIENT.0, 40_002), (device_address(0), SERVICE_PORT), SYN, (1, 0));
    let (_, packet, reason) = bench.run(&other);
    assert_eq!((server_of(&packet), reason), (at(2), Reason::Opened));
}

#[test]
fn a_syn_is_never_captured_by_a_stale_flow() {
    let mut bench = Bench::tcp();
    bench.open_flow(1);
    bench.associate(0, AssociationWord { previous: 1, epoch: 2, epochs_open: 1, ..on(2) });
    let (_, packet, reason) = bench.send(SYN, (9000, 0));
    assert_eq!((server_of(&packet), reason), (at(2), Reason::Opened));
    bench.answer(2, SYN | ACK, (7000, 9001));
    let (_, packet, reason) = bench.send(ACK, (9001, 7001));
    assert_eq!((server_of(&packet), reason), (at(2), Reason::Proven));
    let (_, packet, _) = bench.send(ACK | PSH, (9001, 7001));
    assert_eq!(server_of(&packet), at(2), "the flow is now that of the new conversation");
}

#[test]
fn a_spoofed_syn_does_not_move_a_proven_flow() {
    let mut bench = Bench::tcp();
    bench.open_flow(1);
    bench.associate(0, AssociationWord { previous: 1, epoch: 2, epochs_open: 1, ..on(2) });
    bench.send(SYN, (9000, 0));
    bench.answer(2, SYN | ACK, (7_000_000, 9001));
    let (_, packet, reason) = bench.send(ACK | PSH, (101, 501));
    assert_eq!((server_of(&packet), reason), (at(1), Reason::Established));
    let (action, _, reason) = bench.answer(1, ACK, (501, 101));
    assert_eq!((action, reason), (TX, Reason::Returned), "and its answers still come back");
}

#[test]
fn a_repeated_syn_stays_where_its_first_went_while_the_association_stands() {
    let mut bench = Bench::tcp();
    bench.send(SYN, (100, 0));
    let (_, packet, reason) = bench.send(SYN, (100, 0));
    assert_eq!((server_of(&packet), reason), (at(1), Reason::Candidate));
}

#[test]
fn the_backup_takes_new_flows_with_the_store_that_declares_the_server_dead() {
    let mut bench = Bench::tcp();
    bench.associate(0, AssociationWord { backup: 3, ..on(1) });
    bench.apply(server_state(1, ServerState::Dead));
    let (_, packet, reason) = bench.send(SYN, (100, 0));
    assert_eq!((server_of(&packet), reason), (at(3), Reason::Opened));
}

#[test]
fn without_a_living_server_a_syn_is_dropped_under_its_own_reason() {
    let mut bench = Bench::tcp();
    bench.associate(0, AssociationWord { backup: 3, ..on(1) });
    bench.apply(server_state(1, ServerState::Dead));
    bench.apply(server_state(3, ServerState::Dead));
    let (action, _, reason) = bench.send(SYN, (100, 0));
    assert_eq!((action, reason), (DROP, Reason::NoServer));
}

#[test]
fn a_dead_servers_flow_is_answered_with_the_exact_rst() {
    let mut bench = Bench::tcp();
    bench.open_flow(1);
    bench.apply(server_state(1, ServerState::Dead));
    let segment = client_segment(ACK | PSH, (101, 501)).with_payload(b"read block 7");
    let (action, packet, reason) = bench.run(&segment);
    assert_eq!((action, reason), (TX, Reason::ResetDead));
    assert_eq!(packet.source, (device_address(0), SERVICE_PORT));
    assert_eq!(packet.destination, CLIENT);
    assert_eq!(packet.destination_mac, CLIENT_MAC);
    let exact = Transport::Tcp { flags: RST, sequence: 501, acknowledgement: 0 };
    assert_eq!(packet.transport, exact, "its number is the segment's own acknowledgement");
    assert!(packet.payload.is_empty());
}

#[test]
fn padding_of_a_short_frame_does_not_leak_into_the_rst() {
    let mut bench = Bench::tcp();
    bench.open_flow(1);
    bench.apply(server_state(1, ServerState::Dead));
    let mut frame = client_segment(ACK, (101, 501)).bytes();
    frame.resize(60, 0xee);
    let (outcome, reason) = bench.program.explain(&frame).unwrap();
    assert_eq!(reason, Reason::ResetDead);
    assert_eq!(outcome.frame.len(), 54);
    let packet = Packet::read(&outcome.frame).unwrap();
    let exact = Transport::Tcp { flags: RST, sequence: 501, acknowledgement: 0 };
    assert_eq!(packet.transport, exact);
}

#[test]
fn a_rst_and_a_segment_without_ack_are_never_answered() {
    let mut bench = Bench::tcp();
    bench.open_flow(1);
    bench.apply(server_state(1, ServerState::Dead));
    for flags in [RST, RST | ACK, FIN, PSH] {
        let (action, _, reason) = bench.send(flags, (101, 501));
        assert_eq!((action, reason), (DROP, Reason::Unanswerable), "flags {flags:#x}");
    }
}

#[test]
fn a_server_that_returns_gets_nothing_of_its_earlier_life() {
    let mut bench = Bench::tcp();
    bench.open_flow(1);
    bench.apply(Op::SetServerState { id: 1, state: ServerState::Alive, incarnation: 2 });
    assert_eq!(bench.send(ACK | PSH, (101, 501)).2, Reason::ResetDead);
    let (action, _, reason) = bench.answer(1, ACK, (501, 101));
    assert_eq!((action, reason), (DROP, Reason::ReturnStale), "nor does the client hear of it");
    assert_eq!(bench.send(SYN, (100, 0)).2, Reason::Opened, "but a new flow is welcome");
}

#[test]
fn a_new_conversation_on_the_ports_of_a_dead_one_is_not_reset() {
    let mut bench = Bench::tcp();
    bench.associate(0, AssociationWord { backup: 2, ..on(1) });
    bench.open_flow(1);
    bench.apply(server_state(1, ServerState::Dead));
    assert_eq!(bench.send(SYN, (9000, 0)).2, Reason::Opened);
    assert_eq!(bench.answer(2, SYN | ACK, (7000, 9001)).2, Reason::Returned);
    let (_, packet, reason) = bench.send(ACK, (9001, 7001));
    assert_eq!((server_of(&packet), reason), (at(2), Reason::Proven));
}

#[test]
fn a_retired_epochs_flow_is_reset_and_a_younger_one_is_not() {
    let mut bench = Bench::tcp();
    bench.open_flow(1);
    bench.associate(0, AssociationWord { epoch: 2, ..on(2) });
    assert_eq!(bench.send(ACK | PSH, (101, 501)).2, Reason::ResetRetired);
    bench.send(SYN, (100, 0));
    bench.answer(2, SYN | ACK, (500, 101));
    assert_eq!(bench.send(ACK, (101, 501)).2, Reason::Proven);
    assert_eq!(bench.send(ACK | PSH, (101, 501)).2, Reason::Established);
}

#[test]
fn an_unknown_flow_in_mid_conversation_goes_to_the_previous_server_while_the_device_drains() {
    let mut bench = Bench::tcp();
    bench.associate(0, AssociationWord { previous: 1, epoch: 2, epochs_open: 1, ..on(2) });
    let (_, packet, reason) = bench.send(ACK | PSH, (101, 501));
    assert_eq!((server_of(&packet), reason), (at(1), Reason::Adopted));
    bench.answer(1, ACK, (501, 101));
    let (_, packet, reason) = bench.send(ACK, (101, 501));
    assert_eq!((server_of(&packet), reason), (at(1), Reason::Proven));
}

#[test]
fn an_answer_of_another_server_than_the_flows_own_never_reaches_the_client() {
    let mut bench = Bench::tcp();
    bench.open_flow(1);
    let (action, _, reason) = bench.answer(2, ACK, (501, 101));
    assert_eq!((action, reason), (DROP, Reason::ReturnStale));
}

#[test]
fn what_is_not_ours_passes_untouched() {
    let mut bench = Bench::tcp();
    let mut foreign = client_segment(SYN, (1, 0));
    foreign.destination = (Ipv4Addr::new(10, 1, 0, 200), SERVICE_PORT);
    let mut other_port = client_segment(SYN, (1, 0));
    other_port.destination.1 = 22;
    for packet in [foreign, other_port] {
        let (outcome, reason) = bench.program.explain(&packet.bytes()).unwrap();
        assert_eq!((outcome.action, reason), (PASS, Reason::NotOurs));
        assert_eq!(outcome.frame, packet.bytes());
    }
    // The gateway's own health check: an answer of a server that belongs to no flow.
    let (outcome, reason) = {
        let mut check = client_segment(ACK, (0, 0));
        check.source = (Ipv4Addr::new(10, 2, 0, 254), 50_000);
        bench.program.explain(&check.answer(at(1), SYN | ACK, (5, 6)).bytes()).unwrap()
    };
    assert_eq!((outcome.action, reason), (PASS, Reason::ReturnUnknown));
}

#[test]
fn datagrams_stick_to_their_server_and_are_never_stranded_on_a_dead_one() {
    let mut bench = Bench::new(Protocol::Udp);
    bench.associate(0, AssociationWord { backup: 2, ..on(1) });
    let datagram = client_segment(0, (0, 0)).as_udp().with_payload(b"question");
    assert_eq!(bench.run(&datagram).2, Reason::Opened);
    assert_eq!(bench.run(&datagram).2, Reason::Candidate);
    let (_, back, reason) = bench.run(&datagram.answer(at(1), 0, (0, 0)).with_payload(b"answer"));
    assert_eq!((back.source, reason), ((device_address(0), SERVICE_PORT), Reason::Returned));
    assert_eq!(bench.run(&datagram).2, Reason::Proven);
    bench.associate(0, AssociationWord { previous: 1, epoch: 2, epochs_open: 1, ..on(3) });
    let (_, packet, reason) = bench.run(&datagram);
    assert_eq!((server_of(&packet), reason), (at(1), Reason::Established));
    bench.apply(server_state(1, ServerState::Dead));
    let (_, packet, reason) = bench.run(&datagram);
    assert_eq!((server_of(&packet), reason), (at(3), Reason::Opened));
}

#[test]
fn a_datagram_without_a_checksum_stays_without() {
    let mut bench = Bench::new(Protocol::Udp);
    let mut frame = client_segment(0, (0, 0)).as_udp().with_payload(b"x").bytes();
    frame[40..42].fill(0);
    let (outcome, _) = bench.program.explain(&frame).unwrap();
    assert_eq!(outcome.frame[40..42], [0, 0]);
    assert_eq!(outcome.frame[36..38], server_port(0).to_be_bytes());
}

#[test]
fn a_packet_without_a_hop_left_is_dropped_under_its_own_reason() {
    let mut bench = Bench::tcp();
    let mut packet = client_segment(SYN, (100, 0));
    packet.ttl = 1;
    assert_eq!((bench.run(&packet).0, bench.run(&packet).2), (DROP, Reason::TtlExpired));
}

#[test]
fn a_server_without_a_resolved_neighbour_is_reached_through_the_kernel() {
    let mut bench = Bench::tcp();
    bench.apply(Op::SetNextHop { id: 1, next_hop: None });
    let (action, packet, reason) = bench.send(SYN, (100, 0));
    assert_eq!((action, reason), (PASS, Reason::Opened));
    assert_eq!(server_of(&packet), at(1), "rewritten all the same");
}

#[test]
fn a_full_flow_table_moves_no_flow_and_is_counted() {
    let mut bench = Bench::tcp();
    let limits = redirector_ctl::platform::bpf::TableLimits { flows_max: 1, ..SMALL };
    bench.program = Program::load(&limits).unwrap();
    bench.program.apply(&topology(4, 2, Protocol::Tcp)).unwrap();
    bench.open_flow(1);
    let second = |flags, numbers| {
        from_client((CLIENT.0, 40_002), (device_address(0), SERVICE_PORT), flags, numbers)
    };
    bench.run(&second(SYN, (100, 0)));
    bench.run(&second(ACK, (0, 0)).answer(at(1), SYN | ACK, (500, 101)));
    assert_eq!(bench.run(&second(ACK, (101, 501))).2, Reason::FlowsFull);
    let (_, packet, _) = bench.run(&second(ACK, (101, 501)));
    assert_eq!(server_of(&packet), at(1), "it still goes to its server");
    assert_eq!(bench.send(ACK, (101, 501)).2, Reason::Established);
}
