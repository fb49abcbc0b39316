//! History under another policy: what would have been otherwise is named, and the same policy changes nothing.

use ephor_events::Seq;
use ephor_governance::canary::{FailureAction, Round};
use ephor_governance::event;
use ephor_governance::maturity::Level;
use ephor_governance::order::{OrderReport, OrderStatus, Side};
use ephor_governance::policy::Policy;
use ephor_governance::strategy::Command;
use ephor_governance::system;
use ephor_governance::trade::Trade;
use ephor_governance::units::{Amount, Timestamp};
use ephor_governance::verdict::Action;
use ephor_replay::ReplayError;
use ephor_replay::audit::Scope;
use ephor_replay::what_if::{Change, Kind, Outcome, Pair, Place, Report, Variant, totals, what_if};
use proptest::prelude::*;

use crate::world::{MOMENTUM, REVERSION, World, check, read, set_level};

fn policy(change: impl FnOnce(&mut Policy)) -> Policy {
    let mut policy = Policy::default();
    change(&mut policy);
    policy
}

fn report(world: &World, scope: &Scope, policies: &[Policy]) -> Report {
    let variants: Vec<Variant> =
        policies.iter().enumerate().map(|(place, policy)| Variant::new(format!("p{place}"), policy.clone())).collect();
    what_if(&world.reader(), scope, &variants, &mut |_| {}).unwrap()
}

fn under(world: &World, policy: Policy) -> Outcome {
    report(world, &Scope::default(), &[policy]).policies.remove(0)
}

#[track_caller]
fn assert_nothing_differs(outcome: &Outcome) {
    assert_eq!(outcome.first, None);
    assert!(!outcome.differs(), "{outcome:#?}");
    assert_eq!((outcome.refused.commands, outcome.not_derived), (0, 0), "{:?}", outcome.refused);
    assert_eq!(outcome.promotions.before, outcome.promotions.after);
    assert_eq!(outcome.demotions.before, outcome.demotions.after);
    assert_eq!(outcome.pauses.before, outcome.pauses.after);
    assert_eq!(outcome.drawdown.before.to_bits(), outcome.drawdown.after.to_bits());
    for (row, counts) in outcome.matrix.0.iter().enumerate() {
        for (column, count) in counts.iter().enumerate() {
            assert!(row == column || *count == 0, "{row} {column}");
        }
    }
    for sums in outcome.sums.values() {
        assert_eq!(sums.pnl.before, sums.pnl.after);
        let trades = &sums.trades;
        let otherwise =
            [trades.smaller.trades, trades.larger.trades, trades.not_taken.trades, trades.let_through.trades];
        assert_eq!(otherwise, [0; 4]);
    }
}

/// A trade that says which order opened it.
fn trade_of(world: &mut World, order: &str, pnl: &str) -> Command {
    let Command::CloseTrade(trade) = world.trade(pnl) else { panic!("a trade") };
    Command::CloseTrade(Trade { order_id: Some(read(order)), ..trade })
}

/// An order checked and the trade that came of it.
fn round_trip(world: &mut World, order: &str, pnl: &str) {
    world.check(MOMENTUM, order, "10");
    let trade = trade_of(world, order, pnl);
    world.tell(MOMENTUM, &trade);
}

fn filled(id: &str, order: &str, qty: &str) -> Command {
    Command::ReportOrder(OrderReport {
        id: read(id),
        instrument: read("GOOG.NASDAQ"),
        order_id: Some(read(order)),
        status: OrderStatus::Filled,
        side: Some(Side::Buy),
        qty: Some(read(qty)),
        price: Some(read("100")),
        position_qty: None,
        equity: None,
        commission: None,
        reason: None,
    })
}

fn seqs(change: &Change) -> (Option<Seq>, Option<Seq>) {
    let seq = |place: Option<Place>| place.map(|place| place.seq);
    (seq(change.before), seq(change.after))
}

#[test]
fn the_policy_of_history_gives_history() {
    let world = World::eventful();
    let strict = world.system.1.policy.clone();
    let until = world.reader().streams().iter().map(|(_, version)| version.0).sum::<u64>();
    assert!(until > 200, "a history worth the name");
    let adopted = (1..=until).map(Seq).rev().find(|seq| {
        let commit = world.reader().commit_of(*seq).unwrap().unwrap();
        commit.stream.is_system() && commit.seq.0 > 10 && commit.version.0 == 3
    });
    let adopted = adopted.unwrap();
    let before = Scope { to: Some(Seq(adopted.0 - 1)), ..Scope::default() };
    let first = report(&world, &before, &[Policy::default()]);
    assert_nothing_differs(&first.policies[0]);
    assert_eq!((first.from, first.through), (Seq(1), before.to.unwrap()));
    assert_eq!(first.policies[0].orders.decided, 110);

    let after = Scope { from: Some(adopted), ..Scope::default() };
    let second = report(&world, &after, &[(*strict).clone()]);
    assert_nothing_differs(&second.policies[0]);
    assert_eq!((second.policies[0].orders.decided, second.adoptions_replaced), (2, 1));
}

#[test]
fn the_other_policy_stands_in_for_every_adoption_from_the_scope_on() {
    let mut world = World::at_level(Level::Autonomous);
    world.adopt(policy(|policy| policy.maturity.demotion_loss_streak = 2));
    for _ in 0..3 {
        world.close(MOMENTUM, "-1");
    }
    let outcome = under(&world, Policy::default());
    assert_eq!((outcome.demotions.before, outcome.demotions.after), (1, 0));
    let gone: Vec<&Change> = outcome.strategies.iter().flat_map(|strategy| &strategy.changes).collect();
    assert_eq!((gone.len(), gone[0].kind, gone[0].after), (1, Kind::Demoted, None));
}

#[test]
fn a_stricter_drawdown_demotes_earlier_and_its_place_is_named() {
    let mut world = World::at_level(Level::Autonomous);
    let sixth: Vec<Seq> = (0..6).map(|_| world.close(MOMENTUM, "-200")).collect();
    let outcome = under(&world, policy(|policy| policy.maturity.demotion_drawdown = read("0.05")));
    let [strategy] = outcome.strategies.as_slice() else { panic!("one strategy") };
    let moved: Vec<_> = strategy.changes.iter().filter(|change| change.from == Some(Level::Autonomous)).collect();
    assert_eq!(moved.iter().map(|change| seqs(change)).collect::<Vec<_>>(), [(Some(sixth[5]), Some(sixth[2]))]);
    assert_eq!(strategy.level, Pair { before: Some(Level::Paper), after: Some(Level::Shadow) });
}

#[test]
fn a_trade_is_as_large_as_its_order_would_have_been() {
    let mut world = World::at_level(Level::Constrained);
    round_trip(&mut world, "order-1", "-100");
    let smaller = under(&world, policy(|policy| policy.maturity.sizing_caps = [0.0, 0.0, 0.1, 0.1, 1.0]));
    assert_eq!((smaller.orders.reduced, smaller.orders.changed), (1, 1));
    let trades = smaller.strategies[0].trades;
    assert_eq!(trades.smaller.trades, 1);
    assert_eq!(trades.smaller.qty, Pair { before: read("10"), after: read("4") });
    assert_eq!(trades.smaller.notional, Pair { before: read("1000"), after: read("400") });
    assert_eq!(trades.smaller.pnl, Pair { before: read("-100"), after: read("-40") });
    let Pair { before, after } = smaller.drawdown;
    assert!((before - 0.01).abs() < 1e-12 && (after - 0.004).abs() < 1e-12, "{before} {after}");

    let larger = under(&world, policy(|policy| policy.maturity.sizing_caps = [0.0, 0.0, 0.1, 0.5, 1.0]));
    assert_eq!(larger.strategies[0].trades.larger.pnl, Pair { before: read("-100"), after: read("-200") });
    assert_eq!(larger.matrix.0[1][1], 1, "still a smaller size than asked for");
}

#[test]
fn a_result_in_units_of_known_risk_does_not_change_with_size() {
    let mut world = World::at_level(Level::Autonomous);
    for number in 0..5 {
        let order = format!("order-{number}");
        world.check(MOMENTUM, &order, "10");
        let Command::CloseTrade(trade) = trade_of(&mut world, &order, "-100") else { panic!("a trade") };
        world.tell(MOMENTUM, &Command::CloseTrade(Trade { initial_risk: Some(read("50")), ..trade }));
    }
    // Each loses two R at any size: from the fourth order on health is below the cap on both sides, and the same.
    let halved = under(&world, policy(|policy| policy.maturity.sizing_caps = [0.0, 0.0, 0.1, 0.25, 0.5]));
    assert_eq!((halved.orders.reduced, halved.orders.larger, halved.orders.decided), (3, 0, 5));
    let trades = &halved.strategies[0].trades;
    assert_eq!((trades.smaller.trades, trades.unchanged.trades), (3, 2));
}

#[test]
fn a_trade_that_would_not_have_been_taken_is_no_evidence() {
    let mut world = World::at_level(Level::Autonomous);
    for number in 0..11 {
        round_trip(&mut world, &format!("order-{number}"), "-10");
    }
    let before = world.strategies.values().next().unwrap().0.maturity.level;
    assert_eq!(before, Level::Constrained, "eleven losses in a row");
    let outcome = under(&world, policy(|policy| policy.execution_tokens.required = true));
    let strategy = &outcome.strategies[0];
    assert_eq!(outcome.orders.blocked, 11);
    assert_eq!(strategy.trades.not_taken.trades, 11);
    assert_eq!(strategy.trades.not_taken.pnl, Pair { before: read("-110"), after: Amount::ZERO });
    assert_eq!(strategy.level, Pair { before: Some(Level::Constrained), after: Some(Level::Autonomous) });
    assert_eq!((outcome.demotions.before, outcome.demotions.after), (1, 0));
    assert_eq!(outcome.drawdown.after.to_bits(), 0.0_f64.to_bits());
}

#[test]
fn a_trade_that_would_have_been_on_paper_is_evidence_but_no_money() {
    let mut world = World::at_level(Level::Autonomous);
    for number in 0..8 {
        round_trip(&mut world, &format!("order-{number}"), "-200");
    }
    // Falls after the third, and again on paper after three more.
    let outcome = under(&world, policy(|policy| policy.maturity.demotion_drawdown = read("0.05")));
    let strategy = &outcome.strategies[0];
    let falls = |change: &&Change| change.kind == Kind::Demoted && change.after.is_some();
    let falls: Vec<_> = strategy.changes.iter().filter(falls).map(|change| (change.from, change.to)).collect();
    let expected = [(Some(Level::Autonomous), Some(Level::Paper)), (Some(Level::Paper), Some(Level::Shadow))];
    assert_eq!(falls, expected);
    assert_eq!(strategy.trades.not_taken.trades, 3, "those that history took at L4");
    assert_eq!(strategy.trades.not_live.trades, 2, "those that history had on paper itself");
    assert_eq!(strategy.pnl, Pair { before: read("-1200"), after: read("-600") });
}

#[test]
fn what_was_not_live_cannot_be_scaled_up_and_is_counted_apart() {
    let mut world = World::registered();
    round_trip(&mut world, "order-1", "70");
    let outcome = under(&world, policy(|policy| policy.maturity.default_level = Level::Autonomous));
    let strategy = &outcome.strategies[0];
    assert_eq!(outcome.orders.let_through, 1);
    assert_eq!(outcome.matrix.0[2][0], 1, "a block became an allow");
    assert_eq!((strategy.trades.let_through.trades, strategy.trades.let_through.pnl), (1, read("70")));
    assert_eq!(strategy.pnl, Pair::default());
    assert_eq!(strategy.level, Pair { before: Some(Level::Paper), after: Some(Level::Autonomous) });
}

#[test]
fn a_trade_that_names_no_order_stays_as_it_was_and_is_counted_apart() {
    let mut world = World::at_level(Level::Constrained);
    world.check(MOMENTUM, "order-1", "10");
    world.close(MOMENTUM, "-100");
    let outcome = under(&world, policy(|policy| policy.maturity.sizing_caps = [0.0, 0.0, 0.1, 0.1, 1.0]));
    let strategy = &outcome.strategies[0];
    assert_eq!(outcome.orders.reduced, 1);
    assert_eq!((strategy.trades.untied.trades, strategy.trades.untied.pnl), (1, read("-100")));
    // Nobody knows whether it was live: it is no money on either side.
    assert_eq!((strategy.pnl, strategy.drawdown), (Pair::default(), Pair::default()));
    assert_eq!(outcome.sums.values().map(|sums| sums.pnl).collect::<Vec<_>>(), [Pair::default()]);
}

/// An order of ten, filled in two parts, closed by an order that only reduces.
fn closed_by(world: &mut World, filled_last: &str, named: &str) -> Outcome {
    world.check(MOMENTUM, "order-open", "10");
    let opened: Timestamp = world.at;
    world.tell(MOMENTUM, &filled("fill-1", "order-open", "6"));
    world.tell(MOMENTUM, &filled("fill-2", "order-open", filled_last));
    let Command::CheckOrder { mut order, attempt } = check("order-close", "10") else { panic!("an order") };
    (order.reduce_only, order.side) = (true, Side::Sell);
    world.tell(MOMENTUM, &Command::CheckOrder { order, attempt });
    let Command::CloseTrade(trade) = trade_of(world, named, "-100") else { panic!("a trade") };
    world.tell(MOMENTUM, &Command::CloseTrade(Trade { opened_at: opened, ..trade }));
    under(world, policy(|policy| policy.maturity.sizing_caps = [0.0, 0.0, 0.1, 0.1, 1.0]))
}

fn closed_by_another(world: &mut World, filled_last: &str) -> Outcome {
    closed_by(world, filled_last, "order-close")
}

#[test]
fn a_trade_that_names_its_exit_is_tied_to_its_entry_by_the_fills() {
    let outcome = closed_by_another(&mut World::at_level(Level::Constrained), "4");
    assert_eq!(outcome.strategies[0].trades.smaller.pnl, Pair { before: read("-100"), after: read("-40") });
}

#[test]
fn a_trade_larger_than_the_answer_let_through_is_counted() {
    let overfilled = |level: Level| {
        let mut world = World::at_level(level);
        closed_by_another(&mut world, "4").strategies[0].trades.overfilled
    };
    assert_eq!(overfilled(Level::Constrained), 1, "ten filled where a quarter of ten was let through");
    assert_eq!(overfilled(Level::Autonomous), 0, "ten filled of ten");
}

#[test]
fn fills_that_do_not_add_up_tie_nothing() {
    let outcome = closed_by_another(&mut World::at_level(Level::Constrained), "3");
    let trades = &outcome.strategies[0].trades;
    assert_eq!((trades.untied.trades, trades.smaller.trades), (1, 0));
}

#[test]
fn orders_of_one_position_that_were_answered_differently_tie_nothing() {
    let mut world = World::at_level(Level::Constrained);
    let opened = world.at.plus_seconds(1);
    world.check(MOMENTUM, "order-1", "6");
    world.tell(MOMENTUM, &filled("fill-1", "order-1", "6"));
    world.tell(MOMENTUM, &set_level(Level::Autonomous));
    world.check(MOMENTUM, "order-2", "4");
    world.tell(MOMENTUM, &filled("fill-2", "order-2", "4"));
    let Command::CloseTrade(trade) = trade_of(&mut world, "order-close", "-100") else { panic!("a trade") };
    world.tell(MOMENTUM, &Command::CloseTrade(Trade { opened_at: opened, ..trade }));
    // Answered differently there; there alike, but differently in history.
    for caps in [[0.0, 0.0, 0.1, 0.1, 1.0], [0.0, 0.0, 0.1, 1.0, 1.0]] {
        let outcome = under(&world, policy(|policy| policy.maturity.sizing_caps = caps));
        assert_eq!(outcome.strategies[0].trades.untied.trades, 1, "{caps:?}");
    }
}

fn untied(outcome: &Outcome) -> u64 {
    outcome.strategies[0].trades.untied.trades
}

/// Answers at a tenth where history has a quarter.
fn small() -> Policy {
    policy(|policy| policy.maturity.sizing_caps = [0.0, 0.0, 0.1, 0.1, 1.0])
}

/// No order without a token, so none at all.
fn closed() -> Policy {
    policy(|policy| policy.execution_tokens.required = true)
}

#[test]
fn a_trade_that_names_an_order_is_tied_to_it_only_where_its_fills_cover_the_trade() {
    let outcome = closed_by(&mut World::at_level(Level::Constrained), "3", "order-open");
    assert_eq!(untied(&outcome), 1, "nine filled, ten closed");
    let outcome = closed_by(&mut World::at_level(Level::Constrained), "5", "order-open");
    assert_eq!(outcome.strategies[0].trades.smaller.trades, 1, "eleven filled, ten of them closed");
}

/// A trade that carries the trace `shared` and was open for so many seconds.
fn shared_trade(world: &mut World, opened: Timestamp) {
    world.trace = Some("shared".into());
    let Command::CloseTrade(trade) = world.trade("-100") else { panic!("a trade") };
    world.tell(MOMENTUM, &Command::CloseTrade(Trade { opened_at: opened, ..trade }));
    world.trace = None;
}

fn shared_check(world: &mut World, order: &str) {
    world.trace = Some("shared".into());
    world.check(MOMENTUM, order, "10");
    world.trace = None;
}

#[test]
fn an_order_that_came_after_the_position_was_opened_did_not_open_it() {
    let mut world = World::at_level(Level::Constrained);
    let opened = world.at;
    world.at = opened.plus_seconds(5);
    shared_check(&mut world, "order-1");
    shared_trade(&mut world, opened);
    assert_eq!(untied(&under(&world, small())), 1);

    // Nor does the one that opens the next position, asked about while the report of this one was under way.
    let mut world = World::at_level(Level::Constrained);
    shared_check(&mut world, "order-1");
    let closed = world.at;
    world.tell(MOMENTUM, &set_level(Level::Autonomous));
    shared_check(&mut world, "order-2");
    world.trace = Some("shared".into());
    let Command::CloseTrade(trade) = world.trade("-100") else { panic!("a trade") };
    world.tell(MOMENTUM, &Command::CloseTrade(Trade { opened_at: closed, closed_at: closed, ..trade }));
    assert_eq!(under(&world, small()).strategies[0].trades.smaller.pnl.after, read("-40"));
}

#[test]
fn what_is_left_of_a_trace_does_not_pass_for_the_whole() {
    let trace_of = |between: usize| {
        let mut world = World::at_level(Level::Constrained);
        shared_check(&mut world, "order-first");
        for number in 0..between {
            world.check(MOMENTUM, &format!("order-{number}"), "10");
        }
        shared_check(&mut world, "order-last");
        let opened = world.at;
        shared_trade(&mut world, opened);
        untied(&under(&world, small()))
    };
    assert_eq!((trace_of(200), trace_of(300)), (0, 1));
}

/// At two losses in a row the strategy falls, and its next order is answered otherwise than the one before.
fn impatient() -> Policy {
    policy(|policy| policy.maturity.demotion_loss_streak = 1)
}

#[test]
fn what_a_trade_is_tied_to_does_not_depend_on_the_other_policies() {
    let mut world = World::at_level(Level::Constrained);
    shared_check(&mut world, "order-1");
    world.tell(MOMENTUM, &filled("fill-1", "order-1", "10"));
    world.close(MOMENTUM, "-1");
    world.close(MOMENTUM, "-1");
    shared_check(&mut world, "order-2");
    let opened = world.at;
    world.tell(MOMENTUM, &filled("fill-2", "order-2", "10"));
    shared_trade(&mut world, opened);
    // The fills gave the second order its trade: another that names it is not tied.
    let trade = trade_of(&mut world, "order-2", "-100");
    world.tell(MOMENTUM, &trade);
    let trades = |policies: &[Policy]| report(&world, &Scope::default(), policies).policies[0].strategies[0].trades;
    let alone = trades(&[small()]);
    assert_eq!((alone.smaller.trades, alone.untied.trades), (1, 3));
    assert_eq!(trades(&[small(), impatient()]), alone);
}

/// A position of ten in two orders: one at L3, one at another level.
fn two_levels(second: Level) -> World {
    let mut world = World::at_level(Level::Constrained);
    let opened = world.at.plus_seconds(1);
    world.check(MOMENTUM, "order-1", "6");
    world.tell(MOMENTUM, &filled("fill-1", "order-1", "6"));
    world.tell(MOMENTUM, &set_level(second));
    world.check(MOMENTUM, "order-2", "4");
    world.tell(MOMENTUM, &filled("fill-2", "order-2", "4"));
    let Command::CloseTrade(trade) = trade_of(&mut world, "order-close", "-100") else { panic!("a trade") };
    world.tell(MOMENTUM, &Command::CloseTrade(Trade { opened_at: opened, ..trade }));
    world
}

#[test]
fn a_position_none_of_whose_orders_would_be_live_is_not_taken_whatever_their_sizes_were() {
    let taken = |outcome: &Outcome| {
        let trades = outcome.strategies[0].trades;
        assert_eq!(trades.untied.trades + trades.let_through.trades, 0, "{trades:?}");
        (trades.not_taken.trades, trades.not_live.trades, outcome.strategies[0].pnl)
    };
    let gone = Pair { before: read("-100"), after: Amount::ZERO };
    assert_eq!(taken(&under(&two_levels(Level::Autonomous), closed())), (1, 0, gone));

    // On paper and in the shadow: never live, and not there either, though answered differently.
    let mut world = World::registered();
    let opened = world.at.plus_seconds(1);
    world.check(MOMENTUM, "order-1", "6");
    world.tell(MOMENTUM, &filled("fill-1", "order-1", "6"));
    world.tell(MOMENTUM, &set_level(Level::Shadow));
    world.check(MOMENTUM, "order-2", "4");
    world.tell(MOMENTUM, &filled("fill-2", "order-2", "4"));
    let Command::CloseTrade(trade) = trade_of(&mut world, "order-close", "-100") else { panic!("a trade") };
    world.tell(MOMENTUM, &Command::CloseTrade(Trade { opened_at: opened, ..trade }));
    assert_eq!(taken(&under(&world, closed())), (0, 1, Pair::default()));
}

#[test]
fn orders_that_all_change_by_the_same_factor_are_one_position() {
    let world = two_levels(Level::Autonomous);
    let trades =
        under(&world, policy(|policy| policy.maturity.sizing_caps = [0.0, 0.0, 0.1, 0.2, 0.8])).strategies[0].trades;
    assert_eq!(trades.smaller.pnl, Pair { before: read("-100"), after: read("-80") });
    assert_eq!(under(&world, Policy::default()).strategies[0].trades.unchanged.trades, 1);
}

#[test]
fn a_fill_against_the_answer_is_counted_apart() {
    let mut world = World::at_level(Level::Autonomous);
    world.tell(MOMENTUM, &Command::Pause { by: read("alice"), reason: "a look".into() });
    let outcome = closed_by_another(&mut world, "4");
    let trades = &outcome.strategies[0].trades;
    assert_eq!((trades.filled_against.trades, trades.filled_against.pnl), (1, read("-100")));
    assert_eq!((trades.not_live.trades, trades.let_through.trades, trades.overfilled), (0, 0, 0));
    assert_eq!(outcome.strategies[0].pnl, Pair::default());

    let rehearsed = closed_by_another(&mut World::registered(), "4");
    let trades = &rehearsed.strategies[0].trades;
    assert_eq!((trades.filled_against.trades, trades.not_live.trades), (0, 1), "on paper, as the answer said");
}

fn recapitalised(world: &mut World, capital: &str) {
    let registered = world.strategies.values().next().unwrap().0.registration.clone().unwrap();
    let registration =
        event::Registration { id: read(&format!("capital-{capital}")), initial_capital: read(capital), ..registered };
    world.tell(MOMENTUM, &Command::Register(registration));
}

#[test]
fn capital_taken_out_is_no_drawdown() {
    let mut world = World::at_level(Level::Autonomous);
    round_trip(&mut world, "order-1", "-400");
    recapitalised(&mut world, "1400");
    let drawdown = under(&world, Policy::default()).drawdown;
    assert!((drawdown.before - 0.04).abs() < 1e-12, "{drawdown:?}");
    round_trip(&mut world, "order-2", "-100");
    let drawdown = under(&world, Policy::default()).drawdown;
    // A tenth of what is left at 96 % of its peak.
    assert!((drawdown.before - 0.136).abs() < 1e-12 && (drawdown.after - 0.136).abs() < 1e-12, "{drawdown:?}");
}

#[test]
fn the_live_curve_begins_at_capital_and_live_results_whatever_was_made_on_paper() {
    let mut world = World::registered();
    round_trip(&mut world, "paper", "90000");
    world.tell(MOMENTUM, &set_level(Level::Autonomous));
    round_trip(&mut world, "live-1", "-500");
    let from = world.check(MOMENTUM, "live-2", "10");
    let trade = trade_of(&mut world, "live-2", "-950");
    world.tell(MOMENTUM, &trade);
    let scope = Scope { from: Some(from), ..Scope::default() };
    let drawdown = report(&world, &scope, &[Policy::default()]).policies[0].drawdown;
    assert!((drawdown.before - 0.1).abs() < 1e-12 && (drawdown.after - 0.1).abs() < 1e-12, "{drawdown:?}");
}

#[test]
fn a_trade_that_the_rules_refuse_at_its_other_size_is_in_no_sum() {
    let mut world = World::at_level(Level::Constrained);
    world.check(MOMENTUM, "order-1", "10");
    let Command::CloseTrade(trade) = trade_of(&mut world, "order-1", "-100") else { panic!("a trade") };
    let trade = Trade { qty: read("1000000000000000000000000000"), entry_price: read("50"), ..trade };
    world.tell(MOMENTUM, &Command::CloseTrade(trade));
    let outcome = under(&world, policy(|policy| policy.maturity.sizing_caps = [0.0, 0.0, 0.1, 1.0, 1.0]));
    assert_eq!(outcome.refused.commands, 1, "{:?}", outcome.refused);
    assert!(outcome.refused.rejection.as_ref().unwrap().contains("does not fit"), "{:?}", outcome.refused);
    assert_eq!((outcome.trades, outcome.strategies[0].pnl, outcome.drawdown), (0, Pair::default(), Pair::default()));
    assert!(outcome.differs(), "a refusal is a difference");
}

#[test]
fn the_first_difference_is_the_first_of_any_kind() {
    // On paper in history, in the shadow there: as large, and elsewhere. Then of another size.
    let mut world = World::registered();
    let first = world.check(MOMENTUM, "order-1", "10");
    world.tell(MOMENTUM, &set_level(Level::Constrained));
    world.check(MOMENTUM, "order-2", "10");
    let other = policy(|policy| {
        policy.maturity.default_level = Level::Shadow;
        policy.maturity.sizing_caps = [0.0, 0.0, 0.1, 0.1, 1.0];
    });
    let outcome = under(&world, other);
    assert_eq!((outcome.orders.elsewhere, outcome.orders.reduced), (1, 1), "{:?}", outcome.orders);
    assert_eq!(outcome.first.unwrap().seq, first);
}

#[test]
fn totals_are_the_same_without_the_strategies() {
    let world = World::eventful();
    let variant = Variant::new("other", small());
    let all = what_if(&world.reader(), &Scope::default(), std::slice::from_ref(&variant), &mut |_| {}).unwrap();
    let only = totals(&world.reader(), &Scope::default(), &[variant], &mut |_| {}).unwrap();
    let stripped = Outcome { strategies: Vec::new(), ..all.policies[0].clone() };
    assert_eq!((&only.policies[0], all.policies[0].strategies.len()), (&stripped, 2));
}

#[test]
fn an_operators_word_that_has_no_object_is_refused_and_counted() {
    let mut world = World::at_level(Level::Autonomous);
    let seq = world.tell(MOMENTUM, &set_level(Level::Constrained));
    let other = policy(|policy| policy.maturity.default_level = Level::Autonomous);
    let refused = under(&world, other).refused;
    assert_eq!((refused.commands, refused.seq), (1, Some(Seq(seq.0 - 1))));
    assert_eq!(refused.rejection.as_deref(), Some("it is already at this level"));
}

#[test]
fn a_kill_that_the_canary_would_not_have_thrown_stops_nothing_there() {
    let mut world = World::at_level(Level::Autonomous);
    for _ in 0..3 {
        let results = [("feed".into(), Some("no answer".to_owned()))].into();
        world.tell_system(&system::Command::RecordCanaryRound(Round { results }));
    }
    world.check(MOMENTUM, "order-1", "10");
    let release =
        system::Command::ReleaseKillSwitch { scope: event::Scope::All, by: read("alice"), reason: "ok".into() };
    let released = world.tell_system(&release);
    let outcome = under(&world, policy(|policy| policy.canary.action_on_failure = FailureAction::Alert));
    assert_eq!(outcome.matrix.0[5][0], 1, "a kill became an allow");
    assert_eq!((outcome.orders.let_through, outcome.refused.seq), (1, Some(released)));
    assert_nothing_differs(&under(&world, Policy::default()));
}

#[test]
fn the_other_policy_decides_on_whatever_system_the_gate_had() {
    // A view that is still kept, and one that has to be made again.
    for behind in [3, 200] {
        let mut world = World::at_level(Level::Constrained);
        let old = world.system.clone();
        for number in 0..behind {
            world.account(number);
        }
        let seq = world.tell_on(&old, MOMENTUM, &check("order-1", "10"));
        let other = policy(|policy| policy.maturity.sizing_caps = [0.0, 0.0, 0.1, 0.1, 1.0]);
        let scope = Scope { from: Some(seq), ..Scope::default() };
        let outcome = &report(&world, &scope, std::slice::from_ref(&other)).policies[0];
        assert_eq!(outcome.orders.reduced, 1, "the policy of the scope, though the view is older");
        let first = outcome.first.as_ref().unwrap();
        assert_eq!((first.seq, first.after.policy), (seq, other.id()));
        assert_eq!(first.before.action, Action::ReduceSize);
        assert_nothing_differs(&report(&world, &scope, &[Policy::default()]).policies[0]);
    }
}

#[test]
fn many_policies_at_once_say_what_each_says_alone() {
    let world = World::eventful();
    let policies: Vec<Policy> =
        (1..=9).map(|streak| policy(|policy| policy.maturity.demotion_loss_streak = streak)).collect();
    let together = report(&world, &Scope::default(), &policies);
    assert_eq!(together.policies.len(), 9);
    for (place, policy) in policies.iter().enumerate() {
        let mut alone = under(&world, policy.clone());
        alone.name.clone_from(&together.policies[place].name);
        assert_eq!(together.policies[place], alone);
    }
    let demotions: Vec<u64> = together.policies.iter().map(|outcome| outcome.demotions.after).collect();
    assert!(demotions.first() > demotions.last(), "{demotions:?}");
}

#[test]
fn a_scope_is_one_strategy_and_a_part_of_history() {
    let world = World::eventful();
    let scope = Scope { strategy: Some(read(REVERSION)), ..Scope::default() };
    let only = report(&world, &scope, &[Policy::default()]);
    assert_eq!(only.policies[0].strategies.iter().map(|it| it.strategy.as_str()).collect::<Vec<_>>(), [REVERSION]);
    assert_eq!(only.policies[0].orders.decided, 56);
}

#[test]
fn what_the_log_does_not_have_is_refused_in_a_sentence() {
    let refused = |world: &World, scope: &Scope| {
        let variant = Variant::new("other", Policy::default());
        what_if(&world.reader(), scope, &[variant], &mut |_| {}).unwrap_err()
    };
    assert!(matches!(refused(&World::empty(), &Scope::default()), ReplayError::EmptyLog));
    let world = World::registered();
    let unknown = refused(&world, &Scope { strategy: Some(read("momentun")), ..Scope::default() });
    assert_eq!(unknown.to_string(), "the log has no strategy \"momentun\"; did you mean momentum?");
    let outside = refused(&world, &Scope { to: Some(Seq(99)), ..Scope::default() });
    assert!(matches!(outside, ReplayError::SeqOutside { seq: Seq(99), last: Seq(2) }));
}

/// What can happen to a strategy, drawn at random.
#[derive(Clone, Debug)]
enum Step {
    RoundTrip(i64),
    Untied(i64),
    Order(u8),
    Level(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (-300_i64..300).prop_map(Step::RoundTrip),
        2 => (-300_i64..300).prop_map(Step::Untied),
        1 => (1_u8..200).prop_map(Step::Order),
        1 => (0_u8..5).prop_map(Step::Level),
    ];
    prop::collection::vec(step, 1..120)
}

fn history(policy: &Policy, steps: &[Step]) -> World {
    let mut world = World::empty();
    world.adopt(policy.clone());
    world.register(MOMENTUM);
    world.baseline(MOMENTUM);
    for (number, step) in steps.iter().enumerate() {
        let order = format!("order-{number}");
        match step {
            Step::RoundTrip(pnl) => round_trip(&mut world, &order, &pnl.to_string()),
            Step::Untied(pnl) => drop(world.close(MOMENTUM, &pnl.to_string())),
            Step::Order(qty) => drop(world.check(MOMENTUM, &order, &qty.to_string())),
            Step::Level(level) => {
                let level = Level::ALL[usize::from(*level)];
                let at = world.strategies.values().next().unwrap().0.maturity.level;
                if level != at {
                    world.tell(MOMENTUM, &set_level(level));
                }
            }
        }
    }
    world
}

/// What can happen to orders and positions, drawn at random: traces are shared, ids are missing, reports are late
/// or lost.
#[derive(Clone, Debug)]
enum Deal {
    Order {
        trace: Option<u8>,
        qty: u8,
    },
    Fill {
        back: u8,
        qty: u8,
    },
    Close {
        trace: Option<u8>,
        back: Option<u8>,
        open_for: u8,
        qty: u8,
        pnl: i64,
    },
    /// As long and as large as the fills of an order say.
    CloseWhole {
        trace: Option<u8>,
        back: u8,
        pnl: i64,
    },
    Level(u8),
}

fn deals() -> impl Strategy<Value = Vec<Deal>> {
    let trace = || prop::option::of(0_u8..3);
    let close = (trace(), prop::option::of(0_u8..3), 0_u8..8, 1_u8..5, -300_i64..300);
    let deal = prop_oneof![
        4 => (trace(), 1_u8..5).prop_map(|(trace, qty)| Deal::Order { trace, qty }),
        4 => (0_u8..3, 1_u8..5).prop_map(|(back, qty)| Deal::Fill { back, qty }),
        4 => close.prop_map(|(trace, back, open_for, qty, pnl)| Deal::Close { trace, back, open_for, qty, pnl }),
        4 => (trace(), 0_u8..3, -300_i64..300).prop_map(|(trace, back, pnl)| Deal::CloseWhole { trace, back, pnl }),
        1 => (1_u8..5).prop_map(Deal::Level),
    ];
    prop::collection::vec(deal, 1..80)
}

fn dealt(deals: &[Deal]) -> World {
    let mut world = World::at_level(Level::Constrained);
    let mut orders: Vec<String> = Vec::new();
    let mut fills: Vec<(String, Timestamp, u8)> = Vec::new();
    for deal in deals {
        let named = |trace: &Option<u8>| Some(trace.map_or_else(String::new, |trace| format!("shared-{trace}")));
        let nth = |back: u8| orders.iter().rev().nth(usize::from(back)).cloned();
        match deal {
            Deal::Order { trace, qty } => {
                let order = format!("order-{}", orders.len());
                world.trace = named(trace);
                world.check(MOMENTUM, &order, &qty.to_string());
                orders.push(order);
            }
            Deal::Fill { back, qty } => {
                if let Some(order) = nth(*back) {
                    let report = filled(&format!("fill-{}", fills.len()), &order, &qty.to_string());
                    fills.push((order, world.at, *qty));
                    world.tell(MOMENTUM, &report);
                }
            }
            Deal::Close { trace, back, open_for, qty, pnl } => {
                world.trace = named(trace);
                let Command::CloseTrade(trade) = world.trade(&pnl.to_string()) else { panic!("a trade") };
                let opened_at = Timestamp::from_nanos(world.at.nanos() - i64::from(*open_for) * 1_000_000_000);
                let order_id = back.and_then(nth).map(|order| read(&order));
                let trade = Trade { opened_at, order_id, qty: read(&qty.to_string()), ..trade };
                world.tell(MOMENTUM, &Command::CloseTrade(trade));
            }
            Deal::CloseWhole { trace, back, pnl } => {
                let of = nth(*back);
                let of: Vec<_> = fills.iter().filter(|(order, ..)| Some(order) == of.as_ref()).collect();
                let Some((_, opened_at, _)) = of.first() else { continue };
                let qty = of.iter().fold(0, |sum, (_, _, qty)| sum + i64::from(*qty));
                world.trace = named(trace);
                let Command::CloseTrade(trade) = world.trade(&pnl.to_string()) else { panic!("a trade") };
                let trade = Trade { opened_at: *opened_at, qty: Amount::from(qty), ..trade };
                world.tell(MOMENTUM, &Command::CloseTrade(trade));
            }
            Deal::Level(level) => {
                world.trace = None;
                world.ask(MOMENTUM, &set_level(Level::ALL[usize::from(*level)]));
            }
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_under_its_own_policy_is_itself(steps in steps(), from in 1_u64..60) {
        let policy = policy(|policy| policy.maturity.promotion_trades_min = 5);
        let world = history(&policy, &steps);
        assert_nothing_differs(&under(&world, policy.clone()));
        let from = Some(Seq(from.min(world.reader().head().seq.0)));
        assert_nothing_differs(&report(&world, &Scope { from, ..Scope::default() }, &[policy]).policies[0]);
    }

    /// What one policy is told does not depend on which others are asked about.
    #[test]
    fn many_policies_say_what_each_says_alone_whatever_the_orders(deals in deals(), from in 1_u64..40) {
        let world = dealt(&deals);
        let caps = |caps| policy(|policy| policy.maturity.sizing_caps = caps);
        let policies = [
            Policy::default(), small(), closed(), impatient(), caps([0.0, 0.0, 0.1, 1.0, 1.0]), caps([0.0, 0.0, 0.05, 0.125, 0.5]),
        ];
        let from = Some(Seq(from.min(world.reader().head().seq.0)));
        for scope in [Scope::default(), Scope { from, ..Scope::default() }] {
            let together = report(&world, &scope, &policies);
            for (place, policy) in policies.iter().enumerate() {
                let mut alone = report(&world, &scope, std::slice::from_ref(policy)).policies.remove(0);
                alone.name.clone_from(&together.policies[place].name);
                prop_assert_eq!(&together.policies[place], &alone);
            }
            assert_nothing_differs(&together.policies[0]);
        }
    }

    /// Up to the first demotion both go the same way, and the stricter demotes wherever the other does.
    #[test]
    fn a_stricter_drawdown_never_puts_the_first_demotion_later(steps in steps(), one in 1_i64..30, other in 1_i64..30) {
        let limit = |hundredths: i64| policy(|policy| policy.maturity.demotion_drawdown = Amount::new(hundredths, 2));
        let first = |outcome: &Outcome| {
            let changes = outcome.strategies[0].changes.iter().filter(|change| change.kind == Kind::Demoted);
            changes.filter_map(|change| change.after).map(|place| place.seq).min()
        };
        // Held against a policy that never demotes, so that each demotion is a change that is listed.
        let lenient = history(
            &policy(|policy| (policy.maturity.demotion_drawdown, policy.maturity.demotion_loss_streak) = (Amount::ONE, 10_000)),
            &steps,
        );
        let policies = [limit(one.min(other)), limit(one.max(other))];
        let both = report(&lenient, &Scope::default(), &policies);
        let (strict, loose) = (first(&both.policies[0]), first(&both.policies[1]));
        if let Some(loose) = loose {
            prop_assert!(strict.is_some_and(|strict| strict <= loose), "{strict:?} {loose:?}");
        }
    }
}
