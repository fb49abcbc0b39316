//! The nearest value of each threshold under which a commit would have come out without the event.
//!
//! A threshold is moved in steps of its own precision, to either side, as far as a valid policy goes. Where
//! the far end changes the outcome, the step at which it changes is found by halving: the commit is decided
//! again under the value given, and under the one a step nearer, which does not change it.
//!
//! That this is the nearest value rests on an assumption: between the present value and the far end the
//! outcome changes at most once. It is tested for the fields here; one for which it does not hold, such as
//! the length of a window, must not be among them. A value that cannot be counted in steps, because it is
//! too large for it or too fine for a decimal, is left out, and the answer names what was tried.

use std::sync::Arc;

use ephor_governance::drift::Metric;
use ephor_governance::maturity::Level;
use ephor_governance::policy::Policy;
use ephor_governance::strategy::{self, Context, State};
use ephor_governance::system;
use ephor_governance::units::Amount;

use super::{Asked, Bench, Change, OtherPolicy, Recorded};

/// A threshold of the policy as a number on a grid.
struct Field {
    name: &'static str,
    /// Decimals of the grid.
    decimals: u32,
    /// `None` where the policy has no such value, or one that is no decimal.
    get: fn(&Policy) -> Option<Amount>,
    set: fn(&mut Policy, Amount),
    /// The least and the most that the policy around it lets it be.
    within: fn(&Policy) -> (Amount, Amount),
}

fn float(value: f64) -> Amount {
    Amount::from_f64(value).unwrap_or_default()
}

fn count<N: TryFrom<i64>>(value: Amount, most: N) -> N {
    steps_below(value, 0).and_then(|steps| N::try_from(steps).ok()).unwrap_or(most)
}

fn whole(value: u32) -> Amount {
    Amount::from(i64::from(value))
}

macro_rules! amount {
    ($section:ident . $field:ident, $decimals:expr, $within:expr) => {
        Field {
            name: concat!(stringify!($section), ".", stringify!($field)),
            decimals: $decimals,
            get: |policy| Some(policy.$section.$field),
            set: |policy, value| policy.$section.$field = value,
            within: $within,
        }
    };
}

macro_rules! ratio {
    ($section:ident . $field:ident, $decimals:expr, $within:expr) => {
        Field {
            name: concat!(stringify!($section), ".", stringify!($field)),
            decimals: $decimals,
            get: |policy| Amount::from_f64(policy.$section.$field),
            set: |policy, value| policy.$section.$field = value.to_f64(),
            within: $within,
        }
    };
}

macro_rules! number {
    ($section:ident . $field:ident, $within:expr) => {
        Field {
            name: concat!(stringify!($section), ".", stringify!($field)),
            decimals: 0,
            get: |policy| Some(whole(policy.$section.$field)),
            set: |policy, value| policy.$section.$field = count(value, u32::MAX),
            within: $within,
        }
    };
}

macro_rules! cap {
    ($level:expr, $name:expr, $most:expr) => {
        Field {
            name: $name,
            decimals: 4,
            get: |policy| Amount::from_f64(policy.maturity.cap($level).get()),
            set: |policy, value| {
                let place = Level::ALL.iter().position(|level| *level == $level);
                if let Some(cap) = place.and_then(|place| policy.maturity.sizing_caps.get_mut(place)) {
                    *cap = value.to_f64();
                }
            },
            within: |policy| (float(policy.maturity.cap($level.below()).get()), ($most)(policy)),
        }
    };
}

macro_rules! floor {
    ($metric:expr, $name:expr) => {
        Field {
            name: $name,
            decimals: 6,
            get: |policy| {
                let drift = &policy.drift_detector;
                let floor = drift.floors.get(&$metric).filter(|_| drift.metrics_tracked.contains(&$metric));
                floor.and_then(|floor| Amount::from_f64(*floor))
            },
            set: |policy, value| {
                policy.drift_detector.floors.insert($metric, value.to_f64());
            },
            within: |_| (Amount::new(1, 6), FLOOR_MAX),
        }
    };
}

const PCT_MAX: Amount = Amount::new(1_000_000, 0);
const FLOOR_MAX: Amount = Amount::new(1_000_000, 0);
const NOTIONAL_MAX: Amount = Amount::new(1_000_000_000_000, 0);
/// Longer than all of time, in seconds.
const SECONDS_MAX: Amount = Amount::new(100_000_000_000, 0);
const UNIT: (Amount, Amount) = (Amount::ZERO, Amount::ONE);

/// The fields that a kind of event can rest on.
fn fields(asked: Asked) -> Vec<Field> {
    let promotion = || {
        vec![
            number!(maturity.promotion_trades_min, |_| (Amount::ONE, whole(u32::MAX))),
            amount!(maturity.promotion_win_rate_above, 4, |_| UNIT),
            amount!(maturity.promotion_profit_factor_above, 4, |_| (Amount::ZERO, Amount::new(1_000, 0))),
            Field {
                name: "maturity.promotion_seconds_min",
                decimals: 0,
                get: |policy| i64::try_from(policy.maturity.promotion_seconds_min).ok().map(Amount::from),
                set: |policy, value| policy.maturity.promotion_seconds_min = count(value, u64::MAX),
                within: |_| (Amount::ZERO, SECONDS_MAX),
            },
        ]
    };
    let demotion = || {
        vec![
            amount!(maturity.demotion_drawdown, 4, |_| (Amount::new(1, 4), Amount::ONE)),
            number!(maturity.demotion_loss_streak, |_| (Amount::ONE, whole(u32::MAX))),
        ]
    };
    let drift = || {
        vec![
            ratio!(drift_detector.reduce_above_pct, 2, |policy| {
                (Amount::ZERO, float(policy.drift_detector.pause_above_pct))
            }),
            ratio!(drift_detector.pause_above_pct, 2, |policy| {
                (float(policy.drift_detector.reduce_above_pct), PCT_MAX)
            }),
            number!(drift_detector.trades_min, |policy| {
                (Amount::new(2, 0), whole(policy.drift_detector.window_trades))
            }),
            floor!(Metric::WinRate, "drift_detector.floors[win_rate]"),
            floor!(Metric::AvgRr, "drift_detector.floors[avg_rr]"),
            floor!(Metric::Sharpe, "drift_detector.floors[sharpe]"),
            floor!(Metric::ProfitFactor, "drift_detector.floors[profit_factor]"),
            floor!(Metric::Expectancy, "drift_detector.floors[expectancy]"),
            floor!(Metric::AvgReturn, "drift_detector.floors[avg_return]"),
            floor!(Metric::MaxDrawdown, "drift_detector.floors[max_drawdown]"),
        ]
    };
    match asked {
        Asked::Demotion => demotion(),
        Asked::Promotion => promotion(),
        Asked::DriftPause | Asked::Drift(..) => drift(),
        Asked::Decision(_) => {
            let mut all = demotion();
            all.extend(drift());
            all.extend(gate());
            all
        }
    }
}

/// What else an order is held against.
fn gate() -> Vec<Field> {
    vec![
        ratio!(health_score.sizing_floor, 4, |_| UNIT),
        ratio!(drift_detector.reduce_multiplier, 4, |_| UNIT),
        cap!(Level::Gated, "maturity.sizing_caps[L2_gated]", |policy: &Policy| float(
            policy.maturity.cap(Level::Constrained).get()
        )),
        cap!(Level::Constrained, "maturity.sizing_caps[L3_constrained]", |policy: &Policy| float(
            policy.maturity.cap(Level::Autonomous).get()
        )),
        cap!(Level::Autonomous, "maturity.sizing_caps[L4_autonomous]", |_: &Policy| Amount::ONE),
        amount!(impact_classifier.medium_notional_usd, 2, |policy| {
            (Amount::new(1, 2), policy.impact_classifier.high_notional_usd.min(NOTIONAL_MAX))
        }),
        amount!(impact_classifier.high_notional_usd, 2, |policy| {
            (
                policy.impact_classifier.medium_notional_usd,
                policy.impact_classifier.critical_notional_usd.min(NOTIONAL_MAX),
            )
        }),
        amount!(impact_classifier.critical_notional_usd, 2, |policy| {
            (policy.impact_classifier.high_notional_usd, NOTIONAL_MAX)
        }),
        amount!(impact_classifier.concentration_threshold, 4, |_| (Amount::new(1, 4), Amount::new(1_000, 0))),
        amount!(impact_classifier.leverage_irreversible_above, 2, |_| (Amount::ZERO, Amount::new(1_000, 0))),
        ratio!(impact_classifier.medium_from, 4, |policy| {
            (Amount::ZERO, float(policy.impact_classifier.high_from))
        }),
        ratio!(impact_classifier.high_from, 4, |policy| {
            (float(policy.impact_classifier.medium_from), float(policy.impact_classifier.critical_from))
        }),
        ratio!(impact_classifier.critical_from, 4, |policy| {
            (float(policy.impact_classifier.high_from), Amount::ONE)
        }),
    ]
}

/// Every single threshold that could have been otherwise, the nearest first, or several together where no
/// single one is enough; and the fields that were tried.
pub(super) fn nearest(
    bench: &Bench,
    before: &State,
    target: &Recorded,
    asked: Asked,
) -> (Vec<OtherPolicy>, Vec<&'static str>) {
    let Some(system) = bench.systems.get(&target.system) else { return (Vec::new(), Vec::new()) };
    let trial = Trial { bench, before, target, asked, system };
    let policy = &*system.policy;
    let ranges: Vec<Range> = fields(asked).into_iter().filter_map(|field| Range::of(field, policy)).collect();
    let mut found: Vec<(f64, OtherPolicy)> = Vec::new();
    for range in &ranges {
        for up in [true, false] {
            if let Some(nearest) = trial.first_step(range, policy, up) {
                let change = Change { field: range.field.name, recorded: range.recorded, nearest };
                found.push((distance(&change), OtherPolicy { changes: vec![change] }));
            }
        }
    }
    found.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let mut found: Vec<OtherPolicy> = found.into_iter().map(|(_, other)| other).collect();
    if found.is_empty() && asked == Asked::Demotion {
        found.extend(trial.together(&ranges, policy));
    }
    (found, ranges.iter().map(|range| range.field.name).collect())
}

/// A field that can be counted in steps, from end to end.
struct Range {
    field: Field,
    recorded: Amount,
    /// The last step at or below the recorded value, and the first at or above it.
    around: (i64, i64),
    /// The least and the most.
    ends: (i64, i64),
}

impl Range {
    fn of(field: Field, policy: &Policy) -> Option<Self> {
        let recorded = (field.get)(policy)?;
        let (least, most) = (field.within)(policy);
        let decimals = field.decimals;
        let around = (steps_below(recorded, decimals)?, steps_above(recorded, decimals)?);
        let ends = (steps_above(least, decimals)?, steps_below(most, decimals)?);
        Some(Self { field, recorded, around, ends })
    }

    const fn value(&self, step: i64) -> Amount {
        Amount::new(step, self.field.decimals)
    }
}

/// How far a value was moved, as a share of itself.
fn distance(change: &Change) -> f64 {
    let from = change.recorded.to_f64();
    (change.nearest.to_f64() - from).abs() / if from == 0.0 { 1.0 } else { from.abs() }
}

struct Trial<'a> {
    bench: &'a Bench,
    before: &'a State,
    target: &'a Recorded,
    asked: Asked,
    system: &'a system::State,
}

impl Trial<'_> {
    /// Whether the commit comes out without the event under a policy; not where the policy is no valid one.
    fn averts(&self, policy: &Policy) -> bool {
        if policy.validate().is_err() {
            return false;
        }
        let system = system::State { policy: Arc::new(policy.clone()), policy_id: policy.id(), ..self.system.clone() };
        let context = Context { at: self.target.at, system: &system, drift: None };
        let decided = strategy::decide(self.before, &self.bench.id, &self.target.command, &context);
        decided.is_ok_and(|events| !self.asked.among(&events))
    }

    fn averts_at(&self, range: &Range, policy: &Policy, step: i64) -> bool {
        let mut other = policy.clone();
        (range.field.set)(&mut other, range.value(step));
        self.averts(&other)
    }

    /// The first value beyond the present one, on one side, that averts it; `None` where the far end does not.
    ///
    /// It is the first one where the outcome changes at most once between the two. Where it does not, the value
    /// given still averts it and the one before does not, but a nearer one may; and where only the far end does
    /// not avert it, none is found.
    fn first_step(&self, range: &Range, policy: &Policy, up: bool) -> Option<Amount> {
        // The last step that is known to change nothing, and the end of the side.
        let (mut same, mut other) = if up { (range.around.0, range.ends.1) } else { (range.around.1, range.ends.0) };
        let lies_beyond = if up { other > same } else { other < same };
        if !lies_beyond || !self.averts_at(range, policy, other) {
            return None;
        }
        while same.abs_diff(other) > 1 {
            let middle = same.midpoint(other);
            if self.averts_at(range, policy, middle) { other = middle } else { same = middle }
        }
        Some(range.value(other))
    }

    /// Every field at its most, then each brought back as far as it goes.
    fn together(&self, ranges: &[Range], policy: &Policy) -> Option<OtherPolicy> {
        let mut loose = policy.clone();
        for range in ranges {
            (range.field.set)(&mut loose, range.value(range.ends.1));
        }
        if !self.averts(&loose) {
            return None;
        }
        let mut changes = Vec::new();
        for range in ranges {
            let recorded = range.recorded;
            let mut tight = loose.clone();
            (range.field.set)(&mut tight, recorded);
            if !self.averts(&tight) {
                let nearest = self.first_step(range, &tight, true)?;
                (range.field.set)(&mut tight, nearest);
                changes.push(Change { field: range.field.name, recorded, nearest });
            }
            loose = tight;
        }
        self.averts(&loose).then_some(OtherPolicy { changes })
    }
}

/// The number of whole steps in a value, downwards; `None` where it does not fit.
fn steps_below(value: Amount, decimals: u32) -> Option<i64> {
    let (units, scale) = (value.decimal().mantissa(), value.decimal().scale());
    let steps = match scale.checked_sub(decimals) {
        Some(finer) => units.div_euclid(10_i128.checked_pow(finer)?),
        None => units.checked_mul(10_i128.checked_pow(decimals - scale)?)?,
    };
    i64::try_from(steps).ok()
}

/// The number of whole steps in a value, upwards; `None` where it does not fit.
fn steps_above(value: Amount, decimals: u32) -> Option<i64> {
    steps_below(Amount::ZERO.minus(value), decimals)?.checked_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_counted_exactly_or_not_at_all() {
        let steps = |text: &str, decimals| {
            let value: Amount = text.parse().unwrap();
            (steps_below(value, decimals), steps_above(value, decimals))
        };
        assert_eq!(steps("0.1", 4), (Some(1_000), Some(1_000)));
        assert_eq!(steps("0.9999999999999999999999999999", 4), (Some(9_999), Some(10_000)));
        assert_eq!(steps("-0.00001", 4), (Some(-1), Some(0)));
        assert_eq!(steps("92233720368547758.07", 2), (Some(i64::MAX), Some(i64::MAX)));
        assert_eq!(steps("92233720368547758.071", 2), (Some(i64::MAX), None));
        assert_eq!(steps("92233720368547758.08", 2), (None, None));
        assert_eq!(steps("79228162514264337593543950335", 6), (None, None));
        assert_eq!(steps("0.0000000000000000000000000001", 0), (Some(0), Some(1)));
    }
}
