//! The files of `[server.tls]`, read and held against each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use super::Tls;

/// Why the service cannot speak TLS with the files it was given.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not what it should be.
    #[error("{field}: read {} failed", path.display())]
    Unreadable {
        /// `server.tls.NAME`.
        field: &'static str,
        /// Which file.
        path: PathBuf,
        /// What was found.
        source: pem::Error,
    },
    /// A file holds no certificate.
    #[error("{field}: there is no certificate in {}", path.display())]
    Empty {
        /// `server.tls.NAME`.
        field: &'static str,
        /// Which file.
        path: PathBuf,
    },
    /// A certificate cannot be used.
    #[error("{field}: {} cannot be used", path.display())]
    Unfit {
        /// `server.tls.NAME`.
        field: &'static str,
        /// Which file.
        path: PathBuf,
        /// What is wrong with it; also that a key is not its certificate's.
        source: rustls::Error,
    },
    /// Clients cannot be checked against the certificates given.
    #[error("server.tls.client_ca: {} cannot be used", path.display())]
    Verifier {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: VerifierBuilderError,
    },
}

impl TlsError {
    /// Never: a file has to be changed first.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }
}

impl Tls {
    /// The server's certificate and its key.
    ///
    /// # Errors
    /// [`TlsError`]
    pub fn certified(&self) -> Result<CertifiedKey, TlsError> {
        let chain = certificates("server.tls.certificate", &self.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(unreadable("server.tls.key", &self.key))?;
        CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(unfit("server.tls.key", &self.key))
    }

    /// What the service speaks TLS with. A client may show a certificate of `client_ca`, and need not.
    ///
    /// # Errors
    /// [`TlsError`]
    pub fn server_config(&self, certificate: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(unfit("server.tls.certificate", &self.certificate))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates("server.tls.client_ca", path)? {
                    roots.add(certificate).map_err(unfit("server.tls.client_ca", path))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|source| TlsError::Verifier { path: path.clone(), source })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        Ok(builder.with_cert_resolver(certificate))
    }
}

fn unfit(field: &'static str, path: &Path) -> impl FnOnce(rustls::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::Unfit { field, path, source }
}

fn unreadable(field: &'static str, path: &Path) -> impl FnOnce(pem::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::Unreadable { field, path, source }
}

fn certificates(field: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(unreadable(field, path))?;
    if found.is_empty() {
        return Err(TlsError::Empty { field, path: path.to_owned() });
    }
    Ok(found)
}
