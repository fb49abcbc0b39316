//! Judging again: what follows comes out again, what does not follow is named.

use ephor_events::{Seq, Version};
use ephor_governance::event::{Event, PauseCause, Scope};
use ephor_governance::gate::Execution;
use ephor_governance::ids::StrategyId;
use ephor_governance::maturity::Level;
use ephor_governance::order::Order;
use ephor_governance::policy::Policy;
use ephor_governance::rejection::Rejection;
use ephor_governance::strategy::{self, Command, Context};
use ephor_governance::units::{Amount, Multiplier};
use ephor_governance::verdict::Action;
use ephor_governance::{canary, system};
use ephor_replay::ReplayError;
use ephor_replay::audit::{self, Mismatch, Report, Rules};

use crate::world::{MOMENTUM, REVERSION, World, check, read, set_level};

fn audited(world: &World) -> Report {
    audited_by(world, &Rules::default())
}

fn audited_by(world: &World, rules: &Rules) -> Report {
    audit::audit(&world.reader(), &audit::Scope::default(), rules, 1, &mut |_| {}).unwrap()
}

/// As if by one, whatever the number of threads.
#[test]
fn any_number_of_threads_finds_the_same() {
    let mut world = World::eventful();
    // A rule of another mind: differences in more than one stream.
    let other = Rules { strategy: stricter, ..Rules::default() };
    world.register("third");
    let by =
        |threads: usize| audit::audit(&world.reader(), &audit::Scope::default(), &other, threads, &mut |_| {}).unwrap();
    let one = by(1);
    assert!(one.differ > 10 && one.differing.is_sorted(), "{}", one.differ);
    for threads in [2, 3, 16] {
        assert_eq!(by(threads), one, "{threads} threads");
    }
}

/// Blocks what was let through.
fn stricter(
    state: &strategy::State,
    id: &StrategyId,
    command: &Command,
    context: &Context<'_>,
) -> Result<Vec<Event>, Rejection> {
    let mut events = strategy::decide(state, id, command, context)?;
    for event in &mut events {
        if let Event::DecisionMade(decision) = event {
            decision.action = Action::Block;
            decision.multiplier = Multiplier::ZERO;
        }
    }
    Ok(events)
}

#[track_caller]
fn assert_named(world: &World, seq: Seq, mismatch: &Mismatch) {
    let report = audited(world);
    let first = report.first.unwrap();
    assert_eq!((report.differ, report.differing.as_slice()), (1, [seq].as_slice()));
    assert_eq!((first.seq, &first.mismatch), (seq, mismatch));
}

#[test]
fn everything_that_the_rules_gave_comes_out_again() {
    let report = audited(&World::eventful());
    assert_eq!((report.differ, report.first, report.differing), (0, None, Vec::new()));
    assert_eq!(report.decisions, 112);
    assert!(report.follow_ups > 110, "a health for each trade, and more: {}", report.follow_ups);
    assert_eq!(report.commits, 229);
}

#[test]
fn a_decision_is_judged_on_the_system_that_it_names() {
    let mut world = World::at_level(Level::Autonomous);
    let before_kill = world.system.clone();
    world.kill(Scope::All);
    let allowed = world.tell_on(&before_kill, MOMENTUM, &check("order-1", "10"));
    let killed = world.check(MOMENTUM, "order-2", "10");
    assert!(killed > allowed);
    assert_eq!(audited(&world).differ, 0);
}

#[test]
fn a_system_that_is_long_gone_is_folded_again() {
    let mut world = World::at_level(Level::Autonomous);
    let old = world.system.clone();
    world.kill(Scope::All);
    for number in 0..200 {
        world.account(number);
    }
    world.tell_on(&old, MOMENTUM, &check("order-1", "10"));
    assert_eq!(audited(&world).differ, 0);
}

#[test]
fn a_decision_may_not_stand_on_an_older_system_than_the_one_before_it() {
    let mut world = World::at_level(Level::Autonomous);
    let before_kill = world.system.clone();
    world.kill(Scope::All);
    world.check(MOMENTUM, "order-1", "10");
    let seq = world.tell_on(&before_kill, MOMENTUM, &check("order-2", "10"));
    assert_named(&world, seq, &Mismatch::SystemWentBack { before: Version(2) });
}

#[test]
fn a_decision_may_not_stand_on_a_system_that_was_not_there() {
    let mut world = World::at_level(Level::Autonomous);
    let command = check("order-1", "10");
    let events = world.decide(MOMENTUM, &command);
    let seq = world.append(Version(9), MOMENTUM, Some(&command), events);
    assert_named(&world, seq, &Mismatch::SystemUnknown { newest: Version(1) });
}

#[test]
fn a_doctored_decision_is_named() {
    let mut world = World::registered();
    world.check(MOMENTUM, "order-1", "10");
    let command = check("order-2", "10");
    let mut events = world.decide(MOMENTUM, &command);
    let Some(Event::DecisionMade(decision)) = events.first_mut() else { panic!("a decision") };
    assert_eq!(decision.action, Action::Block);
    (decision.action, decision.multiplier, decision.execution) = (Action::Allow, Multiplier::ONE, Execution::Live);
    let seq = world.append(world.system.0, MOMENTUM, Some(&command), events);
    world.check(MOMENTUM, "order-3", "10");
    assert_named(&world, seq, &Mismatch::Event { recorded: "DecisionMade", derived: "DecisionMade" });

    let first = audited(&world).first.unwrap();
    assert_eq!(first.recorded[0]["data"]["action"], "allow");
    assert_eq!(first.derived[0]["data"]["action"], "block");
}

#[test]
fn a_difference_that_only_the_bytes_show_is_named() {
    let mut world = World::registered();
    let command = world.trade("10");
    let mut events = world.decide(MOMENTUM, &command);
    let Some(Event::HealthUpdated(health)) = events.get_mut(1) else { panic!("a health") };
    health.debt = -health.debt;
    assert_eq!(events, world.decide(MOMENTUM, &command), "minus zero equals zero");
    let seq = world.append(world.system.0, MOMENTUM, Some(&command), events);
    let mismatch = Mismatch::Event { recorded: "HealthUpdated", derived: "HealthUpdated" };
    assert_named(&world, Seq(seq.0 + 1), &mismatch);
}

#[test]
fn an_event_left_out_is_named() {
    let mut world = World::registered();
    let command = world.trade("10");
    let mut events = world.decide(MOMENTUM, &command);
    events.truncate(1);
    let seq = world.append(world.system.0, MOMENTUM, Some(&command), events);
    assert_named(&world, seq, &Mismatch::NotRecorded { derived: "HealthUpdated" });
}

#[test]
fn an_event_put_in_is_named() {
    let mut world = World::registered();
    let command = world.trade("10");
    let mut events = world.decide(MOMENTUM, &command);
    events.push(events[1].clone());
    let seq = world.append(world.system.0, MOMENTUM, Some(&command), events);
    assert_named(&world, Seq(seq.0 + 2), &Mismatch::NotDerived { recorded: "HealthUpdated" });
}

#[test]
fn a_commit_that_no_command_gives_is_named() {
    let mut world = World::registered();
    let health = ephor_governance::health::State::PRISTINE;
    let seq = world.append(world.system.0, MOMENTUM, None, vec![Event::HealthUpdated(health)]);
    assert_named(&world, seq, &Mismatch::NoCommand);
}

#[test]
fn a_commit_that_the_rules_refuse_is_named() {
    let mut world = World::registered();
    let resumed = Event::StrategyResumed { causes: vec![PauseCause::Drift], by: read("eve"), reason: "go".into() };
    let seq = world.append(world.system.0, MOMENTUM, None, vec![resumed]);
    assert_named(&world, seq, &Mismatch::Refused { rejection: "it is not paused".into() });
}

#[test]
fn a_policy_of_awkward_numbers_is_read_back_to_the_bit() {
    let mut world = World::at_level(Level::Autonomous);
    for number in 0..40 {
        let mut policy = Policy::default();
        policy.health_score.credit_per_win = 0.1 + f64::from(number) * 0.012_345_678_901_234_567;
        policy.health_score.recovery_rate = 1.0 / (1.0 + f64::from(number) / 7.0);
        world.adopt(policy);
        for pnl in ["-1", "3", "-2"] {
            world.close(MOMENTUM, pnl);
        }
        world.check(MOMENTUM, &format!("order-{number}"), "10");
    }
    assert_eq!(audited(&world).first, None);
}

/// Today's rules, except that orders of more than fifty are blocked.
fn no_large_orders(
    state: &strategy::State,
    id: &StrategyId,
    command: &Command,
    context: &Context<'_>,
) -> Result<Vec<Event>, Rejection> {
    let mut events = strategy::decide(state, id, command, context)?;
    for event in &mut events {
        if let Event::DecisionMade(decision) = event
            && decision.order.qty > Amount::from(50)
        {
            (decision.action, decision.multiplier) = (Action::Block, Multiplier::ZERO);
        }
    }
    Ok(events)
}

#[test]
fn under_a_changed_rule_exactly_the_decisions_that_change_are_named() {
    let mut world = World::at_level(Level::Autonomous);
    let mut large = Vec::new();
    for (number, qty) in ["10", "51", "50", "80", "49", "60"].into_iter().enumerate() {
        let seq = world.check(MOMENTUM, &format!("order-{number}"), qty);
        if read::<Amount>(qty) > Amount::from(50) {
            large.push(seq);
        }
        world.close(MOMENTUM, "5");
    }
    assert_eq!(audited(&world).differ, 0);

    let report = audited_by(&world, &Rules { strategy: no_large_orders, ..Rules::default() });
    assert_eq!(report.differing, large);
    assert_eq!(report.decisions, 6);
}

#[test]
fn a_scope_judges_its_part_on_the_whole_past() {
    let world = World::eventful();
    let run = |scope: audit::Scope| audit::audit(&world.reader(), &scope, &Rules::default(), 2, &mut |_| {});
    let one = run(audit::Scope { strategy: Some(read(REVERSION)), ..audit::Scope::default() }).unwrap();
    let other = run(audit::Scope { strategy: Some(read(MOMENTUM)), ..audit::Scope::default() }).unwrap();
    assert_eq!((one.differ, other.differ), (0, 0));
    assert_eq!(one.decisions + other.decisions, 112);

    let last = world.reader().head().seq;
    let tail = run(audit::Scope { from: Some(Seq(last.0 - 1)), ..audit::Scope::default() }).unwrap();
    assert_eq!((tail.commits, tail.differ, tail.decisions), (2, 0, 1));
    let head = run(audit::Scope { to: Some(Seq(3)), ..audit::Scope::default() }).unwrap();
    assert_eq!((head.commits, head.through), (3, Seq(3)));
}

#[test]
fn a_scope_that_the_log_does_not_have_says_what_would_do() {
    let world = World::registered();
    let run =
        |scope: audit::Scope| audit::audit(&world.reader(), &scope, &Rules::default(), 2, &mut |_| {}).unwrap_err();
    let unknown = run(audit::Scope { strategy: Some(read("momentun")), ..audit::Scope::default() });
    assert_eq!(unknown.to_string(), "the log has no strategy \"momentun\"; did you mean momentum?");
    let outside = run(audit::Scope { from: Some(Seq(99)), ..audit::Scope::default() });
    assert!(matches!(outside, ReplayError::SeqOutside { seq: Seq(99), last: Seq(2) }));
}

#[test]
fn approvals_proposals_and_a_silent_canary_come_out_again() {
    let mut world = World::at_level(Level::Gated);
    let approve =
        |id: &str, by: &str| Command::ApproveOrder { order_id: read(id), by: read(by), reason: "test".into() };
    let again = |id: &str, attempt: u32| {
        let Command::CheckOrder { order, .. } = check(id, "10") else { panic!("an order") };
        Command::CheckOrder { order, attempt }
    };
    for id in ["order-1", "order-2", "order-3"] {
        world.check(MOMENTUM, id, "10");
    }
    world.tell(MOMENTUM, &approve("order-1", "alice"));
    world.tell(MOMENTUM, &again("order-1", 1));
    world.tell(MOMENTUM, &approve("order-2", "alice"));
    let decline = Command::DeclineOrder { order_id: read("order-2"), by: read("bob"), reason: "test".into() };
    world.tell(MOMENTUM, &decline);
    world.tell(MOMENTUM, &approve("order-3", "alice"));
    world.at = world.at.plus_seconds(300);
    world.tell(MOMENTUM, &approve("order-3", "bob"));
    world.tell(MOMENTUM, &set_level(Level::Autonomous));
    let Command::CheckOrder { order, .. } = check("large-1", "4000") else { panic!("an order") };
    let order = Order { leverage: Some(read("5")), open_positions: Some(10), ..order };
    world.tell(MOMENTUM, &Command::CheckOrder { order, attempt: 0 });
    world.tell(MOMENTUM, &approve("large-1", "alice"));
    world.tell(MOMENTUM, &approve("large-1", "bob"));
    let mut stricter = Policy::default();
    stricter.maturity.demotion_loss_streak = 2;
    let (id, policy) = (stricter.id(), std::sync::Arc::new(stricter.clone()));
    world.tell_system(&system::Command::ProposePolicy { id, policy, by: read("bob"), reason: "test".into() });
    world.adopt(stricter);
    let results = [("feed".into(), None)].into();
    world.tell_system(&system::Command::RecordCanaryRound(canary::Round { results }));
    world.at = world.at.plus_seconds(91);
    let blocked = world.check(MOMENTUM, "order-4", "10");
    world.tell_system(&system::Command::RecordCanaryRound(canary::Round { results: [].into() }));

    let report = audited(&world);
    assert_eq!((report.differ, report.first), (0, None));
    let commit = world.reader().commit_of(blocked).unwrap().unwrap();
    let events = ephor_events::codec::decode_commit(&commit).unwrap();
    assert_eq!(events[0].decision().unwrap().action, Action::Block);
    let issued = world.strategies[&read(MOMENTUM)].0.tokens.active.len();
    assert_eq!(issued, 2, "for the order approved late, and for the critical one by two people");
}
