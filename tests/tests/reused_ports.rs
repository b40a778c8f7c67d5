//! A client that begins anew on ports that it has used before, as NFS clients do, where the servers
//! know it by local ports of the redirector.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::collections::BTreeMap;

use redirector_common::tcp::{ACK, FIN, PSH, SYN};
use redirector_common::verdict::Reason;
use redirector_common::wire::Forwarding;
use redirector_ctl::platform::tables::{IdleTimes, Sweep};
use redirector_tests::data_path::conversation::{CLIENT, Conversation, DROP, TX, client_segment};
use redirector_tests::data_path::packets::Packet;
use redirector_tests::data_path::program::{Program, SMALL};
use redirector_tests::data_path::{
    LOCAL_V4, TCP, TestDevice, Version, server_address, server_port, servers,
};

/// A conversation with a device whose servers do not see its clients.
fn hidden() -> Conversation {
    let mut program = Program::load(&SMALL).unwrap();
    program.apply(&servers(Version::V4, 2)).unwrap();
    let device = TestDevice::new(Version::V4, 0, TCP, Forwarding::FullNat);
    program.apply(&device.ops(2, Version::V4)).unwrap();
    Conversation { program }
}

/// What server 1 says to a local port; gives the action, the reason and where the packet went.
fn server_says(
    talk: &mut Conversation,
    port: u16,
    flags: u8,
    numbers: (u32, u32),
) -> (u32, Reason, Packet) {
    let at = (server_address(1), server_port(0));
    let packet = Packet { source: (LOCAL_V4, port), ..client_segment(ACK, (0, 0)) };
    let (action, left, reason) = talk.run(&packet.answer(at, flags, numbers));
    (action, reason, left)
}

/// Opens a flow from the client's `sequence` on, and proves it: gives its local port.
fn open(talk: &mut Conversation, sequence: u32, server_sequence: u32) -> u16 {
    let (_, packet, reason) = talk.send(SYN, (sequence, 0));
    assert_eq!(reason, Reason::Opened);
    let port = packet.source.1;
    let accepted = server_says(talk, port, SYN | ACK, (server_sequence, sequence + 1));
    assert_eq!((accepted.0, accepted.1, accepted.2.destination), (TX, Reason::Returned, CLIENT));
    assert_eq!(talk.send(ACK, (sequence + 1, server_sequence + 1)).2, Reason::Proven);
    port
}

/// Takes away what is over.
fn sweep(talk: &mut Conversation) {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let seconds: f64 = uptime.split_whitespace().next().unwrap().parse().unwrap();
    let idle = IdleTimes { tcp_ms: 600_000, other_ms: 600_000 };
    let now_ns = (seconds * 1e9) as u64;
    let (idle_of, draining) = (BTreeMap::new(), [].into());
    let sweep = Sweep { now_ns, idle, idle_of, closing_ms: 30_000, draining };
    assert_eq!(talk.program.tables.sweep_flows(&sweep).unwrap().flows_len, 1);
}

#[test]
fn what_a_server_still_says_to_the_last_conversation_does_not_reach_the_next_one() {
    let mut talk = hidden();
    let old = open(&mut talk, 100, 900_000);
    // Both ways are remembered by now.
    assert_eq!(talk.send(ACK | PSH, (101, 900_001)).2, Reason::Established);
    assert_eq!(server_says(&mut talk, old, ACK, (900_001, 101)).1, Reason::Returned);
    let new = open(&mut talk, 9000, 7000);
    assert_ne!(old, new, "a port that a flow has is not given to another");
    for flags in [ACK | PSH, FIN | ACK] {
        let (action, reason, _) = server_says(&mut talk, old, flags, (900_001, 101));
        assert_eq!((action, reason), (DROP, Reason::ReturnStale));
    }
    let (action, reason, packet) = server_says(&mut talk, new, ACK, (7001, 9001));
    assert_eq!((action, reason, packet.destination), (TX, Reason::Returned, CLIENT));
}

#[test]
fn a_conversation_that_is_begun_anew_gives_the_local_port_of_the_last_one_back() {
    let mut talk = hidden();
    let old = open(&mut talk, 100, 900_000);
    let new = open(&mut talk, 9000, 7000);
    sweep(&mut talk);
    assert_eq!(
        server_says(&mut talk, old, ACK, (900_001, 101)).1,
        Reason::ReturnUnknown,
        "given back"
    );
    assert_eq!(server_says(&mut talk, new, ACK, (7001, 9001)).1, Reason::Returned, "still in use");
}
