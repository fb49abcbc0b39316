//! Real streams of NautilusTrader nodes, entry by entry: every trade once, with the figures that the engine itself
//! counted.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::path::Path;

use ct_codecs::{Base64, Decoder};
use ephor::input::{self, Asked};
use ephor_governance::strategy::Command;
use ephor_governance::trade::Trade;
use ephor_governance::units::Amount;
use serde_json::Value;

use super::{read, reading};

const CAPTURES: &str = "tests/data/bus";

/// What a capture came to.
#[derive(Default)]
struct Taken {
    entries: u64,
    trades: BTreeMap<String, Vec<Trade>>,
    trade_ids: BTreeSet<String>,
    reports: BTreeSet<String>,
    repeated: u64,
    accounts: u64,
    beats: u64,
    denied: BTreeMap<String, u64>,
}

fn take(file: &str) -> Taken {
    let input = input::open(&Path::new(CAPTURES).join(file)).unwrap();
    let mut reading = reading("format = \"nautilus\"");
    let mut taken = Taken::default();
    for line in input.bytes.lines() {
        let entry: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let payload = match &entry["payload"] {
            Value::String(text) => text.clone().into_bytes(),
            _ => Base64::decode_to_vec(entry["payload_b64"].as_str().unwrap(), None).unwrap(),
        };
        let told = read(&mut reading, entry["topic"].as_str().unwrap(), &payload).unwrap();
        taken.entries += 1;
        taken.beats += u64::from(told.heard.is_some());
        for entry in told.entries {
            match entry.asked {
                Asked::Account(_) => taken.accounts += 1,
                Asked::Strategy(request) => match request.command {
                    Command::CloseTrade(trade) => {
                        assert!(taken.trade_ids.insert(trade.id.to_string()), "{} came twice", trade.id);
                        taken.trades.entry(request.strategy.to_string()).or_default().push(trade);
                    }
                    Command::ReportOrder(report) => {
                        if !taken.reports.insert(report.id.to_string()) {
                            taken.repeated += 1;
                        } else if report.status == ephor_governance::order::OrderStatus::Denied {
                            *taken.denied.entry(request.strategy.to_string()).or_default() += 1;
                        }
                    }
                    other => panic!("{other:?}"),
                },
            }
        }
    }
    taken
}

fn amount(value: &Value) -> Amount {
    value.as_str().unwrap().parse().unwrap()
}

/// One strategy's figures, as the oracle counts them.
fn check(strategy: &str, trades: &[Trade], expected: &Value) {
    let capital = Amount::from(100_000);
    let (mut equity, mut peak, mut drawdown) = (capital, capital, 0.0_f64);
    let (mut profit, mut loss, mut streak, mut streak_max) = (Amount::ZERO, Amount::ZERO, 0_u64, 0_u64);
    let (mut wins, mut losses) = (0_u64, 0_u64);
    for trade in trades {
        let pnl = trade.realized_pnl;
        equity = equity.plus(pnl);
        peak = peak.max(equity);
        drawdown = drawdown.max(peak.minus(equity).to_f64() / peak.to_f64());
        if pnl.is_positive() {
            (wins, streak, profit) = (wins + 1, 0, profit.plus(pnl));
        } else if pnl.is_negative() {
            (losses, streak, loss) = (losses + 1, streak + 1, loss.plus(pnl.abs()));
        }
        streak_max = streak_max.max(streak);
    }
    let counted = |name: &str| expected[name].as_u64().unwrap();
    assert_eq!(trades.len() as u64, counted("trades"), "{strategy}");
    assert_eq!((wins, losses), (counted("wins"), counted("losses")), "{strategy}");
    assert_eq!(streak_max, counted("max_loss_streak"), "{strategy}");
    assert_eq!(profit, amount(&expected["gross_profit"]), "{strategy}");
    assert_eq!(loss, amount(&expected["gross_loss"]), "{strategy}");
    assert_eq!(equity.minus(capital), amount(&expected["net_pnl"]), "{strategy}");
    assert!((drawdown - amount(&expected["max_drawdown"]).to_f64()).abs() < 1e-9, "{strategy}: {drawdown}");
}

fn oracle() -> Value {
    serde_json::from_str(&std::fs::read_to_string(Path::new(CAPTURES).join("bus_oracle.json")).unwrap()).unwrap()
}

#[test]
fn every_capture_comes_to_the_figures_of_its_engine() {
    let oracle = oracle();
    for (file, expected) in oracle["captures"].as_object().unwrap() {
        let taken = take(file);
        let by_type = |name: &str| expected["by_type"][name].as_u64().unwrap_or_default();
        assert_eq!(taken.entries, expected["entries"].as_u64().unwrap(), "{file}");
        assert_eq!(taken.beats, by_type("health:heartbeat"), "{file}");
        assert_eq!(taken.accounts, by_type("AccountState"), "{file}");
        // Every fill stands there twice, with one event id.
        assert_eq!(taken.repeated, expected["duplicate_event_ids"].as_u64().unwrap(), "{file}");
        let reports = by_type("OrderFilled") / 2 + by_type("OrderDenied");
        assert_eq!(taken.reports.len() as u64, reports, "{file}");
        let denied = serde_json::to_value(&taken.denied).unwrap();
        assert_eq!(denied, expected["orders_denied"], "{file}");
        let strategies = expected["strategies"].as_object().unwrap();
        assert!(taken.trades.keys().eq(strategies.keys()), "{file}: {:?}", taken.trades.keys());
        for (strategy, expected) in strategies {
            check(strategy, &taken.trades[strategy], expected);
        }
    }
}

#[test]
fn messagepack_comes_to_what_the_same_run_came_to_in_json() {
    let (packed, json) = (take("GOV-003.msgpack.jsonl"), take("GOV-004.iso8601_instance_id.jsonl"));
    let bare = |taken: &Taken| -> Vec<(String, String, Amount)> {
        let trades = taken.trades.values().flatten();
        trades.map(|trade| (trade.opened_at.to_string(), trade.closed_at.to_string(), trade.realized_pnl)).collect()
    };
    assert_eq!(bare(&packed).len(), 21);
    assert_eq!(bare(&packed), bare(&json));
    assert_eq!((packed.accounts, packed.repeated), (json.accounts, json.repeated));
    for (strategy, expected) in
        oracle()["captures"]["GOV-004.iso8601_instance_id.jsonl"]["strategies"].as_object().unwrap()
    {
        check(strategy, &packed.trades[strategy], expected);
    }
}
