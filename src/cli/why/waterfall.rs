//! Trades on the way from a peak to a breach, each as a bar from the equity before it to the one after.
//!
//! Of many trades the first, the last and the largest are shown; what lies between is counted.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};

use ephor_governance::units::Amount;
use ephor_replay::why::Step;

use super::Node;
use crate::cli::print::{Counted, DIM, rounded, styled, time};
use crate::cli::sentence::outcome_style;

/// How many trades are shown at the beginning, at the end, and for their size between the two.
const FIRST: usize = 6;
const LAST: usize = 12;
const LARGEST: usize = 6;
/// Columns of a bar, at least and at most, and where nobody says how wide the page is.
const COLUMNS_MIN: usize = 8;
const COLUMNS_MAX: usize = 48;
const COLUMNS: usize = 24;
/// Columns that the tree in front of a bar takes.
const TREE: usize = 12;
/// A page narrower than this has no room for times.
const COLUMNS_FOR_TIMES: usize = 100;

/// Draws the trades under a line. `left_out` stood before them and are not kept; `peak` is the equity that the
/// first of all fell from.
pub(super) fn draw(node: &mut Node, steps: &[Step], left_out: u64, peak: Option<Amount>, all: bool) {
    let shown = if all { (0..steps.len()).collect() } else { worth_showing(steps) };
    let widest = |text: &dyn Fn(&Step) -> String| steps.iter().map(|step| text(step).len()).max().unwrap_or_default();
    let (pnl_width, equity_width) = (widest(&|step| result(step.pnl)), widest(&|step| rounded(step.equity)));
    let page = page();
    let timed = page.is_none_or(|page| page >= COLUMNS_FOR_TIMES);
    let words = if timed {
        "trade 1234      12.34 %  2012-02-15 00:00:00  seq 1234567"
    } else {
        "trade 1234      12.34 %  seq 1234567"
    };
    let texts = TREE + words.len() + 4 + pnl_width + equity_width;
    let columns = page.map_or(COLUMNS, |page| page.saturating_sub(texts).clamp(COLUMNS_MIN, COLUMNS_MAX));
    let scale = Scale::of(steps, peak, columns);
    let (equity, fall) = ("equity", "drawdown");
    let result_of = "result";
    let way = if columns >= "before to after".len() { "before to after" } else { "" };
    // Of the words over the columns as much as has room.
    let over = format!(
        "{:<10}  {result_of:>pnl_width$.pnl_width$}  {way:<columns$.columns$}  {equity:>equity_width$.equity_width$} {fall:>8}",
        ""
    );
    node.push(Node::new(styled(DIM, over)));
    if left_out > 0 {
        let steps = Counted(left_out, "step");
        node.push(Node::new(styled(DIM, format_args!("... {steps} before these, which are not kept"))));
    }
    let mut hidden = 0;
    let gap = |hidden: usize| Node::new(styled(DIM, format_args!("... {hidden} more, --all shows them")));
    for (place, step) in steps.iter().enumerate() {
        if !shown.contains(&place) {
            hidden += 1;
            continue;
        }
        if hidden > 0 {
            node.push(gap(std::mem::take(&mut hidden)));
        }
        let style = outcome_style(step.outcome);
        let pnl = styled(style, format_args!("{:>pnl_width$}", result(step.pnl)));
        let bar = styled(style, scale.bar(step));
        let equity = rounded(step.equity);
        let what = match &step.trade {
            Some(_) if step.amends.is_some() => format!("piece {:>4}", step.number),
            Some(_) => format!("trade {:>4}", step.number),
            None => "capital   ".to_owned(),
        };
        let (fall, at) = (step.drawdown * 100.0, time(step.closed_at));
        let at = if timed { format!("{at}  ") } else { String::new() };
        let place = styled(DIM, format_args!("{at}seq {}", step.seq));
        node.push(Node::new(format!("{what}  {pnl}  {bar}  {equity:>equity_width$}  {fall:>5.2} %  {place}")));
    }
    if hidden > 0 {
        node.push(gap(hidden));
    }
}

/// A trade's result with its sign, to the cent where it is large enough.
fn result(pnl: Amount) -> String {
    if pnl.is_negative() { rounded(pnl) } else { format!("+{}", rounded(pnl)) }
}

/// The places that are shown where not all are.
fn worth_showing(steps: &[Step]) -> BTreeSet<usize> {
    let count = steps.len();
    // A gap of one line would take the room of the trade it hides.
    if count <= FIRST + LAST + LARGEST + 2 {
        return (0..count).collect();
    }
    let mut between: Vec<usize> = (FIRST..count - LAST).collect();
    between.sort_by_key(|place| std::cmp::Reverse(steps.get(*place).map(|step| step.pnl.abs())));
    between.truncate(LARGEST);
    between.into_iter().chain(0..FIRST).chain(count - LAST..count).collect()
}

/// How wide the page is, where that can be known.
fn page() -> Option<usize> {
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let known = || ratatui::crossterm::terminal::size().ok().map(|(columns, _)| usize::from(columns));
    if io::stdout().is_terminal() { known() } else { asked }
}

/// Equity as columns of a bar.
struct Scale {
    low: f64,
    range: f64,
    columns: usize,
}

impl Scale {
    fn of(steps: &[Step], peak: Option<Amount>, columns: usize) -> Self {
        let ends = |step: &Step| [step.equity.to_f64(), step.equity.minus(step.pnl).to_f64()];
        let equities = || steps.iter().flat_map(ends).chain(peak.map(Amount::to_f64));
        let low = equities().fold(f64::INFINITY, f64::min);
        let high = equities().fold(f64::NEG_INFINITY, f64::max);
        Self { low, range: if high > low { high - low } else { 1.0 }, columns }
    }

    fn column(&self, equity: f64) -> usize {
        let share = (equity - self.low) / self.range;
        let last = u32::try_from(self.columns).map_or(0.0, f64::from);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "held between 0 and the last column"
        )]
        let column = (share * last).round().clamp(0.0, last) as usize;
        column
    }

    /// From the lower to the higher end of a trade: full where it won, half where it lost; a tick for nothing.
    fn bar(&self, step: &Step) -> String {
        let (before, after) = (step.equity.minus(step.pnl).to_f64(), step.equity.to_f64());
        let (from, to) = (self.column(before.min(after)), self.column(before.max(after)));
        let from = from.min(self.columns.saturating_sub(1));
        let (filled, sign) = match step.pnl {
            pnl if pnl.is_negative() => (to.saturating_sub(from).max(1), '▒'),
            pnl if pnl.is_positive() => (to.saturating_sub(from).max(1), '█'),
            _nothing => (1, '·'),
        };
        let bar: String = std::iter::repeat_n(' ', from).chain(std::iter::repeat_n(sign, filled)).collect();
        format!("{bar:<columns$}", columns = self.columns)
    }
}

#[cfg(test)]
mod tests {
    use ephor_events::Seq;
    use ephor_governance::trade::Outcome;
    use ephor_governance::units::Timestamp;

    use super::*;

    fn steps(results: &[i64]) -> Vec<Step> {
        let mut equity = 1_000;
        let step = |(number, pnl): (u32, &i64)| {
            equity += pnl;
            Step {
                seq: Seq(number.into()),
                trade: Some("t".parse().unwrap()),
                amends: None,
                instrument: None,
                number,
                closed_at: Timestamp::default(),
                pnl: Amount::from(*pnl),
                outcome: Some(if *pnl < 0 { Outcome::Loss } else { Outcome::Win }),
                equity: Amount::from(equity),
                drawdown: 0.0,
                loss_streak: 0,
            }
        };
        (1..).zip(results).map(step).collect()
    }

    #[test]
    fn a_bar_goes_from_the_equity_before_a_trade_to_the_one_after() {
        let steps = steps(&[-50, 25, 0, -75]);
        let scale = Scale::of(&steps, Some(Amount::from(1_000)), 10);
        let bars: Vec<String> = steps.iter().map(|step| scale.bar(step)).collect();
        assert_eq!(bars, ["     ▒▒▒▒▒", "     ███  ", "        · ", "▒▒▒▒▒▒▒▒  "]);
    }

    #[test]
    fn a_trade_too_small_for_the_scale_is_still_seen() {
        let steps = steps(&[-1, -100_000]);
        let scale = Scale::of(&steps, None, 12);
        assert_eq!(scale.bar(&steps[0]), "           ▒");
    }

    #[test]
    fn of_many_the_first_the_last_and_the_largest_are_shown() {
        let mut results = vec![-1; 300];
        results[100] = -500;
        results[200] = 400;
        let shown = worth_showing(&steps(&results));
        assert_eq!(shown.len(), FIRST + LAST + LARGEST);
        assert!([0, 5, 100, 200, 288, 299].iter().all(|place| shown.contains(place)), "{shown:?}");
        assert_eq!(worth_showing(&steps(&[-1; 26])).len(), 26);
        let mut node = Node::new("peak".to_owned());
        draw(&mut node, &steps(&results), 0, None, false);
        let text = node.text();
        let hidden: usize =
            text.lines().filter_map(|line| line.split("... ").nth(1)?.split(' ').next()?.parse::<usize>().ok()).sum();
        assert_eq!((text.matches("─ trade ").count(), hidden), (shown.len(), 300 - shown.len()), "{text}");
        let mut node = Node::new("peak".to_owned());
        draw(&mut node, &steps(&results), 0, None, true);
        assert_eq!(node.text().matches("─ trade ").count(), 300);
        assert!(!node.text().contains("not kept"));
        let mut node = Node::new("peak".to_owned());
        draw(&mut node, &steps(&results), 1_234, None, true);
        assert!(node.text().contains("... 1 234 steps before these, which are not kept"), "{}", node.text());
    }
}
