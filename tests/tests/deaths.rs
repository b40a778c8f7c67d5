//! What the loaded program does with flows whose server died or whose epoch is retired.

use redirector_common::tcp::{ACK, FIN, PSH, RST, SYN};
use redirector_common::verdict::Reason;
use redirector_ctl::core::op::{AssociationWord, Op, ServerState};
use redirector_tests::data_path::conversation::{
    CLIENT, Conversation, DROP, TX, at, client_segment, server_of,
};
use redirector_tests::data_path::packets::{CLIENT_MAC, Packet, Transport};
use redirector_tests::data_path::{SERVICE_PORT, UDP, device_address, on, server_state};

#[test]
fn the_backup_takes_new_flows_with_the_store_that_declares_the_server_dead() {
    let mut talk = Conversation::tcp();
    talk.associate(0, AssociationWord { backup: 3, ..on(1) });
    talk.apply(server_state(1, ServerState::Dead));
    let (_, packet, reason) = talk.send(SYN, (100, 0));
    assert_eq!((server_of(&packet), reason), (at(3), Reason::Opened));
}

#[test]
fn without_a_living_server_a_syn_is_dropped_under_its_own_reason() {
    let mut talk = Conversation::tcp();
    talk.associate(0, AssociationWord { backup: 3, ..on(1) });
    talk.apply(server_state(1, ServerState::Dead));
    talk.apply(server_state(3, ServerState::Dead));
    let (action, _, reason) = talk.send(SYN, (100, 0));
    assert_eq!((action, reason), (DROP, Reason::NoServer));
}

#[test]
fn a_dead_servers_flow_is_answered_with_the_exact_rst() {
    let mut talk = Conversation::tcp();
    talk.open_flow(1);
    talk.apply(server_state(1, ServerState::Dead));
    let segment = client_segment(ACK | PSH, (101, 501)).with_payload(b"read block 7");
    let (action, packet, reason) = talk.run(&segment);
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
    let mut talk = Conversation::tcp();
    talk.open_flow(1);
    talk.apply(server_state(1, ServerState::Dead));
    let mut frame = client_segment(ACK, (101, 501)).bytes();
    frame.resize(60, 0xee);
    let (outcome, reason) = talk.program.explain(&frame).unwrap();
    assert_eq!(reason, Reason::ResetDead);
    assert_eq!(outcome.frame.len(), 54);
    let packet = Packet::read(&outcome.frame).unwrap();
    let exact = Transport::Tcp { flags: RST, sequence: 501, acknowledgement: 0 };
    assert_eq!(packet.transport, exact);
}

#[test]
fn a_rst_and_a_segment_without_ack_are_never_answered() {
    let mut talk = Conversation::tcp();
    talk.open_flow(1);
    talk.apply(server_state(1, ServerState::Dead));
    for flags in [RST, RST | ACK, FIN, PSH] {
        let (action, _, reason) = talk.send(flags, (101, 501));
        assert_eq!((action, reason), (DROP, Reason::Unanswerable), "flags {flags:#x}");
    }
}

#[test]
fn a_server_that_returns_gets_nothing_of_its_earlier_life() {
    let mut talk = Conversation::tcp();
    talk.open_flow(1);
    talk.apply(Op::SetServerState { id: 1, state: ServerState::Alive, incarnation: 2 });
    assert_eq!(talk.send(ACK | PSH, (101, 501)).2, Reason::ResetDead);
    let (action, _, reason) = talk.answer(1, ACK, (501, 101));
    assert_eq!((action, reason), (DROP, Reason::ReturnStale), "nor does the client hear of it");
    assert_eq!(talk.send(SYN, (100, 0)).2, Reason::Opened, "but a new flow is welcome");
}

#[test]
fn a_new_conversation_on_the_ports_of_a_dead_one_is_not_reset() {
    let mut talk = Conversation::tcp();
    talk.associate(0, AssociationWord { backup: 2, ..on(1) });
    talk.open_flow(1);
    talk.apply(server_state(1, ServerState::Dead));
    assert_eq!(talk.send(SYN, (9000, 0)).2, Reason::Opened);
    assert_eq!(talk.answer(2, SYN | ACK, (7000, 9001)).2, Reason::Returned);
    let (_, packet, reason) = talk.send(ACK, (9001, 7001));
    assert_eq!((server_of(&packet), reason), (at(2), Reason::Proven));
}

#[test]
fn a_retired_epochs_flow_is_reset_and_a_younger_one_is_not() {
    let mut talk = Conversation::tcp();
    talk.open_flow(1);
    talk.associate(0, AssociationWord { epoch: 2, ..on(2) });
    assert_eq!(talk.send(ACK | PSH, (101, 501)).2, Reason::ResetRetired);
    talk.send(SYN, (100, 0));
    talk.answer(2, SYN | ACK, (500, 101));
    assert_eq!(talk.send(ACK, (101, 501)).2, Reason::Proven);
    assert_eq!(talk.send(ACK | PSH, (101, 501)).2, Reason::Established);
}

#[test]
fn datagrams_stick_to_their_server_and_are_never_stranded_on_a_dead_one() {
    let mut talk = Conversation::new(UDP);
    talk.associate(0, AssociationWord { backup: 2, ..on(1) });
    let datagram = client_segment(0, (0, 0)).as_udp().with_payload(b"question");
    assert_eq!(talk.run(&datagram).2, Reason::Opened);
    assert_eq!(talk.run(&datagram).2, Reason::Candidate);
    let (_, back, reason) = talk.run(&datagram.answer(at(1), 0, (0, 0)).with_payload(b"answer"));
    assert_eq!((back.source, reason), ((device_address(0), SERVICE_PORT), Reason::Returned));
    assert_eq!(talk.run(&datagram).2, Reason::Proven);
    talk.associate(0, AssociationWord { previous: 1, epoch: 2, epochs_open: 1, ..on(3) });
    let (_, packet, reason) = talk.run(&datagram);
    assert_eq!((server_of(&packet), reason), (at(1), Reason::Established));
    talk.apply(server_state(1, ServerState::Dead));
    let (_, packet, reason) = talk.run(&datagram);
    assert_eq!((server_of(&packet), reason), (at(3), Reason::Opened));
    let answer = datagram.answer(at(3), 0, (0, 0)).with_payload(b"answer");
    let (_, back, reason) = talk.run(&answer);
    assert_eq!((back.source, reason), ((device_address(0), SERVICE_PORT), Reason::Returned));
    assert_eq!(
        talk.run(&datagram).2,
        Reason::Proven,
        "the survivor's flow takes the dead one's place"
    );
    assert_eq!(talk.run(&datagram).2, Reason::Established);
    assert_eq!(talk.run(&answer).2, Reason::Returned);
}
