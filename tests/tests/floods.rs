//! No flood evicts a proven flow, and who comes anew is served (G4).

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use redirector_common::headers::PROTOCOL_TCP;
use redirector_common::tcp::SYN;
use redirector_common::wire::Forwarding;
use redirector_tests::data_path::Version;
use redirector_tests::data_path::packets::from_client;
use redirector_tests::data_path::program::SMALL;
use redirector_tests::gateway::{CLIENT, Device, Plan, SERVER_V4, Side, Site, mac};
use redirector_tests::packets::PacketSocket;
use redirector_tests::scenario::flood::{self, Size, Sort};
use redirector_tests::talk;
use redirector_tests::wait::Pace;

#[test]
fn a_flood_of_syns_moves_no_flow() -> Result<()> {
    flood::run(Sort::Syn, Size::SMALL)?.expect_no_violation()
}

#[test]
fn a_flood_of_acks_moves_no_flow() -> Result<()> {
    flood::run(Sort::Ack, Size::SMALL)?.expect_no_violation()
}

#[test]
fn a_flood_of_datagrams_moves_no_flow() -> Result<()> {
    flood::run(Sort::Udp, Size::SMALL)?.expect_no_violation()
}

/// What these veths take besides conversations: unpaced, the sender fills every queue before the
/// gateway, and what is lost there says nothing about it.
const BEAT: Duration = Duration::from_millis(1);
const SYNS_PER_BEAT: u32 = 20;
const TCP_BYTES: usize = 1 << 18;

/// A SYN from a source of its own.
fn syn(number: u32) -> Vec<u8> {
    let source = (Ipv4Addr::from(0x0b00_0000 | number >> 12), number as u16 | 1024);
    let service = (Ipv4Addr::new(10, 9, 0, 101), 10_809);
    let mut syn = from_client(source, service, SYN, (number, 0));
    (syn.source_mac, syn.destination_mac) = (mac(Side::Clients, CLIENT), mac(Side::Clients, 1));
    syn.bytes()
}

#[test]
fn real_clients_talk_beside_a_flood_of_syns_on_their_wire() -> Result<()> {
    let mut site = Site::build(Plan::PLAIN)?;
    let device = |id: u16| {
        let ports = (PROTOCOL_TCP, 10_809, 20_001 + id);
        Device::new((id.into(), SERVER_V4), (Version::V4, 100 + id), ports, Forwarding::Nat)
    };
    // Beside, not at, the flooded device: what a server's own SYN queue takes is not the matter.
    let (device, flooded) = (device(0), device(1));
    site.add(&device)?;
    site.add(&flooded)?;
    let socket = PacketSocket::open(&site.client.namespace, "client0")?;
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let flooding = scope.spawn(|| -> Result<()> {
            let mut pace = Pace::every(BEAT);
            while !stop.load(Ordering::Relaxed) {
                pace.beat();
                for _ in 0..SYNS_PER_BEAT {
                    socket.send(&syn(sent.fetch_add(1, Ordering::Relaxed) as u32))?;
                }
            }
            Ok(())
        });
        let ends = site.ends(&device);
        let enough = 10 * u64::from(SMALL.candidates_max);
        let mut talked = Ok(());
        while talked.is_ok() && !flooding.is_finished() && sent.load(Ordering::Relaxed) < enough {
            talked = talk::tcp(ends, TCP_BYTES).map(drop);
        }
        stop.store(true, Ordering::Relaxed);
        let flooded = flooding.join().map_err(|_| anyhow!("the flood panicked"))?;
        talked.and(flooded)
    })?;
    let sent = sent.into_inner();
    let opened = site.tables.counters()?.devices[&1].flows_opened;
    let enough = 9 * u64::from(SMALL.candidates_max);
    ensure!(opened > enough, "{sent} SYNs sent, {opened} flows opened: no flood");
    Ok(())
}
