//! What can go wrong, one enum an operation.
//!
//! A damage always names the chunk, the offset and the seq, because the next thing a person does is
//! compare that place with a copy.

use std::{fmt, io, path::PathBuf};

use crate::{Backend, Hash, Place, Seq, StreamId, Version};

/// What is wrong with a place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The file ends inside the frame.
    Ends,
    /// The length does not agree with its own check.
    LengthCheck,
    /// The body does not agree with its checksum.
    Crc {
        /// What the head says.
        expected: u32,
        /// What the body gives.
        found: u32,
    },
    /// The checksum agrees, but a part cannot be read.
    Body {
        /// Which part.
        part: Part,
    },
    /// The commit does not begin where the one before ended.
    SeqGap {
        /// The seq found.
        found: Seq,
    },
    /// The commit does not name the one before it.
    Chain {
        /// The hash of the commit before.
        expected: Hash,
        /// The hash that the commit names.
        found: Hash,
    },
    /// The commit does not continue its stream.
    VersionGap {
        /// The version that would continue it.
        expected: Version,
        /// The version found.
        found: Version,
    },
    /// The commit uses a number that no commit introduced.
    UnknownName {
        /// The number.
        number: u32,
    },
    /// The commit introduces a name that already has a number.
    NameTwice,
    /// The commit was recorded before the one in front of it.
    TimeBack,
    /// A part that was on disk when a later commit was written is blank now.
    Blank,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ends => f.write_str("the file ends inside the frame"),
            Self::LengthCheck => f.write_str("the length does not agree with its check"),
            Self::Crc { expected, found } => {
                write!(f, "checksum expected {expected:08x}, found {found:08x}")
            }
            Self::Body { part } => write!(f, "{part:?} cannot be read"),
            Self::SeqGap { found } => write!(f, "found seq {found} instead"),
            Self::Chain { expected, found } => {
                write!(f, "chain broken: previous commit is {expected}, this one names {found}")
            }
            Self::VersionGap { expected, found } => {
                write!(f, "stream version expected {expected}, found {found}")
            }
            Self::UnknownName { number } => write!(f, "name {number} was never introduced"),
            Self::NameTwice => f.write_str("a name is introduced twice"),
            Self::TimeBack => f.write_str("recorded before the commit in front of it"),
            Self::Blank => f.write_str("bytes that had reached the disk are blank"),
        }
    }
}

/// A part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Distance to the highest seq on disk.
    Synced,
    /// Hash of the commit before.
    Previous,
    /// First seq.
    Seq,
    /// What follows in which form.
    Flags,
    /// Dictionary additions.
    Names,
    /// Number of the stream.
    Stream,
    /// First version.
    Version,
    /// Recorded and occurred.
    Times,
    /// System version.
    System,
    /// Trace id.
    Trace,
    /// Idempotency key.
    Key,
    /// Number of the instrument.
    Instrument,
    /// Number of events.
    Count,
    /// One of the events.
    Event,
    /// Bytes after the last event.
    Surplus,
    /// The mark at the end.
    End,
}

/// A place in the log that does not check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where the frame begins.
    pub place: Place,
    /// The seq that should begin there.
    pub seq: Seq,
    /// What is wrong.
    pub fault: Fault,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} seq {}: {}", self.place, self.seq, self.fault)
    }
}

/// What is wrong with the file of a chunk as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkFault {
    /// The numbers have a gap here.
    Missing,
    /// The file is shorter than its header.
    NoHeader,
    /// The header does not agree with its checksum.
    Crc,
    /// The file begins with something else.
    Magic,
    /// Written by a later version.
    Format {
        /// The version found.
        found: u32,
    },
    /// The header carries another number than the file's name.
    Number {
        /// The number found.
        found: u32,
    },
    /// The chunk before it is shorter or longer than this one says.
    Length {
        /// Bytes of frames that the chunk before must have.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// The header names another first seq or previous hash than the log has there.
    Link,
}

impl fmt::Display for ChunkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the file is missing"),
            Self::NoHeader => f.write_str("the file is shorter than its header"),
            Self::Crc => f.write_str("the header does not agree with its checksum"),
            Self::Magic => f.write_str("the file is not a chunk"),
            Self::Format { found } => write!(f, "format {found} is not known to this version"),
            Self::Number { found } => write!(f, "the header says chunk {found}"),
            Self::Length { expected, found } => {
                write!(f, "the chunk before must hold {expected} bytes of frames, holds {found}")
            }
            Self::Link => f.write_str("the header does not continue the chunk before"),
        }
    }
}

/// Why a log was not opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("open {}: another process has the log open; stop it, or read with a shared reader", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The disk refused.
    #[error("open: cannot {doing} {}", path.display())]
    Storage {
        /// What was attempted.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The log is damaged.
    #[error("open: the log is damaged at {0}; nothing was cut; restore this chunk from a copy")]
    Damaged(Damage),
    /// A chunk file is damaged.
    #[error("open: chunk {chunk:08} is damaged: {fault}; restore it from a copy")]
    Chunk {
        /// Its number.
        chunk: u32,
        /// What is wrong.
        fault: ChunkFault,
    },
    /// The log ends before a commit that was once its durable head.
    #[error(
        "open: the log ends at seq {found}, but its witness has seen seq {witness}; the end is \
         missing, restore the last chunk from a copy"
    )]
    Shorter {
        /// What the witness has seen.
        witness: Seq,
        /// Where the log ends.
        found: Seq,
    },
    /// The log has another commit than the witness saw.
    #[error("open: seq {seq} has hash {found}, but the witness has seen {expected}; another log?")]
    Differs {
        /// The last seq of the commit.
        seq: Seq,
        /// What the witness has seen.
        expected: Hash,
        /// What the log has.
        found: Hash,
    },
    /// The witness itself does not check.
    #[error("open: the witness {} does not check; verify the log, then remove the file", path.display())]
    Witness {
        /// The file.
        path: PathBuf,
    },
    /// sled could not open the log that is wholly inside it.
    #[error("open: sled cannot open the log in {}: {detail}; restore it from a copy", path.display())]
    Sled {
        /// Its directory.
        path: PathBuf,
        /// What sled said.
        detail: String,
    },
    /// The directory holds a log of another backend.
    #[error("open: {} holds a log of the {found} backend, asked for {asked}", dir.display())]
    OtherBackend {
        /// The directory.
        dir: PathBuf,
        /// What is there.
        found: Backend,
        /// What was asked for.
        asked: Backend,
    },
    /// A log inside sled cannot be read beside its writer.
    #[error("open {}: a log inside sled cannot be shared; stop its writer and open it alone", dir.display())]
    NotShareable {
        /// The directory.
        dir: PathBuf,
    },
}

impl OpenError {
    /// Whether the same call may succeed later without anyone repairing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Locked { .. } => true,
            Self::Storage { source, .. } => is_passing(source),
            Self::Damaged(_)
            | Self::Chunk { .. }
            | Self::Shorter { .. }
            | Self::Differs { .. }
            | Self::Witness { .. }
            | Self::Sled { .. }
            | Self::OtherBackend { .. }
            | Self::NotShareable { .. } => false,
        }
    }

    pub(crate) fn storage(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Storage { doing, path, source }
    }
}

/// Why an append did not happen.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The caller's idea of the end of the stream is not the log's. Nothing was written.
    #[error("append to {stream} expected version {expected}, found {actual}")]
    WrongVersion {
        /// The stream.
        stream: StreamId,
        /// What the draft expected.
        expected: Version,
        /// What the log has, drafts before it in the group included.
        actual: Version,
    },
    /// A draft contradicts itself. Nothing was written.
    #[error("append of draft {index}: {fault}")]
    Malformed {
        /// Which draft of the group.
        index: usize,
        /// What is wrong with it.
        fault: DraftFault,
    },
    /// A commit or the group is too large to write. Nothing was written.
    #[error("append of {bytes} bytes, at most {max} are possible")]
    TooLarge {
        /// How large it is.
        bytes: usize,
        /// How large it may be.
        max: usize,
    },
    /// An earlier append failed, and the log takes no more until it is opened again.
    #[error("append refused: the log stopped after a failure; open it again")]
    Stopped,
    /// The disk refused. Whether the group is there shows when the log is opened again.
    #[error("append after seq {last} failed")]
    Storage {
        /// The head before the group.
        last: Seq,
        /// Why not.
        source: io::Error,
    },
}

impl AppendError {
    /// Whether the caller may try again: after reading the stream anew.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::WrongVersion { .. } => true,
            Self::Malformed { .. } | Self::TooLarge { .. } | Self::Stopped | Self::Storage { .. } => false,
        }
    }
}

/// What is wrong with a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DraftFault {
    /// A commit has at least one event.
    #[error("it has no events")]
    NoEvents,
    /// A cause comes before its effect.
    #[error("the cause of event {event} does not come before it")]
    Cause {
        /// Which event.
        event: usize,
    },
    /// A name of a stream or instrument has at least one letter and at most 255 bytes.
    #[error("a stream or instrument name of {bytes} bytes")]
    Name {
        /// How long it is.
        bytes: usize,
    },
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log is damaged.
    #[error("read: the log is damaged at {0}; restore this chunk from a copy")]
    Damaged(Damage),
    /// The index is damaged; it is built anew when the log is opened again.
    #[error("read: index block {block} does not check; open the log again to rebuild the index")]
    Index {
        /// Which block.
        block: Block,
    },
    /// The disk refused.
    #[error("read at {place} failed")]
    Storage {
        /// Where.
        place: Place,
        /// Why not.
        source: io::Error,
    },
    /// A shared reader found the log changed under it: cut back, or replaced.
    #[error("read: the log does not continue after seq {seq}; open the reader again")]
    Changed {
        /// The last seq that was known.
        seq: Seq,
    },
}

impl ReadError {
    /// Whether the same call may succeed later without anyone repairing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Storage { source, .. } => is_passing(source),
            Self::Damaged(_) | Self::Index { .. } | Self::Changed { .. } => false,
        }
    }
}

/// Names one block of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block {
    /// The run.
    pub run: u64,
    /// The section, as in `docs/log-format.md`.
    pub section: u8,
    /// The number of the block in its section.
    pub number: u32,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {} section {} block {}", self.run, self.section, self.number)
    }
}

/// Why a checkpoint, or closing, did not finish. The log itself is unharmed.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// An append failed before; what is on disk is found out by opening again.
    #[error("checkpoint refused: the log stopped after a failure; open it again")]
    Stopped,
    /// The log could not be brought to the disk.
    #[error("checkpoint: cannot {doing}")]
    Storage {
        /// What was attempted.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The index could not be written; it stays in memory and is tried again.
    #[error("checkpoint: the index cannot be written: {detail}")]
    Index {
        /// What sled said.
        detail: String,
    },
}

impl CheckpointError {
    /// Whether the same call may succeed later without anyone repairing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Storage { source, .. } => is_passing(source),
            Self::Index { .. } => true,
            Self::Stopped => false,
        }
    }

    pub(crate) fn storage(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Storage { doing, source }
    }
}

fn is_passing(source: &io::Error) -> bool {
    matches!(
        source.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::ResourceBusy
    )
}

/// Trouble below the level where places and seqs are known.
#[derive(Debug)]
pub(crate) enum Trouble {
    Io(io::Error),
    Fault(Fault),
}

impl From<io::Error> for Trouble {
    fn from(source: io::Error) -> Self {
        Self::Io(source)
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Trouble {
    pub(crate) fn at(self, place: Place, seq: Seq) -> ReadError {
        match self {
            Self::Io(source) => ReadError::Storage { place, source },
            Self::Fault(fault) => ReadError::Damaged(Damage { place, seq, fault }),
        }
    }
}
