//! Trades that come of fills: judged again, under another policy, and with some of them left out.

use ephor_events::{Seq, StreamId};
use ephor_governance::event::{Event, Unattributed};
use ephor_governance::fill::Pieces;
use ephor_governance::ids::StrategyId;
use ephor_governance::maturity::Level;
use ephor_governance::order::{OrderReport, OrderStatus, Side};
use ephor_governance::policy::Policy;
use ephor_governance::strategy::{self, Command};
use ephor_governance::units::Amount;
use ephor_replay::ReplayError;
use ephor_replay::at::known;
use ephor_replay::audit::{Rules, Scope, audit};
use ephor_replay::what_if::{Outcome, Pair, Variant, what_if};
use ephor_replay::why::otherwise::Otherwise;
use ephor_replay::why::{Because, Happening, Target, why};
use ephor_snapshots::restore;
use proptest::prelude::*;

use crate::random::{self, steps};
use crate::world::{MOMENTUM, World, read};

fn fill(world: &mut World, number: usize, order: &str, qty: i64, price: i64) -> Seq {
    world.happened = Some(world.at);
    let Command::RecordFill { mut fill, netting, .. } = random::fill(number, qty, price, world.at) else {
        panic!("a fill")
    };
    (fill.order_id, fill.account, fill.fee) = (Some(read(order)), None, None);
    let pieces = if world.before_orders { Pieces::Apart } else { Pieces::Together };
    let seq = world.tell(MOMENTUM, &Command::RecordFill { fill, netting, pieces, currency: None });
    world.happened = None;
    seq
}

fn under(world: &World, change: impl FnOnce(&mut Policy)) -> Outcome {
    let mut policy = Policy::default();
    change(&mut policy);
    let variants = [Variant::new("other", policy)];
    what_if(&world.reader(), &Scope::default(), &variants, &mut |_| {}).unwrap().policies.remove(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_history_with_fills_in_it_comes_out_again(steps in steps()) {
        let world = random::world(&steps);
        let report = audit(&world.reader(), &Scope::default(), &Rules::default(), 1, &mut |_| {}).unwrap();
        prop_assert_eq!((report.differ, report.first), (0, None));
        let same = what_if(&world.reader(), &Scope::default(), &[Variant::new("same", Policy::default())], &mut |_| {});
        let outcome = same.unwrap().policies.remove(0);
        prop_assert!(!outcome.differs() && outcome.not_derived == 0 && outcome.refused.commands == 0);
    }
}

#[test]
fn a_trade_of_fills_is_as_large_as_its_order_would_have_been() {
    let mut world = World::at_level(Level::Constrained);
    world.check(MOMENTUM, "order-1", "10");
    fill(&mut world, 1, "order-1", 10, 100);
    fill(&mut world, 2, "order-2", -10, 90);
    let smaller = under(&world, |policy| policy.maturity.sizing_caps = [0.0, 0.0, 0.1, 0.1, 1.0]);
    let trades = smaller.strategies[0].trades;
    assert_eq!((trades.smaller.trades, trades.untied.trades, smaller.not_derived), (1, 0, 0));
    assert_eq!(trades.smaller.qty, Pair { before: read("10"), after: read("4") });
    assert_eq!(trades.smaller.pnl, Pair { before: read("-100"), after: read("-40") });
}

#[test]
fn a_trade_of_fills_that_would_not_have_been_taken_is_no_evidence() {
    let mut world = World::at_level(Level::Autonomous);
    for number in 0..11 {
        let order = format!("order-{number}");
        world.check(MOMENTUM, &order, "10");
        fill(&mut world, 2 * number, &order, 10, 100);
        fill(&mut world, 2 * number + 1, &format!("exit-{number}"), -10, 99);
    }
    let outcome = under(&world, |policy| policy.execution_tokens.required = true);
    let strategy = &outcome.strategies[0];
    assert_eq!(strategy.trades.not_taken.pnl, Pair { before: read("-110"), after: Amount::ZERO });
    assert_eq!(strategy.level, Pair { before: Some(Level::Constrained), after: Some(Level::Autonomous) });
}

#[test]
fn why_leaves_out_what_a_fill_closed_and_keeps_its_book() {
    let mut world = World::at_level(Level::Autonomous);
    fill(&mut world, 1, "order-1", 100, 100);
    let fills: Vec<Seq> =
        (0..11).map(|number| fill(&mut world, 10 + number, &format!("exit-{number}"), -1, 90)).collect();
    let why = why(&world.reader(), &Target::Last(read(MOMENTUM), Happening::Demotion)).unwrap();
    let Otherwise { trades, .. } = why.otherwise.unwrap();
    let trades = trades.unwrap();
    // Any one of the eleven losses in a row; each stands behind its fill.
    let found: Vec<Seq> = trades.any_one.iter().map(|trade| trade.seq).collect();
    assert_eq!(found, fills.iter().map(|fill| Seq(fill.0 + 1)).collect::<Vec<_>>());
    assert!(trades.any_one.iter().all(|trade| trade.pnl == Amount::from(-10)));
}

/// A position of a hundred, and an order for ten of it in so many pieces of one.
fn in_pieces(world: &mut World, from: usize, order: &str, prices: &[i64]) {
    for (number, price) in (from..).zip(prices) {
        fill(world, number, order, -1, *price);
    }
}

fn differs(world: &World) -> u64 {
    audit(&world.reader(), &Scope::default(), &Rules::default(), 1, &mut |_| {}).unwrap().differ
}

fn trades(world: &World) -> u32 {
    world.strategies[&read(MOMENTUM)].0.totals.trades
}

#[test]
fn a_log_of_before_orders_were_one_trade_keeps_its_meaning() {
    let mut world = World::at_level(Level::Autonomous);
    world.before_orders = true;
    fill(&mut world, 1, "order-1", 100, 100);
    in_pieces(&mut world, 10, "exit", &[90; 11]);
    assert_eq!((trades(&world), differs(&world)), (11, 0), "each piece was a trade, and a reason to fall");
    let then = world.strategies[&read(MOMENTUM)].0.clone();
    assert_eq!(then.maturity.level, Level::Constrained);
    assert!(then.closing.is_empty());
    // What comes since: of the same order one trade more, whatever its pieces.
    world.before_orders = false;
    in_pieces(&mut world, 30, "exit", &[90; 5]);
    assert_eq!((trades(&world), differs(&world)), (12, 0));
    let folded = restore(&world.reader(), None, &StreamId::new(MOMENTUM), None, strategy::evolve).unwrap();
    assert_eq!(folded.state, world.strategies[&read(MOMENTUM)].0, "and it folds to what it was");
    let outcome = under(&world, |_| {});
    assert!(!outcome.differs() && outcome.refused.commands == 0);
}

#[test]
fn what_if_counts_orders_and_not_their_pieces() {
    let mut world = World::at_level(Level::Autonomous);
    fill(&mut world, 1, "order-1", 100, 100);
    for order in 0..12 {
        in_pieces(&mut world, 10 + 10 * order, &format!("exit-{order}"), &[90, 95]);
    }
    assert_eq!(differs(&world), 0);
    let outcome = under(&world, |policy| policy.maturity.demotion_loss_streak = 11);
    let strategy = &outcome.strategies[0];
    assert_eq!((strategy.trades.untied.trades, strategy.trades.untied.pnl), (u64::from(trades(&world)), read("-180")));
    let moved: Vec<_> = strategy.changes.iter().map(|change| (change.before, change.after)).collect();
    // The eleventh order falls by the policy of history, the twelfth by the other: each with its first piece.
    assert_eq!((strategy.demotions, moved.len()), (Pair { before: 1, after: 1 }, 1), "{moved:?}");
}

#[test]
fn why_leaves_out_all_pieces_of_an_order() {
    let mut world = World::at_level(Level::Autonomous);
    fill(&mut world, 1, "order-1", 100, 100);
    for order in 0..11 {
        in_pieces(&mut world, 10 + 10 * order, &format!("exit-{order}"), &[90, 95]);
    }
    let why = why(&world.reader(), &Target::Last(read(MOMENTUM), Happening::Demotion)).unwrap();
    let trades = why.otherwise.unwrap().trades.unwrap();
    assert_eq!((trades.any_one.len(), trades.looked_at, trades.trades), (11, 11, 11));
    // Of the last there was one piece when it fell.
    let results: Vec<Amount> = trades.any_one.iter().map(|trade| trade.pnl).collect();
    assert_eq!((results[0], results[10]), (Amount::from(-15), Amount::from(-10)));
    let Because::Demotion { losses: Some(run), .. } = why.because else { panic!("{:?}", why.because) };
    let numbers: Vec<u32> = run.steps.iter().map(|step| step.number).collect();
    assert_eq!((numbers.first(), numbers.last(), run.steps.len()), (Some(&1), Some(&11), 21));
    assert_eq!(run.steps.iter().filter(|step| step.amends.is_some()).count(), 10);
}

#[test]
fn an_execution_that_a_report_tells_of_too_fills_its_order_once() {
    let mut world = World::at_level(Level::Autonomous);
    world.check(MOMENTUM, "order-1", "10");
    let opened = world.at;
    fill(&mut world, 1, "order-1", 10, 100);
    world.happened = Some(opened);
    world.tell(
        MOMENTUM,
        &Command::ReportOrder(OrderReport {
            id: read("report-1"),
            instrument: read("GOOG.NASDAQ"),
            order_id: Some(read("order-1")),
            status: OrderStatus::Filled,
            side: Some(Side::Buy),
            qty: Some(read("10")),
            price: None,
            position_qty: None,
            equity: None,
            commission: None,
            reason: None,
        }),
    );
    world.happened = None;
    fill(&mut world, 2, "exit", -10, 90);
    let outcome = under(&world, |policy| policy.health_score.sizing_floor = 0.2);
    let trades = outcome.strategies[0].trades;
    assert_eq!((trades.unchanged.trades, trades.untied.trades, trades.overfilled), (1, 0, 0));
}

#[test]
fn what_belongs_to_nobody_is_in_the_log_and_among_no_strategies() {
    let mut world = World::registered();
    let received = Unattributed {
        id: read("exec-1"),
        source: "fix".into(),
        kind: "fill".into(),
        content: "{}".to_owned(),
        reason: "no rule matches".to_owned(),
    };
    let events = vec![Event::UnattributedReceived(received.clone())];
    let view = world.system.0;
    // The world reads names as they come in, and this is none that may come in.
    assert!("UNATTRIBUTED".parse::<StrategyId>().is_err());
    let seq = world.append_to(StrategyId::unattributed(), view, Some(&Command::RecordUnattributed(received)), events);
    assert!(known(&world.reader(), &StrategyId::unattributed()).is_ok(), "its events can be asked for");
    let Err(ReplayError::UnknownStrategy { nearest, .. }) = known(&world.reader(), &read("UNATTRIBUTE")) else {
        panic!("nobody has that name");
    };
    assert!(!nearest.iter().any(|name| name == "UNATTRIBUTED"), "{nearest:?}");
    let report = audit(&world.reader(), &Scope::default(), &Rules::default(), 1, &mut |_| {}).unwrap();
    assert_eq!((report.differ, report.through), (0, seq));
    let outcome = under(&world, |_| {});
    assert_eq!(outcome.strategies.len(), 1);
}
