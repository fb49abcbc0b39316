//! One strategy's events as a line to go along, forwards and backwards.
//!
//! One pass makes an index of the stream and keeps a state every so many events. After it any state is a
//! short fold away: from the kept state before it, or from one that was just looked at.
//!
//! Memory grows with the strategy's own events: the index takes 20 bytes an event, and 24 more where it
//! changed a figure. Beside it stand at most [`KEYFRAMES_MAX`] states, and of what was looked at last a
//! hundred states and a thousand events.
//!
//! Invariants: nothing here goes through the whole stream again; a state is the fold of every event up to
//! its version, whichever way one came to it.

use std::collections::BTreeMap;

use ephor_events::codec::{decode_all, type_and_schema, type_name};
use ephor_events::envelope::Envelope;
use ephor_events::{Reader, Seq, StreamId, Version};
use ephor_governance::event::Event;
use ephor_governance::ids::StrategyId;
use ephor_governance::maturity;
use ephor_governance::strategy::{State, evolve};
use ephor_governance::units::Timestamp;

use crate::at::{Point, known, seq_at, within};
use crate::{PROGRESS_EVERY, Progress, ReplayError, decided_at};

/// The most states that are kept along the stream.
pub const KEYFRAMES_MAX: usize = 256;
/// Events between two kept states, as long as there are few.
const KEYFRAME_EVERY: u64 = 256;
/// States before the one asked for that are kept with it: a step back costs nothing then.
const BEHIND: u64 = 32;
/// States that are kept because they were looked at.
const RECENT_MAX: usize = 96;
/// Events that are read at once where one is shown.
const AHEAD: u64 = 16;
/// Events that are kept because they were looked at.
const SHOWN_MAX: usize = 1_024;

/// What kind of event stands in a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    type_id: u16,
    turn: Turn,
}

/// What an event changed for a strategy that its type does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing of the kind.
    None,
    /// It fell on the ladder, by rule or by hand.
    Down,
    /// It climbed, by rule or by hand.
    Up,
    /// An order was turned away.
    Refused,
}

impl Kind {
    /// The event's type, by the name that consumers know.
    #[must_use]
    pub fn name(self) -> &'static str {
        type_name(self.type_id).unwrap_or_default()
    }

    /// What it changed.
    #[must_use]
    pub const fn turn(self) -> Turn {
        self.turn
    }

    fn of(event: &Event) -> Self {
        let (type_id, _) = type_and_schema(event);
        let turn = match event {
            Event::MaturityTransitioned(maturity::Event::Demoted { .. }) => Turn::Down,
            Event::LevelSet { from, to, .. } if to < from => Turn::Down,
            Event::MaturityTransitioned(maturity::Event::Promoted { .. }) | Event::LevelSet { .. } => Turn::Up,
            Event::DecisionMade(decision) if decision.action.rejects() => Turn::Refused,
            Event::DecisionMade(_)
            | Event::StrategyRegistered { .. }
            | Event::BaselineRecorded(_)
            | Event::SignalReceived(_)
            | Event::OrderReported(_)
            | Event::FillRecorded { .. }
            | Event::UnattributedReceived(_)
            | Event::TradeClosed(_)
            | Event::AccountUpdated(_)
            | Event::HealthUpdated(_)
            | Event::DriftAlerted(_)
            | Event::TokenChanged(_)
            | Event::CanaryChecked(_)
            | Event::CanaryAlerted(_)
            | Event::PolicyAdopted { .. }
            | Event::KillSwitchEngaged { .. }
            | Event::KillSwitchReleased { .. }
            | Event::StrategyPaused { .. }
            | Event::StrategyResumed { .. }
            | Event::ActorFaulted { .. }
            | Event::OrderApproved { .. }
            | Event::OrderDeclined { .. }
            | Event::PolicyProposed { .. } => Turn::None,
        };
        Self { type_id, turn }
    }
}

/// The figures that go up and down, as they are from a version on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// The version from which they hold.
    pub version: Version,
    /// Health, 0 to 1.
    pub health: f32,
    /// Allocated capital and all realised results.
    pub equity: f32,
    /// Fall from the peak at the level, a fraction.
    pub drawdown: f32,
}

impl Figures {
    #[expect(clippy::cast_possible_truncation, reason = "a plot needs no more digits")]
    fn of(version: Version, state: &State) -> Self {
        let evidence = &state.maturity.evidence;
        Self {
            version,
            health: state.health.score as f32,
            equity: evidence.equity.to_f64() as f32,
            drawdown: evidence.drawdown() as f32,
        }
    }

    fn same(&self, other: &Self) -> bool {
        Self { version: other.version, ..*self } == *other
    }
}

/// What is where: every event of one stream by version, which goes from 1 without gaps.
#[derive(Clone, Debug, Default)]
pub struct Index {
    seqs: Vec<u64>,
    recorded_at: Vec<i64>,
    kinds: Vec<Kind>,
    figures: Vec<Figures>,
}

impl Index {
    /// The version of the last event; 0 where there is none.
    #[must_use]
    pub fn last(&self) -> Version {
        Version(self.kinds.len() as u64)
    }

    /// Adds the event of the next version.
    pub fn push(&mut self, seq: Seq, recorded_at: Timestamp, event: &Event) {
        self.seqs.push(seq.0);
        self.recorded_at.push(recorded_at.nanos());
        self.kinds.push(Kind::of(event));
    }

    fn place(version: Version) -> usize {
        usize::try_from(version.0).unwrap_or(usize::MAX).wrapping_sub(1)
    }

    /// Where an event stands in the whole log; 0 for a version that is not there.
    #[must_use]
    pub fn seq(&self, version: Version) -> Seq {
        Seq(self.seqs.get(Self::place(version)).copied().unwrap_or_default())
    }

    /// When an event was recorded.
    #[must_use]
    pub fn recorded_at(&self, version: Version) -> Timestamp {
        Timestamp::from_nanos(self.recorded_at.get(Self::place(version)).copied().unwrap_or_default())
    }

    /// What kind of event stands there.
    #[must_use]
    pub fn kind(&self, version: Version) -> Option<Kind> {
        self.kinds.get(Self::place(version)).copied()
    }

    /// The version of the last event at this seq or before; `None` where all come after it.
    #[must_use]
    pub fn upto_seq(&self, seq: Seq) -> Option<Version> {
        let before = self.seqs.partition_point(|found| *found <= seq.0);
        (before > 0).then_some(Version(before as u64))
    }

    /// The versions of the events that fit, in order.
    #[must_use]
    pub fn of(&self, fits: impl Fn(Kind) -> bool) -> Vec<Version> {
        (1..).zip(&self.kinds).filter(|(_, kind)| fits(**kind)).map(|(version, _)| Version(version)).collect()
    }

    /// The next event that fits.
    #[must_use]
    pub fn after(&self, from: Version, fits: impl Fn(Kind) -> bool) -> Option<Version> {
        let ahead = self.kinds.get(usize::try_from(from.0).ok()?..)?;
        let found = ahead.iter().position(|kind| fits(*kind))?;
        Some(Version(from.0 + found as u64 + 1))
    }

    /// The last event before that fits.
    #[must_use]
    pub fn before(&self, from: Version, fits: impl Fn(Kind) -> bool) -> Option<Version> {
        let behind = self.kinds.get(..Self::place(from))?;
        Some(Version(behind.iter().rposition(|kind| fits(*kind))? as u64 + 1))
    }

    /// Each type that occurs with how often, by name.
    #[must_use]
    pub fn types(&self) -> Vec<(&'static str, u64)> {
        let mut counts: BTreeMap<u16, u64> = BTreeMap::new();
        for kind in &self.kinds {
            *counts.entry(kind.type_id).or_default() += 1;
        }
        counts.into_iter().map(|(id, count)| (type_name(id).unwrap_or_default(), count)).collect()
    }

    /// At most `most` changes of the figures around a version, and which of them holds there; `None` before
    /// the first.
    #[must_use]
    pub fn around(&self, version: Version, most: usize) -> (&[Figures], Option<usize>) {
        let holding = self.figures.partition_point(|figures| figures.version <= version);
        let from = holding.saturating_sub(most / 2 + 1).min(self.figures.len().saturating_sub(most));
        let shown = self.figures.iter().skip(from).take(most).len();
        let slice = self.figures.get(from..from + shown).unwrap_or_default();
        (slice, holding.checked_sub(from + 1))
    }
}

/// A strategy's events and states, to go along.
pub struct Timeline {
    reader: Reader,
    stream: StreamId,
    index: Index,
    keyframes: Vec<(Version, State)>,
    recent: BTreeMap<Version, State>,
    shown: BTreeMap<Version, Envelope>,
}

impl Timeline {
    /// Goes along a strategy's stream once.
    ///
    /// # Errors
    /// [`ReplayError::UnknownStrategy`], and as reading.
    pub fn open(
        reader: &Reader,
        strategy: &StrategyId,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Self, ReplayError> {
        known(reader, strategy)?;
        let stream = StreamId::new(strategy.as_str());
        let mut timeline = Self {
            reader: reader.clone(),
            stream: stream.clone(),
            index: Index::default(),
            keyframes: Vec::new(),
            recent: BTreeMap::new(),
            shown: BTreeMap::new(),
        };
        let total = Seq(reader.version_of(&stream).0);
        let (mut state, mut every) = (State::default(), KEYFRAME_EVERY);
        let mut passed = 0_u64;
        let mut cursor = reader.stream(&stream, Version(1))?;
        while let Some(commit) = cursor.next()? {
            let at = decided_at(&commit);
            for (view, event) in commit.events().zip(decode_all(&commit)) {
                let event = event?;
                state = evolve(state, &event, at);
                timeline.index.push(view.seq, Timestamp::from_nanos(commit.recorded_at), &event);
            }
            let version = commit.last_version();
            let figures = Figures::of(version, &state);
            if timeline.index.figures.last().is_none_or(|before| !before.same(&figures)) {
                timeline.index.figures.push(Figures { version: commit.version, ..figures });
            }
            if version.0 - timeline.keyframes.last().map_or(0, |(kept, _)| kept.0) >= every {
                timeline.keyframes.push((version, state.clone()));
            }
            if timeline.keyframes.len() > KEYFRAMES_MAX {
                // Twice as far apart: every second one goes.
                let mut stays = false;
                timeline.keyframes.retain(|_| {
                    stays = !stays;
                    !stays
                });
                every *= 2;
            }
            passed += 1;
            if passed.is_multiple_of(PROGRESS_EVERY) {
                progress(Progress { done: Seq(version.0), total });
            }
        }
        progress(Progress { done: total, total });
        Ok(timeline)
    }

    /// What is where.
    #[must_use]
    pub const fn index(&self) -> &Index {
        &self.index
    }

    /// The version of the stream's last event at a moment.
    ///
    /// # Errors
    /// [`ReplayError::TimeBeforeLog`], [`ReplayError::SeqOutside`], [`ReplayError::VersionOutside`],
    /// [`ReplayError::NotGovernedYet`], and as reading.
    pub fn version_at(&self, point: Point) -> Result<Version, ReplayError> {
        let last = self.index.last();
        let seq = match point {
            Point::Now => return Ok(last),
            Point::Version(version) if version.0 == 0 || version > last => {
                return Err(ReplayError::VersionOutside { stream: self.stream.clone(), version, last });
            }
            Point::Version(version) => return Ok(version),
            Point::Seq(seq) => within(&self.reader, seq)?,
            Point::Time(at) => seq_at(&self.reader, at)?,
        };
        self.index.upto_seq(seq).ok_or_else(|| ReplayError::NotGovernedYet {
            stream: self.stream.clone(),
            first: self.index.seq(Version(1)),
            recorded_at: self.index.recorded_at(Version(1)),
        })
    }

    /// The state after the event of a version; the empty one for version 0.
    ///
    /// # Errors
    /// As reading.
    pub fn state(&mut self, version: Version) -> Result<State, ReplayError> {
        if let Some(state) = self.recent.get(&version) {
            return Ok(state.clone());
        }
        let kept = self.keyframes.partition_point(|(kept, _)| *kept <= version);
        let kept = kept.checked_sub(1).and_then(|kept| self.keyframes.get(kept)).map(|(at, state)| (*at, state));
        let near = self.recent.range(..=version).next_back().map(|(at, state)| (*at, state));
        let start = kept.into_iter().chain(near).max_by_key(|(at, _)| *at);
        let (from, mut state) = start.map_or_else(|| (Version(0), State::default()), |(at, state)| (at, state.clone()));
        let mut cursor = self.reader.stream(&self.stream, Version(from.0 + 1))?;
        'stream: while let Some(commit) = cursor.next()? {
            let at = decided_at(&commit);
            for (view, event) in commit.events().zip(decode_all(&commit)) {
                if view.version > version {
                    break 'stream;
                }
                if view.version <= from {
                    continue;
                }
                state = evolve(state, &event?, at);
                if view.version.0 + BEHIND >= version.0 {
                    self.recent.insert(view.version, state.clone());
                }
            }
        }
        while self.recent.len() > RECENT_MAX {
            // What is furthest from here goes first.
            let far = |at: &Version| at.0.abs_diff(version.0);
            let ends = self.recent.keys().next().into_iter().chain(self.recent.keys().next_back());
            let Some(furthest) = ends.max_by_key(|at| far(at)).copied() else { break };
            self.recent.remove(&furthest);
        }
        Ok(state)
    }

    /// The event of a version; `None` for one that is not there.
    ///
    /// # Errors
    /// As reading.
    pub fn event(&mut self, version: Version) -> Result<Option<&Envelope>, ReplayError> {
        if version.0 > 0 && version <= self.index.last() && !self.shown.contains_key(&version) {
            if self.shown.len() > SHOWN_MAX {
                self.shown.clear();
            }
            let mut cursor = self.reader.stream(&self.stream, version)?;
            while let Some(commit) = cursor.next()?.filter(|commit| commit.version.0 < version.0 + AHEAD) {
                let envelopes = Envelope::of_commit(&commit.to_owned())?;
                self.shown.extend(envelopes.into_iter().map(|envelope| (envelope.version, envelope)));
            }
        }
        Ok(self.shown.get(&version))
    }
}
