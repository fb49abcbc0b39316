//! Keyframes: states saved beside the log, to save folding it again.
//!
//! One keyframe a stream and version. It says what the state is known by, which rules folded it and which
//! commit it ends with. One that does not fit (other rules, another log, ahead of the log, bytes that do not
//! check, another form) is ignored and counted, and the state is folded from an older one, or from the first event.
//!
//! Invariants: nothing is saved that does not end with a commit the reader can see; what does not fit is
//! never used, and goes when it is met among the newest of its stream (but what a newer program wrote stays
//! until the same version is saved again); a stream's fitting keyframes are no further apart than [`Spacing::gap_max`] if they were made no further
//! apart.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ephor_events::codec::{pack, unpack};
use ephor_events::{CommitView, Derived, DerivedTree, ReadError, Reader, SledError, StreamId, Version};
use ephor_governance::units::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::restore::Restored;
use crate::saved::{Ending, FORMAT, Misfit, Saved, ending_at};
use crate::spacing::NEWEST_KEPT;
use crate::{Digest, Digested, Spacing};

/// How many keyframes are fetched at once.
const BATCH: usize = 4;

/// How many are fetched at once where all are wanted.
const LARGE_BATCH: usize = 64;

/// Looks at a keyframe; whether another is wanted.
type Visit<'a> = &'a mut dyn FnMut(Version, &[u8]) -> Result<bool, SledError>;

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
    /// The log could not be read where the state ends.
    #[error("save the keyframe of {stream} failed")]
    Read {
        /// Which stream.
        stream: StreamId,
        /// What was wrong.
        source: Box<ReadError>,
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
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store { .. } => true,
            Self::Read { source, .. } => source.is_retryable(),
            Self::Encode { .. } => false,
        }
    }
}

/// How many keyframes were ignored, by what was wrong with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ignored {
    /// Their bytes do not check.
    pub damaged: u64,
    /// In another form.
    pub other_format: u64,
    /// Folded by other rules.
    pub other_rules: u64,
    /// Ahead of the log.
    pub ahead_of_log: u64,
    /// Of another log.
    pub other_log: u64,
    /// Where the log cannot be read.
    pub log_unreadable: u64,
}

impl Ignored {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.damaged + self.other_format + self.other_rules + self.ahead_of_log + self.other_log + self.log_unreadable
    }

    /// Counts one more.
    pub const fn count(&mut self, misfit: Misfit) {
        *match misfit {
            Misfit::Damaged => &mut self.damaged,
            Misfit::OtherFormat { .. } => &mut self.other_format,
            Misfit::OtherRules => &mut self.other_rules,
            Misfit::AheadOfLog => &mut self.ahead_of_log,
            Misfit::OtherLog => &mut self.other_log,
            Misfit::LogUnreadable => &mut self.log_unreadable,
        } += 1;
    }
}

impl fmt::Display for Ignored {
    /// How many of which kind; nothing where there are none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            (self.damaged, "damaged"),
            (self.other_format, "of another program"),
            (self.other_rules, "folded by other rules"),
            (self.ahead_of_log, "ahead of the log"),
            (self.other_log, "of another log"),
            (self.log_unreadable, "where the log cannot be read"),
        ];
        for (nth, (count, kind)) in kinds.iter().filter(|(count, _)| *count > 0).enumerate() {
            let between = if nth > 0 { ", " } else { "" };
            write!(f, "{between}{count} {kind}")?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Counters {
    damaged: AtomicU64,
    other_format: AtomicU64,
    other_rules: AtomicU64,
    ahead_of_log: AtomicU64,
    other_log: AtomicU64,
    log_unreadable: AtomicU64,
}

impl Counters {
    fn count(&self, misfit: Misfit) {
        let counter = match misfit {
            Misfit::Damaged => &self.damaged,
            Misfit::OtherFormat { .. } => &self.other_format,
            Misfit::OtherRules => &self.other_rules,
            Misfit::AheadOfLog => &self.ahead_of_log,
            Misfit::OtherLog => &self.other_log,
            Misfit::LogUnreadable => &self.log_unreadable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A keyframe as it stands in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Whose state it is.
    pub stream: StreamId,
    /// The version of the last event in it.
    pub version: Version,
    /// What it takes, bytes.
    pub bytes: usize,
    /// The commit that it says it ends with; `None` where its bytes do not say.
    pub ending: Option<Ending>,
    /// What it says its state is known by; `None` where its bytes do not say.
    pub digest: Option<Digest>,
    /// Why it is not used; `None` where it fits.
    pub misfit: Option<Misfit>,
}

/// The keyframes of one log. Cheap to clone.
#[derive(Clone)]
pub struct Keyframes {
    tree: DerivedTree,
    spacing: Spacing,
    ignored: Arc<Counters>,
}

impl Keyframes {
    /// The keyframes kept beside a log, with the default spacing.
    ///
    /// # Errors
    /// What the store said.
    pub fn open(derived: &Derived) -> Result<Self, SledError> {
        Ok(Self { tree: derived.tree("keyframes")?, spacing: Spacing::default(), ignored: Arc::default() })
    }

    /// The same, thinned by another spacing from here on.
    #[must_use]
    pub fn spaced(self, spacing: Spacing) -> Self {
        Self { spacing, ..self }
    }

    /// How far apart they are made and kept.
    #[must_use]
    pub const fn spacing(&self) -> Spacing {
        self.spacing
    }

    /// How many keyframes did not fit and were ignored since this was opened.
    #[must_use]
    pub fn ignored(&self) -> Ignored {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Ignored {
            damaged: load(&self.ignored.damaged),
            other_format: load(&self.ignored.other_format),
            other_rules: load(&self.ignored.other_rules),
            ahead_of_log: load(&self.ignored.ahead_of_log),
            other_log: load(&self.ignored.other_log),
            log_unreadable: load(&self.ignored.log_unreadable),
        }
    }

    /// Saves a state that ends with a recorded commit, unless it is kept already, and thins the stream's older
    /// keyframes. A state that the reader cannot see yet is not saved. Says whether it was.
    ///
    /// # Errors
    /// [`SaveError`]; the log is not touched.
    pub fn save<S: Serialize + Digested>(
        &self,
        reader: &Reader,
        stream: &StreamId,
        restored: &Restored<S>,
    ) -> Result<bool, SaveError> {
        let Restored { state, version, at, .. } = restored;
        let ending = ending_at(reader, stream, *version);
        let Some(ending) =
            ending.map_err(|source| SaveError::Read { stream: stream.clone(), source: source.into() })?
        else {
            return Ok(false);
        };
        self.put(reader, stream, *version, &ending, *at, state)
    }

    /// Saves the state after a commit that has just been read.
    ///
    /// # Errors
    /// As [`Keyframes::save`].
    pub fn save_after<S: Serialize + Digested>(
        &self,
        reader: &Reader,
        commit: &CommitView<'_>,
        state: &S,
    ) -> Result<bool, SaveError> {
        let recorded_at = Timestamp::from_nanos(commit.recorded_at);
        let ending = Ending { seq: commit.last_seq(), recorded_at, commit: commit.hash() };
        let at = Timestamp::from_nanos(commit.decided_at);
        self.put(reader, commit.stream, commit.last_version(), &ending, at, state)
    }

    fn put<S: Serialize + Digested>(
        &self,
        reader: &Reader,
        stream: &StreamId,
        version: Version,
        ending: &Ending,
        at: Timestamp,
        state: &S,
    ) -> Result<bool, SaveError> {
        let store = |source| SaveError::Store { stream: stream.clone(), source };
        let encode = |problem: String| SaveError::Encode { stream: stream.clone(), problem };
        let key = key(stream, version);
        let kept = self.tree.get(&key).map_err(store)?;
        if kept.is_some_and(|bytes| fitting(reader, stream, version, &bytes).is_ok()) {
            return Ok(false);
        }
        let digest = state.digest().map_err(|error| encode(error.to_string()))?;
        let state = pack(state).map_err(encode)?;
        let bytes = Saved::new(stream, version, ending, at, digest, state).to_bytes().map_err(encode)?;
        self.tree.put(&key, &bytes).map_err(store)?;
        self.thin(reader, stream).map_err(store)?;
        Ok(true)
    }

    /// Removes what does not fit among the stream's newest keyframes, and the one that stands too close.
    fn thin(&self, reader: &Reader, stream: &StreamId) -> Result<(), SledError> {
        let mut newest = Vec::with_capacity(NEWEST_KEPT + 2);
        self.newest_first(stream, Version(u64::MAX), &mut |version, bytes| {
            match fitting(reader, stream, version, bytes) {
                Ok(_) => newest.push(version),
                Err(Misfit::OtherFormat { found }) if found > FORMAT => {}
                // It may be as good as ever.
                Err(Misfit::LogUnreadable) => {}
                Err(_) => self.tree.remove(&key(stream, version))?,
            }
            Ok(newest.len() < NEWEST_KEPT + 2)
        })?;
        match self.spacing.surplus(&newest) {
            Some(version) => self.tree.remove(&key(stream, version)),
            None => Ok(()),
        }
    }

    /// Returns when everything saved is on disk.
    ///
    /// # Errors
    /// What the store said.
    pub fn flush(&self) -> Result<(), SledError> {
        self.tree.flush()
    }

    /// Removes every keyframe there is, whatever it looks like; how many there were.
    ///
    /// # Errors
    /// What the store said; some may be gone then.
    pub fn clear(&self) -> Result<u64, SledError> {
        let mut removed = 0;
        loop {
            let some = self.tree.range(.., false, LARGE_BATCH)?;
            if some.is_empty() {
                return Ok(removed);
            }
            removed += some.len() as u64;
            for (key, _) in some {
                self.tree.remove(&key)?;
            }
        }
    }

    /// Every keyframe there is, those that do not fit too, by stream and version.
    ///
    /// # Errors
    /// What the store said.
    pub fn all(&self, reader: &Reader) -> Result<Vec<Kept>, SledError> {
        let mut all = Vec::new();
        let mut from = Bound::Unbounded;
        loop {
            let some = self.tree.range((from, Bound::Unbounded), false, LARGE_BATCH)?;
            let Some((last, _)) = some.last() else { return Ok(all) };
            from = Bound::Excluded(last.clone());
            all.extend(some.iter().map(|(key, bytes)| kept(reader, key, bytes)));
        }
    }

    /// The state that a keyframe holds, and what it says that is known by; `None` where there is none that
    /// fits.
    ///
    /// # Errors
    /// What the store said.
    pub fn read<S: DeserializeOwned>(
        &self,
        reader: &Reader,
        stream: &StreamId,
        version: Version,
    ) -> Result<Option<(S, Digest)>, SledError> {
        let bytes = self.tree.get(&key(stream, version))?;
        let saved = bytes.and_then(|bytes| fitting(reader, stream, version, &bytes).ok());
        Ok(saved.and_then(|saved| Some((unpack(&saved.state).ok()?, saved.digest()))))
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
            // Left behind by a log that was longer.
            let ahead = key(stream, Version(newest.0.saturating_add(1)))..=key(stream, Version(u64::MAX));
            let ahead = self.tree.range(ahead, true, BATCH).unwrap_or_default();
            self.ignored.ahead_of_log.fetch_add(ahead.len() as u64, Ordering::Relaxed);
        }
        let mut nearest = None;
        let walked = self.newest_first(stream, newest, &mut |version, bytes| {
            let state = |saved: Saved| {
                let state = unpack(&saved.state).map_err(|_| Misfit::Damaged)?;
                Ok(Restored { state, version, at: saved.decided_at(), folded: 0 })
            };
            match fitting(reader, stream, version, bytes).and_then(state) {
                Ok(restored) => nearest = Some(restored),
                Err(misfit) => self.ignored.count(misfit),
            }
            Ok(nearest.is_none())
        });
        if let Err(error) = walked {
            tracing::warn!(%stream, %error, "keyframes cannot be read; folding from the events");
        }
        nearest
    }

    /// Visits a stream's keyframes from `upto` backwards until `visit` says that it has seen enough.
    fn newest_first(&self, stream: &StreamId, upto: Version, visit: Visit<'_>) -> Result<(), SledError> {
        let mut to = Bound::Included(key(stream, upto));
        loop {
            let from = Bound::Included(key(stream, Version(0)));
            let some = self.tree.range((from, to), true, BATCH)?;
            let Some((last, _)) = some.last() else { return Ok(()) };
            to = Bound::Excluded(last.clone());
            for (key, bytes) in &some {
                let version = key.last_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
                if !visit(Version(version), bytes)? {
                    return Ok(());
                }
            }
        }
    }
}

/// Stream name, a zero byte, version: in the order of versions within a stream.
fn key(stream: &StreamId, version: Version) -> Vec<u8> {
    let mut key = stream.as_str().as_bytes().to_vec();
    key.push(0);
    key.extend_from_slice(&version.0.to_be_bytes());
    key
}

fn fitting(reader: &Reader, stream: &StreamId, version: Version, bytes: &[u8]) -> Result<Saved, Misfit> {
    let saved = Saved::from_bytes(stream, version, bytes)?;
    saved.fit(reader, stream)?;
    Ok(saved)
}

fn kept(reader: &Reader, key: &[u8], bytes: &[u8]) -> Kept {
    let (name, version) = key.split_last_chunk::<8>().unwrap_or((key, &[0; 8]));
    let stream = StreamId::new(&String::from_utf8_lossy(name.strip_suffix(&[0]).unwrap_or(name)));
    let version = Version(u64::from_be_bytes(*version));
    let saved = Saved::from_bytes(&stream, version, bytes);
    let misfit = saved.as_ref().map_or_else(|misfit| Some(*misfit), |saved| saved.fit(reader, &stream).err());
    let (ending, digest) = saved.map(|saved| (saved.ending(), saved.digest())).ok().unzip();
    Kept { stream, version, bytes: bytes.len(), ending, digest, misfit }
}
