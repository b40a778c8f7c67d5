//! The listeners: sockets that are there, stale, taken or no sockets, limits, and the end.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::accept::serve;
use super::super::listen::{ApiError, bind};
use super::harness::Lab;
use crate::config::ApiConfig;

const DEADLINE: Duration = Duration::from_secs(10);

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ApiError>>,
}

fn start(config: ApiConfig) -> Running {
    let (stop, stopped) = oneshot::channel();
    let router = Lab::new().router;
    let task = tokio::spawn(async move {
        let listeners = bind(&config).await?;
        serve(router, listeners, async {
            let _ = stopped.await;
        })
        .await;
        Ok(())
    });
    Running { stop, task }
}

impl Running {
    async fn end(self) -> Result<(), ApiError> {
        let _ = self.stop.send(());
        timeout(DEADLINE, self.task).await.expect("it ends in time").expect("it does not panic")
    }
}

fn on_socket(path: &Path) -> ApiConfig {
    ApiConfig { unix_socket: Some(path.to_owned()), ..ApiConfig::default() }
}

/// Connects as soon as somebody listens.
async fn connected(path: &Path) -> UnixStream {
    let attempt = async {
        loop {
            match UnixStream::connect(path).await {
                Ok(stream) => return stream,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    timeout(DEADLINE, attempt).await.expect("it listens in time")
}

async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), text: &str) -> String {
    // A server that refuses early may close before it has read everything.
    let _ = stream.write_all(text.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("it answers in time");
    String::from_utf8_lossy(&answer).into_owned()
}

const STATUS: &str = "GET /v1/status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn the_socket_is_for_owner_and_group_and_goes_with_the_daemon() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run/api.sock");
    let running = start(on_socket(&path));
    let mut stream = connected(&path).await;
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let answer = ask(&mut stream, STATUS).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    running.end().await.expect("it ends well");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("api.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    assert!(path.exists());
    let running = start(on_socket(&path));
    let mut stream = connected(&path).await;
    assert!(ask(&mut stream, STATUS).await.starts_with("HTTP/1.1 200"));
    running.end().await.expect("it ends well");
}

#[tokio::test]
async fn a_socket_that_somebody_answers_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("api.sock");
    let _other = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    let error = start(on_socket(&path)).task.await.expect("no panic").expect_err("it is taken");
    assert!(matches!(error, ApiError::SocketInUse { .. }), "{error}");
    assert!(error.to_string().contains("another process already listens"), "{error}");
    assert!(path.exists());
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("api.sock");
    std::fs::write(&path, "precious").expect("a file");
    let error = start(on_socket(&path)).task.await.expect("no panic").expect_err("it is no socket");
    assert!(matches!(error, ApiError::NotASocket { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "precious");
}

#[tokio::test]
async fn a_port_beyond_loopback_or_in_use_is_refused() {
    let beyond: SocketAddr = "0.0.0.0:0".parse().expect("an address");
    let config = ApiConfig { listen: Some(beyond), ..ApiConfig::default() };
    let error = start(config).task.await.expect("no panic").expect_err("it is refused");
    assert!(matches!(error, ApiError::NotLoopback { .. }), "{error}");
    let other = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = other.local_addr().expect("it is bound");
    let config = ApiConfig { listen: Some(address), ..ApiConfig::default() };
    let error = start(config).task.await.expect("no panic").expect_err("it is taken");
    assert!(error.to_string().contains("see api.listen"), "{error}");
}

#[tokio::test]
async fn the_same_api_answers_on_a_loopback_port() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = free.local_addr().expect("it is bound");
    drop(free);
    let running = start(ApiConfig { listen: Some(address), ..ApiConfig::default() });
    let attempt = async {
        loop {
            match TcpStream::connect(address).await {
                Ok(stream) => return stream,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let mut stream = timeout(DEADLINE, attempt).await.expect("it listens in time");
    assert!(ask(&mut stream, STATUS).await.starts_with("HTTP/1.1 200"));
    running.end().await.expect("it ends well");
}

#[tokio::test]
async fn a_head_that_is_too_long_or_has_too_many_lines_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("api.sock");
    let running = start(on_socket(&path));
    let long = format!("GET /v1/status HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("GET /v1/status HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(1000));
    for head in [long, many] {
        let answer = ask(&mut connected(&path).await, &head).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    let mut stream = connected(&path).await;
    assert!(ask(&mut stream, STATUS).await.starts_with("HTTP/1.1 200"), "it still serves");
    running.end().await.expect("it ends well");
}

#[tokio::test]
async fn garbage_on_the_socket_does_no_harm() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("api.sock");
    let running = start(on_socket(&path));
    for garbage in
        ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\r\n\r\n x"]
    {
        let answer = ask(&mut connected(&path).await, garbage).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{garbage:?}: {answer}");
    }
    let mut stream = connected(&path).await;
    assert!(ask(&mut stream, STATUS).await.starts_with("HTTP/1.1 200"), "it still serves");
    running.end().await.expect("it ends well");
}

#[tokio::test]
async fn clients_beyond_the_limit_wait_for_a_place() -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("api.sock");
    let running = start(on_socket(&path));
    let mut idle = Vec::new();
    for _ in 0..super::super::limits::SOCKET_CONNECTIONS_MAX {
        let mut stream = connected(&path).await;
        let keep = "GET /v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n";
        stream.write_all(keep.as_bytes()).await?;
        let mut first = [0; 12];
        stream.read_exact(&mut first).await?;
        assert_eq!(&first, b"HTTP/1.1 200");
        idle.push(stream);
    }
    let mut waiting = connected(&path).await;
    waiting.write_all(STATUS.as_bytes()).await?;
    let mut first = [0; 12];
    let early = timeout(Duration::from_millis(200), waiting.read_exact(&mut first)).await;
    assert!(early.is_err(), "there was no place for it");
    idle.pop();
    timeout(DEADLINE, waiting.read_exact(&mut first)).await.expect("it gets the free place")?;
    assert_eq!(&first, b"HTTP/1.1 200");
    drop(idle);
    running.end().await.expect("it ends well");
    Ok(())
}
