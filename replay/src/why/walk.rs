//! A strategy's way to one event: its state just before, and the facts its rules still looked at.

use std::collections::BTreeMap;

use ephor_events::codec::{decode_all, decode_commit};
use ephor_events::{Commit, Reader, Seq, Version};
use ephor_governance::drift::Metric;
use ephor_governance::event::{Event, PauseCause};
use ephor_governance::ids::TokenId;
use ephor_governance::strategy::{State, evolve};
use ephor_governance::token;
use ephor_governance::units::Timestamp;

use super::Step;
use crate::{ReplayError, decided_at};

/// Where the facts stand that a state rests on.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) level: Option<Seq>,
    pub(super) health: Option<Seq>,
    pub(super) baseline: Option<Seq>,
    pub(super) pauses: BTreeMap<PauseCause, Seq>,
    /// The last time drift paused it, or that it was resumed.
    pub(super) paused: Option<Seq>,
    pub(super) drift: BTreeMap<Metric, Seq>,
    pub(super) tokens: BTreeMap<TokenId, Seq>,
}

/// The way, as far as it was walked.
#[derive(Default)]
pub(super) struct Walked {
    /// Before the commit.
    pub(super) before: State,
    /// When the commit was decided.
    pub(super) at: Timestamp,
    /// What `before` rests on.
    pub(super) before_seen: Seen,
    /// Just before the event.
    pub(super) state: State,
    /// The trades at the level, up to the event.
    pub(super) steps: Vec<Step>,
    /// Which of them made the peak; `None` where that is the equity at the entry.
    pub(super) peak: Option<usize>,
    seen: Seen,
}

/// Folds a strategy up to the event at `seq`, which is not applied.
pub(super) fn to(reader: &Reader, target: &Commit, seq: Seq) -> Result<Walked, ReplayError> {
    let mut walked = Walked::default();
    let mut cursor = reader.stream(&target.stream, Version(1))?;
    while let Some(commit) = cursor.next()? {
        let at = decided_at(&commit);
        walked.at = at;
        if commit.seq >= target.seq {
            break;
        }
        for (seq, event) in (commit.seq.0..).zip(decode_all(&commit)) {
            walked.apply(Seq(seq), &event?, at);
        }
    }
    walked.before = walked.state.clone();
    walked.before_seen = walked.seen.clone();
    for (place, event) in (target.seq.0..).zip(decode_commit(target)?).take_while(|(place, _)| *place < seq.0) {
        walked.apply(Seq(place), &event, walked.at);
    }
    Ok(walked)
}

impl Walked {
    fn apply(&mut self, seq: Seq, event: &Event, at: Timestamp) {
        let before = self.state.maturity.evidence;
        self.state = evolve(std::mem::take(&mut self.state), event, at);
        let after = self.state.maturity.evidence;
        self.see(seq, event);
        let trade = if let Event::TradeClosed(closed) = event { Some(&closed.trade) } else { None };
        if trade.is_none() && (after.trades == 0 || after.equity == before.equity) {
            if after.trades == 0 {
                // A level was entered, or nothing has happened at it yet.
                self.steps.clear();
                self.peak = None;
            }
            return;
        }
        self.steps.push(Step {
            seq,
            trade: trade.map(|trade| trade.id.clone()),
            instrument: trade.map(|trade| trade.instrument.clone()),
            number: after.trades,
            closed_at: trade.map_or(at, |trade| trade.closed_at),
            pnl: trade.map_or(after.equity.minus(before.equity), |trade| trade.realized_pnl),
            outcome: trade.map(ephor_governance::trade::Trade::outcome),
            equity: after.equity,
            drawdown: after.drawdown(),
            loss_streak: after.loss_streak,
        });
        if trade.is_some() && after.peak > before.peak {
            self.peak = Some(self.steps.len() - 1);
        }
    }

    fn see(&mut self, seq: Seq, event: &Event) {
        let seen = &mut self.seen;
        match event {
            Event::StrategyRegistered { .. } => {
                // A declaration that goes on with the same record enters no level.
                if self.state.maturity.evidence.trades == 0 || seen.level.is_none() {
                    seen.level = Some(seq);
                }
            }
            Event::MaturityTransitioned(_) | Event::LevelSet { .. } => seen.level = Some(seq),
            Event::HealthUpdated(_) => seen.health = Some(seq),
            Event::BaselineRecorded(_) => seen.baseline = Some(seq),
            Event::StrategyPaused { cause, .. } => {
                seen.pauses.insert(*cause, seq);
                if *cause == PauseCause::Drift {
                    seen.paused = Some(seq);
                }
            }
            Event::StrategyResumed { causes, .. } => {
                seen.pauses.retain(|cause, _| !causes.contains(cause));
                seen.paused = Some(seq);
            }
            Event::DriftAlerted(alert) => {
                seen.drift.insert(alert.comparison.metric, seq);
            }
            Event::TokenChanged(change) => {
                let id = match change {
                    token::Event::Issued(grant) => &grant.id,
                    token::Event::Used { id, .. }
                    | token::Event::Expired { id, .. }
                    | token::Event::Revoked { id, .. } => id,
                };
                seen.tokens.insert(id.clone(), seq);
            }
            Event::SignalReceived(_)
            | Event::OrderReported(_)
            | Event::TradeClosed(_)
            | Event::AccountUpdated(_)
            | Event::DecisionMade(_)
            | Event::CanaryChecked(_)
            | Event::CanaryAlerted(_)
            | Event::PolicyAdopted { .. }
            | Event::KillSwitchEngaged { .. }
            | Event::KillSwitchReleased { .. }
            | Event::ActorFaulted { .. } => {}
        }
    }
}
