//! After the order: post-trade checks, what cannot be reported, what a crash leaves.

use ephor_execution::Report;
use ephor_execution::breaker::Reach;
use ephor_execution::engine::{EngineError, ExecutionEngine};
use ephor_execution::order::TradeSignal;
use ephor_execution::outcome::Outcome;
use ephor_execution::post::{DrawdownMonitor, LossBreaker, PostTrade, RejectionBreaker};
use ephor_execution::reconcile::Finding;
use ephor_governance::event::Scope;
use ephor_governance::units::{Amount, Timestamp};
use ephor_governance::verdict::Action;

use crate::house::{Engine, Journal, Says, block, code, engine, entry, exit, prepare, qty, send, stages};

fn with(check: impl PostTrade + Send + 'static) -> (Engine<Says>, Says) {
    let journal = Journal::default();
    let mut stages = stages(100, &journal);
    stages.post_trade.push(Box::new(check));
    let says = Says::new(Action::Allow, 1.0);
    (engine(Some(says.clone()), stages, &journal), says)
}

fn price(engine: &mut Engine<Says>, price: i64, at: i64) {
    block(engine.on_price(&"ABC".parse().unwrap(), price.into(), Timestamp::from_nanos(at))).unwrap();
}

#[test]
fn a_drawdown_opens_the_strategys_breaker_and_then_asks_for_the_kill_switch_once() {
    // 100 at 100 of 100 000: a price of 90 is a fall of 1 001 with the fee.
    let (mut engine, says) = with(DrawdownMonitor::new(Amount::new(1, 2), Some(Amount::new(2, 2))));
    send(&mut engine, &entry("o-1"));
    price(&mut engine, 91, 2_000_000_000);
    assert_eq!(engine.breakers().all().count(), 0);
    price(&mut engine, 89, 3_000_000_000);
    let reach = Reach::Strategy("momentum".parse().unwrap());
    assert_eq!(engine.breakers().all().map(|(reach, _)| reach.clone()).collect::<Vec<_>>(), [reach]);
    assert_eq!(code(&send(&mut engine, &entry("o-2"))), ("risk", "RISK_BREAKER_OPEN"));
    price(&mut engine, 79, 4_000_000_000);
    price(&mut engine, 78, 5_000_000_000);
    let killed = says.reports.lock().unwrap().iter().filter(|report| matches!(report, Report::Kill { scope, .. } if *scope == Scope::Strategy("momentum".parse().unwrap()))).count();
    assert_eq!(killed, 1);
}

#[test]
fn a_loss_of_all_together_opens_the_breaker_of_everything() {
    let (mut engine, _) = with(LossBreaker::new(500.into()));
    send(&mut engine, &entry("o-1"));
    price(&mut engine, 96, 2_000_000_000);
    assert_eq!(engine.breakers().all().count(), 0);
    price(&mut engine, 94, 3_000_000_000);
    let other = TradeSignal { strategy: "carry".parse().unwrap(), ..entry("o-2") };
    assert_eq!(code(&send(&mut engine, &other)), ("risk", "RISK_BREAKER_OPEN"));
    // Closed, it counts from where it stands.
    engine.close_breaker(&Reach::All, &"alice".parse().unwrap());
    price(&mut engine, 93, 4_000_000_000);
    let later = TradeSignal { id: "o-3".parse().unwrap(), ..other };
    assert_eq!(qty(&send(&mut engine, &later)), 100.into());
}

#[test]
fn a_venue_that_rejects_everything_is_left_alone() {
    let (mut engine, _) = with(RejectionBreaker::by_instrument(2));
    engine.live().rejects = true;
    for number in 0..3 {
        send(&mut engine, &entry(&format!("o-{number}")));
    }
    let open: Vec<_> = engine.breakers().all().map(|(reach, _)| reach.to_string()).collect();
    assert_eq!(open, ["instrument:ABC"]);
    assert_eq!(code(&send(&mut engine, &entry("o-9"))), ("risk", "RISK_BREAKER_OPEN"));
}

#[test]
fn a_position_that_differs_from_the_venues_stops_its_strategy() {
    let (mut engine, _) = with(LossBreaker::new(1_000_000.into()));
    send(&mut engine, &entry("o-1"));
    assert_eq!(engine.reconcile().unwrap(), []);
    // A fill that the venue forgot to tell of.
    let lost = engine.live().executions.pop().unwrap();
    let found = engine.reconcile().unwrap();
    let [Finding::Position(found)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((found.own, found.venue), (100.into(), Amount::ZERO));
    assert_eq!(code(&send(&mut engine, &entry("o-2"))), ("risk", "RISK_BREAKER_OPEN"));
    engine.live().executions.push(lost);
}

#[test]
fn a_fill_that_cannot_be_reported_is_not_counted_and_comes_again() {
    let (mut engine, says) = with(LossBreaker::new(1_000_000.into()));
    *says.is_away.lock().unwrap() = true;
    block(engine.on_signal(&entry("o-1")));
    let error = block(engine.on_executions()).unwrap_err();
    assert!(matches!(error, EngineError::Report(_)) && error.is_retryable(), "{error}");
    let held = |engine: &Engine<Says>| engine.positions().all().map(|(.., qty)| qty).collect::<Vec<_>>();
    assert!(held(&engine).is_empty());
    *says.is_away.lock().unwrap() = false;
    block(engine.on_executions()).unwrap();
    assert_eq!(held(&engine), [Amount::from(100)]);
    assert_eq!(says.reports.lock().unwrap().len(), 1);
}

#[test]
fn an_engine_that_comes_back_sends_nothing_twice_and_knows_every_fill() {
    let journal = Journal::default();
    let says = Says::new(Action::Allow, 1.0);
    let mut before = engine(Some(says.clone()), stages(10, &journal), &journal);
    before.live().pieces = 3;
    // Submitted, and nothing of it taken in.
    block(before.on_signal(&entry("o-1")));
    let (live, paper) = before.into_venues();
    let mut after = ExecutionEngine::new(Some(says), live, paper, stages(10, &journal));
    prepare(&mut after);
    block(after.on_executions()).unwrap();
    assert_eq!(after.positions().all().map(|(.., qty)| qty).collect::<Vec<_>>(), [Amount::from(10)]);
    assert_eq!(code(&send(&mut after, &entry("o-1"))), ("deduplication", "DEDUP_ORDER_ID"));
    assert_eq!(after.live().submissions, 1);
    assert!(after.working().is_empty());
}

#[test]
fn a_venue_that_cannot_be_reached_gets_the_order_when_the_signal_comes_again() {
    let (mut engine, _) = with(LossBreaker::new(1_000_000.into()));
    block(engine.on_executions()).unwrap();
    engine.live().is_away = true;
    let outcome = block(engine.on_signal(&entry("o-1")));
    assert_eq!(code(&outcome), ("submission", "VENUE_UNREACHABLE"));
    assert!(matches!(block(engine.on_executions()), Err(EngineError::Venue { .. })));
    engine.live().is_away = false;
    assert!(matches!(send(&mut engine, &entry("o-1")), Outcome::Submitted(_)));
    assert_eq!(qty(&send(&mut engine, &exit("o-2"))), 100.into());
}

#[test]
fn a_kill_stops_the_strategy_here_before_it_is_recorded() {
    let (mut engine, says) = with(DrawdownMonitor::new(Amount::ONE, Some(Amount::new(1, 2))));
    send(&mut engine, &entry("o-1"));
    *says.is_away.lock().unwrap() = true;
    let abc = "ABC".parse().unwrap();
    let fallen = block(engine.on_price(&abc, 50.into(), Timestamp::from_nanos(2_000_000_000)));
    assert!(fallen.unwrap_err().is_retryable());
    assert_eq!(code(&block(engine.on_signal(&entry("o-2")))), ("risk", "RISK_BREAKER_OPEN"));
    *says.is_away.lock().unwrap() = false;
    block(engine.on_executions()).unwrap();
    let killed = says.reports.lock().unwrap().iter().filter(|report| matches!(report, Report::Kill { .. })).count();
    assert_eq!(killed, 1);
}

/// A crash, and a caller that sends its signal again without a look at what venues have done.
fn come_back(says: &Says, size: i64, sent: impl FnOnce(&mut Engine<Says>)) -> Engine<Says> {
    let journal = Journal::default();
    let mut before = engine(Some(says.clone()), stages(10, &journal), &journal);
    sent(&mut before);
    let (live, paper) = before.into_venues();
    let mut after = ExecutionEngine::new(Some(says.clone()), live, paper, stages(size, &journal));
    prepare(&mut after);
    after
}

#[test]
fn no_order_leaves_before_what_venues_had_done_is_known() {
    let says = Says::new(Action::Allow, 1.0);
    let mut after = come_back(&says, 10, |before| {
        block(before.on_signal(&entry("o-1")));
    });
    // The exit finds the position, though nobody has asked the venue before.
    assert_eq!(qty(&block(after.on_signal(&exit("o-2")))), 10.into());
    let mut away = come_back(&says, 10, |before| before.live().is_away = true);
    assert_eq!(code(&block(away.on_signal(&entry("o-3")))), ("deduplication", "EXECUTION_NOT_CAUGHT_UP"));
    away.live().is_away = false;
    assert_eq!(qty(&block(away.on_signal(&entry("o-3")))), 10.into());
}

#[test]
fn an_order_that_the_venue_has_and_has_not_told_of_is_not_sent_in_another_size() {
    let says = Says::new(Action::Allow, 1.0);
    let mut after = come_back(&says, 12, |before| {
        block(before.on_signal(&entry("o-1")));
        before.live().executions.clear();
    });
    assert_eq!(code(&block(after.on_signal(&entry("o-1")))), ("submission", "DEDUP_ORDER_ID"));
    assert_eq!(after.live().submissions, 1);
}
