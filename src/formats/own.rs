//! Facts as Ephor's own JSON: what is kept of one that belongs to nobody can be given in again, with a strategy's name.

use std::fmt::Display;

use ephor_governance::fill::{Fill, Netting};
use ephor_governance::order::{OrderReport, OrderStatus, Side};
use ephor_governance::trade::{Direction, Trade};
use serde_json::{Map, Value};
use smol_str::SmolStr;

use super::fact::{Fact, What};

/// A line in the making.
struct Line(Map<String, Value>);

impl Line {
    fn new(kind: &str, id: &dyn Display, at: &dyn Display) -> Self {
        Self(Map::new()).with("type", &kind).with("id", id).with("ts", at)
    }

    fn with(mut self, name: &str, value: &dyn Display) -> Self {
        self.0.insert(name.to_owned(), Value::String(value.to_string()));
        self
    }

    fn maybe(self, name: &str, value: Option<&impl Display>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

/// The line that says what a fact says; whose it is, where that is known, stands in `strategy`.
pub(super) fn line(fact: &Fact, strategy: Option<&SmolStr>, netting: Netting) -> String {
    let line = match &fact.what {
        What::Trade(trade) => of_trade(trade),
        What::Fill { fill, currency } => of_fill(fill, netting).maybe("currency", currency.as_ref()),
        What::Order(report) => of_report(report, fact),
        What::Account(account) => Line::new("account", &account.id, &fact.at)
            .with("equity", &account.equity)
            .with("currency", &account.currency)
            .maybe("leverage", account.leverage.as_ref()),
    };
    let line = line.maybe("strategy_id", strategy).maybe("client_order_id", fact.client_order_id.as_ref());
    let line = match &fact.account {
        Some(account) if !line.0.contains_key("account") => line.with("account", account),
        Some(_) | None => line,
    };
    Value::Object(line.0).to_string()
}

fn of_trade(trade: &Trade) -> Line {
    let side = match trade.direction {
        Direction::Long => "LONG",
        Direction::Short => "SHORT",
    };
    Line::new("trade_closed", &trade.id, &trade.closed_at)
        .with("instrument", &trade.instrument)
        .with("side", &side)
        .with("qty", &trade.qty)
        .with("entry_price", &trade.entry_price)
        .with("price", &trade.exit_price)
        .with("realized_pnl", &trade.realized_pnl)
        .maybe("currency", trade.currency.as_ref())
        .maybe("initial_risk", trade.initial_risk.as_ref())
        .with("opened_at", &trade.opened_at)
        .with("closed_at", &trade.closed_at)
        .maybe("order_id", trade.order_id.as_ref())
}

fn of_fill(fill: &Fill, netting: Netting) -> Line {
    let netting = match netting {
        Netting::Fifo => "fifo",
        Netting::Average => "average",
    };
    let fee = fill.fee.as_ref();
    Line::new("fill", &fill.id, &fill.at)
        .with("instrument", &fill.instrument)
        .maybe("account", fill.account.as_ref())
        .maybe("order_id", fill.order_id.as_ref())
        .with("side", &side(fill.side))
        .with("qty", &fill.qty)
        .with("price", &fill.price)
        .maybe("fee", fee.map(|fee| &fee.amount))
        .maybe("fee_currency", fee.and_then(|fee| fee.currency.as_ref()))
        .maybe("fee_rate", fee.and_then(|fee| fee.rate.as_ref()))
        .with("netting", &netting)
}

fn of_report(report: &OrderReport, fact: &Fact) -> Line {
    let status = match report.status {
        OrderStatus::Filled => "filled",
        OrderStatus::Rejected => "rejected",
        OrderStatus::Denied => "denied",
        OrderStatus::Canceled => "canceled",
        OrderStatus::Expired => "expired",
    };
    Line::new("order", &report.id, &fact.at)
        .with("instrument", &report.instrument)
        .maybe("order_id", report.order_id.as_ref())
        .with("status", &status)
        .maybe("side", report.side.map(side).as_ref())
        .maybe("qty", report.qty.as_ref())
        .maybe("price", report.price.as_ref())
        .maybe("position_qty", report.position_qty.as_ref())
        .maybe("equity", report.equity.as_ref())
        .maybe("commission", report.commission.as_ref())
        .maybe("reason", report.reason.as_ref())
}

const fn side(side: Side) -> &'static str {
    match side {
        Side::Buy => "BUY",
        Side::Sell => "SELL",
    }
}
