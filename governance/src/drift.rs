//! Live performance against the backtest: is this still the strategy that was approved?
//!
//! Metrics over the last trades are compared with the baseline's. Only what is worse counts, unless
//! the policy says otherwise; a baseline near zero is held away from zero by a floor, because it
//! would make any ratio explode. Alerts come at the edges: entering, worsening, clearing.

mod metrics;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::trade::Measured;
use crate::units::Multiplier;
use crate::verdict::{Action, Component, Reason, Verdict};
use metrics::{at_least_zero, live, sums};

/// What can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Wins over trades.
    WinRate,
    /// Mean R-multiple.
    AvgRr,
    /// Mean over sample standard deviation of the return on entry notional, per trade.
    Sharpe,
    /// Gross win over gross loss.
    ProfitFactor,
    /// Mean result per trade, in the strategy's currency.
    Expectancy,
    /// Mean return on entry notional, a fraction.
    AvgReturn,
    /// Largest fall from a peak, a fraction. Higher is worse.
    MaxDrawdown,
}

impl Metric {
    /// The wire string.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WinRate => "win_rate",
            Self::AvgRr => "avg_rr",
            Self::Sharpe => "sharpe",
            Self::ProfitFactor => "profit_factor",
            Self::Expectancy => "expectancy",
            Self::AvgReturn => "avg_return",
            Self::MaxDrawdown => "max_drawdown",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which deviations count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Only what is worse than the backtest.
    Adverse,
    /// Better than the backtest counts too.
    Both,
}

/// Bounds of the comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Trades the live metrics are taken over.
    pub window_trades: u32,
    /// Trades it takes before anything is compared.
    pub trades_min: u32,
    /// Deviation beyond which orders are made smaller, percent.
    pub reduce_above_pct: f64,
    /// Deviation beyond which the strategy is paused, percent.
    pub pause_above_pct: f64,
    /// What orders are scaled to beyond `reduce_above_pct`.
    pub reduce_multiplier: f64,
    /// Which deviations count.
    pub direction: Direction,
    /// Whether a drift pause ends by itself once drift has cleared.
    pub auto_resume: bool,
    /// The metrics that are compared.
    pub metrics_tracked: Vec<Metric>,
    /// Smallest baseline a deviation is taken relative to, per metric.
    pub floors: BTreeMap<Metric, f64>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            window_trades: 200,
            trades_min: 20,
            reduce_above_pct: 30.0,
            pause_above_pct: 50.0,
            reduce_multiplier: 0.5,
            direction: Direction::Adverse,
            auto_resume: false,
            metrics_tracked: vec![Metric::WinRate, Metric::AvgRr, Metric::Sharpe, Metric::ProfitFactor],
            floors: BTreeMap::from([
                (Metric::WinRate, 0.05),
                (Metric::ProfitFactor, 0.2),
                (Metric::AvgRr, 0.1),
                (Metric::Sharpe, 0.05),
                (Metric::Expectancy, 0.01),
                (Metric::AvgReturn, 0.0001),
                (Metric::MaxDrawdown, 0.01),
            ]),
        }
    }
}

/// What a backtest promised.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Trades in the backtest.
    pub trades: u32,
    /// The metrics it gives; one that is missing is not compared.
    pub metrics: BTreeMap<Metric, f64>,
}

/// How far a deviation goes. The order of variants is the severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Band {
    /// Within bounds.
    Within,
    /// Beyond the reduce bound.
    Reduce,
    /// Beyond the pause bound.
    Pause,
}

/// One metric, compared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Which.
    pub metric: Metric,
    /// Live value over the window.
    pub live: f64,
    /// 95 % confidence interval of the live value, where the metric has one.
    pub interval: Option<(f64, f64)>,
    /// Backtest value.
    pub baseline: f64,
    /// Distance that counts, over the baseline (or its floor), percent.
    pub deviation_pct: f64,
    /// Where that falls.
    pub band: Band,
    /// Live trades it rests on.
    pub trades: u32,
}

/// Which edge an alert stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edge {
    /// From within bounds to beyond one.
    Entered,
    /// From the reduce bound to beyond the pause bound.
    Worsened,
    /// From beyond the pause bound back to beyond the reduce bound.
    Eased,
    /// Back within bounds.
    Cleared,
}

/// A metric changed its band.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Which edge.
    pub edge: Edge,
    /// The numbers.
    pub comparison: Comparison,
}

/// The band that each metric was last reported in; what is not here is within bounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Metrics beyond a bound.
    pub beyond: BTreeMap<Metric, Band>,
}

/// Compares one live value with its baseline.
///
/// ```
/// use ephor_governance::drift::{self, Metric};
/// let policy = drift::Policy::default();
/// let off = drift::deviation_pct(Metric::WinRate, 0.35, 0.55, &policy);
/// assert!((off - 36.36).abs() < 0.01);
/// ```
#[must_use]
pub fn deviation_pct(metric: Metric, live: f64, baseline: f64, policy: &Policy) -> f64 {
    let worse = match metric {
        Metric::MaxDrawdown => live - baseline,
        Metric::WinRate
        | Metric::AvgRr
        | Metric::Sharpe
        | Metric::ProfitFactor
        | Metric::Expectancy
        | Metric::AvgReturn => baseline - live,
    };
    let distance = match policy.direction {
        Direction::Adverse => at_least_zero(worse),
        Direction::Both => worse.abs(),
    };
    let floor = policy.floors.get(&metric).copied().unwrap_or(0.0);
    let base = if baseline.abs() > floor { baseline.abs() } else { floor };
    let relative = if distance > 0.0 { distance / base * 100.0 } else { 0.0 };
    // Held at the largest number, because infinity has no form in JSON.
    if relative < f64::MAX { relative } else { f64::MAX }
}

/// Compares every tracked metric that the baseline gives. Empty without a baseline or with too few trades.
///
/// `outcomes` are oldest first; `equity` is the strategy's equity after the last of them.
#[must_use]
pub fn compare(outcomes: &[Measured], equity: f64, baseline: Option<&Baseline>, policy: &Policy) -> Vec<Comparison> {
    let seen = outcomes.get(outcomes.len().saturating_sub(policy.window_trades as usize)..).unwrap_or_default();
    let trades = u32::try_from(seen.len()).unwrap_or(u32::MAX);
    let Some(baseline) = baseline.filter(|_| trades >= policy.trades_min && trades >= 2) else { return Vec::new() };
    let s = sums(seen);
    policy
        .metrics_tracked
        .iter()
        .filter_map(|metric| {
            let promised = *baseline.metrics.get(metric)?;
            let (value, interval) = live(*metric, &s, seen, equity)?;
            let deviation_pct = deviation_pct(*metric, value, promised, policy);
            let band = band(deviation_pct, policy);
            Some(Comparison { metric: *metric, live: value, interval, baseline: promised, deviation_pct, band, trades })
        })
        .collect()
}

fn band(deviation_pct: f64, policy: &Policy) -> Band {
    if deviation_pct > policy.pause_above_pct {
        Band::Pause
    } else if deviation_pct > policy.reduce_above_pct {
        Band::Reduce
    } else {
        Band::Within
    }
}

/// The alerts that a fresh comparison calls for: one for each metric whose band has changed.
#[must_use]
pub fn decide(state: &State, comparisons: &[Comparison]) -> Vec<Event> {
    comparisons
        .iter()
        .filter_map(|comparison| {
            let before = state.beyond.get(&comparison.metric).copied().unwrap_or(Band::Within);
            let edge = match (before, comparison.band) {
                (Band::Within, Band::Within) | (Band::Reduce, Band::Reduce) | (Band::Pause, Band::Pause) => {
                    return None;
                }
                (Band::Within, Band::Reduce | Band::Pause) => Edge::Entered,
                (Band::Reduce, Band::Pause) => Edge::Worsened,
                (Band::Pause, Band::Reduce) => Edge::Eased,
                (Band::Reduce | Band::Pause, Band::Within) => Edge::Cleared,
            };
            Some(Event { edge, comparison: *comparison })
        })
        .collect()
}

/// Applies one recorded alert.
#[must_use]
pub fn evolve(mut state: State, event: &Event) -> State {
    let Comparison { metric, band, .. } = event.comparison;
    match band {
        Band::Within => state.beyond.remove(&metric),
        Band::Reduce | Band::Pause => state.beyond.insert(metric, band),
    };
    state
}

/// What drift says of an order.
///
/// A metric beyond the pause bound pauses as long as it has not been reported there: once it has, the
/// latched pause speaks, and after an operator has resumed, the order is only made smaller.
#[must_use]
pub fn assess(state: &State, comparisons: &[Comparison], trades: u32, has_baseline: bool, policy: &Policy) -> Verdict {
    if !has_baseline || (comparisons.is_empty() && trades >= policy.trades_min) {
        return Verdict::allow(Component::Drift, Reason::DriftNoBaseline);
    }
    let furthest = comparisons.iter().fold(None::<&Comparison>, |worst, next| match worst {
        Some(worst) if worst.deviation_pct >= next.deviation_pct => Some(worst),
        Some(_) | None => Some(next),
    });
    let Some(&Comparison { metric, live, baseline, deviation_pct, band, .. }) = furthest else {
        return Verdict::allow(Component::Drift, Reason::DriftSampleTooSmall { trades, trades_min: policy.trades_min });
    };
    let unreported =
        comparisons.iter().any(|c| c.band == Band::Pause && state.beyond.get(&c.metric).copied() != Some(Band::Pause));
    match band {
        Band::Within => Verdict::allow(Component::Drift, Reason::DriftWithinBounds { metric, deviation_pct }),
        Band::Pause if unreported => Verdict::reject(
            Component::Drift,
            Action::Pause,
            Reason::DriftBeyondPause { metric, live, baseline, deviation_pct },
        ),
        Band::Reduce | Band::Pause => Verdict::sized(
            Component::Drift,
            Multiplier::new(policy.reduce_multiplier),
            Reason::DriftBeyondReduce { metric, live, baseline, deviation_pct },
        ),
    }
}
