//! A counterfactual for people: what would have been otherwise, and what nobody can know.

use std::collections::BTreeSet;

use comfy_table::Cell;
use ephor_governance::event::Event;
use ephor_governance::gate::Execution;
use ephor_governance::ids::Currency;
use ephor_governance::maturity::Level;
use ephor_governance::units::Amount;
use ephor_governance::verdict::{Action, Verdict};
use ephor_replay::what_if::{Apart, Change, FirstDifference, Kind, Outcome, Pair, Place, Report, Sized, Trades};

use super::sweep::Sweep;
use crate::cli::print::{
    self, BAD, BOLD, Counted, DIM, GOOD, LEFT, RIGHT, WARN, grouped, percent, rounded, styled, time,
};
use crate::cli::sentence;

/// What a counterfactual cannot know, whatever the policy.
pub(super) const CANNOT_KNOW: [&str; 6] = [
    "What the strategy would have done: its orders are those it sent in the history that it saw.",
    "What a venue would have done: trades are scaled in proportion, without market impact or minimum costs.",
    "What an order that was not live would have earned: paper and shadow results are not counted as money.",
    "What became of orders whose trades are not tied to them: such trades are evidence as they were, and no money.",
    "What people would have done: tokens, resumptions, levels and kill switches are those of history.",
    "What the account would have been: equity, positions and leverage are judged as they were stated.",
];

/// Changes that are listed.
const CHANGES_SHOWN: usize = 40;

pub(super) fn said(report: &Report, sweep: Option<&Sweep>, seconds: f64) -> String {
    let mut text = String::new();
    let decided = report.policies.first().map_or(0, |outcome| outcome.orders.decided);
    let policies = match report.policies.as_slice() {
        [outcome] => format!("{} ({})", outcome.name, outcome.policy_id),
        outcomes => match sweep {
            Some(sweep) => format!("{} of {}", Counted(outcomes.len() as u64, "value"), sweep.field),
            None => format!("{} policies", grouped(outcomes.len() as u64)),
        },
    };
    let head = format!("history under {policies}, seq {} to {}", report.from, report.through);
    let work = format!("{} decided again in {seconds:.2} s", Counted(decided, "decision"));
    sentence::add(&mut text, format_args!("{}: {work}", styled(BOLD, head)));
    if report.adoptions_replaced > 0 {
        let adopted = Counted(report.adoptions_replaced, "adoption");
        sentence::add(&mut text, format_args!("in place of {adopted} of a policy in that part of history"));
    }
    text.push('\n');
    match (report.policies.as_slice(), sweep) {
        ([outcome], None) => one(&mut text, outcome),
        (outcomes, sweep) => {
            text.push_str(&side_by_side(outcomes, sweep));
            notes(&mut text, outcomes);
        }
    }
    text.truncate(text.trim_end().len());
    sentence::add(&mut text, format_args!("\n\n{}", styled(BOLD, "what this cannot know")));
    for line in CANNOT_KNOW {
        sentence::add(&mut text, format_args!("  {}", styled(DIM, line)));
    }
    text
}

fn one(text: &mut String, outcome: &Outcome) {
    if outcome.differs() {
        text.push_str(&matrix(outcome));
        sentence::add(text, orders(outcome));
    } else {
        sentence::add(text, styled(GOOD, "nothing would have been decided otherwise"));
    }
    sentence::add(text, ladder(outcome));
    changes(text, outcome);
    text.push('\n');
    text.push_str(&trades(outcome));
    text.push_str(&strategies(outcome));
    if let Some(first) = &outcome.first {
        first_difference(text, first);
    }
    notes(text, std::slice::from_ref(outcome));
}

fn matrix(outcome: &Outcome) -> String {
    let mut columns = vec![("before \\ after", LEFT)];
    columns.extend(Action::ALL.iter().map(|action| (action.as_str(), RIGHT)));
    let mut table = print::table(&columns);
    for (place, (action, row)) in Action::ALL.iter().zip(&outcome.matrix.0).enumerate() {
        let mut cells = vec![Cell::new(action.as_str())];
        for (column, count) in row.iter().enumerate() {
            let cell = Cell::new(if *count == 0 { "-".to_owned() } else { grouped(*count) });
            cells.push(if *count > 0 && column != place { cell.fg(comfy_table::Color::Yellow) } else { cell });
        }
        table.add_row(cells);
    }
    format!("{}\n", print::rows(&table))
}

fn orders(outcome: &Outcome) -> String {
    let orders = &outcome.orders;
    let counts = [
        (orders.blocked, "turned away"),
        (orders.reduced, "smaller"),
        (orders.larger, "larger"),
        (orders.let_through, "let through"),
        (orders.elsewhere, "as large, but for another action or to another place"),
    ];
    let named: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", grouped(*count)))
        .collect();
    let which = if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) };
    let share = share(orders.changed, orders.decided);
    format!("{} of {} otherwise ({share}){which}", grouped(orders.changed), Counted(orders.decided, "decision"))
}

/// An amount without digits that no currency has.
fn money(exact: Amount) -> String {
    rounded(exact.decimal().round_dp(8).into())
}

fn share(part: u64, whole: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    let share = if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    percent(share)
}

fn arrow<T: PartialEq + ToString>(pair: &Pair<T>) -> String {
    let (before, after) = (pair.before.to_string(), pair.after.to_string());
    if before == after { after } else { format!("{before} → {after}") }
}

fn ladder(outcome: &Outcome) -> String {
    let Outcome { promotions, demotions, pauses, .. } = outcome;
    format!("promotions {}, demotions {}, pauses {}", arrow(promotions), arrow(demotions), arrow(pauses))
}

fn changes(text: &mut String, outcome: &Outcome) {
    let mut all: Vec<(&str, &Change)> = outcome
        .strategies
        .iter()
        .flat_map(|strategy| strategy.changes.iter().map(|change| (strategy.strategy.as_str(), change)))
        .collect();
    if all.is_empty() {
        return;
    }
    let place = |change: &Change| change.after.or(change.before).map(|place| place.seq);
    all.sort_by_key(|(_, change)| place(change));
    text.push('\n');
    let width = all.iter().take(CHANGES_SHOWN).map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    for (name, change) in all.iter().take(CHANGES_SHOWN) {
        let (style, word) = match change.kind {
            Kind::Promoted => (GOOD, "promoted"),
            Kind::Demoted => (BAD, "demoted"),
            Kind::LevelSet => (WARN, "set"),
            Kind::Paused => (BAD, "paused"),
            Kind::Resumed => (GOOD, "resumed"),
        };
        let levels = change.from.zip(change.to).map(|(from, to)| format!(" {}→{}", short(from), short(to)));
        let what = format!("{word}{}", levels.unwrap_or_default());
        let stands = |place: &Place| format!("{} (seq {})", minute(place), place.seq);
        let when = match (&change.before, &change.after) {
            (Some(before), Some(after)) => {
                let how = if after.seq < before.seq { "earlier" } else { "later" };
                format!("{}: {} instead of {}", styled(WARN, how), stands(after), stands(before))
            }
            (None, Some(after)) => format!("{}: {}", styled(BOLD, "new"), stands(after)),
            (Some(before), None) => format!("{}: was {}", styled(BOLD, "gone"), stands(before)),
            (None, None) => String::new(),
        };
        sentence::add(text, format_args!("{name:<width$}  {style}{what:<14}{style:#}  {when}"));
    }
    let left_out: u64 = outcome.strategies.iter().map(|strategy| strategy.changes_left_out).sum();
    let unlisted = all.len().saturating_sub(CHANGES_SHOWN) as u64;
    if unlisted > 0 {
        sentence::add(
            text,
            format_args!("and {} more: --json lists them, --strategy narrows it down", grouped(unlisted)),
        );
    }
    if left_out > 0 {
        sentence::add(text, format_args!("{} were too many to compare", Counted(left_out, "change")));
    }
}

fn minute(place: &Place) -> String {
    let at = time(place.at);
    at.get(..16).unwrap_or(&at).to_owned()
}

fn short(level: Level) -> &'static str {
    level.as_str().get(..2).unwrap_or_default()
}

fn trades(outcome: &Outcome) -> String {
    let mut table = print::table(&[
        ("trades", LEFT),
        ("", LEFT),
        ("count", RIGHT),
        ("notional before", RIGHT),
        ("after", RIGHT),
        ("P&L before", RIGHT),
        ("after", RIGHT),
    ]);
    for (currency, sums) in &outcome.sums {
        let kinds = &sums.trades;
        let mut row = |what: &str, trades: u64, cells: [String; 4]| {
            let mut row = vec![Cell::new(currency.as_str()), Cell::new(what), Cell::new(grouped(trades))];
            row.extend(cells.into_iter().map(Cell::new));
            table.add_row(row);
        };
        let sized = |kind: &Sized| {
            let Sized { notional, pnl, .. } = kind;
            [notional.before, notional.after, pnl.before, pnl.after].map(money)
        };
        let apart = |kind: &Apart, after: &str| [money(kind.notional), after.into(), money(kind.pnl), after.into()];
        let live = [
            ("as large as before", &kinds.unchanged),
            ("smaller", &kinds.smaller),
            ("larger", &kinds.larger),
            ("not taken", &kinds.not_taken),
        ];
        for (what, kind) in live.into_iter().filter(|(_, kind)| kind.trades > 0) {
            row(what, kind.trades, sized(kind));
        }
        let count = live.iter().map(|(_, kind)| kind.trades).sum();
        row("live, in all", count, ["", "", &money(sums.pnl.before), &money(sums.pnl.after)].map(str::to_owned));
        for (what, kind, after) in [
            ("not live, would have been", &kinds.let_through, "unknown"),
            ("not live on either side", &kinds.not_live, "-"),
            ("filled against the answer", &kinds.filled_against, "unknown"),
            ("not tied to an order, as recorded", &kinds.untied, "unknown"),
        ] {
            if kind.trades > 0 {
                row(what, kind.trades, apart(kind, after));
            }
        }
    }
    if outcome.trades == 0 { String::new() } else { format!("{}\n", print::rows(&table)) }
}

fn strategies(outcome: &Outcome) -> String {
    let mut table = print::table(&[
        ("strategy", LEFT),
        ("level", LEFT),
        ("changed", RIGHT),
        ("qty not taken", RIGHT),
        ("qty smaller", RIGHT),
        ("P&L before", RIGHT),
        ("after", RIGHT),
        ("", LEFT),
        ("live DD before", RIGHT),
        ("after", RIGHT),
    ]);
    let mut same = 0;
    for it in &outcome.strategies {
        if it.orders.changed == 0 && it.changes.is_empty() && it.pnl.before == it.pnl.after {
            same += 1;
            continue;
        }
        let level = |level: Option<Level>| level.map_or("-", short);
        let levels = Pair { before: level(it.level.before), after: level(it.level.after) };
        let smaller = it.trades.smaller.qty;
        let dash = |none: bool, text: String| if none { "-".to_owned() } else { text };
        table.add_row(vec![
            Cell::new(&it.strategy),
            Cell::new(arrow(&levels)),
            Cell::new(grouped(it.orders.changed)),
            Cell::new(dash(it.trades.not_taken.trades == 0, rounded(it.trades.not_taken.qty.before))),
            Cell::new(dash(
                it.trades.smaller.trades == 0,
                format!("{} → {}", rounded(smaller.before), rounded(smaller.after)),
            )),
            Cell::new(money(it.pnl.before)),
            Cell::new(money(it.pnl.after)),
            Cell::new(it.currency.as_ref().map_or("", Currency::as_str)),
            Cell::new(percent(it.drawdown.before)),
            Cell::new(percent(it.drawdown.after)),
        ]);
    }
    if same == outcome.strategies.len() {
        return String::new();
    }
    let mut text = print::rows(&table);
    if same > 0 {
        sentence::add(
            &mut text,
            format_args!(
                "{} as before",
                if same == 1 { "1 strategy".to_owned() } else { format!("{same} strategies") }
            ),
        );
    }
    text.push('\n');
    text
}

fn first_difference(text: &mut String, first: &FirstDifference) {
    let FirstDifference { seq, stream, at, order_id, before, after } = first;
    let head = styled(BOLD, "first decision that differs");
    sentence::add(text, format_args!("{head}: seq {seq} ({stream}, {}, order {order_id})", time(*at)));
    for (word, decision) in [("before", before), ("after", after)] {
        let said = sentence::of(&Event::DecisionMade(decision.clone()));
        let goes = match decision.execution {
            _ if before.execution == after.execution => "",
            Execution::None => ", goes nowhere",
            Execution::Paper => ", goes to paper",
            Execution::Live => ", goes live",
            Execution::Position => ", goes where its position is held",
        };
        sentence::add(text, format_args!("  {word:<6}  at {}: {said}{goes}", decision.level));
    }
    let verdict = |verdict: Option<&Verdict>| {
        verdict.map_or_else(|| "nothing".to_owned(), |verdict| ephor_events::envelope::to_json(verdict).to_string())
    };
    for (place, was) in before.verdicts.iter().enumerate() {
        let is = after.verdicts.get(place);
        if Some(was) != is {
            sentence::add(text, format_args!("  verdict before  {}", verdict(Some(was))));
            sentence::add(text, format_args!("          after   {}", verdict(is)));
        }
    }
}

/// How many trades of a kind that is in no sum, and what they made as recorded.
fn counted_apart(outcome: &Outcome, kind: fn(&Trades) -> Apart) -> Option<(Counted<'static>, String)> {
    let kinds = || outcome.sums.iter().map(|(currency, sums)| (currency, kind(&sums.trades)));
    let trades: u64 = kinds().map(|(_, kind)| kind.trades).sum();
    let results = kinds().filter(|(_, kind)| kind.trades > 0);
    let results: Vec<String> = results.map(|(currency, kind)| format!("{} {currency}", money(kind.pnl))).collect();
    (trades > 0).then(|| (Counted(trades, "trade"), results.join(", ")))
}

/// What a reader of the figures should hear of, policy by policy.
fn notes(text: &mut String, outcomes: &[Outcome]) {
    let there = "history did not follow the governor there";
    if let Some(outcome) = outcomes.first() {
        let overfilled: u64 = outcome.sums.values().map(|sums| sums.trades.overfilled).sum();
        if overfilled > 0 {
            let trades = Counted(overfilled, "live trade");
            let said = "went out larger than the answer to their orders let through";
            sentence::add(text, styled(WARN, format_args!("{trades} {said}: {there}")));
        }
        if let Some((trades, results)) = counted_apart(outcome, |trades| trades.filled_against) {
            let said = format!("filled against the answer: {there}, and {results} of results are in no sum above");
            sentence::add(text, styled(WARN, format_args!("{trades} {said}")));
        }
    }
    // Orders of one position may change by different factors under one policy and not under another.
    let untied =
        outcomes.iter().max_by_key(|outcome| outcome.sums.values().map(|sums| sums.trades.untied.trades).sum::<u64>());
    if let Some((trades, results)) = untied.and_then(|outcome| counted_apart(outcome, |trades| trades.untied)) {
        let said = format!("not tied to an order: whether they were live is not known, and {results} of results");
        sentence::add(text, styled(WARN, format_args!("{trades} {said} are in no sum above")));
    }
    for outcome in outcomes {
        let under = if outcomes.len() > 1 { format!(" under {}", outcome.name) } else { String::new() };
        let refused = &outcome.refused;
        if let (Some(seq), Some(rejection)) = (refused.seq, &refused.rejection) {
            let commands = Counted(refused.commands, "recorded command");
            sentence::add(
                text,
                format_args!("{commands} would have been refused{under}, the first at seq {seq}: {rejection}"),
            );
        }
        if outcome.not_derived > 0 {
            let commits = Counted(outcome.not_derived, "commit");
            sentence::add(text, format_args!("{commits} that no command gives, taken as recorded: see `ephor audit`"));
        }
    }
}

fn side_by_side(outcomes: &[Outcome], sweep: Option<&Sweep>) -> String {
    let currencies: BTreeSet<&Currency> = outcomes.iter().flat_map(|outcome| outcome.sums.keys()).collect();
    let results: Vec<String> = currencies.iter().map(|currency| format!("P&L {currency}")).collect();
    let first = sweep.map_or("policy", |sweep| &sweep.field);
    let mut columns = vec![
        (first, if sweep.is_some() { RIGHT } else { LEFT }),
        ("changed", RIGHT),
        ("turned away", RIGHT),
        ("smaller", RIGHT),
        ("larger", RIGHT),
        ("let through", RIGHT),
        ("promoted", RIGHT),
        ("demoted", RIGHT),
        ("paused", RIGHT),
    ];
    columns.extend(results.iter().map(|name| (name.as_str(), RIGHT)));
    columns.push(("live DD", RIGHT));
    let mut table = print::table(&columns);
    let mut varies = false;
    if let Some(outcome) = outcomes.first() {
        let mut row: Vec<String> = vec!["as recorded".into()];
        row.extend(std::iter::repeat_n("-".to_owned(), 5));
        row.extend([outcome.promotions, outcome.demotions, outcome.pauses].map(|pair| grouped(pair.before)));
        let pnl = |currency: &Currency, outcome: &Outcome| {
            outcome.sums.get(currency).map_or(Amount::ZERO, |sums| sums.pnl.before)
        };
        let alike = |currency: &&&Currency| outcomes.iter().all(|it| pnl(currency, it) == pnl(currency, outcome));
        let or_varies = |alike: bool, figure: String| if alike { figure } else { "varies".to_owned() };
        for currency in &currencies {
            row.push(or_varies(alike(&currency), money(pnl(currency, outcome))));
        }
        let fall = outcome.drawdown.before;
        let alike = outcomes.iter().all(|it| it.drawdown.before.to_bits() == fall.to_bits());
        row.push(or_varies(alike, percent(fall)));
        varies = row.iter().any(|cell| cell == "varies");
        table.add_row(row);
    }
    for (place, outcome) in outcomes.iter().enumerate() {
        let value = sweep.and_then(|sweep| Some((sweep, sweep.values.get(place)?)));
        let mark =
            |sweep: &Sweep, value: &Amount| if *value == sweep.base { format!("* {value}") } else { value.to_string() };
        let mut row = vec![value.map_or_else(|| outcome.name.clone(), |(sweep, value)| mark(sweep, value))];
        let orders = &outcome.orders;
        let counts = [orders.changed, orders.blocked, orders.reduced, orders.larger, orders.let_through];
        row.extend(counts.map(|count| if count == 0 { "-".to_owned() } else { grouped(count) }));
        row.extend([outcome.promotions, outcome.demotions, outcome.pauses].map(|pair| grouped(pair.after)));
        let pnl = |currency: &&Currency| outcome.sums.get(*currency).map_or(Amount::ZERO, |sums| sums.pnl.after);
        row.extend(currencies.iter().map(|currency| money(pnl(currency))));
        row.push(percent(outcome.drawdown.after));
        table.add_row(row);
    }
    let mut text = print::rows(&table);
    if varies {
        let said =
            "varies: of the trades whose size is known on both sides, which are not the same for each; see --json";
        sentence::add(&mut text, styled(DIM, said));
    }
    if let Some(sweep) = sweep
        && let Some(last) = sweep.values.last().filter(|last| **last != sweep.end)
    {
        let said = format!("the last value tried is {last}: steps of {} do not meet {}", sweep.step, sweep.end);
        sentence::add(&mut text, styled(WARN, said));
    }
    if let Some(base) = sweep.and_then(|sweep| sweep.values.iter().find(|value| **value == sweep.base)) {
        let said = format!("* {base} is the value in the policy that the sweep starts from");
        sentence::add(&mut text, styled(DIM, said));
    }
    let not_live: u64 = outcomes.first().map_or(0, |outcome| {
        outcome.sums.values().map(|sums| sums.trades.not_live.trades + sums.trades.let_through.trades).sum()
    });
    if not_live > 0 {
        let trades = Counted(not_live, "trade");
        sentence::add(&mut text, format_args!("{trades} in history were not live: their results are in no P&L above"));
    }
    text
}
