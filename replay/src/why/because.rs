//! The numbers behind each kind of event.

use ephor_events::codec::{decode_all, type_name};
use ephor_events::{Commit, Reader, Seq, StreamId, Version};
use ephor_governance::event::{Event, Scope};
use ephor_governance::gate::Decision;
use ephor_governance::maturity::{self, DemotionCause, Evidence};
use ephor_governance::policy::Policy;
use ephor_governance::units::{Amount, Timestamp};
use ephor_governance::verdict::{Reason, Verdict};

use super::walk::{self, Walked};
use super::{Because, Check, Crossing, Fact, Fall, Run, Said, VerdictView, fact};
use crate::ReplayError;

/// Why an event stands in the system's stream.
pub(super) fn of_system(reader: &Reader, event: &Fact, causes: &[Fact]) -> Result<Because, ReplayError> {
    let Event::KillSwitchEngaged { scope, exits_blocked, by, reason } = &event.0.event else {
        return Ok(Because::Told);
    };
    let alert = causes
        .iter()
        .find_map(|cause| if let Event::CanaryAlerted(alert) = &cause.0.event { Some(alert.clone()) } else { None });
    Ok(Because::Kill {
        scope: scope.clone(),
        exits_blocked: *exits_blocked,
        by: by.clone(),
        reason: reason.clone(),
        alert,
        released: released(reader, scope, event.0.version)?,
    })
}

fn released(reader: &Reader, wanted: &Scope, after: Version) -> Result<Option<Seq>, ReplayError> {
    let mut cursor = reader.stream(&StreamId::system(), Version(after.0 + 1))?;
    while let Some(commit) = cursor.next()? {
        if !commit.events().any(|event| type_name(event.type_id) == Some("KillSwitchReleased")) {
            continue;
        }
        for (seq, event) in (commit.seq.0..).zip(decode_all(&commit)) {
            if matches!(event?, Event::KillSwitchReleased { scope, .. } if scope == *wanted) {
                return Ok(Some(Seq(seq)));
            }
        }
    }
    Ok(None)
}

/// Why an event stands in a strategy's stream.
pub(super) fn of_strategy(
    reader: &Reader,
    commit: &Commit,
    event: &Fact,
    causes: &[Fact],
    beside: &[Fact],
    walked: &Walked,
    policy: &Policy,
) -> Result<Because, ReplayError> {
    let at = walked.at;
    Ok(match &event.0.event {
        Event::MaturityTransitioned(maturity::Event::Demoted { from, to, cause, evidence }) => {
            let (by_drawdown, by_losses) = match cause {
                DemotionCause::Drawdown => (true, false),
                DemotionCause::LossStreak => (false, true),
                DemotionCause::DrawdownAndLossStreak => (true, true),
            };
            Because::Demotion {
                from: *from,
                to: *to,
                cause: *cause,
                evidence: *evidence,
                drawdown: by_drawdown.then(|| Box::new(fall(walked, evidence, policy))),
                losses: by_losses.then(|| run(walked, evidence, policy)),
            }
        }
        Event::MaturityTransitioned(maturity::Event::Promoted { from, to, evidence }) => {
            Because::Promotion { from: *from, to: *to, evidence: *evidence, checks: checks(evidence, at, policy) }
        }
        Event::LevelSet { from, to, earned, evidence, by, reason } => Because::LevelSet {
            from: *from,
            to: *to,
            earned: *earned,
            by: by.clone(),
            reason: reason.clone(),
            checks: if to > from { checks(evidence, at, policy) } else { Vec::new() },
        },
        Event::StrategyPaused { cause, by, reason } => {
            let crossings = causes.iter().chain(beside).filter_map(|fact| crossing(fact, walked, policy));
            Because::Pause { cause: *cause, by: by.clone(), reason: reason.clone(), crossings: crossings.collect() }
        }
        Event::DriftAlerted(_) => crossing(event, walked, policy).map_or(Because::Told, Because::Drift),
        Event::DecisionMade(decision) => {
            let said = decision.verdicts.iter().map(|verdict| said(reader, commit, decision, verdict, walked));
            Because::Decision { decision: decision.clone(), said: said.collect::<Result<_, _>>()? }
        }
        Event::StrategyRegistered { .. }
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
        | Event::ActorFaulted { .. }
        | Event::OrderApproved { .. }
        | Event::OrderDeclined { .. }
        | Event::PolicyProposed { .. } => Because::Told,
    })
}

/// From the peak to the breach.
fn fall(walked: &Walked, evidence: &Evidence, policy: &Policy) -> Fall {
    Fall {
        limit: policy.maturity.demotion_drawdown,
        drawdown: evidence.drawdown(),
        peak: evidence.peak,
        peak_equity: walked.peak_equity,
        peak_trade: walked.peak_trade.clone(),
        equity: evidence.equity,
        left_out: walked.since_peak - walked.steps.len() as u64,
        steps: walked.steps.iter().cloned().collect(),
    }
}

/// The losses in a row, with what neither adds to them nor ends them.
fn run(walked: &Walked, evidence: &Evidence, policy: &Policy) -> Run {
    let kept = walked.since_first_loss.min(walked.steps.len() as u64);
    let from = walked.steps.len() - usize::try_from(kept).unwrap_or(walked.steps.len());
    Run {
        limit: policy.maturity.demotion_loss_streak,
        losses: evidence.loss_streak,
        left_out: walked.since_first_loss - kept,
        steps: walked.steps.range(from..).cloned().collect(),
    }
}

/// A record against each threshold of a promotion.
fn checks(evidence: &Evidence, at: Timestamp, policy: &Policy) -> Vec<Check> {
    let policy = &policy.maturity;
    let trades = Amount::from(i64::from(evidence.trades));
    let wins = Amount::from(i64::from(evidence.wins));
    let stayed = at.seconds_since(evidence.entered_at);
    let whole = |number: u64| Amount::from(i64::try_from(number).unwrap_or(i64::MAX));
    vec![
        Check {
            field: "maturity.promotion_trades_min",
            value: Some(f64::from(evidence.trades)),
            limit: Amount::from(i64::from(policy.promotion_trades_min)),
            strict: false,
            passes: evidence.trades >= policy.promotion_trades_min,
        },
        Check {
            field: "maturity.promotion_win_rate_above",
            value: Some(evidence.win_rate()),
            limit: policy.promotion_win_rate_above,
            strict: true,
            passes: wins > policy.promotion_win_rate_above.times_saturating(trades),
        },
        Check {
            field: "maturity.promotion_profit_factor_above",
            value: evidence.profit_factor(),
            limit: policy.promotion_profit_factor_above,
            strict: true,
            passes: evidence.gross_loss.is_zero()
                || evidence.gross_win > policy.promotion_profit_factor_above.times_saturating(evidence.gross_loss),
        },
        Check {
            field: "maturity.promotion_seconds_min",
            value: Some(whole(stayed).to_f64()),
            limit: whole(policy.promotion_seconds_min),
            strict: false,
            passes: stayed >= policy.promotion_seconds_min,
        },
    ]
}

fn crossing(fact: &Fact, walked: &Walked, policy: &Policy) -> Option<Crossing> {
    let Event::DriftAlerted(alert) = &fact.0.event else { return None };
    let numbers = alert.comparison;
    Some(Crossing {
        seq: fact.0.seq,
        metric: numbers.metric,
        edge: alert.edge,
        band: numbers.band,
        live: numbers.live,
        interval: numbers.interval,
        baseline: numbers.baseline,
        baseline_seq: walked.before_seen.baseline,
        deviation_pct: numbers.deviation_pct,
        reduce_above_pct: policy.drift_detector.reduce_above_pct,
        pause_above_pct: policy.drift_detector.pause_above_pct,
        trades: numbers.trades,
    })
}

fn said(
    reader: &Reader,
    commit: &Commit,
    decision: &Decision,
    verdict: &Verdict,
    walked: &Walked,
) -> Result<Said, ReplayError> {
    let rests_on = match rests_on(reader, commit, verdict, walked)? {
        Some(seq) => fact(reader, seq)?,
        None => None,
    };
    let decided = verdict.component == decision.decided_by;
    Ok(Said { verdict: VerdictView(verdict.clone()), decided, rests_on })
}

/// The last fact that a verdict looked at.
fn rests_on(reader: &Reader, commit: &Commit, verdict: &Verdict, walked: &Walked) -> Result<Option<Seq>, ReplayError> {
    let seen = &walked.before_seen;
    Ok(match &verdict.reason {
        Reason::KillEngaged { since, by, .. } => last_of(reader, &StreamId::system(), commit.system, |event, at| {
            at == *since && matches!(event, Event::KillSwitchEngaged { by: engaged, .. } if engaged == by)
        })?,
        Reason::CanaryUnhealthy { .. } | Reason::CanaryNoComponents => {
            last_of(reader, &StreamId::system(), commit.system, |event, _| matches!(event, Event::CanaryAlerted(_)))?
        }
        Reason::CanarySilent { .. } => {
            last_of(reader, &StreamId::system(), commit.system, |event, _| matches!(event, Event::CanaryChecked(_)))?
        }
        Reason::StrategyPaused { by, since } => {
            let pauses = &walked.before.pauses;
            let cause = pauses.iter().find(|(_, pause)| pause.since == *since && pause.by == *by);
            cause.and_then(|(cause, _)| seen.pauses.get(cause).copied())
        }
        Reason::MaturityLevelTooLow { .. }
        | Reason::MaturitySizingCapped { .. }
        | Reason::MaturityApprovalRequired { .. }
        | Reason::MaturityDemotionDue { .. }
        | Reason::MaturityAutonomous { .. }
        | Reason::ImpactAboveLevel { .. } => seen.level,
        Reason::HealthDegraded { .. } | Reason::HealthGood { .. } => seen.health,
        Reason::DriftWithinBounds { metric, .. }
        | Reason::DriftBeyondReduce { metric, .. }
        | Reason::DriftBeyondPause { metric, .. } => seen.drift.get(metric).copied().or(seen.baseline),
        Reason::DriftSampleTooSmall { .. } => seen.baseline,
        Reason::TokenCovers { token, .. }
        | Reason::TokenExpired { token, .. }
        | Reason::TokenSpent { token }
        | Reason::TokenOutOfScope { token, .. } => seen.tokens.get(token).copied(),
        // One that ended long ago is forgotten by the rules.
        Reason::TokenUnknown { token } => {
            let upto = Version(commit.version.0 - 1);
            last_of(
                reader,
                &commit.stream,
                upto,
                |event, _| matches!(event, Event::TokenChanged(change) if walk::token(change) == token),
            )?
        }
        Reason::ComponentClear
        | Reason::OrderReducesOnly
        | Reason::ImpactWithinLevel { .. }
        | Reason::ImpactApprovalRequired { .. }
        | Reason::DriftNoBaseline
        | Reason::TokenNotNeeded
        | Reason::TokenMissing
        | Reason::JournalUnavailable
        | Reason::StrategyUnknown
        | Reason::GateTimeout
        | Reason::ActorFaulted => None,
    })
}

/// The last event of a stream that fits, up to and with a version.
fn last_of(
    reader: &Reader,
    stream: &StreamId,
    upto: Version,
    fits: impl Fn(&Event, Timestamp) -> bool,
) -> Result<Option<Seq>, ReplayError> {
    let mut found = None;
    let mut cursor = reader.stream(stream, Version(1))?;
    while let Some(commit) = cursor.next()?.filter(|commit| commit.last_version() <= upto) {
        let at = crate::decided_at(&commit);
        for (seq, event) in (commit.seq.0..).zip(decode_all(&commit)) {
            if fits(&event?, at) {
                found = Some(Seq(seq));
            }
        }
    }
    Ok(found)
}
