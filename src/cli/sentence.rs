//! One line an event, for people: what happened, with the numbers that matter.

use std::fmt::Display;

use anstyle::Style;
use ephor_events::envelope::to_json;
use ephor_governance::canary;
use ephor_governance::drift::{self, Edge};
use ephor_governance::event::{Event, Scope};
use ephor_governance::fill::Fill;
use ephor_governance::gate::Decision;
use ephor_governance::maturity::{self, DemotionCause, Evidence};
use ephor_governance::order::{OrderReport, OrderStatus, Side};
use ephor_governance::token;
use ephor_governance::trade::{Direction, Outcome};
use ephor_governance::verdict::{Action, Component, Verdict};
use serde_json::Value;

use super::print::{BAD, Counted, DIM, GOOD, WARN, amount, percent, time};

/// Adds a line to a text.
pub(super) fn add(text: &mut String, line: impl Display) {
    text.push_str(&line.to_string());
    text.push('\n');
}

/// What an event says.
pub(super) fn of(event: &Event) -> String {
    match event {
        Event::StrategyRegistered { registration, level } => format!(
            "registered at {level} with {} {}, version {}",
            amount(registration.initial_capital),
            registration.currency,
            short(&registration.version_digest)
        ),
        Event::BaselineRecorded(recorded) => {
            let metrics =
                recorded.baseline.metrics.iter().map(|(metric, value)| format!("{metric} {}", figure(*value)));
            let metrics: Vec<String> = metrics.collect();
            format!("baseline of {} trades: {}", recorded.baseline.trades, metrics.join(", "))
        }
        Event::SignalReceived(signal) => match &signal.tag {
            Some(tag) => format!("signal {} ({tag})", signal.id),
            None => format!("signal {}", signal.id),
        },
        Event::OrderReported(report) => reported(report),
        Event::TradeClosed(closed) => {
            let trade = &closed.trade;
            let direction = match trade.direction {
                Direction::Long => "long",
                Direction::Short => "short",
            };
            let pnl = signed(trade.realized_pnl);
            // A further piece of an order: what counts is the whole of it.
            let so_far = closed.amends().map(|first| format!(", with trade {first} {}", signed(closed.result())));
            let so_far = so_far.unwrap_or_default();
            let (qty, r) = (amount(trade.qty), closed.r.value);
            format!("{direction} {qty} {} closed: {pnl}{so_far} ({r:+.2} R)", trade.instrument)
        }
        Event::FillRecorded { fill, .. } => filled(fill),
        Event::UnattributedReceived(received) => {
            format!("{} {} of {} is nobody's: {}", received.kind, received.id, received.source, received.reason)
        }
        Event::AccountUpdated(account) => {
            let positions = account.open_positions.map(|open| format!(", {}", Counted(open.into(), "open position")));
            format!("account equity {} {}{}", amount(account.equity), account.currency, positions.unwrap_or_default())
        }
        Event::DecisionMade(decision) => decided(decision),
        Event::MaturityTransitioned(maturity::Event::Promoted { from, to, evidence }) => {
            format!("promoted from {from} to {to}: {}", record(evidence))
        }
        Event::MaturityTransitioned(maturity::Event::Demoted { from, to, cause, evidence }) => {
            let why = demotion(*cause, evidence);
            format!("demoted from {from} to {to}: {why}; {}", record(evidence))
        }
        Event::HealthUpdated(health) => {
            format!("health {:.2} (debt {:.2}, credit {:.2})", health.score, health.debt, health.credit)
        }
        Event::DriftAlerted(alert) => drifted(alert),
        Event::TokenChanged(change) => token_changed(change),
        Event::CanaryChecked(round) => {
            let failed = round.results.values().flatten().count();
            format!("canary checked {}, {failed} failed", Counted(round.results.len() as u64, "component"))
        }
        Event::CanaryAlerted(alert) => canary_alerted(alert),
        Event::PolicyAdopted { id, by, reason, .. } => format!("policy {id} adopted by {by}: {reason}"),
        Event::KillSwitchEngaged { scope, exits_blocked, by, reason } => {
            let exits = if *exits_blocked { ", exits too" } else { "" };
            format!("kill switch for {} engaged{exits} by {by}: {reason}", scope_name(scope))
        }
        Event::KillSwitchReleased { scope, by, reason } => {
            format!("kill switch for {} released by {by}: {reason}", scope_name(scope))
        }
        Event::StrategyPaused { by, reason, .. } => format!("paused by {by}: {reason}"),
        Event::StrategyResumed { by, reason, .. } => format!("resumed by {by}: {reason}"),
        Event::LevelSet { from, to, earned, by, reason, .. } => {
            let earned = if to > from && !earned { " without the evidence" } else { "" };
            format!("set from {from} to {to}{earned} by {by}: {reason}")
        }
        Event::ActorFaulted { message } => format!("its actor failed and was rebuilt: {message}"),
        Event::OrderApproved { order_id, by, reason } => format!("order {order_id} approved by {by}: {reason}"),
        Event::OrderDeclined { order_id, by, reason } => format!("order {order_id} declined by {by}: {reason}"),
        Event::PolicyProposed { id, by, reason, .. } => format!("policy {id} proposed by {by}: {reason}"),
    }
}

/// How much an event wants to be seen.
pub(super) fn style(event: &Event) -> Style {
    match event {
        Event::MaturityTransitioned(maturity::Event::Promoted { .. })
        | Event::StrategyResumed { .. }
        | Event::OrderApproved { .. }
        | Event::KillSwitchReleased { .. }
        | Event::CanaryAlerted(canary::Alert::Recovered { .. }) => GOOD,
        Event::MaturityTransitioned(maturity::Event::Demoted { .. })
        | Event::StrategyPaused { .. }
        | Event::KillSwitchEngaged { .. }
        | Event::ActorFaulted { .. }
        | Event::CanaryAlerted(canary::Alert::Failed { .. }) => BAD,
        Event::DriftAlerted(alert) if alert.edge == Edge::Cleared => GOOD,
        Event::DriftAlerted(_)
        | Event::LevelSet { .. }
        | Event::OrderDeclined { .. }
        | Event::PolicyAdopted { .. }
        | Event::PolicyProposed { .. }
        | Event::UnattributedReceived(_)
        | Event::CanaryAlerted(canary::Alert::NothingRegistered) => WARN,
        Event::HealthUpdated(_)
        | Event::CanaryChecked(_)
        | Event::SignalReceived(_)
        | Event::OrderReported(_)
        | Event::FillRecorded { .. } => DIM,
        Event::StrategyRegistered { .. }
        | Event::BaselineRecorded(_)
        | Event::TradeClosed(_)
        | Event::AccountUpdated(_)
        | Event::DecisionMade(_)
        | Event::TokenChanged(_) => Style::new(),
    }
}

fn filled(fill: &Fill) -> String {
    let side = match fill.side {
        Side::Buy => "bought",
        Side::Sell => "sold",
    };
    let account = fill.account.as_ref().map_or_else(String::new, |account| format!(" in account {account}"));
    format!("{side} {} {} at {}{account}", amount(fill.qty), fill.instrument, amount(fill.price))
}

/// What a demotion crossed, with the value.
pub(super) fn demotion(cause: DemotionCause, evidence: &Evidence) -> String {
    let drawdown = format!("drawdown {:.2} %", evidence.drawdown() * 100.0);
    let losses = format!("{} losses in a row", evidence.loss_streak);
    match cause {
        DemotionCause::Drawdown => drawdown,
        DemotionCause::LossStreak => losses,
        DemotionCause::DrawdownAndLossStreak => format!("{drawdown} and {losses}"),
    }
}

/// A record at a level.
pub(super) fn record(evidence: &Evidence) -> String {
    let factor = evidence.profit_factor().map_or_else(|| "no losses".to_owned(), |pf| format!("profit factor {pf:.2}"));
    let trades = Counted(evidence.trades.into(), "trade");
    if evidence.trades == 0 {
        trades.to_string()
    } else {
        format!("{trades}, win rate {}, {factor}", percent(evidence.win_rate()))
    }
}

/// An amount with its sign.
pub(super) fn signed(value: ephor_governance::units::Amount) -> String {
    if value.is_negative() { amount(value) } else { format!("+{}", amount(value)) }
}

/// A ratio or score with as many digits as it needs.
pub(super) fn figure(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.001 { format!("{value:.6}") } else { format!("{value:.3}") }
}

/// What a kill switch covers.
pub(super) fn scope_name(scope: &Scope) -> String {
    match scope {
        Scope::All => "everything".to_owned(),
        Scope::Strategy(id) => format!("strategy {id}"),
        Scope::Instrument(id) => format!("instrument {id}"),
        Scope::Venue(name) => format!("venue {name}"),
    }
}

/// A component's name on the wire.
pub(super) const fn component(component: Component) -> &'static str {
    match component {
        Component::KillSwitch => "kill_switch",
        Component::Pause => "pause",
        Component::Canary => "canary",
        Component::Maturity => "maturity",
        Component::Drift => "drift",
        Component::Impact => "impact",
        Component::Token => "token",
        Component::Health => "health",
    }
}

/// How severe an action looks.
pub(super) const fn action_style(action: Action) -> Style {
    match action {
        Action::Allow => GOOD,
        Action::ReduceSize => WARN,
        Action::Block | Action::Demote | Action::Pause | Action::Kill => BAD,
    }
}

/// A verdict's reason: its code, and its numbers.
pub(super) fn reason(verdict: &Verdict) -> (String, String) {
    let json = to_json(verdict);
    let reason = json.get("reason").and_then(Value::as_object);
    let code = reason.and_then(|fields| fields.get("code")).and_then(Value::as_str).unwrap_or_default();
    let mut numbers = Vec::new();
    for (name, value) in reason.into_iter().flatten().filter(|(name, _)| *name != "code") {
        flatten(name, value, &mut numbers);
    }
    (code.to_owned(), numbers.join(", "))
}

/// The fields of a JSON value, each with its name; what is false or null says nothing.
fn flatten(name: &str, value: &Value, to: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(inner, value)| flatten(inner, value, to)),
        Value::Null | Value::Bool(false) => {}
        Value::Bool(true) => to.push(name.replace('_', " ")),
        Value::Number(number) if number.is_f64() => {
            to.push(format!("{name} {}", figure(number.as_f64().unwrap_or_default())));
        }
        Value::Number(number) => to.push(format!("{name} {number}")),
        Value::String(text) => to.push(format!("{name} {text}")),
        Value::Array(items) => items.iter().for_each(|item| flatten(name, item, to)),
    }
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    }
}

fn reported(report: &OrderReport) -> String {
    let status = match report.status {
        OrderStatus::Filled => "filled",
        OrderStatus::Rejected => "rejected by the venue",
        OrderStatus::Denied => "denied by the engine",
        OrderStatus::Canceled => "cancelled",
        OrderStatus::Expired => "expired",
    };
    let side = report.side.map_or("order", side);
    let qty = report.qty.map_or_else(String::new, |qty| format!(" {}", amount(qty)));
    let price = report.price.map_or_else(String::new, |price| format!(" at {price}"));
    let reason = report.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    format!("{side}{qty} {}{price}: {status}{reason}", report.instrument)
}

fn decided(decision: &Decision) -> String {
    let order = &decision.order;
    let size =
        if decision.action.rejects() { String::new() } else { format!(" to {}", percent(decision.multiplier.get())) };
    let again = if decision.attempt > 0 { format!(", attempt {}", decision.attempt) } else { String::new() };
    let code = decision.leading().map(|verdict| reason(verdict).0).unwrap_or_default();
    format!(
        "{} {} {}: {}{size} by {} {code}, impact {}{again}",
        side(order.side),
        amount(order.qty),
        order.instrument,
        decision.action.as_str(),
        component(decision.decided_by),
        decision.tier.as_str(),
    )
}

fn drifted(alert: &drift::Event) -> String {
    let numbers = &alert.comparison;
    let edge = match (alert.edge, numbers.band) {
        (Edge::Entered, drift::Band::Pause) => "drifted beyond the pause bound",
        (Edge::Entered, drift::Band::Reduce | drift::Band::Within) => "drifted beyond the reduce bound",
        (Edge::Worsened, _) => "worsened beyond the pause bound",
        (Edge::Eased, _) => "eased to beyond the reduce bound",
        (Edge::Cleared, _) => "is back within bounds",
    };
    let interval = numbers.interval.map(|(low, high)| format!(" (95 %: {} to {})", figure(low), figure(high)));
    format!(
        "{} {edge}: {}{} against {}, {:.1} % off, over {} trades",
        numbers.metric,
        figure(numbers.live),
        interval.unwrap_or_default(),
        figure(numbers.baseline),
        numbers.deviation_pct,
        numbers.trades
    )
}

fn token_changed(change: &token::Event) -> String {
    match change {
        token::Event::Issued(grant) => {
            let uses = Counted(grant.uses_max.into(), "use");
            format!("token {} issued by {} for {uses} until {}", grant.id, grant.issued_by, time(grant.expires_at))
        }
        token::Event::Used { id, order_id, uses_left } => {
            format!("token {id} used for order {order_id}, {} left", Counted((*uses_left).into(), "use"))
        }
        token::Event::Expired { id, expired_at } => format!("token {id} expired {}", time(*expired_at)),
        token::Event::Revoked { id, by, reason } => format!("token {id} revoked by {by}: {reason}"),
    }
}

fn canary_alerted(alert: &canary::Alert) -> String {
    match alert {
        canary::Alert::Failed { component, failures, message, .. } => {
            format!("{component} failed {failures} times in a row: {message}")
        }
        canary::Alert::Recovered { component } => format!("{component} has recovered"),
        canary::Alert::NothingRegistered => "the canary watches nothing".to_owned(),
    }
}

/// How a trade ended, as a style.
pub(super) const fn outcome_style(outcome: Option<Outcome>) -> Style {
    match outcome {
        Some(Outcome::Win) => GOOD,
        Some(Outcome::Loss) => BAD,
        Some(Outcome::BreakEven) | None => Style::new(),
    }
}
