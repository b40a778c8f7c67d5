//! One check of one server, in all its kinds.
//!
//! Connections are closed with RST, so that checks leave no TIME_WAIT behind at either end. Where a
//! protocol has a farewell it is said before that, and its answer is waited for a moment.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::talk::{Fault, Talk};
use super::{Path, Target, exec, http, iscsi, nbd, nfs, smb};
use crate::core::check::Check;
use crate::core::health::CheckResult;
use crate::core::spec::Protocol;
use crate::platform::clock::Stopwatch;

/// The port at which a host is asked whether it is there (RFC 863): hardly any serves it, and a
/// connection that is accepted is an answer as well.
const PORT_DISCARD: u16 = 9;

/// How long the answer to a farewell is waited for.
const FAREWELL: Duration = Duration::from_millis(100);

/// Asks once. Never longer than about `limit`, and the farewell. `chance` makes one check's numbers
/// differ from another's.
pub(super) async fn check(
    target: &Target,
    path: &Path,
    limit: Duration,
    chance: u32,
) -> CheckResult {
    let watch = Stopwatch::start();
    let address = target.address;
    match (target.protocol, &target.check) {
        (_, Check::Exec { command }) => exec::check(target, path, command, limit).await,
        (Protocol::Tcp, Check::Connect) => connecting(address, limit, &watch).await,
        (Protocol::Tcp, Check::Greeting) => greeting(address, limit, &watch).await,
        (Protocol::Tcp, _) => conversation(target, limit, &watch, chance).await,
        (Protocol::Udp, Check::Nfs { version }) => {
            null_call(address, version.map_or(3, u32::from), chance, limit, &watch).await
        }
        (Protocol::Udp, _) => datagram(address, limit, &watch).await,
        (Protocol::Any, _) => host(address.ip(), limit, &watch).await,
    }
}

/// Whether a host answers at all: that it refuses a connection is an answer too.
async fn host(address: IpAddr, limit: Duration, watch: &Stopwatch) -> CheckResult {
    match connecting(SocketAddr::new(address, PORT_DISCARD), limit, watch).await {
        CheckResult::Refused(_) => answered(watch),
        other => other,
    }
}

/// A socket that can send to this address.
async fn udp_socket(to: SocketAddr) -> io::Result<UdpSocket> {
    match to {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await,
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await,
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(address).await
}

async fn connecting(address: SocketAddr, limit: Duration, watch: &Stopwatch) -> CheckResult {
    match timeout(limit, connect(address)).await {
        Ok(Ok(stream)) => {
            close(&stream);
            answered(watch)
        }
        Ok(Err(error)) => failure(&error),
        Err(_) => unanswered(limit, watch),
    }
}

/// A conversation in the device's own protocol, within `limit`.
async fn conversation(
    target: &Target,
    limit: Duration,
    watch: &Stopwatch,
    chance: u32,
) -> CheckResult {
    let mut talk = match timeout(limit, connect(target.address)).await {
        Ok(Ok(stream)) => Talk::new(stream),
        Ok(Err(error)) => return failure(&error),
        Err(_) => return unanswered(limit, watch),
    };
    let left = limit.saturating_sub(watch.elapsed());
    let outcome = timeout(left, exchange(&mut talk, target, chance)).await;
    // From here on somebody has answered: the server's kernel has accepted the connection.
    let result = match &outcome {
        Ok(Ok(())) => answered(watch),
        Ok(Err(Fault::Wrong(text))) => CheckResult::Refused(text.clone()),
        Ok(Err(Fault::Io(error))) => {
            CheckResult::Refused(format!("no sign of {}: {error}", talk.waiting_for))
        }
        Err(_) => accepted_only(talk.waiting_for, limit, watch),
    };
    // Whoever has not answered in time is not waited for again: the next check should come soon.
    if outcome.is_ok() {
        // Nothing depends on it: the result is known.
        let _ = timeout(FAREWELL, talk.part()).await;
    }
    close(talk.stream());
    result
}

async fn exchange(talk: &mut Talk<TcpStream>, target: &Target, chance: u32) -> Result<(), Fault> {
    match &target.check {
        Check::Http(check) => http::exchange(talk, check, target.address).await,
        Check::Nbd(check) => nbd::exchange(talk, check).await,
        Check::Iscsi(check) => iscsi::exchange(talk, check, chance).await,
        Check::Nfs { version } => nfs::exchange(talk, version.map_or(4, u32::from), chance).await,
        Check::Smb => smb::exchange(talk, chance).await,
        Check::Connect | Check::Greeting | Check::Exec { .. } => Ok(()),
    }
}

/// A connection and the server's first byte, both within `limit`.
async fn greeting(address: SocketAddr, limit: Duration, watch: &Stopwatch) -> CheckResult {
    let mut stream = match timeout(limit, connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return failure(&error),
        Err(_) => return unanswered(limit, watch),
    };
    let left = limit.saturating_sub(watch.elapsed());
    let mut first = [0_u8; 64];
    let read = timeout(left, stream.read(&mut first)).await;
    close(&stream);
    match read {
        // From here on somebody has answered: the server's kernel has accepted the connection.
        Ok(Ok(0)) => CheckResult::Refused("it closed the connection without a greeting".to_owned()),
        Ok(Ok(_)) => answered(watch),
        Ok(Err(error)) => CheckResult::Refused(format!("no greeting: {error}")),
        Err(_) => accepted_only("a greeting", limit, watch),
    }
}

/// No answer in time, but a connection: the server's kernel is there.
fn accepted_only(what: &str, limit: Duration, watch: &Stopwatch) -> CheckResult {
    match unanswered(limit, watch) {
        CheckResult::Silent(_) => CheckResult::Refused(format!(
            "it accepted the connection, but within {} ms there was no sign of {what}",
            limit.as_millis()
        )),
        other => other,
    }
}

/// An empty datagram. Only a refusal says something: silence is normal for a UDP service.
async fn datagram(address: SocketAddr, limit: Duration, watch: &Stopwatch) -> CheckResult {
    let exchange = async {
        let socket = udp_socket(address).await?;
        socket.connect(address).await?;
        socket.send(&[]).await?;
        let mut answer = [0_u8; 64];
        socket.recv(&mut answer).await
    };
    match timeout(limit, exchange).await {
        Ok(Ok(_)) => answered(watch),
        Ok(Err(error)) => failure(&error),
        Err(_) => CheckResult::NotRefused,
    }
}

/// NFS's NULL call over UDP. Unlike an empty datagram it must be answered.
async fn null_call(
    address: SocketAddr,
    version: u32,
    xid: u32,
    limit: Duration,
    watch: &Stopwatch,
) -> CheckResult {
    let exchange = async {
        let socket = udp_socket(address).await?;
        socket.connect(address).await?;
        socket.send(&nfs::null_call(version, xid)).await?;
        let mut answer = [0_u8; nfs::REPLY_LEN_MAX];
        loop {
            let len = socket.recv(&mut answer).await?;
            if nfs::is_reply_to(&answer[..len], xid) {
                return Ok(nfs::read_reply(&answer[..len], version, xid));
            }
        }
    };
    match timeout(limit, exchange).await {
        Ok(Ok(Ok(()))) => answered(watch),
        Ok(Ok(Err(text))) => CheckResult::Refused(text),
        Ok(Err(error)) => failure(&error),
        Err(_) => unanswered(limit, watch),
    }
}

pub(super) fn answered(watch: &Stopwatch) -> CheckResult {
    let took_us = u64::try_from(watch.elapsed().as_micros()).unwrap_or(u64::MAX);
    CheckResult::Answered { took_us }
}

/// No answer in time, unless our own timer came so late that an answer may have been waiting.
pub(super) fn unanswered(limit: Duration, watch: &Stopwatch) -> CheckResult {
    let late = watch.elapsed().saturating_sub(limit);
    if late > limit / 2 {
        return CheckResult::NotAsked(format!("our own timer was {} ms late", late.as_millis()));
    }
    CheckResult::Silent(format!("no answer within {} ms", limit.as_millis()))
}

/// What an error of a socket says about the server, or about us.
fn failure(error: &io::Error) -> CheckResult {
    use io::ErrorKind as Kind;
    let text = error.to_string();
    match error.kind() {
        Kind::ConnectionRefused | Kind::ConnectionReset | Kind::ConnectionAborted => {
            CheckResult::Refused(text)
        }
        // Our own kernel says this too, when nobody answers its ARP requests: it proves nothing
        // about our side.
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::TimedOut => {
            CheckResult::Silent(text)
        }
        _ => CheckResult::NotAsked(text),
    }
}

fn close(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "a check's connection closes the slow way");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::check::CheckPace;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    const LONG: Duration = Duration::from_secs(5);
    const SHORT: Duration = Duration::from_millis(20);

    fn tcp(address: SocketAddr, check: Check) -> Target {
        Target { address, protocol: Protocol::Tcp, check, pace: CheckPace::default() }
    }

    async fn ask(target: &Target, limit: Duration) -> CheckResult {
        check(target, &("s1".into(), "disk-a".into()), limit, 7).await
    }

    #[tokio::test]
    async fn a_listener_answers_a_connect_check_and_a_closed_port_refuses_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = tcp(listener.local_addr().unwrap(), Check::Connect);
        assert!(matches!(ask(&target, LONG).await, CheckResult::Answered { .. }));
        drop(listener);
        assert!(matches!(ask(&target, LONG).await, CheckResult::Refused(_)));
    }

    #[tokio::test]
    async fn a_process_that_hangs_passes_a_connect_check_but_not_a_greeting_check() {
        // Nobody accepts: the kernel does, as for a stopped process.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connected = ask(&tcp(address, Check::Connect), LONG).await;
        assert!(matches!(connected, CheckResult::Answered { .. }), "{connected:?}");
        let greeted = ask(&tcp(address, Check::Greeting), SHORT).await;
        assert!(
            matches!(greeted, CheckResult::Refused(_) | CheckResult::NotAsked(_)),
            "{greeted:?}"
        );
    }

    #[tokio::test]
    async fn a_server_that_speaks_first_passes_a_greeting_check() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"NBDMAGIC").await.unwrap();
        });
        let result = ask(&tcp(address, Check::Greeting), LONG).await;
        assert!(matches!(result, CheckResult::Answered { .. }), "{result:?}");
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_udp_port_is_refused_when_closed_and_not_refused_when_silent() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let target = Target { protocol: Protocol::Udp, ..tcp(address, Check::Connect) };
        assert_eq!(ask(&target, SHORT).await, CheckResult::NotRefused);
        drop(socket);
        assert!(matches!(ask(&target, LONG).await, CheckResult::Refused(_)));
    }

    #[tokio::test]
    async fn a_host_without_ports_answers_by_refusing() {
        let address = "127.0.0.1:0".parse().unwrap();
        let target = Target { protocol: Protocol::Any, ..tcp(address, Check::Connect) };
        assert!(matches!(ask(&target, LONG).await, CheckResult::Answered { .. }));
    }

    #[tokio::test]
    async fn a_udp_port_is_asked_over_ipv6_too() {
        let socket = UdpSocket::bind("[::1]:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let target = Target { protocol: Protocol::Udp, ..tcp(address, Check::Connect) };
        assert_eq!(ask(&target, SHORT).await, CheckResult::NotRefused);
    }

    #[test]
    fn an_error_of_our_own_is_no_verdict() {
        let ours = io::Error::from_raw_os_error(libc::EMFILE);
        assert!(matches!(failure(&ours), CheckResult::NotAsked(_)));
        let nobody = io::Error::from_raw_os_error(libc::EHOSTUNREACH);
        assert!(matches!(failure(&nobody), CheckResult::Silent(_)));
    }

    #[tokio::test]
    async fn a_process_that_hangs_fails_every_check_that_speaks_its_protocol() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for (word, sign) in [
            ("http", "the answer to an HTTP request"),
            ("nbd", "NBD's greeting"),
            ("iscsi", "the answer to an iSCSI login"),
            ("nfs", "the answer to NFS's NULL call"),
            ("smb", "the answer to SMB2 NEGOTIATE"),
        ] {
            let check: Check = serde_json::from_value(word.into()).unwrap();
            match ask(&tcp(address, check), SHORT).await {
                CheckResult::Refused(text) => {
                    let end = format!("within 20 ms there was no sign of {sign}");
                    assert!(text.ends_with(&end), "{word}: {text}");
                }
                CheckResult::NotAsked(_) => {}
                other => panic!("{word}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn nfs_over_udp_wants_an_answer_to_its_own_call() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let target =
            Target { protocol: Protocol::Udp, ..tcp(address, Check::Nfs { version: None }) };
        let silent = ask(&target, SHORT).await;
        assert!(matches!(silent, CheckResult::Silent(_) | CheckResult::NotAsked(_)), "{silent:?}");
        let answering = tokio::spawn(async move {
            let mut call = [0; 64];
            // The first call is the one that was given up.
            server.recv(&mut call).await.unwrap();
            let (len, from) = server.recv_from(&mut call).await.unwrap();
            assert_eq!((len, call[15], call[19]), (40, 0xa3, 3));
            let success = [&call[..4], &[0, 0, 0, 1], &[0; 16]].concat();
            let another = [&[0xff; 4], &success[4..]].concat();
            server.send_to(&another, from).await.unwrap();
            server.send_to(&success, from).await.unwrap();
        });
        let result = ask(&target, LONG).await;
        assert!(matches!(result, CheckResult::Answered { .. }), "{result:?}");
        answering.await.unwrap();
    }
}
