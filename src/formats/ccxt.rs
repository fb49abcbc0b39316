//! CCXT's unified trade: one execution, or a list of them, as `watchMyTrades` and `fetchMyTrades` give them.
//!
//! An id is unique within a symbol only, so it is taken together with it. A fee in the base currency is worth the price
//! of this execution; one in a third currency has no rate here.

use ephor_governance::fill::{Fee, Fill};
use ephor_governance::ids::{Currency, SourceId};
use ephor_governance::units::{Amount, Timestamp};
use serde_json::value::RawValue;

use super::fact::{Fact, Take, What};
use super::{composed, times};
use crate::input::{Code, Fields, Range, Refusal, SIDES, required, text};

/// Executions in one message.
const TRADES_MAX: usize = 1_000;

/// Reads one trade, or a list of them.
pub(super) fn read(payload: &[u8], now: fn() -> Timestamp, take: Take<'_>) -> Result<(), Refusal> {
    let whole = text(payload)?.trim();
    if !whole.starts_with('[') {
        return trade(&Fields::of(whole)?, now, take);
    }
    let trades: Vec<&RawValue> = serde_json::from_str(whole)
        .map_err(|error| Refusal::line(Code::LineNotJson, format!("not a list of trades: {error}")))?;
    if trades.len() > TRADES_MAX {
        let problem = format!("a list has at most {TRADES_MAX} trades, found {}", trades.len());
        return Err(Refusal::line(Code::LineTooLong, problem));
    }
    for raw in trades {
        trade(&Fields::of(raw.get())?, now, take)?;
    }
    Ok(())
}

fn trade(fields: &Fields<'_>, now: fn() -> Timestamp, take: Take<'_>) -> Result<(), Refusal> {
    let symbol = required("symbol", fields.text("symbol"))?;
    let id: SourceId = required("id", fields.id("id"))?;
    let price = required("price", fields.amount("price", Range::Any))?;
    let at = match times::millis(fields, "timestamp", now)? {
        Some(at) => at,
        None => times::moment("datetime", &required("datetime", fields.text("datetime"))?, now)?,
    };
    let fill = Fill {
        id: composed("id", &[&symbol, id.as_str()])?,
        instrument: required("symbol", fields.id("symbol"))?,
        account: None,
        order_id: fields.id("order")?,
        side: required("side", fields.choice("side", &SIDES))?,
        qty: required("amount", fields.amount("amount", Range::AboveZero))?,
        price,
        fee: fee(fields, &symbol, price)?,
        at,
    };
    let named = ["clientOrderId", "info.clientOrderId", "info.clOrdId", "info.orderLinkId", "info.c"];
    let client_order_id = named.iter().find_map(|path| fields.at(path)).map(Into::into);
    let fact = Fact { at, what: What::Fill(fill), owner: None, client_order_id, account: None };
    take(fact, fields)
}

/// `fee`, or the sum of `fees` where they are all in one currency.
fn fee(fields: &Fields<'_>, symbol: &str, price: Amount) -> Result<Option<Fee>, Refusal> {
    let given = match fields.object("fee")? {
        Some(fee) => vec![fee],
        None => fields.objects("fees")?.unwrap_or_default(),
    };
    let mut sum: Option<(Amount, Option<Currency>)> = None;
    for fee in &given {
        let Some(cost) = fee.amount("cost", Range::Any)? else { continue };
        let currency: Option<Currency> = fee.id("currency")?;
        sum = match sum {
            None => Some((cost, currency)),
            Some((so_far, same)) if same == currency => Some((so_far.plus(cost), same)),
            Some(_) => {
                let problem = "fees in several currencies for one execution";
                return Err(Refusal::field(Code::FieldOutOfRange, "fees", problem));
            }
        };
    }
    Ok(sum.map(|(amount, currency)| {
        let base = symbol.split(['/', ':']).next();
        let in_base = currency.as_ref().is_some_and(|currency| Some(currency.as_str()) == base);
        Fee { amount, rate: (in_base && price.is_positive()).then_some(price), currency }
    }))
}
