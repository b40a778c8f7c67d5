//! Frames of every way to a server, what answers them, and what it makes of a check.

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice, VlanSlice};

use super::segment::{Answer, Expected, Segment, answer, frame};
use super::*;
use crate::core::service::Forwarding;

const HERE: [&str; 2] = ["10.0.2.1:50000", "[fd00:2::1]:50000"];
const SERVICE: [&str; 2] = ["10.0.1.100:3260", "[fd00:1::100]:3260"];
const SERVER: [&str; 2] = ["10.0.2.11", "fd00:2::11"];

fn road(forwarding: Forwarding, server: &str) -> Road {
    let way = Way {
        out: 3,
        from: [2, 0, 0, 0, 0, 1],
        to: [2, 0, 0, 0, 0, 2],
        tags: Tags::NONE,
        source_v4: None,
        source_v6: None,
    };
    let tunnel = TunnelEnds {
        source_v4: Some("10.8.0.2".parse().unwrap()),
        source_v6: Some("fd00:8::2".parse().unwrap()),
        gue_port: 6080,
    };
    Road { way, tunnel, server: server.parse().unwrap(), forwarding }
}

fn ends(version: usize) -> (SocketAddr, SocketAddr) {
    (HERE[version].parse().unwrap(), SERVICE[version].parse().unwrap())
}

/// Source, destination and hops of a packet, and what is behind its header.
fn network(sliced: &SlicedPacket<'_>) -> (IpAddr, IpAddr, u8, Vec<u8>) {
    match sliced.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
            let ends = (header.source_addr().into(), header.destination_addr().into());
            (ends.0, ends.1, header.ttl(), ip.payload().payload.to_vec())
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            let ends = (header.source_addr().into(), header.destination_addr().into());
            (ends.0, ends.1, header.hop_limit(), ip.payload().payload.to_vec())
        }
        NetSlice::Arp(_) => panic!("an ARP packet"),
    }
}

/// It is a SYN from us to the service address with one hop left.
fn expect_question(sliced: &SlicedPacket<'_>, version: usize) {
    let (here, service) = ends(version);
    let (from, to, hops, _) = network(sliced);
    assert_eq!((from, to, hops), (here.ip(), service.ip(), 1));
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport.as_ref() else { panic!("{sliced:?}") };
    assert_eq!((tcp.source_port(), tcp.destination_port()), (here.port(), service.port()));
    assert_eq!((tcp.syn(), tcp.ack(), tcp.rst(), tcp.sequence_number()), (true, false, false, 7));
    let sum = match sliced.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => tcp.to_header().calc_checksum_ipv4(&ip.header().to_header(), &[]),
        NetSlice::Ipv6(ip) => tcp.to_header().calc_checksum_ipv6(&ip.header().to_header(), &[]),
        NetSlice::Arp(_) => panic!("an ARP packet"),
    };
    assert_eq!(tcp.checksum(), sum.unwrap());
}

#[test]
fn with_dsr_a_question_is_a_plain_frame_to_the_servers_ethernet_address() {
    for version in [0, 1] {
        let mut to = road(Forwarding::Dsr, SERVER[version]);
        let bytes = frame(&to, ends(version), (Segment::Syn, 7)).unwrap();
        assert_eq!(bytes[..12], [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
        expect_question(&SlicedPacket::from_ethernet(&bytes).unwrap(), version);

        to.way.tags = Tags::two(100, 7);
        let bytes = frame(&to, ends(version), (Segment::Syn, 7)).unwrap();
        let sliced = SlicedPacket::from_ethernet(&bytes).unwrap();
        let Some(VlanSlice::DoubleVlan(tags)) = sliced.vlan() else { panic!("{sliced:?}") };
        let ids = (tags.outer.vlan_identifier().value(), tags.inner.vlan_identifier().value());
        assert_eq!(ids, (100, 7));
        expect_question(&sliced, version);
    }
}

#[test]
fn in_tunnels_it_is_inside_a_packet_to_the_server_whatever_the_families() {
    for (server, outer) in [(SERVER[0], "10.8.0.2"), (SERVER[1], "fd00:8::2")] {
        for version in [0, 1] {
            for forwarding in [Forwarding::Ipip, Forwarding::Gue] {
                let to = road(forwarding, server);
                let bytes = frame(&to, ends(version), (Segment::Syn, 7)).unwrap();
                // The type that the outer packet's family has, and then that packet.
                let ether_type = if to.server.is_ipv4() { [8, 0] } else { [0x86, 0xdd] };
                assert_eq!(bytes[12..14], ether_type);
                let header_len = if to.server.is_ipv4() { 20 } else { 40 };
                let (header, rest) = bytes[14..].split_at(header_len);
                let (from, to_server): (IpAddr, IpAddr) = match to.server {
                    IpAddr::V4(_) => {
                        let at = |at: usize| <[u8; 4]>::try_from(&header[at..at + 4]).unwrap();
                        (at(12).into(), at(16).into())
                    }
                    IpAddr::V6(_) => {
                        let at = |at: usize| <[u8; 16]>::try_from(&header[at..at + 16]).unwrap();
                        (at(8).into(), at(24).into())
                    }
                };
                assert_eq!((from, to_server), (outer.parse().unwrap(), to.server));
                let protocol = header[if to.server.is_ipv4() { 9 } else { 6 }];
                let inner = match forwarding {
                    Forwarding::Gue => {
                        assert_eq!(protocol, 17);
                        assert_eq!(rest[2..4], 6080_u16.to_be_bytes());
                        assert_eq!(rest[4..6], (rest.len() as u16).to_be_bytes());
                        &rest[8..]
                    }
                    _ => {
                        assert_eq!(protocol, [4, 41][version]);
                        rest
                    }
                };
                expect_question(&SlicedPacket::from_ip(inner).unwrap(), version);
            }
        }
    }
}

#[test]
fn nothing_is_sent_without_a_tunnels_source_or_between_two_families() {
    let mut to = road(Forwarding::Gue, SERVER[0]);
    to.tunnel.source_v4 = None;
    assert_eq!(frame(&to, ends(0), (Segment::Syn, 7)), None);
    let mixed = (ends(0).0, ends(1).1);
    assert_eq!(frame(&road(Forwarding::Dsr, SERVER[0]), mixed, (Segment::Syn, 7)), None);
}

#[test]
fn an_answer_acknowledges_and_accepts_or_refuses_and_nothing_else_is_one() {
    let from_service = |write: &dyn Fn(&mut etherparse::TcpHeader)| {
        let mut tcp = etherparse::TcpHeader::new(3260, 50000, 9, 1024);
        tcp.acknowledgment_number = 8;
        write(&mut tcp);
        let mut bytes = Vec::new();
        let ip = PacketBuilder::ipv4([10, 0, 1, 100], [10, 0, 2, 1], 64);
        ip.tcp_header(tcp).write(&mut bytes, &[]).unwrap();
        answer(&bytes)
    };
    let (here, service) = ends(0);
    let to = Expected { service, here, acknowledgement: 8 };
    let accepted = from_service(&|tcp| (tcp.syn, tcp.ack) = (true, true));
    assert_eq!(accepted, Some(Answer { to, is_refusal: false }));
    let refused = from_service(&|tcp| (tcp.rst, tcp.ack) = (true, true));
    assert_eq!(refused, Some(Answer { to, is_refusal: true }));
    assert_eq!(from_service(&|tcp| tcp.ack = true), None);
    assert_eq!(from_service(&|tcp| tcp.syn = true), None);
    assert_eq!(answer(&[]), None);
}

#[tokio::test]
async fn only_silence_and_refusal_speak_against_a_server_whose_own_address_answers() {
    let (_ways, knocker) = Knocker::new();
    let address = SERVICE[0].parse().unwrap();
    let call = |forwarding| Call {
        to: road(forwarding, SERVER[0]),
        service: DirectService { address, forwarding },
        protocol: Protocol::Tcp,
        here: ends(0).0.ip(),
        knocks: &knocker.knocks,
    };
    let silent = || CheckResult::Silent("no answer within 200 ms".to_owned());
    let says = |forwarding| match bad(&call(forwarding), silent()) {
        Some(CheckResult::Silent(text)) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        says(Forwarding::Dsr),
        "its own address answers, but it does not answer for the service address \
         10.0.1.100:3260: is that on its loopback interface?"
    );
    assert!(
        says(Forwarding::Ipip).ends_with(
            "is that on its loopback interface, and does its end of the ipip tunnel work?"
        )
    );
    let late = CheckResult::NotAsked("our own timers were late".to_owned());
    assert_eq!(bad(&call(Forwarding::Dsr), late.clone()), Some(late));
    let dsr = call(Forwarding::Dsr);
    assert_eq!(bad(&dsr, CheckResult::Answered { took_us: 1 }), None);
    assert_eq!(bad(&dsr, CheckResult::NotRefused), None);
}
