//! A client's conversation with a device, spoken packet by packet through the loaded program.

use std::net::Ipv4Addr;

use redirector_common::tcp::{ACK, SYN};
use redirector_common::verdict::Reason;
use redirector_ctl::core::op::{AssociationWord, Op};

use super::packets::{Packet, from_client};
use super::program::{Program, SMALL};
pub use super::{DROP, PASS, TX};
use super::{SERVICE_PORT, TCP, device_address, server_address, server_port, topology};

/// The client's address and port.
pub const CLIENT: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 1, 9, 1), 40_001);

/// A program with four servers and two devices, both on server 1, and a client's conversation with
/// device 0.
pub struct Conversation {
    /// The program and its tables.
    pub program: Program,
}

impl Conversation {
    /// Program and tables for a protocol number.
    pub fn new(protocol: u8) -> Self {
        let mut program = Program::load(&SMALL).expect("the kernel runs the program");
        program.apply(&topology(4, 2, protocol)).expect("the kernel runs the program");
        Self { program }
    }

    /// The same for TCP.
    pub fn tcp() -> Self {
        Self::new(TCP)
    }

    /// Carries out an op.
    pub fn apply(&mut self, op: Op) {
        self.program.apply(&[op]).expect("the kernel runs the program");
    }

    /// Commits one association.
    pub fn associate(&mut self, device: u32, word: AssociationWord) {
        self.apply(Op::CommitAssociations { words: vec![(device, word)] });
    }

    /// Sends a client's segment; gives the action, the packet that left and the reason.
    pub fn send(&mut self, flags: u8, numbers: (u32, u32)) -> (u32, Packet, Reason) {
        self.run(&client_segment(flags, numbers))
    }

    /// Runs any packet; gives the action, the packet that left and the reason.
    pub fn run(&mut self, packet: &Packet) -> (u32, Packet, Reason) {
        let (outcome, reason) =
            self.program.explain(&packet.bytes()).expect("the kernel runs the program");
        (outcome.action, Packet::read(&outcome.frame).expect("the kernel runs the program"), reason)
    }

    /// Sends a segment of a server.
    pub fn answer(&mut self, server: u16, flags: u8, numbers: (u32, u32)) -> (u32, Packet, Reason) {
        let from = (server_address(server), server_port(0));
        let packet = client_segment(ACK, (0, 0)).answer(from, flags, numbers);
        self.run(&packet)
    }

    /// Opens device 0's flow and proves it: the client's numbers are then 101 and 501.
    pub fn open_flow(&mut self, server: u16) {
        assert_eq!(self.send(SYN, (100, 0)).2, Reason::Opened);
        assert_eq!(self.answer(server, SYN | ACK, (500, 101)).2, Reason::Returned);
        assert_eq!(self.send(ACK, (101, 501)).2, Reason::Proven);
    }
}

/// A segment of the client to device 0.
pub fn client_segment(flags: u8, numbers: (u32, u32)) -> Packet {
    from_client(CLIENT, (device_address(0), SERVICE_PORT), flags, numbers)
}

/// Where a packet goes.
pub fn server_of(packet: &Packet) -> (Ipv4Addr, u16) {
    packet.destination
}

/// Where device 0 is at a server.
pub fn at(server: u16) -> (Ipv4Addr, u16) {
    (server_address(server), server_port(0))
}
