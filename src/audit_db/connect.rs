//! Connections to the audit database: where, as whom, how secured, and for how long one waits.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, Connection};

use super::{Address, AuditDbError};
use crate::settings::{AuditDatabase, AuditTls};

/// The longest password, bytes.
const PASSWORD_BYTES_MAX: u64 = 4_096;

/// A database that can be connected to, again and again.
#[derive(Clone, Debug)]
pub struct Database {
    settings: AuditDatabase,
    address: Address,
}

impl Database {
    /// As the settings say; `None` where they name no database. Nothing is connected yet.
    ///
    /// # Errors
    /// [`AuditDbError::Address`].
    pub fn of(settings: &AuditDatabase) -> Result<Option<Self>, AuditDbError> {
        let Some(url) = &settings.url else { return Ok(None) };
        let address = Address::parse(url).map_err(|problem| AuditDbError::Address { problem })?;
        Ok(Some(Self { settings: settings.clone(), address }))
    }

    /// Where it is.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// What was set.
    #[must_use]
    pub const fn settings(&self) -> &AuditDatabase {
        &self.settings
    }

    /// The same, of which nobody minds how far it is behind.
    #[must_use]
    pub(super) fn whatever_the_lag(&self) -> Self {
        let settings = AuditDatabase { lag_events_max: u64::MAX, ..self.settings.clone() };
        Self { settings, address: self.address.clone() }
    }

    /// How long a connection may take.
    #[must_use]
    pub const fn patience(&self) -> Duration {
        Duration::from_millis(self.settings.connect_timeout_ms)
    }

    /// That nothing came back in this time.
    #[must_use]
    pub(super) fn timed_out(&self, within: Duration) -> AuditDbError {
        AuditDbError::TimedOut { address: self.address.to_string(), within }
    }

    /// Connects. The password is read each time, so that it may be changed while the service runs.
    ///
    /// # Errors
    /// [`AuditDbError::Password`], [`AuditDbError::Connect`], [`AuditDbError::TimedOut`].
    pub async fn connect(&self) -> Result<PgConnection, AuditDbError> {
        let options = self.options()?;
        let within = self.patience();
        let connected = tokio::time::timeout(within, PgConnection::connect_with(&options)).await;
        connected
            .map_err(|_elapsed| self.timed_out(within))?
            .map_err(|source| AuditDbError::Connect { address: self.address.to_string(), source })
    }

    fn options(&self) -> Result<PgConnectOptions, AuditDbError> {
        let Address { host, port, user, database } = &self.address;
        let mode = match self.settings.tls {
            // A socket in the file system has no TLS to speak.
            _ if self.address.is_socket() => PgSslMode::Disable,
            AuditTls::VerifyFull => PgSslMode::VerifyFull,
            AuditTls::VerifyCa => PgSslMode::VerifyCa,
            AuditTls::Disable => PgSslMode::Disable,
        };
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(host)
            .port(*port)
            .username(user)
            .database(database)
            .ssl_mode(mode)
            .application_name("ephor")
            // What is said to be there is on its disk; nobody's lock and no lost connection holds the checkpoint for ever.
            .options([
                ("timezone", "UTC"),
                ("datestyle", "ISO"),
                ("synchronous_commit", "on"),
                ("lock_timeout", "10s"),
                ("idle_in_transaction_session_timeout", "5min"),
            ])
            .disable_statement_logging();
        if let Some(path) = &self.settings.tls_ca {
            options = options.ssl_root_cert(path);
        }
        if let Some(path) = &self.settings.password_file {
            options = options.password(&password(path)?);
        }
        Ok(options)
    }
}

/// What a file that only its owner may read holds, without the end of its line.
fn password(path: &Path) -> Result<String, AuditDbError> {
    let unusable = |problem: String| AuditDbError::Password { path: path.to_owned(), problem };
    let file = File::open(path).map_err(|error| unusable(error.to_string()))?;
    let mode = file.metadata().map_err(|error| unusable(error.to_string()))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(unusable(format!("is open to others (mode {mode:03o}): chmod 600 it")));
    }
    let mut text = String::new();
    let read = file.take(PASSWORD_BYTES_MAX + 1).read_to_string(&mut text);
    let bytes = read.map_err(|error| unusable(error.to_string()))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() || bytes as u64 > PASSWORD_BYTES_MAX {
        return Err(unusable(format!("must hold a password of at most {PASSWORD_BYTES_MAX} bytes")));
    }
    Ok(password.to_owned())
}
