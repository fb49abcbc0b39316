//! A line into what is asked of the governor.
//!
//! What the schema says of a field is checked here, so that a refusal names the field; what a rule says
//! is left to the rule. A recorded stream is governed at its own time, so that time is held within
//! bounds: one line far in the future would make everything after it a step back.

use std::borrow::Cow;

use ephor_actors::Request;
use ephor_governance::drift::{Baseline, Metric};
use ephor_governance::event::{Account, RecordedBaseline, Registration};
use ephor_governance::fill::{Fee, Fill, Netting, Pieces};
use ephor_governance::ids::{SourceId, StrategyId, TokenId};
use ephor_governance::order::{Intent, Order, OrderReport, OrderStatus, Side, Signal};
use ephor_governance::strategy::Command;
use ephor_governance::trade::{Direction, Trade};
use ephor_governance::units::{Amount, Timestamp};
use smol_str::SmolStr;

use super::fields::{Fields, Range, missing, required};
use super::refusal::{Code, Refusal};

/// 1980-01-01T00:00:00Z: no recorded trading is older.
const EARLIEST: Timestamp = Timestamp::from_nanos(315_532_800 * 1_000_000_000);
/// How far a clock may be ahead of ours, seconds.
const AHEAD_SECONDS_MAX: u64 = 86_400;

/// How a signed token begins.
const SIGNED: &str = "v4.public.";
/// The longest signed token, bytes.
const SIGNED_BYTES_MAX: usize = 8 << 10;

pub(crate) const SIDES: [(&str, Side); 2] = [("BUY", Side::Buy), ("SELL", Side::Sell)];
const DIRECTIONS: [(&str, Direction); 2] = [("LONG", Direction::Long), ("SHORT", Direction::Short)];
const INTENTS: [(&str, Intent); 2] = [("entry", Intent::Entry), ("exit", Intent::Exit)];
const NETTINGS: [(&str, Netting); 2] = [("fifo", Netting::Fifo), ("average", Netting::Average)];
const STATUSES: [(&str, OrderStatus); 5] = [
    ("filled", OrderStatus::Filled),
    ("rejected", OrderStatus::Rejected),
    ("denied", OrderStatus::Denied),
    ("canceled", OrderStatus::Canceled),
    ("expired", OrderStatus::Expired),
];

/// What a line says it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Strategy,
    Baseline,
    Signal,
    Order,
    TradeClosed,
    Fill,
    Account,
}

impl Kind {
    fn of(fields: &Fields<'_>) -> Result<Self, Refusal> {
        match &*required("type", fields.text("type"))? {
            "strategy" => Ok(Self::Strategy),
            "baseline" => Ok(Self::Baseline),
            "signal" => Ok(Self::Signal),
            "order" => Ok(Self::Order),
            "trade_closed" => Ok(Self::TradeClosed),
            "fill" => Ok(Self::Fill),
            "account" => Ok(Self::Account),
            unknown => {
                let shown: String = unknown.chars().take(40).collect();
                let problem = format!(
                    "unknown type {shown:?}: use strategy, baseline, signal, order, trade_closed, fill or account"
                );
                Err(Refusal::field(Code::TypeUnknown, "type", problem))
            }
        }
    }
}

/// What a line asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// Something of a strategy.
    Strategy(Box<Request>),
    /// To take note of the account.
    Account(Account),
}

/// A line that makes sense.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its own time.
    pub ts: Timestamp,
    /// What it asks for.
    pub asked: Asked,
}

/// What an engine asks before it sends an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Whose order it is.
    pub strategy: StrategyId,
    /// The order.
    pub order: Order,
    /// The caller's own trace id.
    pub trace: Option<SmolStr>,
    /// When the engine made the order, where it says.
    pub occurred_at: Option<Timestamp>,
    /// The signed token that the engine presents in place of a token's id: to be verified before the order is asked.
    pub signed: Option<String>,
}

/// Reads lines in order. Of a recorded stream, a line's time may not be before that of one already taken.
#[derive(Clone, Debug)]
pub struct Parser {
    now: fn() -> Timestamp,
    recorded: bool,
    taken: Option<Timestamp>,
}

impl Parser {
    /// `now` bounds how far in the future a line may stand; it is asked for each, because an input can stay
    /// open for days.
    #[must_use]
    pub const fn new(now: fn() -> Timestamp) -> Self {
        Self { now, recorded: true, taken: None }
    }

    /// For what comes in live, from many sources: it is governed at our time, so its own may go back.
    #[must_use]
    pub const fn live(now: fn() -> Timestamp) -> Self {
        Self { now, recorded: false, taken: None }
    }

    /// What an engine asks about one order: an object with the fields of a signal, `order_id` in place of `id`, and
    /// a time where it has one. `id` stands in for an `order_id` that is not there.
    ///
    /// # Errors
    /// [`Refusal`], by the first thing that is wrong.
    pub fn check(&self, bytes: &[u8], id: Option<&SourceId>) -> Result<Check, Refusal> {
        self.check_of(&Fields::of(text(bytes)?)?, id)
    }

    /// The checks of one request: an object with `orders`, a list of at most `most`, each as for [`Parser::check`].
    ///
    /// # Errors
    /// [`Refusal`] of the request; what is wrong with one order stands in its place.
    pub fn checks(&self, bytes: &[u8], most: usize) -> Result<Vec<Result<Check, Refusal>>, Refusal> {
        let fields = Fields::of(text(bytes)?)?;
        let orders = required("orders", fields.list("orders"))?;
        if orders.is_empty() || orders.len() > most {
            let problem = format!("expected from 1 to {most} orders, found {}", orders.len());
            return Err(Refusal::field(Code::FieldOutOfRange, "orders", problem));
        }
        Ok(orders.into_iter().map(|order| self.check_of(&Fields::of(order)?, None)).collect())
    }

    fn check_of(&self, fields: &Fields<'_>, id: Option<&SourceId>) -> Result<Check, Refusal> {
        let strategy = required("strategy_id", fields.id("strategy_id"))?;
        let given = fields.id("order_id")?;
        let order_id = required("order_id", Ok(given.or_else(|| id.cloned())))?;
        let trace: Option<SourceId> = fields.id("trace_id")?;
        let occurred_at = match fields.time("ts")? {
            Some(_) => Some(self.moment(fields, "ts")?),
            None => None,
        };
        let presented = fields.text_within("token", SIGNED_BYTES_MAX)?;
        let signed = presented.filter(|text| text.starts_with(SIGNED)).map(Cow::into_owned);
        let token = if signed.is_some() { None } else { fields.id("token")? };
        let order = order(fields, order_id, token)?;
        Ok(Check { strategy, order, trace: trace.map(|trace| trace.text()), occurred_at, signed })
    }

    /// What a line asks for; `None` for a blank one.
    ///
    /// # Errors
    /// [`Refusal`], by the first thing that is wrong.
    pub fn line(&mut self, bytes: &[u8]) -> Result<Option<Entry>, Refusal> {
        let line = text(bytes)?;
        if line.trim().is_empty() {
            return Ok(None);
        }
        let entry = self.entry(&Fields::of(line)?)?;
        if let Some(taken) = self.taken.filter(|taken| self.recorded && entry.ts < *taken) {
            let problem = format!("{} is before {taken}, which was read already", entry.ts);
            return Err(Refusal::field(Code::TimeGoingBack, "ts", problem));
        }
        self.taken = Some(entry.ts);
        Ok(Some(entry))
    }

    fn entry(&self, fields: &Fields<'_>) -> Result<Entry, Refusal> {
        let kind = Kind::of(fields)?;
        let id: SourceId = required("id", fields.id("id"))?;
        let ts = self.moment(fields, "ts")?;
        if kind == Kind::Account {
            return Ok(Entry { ts, asked: Asked::Account(account(fields, id)?) });
        }
        let strategy: StrategyId = required("strategy_id", fields.id("strategy_id"))?;
        let trace = trace(fields, &id)?;
        let command = match kind {
            Kind::Strategy => registration(fields, id)?,
            Kind::Baseline => baseline(fields, id)?,
            Kind::Signal => signal(fields, id)?,
            Kind::Order => report(fields, id)?,
            Kind::Fill => self.fill(fields, id, ts)?,
            Kind::TradeClosed | Kind::Account => self.trade(fields, id)?,
        };
        let occurred_at = match &command {
            // A trade carries the time at which it was closed, a fill that at which it was made.
            Command::CloseTrade(_) | Command::RecordFill { .. } => None,
            Command::Register(_)
            | Command::RecordBaseline(_)
            | Command::ReceiveSignal { .. }
            | Command::CheckOrder { .. }
            | Command::ReportOrder(_)
            | Command::Pause { .. }
            | Command::Resume { .. }
            | Command::SetLevel { .. }
            | Command::IssueToken(_)
            | Command::RevokeTokens { .. }
            | Command::ApproveOrder { .. }
            | Command::DeclineOrder { .. }
            | Command::RecordUnattributed(_)
            | Command::RecordFault { .. } => Some(ts),
        };
        let request = Request { strategy, command, at: ts, trace, occurred_at };
        Ok(Entry { ts, asked: Asked::Strategy(Box::new(request)) })
    }

    /// A required time that recorded trading can have.
    fn moment(&self, fields: &Fields<'_>, name: &'static str) -> Result<Timestamp, Refusal> {
        plausible(name, required(name, fields.time(name))?, self.now)
    }

    fn fill(&self, fields: &Fields<'_>, id: SourceId, ts: Timestamp) -> Result<Command, Refusal> {
        let at = match fields.time("filled_at")? {
            Some(_) => self.moment(fields, "filled_at")?,
            None => ts,
        };
        let amount = fields.amount("fee", Range::Any)?;
        let fee_currency = fields.id("fee_currency")?;
        let rate = fields.amount("fee_rate", Range::AboveZero)?;
        let fee = match amount {
            Some(amount) => Some(Fee { amount, currency: fee_currency, rate }),
            None if fee_currency.is_some() || rate.is_some() => return Err(missing("fee")),
            None => None,
        };
        let fill = Fill {
            id,
            instrument: required("instrument", fields.id("instrument"))?,
            account: fields.id("account")?,
            order_id: fields.id("order_id")?,
            side: required("side", fields.choice("side", &SIDES))?,
            qty: required("qty", fields.amount("qty", Range::AboveZero))?,
            price: required("price", fields.amount("price", Range::Any))?,
            fee,
            at,
        };
        let netting = fields.choice("netting", &NETTINGS)?.unwrap_or_default();
        Ok(Command::RecordFill { fill, netting, pieces: Pieces::Together, currency: fields.id("currency")? })
    }

    fn trade(&self, fields: &Fields<'_>, id: SourceId) -> Result<Command, Refusal> {
        let opened_at = self.moment(fields, "opened_at")?;
        let closed_at = self.moment(fields, "closed_at")?;
        if closed_at < opened_at {
            let problem = format!("{closed_at} is before opened_at {opened_at}");
            return Err(Refusal::field(Code::FieldOutOfRange, "closed_at", problem));
        }
        Ok(Command::CloseTrade(Trade {
            id,
            instrument: required("instrument", fields.id("instrument"))?,
            direction: required("side", fields.choice("side", &DIRECTIONS))?,
            qty: required("qty", fields.amount("qty", Range::AboveZero))?,
            entry_price: required("entry_price", fields.amount("entry_price", Range::Any))?,
            exit_price: required("price", fields.amount("price", Range::Any))?,
            realized_pnl: required("realized_pnl", fields.amount("realized_pnl", Range::Any))?,
            currency: fields.id("currency")?,
            initial_risk: fields.amount("initial_risk", Range::AboveZero)?,
            opened_at,
            closed_at,
            order_id: fields.id("order_id")?,
        }))
    }
}

/// A time that recorded trading can have.
pub(crate) fn plausible(name: &'static str, at: Timestamp, now: fn() -> Timestamp) -> Result<Timestamp, Refusal> {
    if at < EARLIEST {
        let problem = format!("must not be before {EARLIEST}, found {at}");
        return Err(Refusal::field(Code::FieldOutOfRange, name, problem));
    }
    if at > now().plus_seconds(AHEAD_SECONDS_MAX) {
        let problem = format!("must not be more than a day ahead of now, found {at}");
        return Err(Refusal::field(Code::FieldOutOfRange, name, problem));
    }
    Ok(at)
}

fn registration(fields: &Fields<'_>, id: SourceId) -> Result<Command, Refusal> {
    let owned = |name| Ok::<_, Refusal>(fields.text(name)?.map(Cow::into_owned));
    let engine = owned("engine")?;
    let strategy_class = owned("strategy_class")?;
    let mut digest = blake3::Hasher::new();
    for part in ["engine", "strategy_class", "params"] {
        // The length keeps the parts apart.
        let text = fields.canonical(part)?;
        digest.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    let hex = digest.finalize().to_hex();
    Ok(Command::Register(Registration {
        id,
        instrument: fields.id("instrument")?,
        engine,
        strategy_class,
        version_digest: SmolStr::new(hex.get(..16).unwrap_or_default()),
        initial_capital: required("initial_capital", fields.amount("initial_capital", Range::AboveZero))?,
        currency: required("currency", fields.id("currency"))?,
        multiplier: fields.amount("multiplier", Range::AboveZero)?.unwrap_or(Amount::ONE),
    }))
}

fn baseline(fields: &Fields<'_>, id: SourceId) -> Result<Command, Refusal> {
    let given = required("metrics", fields.object("metrics"))?;
    let named = [
        (Metric::WinRate, "win_rate", Range::AtLeastZero, 1.0),
        (Metric::ProfitFactor, "profit_factor", Range::AtLeastZero, 1.0),
        (Metric::Sharpe, "sharpe_trade", Range::Any, 1.0),
        (Metric::AvgRr, "avg_rr", Range::Any, 1.0),
        (Metric::Expectancy, "expectancy", Range::Any, 1.0),
        (Metric::AvgReturn, "avg_trade_return_pct", Range::Any, 100.0),
        (Metric::MaxDrawdown, "max_drawdown", Range::AtLeastZero, 1.0),
    ];
    let mut baseline = Baseline { trades: required("trades", given.count("trades"))?, ..Baseline::default() };
    for (metric, name, range, per) in named {
        if let Some(value) = given.amount(name, range)? {
            baseline.metrics.insert(metric, value.to_f64() / per);
        }
    }
    if given.amount("win_rate", Range::Any)?.is_some_and(|rate| rate > Amount::ONE) {
        return Err(Refusal::field(Code::FieldOutOfRange, "win_rate", "a fraction: must not be above 1"));
    }
    let (period_start, period_end) = (fields.time("period_start")?, fields.time("period_end")?);
    if let Some((start, end)) = period_start.zip(period_end).filter(|(start, end)| start > end) {
        let problem = format!("{end} is before period_start {start}");
        return Err(Refusal::field(Code::FieldOutOfRange, "period_end", problem));
    }
    Ok(Command::RecordBaseline(RecordedBaseline { id, period_start, period_end, baseline }))
}

pub(crate) fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(bytes).map_err(|error| {
        Refusal::line(Code::LineNotUtf8, format!("not UTF-8 from byte {} on", error.valid_up_to() + 1))
    })
}

fn order(fields: &Fields<'_>, id: SourceId, token: Option<TokenId>) -> Result<Order, Refusal> {
    let price = match fields.amount("price", Range::Any)? {
        Some(price) => Some(price),
        None => fields.amount("ref_price", Range::Any)?,
    };
    Ok(Order {
        id,
        instrument: required("instrument", fields.id("instrument"))?,
        venue: fields.id("venue")?,
        side: required("side", fields.choice("side", &SIDES))?,
        qty: required("qty", fields.amount("qty", Range::AboveZero))?,
        price,
        notional: fields.amount("notional", Range::AtLeastZero)?,
        currency: fields.id("currency")?,
        // Left out, an order is taken to open: an exit passes everything, so it must say that it is one.
        reduce_only: fields.flag("reduce_only")?.unwrap_or(false),
        leverage: fields.amount("leverage", Range::AtLeastZero)?,
        position_qty: fields.amount("position_qty", Range::Any)?,
        equity: fields.amount("equity", Range::Any)?,
        open_positions: fields.count("open_positions")?,
        token,
    })
}

fn signal(fields: &Fields<'_>, id: SourceId) -> Result<Command, Refusal> {
    let order = order(fields, fields.id("order_id")?.unwrap_or_else(|| id.clone()), fields.id("token")?)?;
    let tag = fields.text("tag")?.map(Cow::into_owned);
    let signal = Signal { id, intent: fields.choice("intent", &INTENTS)?, tag };
    Ok(Command::ReceiveSignal { signal, order })
}

fn report(fields: &Fields<'_>, id: SourceId) -> Result<Command, Refusal> {
    Ok(Command::ReportOrder(OrderReport {
        id,
        instrument: required("instrument", fields.id("instrument"))?,
        order_id: fields.id("order_id")?,
        status: required("status", fields.choice("status", &STATUSES))?,
        side: fields.choice("side", &SIDES)?,
        qty: fields.amount("qty", Range::AboveZero)?,
        price: fields.amount("price", Range::Any)?,
        position_qty: fields.amount("position_qty", Range::Any)?,
        equity: fields.amount("equity", Range::Any)?,
        // A rebate is a commission below zero.
        commission: fields.amount("commission", Range::Any)?,
        reason: fields.text("reason")?.map(Cow::into_owned),
    }))
}

fn account(fields: &Fields<'_>, id: SourceId) -> Result<Account, Refusal> {
    Ok(Account {
        id,
        equity: required("equity", fields.amount("equity", Range::Any))?,
        currency: required("currency", fields.id("currency"))?,
        leverage: fields.amount("leverage", Range::AtLeastZero)?,
        open_positions: fields.count("open_positions")?,
    })
}

/// What ties the line to others: the caller's own trace, else the order, else the line itself.
fn trace(fields: &Fields<'_>, id: &SourceId) -> Result<SmolStr, Refusal> {
    let given: Option<SourceId> = fields.id("trace_id")?;
    let trace = match given {
        Some(trace) => Some(trace),
        None => fields.id("order_id")?,
    };
    Ok(trace.map_or_else(|| id.text(), |trace| trace.text()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_nanos(1_700_000_000 * 1_000_000_000);

    const SIGNAL: &str = r#"{"type":"signal","id":"s1","ts":"2020-01-01T00:00:00Z","strategy_id":"a","instrument":"X","side":"BUY","qty":"1","price":null,"ref_price":"2.5"}"#;
    const TRADE: &str = r#"{"type":"trade_closed","id":"t1","ts":"2020-01-01T00:00:00Z","strategy_id":"a","instrument":"X","side":"LONG","qty":"1","entry_price":"2","price":"3","realized_pnl":"1","opened_at":"2019-12-31T00:00:00Z","closed_at":"2020-01-01T00:00:00Z"}"#;
    const STRATEGY: &str = r#"{"type":"strategy","id":"r1","ts":"2020-01-01T00:00:00Z","strategy_id":"a","initial_capital":"1000","currency":"USD","params":{"n":1}}"#;
    const BASELINE: &str = r#"{"type":"baseline","id":"b1","ts":"2020-01-01T00:00:00Z","strategy_id":"a","metrics":{"trades":30,"win_rate":"0.5","profit_factor":null,"avg_trade_return_pct":"1.5"}}"#;

    const FILL: &str = r#"{"type":"fill","id":"f1","ts":"2020-01-01T00:00:00Z","strategy_id":"a","instrument":"X","side":"SELL","qty":"0.5","price":"2","fee":"-0.1","fee_currency":"BNB","fee_rate":"300"}"#;

    fn read(line: &str) -> Result<Option<Entry>, Refusal> {
        Parser::new(|| NOW).line(line.as_bytes())
    }

    #[track_caller]
    fn command(line: &str) -> Command {
        match read(line).unwrap().unwrap().asked {
            Asked::Strategy(request) => request.command,
            Asked::Account(_) => panic!("an account"),
        }
    }

    /// The line with one field set to something else, or taken out.
    #[track_caller]
    fn refused(line: &str, field: &str, value: Option<&str>) -> String {
        let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        match value {
            Some(value) => object.insert(field.to_owned(), serde_json::from_str(value).unwrap()),
            None => object.remove(field),
        };
        let refusal = read(&serde_json::to_string(&object).unwrap()).unwrap_err();
        format!("{} {refusal}", refusal.code)
    }

    #[test]
    fn a_signal_takes_the_last_price_and_its_own_id_where_the_engine_gives_none() {
        let Command::ReceiveSignal { signal, order } = command(SIGNAL) else { panic!("not a signal") };
        assert_eq!((signal.id.as_str(), order.id.as_str()), ("s1", "s1"));
        assert_eq!(order.price, Some(Amount::new(25, 1)));
        assert_eq!((order.notional, order.equity, order.reduce_only), (None, None, false));
    }

    #[test]
    fn a_fill_is_matched_first_in_first_out_and_made_when_it_came_unless_it_says_otherwise() {
        let Command::RecordFill { fill, netting, .. } = command(FILL) else { panic!("not a fill") };
        assert_eq!((netting, fill.at, fill.account), (Netting::Fifo, "2020-01-01T00:00:00Z".parse().unwrap(), None));
        let fee = fill.fee.unwrap();
        assert_eq!((fee.amount, fee.currency, fee.rate), (Amount::new(-1, 1), "BNB".parse().ok(), Some(300.into())));
        let more = r#""fee":null,"fee_currency":null,"fee_rate":null,"account":"U1","order_id":"O-1","netting":"AVERAGE","filled_at":"2019-12-31T00:00:00Z","currency":"EUR"}"#;
        let (plain, _) = FILL.split_once("\"fee\"").unwrap();
        let Command::RecordFill { fill, netting, currency, .. } = command(&format!("{plain}{more}")) else {
            panic!("not a fill")
        };
        assert_eq!((netting, fill.at.to_string().as_str()), (Netting::Average, "2019-12-31T00:00:00Z"));
        assert_eq!((fill.account.unwrap().as_str(), fill.order_id.unwrap().as_str(), fill.fee), ("U1", "O-1", None));
        assert_eq!(currency.unwrap().as_str(), "EUR");
    }

    #[test]
    fn a_baseline_keeps_what_it_is_given_and_leaves_out_what_is_null() {
        let Command::RecordBaseline(recorded) = command(BASELINE) else { panic!("not a baseline") };
        let metrics: Vec<_> = recorded.baseline.metrics.into_iter().collect();
        assert_eq!(metrics, [(Metric::WinRate, 0.5), (Metric::AvgReturn, 0.015)]);
        assert_eq!(recorded.baseline.trades, 30);
    }

    #[test]
    fn the_version_depends_on_the_settings_and_not_on_how_they_are_written() {
        let digest = |line: &str| {
            let Command::Register(registration) = command(line) else { panic!("not a registration") };
            registration.version_digest
        };
        assert_eq!(digest(STRATEGY), digest(&STRATEGY.replace("{\"n\":1}", "{ \"n\" : 1 }")));
        assert_ne!(digest(STRATEGY), digest(&STRATEGY.replace("{\"n\":1}", "{\"n\":2}")));
        assert_eq!(digest(STRATEGY).len(), 16);
    }

    #[test]
    fn every_wrong_field_is_named() {
        for (line, field, value, said) in [
            (SIGNAL, "type", Some("\"feed_gap\""), "TYPE_UNKNOWN type: unknown type \"feed_gap\": use"),
            (SIGNAL, "type", None, "FIELD_MISSING type: missing"),
            (SIGNAL, "id", None, "FIELD_MISSING id: missing"),
            (SIGNAL, "id", Some("7"), "FIELD_MALFORMED id: expected a text, found 7"),
            (SIGNAL, "id", Some("\"\""), "FIELD_MALFORMED id: an id must not be empty"),
            (SIGNAL, "strategy_id", None, "FIELD_MISSING strategy_id: missing"),
            (SIGNAL, "strategy_id", Some("\"system\""), "FIELD_MALFORMED strategy_id: \"system\" is a reserved name"),
            (SIGNAL, "ts", Some("\"yesterday\""), "FIELD_MALFORMED ts: not an RFC 3339 time"),
            (SIGNAL, "ts", Some("\"1970-01-01T00:00:00Z\""), "FIELD_OUT_OF_RANGE ts: must not be before 1980"),
            (SIGNAL, "ts", Some("\"2200-01-01T00:00:00Z\""), "FIELD_OUT_OF_RANGE ts: must not be more than a day"),
            (SIGNAL, "side", Some("\"HOLD\""), "FIELD_MALFORMED side: expected BUY or SELL, found \"HOLD\""),
            (SIGNAL, "qty", Some("\"-3\""), "FIELD_OUT_OF_RANGE qty: must be above 0, found -3"),
            (SIGNAL, "qty", Some("0"), "FIELD_OUT_OF_RANGE qty: must be above 0, found 0"),
            (SIGNAL, "price", Some("\"dear\""), "FIELD_MALFORMED price: expected a decimal number"),
            (SIGNAL, "notional", Some("-1"), "FIELD_OUT_OF_RANGE notional: must not be negative, found -1"),
            (
                SIGNAL,
                "reduce_only",
                Some("\"yes\""),
                "FIELD_MALFORMED reduce_only: expected true or false, found \"yes\"",
            ),
            (SIGNAL, "open_positions", Some("-1"), "FIELD_OUT_OF_RANGE open_positions: expected a count"),
            (TRADE, "realized_pnl", Some("\"1.00000000000000000000000000001\""), "DECIMAL_DOES_NOT_FIT realized_pnl: "),
            (TRADE, "side", Some("\"BUY\""), "FIELD_MALFORMED side: expected LONG or SHORT, found \"BUY\""),
            (
                TRADE,
                "closed_at",
                Some("\"2019-01-01T00:00:00Z\""),
                "FIELD_OUT_OF_RANGE closed_at: 2019-01-01T00:00:00Z is before",
            ),
            (TRADE, "qty", Some("0"), "FIELD_OUT_OF_RANGE qty: must be above 0, found 0"),
            (
                STRATEGY,
                "initial_capital",
                Some("\"-5\""),
                "FIELD_OUT_OF_RANGE initial_capital: must be above 0, found -5",
            ),
            (FILL, "qty", Some("\"-1\""), "FIELD_OUT_OF_RANGE qty: must be above 0, found -1"),
            (FILL, "qty", None, "FIELD_MISSING qty: missing"),
            (FILL, "price", None, "FIELD_MISSING price: missing"),
            (FILL, "side", Some("\"LONG\""), "FIELD_MALFORMED side: expected BUY or SELL, found \"LONG\""),
            (FILL, "fee", None, "FIELD_MISSING fee: missing"),
            (FILL, "fee", Some("\"free\""), "FIELD_MALFORMED fee: expected a decimal number"),
            (FILL, "fee_rate", Some("0"), "FIELD_OUT_OF_RANGE fee_rate: must be above 0, found 0"),
            (FILL, "fee_currency", Some("\"\""), "FIELD_MALFORMED fee_currency: an id must not be empty"),
            (FILL, "account", Some("7"), "FIELD_MALFORMED account: expected a text, found 7"),
            (FILL, "netting", Some("\"lifo\""), "FIELD_MALFORMED netting: expected fifo or average, found \"lifo\""),
            (FILL, "filled_at", Some("\"1970-01-01T00:00:00Z\""), "FIELD_OUT_OF_RANGE filled_at: must not be before"),
            (FILL, "filled_at", Some("\"2200-01-01T00:00:00Z\""), "FIELD_OUT_OF_RANGE filled_at: must not be more"),
            (
                FILL,
                "strategy_id",
                Some("\"UNATTRIBUTED\""),
                "FIELD_MALFORMED strategy_id: \"UNATTRIBUTED\" is a reserved",
            ),
            (STRATEGY, "currency", None, "FIELD_MISSING currency: missing"),
            (BASELINE, "metrics", Some("[]"), "FIELD_MALFORMED metrics: expected an object, found []"),
            (
                BASELINE,
                "metrics",
                Some("{\"trades\":1,\"win_rate\":\"1.5\"}"),
                "FIELD_OUT_OF_RANGE win_rate: a fraction",
            ),
        ] {
            let found = refused(line, field, value);
            assert!(found.starts_with(said), "{field}: {found}");
        }
        let long = format!("\"{}\"", "x".repeat(1_025));
        assert_eq!(
            refused(SIGNAL, "tag", Some(&long)),
            "FIELD_TOO_LONG tag: a text has at most 1024 bytes, found 1025"
        );
    }

    #[test]
    fn what_is_no_object_is_told_apart() {
        let code = |line: &str| read(line).unwrap_err().code;
        assert_eq!(code("{\"type\":"), Code::LineNotJson);
        assert_eq!(code("{} {}"), Code::LineNotJson);
        assert_eq!(code("[1]"), Code::LineNotObject);
        assert_eq!(code("3"), Code::LineNotObject);
        assert_eq!(Parser::new(|| NOW).line(b"{\"a\":\"\xff\"}").unwrap_err().to_string(), "not UTF-8 from byte 7 on");
        assert_eq!(read("  \r"), Ok(None));
    }

    #[test]
    fn time_goes_back_only_behind_what_was_taken() {
        let mut parser = Parser::new(|| NOW);
        let at = |ts: &str| SIGNAL.replace("2020-01-01T00:00:00Z", ts);
        assert!(parser.line(at("2020-01-02T00:00:00Z").as_bytes()).is_ok());
        // Refused for another reason: its time does not count.
        let wrong = at("2021-01-01T00:00:00Z").replace("\"qty\":\"1\"", "\"qty\":\"-1\"");
        assert_eq!(parser.line(wrong.as_bytes()).unwrap_err().code, Code::FieldOutOfRange);
        assert!(parser.line(at("2020-01-02T00:00:00Z").as_bytes()).is_ok());
        assert_eq!(parser.line(at("2020-01-01T23:59:59Z").as_bytes()).unwrap_err().code, Code::TimeGoingBack);
    }
}
