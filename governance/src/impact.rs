//! Trade impact: how much harm one order could do, in four parts of a quarter each.
//!
//! What is not known counts at its worst, and the score says which parts those were: an order with
//! no price must not read as an order without risk.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::Currency;
use crate::maturity::Level;
use crate::order::Order;
use crate::units::Amount;
use crate::verdict::{Action, Component, Reason, Verdict};

/// How much is at stake, from the composite score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Below `medium_from`.
    #[serde(alias = "LOW")]
    Low,
    /// From `medium_from`.
    #[serde(alias = "MEDIUM")]
    Medium,
    /// From `high_from`.
    #[serde(alias = "HIGH")]
    High,
    /// From `critical_from`; needs a token at any level.
    #[serde(alias = "CRITICAL")]
    Critical,
}

impl Tier {
    /// The wire string.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// Bounds of the four parts and of the tiers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Notional from which the first step counts, US dollars.
    pub medium_notional_usd: Amount,
    /// Notional from which the second step counts, US dollars.
    pub high_notional_usd: Amount,
    /// Notional from which the last step counts, US dollars.
    pub critical_notional_usd: Amount,
    /// Position over equity at which concentration is full, a fraction.
    pub concentration_threshold: Amount,
    /// Leverage beyond which an order counts as hard to undo.
    pub leverage_irreversible_above: Amount,
    /// Score from which an order is `medium`.
    pub medium_from: f64,
    /// Score from which an order is `high`.
    pub high_from: f64,
    /// Score from which an order is `critical`.
    pub critical_from: f64,
    /// Level that each tier needs, `low` to `critical`.
    pub required_levels: [Level; 4],
    /// US dollars for one unit of each other currency. A currency that is not here is unknown.
    pub usd_per: BTreeMap<Currency, Amount>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            medium_notional_usd: Amount::new(25_000, 0),
            high_notional_usd: Amount::new(50_000, 0),
            critical_notional_usd: Amount::new(200_000, 0),
            concentration_threshold: Amount::new(15, 2),
            leverage_irreversible_above: Amount::new(3, 0),
            medium_from: 0.25,
            high_from: 0.50,
            critical_from: 0.75,
            required_levels: [Level::Gated, Level::Gated, Level::Constrained, Level::Autonomous],
            usd_per: BTreeMap::new(),
        }
    }
}

/// What the classifier looks at. `None` is "not known" and counts at its worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Order value, US dollars.
    pub notional_usd: Option<Amount>,
    /// Value of the position after the order, in the currency of `equity`.
    pub exposure: Option<Amount>,
    /// Account equity.
    pub equity: Option<Amount>,
    /// Leverage of the account with the order.
    pub leverage: Option<Amount>,
    /// Positions open before the order.
    pub open_positions: Option<u32>,
    /// The order can only reduce.
    pub reduce_only: bool,
}

/// What is known of the account an order belongs to, from the order itself or from the record.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// Value of one unit at a price of one.
    pub multiplier: Amount,
    /// What the order is priced in; `None` makes its value unknown.
    pub currency: Option<&'a Currency>,
    /// Equity before the order.
    pub equity: Option<Amount>,
    /// Signed position in the instrument before the order.
    pub position_qty: Option<Amount>,
    /// Positions open before the order.
    pub open_positions: Option<u32>,
}

impl Facts {
    /// Gathers what the order and the account say.
    ///
    /// The larger of the engine's own notional and quantity x price x multiplier counts. Leverage
    /// that is not given is the exposure after the order over equity, at least one.
    /// A price of nothing says nothing of the risk: it counts as unknown.
    #[must_use]
    pub fn gather(order: &Order, account: &Account<'_>, policy: &Policy) -> Self {
        let price_each =
            order.price.filter(|price| !price.is_zero()).and_then(|price| price.abs().times(account.multiplier));
        let computed = price_each.and_then(|each| each.times(order.qty));
        let notional = match (computed, order.notional) {
            (Some(computed), Some(given)) => Some(computed.max(given.abs())),
            (computed, given) => computed.or(given.map(Amount::abs)),
        };
        let exposure = account.position_qty.and_then(|before| price_each?.times(before.plus(order.signed_qty()).abs()));
        let equity = account.equity.filter(|equity| equity.is_positive());
        let leverage = order.leverage.or_else(|| {
            let ratio = exposure?.decimal().checked_div(equity?.decimal())?;
            Some(Amount::from(ratio).max(Amount::ONE))
        });
        Self {
            notional_usd: notional.and_then(|value| in_usd(value, account.currency, policy)),
            exposure,
            equity,
            leverage,
            open_positions: account.open_positions,
            reduce_only: order.reduce_only,
        }
    }
}

fn in_usd(value: Amount, currency: Option<&Currency>, policy: &Policy) -> Option<Amount> {
    match currency {
        None => None,
        Some(code) if code.as_str() == "USD" => Some(value),
        Some(code) => policy.usd_per.get(code).and_then(|rate| value.times(*rate)),
    }
}

/// An amount in another currency, through US dollars; `None` where a rate is missing.
pub(crate) fn converted(value: Amount, from: &Currency, to: &Currency, policy: &Policy) -> Option<Amount> {
    if from == to {
        return Some(value);
    }
    let usd = in_usd(value, Some(from), policy)?;
    usd.decimal().checked_div(in_usd(Amount::ONE, Some(to), policy)?.decimal()).map(Amount::from)
}

/// The four parts, each 0 to 0.25, their sum, and what had to be assumed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each says of one input that it had to be assumed")]
pub struct Score {
    /// By value.
    pub notional: f64,
    /// By share of equity in one instrument.
    pub concentration: f64,
    /// By leverage and open positions.
    pub blast_radius: f64,
    /// By how hard it is to undo.
    pub irreversibility: f64,
    /// The sum.
    pub total: f64,
    /// Order value in US dollars was not known.
    pub notional_unknown: bool,
    /// Position or equity was not known.
    pub concentration_unknown: bool,
    /// Leverage was not known.
    pub leverage_unknown: bool,
    /// Open positions were not known.
    pub positions_unknown: bool,
}

/// Scores an order's facts.
///
/// ```
/// use ephor_governance::impact::{self, Facts, Tier};
/// use ephor_governance::units::Amount;
/// let policy = impact::Policy::default();
/// let facts = Facts {
///     notional_usd: Some(Amount::from(1_000)), exposure: Some(Amount::from(1_000)), equity: Some(Amount::from(100_000)),
///     leverage: Some(Amount::ONE), open_positions: Some(0), reduce_only: true,
/// };
/// let score = impact::score(&facts, &policy);
/// assert!((score.total - 0.1167).abs() < 0.0001);
/// assert_eq!(impact::tier(score.total, &policy), Tier::Low);
/// ```
#[must_use]
pub fn score(facts: &Facts, policy: &Policy) -> Score {
    // Counted in hundredths, which add up exactly: with 0.05 + 0.25 + 0.15 + 0.05 a sum of one half would not.
    let notional = facts.notional_usd.map_or(25.0, |usd| {
        if usd >= policy.critical_notional_usd {
            25.0
        } else if usd >= policy.high_notional_usd {
            20.0
        } else if usd >= policy.medium_notional_usd {
            10.0
        } else {
            5.0
        }
    });
    let share = facts.exposure.zip(facts.equity);
    let concentration = share.map_or(25.0, |(exposure, equity)| {
        let full = policy.concentration_threshold.times_saturating(equity);
        if exposure >= full {
            25.0
        } else if exposure.plus(exposure) >= full {
            15.0
        } else {
            exposure.to_f64() / full.to_f64() * 25.0
        }
    });
    let by_leverage = facts.leverage.map_or(15.0, |leverage| within(15.0, leverage.minus(Amount::ONE).to_f64() * 3.0));
    let by_positions = facts.open_positions.map_or(10.0, |open| within(10.0, f64::from(open) * 2.0));
    let blast_radius = by_leverage + by_positions;
    let irreversibility = if facts.reduce_only {
        5.0
    } else if facts.leverage.is_none_or(|leverage| leverage > policy.leverage_irreversible_above) {
        25.0
    } else {
        15.0
    };
    Score {
        notional: notional / 100.0,
        concentration: concentration / 100.0,
        blast_radius: blast_radius / 100.0,
        irreversibility: irreversibility / 100.0,
        total: (notional + concentration + blast_radius + irreversibility) / 100.0,
        notional_unknown: facts.notional_usd.is_none(),
        concentration_unknown: share.is_none(),
        leverage_unknown: facts.leverage.is_none(),
        positions_unknown: facts.open_positions.is_none(),
    }
}

fn within(most: f64, value: f64) -> f64 {
    if value > most {
        most
    } else if value > 0.0 {
        value
    } else {
        0.0
    }
}

/// The tier of a composite score.
#[must_use]
pub fn tier(total: f64, policy: &Policy) -> Tier {
    if total >= policy.critical_from {
        Tier::Critical
    } else if total >= policy.high_from {
        Tier::High
    } else if total >= policy.medium_from {
        Tier::Medium
    } else {
        Tier::Low
    }
}

/// What an order's impact says at this level; `approved` is whether a token covers the order.
#[must_use]
pub fn assess(facts: &Facts, level: Level, approved: bool, policy: &Policy) -> (Verdict, Tier) {
    let score = score(facts, policy);
    let tier = tier(score.total, policy);
    let [low, medium, high, critical] = policy.required_levels;
    let required = match tier {
        Tier::Low => low,
        Tier::Medium => medium,
        Tier::High => high,
        Tier::Critical => critical,
    };
    let verdict = if level < required {
        Verdict::reject(Component::Impact, Action::Block, Reason::ImpactAboveLevel { tier, required, level, score })
    } else if tier == Tier::Critical && !approved {
        Verdict::reject(Component::Impact, Action::Block, Reason::ImpactApprovalRequired { tier, score })
    } else {
        Verdict::allow(Component::Impact, Reason::ImpactWithinLevel { tier, score })
    };
    (verdict, tier)
}
