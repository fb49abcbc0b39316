//! The names of places in the log: sequence numbers, versions, streams, hashes and keys.
//!
//! Each is a type of its own, because a seq taken for a version still compiles as a number and is
//! wrong only in production.

use std::fmt;

use ephor_governance::ids::StrategyId;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// Position in the whole log, from 1 without gaps; 0 is before the first event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Position in one stream, from 1 without gaps; 0 is before its first event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A link of the chain: BLAKE3 of a commit, which contains the hash of the commit before it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What the first commit names as its predecessor.
    #[must_use]
    pub fn genesis() -> Self {
        Self::of(b"ephor log, format 1, genesis")
    }

    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The id of an event: a UUID of version 8 made of its commit's hash and its index there, so that it
/// need not be stored and cannot be forged.
///
/// ```
/// # use ephor_events::{event_id, Hash};
/// let hash = Hash::genesis();
/// assert_ne!(event_id(&hash, 0), event_id(&hash, 1));
/// assert_eq!(event_id(&hash, 0).get_version_num(), 8);
/// ```
#[must_use]
pub fn event_id(commit: &Hash, index: u32) -> uuid::Uuid {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&commit.0);
    hasher.update(&index.to_le_bytes());
    let digest = hasher.finalize();
    let (first, _) = digest.as_bytes().split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
    uuid::Builder::from_custom_bytes(*first).into_uuid()
}

/// The name of a stream: `system`, or a strategy's id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamId(SmolStr);

impl StreamId {
    /// The stream of policy, canary, kill switch and account.
    #[must_use]
    pub fn system() -> Self {
        Self(SmolStr::new_static("system"))
    }

    /// The stream of one strategy.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(SmolStr::new(name))
    }

    pub(crate) fn from_name(name: SmolStr) -> Self {
        Self(name)
    }

    pub(crate) fn name(&self) -> &SmolStr {
        &self.0
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether this is a strategy's stream: neither the system's nor that of what belongs to no strategy.
    #[must_use]
    pub fn is_strategy(&self) -> bool {
        !self.is_system() && self.0 != StrategyId::UNATTRIBUTED
    }

    /// Whether this is the system's stream.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.0 == "system"
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What makes a command idempotent: unique within a stream and kind, for as long as the log lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The caller's own distinction, for example order, trade or signal.
    pub kind: u8,
    /// The caller's id.
    pub id: SmolStr,
}
