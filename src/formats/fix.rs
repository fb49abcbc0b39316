//! FIX execution reports (35=8), of any version: a fill, or how an order ended.
//!
//! A line of a FIX log is read as well: what stands before `8=FIX` is passed over, and `|` may stand for SOH. What undoes
//! an execution (a cancel or a correction of it) is refused and kept apart, for a person to judge.

mod frame;

use std::borrow::Cow;

use ephor_governance::fill::{Fee, Fill};
use ephor_governance::ids::{Currency, InstrumentId, SourceId};
use ephor_governance::order::{OrderReport, OrderStatus, Side};
use ephor_governance::units::Timestamp;

use super::fact::{Fact, Said, Take, What};
use super::{composed, times};
use crate::input::{Code, Range, Refusal, amount_of, quoted};
use frame::Frame;

/// What an execution report says happened.
enum Happened {
    Filled,
    Ended(OrderStatus),
    /// A stage that ends nothing.
    Nothing,
}

/// Reads one message; session messages and those of other kinds are of no concern.
pub(super) fn read(payload: &[u8], now: fn() -> Timestamp, take: Take<'_>) -> Result<(), Refusal> {
    let frame = Frame::open(payload)?;
    if frame.required(35, "MsgType(35)")? != "8" {
        return Ok(());
    }
    let status = match happened(&frame)? {
        Happened::Filled => None,
        Happened::Ended(status) => Some(status),
        Happened::Nothing => return Ok(()),
    };
    let at = times::moment("TransactTime(60)", &transact_time(frame.required(60, "TransactTime(60)")?)?, now)?;
    let sender = frame.text(49, "SenderCompID(49)")?.unwrap_or_default();
    let execution = frame.required(17, "ExecID(17)")?;
    // A counterparty counts executions anew each day.
    let day = frame.text(75, "TradeDate(75)")?.unwrap_or(frame.required(60, "TransactTime(60)")?);
    let day = day.get(..8).unwrap_or(day);
    let id = composed("ExecID(17)", &[sender, day, execution])?;
    // Of a cancel, ClOrdID is the id of the request for it.
    let canceled = if status == Some(OrderStatus::Canceled) { frame.id(41, "OrigClOrdID(41)")? } else { None };
    let client_order_id: Option<SourceId> = canceled.or(frame.id(11, "ClOrdID(11)")?);
    let account: Option<SourceId> = frame.id(1, "Account(1)")?;
    let order_id = client_order_id.clone().or(frame.id(37, "OrderID(37)")?);
    let what = match status {
        None => {
            let fill = Fill {
                id,
                instrument: instrument(&frame)?,
                account: frame.id(1, "Account(1)")?,
                order_id,
                side: side(frame.required(54, "Side(54)")?)?,
                qty: frame.amount(32, "LastQty(32)", Range::AboveZero)?,
                price: frame.amount(31, "LastPx(31)", Range::Any)?,
                fee: fee(&frame)?,
                at,
            };
            What::Fill { fill, currency: currency(&frame)? }
        }
        Some(status) => What::Order(OrderReport {
            id,
            instrument: instrument(&frame)?,
            order_id,
            status,
            side: frame.text(54, "Side(54)")?.map(side).transpose()?,
            qty: None,
            price: None,
            position_qty: None,
            equity: None,
            commission: None,
            reason: frame.lossy(58).map(|text| text.chars().take(256).collect()),
        }),
    };
    let client_order_id = client_order_id.map(|id| id.text());
    take(Fact { at, what, owner: None, client_order_id, account: account.map(|id| id.text()) }, &frame)
}

/// By `ExecType`, and by `ExecTransType` as versions before 4.3 have it.
fn happened(frame: &Frame<'_>) -> Result<Happened, Refusal> {
    let undone = |name| {
        let problem = "undoes an execution that was recorded: it is for a person to judge";
        Err(Refusal::field(Code::FieldOutOfRange, name, problem))
    };
    match frame.text(20, "ExecTransType(20)")? {
        None | Some("0") => {}
        Some("1" | "2") => return undone("ExecTransType(20)"),
        Some("3") => return Ok(Happened::Nothing),
        Some(other) => return Err(unknown("ExecTransType(20)", other)),
    }
    match frame.required(150, "ExecType(150)")? {
        "F" | "1" | "2" => Ok(Happened::Filled),
        "4" => Ok(Happened::Ended(OrderStatus::Canceled)),
        "8" => Ok(Happened::Ended(OrderStatus::Rejected)),
        "C" => Ok(Happened::Ended(OrderStatus::Expired)),
        "G" | "H" => undone("ExecType(150)"),
        "0" | "3" | "5" | "6" | "7" | "9" | "A" | "B" | "D" | "E" | "I" | "J" | "K" | "L" => Ok(Happened::Nothing),
        other => Err(unknown("ExecType(150)", other)),
    }
}

fn unknown(name: &'static str, found: &str) -> Refusal {
    Refusal::field(Code::TypeUnknown, name, format!("unknown value {:?}", quoted(found)))
}

fn side(code: &str) -> Result<Side, Refusal> {
    match code {
        "1" | "3" => Ok(Side::Buy),
        "2" | "4" | "5" | "6" => Ok(Side::Sell),
        other => {
            let problem = format!("expected 1 to 6, found {:?}", quoted(other));
            Err(Refusal::field(Code::FieldMalformed, "Side(54)", problem))
        }
    }
}

/// The symbol, or the identifier where the symbol says that there is none; with its exchange where that is said.
fn instrument(frame: &Frame<'_>) -> Result<InstrumentId, Refusal> {
    let symbol = frame.text(55, "Symbol(55)")?.filter(|symbol| *symbol != "[N/A]");
    let symbol = match symbol {
        Some(symbol) => symbol,
        None => frame.text(48, "SecurityID(48)")?.ok_or_else(|| missing("Symbol(55)"))?,
    };
    let named = match frame.text(207, "SecurityExchange(207)")? {
        Some(exchange) => Cow::Owned(format!("{symbol}.{exchange}")),
        None => Cow::Borrowed(symbol),
    };
    named.parse().map_err(|error| Refusal::field(Code::FieldMalformed, "Symbol(55)", format!("{error}")))
}

/// What prices are counted in. Of a pair of currencies it is the second: 15 is then the one that is dealt.
fn currency(frame: &Frame<'_>) -> Result<Option<Currency>, Refusal> {
    let code = |text: &str| text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
    let pair = frame.text(55, "Symbol(55)")?.and_then(|symbol| symbol.split_once('/'));
    match pair.filter(|(base, quote)| code(base) && code(quote)) {
        Some((_, quote)) => quote
            .parse()
            .map(Some)
            .map_err(|error| Refusal::field(Code::FieldMalformed, "Symbol(55)", format!("{error}"))),
        None => frame.id(15, "Currency(15)"),
    }
}

/// A commission as an amount, or for each unit. As a percentage it is refused: versions disagree on what 5 means.
fn fee(frame: &Frame<'_>) -> Result<Option<Fee>, Refusal> {
    let Some(raw) = frame.text(12, "Commission(12)")? else { return Ok(None) };
    let given = amount_of("Commission(12)", raw, raw, Range::Any)?;
    if given.is_zero() {
        return Ok(None);
    }
    let amount = match frame.required(13, "CommType(13)")? {
        "3" => given,
        "1" => given.times(frame.amount(32, "LastQty(32)", Range::AboveZero)?).ok_or_else(|| {
            Refusal::field(Code::DecimalDoesNotFit, "Commission(12)", "Commission(12) x LastQty(32) does not fit")
        })?,
        other => {
            let problem = format!("expected 1 (for each unit) or 3 (in all), found {:?}", quoted(other));
            return Err(Refusal::field(Code::FieldOutOfRange, "CommType(13)", problem));
        }
    };
    let currency: Option<Currency> = frame.id(479, "CommCurrency(479)")?;
    Ok(Some(Fee { amount, currency, rate: None }))
}

/// `20261123-09:30:00.123` in UTC as RFC 3339.
fn transact_time(text: &str) -> Result<String, Refusal> {
    let wrong = || times::malformed("TransactTime(60)", text);
    let (day, time) = text.split_once('-').filter(|(day, _)| day.len() == 8 && day.is_ascii()).ok_or_else(wrong)?;
    let part = |from: usize, to: usize| day.get(from..to).ok_or_else(wrong);
    Ok(format!("{}-{}-{}T{time}Z", part(0, 4)?, part(4, 6)?, part(6, 8)?))
}

fn missing(name: &'static str) -> Refusal {
    Refusal::field(Code::FieldMissing, name, "missing")
}

impl Said for Frame<'_> {
    /// By a tag's number.
    fn said(&self, name: &str) -> Option<Cow<'_, str>> {
        self.lossy(name.parse().ok()?)
    }
}
