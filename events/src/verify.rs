//! Checks everything that can be checked, and repairs nothing.
//!
//! Every frame: checksums, chain, seq, version, dictionary. Every chunk header against the frames
//! around it. The index against the log in both directions: what the log has must be in the index and
//! the other way round, compared by sums over all entries, so memory does not grow with the log.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Fault, Trouble};
use crate::frame::decode;
use crate::index::compare::{Sums, compare};
use crate::index::{Inspected, inspect};
use crate::ledger::Ledger;
use crate::log::PROGRESS_EVERY;
use crate::opening::{LOG_DIR, SLED_DIR, witness_path};
use crate::store::{SharedChunks, Sled, Source, Store as _};
use crate::torn::{Verdict, judge};
use crate::window::Window;
use crate::witness::Witness;
use crate::{Block, ChunkFault, Damage, Head, OpenError, Options, Progress, Rebuilt, Seq, Stage, Torn};

/// What was checked, and what was found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The end of what checks.
    pub head: Head,
    /// Bytes of frames.
    pub bytes: u64,
    /// How many chunks there are.
    pub chunks: u32,
    /// How many streams have events.
    pub streams: u64,
    /// Runs of the index.
    pub runs: u64,
    /// Blocks of the index, manifests not counted.
    pub blocks: u64,
    /// A last group that never reached the disk whole; the next opening cuts it.
    pub torn: Option<Torn>,
    /// Everything that is wrong; empty is good.
    pub faults: Vec<VerifyFault>,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifyFault {
    /// A chunk file as a whole.
    Chunk {
        /// Its number.
        chunk: u32,
        /// What is wrong.
        fault: ChunkFault,
    },
    /// A frame; what is behind it was not checked.
    Frame(Damage),
    /// The log ends before a commit that was once its durable head.
    Shorter {
        /// What the witness has seen.
        witness: Seq,
    },
    /// The witness has seen another commit there.
    Differs {
        /// Where.
        witness: Seq,
    },
    /// The witness does not check.
    Witness,
    /// The index as a whole; the next opening rebuilds it.
    Index(Rebuilt),
    /// A block of the index is missing or does not check.
    Block(Block),
    /// A block that no run names.
    Surplus(Block),
    /// A section of a run does not say what the log says.
    Entries {
        /// The run.
        run: u64,
        /// The section, as in `docs/log-format.md`.
        section: u8,
        /// How many entries the log calls for.
        expected: u64,
        /// How many there are.
        found: u64,
    },
}

impl fmt::Display for VerifyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chunk { chunk, fault } => write!(f, "chunk {chunk:08}: {fault}"),
            Self::Frame(damage) => write!(f, "{damage}; nothing behind it was checked"),
            Self::Shorter { witness } => write!(f, "the witness has seen seq {witness}"),
            Self::Differs { witness } => {
                write!(f, "the witness has seen another commit end at seq {witness}")
            }
            Self::Witness => f.write_str("the witness of the head does not check"),
            Self::Index(why) => write!(f, "index: {why}"),
            Self::Block(block) => write!(f, "index {block} is missing or does not check"),
            Self::Surplus(block) => write!(f, "index {block} belongs to no run"),
            Self::Entries { run, section, expected, found } => write!(
                f,
                "index run {run} section {section} does not fit the log: {expected} entries \
                 expected, {found} found"
            ),
        }
    }
}

/// Why a log could not be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It could not be opened.
    #[error("verify: the log cannot be opened")]
    Open {
        /// Why not.
        #[from]
        source: OpenError,
    },
    /// The disk refused.
    #[error("verify: cannot read {}", path.display())]
    Storage {
        /// What.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl VerifyError {
    /// Whether the same call may succeed later without anyone repairing anything.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Open { source } => source.is_retryable(),
            Self::Storage { .. } => false,
        }
    }
}

/// Checks the log in `dir`, its witness and its index. Nobody may have it open.
///
/// # Errors
/// [`VerifyError::Open`] when another process has it, [`VerifyError::Storage`] when the disk refuses.
/// What is wrong with the log itself is in [`Verified::faults`].
pub fn verify(dir: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Verified, VerifyError> {
    let _lock = crate::opening::lock(dir)?;
    let inside_sled = dir.join(SLED_DIR).exists();
    let path = dir.join(LOG_DIR);
    let mut verified = Verified {
        head: Head::empty(),
        bytes: 0,
        chunks: 0,
        streams: 0,
        runs: 0,
        blocks: 0,
        torn: None,
        faults: Vec::new(),
    };
    let head = witness_path(dir, inside_sled);
    let witness = match Witness::read(&head) {
        Ok(witness) => witness,
        Err(OpenError::Witness { .. }) => {
            verified.faults.push(VerifyFault::Witness);
            None
        }
        Err(error) => return Err(error.into()),
    };
    let (source, headers) = if inside_sled {
        let cache = Options::default().sled_cache_bytes;
        (Sled::open(&dir.join(SLED_DIR), &head, cache)?.source(), Vec::new())
    } else {
        match SharedChunks::open(&path) {
            Ok(chunks) => (chunks.source(), chunks.headers()),
            Err(OpenError::Chunk { chunk, fault }) => {
                verified.faults.push(VerifyFault::Chunk { chunk, fault });
                return Ok(verified);
            }
            Err(error) => return Err(error.into()),
        }
    };
    verified.chunks = u32::try_from(headers.len()).unwrap_or(u32::MAX);
    let index = inspect(dir);
    let mut walk = Walk { ledger: Ledger::new(), headers, witness, source, verified };
    walk.run(index, progress).map_err(|source| VerifyError::Storage { path: path.clone(), source })?;
    Ok(walk.verified)
}

struct Walk {
    ledger: Ledger,
    headers: Vec<crate::store::Header>,
    witness: Option<Witness>,
    source: Arc<dyn Source>,
    verified: Verified,
}

impl Walk {
    fn run(&mut self, index: Result<Inspected, Rebuilt>, progress: &mut dyn FnMut(Progress)) -> std::io::Result<()> {
        let runs = match index {
            Ok(inspected) => {
                self.index_blocks(&inspected);
                inspected.runs.0
            }
            Err(why) => {
                if self.source.end() > 0 {
                    self.verified.faults.push(VerifyFault::Index(why));
                }
                Vec::new()
            }
        };
        let mut runs = runs.into_iter().peekable();
        let mut sums = Sums::default();
        let total = self.source.end();
        let mut window = Window::sequential(self.source.clone());
        let mut headers = std::mem::take(&mut self.headers).into_iter().peekable();
        let mut seen = BTreeSet::new();
        while self.ledger.end.address < total {
            let address = self.ledger.end.address;
            if let Some(header) = headers.next_if(|header| header.base <= address) {
                let head = &self.ledger.end.head;
                let links = header.base == address && header.seq.0 == head.seq.0 + 1 && header.prev == head.hash;
                if !links {
                    let (chunk, fault) = (header.chunk, ChunkFault::Link);
                    self.verified.faults.push(VerifyFault::Chunk { chunk, fault });
                }
            }
            let next = window.frame(address, total).and_then(|range| {
                let frame = window.bytes(range);
                let raw = decode(frame)?;
                self.ledger.accept(&raw, frame.len(), raw.hash())?;
                Ok(raw)
            });
            let raw = match next {
                Ok(raw) => raw,
                Err(Trouble::Io(error)) => return Err(error),
                Err(Trouble::Fault(fault)) => {
                    self.stopped(fault)?;
                    break;
                }
            };
            sums.add(&raw, address);
            seen.insert(raw.stream);
            let head = self.ledger.end.head;
            if let Some(witness) = self.witness.filter(|witness| witness.seq == head.seq)
                && witness.hash != head.hash
            {
                self.verified.faults.push(VerifyFault::Differs { witness: witness.seq });
            }
            if let Some(run) = runs.next_if(|run| run.head.to.head.seq <= head.seq) {
                let expected = std::mem::take(&mut sums);
                let ledger = &self.ledger;
                compare(&run, expected, ledger, &self.source, &mut self.verified.faults);
            }
            if head.commits.is_multiple_of(PROGRESS_EVERY) {
                progress(Progress { stage: Stage::Verify, done: address, total });
            }
        }
        for run in runs {
            let index = run.head.to.head.seq;
            self.verified.faults.push(VerifyFault::Index(Rebuilt::Ahead { index }));
        }
        let head = self.ledger.end.head;
        if let Some(witness) = self.witness.filter(|witness| witness.seq > head.seq) {
            self.verified.faults.push(VerifyFault::Shorter { witness: witness.seq });
        }
        self.verified.head = head;
        self.verified.bytes = self.ledger.end.address;
        self.verified.streams = seen.len() as u64;
        Ok(())
    }

    /// Says what it means that the frame at the ledger's end does not check.
    fn stopped(&mut self, fault: Fault) -> std::io::Result<()> {
        let end = self.ledger.end;
        let seq = Seq(end.head.seq.0 + 1);
        let place = self.source.place(end.address);
        let witness = self.witness.map_or(Seq(0), |witness| witness.seq);
        match judge(&*self.source, end.address, seq, witness, fault) {
            Ok(Verdict::Blank) => {}
            Ok(Verdict::Torn(bytes)) => self.verified.torn = Some(Torn { place, bytes, seq }),
            Ok(Verdict::Damaged(fault)) | Err(Trouble::Fault(fault)) => {
                self.verified.faults.push(VerifyFault::Frame(Damage { place, seq, fault }));
            }
            Err(Trouble::Io(error)) => return Err(error),
        }
        Ok(())
    }

    /// Every block that a run names, and every block that none names.
    fn index_blocks(&mut self, inspected: &Inspected) {
        self.verified.runs = inspected.runs.0.len() as u64;
        let mut named = BTreeSet::new();
        for run in &inspected.runs.0 {
            run.names(&mut named);
            let mut broken = Vec::new();
            self.verified.blocks += run.check(&mut broken);
            self.verified.faults.extend(broken.into_iter().map(VerifyFault::Block));
        }
        match inspected.disk.blocks() {
            Ok(blocks) => {
                let surplus = blocks.into_iter().filter(|block| !named.contains(block));
                self.verified.faults.extend(surplus.map(VerifyFault::Surplus));
            }
            Err(error) => {
                let why = Rebuilt::Unreadable { detail: error.detail };
                self.verified.faults.push(VerifyFault::Index(why));
            }
        }
    }
}
