//! How a log is opened, and what opening found.

use std::fmt;

use crate::{Head, Seq};

/// Where the bytes of the log are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// In memory; gone with the process.
    Memory,
    /// Append-only chunk files, with sled for what is derived from them.
    #[default]
    Chunks,
    /// Wholly inside sled.
    Sled,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Chunks => "chunks",
            Self::Sled => "sled",
        })
    }
}

/// How a log is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where the bytes are kept.
    pub backend: Backend,
    /// A chunk that would grow beyond this is sealed and the next one begun.
    pub chunk_bytes: u64,
    /// How much of a chunk is reserved ahead of the writing; 0 for none.
    pub preallocate_bytes: u64,
    /// After how many commits what is in memory of the index goes to sled.
    pub checkpoint_commits: u32,
    /// How many runs of one size the index gathers before it merges them.
    pub merge_runs: usize,
    /// The page cache of sled.
    pub sled_cache_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            backend: Backend::default(),
            chunk_bytes: 256 << 20,
            preallocate_bytes: 4 << 20,
            checkpoint_commits: 65_536,
            merge_runs: 8,
            sled_cache_bytes: 8 << 20,
        }
    }
}

/// How far a long opening or verification has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Bytes of the log done.
    pub done: u64,
    /// Bytes of the log to do.
    pub total: u64,
}

/// What a long opening or verification is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading what is newer than the index.
    Tail,
    /// Reading the whole log to build its index.
    Rebuild,
    /// Checking the chain, checksums and numbers.
    Verify,
}

/// What opening found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The end of the log.
    pub head: Head,
    /// A last group that never reached the disk whole, and was cut.
    pub torn: Option<Torn>,
    /// Why the index was built anew, if it was.
    pub rebuilt: Option<Rebuilt>,
    /// Commits read to bring the index up to date.
    pub indexed_commits: u64,
    /// How many chunks there are; 0 outside the chunk backend.
    pub chunks: u32,
    /// Whether the witness of the head was missing from a log that is not empty.
    pub witness_missing: bool,
}

/// The remains of a group that was never acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Where it began.
    pub place: Place,
    /// How many bytes were cut.
    pub bytes: u64,
    /// The seq that the first cut commit would have had.
    pub seq: Seq,
}

/// Why an index was built anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebuilt {
    /// There was none.
    Missing,
    /// sled could not open its files, or panicked doing so.
    Unreadable {
        /// What sled said.
        detail: String,
    },
    /// The list of runs outside sled is missing or does not check.
    Witness,
    /// A part that the list names is missing or does not check.
    Damaged {
        /// Which run.
        run: u64,
    },
    /// It covers commits that the log does not have, or others than the log has.
    Ahead {
        /// Its last seq.
        index: Seq,
    },
}

impl fmt::Display for Rebuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there was no index"),
            Self::Unreadable { detail } => write!(f, "sled could not be opened: {detail}"),
            Self::Witness => f.write_str("the list of runs is missing or does not check"),
            Self::Damaged { run } => write!(f, "run {run} is missing a part or does not check"),
            Self::Ahead { index } => {
                write!(f, "it ends at seq {index}, which is not the log's commit")
            }
        }
    }
}

/// A place on disk that a person can go and look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The chunk's number, from 1; 0 where there are no chunks.
    pub chunk: u32,
    /// Bytes from the beginning of the chunk file, or of the log where there are no chunks.
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.chunk == 0 {
            write!(f, "address {}", self.offset)
        } else {
            write!(f, "chunk {:08} offset {}", self.chunk, self.offset)
        }
    }
}
