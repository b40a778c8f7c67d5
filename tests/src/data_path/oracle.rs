//! An oracle of flows: it knows only who opened each flow where, and what became of devices and
//! servers since, and judges where the loaded program sends packets.
//!
//! It shares no code with the decision. What it demands:
//!
//! - G2: a proven flow's packets go to its own server while that lives the same life and the
//!   device's drains reach back to the flow's beginning.
//! - G3: a SYN goes where the device is now, whatever was on its ports before.
//! - G10: a server that has come back gets nothing of its earlier life, nor does a client hear of
//!   it.

use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use redirector_common::tcp::{ACK, PSH, SYN};
use redirector_ctl::core::op::{AssociationWord, Op, ServerState};

use super::packets::{Packet, from_client};
use super::program::{Program, SMALL};
use super::{SERVICE_PORT, TCP, TX, device_address, server_address, server_port, topology};
use crate::random::Random;

const SERVERS: u16 = 5;
const DEVICES: u32 = 4;
const PORTS: u16 = 24;

/// What a history has shown.
#[derive(Debug, Default)]
pub struct Seen {
    /// Packets judged.
    pub packets: u64,
    /// Packets of proven flows that had to stay on their servers.
    pub kept: u64,
    /// SYNs.
    pub opened: u64,
    /// Packets of flows whose server had died or come back, or whose epoch was retired.
    pub over: u64,
    /// Every broken promise, in words.
    pub violations: Vec<String>,
}

#[derive(Clone, Copy)]
struct Life {
    alive: bool,
    number: u32,
}

#[derive(Clone, Copy)]
struct Place {
    server: u16,
    backup: u16,
    epoch: u16,
    epochs_open: u8,
}

/// A conversation as its two ends know it.
#[derive(Clone, Copy)]
struct Flow {
    device: u32,
    port: u16,
    server: u16,
    life: u32,
    epoch: u16,
    client_next: u32,
    server_next: u32,
}

/// A world with a history.
struct World {
    program: Program,
    random: Random,
    lives: Vec<Life>,
    places: Vec<Place>,
    flows: Vec<Option<Flow>>,
    seen: Seen,
}

/// Runs a random history of `steps` through the loaded program.
///
/// # Errors
///
/// When the program cannot be loaded or run (needs root). Broken promises are in what was seen.
pub fn run(steps: u64, seed: u64) -> Result<Seen> {
    let mut program = Program::load(&SMALL)?;
    program.apply(&topology(SERVERS, DEVICES, TCP))?;
    let mut world = World {
        program,
        random: Random::new(seed),
        lives: vec![Life { alive: true, number: 1 }; usize::from(SERVERS) + 1],
        places: vec![Place { server: 1, backup: 0, epoch: 1, epochs_open: 0 }; DEVICES as usize],
        flows: vec![None; usize::from(PORTS) * DEVICES as usize],
        seen: Seen::default(),
    };
    for step in 0..steps {
        world.step().with_context(|| format!("seed {seed}, step {step}"))?;
    }
    Ok(world.seen)
}

impl World {
    fn step(&mut self) -> Result<()> {
        match self.random.below(40) {
            0 => self.move_device(),
            1 => self.change_server(),
            2..=7 => self.open(),
            8..=20 => self.server_speaks(),
            _ => self.client_speaks(),
        }
    }

    fn server(&mut self) -> u16 {
        1 + self.random.below(usize::from(SERVERS)) as u16
    }

    /// A device moves; its open flows stay, or, now and then, are retired.
    fn move_device(&mut self) -> Result<()> {
        let device = self.random.below(self.places.len());
        let (server, backup) = (self.server(), self.server());
        let drains = self.random.below(4) != 0;
        let place = &mut self.places[device];
        let previous = place.server;
        place.server = server;
        place.backup = backup;
        place.epoch += 1;
        place.epochs_open = if drains { (place.epochs_open + 1).min(8) } else { 0 };
        let Place { epoch, epochs_open, .. } = *place;
        let previous = if drains { previous } else { 0 };
        let word = AssociationWord { server, previous, backup, epoch, epochs_open };
        self.program.apply(&[Op::CommitAssociations { words: vec![(device as u32, word)] }])
    }

    /// A server dies, or begins a new life.
    fn change_server(&mut self) -> Result<()> {
        let id = self.server();
        let life = &mut self.lives[usize::from(id)];
        life.alive = !life.alive;
        if life.alive {
            life.number += 1;
        }
        let state = if life.alive { ServerState::Alive } else { ServerState::Dead };
        self.program.apply(&[Op::SetServerState { id, state, incarnation: life.number }])
    }

    fn life(&self, server: u16) -> Life {
        self.lives[usize::from(server)]
    }

    /// Runs a packet; gives where it went, if it was redirected, and the packet.
    fn send(&mut self, packet: &Packet) -> Result<(Option<Packet>, String)> {
        let outcome = self.program.run(&packet.bytes())?;
        self.seen.packets += 1;
        let out = Packet::read(&outcome.frame).map_err(anyhow::Error::msg);
        let words = format!("{packet:?} left by action {}", outcome.action);
        match outcome.action {
            TX => Ok((Some(out?), words)),
            _ => Ok((None, words)),
        }
    }

    fn violate(&mut self, promise: &str, words: &str) {
        self.seen.violations.push(format!("{promise}: {words}"));
    }

    /// A client opens a conversation, on ports that may have had one before, and proves it.
    fn open(&mut self) -> Result<()> {
        let slot = self.random.below(self.flows.len());
        let device = slot as u32 / u32::from(PORTS);
        let port = 40_000 + slot as u16 % PORTS;
        let place = self.places[device as usize];
        let candidates = [place.server, place.backup];
        let server = candidates.into_iter().find(|id| *id != 0 && self.life(*id).alive);
        let sequence = self.random.bits() as u32;
        let syn = from_client(client(port), service(device), SYN, (sequence, 0));
        let (out, words) = self.send(&syn)?;
        self.seen.opened += 1;
        let went = out.as_ref().map(|packet| packet.destination);
        let wanted = server.map(|id| (server_address(id), server_port(device)));
        if went != wanted {
            self.violate("G3", &format!("{words} to {went:?}, not to {wanted:?}"));
        }
        self.flows[slot] = None;
        let Some(server) = server else { return Ok(()) };
        let answer_sequence = self.random.bits() as u32;
        let flow = Flow {
            device,
            port,
            server,
            life: self.life(server).number,
            epoch: place.epoch,
            client_next: sequence.wrapping_add(1),
            server_next: answer_sequence.wrapping_add(1),
        };
        let numbers = (answer_sequence, flow.client_next);
        self.send(&syn.answer((server_address(server), server_port(device)), SYN | ACK, numbers))?;
        self.judge_client(&flow, ACK)?;
        self.flows[slot] = Some(flow);
        Ok(())
    }

    fn any_flow(&mut self) -> Option<(usize, Flow)> {
        let slot = self.random.below(self.flows.len());
        self.flows[slot].map(|flow| (slot, flow))
    }

    /// Whether a flow must go on: by who opened it where, and what happened since.
    fn goes_on(&self, flow: &Flow) -> bool {
        let life = self.life(flow.server);
        let place = self.places[flow.device as usize];
        let same_life = life.alive && life.number == flow.life;
        same_life && place.epoch - flow.epoch <= u16::from(place.epochs_open)
    }

    fn client_speaks(&mut self) -> Result<()> {
        match self.any_flow() {
            Some((_, flow)) => self.judge_client(&flow, ACK | PSH),
            None => Ok(()),
        }
    }

    fn judge_client(&mut self, flow: &Flow, flags: u8) -> Result<()> {
        let numbers = (flow.client_next, flow.server_next);
        let packet = from_client(client(flow.port), service(flow.device), flags, numbers);
        let (out, words) = self.send(&packet)?;
        let own = (server_address(flow.server), server_port(flow.device));
        let went = out.as_ref().map(|packet| packet.destination);
        if self.goes_on(flow) {
            self.seen.kept += 1;
            if went != Some(own) {
                self.violate("G2", &format!("{words} to {went:?}, not to {own:?}"));
            }
            return Ok(());
        }
        self.seen.over += 1;
        // An answer goes back to the client; anything else would be a server that never had it.
        if went.is_some_and(|to| to != client(flow.port)) {
            self.violate("G10", &format!("{words} to {went:?}, though its flow is over"));
        }
        Ok(())
    }

    fn server_speaks(&mut self) -> Result<()> {
        let Some((slot, flow)) = self.any_flow() else { return Ok(()) };
        let packet = from_client(client(flow.port), service(flow.device), ACK, (0, 0));
        let own = (server_address(flow.server), server_port(flow.device));
        let answer = packet.answer(own, ACK | PSH, (flow.server_next, flow.client_next));
        let (out, words) = self.send(&answer.with_payload(&[7; 10]))?;
        let went = out.as_ref().map(|packet| (packet.source, packet.destination));
        if self.goes_on(&flow) {
            self.seen.kept += 1;
            if went != Some((service(flow.device), client(flow.port))) {
                self.violate("G2", &format!("{words} as {went:?}, not to its client"));
            }
            if let Some(flow) = &mut self.flows[slot] {
                flow.server_next = flow.server_next.wrapping_add(10);
            }
        } else {
            self.seen.over += 1;
            if went.is_some() {
                self.violate("G10", &format!("{words} as {went:?}, though its flow is over"));
            }
        }
        Ok(())
    }
}

fn client(port: u16) -> (Ipv4Addr, u16) {
    (Ipv4Addr::new(10, 1, 9, 1), port)
}

fn service(device: u32) -> (Ipv4Addr, u16) {
    (device_address(device), SERVICE_PORT)
}
