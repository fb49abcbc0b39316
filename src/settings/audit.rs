//! `[audit]`: where else the trail is kept. A password stands in a file of its own.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where the audit trail is kept beside the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// A PostgreSQL database.
    pub database: AuditDatabase,
}

/// A PostgreSQL database that everything recorded is written to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditDatabase {
    /// `postgres://USER@HOST[:PORT]/NAME`, or `postgres:///NAME?host=/DIRECTORY&user=USER` over a socket; `None`: no
    /// database. It holds no password.
    pub url: Option<String>,
    /// A file that holds the password and that only its owner may read.
    pub password_file: Option<PathBuf>,
    /// Whether another machine may be spoken to without TLS: something in between has it.
    pub allow_plaintext: bool,
    /// Whether new exposure is blocked while the database cannot be reached or is too far behind.
    pub required: bool,
    /// Events written in one transaction, at most (the last commit may go beyond).
    pub batch_events: usize,
    /// How long a connection, and an answer to the question whether it is there, may take, milliseconds.
    pub connect_timeout_ms: u64,
    /// How many events it may be behind before that is a failure.
    pub lag_events_max: u64,
    /// How the connection is secured.
    pub tls: AuditTls,
    /// Who signs the server's certificate, a file in PEM; `None`: whoever the operating system trusts.
    pub tls_ca: Option<PathBuf>,
}

impl Default for AuditDatabase {
    fn default() -> Self {
        Self {
            url: None,
            password_file: None,
            allow_plaintext: false,
            required: false,
            batch_events: 2_048,
            connect_timeout_ms: 2_000,
            lag_events_max: 10_000,
            tls: AuditTls::VerifyFull,
            tls_ca: None,
        }
    }
}

/// `audit.database.tls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditTls {
    /// The certificate must be trusted and be the host's.
    VerifyFull,
    /// The certificate must be trusted.
    VerifyCa,
    /// None: to this machine only, unless `allow_plaintext` is set.
    Disable,
}
