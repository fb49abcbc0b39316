//! The merged answer: what leads, where the order goes, what exits may do.

use ephor_governance::drift::Metric;
use ephor_governance::event::{Registration, Scope};
use ephor_governance::gate::{self, Execution, Sizing};
use ephor_governance::maturity::Level;
use ephor_governance::order::Order;
use ephor_governance::policy::Policy;
use ephor_governance::rejection::Rejection;
use ephor_governance::strategy::Command;
use ephor_governance::units::Multiplier;
use ephor_governance::verdict::{Action, Component, Reason, Verdict};

use crate::given::{World, assert_close, baseline, kill, order, read, registration, trade};

/// At L4, health 0.5 from five losses, drift at 0.5: two shares below one.
fn weakened(sizing: Sizing) -> World {
    let mut world = World::at_level(Level::Autonomous);
    let mut policy = Policy::default();
    policy.gate.sizing = sizing;
    policy.drift_detector.pause_above_pct = 99.0;
    world.adopt(policy);
    world.close_many(10, "0");
    world.close_many(5, "1");
    world.close_many(8, "-1");
    world.tell(&Command::RecordBaseline(baseline(&[(Metric::WinRate, 0.4)]))).unwrap();
    world
}

#[test]
fn the_smallest_share_counts_or_the_product_of_all() {
    let health = weakened(Sizing::MostRestrictive).state.health.score;
    assert!(health > 0.0 && health < 1.0);
    let least = weakened(Sizing::MostRestrictive).check(order("order-1"));
    assert_close(least.multiplier.get(), health.min(0.5), 1e-12, "smallest");
    let product = weakened(Sizing::Compound).check(order("order-1"));
    assert_close(product.multiplier.get(), health * 0.5, 1e-12, "product");
    assert_eq!((least.action, product.action), (Action::ReduceSize, Action::ReduceSize));
}

#[test]
fn the_severest_action_wins() {
    let merged = |actions: &[Action]| {
        let verdicts: Vec<Verdict> = actions
            .iter()
            .map(|action| Verdict {
                component: Component::Drift,
                action: *action,
                multiplier: if action.rejects() { Multiplier::ZERO } else { Multiplier::ONE },
                reason: Reason::ComponentClear,
            })
            .collect();
        gate::merge(&verdicts, Sizing::MostRestrictive).unwrap().action
    };
    for pair in Action::ALL.windows(2) {
        assert_eq!(merged(pair), pair[1]);
    }
    assert!(gate::merge(&[], Sizing::MostRestrictive).is_none());
}

#[test]
fn shadow_orders_go_nowhere_and_paper_orders_to_paper() {
    let execution = |level| World::at_level(level).check(order("order-1")).execution;
    assert_eq!(execution(Level::Shadow), Execution::None);
    assert_eq!(execution(Level::Paper), Execution::Paper);
    assert_eq!(execution(Level::Constrained), Execution::Live);
}

#[test]
fn a_paused_strategy_does_not_trade_on_paper_either() {
    let mut world = World::registered();
    world.tell(&Command::Pause { by: read("alice"), reason: "test".into() }).unwrap();
    assert_eq!(world.check(order("order-1")).execution, Execution::None);
}

#[test]
fn an_exit_passes_at_every_level_and_through_every_component() {
    for level in Level::ALL {
        let mut world = World::at_level(level);
        world.close_many(9, "-1");
        world.tell(&Command::Pause { by: read("alice"), reason: "test".into() }).unwrap();
        world.tell_system(&kill(Scope::All, false)).unwrap();
        let decision = world.check(Order { reduce_only: true, price: None, equity: None, ..order("order-1") });
        let expected = if level.executes() { Execution::Live } else { Execution::Position };
        assert_eq!((decision.action, decision.execution), (Action::Allow, expected), "{level}");
        assert!(decision.multiplier.is_one());
    }
}

#[test]
fn the_leading_verdict_is_the_one_that_decided() {
    let mut world = World::at_level(Level::Constrained);
    let decision = world.check(order("order-1"));
    assert_eq!(decision.leading().map(|verdict| verdict.component), Some(Component::Maturity));
    assert!(decision.permitted().is_ok());
    world.tell_system(&kill(Scope::All, false)).unwrap();
    let decision = world.check(order("order-2"));
    assert_eq!(decision.decided_by, Component::KillSwitch);
    assert!(decision.permitted().is_err());
}

#[test]
fn a_field_that_cannot_be_is_refused_by_name() {
    let world = World::registered();
    let bad = Order { qty: read("0"), ..order("order-1") };
    let refused = world.decide(&Command::CheckOrder { order: bad, attempt: 0 });
    assert!(matches!(refused, Err(Rejection::InvalidField { field: "qty", .. })));
    let foreign = ephor_governance::trade::Trade { currency: Some(read("JPY")), ..trade(1, read("1")) };
    let refused = world.decide(&Command::CloseTrade(foreign));
    assert!(matches!(refused, Err(Rejection::InvalidField { field: "currency", .. })));
}

#[test]
fn the_currency_that_results_are_counted_in_does_not_change_under_them() {
    let mut world = World::registered();
    let in_yen =
        Command::Register(Registration { currency: read("JPY"), version_digest: "v2".into(), ..registration() });
    assert!(world.decide(&in_yen).is_ok(), "nothing is counted yet");
    world.close("1");
    assert!(matches!(world.decide(&in_yen), Err(Rejection::InvalidField { field: "currency", .. })));
}

#[test]
fn nothing_is_decided_for_a_strategy_that_nobody_has_registered() {
    let world = World::empty();
    let asked = world.decide(&Command::CheckOrder { order: order("order-1"), attempt: 0 });
    assert_eq!(asked, Err(Rejection::UnknownStrategy));
}
