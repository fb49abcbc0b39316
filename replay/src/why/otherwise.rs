//! What would have had to be otherwise for an event not to be: fewer trades, or another policy.
//!
//! Both are found by deciding again with the rules that decided then, never by arithmetic about them. What
//! is said is limited to what was tried: history up to the event with some trades left out, and the one
//! commit under a policy with one threshold moved.
//!
//! Invariants: the recorded event comes out again before anything is changed, or nothing is said; every set
//! of trades and every value that is given was decided again with; the work is bounded, and where the bound
//! was met that is said.

mod thresholds;
mod trades;

use std::collections::{BTreeMap, BTreeSet};

use ephor_events::codec::{decode_all, decode_commit, type_name};
use ephor_events::{Commit, Reader, Seq, StreamId, Version};
use ephor_governance::drift::{Band, Metric};
use ephor_governance::event::{Event, PauseCause};
use ephor_governance::ids::{SourceId, StrategyId};
use ephor_governance::maturity;
use ephor_governance::strategy::{self, Command, Context, State};
use ephor_governance::system;
use ephor_governance::units::{Amount, Timestamp};
use ephor_governance::verdict::{Action, Component};
use serde::Serialize;

use super::Fact;
use super::walk::Walked;
use crate::ReplayError;

/// The most trades that are left out to see, the most recent ones.
pub const TRADES_MAX: usize = 256;
/// Events that history is decided again over, at most.
const EVENTS_MAX: u64 = 20_000;
/// Commits that are decided again for one answer, at most.
pub const DECIDED_MAX: u64 = 200_000;

/// What would have had to be otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Otherwise {
    /// Fewer trades; `None` where the event does not rest on trades.
    pub trades: Option<WithoutTrades>,
    /// Another policy: each of these alone would have been enough, the nearest first.
    pub policy: Vec<OtherPolicy>,
    /// The thresholds that were moved, each alone, up and down: nothing is said of any other. A value is looked
    /// for as if, on the way to the end of its range, the outcome changed no more than once; an event that
    /// stays at the end, and does not in between, is not found.
    pub tried: Vec<&'static str>,
}

/// The trades without which it would not have happened by then.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WithoutTrades {
    /// Leaving out any one of these is enough, oldest first. The trade that brought the event is one of them.
    pub any_one: Vec<Absent>,
    /// The fewest trades before the one that brought the event which are enough together, oldest first;
    /// `None` where none were found.
    pub together: Option<Vec<Absent>>,
    /// Whether fewer than `together` are known not to be enough; where there are none, whether every set of
    /// them is.
    pub fewest: bool,
    /// Recent trades that were looked at.
    pub looked_at: usize,
    /// Trades that the event could rest on.
    pub trades: usize,
    /// Whether the bound on the work was met before all was tried.
    pub bound_met: bool,
}

/// A trade that is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Absent {
    /// Where it stands in the log.
    pub seq: Seq,
    /// The trade.
    pub trade: SourceId,
    /// Its result.
    pub pnl: Amount,
    /// When it was closed.
    pub closed_at: Timestamp,
}

/// A policy under which the very same commit would have come out without the event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OtherPolicy {
    /// What is changed; more than one field where no single one is enough.
    pub changes: Vec<Change>,
}

/// A threshold, moved as little as it takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The policy's field.
    pub field: &'static str,
    /// Its value then.
    pub recorded: Amount,
    /// The nearest value, in steps of the field's own precision, as far as [`Otherwise::tried`] says.
    pub nearest: Amount,
}

/// What is not to happen.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    Demotion,
    Promotion,
    DriftPause,
    Drift(Metric, Band),
    /// A decision at least as severe as this; for `Allow`, one that allows.
    Decision(Action),
}

impl Asked {
    /// What a rule, and not a person, has decided.
    fn of(event: &Event) -> Option<Self> {
        match event {
            Event::MaturityTransitioned(maturity::Event::Demoted { .. }) => Some(Self::Demotion),
            Event::MaturityTransitioned(maturity::Event::Promoted { .. }) => Some(Self::Promotion),
            Event::StrategyPaused { cause: PauseCause::Drift, .. } => Some(Self::DriftPause),
            Event::DriftAlerted(alert) if alert.comparison.band > Band::Within => {
                Some(Self::Drift(alert.comparison.metric, alert.comparison.band))
            }
            Event::DecisionMade(decision) => Some(Self::Decision(decision.action)),
            Event::StrategyPaused { .. }
            | Event::DriftAlerted(_)
            | Event::StrategyRegistered { .. }
            | Event::BaselineRecorded(_)
            | Event::SignalReceived(_)
            | Event::OrderReported(_)
            | Event::FillRecorded { .. }
            | Event::UnattributedReceived(_)
            | Event::TradeClosed(_)
            | Event::AccountUpdated(_)
            | Event::HealthUpdated(_)
            | Event::TokenChanged(_)
            | Event::CanaryChecked(_)
            | Event::CanaryAlerted(_)
            | Event::PolicyAdopted { .. }
            | Event::KillSwitchEngaged { .. }
            | Event::KillSwitchReleased { .. }
            | Event::StrategyResumed { .. }
            | Event::LevelSet { .. }
            | Event::ActorFaulted { .. }
            | Event::OrderApproved { .. }
            | Event::OrderDeclined { .. }
            | Event::PolicyProposed { .. } => None,
        }
    }

    fn is(self, event: &Event) -> bool {
        match (self, Self::of(event)) {
            (Self::Drift(metric, least), Some(Self::Drift(found, band))) => metric == found && band >= least,
            (Self::Decision(Action::Allow), Some(Self::Decision(found))) => found == Action::Allow,
            (Self::Decision(least), Some(Self::Decision(found))) => found >= least,
            (asked, Some(found)) => asked == found,
            (_, None) => false,
        }
    }

    fn among(self, events: &[Event]) -> bool {
        events.iter().any(|event| self.is(event))
    }
}

/// What a component's word may rest on trades for.
fn rests_on_trades(asked: Asked, event: &Event) -> bool {
    match asked {
        Asked::Demotion | Asked::Promotion | Asked::DriftPause | Asked::Drift(..) => true,
        Asked::Decision(Action::Allow) => false,
        Asked::Decision(action) => {
            let by = event.decision().map(|decision| decision.decided_by);
            let by_rule = by == Some(Component::Drift) || by == Some(Component::Health);
            by_rule || (by == Some(Component::Maturity) && action == Action::Demote)
        }
    }
}

/// A commit that can be decided again.
struct Recorded {
    seq: Seq,
    at: Timestamp,
    system: Version,
    command: Command,
}

/// The strategy and every view of the system that its commits stand on.
struct Bench {
    id: StrategyId,
    systems: BTreeMap<Version, system::State>,
}

impl Bench {
    /// What the rules make of a command now; nothing where they refuse it.
    fn decide(&self, state: &State, recorded: &Recorded) -> Vec<Event> {
        let Some(system) = self.systems.get(&recorded.system) else { return Vec::new() };
        let context = Context { at: recorded.at, system, drift: None };
        strategy::decide(state, &self.id, &recorded.command, &context).unwrap_or_default()
    }
}

/// What would have had to be otherwise; `None` for what no rule decided, and where the rules of this version
/// do not give the event again.
pub(super) fn otherwise(
    reader: &Reader,
    commit: &Commit,
    event: &Fact,
    walked: &Walked,
) -> Result<Option<Otherwise>, ReplayError> {
    let Some(asked) = Asked::of(&event.0.event) else { return Ok(None) };
    let events = decode_commit(commit)?;
    let Some(command) = Command::of(&events) else { return Ok(None) };
    let target = Recorded { seq: commit.seq, at: walked.at, system: commit.system, command };
    let id = StrategyId::recorded(commit.stream.as_str().into());
    let bench = Bench { id, systems: systems(reader, &BTreeSet::from([commit.system]))? };
    if bench.decide(&walked.before, &target) != events {
        return Ok(None);
    }
    let (policy, tried) = thresholds::nearest(&bench, &walked.before, &target, asked);
    let trades = if rests_on_trades(asked, &event.0.event) {
        let since = since(asked, walked);
        trades::without(reader, commit, asked, since)?
    } else {
        None
    };
    Ok(Some(Otherwise { trades, policy, tried }))
}

/// After which event the trades stand that the event rests on.
fn since(asked: Asked, walked: &Walked) -> Option<Seq> {
    let seen = &walked.before_seen;
    match asked {
        Asked::Demotion | Asked::Promotion => seen.level,
        // A pause that has ended is not the one asked about, and neither is an alert that stands no more.
        Asked::DriftPause => seen.paused,
        Asked::Drift(metric, _) => seen.drift.get(&metric).copied(),
        Asked::Decision(_) => None,
    }
}

/// The system at each of these versions, in one pass over its stream.
fn systems(reader: &Reader, wanted: &BTreeSet<Version>) -> Result<BTreeMap<Version, system::State>, ReplayError> {
    let mut found = BTreeMap::new();
    let Some(last) = wanted.last() else { return Ok(found) };
    let mut state = system::State::default();
    if wanted.contains(&Version(0)) {
        found.insert(Version(0), state.clone());
    }
    let mut cursor = reader.stream(&StreamId::system(), Version(1))?;
    while let Some(commit) = cursor.next()?.filter(|commit| commit.version <= *last) {
        let at = crate::decided_at(&commit);
        for (version, event) in (commit.version.0..).zip(decode_all(&commit)) {
            state = system::evolve(state, &event?, at);
            if wanted.contains(&Version(version)) {
                found.insert(Version(version), state.clone());
            }
        }
    }
    Ok(found)
}

/// Whether a commit closes a trade, without decoding it.
fn closes(commit: &ephor_events::CommitView<'_>) -> bool {
    commit.events().any(|event| type_name(event.type_id) == Some("TradeClosed"))
}
