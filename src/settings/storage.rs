//! `[log]` and `[snapshots]`: how the log is kept, and the states beside it.

use ephor_events::{Backend, Durability};
use ephor_snapshots::Spacing;
use serde::{Deserialize, Serialize};

/// How states are kept beside the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Snapshots {
    /// Events of a stream between two keyframes of it.
    pub every: u64,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self { every: Spacing::default().every() }
    }
}

impl Snapshots {
    /// The spacing that is asked for.
    #[must_use]
    pub fn spacing(&self) -> Spacing {
        Spacing::new(self.every).unwrap_or_default()
    }
}

/// How the log is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Where the bytes are; `None` leaves it to what the directory holds, chunks where it is new.
    pub backend: Option<LogBackend>,
    /// What a commit must have reached before its answer leaves.
    pub durability: LogDurability,
    /// A chunk that would grow beyond this is sealed, mebibytes.
    pub chunk_mib: u64,
}

impl Default for Log {
    fn default() -> Self {
        Self { backend: None, durability: LogDurability::Fsync, chunk_mib: 256 }
    }
}

/// `log.backend`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogBackend {
    /// Append-only files.
    Chunks,
    /// Wholly inside sled.
    Sled,
}

impl From<LogBackend> for Backend {
    fn from(backend: LogBackend) -> Self {
        match backend {
            LogBackend::Chunks => Self::Chunks,
            LogBackend::Sled => Self::Sled,
        }
    }
}

/// `log.durability`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogDurability {
    /// On the disk.
    Fsync,
    /// With the operating system.
    Written,
}

impl From<LogDurability> for Durability {
    fn from(durability: LogDurability) -> Self {
        match durability {
            LogDurability::Fsync => Self::Fsync,
            LogDurability::Written => Self::Written,
        }
    }
}
