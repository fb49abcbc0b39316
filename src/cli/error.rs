//! How a command ends: its exit code, and what it says when it could not do its work.

use std::path::PathBuf;

use ephor_actors::{Failure, StartError};
use ephor_events::{CheckpointError, OpenError, ReadError, SledError};
use ephor_snapshots::RestoreError;

use crate::settings::{SettingsError, TlsError};

/// How a command that did its work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done, and nothing was found wrong.
    Done,
    /// 1: done, and what was looked for was found (a difference, a fault, a refused line under `--strict`); for
    /// `bisect`, that its condition never holds.
    Found,
    /// 130: stopped by the person at the terminal; what was under way is recorded.
    Interrupted,
}

impl Exit {
    /// The exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Found => 1,
            Self::Interrupted => 130,
        }
    }
}

/// Why a command could not do its work. Exit code 2 for what the caller can mend, 3 for the rest.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The directory holds no log.
    #[error("there is no log in {}: `ephor run --input FILE` makes one, `--data DIR` names another directory", dir.display())]
    NoLog {
        /// Which directory.
        dir: PathBuf,
    },
    /// The log could not be opened.
    #[error("open the log in {} failed", dir.display())]
    Open {
        /// Which directory.
        dir: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// The log could not be read.
    #[error("read the log failed")]
    Read(#[from] ReadError),
    /// The log could not be closed.
    #[error("close the log failed")]
    Close(#[from] CheckpointError),
    /// There is no place to keep positions beside the log.
    #[error("open the positions beside the log failed")]
    Positions(#[from] SledError),
    /// The actors did not start.
    #[error("start the governor failed")]
    Start(#[from] StartError),
    /// The governor refused or could not answer.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// A recorded stream could not be governed to its end.
    #[error(
        "the run stopped at line {line}; every line answered before it is recorded and nothing is lost: mend the \
         cause, then run the same command again to go on"
    )]
    RunStopped {
        /// Which line had no answer.
        line: u64,
        /// Why.
        source: Box<Failure>,
    },
    /// An engine could not take in what had happened.
    #[error(transparent)]
    Engine(#[from] ephor_execution::engine::EngineError),
    /// What was asked for does not exist or makes no sense; the sentence says what would do.
    #[error("{0}")]
    Usage(Sentence),
    /// A file or stream could not be read or written.
    #[error("{doing} {} failed", path.display())]
    File {
        /// What was attempted.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A state could not be read from the log.
    #[error("read the state of a stream from the log failed")]
    Recall(#[from] RestoreError),
    /// A setting is not what it should be.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A file of certificates is not what it should be.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// What was found could not be written to standard output.
    #[error("write to standard output failed")]
    Output(#[source] std::io::Error),
    /// Rows could not be written.
    #[error("export the rows failed")]
    Export(#[from] crate::export::ExportError),
    /// A message bus does not work.
    #[error(transparent)]
    Bus(#[from] crate::bus::BusError),
    /// The service could not be started, or ended with an error.
    #[error(transparent)]
    Serve(#[from] crate::serve::ServeError),
    /// A running service could not be asked.
    #[error(transparent)]
    Live(#[from] super::replay::LiveError),
    /// Keys could not be read or changed.
    #[error(transparent)]
    Keys(#[from] crate::keys::KeysError),
    /// The audit database could not be used.
    #[error(transparent)]
    AuditDb(Box<crate::audit_db::AuditDbError>),
    /// What replay, audit or why could not do.
    #[error(transparent)]
    Replay(#[from] ephor_replay::ReplayError),
}

/// A sentence for the person at the terminal, made where all that it says is known.
#[derive(Debug)]
pub struct Sentence(pub String);

impl std::fmt::Display for Sentence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl CliError {
    /// A mistake of the caller's, said in a sentence.
    #[must_use]
    pub fn usage(sentence: impl Into<String>) -> Self {
        Self::Usage(Sentence(sentence.into()))
    }

    /// The exit code: 2 where the caller can mend it, 3 where the world is broken.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Replay(error) if error.is_callers() => 2,
            Self::Keys(error) if error.is_callers() => 2,
            Self::AuditDb(error) if error.is_callers() => 2,
            Self::NoLog { .. }
            | Self::Usage(_)
            | Self::Settings(_)
            | Self::Tls(_)
            | Self::Failed(Failure::Rejected(_)) => 2,
            Self::Open { .. }
            | Self::Read(_)
            | Self::Close(_)
            | Self::Positions(_)
            | Self::Start(_)
            | Self::Failed(_)
            | Self::RunStopped { .. }
            | Self::Engine(_)
            | Self::Recall(_)
            | Self::File { .. }
            | Self::Output(_)
            | Self::Export(_)
            | Self::Bus(_)
            | Self::Serve(_)
            | Self::Live(_)
            | Self::Keys(_)
            | Self::AuditDb(_)
            | Self::Replay(_) => 3,
        }
    }
}
