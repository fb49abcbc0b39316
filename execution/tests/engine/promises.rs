//! What the framework promises of its place in an execution engine, one test each.

use crate::house::{Journal, Says, block, code, engine, entry, exit, qty, send, signal, stages};
use ephor_execution::order::TradeSignal;
use ephor_execution::positions::Lane;
use ephor_execution::{Answer, Ask, Disabled, Gate, Report, ReportError};
use ephor_governance::gate::Execution;
use ephor_governance::ids::{SourceId, StrategyId};
use ephor_governance::order::{Intent, Side};
use ephor_governance::verdict::Action;

#[test]
fn the_gate_stands_between_deduplication_and_the_pre_trade_risk_check() {
    let says = Says::new(Action::Allow, 1.0);
    let journal = says.journal.clone();
    let mut engine = engine(Some(says), stages(10, &journal), &journal);
    journal.lock().unwrap().clear();
    block(engine.on_signal(&entry("o-1")));
    assert_eq!(*journal.lock().unwrap(), ["sized o-1", "asked o-1", "risk o-1", "submitted o-1"]);
    block(engine.on_executions()).unwrap();
    // A duplicate never reaches the gate.
    let asked = |journal: &Journal| journal.lock().unwrap().iter().filter(|what| what.starts_with("asked")).count();
    assert_eq!(code(&send(&mut engine, &entry("o-1"))), ("deduplication", "DEDUP_ORDER_ID"));
    assert_eq!(asked(&journal), 1);
}

#[test]
fn block_pause_and_kill_reject() {
    for action in [Action::Block, Action::Pause, Action::Kill] {
        let says = Says::new(action, 0.0);
        let journal = says.journal.clone();
        let mut engine = engine(Some(says), stages(10, &journal), &journal);
        let outcome = send(&mut engine, &entry("o-1"));
        assert_eq!(outcome.refused().unwrap().stage.as_str(), "governance", "{action:?}");
        assert_eq!(engine.live().submissions + engine.paper().submissions, 0, "{action:?}");
    }
}

#[test]
fn reduce_size_scales_down_to_a_lot_and_rejects_below_the_minimum() {
    let journal = Journal::default();
    for (size, multiplier, goes) in [(10, 0.25, Some(2)), (10, 0.5, Some(5)), (10, 0.99, Some(9)), (3, 0.25, None)] {
        let mut engine = engine(Some(Says::new(Action::ReduceSize, multiplier)), stages(size, &journal), &journal);
        let outcome = send(&mut engine, &entry("o-1"));
        match goes {
            Some(left) => assert_eq!(qty(&outcome), left.into(), "{size} x {multiplier}"),
            None => assert_eq!(code(&outcome), ("governance", "EXECUTION_BELOW_MINIMUM")),
        }
    }
}

#[test]
fn a_demotion_goes_on_at_the_new_levels_cap() {
    let journal = Journal::default();
    let mut engine = engine(Some(Says::new(Action::Demote, 0.25)), stages(100, &journal), &journal);
    assert_eq!(qty(&send(&mut engine, &entry("o-1"))), 25.into());
}

#[test]
fn shadow_orders_go_nowhere_and_paper_orders_to_the_paper_venue() {
    let journal = Journal::default();
    let shadow = Says { execution: Execution::None, ..Says::new(Action::Block, 0.0) };
    let mut shadowed = engine(Some(shadow), stages(100, &journal), &journal);
    assert_eq!(code(&send(&mut shadowed, &entry("o-1"))).0, "governance");
    let paper = Says { execution: Execution::Paper, ..Says::new(Action::Block, 0.0) };
    let mut engine = engine(Some(paper), stages(100, &journal), &journal);
    let outcome = send(&mut engine, &entry("o-1"));
    assert_eq!((outcome.submitted().unwrap().lane, qty(&outcome)), (Lane::Paper, 100.into()));
    assert_eq!((engine.live().submissions, engine.paper().submissions), (0, 1));
    // The exit goes where the position is held.
    let outcome = send(&mut engine, &exit("o-2"));
    assert_eq!((outcome.submitted().unwrap().lane, qty(&outcome)), (Lane::Paper, 100.into()));
}

#[test]
fn what_became_of_an_order_flows_back() {
    let says = Says::new(Action::Allow, 1.0);
    let reports = says.reports.clone();
    let journal = says.journal.clone();
    let mut engine = engine(Some(says), stages(10, &journal), &journal);
    engine.live().pieces = 3;
    send(&mut engine, &entry("o-1"));
    engine.live().rejects = true;
    send(&mut engine, &entry("o-2"));
    let told: Vec<String> = reports
        .lock()
        .unwrap()
        .iter()
        .map(|report| match report {
            ephor_execution::Report::Fill { fill, trace, .. } => format!("{trace} fill {} {}", fill.id, fill.qty),
            ephor_execution::Report::Order { report, .. } => format!("{} {:?}", report.id, report.status),
            ephor_execution::Report::Kill { reason, .. } => reason.clone(),
        })
        .collect();
    assert_eq!(told, ["o-1 fill o-1-1 3", "o-1 fill o-1-2 3", "o-1 fill o-1-3 4", "o-2/rejected Rejected"]);
}

/// Switched off, and never to be asked or told.
struct Off;

impl Gate for Off {
    async fn check(&self, ask: Ask) -> Answer {
        panic!("asked about {}", ask.order.id)
    }

    async fn report(&self, report: Report) -> Result<(), ReportError> {
        panic!("told of {report:?}")
    }

    fn has_decided(&self, _: &StrategyId, order: &SourceId) -> Option<bool> {
        panic!("asked about {order}")
    }

    fn is_off(&self) -> bool {
        true
    }
}

#[test]
fn a_gate_that_is_off_is_neither_asked_nor_told() {
    let journal = Journal::default();
    let mut engine = engine(Some(Off), stages(10, &journal), &journal);
    assert_eq!(qty(&send(&mut engine, &entry("o-1"))), 10.into());
    assert_eq!(qty(&send(&mut engine, &exit("o-2"))), 10.into());
}

/// Everything an engine does for a stream of signals, as a venue sees it.
fn orders(gate: Option<Disabled>) -> String {
    let journal = Journal::default();
    let mut engine = engine(gate, stages(7, &journal), &journal);
    for number in 0..200 {
        let (side, intent) = match number % 4 {
            0 => (Side::Buy, Intent::Entry),
            1 => (Side::Sell, Intent::Exit),
            2 => (Side::Sell, Intent::Entry),
            _ => (Side::Buy, Intent::Exit),
        };
        send(&mut engine, &TradeSignal { ..signal(&format!("o-{number}"), side, intent) });
    }
    assert_eq!(engine.paper().submissions, 0);
    let live = engine.live();
    format!("{:?}\n{:?}", live.orders, live.executions)
}

#[test]
fn with_governance_disabled_the_orders_are_byte_for_byte_those_without_the_stage() {
    let without = orders(None);
    assert!(without.contains("o-199"));
    assert_eq!(orders(Some(Disabled)), without);
}
