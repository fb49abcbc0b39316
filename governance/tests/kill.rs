//! Kill switches: scopes, exits, release.

use ephor_governance::event::Scope;
use ephor_governance::maturity::Level;
use ephor_governance::order::Order;
use ephor_governance::system;
use ephor_governance::verdict::Action;

use crate::given::{World, kill, order, read};

fn stopped(scope: &Scope, order: &Order) -> bool {
    let mut world = World::at_level(Level::Autonomous);
    world.tell_system(&kill(scope.clone(), false)).unwrap();
    world.check(order.clone()).action == Action::Kill
}

#[test]
fn each_scope_stops_what_it_names_and_nothing_else() {
    let order = order("order-1");
    assert!(stopped(&Scope::All, &order));
    assert!(stopped(&Scope::Strategy(read("momentum")), &order));
    assert!(!stopped(&Scope::Strategy(read("reversal")), &order));
    assert!(stopped(&Scope::Instrument(read("GOOG.NASDAQ")), &order));
    assert!(!stopped(&Scope::Instrument(read("AAPL.NASDAQ")), &order));
}

#[test]
fn a_venue_is_what_the_order_says_or_the_instruments_name_ends_with() {
    let plain = order("order-1");
    let routed = Order { venue: Some(read("ARCA")), instrument: read("GOOG"), ..order("order-1") };
    assert!(stopped(&Scope::Venue(read("NASDAQ")), &plain));
    assert!(!stopped(&Scope::Venue(read("ARCA")), &plain));
    assert!(stopped(&Scope::Venue(read("ARCA")), &routed));
    assert!(!stopped(&Scope::Venue(read("NASDAQ")), &routed));
}

#[test]
fn exits_pass_a_kill_unless_it_stops_them_too() {
    let exit = || Order { reduce_only: true, ..order("order-1") };
    for (exits_blocked, action) in [(false, Action::Allow), (true, Action::Kill)] {
        let mut world = World::at_level(Level::Autonomous);
        world.tell_system(&kill(Scope::All, exits_blocked)).unwrap();
        assert_eq!(world.check(exit()).action, action);
    }
    // The narrower of two switches can be the one that stops exits.
    let mut world = World::at_level(Level::Autonomous);
    world.tell_system(&kill(Scope::All, false)).unwrap();
    world.tell_system(&kill(Scope::Instrument(read("GOOG.NASDAQ")), true)).unwrap();
    assert_eq!(world.check(exit()).action, Action::Kill);
}

#[test]
fn a_kill_is_released_by_name_and_with_a_reason_and_only_where_it_is_engaged() {
    let mut world = World::at_level(Level::Autonomous);
    world.tell_system(&kill(Scope::All, false)).unwrap();
    let release =
        |scope, reason: &str| system::Command::ReleaseKillSwitch { scope, by: read("alice"), reason: reason.into() };
    assert!(world.tell_system(&release(Scope::All, " ")).is_err());
    assert!(world.tell_system(&release(Scope::Strategy(read("momentum")), "clear")).is_err());
    world.tell_system(&release(Scope::All, "clear")).unwrap();
    assert_eq!(world.check(order("order-1")).action, Action::Allow);
}

#[test]
fn a_kill_twice_is_refused_unless_it_changes_what_happens_to_exits() {
    let mut world = World::registered();
    world.tell_system(&kill(Scope::All, false)).unwrap();
    assert!(world.tell_system(&kill(Scope::All, false)).is_err());
    assert!(world.tell_system(&kill(Scope::All, true)).is_ok());
}
