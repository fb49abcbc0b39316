//! The audit database: what is recorded, as tables in PostgreSQL, where the firm already looks.
//!
//! The log is the truth and the tables are copied from it: [`Sink`] writes what follows on its checkpoint, with the
//! checkpoint, in one transaction; [`compare`] holds every field of every row against the log. The database being
//! down holds nothing up, unless it is required: then `watch` holds back new exposure.
//!
//! Invariants: every event up to the checkpoint is there, once; no password is ever shown.

mod address;
mod alongside;
pub mod compare;
mod connect;
mod copy;
mod schema;
mod sink;
mod watch;

use std::time::Duration;

pub use address::Address;
pub use alongside::Alongside;
pub use connect::Database;
pub use schema::{Migrated, migrate, start_again};
pub use sink::{Sink, Written, catch_up, checkpoint, log_identity};
pub use watch::Watch;

/// The name of the audit database as a component and as a follower.
pub const NAME: &str = "audit-db";

/// Why the audit database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum AuditDbError {
    /// The file with the password cannot be used.
    #[error("audit.database.password_file: {}: {problem}", path.display())]
    Password {
        /// Which file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Its address is not one; the settings were not checked.
    #[error("audit.database.url: {problem}")]
    Address {
        /// What is wrong with it.
        problem: String,
    },
    /// No connection.
    #[error("connect to the audit database {address} failed")]
    Connect {
        /// Where, without a password.
        address: String,
        /// What was said.
        source: sqlx::Error,
    },
    /// Nothing came back in time.
    #[error("the audit database {address} did not answer within {within:?}")]
    TimedOut {
        /// Where, without a password.
        address: String,
        /// How long was waited.
        within: Duration,
    },
    /// A statement failed.
    #[error("{doing} in the audit database failed")]
    Statement {
        /// What was tried.
        doing: &'static str,
        /// What was said.
        source: sqlx::Error,
    },
    /// A migration failed.
    #[error("migrate the audit database failed")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// Tables are not there.
    #[error("the audit database has no table {table}: run `ephor audit-db migrate`")]
    NoTable {
        /// The first that is missing.
        table: &'static str,
    },
    /// The tables follow another log.
    #[error(
        "the audit database follows another log: its first commit is {found}, this log's is {expected}; name another \
         database, or have its rows replaced with `ephor audit-db rebuild --replace`"
    )]
    OtherLog {
        /// What the checkpoint says.
        found: String,
        /// The hash of this log's first commit.
        expected: String,
    },
    /// The checkpoint is not where it was left.
    #[error("the checkpoint of the audit database is no longer at seq {expected}: somebody else writes to it")]
    Moved {
        /// Where it was.
        expected: u64,
    },
    /// The tables have more than the log.
    #[error("the audit database has seq {last}, but the log ends at {end}: the log has lost events, or is another")]
    Ahead {
        /// The last that the tables have.
        last: u64,
        /// The last that the log has.
        end: u64,
    },
    /// It is further behind than it may be.
    #[error("the audit database is {behind} events behind the log, at most {most} are allowed")]
    Behind {
        /// How many events.
        behind: u64,
        /// How many it may be.
        most: u64,
    },
    /// The log could not be read.
    #[error("read the log failed")]
    Log(#[from] ephor_replay::ReplayError),
    /// What the database sent is not what it was asked for.
    #[error("the audit database sent a row of {table} that cannot be read: {problem}")]
    Garbled {
        /// Of which table.
        table: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl AuditDbError {
    fn statement(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Statement { doing, source }
    }

    /// Whether the same may work later with nothing mended here.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::TimedOut { .. }
            | Self::Statement { .. }
            | Self::Moved { .. }
            | Self::Behind { .. } => true,
            Self::Password { .. }
            | Self::Address { .. }
            | Self::Migrate(_)
            | Self::NoTable { .. }
            | Self::OtherLog { .. }
            | Self::Ahead { .. }
            | Self::Log(_)
            | Self::Garbled { .. } => false,
        }
    }

    /// Whether the caller can mend it.
    #[must_use]
    pub const fn is_callers(&self) -> bool {
        match self {
            Self::Password { .. } | Self::Address { .. } | Self::NoTable { .. } | Self::OtherLog { .. } => true,
            Self::Connect { .. }
            | Self::TimedOut { .. }
            | Self::Statement { .. }
            | Self::Moved { .. }
            | Self::Behind { .. }
            | Self::Ahead { .. }
            | Self::Migrate(_)
            | Self::Log(_)
            | Self::Garbled { .. } => false,
        }
    }
}
