//! TLS: the server's certificate, clients' certificates, and both read again on a reload.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use crate::settings::Tls;

/// Why TLS cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds nothing of the kind.
    #[error("read {what} from {} failed: {problem}", path.display())]
    File {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// Certificate and key do not make a server.
    #[error("certificate and key do not fit")]
    Pair(#[from] rustls::Error),
    /// The authorities for clients' certificates do not make a verifier.
    #[error("{} holds no authority that clients could be checked against: {problem}", path.display())]
    Authorities {
        /// Where.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
}

/// The server's certificate, replaced as a whole.
#[derive(Debug)]
pub struct Certificate {
    settings: Tls,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// # Errors
    /// [`TlsError`].
    pub fn read(settings: &Tls) -> Result<Arc<Self>, TlsError> {
        let current = RwLock::new(Arc::new(pair(settings)?));
        Ok(Arc::new(Self { settings: settings.clone(), current }))
    }

    /// Reads the files again; connections from now on see what they hold.
    ///
    /// # Errors
    /// [`TlsError`]; what was there before stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        let read = Arc::new(pair(&self.settings)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    /// The configuration of a server with this certificate.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn config(self: &Arc<Self>) -> Result<ServerConfig, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?;
        let builder = match &self.settings.client_ca {
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates("clients' authorities", path)? {
                    roots.add(certificate)?;
                }
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                // A key is another way in, so a client may also come without a certificate.
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .allow_unauthenticated()
                    .build();
                let problem = |error: rustls::server::VerifierBuilderError| TlsError::Authorities {
                    path: path.clone(),
                    problem: error.to_string(),
                };
                builder.with_client_cert_verifier(verifier.map_err(problem)?)
            }
            None => builder.with_no_client_auth(),
        };
        Ok(builder.with_cert_resolver(self.clone()))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn pair(settings: &Tls) -> Result<CertifiedKey, TlsError> {
    let chain = certificates("the server's certificate", &settings.certificate)?;
    let path = &settings.key;
    let key = PrivateKeyDer::from_pem_file(path).map_err(|error| file("the server's key", path, &error))?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key)?;
    let pair = CertifiedKey::new(chain, key);
    pair.keys_match()?;
    Ok(pair)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| file(what, path, &error))?;
    if found.is_empty() {
        return Err(file(what, path, &io::Error::other("there is no certificate in it")));
    }
    Ok(found)
}

fn file(what: &'static str, path: &Path, error: &dyn std::error::Error) -> TlsError {
    TlsError::File { what, path: path.to_owned(), problem: error.to_string() }
}
