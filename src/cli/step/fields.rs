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
        closing,
        totals,
        baseline,
        drift,
        tokens,
        approvals,
        pauses,
        positions,
        fills,
        unattributed,
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
    let active = tokens.active.len();
    let permits = match approvals.waiting.len() {
        0 => format!("{active} active"),
        waiting => format!("{active} active, {} waiting", Counted(waiting as u64, "order")),
    };
    vec![
        valued("level", maturity.level.as_str(), (maturity.level, path)),
        valued("entered", time(record.entered_at), record.entered_at),
        valued("trades/won", format!("{}/{}", record.trades, record.wins), (record.trades, record.wins)),
        valued("profit factor", factor, (record.gross_win, record.gross_loss)),
        valued("loss streak", record.loss_streak.to_string(), record.loss_streak),
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
        valued("tokens", permits, (tokens, approvals)),
        valued("positions", open.unwrap_or_else(|| "not reported".to_owned()), (positions, fills, unattributed)),
        valued("decisions", listed(&decided), totals.decisions),
        valued(
            "result",
            signed(ephor_governance::units::Amount::ZERO.plus(totals.pnl)),
            (totals.pnl, totals.gross_win, totals.gross_loss),
        ),
        valued(
            "all/won",
            format!("{}/{}", totals.trades, totals.wins),
            (totals.trades, totals.wins, totals.losses, totals.loss_streak),
        ),
        valued("deepest fall", percent(totals.max_drawdown), (totals.max_drawdown, totals.peak)),
        valued("compared", version_trades.to_string(), (version_trades, outcomes, closing)),
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

#[cfg(test)]
mod tests {
    use ephor_governance::maturity::{Evidence, Level};
    use ephor_governance::units::{Amount, Timestamp};

    use super::*;

    fn marked(before: &State, after: &State) -> Vec<&'static str> {
        compared(before, after).into_iter().filter(|field| field.was.is_some()).map(|field| field.name).collect()
    }

    #[test]
    fn whatever_changes_is_marked_and_nothing_else_is() {
        let state = State::default();
        assert!(marked(&state, &state).is_empty());
        let changed = |change: &dyn Fn(&mut State)| {
            let mut after = state.clone();
            change(&mut after);
            assert_ne!(after, state);
            marked(&state, &after)
        };
        let evidence = |change: &dyn Fn(&mut Evidence)| changed(&|state| change(&mut state.maturity.evidence));
        assert_eq!(changed(&|state| state.maturity.level = Level::Gated), ["level"]);
        assert_eq!(changed(&|state| state.path.push((Timestamp::default(), Level::Shadow))), ["level"]);
        assert_eq!(evidence(&|record| record.entered_at = Timestamp::from_nanos(1)), ["entered"]);
        assert_eq!(evidence(&|record| record.wins += 1), ["trades/won"]);
        assert_eq!(evidence(&|record| record.loss_streak += 1), ["loss streak"]);
        assert_eq!(evidence(&|record| record.gross_win = Amount::ONE), ["profit factor"]);
        assert_eq!(evidence(&|record| record.equity = Amount::new(1, 9)), ["equity"], "too small to be seen");
        assert_eq!(evidence(&|record| record.peak = Amount::ONE), ["peak", "drawdown"]);
        assert_eq!(changed(&|state| state.health.debt = 0.1), ["health", "debt, credit"]);
        assert_eq!(changed(&|state| state.version_trades += 1), ["compared"]);
        assert_eq!(changed(&|state| state.totals.decisions[2] += 1), ["decisions"]);
        assert_eq!(changed(&|state| state.totals.loss_streak += 1), ["all/won"]);
        assert_eq!(changed(&|state| state.totals.max_drawdown = 0.001), ["deepest fall"]);
        assert_eq!(changed(&|state| state.totals.gross_win = Amount::ONE), ["result"]);
        assert_eq!(changed(&|state| state.positions = Some([].into())), ["positions"]);
        assert_eq!(changed(&|state| state.baseline = Some(ephor_governance::drift::Baseline::default())), ["baseline"]);
    }

    #[test]
    fn a_change_says_what_was_there_before() {
        let mut after = State::default();
        after.maturity.level = Level::Paper;
        let fields = compared(&State::default(), &after);
        let level = fields.iter().find(|field| field.name == "level");
        assert_eq!(level.map(|field| (&*field.shown, field.was.as_deref())), Some(("L1_paper", Some("L0_shadow"))));
    }
}
