//! A strategy's state as a list of fields, and which of them an event changed.
//!
//! Every part of the state has a field. What a field shows is rounded for people; whether it changed is
//! read from the exact value behind it.

use std::fmt::Debug;

use ephor_governance::drift::Band;
use ephor_governance::event::PauseCause;
use ephor_governance::strategy::State;
use ephor_governance::verdict::Action;

use crate::cli::print::{Counted, amount, percent, rounded, time};
use crate::cli::sentence::{figure, signed};

/// One field of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// Its name.
    pub(super) name: &'static str,
    /// Its value, for people.
    pub(super) shown: String,
    /// What it was before the event, where the event changed it.
    pub(super) was: Option<String>,
}

/// The fields of a state, each with what it was before.
pub(super) fn compared(before: &State, after: &State) -> Vec<Field> {
    let pairs = fields(before).into_iter().zip(fields(after));
    pairs
        .map(|((_, was, exactly), (name, shown, exact))| Field { name, shown, was: (exactly != exact).then_some(was) })
        .collect()
}

/// Name, value for people, exact value.
type Valued = (&'static str, String, String);

fn valued(name: &'static str, shown: impl Into<String>, exact: impl Debug) -> Valued {
    (name, shown.into(), format!("{exact:?}"))
}

fn fields(state: &State) -> Vec<Valued> {
    let State {
        registration,
        maturity,
        path,
        health,
        outcomes,
        version_trades,
        totals,
        baseline,
        drift,
        tokens,
        pauses,
        positions,
    } = state;
    let record = &maturity.evidence;
    let factor = record.profit_factor().map_or_else(|| "-".to_owned(), |factor| format!("{factor:.2}"));
    let stopped: Vec<String> = pauses
        .iter()
        .map(|(cause, pause)| match cause {
            PauseCause::Drift => "drift".to_owned(),
            PauseCause::Operator => pause.by.to_string(),
        })
        .collect();
    let beyond: Vec<String> = drift
        .beyond
        .iter()
        .map(|(metric, band)| match band {
            Band::Pause => format!("{metric} pause"),
            Band::Reduce | Band::Within => format!("{metric} reduce"),
        })
        .collect();
    let decided: Vec<String> = Action::ALL
        .iter()
        .zip(totals.decisions)
        .filter(|(_, count)| *count > 0)
        .map(|(action, count)| format!("{count} {}", action.as_str()))
        .collect();
    let open = positions.as_ref().map(|positions| {
        let each: Vec<String> = positions.iter().map(|(name, qty)| format!("{} {name}", amount(*qty))).collect();
        listed(&each)
    });
    vec![
        valued("level", maturity.level.as_str(), (maturity.level, path)),
        valued("entered", time(record.entered_at), record.entered_at),
        valued("trades", format!("{}, {} won", record.trades, record.wins), (record.trades, record.wins)),
        valued("profit factor", factor, (record.gross_win, record.gross_loss)),
        valued("losses in a row", record.loss_streak.to_string(), record.loss_streak),
        valued("equity", rounded(record.equity), record.equity),
        valued("peak", rounded(record.peak), record.peak),
        valued("drawdown", format!("{:.2} %", record.drawdown() * 100.0), record.drawdown()),
        valued("health", format!("{:.3}, size x{:.3}", health.score, health.multiplier.get()), health),
        valued(
            "debt, credit",
            format!("{}, {}", figure(health.debt), figure(health.credit)),
            (health.debt, health.credit),
        ),
        valued("stopped by", listed(&stopped), pauses),
        valued("drift", listed(&beyond), drift),
        valued("tokens", Counted(tokens.active.len() as u64, "active one").to_string(), tokens),
        valued("positions", open.unwrap_or_else(|| "not reported".to_owned()), positions),
        valued("decisions", listed(&decided), totals.decisions),
        valued(
            "result",
            signed(ephor_governance::units::Amount::ZERO.plus(totals.pnl)),
            (totals.pnl, totals.gross_win, totals.gross_loss),
        ),
        valued(
            "all trades",
            format!("{}, {} won", totals.trades, totals.wins),
            (totals.trades, totals.wins, totals.losses, totals.loss_streak),
        ),
        valued("deepest fall", percent(totals.max_drawdown), (totals.max_drawdown, totals.peak)),
        valued("trades compared", version_trades.to_string(), (version_trades, outcomes)),
        valued(
            "baseline",
            baseline
                .as_ref()
                .map_or_else(|| "none".to_owned(), |given| Counted(given.trades.into(), "trade").to_string()),
            baseline,
        ),
        valued("version", registration.as_ref().map_or("-", |given| given.version_digest.as_str()), registration),
        valued(
            "capital",
            registration.as_ref().map_or_else(
                || "-".to_owned(),
                |given| format!("{} {}", amount(given.initial_capital), given.currency),
            ),
            registration.as_ref().map(|given| (given.initial_capital, &given.currency)),
        ),
    ]
}

fn listed(parts: &[String]) -> String {
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}
