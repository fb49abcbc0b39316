//! Reading many commits: the whole log in order, or one stream through its index.

use std::collections::VecDeque;
use std::sync::Arc;

use smol_str::SmolStr;

use crate::error::{Fault, Trouble};
use crate::frame::{Raw, decode};
use crate::shared::Shared;
use crate::tail::Posting;
use crate::window::Window;
use crate::{CommitView, ReadError, Seq, StreamId, Version};

/// Addresses fetched at first: a look at one commit should not fetch a thousand.
const POSTINGS_FIRST: usize = 4;
/// Addresses fetched at once where many follow.
const POSTINGS_MAX: usize = 1024;

/// The names that the present commit uses.
struct Named {
    stream_no: u32,
    stream: StreamId,
    instrument_no: u32,
    instrument: SmolStr,
}

impl Named {
    fn new() -> Self {
        Self { stream_no: 0, stream: StreamId::new(""), instrument_no: 0, instrument: SmolStr::default() }
    }

    fn resolve(&mut self, shared: &Shared, raw: &Raw<'_>) -> Result<(), Fault> {
        let instrument_known = raw.instrument == 0 || raw.instrument == self.instrument_no;
        if raw.stream == self.stream_no && instrument_known {
            return Ok(());
        }
        let state = shared.read();
        let name = |number| state.ledger.names.get(number).ok_or(Fault::UnknownName { number });
        self.stream = StreamId::from_name(name(raw.stream)?.clone());
        self.stream_no = raw.stream;
        if raw.instrument != 0 {
            self.instrument = name(raw.instrument)?.clone();
            self.instrument_no = raw.instrument;
        }
        Ok(())
    }

    fn view<'a>(&'a self, raw: &Raw<'a>) -> CommitView<'a> {
        CommitView::new(raw, &self.stream, (raw.instrument != 0).then_some(&self.instrument))
    }
}

/// Loads and decodes the commit at an address, and keeps what a view of it borrows.
pub(crate) struct Lens {
    shared: Arc<Shared>,
    window: Window,
    named: Named,
}

impl Lens {
    pub(crate) fn jumping(shared: &Arc<Shared>) -> Self {
        let window = Window::jumping(shared.source.clone());
        Self { shared: shared.clone(), window, named: Named::new() }
    }

    fn sequential(shared: &Arc<Shared>) -> Self {
        let window = Window::sequential(shared.source.clone());
        Self { shared: shared.clone(), window, named: Named::new() }
    }

    pub(crate) fn at(&mut self, address: u64, limit: u64) -> Result<Raw<'_>, Trouble> {
        let range = self.window.frame(address, limit)?;
        Ok(decode(self.window.bytes(range))?)
    }

    pub(crate) fn view(&mut self, address: u64, limit: u64) -> Result<CommitView<'_>, Trouble> {
        let range = self.window.frame(address, limit)?;
        let raw = decode(self.window.bytes(range))?;
        self.named.resolve(&self.shared, &raw)?;
        Ok(self.named.view(&raw))
    }
}

/// The whole log in order, from one seq on. After `None` it can be asked again: it sees what was
/// appended since.
pub struct Cursor {
    lens: Lens,
    address: u64,
    /// The seq that begins at `address`.
    next: Seq,
    /// Commits that end before it are passed over.
    from: Seq,
    limit: u64,
}

impl Cursor {
    pub(crate) fn new(shared: &Arc<Shared>, from: Seq) -> Result<Self, ReadError> {
        let mark = shared.mark_at_seq(from)?;
        let (address, next) = mark.map_or((0, Seq(1)), |mark| (mark.address, mark.seq));
        let limit = shared.read().ledger.end.address;
        Ok(Self { lens: Lens::sequential(shared), address, next, from, limit })
    }

    /// The next commit, or `None` at the end of what is published.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when a frame does not check or does not continue the one before,
    /// [`ReadError::Storage`] when the disk refuses. The cursor stays where it is.
    #[expect(clippy::should_implement_trait, reason = "a lending iterator cannot be an Iterator")]
    pub fn next(&mut self) -> Result<Option<CommitView<'_>>, ReadError> {
        if !self.more() || !self.begin()? {
            return Ok(None);
        }
        let place = self.lens.shared.source.place(self.address);
        let (expected, limit) = (self.next, self.limit);
        let Lens { shared, window, named } = &mut self.lens;
        let refuse = |trouble: Trouble| trouble.at(place, expected);
        let range = window.frame(self.address, limit).map_err(refuse)?;
        let raw = decode(window.bytes(range)).map_err(|fault| refuse(fault.into()))?;
        if raw.seq != expected {
            return Err(refuse(Fault::SeqGap { found: raw.seq }.into()));
        }
        named.resolve(shared, &raw).map_err(|fault| refuse(fault.into()))?;
        self.next = Seq(raw.last().0 + 1);
        self.address += raw.frame_len() as u64;
        Ok(Some(named.view(&raw)))
    }

    /// Whether something published lies ahead.
    fn more(&mut self) -> bool {
        if self.address >= self.limit {
            self.limit = self.lens.shared.read().ledger.end.address;
        }
        self.address < self.limit
    }

    /// Passes over the commits between the mark and the first wanted; `true` if that one is there.
    fn begin(&mut self) -> Result<bool, ReadError> {
        while self.next < self.from && self.more() {
            let place = self.lens.shared.source.place(self.address);
            let refuse = |trouble: Trouble| trouble.at(place, self.next);
            let raw = self.lens.at(self.address, self.limit).map_err(refuse)?;
            if raw.seq != self.next {
                return Err(refuse(Fault::SeqGap { found: raw.seq }.into()));
            }
            if raw.last() >= self.from {
                self.from = raw.seq;
                break;
            }
            self.next = Seq(raw.last().0 + 1);
            self.address += raw.frame_len() as u64;
        }
        Ok(self.more())
    }
}

/// One stream in order, from one version on. After `None` it can be asked again.
pub struct StreamCursor {
    lens: Lens,
    stream: StreamId,
    number: Option<u32>,
    /// The version that the next commit must begin with; before the first, any that contains it.
    next: Version,
    begun: bool,
    ahead: VecDeque<Posting>,
    /// How many addresses are fetched the next time.
    at_once: usize,
    limit: u64,
}

impl StreamCursor {
    pub(crate) fn new(shared: &Arc<Shared>, stream: &StreamId, from: Version) -> Self {
        Self {
            lens: Lens::jumping(shared),
            stream: stream.clone(),
            number: None,
            next: Version(from.0.max(1)),
            begun: false,
            ahead: VecDeque::new(),
            at_once: POSTINGS_FIRST,
            limit: 0,
        }
    }

    /// The next commit of the stream, or `None` at the end of what is published.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when a frame does not check, is of another stream or leaves a gap;
    /// [`ReadError::Index`] when the index does not check; [`ReadError::Storage`] when the disk
    /// refuses.
    #[expect(clippy::should_implement_trait, reason = "a lending iterator cannot be an Iterator")]
    pub fn next(&mut self) -> Result<Option<CommitView<'_>>, ReadError> {
        if self.ahead.is_empty() {
            self.look_ahead()?;
        }
        let Some(posting) = self.ahead.pop_front() else { return Ok(None) };
        let place = self.lens.shared.source.place(posting.address);
        let (number, expected, begun) = (self.number, self.next, self.begun);
        let view = match self.lens.view(posting.address, self.limit) {
            Ok(view) => view,
            Err(trouble) => return Err(trouble.at(place, Seq(0))),
        };
        let continues =
            if begun { view.version == expected } else { view.version <= expected && view.last_version() >= expected };
        if number != Some(view.stream_no) || !continues {
            let fault = Fault::VersionGap { expected, found: view.version };
            return Err(Trouble::Fault(fault).at(place, view.seq));
        }
        self.next = Version(view.last_version().0 + 1);
        self.begun = true;
        Ok(Some(view))
    }

    fn look_ahead(&mut self) -> Result<(), ReadError> {
        let shared = self.lens.shared.clone();
        let state = shared.read();
        self.limit = state.ledger.end.address;
        if self.number.is_none() {
            self.number = state.ledger.names.number(self.stream.as_str());
        }
        drop(state);
        let Some(number) = self.number else { return Ok(()) };
        let mut found = Vec::new();
        shared.postings(number, self.next, self.at_once, &mut found)?;
        self.at_once = (self.at_once * 8).min(POSTINGS_MAX);
        self.ahead.extend(found);
        Ok(())
    }
}
