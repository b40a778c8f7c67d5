//! Where the API is reached: a unix socket and a loopback port, with limits on both.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::serve::Listener;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, UnixListener, UnixSocket, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_io_timeout::TimeoutStream;

use super::caller::Peer;
use super::limits::{
    CONNECTION_LIFE, CONNECTIONS_MAX, GOODBYE_TIMEOUT, HEAD_LEN_MAX, HEAD_TIMEOUT, HEADERS_MAX,
    WRITE_TIMEOUT,
};
use crate::config::ApiConfig;

/// Owner and group may talk to the daemon, others may not.
const SOCKET_MODE: u32 = 0o660;
/// Connections that wait in the kernel's queue.
const BACKLOG: u32 = 128;

/// Why the API cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Another process answers on the socket.
    #[error(
        "another process already listens on {}: stop it, or set api.unix_socket to another path",
        path.display()
    )]
    SocketInUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else lies where the socket should be.
    #[error(
        "{} exists and is not a socket: remove it, or set api.unix_socket to another path",
        path.display()
    )]
    NotASocket {
        /// The thing.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error("cannot listen on {}, see api.unix_socket", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The port cannot be opened.
    #[error("cannot listen on {address}, see api.listen")]
    Port {
        /// Address and port.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Refused: there are no credentials yet.
    #[error(
        "refusing to listen on {address}, which is not loopback: the API asks nobody who he is"
    )]
    NotLoopback {
        /// Address and port.
        address: SocketAddr,
    },
}

/// Where the API will be reached, taken but not yet answering.
#[derive(Debug)]
pub struct Listeners {
    tcp: Option<TcpListener>,
    unix: Option<(UnixListener, SocketFile)>,
}

/// The socket's file: it goes with the value, so that nothing is left behind.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let path = &self.0;
        if let Err(error) = std::fs::remove_file(path) {
            tracing::warn!(path = %path.display(), %error, "the API's socket could not be removed");
        }
    }
}

/// Takes the configured port and unix socket. Connections wait until [`super::serve`] answers them.
///
/// # Errors
/// When one of them cannot be had; the other is given back then.
pub async fn bind(config: &ApiConfig) -> Result<Listeners, ApiError> {
    let tcp = match config.listen {
        Some(address) => Some(bind_port(address).await?),
        None => None,
    };
    let unix = match &config.unix_socket {
        Some(path) => Some((bind_socket(path).await?, SocketFile(path.clone()))),
        None => None,
    };
    Ok(Listeners { tcp, unix })
}

/// Serves `router` until `stop` resolves.
pub(super) async fn serve(router: Router, listeners: Listeners, stop: impl Future<Output = ()>) {
    let (announce_stop, stopped) = watch::channel(());
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let acceptor = |watcher| Acceptor {
        router: router.clone(),
        places: Arc::clone(&places),
        stopped: stopped.clone(),
        open: watcher,
    };
    let (tcp_open, unix_open) = (GracefulShutdown::new(), GracefulShutdown::new());
    let (unix, socket_file) = listeners.unix.unzip();
    let announcer = async {
        stop.await;
        drop(socket_file);
        drop(announce_stop);
    };
    tokio::join!(
        announcer,
        accept_if(listeners.tcp, acceptor(tcp_open)),
        accept_if(unix, acceptor(unix_open))
    );
}

/// What accepting connections takes.
struct Acceptor {
    router: Router,
    /// One for each connection that may be open.
    places: Arc<Semaphore>,
    /// Closed when the daemon stops.
    stopped: watch::Receiver<()>,
    /// The connections that are open.
    open: GracefulShutdown,
}

async fn accept_if<L: Listener<Io: Peer>>(listener: Option<L>, acceptor: Acceptor) {
    if let Some(listener) = listener {
        acceptor.accept(listener).await;
    }
}

impl Acceptor {
    /// Accepts connections until the daemon stops, then gives the open ones time to end.
    async fn accept<L: Listener<Io: Peer>>(mut self, mut listener: L) {
        loop {
            let next = async {
                let place = Arc::clone(&self.places).acquire_owned().await;
                let (stream, _) = listener.accept().await;
                (place, stream)
            };
            let (place, stream) = tokio::select! {
                next = next => next,
                _ = self.stopped.changed() => break,
            };
            let router = self.router.clone().layer(Extension(stream.caller()));
            let service = TowerToHyperService::new(router);
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(WRITE_TIMEOUT));
            let stream = TokioIo::new(Box::pin(stream));
            let connection = http1_limits().serve_connection(stream, service);
            let connection = self.open.watch(connection);
            tokio::spawn(async move {
                match timeout(CONNECTION_LIFE, connection).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::debug!(%error, "an API connection ended"),
                    Err(_) => {
                        tracing::debug!("an API connection was closed at the end of its life")
                    }
                }
                drop(place);
            });
        }
        drop(listener);
        if timeout(GOODBYE_TIMEOUT, self.open.shutdown()).await.is_err() {
            tracing::warn!("API requests were still open when the daemon stopped");
        }
    }
}

fn http1_limits() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_LEN_MAX)
        .max_headers(HEADERS_MAX);
    builder
}

async fn bind_port(address: SocketAddr) -> Result<TcpListener, ApiError> {
    if !address.ip().is_loopback() {
        return Err(ApiError::NotLoopback { address });
    }
    TcpListener::bind(address).await.map_err(|source| ApiError::Port { address, source })
}

/// Makes the socket. It has its final mode before it takes the first connection.
async fn bind_socket(path: &Path) -> Result<UnixListener, ApiError> {
    clear_stale_socket(path).await?;
    let bind = || {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let socket = UnixSocket::new_stream()?;
        socket.bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|source| ApiError::Socket { path: path.to_owned(), source })
}

/// Removes the socket of a daemon that is gone. Whoever still answers there keeps it.
async fn clear_stale_socket(path: &Path) -> Result<(), ApiError> {
    let failed = |source| ApiError::Socket { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ApiError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(ApiError::SocketInUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}
