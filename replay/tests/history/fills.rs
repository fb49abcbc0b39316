//! Trades that come of fills: judged again, under another policy, and with some of them left out.

use ephor_events::Seq;
use ephor_governance::event::{Event, Unattributed};
use ephor_governance::ids::StrategyId;
use ephor_governance::maturity::Level;
use ephor_governance::policy::Policy;
use ephor_governance::strategy::Command;
use ephor_governance::units::Amount;
use ephor_replay::ReplayError;
use ephor_replay::at::known;
use ephor_replay::audit::{Rules, Scope, audit};
use ephor_replay::what_if::{Outcome, Pair, Variant, what_if};
use ephor_replay::why::otherwise::Otherwise;
use ephor_replay::why::{Happening, Target, why};
use proptest::prelude::*;

use crate::random::{self, steps};
use crate::world::{MOMENTUM, World, read};

fn fill(world: &mut World, number: usize, order: &str, qty: i64, price: i64) -> Seq {
    world.happened = Some(world.at);
    let Command::RecordFill { mut fill, netting, currency } = random::fill(number, qty, price, world.at) else {
        panic!("a fill")
    };
    (fill.order_id, fill.account, fill.fee) = (Some(read(order)), None, None);
    let seq = world.tell(MOMENTUM, &Command::RecordFill { fill, netting, currency });
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
        fill(&mut world, 2 * number + 1, "exit", -10, 99);
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
    let fills: Vec<Seq> = (0..11).map(|number| fill(&mut world, 10 + number, "exit", -1, 90)).collect();
    let why = why(&world.reader(), &Target::Last(read(MOMENTUM), Happening::Demotion)).unwrap();
    let Otherwise { trades, .. } = why.otherwise.unwrap();
    let trades = trades.unwrap();
    // Any one of the eleven losses in a row; each stands behind its fill.
    let found: Vec<Seq> = trades.any_one.iter().map(|trade| trade.seq).collect();
    assert_eq!(found, fills.iter().map(|fill| Seq(fill.0 + 1)).collect::<Vec<_>>());
    assert!(trades.any_one.iter().all(|trade| trade.pnl == Amount::from(-10)));
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
