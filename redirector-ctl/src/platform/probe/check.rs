//! One check of one server: a connection, and where asked for the server's first bytes.
//!
//! Connections are closed with RST, so that checks leave no TIME_WAIT behind at either end.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::Target;
use crate::core::health::CheckResult;
use crate::core::spec::{Check, Protocol};
use crate::platform::clock::Stopwatch;

/// Asks once. Never longer than about `limit`.
pub(super) async fn check(target: &Target, limit: Duration) -> CheckResult {
    let watch = Stopwatch::start();
    let outcome = match (target.protocol, target.check) {
        (Protocol::Tcp, Check::Connect) => timeout(limit, connect(target.address)).await,
        (Protocol::Tcp, Check::Greeting) => return greeting(target.address, limit, &watch).await,
        (Protocol::Udp, _) => return datagram(target.address, limit, &watch).await,
    };
    match outcome {
        Ok(Ok(stream)) => {
            close(&stream);
            answered(&watch)
        }
        Ok(Err(error)) => failure(&error),
        Err(_) => unanswered(limit, &watch),
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    TcpStream::connect(address).await
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
        Err(_) => match unanswered(limit, watch) {
            CheckResult::Silent(_) => CheckResult::Refused(format!(
                "it accepted the connection, but sent no greeting within {} ms",
                limit.as_millis()
            )),
            other => other,
        },
    }
}

/// An empty datagram. Only a refusal says something: silence is normal for a UDP service.
async fn datagram(address: SocketAddr, limit: Duration, watch: &Stopwatch) -> CheckResult {
    let exchange = async {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
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

fn answered(watch: &Stopwatch) -> CheckResult {
    let took_us = u64::try_from(watch.elapsed().as_micros()).unwrap_or(u64::MAX);
    CheckResult::Answered { took_us }
}

/// No answer in time, unless our own timer came so late that an answer may have been waiting.
fn unanswered(limit: Duration, watch: &Stopwatch) -> CheckResult {
    let late = watch.elapsed().saturating_sub(limit);
    if late > limit {
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
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    const LONG: Duration = Duration::from_secs(5);
    const SHORT: Duration = Duration::from_millis(20);

    fn tcp(address: SocketAddr, check: Check) -> Target {
        Target { address, protocol: Protocol::Tcp, check }
    }

    #[tokio::test]
    async fn a_listener_answers_a_connect_check_and_a_closed_port_refuses_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = tcp(listener.local_addr().unwrap(), Check::Connect);
        assert!(matches!(check(&target, LONG).await, CheckResult::Answered { .. }));
        drop(listener);
        assert!(matches!(check(&target, LONG).await, CheckResult::Refused(_)));
    }

    #[tokio::test]
    async fn a_process_that_hangs_passes_a_connect_check_but_not_a_greeting_check() {
        // Nobody accepts: the kernel does, as for a stopped process.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connected = check(&tcp(address, Check::Connect), LONG).await;
        assert!(matches!(connected, CheckResult::Answered { .. }), "{connected:?}");
        let greeted = check(&tcp(address, Check::Greeting), SHORT).await;
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
        let result = check(&tcp(address, Check::Greeting), LONG).await;
        assert!(matches!(result, CheckResult::Answered { .. }), "{result:?}");
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_udp_port_is_refused_when_closed_and_not_refused_when_silent() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let target = Target { address, protocol: Protocol::Udp, check: Check::Connect };
        assert_eq!(check(&target, SHORT).await, CheckResult::NotRefused);
        drop(socket);
        assert!(matches!(check(&target, LONG).await, CheckResult::Refused(_)));
    }

    #[test]
    fn an_error_of_our_own_is_no_verdict() {
        let ours = io::Error::from_raw_os_error(libc::EMFILE);
        assert!(matches!(failure(&ours), CheckResult::NotAsked(_)));
        let nobody = io::Error::from_raw_os_error(libc::EHOSTUNREACH);
        assert!(matches!(failure(&nobody), CheckResult::Silent(_)));
    }
}
