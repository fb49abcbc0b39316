//! A whole backtest result, as freqtrade exports it: strategies with their trades, into lines of Ephor's own JSON.
//!
//! The figures of a baseline are counted here, trade by trade, by the definitions that live trades are measured by.
//! freqtrade's own are of other things: its Sharpe ratio is a year's, its profit factor without losses is zero.

use std::fmt::Write;

use ephor_governance::ids::{SourceId, StrategyId};
use ephor_governance::trade::Trade;
use ephor_governance::units::{Amount, Timestamp};
use serde_json::json;

use super::{id_of, trade_of};
use crate::formats::fact::{Fact, What};
use crate::formats::{own, times};
use crate::input::{Code, Fields, Range, Refusal, required};

/// What is made of a backtest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// The figures that live trades are compared with
    Baseline,
    /// Its trades, as if they had been live
    Trades,
}

/// Settings that make another version of a strategy where they change.
const PARAMS: [&str; 10] = [
    "timeframe",
    "stoploss",
    "trailing_stop",
    "trailing_stop_positive",
    "minimal_roi",
    "max_open_trades",
    "stake_amount",
    "trading_mode",
    "margin_mode",
    "use_exit_signal",
];

/// The lines of every strategy of a result, in the order of their times. `name` is what its only one is called here.
pub(crate) fn lines(
    result: &str,
    part: Part,
    name: Option<&StrategyId>,
    now: fn() -> Timestamp,
) -> Result<String, Refusal> {
    let whole = Fields::of(result)?;
    let strategies = required("strategy", whole.object("strategy"))?;
    let names: Vec<&str> = strategies.names().collect();
    if names.is_empty() || (name.is_some() && names.len() > 1) {
        let problem = format!("expected one strategy to be given another name, found {}", names.len());
        return Err(Refusal::field(Code::FieldOutOfRange, "strategy", problem));
    }
    let mut lines: Vec<(Timestamp, String)> = Vec::new();
    for class in names {
        let strategy = match name {
            Some(name) => name.clone(),
            None => class
                .parse::<StrategyId>()
                .map_err(|error| Refusal::field(Code::FieldMalformed, "strategy", format!("{error}")))?,
        };
        let block = Fields::of(strategies.raw(class).unwrap_or_default());
        let block = block.map_err(|refusal| Refusal::field(refusal.code, "strategy", refusal.problem))?;
        lines.extend(of_strategy(&block, class, &strategy, part, now)?);
    }
    // Stable, so that what happens at one time keeps its order.
    lines.sort_by_key(|(at, _)| *at);
    let mut text = String::new();
    for (_, line) in lines {
        let Ok(()) = writeln!(text, "{line}") else { break };
    }
    Ok(text)
}

fn of_strategy(
    block: &Fields<'_>,
    class: &str,
    strategy: &StrategyId,
    part: Part,
    now: fn() -> Timestamp,
) -> Result<Vec<(Timestamp, String)>, Refusal> {
    let start = required("backtest_start_ts", times::millis(block, "backtest_start_ts", now))?;
    let end = required("backtest_end_ts", times::millis(block, "backtest_end_ts", now))?;
    let capital = required("starting_balance", block.amount("starting_balance", Range::AboveZero))?;
    let currency = required("stake_currency", block.text("stake_currency"))?;
    let trades = trades(block, now)?;
    let begins = match part {
        Part::Baseline => end,
        Part::Trades => start,
    };
    let mut params = serde_json::Map::new();
    for name in PARAMS {
        if let Some(raw) = block.raw(name).and_then(|raw| serde_json::from_str(raw).ok()) {
            params.insert(name.to_owned(), raw);
        }
    }
    // The same period may be tried again with other parameters, which is another promise.
    let found = metrics(&trades, capital);
    let content = blake3::hash(format!("{class:?} {params:?} {capital} {found}").as_bytes()).to_hex();
    let digest = content.get(..16).unwrap_or_default().to_owned();
    let id =
        |what: &str| format!("freqtrade:{what}:{}:{}:{digest}", start.nanos() / 1_000_000, end.nanos() / 1_000_000);
    let registration = json!({
        "type": "strategy", "id": id("strategy"), "ts": begins.to_string(), "strategy_id": strategy,
        "engine": "freqtrade", "strategy_class": class, "params": params, "initial_capital": capital,
        "currency": currency,
    });
    let mut lines = vec![(begins, registration.to_string())];
    match part {
        Part::Baseline => {
            let baseline = json!({
                "type": "baseline", "id": id("baseline"), "ts": begins.to_string(), "strategy_id": strategy,
                "period_start": start.to_string(), "period_end": end.to_string(), "metrics": found,
            });
            lines.push((begins, baseline.to_string()));
        }
        Part::Trades => {
            let whose = Some(strategy.text());
            for trade in trades {
                let at = trade.closed_at;
                let fact = Fact { at, what: What::Trade(trade), owner: None, client_order_id: None, account: None };
                lines.push((at, own::line(&fact, whose.as_ref(), ephor_governance::fill::Netting::default())));
            }
        }
    }
    Ok(lines)
}

/// The closed trades of a strategy, in the order in which they were closed.
fn trades(block: &Fields<'_>, now: fn() -> Timestamp) -> Result<Vec<Trade>, Refusal> {
    let raw = required("trades", block.list("trades"))?;
    let mut trades = Vec::with_capacity(raw.len());
    for (index, raw) in raw.into_iter().enumerate() {
        let nth = |refusal: Refusal| {
            let problem = format!("trade {}: {refusal}", index + 1);
            Refusal::field(refusal.code, "trades", problem)
        };
        let fields = Fields::of(raw).map_err(nth)?;
        if fields.flag("is_open").map_err(nth)? == Some(true) {
            continue;
        }
        let id: SourceId = id_of(&fields, "backtest").map_err(nth)?;
        trades.push(trade_of(&fields, id, now).map_err(nth)?);
    }
    trades.sort_by_key(|trade| trade.closed_at);
    Ok(trades)
}

/// What the trades come to. What cannot be told (a ratio without losses, a deviation of one trade) is left out.
fn metrics(trades: &[Trade], capital: Amount) -> serde_json::Value {
    let count = |wanted: fn(Amount) -> bool| trades.iter().filter(|trade| wanted(trade.realized_pnl)).count();
    let sum = |wanted: fn(Amount) -> bool| {
        let found = trades.iter().map(|trade| trade.realized_pnl).filter(|pnl| wanted(*pnl));
        found.fold(Amount::ZERO, Amount::plus).to_f64()
    };
    let (wins, losses) = (count(Amount::is_positive), count(Amount::is_negative));
    let (profit, loss) = (sum(Amount::is_positive), -sum(Amount::is_negative));
    let returns: Vec<f64> = trades.iter().filter_map(return_on_entry).collect();
    let (mut equity, mut peak, mut drawdown) = (capital, capital, 0.0_f64);
    for trade in trades {
        equity = equity.plus(trade.realized_pnl);
        peak = peak.max(equity);
        drawdown = drawdown.max(peak.minus(equity).to_f64() / peak.to_f64());
    }
    let number = float(trades.len());
    let mut metrics = serde_json::Map::new();
    metrics.insert("trades".to_owned(), json!(trades.len()));
    let mut give = |name: &str, value: Option<f64>| {
        if let Some(value) = value.and_then(Amount::from_f64) {
            metrics.insert(name.to_owned(), json!(value));
        }
    };
    let mean = (!returns.is_empty()).then(|| returns.iter().sum::<f64>() / float(returns.len()));
    give("win_rate", (number > 0.0).then(|| float(wins) / number));
    give("profit_factor", (losses > 0).then(|| profit / loss));
    give("avg_rr", (losses > 0 && wins > 0).then(|| (profit / float(wins)) / (loss / float(losses))));
    give("sharpe_trade", mean.zip(deviation(&returns)).map(|(mean, deviation)| mean / deviation));
    give("expectancy", (number > 0.0).then(|| (profit - loss) / number));
    give("avg_trade_return_pct", mean.map(|mean| mean * 100.0));
    give("max_drawdown", Some(drawdown));
    serde_json::Value::Object(metrics)
}

/// A trade's result over what was paid to enter it.
fn return_on_entry(trade: &Trade) -> Option<f64> {
    let entry = trade.qty.to_f64() * trade.entry_price.to_f64();
    (entry > 0.0).then(|| trade.realized_pnl.to_f64() / entry)
}

/// The sample standard deviation; `None` for one value, or where all are the same.
fn deviation(values: &[f64]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / float(values.len());
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    let deviation = (squares / float(values.len() - 1)).sqrt();
    (deviation > 0.0).then_some(deviation)
}

#[expect(clippy::cast_precision_loss, reason = "a count of trades is far below 2^52")]
const fn float(count: usize) -> f64 {
    count as f64
}
