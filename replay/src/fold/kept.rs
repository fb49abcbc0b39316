//! States kept elsewhere, held against the folded ones.
//!
//! A keyframe is restored as any reader would restore it, and its digest remembered; the fold that passes its
//! version says what it should have been. So a keyframe is judged on its own, not on what later events made
//! of it.

use std::collections::BTreeMap;

use ephor_events::{Reader, Seq, StreamId, Version};
use ephor_governance::{strategy, system};
use ephor_snapshots::{Evolve, Keyframes, restore};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Digest, digest_of, digest_of_system};
use crate::{ReplayError, at};

/// The digest of a state kept elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Of which stream.
    pub stream: StreamId,
    /// The version of the last event in it.
    pub version: Version,
    /// What the kept state is known by.
    pub digest: Digest,
}

/// A kept state held against the folded one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The kept state.
    #[serde(flatten)]
    pub kept: Kept,
    /// The seq that the fold had come to.
    pub seq: Seq,
    /// What the folded state is known by; `None` where no commit ends with the version.
    pub folded: Option<Digest>,
}

impl Held {
    /// Whether both are the same state.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.folded == Some(self.kept.digest)
    }
}

/// The digests of each stream's newest keyframe that fits the log and these rules, none of them beyond `to`.
/// A stream without such a keyframe is not in it.
///
/// # Errors
/// [`ReplayError::SeqOutside`] where the log does not have `to`; as reading.
pub fn kept(reader: &Reader, keyframes: &Keyframes, to: Option<Seq>) -> Result<BTreeMap<StreamId, Kept>, ReplayError> {
    let to = to.map(|to| at::within(reader, to)).transpose()?;
    let mut found = BTreeMap::new();
    for (stream, newest) in reader.streams() {
        let upto = to.map_or(Ok(newest), |to| at::version_at(reader, &stream, to))?;
        let kept = if stream.is_system() {
            newest_of(reader, keyframes, stream, upto, system::evolve, |_, state| digest_of_system(state))
        } else {
            newest_of(reader, keyframes, stream, upto, strategy::evolve, digest_of)
        };
        found.extend(kept?.map(|kept| (kept.stream.clone(), kept)));
    }
    Ok(found)
}

fn newest_of<S: Default + DeserializeOwned>(
    reader: &Reader,
    keyframes: &Keyframes,
    stream: StreamId,
    upto: Version,
    evolve: Evolve<S>,
    digest: impl FnOnce(&StreamId, &S) -> Result<Digest, ReplayError>,
) -> Result<Option<Kept>, ReplayError> {
    // What had to be folded came after the keyframe: asked for at its own version, it comes as it was saved.
    let through = restore(reader, Some(keyframes), &stream, Some(upto), evolve)?;
    let version = Version(through.version.0.saturating_sub(through.folded));
    if version.0 == 0 {
        return Ok(None);
    }
    let saved = restore(reader, Some(keyframes), &stream, Some(version), evolve)?;
    let digest = digest(&stream, &saved.state)?;
    Ok(Some(Kept { stream, version, digest }))
}
