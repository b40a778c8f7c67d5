//! One attempt against servers that answer, refuse, hang, or are not there.

use super::*;
use crate::core::check::CheckPace;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

const LONG: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(20);

fn tcp(address: SocketAddr, check: Check) -> Target {
    Target { address, protocol: Protocol::Tcp, check, pace: CheckPace::default(), service: None }
}

async fn ask(target: &Target, limit: Duration) -> CheckResult {
    let accepted_us = AtomicU64::new(0);
    let (end, over) = watch::channel(false);
    let once = Attempt { limit, over, watch: Stopwatch::start(), accepted_us: &accepted_us };
    let path = ("s1".into(), "disk-a".into());
    let mut asking = std::pin::pin!(attempt(target, &path, once, 7));
    if let Ok(outcome) = timeout(limit, &mut asking).await {
        return outcome.result;
    }
    end.send_replace(true);
    asking.await.result
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
    assert!(matches!(greeted, CheckResult::Refused(_) | CheckResult::NotAsked(_)), "{greeted:?}");
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
    assert!(matches!(failure(&ours).result, CheckResult::NotAsked(_)));
    let nobody = io::Error::from_raw_os_error(libc::EHOSTUNREACH);
    assert!(matches!(failure(&nobody).result, CheckResult::Silent(_)));
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
    let target = Target { protocol: Protocol::Udp, ..tcp(address, Check::Nfs { version: None }) };
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
