//! The whole policy: every threshold there is, in one validated value.
//!
//! A policy is adopted by an event and known by its digest, so every decision can say under which
//! rules it was made. Its form in the log is canonical JSON with every field, not positional bytes:
//! an old policy must stay readable when fields are added.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::drift::Metric;
use crate::units::Amount;
use crate::{canary, drift, gate, health, impact, maturity, token};

/// The largest rolling window that a policy may ask for, trades.
pub const WINDOW_TRADES_MAX: u32 = 1_000;

/// Every threshold, one section a component.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// How verdicts are merged.
    pub gate: gate::Policy,
    /// The ladder.
    pub maturity: maturity::Policy,
    /// Health.
    pub health_score: health::Policy,
    /// Impact.
    pub impact_classifier: impact::Policy,
    /// Drift.
    pub drift_detector: drift::Policy,
    /// Tokens.
    pub execution_tokens: token::Policy,
    /// The canary.
    pub canary: canary::Policy,
}

/// Which field of a policy is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy field {field}: {problem}")]
pub struct PolicyError {
    /// Path of the field, `section.name`.
    pub field: &'static str,
    /// What was found and what would do.
    pub problem: String,
}

/// The first eight bytes of the BLAKE3 digest of a policy's canonical form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId(pub [u8; 8]);

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for PolicyId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for PolicyId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return <[u8; 8]>::deserialize(deserializer).map(Self);
        }
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let digits = Some(&*text).filter(|text| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit()));
        digits
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .map(|number| Self(number.to_be_bytes()))
            .ok_or_else(|| serde::de::Error::custom("a policy id is 16 hexadecimal digits"))
    }
}

impl Policy {
    /// The one text that stands for this policy: JSON, every field, in the order of declaration.
    ///
    /// Equal policies have one text, however their amounts were written.
    ///
    /// ```
    /// use ephor_governance::policy::Policy;
    /// let written: Policy = serde_json::from_str(r#"{"maturity": {"demotion_drawdown": "0.100"}}"#).unwrap();
    /// assert_eq!(written.id(), Policy::default().id());
    /// ```
    #[must_use]
    pub fn canonical(&self) -> String {
        // Only a map with keys that are no strings, or a failing writer, makes this fail; there is neither.
        serde_json::to_string(&self.normalized()).unwrap_or_default()
    }

    fn normalized(&self) -> Self {
        let mut policy = self.clone();
        let (ladder, impact) = (&mut policy.maturity, &mut policy.impact_classifier);
        let amounts = [
            &mut ladder.promotion_win_rate_above,
            &mut ladder.promotion_profit_factor_above,
            &mut ladder.demotion_drawdown,
            &mut impact.medium_notional_usd,
            &mut impact.high_notional_usd,
            &mut impact.critical_notional_usd,
            &mut impact.concentration_threshold,
            &mut impact.leverage_irreversible_above,
        ];
        for amount in amounts.into_iter().chain(impact.usd_per.values_mut()) {
            *amount = amount.normalized();
        }
        policy
    }

    /// What the policy is known by.
    #[must_use]
    pub fn id(&self) -> PolicyId {
        let digest = blake3::hash(self.canonical().as_bytes());
        let mut id = [0; 8];
        id.iter_mut().zip(digest.as_bytes()).for_each(|(to, from)| *to = *from);
        PolicyId(id)
    }

    /// Trades that a strategy's state has to keep for the windows of this policy.
    #[must_use]
    pub fn keep(&self) -> u32 {
        self.health_score.window_trades.max(self.drift_detector.window_trades)
    }

    /// Checks every field and every order between fields.
    ///
    /// ```
    /// use ephor_governance::policy::Policy;
    /// let mut policy = Policy::default();
    /// policy.drift_detector.pause_above_pct = 20.0;
    /// assert_eq!(policy.validate().unwrap_err().field, "drift_detector.pause_above_pct");
    /// ```
    ///
    /// # Errors
    /// The first field that is wrong, by name.
    pub fn validate(&self) -> Result<(), PolicyError> {
        self.validate_maturity()?;
        self.validate_health()?;
        self.validate_impact()?;
        self.validate_drift()?;
        let tokens = &self.execution_tokens;
        check(tokens.ttl_seconds_default >= 1, "execution_tokens.ttl_seconds_default", || "must be at least 1".into())?;
        check(tokens.ttl_seconds_max >= tokens.ttl_seconds_default, "execution_tokens.ttl_seconds_max", || {
            format!("{} is below ttl_seconds_default = {}", tokens.ttl_seconds_max, tokens.ttl_seconds_default)
        })?;
        check(tokens.active_max >= 1, "execution_tokens.active_max", || "must be at least 1".into())?;
        check(self.canary.interval_seconds >= 1, "canary.interval_seconds", || "must be at least 1".into())?;
        check(self.canary.failures_max >= 1, "canary.failures_max", || "must be at least 1".into())
    }

    fn validate_maturity(&self) -> Result<(), PolicyError> {
        let p = &self.maturity;
        check(p.promotion_trades_min >= 1, "maturity.promotion_trades_min", || "must be at least 1".into())?;
        amount_within(p.promotion_win_rate_above, Amount::ONE, "maturity.promotion_win_rate_above")?;
        amount_within(p.promotion_profit_factor_above, Amount::from(1_000), "maturity.promotion_profit_factor_above")?;
        amount_within(p.demotion_drawdown, Amount::ONE, "maturity.demotion_drawdown")?;
        check(p.demotion_drawdown.is_positive(), "maturity.demotion_drawdown", || "must be above 0".into())?;
        check(p.demotion_loss_streak >= 1, "maturity.demotion_loss_streak", || "must be at least 1".into())?;
        let mut before = 0.0;
        for cap in p.sizing_caps {
            within(cap, 0.0, 1.0, "maturity.sizing_caps")?;
            check(cap >= before, "maturity.sizing_caps", || {
                format!("{cap} is below the cap of the level beneath, {before}")
            })?;
            before = cap;
        }
        let [shadow, paper, ..] = p.sizing_caps;
        check(shadow <= 0.0 && paper <= 0.0, "maturity.sizing_caps", || {
            format!("L0 and L1 do not execute: their caps are 0, found {shadow} and {paper}")
        })
    }

    fn validate_health(&self) -> Result<(), PolicyError> {
        let p = &self.health_score;
        window(p.window_trades, "health_score.window_trades")?;
        within(p.debt_per_loss, 0.0, 1e6, "health_score.debt_per_loss")?;
        within(p.credit_per_win, 0.0, 1e6, "health_score.credit_per_win")?;
        within(p.recovery_rate, 0.0, 1.0, "health_score.recovery_rate")?;
        within(p.max_debt, 0.0, 1e9, "health_score.max_debt")?;
        check(p.max_debt > 0.0, "health_score.max_debt", || "must be above 0".into())?;
        within(p.max_credit, 0.0, 1e9, "health_score.max_credit")?;
        within(p.sizing_floor, 0.0, 1.0, "health_score.sizing_floor")
    }

    fn validate_impact(&self) -> Result<(), PolicyError> {
        let p = &self.impact_classifier;
        check(p.medium_notional_usd.is_positive(), "impact_classifier.medium_notional_usd", || {
            "must be above 0".into()
        })?;
        amounts_ordered(p.medium_notional_usd, p.high_notional_usd, "impact_classifier.high_notional_usd")?;
        amounts_ordered(p.high_notional_usd, p.critical_notional_usd, "impact_classifier.critical_notional_usd")?;
        amount_within(p.concentration_threshold, Amount::from(1_000), "impact_classifier.concentration_threshold")?;
        check(p.concentration_threshold.is_positive(), "impact_classifier.concentration_threshold", || {
            "must be above 0".into()
        })?;
        amount_within(
            p.leverage_irreversible_above,
            Amount::from(1_000),
            "impact_classifier.leverage_irreversible_above",
        )?;
        within(p.medium_from, 0.0, 1.0, "impact_classifier.medium_from")?;
        within(p.high_from, p.medium_from, 1.0, "impact_classifier.high_from")?;
        within(p.critical_from, p.high_from, 1.0, "impact_classifier.critical_from")?;
        check(p.required_levels.is_sorted(), "impact_classifier.required_levels", || {
            "a higher tier must not need a lower level".into()
        })?;
        check(p.usd_per.values().all(|rate| rate.is_positive()), "impact_classifier.usd_per", || {
            "a rate must be above 0".into()
        })
    }

    fn validate_drift(&self) -> Result<(), PolicyError> {
        let p = &self.drift_detector;
        window(p.window_trades, "drift_detector.window_trades")?;
        check(p.trades_min >= 2, "drift_detector.trades_min", || "must be at least 2".into())?;
        check(p.trades_min <= p.window_trades, "drift_detector.trades_min", || {
            format!("{} is more than window_trades = {}", p.trades_min, p.window_trades)
        })?;
        within(p.reduce_above_pct, 0.0, 1e6, "drift_detector.reduce_above_pct")?;
        within(p.pause_above_pct, p.reduce_above_pct, 1e6, "drift_detector.pause_above_pct")?;
        within(p.reduce_multiplier, 0.0, 1.0, "drift_detector.reduce_multiplier")?;
        let mut seen = Vec::new();
        for metric in &p.metrics_tracked {
            check(!seen.contains(&metric), "drift_detector.metrics_tracked", || {
                format!("{metric} stands there twice")
            })?;
            seen.push(metric);
        }
        let floor_ok = |(_, floor): (&Metric, &f64)| floor.is_finite() && *floor > 0.0;
        check(p.floors.iter().all(floor_ok), "drift_detector.floors", || "a floor must be above 0".into())
    }
}

fn check(holds: bool, field: &'static str, problem: impl FnOnce() -> String) -> Result<(), PolicyError> {
    if holds { Ok(()) } else { Err(PolicyError { field, problem: problem() }) }
}

fn within(value: f64, least: f64, most: f64, field: &'static str) -> Result<(), PolicyError> {
    check(value >= least && value <= most, field, || format!("must be from {least} to {most}, found {value}"))
}

fn amount_within(value: Amount, most: Amount, field: &'static str) -> Result<(), PolicyError> {
    check(!value.is_negative() && value <= most, field, || format!("must be from 0 to {most}, found {value}"))
}

fn amounts_ordered(lower: Amount, upper: Amount, field: &'static str) -> Result<(), PolicyError> {
    check(lower <= upper, field, || format!("{upper} is below the threshold beneath it, {lower}"))
}

fn window(trades: u32, field: &'static str) -> Result<(), PolicyError> {
    check((1..=WINDOW_TRADES_MAX).contains(&trades), field, || {
        format!("must be from 1 to {WINDOW_TRADES_MAX}, found {trades}")
    })
}

/// The form of a policy in the log: canonical text for bytes, an object for people.
pub(crate) mod recorded {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    use super::Policy;

    pub(crate) fn serialize<S: Serializer>(policy: &Arc<Policy>, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            policy.serialize(serializer)
        } else {
            policy.canonical().serialize(serializer)
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<Policy>, D::Error> {
        if deserializer.is_human_readable() {
            return Policy::deserialize(deserializer).map(Arc::new);
        }
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text).map(Arc::new).map_err(de::Error::custom)
    }
}
