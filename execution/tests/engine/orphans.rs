//! Fills of orders that nobody sent: counted, because the venue holds them, found, and stopped.

use std::sync::Arc;

use ephor_execution::breaker::Reach;
use ephor_execution::engine::ExecutionEngine;
use ephor_execution::positions::Lane;
use ephor_execution::reconcile::{Finding, Orphan};
use ephor_execution::state::State;
use ephor_execution::venue::{Execution, Filled, What};
use ephor_execution::{Answer, Ask, Gate, Report, ReportError};
use ephor_governance::ids::{SourceId, StrategyId};
use ephor_governance::order::Side;
use ephor_governance::units::Timestamp;
use ephor_governance::verdict::Action;

use crate::house::{Engine, Journal, Says, block, code, engine, entry, exit, prepare, qty, send, stages};

fn filled(order: &str, strategy: &str, side: Side, qty: i64) -> Execution {
    Execution {
        order_id: order.parse().unwrap(),
        strategy: strategy.parse().unwrap(),
        instrument: "ABC".parse().unwrap(),
        at: Timestamp::from_nanos(5),
        what: What::Filled(Filled {
            id: format!("{order}-{qty}").parse().unwrap(),
            side,
            qty: qty.into(),
            price: 100.into(),
            fee: 0.into(),
        }),
    }
}

fn open<G: Gate>(engine: &Engine<G>) -> Vec<String> {
    engine.breakers().all().map(|(reach, _)| reach.to_string()).collect()
}

#[test]
fn a_fill_of_an_order_that_nobody_sent_stops_its_strategy_and_is_found() {
    let says = Says::new(Action::Allow, 1.0);
    let mut engine = engine(Some(says.clone()), stages(10, &Journal::default()), &Journal::default());
    send(&mut engine, &entry("o-1"));
    assert_eq!(engine.reconcile().unwrap(), []);
    engine.live().executions.push(filled("stray", "momentum", Side::Sell, 3));
    block(engine.on_executions()).unwrap();
    // Counted and reported, as the venue has it.
    assert_eq!(says.reports.lock().unwrap().len(), 2);
    let momentum: StrategyId = "momentum".parse().unwrap();
    let abc = "ABC".parse().unwrap();
    assert_eq!(engine.positions().of(Lane::Live, &momentum, &abc), 7.into());
    assert_eq!(open(&engine), ["strategy:momentum"]);
    assert_eq!(code(&send(&mut engine, &entry("o-2"))), ("risk", "RISK_BREAKER_OPEN"));
    let orphan = Orphan {
        lane: Lane::Live,
        order_id: "stray".parse().unwrap(),
        fill_id: "stray-3".parse().unwrap(),
        strategy: Some(momentum.clone()),
        instrument: abc,
        qty: (-3).into(),
        at: Timestamp::from_nanos(5),
    };
    assert_eq!(engine.reconcile().unwrap(), [Finding::Orphan(orphan)]);
    // Told once; and what a person has closed stays closed.
    engine.close_breaker(&Reach::Strategy(momentum), &"alice".parse().unwrap());
    assert_eq!(engine.reconcile().unwrap(), []);
    assert_eq!(open(&engine), [""; 0]);
    assert_eq!(qty(&send(&mut engine, &exit("o-3"))), 7.into());
}

#[test]
fn a_fill_that_is_no_strategys_of_this_engine_stops_its_instrument() {
    let says = Says::new(Action::Allow, 1.0);
    let mut engine = engine(Some(says), stages(10, &Journal::default()), &Journal::default());
    block(engine.on_executions()).unwrap();
    engine.paper().executions.push(filled("stray", "nobody", Side::Buy, 3));
    block(engine.on_executions()).unwrap();
    assert_eq!(open(&engine), ["instrument:ABC"]);
    let found = engine.reconcile().unwrap();
    assert!(matches!(&found[..], [Finding::Orphan(Orphan { lane: Lane::Paper, strategy: None, .. })]), "{found:?}");
}

#[test]
fn every_fill_of_an_order_that_was_sent_is_its_own_however_late() {
    let says = Says::new(Action::Allow, 1.0);
    let journal = Journal::default();
    let mut before = engine(Some(says.clone()), stages(10, &journal), &journal);
    send(&mut before, &entry("o-1"));
    let late = |qty| filled("o-1", "momentum", Side::Buy, qty);
    before.live().executions.push(late(1));
    block(before.on_executions()).unwrap();
    assert_eq!(open(&before), [""; 0]);
    let state = before.state();
    let (mut live, paper) = before.into_venues();
    // While nobody ran, and when the next one does.
    live.executions.push(late(2));
    let mut after = ExecutionEngine::resume(Some(says), live, paper, stages(10, &journal), state).unwrap();
    prepare(&mut after);
    block(after.on_executions()).unwrap();
    after.live().executions.push(late(3));
    block(after.on_executions()).unwrap();
    assert_eq!(open(&after), [""; 0]);
    assert_eq!(after.reconcile().unwrap(), []);
}

#[test]
fn an_orphan_is_found_by_the_next_engine_and_by_one_alone() {
    let says = Says::new(Action::Allow, 1.0);
    let journal = Journal::default();
    let mut before = engine(Some(says.clone()), stages(10, &journal), &journal);
    block(before.on_executions()).unwrap();
    before.live().executions.push(filled("stray", "momentum", Side::Buy, 3));
    block(before.on_executions()).unwrap();
    let next = |before: Engine<Says>| {
        let text = serde_json::to_string(&before.state()).unwrap();
        let (live, paper) = before.into_venues();
        let state = State::from_json(&text).unwrap();
        let mut after = ExecutionEngine::resume(Some(says.clone()), live, paper, stages(10, &journal), state).unwrap();
        prepare(&mut after);
        block(after.on_executions()).unwrap();
        after
    };
    let mut after = next(before);
    assert_eq!(open(&after), ["strategy:momentum"]);
    assert_eq!(after.reconcile().unwrap().len(), 1);
    after.close_breaker(&Reach::Strategy("momentum".parse().unwrap()), &"alice".parse().unwrap());
    let mut third = next(after);
    assert_eq!(open(&third), [""; 0]);
    assert_eq!(third.reconcile().unwrap(), []);
}

/// Knows which orders were decided on.
#[derive(Clone)]
struct Knows(Says, Arc<[&'static str]>);

impl Gate for Knows {
    async fn check(&self, ask: Ask) -> Answer {
        self.0.check(ask).await
    }

    async fn report(&self, report: Report) -> Result<(), ReportError> {
        self.0.report(report).await
    }

    fn has_decided(&self, _: &StrategyId, order: &SourceId) -> Option<bool> {
        Some(self.1.contains(&order.as_str()))
    }
}

#[test]
fn governance_says_which_orders_were_sent_before_the_engine_started() {
    let says = Says::new(Action::Allow, 1.0);
    let journal = Journal::default();
    let mut before = engine(Some(says.clone()), stages(10, &journal), &journal);
    send(&mut before, &entry("o-1"));
    let (mut live, paper) = before.into_venues();
    // The venue has both orders; governance has heard of one.
    let mut order = live.orders.get(&"o-1".parse::<SourceId>().unwrap()).unwrap().clone();
    order.order.id = "stray".parse().unwrap();
    live.orders.insert(order.order.id.clone(), order);
    live.executions.push(filled("stray", "carry", Side::Buy, 3));
    let gate = Knows(says.clone(), ["o-1"].into());
    let mut after = ExecutionEngine::new(Some(gate), live.clone(), paper.clone(), stages(10, &journal));
    prepare(&mut after);
    block(after.on_executions()).unwrap();
    assert_eq!(open(&after), ["strategy:carry"]);
    // Where nobody can say, what the venue has from before is taken as sent.
    let mut unsure = ExecutionEngine::new(Some(says), live, paper, stages(10, &journal));
    prepare(&mut unsure);
    block(unsure.on_executions()).unwrap();
    assert_eq!(open(&unsure), [""; 0]);
}
