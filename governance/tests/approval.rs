//! Orders that wait for people: who may speak, how often, and what their word comes to.

use ephor_governance::approval::{self, WAITING_MAX};
use ephor_governance::event::Event;
use ephor_governance::gate::Decision;
use ephor_governance::ids::TokenId;
use ephor_governance::impact::Tier;
use ephor_governance::maturity::Level;
use ephor_governance::order::{Order, Side};
use ephor_governance::policy::Policy;
use ephor_governance::rejection::Rejection;
use ephor_governance::strategy::{Command, Context};
use ephor_governance::token::{self, Grant};
use ephor_governance::verdict::{Action, Component, Reason};

use crate::given::{World, amount, critical_order, decision, grant, kill, order, read, reason_of, second};

fn approve(order_id: &str, by: &str) -> Command {
    Command::ApproveOrder { order_id: read(order_id), by: read(by), reason: "looks right".into() }
}

fn decline(order_id: &str) -> Command {
    Command::DeclineOrder { order_id: read(order_id), by: read("alice"), reason: "too large".into() }
}

fn issued(events: &[Event]) -> Option<&Grant> {
    events.iter().find_map(|event| match event {
        Event::TokenChanged(token::Event::Issued(grant)) => Some(grant),
        _other => None,
    })
}

/// A strategy at L2 with these orders waiting.
fn gated(ids: &[&str]) -> World {
    let mut world = World::at_level(Level::Gated);
    for id in ids {
        assert_eq!(world.check(order(id)).action, Action::Block);
    }
    world
}

fn waiting(world: &World) -> Vec<&str> {
    world.state.approvals.waiting.iter().map(|waiting| waiting.order.id.as_str()).collect()
}

/// The engine asks again, presenting a token or not.
fn again(world: &mut World, order: Order) -> Decision {
    decision(&world.tell(&Command::CheckOrder { order, attempt: 1 }).unwrap())
}

#[test]
fn one_approval_at_gated_issues_a_token_for_exactly_that_order() {
    let mut world = gated(&["order-1", "order-2"]);
    world.at = second(7);
    let events = world.tell(&approve("order-1", "alice")).unwrap();
    assert_eq!(events.iter().map(Event::name).collect::<Vec<_>>(), ["OrderApproved", "TokenChanged"]);
    let grant = issued(&events).unwrap().clone();
    let expected = Grant {
        id: grant.id.clone(),
        instruments: vec![read("GOOG.NASDAQ")],
        side: Some(Side::Buy),
        notional_usd_max: Some(amount("1000")),
        order_id: Some(read("order-1")),
        uses_max: 1,
        expires_at: second(307),
        issued_by: read("alice"),
    };
    assert_eq!(grant, expected);
    assert!(grant.id.as_str().len() == 16 && grant.id.as_str().chars().all(|c| c.is_ascii_hexdigit()));
    assert_eq!(world.check(order("order-3")).action, Action::Block, "it covers no other order");
    let passed = again(&mut world, order("order-1"));
    assert_eq!(passed.action, Action::ReduceSize, "at the cap of the level");
    assert_eq!(*reason_of(&passed, Component::Token), Reason::TokenCovers { token: grant.id, uses_left: 0 });
    assert_eq!(waiting(&world), ["order-2", "order-3"]);
    assert_eq!(again(&mut world, order("order-1")).action, Action::Block, "the token is spent");
}

#[test]
fn the_token_of_an_approval_follows_from_what_is_approved_and_when() {
    let id = |order_id: &str, at: i64| -> TokenId {
        let mut world = gated(&["order-1", "order-2"]);
        world.at = second(at);
        issued(&world.tell(&approve(order_id, "alice")).unwrap()).unwrap().id.clone()
    };
    assert_eq!(id("order-1", 1), id("order-1", 1));
    assert_ne!(id("order-1", 1), id("order-2", 1));
    assert_ne!(id("order-1", 1), id("order-1", 2));
}

#[test]
fn a_critical_order_takes_two_different_people() {
    let mut world = World::at_level(Level::Autonomous);
    assert_eq!(world.check(critical_order("order-1")).action, Action::Block);
    let first = world.tell(&approve("order-1", "alice")).unwrap();
    assert_eq!((first.len(), issued(&first)), (1, None));
    let twice = world.tell(&approve("order-1", "alice"));
    assert_eq!(twice, Err(Rejection::ApprovedBefore { by: "alice".into() }));
    assert_eq!(again(&mut world.clone(), critical_order("order-1")).action, Action::Block);
    let second = world.tell(&approve("order-1", "bob")).unwrap();
    assert_eq!(issued(&second).unwrap().issued_by.as_str(), "bob");
    let third = world.tell(&approve("order-1", "carol"));
    assert_eq!(third, Err(Rejection::NothingToChange { what: "this order is approved already" }));
    assert_eq!(again(&mut world, critical_order("order-1")).action, Action::Allow);
}

#[test]
fn an_order_turned_away_for_something_else_as_well_does_not_wait() {
    let mut world = World::at_level(Level::Gated);
    world.tell_system(&kill(ephor_governance::event::Scope::All, false)).unwrap();
    world.check(order("order-1"));
    let unknown = Order { token: Some(read("no-such")), ..order("order-2") };
    world.check(unknown);
    let mut above = World::at_level(Level::Gated);
    above.check(critical_order("order-3"));
    for (world, id) in [(&mut world, "order-1"), (&mut above, "order-3")] {
        assert_eq!(waiting(world), Vec::<&str>::new());
        assert_eq!(world.tell(&approve(id, "alice")), Err(Rejection::NotWaiting { order_id: id.into() }));
    }
}

#[test]
fn where_the_policy_asks_for_tokens_an_order_waits_at_every_level() {
    let mut world = World::at_level(Level::Autonomous);
    let mut policy = Policy::default();
    policy.execution_tokens.required = true;
    world.adopt(policy);
    assert_eq!(*reason_of(&world.check(order("order-1")), Component::Token), Reason::TokenMissing);
    world.tell(&approve("order-1", "alice")).unwrap();
    assert_eq!(again(&mut world, order("order-1")).action, Action::Allow);
}

#[test]
fn a_declined_order_waits_no_longer_and_loses_the_token_it_had() {
    let mut world = gated(&["order-1", "order-2"]);
    assert_eq!(world.tell(&decline("order-1")).unwrap().len(), 1);
    assert_eq!(waiting(&world), ["order-2"]);
    assert!(world.tell(&approve("order-1", "alice")).is_err());
    world.tell(&approve("order-2", "bob")).unwrap();
    let declined = world.tell(&decline("order-2")).unwrap();
    assert_eq!(declined.iter().map(Event::name).collect::<Vec<_>>(), ["OrderDeclined", "TokenChanged"]);
    assert!(world.state.tokens.active.is_empty() && waiting(&world).is_empty());
    assert_eq!(world.tell(&decline("order-2")), Err(Rejection::NotWaiting { order_id: "order-2".into() }));
}

#[test]
fn an_approval_that_was_not_used_in_its_time_or_was_taken_back_counts_for_nothing() {
    let mut world = World::at_level(Level::Autonomous);
    world.check(critical_order("order-1"));
    for by in ["alice", "bob"] {
        world.tell(&approve("order-1", by)).unwrap();
    }
    world.at = second(300);
    let late = world.tell(&approve("order-1", "alice")).unwrap();
    assert!(matches!(late[0], Event::TokenChanged(token::Event::Expired { .. })));
    assert_eq!((late.len(), issued(&late)), (2, None), "two people again");
    let token = issued(&world.tell(&approve("order-1", "bob")).unwrap()).unwrap().id.clone();
    let revoke = Command::RevokeTokens { id: Some(token), by: read("carol"), reason: "wait".into() };
    world.tell(&revoke).unwrap();
    assert!(world.state.approvals.of(&read("order-1")).unwrap().approvals.is_empty());
    assert_eq!(waiting(&world), ["order-1"]);
}

#[test]
fn an_approval_needs_room_among_the_active_tokens_and_a_reason() {
    let mut world = gated(&["order-1"]);
    for number in 0..10 {
        let other = Some(read(&format!("other-{number}")));
        world.tell(&Command::IssueToken(Grant { order_id: other, ..grant(&format!("token-{number}")) })).unwrap();
    }
    assert!(matches!(world.tell(&approve("order-1", "alice")), Err(Rejection::TooManyTokens { active: 10, .. })));
    assert!(world.state.approvals.of(&read("order-1")).unwrap().approvals.is_empty());
    let silent = Command::ApproveOrder { order_id: read("order-1"), by: read("alice"), reason: " ".into() };
    assert!(matches!(world.tell(&silent), Err(Rejection::InvalidField { field: "reason", .. })));
}

#[test]
fn only_the_newest_orders_wait() {
    let mut world = World::at_level(Level::Gated);
    for number in 0..=WAITING_MAX {
        world.check(order(&format!("order-{number}")));
    }
    assert_eq!(world.state.approvals.waiting.len(), WAITING_MAX);
    assert_eq!((waiting(&world)[0], world.state.approvals.of(&read("order-0"))), ("order-1", None));
}

#[test]
fn an_order_whose_value_is_not_known_is_approved_as_it_is() {
    let mut world = World::at_level(Level::Autonomous);
    let unpriced = || Order { price: None, ..critical_order("order-1") };
    world.check(unpriced());
    world.tell(&approve("order-1", "alice")).unwrap();
    let events = world.tell(&approve("order-1", "bob")).unwrap();
    assert_eq!(issued(&events).unwrap().notional_usd_max, None);
    assert!(!again(&mut world, unpriced()).action.rejects());
}

#[test]
fn the_token_for_an_order_is_used_before_one_for_any() {
    let mut world = gated(&["order-1"]);
    world.tell(&approve("order-1", "alice")).unwrap();
    world.tell(&Command::IssueToken(Grant { expires_at: second(10), ..grant("any") })).unwrap();
    again(&mut world, order("order-1"));
    assert_eq!(world.state.tokens.active.keys().map(TokenId::as_str).collect::<Vec<_>>(), ["any"]);
}

/// Whether the order of this decision would be decided again.
fn is_given(world: &World, before: &Decision) -> bool {
    let context = Context { at: world.at, system: &world.system, drift: None };
    approval::is_given(&world.state, before, &before.order, &context)
}

#[test]
fn an_order_that_has_become_critical_since_one_person_approved_it_waits_for_two() {
    let mut world = World::at_level(Level::Gated);
    let mut policy = Policy::default();
    policy.impact_classifier.required_levels = [Level::Gated; 4];
    world.adopt(policy.clone());
    let waits = world.check(order("order-1"));
    assert_eq!((waits.action, waits.tier), (Action::Block, Tier::Low));
    world.tell(&approve("order-1", "alice")).unwrap();

    world.at = second(1);
    (policy.impact_classifier.medium_from, policy.impact_classifier.high_from) = (0.01, 0.02);
    policy.impact_classifier.critical_from = 0.03;
    world.adopt(policy);
    assert!(is_given(&world, &waits), "decided once more, as what it is now");
    let critical = again(&mut world, order("order-1"));
    assert_eq!((critical.action, critical.tier), (Action::Block, Tier::Critical));
    assert!(matches!(reason_of(&critical, Component::Impact), Reason::ImpactApprovalRequired { .. }));
    assert_eq!(world.state.tokens.active.len(), 1, "no use is recorded");
    assert!(!is_given(&world, &critical), "the token that is left over changes nothing from here on");

    let entry = world.state.approvals.of(&read("order-1")).unwrap();
    assert_eq!((entry.tier, entry.approvals.len(), &entry.token), (Tier::Critical, 0, &None));
    assert_eq!(issued(&world.tell(&approve("order-1", "alice")).unwrap()), None);
    assert!(!is_given(&world, &critical));
    let token = issued(&world.tell(&approve("order-1", "bob")).unwrap()).unwrap().id.clone();
    assert!(is_given(&world, &critical));
    let passed = again(&mut world, order("order-1"));
    assert_eq!(*reason_of(&passed, Component::Token), Reason::TokenCovers { token, uses_left: 0 });
    assert_eq!(passed.action, Action::ReduceSize, "at the cap of the level");
}

#[test]
fn a_token_issued_by_hand_is_no_approval_of_a_critical_order_and_does_not_stand_in_the_way_of_one() {
    let mut world = World::at_level(Level::Autonomous);
    let waits = world.check(critical_order("order-1"));
    world.tell(&approve("order-1", "alice")).unwrap();
    let by_hand = Grant { order_id: Some(read("order-1")), expires_at: second(10), ..grant("by-hand") };
    world.tell(&Command::IssueToken(by_hand)).unwrap();
    assert!(!is_given(&world, &waits));
    let token = issued(&world.tell(&approve("order-1", "bob")).unwrap()).unwrap().id.clone();
    let shown = Order { token: Some(read("by-hand")), ..critical_order("order-1") };
    assert_eq!(again(&mut world.clone(), shown).action, Action::Block);
    let passed = again(&mut world, critical_order("order-1"));
    assert_eq!(*reason_of(&passed, Component::Token), Reason::TokenCovers { token, uses_left: 0 });
    assert_eq!(passed.action, Action::Allow);
}

#[test]
fn a_token_that_does_not_cover_the_order_does_not_make_it_approved() {
    let mut world = gated(&["order-1"]);
    let other_side = Grant { order_id: Some(read("order-1")), side: Some(Side::Sell), ..grant("by-hand") };
    world.tell(&Command::IssueToken(other_side)).unwrap();
    assert!(issued(&world.tell(&approve("order-1", "alice")).unwrap()).is_some());
    assert_eq!(again(&mut world, order("order-1")).action, Action::ReduceSize);
}

#[test]
fn declining_takes_back_every_token_for_the_order_and_no_other() {
    let mut world = gated(&["order-1"]);
    for (id, order_id) in [("for-it", Some(read("order-1"))), ("for-another", Some(read("order-2"))), ("any", None)] {
        world.tell(&Command::IssueToken(Grant { order_id, ..grant(id) })).unwrap();
    }
    world.tell(&approve("order-1", "bob")).unwrap();
    assert_eq!(world.tell(&decline("order-1")).unwrap().len(), 1 + 2);
    let left: Vec<_> = world.state.tokens.active.keys().map(TokenId::as_str).collect();
    assert_eq!(left, ["any", "for-another"]);
}
