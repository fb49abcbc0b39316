//! Drift: bounds, floors, edges, the pause and its end.

use ephor_governance::drift::{self, Band, Direction, Edge, Metric, Policy};
use ephor_governance::event::{Event, PauseCause};
use ephor_governance::maturity::Level;
use ephor_governance::strategy::Command;
use ephor_governance::verdict::{Action, Component, Reason};

use crate::given::{World, assert_close, baseline, order, read, reason_of};

fn deviation(metric: Metric, live: f64, promised: f64) -> f64 {
    drift::deviation_pct(metric, live, promised, &Policy::default())
}

#[test]
fn deviation_is_the_adverse_distance_over_the_baseline() {
    assert_close(deviation(Metric::WinRate, 0.35, 0.5), 30.0, 1e-9, "worse");
    assert_close(deviation(Metric::WinRate, 0.65, 0.5), 0.0, 0.0, "better");
    assert_close(deviation(Metric::MaxDrawdown, 0.15, 0.10), 50.0, 1e-9, "a deeper fall is worse");
    assert_close(deviation(Metric::MaxDrawdown, 0.05, 0.10), 0.0, 0.0, "a shallower one is not");
}

#[test]
fn in_both_directions_better_than_the_backtest_counts_too() {
    let both = Policy { direction: Direction::Both, ..Policy::default() };
    assert_close(drift::deviation_pct(Metric::WinRate, 0.65, 0.5, &both), 30.0, 1e-9, "better");
}

#[test]
fn a_baseline_near_zero_is_held_away_from_zero_by_its_floor() {
    assert_close(deviation(Metric::WinRate, 0.0, 0.01), 20.0, 1e-9, "floor 0.05");
    assert_close(deviation(Metric::ProfitFactor, 0.0, 0.1), 50.0, 1e-9, "floor 0.2");
    assert_close(deviation(Metric::AvgRr, -0.05, 0.0), 50.0, 1e-9, "floor 0.1");
    assert_close(deviation(Metric::Sharpe, -0.04, -0.01), 60.0, 1e-9, "floor 0.05");
}

#[test]
fn a_deviation_is_always_a_finite_number() {
    for metric in [Metric::WinRate, Metric::MaxDrawdown] {
        let pct = drift::deviation_pct(
            metric,
            f64::MIN,
            f64::MAX,
            &Policy { direction: Direction::Both, ..Policy::default() },
        );
        assert!(pct.is_finite());
    }
}

/// A strategy at the top with a promised win rate, and what followed from its last trade.
fn traded(promised: f64, wins: usize, losses: usize) -> (World, Vec<Event>) {
    let mut world = World::at_level(Level::Autonomous);
    world.tell(&Command::RecordBaseline(baseline(&[(Metric::WinRate, promised)]))).unwrap();
    world.close_many(wins, "1");
    let events = (0..losses).flat_map(|_| world.close("-1")).collect();
    (world, events)
}

fn edges(events: &[Event]) -> Vec<(Edge, Band)> {
    let edge = |event: &Event| match event {
        Event::DriftAlerted(alert) => Some((alert.edge, alert.comparison.band)),
        _other => None,
    };
    events.iter().filter_map(edge).collect()
}

#[test]
fn nothing_is_compared_before_twenty_trades() {
    let (mut world, events) = traded(1.0, 9, 10);
    assert_eq!(edges(&events), []);
    let decision = world.clone().check(order("order-1"));
    let expected = Reason::DriftSampleTooSmall { trades: 19, trades_min: 20 };
    assert_eq!(*reason_of(&decision, Component::Drift), expected);
    assert_eq!(edges(&world.close("1")), [(Edge::Entered, Band::Reduce)]);
}

#[test]
fn exactly_thirty_percent_is_within_bounds_and_beyond_it_orders_shrink() {
    // Half of twenty won, of a promise of five eighths: exactly 20 % off, to the last bit.
    let (mut within, _) = traded(0.625, 10, 10);
    let mut policy = ephor_governance::policy::Policy::default();
    policy.drift_detector.reduce_above_pct = 20.0;
    within.adopt(policy);
    let decision = within.check(order("order-1"));
    let expected = Reason::DriftWithinBounds { metric: Metric::WinRate, deviation_pct: 20.0 };
    assert_eq!(*reason_of(&decision, Component::Drift), expected);

    let (mut beyond, events) = traded(0.72, 10, 10);
    assert_eq!(edges(&events), [(Edge::Entered, Band::Reduce)]);
    let decision = beyond.check(order("order-1"));
    assert!(matches!(reason_of(&decision, Component::Drift), Reason::DriftBeyondReduce { .. }));
    assert!(decision.multiplier.get() <= 0.5);
}

#[test]
fn beyond_fifty_percent_it_pauses_and_stays_so_until_a_person_resumes() {
    let (mut world, events) = traded(0.9, 8, 12);
    assert!(events.iter().any(|event| matches!(event, Event::StrategyPaused { cause: PauseCause::Drift, .. })));
    assert_eq!(world.check(order("order-1")).action, Action::Pause);

    // It clears, and the pause is still there.
    world.close_many(80, "1");
    assert!(world.state.drift.beyond.is_empty());
    assert_eq!(world.check(order("order-2")).action, Action::Pause);

    world.tell(&Command::Resume { by: read("alice"), reason: "looked at it".into() }).unwrap();
    assert_ne!(world.check(order("order-3")).action, Action::Pause);
}

#[test]
fn after_a_person_has_resumed_the_same_drift_only_makes_orders_smaller() {
    let (mut world, _) = traded(0.9, 8, 12);
    world.tell(&Command::Resume { by: read("alice"), reason: "looked at it".into() }).unwrap();
    assert_eq!(world.check(order("order-1")).action, Action::ReduceSize);
    // A further loss in the same band is no new edge.
    let events = world.close("-1");
    assert_eq!(edges(&events), []);
    assert!(world.state.pauses.is_empty());
}

#[test]
fn drift_that_eases_and_comes_back_pauses_again() {
    let (mut world, _) = traded(0.9, 8, 12);
    world.tell(&Command::Resume { by: read("alice"), reason: "looked at it".into() }).unwrap();
    let eased: Vec<Event> = (0..6).flat_map(|_| world.close("1")).collect();
    assert_eq!(edges(&eased), [(Edge::Eased, Band::Reduce)]);
    let worsened: Vec<Event> = (0..9).flat_map(|_| world.close("-1")).collect();
    assert_eq!(edges(&worsened), [(Edge::Worsened, Band::Pause)]);
    assert!(world.state.pauses.contains_key(&PauseCause::Drift));
}

#[test]
fn with_auto_resume_the_pause_ends_with_the_drift_and_an_operators_pause_does_not() {
    let mut policy = ephor_governance::policy::Policy::default();
    policy.drift_detector.auto_resume = true;
    let (mut world, _) = traded(0.9, 8, 12);
    world.adopt(policy);
    world.tell(&Command::Pause { by: read("alice"), reason: "holiday".into() }).unwrap();
    world.close_many(80, "1");
    assert_eq!(world.state.pauses.keys().copied().collect::<Vec<_>>(), [PauseCause::Operator]);
}

#[test]
fn a_metric_without_a_value_has_not_come_back() {
    // Given a pause for the profit factor over twenty trades,
    let mut policy = ephor_governance::policy::Policy::default();
    policy.drift_detector.auto_resume = true;
    policy.drift_detector.window_trades = 20;
    let mut world = World::at_level(Level::Autonomous);
    world.adopt(policy.clone());
    let promised = [(Metric::WinRate, 0.6), (Metric::ProfitFactor, 2.0)];
    world.tell(&Command::RecordBaseline(baseline(&promised))).unwrap();
    world.close_many(12, "1");
    world.close_many(8, "-50");
    assert_eq!(world.state.drift.beyond.get(&Metric::ProfitFactor), Some(&Band::Pause));
    // when no loss is left in the window, there is no profit factor, and the pause stays,
    world.close_many(20, "1");
    assert!(world.state.pauses.contains_key(&PauseCause::Drift));
    // until it is not promised any more, or not compared.
    let mut elsewhere = world.clone();
    world.tell(&Command::RecordBaseline(baseline(&promised[..1]))).unwrap();
    assert!(world.state.pauses.is_empty());
    policy.drift_detector.metrics_tracked = vec![Metric::WinRate];
    elsewhere.adopt(policy);
    elsewhere.close("1");
    assert!(elsewhere.state.pauses.is_empty());
}

#[test]
fn a_pause_found_by_a_stricter_policy_at_an_order_is_latched_with_it() {
    // Given drift within the bounds of the policy in force, when a stricter one comes,
    let (mut world, _) = traded(0.625, 10, 10);
    let mut policy = ephor_governance::policy::Policy::default();
    policy.drift_detector.reduce_above_pct = 5.0;
    policy.drift_detector.pause_above_pct = 10.0;
    world.adopt(policy);
    // then the next order finds it, and the pause is there for an operator to end.
    assert_eq!(world.check(order("order-1")).action, Action::Pause);
    assert!(world.state.pauses.contains_key(&PauseCause::Drift));
    world.tell(&Command::Resume { by: read("alice"), reason: "looked at it".into() }).unwrap();
    assert_eq!(world.check(order("order-2")).action, Action::ReduceSize);
}

#[test]
fn a_baseline_that_comes_late_is_compared_at_once() {
    let mut world = World::registered();
    world.close_many(10, "1");
    world.close_many(10, "-1");
    let events = world.tell(&Command::RecordBaseline(baseline(&[(Metric::WinRate, 0.72)]))).unwrap();
    assert_eq!(edges(&events), [(Edge::Entered, Band::Reduce)]);
}

#[test]
fn without_a_baseline_or_a_metric_of_it_drift_says_that_there_is_none() {
    let mut world = World::at_level(Level::Autonomous);
    world.close_many(20, "1");
    assert_eq!(*reason_of(&world.check(order("order-1")), Component::Drift), Reason::DriftNoBaseline);
    world.tell(&Command::RecordBaseline(baseline(&[(Metric::Expectancy, 1.0)]))).unwrap();
    assert_eq!(*reason_of(&world.check(order("order-2")), Component::Drift), Reason::DriftNoBaseline);
}

#[test]
fn a_profit_factor_without_losses_is_not_adverse() {
    let mut world = World::at_level(Level::Autonomous);
    world.tell(&Command::RecordBaseline(baseline(&[(Metric::ProfitFactor, 99.0)]))).unwrap();
    assert_eq!(edges(&world.close_many(25, "1")), []);
}

#[test]
fn only_trades_of_the_version_in_force_are_compared() {
    let (mut world, _) = traded(0.72, 10, 10);
    let second = ephor_governance::event::Registration { version_digest: "v2".into(), ..crate::given::registration() };
    world.tell(&Command::Register(second)).unwrap();
    assert_eq!(world.state.compare_drift(&Policy::default()), []);
}

#[test]
fn an_alert_carries_its_sample_and_an_interval_around_the_live_value() {
    let (_, events) = traded(0.72, 10, 10);
    let alert = events.iter().find_map(|event| match event {
        Event::DriftAlerted(alert) => Some(alert.comparison),
        _other => None,
    });
    let alert = alert.unwrap();
    // Wilson's interval for 10 of 20.
    let (low, high) = alert.interval.unwrap();
    assert_eq!(alert.trades, 20);
    assert_close(low, 0.2993, 5e-5, "low");
    assert_close(high, 0.7007, 5e-5, "high");
}
