//! Keyframes: states saved beside the log, to save folding it again.
//!
//! One keyframe a stream and version. It says which rules folded it and which commit it ends with, and
//! behind it stands the digest of all its bytes. One that does not fit (other rules, another log, ahead of the log, bytes that
//! do not check) is ignored and counted, and the state is folded from the events instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ephor_events::codec::{pack, unpack};
use ephor_events::{Derived, DerivedTree, Hash, Reader, SledError, StreamId, Version};
use ephor_governance::RULES_DIGEST;
use ephor_governance::units::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::restore::Restored;

/// The form of what is saved. Another form is another number, and is not read.
const FORMAT: u8 = 2;

/// BLAKE3 of everything before it.
const DIGEST: usize = 32;

/// How many keyframes of a stream are looked at before its events are folded from the first.
const LOOK_BACK: usize = 4;

#[derive(Serialize, Deserialize)]
struct Saved {
    format: u8,
    rules: String,
    /// The commit that the state ends with.
    commit: [u8; 32],
    decided_at: Timestamp,
    state: Vec<u8>,
}

/// Why a keyframe could not be saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The store refused.
    #[error("save the keyframe of {stream} failed")]
    Store {
        /// Which stream.
        stream: StreamId,
        /// What it said.
        source: SledError,
    },
    /// The state cannot be written.
    #[error("encode the keyframe of {stream} failed: {problem}")]
    Encode {
        /// Which stream.
        stream: StreamId,
        /// What the encoder said.
        problem: String,
    },
}

impl SaveError {
    /// Whether the same call may go through later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Store { .. } => true,
            Self::Encode { .. } => false,
        }
    }
}

/// The keyframes of one log. Cheap to clone.
#[derive(Clone)]
pub struct Keyframes {
    tree: DerivedTree,
    ignored: Arc<AtomicU64>,
}

impl Keyframes {
    /// The keyframes kept beside a log.
    ///
    /// # Errors
    /// What the store said.
    pub fn open(derived: &Derived) -> Result<Self, SledError> {
        Ok(Self { tree: derived.tree("keyframes")?, ignored: Arc::default() })
    }

    /// How many keyframes did not fit and were ignored since this was opened.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.ignored.load(Ordering::Relaxed)
    }

    /// Saves a state that ends with a recorded commit, and drops the stream's older keyframes but one. A state
    /// that the reader cannot see yet is not saved.
    ///
    /// # Errors
    /// [`SaveError`]; the log is not touched.
    pub fn save<S: Serialize>(
        &self,
        reader: &Reader,
        stream: &StreamId,
        restored: &Restored<S>,
    ) -> Result<(), SaveError> {
        let Some(commit) = commit_ending(reader, stream, restored.version) else { return Ok(()) };
        let encode = |problem: String| SaveError::Encode { stream: stream.clone(), problem };
        let state = pack(&restored.state).map_err(encode)?;
        let saved =
            Saved { format: FORMAT, rules: RULES_DIGEST.to_owned(), commit: commit.0, decided_at: restored.at, state };
        let mut bytes = pack(&saved).map_err(encode)?;
        bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
        let store = |source| SaveError::Store { stream: stream.clone(), source };
        let older = self.tree.range(key(stream, Version(0))..key(stream, restored.version), true, LOOK_BACK);
        self.tree.put(&key(stream, restored.version), &bytes).map_err(store)?;
        // The newest before this one stays, in case this one is damaged.
        for (old, _) in older.map_err(store)?.into_iter().skip(1) {
            self.tree.remove(&old).map_err(store)?;
        }
        Ok(())
    }

    /// Returns when everything saved is on disk.
    ///
    /// # Errors
    /// What the store said.
    pub fn flush(&self) -> Result<(), SledError> {
        self.tree.flush()
    }

    /// The newest keyframe of a stream at or before `upto`, or the stream's end, that fits the log and
    /// these rules.
    pub(crate) fn nearest<S: DeserializeOwned>(
        &self,
        reader: &Reader,
        stream: &StreamId,
        upto: Option<Version>,
    ) -> Option<Restored<S>> {
        let newest = upto.unwrap_or_else(|| reader.version_of(stream));
        if upto.is_none() {
            // Left behind by a log that was longer. They take no place among those that are looked at.
            let ahead = key(stream, Version(newest.0 + 1))..=key(stream, Version(u64::MAX));
            let ahead = self.tree.range(ahead, true, LOOK_BACK).unwrap_or_default();
            self.ignored.fetch_add(ahead.len() as u64, Ordering::Relaxed);
        }
        let range = key(stream, Version(0))..=key(stream, newest);
        let found = self.tree.range(range, true, LOOK_BACK).inspect_err(|error| {
            tracing::warn!(%stream, %error, "keyframes cannot be read; folding from the events");
        });
        found.ok()?.into_iter().find_map(|(key, bytes)| {
            let fitting = version_of(&key).and_then(|version| fit(reader, stream, version, &bytes));
            if fitting.is_none() {
                self.ignored.fetch_add(1, Ordering::Relaxed);
            }
            fitting
        })
    }
}

/// Stream name, a zero byte, version: in the order of versions within a stream.
fn key(stream: &StreamId, version: Version) -> Vec<u8> {
    let mut key = stream.as_str().as_bytes().to_vec();
    key.push(0);
    key.extend_from_slice(&version.0.to_be_bytes());
    key
}

fn version_of(key: &[u8]) -> Option<Version> {
    key.last_chunk::<8>().map(|bytes| Version(u64::from_be_bytes(*bytes)))
}

fn fit<S: DeserializeOwned>(reader: &Reader, stream: &StreamId, version: Version, bytes: &[u8]) -> Option<Restored<S>> {
    let (saved, digest) = bytes.split_last_chunk::<DIGEST>()?;
    if blake3::hash(saved).as_bytes() != digest {
        return None;
    }
    let saved: Saved = unpack(saved).ok()?;
    let checks = saved.format == FORMAT && saved.rules == RULES_DIGEST;
    let same_log = checks && commit_ending(reader, stream, version) == Some(Hash(saved.commit));
    let state = same_log.then(|| unpack(&saved.state).ok()).flatten()?;
    Some(Restored { state, version, at: saved.decided_at, folded: 0 })
}

/// The hash of the commit whose last event has this version; `None` where there is no such commit.
fn commit_ending(reader: &Reader, stream: &StreamId, version: Version) -> Option<Hash> {
    let mut cursor = reader.stream(stream, version).ok()?;
    let commit = cursor.next().ok()??;
    (commit.last_version() == version).then(|| commit.hash())
}
