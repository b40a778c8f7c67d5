//! `[api]`: where the REST API listens, and what its port demands of whoever comes.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::problem::Report;
use super::reader::Section;
use super::sections::path;

const UNIX_SOCKET: &str = "/run/redirector/api.sock";
/// About 10 MB of text.
const METRICS_DEVICES_MAX: usize = 10_000;
/// `sockaddr_un.sun_path` has 108 bytes, the last of which is 0 (unix(7)).
const SOCKET_PATH_MAX: usize = 107;

/// `[api]`. At least one of `unix_socket` and `listen` is set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ApiConfig {
    /// Path of the unix socket; absolute.
    pub unix_socket: Option<PathBuf>,
    /// Address and port. Beyond loopback, `tls` and `credentials` are set.
    pub listen: Option<SocketAddr>,
    /// What the port speaks TLS with; None for plain HTTP.
    pub tls: Option<TlsConfig>,
    /// File of those who may ask over the port; None for everybody who can connect.
    pub credentials: Option<PathBuf>,
    /// With more devices than that `/metrics` has no series of single devices; 0 for never any.
    pub metrics_devices_max: usize,
}

/// Files of TLS, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Our certificate, and after it those that lead to its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities whose certificates clients may show; None for no such clients.
    pub client_ca: Option<PathBuf>,
}

/// What `[api]` says, before it is known whether that fits together.
struct Said {
    listen: Option<SocketAddr>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
    credentials: Option<PathBuf>,
}

pub(super) fn api(mut section: Section<'_>, report: &mut Report<'_>) -> ApiConfig {
    let mut unix_socket = path(&mut section, "unix_socket", report);
    if unix_socket.as_ref().is_some_and(|path| path.as_os_str().len() > SOCKET_PATH_MAX) {
        let detail = format!("is longer than {SOCKET_PATH_MAX} bytes; use a shorter path");
        report.problem("api.unix_socket", detail);
    }
    let expected = "an address and port; write one such as 127.0.0.1:7070";
    let said = Said {
        listen: section.parsed("listen", expected, report),
        certificate: path(&mut section, "tls_certificate", report),
        key: path(&mut section, "tls_key", report),
        client_ca: path(&mut section, "client_ca", report),
        credentials: path(&mut section, "credentials", report),
    };
    check_port(&said, report);
    check_files(&said, report);
    if unix_socket.is_none() && said.listen.is_none() {
        unix_socket = Some(UNIX_SOCKET.into());
    }
    let metrics_devices_max = section.number("metrics_devices_max", 0..=1_000_000, report);
    let metrics_devices_max = metrics_devices_max.unwrap_or(METRICS_DEVICES_MAX);
    section.finish(report);
    let files = said.certificate.zip(said.key);
    let client_ca = said.client_ca;
    let tls = files.map(|(certificate, key)| TlsConfig { certificate, key, client_ca });
    let (listen, credentials) = (said.listen, said.credentials);
    ApiConfig { unix_socket, listen, tls, credentials, metrics_devices_max }
}

fn check_port(said: &Said, report: &mut Report<'_>) {
    let Some(listen) = said.listen else { return };
    if listen.port() == 0 {
        report.problem("api.listen", "port 0 cannot be found by clients; write 1 to 65535");
    }
    let lacks = lacks(said, report);
    if !listen.ip().is_loopback() && !lacks.is_empty() {
        let detail = format!(
            "{} is not a loopback address, so anybody on that network could move devices; set \
             api.{} too, or use 127.0.0.1 or [::1]",
            listen.ip(),
            lacks.join(" and api.")
        );
        report.problem("api.listen", detail);
    }
}

/// What a port beyond loopback needs and the file does not have.
fn lacks(said: &Said, report: &Report<'_>) -> Vec<&'static str> {
    let has = [
        ("tls_certificate", said.certificate.is_some()),
        ("tls_key", said.key.is_some()),
        ("credentials", said.credentials.is_some()),
    ];
    let missing = has.into_iter().filter(|(_, has)| !has).map(|(key, _)| key);
    missing.filter(|key| !report.has_problem_at(&format!("api.{key}"))).collect()
}

/// Files that do nothing without another one are a mistake: whoever named them expects more.
fn check_files(said: &Said, report: &mut Report<'_>) {
    let beside = [
        ("tls_certificate", said.certificate.is_some(), "tls_key", said.key.is_some()),
        ("tls_key", said.key.is_some(), "tls_certificate", said.certificate.is_some()),
        ("client_ca", said.client_ca.is_some(), "tls_certificate", said.certificate.is_some()),
        ("client_ca", said.client_ca.is_some(), "credentials", said.credentials.is_some()),
        ("tls_certificate", said.certificate.is_some(), "listen", said.listen.is_some()),
        ("credentials", said.credentials.is_some(), "listen", said.listen.is_some()),
    ];
    for (key, is_said, other, is_other_said) in beside {
        let (field, other) = (format!("api.{key}"), format!("api.{other}"));
        let is_known = report.has_problem_at(&other) || report.has_problem_at(&field);
        if is_said && !is_other_said && !is_known {
            report.problem(&field, format!("does nothing without {other}; set it too"));
        }
    }
}
