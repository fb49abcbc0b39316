//! The thresholds that `why` moves, held against the rules on whole grids of values.

use std::collections::BTreeMap;
use std::sync::Arc;

use ephor_events::Seq;
use ephor_governance::event::{Event, PauseCause};
use ephor_governance::maturity::{self, Level};
use ephor_governance::policy::Policy;
use ephor_governance::strategy::{self, Command, Context, State};
use ephor_governance::system;
use ephor_governance::units::{Amount, Timestamp};
use ephor_governance::verdict::Action;
use ephor_replay::why::otherwise::Otherwise;
use ephor_replay::why::{Target, why};
use serde_json::Value;

use crate::world::{MOMENTUM, World, check, read, set_level};

/// Numbers that are the same on every run.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// The decimals of the grid that a field is moved on.
pub(crate) fn decimals(field: &str) -> u32 {
    match field {
        _ if field.contains("floors") => 6,
        _ if field.ends_with("_pct") || field.ends_with("_usd") || field.ends_with("irreversible_above") => 2,
        _ if field.ends_with("trades_min") || field.ends_with("streak") || field.ends_with("seconds_min") => 0,
        _ => 4,
    }
}

/// The policy with one field set, by its path in JSON: by another way than the answer's own; `None` where that
/// is no valid policy.
pub(crate) fn moved(policy: &Policy, field: &str, value: Amount) -> Option<Policy> {
    let mut json = serde_json::to_value(policy).unwrap();
    *place(&mut json, field) = written(place(&mut json, field), value);
    serde_json::from_value(json).ok().filter(|policy: &Policy| policy.validate().is_ok())
}

fn place<'a>(json: &'a mut Value, field: &str) -> &'a mut Value {
    let caps = ["L0_shadow", "L1_paper", "L2_gated", "L3_constrained", "L4_autonomous"];
    let mut path = field.replace(['.', '['], "/").replace(']', "");
    for (index, level) in caps.iter().enumerate() {
        path = path.replace(level, &index.to_string());
    }
    json.pointer_mut(&format!("/{path}")).unwrap()
}

/// A value as the field has it: an amount as text, the others as numbers.
fn written(like: &Value, value: Amount) -> Value {
    let text = value.normalized().decimal().to_string();
    if like.is_string() { text.into() } else { serde_json::from_str(&text).unwrap() }
}

fn otherwise(world: &World, seq: Seq) -> Otherwise {
    why(&world.reader(), &Target::Seq(seq)).unwrap().otherwise.unwrap()
}

#[test]
fn a_threshold_too_large_to_count_in_steps_is_left_out() {
    let mut policy = Policy::default();
    policy.impact_classifier.critical_notional_usd = read("100000000000000000000");
    let mut world = World::empty();
    world.adopt(policy.clone());
    world.register(MOMENTUM);
    let decided = world.check(MOMENTUM, "order-1", "10");
    let found = otherwise(&world, decided);
    assert!(!found.tried.contains(&"impact_classifier.critical_notional_usd"), "{:?}", found.tried);
    assert!(found.tried.contains(&"impact_classifier.high_notional_usd"), "{:?}", found.tried);

    policy.impact_classifier.high_notional_usd = policy.impact_classifier.critical_notional_usd;
    policy.impact_classifier.medium_notional_usd = read("79228162514264337593543950335");
    policy.impact_classifier.high_notional_usd = policy.impact_classifier.medium_notional_usd;
    policy.impact_classifier.critical_notional_usd = policy.impact_classifier.medium_notional_usd;
    policy.maturity.demotion_drawdown = read("0.0999999999999999999999999999");
    policy.maturity.promotion_seconds_min = u64::MAX;
    policy.health_score.sizing_floor = 1e-300;
    world.adopt(policy);
    let decided = world.check(MOMENTUM, "order-2", "10");
    let found = otherwise(&world, decided);
    assert!(found.tried.iter().all(|field| !field.ends_with("notional_usd")), "{:?}", found.tried);
    assert!(!found.tried.contains(&"health_score.sizing_floor"), "{:?}", found.tried);
    assert!(found.tried.contains(&"maturity.demotion_drawdown"), "{:?}", found.tried);
}

/// Whether an event like this one is among others: at least as severe, or an order let through like it.
fn among(event: &Event, others: &[Event]) -> bool {
    others.iter().any(|other| match (event, other) {
        (Event::MaturityTransitioned(asked), Event::MaturityTransitioned(found)) => {
            let falls = |transition: &maturity::Event| matches!(transition, maturity::Event::Demoted { .. });
            falls(asked) == falls(found)
        }
        (Event::DriftAlerted(asked), Event::DriftAlerted(found)) => {
            asked.comparison.metric == found.comparison.metric && found.comparison.band >= asked.comparison.band
        }
        (Event::StrategyPaused { .. }, Event::StrategyPaused { cause, .. }) => *cause == PauseCause::Drift,
        (Event::DecisionMade(asked), Event::DecisionMade(found)) if asked.action == Action::Allow => {
            found.action == Action::Allow
        }
        (Event::DecisionMade(asked), Event::DecisionMade(found)) => found.action >= asked.action,
        _ => false,
    })
}

/// A commit that has been made, and what it was made on.
struct Made {
    before: State,
    system: system::State,
    at: Timestamp,
    command: Command,
}

impl Made {
    fn averts(&self, event: &Event, policy: Policy) -> bool {
        let system = system::State { policy: Arc::new(policy), ..self.system.clone() };
        let context = Context { at: self.at, system: &system, drift: None };
        let events = strategy::decide(&self.before, &read(MOMENTUM), &self.command, &context);
        events.is_ok_and(|events| !among(event, &events))
    }
}

/// A policy with thresholds so close that most of them are met.
fn close(numbers: &mut Numbers) -> Policy {
    let mut policy = Policy::default();
    let mut share = |from: u64, to: u64| Amount::new(i64::try_from(from + numbers.below(to - from)).unwrap(), 2);
    policy.maturity.demotion_drawdown = share(2, 9);
    let cap = share(5, 50).to_f64();
    policy.maturity.sizing_caps = [0.0, 0.0, cap, cap + 0.2, if cap > 0.3 { 1.0 } else { 0.9 }];
    policy.drift_detector.reduce_multiplier = share(20, 90).to_f64();
    policy.impact_classifier.concentration_threshold = share(1, 9);
    policy.health_score.sizing_floor = share(5, 60).to_f64();
    policy.impact_classifier.critical_from = share(50, 65).to_f64();
    policy.impact_classifier.high_from = share(30, 50).to_f64();
    policy.impact_classifier.medium_notional_usd = share(50_000, 90_000);
    policy.impact_classifier.high_notional_usd = share(90_000, 150_000);
    policy.impact_classifier.critical_notional_usd = share(150_000, 300_000);
    policy.maturity.demotion_loss_streak = u32::try_from(2 + numbers.below(5)).unwrap();
    policy.maturity.promotion_trades_min = u32::try_from(3 + numbers.below(5)).unwrap();
    policy.drift_detector.trades_min = u32::try_from(2 + numbers.below(4)).unwrap();
    policy.drift_detector.window_trades = 12;
    policy.validate().unwrap();
    policy
}

/// Steps away from a value that are looked at: every one where it is near, and ever fewer further off.
fn distances() -> impl Iterator<Item = i64> {
    (1..=3).chain((2..44).step_by(3).map(|power| (1_i64 << power) + power % 3))
}

#[test]
fn the_outcome_changes_once_on_the_way_to_the_end_of_every_threshold_tried() {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    // Events by kind, and values found by field.
    let (mut events, mut found_by_field) = (BTreeMap::<&str, usize>::new(), BTreeMap::<&str, usize>::new());
    for round in 0..32 {
        let mut world = World::empty();
        let policy = close(&mut numbers);
        world.adopt(policy.clone());
        world.register(MOMENTUM);
        world.baseline(MOMENTUM);
        world.ask(MOMENTUM, &set_level(Level::ALL[[1, 3, 4, 3][round % 4]]));
        for step in 0..14 {
            // In some rounds health is no obstacle, so that what else an order meets is seen.
            let lost = round % 8 < 5 && numbers.below(10) < 5;
            let size = 5 + numbers.below(60) * if numbers.below(6) == 0 { 12 } else { 1 };
            let command = if step % 3 == 2 {
                check(&format!("order-{step}"), &(1 + numbers.below(40)).to_string())
            } else {
                world.trade(&format!("{}{size}", if lost { "-" } else { "" }))
            };
            let made = Made {
                before: world.strategies[&read(MOMENTUM)].0.clone(),
                system: world.system.1.clone(),
                at: world.at,
                command: command.clone(),
            };
            let first = world.tell(MOMENTUM, &command);
            for seq in first.0..=world.reader().head().seq.0 {
                let why = why(&world.reader(), &Target::Seq(Seq(seq))).unwrap();
                let Some(otherwise) = why.otherwise else { continue };
                let event = &why.event.0.event;
                *events.entry(event.name()).or_default() += 1;
                assert!(!otherwise.tried.is_empty());
                let alone = otherwise.policy.iter().filter_map(|other| match other.changes.as_slice() {
                    [change] => Some((change.field, change.recorded, change.nearest)),
                    _several => None,
                });
                let alone: Vec<_> = alone.collect();
                for field in &otherwise.tried {
                    for up in [true, false] {
                        let is_it = |(_, recorded, nearest): &(&str, Amount, Amount)| (nearest > recorded) == up;
                        let nearest =
                            alone.iter().filter(|one| one.0 == *field).find(|one| is_it(one)).map(|one| one.2);
                        *found_by_field.entry(field).or_default() += usize::from(nearest.is_some());
                        agrees(&made, event, &policy, field, up, nearest);
                    }
                }
            }
        }
    }
    let met = found_by_field.values().filter(|count| **count > 0).count();
    assert!(events.len() == 4 && events.values().all(|count| *count > 4) && met > 15, "{events:?} {found_by_field:?}");
}

/// Holds one side of a field against the rules: nothing before the nearest value averts, and everything from
/// there on does; where there is none, nothing does.
fn agrees(made: &Made, event: &Event, policy: &Policy, field: &'static str, up: bool, nearest: Option<Amount>) {
    let decimals = decimals(field);
    let mut json = serde_json::to_value(policy).unwrap();
    let recorded = place(&mut json, field).clone();
    let text = recorded.as_str().map_or_else(|| recorded.to_string(), str::to_owned);
    let recorded: Amount = read(&text);
    for from in [Some(recorded), nearest].into_iter().flatten() {
        for distance in distances() {
            for value in [from.plus(Amount::new(distance, decimals)), from.minus(Amount::new(distance, decimals))] {
                if value.is_negative() || (value > recorded) != up || value == recorded {
                    continue;
                }
                let Some(other) = moved(policy, field, value) else { continue };
                let expected = nearest.is_some_and(|nearest| if up { value >= nearest } else { value <= nearest });
                assert_eq!(
                    made.averts(event, other),
                    expected,
                    "{field} {value} instead of {recorded}, nearest {nearest:?}: {event:?}"
                );
            }
        }
    }
}
