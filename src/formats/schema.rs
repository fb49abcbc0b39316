//! Ephor's own JSON as a JSON Schema: what each line may hold. The reader is `input::parse`; a test holds the two against
//! each other, field by field.
//!
//! Fields beside these are passed over, and null is as if the field were not there.

use schemars::{JsonSchema, schema_for};

/// The published schema, as text.
#[must_use]
pub fn json() -> String {
    let text = serde_json::to_string_pretty(&schema_for!(Report)).unwrap_or_default();
    format!("{text}\n")
}

/// A name or an id: no control character, no white space at its ends, at most 128 bytes.
#[derive(JsonSchema)]
#[schemars(transparent)]
pub struct Id(#[schemars(length(min = 1, max = 128), regex(pattern = r"^\S(.*\S)?$"))] pub String);

/// An exact number, best as text: at most 28 digits, never through a float.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub enum Decimal {
    /// As text.
    Text(#[schemars(regex(pattern = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"))] String),
    /// As a number.
    Number(f64),
}

/// RFC 3339, with nanoseconds if need be, between 1980 and a day from now.
#[derive(JsonSchema)]
#[schemars(transparent)]
pub struct Time(#[schemars(extend("format" = "date-time"))] pub String);

/// A short text.
#[derive(JsonSchema)]
#[schemars(transparent)]
pub struct Text(#[schemars(length(max = 1024))] pub String);

/// One thing that happened.
#[derive(JsonSchema)]
#[schemars(tag = "type", rename_all = "snake_case", title = "Ephor's own JSON")]
pub enum Report {
    /// A strategy is declared, or a new version of one.
    Strategy(Strategy),
    /// What the backtest of a strategy came to.
    Baseline(Baseline),
    /// A strategy wishes to trade: the answer is a decision.
    Signal(Signal),
    /// A venue reported on an order.
    Order(Order),
    /// A round trip ended.
    TradeClosed(TradeClosed),
    /// An order was executed, wholly or in part; round trips are worked out.
    Fill(Fill),
    /// The account stands so now.
    Account(Account),
}

/// Declares a strategy; what changes its engine, class or parameters makes a new version.
#[derive(JsonSchema)]
pub struct Strategy {
    /// The source's own id: the same id again is the same report.
    pub id: Id,
    /// When it happened, by the source's clock.
    pub ts: Time,
    /// Whose it is.
    pub strategy_id: Id,
    /// Ties reports together; left out, the id.
    pub trace_id: Option<Id>,
    /// What runs it.
    pub engine: Option<Text>,
    /// Its class.
    pub strategy_class: Option<Text>,
    /// Its parameters, of any shape.
    pub params: Option<serde_json::Value>,
    /// What it trades, where that is one thing.
    pub instrument: Option<Id>,
    /// The capital allocated to it, above zero.
    pub initial_capital: Decimal,
    /// What its results are counted in.
    pub currency: Id,
    /// Value of one point of one unit; left out, 1.
    pub multiplier: Option<Decimal>,
}

/// Figures of a backtest.
#[derive(JsonSchema)]
pub struct Baseline {
    /// The source's own id.
    pub id: Id,
    /// When it was made.
    pub ts: Time,
    /// Whose it is.
    pub strategy_id: Id,
    /// Ties reports together; left out, the id.
    pub trace_id: Option<Id>,
    /// Where the backtest begins.
    pub period_start: Option<Time>,
    /// Where it ends.
    pub period_end: Option<Time>,
    /// What it came to.
    pub metrics: Metrics,
}

/// What a backtest came to. A figure that is left out is not compared.
#[derive(JsonSchema)]
pub struct Metrics {
    /// Round trips.
    pub trades: u32,
    /// Wins over trades, from 0 to 1.
    pub win_rate: Option<Decimal>,
    /// Gross profit over gross loss.
    pub profit_factor: Option<Decimal>,
    /// Mean over sample standard deviation of a trade's return.
    pub sharpe_trade: Option<Decimal>,
    /// Mean win over mean loss.
    pub avg_rr: Option<Decimal>,
    /// Mean result.
    pub expectancy: Option<Decimal>,
    /// Mean return on the entry's notional, percent.
    pub avg_trade_return_pct: Option<Decimal>,
    /// Largest fall from a peak, a fraction.
    pub max_drawdown: Option<Decimal>,
}

/// Which way an order trades, in either case.
#[derive(JsonSchema)]
#[schemars(transparent)]
pub struct Side(#[schemars(regex(pattern = "^([Bb][Uu][Yy]|[Ss][Ee][Ll][Ll])$"))] pub String);

/// An order before any venue has seen it.
#[derive(JsonSchema)]
pub struct Signal {
    /// The source's own id.
    pub id: Id,
    /// When it was issued.
    pub ts: Time,
    /// Whose it is.
    pub strategy_id: Id,
    /// Ties reports together; left out, the order's id, else the id.
    pub trace_id: Option<Id>,
    /// The order's id; left out, the signal's.
    pub order_id: Option<Id>,
    /// What is to be traded.
    pub instrument: Id,
    /// Where.
    pub venue: Option<Id>,
    /// Which way.
    pub side: Side,
    /// How much, above zero.
    pub qty: Decimal,
    /// The limit.
    pub price: Option<Decimal>,
    /// The last price known, where there is no limit.
    pub ref_price: Option<Decimal>,
    /// Quantity x price x multiplier, by the engine.
    pub notional: Option<Decimal>,
    /// What amounts are counted in.
    pub currency: Option<Id>,
    /// Whether it can only make a position smaller; left out, no.
    pub reduce_only: Option<bool>,
    /// Of the account with this order.
    pub leverage: Option<Decimal>,
    /// Signed position before it.
    pub position_qty: Option<Decimal>,
    /// Of the account before it.
    pub equity: Option<Decimal>,
    /// Of the account before it.
    pub open_positions: Option<u32>,
    /// An execution token's id.
    pub token: Option<Text>,
    /// What it wants of its position.
    #[schemars(regex(pattern = "^([Ee][Nn][Tt][Rr][Yy]|[Ee][Xx][Ii][Tt])$"))]
    pub intent: Option<String>,
    /// A free word of the strategy's own.
    pub tag: Option<Text>,
}

/// One event in the life of an order.
#[derive(JsonSchema)]
pub struct Order {
    /// The source's own id of this report.
    pub id: Id,
    /// When it happened.
    pub ts: Time,
    /// Whose it is.
    pub strategy_id: Id,
    /// Ties reports together; left out, the order's id, else the id.
    pub trace_id: Option<Id>,
    /// The order.
    pub order_id: Option<Id>,
    /// What is traded.
    pub instrument: Id,
    /// What happened.
    #[schemars(regex(
        pattern = "^(filled|rejected|denied|canceled|expired|FILLED|REJECTED|DENIED|CANCELED|EXPIRED)$"
    ))]
    pub status: String,
    /// Which way.
    pub side: Option<Side>,
    /// Of this fill, above zero.
    pub qty: Option<Decimal>,
    /// Of this fill.
    pub price: Option<Decimal>,
    /// Signed position afterwards.
    pub position_qty: Option<Decimal>,
    /// Realised equity afterwards.
    pub equity: Option<Decimal>,
    /// What it cost; below zero a rebate.
    pub commission: Option<Decimal>,
    /// The venue's words.
    pub reason: Option<Text>,
}

/// A round trip, net of costs.
#[derive(JsonSchema)]
pub struct TradeClosed {
    /// The source's own id.
    pub id: Id,
    /// When it was reported.
    pub ts: Time,
    /// Whose it is.
    pub strategy_id: Id,
    /// Ties reports together; left out, the order's id, else the id.
    pub trace_id: Option<Id>,
    /// The order that closed it.
    pub order_id: Option<Id>,
    /// What was traded.
    pub instrument: Id,
    /// LONG or SHORT, in either case.
    #[schemars(regex(pattern = "^([Ll][Oo][Nn][Gg]|[Ss][Hh][Oo][Rr][Tt])$"))]
    pub side: String,
    /// How much, above zero.
    pub qty: Decimal,
    /// Average entry.
    pub entry_price: Decimal,
    /// Average exit.
    pub price: Decimal,
    /// Net of costs.
    pub realized_pnl: Decimal,
    /// What that is counted in; left out, the strategy's own.
    pub currency: Option<Id>,
    /// What was at risk at the entry, above zero.
    pub initial_risk: Option<Decimal>,
    /// When the position was opened.
    pub opened_at: Time,
    /// When it was closed.
    pub closed_at: Time,
}

/// One execution.
#[derive(JsonSchema)]
pub struct Fill {
    /// The execution's id at its source.
    pub id: Id,
    /// When it was reported.
    pub ts: Time,
    /// Whose it is.
    pub strategy_id: Id,
    /// Ties reports together; left out, the order's id, else the id.
    pub trace_id: Option<Id>,
    /// The order it belongs to.
    pub order_id: Option<Id>,
    /// When it was made; left out, `ts`.
    pub filled_at: Option<Time>,
    /// What was traded.
    pub instrument: Id,
    /// In which account.
    pub account: Option<Id>,
    /// Which way.
    pub side: Side,
    /// How much, above zero.
    pub qty: Decimal,
    /// At what price.
    pub price: Decimal,
    /// What that is counted in; left out, the strategy's own, and no other is taken.
    pub currency: Option<Id>,
    /// What it cost; below zero a rebate.
    pub fee: Option<Decimal>,
    /// What that is counted in; left out, the strategy's own.
    pub fee_currency: Option<Id>,
    /// Value of one unit of it in the strategy's currency.
    pub fee_rate: Option<Decimal>,
    /// fifo or average, in either case; left out, fifo.
    #[schemars(regex(pattern = "^([Ff][Ii][Ff][Oo]|[Aa][Vv][Ee][Rr][Aa][Gg][Ee])$"))]
    pub netting: Option<String>,
}

/// The account that strategies share.
#[derive(JsonSchema)]
pub struct Account {
    /// The source's own id of this statement.
    pub id: Id,
    /// When it was so.
    pub ts: Time,
    /// Equity.
    pub equity: Decimal,
    /// What it is counted in.
    pub currency: Id,
    /// Leverage in use.
    pub leverage: Option<Decimal>,
    /// Open positions.
    pub open_positions: Option<u32>,
}
