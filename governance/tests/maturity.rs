//! The ladder at its bounds: every threshold is strict, except the number of trades.

use ephor_governance::event::{Event, Registration};
use ephor_governance::maturity::{self, DemotionCause, Evidence, Level, Policy, State};
use ephor_governance::strategy::Command;
use ephor_governance::units::Amount;
use ephor_governance::verdict::{Action, Component, Reason};

use crate::given::{World, amount, order, read, reason_of, registration, second, set_level, verdict_of};

/// 50 trades, 23 wins (0.46), profit factor 1.5, ten thousand from start to end: climbs.
fn good() -> Evidence {
    Evidence {
        trades: 50,
        wins: 23,
        gross_win: amount("150"),
        gross_loss: amount("100"),
        ..Evidence::starting(second(0), amount("10000"))
    }
}

fn decided(level: Level, evidence: Evidence) -> Option<(Level, Option<DemotionCause>)> {
    decided_under(&Policy::default(), level, evidence)
}

fn decided_under(policy: &Policy, level: Level, evidence: Evidence) -> Option<(Level, Option<DemotionCause>)> {
    maturity::decide(&State { level, evidence }, second(100), policy).map(|event| match event {
        maturity::Event::Promoted { to, .. } => (to, None),
        maturity::Event::Demoted { to, cause, .. } => (to, Some(cause)),
    })
}

#[test]
fn a_good_record_climbs_exactly_one_level_and_nothing_above_the_top() {
    for level in Level::ALL {
        assert_eq!(decided(level, good()), level.next().map(|to| (to, None)), "{level}");
    }
}

#[test]
fn fifty_trades_are_enough_and_forty_nine_are_not() {
    assert!(decided(Level::Paper, good()).is_some());
    assert_eq!(decided(Level::Paper, Evidence { trades: 49, ..good() }), None);
}

#[test]
fn a_win_rate_of_exactly_the_bound_stays() {
    let at_bound = Evidence { trades: 100, wins: 45, ..good() };
    assert_eq!(decided(Level::Paper, at_bound), None);
    assert_eq!(decided(Level::Paper, Evidence { wins: 46, ..at_bound }), Some((Level::Gated, None)));
}

#[test]
fn a_profit_factor_of_exactly_the_bound_stays_and_no_losses_pass() {
    let at_bound = Evidence { gross_win: amount("110"), gross_loss: amount("100"), ..good() };
    assert_eq!(decided(Level::Paper, at_bound), None);
    assert!(decided(Level::Paper, Evidence { gross_win: amount("110.00000001"), ..at_bound }).is_some());
    assert!(decided(Level::Paper, Evidence { gross_loss: Amount::ZERO, ..at_bound }).is_some());
}

#[test]
fn a_drawdown_of_exactly_ten_percent_is_still_within_bounds() {
    let ten_percent = Evidence { equity: amount("9000"), ..Evidence::starting(second(0), amount("10000")) };
    assert_eq!(decided(Level::Autonomous, ten_percent), None);
    let beyond = Evidence { equity: amount("8999.99999999"), ..ten_percent };
    assert_eq!(decided(Level::Autonomous, beyond), Some((Level::Paper, Some(DemotionCause::Drawdown))));
}

#[test]
fn a_drawdown_falls_to_paper_and_from_paper_to_shadow() {
    let beyond = Evidence { equity: amount("8000"), ..Evidence::starting(second(0), amount("10000")) };
    let fall = |level| decided(level, beyond).map(|(to, _)| to);
    assert_eq!(
        Level::ALL.map(fall),
        [None, Some(Level::Shadow), Some(Level::Paper), Some(Level::Paper), Some(Level::Paper)]
    );
}

#[test]
fn ten_losses_in_a_row_stay_and_the_eleventh_falls_one_level() {
    let streak = |loss_streak| Evidence { loss_streak, ..Evidence::starting(second(0), amount("10000")) };
    let fall = |level| decided(level, streak(11)).map(|(to, _)| to);
    assert_eq!(decided(Level::Autonomous, streak(10)), None);
    assert_eq!(
        Level::ALL.map(fall),
        [None, Some(Level::Shadow), Some(Level::Paper), Some(Level::Gated), Some(Level::Constrained)]
    );
}

#[test]
fn both_causes_at_once_fall_to_the_lower_level() {
    let both = Evidence { loss_streak: 11, equity: amount("8000"), ..Evidence::starting(second(0), amount("10000")) };
    let expected = Some((Level::Paper, Some(DemotionCause::DrawdownAndLossStreak)));
    assert_eq!(decided(Level::Autonomous, both), expected);
    assert_eq!(decided(Level::Gated, both), expected);
}

#[test]
fn a_record_that_would_do_both_demotes() {
    let both = Evidence { loss_streak: 11, ..good() };
    assert_eq!(decided(Level::Constrained, both), Some((Level::Gated, Some(DemotionCause::LossStreak))));
}

#[test]
fn a_break_even_neither_adds_to_a_loss_streak_nor_ends_it() {
    let mut world = World::registered();
    world.close_many(10, "-1");
    world.close_many(5, "0");
    assert_eq!(world.state.maturity.evidence.loss_streak, 10);
    world.close("-1");
    assert_eq!(world.state.maturity.level, Level::Shadow);
}

#[test]
fn break_evens_count_as_trades_and_not_as_wins() {
    let mut world = World::registered();
    world.close_many(25, "10");
    world.close_many(25, "0");
    assert_eq!(world.state.maturity.level, Level::Gated);
    let mut world = World::registered();
    world.close_many(22, "10");
    world.close_many(28, "0");
    assert_eq!(world.state.maturity.level, Level::Paper);
}

#[test]
fn a_minimum_time_at_the_level_holds_a_promotion_back() {
    let policy = |seconds| Policy { promotion_seconds_min: seconds, ..Policy::default() };
    assert_eq!(decided_under(&policy(101), Level::Paper, good()), None);
    assert!(decided_under(&policy(100), Level::Paper, good()).is_some());
}

#[test]
fn from_the_approval_level_on_a_promotion_waits_for_a_person() {
    let policy = Policy { promotion_approval_from: Some(Level::Constrained), ..Policy::default() };
    assert!(decided_under(&policy, Level::Paper, good()).is_some());
    assert_eq!(decided_under(&policy, Level::Gated, good()), None);
    let state = State { level: Level::Gated, evidence: good() };
    assert_eq!(maturity::promotion_earned(&state, second(100), &policy), Some(Level::Constrained));
}

#[test]
fn evidence_starts_again_at_every_level() {
    let mut world = World::registered();
    world.close_many(50, "10");
    assert_eq!(world.state.maturity.level, Level::Gated);
    world.close_many(49, "10");
    assert_eq!(world.state.maturity.level, Level::Gated);
    world.close("10");
    assert_eq!(world.state.maturity.level, Level::Constrained);
    assert_eq!(world.state.maturity.evidence, Evidence::starting(second(0), amount("11000")));
}

#[test]
fn a_new_version_keeps_the_level_and_what_speaks_against_it_and_has_earned_nothing() {
    let mut world = World::at_level(Level::Constrained);
    world.close_many(40, "1");
    world.close_many(9, "-1");
    world.tell(&Command::Register(Registration { version_digest: "v2".into(), ..registration() })).unwrap();
    let fresh = State::entering(Level::Constrained, second(0), amount("10031"));
    let kept = Evidence { loss_streak: 9, peak: amount("10040"), ..fresh.evidence };
    assert_eq!(world.state.maturity, State { evidence: kept, ..fresh });
}

#[test]
fn new_versions_one_after_another_do_not_hold_off_a_demotion() {
    let mut world = World::at_level(Level::Autonomous);
    for version in 0..3 {
        world.close("-400");
        let version_digest = format!("v{version}").into();
        world.tell(&Command::Register(Registration { version_digest, ..registration() })).unwrap();
    }
    assert_eq!(world.state.maturity.level, Level::Paper);
}

#[test]
fn new_capital_of_the_same_version_does_not_wash_the_record() {
    let mut world = World::at_level(Level::Constrained);
    world.close_many(9, "-100");
    let richer = Registration { initial_capital: amount("20000"), ..registration() };
    world.tell(&Command::Register(richer)).unwrap();
    let evidence = world.state.maturity.evidence;
    assert_eq!((evidence.trades, evidence.loss_streak), (9, 9));
    // 9 % below the peak before, 9 % below it after: 9 100 of 10 000, 19 100 of 20 989.01.
    assert_eq!(evidence.equity, amount("19100"));
    assert!((evidence.drawdown() - 0.09).abs() < 1e-12);
}

#[test]
fn levels_below_gated_do_not_execute_and_the_others_are_capped() {
    let answer = |level| {
        let decision = World::at_level(level).check(order("order-1"));
        (decision.action, decision.multiplier.get())
    };
    assert_eq!(answer(Level::Shadow), (Action::Block, 0.0));
    assert_eq!(answer(Level::Paper), (Action::Block, 0.0));
    assert_eq!(answer(Level::Constrained), (Action::ReduceSize, 0.25));
    assert_eq!(answer(Level::Autonomous), (Action::Allow, 1.0));
}

#[test]
fn a_demotion_that_falls_due_before_an_order_is_recorded_with_it() {
    // Given a streak that the policy in force allows, when a stricter policy comes,
    let mut world = World::at_level(Level::Autonomous);
    world.close_many(6, "-1");
    let mut policy = ephor_governance::policy::Policy::default();
    policy.maturity.demotion_loss_streak = 5;
    world.adopt(policy);
    // then the next order demotes, and goes on at the new level's cap.
    let events = world.tell(&Command::CheckOrder { order: order("order-1"), attempt: 0 }).unwrap();
    let [Event::DecisionMade(decision), Event::MaturityTransitioned(_)] = &events[..] else { panic!("{events:?}") };
    assert_eq!((decision.action, decision.level), (Action::Demote, Level::Constrained));
    assert!((decision.multiplier.get() - 0.25).abs() < 1e-12);
    assert_eq!(verdict_of(decision, Component::Maturity).action, Action::Demote);
    assert!(matches!(reason_of(decision, Component::Maturity), Reason::MaturityDemotionDue { .. }));
    assert_eq!(world.state.maturity.level, Level::Constrained);
}

#[test]
fn a_person_may_lower_a_level_but_raises_it_only_with_evidence_or_by_saying_so() {
    let mut world = World::registered();
    let raise = |without_evidence| Command::SetLevel {
        to: Level::Gated,
        without_evidence,
        by: read("alice"),
        reason: "test".into(),
    };
    assert!(world.tell(&raise(false)).is_err());
    assert!(world.tell(&raise(true)).is_ok());
    assert!(world.tell(&set_level(Level::Shadow)).is_ok());
}

#[test]
fn every_way_to_write_a_level_is_read() {
    for (text, level) in [("L0_shadow", Level::Shadow), ("l2", Level::Gated), ("AUTONOMOUS", Level::Autonomous)] {
        assert_eq!(read::<Level>(text), level);
    }
    assert!("L5".parse::<Level>().is_err());
}
