//! Functions of any bytes that must neither panic nor break what they assert: the targets of
//! `fuzz/`, whose corpora the ordinary tests replay.

use redirector_common::family::{Family, V4, V6};
use redirector_common::packet::Packet;
use redirector_common::parse as parser;
use redirector_common::wire::Hop;

use super::check::check;
use super::frame::Bytes;
use super::traffic::World;
use super::{Host, PASS, TX};

/// A frame through the parser: what it says of a packet lies inside the frame.
///
/// # Panics
///
/// When it does not.
pub fn parse(data: &[u8]) {
    let frame = Bytes::new(data);
    let Ok(link) = parser::link(&frame) else { return };
    parse_as::<V4>(&frame, link.network);
    parse_as::<V6>(&frame, link.network);
}

fn parse_as<F: Family>(frame: &Bytes, network: usize) {
    let mut packet = Packet::<F>::nothing();
    if parser::packet(frame, network, Hop::UNKNOWN, &mut packet).is_ok() {
        let layout = packet.layout;
        assert!(layout.network < layout.transport && layout.transport <= layout.end);
        assert!(usize::from(layout.end) <= frame.bytes.len(), "{layout:?}");
    }
}

/// Frames, each behind its length in two bytes, one after another through one world.
///
/// # Panics
///
/// When something is written over a frame that has too little of a packet to be one.
pub fn decide(data: &[u8]) {
    let host = host();
    let mut rest = data;
    while let Some((len, behind)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*len)).min(behind.len());
        let (frame, behind) = behind.split_at(len);
        rest = behind;
        let (outcome, reason) = host.run(frame);
        let untouched = reason.help().starts_with("Passed:");
        assert!(!untouched || (outcome.action == PASS && outcome.frame == frame), "{reason:?}");
    }
}

/// A frame that is right in itself leaves as one.
///
/// # Panics
///
/// When it does not.
pub fn rewrite(data: &[u8]) {
    if check(data).is_err() {
        return;
    }
    let (outcome, reason) = host().run(data);
    if matches!(outcome.action, PASS | TX) {
        let sound = check(&outcome.frame);
        assert!(sound.is_ok(), "{}: {sound:?}", reason.name());
    }
}

fn host() -> Host {
    let mut host = Host::new();
    host.set_gateway(World::gateway());
    host.apply(&World::new(1).ops());
    host
}
