//! The canary: three failures in a row act once, recovery is an edge too.

use ephor_governance::canary::{Alert, FailureAction, Round};
use ephor_governance::event::{Event, Scope};
use ephor_governance::maturity::Level;
use ephor_governance::order::Order;
use ephor_governance::policy::Policy;
use ephor_governance::system;
use ephor_governance::verdict::{Action, Component, Reason};

use crate::given::{World, kill, order, read, reason_of, second};

fn world(action_on_failure: FailureAction) -> World {
    let mut world = World::at_level(Level::Autonomous);
    let mut policy = Policy::default();
    policy.canary.action_on_failure = action_on_failure;
    world.adopt(policy);
    world
}

fn round(world: &mut World, results: &[(&str, bool)]) -> Vec<Event> {
    let result = |good: bool| if good { None } else { Some("no answer".to_owned()) };
    let results = results.iter().map(|(name, good)| ((*name).into(), result(*good))).collect();
    world.tell_system(&system::Command::RecordCanaryRound(Round { results })).unwrap()
}

fn alerts(events: &[Event]) -> Vec<Alert> {
    let alert = |event: &Event| match event {
        Event::CanaryAlerted(alert) => Some(alert.clone()),
        _other => None,
    };
    events.iter().filter_map(alert).collect()
}

#[test]
fn two_failures_are_silent_and_the_third_acts_once() {
    let mut world = world(FailureAction::Kill);
    for _ in 0..2 {
        assert_eq!(alerts(&round(&mut world, &[("feed", false)])), []);
    }
    let third = round(&mut world, &[("feed", false)]);
    assert_eq!(alerts(&third).len(), 1);
    assert!(matches!(third.last(), Some(Event::KillSwitchEngaged { scope: Scope::All, exits_blocked: false, .. })));
    assert_eq!(round(&mut world, &[("feed", false)]).len(), 1, "the round and nothing else");
    assert_eq!(world.check(order("order-1")).action, Action::Kill);
}

#[test]
fn a_kill_that_a_person_has_thrown_is_not_thrown_over() {
    let mut world = world(FailureAction::Kill);
    world.tell_system(&kill(Scope::All, true)).unwrap();
    for _ in 0..3 {
        round(&mut world, &[("feed", false)]);
    }
    let thrown = &world.system.kills[&Scope::All];
    assert_eq!((thrown.by.as_str(), thrown.exits_blocked), ("alice", true));
}

#[test]
fn a_success_starts_the_count_again() {
    let mut world = world(FailureAction::Kill);
    for good in [false, false, true, false, false] {
        assert_eq!(alerts(&round(&mut world, &[("feed", good)])), []);
    }
}

#[test]
fn recovery_is_reported_once_and_a_kill_stays_latched() {
    let mut world = world(FailureAction::Kill);
    for _ in 0..3 {
        round(&mut world, &[("feed", false)]);
    }
    assert_eq!(alerts(&round(&mut world, &[("feed", true)])), [Alert::Recovered { component: "feed".into() }]);
    assert_eq!(alerts(&round(&mut world, &[("feed", true)])), []);
    assert_eq!(world.check(order("order-1")).action, Action::Kill);
    let release = |by: &str| system::Command::ReleaseKillSwitch {
        scope: Scope::All,
        by: read(by),
        reason: "feed is back".into(),
    };
    assert!(world.tell_system(&release("canary")).is_err(), "a person must");
    world.tell_system(&release("alice")).unwrap();
    assert_eq!(world.check(order("order-2")).action, Action::Allow);
}

#[test]
fn a_pause_by_the_canary_ends_with_the_recovery_and_lets_exits_pass() {
    let mut world = world(FailureAction::Pause);
    for _ in 0..3 {
        round(&mut world, &[("feed", false), ("bus", true)]);
    }
    assert_eq!(world.check(order("order-1")).action, Action::Pause);
    assert_eq!(world.check(Order { reduce_only: true, ..order("order-2") }).action, Action::Allow);
    round(&mut world, &[("feed", true), ("bus", true)]);
    assert_eq!(world.check(order("order-3")).action, Action::Allow);
}

#[test]
fn an_alert_only_tells_people() {
    let mut world = world(FailureAction::Alert);
    for _ in 0..3 {
        round(&mut world, &[("feed", false)]);
    }
    let decision = world.check(order("order-1"));
    assert_eq!(decision.action, Action::Allow);
    assert_eq!(*reason_of(&decision, Component::Canary), Reason::CanaryUnhealthy { components_failed: 1 });
}

#[test]
fn nothing_registered_is_itself_an_alert_once() {
    let mut world = world(FailureAction::Kill);
    assert_eq!(alerts(&round(&mut world, &[])), [Alert::NothingRegistered]);
    assert_eq!(alerts(&round(&mut world, &[])), []);
    assert_eq!(*reason_of(&world.check(order("order-1")), Component::Canary), Reason::CanaryNoComponents);
    round(&mut world, &[("feed", true)]);
    assert_eq!(alerts(&round(&mut world, &[])), [], "the end of the watch");
    assert_eq!(alerts(&round(&mut world, &[])), [Alert::NothingRegistered]);
}

#[test]
fn a_canary_that_has_spoken_and_then_not_for_three_intervals_blocks_new_exposure_until_it_speaks() {
    let mut world = world(FailureAction::Kill);
    world.at = second(1_000_000);
    assert_eq!(world.check(order("order-0")).action, Action::Allow, "it has never spoken");
    round(&mut world, &[("feed", true)]);
    let since = world.at;
    world.at = since.plus_seconds(90);
    assert_eq!(world.check(order("order-1")).action, Action::Allow);
    world.at = since.plus_seconds(91);
    let silent = world.check(order("order-2"));
    assert_eq!((silent.action, silent.decided_by), (Action::Block, Component::Canary));
    assert_eq!(*reason_of(&silent, Component::Canary), Reason::CanarySilent { since });
    assert_eq!(world.check(Order { reduce_only: true, ..order("order-3") }).action, Action::Allow);
    round(&mut world, &[("feed", true)]);
    assert_eq!(world.check(order("order-4")).action, Action::Allow);
}

#[test]
fn a_failure_that_pauses_still_pauses_when_the_canary_falls_silent() {
    let mut world = world(FailureAction::Pause);
    for _ in 0..3 {
        round(&mut world, &[("feed", false)]);
    }
    world.at = world.at.plus_seconds(1_000);
    let decision = world.check(order("order-1"));
    assert_eq!(*reason_of(&decision, Component::Canary), Reason::CanaryUnhealthy { components_failed: 1 });
    assert_eq!(decision.action, Action::Pause);
}

#[test]
fn a_component_that_is_checked_no_longer_holds_nobody_up() {
    let mut world = world(FailureAction::Pause);
    for _ in 0..3 {
        round(&mut world, &[("feed", false), ("bus", true)]);
    }
    round(&mut world, &[("feed", false), ("bus", false)]);
    assert_eq!(world.check(order("order-1")).action, Action::Pause);
    assert_eq!(alerts(&round(&mut world, &[("disk", true)])), [Alert::Recovered { component: "feed".into() }]);
    assert_eq!(world.check(order("order-2")).action, Action::Allow);
    assert!(world.system.canary.failures.is_empty(), "one that comes back starts from nothing");
    assert_eq!(alerts(&round(&mut world, &[("disk", true)])), []);
}

#[test]
fn a_watch_that_ends_in_good_order_is_not_missed_and_forgives_no_failure() {
    let mut world = world(FailureAction::Pause);
    round(&mut world, &[("feed", true)]);
    assert_eq!(round(&mut world, &[]).len(), 1, "the round and nothing else");
    world.at = world.at.plus_seconds(1_000);
    let decision = world.check(order("order-1"));
    assert_eq!(decision.action, Action::Allow);
    assert_eq!(*reason_of(&decision, Component::Canary), Reason::ComponentClear);

    for _ in 0..3 {
        round(&mut world, &[("feed", false)]);
    }
    round(&mut world, &[]);
    assert_eq!(world.check(order("order-2")).action, Action::Pause);
    round(&mut world, &[("feed", true)]);
    world.at = world.at.plus_seconds(1_000);
    let silent = world.check(order("order-3"));
    assert!(
        matches!(reason_of(&silent, Component::Canary), Reason::CanarySilent { .. }),
        "a new watch is missed again"
    );
}
