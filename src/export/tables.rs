//! What can be exported: the columns of each table, and its rows.

use ephor_events::envelope::{Envelope, to_json};
use ephor_governance::event::Event;
use ephor_governance::gate::Decision;
use ephor_replay::states::Stage;
use serde_json::{Value, json};

use super::{Column, Kind};

const fn column(name: &'static str, at: &'static str, kind: Kind) -> Column {
    Column { name, at, kind }
}

/// Every event, with its fields as JSON.
pub const EVENTS: &[Column] = &[
    column("seq", "/seq", Kind::Int),
    column("stream", "/stream", Kind::Text),
    column("version", "/version", Kind::Int),
    column("event_id", "/event_id", Kind::Text),
    column("type", "/type", Kind::Text),
    column("schema_version", "/schema_version", Kind::Int),
    column("trace_id", "/trace_id", Kind::Text),
    column("cause", "/cause", Kind::Int),
    column("occurred_at", "/occurred_at", Kind::Time),
    column("recorded_at", "/recorded_at", Kind::Time),
    column("decided_at", "/decided_at", Kind::Time),
    column("system_version", "/system_version", Kind::Int),
    column("data", "/data", Kind::Json),
];

/// A row of [`EVENTS`].
#[must_use]
pub fn event(envelope: &Envelope) -> Value {
    envelope.to_json()
}

/// Every decision: the order, the answer, and the verdicts as JSON.
pub const DECISIONS: &[Column] = &[
    column("seq", "/seq", Kind::Int),
    column("strategy", "/stream", Kind::Text),
    column("version", "/version", Kind::Int),
    column("trace_id", "/trace_id", Kind::Text),
    column("occurred_at", "/occurred_at", Kind::Time),
    column("recorded_at", "/recorded_at", Kind::Time),
    column("decided_at", "/decided_at", Kind::Time),
    column("order_id", "/data/order/id", Kind::Text),
    column("instrument", "/data/order/instrument", Kind::Text),
    column("venue", "/data/order/venue", Kind::Text),
    column("side", "/data/order/side", Kind::Text),
    column("qty", "/data/order/qty", Kind::Decimal),
    column("price", "/data/order/price", Kind::Decimal),
    column("notional", "/data/order/notional", Kind::Decimal),
    column("currency", "/data/order/currency", Kind::Text),
    column("reduce_only", "/data/order/reduce_only", Kind::Bool),
    column("leverage", "/data/order/leverage", Kind::Decimal),
    column("position_qty", "/data/order/position_qty", Kind::Decimal),
    column("equity", "/data/order/equity", Kind::Decimal),
    column("open_positions", "/data/order/open_positions", Kind::Int),
    column("token", "/data/order/token", Kind::Text),
    column("action", "/data/action", Kind::Text),
    column("multiplier", "/data/multiplier", Kind::Float),
    column("execution", "/data/execution", Kind::Text),
    column("decided_by", "/data/decided_by", Kind::Text),
    column("reason", "/reason", Kind::Text),
    column("level", "/data/level", Kind::Text),
    column("tier", "/data/tier", Kind::Text),
    column("health_score", "/data/health_score", Kind::Float),
    column("policy", "/data/policy", Kind::Text),
    column("attempt", "/data/attempt", Kind::Int),
    column("verdicts", "/data/verdicts", Kind::Json),
];

/// A row of [`DECISIONS`]; `None` for another event.
#[must_use]
pub fn decision(envelope: &Envelope) -> Option<Value> {
    let leading = envelope.event.decision().and_then(Decision::leading);
    let leading = leading.map(to_json);
    let reason = leading.as_ref().and_then(|verdict| verdict.pointer("/reason/code")).cloned();
    let mut row = matches!(envelope.event, Event::DecisionMade(_)).then(|| envelope.to_json())?;
    row.as_object_mut()?.insert("reason".to_owned(), json!(reason));
    Some(row)
}

/// Where a strategy stands: at one moment, or after each commit that moved it.
pub const STATES: &[Column] = &[
    column("strategy", "/strategy", Kind::Text),
    column("seq", "/seq", Kind::Int),
    column("version", "/version", Kind::Int),
    column("recorded_at", "/recorded_at", Kind::Time),
    column("event", "/event", Kind::Text),
    column("level", "/state/maturity/level", Kind::Text),
    column("level_entered_at", "/state/maturity/evidence/entered_at", Kind::Time),
    column("level_trades", "/state/maturity/evidence/trades", Kind::Int),
    column("level_wins", "/state/maturity/evidence/wins", Kind::Int),
    column("level_gross_win", "/state/maturity/evidence/gross_win", Kind::Decimal),
    column("level_gross_loss", "/state/maturity/evidence/gross_loss", Kind::Decimal),
    column("equity", "/state/maturity/evidence/equity", Kind::Decimal),
    column("level_peak", "/state/maturity/evidence/peak", Kind::Decimal),
    column("loss_streak", "/state/maturity/evidence/loss_streak", Kind::Int),
    column("health_score", "/state/health/score", Kind::Float),
    column("trades", "/state/totals/trades", Kind::Int),
    column("wins", "/state/totals/wins", Kind::Int),
    column("losses", "/state/totals/losses", Kind::Int),
    column("gross_win", "/state/totals/gross_win", Kind::Decimal),
    column("gross_loss", "/state/totals/gross_loss", Kind::Decimal),
    column("pnl", "/state/totals/pnl", Kind::Decimal),
    column("peak", "/state/totals/peak", Kind::Decimal),
    column("max_drawdown", "/state/totals/max_drawdown", Kind::Float),
    column("currency", "/state/registration/currency", Kind::Text),
    column("initial_capital", "/state/registration/initial_capital", Kind::Decimal),
    column("paused", "/paused", Kind::Bool),
    column("pauses", "/state/pauses", Kind::Json),
    column("drift", "/state/drift/beyond", Kind::Json),
];

/// A row of [`STATES`]. The window of outcomes is left out: `ephor state --json` has it.
#[must_use]
pub fn state(at: &Stage<'_>) -> Value {
    let state = at.state;
    json!({
        "strategy": at.stream,
        "seq": at.seq,
        "version": at.version,
        "recorded_at": at.recorded_at,
        "event": at.event,
        "paused": !state.pauses.is_empty(),
        "state": {
            "maturity": state.maturity,
            "health": state.health,
            "totals": state.totals,
            "registration": state.registration,
            "pauses": state.pauses,
            "drift": state.drift,
        },
    })
}
