//! A recorded commit, borrowed from its frame or owned.
//!
//! Replay reads millions of them and looks at each once, so the view borrows everything; the owned
//! form is for the few that are kept or answered with.

use smol_str::SmolStr;
use uuid::Uuid;

use crate::bytes::Input;
use crate::codec::Once;
use crate::frame::{Raw, read_event};
use crate::{Cause, Encoded, Hash, Key, Seq, StreamId, Text, Version, event_id};

/// A commit as it stands in the log.
#[derive(Clone, Copy, Debug)]
pub struct CommitView<'a> {
    /// Of the first event.
    pub seq: Seq,
    /// Of the first event.
    pub version: Version,
    /// How many events; at least one.
    pub count: u32,
    /// The stream.
    pub stream: &'a StreamId,
    /// The stream's number in the log's dictionary: dense, from 1, shared with instruments.
    pub stream_no: u32,
    /// Our time, nanoseconds UTC, never going back.
    pub recorded_at: i64,
    /// When the command was decided; not later than `recorded_at`, and the time its rules were given.
    pub decided_at: i64,
    /// The source's time, nanoseconds UTC.
    pub occurred_at: i64,
    /// The system version that this was decided on.
    pub system: Version,
    /// Ties order, decision, token and trade together.
    pub trace: Text<'a>,
    /// Kind and id that make the command idempotent.
    pub key: Option<(u8, Text<'a>)>,
    /// The instrument.
    pub instrument: Option<&'a SmolStr>,
    /// The instrument's number in the log's dictionary; 0 for none.
    pub instrument_no: u32,
    /// Hash of the commit before.
    pub prev: Hash,
    chained: &'a [u8],
    events: &'a [u8],
}

impl<'a> CommitView<'a> {
    pub(crate) fn new(raw: &Raw<'a>, stream: &'a StreamId, instrument: Option<&'a SmolStr>) -> Self {
        Self {
            seq: raw.seq,
            version: raw.version,
            count: raw.count,
            stream,
            stream_no: raw.stream,
            recorded_at: raw.recorded_at,
            decided_at: raw.decided_at,
            occurred_at: raw.occurred_at,
            system: raw.system,
            trace: raw.trace,
            key: raw.key,
            instrument,
            instrument_no: raw.instrument,
            prev: raw.prev,
            chained: raw.chained,
            events: raw.events,
        }
    }

    /// What it says once for all its events.
    #[must_use]
    pub fn once(&self) -> Once<'a> {
        Once { instrument: self.instrument, key: self.key.map(|(_, id)| id), trace: self.trace }
    }

    /// The commit's own link of the chain; computed at each call.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(self.chained)
    }

    /// The seq of the last event.
    #[must_use]
    pub fn last_seq(&self) -> Seq {
        Seq(self.seq.0 + u64::from(self.count) - 1)
    }

    /// The version of the last event.
    #[must_use]
    pub fn last_version(&self) -> Version {
        Version(self.version.0 + u64::from(self.count) - 1)
    }

    /// The events in order.
    #[must_use]
    pub fn events(&self) -> Events<'a> {
        Events { input: Input(self.events), seq: self.seq, version: self.version, next: 0, count: self.count }
    }

    /// The id of the event at `index`; hashes the commit, so ask [`event_id`] when there are several.
    #[must_use]
    pub fn event_id(&self, index: u32) -> Uuid {
        event_id(&self.hash(), index)
    }

    /// Everything, owned.
    #[must_use]
    pub fn to_owned(&self) -> Commit {
        Commit {
            seq: self.seq,
            version: self.version,
            stream: self.stream.clone(),
            stream_no: self.stream_no,
            recorded_at: self.recorded_at,
            decided_at: self.decided_at,
            occurred_at: self.occurred_at,
            system: self.system,
            trace: self.trace.to_smol_str(),
            key: self.key.map(|(kind, id)| Key { kind, id: id.to_smol_str() }),
            instrument: self.instrument.cloned(),
            prev: self.prev,
            hash: self.hash(),
            events: self
                .events()
                .map(|event| Encoded {
                    type_id: event.type_id,
                    schema: event.schema,
                    cause: event.cause,
                    payload: event.payload.to_vec(),
                })
                .collect(),
        }
    }
}

/// One event of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventView<'a> {
    /// Position in the whole log.
    pub seq: Seq,
    /// Position in the stream.
    pub version: Version,
    /// Index in the commit, from 0.
    pub index: u32,
    /// Which event it is.
    pub type_id: u16,
    /// Which version of its schema the payload has.
    pub schema: u16,
    /// What caused it.
    pub cause: Cause,
    /// The event's own bytes.
    pub payload: &'a [u8],
}

/// The events of a commit, in order.
#[derive(Clone, Debug)]
pub struct Events<'a> {
    input: Input<'a>,
    seq: Seq,
    version: Version,
    next: u32,
    count: u32,
}

impl<'a> Iterator for Events<'a> {
    type Item = EventView<'a>;

    #[inline]
    fn next(&mut self) -> Option<EventView<'a>> {
        if self.next == self.count {
            return None;
        }
        let index = self.next;
        // Walked once when the frame was decoded: `None` is only ever the end.
        let (type_id, schema, cause, payload) = read_event(&mut self.input, self.seq, index)?;
        self.next += 1;
        Some(EventView {
            seq: Seq(self.seq.0 + u64::from(index)),
            version: Version(self.version.0 + u64::from(index)),
            index,
            type_id,
            schema,
            cause,
            payload,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = crate::bytes::index(u64::from(self.count - self.next));
        (left, Some(left))
    }
}

impl ExactSizeIterator for Events<'_> {}

/// A commit, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Of the first event.
    pub seq: Seq,
    /// Of the first event.
    pub version: Version,
    /// The stream.
    pub stream: StreamId,
    /// The stream's number in the log's dictionary.
    pub stream_no: u32,
    /// Our time, nanoseconds UTC, never going back.
    pub recorded_at: i64,
    /// When the command was decided; not later than `recorded_at`, and the time its rules were given.
    pub decided_at: i64,
    /// The source's time, nanoseconds UTC.
    pub occurred_at: i64,
    /// The system version that this was decided on.
    pub system: Version,
    /// Ties order, decision, token and trade together; may be empty.
    pub trace: SmolStr,
    /// What makes the command idempotent.
    pub key: Option<Key>,
    /// The instrument.
    pub instrument: Option<SmolStr>,
    /// Hash of the commit before.
    pub prev: Hash,
    /// Hash of this commit.
    pub hash: Hash,
    /// The events in order.
    pub events: Vec<Encoded>,
}

impl Commit {
    /// The seq of the last event.
    #[must_use]
    pub fn last_seq(&self) -> Seq {
        Seq((self.seq.0 + self.events.len() as u64).saturating_sub(1))
    }

    /// The version of the last event.
    #[must_use]
    pub fn last_version(&self) -> Version {
        Version((self.version.0 + self.events.len() as u64).saturating_sub(1))
    }

    /// The id of the event at `index`.
    #[must_use]
    pub fn event_id(&self, index: u32) -> Uuid {
        event_id(&self.hash, index)
    }
}
