//! CCXT's unified trade: one execution, or a list of them, as `watchMyTrades` and `fetchMyTrades` give them.
//!
//! An id is unique within a symbol only, so it is taken together with it. Prices are counted in the quote currency, which
//! the governor holds against the strategy's own. A fee in a third currency has no rate here.
//!
//! On a spot market a fee in the base currency is paid out of what was traded: a purchase brings `amount` less the fee, a
//! sale costs the fee beside `amount`. The quantity is what the position moves by, and the fee is worth the execution's
//! own price, so that quantity x price and the fee together are exactly what was paid or received.

use ephor_governance::fill::{Fee, Fill};
use ephor_governance::ids::{Currency, IdError, SourceId};
use ephor_governance::order::Side;
use ephor_governance::units::{Amount, Timestamp};
use serde_json::value::RawValue;

use super::fact::{Fact, Take, What};
use super::{composed, times};
use crate::input::{Code, Fields, Range, Refusal, SIDES, quoted, required, text};

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

/// A market, by its unified symbol: `BASE/QUOTE`, or `BASE/QUOTE:SETTLE` and more for contracts.
struct Market {
    base: Currency,
    quote: Currency,
    is_spot: bool,
}

impl Market {
    fn of(symbol: &str) -> Result<Self, Refusal> {
        let wrong = |problem: String| Refusal::field(Code::FieldMalformed, "symbol", problem);
        let named = |text: &str| text.parse::<Currency>().map_err(|error: IdError| wrong(error.to_string()));
        let Some((base, rest)) = symbol.split_once('/') else {
            return Err(wrong(format!("expected BASE/QUOTE, found {}", quoted(symbol))));
        };
        let (quote, settled) = rest.split_once(':').map_or((rest, None), |(quote, settled)| (quote, Some(settled)));
        // Behind it stand an expiry, a strike and a kind.
        let settled = settled.map(|settled| settled.split('-').next().unwrap_or_default());
        if let Some(settled) = settled.filter(|settled| *settled != quote) {
            let problem = format!(
                "{symbol} is settled in {settled} and quoted in {quote}: what it gains is not quantity x price"
            );
            return Err(Refusal::field(Code::FieldOutOfRange, "symbol", problem));
        }
        Ok(Self { base: named(base)?, quote: named(quote)?, is_spot: settled.is_none() })
    }
}

fn trade(fields: &Fields<'_>, now: fn() -> Timestamp, take: Take<'_>) -> Result<(), Refusal> {
    let symbol = required("symbol", fields.text("symbol"))?;
    let market = Market::of(&symbol)?;
    let id: SourceId = required("id", fields.id("id"))?;
    let price = required("price", fields.amount("price", Range::Any))?;
    let at = match times::millis(fields, "timestamp", now)? {
        Some(at) => at,
        None => times::moment("datetime", &required("datetime", fields.text("datetime"))?, now)?,
    };
    let side = required("side", fields.choice("side", &SIDES))?;
    let amount = required("amount", fields.amount("amount", Range::AboveZero))?;
    let fee = fee(fields)?;
    let of_base = fee.as_ref().filter(|(_, currency)| *currency == market.base).map(|(cost, _)| *cost);
    let qty = match of_base.filter(|_| market.is_spot) {
        Some(cost) => moved(side, amount, cost)?,
        None => amount,
    };
    let rate = of_base.and(Some(price)).filter(|price| price.is_positive());
    let fill = Fill {
        id: composed("id", &[&symbol, id.as_str()])?,
        instrument: required("symbol", fields.id("symbol"))?,
        account: None,
        order_id: fields.id("order")?,
        side,
        qty,
        price,
        fee: fee.map(|(amount, currency)| Fee { amount, currency: Some(currency), rate }),
        at,
    };
    let named = ["clientOrderId", "info.clientOrderId", "info.clOrdId", "info.orderLinkId", "info.c"];
    let client_order_id = named.iter().find_map(|path| fields.at(path)).map(Into::into);
    let what = What::Fill { fill, currency: Some(market.quote) };
    take(Fact { at, what, owner: None, client_order_id, account: None }, fields)
}

/// What a position moves by where the fee is paid out of what was traded.
fn moved(side: Side, amount: Amount, cost: Amount) -> Result<Amount, Refusal> {
    let qty = match side {
        Side::Buy => amount.minus(cost),
        Side::Sell => amount.plus(cost),
    };
    if qty.is_positive() {
        return Ok(qty);
    }
    let problem = format!("{cost} of the base currency leaves nothing of the amount {amount}");
    Err(Refusal::field(Code::FieldOutOfRange, "fee", problem))
}

/// `fee`, or the sum of `fees` where they are all in one currency.
fn fee(fields: &Fields<'_>) -> Result<Option<(Amount, Currency)>, Refusal> {
    let given = match fields.object("fee")? {
        Some(fee) => vec![fee],
        None => fields.objects("fees")?.unwrap_or_default(),
    };
    let mut sum: Option<(Amount, Currency)> = None;
    for fee in &given {
        let Some(cost) = fee.amount("cost", Range::Any)?.filter(|cost| !cost.is_zero()) else { continue };
        let Some(currency) = fee.id("currency")? else {
            return Err(Refusal::field(Code::FieldMissing, "fee", "it does not say what its cost is counted in"));
        };
        sum = match sum {
            None => Some((cost, currency)),
            Some((so_far, same)) if same == currency => Some((so_far.plus(cost), same)),
            Some(_) => {
                let problem = "fees in several currencies for one execution";
                return Err(Refusal::field(Code::FieldOutOfRange, "fees", problem));
            }
        };
    }
    Ok(sum)
}
