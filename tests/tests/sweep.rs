//! Counting and reaping flows: what stays, what goes, and what a drain waits for.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use redirector_common::tcp::{ACK, FIN, RST, SYN};
use redirector_common::verdict::Reason;
use redirector_common::wire::Forwarding;
use redirector_ctl::core::op::ServerState;
use redirector_ctl::platform::tables::{FlowCensus, Gateway, IdleTimes, Sweep};
use redirector_tests::data_path::packets::{Packet, from_client};
use redirector_tests::data_path::program::SMALL;
use redirector_tests::data_path::{
    Program, SERVICE_PORT, TCP, TestDevice, Version, device_address, gateway, server_address,
    server_port, server_state, servers, topology,
};

const CLOSING_MS: u64 = 30_000;
const IDLE_MS: u64 = 600_000;

fn program() -> Program {
    let mut program = Program::load(&SMALL).unwrap();
    program.apply(&topology(2, 1, TCP)).unwrap();
    program
}

fn segment(port: u16, flags: u8, numbers: (u32, u32)) -> Packet {
    let client = (Ipv4Addr::new(10, 1, 9, 1), port);
    from_client(client, (device_address(0), SERVICE_PORT), flags, numbers)
}

fn run(program: &Program, packet: &Packet) -> Reason {
    program.explain(&packet.bytes()).unwrap().1
}

fn prove(program: &Program, port: u16) {
    let server = (server_address(1), server_port(0));
    run(program, &segment(port, SYN, (100, 0)));
    run(program, &segment(port, ACK, (0, 0)).answer(server, SYN | ACK, (500, 101)));
    assert_eq!(run(program, &segment(port, ACK, (101, 501))), Reason::Proven);
}

/// Sweeps as if `later_ms` had passed.
fn sweep(program: &mut Program, later_ms: u64) -> FlowCensus {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let seconds: f64 = uptime.split_whitespace().next().unwrap().parse().unwrap();
    let sweep = Sweep {
        now_ns: (seconds * 1e9) as u64 + later_ms * 1_000_000,
        idle: IdleTimes { tcp_ms: IDLE_MS, other_ms: IDLE_MS },
        idle_of: BTreeMap::new(),
        draining: [(0, 1)].into(),
        closing_ms: CLOSING_MS,
    };
    program.tables.sweep_flows(&sweep).unwrap()
}

#[test]
fn flows_are_counted_by_device_epoch_and_server() {
    let mut program = program();
    (0..300).for_each(|port| prove(&program, 40_000 + port));
    let census = sweep(&mut program, 0);
    assert_eq!((census.flows_len, census.candidates_len, census.reaped), (300, 0, 0));
    assert_eq!(census.draining_clients[&(0, 1)].len(), 1, "all of one client");
    assert_eq!(census.by_epoch.into_iter().collect::<Vec<_>>(), [((0, 1, 1), 300)]);
}

#[test]
fn an_idle_flow_stays_until_its_time_and_a_closing_one_goes_soon() {
    let mut program = program();
    prove(&program, 40_000);
    prove(&program, 40_001);
    run(&program, &segment(40_001, FIN | ACK, (101, 501)));
    let census = sweep(&mut program, 0);
    assert_eq!((census.by_epoch[&(0, 1, 1)], census.closing[&(0, 1, 1)]), (2, 1));
    let census = sweep(&mut program, CLOSING_MS + 5_000);
    assert_eq!((census.flows_len, census.reaped), (1, 1));
    let census = sweep(&mut program, IDLE_MS + 5_000);
    assert_eq!((census.flows_len, census.reaped), (0, 1));
}

#[test]
fn a_silent_clients_flow_on_a_dead_server_stays_to_be_reset_and_goes_once_it_was() {
    let mut program = program();
    prove(&program, 40_000);
    program.apply(&[server_state(1, ServerState::Dead)]).unwrap();
    let census = sweep(&mut program, CLOSING_MS + 5_000);
    assert_eq!((census.flows_len, census.reaped), (1, 0));
    assert!(census.by_epoch.is_empty(), "it holds no drain open: {census:?}");
    assert_eq!(run(&program, &segment(40_000, ACK, (101, 501))), Reason::ResetDead);
    assert_eq!(sweep(&mut program, CLOSING_MS + 5_000).reaped, 1);
}

#[test]
fn an_attempt_that_came_to_nothing_does_not_hold_a_drain_open() {
    let mut program = program();
    run(&program, &segment(40_000, SYN, (100, 0)));
    let fresh = sweep(&mut program, 0);
    assert_eq!(fresh.by_epoch.get(&(0, 1, 1)), Some(&1));
    let later = sweep(&mut program, CLOSING_MS + 5_000);
    assert_eq!((later.candidates_len, later.by_epoch.len()), (1, 0));
}

#[test]
fn a_farewell_of_another_server_does_not_age_a_flow() {
    let mut program = program();
    prove(&program, 40_000);
    for flags in [FIN | ACK, RST] {
        let stranger = (server_address(2), server_port(0));
        let farewell = segment(40_000, ACK, (0, 0)).answer(stranger, flags, (900, 101));
        assert_eq!(run(&program, &farewell), Reason::ReturnStale);
    }
    let census = sweep(&mut program, CLOSING_MS + 5_000);
    assert_eq!((census.flows_len, census.closing.len(), census.reaped), (1, 0, 0));
}

#[test]
fn a_local_port_whose_client_never_proved_its_flow_is_given_back() {
    let mut program = Program::load(&SMALL).unwrap();
    let one_port = Gateway { local_ports: (2000, 2000), ..gateway() };
    program.tables.set_gateway(&one_port).unwrap();
    program.apply(&servers(Version::V4, 1)).unwrap();
    let device = TestDevice::new(Version::V4, 0, TCP, Forwarding::FullNat);
    program.apply(&device.ops(1, Version::V4)).unwrap();
    assert_eq!(run(&program, &segment(40_000, SYN, (100, 0))), Reason::Opened);
    sweep(&mut program, 0);
    assert_eq!(run(&program, &segment(40_001, SYN, (100, 0))), Reason::PortsFull, "still in use");
    sweep(&mut program, CLOSING_MS + 5_000);
    assert_eq!(run(&program, &segment(40_001, SYN, (100, 0))), Reason::Opened);
}
