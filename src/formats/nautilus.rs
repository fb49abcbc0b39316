//! NautilusTrader's events, as its message bus publishes them: JSON or MessagePack, in two dialects.
//!
//! Python's events are flat and name their type in `type`; Rust's stand under the name of their variant. Times are
//! nanoseconds, as text or number, or RFC 3339. Neither the type nor the encoding that an entry declares is believed.
//! A fill is published twice, with one event id; it is recorded once.
//!
//! Invariant: an event of an order or a position that is not known is refused, never passed over.

mod packed;

use std::borrow::Cow;

use ephor_governance::event::Account;
use ephor_governance::ids::{Currency, SourceId};
use ephor_governance::order::{OrderReport, OrderStatus};
use ephor_governance::trade::{Direction, Trade};
use ephor_governance::units::{Amount, Timestamp};
use smol_str::SmolStr;

use super::fact::{Fact, Take, What};
use super::{Message, times};
use crate::input::{Code, Fields, Range, Refusal, SIDES, amount_of, quoted, required, text};

/// The topic of a node's sign of life, a bare time.
pub const HEARTBEAT: &str = "health:heartbeat";

/// How topics begin whose messages are market data, commands or states of components.
const OF_NO_CONCERN: [&str; 4] = ["data.", "commands.", "events.system.", "events.risk"];
/// How topics begin whose every message must be understood.
const OF_CONCERN: [&str; 4] = ["events.order.", "events.position.", "events.fills.", "events.account."];
/// Stages in the life of an order or a position that end nothing.
const STAGES: [&str; 14] = [
    "OrderInitialized",
    "OrderEmulated",
    "OrderReleased",
    "OrderSubmitted",
    "OrderAccepted",
    "OrderTriggered",
    "OrderUpdated",
    "OrderPendingUpdate",
    "OrderPendingCancel",
    "OrderModifyRejected",
    "OrderCancelRejected",
    "PositionOpened",
    "PositionChanged",
    "PositionAdjusted",
];

const ENTRIES: [(&str, Direction); 2] = [("BUY", Direction::Long), ("SELL", Direction::Short)];

/// Reads one message; gives the source whose sign of life it is, where it is one.
pub(super) fn read(message: &Message<'_>, now: fn() -> Timestamp, take: Take<'_>) -> Result<Option<SmolStr>, Refusal> {
    let topic = message.subject;
    if topic.ends_with(HEARTBEAT) {
        let beat = text(message.payload)?.trim().trim_matches('"');
        let _at = times::rfc3339("payload", beat)?;
        return Ok(Some(SmolStr::new_static(HEARTBEAT)));
    }
    if OF_NO_CONCERN.iter().any(|start| topic.starts_with(start)) {
        return Ok(None);
    }
    let payload = if packed::is_map(message.payload) {
        Cow::Owned(packed::json(message.payload)?)
    } else {
        text(message.payload)?.into()
    };
    let Some((kind, fields)) = event(&payload, message)? else { return Ok(None) };
    let fact = match &*kind {
        "PositionClosed" => Some(closed(&fields, now)?),
        "OrderFilled" => Some(reported(&fields, OrderStatus::Filled, now)?),
        "OrderDenied" => Some(reported(&fields, OrderStatus::Denied, now)?),
        "OrderRejected" => Some(reported(&fields, OrderStatus::Rejected, now)?),
        "OrderCanceled" => Some(reported(&fields, OrderStatus::Canceled, now)?),
        "OrderExpired" => Some(reported(&fields, OrderStatus::Expired, now)?),
        "AccountState" => account(&fields, now)?,
        stage if STAGES.contains(&stage) || !is_of_concern(topic) => None,
        unknown => {
            let problem = format!("unknown event {:?} on {topic}", quoted(unknown));
            return Err(Refusal::field(Code::TypeUnknown, "type", problem));
        }
    };
    if let Some(fact) = fact {
        take(fact, &fields)?;
    }
    Ok(None)
}

fn is_of_concern(topic: &str) -> bool {
    OF_CONCERN.iter().any(|start| topic.starts_with(start))
}

/// The name of an event and its fields, in either dialect; `None` where it is none.
fn event<'a>(payload: &'a str, message: &Message<'_>) -> Result<Option<(Cow<'a, str>, Fields<'a>)>, Refusal> {
    let fields = Fields::of(payload)?;
    if let Some(kind) = fields.text("type")? {
        return Ok(Some((kind, fields)));
    }
    if let Some((variant, raw)) = fields.alone().filter(|(_, raw)| raw.starts_with('{')) {
        let inner = Fields::of(raw)?;
        let kind = match inner.text("type")? {
            Some(kind) => kind,
            None if ["Order", "Position", "Account"].iter().any(|start| variant.starts_with(start)) => {
                Cow::Owned(variant.to_owned())
            }
            None => Cow::Owned(format!("Order{variant}")),
        };
        return Ok(Some((kind, inner)));
    }
    let header = message.headers.iter().find(|(name, value)| name == "type" && !value.is_empty());
    match header {
        Some((_, kind)) => Ok(Some((Cow::Owned(kind.to_string()), fields))),
        None if is_of_concern(message.subject) => Err(Refusal::field(Code::FieldMissing, "type", "missing")),
        None => Ok(None),
    }
}

fn fact(fields: &Fields<'_>, at: Timestamp, what: What) -> Result<Fact, Refusal> {
    let order: Option<SourceId> = fields.id("client_order_id")?;
    let account: Option<SourceId> = fields.id("account_id")?;
    Ok(Fact {
        at,
        what,
        owner: fields.id("strategy_id")?,
        client_order_id: order.map(|id| id.text()),
        account: account.map(|id| id.text()),
    })
}

/// `side` is FLAT and `quantity` zero by now: what was held stands in `entry` and the peak.
fn closed(fields: &Fields<'_>, now: fn() -> Timestamp) -> Result<Fact, Refusal> {
    let peak = if fields.value("peak_quantity").is_some() { "peak_quantity" } else { "peak_qty" };
    let closed = if fields.value("ts_closed").is_some() { "ts_closed" } else { "ts_event" };
    let opened_at = required("ts_opened", times::nanos(fields, "ts_opened", now))?;
    let closed_at = required(closed, times::nanos(fields, closed, now))?;
    if closed_at < opened_at {
        let problem = format!("{closed_at} is before ts_opened {opened_at}");
        return Err(Refusal::field(Code::FieldOutOfRange, closed, problem));
    }
    let (realized_pnl, currency) = required("realized_pnl", money(fields, "realized_pnl"))?;
    let order_id: Option<SourceId> = fields.id("closing_order_id")?;
    let trade = Trade {
        // A position's own id stays the same for every round trip of a netting account.
        id: required("event_id", fields.id("event_id"))?,
        instrument: required("instrument_id", fields.id("instrument_id"))?,
        direction: required("entry", fields.choice("entry", &ENTRIES))?,
        qty: required(peak, fields.amount(peak, Range::AboveZero))?,
        entry_price: required("avg_px_open", fields.amount("avg_px_open", Range::Any))?,
        exit_price: required("avg_px_close", fields.amount("avg_px_close", Range::Any))?,
        realized_pnl,
        currency: Some(currency),
        initial_risk: None,
        opened_at,
        closed_at,
        order_id: order_id.clone(),
    };
    let fact = fact(fields, closed_at, What::Trade(trade))?;
    Ok(Fact { client_order_id: order_id.map(|id| id.text()), ..fact })
}

fn reported(fields: &Fields<'_>, status: OrderStatus, now: fn() -> Timestamp) -> Result<Fact, Refusal> {
    let filled = status == OrderStatus::Filled;
    let at = required("ts_event", times::nanos(fields, "ts_event", now))?;
    let last = |name, range| if filled { required(name, fields.amount(name, range)).map(Some) } else { Ok(None) };
    let paid_in: Option<Currency> = fields.id("currency")?;
    let commission = if filled { money(fields, "commission")? } else { None };
    let report = OrderReport {
        id: required("event_id", fields.id("event_id"))?,
        instrument: required("instrument_id", fields.id("instrument_id"))?,
        order_id: Some(required("client_order_id", fields.id("client_order_id"))?),
        status,
        side: if filled { Some(required("order_side", fields.choice("order_side", &SIDES))?) } else { None },
        qty: last("last_qty", Range::AboveZero)?,
        price: last("last_px", Range::Any)?,
        position_qty: None,
        equity: None,
        // A report has one currency; what was paid in another would read as money of this one.
        commission: commission.filter(|(_, currency)| paid_in.as_ref() == Some(currency)).map(|(amount, _)| amount),
        reason: fields.text("reason")?.map(Cow::into_owned),
    };
    fact(fields, at, What::Order(report))
}

/// `None` for an account of several currencies: its equity cannot be told without their rates.
fn account(fields: &Fields<'_>, now: fn() -> Timestamp) -> Result<Option<Fact>, Refusal> {
    let at = match times::nanos(fields, "ts_event", now)? {
        Some(at) => at,
        // Before the first data a node's clock stands at zero.
        None => times::nanos(fields, "ts_init", now)?.unwrap_or_else(now),
    };
    let id = required("event_id", fields.id("event_id"))?;
    let balances = required("balances", fields.objects("balances"))?;
    let base: Option<Currency> = fields.id("base_currency")?;
    let mut found = None;
    for balance in &balances {
        let currency: Currency = required("currency", balance.id("currency"))?;
        if base.as_ref().map_or(balances.len() == 1, |base| *base == currency) {
            let total = balance.text("total")?;
            // Rust writes the currency behind the number.
            let number = total.as_deref().map(|text| text.split_once(' ').map_or(text, |(number, _)| number));
            let equity = match number {
                Some(number) => amount_of("total", number, number, Range::Any)?,
                None => return Err(Refusal::field(Code::FieldMissing, "total", "missing")),
            };
            found = Some((equity, currency));
        }
    }
    let Some((equity, currency)) = found else {
        return match base {
            Some(base) => Err(Refusal::field(Code::FieldMissing, "balances", format!("there is no balance in {base}"))),
            None => Ok(None),
        };
    };
    let account = Account { id, equity, currency, leverage: None, open_positions: None };
    Ok(Some(fact(fields, at, What::Account(account))?))
}

/// An amount of money in one text: `-496.59 USD`.
fn money(fields: &Fields<'_>, name: &'static str) -> Result<Option<(Amount, Currency)>, Refusal> {
    let Some(text) = fields.text(name)? else { return Ok(None) };
    let Some((number, currency)) = text.split_once(' ') else {
        let problem = format!("expected an amount and its currency, found {:?}", quoted(&text));
        return Err(Refusal::field(Code::FieldMalformed, name, problem));
    };
    let amount = amount_of(name, number, &text, Range::Any)?;
    let currency = currency.parse().map_err(|error| Refusal::field(Code::FieldMalformed, name, format!("{error}")))?;
    Ok(Some((amount, currency)))
}
