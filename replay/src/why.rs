//! Why something happened: the event, what caused it, and the numbers that crossed a threshold.
//!
//! Everything here is read from the log and folded again; nothing is made up, and nothing is put into
//! sentences: those are the reader's to make.

mod because;
pub mod otherwise;
mod search;
mod walk;

use ephor_events::codec::decode_commit;
use ephor_events::envelope::Envelope;
use ephor_events::{Commit, Reader, Seq, StreamId, Version};
use ephor_governance::canary;
use ephor_governance::drift::{Band, Edge, Metric};
use ephor_governance::event::{Event, PauseCause, Scope};
use ephor_governance::gate::Decision;
use ephor_governance::ids::{Actor, InstrumentId, SourceId, StrategyId};
use ephor_governance::maturity::{DemotionCause, Evidence, Level};
use ephor_governance::policy::PolicyId;
use ephor_governance::trade::Outcome;
use ephor_governance::units::{Amount, Timestamp};
use ephor_governance::verdict::Verdict;
use serde::{Serialize, Serializer};

use otherwise::Otherwise;
pub use search::{decisions_of, instruments};

use crate::{ReplayError, at};

/// The most steps of a way that are kept, the last ones.
pub const STEPS_MAX: usize = 1_000;

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One event.
    Seq(Seq),
    /// A trace id, or the id of an order, signal, trade or report: the latest decision by it, else the
    /// latest commit.
    Id(String),
    /// The last time this happened to a strategy.
    Last(StrategyId, Happening),
}

/// What can have happened to a strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// It fell on the ladder, by rule or by hand.
    Demotion,
    /// It climbed, by rule or by hand.
    Promotion,
    /// It was paused.
    Pause,
    /// An order of it was decided.
    Decision,
    /// A kill switch that covers it was thrown.
    Kill,
}

impl Happening {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Demotion => "demotion",
            Self::Promotion => "promotion",
            Self::Pause => "pause",
            Self::Decision => "decision",
            Self::Kill => "kill switch",
        }
    }
}

/// A recorded event with its envelope.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact(pub Envelope);

impl Serialize for Fact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.to_json().serialize(serializer)
    }
}

/// The policy that something was decided under.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InForce {
    /// What it is known by.
    pub id: PolicyId,
    /// Where it was adopted; `None` for the default, which nobody has.
    pub adopted: Option<Adopted>,
}

/// How a policy came into force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Adopted {
    /// Where.
    pub seq: Seq,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: Actor,
    /// Why.
    pub reason: String,
}

/// Why one event stands in the log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Why {
    /// The event.
    pub event: Fact,
    /// What it follows from, nearest first; the last came from outside.
    pub causes: Vec<Fact>,
    /// The other events of the same commit.
    pub beside: Vec<Fact>,
    /// The policy it was decided under.
    pub policy: InForce,
    /// The level of the strategy at that moment, and where it was entered; `None` for the system.
    pub standing: Option<Standing>,
    /// The numbers.
    pub because: Because,
    /// What would have had to be otherwise; `None` for what no rule decided, and where the rules of this
    /// version do not give the event again.
    pub otherwise: Option<Otherwise>,
}

/// Where a strategy stood when something was decided.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// The version of the stream before the commit.
    pub version: Version,
    /// The level.
    pub level: Level,
    /// The event that put it there.
    pub entered: Option<Seq>,
    /// The record at the level before the commit.
    pub evidence: Evidence,
    /// Health before the commit, 0 to 1.
    pub health: f64,
}

/// The numbers behind an event.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Because {
    /// A record that was too bad for the level.
    Demotion {
        /// The level before.
        from: Level,
        /// The level after.
        to: Level,
        /// Which threshold was crossed.
        cause: DemotionCause,
        /// The record at `from`.
        evidence: Evidence,
        /// The fall, where it was the drawdown.
        drawdown: Option<Box<Fall>>,
        /// The losses, where it was their number.
        losses: Option<Run>,
    },
    /// A record that has earned the next level.
    Promotion {
        /// The level before.
        from: Level,
        /// The level after.
        to: Level,
        /// The record that earned it.
        evidence: Evidence,
        /// It, against each threshold.
        checks: Vec<Check>,
    },
    /// A person's word about the level.
    LevelSet {
        /// The level before.
        from: Level,
        /// The level after.
        to: Level,
        /// Whether the record had earned it.
        earned: bool,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
        /// The record against the thresholds of a promotion, where it climbed.
        checks: Vec<Check>,
    },
    /// A pause.
    Pause {
        /// By whom or what.
        cause: PauseCause,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
        /// The metrics that crossed a bound in the same commit.
        crossings: Vec<Crossing>,
    },
    /// A metric crossed a bound.
    Drift(Crossing),
    /// An order was decided.
    Decision {
        /// The answer.
        decision: Box<Decision>,
        /// Each verdict with the fact it rests on.
        said: Vec<Said>,
    },
    /// A kill switch was thrown.
    Kill {
        /// What it covers.
        scope: Scope,
        /// Whether exits are stopped too.
        exits_blocked: bool,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
        /// The canary's alert, where that threw it.
        alert: Option<canary::Alert>,
        /// Where it was released.
        released: Option<Seq>,
    },
    /// It was told to the governor, or only follows from what was: see the causes.
    Told,
}

/// A fall from a peak beyond a limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fall {
    /// The policy's limit, a fraction of the peak.
    pub limit: Amount,
    /// The fall, a fraction of the peak.
    pub drawdown: f64,
    /// The peak that the fall is counted from: the highest equity since the level was entered, rescaled with
    /// every change of capital since.
    pub peak: Amount,
    /// Equity when the peak was made; `peak`, where capital has not been changed since.
    pub peak_equity: Amount,
    /// The trade that made the peak; `None` where it is the equity the level was entered with.
    pub peak_trade: Option<Step>,
    /// Equity at the breach.
    pub equity: Amount,
    /// Steps after the peak, before `steps`, that are not kept.
    pub left_out: u64,
    /// From the peak to the breach, changes of capital among them: the last [`STEPS_MAX`] steps.
    pub steps: Vec<Step>,
}

/// Losses in a row beyond a limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// The policy's limit.
    pub limit: u32,
    /// Losses in a row.
    pub losses: u32,
    /// Steps since the first of the losses, before `steps`, that are not kept.
    pub left_out: u64,
    /// The losses, with the break-evens and changes of capital between them: the last [`STEPS_MAX`] steps.
    pub steps: Vec<Step>,
}

/// One trade on the way, or capital put in or taken out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Where it stands in the log.
    pub seq: Seq,
    /// The trade; `None` for a change of capital.
    pub trade: Option<SourceId>,
    /// The trade that it is a further piece of.
    pub amends: Option<SourceId>,
    /// The instrument.
    pub instrument: Option<InstrumentId>,
    /// Which trade at the level it is, from 1, whatever the version; for a change of capital, the one before.
    pub number: u32,
    /// When it was closed.
    pub closed_at: Timestamp,
    /// Its result, or the change.
    pub pnl: Amount,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Equity afterwards.
    pub equity: Amount,
    /// Fall from the peak afterwards, a fraction.
    pub drawdown: f64,
    /// Losses in a row afterwards.
    pub loss_streak: u32,
}

/// One figure against one threshold of the policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// The policy's field.
    pub field: &'static str,
    /// The figure; `None` for a profit factor without losses, which passes.
    pub value: Option<f64>,
    /// The threshold.
    pub limit: Amount,
    /// Whether the figure must be above the threshold, or may be at it.
    pub strict: bool,
    /// Whether it passes.
    pub passes: bool,
}

/// A metric beyond, or back within, a bound.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Crossing {
    /// Where the alert stands.
    pub seq: Seq,
    /// Which metric.
    pub metric: Metric,
    /// Which edge.
    pub edge: Edge,
    /// The band it is in now.
    pub band: Band,
    /// Live value.
    pub live: f64,
    /// 95 % confidence interval of the live value.
    pub interval: Option<(f64, f64)>,
    /// Backtest value.
    pub baseline: f64,
    /// Where the baseline was recorded.
    pub baseline_seq: Option<Seq>,
    /// How far off, percent.
    pub deviation_pct: f64,
    /// The bound beyond which orders are made smaller, percent.
    pub reduce_above_pct: f64,
    /// The bound beyond which the strategy is paused, percent.
    pub pause_above_pct: f64,
    /// Live trades it rests on.
    pub trades: u32,
}

/// What one component said of an order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Said {
    /// Its verdict.
    #[serde(flatten)]
    pub verdict: VerdictView,
    /// Whether it decided.
    pub decided: bool,
    /// The last fact that it looked at, where there is one.
    pub rests_on: Option<Fact>,
}

/// A verdict as the log's JSON shows it: the reason with its code.
#[derive(Clone, Debug, PartialEq)]
pub struct VerdictView(pub Verdict);

impl Serialize for VerdictView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ephor_events::envelope::to_json(&self.0).serialize(serializer)
    }
}

/// Explains an event.
///
/// # Errors
/// [`ReplayError::SeqOutside`], [`ReplayError::UnknownId`], [`ReplayError::UnknownStrategy`] and
/// [`ReplayError::NeverHappened`] for what the log does not have, and as reading.
pub fn why(reader: &Reader, target: &Target) -> Result<Why, ReplayError> {
    let seq = match target {
        Target::Seq(seq) => at::within(reader, *seq)?,
        Target::Id(id) => search::by_id(reader, id)?,
        Target::Last(strategy, happening) => search::last(reader, strategy, *happening)?,
    };
    explain(reader, seq)
}

fn explain(reader: &Reader, seq: Seq) -> Result<Why, ReplayError> {
    let outside = || ReplayError::SeqOutside { seq, last: reader.head().seq };
    let commit = reader.commit_of(seq)?.ok_or_else(outside)?;
    let mut beside = facts(&commit)?;
    let place = beside.iter().position(|fact| fact.0.seq == seq).ok_or_else(outside)?;
    let event = beside.remove(place);
    let causes = causes(reader, &event)?;
    beside.retain(|fact| !causes.iter().any(|cause| cause.0.seq == fact.0.seq));

    let around = if commit.stream.is_system() { Version(commit.version.0 - 1) } else { commit.system };
    let (policy, rules) = in_force(reader, around)?;
    if commit.stream.is_system() {
        let because = because::of_system(reader, &event, &causes)?;
        return Ok(Why { event, causes, beside, policy, standing: None, because, otherwise: None });
    }
    let walked = walk::to(reader, &commit, seq)?;
    let standing = Standing {
        version: Version(commit.version.0 - 1),
        level: walked.before.maturity.level,
        entered: walked.before_seen.level,
        evidence: walked.before.maturity.evidence,
        health: walked.before.health.score,
    };
    let because = because::of_strategy(reader, &commit, &event, &causes, &beside, &walked, &rules)?;
    let otherwise = otherwise::otherwise(reader, &commit, &event, &walked)?;
    Ok(Why { event, causes, beside, policy, standing: Some(standing), because, otherwise })
}

fn facts(commit: &Commit) -> Result<Vec<Fact>, ReplayError> {
    Ok(Envelope::of_commit(commit)?.into_iter().map(Fact).collect())
}

/// One fact, if the log has it.
fn fact(reader: &Reader, seq: Seq) -> Result<Option<Fact>, ReplayError> {
    let Some(commit) = reader.commit_of(seq)? else { return Ok(None) };
    Ok(facts(&commit)?.into_iter().find(|fact| fact.0.seq == seq))
}

fn causes(reader: &Reader, event: &Fact) -> Result<Vec<Fact>, ReplayError> {
    let mut causes: Vec<Fact> = Vec::new();
    let mut next = event.0.cause;
    // A cause stands before its effect; a log that says otherwise is not followed in circles.
    let mut effect = event.0.seq;
    while let Some(seq) = next.filter(|seq| *seq < effect) {
        let Some(cause) = fact(reader, seq)? else { break };
        (next, effect) = (cause.0.cause, seq);
        causes.push(cause);
    }
    Ok(causes)
}

/// The policy as of a version of the system, and where it came from.
fn in_force(reader: &Reader, version: Version) -> Result<(InForce, ephor_governance::policy::Policy), ReplayError> {
    let mut adopted = None;
    let mut policy = std::sync::Arc::new(ephor_governance::policy::Policy::default());
    let mut id = policy.id();
    let mut cursor = reader.stream(&StreamId::system(), Version(1))?;
    while let Some(commit) = cursor.next()?.filter(|commit| commit.last_version() <= version) {
        if !commit.events().any(|event| ephor_events::codec::type_name(event.type_id) == Some("PolicyAdopted")) {
            continue;
        }
        for (seq, event) in (commit.seq.0..).zip(decode_commit(&commit.to_owned())?) {
            if let Event::PolicyAdopted { id: newer_id, policy: newer, by, reason } = event {
                adopted = Some(Adopted { seq: Seq(seq), at: Timestamp::from_nanos(commit.recorded_at), by, reason });
                (policy, id) = (newer, newer_id);
            }
        }
    }
    Ok((InForce { id, adopted }, std::sync::Arc::unwrap_or_clone(policy)))
}
