//! A keyframe's bytes: what is written, and what must hold before they are believed.
//!
//! The first byte is the form, the last 32 are the BLAKE3 of everything before them, in every form there
//! will ever be. What lies between is this form's own. The key is said again inside, so bytes under another
//! key are as wrong as flipped ones.

use std::fmt;
use std::sync::LazyLock;

use ephor_events::codec::{pack, source_digest, unpack};
use ephor_events::{Hash, ReadError, Reader, Seq, StreamId, Version};
use ephor_governance::RULES_DIGEST;
use ephor_governance::units::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Digest;

/// The form of what is saved. Another form is another number, and is not read.
pub(crate) const FORMAT: u8 = 3;

/// BLAKE3 of everything before it.
const SEAL: usize = 32;

/// Why a keyframe is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Misfit {
    /// Its bytes do not check, or are not a state.
    Damaged,
    /// It was written in another form, by an older program or a newer one.
    OtherFormat {
        /// Which.
        found: u8,
    },
    /// Other rules folded it.
    OtherRules,
    /// The log has not come so far: it was shorter once more.
    AheadOfLog,
    /// The log has another commit there, or none that ends there.
    OtherLog,
    /// The log could not be read there, so nobody can say.
    LogUnreadable,
}

impl Misfit {
    /// Its name for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::OtherFormat { .. } => "other_format",
            Self::OtherRules => "other_rules",
            Self::AheadOfLog => "ahead_of_log",
            Self::OtherLog => "other_log",
            Self::LogUnreadable => "log_unreadable",
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("damaged"),
            Self::OtherFormat { found } if *found > FORMAT => {
                write!(f, "of a newer program (format {found}, this one reads {FORMAT})")
            }
            Self::OtherFormat { found } => write!(f, "of an older program (format {found}, this one reads {FORMAT})"),
            Self::OtherRules => f.write_str("folded by other rules"),
            Self::AheadOfLog => f.write_str("ahead of the log"),
            Self::OtherLog => f.write_str("of another log"),
            Self::LogUnreadable => f.write_str("at a place where the log cannot be read"),
        }
    }
}

/// The commit that a keyframe ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The seq of its last event.
    pub seq: Seq,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// Its hash.
    pub commit: Hash,
}

/// The commit whose last event has this version; `None` where there is no such commit.
pub(crate) fn ending_at(reader: &Reader, stream: &StreamId, version: Version) -> Result<Option<Ending>, ReadError> {
    let mut cursor = reader.stream(stream, version)?;
    let Some(commit) = cursor.next()? else { return Ok(None) };
    let recorded_at = Timestamp::from_nanos(commit.recorded_at);
    let ending = || Ending { seq: commit.last_seq(), recorded_at, commit: commit.hash() };
    Ok((commit.last_version() == version).then(ending))
}

/// What states are folded by: the digest of the rules' source and of the file that reads recorded events.
#[must_use]
pub fn folded_by() -> &'static str {
    static DIGEST: LazyLock<String> = LazyLock::new(|| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(RULES_DIGEST.as_bytes()).update(&source_digest().0);
        hasher.finalize().to_hex().to_string()
    });
    &DIGEST
}

/// Everything but the form and the seal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Saved {
    stream: String,
    version: u64,
    seq: u64,
    recorded_at: i64,
    commit: [u8; 32],
    decided_at: i64,
    rules: String,
    digest: [u8; 32],
    pub(crate) state: Vec<u8>,
}

impl Saved {
    /// The state of a stream after a version, folded by these rules.
    pub(crate) fn new(
        stream: &StreamId,
        version: Version,
        ending: &Ending,
        decided_at: Timestamp,
        digest: Digest,
        state: Vec<u8>,
    ) -> Self {
        Self {
            stream: stream.as_str().to_owned(),
            version: version.0,
            seq: ending.seq.0,
            recorded_at: ending.recorded_at.nanos(),
            commit: ending.commit.0,
            decided_at: decided_at.nanos(),
            rules: folded_by().to_owned(),
            digest: digest.0,
            state,
        }
    }

    pub(crate) fn ending(&self) -> Ending {
        let recorded_at = Timestamp::from_nanos(self.recorded_at);
        Ending { seq: Seq(self.seq), recorded_at, commit: Hash(self.commit) }
    }

    pub(crate) const fn decided_at(&self) -> Timestamp {
        Timestamp::from_nanos(self.decided_at)
    }

    pub(crate) const fn digest(&self) -> Digest {
        Digest(self.digest)
    }

    /// # Errors
    /// What the encoder said.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let mut bytes = vec![FORMAT];
        bytes.extend(pack(self)?);
        let seal = blake3::hash(&bytes);
        bytes.extend_from_slice(seal.as_bytes());
        Ok(bytes)
    }

    /// What stands in the bytes under a key, whether or not it fits the rules and the log.
    ///
    /// # Errors
    /// [`Misfit::Damaged`] and [`Misfit::OtherFormat`].
    pub(crate) fn from_bytes(stream: &StreamId, version: Version, bytes: &[u8]) -> Result<Self, Misfit> {
        let (sealed, seal) = bytes.split_last_chunk::<SEAL>().ok_or(Misfit::Damaged)?;
        if blake3::hash(sealed).as_bytes() != seal {
            return Err(Misfit::Damaged);
        }
        let (format, body) = sealed.split_first().ok_or(Misfit::Damaged)?;
        if *format != FORMAT {
            return Err(Misfit::OtherFormat { found: *format });
        }
        let saved: Self = unpack(body).map_err(|_| Misfit::Damaged)?;
        let same_key = saved.stream == stream.as_str() && saved.version == version.0;
        if same_key { Ok(saved) } else { Err(Misfit::Damaged) }
    }

    /// Whether it was folded by these rules, and ends with a commit of this log.
    ///
    /// # Errors
    /// [`Misfit::OtherRules`], [`Misfit::AheadOfLog`], [`Misfit::OtherLog`] and [`Misfit::LogUnreadable`].
    pub(crate) fn fit(&self, reader: &Reader, stream: &StreamId) -> Result<(), Misfit> {
        let version = Version(self.version);
        if self.rules != folded_by() {
            Err(Misfit::OtherRules)
        } else if version > reader.version_of(stream) {
            Err(Misfit::AheadOfLog)
        } else {
            match ending_at(reader, stream, version) {
                Ok(Some(ending)) if ending == self.ending() => Ok(()),
                Ok(_) => Err(Misfit::OtherLog),
                Err(_) => Err(Misfit::LogUnreadable),
            }
        }
    }
}
