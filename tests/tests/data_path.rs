//! Where the loaded program sends packets: stickiness, proof, challenges, and what is not ours.

use std::net::Ipv4Addr;
use std::time::Duration;

use redirector_common::tcp::{ACK, PSH, RST, SYN};
use redirector_common::verdict::Reason;
use redirector_common::wire::Forwarding;
use redirector_ctl::core::op::{AssociationWord, Op, ServerState};
use redirector_ctl::platform::tables::Gateway;
use redirector_tests::data_path::conversation::{
    CLIENT, Conversation, DROP, PASS, TX, at, client_segment, server_of,
};
use redirector_tests::data_path::packets::{CLIENT_MAC, Packet, from_client};
use redirector_tests::data_path::program::{Program, SMALL};
use redirector_tests::data_path::{
    SERVICE_PORT, TCP, TestDevice, UDP, Version, device_address, gateway, on, server_mac,
    server_port, servers, topology,
};
use redirector_tests::wait::{Look, now, until};

#[test]
fn a_syn_goes_to_the_devices_server_by_its_next_hop() {
    let mut talk = Conversation::tcp();
    let (action, packet, reason) = talk.send(SYN, (100, 0));
    assert_eq!((action, reason), (TX, Reason::Opened));
    assert_eq!(server_of(&packet), at(1));
    assert_eq!(packet.source, CLIENT, "the server sees the client's own address");
    assert_eq!(packet.destination_mac, server_mac(1));
    assert_eq!(packet.ttl, 63);
}

#[test]
fn an_answer_comes_back_from_the_service_address_by_the_way_the_client_came() {
    let mut talk = Conversation::tcp();
    talk.send(SYN, (100, 0));
    let (action, packet, reason) = talk.answer(1, SYN | ACK, (500, 101));
    assert_eq!((action, reason), (TX, Reason::Returned));
    assert_eq!(packet.source, (device_address(0), SERVICE_PORT));
    assert_eq!(packet.destination, CLIENT);
    assert_eq!(packet.destination_mac, CLIENT_MAC);
}

#[test]
fn a_flow_is_proven_only_by_what_its_server_alone_could_have_sent() {
    let mut talk = Conversation::tcp();
    talk.send(SYN, (100, 0));
    talk.answer(1, SYN | ACK, (500, 101));
    assert_eq!(talk.send(ACK, (101, 7_000_000)).2, Reason::Candidate, "a guessed number");
    assert_eq!(talk.send(RST, (101, 501)).2, Reason::Candidate, "no acknowledgement");
    assert_eq!(talk.send(ACK, (101, 501)).2, Reason::Proven);
    assert_eq!(talk.send(ACK | PSH, (101, 501)).2, Reason::Established);
}

#[test]
fn a_server_that_only_refuses_proves_nothing() {
    let mut talk = Conversation::tcp();
    talk.send(SYN, (100, 0));
    talk.answer(1, RST | ACK, (500, 101));
    assert_eq!(talk.send(ACK, (101, 500)).2, Reason::Candidate);
}

#[test]
fn a_proven_flow_stays_on_its_server_when_the_device_moves_and_a_new_flow_follows_the_device() {
    let mut talk = Conversation::tcp();
    talk.open_flow(1);
    talk.associate(0, AssociationWord { previous: 1, epoch: 2, epochs_open: 1, ..on(2) });
    let (_, packet, reason) = talk.send(ACK | PSH, (101, 501));
    assert_eq!((server_of(&packet), reason), (at(1), Reason::Established));
    let other = from_client((CLIENT.0, 40_002), (device_address(0), SERVICE_PORT), SYN, (1, 0));
    let (_, packet, reason) = talk.run(&other);
    assert_eq!((server_of(&packet), reason), (at(2), Reason::Opened));
}

#[test]
fn a_syn_is_never_captured_by_a_stale_flow() {
    let mut talk = Conversation::tcp();
    talk.open_flow(1);
    talk.associate(0, AssociationWord { previous: 1, epoch: 2, epochs_open: 1, ..on(2) });
    let (_, packet, reason) = talk.send(SYN, (9000, 0));
    assert_eq!((server_of(&packet), reason), (at(2), Reason::Opened));
    talk.answer(2, SYN | ACK, (7000, 9001));
    let (_, packet, reason) = talk.send(ACK, (9001, 7001));
    assert_eq!((server_of(&packet), reason), (at(2), Reason::Proven));
    let (_, packet, _) = talk.send(ACK | PSH, (9001, 7001));
    assert_eq!(server_of(&packet), at(2), "the flow is now that of the new conversation");
}

#[test]
fn a_spoofed_syn_does_not_move_a_proven_flow() {
    let mut talk = Conversation::tcp();
    talk.open_flow(1);
    talk.associate(0, AssociationWord { previous: 1, epoch: 2, epochs_open: 1, ..on(2) });
    talk.send(SYN, (9000, 0));
    talk.answer(2, SYN | ACK, (7_000_000, 9001));
    let (_, packet, reason) = talk.send(ACK | PSH, (101, 501));
    assert_eq!((server_of(&packet), reason), (at(1), Reason::Established));
    let (action, _, reason) = talk.answer(1, ACK, (501, 101));
    assert_eq!((action, reason), (TX, Reason::Returned), "and its answers still come back");
}

#[test]
fn a_flow_that_reads_past_the_numbers_of_a_spoofed_challenge_is_not_stolen() {
    let mut talk = Conversation::tcp();
    talk.open_flow(1);
    talk.associate(0, AssociationWord { previous: 1, epoch: 2, epochs_open: 1, ..on(2) });
    talk.send(SYN, (900_000_000, 0));
    talk.answer(2, SYN | ACK, (2_000_000, 900_000_001));
    for read in (501..4_000_000).step_by(30_000) {
        let (_, packet, reason) = talk.send(ACK, (101, read));
        assert_eq!((server_of(&packet), reason), (at(1), Reason::Established), "read to {read}");
    }
}

#[test]
fn a_challenged_flow_is_answered_by_its_own_way_back() {
    let mut talk = Conversation::tcp();
    talk.open_flow(1);
    let mut spoofed = client_segment(SYN, (900_000_000, 0));
    spoofed.source_mac = [2, 0, 9, 9, 9, 9];
    talk.run(&spoofed);
    let (_, packet, reason) = talk.answer(1, ACK | PSH, (501, 101));
    assert_eq!((packet.destination_mac, reason), (CLIENT_MAC, Reason::Returned));
}

#[test]
fn a_syn_beyond_the_rate_on_the_ports_of_a_flow_follows_the_device_and_leaves_the_flow_alone() {
    let mut talk = Conversation::tcp();
    talk.open_flow(1);
    talk.associate(0, AssociationWord { previous: 1, epoch: 2, epochs_open: 1, ..on(2) });
    let limited = Gateway { new_flows_per_second_max: 1, ..gateway() };
    talk.program.tables.set_gateway(&limited).unwrap();
    // The rate is kept in short windows: the SYN has to fall into one that is used up.
    let reasons = (0..1000).map(|number| {
        let (_, packet, reason) = talk.send(SYN, (9000 + number, 0));
        assert_eq!(server_of(&packet), at(2));
        reason
    });
    assert!(reasons.into_iter().any(|reason| reason == Reason::Unrecorded));
    for number in 0..3 {
        let (_, packet, reason) = talk.send(ACK | PSH, (101 + number, 501));
        assert_eq!((server_of(&packet), reason), (at(1), Reason::Established));
    }
    assert_eq!(talk.answer(1, ACK, (501, 104)).2, Reason::Returned);
}

#[test]
fn a_client_can_break_what_a_returned_server_still_holds_of_the_same_ports() {
    let mut talk = Conversation::tcp();
    talk.open_flow(1);
    for (state, incarnation) in [(ServerState::Dead, 1), (ServerState::Alive, 2)] {
        talk.program.apply(&[Op::SetServerState { id: 1, state, incarnation }]).unwrap();
    }
    assert_eq!(talk.send(SYN, (9000, 0)).2, Reason::Opened);
    // The server was only cut off: it has the old connection still, and asks about it (RFC 5961).
    let (action, packet, _) = talk.answer(1, ACK, (501, 101));
    assert_eq!((action, packet.destination), (TX, CLIENT));
    let (action, packet, _) = talk.send(RST, (101, 0));
    assert_eq!((action, server_of(&packet)), (TX, at(1)), "only this ends the old connection");
    assert_eq!(talk.send(SYN, (9000, 0)).2, Reason::Candidate);
    talk.answer(1, SYN | ACK, (7000, 9001));
    assert_eq!(talk.send(ACK, (9001, 7001)).2, Reason::Proven);
}

#[test]
fn a_repeated_syn_from_behind_another_hop_is_answered_there() {
    let mut talk = Conversation::tcp();
    talk.send(SYN, (100, 0));
    let mut repeated = client_segment(SYN, (100, 0));
    repeated.source_mac = [2, 0, 1, 0, 0, 2];
    assert_eq!(talk.run(&repeated).2, Reason::Candidate);
    let (_, packet, _) = talk.answer(1, SYN | ACK, (500, 101));
    assert_eq!(packet.destination_mac, [2, 0, 1, 0, 0, 2]);
}

#[test]
fn a_new_syn_on_the_same_ports_starts_a_new_candidate() {
    let mut talk = Conversation::tcp();
    talk.send(SYN, (100, 0));
    talk.answer(1, SYN | ACK, (500, 101));
    talk.send(SYN, (7_000, 0));
    assert_eq!(talk.send(ACK, (7_001, 501)).2, Reason::Candidate, "old numbers prove nothing");
}

#[test]
fn a_repeated_segment_of_the_server_takes_no_proof_back() {
    let mut talk = Conversation::tcp();
    talk.send(ACK | PSH, (101, 501));
    talk.answer(1, ACK | PSH, (501 + 60_000, 101));
    talk.answer(1, ACK | PSH, (500, 101));
    assert_eq!(talk.send(ACK, (101, 60_501)).2, Reason::Proven);
}

/// The server takes so long to answer.
fn think(took: Duration) {
    let asked = now();
    let thought = || match asked.elapsed() >= took {
        true => Ok(Look::Done(())),
        false => Ok(Look::NotYet("it thinks".to_owned())),
    };
    until("the server's answer", 10 * took, thought).expect("time passes");
}

#[test]
fn the_time_from_a_clients_data_to_its_servers_answer_is_told_of_the_device() {
    const TOOK: Duration = Duration::from_millis(30);
    let mut talk = Conversation::tcp();
    talk.open_flow(1);
    let question = Packet { payload: b"read".to_vec(), ..client_segment(ACK | PSH, (101, 501)) };
    let began = now();
    talk.run(&question);
    think(TOOK);
    talk.answer(1, ACK, (501, 105));
    assert!(talk.program.tables.counters().unwrap().responses.is_empty(), "that has no data");
    let answer = question.answer(at(1), ACK | PSH, (501, 105));
    talk.run(&Packet { payload: b"data".to_vec(), ..answer });
    let took_at_most = began.elapsed();
    let seen = &talk.program.tables.counters().unwrap().responses[&0];
    assert_eq!(seen.len(), 1);
    assert!((TOOK.as_nanos()..=took_at_most.as_nanos()).contains(&u128::from(seen.sum_ns)));
    let p99_ns = u128::from(seen.percentile_ns(99).unwrap());
    assert!((TOOK.as_nanos()..=took_at_most.as_nanos() * 5 / 4).contains(&p99_ns), "{p99_ns}");
}

#[test]
fn where_servers_answer_by_themselves_the_time_is_told_by_the_clients_packets_alone() {
    const TOOK: Duration = Duration::from_millis(30);
    let mut program = Program::load(&SMALL).unwrap();
    program.apply(&servers(Version::V4, 1)).unwrap();
    for (id, forwarding) in (0..).zip([Forwarding::Dsr, Forwarding::Ipip, Forwarding::Gue]) {
        let device = TestDevice::new(Version::V4, id, TCP, forwarding);
        program.apply(&device.ops(1, Version::V4)).unwrap();
        let says = |flags, numbers, payload: &[u8]| {
            let packet = from_client(CLIENT, (device_address(id), SERVICE_PORT), flags, numbers);
            let packet = Packet { payload: payload.to_vec(), ..packet };
            program.explain(&packet.bytes()).unwrap().1
        };
        let times = || program.tables.counters().unwrap().responses.get(&id).cloned();
        assert_eq!(says(SYN, (100, 0), b""), Reason::Opened, "{forwarding:?}");
        let mut expected_ns = 0..=0_u128;
        // Before the flow is proven, and by the short way after it.
        for (asked, (sequence, seen), answered) in [
            (Reason::Candidate, (101, 501), Reason::Proven),
            (Reason::Established, (105, 1501), Reason::Established),
        ] {
            let (len, began) = (times().map_or(0, |times| times.len()), now());
            assert_eq!(says(ACK | PSH, (sequence, seen), b"read"), asked, "{forwarding:?}");
            think(TOOK);
            says(ACK, (sequence + 4, seen), b"");
            let so_far = times().map_or(0, |times| times.len());
            assert_eq!(so_far, len, "{forwarding:?}: nothing new is acknowledged");
            assert_eq!(says(ACK, (sequence + 4, seen + 1000), b""), answered, "{forwarding:?}");
            let (least, most) = (TOOK.as_nanos(), began.elapsed().as_nanos());
            expected_ns = expected_ns.start() + least..=expected_ns.end() + most;
            let seen = times().unwrap();
            assert_eq!(seen.len(), len + 1, "{forwarding:?}");
            let sum_ns = u128::from(seen.sum_ns);
            assert!(expected_ns.contains(&sum_ns), "{forwarding:?}: {sum_ns} of {expected_ns:?}");
        }
    }
}

#[test]
fn what_only_passes_is_nobodys_traffic() {
    let talk = Conversation::tcp();
    let mut check = client_segment(ACK, (0, 0));
    check.source = (Ipv4Addr::new(10, 2, 0, 254), 50_000);
    let answer = check.answer(at(1), SYN | ACK, (5, 6)).bytes();
    assert_eq!(talk.program.explain(&answer).unwrap().1, Reason::ReturnUnknown);
    let counters = talk.program.tables.counters().unwrap();
    assert_eq!(counters.devices[&0], Default::default());
    assert_eq!(counters.servers[&1], Default::default());
}

#[test]
fn a_repeated_syn_stays_where_its_first_went_while_the_association_stands() {
    let mut talk = Conversation::tcp();
    talk.send(SYN, (100, 0));
    let (_, packet, reason) = talk.send(SYN, (100, 0));
    assert_eq!((server_of(&packet), reason), (at(1), Reason::Candidate));
}

#[test]
fn an_unknown_flow_in_mid_conversation_goes_to_the_previous_server_while_the_device_drains() {
    let mut talk = Conversation::tcp();
    talk.associate(0, AssociationWord { previous: 1, epoch: 2, epochs_open: 1, ..on(2) });
    let (_, packet, reason) = talk.send(ACK | PSH, (101, 501));
    assert_eq!((server_of(&packet), reason), (at(1), Reason::Adopted));
    talk.answer(1, ACK, (501, 101));
    let (_, packet, reason) = talk.send(ACK, (101, 501));
    assert_eq!((server_of(&packet), reason), (at(1), Reason::Proven));
}

#[test]
fn an_answer_of_another_server_than_the_flows_own_never_reaches_the_client() {
    let mut talk = Conversation::tcp();
    talk.open_flow(1);
    let (action, _, reason) = talk.answer(2, ACK, (501, 101));
    assert_eq!((action, reason), (DROP, Reason::ReturnStale));
}

#[test]
fn what_is_not_ours_passes_untouched() {
    let talk = Conversation::tcp();
    let mut foreign = client_segment(SYN, (1, 0));
    foreign.destination = (Ipv4Addr::new(10, 1, 0, 200), SERVICE_PORT);
    let mut other_port = client_segment(SYN, (1, 0));
    other_port.destination.1 = 22;
    for packet in [foreign, other_port] {
        let (outcome, reason) = talk.program.explain(&packet.bytes()).unwrap();
        assert_eq!((outcome.action, reason), (PASS, Reason::NotOurs));
        assert_eq!(outcome.frame, packet.bytes());
    }
    // The gateway's own health check: an answer of a server that belongs to no flow.
    let (outcome, reason) = {
        let mut check = client_segment(ACK, (0, 0));
        check.source = (Ipv4Addr::new(10, 2, 0, 254), 50_000);
        talk.program.explain(&check.answer(at(1), SYN | ACK, (5, 6)).bytes()).unwrap()
    };
    assert_eq!((outcome.action, reason), (PASS, Reason::ReturnUnknown));
}

#[test]
fn a_datagram_without_a_checksum_stays_without() {
    let talk = Conversation::new(UDP);
    let mut frame = client_segment(0, (0, 0)).as_udp().with_payload(b"x").bytes();
    frame[40..42].fill(0);
    let (outcome, _) = talk.program.explain(&frame).unwrap();
    assert_eq!(outcome.frame[40..42], [0, 0]);
    assert_eq!(outcome.frame[36..38], server_port(0).to_be_bytes());
}

#[test]
fn a_packet_without_a_hop_left_is_answered_under_its_own_reason() {
    let talk = Conversation::tcp();
    let mut packet = client_segment(SYN, (100, 0));
    packet.ttl = 1;
    let (outcome, reason) = talk.program.explain(&packet.bytes()).unwrap();
    assert_eq!((outcome.action, reason), (TX, Reason::HopsExceeded));
}

#[test]
fn a_server_without_a_resolved_neighbour_is_reached_through_the_kernel() {
    let mut talk = Conversation::tcp();
    talk.apply(Op::SetNextHop { id: 1, next_hop: None });
    let (action, packet, reason) = talk.send(SYN, (100, 0));
    assert_eq!((action, reason), (PASS, Reason::Opened));
    assert_eq!(server_of(&packet), at(1), "rewritten all the same");
}

#[test]
fn a_full_flow_table_moves_no_flow_and_is_counted() {
    let mut talk = Conversation::tcp();
    let limits = redirector_ctl::platform::bpf::TableLimits { flows_max: 1, ..SMALL };
    talk.program = Program::load(&limits).unwrap();
    talk.program.apply(&topology(4, 2, TCP)).unwrap();
    talk.open_flow(1);
    let second = |flags, numbers| {
        from_client((CLIENT.0, 40_002), (device_address(0), SERVICE_PORT), flags, numbers)
    };
    talk.run(&second(SYN, (100, 0)));
    talk.run(&second(ACK, (0, 0)).answer(at(1), SYN | ACK, (500, 101)));
    assert_eq!(talk.run(&second(ACK, (101, 501))).2, Reason::FlowsFull);
    let (_, packet, _) = talk.run(&second(ACK, (101, 501)));
    assert_eq!(server_of(&packet), at(1), "it still goes to its server");
    assert_eq!(talk.send(ACK, (101, 501)).2, Reason::Established);
}
