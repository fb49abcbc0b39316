//! The nearest value of each threshold under which a commit would have come out without the event.
//!
//! A threshold is moved in steps of its own precision, to either side, as far as a valid policy goes. Where
//! the far end changes the outcome, the step at which it changes is found by halving: the commit is decided
//! again under the value given, and under the one a step nearer, which does not change it.

use std::sync::Arc;

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
    get: fn(&Policy) -> Amount,
    set: fn(&mut Policy, Amount),
    /// The least and the most that the policy around it lets it be.
    within: fn(&Policy) -> (Amount, Amount),
}

fn float(value: f64) -> Amount {
    Amount::from_f64(value).unwrap_or_default()
}

fn count(value: Amount) -> u32 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number held in range")]
    let count = value.to_f64().clamp(0.0, f64::from(u32::MAX)) as u32;
    count
}

fn whole(value: u32) -> Amount {
    Amount::from(i64::from(value))
}

macro_rules! amount {
    ($section:ident . $field:ident, $decimals:expr, $within:expr) => {
        Field {
            name: concat!(stringify!($section), ".", stringify!($field)),
            decimals: $decimals,
            get: |policy| policy.$section.$field,
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
            get: |policy| float(policy.$section.$field),
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
            get: |policy| whole(policy.$section.$field),
            set: |policy, value| policy.$section.$field = count(value),
            within: $within,
        }
    };
}

macro_rules! cap {
    ($level:expr, $name:expr, $next:expr) => {
        Field {
            name: $name,
            decimals: 4,
            get: |policy| float(policy.maturity.cap($level).get()),
            set: |policy, value| {
                let place = Level::ALL.iter().position(|level| *level == $level);
                if let Some(cap) = place.and_then(|place| policy.maturity.sizing_caps.get_mut(place)) {
                    *cap = value.to_f64();
                }
            },
            within: |policy| {
                (float(policy.maturity.cap($level.below()).get()), float(policy.maturity.cap($next).get()))
            },
        }
    };
}

const PCT_MAX: Amount = Amount::new(1_000_000, 0);
const NOTIONAL_MAX: Amount = Amount::new(1_000_000_000_000, 0);
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
                get: |policy| Amount::from(i64::try_from(policy.maturity.promotion_seconds_min).unwrap_or(i64::MAX)),
                set: |policy, value| policy.maturity.promotion_seconds_min = u64::from(count(value)),
                within: |_| (Amount::ZERO, whole(u32::MAX)),
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
        cap!(Level::Gated, "maturity.sizing_caps[L2_gated]", Level::Constrained),
        cap!(Level::Constrained, "maturity.sizing_caps[L3_constrained]", Level::Autonomous),
        amount!(impact_classifier.medium_notional_usd, 2, |policy| {
            (Amount::new(1, 2), policy.impact_classifier.high_notional_usd)
        }),
        amount!(impact_classifier.high_notional_usd, 2, |policy| {
            (policy.impact_classifier.medium_notional_usd, policy.impact_classifier.critical_notional_usd)
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

/// Every single threshold that could have been otherwise, the nearest first; several together where no
/// single one is enough.
pub(super) fn nearest(bench: &Bench, before: &State, target: &Recorded, asked: Asked) -> Vec<OtherPolicy> {
    let Some(system) = bench.systems.get(&target.system) else { return Vec::new() };
    let trial = Trial { bench, before, target, asked, system };
    let fields = fields(asked);
    let policy = &*system.policy;
    let mut found: Vec<(f64, OtherPolicy)> = Vec::new();
    for field in &fields {
        for up in [true, false] {
            if let Some(nearest) = trial.first_step(field, policy, up) {
                let change = Change { field: field.name, recorded: (field.get)(policy), nearest };
                found.push((distance(&change), OtherPolicy { changes: vec![change] }));
            }
        }
    }
    if found.is_empty() && asked == Asked::Demotion {
        return trial.together(&fields, policy).into_iter().collect();
    }
    found.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    found.into_iter().map(|(_, other)| other).collect()
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
        let context = Context { at: self.target.at, system: &system };
        let decided = strategy::decide(self.before, &self.bench.id, &self.target.command, &context);
        decided.is_ok_and(|events| !self.asked.among(&events))
    }

    fn averts_at(&self, field: &Field, policy: &Policy, value: Amount) -> bool {
        let mut other = policy.clone();
        (field.set)(&mut other, value);
        self.averts(&other)
    }

    /// The first value beyond the present one, on one side, that averts it; `None` where none does.
    fn first_step(&self, field: &Field, policy: &Policy, up: bool) -> Option<Amount> {
        let at = |step: i64| Amount::new(step, field.decimals);
        let present = (field.get)(policy);
        let (least, most) = (field.within)(policy);
        // The last step that is known to change nothing, and the end of the side.
        let (mut same, mut other) = if up {
            (step_below(present, field.decimals), step_below(most, field.decimals))
        } else {
            (
                -step_below(Amount::ZERO.minus(present), field.decimals),
                -step_below(Amount::ZERO.minus(least), field.decimals),
            )
        };
        let lies_beyond = if up { other > same } else { other < same };
        if !lies_beyond || !self.averts_at(field, policy, at(other)) {
            return None;
        }
        while same.abs_diff(other) > 1 {
            let middle = same + (other - same) / 2;
            if self.averts_at(field, policy, at(middle)) { other = middle } else { same = middle }
        }
        Some(at(other))
    }

    /// Every field at its most, then each brought back as far as it goes.
    fn together(&self, fields: &[Field], policy: &Policy) -> Option<OtherPolicy> {
        let mut loose = policy.clone();
        for field in fields {
            let (_, most) = (field.within)(policy);
            (field.set)(&mut loose, most);
        }
        if !self.averts(&loose) {
            return None;
        }
        let mut changes = Vec::new();
        for field in fields {
            let recorded = (field.get)(policy);
            let mut tight = loose.clone();
            (field.set)(&mut tight, recorded);
            if !self.averts(&tight) {
                let nearest = self.first_step(field, &tight, true)?;
                (field.set)(&mut tight, nearest);
                changes.push(Change { field: field.name, recorded, nearest });
            }
            loose = tight;
        }
        self.averts(&loose).then_some(OtherPolicy { changes })
    }
}

/// The number of whole steps in a value, downwards.
fn step_below(value: Amount, decimals: u32) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "thresholds are far smaller, and it is put right below")]
    let mut step = (value.to_f64() * 10_f64.powi(i32::try_from(decimals).unwrap_or(0))).floor() as i64;
    while Amount::new(step, decimals) > value {
        step -= 1;
    }
    while Amount::new(step.saturating_add(1), decimals) <= value {
        step += 1;
    }
    step
}
