//! Outcome-based health: debt and credit over a rolling window of results.
//!
//! Losses charge debt by their size in R, wins pay it back; the window is folded anew from the
//! oldest trade, so what has left the window no longer weighs. Health only ever makes an order
//! smaller, down to a floor.

use serde::{Deserialize, Serialize};

use crate::trade::{Measured, RMultiple, RSource, Trade};
use crate::units::Multiplier;
use crate::verdict::{Component, Reason, Verdict};

/// Weights of the fold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Outcomes in the rolling window.
    pub window_trades: u32,
    /// Debt for a loss of one R or less.
    pub debt_per_loss: f64,
    /// Credit for a win, before `recovery_rate`.
    pub credit_per_win: f64,
    /// Share of a win's credit that counts.
    pub recovery_rate: f64,
    /// The most debt that is held.
    pub max_debt: f64,
    /// The most credit that is held.
    pub max_credit: f64,
    /// The multiplier never falls below this.
    pub sizing_floor: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            window_trades: 50,
            debt_per_loss: 1.0,
            credit_per_win: 0.5,
            recovery_rate: 0.8,
            max_debt: 10.0,
            max_credit: 2.0,
            sizing_floor: 0.1,
        }
    }
}

/// Health as it stands after a trade.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Debt left after the window was folded.
    pub debt: f64,
    /// Credit left.
    pub credit: f64,
    /// 1 minus the share of the most debt: 0 to 1.
    pub score: f64,
    /// What an order is scaled to.
    pub multiplier: Multiplier,
    /// Outcomes that were in the window.
    pub window_trades: u32,
}

/// The last recorded health.
pub type State = Event;

impl Event {
    /// Before any trade: nothing owed.
    pub const PRISTINE: Self =
        Self { debt: 0.0, credit: 0.0, score: 1.0, multiplier: Multiplier::ONE, window_trades: 0 };
}

fn window(outcomes: &[Measured], size: u32) -> &[Measured] {
    outcomes.get(outcomes.len().saturating_sub(size as usize)..).unwrap_or_default()
}

/// How much a trade made of what it risked.
///
/// `before` are the outcomes before this trade, oldest first. A loss is never measured as a gain: the
/// sign is the result's.
#[must_use]
pub fn measure(trade: &Trade, before: &[Measured], policy: &Policy) -> RMultiple {
    let pnl = trade.realized_pnl.to_f64();
    if let Some(risk) = trade.initial_risk.filter(|risk| !risk.is_zero()) {
        return RMultiple { value: pnl / risk.abs().to_f64(), source: RSource::InitialRisk };
    }
    against(pnl, mean_loss(before, policy))
}

/// The mean loss in the window, above zero; `None` without losses.
#[must_use]
pub fn mean_loss(before: &[Measured], policy: &Policy) -> Option<f64> {
    let losses = window(before, policy.window_trades).iter().filter(|outcome| outcome.pnl < 0.0);
    let (count, sum) = losses.fold((0.0, 0.0), |(count, sum), loss| (count + 1.0, sum - loss.pnl));
    (count > 0.0).then(|| sum / count)
}

/// A result in units of this mean loss; where there is none, its sign.
#[must_use]
pub fn against(pnl: f64, mean_loss: Option<f64>) -> RMultiple {
    match mean_loss {
        Some(mean) => RMultiple { value: pnl / mean, source: RSource::MeanLoss },
        None => RMultiple { value: f64::from(i8::from(pnl > 0.0) - i8::from(pnl < 0.0)), source: RSource::Unit },
    }
}

/// Folds the window, oldest outcome first, from no debt and no credit.
///
/// ```
/// use ephor_governance::health;
/// use ephor_governance::trade::Measured;
/// let loss = Measured { pnl: -1.0, r: -1.0, return_on_entry: -0.01 };
/// let health = health::fold(&[loss; 5], &health::Policy::default());
/// assert_eq!((health.debt, health.score), (5.0, 0.5));
/// ```
#[must_use]
pub fn fold(outcomes: &[Measured], policy: &Policy) -> Event {
    let seen = window(outcomes, policy.window_trades);
    let (mut debt, mut credit) = (0.0_f64, 0.0_f64);
    for outcome in seen {
        if outcome.pnl > 0.0 {
            let amount = policy.credit_per_win * policy.recovery_rate;
            let paid = smaller(amount, debt);
            debt -= paid;
            credit = smaller(policy.max_credit, credit + (amount - paid));
        } else if outcome.pnl < 0.0 {
            let size = if outcome.r < 0.0 { -outcome.r } else { outcome.r };
            let charge = policy.debt_per_loss * if size > 1.0 { size } else { 1.0 };
            let paid = smaller(charge, credit);
            credit -= paid;
            debt = smaller(policy.max_debt, debt + (charge - paid));
        }
    }
    let score = Multiplier::new(1.0 - debt / policy.max_debt).get();
    let multiplier = Multiplier::new(if score > policy.sizing_floor { score } else { policy.sizing_floor });
    Event { debt, credit, score, multiplier, window_trades: u32::try_from(seen.len()).unwrap_or(u32::MAX) }
}

fn smaller(a: f64, b: f64) -> f64 {
    if a < b { a } else { b }
}

/// What health says of an order: a size, never a refusal.
#[must_use]
pub fn assess(state: &State, policy: &Policy) -> Verdict {
    let floor = Multiplier::new(policy.sizing_floor);
    let multiplier = if state.score > floor.get() { Multiplier::new(state.score) } else { floor };
    if multiplier.is_one() {
        Verdict::allow(Component::Health, Reason::HealthGood { score: state.score })
    } else {
        Verdict::sized(Component::Health, multiplier, Reason::HealthDegraded { score: state.score, debt: state.debt })
    }
}
