//! What an API beyond loopback needs: an authority, certificates of it and of others, tokens, and
//! the lines of the configuration that name them.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use reqwest::Method;
use reqwest::blocking::Client;

use crate::netns::Namespace;
use crate::programs;

/// Name in the daemon's certificate; no name of a host.
pub const NAME: &str = "gateway.example";
/// The roles, from the least one.
pub const ROLES: [&str; 3] = ["viewer", "operator", "admin"];

/// Whether a certificate is still good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// It is.
    Good,
    /// It ended years ago.
    Expired,
}

/// An authority that everybody here makes certificates of.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, in PEM.
    pub pem: String,
}

impl Authority {
    /// Makes one.
    ///
    /// # Errors
    /// When there are no random numbers.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), pem })
    }

    /// A certificate of this common name for these hosts, and its key, in PEM.
    ///
    /// # Errors
    /// Names that cannot be in a certificate.
    pub fn certify(&self, name: &str, hosts: &[&str], age: Age) -> Result<(String, String)> {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if age == Age::Expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

/// The door's files in a directory of the run.
pub struct Door {
    dir: PathBuf,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Who has signed everything.
    pub authority: Authority,
    /// A token of each of [`ROLES`]; its holder's name is `a-` and the role.
    pub tokens: [String; 3],
}

impl Door {
    /// Makes the files, with a token for each role and a line for the certificate name `a-laptop`,
    /// which is an operator's.
    ///
    /// # Errors
    /// When a file cannot be written or the command line makes no token.
    pub fn make(dir: &Path, listen: SocketAddr) -> Result<Self> {
        let dir = dir.join("door");
        fs::create_dir_all(&dir)?;
        let authority = Authority::new("authority of the test")?;
        let host = listen.ip().to_string();
        let (certificate, key) = authority.certify(NAME, &[NAME, &host], Age::Good)?;
        for (name, text) in
            [("ca.pem", &authority.pem), ("tls.pem", &certificate), ("tls.key", &key)]
        {
            write(&dir.join(name), text, 0o640)?;
        }
        let mut lines = "# of the test\nlaptop operator cert:a-laptop\n".to_owned();
        let mut tokens = <[String; 3]>::default();
        for (role, token) in ROLES.iter().zip(&mut tokens) {
            let (new, line) = new_token(&format!("a-{role}"), role)?;
            write(&dir.join(format!("{role}.token")), &new, 0o600)?;
            *token = new;
            lines += &format!("{line}\n");
        }
        let door = Self { dir, listen, authority, tokens };
        write(&door.path("credentials"), &lines, 0o640)?;
        Ok(door)
    }

    /// One of its files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The lines of `[api]`.
    pub fn config(&self) -> String {
        let dir = self.dir.display();
        format!(
            "listen = \"{}\"\ntls_certificate = \"{dir}/tls.pem\"\ntls_key = \"{dir}/tls.key\"\n\
             client_ca = \"{dir}/ca.pem\"\ncredentials = \"{dir}/credentials\"\n",
            self.listen
        )
    }

    /// An HTTP client in a namespace, which knows the authority, and may show a certificate.
    ///
    /// # Errors
    /// Certificates that cannot be read.
    pub fn client(&self, at: &Namespace, shown: Option<&(String, String)>) -> Result<Client> {
        let authority = reqwest::Certificate::from_pem(self.authority.pem.as_bytes())?;
        let mut builder = Client::builder()
            .no_proxy()
            .tls_built_in_root_certs(false)
            .add_root_certificate(authority)
            .pool_max_idle_per_host(0);
        if let Some((certificate, key)) = shown {
            let pair = [certificate.as_bytes(), key.as_bytes()].concat();
            builder = builder.identity(reqwest::Identity::from_pem(&pair)?);
        }
        // The client's thread stays where it was made.
        at.enter(|| builder.build().context("make an HTTP client"))
    }

    /// Sends a request, with a token or without; gives status, headers and body.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn ask(
        &self,
        client: &Client,
        (method, path): (&str, &str),
        token: Option<&str>,
        body: &str,
    ) -> Result<Answer> {
        let url = format!("https://{}{path}", self.listen);
        let mut request = client.request(Method::from_bytes(method.as_bytes())?, url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if method != "GET" && method != "HEAD" {
            request = request.header("content-type", "application/json").body(body.to_owned());
        }
        let answer = request.send().with_context(|| format!("{method} {path}"))?;
        let header = |name: &str| {
            let value = answer.headers().get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let (status, challenge, kind) =
            (answer.status().as_u16(), header("www-authenticate"), header("content-type"));
        Ok(Answer { status, challenge, kind, body: answer.text()? })
    }
}

/// An answer, as far as tests of the door look at it.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `www-authenticate`.
    pub challenge: String,
    /// `content-type`.
    pub kind: String,
    /// Body.
    pub body: String,
}

/// A new token and its line, as the command line prints them.
///
/// # Errors
/// When it prints something else.
pub fn new_token(name: &str, role: &str) -> Result<(String, String)> {
    let mut command = Command::new(programs::redirector()?);
    command.args(["--output", "json", "token", "new", "--name", name, "--role", role]);
    let output = command.output()?;
    ensure!(output.status.success(), "{output:?}");
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let text = |key: &str| printed[key].as_str().map(str::to_owned).context("no token");
    Ok((text("token")?, text("line")?))
}

/// Writes a file of this mode.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}
