//! Garbage from the wire: the daemon and everybody's flows live on, and nothing malformed leaves
//! the gateway.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use etherparse::PacketBuilder;
use redirector_tests::flows::Flows;
use redirector_tests::lab::{Lab, Plan};
use redirector_tests::netns::Namespace;
use redirector_tests::packets::{Capture, ETHERNET_LEN, PacketSocket, ipv4_ends, malformed};
use redirector_tests::random::Random;
use redirector_tests::topology::{
    GATEWAY_CLIENT_SIDE, GATEWAY_SERVER_SIDE, client_address, server_address, service_address,
};
use redirector_tests::wait::{self, Look};

const SEED: u64 = 20;
/// Random frames of each sort; the others are enumerated.
const RANDOM_LEN: usize = 2000;
const IPV4_LEN: usize = 20;
/// Offsets inside an Ethernet frame with a plain IPv4 header.
const IHL_AT: usize = ETHERNET_LEN;
const TOTAL_LEN_AT: usize = ETHERNET_LEN + 2;
const FRAGMENT_AT: usize = ETHERNET_LEN + 6;
const PROTOCOL_AT: usize = ETHERNET_LEN + 9;
const CHECKSUM_AT: usize = ETHERNET_LEN + 10;
const TCP_AT: usize = ETHERNET_LEN + IPV4_LEN;
const FRAME_MIN: usize = ETHERNET_LEN;
const SETTLE_WITHIN: Duration = Duration::from_secs(10);

type Mac = [u8; 6];
type End = (Ipv4Addr, u16);

/// Well-formed frames from `from` to `to`, of the sorts that a flow has, and UDP.
fn good_frames(macs: (Mac, Mac), from: End, to: End) -> Result<Vec<Vec<u8>>> {
    let base = || PacketBuilder::ethernet2(macs.0, macs.1).ipv4(from.0.octets(), to.0.octets(), 64);
    let tcp = || base().tcp(from.1, to.1, 1000, 1000);
    let mut frames = Vec::new();
    for builder in [tcp().syn(), tcp().ack(1), tcp().psh().ack(1), tcp().fin().ack(1), tcp().rst()]
    {
        let mut frame = Vec::new();
        builder.write(&mut frame, b"0123456789abcdef")?;
        frames.push(frame);
    }
    let mut options = Vec::new();
    tcp().syn().options_raw(&[2, 4, 5, 180, 1, 3, 3, 7])?.write(&mut options, &[])?;
    frames.push(options);
    let mut udp = Vec::new();
    base().udp(from.1, to.1).write(&mut udp, b"0123456789abcdef")?;
    frames.push(udp);
    Ok(frames)
}

/// Makes the IPv4 header's checksum right, where there is room for one.
fn seal(mut frame: Vec<u8>) -> Vec<u8> {
    let len = usize::from(frame.get(IHL_AT).copied().unwrap_or(0) & 0x0f) * 4;
    let Some(header) = frame.get_mut(ETHERNET_LEN..ETHERNET_LEN + len.max(IPV4_LEN)) else {
        return frame;
    };
    header[10..12].fill(0);
    let words = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let checksum = !(sum as u16);
    frame[CHECKSUM_AT..CHECKSUM_AT + 2].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// Every enumerated deformation of one good frame.
fn deformed(good: &[u8]) -> Vec<Vec<u8>> {
    let with = |at: usize, bytes: &[u8]| {
        let mut frame = good.to_vec();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        seal(frame)
    };
    let mut frames: Vec<Vec<u8>> =
        (FRAME_MIN..good.len()).map(|len| good[..len].to_vec()).collect();
    frames.extend((0..=255).map(|version_and_ihl| with(IHL_AT, &[version_and_ihl])));
    let ip_len = good.len() - ETHERNET_LEN;
    let lengths = (0..=ip_len + 2).chain([1499, 1500, 1501, 0x7fff, 0x8000, 0xffff]);
    frames.extend(lengths.map(|len| with(TOTAL_LEN_AT, &(len as u16).to_be_bytes())));
    for fragment in [0x2000, 0x2001, 0x0001, 0x1fff, 0x3fff, 0x8000, 0x4001u16] {
        frames.push(with(FRAGMENT_AT, &fragment.to_be_bytes()));
    }
    frames.extend((0..=255).map(|protocol| with(PROTOCOL_AT, &[protocol])));
    if good.len() > TCP_AT + 13 {
        frames.extend((0..=15).map(|offset| with(TCP_AT + 12, &[offset << 4])));
        frames.extend((0..=255).map(|flags| with(TCP_AT + 13, &[flags])));
    }
    frames
}

/// Random deformations: a few random bytes, a random length, or nothing but noise.
fn random_frames(good: &[Vec<u8>], random: &mut Random) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for _ in 0..RANDOM_LEN {
        let mut frame = random.choose(good).clone();
        for _ in 0..=random.below(4) {
            let at = ETHERNET_LEN + random.below(frame.len() - ETHERNET_LEN);
            frame[at] = random.bits() as u8;
        }
        frame.truncate(FRAME_MIN.max(frame.len() - random.below(2) * random.below(frame.len())));
        // The service address again, or the kernel of the gateway would be tested, not ours.
        if frame.len() >= TCP_AT {
            frame[TCP_AT - 4..TCP_AT].copy_from_slice(&good[0][TCP_AT - 4..TCP_AT]);
        }
        frames.push(if random.below(4) == 0 { frame } else { seal(frame) });
        let mut noise = good[0][..ETHERNET_LEN].to_vec();
        noise.resize(ETHERNET_LEN + random.below(200), 0);
        random.fill(&mut noise[ETHERNET_LEN..]);
        frames.push(noise);
    }
    frames
}

/// Sends a datagram from one end to the other, past the redirector, and waits until the capture's
/// end has it: then everything sent before has been seen too.
fn wait_for_marker(from: &Namespace, to: &Namespace, address: Ipv4Addr) -> Result<()> {
    let receiver = to.enter(|| Ok(UdpSocket::bind((address, 9))?))?;
    receiver.set_nonblocking(true)?;
    let sender = from.enter(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
    wait::until("a marker to come through", SETTLE_WITHIN, || {
        sender.send_to(b"marker", (address, 9)).context("send a marker")?;
        Ok(match receiver.recv(&mut [0; 16]) {
            Ok(_) => Look::Done(()),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
}

/// Sends garbage of every sort from `from` to `to` through the gateway's interface `at`.
fn send_garbage(
    (sender, gateway): (&PacketSocket, Mac),
    from: End,
    to: End,
    random: &mut Random,
) -> Result<usize> {
    let good = good_frames((sender.mac(), gateway), from, to)?;
    let mut frames = good.clone();
    frames.extend(good.iter().flat_map(|good| deformed(good)));
    frames.extend(random_frames(&good, random));
    frames.iter().try_for_each(|frame| sender.send(frame))?;
    Ok(frames.len())
}

fn is_server(address: Ipv4Addr) -> bool {
    (1..=3).any(|number| server_address(number) == address)
}

fn is_service(address: Ipv4Addr) -> bool {
    (0..4).any(|number| service_address(number) == address)
}

fn gateway_mac(lab: &Lab, interface: &str) -> Result<Mac> {
    Ok(PacketSocket::open(lab.network.host("gateway")?, interface)?.mac())
}

#[test]
fn garbage_harms_no_flow_and_nothing_malformed_leaves() -> Result<()> {
    let mut lab = Lab::start(Plan::standard(1 << 20))?;
    let echo = lab.device("echo-a")?.clone();
    let service: End = (echo.address, echo.port);
    let server: End = (server_address(1), echo.server_port);
    let flows = Flows::from(lab.client("c2")?)?;
    let open = flows.open(echo.service())?;
    ensure!(open.server_name() == "s1", "it began on {}", open.server);

    let captures = [
        Capture::start(lab.network.switch("servers")?, "gateway")?,
        Capture::start(lab.network.switch("clients")?, "gateway")?,
    ];
    let mut random = Random::new(SEED);
    let client = PacketSocket::open(lab.client("c1")?, "eth0")?;
    let towards_servers = (&client, gateway_mac(&lab, GATEWAY_CLIENT_SIDE)?);
    let mut sent = send_garbage(towards_servers, (client_address(1), 4000), service, &mut random)?;
    let head = PacketSocket::open(lab.network.host("s1")?, "eth0")?;
    let towards_clients = (&head, gateway_mac(&lab, GATEWAY_SERVER_SIDE)?);
    sent += send_garbage(towards_clients, server, (client_address(1), 4000), &mut random)?;
    wait_for_marker(lab.client("c1")?, lab.network.host("s1")?, server.0)?;
    wait_for_marker(lab.network.host("s1")?, lab.client("c1")?, client_address(1))?;

    let (mut passed, mut rewritten) = (0, 0);
    for capture in captures {
        for frame in capture.stop()? {
            passed += 1;
            let (problem, ends) = (malformed(&frame), ipv4_ends(&frame));
            // What belongs to no device is the kernel's to forward, as it is.
            let is_ours = ends.is_none_or(|(from, to)| is_service(from) || is_server(to));
            rewritten += usize::from(is_ours);
            let is_good = problem.is_none() || !is_ours;
            assert!(is_good, "{problem:?}, {ends:?} left the gateway: {frame:02x?}");
        }
    }
    ensure!(passed > 0, "the captures saw nothing, not even the markers");
    println!(
        "{sent} frames of garbage sent, {passed} frames left the gateway, {rewritten} of them ours"
    );

    ensure!(lab.redirector.is_running()?, "the daemon has ended: {}", lab.redirector.log_tail());
    assert_eq!(flows.open(echo.service())?.server_name(), "s1");
    for flow in flows.close() {
        assert_eq!(flow.violations(), Vec::<String>::new());
    }
    Ok(())
}
