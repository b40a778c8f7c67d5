//! Conversations of real sockets, every byte verified at both ends.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use crate::netns::Namespace;
use crate::random::Random;
use crate::wait::{self, Look};

/// How long one end waits for the other.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a datagram is waited for that may be lost.
const REPEAT: Duration = Duration::from_millis(100);
/// Bytes written at once.
const CHUNK: usize = 1 << 16;
/// Asked and answered before the bulk.
const QUESTION: &[u8] = b"who are you\n";
const ANSWER: &[u8] = b"the server\n";

/// Where a conversation is held.
#[derive(Clone, Copy)]
pub struct Ends<'a> {
    /// The client.
    pub client: &'a Namespace,
    /// The server.
    pub server: &'a Namespace,
    /// Where the client goes.
    pub service: SocketAddr,
    /// Where the server listens.
    pub at_server: SocketAddr,
}

/// Asks and is answered, then sends `bytes` and gets them back, both ways at once. Gives the client
/// as the server sees it.
///
/// # Errors
/// When an end waits for too long or gets what was not sent.
pub fn tcp(ends: Ends<'_>, bytes: usize) -> Result<SocketAddr> {
    let listener = ends.server.listen(ends.at_server)?;
    let server = thread::spawn(move || serve_tcp(&listener, bytes));
    let talked = ends
        .client
        .enter(|| TcpStream::connect_timeout(&ends.service, PATIENCE).context("connect"))
        .and_then(|stream| talk_tcp(stream, bytes));
    let served = server.join().map_err(|_| anyhow!("the server panicked"))?;
    talked.context("the client").and(served.context("the server"))
}

fn patient(stream: &TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream.set_write_timeout(Some(PATIENCE))?)
}

fn talk_tcp(mut stream: TcpStream, bytes: usize) -> Result<()> {
    patient(&stream)?;
    stream.write_all(QUESTION)?;
    expect(&mut stream, ANSWER).context("the answer")?;
    let mut sender = stream.try_clone()?;
    let sending = thread::spawn(move || -> Result<()> {
        for chunk in chunks(bytes) {
            sender.write_all(&chunk).context("send")?;
        }
        Ok(sender.shutdown(Shutdown::Write)?)
    });
    let received = chunks(bytes).try_for_each(|chunk| expect(&mut stream, &chunk));
    sending.join().map_err(|_| anyhow!("the sender panicked"))??;
    received?;
    ensure!(stream.read(&mut [0])? == 0, "more bytes than were sent");
    Ok(())
}

fn serve_tcp(listener: &TcpListener, bytes: usize) -> Result<SocketAddr> {
    let (mut stream, peer) = accept(listener)?;
    patient(&stream)?;
    expect(&mut stream, QUESTION).context("the question")?;
    stream.write_all(ANSWER)?;
    for chunk in chunks(bytes) {
        expect(&mut stream, &chunk)?;
        stream.write_all(&chunk).context("send back")?;
    }
    ensure!(stream.read(&mut [0])? == 0, "more bytes than were sent");
    Ok(peer)
}

/// Accepts one connection.
///
/// # Errors
/// When none comes in time.
pub fn accept(listener: &TcpListener) -> Result<(TcpStream, SocketAddr)> {
    listener.set_nonblocking(true)?;
    let (stream, peer) = wait::until("a connection", PATIENCE, || match listener.accept() {
        Ok(accepted) => Ok(Look::Done(accepted)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Ok(Look::NotYet("none".to_owned()))
        }
        Err(error) => Err(error).context("accept"),
    })?;
    stream.set_nonblocking(false)?;
    Ok((stream, peer))
}

/// The contents of a conversation, a chunk at a time.
fn chunks(bytes: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut random = Random::new(bytes as u64);
    (0..bytes).step_by(CHUNK).map(move |at| {
        let mut chunk = vec![0; CHUNK.min(bytes - at)];
        random.fill(&mut chunk);
        chunk
    })
}

fn expect(stream: &mut TcpStream, expected: &[u8]) -> Result<()> {
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).context("receive")?;
    ensure!(got == expected, "{} bytes are not those that were sent", got.len());
    Ok(())
}

/// Sends `datagrams` of `len` bytes, one after the other, and gets each back. Gives the client as
/// the server sees it.
///
/// # Errors
/// When a datagram does not come back in time, or another one does. Nothing may be lost: nobody
/// else is on these wires, and one datagram at a time fills no queue.
pub fn udp(ends: Ends<'_>, datagrams: usize, len: usize) -> Result<SocketAddr> {
    let (server, client) = udp_pair(ends)?;
    let serving = thread::spawn(move || serve_udp(&server, datagrams));
    let talked = talk_udp(&client, datagrams, len);
    let served = serving.join().map_err(|_| anyhow!("the server panicked"))?;
    talked.context("the client").and(served.context("the server"))
}

/// Sends datagrams of `len` bytes until one comes back, for ways on which the first ones may be
/// lost. Gives how many were sent.
///
/// # Errors
/// When none comes back in time.
pub fn udp_until_back(ends: Ends<'_>, len: usize) -> Result<u32> {
    let (server, client) = udp_pair(ends)?;
    client.set_read_timeout(Some(REPEAT))?;
    server.set_read_timeout(Some(REPEAT))?;
    let mut sent = vec![0; len];
    Random::new(len as u64).fill(&mut sent);
    let (mut buffer, mut tries) = (vec![0; 1 << 16], 0);
    wait::until_ok("a datagram back", PATIENCE, || {
        tries += 1;
        // What does not fit any more is refused here, once, when the way's MTU has been learnt.
        client.send(&sent).context("send")?;
        let (got, from) = server.recv_from(&mut buffer).context("at the server")?;
        server.send_to(&buffer[..got], from).context("answer")?;
        let got = client.recv(&mut buffer).context("at the client")?;
        ensure!(buffer[..got] == sent, "{got} other bytes came back");
        Ok(())
    })?;
    Ok(tries)
}

fn udp_pair(ends: Ends<'_>) -> Result<(UdpSocket, UdpSocket)> {
    let bind = |at: SocketAddr| {
        let socket = UdpSocket::bind(at).with_context(|| format!("bind {at}"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    };
    let server = ends.server.enter(|| bind(ends.at_server))?;
    let any = if ends.service.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let client = ends.client.enter(|| {
        let socket = bind(any.parse()?)?;
        socket.connect(ends.service)?;
        Ok(socket)
    })?;
    Ok((server, client))
}

fn talk_udp(socket: &UdpSocket, datagrams: usize, len: usize) -> Result<()> {
    let mut random = Random::new(len as u64);
    let (mut sent, mut got) = (vec![0; len], vec![0; len + 1]);
    for number in 0..datagrams {
        random.fill(&mut sent);
        socket.send(&sent).with_context(|| format!("send datagram {number}"))?;
        let got_len = socket.recv(&mut got).with_context(|| format!("datagram {number} back"))?;
        ensure!(got[..got_len] == sent, "datagram {number} of {len} came back as {got_len} bytes");
    }
    Ok(())
}

fn serve_udp(socket: &UdpSocket, datagrams: usize) -> Result<SocketAddr> {
    let mut buffer = vec![0; 1 << 16];
    let mut peer = None;
    for number in 0..datagrams {
        let (len, from) =
            socket.recv_from(&mut buffer).with_context(|| format!("datagram {number}"))?;
        ensure!(*peer.get_or_insert(from) == from, "{from} is another client");
        socket.send_to(&buffer[..len], from).with_context(|| format!("answer {number}"))?;
    }
    peer.context("no datagram at all")
}
