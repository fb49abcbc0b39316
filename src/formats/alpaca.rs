//! Alpaca's `trade_updates`, as its trading stream and its broker events send them.
//!
//! A bust or a correction undoes what was recorded before. Nothing can be taken out of the log, so it is refused and
//! kept apart, for a person to look at.

use std::borrow::Cow;

use ephor_governance::fill::Fill;
use ephor_governance::ids::{Currency, IdError, InstrumentId, SourceId};
use ephor_governance::order::{OrderReport, OrderStatus, Side};
use ephor_governance::units::Timestamp;

use super::fact::{Fact, Take, What};
use super::{composed, times};
use crate::input::{Code, Fields, Range, Refusal, quoted, required, text};

const SIDES: [(&str, Side); 3] = [("buy", Side::Buy), ("sell", Side::Sell), ("sell_short", Side::Sell)];
/// Stages of an order that end nothing.
const STAGES: [&str; 16] = [
    "new",
    "accepted",
    "pending_new",
    "accepted_for_bidding",
    "done_for_day",
    "replaced",
    "stopped",
    "suspended",
    "calculated",
    "held",
    "restated",
    "pending_cancel",
    "pending_replace",
    "order_replace_rejected",
    "order_cancel_rejected",
    "pending_review",
];

/// Reads one update; other streams of the same connection are of no concern.
pub(super) fn read(payload: &[u8], now: fn() -> Timestamp, take: Take<'_>) -> Result<(), Refusal> {
    let whole = Fields::of(text(payload)?)?;
    let update = match whole.text("stream")? {
        Some(stream) if stream == "trade_updates" => required("data", whole.object("data"))?,
        Some(_) => return Ok(()),
        None => whole,
    };
    let event = required("event", update.text("event"))?;
    let status = match &*event {
        "fill" | "partial_fill" => OrderStatus::Filled,
        "canceled" => OrderStatus::Canceled,
        "expired" => OrderStatus::Expired,
        "rejected" => OrderStatus::Rejected,
        stage if STAGES.contains(&stage) => return Ok(()),
        "trade_bust" | "trade_correct" => {
            let problem = format!("{event} undoes an execution that was recorded: it is for a person to judge");
            return Err(Refusal::field(Code::FieldOutOfRange, "event", problem));
        }
        unknown => {
            let problem = format!("unknown event {:?}", quoted(unknown));
            return Err(Refusal::field(Code::TypeUnknown, "event", problem));
        }
    };
    let order = required("order", update.object("order"))?;
    let at = match update.text("timestamp")? {
        Some(text) => times::moment("timestamp", &text, now)?,
        None => times::moment("at", &required("timestamp", update.text("at"))?, now)?,
    };
    let client_order_id: Option<SourceId> = order.id("client_order_id")?;
    let account: Option<SourceId> = update.id("account_id")?;
    let order_id: SourceId = required("id", order.id("id"))?;
    let instrument: InstrumentId = required("symbol", order.id("symbol"))?;
    // A coin is quoted in what stands behind the slash.
    let quoted_in = instrument.as_str().split_once('/').map(|(_, quote)| quote.parse());
    let currency: Option<Currency> = quoted_in
        .transpose()
        .map_err(|error: IdError| Refusal::field(Code::FieldMalformed, "symbol", error.to_string()))?;
    let what = if status == OrderStatus::Filled {
        let fill = Fill {
            id: required("execution_id", update.id("execution_id"))?,
            instrument,
            account: update.id("account_id")?,
            order_id: Some(order_id),
            side: required("side", order.choice("side", &SIDES))?,
            qty: required("qty", update.amount("qty", Range::AboveZero))?,
            price: required("price", update.amount("price", Range::Any))?,
            fee: None,
            at,
        };
        What::Fill { fill, currency }
    } else {
        What::Order(OrderReport {
            id: composed("id", &[order_id.as_str(), &event])?,
            instrument,
            order_id: Some(order_id),
            status,
            side: order.choice("side", &SIDES)?,
            qty: None,
            price: None,
            position_qty: update.amount("position_qty", Range::Any)?,
            equity: None,
            commission: None,
            reason: update.text("reason")?.map(Cow::into_owned),
        })
    };
    let client_order_id = client_order_id.map(|id| id.text());
    take(Fact { at, what, owner: None, client_order_id, account: account.map(|id| id.text()) }, &update)
}
