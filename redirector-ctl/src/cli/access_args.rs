//! What the command line shows to a port that asks for credentials, and `redirector token`.

use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, ClientBuilder, Identity, Url};

use crate::api::Role;

/// The token itself. As an argument everybody on the machine could read it.
const TOKEN: &str = "REDIRECTOR_TOKEN";

/// Credentials, and by which authority the daemon is known.
#[derive(Debug, Clone, Default, ClapArgs)]
pub struct AccessArgs {
    /// File with the token to show; REDIRECTOR_TOKEN may have the token itself instead
    #[arg(long, global = true, value_name = "FILE", env = "REDIRECTOR_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificates (PEM) of the authority of the daemon's certificate; the system's when left out
    #[arg(long, global = true, value_name = "FILE", env = "REDIRECTOR_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// Client certificate to show (PEM)
    #[arg(long, global = true, value_name = "FILE", env = "REDIRECTOR_CERT_FILE")]
    #[arg(requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, global = true, value_name = "FILE", env = "REDIRECTOR_KEY_FILE")]
    #[arg(requires = "cert_file")]
    pub key_file: Option<PathBuf>,
}

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it once, with the line that the file of credentials needs for it
    #[command(after_help = "Example:\n  redirector token new --name anna --role operator\n\n\
                            Whoever loses a token loses it for good: take its line out of the \
                            file and make another. The daemon reads the file anew by itself.")]
    New {
        /// Whose it is; the audit lines of the log have this name
        #[arg(long)]
        name: String,
        /// viewer reads, operator also moves, admin may everything
        #[arg(long)]
        role: Role,
    },
}

impl AccessArgs {
    /// Has `builder` show what there is to show.
    ///
    /// # Errors
    /// Files that cannot be used, and a token that everybody on the way could read; in words.
    pub(super) fn show_to(
        &self,
        url: &Url,
        builder: ClientBuilder,
    ) -> Result<ClientBuilder, String> {
        let mut builder = builder;
        if let Some(token) = self.token()? {
            if url.scheme() == "http" && !is_loopback(url) {
                return Err(format!(
                    "the token is not sent to {url}, because everybody on the way could read it: \
                     use https://"
                ));
            }
            let mut value = HeaderValue::try_from(format!("Bearer {token}"))
                .map_err(|_| "the token has characters that no token has".to_owned())?;
            value.set_sensitive(true);
            builder = builder.default_headers(HeaderMap::from_iter([(AUTHORIZATION, value)]));
        }
        if let Some(path) = &self.ca_file {
            builder = builder.tls_built_in_root_certs(false);
            let unusable = |error| format!("--ca-file {}: {error}", path.display());
            for authority in Certificate::from_pem_bundle(&read(path)?).map_err(unusable)? {
                builder = builder.add_root_certificate(authority);
            }
        } else if url.scheme() == "http" {
            builder = builder.tls_built_in_root_certs(false);
        }
        if let (Some(certificate), Some(key)) = (&self.cert_file, &self.key_file) {
            let pair = [read(certificate)?, read(key)?].concat();
            let unusable = |error| {
                format!("--cert-file {} and its --key-file: {error}", certificate.display())
            };
            builder = builder.identity(Identity::from_pem(&pair).map_err(unusable)?);
        }
        Ok(builder)
    }

    fn token(&self) -> Result<Option<String>, String> {
        let text = match &self.token_file {
            None => std::env::var(TOKEN).ok(),
            Some(path) => Some(String::from_utf8_lossy(&read(path)?).into_owned()),
        };
        Ok(text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|at| at.is_loopback())
}
