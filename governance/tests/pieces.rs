//! An order that closes in pieces is one outcome: vectors worked out by hand, and what holds however it is split.
//!
//! A history is told twice, each order in one fill and each in pieces. Counts, results, health, drift and level are
//! then the same; peaks, and the falls from them, are those of the pieces, which may be deeper and never flatter.

use ephor_governance::drift::Metric;
use ephor_governance::event::Event;
use ephor_governance::fill::{Fill, Netting, Pieces};
use ephor_governance::health;
use ephor_governance::maturity::Level;
use ephor_governance::policy::Policy;
use ephor_governance::strategy::{Command, ORDERS_MAX, State};
use ephor_governance::trade::Measured;
use ephor_governance::units::Amount;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::given::{World, amount, assert_close, baseline, read, registration, set_level, trade};
use crate::netting::{any_netting, fill};

/// [`ORDERS_MAX`], to count with.
const ORDERS: i64 = 32;

fn of(order: &str, fill: Fill) -> Fill {
    Fill { order_id: Some(read(order)), ..fill }
}

fn tell(world: &mut World, fill: Fill) -> Vec<Event> {
    world.tell(&Command::RecordFill { fill, netting: Netting::Fifo, pieces: Pieces::Together, currency: None }).unwrap()
}

fn closes(world: &mut World, at: i64, order: &str, text: &str) -> Vec<Event> {
    tell(world, of(order, fill(at, text)))
}

fn transition(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(event, Event::MaturityTransitioned(_)))
}

fn counts(state: &State) -> (u32, u32, u32, u32) {
    let evidence = &state.maturity.evidence;
    (evidence.trades, evidence.wins, evidence.loss_streak, state.totals.trades)
}

/// Promotes after two trades.
fn eager() -> Policy {
    let mut policy = Policy::default();
    policy.maturity.promotion_trades_min = 2;
    policy
}

#[test]
fn an_exit_in_fifty_pieces_is_one_loss_and_seen_with_the_first() {
    let mut world = World::registered();
    tell(&mut world, fill(0, "B 50 @ 100"));
    closes(&mut world, 1, "exit", "S 1 @ 90");
    assert_eq!((counts(&world.state), world.state.health.window_trades), ((1, 0, 1, 1), 1));
    for at in 2..51 {
        assert!(!transition(&closes(&mut world, at, "exit", "S 1 @ 90")));
    }
    let state = &world.state;
    assert_eq!((counts(state), state.totals.losses, state.maturity.level), ((1, 0, 1, 1), 1, Level::Paper));
    assert_eq!((state.totals.pnl, state.maturity.evidence.gross_loss), (amount("-500"), amount("500")));
    assert_eq!(state.outcomes, [Measured { pnl: -500.0, r: -1.0, return_on_entry: -0.1 }]);
    assert_eq!((state.health.window_trades, state.health.debt, state.version_trades), (1, 1.0, 1));
}

#[test]
fn pieces_that_name_no_order_count_each_by_itself() {
    let mut world = World::registered();
    tell(&mut world, fill(0, "B 50 @ 100"));
    let fell = (1..12).filter(|at| transition(&tell(&mut world, fill(*at, "S 1 @ 90")))).count();
    assert_eq!((fell, world.state.totals.trades), (1, 11));
}

#[test]
fn a_further_piece_makes_of_its_order_what_it_is_as_a_whole() {
    let mut world = World::registered();
    tell(&mut world, fill(0, "B 1 @ 100"));
    tell(&mut world, fill(1, "B 1 @ 120"));
    closes(&mut world, 2, "exit", "S 1 @ 110");
    assert_eq!((counts(&world.state), world.state.totals.wins), ((1, 1, 0, 1), 1));
    let events = closes(&mut world, 3, "exit", "S 1 @ 105");
    let Event::TradeClosed(closed) = &events[1] else { panic!("{events:?}") };
    assert_eq!((closed.trade.realized_pnl, closed.result()), (amount("-15"), amount("-5")));
    assert_eq!(closed.amends(), Some(&read("fill-2")));
    assert_close(closed.return_on_entry, -5.0 / 220.0, 1e-12, "return of both pieces");
    let (totals, evidence) = (&world.state.totals, &world.state.maturity.evidence);
    assert_eq!((counts(&world.state), totals.wins, totals.losses), ((1, 0, 1, 1), 0, 1));
    assert_eq!((evidence.gross_win, evidence.gross_loss), (Amount::ZERO, amount("5")));
    // What it was worth in between is not hidden.
    assert_eq!((evidence.peak, evidence.equity), (amount("10010"), amount("9995")));
}

#[test]
fn what_is_another_order_account_or_side_is_another_trade() {
    let mut world = World::registered();
    for (at, account) in [(0, None), (1, Some("second"))] {
        tell(&mut world, Fill { account: account.map(read), ..fill(at, "B 10 @ 100") });
    }
    closes(&mut world, 2, "1", "S 1 @ 90");
    closes(&mut world, 3, "2", "S 1 @ 90");
    tell(&mut world, Fill { account: Some(read("second")), ..of("1", fill(4, "S 1 @ 90")) });
    assert_eq!(world.state.totals.trades, 3);
    // Flat, short, and closed by a purchase under an id that a sale had.
    closes(&mut world, 5, "3", "S 9 @ 90");
    closes(&mut world, 6, "1", "B 1 @ 95");
    assert_eq!(world.state.totals.trades, 5);
    closes(&mut world, 7, "2", "B 1 @ 99");
    tell(&mut world, of("1", fill(8, "S 1 @ 90")));
    assert_eq!((world.state.totals.trades, world.state.totals.losses), (5, 5), "the first order goes on");
}

#[test]
fn an_order_is_done_when_a_fill_without_an_order_closes_the_rest() {
    let mut world = World::registered();
    world.adopt(eager());
    tell(&mut world, fill(0, "B 2 @ 100"));
    closes(&mut world, 1, "a", "S 1 @ 110");
    assert!(world.state.closing[0].is_open);
    // A liquidation, or by hand.
    assert!(transition(&tell(&mut world, fill(2, "S 1 @ 110"))), "two wins, and nothing can turn any more");
    assert!(!world.state.closing[0].is_open);
}

#[test]
fn a_trade_told_by_its_source_is_never_amended() {
    let mut world = World::registered();
    let told = |number| {
        Command::CloseTrade(ephor_governance::trade::Trade {
            order_id: Some(read("exit")),
            ..trade(number, amount("-1"))
        })
    };
    world.tell(&told(1)).unwrap();
    world.tell(&told(2)).unwrap();
    tell(&mut world, fill(0, "B 2 @ 100"));
    closes(&mut world, 1, "exit", "S 1 @ 90");
    assert_eq!((world.state.totals.trades, world.state.closing.len()), (3, 1));
}

#[test]
fn losses_in_a_row_are_those_of_whole_orders_whatever_came_between() {
    let mut world = World::registered();
    let elsewhere = |fill: Fill| Fill { instrument: read("BTC"), ..fill };
    tell(&mut world, fill(0, "B 2 @ 100"));
    tell(&mut world, elsewhere(fill(1, "B 2 @ 100")));
    closes(&mut world, 2, "a", "S 1 @ 90");
    tell(&mut world, elsewhere(of("b", fill(3, "S 1 @ 90"))));
    world.close("-1");
    assert_eq!((counts(&world.state).2, world.state.totals.loss_streak), (3, 3));
    // The first was a win after all, and then the second: only what came after them is in a row.
    closes(&mut world, 4, "a", "S 1 @ 130");
    assert_eq!((counts(&world.state).2, world.state.totals.loss_streak), (2, 2));
    tell(&mut world, elsewhere(of("b", fill(5, "S 1 @ 130"))));
    assert_eq!((counts(&world.state).2, world.state.totals.loss_streak), (1, 1));
    assert_eq!((counts(&world.state).1, world.state.totals.wins), (2, 2));
}

#[test]
fn an_order_that_has_moved_a_level_is_no_evidence_at_the_next() {
    let mut world = World::at_level(Level::Autonomous);
    world.close_many(10, "-1");
    tell(&mut world, fill(0, "B 5 @ 100"));
    assert!(transition(&closes(&mut world, 1, "exit", "S 1 @ 90")), "the eleventh loss");
    assert_eq!((counts(&world.state), world.state.maturity.level), ((0, 0, 0, 11), Level::Constrained));
    closes(&mut world, 2, "exit", "S 1 @ 90");
    let evidence = world.state.maturity.evidence;
    assert_eq!((counts(&world.state), evidence.gross_loss), ((0, 0, 0, 11), Amount::ZERO));
    assert_eq!(evidence.peak.minus(evidence.equity), amount("10"), "and still a fall");
    assert_eq!((world.state.totals.gross_loss, world.state.outcomes.len()), (amount("30"), 11));
    // By hand, and with a new version.
    world.tell(&set_level(Level::Paper)).unwrap();
    closes(&mut world, 3, "exit", "S 1 @ 90");
    let second = ephor_governance::event::Registration { version_digest: "v2".into(), ..registration() };
    world.tell(&Command::Register(second)).unwrap();
    closes(&mut world, 4, "exit", "S 1 @ 90");
    assert_eq!((counts(&world.state), world.state.version_trades), ((0, 0, 0, 11), 0));
}

#[test]
fn a_promotion_waits_while_its_order_may_still_turn() {
    let lots = |world: &mut World| {
        world.adopt(eager());
        tell(world, fill(0, "B 1 @ 100"));
        tell(world, fill(1, "B 1 @ 200"));
        world.close("5");
    };
    let mut world = World::registered();
    lots(&mut world);
    assert!(!transition(&closes(&mut world, 2, "exit", "S 1 @ 150")), "what is left of it stands open");
    let level = Command::SetLevel { to: Level::Gated, without_evidence: false, by: read("ana"), reason: "r".into() };
    assert!(world.decide(&level).is_err(), "a person is told the same");
    assert!(!transition(&closes(&mut world, 3, "exit", "S 1 @ 120")), "a loss of 30 in all");
    assert_eq!(world.state.maturity.level, Level::Paper);
    let mut world = World::registered();
    lots(&mut world);
    closes(&mut world, 2, "exit", "S 1 @ 150");
    assert!(transition(&closes(&mut world, 3, "exit", "S 1 @ 220")), "done, and a win");
    assert_eq!(world.state.maturity.level, Level::Gated);
}

#[test]
fn a_fall_waits_for_nothing() {
    let mut world = World::at_level(Level::Autonomous);
    tell(&mut world, fill(0, "B 100 @ 100"));
    closes(&mut world, 1, "exit", "S 50 @ 80");
    assert!(transition(&closes(&mut world, 2, "exit", "S 1 @ 99")), "beyond ten percent of 10 000");
}

#[test]
fn beyond_the_bound_a_piece_counts_as_a_trade() {
    assert_eq!(ORDERS_MAX, usize::try_from(ORDERS).unwrap());
    let mut world = World::registered();
    tell(&mut world, fill(0, "B 100 @ 100"));
    for at in 1..=ORDERS {
        closes(&mut world, at, &format!("order-{at}"), "S 1 @ 101");
    }
    let trades = |world: &World| i64::from(world.state.totals.trades);
    closes(&mut world, 90, "order-1", "S 1 @ 101");
    assert_eq!((trades(&world), world.state.closing.len()), (ORDERS, ORDERS_MAX), "the oldest is still held");
    closes(&mut world, 91, "one more", "S 1 @ 101");
    closes(&mut world, 92, "order-1", "S 1 @ 101");
    assert_eq!((trades(&world), world.state.closing.len()), (ORDERS + 2, ORDERS_MAX));
    // And what has left the windows is not held either.
    let mut narrow = Policy::default();
    (narrow.health_score.window_trades, narrow.drift_detector.window_trades) = (5, 5);
    narrow.drift_detector.trades_min = 2;
    world.adopt(narrow);
    world.close("1");
    assert_eq!(world.state.closing.len(), 4);
}

/// An order of one book, and in how many pieces it is filled.
#[derive(Clone, Debug)]
struct Order {
    fill: Fill,
    pieces: i64,
}

fn orders(prices: std::ops::Range<i64>) -> impl Strategy<Value = Vec<Order>> {
    let order = (any::<bool>(), any::<bool>(), any::<bool>(), 1..20_i64, prices, 1..4_i64);
    vec(order, 0..20).prop_map(|orders| {
        let order =
            |(number, (buy, instrument, account, qty, price, pieces)): (i64, (bool, bool, bool, i64, i64, i64))| {
                let text = format!("{} {qty} @ {price}", if buy { "B" } else { "S" });
                let fill = Fill {
                    instrument: read(if instrument { "BTC" } else { "GOOG.NASDAQ" }),
                    account: account.then(|| read("second")),
                    ..of(&format!("order-{number}"), fill(100 * number, &text))
                };
                Order { fill, pieces: pieces.min(qty) }
            };
        (0..).zip(orders).map(order).collect()
    })
}

/// The first piece, and the others.
fn split(order: &Order) -> (Fill, Vec<Fill>) {
    let qty =
        |number: i64| if number == 0 { order.fill.qty.minus(Amount::from(order.pieces - 1)) } else { Amount::ONE };
    let piece = |number: i64| {
        let id = read(&format!("{}-{number}", order.fill.id));
        Fill { id, qty: qty(number), ..order.fill.clone() }
    };
    (piece(0), (1..order.pieces).map(piece).collect())
}

fn book(fill: &Fill) -> (String, Option<String>) {
    (fill.instrument.to_string(), fill.account.as_ref().map(ToString::to_string))
}

/// Each order's further pieces right after the first, or only when its book has its next order.
fn in_pieces(orders: &[Order], interleaved: bool) -> Vec<Fill> {
    let (mut fills, mut waiting): (Vec<Fill>, Vec<Fill>) = (Vec::new(), Vec::new());
    for order in orders {
        let (due, still) = waiting.into_iter().partition(|piece| !interleaved || book(piece) == book(&order.fill));
        let (due, still): (Vec<Fill>, Vec<Fill>) = (due, still);
        let (first, others) = split(order);
        fills.extend(due);
        fills.push(first);
        waiting = still.into_iter().chain(others).collect();
    }
    fills.into_iter().chain(waiting).collect()
}

fn told(policy: &Policy, fills: impl IntoIterator<Item = Fill>, netting: Netting) -> World {
    let mut world = World::registered();
    world.adopt(policy.clone());
    let all = [
        Metric::WinRate,
        Metric::AvgRr,
        Metric::Sharpe,
        Metric::ProfitFactor,
        Metric::Expectancy,
        Metric::AvgReturn,
        Metric::MaxDrawdown,
    ];
    world.tell(&Command::RecordBaseline(baseline(&all.map(|metric| (metric, 0.5))))).unwrap();
    for fill in fills {
        world.tell(&Command::RecordFill { fill, netting, pieces: Pieces::Together, currency: None }).unwrap();
    }
    world
}

/// Nothing promotes or demotes, and every metric is compared.
fn still() -> Policy {
    let mut policy = Policy::default();
    policy.maturity.promotion_trades_min = u32::MAX;
    policy.maturity.demotion_loss_streak = u32::MAX;
    policy.maturity.demotion_drawdown = Amount::ONE;
    policy.drift_detector.trades_min = 2;
    policy.drift_detector.metrics_tracked = vec![
        Metric::WinRate,
        Metric::AvgRr,
        Metric::Sharpe,
        Metric::ProfitFactor,
        Metric::Expectancy,
        Metric::AvgReturn,
        Metric::MaxDrawdown,
    ];
    policy
}

fn near(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-9 * one.abs().max(1.0)
}

fn near_amount(one: Amount, other: Amount) -> bool {
    one.minus(other).abs() <= Amount::new(1, 12)
}

/// Counts to the last, sums to twelve places.
fn same_record(whole: &State, pieces: &State) -> Result<(), TestCaseError> {
    let (one, other) = (&whole.maturity.evidence, &pieces.maturity.evidence);
    prop_assert_eq!(counts(whole), counts(pieces));
    prop_assert!(near_amount(one.gross_win, other.gross_win) && near_amount(one.gross_loss, other.gross_loss));
    prop_assert!(near_amount(one.equity, other.equity));
    let (one, other) = (&whole.totals, &pieces.totals);
    prop_assert_eq!((one.wins, one.losses, one.loss_streak), (other.wins, other.losses, other.loss_streak));
    prop_assert!(near_amount(one.gross_win, other.gross_win) && near_amount(one.gross_loss, other.gross_loss));
    prop_assert!(near_amount(one.pnl, other.pnl));
    prop_assert_eq!((whole.version_trades, whole.outcomes.len()), (pieces.version_trades, pieces.outcomes.len()));
    for (one, other) in whole.outcomes.iter().zip(&pieces.outcomes) {
        prop_assert!(near(one.pnl, other.pnl) && near(one.return_on_entry, other.return_on_entry), "{one:?} {other:?}");
    }
    Ok(())
}

/// No peak is lower for the pieces, and no fall shallower.
fn flatters_nowhere(whole: &State, pieces: &State) -> Result<(), TestCaseError> {
    let rounding = Amount::new(1, 12);
    prop_assert!(pieces.maturity.evidence.peak.plus(rounding) >= whole.maturity.evidence.peak);
    prop_assert!(pieces.totals.peak.plus(rounding) >= whole.totals.peak);
    prop_assert!(pieces.totals.max_drawdown + 1e-9 >= whole.totals.max_drawdown);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn an_order_is_the_same_outcome_in_one_piece_and_in_many(orders in orders(90..110), netting in any_netting()) {
        let whole = told(&still(), orders.iter().map(|order| order.fill.clone()), netting).state;
        let pieces = told(&still(), in_pieces(&orders, false), netting).state;
        same_record(&whole, &pieces)?;
        flatters_nowhere(&whole, &pieces)?;
        for (one, other) in whole.outcomes.iter().zip(&pieces.outcomes) {
            prop_assert!(near(one.r, other.r), "{one:?} {other:?}");
        }
        let (one, other) = (whole.health, pieces.health);
        prop_assert!(near(one.debt, other.debt) && near(one.credit, other.credit) && one.window_trades == other.window_trades);
        let policy = still().drift_detector;
        let (one, other) = (whole.compare_drift(&policy), pieces.compare_drift(&policy));
        prop_assert_eq!(one.len(), other.len());
        for (one, other) in one.iter().zip(&other) {
            // A spread that is nothing but rounding makes any ratio.
            let same = near(one.live, other.live) || (one.metric == Metric::Sharpe && one.live.abs() > 1e6);
            prop_assert!(one.metric == other.metric && one.trades == other.trades && same, "{one:?} {other:?}");
        }
    }

    /// Equity goes the way of the pieces. What an order risked is measured when it begins, by what is known then of
    /// those that are still being filled. All but these is the same.
    #[test]
    fn nor_does_it_matter_what_other_books_are_told_between_its_pieces(orders in orders(90..110), netting in any_netting()) {
        let whole = told(&still(), orders.iter().map(|order| order.fill.clone()), netting).state;
        let pieces = told(&still(), in_pieces(&orders, true), netting).state;
        same_record(&whole, &pieces)?;
        let unit = |state: &State| {
            let unit = |outcome: &Measured| Measured { r: 1.0, ..*outcome };
            health::fold(&state.outcomes.iter().map(unit).collect::<Vec<_>>(), &still().health_score)
        };
        prop_assert_eq!(unit(&whole), unit(&pieces));
    }

    /// At one price against an average cost every piece of an order has its sign, so a fall comes with it either way.
    #[test]
    fn a_level_is_reached_in_one_piece_and_in_many(orders in orders(90..110)) {
        let mut policy = still();
        (policy.maturity.promotion_trades_min, policy.maturity.demotion_loss_streak) = (3, 1);
        let whole = told(&policy, orders.iter().map(|order| order.fill.clone()), Netting::Average).state;
        let pieces = told(&policy, in_pieces(&orders, false), Netting::Average).state;
        prop_assert_eq!(&whole.path, &pieces.path);
        same_record(&whole, &pieces)?;
    }
}
