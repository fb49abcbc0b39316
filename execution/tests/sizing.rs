//! How large an order is before anybody has looked at it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use ephor_execution::instrument::Instrument;
use ephor_execution::order::{Kind, TradeSignal};
use ephor_execution::positions::{Instruments, Lane, Positions, Prices};
use ephor_execution::refusal::Refusal;
use ephor_execution::seen::Seen;
use ephor_execution::sizing::{Base, PortfolioSizing, Size, Sizer};
use ephor_execution::venue::Filled;
use ephor_governance::ids::InstrumentId;
use ephor_governance::order::{Intent, Side};
use ephor_governance::units::{Amount, Multiplier, Timestamp};
use proptest::prelude::*;

fn amount(text: &str) -> Amount {
    text.parse().unwrap()
}

fn acme() -> InstrumentId {
    "ACME".parse().unwrap()
}

/// A contract of ten.
fn terms_of_acme() -> Instrument {
    Instrument { multiplier: 10.into(), ..Instrument::new(acme(), Amount::ONE, amount("0.01"), "USD".parse().unwrap()) }
}

fn signal(side: Side) -> TradeSignal {
    TradeSignal {
        id: "s-1".parse().unwrap(),
        strategy: "trend".parse().unwrap(),
        instrument: acme(),
        side,
        intent: Intent::Entry,
        kind: Kind::Market,
        stop: None,
        regime: Multiplier::ONE,
        at: Timestamp::from_nanos(0),
    }
}

/// What a stage sees: an instrument, its price, and a strategy with something to trade with.
struct World {
    instruments: Instruments,
    prices: Prices,
    positions: Positions,
}

impl World {
    fn new() -> Self {
        let mut positions = Positions::default();
        positions.fund("trend".parse().unwrap(), 100_000.into());
        Self { instruments: [(acme(), terms_of_acme())].into(), prices: [(acme(), 50.into())].into(), positions }
    }

    fn size(&self, sizing: &mut PortfolioSizing, signal: &TradeSignal) -> Result<Amount, Refusal> {
        let Self { instruments, prices, positions } = self;
        let working = BTreeMap::new();
        sizing.size(
            signal,
            &Seen { at: signal.at, instruments, prices, positions, working: &working, doubtful: &working },
        )
    }
}

fn size(base: Base, signal: &TradeSignal) -> Result<Amount, Refusal> {
    World::new().size(&mut PortfolioSizing::new(base), signal)
}

#[test]
fn a_fixed_size_is_what_it_is() {
    assert_eq!(size(Base::Fixed { qty: 7.into() }, &signal(Side::Buy)), Ok(7.into()));
    for qty in [Amount::ZERO, amount("-7")] {
        assert_eq!(size(Base::Fixed { qty }, &signal(Side::Buy)), Err(Refusal::SizingZero));
    }
}

#[test]
fn a_fixed_value_is_divided_by_what_one_is_worth() {
    let base = Base::FixedNotional { value: 10_000.into() };
    assert_eq!(size(base, &signal(Side::Buy)), Ok(20.into()));
    // At its own price, where it names one that makes it dearer.
    for (own, qty) in [(40, 20), (80, 12)] {
        let limit = TradeSignal { kind: Kind::Limit(own.into()), ..signal(Side::Buy) };
        assert_eq!(size(base, &limit).map(|qty| qty.decimal().floor()), Ok(Amount::from(qty).decimal()));
    }
}

#[test]
fn risk_per_trade_loses_its_share_of_equity_at_the_stop() {
    let base = Base::RiskPerTrade { fraction: amount("0.01") };
    // 1 000 of 100 000; a stop two away costs 20 a contract.
    for (side, stop) in [(Side::Buy, 48), (Side::Sell, 52)] {
        assert_eq!(size(base, &TradeSignal { stop: Some(stop.into()), ..signal(side) }), Ok(50.into()));
    }
    // What was lost is not risked again: 20 000 are gone.
    let mut world = World::new();
    let fee = Filled { id: "f".parse().unwrap(), side: Side::Buy, qty: 1.into(), price: 50.into(), fee: 20_000.into() };
    world.positions.fill(Lane::Live, &"trend".parse().unwrap(), &terms_of_acme(), &fee);
    let wish = TradeSignal { stop: Some(48.into()), ..signal(Side::Buy) };
    assert_eq!(world.size(&mut PortfolioSizing::new(base), &wish), Ok(40.into()));
}

#[test]
fn a_stop_that_is_missing_or_on_the_wrong_side_sizes_nothing() {
    let base = Base::RiskPerTrade { fraction: amount("0.01") };
    for (side, stop) in [(Side::Buy, None), (Side::Buy, Some(50)), (Side::Buy, Some(51)), (Side::Sell, Some(49))] {
        let wish = TradeSignal { stop: stop.map(Amount::from), ..signal(side) };
        assert_eq!(size(base, &wish), Err(Refusal::SizingNoStop), "{side:?} {stop:?}");
    }
}

#[test]
fn a_volatility_target_makes_the_positions_deviation_its_share_of_equity() {
    let world = World::new();
    let mut sizing = PortfolioSizing::new(Base::VolatilityTarget { target: amount("0.01"), window: 2 });
    let history_short = |have| Err(Refusal::SizingHistoryShort { have, need: 2 });
    assert_eq!(world.size(&mut sizing, &signal(Side::Buy)), history_short(0));
    sizing.price(&acme(), 40.into());
    sizing.price(&acme(), 50.into());
    assert_eq!(world.size(&mut sizing, &signal(Side::Buy)), history_short(1));
    // Returns of a quarter and of nothing: their deviation is an eighth times the root of two. One contract is worth
    // 500, and moves 88.39; 1 000 are 11.3 of them.
    sizing.price(&acme(), 50.into());
    let qty = world.size(&mut sizing, &signal(Side::Buy)).unwrap();
    let expected = 1_000.0 / (500.0 * 0.125 * 2.0_f64.sqrt());
    assert!((qty.to_f64() - expected).abs() < 1e-9, "{qty} {expected}");
    // A price that never moves gives nothing to measure by.
    (0..2).for_each(|_| sizing.price(&acme(), 50.into()));
    assert_eq!(world.size(&mut sizing, &signal(Side::Buy)), Err(Refusal::SizingZero));
}

#[test]
fn regime_comes_before_governance_and_both_only_make_smaller() {
    let world = World::new();
    let mut sizing = PortfolioSizing::new(Base::Fixed { qty: 100.into() }).with_governance(|strategy, qty| {
        assert_eq!((strategy.as_str(), qty), ("trend", 50.into()));
        Multiplier::new(0.25)
    });
    let wish = TradeSignal { regime: Multiplier::new(0.5), ..signal(Side::Buy) };
    assert_eq!(world.size(&mut sizing, &wish), Ok(amount("12.5")));
    let mut greedy = PortfolioSizing::new(Base::Fixed { qty: 100.into() }).with_governance(|_, _| Multiplier::new(9.0));
    assert_eq!(world.size(&mut greedy, &wish), Ok(50.into()));
    let mut nothing = PortfolioSizing::new(Base::Fixed { qty: 100.into() }).with_governance(|_, _| Multiplier::ZERO);
    assert_eq!(world.size(&mut nothing, &wish), Err(Refusal::SizingZero));
}

#[test]
fn a_strategy_may_have_a_size_and_a_largest_value_of_its_own() {
    let world = World::new();
    let capped = Size { base: Base::Fixed { qty: 500.into() }, value_max: Some(amount("0.1")) };
    let mut sizing =
        PortfolioSizing::new(Base::Fixed { qty: 1.into() }).with_strategy("trend".parse().unwrap(), capped);
    // A tenth of 100 000, at 500 each.
    assert_eq!(world.size(&mut sizing, &signal(Side::Buy)), Ok(20.into()));
    let other = TradeSignal { strategy: "value".parse().unwrap(), ..signal(Side::Buy) };
    assert_eq!(world.size(&mut sizing, &other), Ok(1.into()));
}

#[test]
fn what_is_missing_is_named() {
    let base = Base::RiskPerTrade { fraction: amount("0.01") };
    let wish = TradeSignal { stop: Some(48.into()), ..signal(Side::Buy) };
    let mut world = World::new();
    world.prices.clear();
    let mut sizing = PortfolioSizing::new(base);
    assert_eq!(world.size(&mut sizing, &wish), Err(Refusal::PriceUnknown { instrument: acme() }));
    // Something else that it holds has no price: what it is worth is not known.
    let mut world = World::new();
    let other = Instrument { id: "OTHER".parse().unwrap(), ..terms_of_acme() };
    let fill = Filled { id: "f".parse().unwrap(), side: Side::Buy, qty: 1.into(), price: 1.into(), fee: Amount::ZERO };
    world.positions.fill(Lane::Live, &"trend".parse().unwrap(), &other, &fill);
    assert_eq!(world.size(&mut sizing, &wish), Err(Refusal::PriceUnknown { instrument: other.id }));
    let unfunded = TradeSignal { strategy: "value".parse().unwrap(), ..wish.clone() };
    assert_eq!(world.size(&mut sizing, &unfunded), Err(Refusal::SizingZero));
    world.instruments.clear();
    assert_eq!(world.size(&mut sizing, &wish), Err(Refusal::InstrumentUnknown { instrument: acme() }));
}

proptest! {
    #[test]
    fn no_size_risks_more_than_its_share(
        price in 100..100_000_i64,
        away in 1..99_i64,
        fraction in 1..1_000_i64,
        regime in 0.0..=1.0_f64,
        share in -1.0..2.0_f64,
    ) {
        let mut world = World::new();
        world.prices.insert(acme(), Amount::new(price, 2));
        let fraction = Amount::new(fraction, 4);
        let wish = TradeSignal {
            stop: Some(Amount::new(price - away, 2)),
            regime: Multiplier::new(regime),
            ..signal(Side::Buy)
        };
        let base = world.size(&mut PortfolioSizing::new(Base::RiskPerTrade { fraction }), &TradeSignal { regime: Multiplier::ONE, ..wish.clone() });
        let base = base.unwrap();
        let budget = Amount::from(100_000).times(fraction).unwrap();
        prop_assert!(base.times(Amount::new(away, 2)).unwrap().times(10.into()).unwrap() <= budget);
        let mut sizing = PortfolioSizing::new(Base::RiskPerTrade { fraction }).with_governance(move |_, _| Multiplier::new(share));
        match world.size(&mut sizing, &wish) {
            Ok(qty) => prop_assert!(qty.is_positive() && qty <= base),
            Err(refusal) => prop_assert!(refusal == Refusal::SizingZero && (regime <= 1e-20 || share <= 1e-20)),
        }
    }

    #[test]
    fn rounding_to_the_lot_is_never_up(qty in 1..1_000_000_000_i64, lot in 1..1_000_i64, scale in 0..6_u32) {
        let (qty, lot) = (Amount::new(qty, 5), Amount::new(lot, scale));
        let terms = Instrument::new(acme(), lot, amount("0.01"), "USD".parse().unwrap());
        match terms.round_down(qty, None) {
            Ok(rounded) => {
                prop_assert!(rounded <= qty && qty < rounded.plus(lot));
                prop_assert!((rounded.decimal() % lot.decimal()).is_zero());
            }
            Err(refusal) => prop_assert!(qty < lot, "{refusal:?}"),
        }
    }
}
