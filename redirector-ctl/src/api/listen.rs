//! Where the API is reached: a unix socket and a port, taken before anything else happens.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixSocket, UnixStream};

use super::door::{Door, DoorError};
use crate::config::ApiConfig;

/// Owner and group may talk to the daemon, others may not.
const SOCKET_MODE: u32 = 0o660;
/// Connections that wait in the kernel's queue, of the socket and of the port.
const BACKLOG: u32 = 128;
const PORT_BACKLOG: u32 = 1024;

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
    /// Refused: nobody would be asked who he is, or everybody could listen.
    #[error(
        "refusing to listen on {address}, which is not loopback, without TLS and credentials: set \
         api.tls_certificate, api.tls_key and api.credentials"
    )]
    NotLoopback {
        /// Address and port.
        address: SocketAddr,
    },
    /// TLS or credentials cannot be used.
    #[error(transparent)]
    Door(#[from] DoorError),
}

/// Where the API will be reached, taken but not yet answering.
#[derive(Debug)]
pub struct Listeners {
    pub(super) tcp: Option<(TcpListener, Door)>,
    pub(super) unix: Option<(UnixListener, SocketFile)>,
}

/// The socket's file: it goes with the value, so that nothing is left behind.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

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
        Some(address) => Some((bind_port(address, config)?, Door::open(config)?)),
        None => None,
    };
    let unix = match &config.unix_socket {
        Some(path) => Some((bind_socket(path).await?, SocketFile(path.clone()))),
        None => None,
    };
    Ok(Listeners { tcp, unix })
}

/// Reads the files that the port's door needs, as [`bind`] would.
///
/// # Errors
/// What [`bind`] would refuse of them.
pub fn check_access(config: &ApiConfig) -> Result<(), ApiError> {
    Door::open(config)?;
    Ok(())
}

fn bind_port(address: SocketAddr, config: &ApiConfig) -> Result<TcpListener, ApiError> {
    let is_guarded = config.tls.is_some() && config.credentials.is_some();
    if !address.ip().is_loopback() && !is_guarded {
        return Err(ApiError::NotLoopback { address });
    }
    let bind = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(PORT_BACKLOG)
    };
    bind().map_err(|source| ApiError::Port { address, source })
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
