//! What opening a log looks at before anyone may append to it: lock, backend, tail and witness.
//!
//! Nothing is cut until everything that could contradict the cut has been asked.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Fault, Trouble};
use crate::frame::decode;
use crate::ledger::Ledger;
use crate::scan::follow;
use crate::shared::State;
use crate::store::{Source, Store, create_synced};
use crate::tail::Tail;
use crate::torn::{Verdict, judge};
use crate::window::Window;
use crate::witness::Witness;
use crate::{Backend, Damage, Hash, OpenError, Seq, Torn};

/// Chunks and the witness of the head.
pub(crate) const LOG_DIR: &str = "log";
/// The log wholly inside sled.
pub(crate) const SLED_DIR: &str = "log.sled";
const LOCK: &str = "LOCK";
const HEAD: &str = "HEAD";
const SLED_HEAD: &str = "log.sled.head";

/// A log of one backend is not opened as another's.
pub(crate) fn refuse_other(dir: &Path, asked: Backend) -> Result<(), OpenError> {
    let found = match asked {
        Backend::Memory => return Ok(()),
        Backend::Chunks => dir.join(SLED_DIR).exists().then_some(Backend::Sled),
        Backend::Sled => dir.join(LOG_DIR).exists().then_some(Backend::Chunks),
    };
    match found {
        Some(found) => Err(OpenError::OtherBackend { dir: dir.to_owned(), found, asked }),
        None => Ok(()),
    }
}

/// Where the head is remembered.
pub(crate) fn witness_path(dir: &Path, inside_sled: bool) -> PathBuf {
    if inside_sled { dir.join(SLED_HEAD) } else { dir.join(LOG_DIR).join(HEAD) }
}

pub(crate) fn lock(dir: &Path) -> Result<File, OpenError> {
    create_synced(dir).map_err(OpenError::storage("create", dir))?;
    let path = dir.join(LOCK);
    let file = File::create(&path).map_err(OpenError::storage("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::storage("lock", &path)(source)),
    }
}

/// Reads from the ledger's end to the end of the log, and cuts what is torn.
pub(crate) fn read_tail(
    store: &mut dyn Store,
    ledger: &mut Ledger,
    tail: &mut Tail,
    witness: Option<Witness>,
    path: &Path,
    after: &mut dyn FnMut(&mut Ledger, &mut Tail),
) -> Result<Option<Torn>, OpenError> {
    let source = store.source();
    let fault = match follow(&source, ledger, tail, source.end(), after) {
        Ok(()) => return Ok(None),
        Err(Trouble::Fault(fault)) => fault,
        Err(Trouble::Io(source)) => return Err(OpenError::storage("read", path)(source)),
    };
    let (address, seq) = (ledger.end.address, Seq(ledger.end.head.seq.0 + 1));
    let place = source.place(address);
    let seen = witness.map_or(Seq(0), |witness| witness.seq);
    let verdict = match judge(&*source, address, seq, seen, fault) {
        Ok(verdict) => verdict,
        Err(Trouble::Io(source)) => return Err(OpenError::storage("read", path)(source)),
        Err(Trouble::Fault(fault)) => Verdict::Damaged(fault),
    };
    let torn = match verdict {
        Verdict::Damaged(Fault::Ends | Fault::Blank) if seq <= seen => {
            return Err(OpenError::Shorter { witness: seen, found: ledger.end.head.seq });
        }
        Verdict::Damaged(fault) => return Err(OpenError::Damaged(Damage { place, seq, fault })),
        Verdict::Blank => None,
        Verdict::Torn(bytes) => Some(Torn { place, bytes, seq }),
    };
    store.cut(address).map_err(OpenError::storage("cut the end of", path))?;
    Ok(torn)
}

/// Whether the log still has the commit that the witness has seen.
pub(crate) fn check_witness(
    state: &State,
    source: &Arc<dyn Source>,
    witness: Option<Witness>,
    path: &Path,
) -> Result<(), OpenError> {
    let Some(witness) = witness else { return Ok(()) };
    let head = state.ledger.end.head;
    if head.seq < witness.seq {
        return Err(OpenError::Shorter { witness: witness.seq, found: head.seq });
    }
    let runs_end = state.runs.end();
    let known = [head, runs_end.head].into_iter().find(|known| known.seq == witness.seq);
    let hash = match known {
        Some(known) => known.hash,
        None => match hash_ending_at(state, source, witness.seq) {
            Ok(hash) => hash,
            Err(Trouble::Io(source)) => return Err(OpenError::storage("read", path)(source)),
            // Found and named when it is read; here only the witness is in question.
            Err(Trouble::Fault(_)) => Hash::default(),
        },
    };
    if hash == witness.hash {
        return Ok(());
    }
    Err(OpenError::Differs { seq: witness.seq, expected: witness.hash, found: hash })
}

/// The hash of the commit that ends at `seq`; of none if no commit ends there.
fn hash_ending_at(state: &State, source: &Arc<dyn Source>, seq: Seq) -> Result<Hash, Trouble> {
    let in_tail = state.tail.mark(|mark| mark.seq <= seq);
    let mark = match in_tail {
        Some(mark) => Some(mark),
        None => state.runs.mark_at_seq(seq).map_err(|_| Trouble::Fault(Fault::Blank))?,
    };
    let mut address = mark.map_or(0, |mark| mark.address);
    let mut window = Window::jumping(source.clone());
    while address < state.ledger.end.address {
        let range = window.frame(address, state.ledger.end.address)?;
        let raw = decode(window.bytes(range))?;
        if raw.last() >= seq {
            return Ok(if raw.last() == seq { raw.hash() } else { Hash::default() });
        }
        address += raw.frame_len() as u64;
    }
    Ok(Hash::default())
}
