//! TLS 1.2 and 1.3 by rustls: our certificate, and the clients' where they show one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::TlsConfig;

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or is not PEM.
    #[error("api.{key}: cannot read {} as PEM", path.display())]
    File {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// There is no certificate in a file.
    #[error("api.{key}: {} has no certificate in it", path.display())]
    Empty {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key cannot be used.
    #[error(
        "api.tls_certificate and api.tls_key: {} cannot be used with {}",
        certificate.display(),
        key.display()
    )]
    Pair {
        /// Our certificate.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The clients' authorities cannot be used.
    #[error("api.client_ca: {} cannot be used: {why}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// Reads the files.
///
/// # Errors
/// The first file that cannot be used.
pub(super) fn load(config: &TlsConfig) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates("tls_certificate", &config.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&config.key).map_err(|source| TlsError::File {
        key: "tls_key",
        path: config.key.clone(),
        source,
    })?;
    let pair = |source| TlsError::Pair {
        certificate: config.certificate.clone(),
        key: config.key.clone(),
        source,
    };
    // What rustls has at all: TLS 1.2 and 1.3.
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(pair)?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => builder.with_client_cert_verifier(verifier(path, provider)?),
    };
    let mut tls = builder.with_single_cert(chain, key).map_err(pair)?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}

/// Clients need no certificate, because a token does as well; but one that they show must be good.
fn verifier(
    path: &Path,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let refused = |why: String| TlsError::Authorities { path: path.to_owned(), why };
    let mut roots = RootCertStore::empty();
    for authority in certificates("client_ca", path)? {
        roots.add(authority).map_err(|error| refused(error.to_string()))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
    builder.allow_unauthenticated().build().map_err(|error| refused(error.to_string()))
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File { key, path: path.to_owned(), source };
    let all = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let all = all.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    match all.is_empty() {
        true => Err(TlsError::Empty { key, path: path.to_owned() }),
        false => Ok(all),
    }
}

/// The names in a certificate that was verified: common names of its subject, and its alternative
/// names that are texts (RFC 5280, sections 4.1.2.6 and 4.2.1.6).
pub(super) fn names_in(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return Vec::new() };
    let common = certificate.subject().iter_common_name();
    let mut names: Vec<String> =
        common.filter_map(|name| name.as_str().ok().map(str::to_owned)).collect();
    if let Ok(Some(alternative)) = certificate.subject_alternative_name() {
        let texts = alternative.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
                Some((*text).to_owned())
            }
            _ => None,
        });
        names.extend(texts);
    }
    names
}
