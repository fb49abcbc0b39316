//! The server's certificate while it serves: read again on a reload, for connections from then on.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::settings::{Tls, TlsError};

/// The server's certificate, replaced as a whole.
#[derive(Debug)]
pub struct Certificate {
    /// What it was first read with.
    settings: Tls,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// # Errors
    /// [`TlsError`].
    pub fn read(settings: &Tls) -> Result<Arc<Self>, TlsError> {
        let current = RwLock::new(Arc::new(settings.certified()?));
        Ok(Arc::new(Self { settings: settings.clone(), current }))
    }

    /// Shows another certificate from here on.
    pub fn renew(&self, certified: CertifiedKey) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
    }

    /// The configuration of a server with this certificate.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn config(self: &Arc<Self>) -> Result<ServerConfig, TlsError> {
        self.settings.server_config(self.clone())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}
