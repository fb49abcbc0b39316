//! Every decision made again, and compared with what was recorded.
//!
//! One pass: each commit gives the command it came from, the command is decided on the folded state, and
//! all events that come out are held against the recorded ones, byte for byte. State then goes on from
//! what was recorded, so one difference does not drag others behind it.
//!
//! Invariants: the rules are an argument; a commit that no command gives is itself a difference; a
//! decision is made on the system version that its commit names, however old that is.

mod views;

use std::sync::atomic::{AtomicBool, Ordering};

use ephor_events::codec::{self, type_and_schema};
use ephor_events::envelope::event_json;
use ephor_events::{Cause, CommitView, Reader, Seq, StreamId, Version};
use ephor_governance::event::Event;
use ephor_governance::ids::StrategyId;
use ephor_governance::record::cause_within;
use ephor_governance::rejection::Rejection;
use ephor_governance::units::Timestamp;
use ephor_governance::{strategy, system, token};
use serde::Serialize;
use serde_json::{Value, json};

use crate::shares::Shares;
use crate::streams::Streams;
use crate::{PROGRESS_EVERY, Progress, ReplayError, at, decided_at, decode_into};
use views::Views;

/// The rules that decide again. Another rule here shows which decisions it would change.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// For a strategy.
    pub strategy: DecideStrategy,
    /// For the system.
    pub system: DecideSystem,
}

/// The shape of [`strategy::decide`].
pub type DecideStrategy =
    fn(&strategy::State, &StrategyId, &strategy::Command, &strategy::Context<'_>) -> Result<Vec<Event>, Rejection>;

/// The shape of [`system::decide`].
pub type DecideSystem = fn(&system::State, &system::Command) -> Result<Vec<Event>, Rejection>;

impl Default for Rules {
    /// The rules of this version.
    fn default() -> Self {
        Self { strategy: strategy::decide, system: system::decide }
    }
}

/// What is judged. Everything before it is still folded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only this strategy; all of them and the system where `None`.
    pub strategy: Option<StrategyId>,
    /// From the commit that holds this seq on.
    pub from: Option<Seq>,
    /// Up to the commit that holds this seq.
    pub to: Option<Seq>,
}

/// What an audit found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Commits judged.
    pub commits: u64,
    /// Decisions derived again.
    pub decisions: u64,
    /// Events derived again that follow from others: health, alerts, pauses, transitions, uses of tokens.
    pub follow_ups: u64,
    /// The last seq that was looked at.
    pub through: Seq,
    /// Commits that came out otherwise.
    pub differ: u64,
    /// The first of them, in full.
    pub first: Option<Difference>,
    /// For each of them the seq of the first event that differs; the first [`DIFFERING_MAX`] of them.
    pub differing: Vec<Seq>,
}

/// How many differing commits are listed.
pub const DIFFERING_MAX: usize = 100_000;

/// A commit that the rules would not have given.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The first event that differs.
    pub seq: Seq,
    /// The stream.
    pub stream: StreamId,
    /// The version of that event.
    pub version: Version,
    /// When the commit was recorded.
    pub recorded_at: Timestamp,
    /// The system version that it names.
    pub system: Version,
    /// How it differs.
    pub mismatch: Mismatch,
    /// The commit's events as recorded.
    pub recorded: Vec<Value>,
    /// The commit's events as derived; empty where nothing could be.
    pub derived: Vec<Value>,
}

/// How a commit differs from what the rules give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mismatch {
    /// Another event belongs in this place.
    Event {
        /// The name of the event recorded.
        recorded: &'static str,
        /// The name of the event derived.
        derived: &'static str,
    },
    /// An event stands there that does not follow.
    NotDerived {
        /// Its name.
        recorded: &'static str,
    },
    /// An event is not there that does follow.
    NotRecorded {
        /// Its name.
        derived: &'static str,
    },
    /// No command gives this commit.
    NoCommand,
    /// The rules refuse the command that it came from.
    Refused {
        /// In the rule's own words.
        rejection: String,
    },
    /// It stands on a system version that the log did not have yet.
    SystemUnknown {
        /// The newest there was.
        newest: Version,
    },
    /// It stands on an older system than the commit before it in its stream.
    SystemWentBack {
        /// What the commit before stood on.
        before: Version,
    },
}

/// A strategy as far as the audit has come.
struct Subject {
    id: StrategyId,
    state: strategy::State,
    system: Version,
}

impl Subject {
    fn new(stream: &StreamId) -> Self {
        let id = StrategyId::recorded(stream.as_str().into());
        Self { id, state: strategy::State::default(), system: Version(0) }
    }
}

type Derived = Result<Vec<Event>, Mismatch>;

/// Folds the log and decides every commit in scope again, on at most so many threads, and never
/// more than [`crate::fold::THREADS_PER_CORE_MAX`] a core. What is appended
/// meanwhile is left alone.
///
/// # Errors
/// [`ReplayError::UnknownStrategy`], [`ReplayError::SeqOutside`] for a scope that the log does not have;
/// [`ReplayError::Read`] and [`ReplayError::Decode`] for a log that cannot be read;
/// [`ReplayError::Thread`] where the system has no thread to give. A difference is no
/// error: it stands in the report.
pub fn audit(
    reader: &Reader,
    scope: &Scope,
    rules: &Rules,
    threads: usize,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, ReplayError> {
    if let Some(id) = &scope.strategy {
        at::known(reader, id)?;
    }
    for seq in [scope.from, scope.to].into_iter().flatten() {
        at::within(reader, seq)?;
    }
    let end = scope.to.unwrap_or(reader.head().seq);
    let shares = Shares::of(reader, if scope.strategy.is_some() { 1 } else { threads });
    let parts = shares.work(progress, |share, stop, progress| {
        judge_share(reader, scope, rules, &shares, share, end, stop, progress)
    })?;
    Ok(parts.into_iter().fold(Report::default(), Report::with))
}

/// Judges the commits of one share; every share folds the system, and the one that holds it judges it.
#[expect(clippy::too_many_arguments, reason = "what all shares have in common, and what is this one's")]
fn judge_share(
    reader: &Reader,
    scope: &Scope,
    rules: &Rules,
    shares: &Shares,
    share: usize,
    end: Seq,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, ReplayError> {
    let only = scope.strategy.as_ref().map(|id| StreamId::new(id.as_str()));
    let mut subjects: Streams<Subject> = Streams::new();
    let mut views = Views::new();
    let mut report = Report::default();
    let mut recorded: Vec<Event> = Vec::new();
    let mut passed = 0_u64;
    let mut cursor = reader.cursor(Seq(1))?;
    while let Some(commit) = cursor.next()? {
        if commit.seq > end {
            break;
        }
        passed += 1;
        report.through = commit.last_seq();
        if passed.is_multiple_of(PROGRESS_EVERY) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            progress(Progress { done: commit.last_seq(), total: end.max(commit.last_seq()) });
        }
        let from_here = scope.from.is_none_or(|from| commit.last_seq() >= from);
        let at = decided_at(&commit);
        if commit.stream.is_system() {
            decode_into(&commit, &mut recorded)?;
            if from_here && only.is_none() && shares.holds(share, commit.stream) {
                let derived = derive_system(&views, &commit, &recorded, rules);
                report.judge(&commit, &recorded, derived)?;
            }
            views.evolve(&recorded, commit.last_version(), at);
            continue;
        }
        let new = || {
            let in_scope = only.as_ref().is_none_or(|only| only == commit.stream);
            (in_scope && shares.holds(share, commit.stream)).then(|| Subject::new(commit.stream))
        };
        let Some(subject) = subjects.own(commit.stream_no, new) else { continue };
        decode_into(&commit, &mut recorded)?;
        if from_here {
            let derived = derive_strategy(reader, subject, &mut views, &commit, &recorded, rules)?;
            report.judge(&commit, &recorded, derived)?;
        }
        subject.system = subject.system.max(commit.system);
        let state = std::mem::take(&mut subject.state);
        subject.state = recorded.iter().fold(state, |state, event| strategy::evolve(state, event, at));
    }
    progress(Progress { done: report.through, total: report.through });
    Ok(report)
}

fn derive_system(views: &Views, commit: &CommitView<'_>, recorded: &[Event], rules: &Rules) -> Derived {
    let (newest, state) = views.newest();
    if commit.system > newest {
        return Err(Mismatch::SystemUnknown { newest });
    }
    if commit.system < newest {
        return Err(Mismatch::SystemWentBack { before: newest });
    }
    let command = system::Command::of(recorded).ok_or(Mismatch::NoCommand)?;
    (rules.system)(state, &command).map_err(refused)
}

fn derive_strategy(
    reader: &Reader,
    subject: &Subject,
    views: &mut Views,
    commit: &CommitView<'_>,
    recorded: &[Event],
    rules: &Rules,
) -> Result<Derived, ReplayError> {
    let (newest, _) = views.newest();
    if commit.system > newest {
        return Ok(Err(Mismatch::SystemUnknown { newest }));
    }
    if commit.system < subject.system {
        return Ok(Err(Mismatch::SystemWentBack { before: subject.system }));
    }
    let Some(command) = strategy::Command::of(recorded) else { return Ok(Err(Mismatch::NoCommand)) };
    let context = strategy::Context { at: decided_at(commit), system: views.at(reader, commit.system)?, drift: None };
    Ok((rules.strategy)(&subject.state, &subject.id, &command, &context).map_err(refused))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err asks for")]
fn refused(rejection: Rejection) -> Mismatch {
    Mismatch::Refused { rejection: rejection.to_string() }
}

impl Report {
    /// What this report and that of another share say together.
    fn with(mut self, other: Self) -> Self {
        self.commits += other.commits;
        self.decisions += other.decisions;
        self.follow_ups += other.follow_ups;
        self.differ += other.differ;
        self.through = self.through.max(other.through);
        self.first = [self.first, other.first].into_iter().flatten().min_by_key(|first| first.seq);
        self.differing.extend(other.differing);
        self.differing.sort_unstable();
        self.differing.truncate(DIFFERING_MAX);
        self
    }

    /// Compares one commit with what was derived for it, and keeps what is found.
    fn judge(&mut self, commit: &CommitView<'_>, recorded: &[Event], derived: Derived) -> Result<(), ReplayError> {
        self.commits += 1;
        let (found, derived) = match derived {
            Err(mismatch) => (Some((0, mismatch)), Vec::new()),
            Ok(mut derived) => {
                self.count(&derived);
                (first_difference(commit, recorded, &mut derived)?, derived)
            }
        };
        let Some((index, mismatch)) = found else { return Ok(()) };
        // What should follow the last event is shown at the last event: there is no seq behind it.
        let index = index.min(commit.count.saturating_sub(1));
        let seq = Seq(commit.seq.0 + u64::from(index));
        self.differ += 1;
        if self.differing.len() < DIFFERING_MAX {
            self.differing.push(seq);
        }
        if self.first.is_none() {
            self.first = Some(Difference {
                seq,
                stream: commit.stream.clone(),
                version: Version(commit.version.0 + u64::from(index)),
                recorded_at: Timestamp::from_nanos(commit.recorded_at),
                system: commit.system,
                mismatch,
                recorded: recorded.iter().map(shown).collect(),
                derived: derived.iter().map(shown).collect(),
            });
        }
        Ok(())
    }

    fn count(&mut self, derived: &[Event]) {
        let is_expiry = |event: &&Event| matches!(event, Event::TokenChanged(token::Event::Expired { .. }));
        let is_decision = |event: &&Event| matches!(event, Event::DecisionMade(_));
        let decisions = derived.iter().filter(is_decision).count();
        // The first event that is no expiry states the command itself: it was told, not derived.
        let told = derived.iter().find(|event| !is_expiry(event)).filter(|event| !is_decision(event));
        self.decisions += decisions as u64;
        self.follow_ups += (derived.len() - decisions - usize::from(told.is_some())) as u64;
    }
}

fn shown(event: &Event) -> Value {
    json!({ "type": event.name(), "data": event_json(event) })
}

/// The first place where a commit and what was derived for it part.
///
/// What was written with the schema of today is compared as bytes, which is the sharper test: it tells
/// 1.0 from 1.00. What was written with an older one is compared as the event it was upcast to.
fn first_difference(
    commit: &CommitView<'_>,
    recorded: &[Event],
    derived: &mut [Event],
) -> Result<Option<(u32, Mismatch)>, ReplayError> {
    let once = commit.once();
    for (view, event) in commit.events().zip(recorded) {
        let (index, place) = (view.index, view.index as usize);
        let cause = cause_within(derived, place).and_then(|cause| u16::try_from(cause).ok());
        let cause = cause.map_or(Cause::None, Cause::InCommit);
        let Some(own) = derived.get_mut(place) else {
            return Ok(Some((index, Mismatch::NotDerived { recorded: event.name() })));
        };
        let same = if type_and_schema(own) == (view.type_id, view.schema) {
            let encoded =
                codec::encode(own, &once, cause).map_err(|source| ReplayError::Encode { seq: commit.seq, source })?;
            encoded.payload == view.payload && encoded.cause == view.cause
        } else {
            own == event && cause == view.cause
        };
        if !same {
            return Ok(Some((index, Mismatch::Event { recorded: event.name(), derived: own.name() })));
        }
    }
    let surplus = derived.get(recorded.len());
    Ok(surplus.map(|event| (commit.count, Mismatch::NotRecorded { derived: event.name() })))
}
