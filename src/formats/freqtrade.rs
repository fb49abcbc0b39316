//! freqtrade: what its webhooks and its socket send (`entry_fill`, `exit_fill`), and a trade as its REST interface gives it.
//!
//! A bot counts its trades from 1, so an id is taken with the pair and the time of entry. A part of a position that is
//! sold (`sub_trade`) is a round trip of its own. Read either the messages or the trades of one bot: the two have no id in
//! common by which a result could be known to be the same.

pub(crate) mod backtest;

use std::borrow::Cow;

use ephor_governance::ids::{Currency, InstrumentId, SourceId};
use ephor_governance::order::{OrderReport, OrderStatus, Side};
use ephor_governance::trade::{Direction, Trade};
use ephor_governance::units::{Amount, Timestamp};

use super::fact::{Fact, Take, What};
use super::{composed, times};
use crate::input::{Code, Fields, Range, Refusal, quoted, required, text};

/// What a bot tells beside its fills.
const OF_NO_CONCERN: [&str; 15] = [
    "entry",
    "exit",
    "entry_cancel",
    "exit_cancel",
    "status",
    "warning",
    "exception",
    "startup",
    "whitelist",
    "analyzed_df",
    "new_candle",
    "strategy_msg",
    "protection_trigger",
    "protection_trigger_global",
    "wallet",
];

const DIRECTIONS: [(&str, Direction); 2] = [("Long", Direction::Long), ("Short", Direction::Short)];

/// Reads one message, or one trade.
pub(super) fn read(payload: &[u8], now: fn() -> Timestamp, take: Take<'_>) -> Result<(), Refusal> {
    let whole = Fields::of(text(payload)?)?;
    let Some(kind) = whole.text("type")? else {
        // A trade of the REST interface has no type; one that is open has no result yet.
        let is_open = required("is_open", whole.flag("is_open"))?;
        return if is_open { Ok(()) } else { closed(&whole, now, take) };
    };
    let message = match whole.object("data")? {
        Some(inner) => inner,
        None => whole,
    };
    match &*kind {
        "entry_fill" => entered(&message, now, take),
        "exit_fill" => exited(&message, now, take),
        other if OF_NO_CONCERN.contains(&other) => Ok(()),
        unknown => {
            let problem = format!("unknown type {:?}", quoted(unknown));
            Err(Refusal::field(Code::TypeUnknown, "type", problem))
        }
    }
}

/// A closed trade as the REST interface, the database or a backtest has it.
fn trade_of(fields: &Fields<'_>, id: SourceId, now: fn() -> Timestamp) -> Result<Trade, Refusal> {
    let opened_at = moment(fields, "open_timestamp", "open_date", now)?;
    let closed_at = moment(fields, "close_timestamp", "close_date", now)?;
    in_order(opened_at, closed_at)?;
    let short = required("is_short", fields.flag("is_short"))?;
    let realized = if fields.value("close_profit_abs").is_some() { "close_profit_abs" } else { "profit_abs" };
    Ok(Trade {
        id,
        instrument: required("pair", fields.id("pair"))?,
        direction: if short { Direction::Short } else { Direction::Long },
        qty: required("amount", fields.amount("amount", Range::AboveZero))?,
        entry_price: required("open_rate", fields.amount("open_rate", Range::Any))?,
        exit_price: required("close_rate", fields.amount("close_rate", Range::Any))?,
        realized_pnl: required(realized, fields.amount(realized, Range::Any))?,
        currency: currency(fields)?,
        initial_risk: None,
        opened_at,
        closed_at,
        order_id: None,
    })
}

/// The id of a trade: its number, its pair and when it was opened.
fn id_of(fields: &Fields<'_>, number: &str) -> Result<SourceId, Refusal> {
    let pair = required("pair", fields.text("pair"))?;
    let opened = fields.at("open_timestamp").or_else(|| fields.at("open_date"));
    let opened = opened.ok_or_else(|| Refusal::field(Code::FieldMissing, "open_date", "missing"))?;
    composed("trade_id", &[number, &pair, opened.strip_suffix(".0").unwrap_or(&opened)])
}

fn closed(fields: &Fields<'_>, now: fn() -> Timestamp, take: Take<'_>) -> Result<(), Refusal> {
    let number = required("trade_id", fields.count("trade_id"))?.to_string();
    let trade = trade_of(fields, id_of(fields, &number)?, now)?;
    take(fact(fields, trade.closed_at, What::Trade(trade))?, fields)
}

fn exited(fields: &Fields<'_>, now: fn() -> Timestamp, take: Take<'_>) -> Result<(), Refusal> {
    let number = required("trade_id", fields.count("trade_id"))?.to_string();
    let opened_at = moment(fields, "open_timestamp", "open_date", now)?;
    let closed_at = moment(fields, "close_timestamp", "close_date", now)?;
    in_order(opened_at, closed_at)?;
    let id = composed("trade_id", &[id_of(fields, &number)?.as_str(), &closed_at.to_string()])?;
    let exit = if fields.value("close_rate").is_some() { "close_rate" } else { "limit" };
    let trade = Trade {
        id,
        instrument: required("pair", fields.id("pair"))?,
        direction: required("direction", fields.choice("direction", &DIRECTIONS))?,
        qty: required("amount", fields.amount("amount", Range::AboveZero))?,
        entry_price: required("open_rate", fields.amount("open_rate", Range::Any))?,
        exit_price: required(exit, fields.amount(exit, Range::Any))?,
        // Of this exit alone: what is told as cumulative holds the parts before it.
        realized_pnl: required("profit_amount", fields.amount("profit_amount", Range::Any))?,
        currency: currency(fields)?,
        initial_risk: None,
        opened_at,
        closed_at,
        order_id: None,
    };
    // The position goes down by as much as it went up when it was entered.
    let side = match trade.direction {
        Direction::Long => Side::Sell,
        Direction::Short => Side::Buy,
    };
    let sold = filled(trade.id.clone(), trade.instrument.clone(), side, trade.qty, trade.exit_price);
    take(fact(fields, closed_at, What::Trade(trade))?, fields)?;
    take(fact(fields, closed_at, What::Order(sold))?, fields)
}

fn filled(id: SourceId, instrument: InstrumentId, side: Side, qty: Amount, price: Amount) -> OrderReport {
    OrderReport {
        id,
        instrument,
        order_id: None,
        status: OrderStatus::Filled,
        side: Some(side),
        qty: Some(qty),
        price: Some(price),
        position_qty: None,
        equity: None,
        commission: None,
        reason: None,
    }
}

fn entered(fields: &Fields<'_>, now: fn() -> Timestamp, take: Take<'_>) -> Result<(), Refusal> {
    let number = required("trade_id", fields.count("trade_id"))?.to_string();
    let at = moment(fields, "open_timestamp", "open_date", now)?;
    let amount = required("amount", fields.amount("amount", Range::AboveZero))?;
    let price = required("open_rate", fields.amount("open_rate", Range::Any))?;
    let direction = required("direction", fields.choice("direction", &DIRECTIONS))?;
    // More may be bought of the same trade later, opened at the same time: then the amount is another.
    let id = composed("trade_id", &[id_of(fields, &number)?.as_str(), &text_of(amount), &text_of(price)])?;
    let side = match direction {
        Direction::Long => Side::Buy,
        Direction::Short => Side::Sell,
    };
    let report = filled(id, required("pair", fields.id("pair"))?, side, amount, price);
    take(fact(fields, at, What::Order(report))?, fields)
}

fn text_of(amount: Amount) -> String {
    amount.normalized().to_string()
}

fn fact(fields: &Fields<'_>, at: Timestamp, what: What) -> Result<Fact, Refusal> {
    Ok(Fact { at, what, owner: fields.id("strategy")?, client_order_id: None, account: None })
}

/// Results are counted in what is staked.
fn currency(fields: &Fields<'_>) -> Result<Option<Currency>, Refusal> {
    match fields.id("stake_currency")? {
        Some(currency) => Ok(Some(currency)),
        None => fields.id("quote_currency"),
    }
}

fn in_order(opened_at: Timestamp, closed_at: Timestamp) -> Result<(), Refusal> {
    if closed_at < opened_at {
        let problem = format!("{closed_at} is before open_date {opened_at}");
        return Err(Refusal::field(Code::FieldOutOfRange, "close_date", problem));
    }
    Ok(())
}

/// Milliseconds, or a date in UTC that need not say so.
fn moment(
    fields: &Fields<'_>,
    millis: &'static str,
    date: &'static str,
    now: fn() -> Timestamp,
) -> Result<Timestamp, Refusal> {
    if let Some(at) = times::millis(fields, millis, now)? {
        return Ok(at);
    }
    let text = required(date, fields.text(date))?;
    let zoned = text.ends_with('Z') || text.get(10..).is_some_and(|time| time.contains(['+', '-']));
    let text = if zoned { text } else { Cow::Owned(format!("{text}Z")) };
    times::moment(date, &text, now)
}
