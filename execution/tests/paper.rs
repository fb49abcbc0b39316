//! How the paper venue fills, case by case; and what holds for every stream of orders and prices.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use ephor_execution::instrument::Instrument;
use ephor_execution::order::{Kind, VenueOrder};
use ephor_execution::paper::{Bar, Level, PaperVenue, Terms};
use ephor_execution::positions::{Instruments, Lane, Positions, Prices};
use ephor_execution::reconcile::{Difference, differences};
use ephor_execution::venue::{Execution, Filled, Holding, Venue, What};
use ephor_governance::ids::{InstrumentId, SourceId, StrategyId};
use ephor_governance::order::Side;
use ephor_governance::units::{Amount, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn amount(text: &str) -> Amount {
    text.parse().unwrap()
}

fn acme() -> InstrumentId {
    "ACME".parse().unwrap()
}

/// A contract of ten, in steps of one, at prices in cents.
fn terms_of_acme() -> Instrument {
    Instrument { multiplier: 10.into(), ..Instrument::new(acme(), Amount::ONE, amount("0.01"), "USD".parse().unwrap()) }
}

fn venue(terms: Terms) -> PaperVenue {
    PaperVenue::new(terms, [terms_of_acme()])
}

fn market(id: &str, side: Side, qty: i64) -> VenueOrder {
    VenueOrder {
        id: id.parse().unwrap(),
        strategy: "trend".parse().unwrap(),
        instrument: acme(),
        side,
        qty: qty.into(),
        kind: Kind::Market,
        reduce_only: false,
    }
}

fn limit(id: &str, side: Side, qty: i64, price: &str) -> VenueOrder {
    VenueOrder { kind: Kind::Limit(amount(price)), ..market(id, side, qty) }
}

fn stop(id: &str, side: Side, qty: i64, price: &str) -> VenueOrder {
    VenueOrder { kind: Kind::Stop(amount(price)), ..market(id, side, qty) }
}

fn bar(open: &str, high: &str, low: &str, close: &str) -> Bar {
    Bar { open: amount(open), high: amount(high), low: amount(low), close: amount(close) }
}

fn level(price: &str, qty: i64) -> Level {
    Level { price: amount(price), qty: qty.into() }
}

fn fill(execution: Execution) -> Option<(SourceId, Filled)> {
    match execution.what {
        What::Filled(fill) => Some((execution.order_id, fill)),
        What::Accepted | What::Rejected { .. } | What::Canceled | What::Expired => None,
    }
}

/// Fills as text: order, quantity and price.
fn fills(venue: &PaperVenue) -> Vec<String> {
    let all = venue.executions_since(0).unwrap().into_iter().filter_map(fill);
    all.map(|(order, fill)| format!("{order} {}@{}", fill.qty, fill.price)).collect()
}

/// Ends of orders as text.
fn ends(venue: &PaperVenue) -> Vec<String> {
    let end = |execution: Execution| match execution.what {
        What::Accepted | What::Filled(_) => None,
        What::Rejected { reason } => Some(format!("{} rejected: {reason}", execution.order_id)),
        What::Canceled => Some(format!("{} canceled", execution.order_id)),
        What::Expired => Some(format!("{} expired at {}", execution.order_id, execution.at.nanos())),
    };
    venue.executions_since(0).unwrap().into_iter().filter_map(end).collect()
}

#[test]
fn a_market_order_gets_the_next_price_after_its_latency() {
    let mut venue = venue(Terms { latency_nanos: 50, ..Terms::default() });
    venue.on_price(&acme(), amount("99"), at(0));
    venue.submit(&market("o-1", Side::Buy, 10), at(1)).unwrap();
    venue.on_price(&acme(), amount("100"), at(50));
    assert!(fills(&venue).is_empty());
    venue.on_price(&acme(), amount("101"), at(51));
    assert_eq!(fills(&venue), ["o-1 10@101"]);
}

#[test]
fn slippage_is_against_the_order_and_within_its_ticks() {
    let mut seen = std::collections::BTreeSet::new();
    for (n, side) in (0..200).zip([Side::Buy, Side::Sell].into_iter().cycle()) {
        let mut venue = venue(Terms { slippage_ticks: 2, ..Terms::default() });
        venue.submit(&market(&format!("o-{n}"), side, 1), at(0)).unwrap();
        venue.on_price(&acme(), amount("100"), at(1));
        seen.insert(fills(&venue)[0].split('@').nth(1).unwrap().to_owned());
        let (_, fill) = venue.executions_since(1).unwrap().into_iter().find_map(fill).unwrap();
        assert!(!side.signed(fill.price.minus(100.into())).is_negative(), "{side:?} {fill:?}");
    }
    assert_eq!(seen, ["100", "100.01", "100.02", "99.98", "99.99"].map(str::to_owned).into());
    // A sale never gets a price of nothing for what had one.
    let mut venue = venue(Terms { slippage_ticks: 1_000, ..Terms::default() });
    venue.submit(&market("o-1", Side::Sell, 1), at(0)).unwrap();
    venue.on_price(&acme(), amount("0.02"), at(1));
    assert_eq!(fills(&venue), ["o-1 1@0.01"]);
}

#[test]
fn slippage_as_a_fraction_of_the_price_comes_on_top_in_whole_ticks() {
    // One and a half hundredth of a hundred are two ticks, three quarters of one of fifty are one; and the fixed one.
    for (price, prices) in [
        ("100", vec!["99.97", "99.98", "99.99", "100", "100.01", "100.02", "100.03"]),
        ("50", vec!["49.98", "49.99", "50", "50.01", "50.02"]),
        ("-100", vec!["-100.03", "-100.02", "-100.01", "-100", "-99.99", "-99.98", "-99.97"]),
    ] {
        let mut seen = std::collections::BTreeSet::new();
        for (n, side) in (0..400).zip([Side::Buy, Side::Sell].into_iter().cycle()) {
            let mut venue = venue(Terms { slippage: amount("0.00015"), slippage_ticks: 1, ..Terms::default() });
            venue.submit(&market(&format!("o-{n}"), side, 1), at(0)).unwrap();
            venue.on_price(&acme(), amount(price), at(1));
            let (_, fill) = venue.executions_since(1).unwrap().into_iter().find_map(fill).unwrap();
            assert!(!side.signed(fill.price.minus(amount(price))).is_negative(), "{side:?} {fill:?}");
            seen.insert(fill.price);
        }
        assert_eq!(seen, prices.into_iter().map(amount).collect(), "{price}");
    }
}

#[test]
fn all_fills_together_take_no_more_than_their_share_of_the_volume() {
    let other = Instrument { id: "OTHER".parse().unwrap(), ..terms_of_acme() };
    let terms = Terms { volume_share: Some(amount("0.1")), ..Terms::default() };
    let mut venue = PaperVenue::new(terms, [terms_of_acme(), other.clone()]);
    venue.submit(&market("first", Side::Buy, 7), at(0)).unwrap();
    venue.submit(&limit("next", Side::Buy, 7, "99"), at(0)).unwrap();
    venue.on_volume(&acme(), 105.into());
    venue.on_bar_open(&acme(), amount("100"), at(1));
    venue.on_bar(&acme(), &bar("100", "100", "98", "99"), at(2));
    assert_eq!(fills(&venue), ["first 7@100", "next 3@99"]);
    // What is left waits for more to be traded, at its own price.
    venue.on_price(&acme(), amount("99"), at(3));
    venue.on_volume(&acme(), 25.into());
    venue.on_price(&acme(), amount("98"), at(4));
    assert_eq!(fills(&venue)[2..], ["next 2@99"]);
    // Just enough is enough; and of another instrument no volume has been told.
    venue.on_volume(&acme(), 20.into());
    venue.submit(&VenueOrder { instrument: other.id.clone(), ..market("other", Side::Buy, 50) }, at(5)).unwrap();
    venue.on_price(&acme(), amount("98"), at(6));
    venue.on_price(&other.id, amount("10"), at(6));
    assert_eq!(fills(&venue)[3..], ["next 2@99", "other 50@10"]);
    // A book says itself how much there is.
    venue.submit(&market("last", Side::Buy, 30), at(7)).unwrap();
    venue.on_book(&acme(), &[], &[level("97", 30)], at(8));
    assert_eq!(fills(&venue)[5..], ["last 30@97"]);
}

#[test]
fn an_order_worth_less_than_the_smallest_value_is_no_order_unless_it_reduces() {
    let listed = Instrument { notional_min: Some(500.into()), ..terms_of_acme() };
    let mut venue = PaperVenue::new(Terms::default(), [listed]);
    // A contract of ten: ten at 5 are worth 500.
    for order in [
        limit("just", Side::Buy, 10, "5"),
        limit("short", Side::Buy, 10, "4.99"),
        stop("break", Side::Buy, 9, "5.5"),
        market("any", Side::Buy, 1),
    ] {
        venue.submit(&order, at(0)).unwrap();
    }
    venue.on_price(&acme(), amount("5"), at(1));
    assert_eq!(
        ends(&venue),
        ["short rejected: a value of 499 is below 500", "break rejected: a value of 495 is below 500"]
    );
    assert_eq!(fills(&venue), ["just 10@5", "any 1@5"]);
    venue.submit(&VenueOrder { reduce_only: true, ..limit("out", Side::Sell, 1, "6") }, at(2)).unwrap();
    venue.on_price(&acme(), amount("6"), at(3));
    assert_eq!((fills(&venue)[2..].to_vec(), ends(&venue).len()), (vec!["out 1@6".to_owned()], 2));
}

#[test]
fn what_a_gap_jumps_over_is_filled_at_the_open() {
    let mut venue = venue(Terms::default());
    venue.on_price(&acme(), amount("100"), at(0));
    for order in [
        limit("cheap", Side::Buy, 1, "95"),
        stop("out", Side::Sell, 2, "97"),
        limit("dear", Side::Sell, 3, "105"),
        stop("up", Side::Buy, 4, "103"),
    ] {
        venue.submit(&order, at(1)).unwrap();
    }
    venue.on_bar_open(&acme(), amount("90"), at(2));
    assert_eq!(fills(&venue), ["cheap 1@90", "out 2@90"]);
    venue.on_bar(&acme(), &bar("90", "91", "89", "91"), at(3));
    venue.on_bar_open(&acme(), amount("110"), at(4));
    assert_eq!(fills(&venue)[2..], ["dear 3@110", "up 4@110"]);
}

#[test]
fn inside_a_bar_limits_and_stops_get_their_own_price_stops_first() {
    let mut venue = venue(Terms::default());
    venue.submit(&limit("target", Side::Sell, 1, "105"), at(0)).unwrap();
    venue.submit(&stop("stop", Side::Sell, 1, "95"), at(0)).unwrap();
    venue.submit(&limit("far", Side::Buy, 1, "93.99"), at(0)).unwrap();
    venue.submit(&stop("break", Side::Buy, 1, "106.01"), at(0)).unwrap();
    venue.on_bar_open(&acme(), amount("100"), at(1));
    assert!(fills(&venue).is_empty());
    venue.on_bar(&acme(), &bar("100", "106", "94", "100"), at(2));
    assert_eq!(fills(&venue), ["stop 1@95", "target 1@105"]);
    // A bar whose opening was not told opens at once.
    venue.on_bar(&acme(), &bar("92", "92", "92", "92"), at(3));
    assert_eq!(fills(&venue)[2..], ["far 1@92"]);
}

#[test]
fn an_order_that_comes_during_a_bar_sees_only_its_close() {
    let mut venue = venue(Terms::default());
    venue.on_bar_open(&acme(), amount("100"), at(1));
    venue.submit(&limit("o-1", Side::Buy, 1, "95"), at(2)).unwrap();
    venue.submit(&stop("o-2", Side::Sell, 1, "95"), at(2)).unwrap();
    venue.submit(&market("o-3", Side::Buy, 1), at(2)).unwrap();
    venue.on_bar(&acme(), &bar("100", "110", "90", "101"), at(3));
    assert_eq!(fills(&venue), ["o-3 1@101"]);
}

#[test]
fn a_limit_that_waits_gets_its_own_price_and_pays_as_a_maker() {
    let costs = Terms {
        fee_maker: amount("-0.0001"),
        fee_taker: amount("0.001"),
        fee_fixed: amount("0.5"),
        ..Terms::default()
    };
    let mut venue = venue(costs);
    venue.submit(&limit("takes", Side::Buy, 2, "101"), at(0)).unwrap();
    venue.submit(&limit("waits", Side::Buy, 2, "99"), at(0)).unwrap();
    venue.on_price(&acme(), amount("100"), at(1));
    venue.on_price(&acme(), amount("98"), at(2));
    assert_eq!(fills(&venue), ["takes 2@100", "waits 2@99"]);
    let fees: Vec<Amount> =
        venue.executions_since(0).unwrap().into_iter().filter_map(fill).map(|(_, it)| it.fee).collect();
    // The fixed fee once an order: 2 x 100 x 10 x 0.001 + 0.5, and 2 x 99 x 10 x -0.0001 + 0.5.
    assert_eq!(fees, [amount("2.5"), amount("0.302")]);
}

#[test]
fn a_book_is_walked_level_by_level_and_what_is_left_waits() {
    let mut venue = venue(Terms { fee_fixed: Amount::ONE, fee_maker: Amount::ONE, ..Terms::default() });
    venue.submit(&market("o-1", Side::Buy, 10), at(0)).unwrap();
    let asks = [level("102", 3), level("100", 2), level("101", 4)];
    venue.on_book(&acme(), &[level("99", 5)], &asks, at(1));
    assert_eq!(fills(&venue), ["o-1 2@100", "o-1 4@101", "o-1 3@102"]);
    assert!(venue.order(&"o-1".parse().unwrap()).unwrap().unwrap().is_open);
    venue.on_book(&acme(), &[], &[level("103", 9)], at(2));
    assert_eq!(fills(&venue)[3..], ["o-1 1@103"]);
    // It took what was there, also the second time; and what an order costs, it costs once.
    let fees = venue.executions_since(0).unwrap().into_iter().filter_map(fill).map(|(_, fill)| fill.fee);
    assert_eq!(fees.collect::<Vec<_>>(), [1, 0, 0, 0].map(Amount::from));
}

#[test]
fn a_book_serves_the_best_price_first_and_then_the_first_that_came() {
    let mut venue = venue(Terms::default());
    for order in [
        limit("low", Side::Buy, 5, "100"),
        limit("late", Side::Buy, 5, "101"),
        limit("later", Side::Buy, 5, "101"),
        market("any", Side::Buy, 1),
    ] {
        venue.submit(&order, at(0)).unwrap();
    }
    venue.on_book(&acme(), &[], &[level("100", 8)], at(1));
    assert_eq!(fills(&venue), ["any 1@100", "late 5@100", "later 2@100"]);
    // They were there before this picture: it comes to their price.
    venue.on_book(&acme(), &[], &[level("99", 4)], at(2));
    assert_eq!(fills(&venue)[3..], ["later 3@101", "low 1@100"]);
}

#[test]
fn a_reduction_is_capped_and_does_not_outlive_its_position() {
    let mut venue = venue(Terms::default());
    venue.submit(&market("in", Side::Buy, 10), at(0)).unwrap();
    venue.on_price(&acme(), amount("100"), at(1));
    venue.submit(&VenueOrder { reduce_only: true, ..stop("stop", Side::Sell, 10, "90") }, at(2)).unwrap();
    venue.submit(&VenueOrder { reduce_only: true, ..market("out", Side::Sell, 25) }, at(2)).unwrap();
    venue.on_price(&acme(), amount("100"), at(3));
    assert_eq!(fills(&venue), ["in 10@100", "out 10@100"]);
    assert_eq!(ends(&venue), ["stop canceled", "out canceled"]);
    assert_eq!(venue.holdings(), Ok(vec![]));
    // Another strategy's position is none of its business.
    let mut other = market("other", Side::Buy, 5);
    other.strategy = "value".parse().unwrap();
    venue.submit(&other, at(4)).unwrap();
    venue.on_price(&acme(), amount("100"), at(5));
    venue.submit(&VenueOrder { reduce_only: true, ..market("late", Side::Sell, 1) }, at(6)).unwrap();
    assert_eq!(ends(&venue)[2..], ["late rejected: there is no position to reduce"]);
}

#[test]
fn what_the_venue_does_not_take_it_rejects_with_its_reason() {
    let (qty_max, notional_min) = (Some(100.into()), Some(500.into()));
    let listed = Instrument { qty_min: 10.into(), qty_max, notional_min, lot: 5.into(), ..terms_of_acme() };
    let mut venue = PaperVenue::new(Terms::default(), [listed]);
    venue.submit(&VenueOrder { instrument: "OTHER".parse().unwrap(), ..market("a", Side::Buy, 10) }, at(0)).unwrap();
    for order in [
        market("b", Side::Buy, 0),
        market("c", Side::Buy, 12),
        market("d", Side::Buy, 5),
        market("e", Side::Buy, 105),
        limit("f", Side::Buy, 10, "1.005"),
        limit("g", Side::Buy, 10, "4.99"),
    ] {
        venue.submit(&order, at(0)).unwrap();
    }
    venue.on_price(&acme(), amount("1"), at(1));
    assert_eq!(
        ends(&venue),
        [
            "a rejected: OTHER is not traded here",
            "b rejected: a quantity of 0 is no order",
            "c rejected: a quantity of 12 is no multiple of 5",
            "d rejected: a quantity of 5 is below 10",
            "e rejected: a quantity of 105 is above 100",
            "f rejected: a price of 1.005 is no multiple of 0.01",
            "g rejected: a value of 499 is below 500",
        ]
    );
    assert!(fills(&venue).is_empty());
}

#[test]
fn orders_expire_when_their_time_is_over() {
    let mut venue = venue(Terms { good_for_nanos: Some(10), ..Terms::default() });
    venue.submit(&limit("o-1", Side::Buy, 1, "90"), at(5)).unwrap();
    venue.submit(&limit("o-2", Side::Buy, 1, "90"), at(7)).unwrap();
    venue.on_price(&acme(), amount("100"), at(14));
    assert!(ends(&venue).is_empty());
    // In the very moment in which it is over, it is over.
    venue.on_price(&acme(), amount("80"), at(15));
    assert_eq!((ends(&venue), fills(&venue)), (vec!["o-1 expired at 15".to_owned()], vec!["o-2 1@90".to_owned()]));
}

#[test]
fn numbers_that_do_not_fit_end_an_order_and_are_never_made_up() {
    let mut venue = venue(Terms::default());
    let huge = VenueOrder { qty: amount("70000000000000000000000000000"), ..market("o-1", Side::Buy, 1) };
    venue.submit(&huge, at(0)).unwrap();
    venue.on_price(&acme(), amount("100"), at(1));
    assert_eq!(ends(&venue), ["o-1 rejected: a fill does not fit an exact decimal"]);
    assert_eq!(venue.holdings(), Ok(vec![]));
    // Nor does a position that is the sum of two that fit.
    for id in ["o-2", "o-3"] {
        venue.submit(&VenueOrder { id: id.parse().unwrap(), ..huge.clone() }, at(2)).unwrap();
    }
    venue.on_price(&acme(), amount("0.01"), at(3));
    assert_eq!(fills(&venue), ["o-2 70000000000000000000000000000@0.01"]);
    assert_eq!(ends(&venue)[1..], ["o-3 rejected: a fill does not fit an exact decimal"]);
    assert_eq!(venue.holdings().unwrap().iter().map(|it| it.qty).collect::<Vec<_>>(), [huge.qty]);
}

#[test]
fn a_position_never_loses_its_last_digits() {
    let mut venue = PaperVenue::new(Terms::default(), [Instrument { lot: amount("0.01"), ..terms_of_acme() }]);
    let large = VenueOrder { qty: amount("7000000000000000000000000000"), ..market("o-1", Side::Buy, 1) };
    venue.submit(&large, at(0)).unwrap();
    venue.submit(&VenueOrder { qty: amount("1.01"), ..market("o-2", Side::Buy, 1) }, at(0)).unwrap();
    venue.on_price(&acme(), amount("0.01"), at(1));
    assert_eq!(fills(&venue), ["o-1 7000000000000000000000000000@0.01"]);
    assert_eq!(ends(&venue), ["o-2 rejected: a fill does not fit an exact decimal"]);
}

#[test]
fn a_share_of_orders_is_turned_away_and_always_the_same_ones() {
    let turned_away = |seed| {
        let mut venue = venue(Terms { seed, reject: amount("0.2"), ..Terms::default() });
        for n in 0..1_000 {
            venue.submit(&market(&format!("o-{n}"), Side::Buy, 1), at(n)).unwrap();
        }
        ends(&venue)
    };
    assert!((150..250).contains(&turned_away(1).len()), "{}", turned_away(1).len());
    assert_eq!(turned_away(1), turned_away(1));
    assert_ne!(turned_away(1), turned_away(2));
}

#[test]
fn a_fill_of_the_longest_order_id_has_an_id_of_its_own() {
    let id = "ä".repeat(64);
    let mut venue = venue(Terms { partial: Amount::ONE, ..Terms::default() });
    venue.submit(&market(&id, Side::Buy, 9), at(0)).unwrap();
    (1..20).for_each(|n| venue.on_price(&acme(), amount("100"), at(n)));
    let ids: Vec<SourceId> =
        venue.executions_since(0).unwrap().into_iter().filter_map(fill).map(|(_, it)| it.id).collect();
    let apart: std::collections::BTreeSet<_> = ids.iter().collect();
    assert!(ids.len() > 1 && apart.len() == ids.len(), "{ids:?}");
    for id in &ids {
        assert_eq!(id.as_str().parse::<SourceId>().as_ref(), Ok(id));
    }
}

#[test]
fn a_position_that_only_one_side_knows_is_a_difference() {
    let holding =
        |strategy: &str, qty: i64| Holding { strategy: strategy.parse().unwrap(), instrument: acme(), qty: qty.into() };
    let mut positions = Positions::default();
    for (strategy, qty) in [("both", 5), ("here", 3), ("differs", 2)] {
        let fill =
            Filled { id: "f".parse().unwrap(), side: Side::Buy, qty: qty.into(), price: 1.into(), fee: Amount::ZERO };
        positions.fill(Lane::Paper, &strategy.parse().unwrap(), &terms_of_acme(), &fill);
    }
    let found =
        differences(&positions, Lane::Paper, &[holding("both", 5), holding("differs", -2), holding("there", 7)]);
    let difference = |strategy: &str, own: i64, venue: i64| Difference {
        lane: Lane::Paper,
        strategy: strategy.parse().unwrap(),
        instrument: acme(),
        own: own.into(),
        venue: venue.into(),
    };
    assert_eq!(found, [difference("differs", 2, -2), difference("here", 3, 0), difference("there", 0, 7)]);
    assert_eq!(differences(&positions, Lane::Live, &[]), []);
}

/// Something that happens at the venue.
#[derive(Clone, Debug)]
enum Step {
    Submit(VenueOrder),
    Cancel(SourceId),
    Volume(i64),
    Price(i64),
    Open(i64),
    Bar(i64, i64, i64, i64),
    Book(Vec<(i64, i64)>, Vec<(i64, i64)>),
}

fn cents(cents: i64) -> Amount {
    Amount::new(cents, 2)
}

fn price() -> impl Strategy<Value = i64> {
    9_990..10_010_i64
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Market),
        price().prop_map(|price| Kind::Limit(cents(price))),
        price().prop_map(|price| Kind::Stop(cents(price))),
    ]
}

prop_compose! {
    fn order()(
        n in 0..40_u8,
        strategy in select(vec!["trend", "value"]),
        side in select(vec![Side::Buy, Side::Sell]),
        qty in 1..20_i64,
        kind in kind(),
        reduce_only in any::<bool>(),
    ) -> VenueOrder {
        VenueOrder { strategy: strategy.parse().unwrap(), kind, reduce_only, ..market(&format!("o-{n}"), side, qty) }
    }
}

fn tick() -> impl Strategy<Value = Step> {
    let side = || vec((price(), 0..12_i64), 0..4);
    prop_oneof![
        (0..30_i64).prop_map(Step::Volume),
        price().prop_map(Step::Price),
        price().prop_map(Step::Open),
        (price(), price(), price(), price())
            .prop_map(|(a, b, c, d)| { Step::Bar(a, a.max(b).max(c).max(d), a.min(b).min(c).min(d), d) }),
        (side(), side()).prop_map(|(bids, asks)| Step::Book(bids, asks)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let cancel = (0..40_u8).prop_map(|n| Step::Cancel(SourceId::recorded(format!("o-{n}").into())));
    prop_oneof![4 => order().prop_map(Step::Submit), 1 => cancel, 5 => tick()]
}

prop_compose! {
    fn terms()(
        seed in any::<u64>(),
        slippage_ticks in 0..4_u32,
        slippage in select(vec![Amount::ZERO, Amount::new(3, 4)]),
        volume_share in proptest::option::of((0..=10_i64).prop_map(|tenths| Amount::new(tenths, 1))),
        latency_nanos in 0..3_u64,
        partial in 0..=10_i64,
        reject in 0..4_i64,
        good_for_nanos in proptest::option::of(1..20_u64),
    ) -> Terms {
        Terms {
            seed,
            fee_maker: amount("-0.0001"),
            fee_taker: amount("0.0007"),
            fee_fixed: amount("0.03"),
            slippage_ticks,
            slippage,
            volume_share,
            latency_nanos,
            partial: Amount::new(partial, 1),
            reject: Amount::new(reject, 1),
            good_for_nanos,
        }
    }
}

fn play(venue: &mut PaperVenue, steps: &[Step]) {
    let levels = |levels: &[(i64, i64)]| -> Vec<Level> {
        levels.iter().map(|(price, qty)| Level { price: cents(*price), qty: (*qty).into() }).collect()
    };
    for (step, now) in steps.iter().zip(0..) {
        match step {
            // An id that has been used for another order is refused, and that is all.
            Step::Submit(order) => drop(venue.submit(order, at(now))),
            Step::Cancel(id) => drop(venue.cancel(id, at(now))),
            Step::Volume(volume) => venue.on_volume(&acme(), (*volume).into()),
            Step::Price(price) => venue.on_price(&acme(), cents(*price), at(now)),
            Step::Open(open) => venue.on_bar_open(&acme(), cents(*open), at(now)),
            Step::Bar(open, high, low, close) => {
                let bar = Bar { open: cents(*open), high: cents(*high), low: cents(*low), close: cents(*close) };
                venue.on_bar(&acme(), &bar, at(now));
            }
            Step::Book(bids, asks) => venue.on_book(&acme(), &levels(bids), &levels(asks), at(now)),
        }
    }
}

proptest! {
    #[test]
    fn fills_come_to_what_is_held(terms in terms(), steps in vec(step(), 1..80)) {
        let mut venue = venue(terms);
        play(&mut venue, &steps);
        let mut held: BTreeMap<(StrategyId, InstrumentId), Amount> = BTreeMap::new();
        for execution in venue.executions_since(0).unwrap() {
            let key = (execution.strategy.clone(), execution.instrument.clone());
            let known = venue.order(&execution.order_id).unwrap().unwrap();
            let Some((_, fill)) = fill(execution) else { continue };
            let before = held.get(&key).copied().unwrap_or_default();
            let after = before.plus(fill.side.signed(fill.qty));
            if known.order.reduce_only {
                prop_assert!(after.abs() < before.abs() && (after.is_zero() || after.is_negative() == before.is_negative()));
            }
            held.insert(key, after);
        }
        held.retain(|_, qty| !qty.is_zero());
        let told = venue.holdings().unwrap().into_iter().map(|it| ((it.strategy, it.instrument), it.qty));
        prop_assert_eq!(held, told.collect());
    }

    #[test]
    fn no_order_is_filled_beyond_its_quantity_worse_than_its_limit_or_after_its_end(
        terms in terms(),
        steps in vec(step(), 1..80),
    ) {
        let mut venue = venue(terms);
        play(&mut venue, &steps);
        let mut filled: BTreeMap<SourceId, Amount> = BTreeMap::new();
        let mut over = std::collections::BTreeSet::new();
        for execution in venue.executions_since(0).unwrap() {
            let id = execution.order_id.clone();
            let order = venue.order(&id).unwrap().unwrap().order;
            prop_assert!(!over.contains(&id), "{id} went on after its end");
            match execution.what {
                What::Accepted => {}
                What::Rejected { .. } | What::Canceled | What::Expired => drop(over.insert(id)),
                What::Filled(fill) => {
                    prop_assert!(fill.qty.is_positive() && fill.side == order.side);
                    let sum = filled.entry(id).or_default();
                    *sum = sum.plus(fill.qty);
                    prop_assert!(*sum <= order.qty);
                    if let Kind::Limit(limit) = order.kind {
                        prop_assert!(!order.side.signed(limit.minus(fill.price)).is_negative(), "{fill:?} {order:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_same_orders_and_prices_give_the_same_executions(terms in terms(), steps in vec(step(), 1..80)) {
        let (mut one, mut two) = (venue(terms.clone()), venue(terms));
        play(&mut one, &steps);
        play(&mut two, &steps);
        prop_assert_eq!(one.executions_since(0), two.executions_since(0));
    }

    #[test]
    fn independent_orders_in_another_order_are_each_filled_the_same(
        terms in terms(),
        orders in vec(order(), 2..12),
        ticks in vec(tick(), 1..20),
        turn in 1..11_usize,
    ) {
        // Of a book or a volume there is only so much: there they are not independent. Nor are those that share a
        // position.
        let ticks: Vec<Step> =
            ticks.into_iter().filter(|it| !matches!(it, Step::Book(..) | Step::Volume(_))).collect();
        let first: BTreeMap<SourceId, VenueOrder> =
            orders.into_iter().map(|it| (it.id.clone(), VenueOrder { reduce_only: false, ..it })).collect();
        let mut orders: Vec<VenueOrder> = first.into_values().collect();
        let each = |orders: &[VenueOrder]| {
            let mut venue = venue(Terms { latency_nanos: 0, good_for_nanos: None, ..terms.clone() });
            for order in orders {
                venue.submit(order, at(0)).unwrap();
            }
            play(&mut venue, &ticks);
            let mut each: BTreeMap<SourceId, Vec<What>> = BTreeMap::new();
            for execution in venue.executions_since(0).unwrap() {
                each.entry(execution.order_id).or_default().push(execution.what);
            }
            each
        };
        let before = each(&orders);
        let turn = turn % orders.len();
        orders.rotate_left(turn);
        prop_assert_eq!(before, each(&orders));
    }

    #[test]
    fn cash_and_positions_come_to_what_was_put_in_less_costs_and_losses(
        terms in terms(),
        steps in vec(step(), 1..80),
        last in price(),
    ) {
        let mut venue = venue(terms);
        play(&mut venue, &steps);
        let instruments: Instruments = [(acme(), terms_of_acme())].into();
        let prices: Prices = [(acme(), cents(last))].into();
        let capital = Amount::from(100_000);
        let mut positions = Positions::default();
        // What each fill has gained or lost since, alone, and what it cost.
        let mut since: BTreeMap<StrategyId, Amount> = BTreeMap::new();
        for strategy in ["trend", "value"] {
            positions.fund(strategy.parse().unwrap(), capital);
            since.insert(strategy.parse().unwrap(), capital);
        }
        for execution in venue.executions_since(0).unwrap() {
            let strategy = execution.strategy.clone();
            let Some((_, fill)) = fill(execution) else { continue };
            positions.fill(Lane::Paper, &strategy, &terms_of_acme(), &fill);
            let gained = fill.side.signed(fill.qty).times(cents(last).minus(fill.price)).unwrap().times(10.into()).unwrap();
            let sum = since.entry(strategy).or_default();
            *sum = sum.plus(gained).minus(fill.fee);
        }
        for (strategy, worth) in since {
            prop_assert_eq!(positions.equity(&strategy, &prices, &instruments), Some(worth));
        }
        prop_assert_eq!(differences(&positions, Lane::Paper, &venue.holdings().unwrap()), []);
    }
}
