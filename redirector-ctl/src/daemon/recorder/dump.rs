//! What a dump is made of.

use std::net::IpAddr;

use etherparse::{LaxNetSlice, LaxSlicedPacket};

use super::{DumpCause, DumpWish, RecorderError};
use crate::daemon::{Event, EventKind};
use crate::platform::clock::Clock;
use crate::platform::pcapng::{self, Names, Note};
use crate::platform::tables::Recorded;

/// Events that are older than all packets are told if they are not older than this, in ms.
const EVENTS_MS: u64 = 60_000;

/// What the owner knows for a dump, at one moment.
#[derive(Debug)]
pub(in crate::daemon) struct Material {
    pub(super) cause: DumpCause,
    pub(super) wish: DumpWish,
    pub(super) now_ms: u64,
    pub(super) clock: Clock,
    pub(super) names: Names,
    pub(super) events: Vec<Event>,
}

impl Material {
    /// The file, with the newest of the packets if not all fit into `bytes_max`.
    pub(super) fn render(
        &self,
        mut packets: Vec<Recorded>,
        bytes_max: u64,
    ) -> Result<Vec<u8>, RecorderError> {
        packets.retain(|packet| self.wish.takes(packet));
        for packet in &mut packets {
            packet.at_ns = self.clock.at_ns(packet.at_ns);
        }
        let first_ns = packets.first().map_or(u64::MAX, |packet| packet.at_ns);
        let since_ns = first_ns.min(self.now_ms.saturating_sub(EVENTS_MS) * 1_000_000);
        let notes: Vec<Note> = self.events.iter().map(note).collect();
        let notes = &notes[notes.partition_point(|note| note.at_ns < since_ns)..];
        let why = format!("flight recorder of the redirector: {}", self.cause.name());
        loop {
            let content = pcapng::file(&why, &packets, notes, &self.names)
                .map_err(|error| RecorderError::Format(error.to_string()))?;
            if content.len() as u64 <= bytes_max || packets.is_empty() {
                return Ok(content);
            }
            packets.drain(..packets.len().div_ceil(2));
        }
    }
}

impl DumpWish {
    fn takes(&self, packet: &Recorded) -> bool {
        self.device.is_none_or(|device| device == packet.device)
            && self.client.is_none_or(|client| ends(&packet.headers).contains(&Some(client)))
    }
}

/// Source and destination of a frame, if they can be read of what is kept of it.
fn ends(frame: &[u8]) -> [Option<IpAddr>; 2] {
    let read = LaxSlicedPacket::from_ethernet(frame).ok();
    match read.and_then(|packet| packet.net) {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            [Some(header.source_addr().into()), Some(header.destination_addr().into())]
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            [Some(header.source_addr().into()), Some(header.destination_addr().into())]
        }
        _ => [None, None],
    }
}

fn note(event: &Event) -> Note {
    Note {
        at_ns: event.at_ms.saturating_mul(1_000_000),
        kind: event.kind.name(),
        level: level(event.kind),
        device: event.device.clone(),
        server: event.server.clone(),
        text: event.text.clone(),
    }
}

/// Syslog's level of an event (RFC 5424, table 2): error, warning, notice or information.
fn level(kind: EventKind) -> u8 {
    match kind {
        EventKind::Error => 3,
        EventKind::ServerDead | EventKind::ServerSuspect | EventKind::Frozen => 4,
        EventKind::Failover | EventKind::Move => 5,
        _ => 6,
    }
}
