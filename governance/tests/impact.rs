//! Impact: the vectors of the rule, the steps, and what is not known.

use ephor_governance::event::Account;
use ephor_governance::impact::{self, Facts, Policy, Tier};
use ephor_governance::maturity::Level;
use ephor_governance::order::Order;
use ephor_governance::strategy::Command;
use ephor_governance::system;
use ephor_governance::token::Grant;
use ephor_governance::units::Amount;
use ephor_governance::verdict::{Action, Component, Reason};

use crate::given::{World, amount, assert_close, critical_order, grant, order, read, reason_of, verdict_of};

/// Concentration is given in hundredths of an equity of 100.
fn facts(notional: i64, hundredths: &str, reduce_only: bool, leverage: &str, open_positions: u32) -> Facts {
    Facts {
        notional_usd: Some(Amount::from(notional)),
        exposure: Some(amount(hundredths)),
        equity: Some(amount("100")),
        leverage: Some(amount(leverage)),
        open_positions: Some(open_positions),
        reduce_only,
    }
}

fn check(facts: &Facts, total: f64, tier: Tier) {
    let score = impact::score(facts, &Policy::default());
    assert_close(score.total, total, 0.00005, "total");
    assert_eq!(impact::tier(score.total, &Policy::default()), tier);
}

#[test]
fn the_four_vectors_of_the_rule() {
    check(&facts(1_000, "1", true, "1", 0), 0.1167, Tier::Low);
    check(&facts(100_000, "5", false, "1", 1), 0.4533, Tier::Medium);
    check(&facts(300_000, "30", false, "5", 10), 0.97, Tier::Critical);
    check(&facts(40_000, "5", false, "3", 8), 0.4933, Tier::Medium);
}

#[test]
fn notional_counts_from_each_step_on() {
    let part = |notional: &str| {
        let facts = Facts { notional_usd: Some(amount(notional)), ..facts(0, "0", false, "1", 0) };
        impact::score(&facts, &Policy::default()).notional
    };
    let steps = ["24999.99", "25000", "49999.99", "50000", "199999.99", "200000"];
    assert_eq!(steps.map(part), [0.05, 0.10, 0.10, 0.20, 0.20, 0.25]);
}

#[test]
fn concentration_is_a_slope_then_two_steps() {
    let part = |hundredths: &str| impact::score(&facts(0, hundredths, false, "1", 0), &Policy::default()).concentration;
    assert_close(part("3"), 0.05, 1e-12, "a fifth of the threshold");
    assert_close(part("7.4999"), 0.125, 1e-5, "just below half");
    assert_eq!(["7.5", "14.9999", "15", "900"].map(part), [0.15, 0.15, 0.25, 0.25]);
}

#[test]
fn blast_radius_is_capped_in_both_its_parts() {
    let part =
        |leverage: &str, open| impact::score(&facts(0, "0", false, leverage, open), &Policy::default()).blast_radius;
    assert_close(part("0.5", 0), 0.0, 1e-12, "less than one");
    assert_close(part("2", 3), 0.09, 1e-12, "below both caps");
    assert_close(part("50", 50), 0.25, 1e-12, "beyond both caps");
}

#[test]
fn irreversibility_rises_only_beyond_three_times_leverage() {
    let part = |reduce_only, leverage: &str| {
        impact::score(&facts(0, "0", reduce_only, leverage, 0), &Policy::default()).irreversibility
    };
    assert_eq!([part(false, "3"), part(false, "3.01"), part(true, "9")], [0.15, 0.25, 0.05]);
}

#[test]
fn a_sum_of_exactly_a_bound_reaches_the_tier() {
    // 0.05 + 0.05 + 0 + 0.15; then 0.20 + 0.15 + 0.10 + 0.05, where plain floats fall short of one half.
    check(&facts(1_000, "3", false, "1", 0), 0.25, Tier::Medium);
    check(&facts(60_000, "8", true, "1", 5), 0.50, Tier::High);
    check(&facts(1_000, "20", true, "6", 0), 0.50, Tier::High);
    check(&facts(250_000, "20", false, "1", 5), 0.75, Tier::Critical);
}

#[test]
fn each_tier_needs_its_level() {
    let needs = |facts: &Facts| {
        Level::ALL.map(|level| impact::assess(facts, level, true, &Policy::default()).0.action == Action::Allow)
    };
    assert_eq!(needs(&facts(1_000, "1", false, "1", 0)), [false, false, true, true, true]);
    assert_eq!(needs(&facts(40_000, "5", false, "3", 8)), [false, false, true, true, true]);
    assert_eq!(needs(&facts(100_000, "20", false, "1", 1)), [false, false, false, true, true]);
    assert_eq!(needs(&facts(300_000, "30", false, "5", 10)), [false, false, false, false, true]);
}

#[test]
fn at_the_top_a_critical_order_needs_people_and_not_a_token_issued_by_hand() {
    let mut world = World::at_level(Level::Autonomous);
    let decision = world.check(critical_order("order-1"));
    assert_eq!(decision.action, Action::Block);
    assert!(matches!(reason_of(&decision, Component::Impact), Reason::ImpactApprovalRequired { .. }));

    for (id, order_id) in [("any", None), ("for-it", Some(read("order-2")))] {
        world.tell(&Command::IssueToken(Grant { order_id, ..grant(id) })).unwrap();
    }
    for token in [None, Some(read("any")), Some(read("for-it"))] {
        let decision = world.check(Order { token, ..critical_order("order-2") });
        assert_eq!((decision.action, decision.tier), (Action::Block, Tier::Critical));
        assert!(matches!(reason_of(&decision, Component::Impact), Reason::ImpactApprovalRequired { .. }));
        assert_eq!(world.state.tokens.active.len(), 2, "none is used");
    }
    let exit = Order { reduce_only: true, ..critical_order("order-3") };
    assert_eq!(world.check(exit).action, Action::Allow);
}

fn scored(world: &mut World, order: Order) -> impact::Score {
    let decision = world.check(order);
    match reason_of(&decision, Component::Impact) {
        Reason::ImpactWithinLevel { score, .. }
        | Reason::ImpactAboveLevel { score, .. }
        | Reason::ImpactApprovalRequired { score, .. } => *score,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_not_known_counts_at_its_worst_and_is_said() {
    let bare = Order {
        price: None,
        leverage: None,
        position_qty: None,
        equity: None,
        open_positions: None,
        ..order("order-1")
    };
    let score = scored(&mut World::at_level(Level::Autonomous), bare);
    assert_close(score.total, 1.0, 1e-12, "total");
    assert!(score.notional_unknown && score.concentration_unknown && score.leverage_unknown && score.positions_unknown);
}

#[test]
fn a_currency_without_a_rate_makes_the_value_unknown() {
    let in_euro = || Order { currency: Some(read("EUR")), ..order("order-1") };
    let mut world = World::at_level(Level::Autonomous);
    assert!(scored(&mut world, in_euro()).notional_unknown);
    let mut policy = ephor_governance::policy::Policy::default();
    policy.impact_classifier.usd_per.insert(read("EUR"), amount("1.1"));
    world.adopt(policy);
    assert!(!scored(&mut world, in_euro()).notional_unknown);
}

#[test]
fn the_larger_of_the_engines_notional_and_the_computed_one_counts() {
    let mut world = World::at_level(Level::Autonomous);
    let understated = Order { qty: amount("250"), notional: Some(amount("1")), ..order("order-1") };
    assert_close(scored(&mut world, understated).notional, 0.10, 1e-12, "computed 25 000");
    let overstated = Order { notional: Some(amount("200000")), ..order("order-2") };
    assert_close(scored(&mut world, overstated).notional, 0.25, 1e-12, "given 200 000");
}

#[test]
fn equity_in_another_currency_is_converted_or_unknown() {
    // Given an account in dollars and an order priced in bitcoin: a coin is not a dollar.
    let in_bitcoin = || Order {
        currency: Some(read("BTC")),
        price: Some(amount("1")),
        qty: amount("1"),
        equity: None,
        ..order("order-1")
    };
    let account = Account {
        id: read("account"),
        equity: amount("100000"),
        currency: read("USD"),
        leverage: None,
        open_positions: None,
    };
    let mut world = World::at_level(Level::Autonomous);
    world.tell_system(&system::Command::UpdateAccount(account)).unwrap();
    assert!(scored(&mut world, in_bitcoin()).concentration_unknown);
    let mut policy = ephor_governance::policy::Policy::default();
    policy.impact_classifier.usd_per.insert(read("BTC"), amount("50000"));
    world.adopt(policy);
    assert_close(scored(&mut world, in_bitcoin()).concentration, 0.25, 1e-12, "half of the equity");
}

#[test]
fn leverage_that_is_not_given_is_what_the_position_makes_of_equity() {
    let mut world = World::at_level(Level::Autonomous);
    let derived = |qty: &str| Order { leverage: None, qty: amount(qty), ..order("order-1") };
    assert_close(scored(&mut world, derived("10")).blast_radius, 0.0, 1e-12, "at least one");
    assert_close(scored(&mut world, derived("3000")).blast_radius, 0.06, 1e-12, "three times");
    let decision = world.check(derived("4000"));
    assert_eq!(verdict_of(&decision, Component::Impact).action, Action::Block);
}
