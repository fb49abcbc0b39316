//! A strategy's way to one event: its state just before, and the facts its rules still looked at.
//!
//! A level is entered by a transition, by hand and by the first registration. A later one, of a new version
//! or of other capital, goes on with the peak and the losses in a row, as the rules do.
//!
//! Invariants: each step goes on from the equity of the one before it; what is kept does not grow with the
//! stream.

use std::collections::{BTreeMap, VecDeque};

use ephor_events::codec::{decode_all, decode_commit};
use ephor_events::{Commit, Reader, Seq, Version};
use ephor_governance::drift::Metric;
use ephor_governance::event::{ClosedTrade, Event, PauseCause};
use ephor_governance::ids::{SourceId, TokenId};
use ephor_governance::strategy::{State, evolve};
use ephor_governance::token;
use ephor_governance::trade::{Outcome, Trade};
use ephor_governance::units::{Amount, Timestamp};

use super::{STEPS_MAX, Step};
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
    /// The trade that made the peak; `None` where that is the equity at the entry.
    pub(super) peak_trade: Option<Step>,
    /// Equity when the peak was made.
    pub(super) peak_equity: Amount,
    /// The last steps after the peak, up to the event.
    pub(super) steps: VecDeque<Step>,
    /// How many there were.
    pub(super) since_peak: u64,
    /// How many there were from the first loss after the last win: a peak is won, so it stands before them.
    pub(super) since_first_loss: u64,
    /// Trades at the level.
    trades: u32,
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
        let first = self.state.registration.is_none();
        self.state = evolve(std::mem::take(&mut self.state), event, at);
        let enters = matches!(event, Event::MaturityTransitioned(_) | Event::LevelSet { .. })
            || (first && matches!(event, Event::StrategyRegistered { .. }));
        self.see(seq, event);
        if enters {
            self.enter(seq);
            return;
        }
        let after = self.state.maturity.evidence;
        let closed = if let Event::TradeClosed(closed) = event { Some(closed) } else { None };
        let (trade, amends) = (closed.map(|closed| &closed.trade), closed.and_then(ClosedTrade::amends));
        if trade.is_none() && after.equity == before.equity {
            return;
        }
        self.trades = self.trades.saturating_add(u32::from(trade.is_some() && amends.is_none()));
        let step = Step {
            seq,
            trade: trade.map(|trade| trade.id.clone()),
            amends: amends.cloned(),
            instrument: trade.map(|trade| trade.instrument.clone()),
            number: amends.map_or(self.trades, |first| self.number_of(first)),
            closed_at: trade.map_or(at, |trade| trade.closed_at),
            pnl: trade.map_or(after.equity.minus(before.equity), |trade| trade.realized_pnl),
            outcome: trade.map(Trade::outcome),
            equity: after.equity,
            drawdown: after.drawdown(),
            loss_streak: after.loss_streak,
        };
        self.since_first_loss = match (step.loss_streak, step.outcome) {
            (0, _) => 0,
            (_, Some(Outcome::Loss)) => self.since_first_loss + 1,
            (_, Some(Outcome::Win | Outcome::BreakEven) | None) => {
                self.since_first_loss + u64::from(self.since_first_loss > 0)
            }
        };
        if trade.is_some() && after.peak > before.peak {
            self.peak_at(Some(step));
            return;
        }
        if self.steps.len() >= STEPS_MAX {
            self.steps.pop_front();
        }
        self.steps.push_back(step);
        self.since_peak += 1;
    }

    /// Which trade at the level a further piece belongs to; the last one where that is not known any more.
    fn number_of(&self, first: &SourceId) -> u32 {
        let held = self.state.closing.iter().find(|held| held.trade == *first);
        let newer = held.map_or(0, |held| self.state.totals.trades.saturating_sub(held.number));
        self.trades.saturating_sub(newer)
    }

    /// A level was entered.
    fn enter(&mut self, seq: Seq) {
        self.seen.level = Some(seq);
        (self.trades, self.since_first_loss) = (0, 0);
        self.peak_at(None);
    }

    fn peak_at(&mut self, trade: Option<Step>) {
        self.peak_equity = self.state.maturity.evidence.equity;
        self.peak_trade = trade;
        self.steps.clear();
        self.since_peak = 0;
    }

    fn see(&mut self, seq: Seq, event: &Event) {
        let seen = &mut self.seen;
        match event {
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
                seen.tokens.insert(token(change).clone(), seq);
                // The rules, too, know only what is in force and what ended last.
                let known = &self.state.tokens;
                seen.tokens
                    .retain(|id, _| known.active.contains_key(id) || known.ended.iter().any(|(ended, ..)| ended == id));
            }
            Event::StrategyRegistered { .. }
            | Event::MaturityTransitioned(_)
            | Event::LevelSet { .. }
            | Event::SignalReceived(_)
            | Event::OrderReported(_)
            | Event::FillRecorded { .. }
            | Event::UnattributedReceived(_)
            | Event::TradeClosed(_)
            | Event::AccountUpdated(_)
            | Event::DecisionMade(_)
            | Event::CanaryChecked(_)
            | Event::CanaryAlerted(_)
            | Event::PolicyAdopted { .. }
            | Event::KillSwitchEngaged { .. }
            | Event::KillSwitchReleased { .. }
            | Event::ActorFaulted { .. }
            | Event::OrderApproved { .. }
            | Event::OrderDeclined { .. }
            | Event::PolicyProposed { .. } => {}
        }
    }
}

/// Which token a change is about.
pub(super) const fn token(change: &token::Event) -> &TokenId {
    match change {
        token::Event::Issued(grant) => &grant.id,
        token::Event::Used { id, .. } | token::Event::Expired { id, .. } | token::Event::Revoked { id, .. } => id,
    }
}
