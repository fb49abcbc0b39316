//! What a condition can read: the event, shortcuts for what is asked most, and every field of the state.
//!
//! Amounts are decimals in the log and numbers here, as near as a float comes; what must be exact to the last
//! digit stands in the state itself.

use ephor_events::envelope::to_json;
use ephor_events::{CommitView, Seq, Version};
use ephor_governance::event::Event;
use ephor_governance::strategy::State;
use ephor_governance::units::{Amount, Timestamp};
use serde_json::{Value, json};

use crate::diff::{Path, Step};
use crate::nearest;

/// Something that a condition can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Variable {
    /// How it is written. A part in angle brackets stands for a name of its kind.
    pub name: &'static str,
    /// What it is: a number, a text, a truth value, a time (a text), a list, a map.
    pub kind: &'static str,
    /// What it says.
    pub what: &'static str,
}

const fn variable(name: &'static str, kind: &'static str, what: &'static str) -> Variable {
    Variable { name, kind, what }
}

/// Everything that a condition can read, shortcuts first.
pub const VARIABLES: &[Variable] = &[
    variable("level", "text", "where it stands: \"L0_shadow\", \"L1_paper\", \"L2_gated\" and so on, in this order"),
    variable("equity", "number", "allocated capital and all results"),
    variable("drawdown", "number", "fall from the peak since the level was entered, a fraction"),
    variable("win_rate", "number", "wins over trades at the level, a fraction"),
    variable("profit_factor", "number", "gross win over gross loss at the level; null while nothing was lost"),
    variable("trades", "number", "trades at the level"),
    variable("loss_streak", "number", "losses in a row at the level"),
    variable("paused", "truth", "whether anything pauses it"),
    variable("event", "text", "the name of the event, such as \"TradeClosed\""),
    variable("seq", "number", "the event's place in the whole log"),
    variable("version", "number", "the event's place in the stream"),
    variable("recorded_at", "time", "when the event was recorded"),
    variable("decided_at", "time", "when it was decided"),
    variable("occurred_at", "time", "when it happened, by the source"),
    variable("registration.id", "text", "the source's id of the declaration"),
    variable("registration.instrument", "text", "main instrument, or null"),
    variable("registration.engine", "text", "the engine that runs it, or null"),
    variable("registration.strategy_class", "text", "class or family, or null"),
    variable("registration.version_digest", "text", "digest of code and settings"),
    variable("registration.initial_capital", "number", "allocated capital"),
    variable("registration.currency", "text", "what it is counted in"),
    variable("registration.multiplier", "number", "value of one unit at a price of one"),
    variable("maturity.level", "text", "as `level`"),
    variable("maturity.evidence.entered_at", "time", "when the level was entered"),
    variable("maturity.evidence.trades", "number", "as `trades`"),
    variable("maturity.evidence.wins", "number", "wins at the level"),
    variable("maturity.evidence.loss_streak", "number", "as `loss_streak`"),
    variable("maturity.evidence.gross_win", "number", "sum of profits at the level"),
    variable("maturity.evidence.gross_loss", "number", "sum of losses at the level, without sign"),
    variable("maturity.evidence.equity", "number", "as `equity`"),
    variable("maturity.evidence.peak", "number", "highest equity since the level was entered"),
    variable("path", "list", "the levels entered: [time, level] each"),
    variable("health.debt", "number", "debt left"),
    variable("health.credit", "number", "credit left"),
    variable("health.score", "number", "1 minus the share of the most debt: 0 to 1"),
    variable("health.multiplier", "number", "what an order is scaled to"),
    variable("health.window_trades", "number", "outcomes in the window"),
    variable("outcomes", "list", "the last trades, oldest first: pnl, r, return_on_entry each"),
    variable("version_trades", "number", "trades since the version in force was registered"),
    variable("totals.trades", "number", "trades since it came under governance"),
    variable("totals.wins", "number", "with a profit"),
    variable("totals.losses", "number", "with a loss"),
    variable("totals.gross_win", "number", "sum of profits"),
    variable("totals.gross_loss", "number", "sum of losses, without sign"),
    variable("totals.pnl", "number", "sum of results"),
    variable("totals.peak", "number", "highest equity"),
    variable("totals.max_drawdown", "number", "deepest fall from a peak, a fraction"),
    variable("totals.loss_streak", "number", "losses in a row"),
    variable("totals.decisions", "list", "decisions by action: allow, reduce_size, block, demote, pause, kill"),
    variable("baseline.trades", "number", "trades of the backtest"),
    variable("baseline.metrics.<metric>", "number", "the backtest's value of a metric"),
    variable("drift.beyond.<metric>", "text", "\"reduce\" or \"pause\" for a metric beyond that bound"),
    variable("tokens.active.<token>.uses_left", "number", "uses left of a token in force"),
    variable("tokens.active.<token>.grant", "map", "what the token permits"),
    variable("tokens.ended", "list", "the last tokens that ended: [id, how, time] each"),
    variable("approvals.waiting", "list", "orders that wait: order, tier, level, since, approvals, token each"),
    variable("pauses.<cause>.by", "text", "who paused it"),
    variable("pauses.<cause>.since", "time", "since when"),
    variable("pauses.<cause>.reason", "text", "why"),
    variable("positions.<instrument>", "number", "signed open position, once a venue has reported one"),
    variable("fills.recorded", "number", "fills recorded"),
    variable("fills.late", "number", "fills that came after a later one of their book"),
    variable("fills.fees_unconverted", "number", "fees in another currency without a rate"),
    variable("fills.books.<instrument>.<account>.direction", "text", "\"long\" or \"short\""),
    variable("fills.books.<instrument>.<account>.lots", "list", "open lots: qty, cost, fees, opened_at each"),
    variable("fills.books.<instrument>.<account>.last_at", "time", "the latest fill, by the source"),
    variable(
        "closing",
        "list",
        "orders whose further pieces amend a trade: order_id, trade, number, pnl and more each",
    ),
    variable("unattributed", "number", "what was kept here because it belongs to no strategy"),
];

/// What `<metric>` stands for.
const METRICS: [&str; 7] =
    ["win_rate", "avg_rr", "sharpe", "profit_factor", "expectancy", "avg_return", "max_drawdown"];
/// What `<cause>` stands for.
const CAUSES: [&str; 2] = ["operator", "drift"];

/// Whether a part of a name as documented covers a part as written.
fn covers(documented: &str, written: &str) -> bool {
    match documented {
        "<metric>" => METRICS.contains(&written),
        "<cause>" => CAUSES.contains(&written),
        "<token>" | "<instrument>" | "<account>" => true,
        name => name == written,
    }
}

/// Whether a condition can read this; else the names nearest to it.
pub(super) fn check(path: &Path) -> Result<(), Vec<String>> {
    let is = |variable: &Variable| {
        let mut documented = variable.name.split('.');
        path.0.iter().all(|step| match (step, documented.next()) {
            (Step::Field(name), Some(documented)) => covers(documented, name),
            (Step::Entry(_), _) | (Step::Field(_), None) => false,
        })
    };
    if VARIABLES.iter().any(is) {
        return Ok(());
    }
    let spelled = VARIABLES.iter().flat_map(|variable| match variable.name.split_once('<') {
        Some((front, rest)) if rest.starts_with("metric>") => METRICS.map(|name| format!("{front}{name}")).to_vec(),
        Some((front, rest)) if rest.starts_with("cause>") => {
            let rest = rest.trim_start_matches("cause>");
            CAUSES.map(|name| format!("{front}{name}{rest}")).to_vec()
        }
        Some(_) | None => vec![variable.name.to_owned()],
    });
    let spelled: Vec<String> = spelled.collect();
    Err(nearest(&path.to_string(), spelled.iter().map(String::as_str)))
}

/// What a field is, in the words of [`VARIABLES`]; `None` for a part of one, and for what is not documented.
pub(super) fn kind_of(path: &Path) -> Option<&'static str> {
    let is = |variable: &&Variable| {
        let documented: Vec<&str> = variable.name.split('.').collect();
        let covered = |(step, documented): (&Step, &&str)| match step {
            Step::Field(name) => covers(documented, name),
            Step::Entry(_) => false,
        };
        documented.len() == path.0.len() && path.0.iter().zip(&documented).all(covered)
    };
    VARIABLES.iter().find(is).map(|variable| variable.kind)
}

/// What a condition is asked of: a state, and the event that led to it.
pub(super) struct Scene<'a> {
    pub(super) state: &'a State,
    pub(super) commit: &'a CommitView<'a>,
    pub(super) event: &'a Event,
    pub(super) seq: Seq,
    pub(super) version: Version,
}

impl Scene<'_> {
    /// A variable as a whole: what stands before the first dot.
    pub(super) fn value(&self, root: &str) -> Value {
        let state = self.state;
        let evidence = &state.maturity.evidence;
        let time = |nanos| json!(Timestamp::from_nanos(nanos));
        match root {
            "level" => json!(state.maturity.level),
            "equity" => json!(evidence.equity.to_f64()),
            "drawdown" => json!(evidence.drawdown()),
            "win_rate" => json!(evidence.win_rate()),
            "profit_factor" => json!(evidence.profit_factor()),
            "trades" => json!(evidence.trades),
            "loss_streak" => json!(evidence.loss_streak),
            "paused" => json!(!state.pauses.is_empty()),
            "event" => json!(self.event.name()),
            "seq" => json!(self.seq),
            "version" => json!(self.version),
            "recorded_at" => time(self.commit.recorded_at),
            "decided_at" => time(self.commit.decided_at),
            "occurred_at" => time(self.commit.occurred_at),
            "registration" => part(&state.registration),
            "maturity" => part(&state.maturity),
            "path" => part(&state.path),
            "health" => part(&state.health),
            "outcomes" => part(&state.outcomes),
            "version_trades" => json!(state.version_trades),
            "closing" => part(&state.closing),
            "totals" => part(&state.totals),
            "baseline" => part(&state.baseline),
            "drift" => part(&state.drift),
            "tokens" => part(&state.tokens),
            "approvals" => part(&state.approvals),
            "pauses" => part(&state.pauses),
            "fills" => part(&state.fills),
            "unattributed" => json!(state.unattributed),
            "positions" => positions(to_json(&state.positions)),
            _unknown => Value::Null,
        }
    }
}

/// The fields that are amounts wherever they stand.
const AMOUNTS: [&str; 15] = [
    "initial_capital",
    "multiplier",
    "gross_win",
    "gross_loss",
    "equity",
    "peak",
    "pnl",
    "notional_usd_max",
    "qty",
    "price",
    "notional",
    "leverage",
    "position_qty",
    "cost",
    "fees",
];

fn part<T: serde::Serialize>(part: &T) -> Value {
    let mut value = to_json(part);
    amounts_as_numbers(&mut value);
    value
}

fn amounts_as_numbers(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if AMOUNTS.contains(&name.as_str()) { as_number(value) } else { amounts_as_numbers(value) }
            }
        }
        Value::Array(entries) => entries.iter_mut().for_each(amounts_as_numbers),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn positions(mut value: Value) -> Value {
    value.as_object_mut().into_iter().flatten().for_each(|(_, value)| as_number(value));
    value
}

fn as_number(value: &mut Value) {
    if let Some(amount) = value.as_str().and_then(|text| text.parse::<Amount>().ok()) {
        *value = json!(amount.to_f64());
    }
}
