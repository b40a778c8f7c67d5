//! What the port demands: TLS and credentials, read from their files and read anew when these
//! change, so that a certificate is renewed and a token withdrawn without a restart.

use std::fs::Metadata;
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::interval;

use super::credentials::Credentials;
use super::failures::Failures;
use super::tls::{self, TlsError};
use crate::config::ApiConfig;

/// How often the files are looked at. SIGHUP has them read at once.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Bits of a file's mode by which others than its owner may write to it.
const OTHERS_WRITE: u32 = 0o022;
/// Bits of a file's mode by which everybody may read or write it.
const ANYBODY: u32 = 0o006;

/// Why the port cannot be guarded as it should be.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A file cannot be read.
    #[error("api.{key}: cannot read {}", path.display())]
    Read {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Somebody else could have written the file, or have read it.
    #[error("api.{key}: {} {why}: chmod {remedy} it", path.display())]
    Mode {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
        /// What `chmod` is to be told.
        remedy: &'static str,
    },
    /// The file of credentials has mistakes.
    #[error("api.credentials: {}: {}", path.display(), mistakes.join("; "))]
    Credentials {
        /// The file.
        path: PathBuf,
        /// All mistakes.
        mistakes: Vec<String>,
    },
}

/// The door of the TCP port. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Door(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: ApiConfig,
    keys: watch::Sender<Keys>,
    failures: Failures,
}

/// What the files said when they were last good.
#[derive(Debug, Clone)]
struct Keys {
    tls: Option<Arc<ServerConfig>>,
    credentials: Option<Arc<Credentials>>,
}

impl Door {
    /// Reads all files.
    ///
    /// # Errors
    /// The first one that cannot be used.
    pub fn open(config: &ApiConfig) -> Result<Self, DoorError> {
        let (keys, _) = watch::channel(Keys::read(config)?);
        Ok(Self(Arc::new(Inner { config: config.clone(), keys, failures: Failures::default() })))
    }

    /// What TLS is to be spoken with; None for none.
    pub fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.0.keys.borrow().tls.clone()
    }

    /// Who may ask; None for everybody who can connect.
    pub fn credentials(&self) -> Option<Arc<Credentials>> {
        self.0.keys.borrow().credentials.clone()
    }

    /// Whether one more failed attempt from there is within what is answered in full.
    pub fn may_fail(&self, from: Option<IpAddr>) -> bool {
        self.0.failures.may_fail(from)
    }

    /// Reads the files anew with each SIGHUP and whenever they have changed, for ever. Files that
    /// cannot be used leave everything as it was.
    pub async fn keep(&self) {
        let mut hangups = match signal(SignalKind::hangup()) {
            Ok(hangups) => hangups,
            Err(error) => {
                tracing::error!(%error, "cannot wait for SIGHUP: the door stays as it is");
                return std::future::pending().await;
            }
        };
        let (mut looks, mut seen) = (interval(LOOK_INTERVAL), self.stamps());
        loop {
            let is_asked = tokio::select! {
                _ = hangups.recv() => true,
                _ = looks.tick() => false,
            };
            let stamps = self.stamps();
            if is_asked || stamps != seen {
                seen = stamps;
                self.read_anew();
            }
        }
    }

    fn read_anew(&self) {
        match Keys::read(&self.0.config) {
            Ok(keys) => {
                self.0.keys.send_replace(keys);
                tracing::info!("certificates and credentials of the API were read anew");
            }
            Err(error) => {
                let error = anyhow::Error::new(error);
                tracing::error!("the API's door stays as it was: {error:#}");
            }
        }
    }

    /// What tells that a file has changed.
    fn stamps(&self) -> Vec<Option<(u64, u64, i64, i64)>> {
        let config = &self.0.config;
        let of_tls = config.tls.iter().flat_map(|tls| {
            [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()].into_iter().flatten()
        });
        let files = of_tls.chain(&config.credentials);
        let stamp = |file: Metadata| (file.ino(), file.size(), file.mtime(), file.mtime_nsec());
        files.map(|file| std::fs::metadata(file).ok().map(stamp)).collect()
    }
}

impl Keys {
    fn read(config: &ApiConfig) -> Result<Self, DoorError> {
        let tls = match &config.tls {
            None => None,
            Some(files) => {
                check_mode("tls_key", &files.key, ANYBODY, "can be read by everybody", "o-rw")?;
                Some(tls::load(files)?)
            }
        };
        let credentials = match &config.credentials {
            None => None,
            Some(path) => Some(Arc::new(read_credentials(path)?)),
        };
        Ok(Self { tls, credentials })
    }
}

fn read_credentials(path: &PathBuf) -> Result<Credentials, DoorError> {
    let why = "can be written by others than its owner";
    check_mode("credentials", path, OTHERS_WRITE, why, "go-w")?;
    let failed = |source| DoorError::Read { key: "credentials", path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    Credentials::parse(&text)
        .map_err(|mistakes| DoorError::Credentials { path: path.to_owned(), mistakes })
}

fn check_mode(
    key: &'static str,
    path: &PathBuf,
    refused: u32,
    why: &'static str,
    remedy: &'static str,
) -> Result<(), DoorError> {
    let failed = |source| DoorError::Read { key, path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & refused == 0 {
        return Ok(());
    }
    Err(DoorError::Mode { key, path: path.to_owned(), why, remedy })
}
