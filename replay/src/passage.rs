//! Recorded events in order, those that are wanted: of one stream or of all, of some types, from a seq on.
//!
//! A passage is never at its end for good: where another process or thread appends, it can be asked again and goes
//! on where it was. It decodes only commits that hold something wanted.

use std::collections::{BTreeSet, VecDeque};

use ephor_events::codec::type_name;
use ephor_events::envelope::Envelope;
use ephor_events::{CommitView, Cursor, ReadError, Reader, Seq, StreamCursor, StreamId, Version};
use ephor_governance::event::{Event, Scope};
use ephor_governance::ids::{InstrumentId, StrategyId};

use crate::why::instruments;
use crate::{ReplayError, at, covers};

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only of this stream.
    pub stream: Option<StreamId>,
    /// Only of these types; of all where empty.
    pub types: Vec<&'static str>,
}

impl Wanted {
    fn takes(&self, name: &str) -> bool {
        self.types.is_empty() || self.types.contains(&name)
    }
}

/// The whole log, or one stream of it.
enum Commits {
    All(Box<Cursor>),
    Stream(Box<StreamCursor>),
}

impl Commits {
    fn next(&mut self) -> Result<Option<CommitView<'_>>, ReadError> {
        match self {
            Self::All(cursor) => cursor.next(),
            Self::Stream(cursor) => cursor.next(),
        }
    }
}

/// The events that are wanted, a commit at a time.
pub struct Passage {
    commits: Commits,
    wanted: Wanted,
    from: Seq,
    next: Seq,
}

impl Passage {
    /// Begins at a seq, which the log need not have yet.
    ///
    /// # Errors
    /// As reading.
    pub fn open(reader: &Reader, wanted: Wanted, from: Seq) -> Result<Self, ReplayError> {
        let from = from.max(Seq(1));
        let commits = match &wanted.stream {
            Some(stream) => {
                let before = at::version_at(reader, stream, Seq(from.0 - 1))?;
                Commits::Stream(Box::new(reader.stream(stream, Version(before.0 + 1))?))
            }
            None => Commits::All(Box::new(reader.cursor(from)?)),
        };
        Ok(Self { commits, wanted, from, next: from })
    }

    /// What is wanted of the next commit: nothing, often. `None` at the end of what is published.
    ///
    /// # Errors
    /// As reading.
    #[expect(clippy::should_implement_trait, reason = "it can be asked again after its end")]
    pub fn next(&mut self) -> Result<Option<Vec<Envelope>>, ReplayError> {
        let Self { commits, wanted, from, next } = self;
        let Some(commit) = commits.next()? else { return Ok(None) };
        *next = Seq(commit.last_seq().0 + 1).max(*from);
        let holds = |type_id| type_name(type_id).is_some_and(|name| wanted.takes(name));
        if commit.last_seq() < *from || !commit.events().any(|event| holds(event.type_id)) {
            return Ok(Some(Vec::new()));
        }
        let mut envelopes = Envelope::of_commit(&commit.to_owned())?;
        envelopes.retain(|envelope| envelope.seq >= *from && wanted.takes(envelope.event.name()));
        Ok(Some(envelopes))
    }

    /// The first seq that has not been looked at.
    #[must_use]
    pub const fn next_seq(&self) -> Seq {
        self.next
    }
}

/// The story of one strategy: its own events, and the kill switches that covered it.
pub struct Story {
    own: Passage,
    kills: VecDeque<Envelope>,
}

/// What is not of the story, but of the daily work.
const DAILY: [&str; 5] = ["SignalReceived", "OrderReported", "TradeClosed", "DecisionMade", "HealthUpdated"];

impl Story {
    /// The story from a seq on; `all` has signals, orders, decisions, trades and health in it too.
    ///
    /// # Errors
    /// [`ReplayError::UnknownStrategy`], and as reading.
    pub fn open(reader: &Reader, id: &StrategyId, all: bool, from: Seq) -> Result<Self, ReplayError> {
        at::known(reader, id)?;
        let stream = StreamId::new(id.as_str());
        let kills = kills(reader, id, &stream, from)?;
        let told = Event::NAMES.into_iter().filter(|name| !DAILY.contains(name));
        let types = if all { Vec::new() } else { told.collect() };
        let own = Passage::open(reader, Wanted { stream: Some(stream), types }, from)?;
        Ok(Self { own, kills })
    }

    /// What comes next in it: nothing, often. `None` at its end.
    ///
    /// # Errors
    /// As reading.
    #[expect(clippy::should_implement_trait, reason = "it may fail, and gives what one commit holds")]
    pub fn next(&mut self) -> Result<Option<Vec<Envelope>>, ReplayError> {
        let Some(own) = self.own.next()? else {
            return Ok((!self.kills.is_empty()).then(|| self.kills.drain(..).collect()));
        };
        // A kill is of a commit of its own, so what is before the next commit is before this one.
        let next = self.own.next_seq();
        let before = self.kills.iter().take_while(|kill| kill.seq < next).count();
        Ok(Some(self.kills.drain(..before).chain(own).collect()))
    }

    /// The first seq that has not been looked at.
    #[must_use]
    pub const fn next_seq(&self) -> Seq {
        self.own.next_seq()
    }
}

/// The kill switches that covered the strategy, thrown and released, from a seq on.
fn kills(reader: &Reader, id: &StrategyId, stream: &StreamId, from: Seq) -> Result<VecDeque<Envelope>, ReplayError> {
    let types = vec!["KillSwitchEngaged", "KillSwitchReleased"];
    let mut passage = Passage::open(reader, Wanted { stream: Some(StreamId::system()), types }, from)?;
    let mut found = VecDeque::new();
    // Found out only where a switch asks for it: it goes through the strategy's whole stream.
    let mut traded: Option<BTreeSet<InstrumentId>> = None;
    while let Some(envelopes) = passage.next()? {
        for envelope in envelopes {
            let (Event::KillSwitchEngaged { scope, .. } | Event::KillSwitchReleased { scope, .. }) = &envelope.event
            else {
                continue;
            };
            if traded.is_none() && matches!(scope, Scope::Instrument(_) | Scope::Venue(_)) {
                traded = Some(instruments(reader, stream)?);
            }
            if covers(scope, id, traded.iter().flatten()) {
                found.push_back(envelope);
            }
        }
    }
    Ok(found)
}
