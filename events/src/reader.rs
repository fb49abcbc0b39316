//! Reading side of a log: any number, on any thread, beside the one writer.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::cursor::{Cursor, Lens, StreamCursor};
use crate::error::{Fault, Trouble};
use crate::hashing::id_hash;
use crate::scan::follow;
use crate::shared::{Shared, State};
use crate::store::SharedChunks;
use crate::torn::{Verdict, judge};
use crate::{Commit, Damage, Head, OpenError, Progress, ReadError, Seq, Stage, StreamId, Text, Version};

/// Finds and reads what is published. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
    files: Option<Arc<Mutex<SharedChunks>>>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, files: None }
    }

    /// Opens for reading only: beside a writer in another process, or in a directory that cannot be
    /// written. Takes no lock and touches nothing; reads the log once to index it in memory. What
    /// is torn at the end is simply not there yet.
    ///
    /// # Errors
    /// As [`crate::EventLog::open`], without the lock and the index.
    pub fn open_shared(dir: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Self, OpenError> {
        let log = dir.join(crate::opening::LOG_DIR);
        if dir.join(crate::opening::SLED_DIR).exists() {
            return Err(OpenError::NotShareable { dir: PathBuf::from(dir) });
        }
        let files = SharedChunks::open(&log)?;
        let mut state = State::empty();
        let found = advance(&files, &mut state, &mut |done, total| {
            progress(Progress { stage: Stage::Rebuild, done, total });
        });
        match found {
            Ok(()) => {}
            Err(Trouble::Io(source)) => {
                return Err(OpenError::Storage { doing: "read", path: log, source });
            }
            Err(Trouble::Fault(fault)) => {
                let (place, seq) = beginning(&files, &state);
                return Err(OpenError::Damaged(Damage { place, seq, fault }));
            }
        }
        let shared = Arc::new(Shared::new(files.source(), state, None));
        Ok(Self { shared, files: Some(Arc::new(Mutex::new(files))) })
    }

    /// Picks up what another process has appended since. Without effect on a reader that has its
    /// writer in this process: that one is always up to date.
    ///
    /// # Errors
    /// [`ReadError::Changed`] when the log no longer continues what was read,
    /// [`ReadError::Damaged`] and [`ReadError::Storage`] as for reading.
    pub fn refresh(&self) -> Result<Head, ReadError> {
        let Some(files) = &self.files else { return Ok(self.head()) };
        let files = files.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.shared.write();
        let seq = state.ledger.end.head.seq;
        files.refresh().map_err(|_| ReadError::Changed { seq })?;
        match advance(&files, &mut state, &mut |_, _| {}) {
            Ok(()) => Ok(state.ledger.end.head),
            Err(Trouble::Fault(Fault::Chain { .. } | Fault::SeqGap { .. })) => {
                Err(ReadError::Changed { seq: state.ledger.end.head.seq })
            }
            Err(trouble) => {
                let (place, seq) = beginning(&files, &state);
                Err(trouble.at(place, seq))
            }
        }
    }

    /// The end of what is published.
    #[must_use]
    pub fn head(&self) -> Head {
        self.shared.read().ledger.end.head
    }

    /// The whole log in order, from the commit that contains `from`.
    ///
    /// # Errors
    /// [`ReadError::Index`] when the index does not check.
    pub fn cursor(&self, from: Seq) -> Result<Cursor, ReadError> {
        Cursor::new(&self.shared, from)
    }

    /// One stream in order, from the commit that contains `from`.
    ///
    /// # Errors
    /// None at present; an unknown stream is an empty one.
    pub fn stream(&self, stream: &StreamId, from: Version) -> Result<StreamCursor, ReadError> {
        Ok(StreamCursor::new(&self.shared, stream, from))
    }

    /// The commit that contains `seq`, if the log has it.
    ///
    /// # Errors
    /// As reading with a cursor.
    pub fn commit_of(&self, seq: Seq) -> Result<Option<Commit>, ReadError> {
        if seq.0 == 0 || seq > self.head().seq {
            return Ok(None);
        }
        let found = self.walk(self.shared.mark_at_seq(seq)?, |raw| raw.last() >= seq)?;
        let Some(address) = found.stopped else { return Ok(None) };
        self.load(address, seq).map(Some)
    }

    /// The latest commit of `stream` that carries the key of this kind and id.
    ///
    /// # Errors
    /// As reading with a cursor, and [`ReadError::Index`] when the index does not check.
    pub fn find(&self, stream: &StreamId, kind: u8, id: &str) -> Result<Option<Commit>, ReadError> {
        let number = self.shared.read().ledger.names.number(stream.as_str());
        let Some(number) = number else { return Ok(None) };
        let id = Text::of(id);
        let (mut lens, mut found) = (None, None);
        self.shared.addresses(id_hash(number, kind, &id), &mut |address| {
            let lens = lens.get_or_insert_with(|| Lens::jumping(&self.shared));
            let place = self.shared.source.place(address);
            let limit = self.shared.read().ledger.end.address;
            let view = lens.view(address, limit).map_err(|trouble| trouble.at(place, Seq(0)))?;
            if view.stream_no == number && view.key == Some((kind, id)) {
                found = Some(view.to_owned());
            }
            Ok(found.is_some())
        })?;
        Ok(found)
    }

    /// The head of a stream; 0 if it has no events.
    #[must_use]
    pub fn version_of(&self, stream: &StreamId) -> Version {
        let state = self.shared.read();
        let number = state.ledger.names.number(stream.as_str());
        number.map_or(Version(0), |number| state.ledger.head_of(number))
    }

    /// Every stream and its head, in the order in which they first appeared.
    #[must_use]
    pub fn streams(&self) -> Vec<(StreamId, Version)> {
        let state = self.shared.read();
        let named = |(number, head)| {
            let name = state.ledger.names.get(number)?;
            Some((StreamId::from_name(name.clone()), head))
        };
        state.ledger.heads().filter_map(named).collect()
    }

    /// The last seq recorded at `recorded_at` or before; 0 if there is none.
    ///
    /// # Errors
    /// As reading with a cursor.
    pub fn seq_at(&self, recorded_at: i64) -> Result<Seq, ReadError> {
        let Some(mark) = self.shared.mark_at_time(recorded_at)? else { return Ok(Seq(0)) };
        let found = self.walk(Some(mark), |raw| raw.recorded_at > recorded_at)?;
        Ok(found.before)
    }

    fn load(&self, address: u64, seq: Seq) -> Result<Commit, ReadError> {
        let limit = self.shared.read().ledger.end.address;
        let place = self.shared.source.place(address);
        let mut lens = Lens::jumping(&self.shared);
        let view = lens.view(address, limit).map_err(|trouble| trouble.at(place, seq))?;
        Ok(view.to_owned())
    }

    /// Goes from a mark to the first commit that `stop` holds for, or to the end.
    fn walk(
        &self,
        mark: Option<crate::tail::Mark>,
        stop: impl Fn(&crate::frame::Raw<'_>) -> bool,
    ) -> Result<Walked, ReadError> {
        let (mut address, mut next) = mark.map_or((0, Seq(1)), |mark| (mark.address, mark.seq));
        let limit = self.shared.read().ledger.end.address;
        let mut lens = Lens::jumping(&self.shared);
        while address < limit {
            let place = self.shared.source.place(address);
            let raw = lens.at(address, limit).map_err(|trouble| trouble.at(place, next))?;
            if raw.seq != next {
                let fault = Fault::SeqGap { found: raw.seq };
                return Err(Trouble::Fault(fault).at(place, next));
            }
            if stop(&raw) {
                return Ok(Walked { stopped: Some(address), before: Seq(raw.seq.0 - 1) });
            }
            next = Seq(raw.last().0 + 1);
            address += raw.frame_len() as u64;
        }
        Ok(Walked { stopped: None, before: Seq(next.0 - 1) })
    }
}

/// Where a walk ended.
struct Walked {
    stopped: Option<u64>,
    /// The last seq in front of it.
    before: Seq,
}

/// How often the same place is read before what does not check there is called damage, and how long it is left
/// alone in between.
const LOOKS: u32 = 4;
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// Takes what the files have beyond the state; what is torn at the end is not there yet.
///
/// A writer beside may have been in the middle of a frame when it was read and be done with it when it is judged:
/// damage is what does not check however often it is read.
fn advance(files: &SharedChunks, state: &mut State, progress: &mut dyn FnMut(u64, u64)) -> Result<(), Trouble> {
    let source = files.source();
    let State { ledger, tail, .. } = state;
    let mut looked_at = (ledger.end.address, 0);
    loop {
        let end = source.end();
        let found = follow(&source, ledger, tail, end, &mut |ledger, _| {
            if ledger.end.head.commits.is_multiple_of(crate::log::PROGRESS_EVERY) {
                progress(ledger.end.address, end);
            }
        });
        let Err(Trouble::Fault(fault)) = found else { return found };
        let (address, seq) = (ledger.end.address, Seq(ledger.end.head.seq.0 + 1));
        let Verdict::Damaged(fault) = judge(&*source, address, seq, Seq(0), fault)? else { return Ok(()) };
        let looks = if looked_at.0 == address { looked_at.1 + 1 } else { 1 };
        if looks >= LOOKS {
            return Err(fault.into());
        }
        looked_at = (address, looks);
        std::thread::sleep(BETWEEN_LOOKS);
    }
}

fn beginning(files: &SharedChunks, state: &State) -> (crate::Place, Seq) {
    let end = &state.ledger.end;
    (files.source().place(end.address), Seq(end.head.seq.0 + 1))
}
