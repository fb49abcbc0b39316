//! The fills of real strategies, netted: they come to what the engines that made them recorded as results.
//!
//! Where NautilusTrader nets a position, its own sum is met to the last digit. It reports one trade when a
//! position is flat, here every order that reduces one, which here comes to as many.
//! Of the other engines the files keep prices and fees rounded to 8 places, and results that were computed before that:
//! they differ by no more than half of the last place of each price and fee can make.

use std::collections::BTreeMap;
use std::path::Path;

use ephor_governance::event::Registration;
use ephor_governance::fill::{Fee, Fill, Netting, Pieces};
use ephor_governance::order::Side;
use ephor_governance::strategy::Command;
use ephor_governance::units::Amount;
use serde_json::Value;

use crate::given::{World, amount, read, registration};

/// What one strategy's lines say.
#[derive(Default)]
struct Told {
    world: Option<World>,
    fills: u32,
    /// As its engine recorded it.
    result: Amount,
    trades: u32,
    /// What the places that the file leaves out can come to.
    rounded_off: Amount,
    positions: BTreeMap<String, Amount>,
}

fn text<'a>(line: &'a Value, field: &str) -> &'a str {
    line[field].as_str().unwrap()
}

fn fill_of(line: &Value) -> Fill {
    let fee = |amount: Amount| Fee { amount, currency: None, rate: None };
    Fill {
        id: read(text(line, "id")),
        instrument: read(text(line, "instrument")),
        account: None,
        order_id: line["order_id"].as_str().map(read),
        side: if text(line, "side") == "BUY" { Side::Buy } else { Side::Sell },
        qty: amount(text(line, "qty")),
        price: amount(text(line, "price")),
        fee: line["commission"].as_str().map(amount).map(fee),
        at: read(text(line, "ts")),
    }
}

/// Half of the last of 8 places, for a price of this quantity and for a fee.
fn rounding(fill: &Fill, multiplier: Amount) -> Amount {
    let half = Amount::new(5, 9);
    let price = fill.qty.times(half).unwrap().times(multiplier).unwrap();
    price.plus(if fill.fee.is_some() { half } else { Amount::ZERO })
}

fn netted(netting: Netting) -> BTreeMap<String, Told> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/demo.jsonl");
    let mut all: BTreeMap<String, Told> = BTreeMap::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let told = all.entry(text(&line, "strategy_id").to_owned()).or_default();
        match text(&line, "type") {
            "strategy" => {
                let mut world = World::empty();
                let declared = Registration {
                    initial_capital: amount(text(&line, "initial_capital")),
                    currency: read(text(&line, "currency")),
                    multiplier: amount(text(&line, "multiplier")),
                    ..registration()
                };
                world.tell(&Command::Register(declared)).unwrap();
                told.world = Some(world);
            }
            "order" if line["status"] == "filled" => {
                let fill = fill_of(&line);
                let world = told.world.as_mut().unwrap();
                let multiplier = world.state.registration.as_ref().unwrap().multiplier;
                told.fills += 1;
                told.rounded_off = told.rounded_off.plus(rounding(&fill, multiplier));
                told.positions.insert(fill.instrument.to_string(), amount(text(&line, "position_qty")));
                world
                    .tell(&Command::RecordFill {
                        fill: fill.clone(),
                        netting,
                        pieces: Pieces::Together,
                        currency: None,
                    })
                    .unwrap();
                let found = world.state.fills.position(&fill.instrument);
                assert_eq!(found, told.positions[fill.instrument.as_str()], "{line}");
            }
            "trade_closed" => {
                told.trades += 1;
                told.result = told.result.plus(amount(text(&line, "realized_pnl")));
            }
            _other => {}
        }
    }
    all
}

#[test]
fn the_fills_of_real_strategies_come_to_the_results_that_their_engines_recorded() {
    for netting in [Netting::Fifo, Netting::Average] {
        let all = netted(netting);
        assert_eq!(all.len(), 7);
        for (name, told) in &all {
            let state = &told.world.as_ref().unwrap().state;
            let differs = state.totals.pnl.minus(told.result).abs();
            let is_nautilus = name.starts_with("EMAX") || name.starts_with("BBMR");
            let allowed = if is_nautilus { Amount::ZERO } else { told.rounded_off };
            assert!(differs <= allowed, "{name}: {} and not {}: {differs} > {allowed}", state.totals.pnl, told.result);
            assert!(!state.fills.is_open() && state.fills.recorded == u64::from(told.fills));
            assert_eq!(state.totals.trades, told.trades, "{name}");
        }
        let of =
            |name: &str| (all[name].fills, all[name].trades, all[name].world.as_ref().unwrap().state.totals.trades);
        // One position in two purchases and two sales, the sales of one order: one exit each.
        assert_eq!(of("EMAX-GBPUSD-M5-001"), (600, 150, 150));
        assert_eq!(of("BBMR-GBPUSD-M5-001"), (444, 111, 111));
        assert_eq!(of("BBMR-6E-M15-001"), (86, 39, 39));
        assert_eq!(of("FT-SampleStrategy"), (102, 51, 51));
    }
}
