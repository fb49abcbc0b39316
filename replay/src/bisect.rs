//! The first event of a strategy at which a condition holds.
//!
//! A condition is an expression of the Common Expression Language over the whole state. It is asked after
//! every event of the stream, one after the other, not by halving: a condition may hold, cease and hold again,
//! and only the whole way shows where it held first.
//!
//! Where a field that the condition reads is not there or holds nothing (no baseline yet, no such pause), or a list
//! is too short, and so no answer can be given, the condition does not hold, and the event is counted as
//! unanswered. Everything else that cannot be evaluated is an error, whatever else is not there, because it would
//! hide what was asked for.

mod ask;
mod compared;
mod condition;
mod variables;

use std::collections::BTreeSet;

use ephor_events::codec::decode_all;
use ephor_events::{CommitView, Reader, Seq, StreamId, Version};
use ephor_governance::event::Event;
use ephor_governance::ids::StrategyId;
use ephor_governance::strategy::{self, State};
use ephor_governance::units::Timestamp;
use ephor_snapshots::{Keyframes, restore};
use serde::Serialize;
use serde_json::Value;

pub use condition::{Condition, ConditionError};
pub use variables::{VARIABLES, Variable};

use crate::at::known;
use crate::{PROGRESS_EVERY, Progress, ReplayError, decided_at};
use ask::Asking;
use variables::Scene;

/// Which of the times that a condition comes to hold is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// The first; nothing behind it is read.
    #[default]
    First,
    /// The last.
    Last,
    /// All of them.
    All,
}

/// What is asked of which part of a strategy's stream.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// What must hold.
    pub condition: &'a Condition,
    /// From this event of the stream on; from its first where `None`.
    pub from: Option<Version>,
    /// Up to and with this one; to its last where `None`.
    pub to: Option<Version>,
    /// Which time.
    pub wanted: Wanted,
}

/// An event, with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Occurrence {
    /// Its place in the whole log.
    pub seq: Seq,
    /// Its place in the stream.
    pub version: Version,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// What it says.
    pub event: Event,
}

/// A field that the condition reads, at the event that made it hold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// Which field.
    pub field: String,
    /// Its value before the event; `None` where it was not there.
    pub before: Option<Value>,
    /// Its value after it.
    pub after: Option<Value>,
}

/// A stretch of a stream in which the condition holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The event after which it holds; `None` where it held already before the first event asked about.
    pub begins: Option<Occurrence>,
    /// The event after which it no longer does; `None` where it holds to the end, or that was not looked for.
    pub ends: Option<Occurrence>,
    /// What the condition reads, before and after `begins`; where that is none, the first event asked about.
    pub readings: Vec<Reading>,
}

/// The values a field went through.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Seen {
    /// Which field.
    pub field: String,
    /// The smallest and largest number.
    pub range: Option<(f64, f64)>,
    /// Texts and truth values; the first [`VALUES_MAX`] of them, in alphabetical order.
    pub values: BTreeSet<String>,
}

/// How many different texts of a field are kept.
pub const VALUES_MAX: usize = 12;
/// How many spans are kept.
pub const SPANS_MAX: usize = 10_000;

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// In which stream.
    pub stream: StreamId,
    /// Events after which the condition was asked.
    pub events: u64,
    /// Those after which it had no answer, because a field was not there.
    pub unanswered: u64,
    /// Whether it held already before the first of them.
    pub held_before: bool,
    /// The spans in which it holds, one that had begun before the first event asked about among them; one where
    /// only the first was looked for.
    pub times: u64,
    /// The spans looked for, oldest first; at most [`SPANS_MAX`].
    pub spans: Vec<Span>,
    /// The values that each field went through.
    pub seen: Vec<Seen>,
}

/// Asks a condition after every event of a strategy. Progress is counted in the events of its stream.
///
/// # Errors
/// [`ReplayError::UnknownStrategy`], [`ReplayError::VersionOutside`], [`ReplayError::Condition`] where the
/// condition gives no truth value or cannot be evaluated, and as reading.
pub fn bisect(
    reader: &Reader,
    keyframes: Option<&Keyframes>,
    id: &StrategyId,
    question: &Question<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Answer, ReplayError> {
    known(reader, id)?;
    let stream = StreamId::new(id.as_str());
    let last = reader.version_of(&stream);
    for version in [question.from, question.to].into_iter().flatten() {
        if version.0 == 0 || version > last {
            return Err(ReplayError::VersionOutside { stream, version, last });
        }
    }
    let from = question.from.unwrap_or(Version(1));
    let to = question.to.unwrap_or(last);
    // The event before the range is asked about too: it says whether the condition held already.
    let skipped = Version(from.0.saturating_sub(2));
    let state = restore(reader, keyframes, &stream, Some(skipped), strategy::evolve)?.state;
    let mut search = Search::new(question, from, stream.clone(), state);
    let mut cursor = reader.stream(&stream, Version(skipped.0 + 1))?;
    let mut passed = 0_u64;
    let all = Seq(to.0.saturating_sub(skipped.0));
    while let Some(commit) = cursor.next()?.filter(|commit| commit.version <= to) {
        passed += 1;
        if passed.is_multiple_of(PROGRESS_EVERY) {
            progress(Progress { done: Seq(commit.version.0 - skipped.0), total: all });
        }
        for (version, event) in (commit.version.0..).map(Version).zip(decode_all(&commit)) {
            if version > skipped && version <= to && search.event(&commit, version, event?)? {
                progress(Progress { done: all, total: all });
                return Ok(search.answer);
            }
        }
    }
    progress(Progress { done: all, total: all });
    search.end();
    Ok(search.answer)
}

struct Search<'a> {
    wanted: Wanted,
    from: Version,
    state: State,
    asking: Asking<'a>,
    before: Vec<Option<Value>>,
    /// The span that has begun and not ended.
    open: Option<Span>,
    answer: Answer,
}

impl<'a> Search<'a> {
    fn new(question: &Question<'a>, from: Version, stream: StreamId, state: State) -> Self {
        let fields = question.condition.fields();
        let seen = fields.iter().map(|field| Seen { field: field.to_string(), range: None, values: BTreeSet::new() });
        Self {
            wanted: question.wanted,
            from,
            state,
            asking: Asking::new(question.condition),
            before: vec![None; fields.len()],
            open: None,
            answer: Answer {
                stream,
                events: 0,
                unanswered: 0,
                held_before: false,
                times: 0,
                spans: Vec::new(),
                seen: seen.collect(),
            },
        }
    }

    /// Folds one event and asks; `true` where nothing more needs to be known.
    fn event(&mut self, commit: &CommitView<'_>, version: Version, event: Event) -> Result<bool, ReplayError> {
        self.state = strategy::evolve(std::mem::take(&mut self.state), &event, decided_at(commit));
        let seq = Seq(commit.seq.0 + (version.0 - commit.version.0));
        let scene = Scene { state: &self.state, commit, event: &event, seq, version };
        let (holds, after) = self.asking.ask(&scene)?;
        let before = std::mem::replace(&mut self.before, after);
        if version < self.from {
            self.answer.held_before = holds == Some(true);
            return Ok(false);
        }
        self.answer.events += 1;
        self.answer.unanswered += u64::from(holds.is_none());
        for (seen, value) in self.answer.seen.iter_mut().zip(&self.before) {
            seen.add(value.as_ref());
        }
        let recorded_at = Timestamp::from_nanos(commit.recorded_at);
        let here = move || Occurrence { seq, version, recorded_at, event };
        match (holds == Some(true), self.open.is_some()) {
            (true, false) => {
                let values = before.into_iter().zip(self.before.iter().cloned());
                let reading =
                    |(seen, (before, after)): (&Seen, _)| Reading { field: seen.field.clone(), before, after };
                let readings = self.answer.seen.iter().zip(values).map(reading).collect();
                self.answer.times += 1;
                let began_before = version == self.from && self.answer.held_before;
                let begins = (!began_before).then(here);
                self.open = Some(Span { begins, ends: None, readings });
                if self.wanted == Wanted::First {
                    self.answer.spans.extend(self.open.take());
                    return Ok(true);
                }
            }
            (false, true) => {
                if let Some(span) = &mut self.open {
                    span.ends = Some(here());
                }
                self.end();
            }
            (true, true) | (false, false) => {}
        }
        Ok(false)
    }

    /// Keeps the span that has begun.
    fn end(&mut self) {
        let spans = &mut self.answer.spans;
        let Some(span) = self.open.take() else { return };
        if self.wanted == Wanted::Last {
            spans.clear();
        }
        if spans.len() < SPANS_MAX {
            spans.push(span);
        }
    }
}

impl Seen {
    fn add(&mut self, value: Option<&Value>) {
        let Some(value) = value else { return };
        if let Some(number) = value.as_f64() {
            let (low, high) = self.range.unwrap_or((number, number));
            self.range = Some((low.min(number), high.max(number)));
            return;
        }
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Bool(truth) => truth.to_string(),
            Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => return,
        };
        if self.values.len() < VALUES_MAX {
            self.values.insert(text);
        }
    }
}
