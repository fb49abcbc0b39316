//! Tokens: scope, time, uses, number, revocation.

use ephor_governance::event::Event;
use ephor_governance::maturity::Level;
use ephor_governance::order::{Order, Side};
use ephor_governance::rejection::Rejection;
use ephor_governance::strategy::Command;
use ephor_governance::token::{self, Grant, Mismatch};
use ephor_governance::verdict::{Action, Component, Reason};

use crate::given::{World, amount, grant, order, read, reason_of, second};

/// A strategy at L2, where every order needs a token, with these tokens.
fn gated(grants: impl IntoIterator<Item = Grant>) -> World {
    let mut world = World::at_level(Level::Gated);
    for grant in grants {
        world.tell(&Command::IssueToken(grant)).unwrap();
    }
    world
}

fn presenting(token: &str) -> Order {
    Order { token: Some(read(token)), ..order("order-1") }
}

fn token_reason(world: &mut World, order: Order) -> Reason {
    reason_of(&world.check(order), Component::Token).clone()
}

#[test]
fn at_gated_an_order_passes_with_a_token_and_not_without() {
    let mut world = gated([]);
    assert_eq!(token_reason(&mut world, order("order-1")), Reason::MaturityApprovalRequired { level: Level::Gated });
    let mut world = gated([grant("token-1")]);
    let decision = world.check(order("order-1"));
    assert_eq!(decision.action, Action::ReduceSize);
    assert!((decision.multiplier.get() - 0.10).abs() < 1e-12, "the cap of the level");
}

#[test]
fn a_token_of_one_use_is_spent_by_one_order() {
    let mut world = gated([grant("token-1")]);
    world.check(presenting("token-1"));
    assert_eq!(token_reason(&mut world, presenting("token-1")), Reason::TokenSpent { token: read("token-1") });
}

#[test]
fn an_order_that_is_turned_away_spends_no_token() {
    let mut world = gated([grant("token-1")]);
    world.tell(&Command::Pause { by: read("alice"), reason: "test".into() }).unwrap();
    assert_eq!(world.check(order("order-1")).action, Action::Pause);
    assert_eq!(world.state.tokens.active.len(), 1);
}

#[test]
fn an_order_that_needs_no_token_spends_none_unless_it_presents_it() {
    let mut world = World::at_level(Level::Autonomous);
    world.tell(&Command::IssueToken(grant("token-1"))).unwrap();
    assert_eq!(token_reason(&mut world, order("order-1")), Reason::TokenNotNeeded);
    assert_eq!(world.state.tokens.active.len(), 1);
    world.check(presenting("token-1"));
    assert_eq!(world.state.tokens.active.len(), 0);
}

#[test]
fn a_token_ends_at_its_last_moment_and_not_before() {
    let mut world = gated([grant("token-1")]);
    world.at = second(299);
    assert!(matches!(token_reason(&mut world.clone(), presenting("token-1")), Reason::TokenCovers { .. }));
    world.at = second(300);
    let expired = Reason::TokenExpired { token: read("token-1"), expired_at: second(300) };
    let events = world.tell(&Command::CheckOrder { order: presenting("token-1"), attempt: 0 }).unwrap();
    assert!(matches!(events[0], Event::TokenChanged(token::Event::Expired { .. })));
    assert_eq!(*reason_of(&crate::given::decision(&events), Component::Token), expired);
    assert_eq!(token_reason(&mut world, presenting("token-1")), expired, "remembered");
}

#[test]
fn every_part_of_the_scope_must_fit() {
    let scoped = [
        (Grant { instruments: vec![read("AAPL.NASDAQ")], ..grant("token-1") }, Mismatch::Instrument),
        (Grant { side: Some(Side::Sell), ..grant("token-1") }, Mismatch::Side),
        (Grant { order_id: Some(read("another")), ..grant("token-1") }, Mismatch::Order),
        (Grant { notional_usd_max: Some(amount("999.99")), ..grant("token-1") }, Mismatch::Notional),
    ];
    for (grant, mismatch) in scoped {
        let found = token_reason(&mut gated([grant]), presenting("token-1"));
        assert_eq!(found, Reason::TokenOutOfScope { token: read("token-1"), mismatch });
    }
}

#[test]
fn an_order_of_exactly_the_largest_value_is_covered_and_an_unknown_value_is_not() {
    let limited = || gated([Grant { notional_usd_max: Some(amount("1000")), ..grant("token-1") }]);
    assert!(matches!(token_reason(&mut limited(), order("order-1")), Reason::TokenCovers { .. }));
    let unpriced = Order { price: None, ..presenting("token-1") };
    let expected = Reason::TokenOutOfScope { token: read("token-1"), mismatch: Mismatch::Notional };
    assert_eq!(token_reason(&mut limited(), unpriced), expected);
}

#[test]
fn without_a_token_presented_the_one_that_ends_first_is_used() {
    let mut world =
        gated([Grant { expires_at: second(200), ..grant("late") }, Grant { expires_at: second(100), ..grant("soon") }]);
    assert_eq!(token_reason(&mut world, order("order-1")), Reason::TokenCovers { token: read("soon"), uses_left: 0 });
}

#[test]
fn an_unknown_token_is_said_to_be_unknown() {
    let mut world = gated([grant("token-1")]);
    assert_eq!(token_reason(&mut world, presenting("other")), Reason::TokenUnknown { token: read("other") });
}

#[test]
fn a_strategy_has_at_most_ten_active_tokens() {
    let mut world = gated((0..10).map(|n| grant(&format!("token-{n}"))));
    let eleventh = Command::IssueToken(grant("token-10"));
    assert_eq!(world.tell(&eleventh), Err(Rejection::TooManyTokens { active: 10, active_max: 10 }));
    world.tell(&Command::RevokeTokens { id: Some(read("token-3")), by: read("alice"), reason: "test".into() }).unwrap();
    assert!(world.tell(&eleventh).is_ok());
}

#[test]
fn tokens_that_end_now_make_room_for_others() {
    let mut world = gated((0..10).map(|n| grant(&format!("token-{n}"))));
    world.at = second(300);
    let next = Grant { expires_at: second(400), ..grant("token-10") };
    assert_eq!(world.tell(&Command::IssueToken(next)).map(|events| events.len()), Ok(11), "ten ends and one issue");
    assert_eq!(world.state.tokens.active.len(), 1);
}

#[test]
fn a_token_must_live_and_not_for_longer_than_allowed() {
    let mut world = gated([]);
    let lives_until = |seconds| Command::IssueToken(Grant { expires_at: second(seconds), ..grant("token-1") });
    assert!(world.tell(&lives_until(0)).is_err());
    assert!(world.tell(&lives_until(86_401)).is_err());
    assert!(world.tell(&Command::IssueToken(Grant { uses_max: 0, ..grant("token-1") })).is_err());
    assert!(world.tell(&lives_until(86_400)).is_ok());
    assert_eq!(world.tell(&lives_until(10)), Err(Rejection::IdReused { id: "token-1".into() }));
}

#[test]
fn all_tokens_are_revoked_at_once_and_what_had_expired_stays_expired() {
    let short = Grant { expires_at: second(10), ..grant("short") };
    let mut world = gated([grant("token-1"), grant("token-2"), short]);
    world.at = second(10);
    let revoke = Command::RevokeTokens { id: None, by: read("alice"), reason: "test".into() };
    let events = world.tell(&revoke).unwrap();
    let ends: Vec<(&str, &str)> = events
        .iter()
        .map(|event| match event {
            Event::TokenChanged(token::Event::Expired { id, .. }) => ("expired", id.as_str()),
            Event::TokenChanged(token::Event::Revoked { id, .. }) => ("revoked", id.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ends, [("expired", "short"), ("revoked", "token-1"), ("revoked", "token-2")]);
    assert_eq!(world.tell(&revoke), Err(Rejection::UnknownToken));
}

#[test]
fn a_policy_can_ask_for_a_token_at_every_level() {
    let mut world = World::at_level(Level::Autonomous);
    let mut policy = ephor_governance::policy::Policy::default();
    policy.execution_tokens.required = true;
    world.adopt(policy);
    assert_eq!(token_reason(&mut world, order("order-1")), Reason::TokenMissing);
}
