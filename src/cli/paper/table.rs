//! The table that is drawn while a run goes on: where each strategy stands, and what it was told last.
//!
//! Nothing is looked up here, and nothing here can change what is traded.

use ephor_governance::maturity::Level;
use ephor_governance::units::{Amount, Timestamp};
use ephor_governance::verdict::Action;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Cell, Paragraph, Row, Table, Wrap};

use crate::cli::print::{grouped, rounded, time};

/// Fewer columns or rows than these show nothing useful.
const COLUMNS_MIN: u16 = 40;
const ROWS_MIN: u16 = 5;
/// From so many columns on, each has room.
const COLUMNS_FULL: u16 = 110;
const COLUMNS_MIDDLE: u16 = 76;
/// Columns of the bar that shows how far it is.
const GAUGE: usize = 20;

/// A strategy as it stands.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) strategy: String,
    pub(super) level: Level,
    pub(super) is_paused: bool,
    pub(super) health: f64,
    pub(super) equity: Amount,
    pub(super) currency: String,
    pub(super) drawdown: f64,
    pub(super) position: Amount,
    /// What the gate said last, and its reason.
    pub(super) last: Option<(Action, String)>,
}

/// All that is shown.
#[derive(Clone, Debug)]
pub(super) struct View<'a> {
    /// The time of the bar.
    pub(super) at: Timestamp,
    /// Bars gone through, and how many there are where that is known.
    pub(super) bars: (u64, Option<u64>),
    pub(super) standings: &'a [Standing],
    pub(super) colours: bool,
}

impl View<'_> {
    fn painted(&self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    fn action(&self, action: Action) -> Style {
        match action {
            Action::Allow => self.painted(Color::Green),
            Action::ReduceSize => self.painted(Color::Yellow),
            Action::Block | Action::Demote | Action::Pause | Action::Kill => self.painted(Color::Red),
        }
    }
}

/// Draws the table.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View<'_>) {
    let area = frame.area();
    let Rect { width, height, .. } = area;
    if width < COLUMNS_MIN || height < ROWS_MIN {
        let said = format!("too small: {width}x{height}, at least {COLUMNS_MIN}x{ROWS_MIN} is needed; q quits");
        frame.render_widget(Paragraph::new(said).wrap(Wrap { trim: true }), area);
        return;
    }
    frame.render_widget(head(view), Rect { height: 1, ..area });
    table(frame, view, Rect { y: 2, height: height - 3, ..area });
    let foot = Line::styled("q quit: what was decided is recorded, the same command goes on", Modifier::DIM);
    frame.render_widget(foot, Rect { y: height - 1, height: 1, ..area });
}

fn head<'a>(view: &View<'_>) -> Line<'a> {
    let (done, all) = view.bars;
    let (gauge, of) = all.map_or_else(Default::default, |all| {
        let filled = usize::try_from(done.saturating_mul(GAUGE as u64) / all.max(1)).unwrap_or(GAUGE).min(GAUGE);
        let gauge = format!("  {}{}", "━".repeat(filled), "╌".repeat(GAUGE - filled));
        (gauge, format!(" of {}", grouped(all)))
    });
    let at = time(view.at);
    Line::from(vec![
        Span::styled("paper ", Modifier::BOLD),
        Span::raw(at.get(..16).unwrap_or(&at).to_owned()),
        Span::styled(format!("{gauge}  "), view.painted(Color::Green)),
        Span::styled(format!("bar {}{of}", grouped(done)), Modifier::DIM),
    ])
}

fn right<'a>(text: String) -> Text<'a> {
    Text::from(text).alignment(Alignment::Right)
}

/// Columns that a terminal of this width has room for: name, width, aligned to the right or not.
fn columns(width: u16) -> Vec<(&'static str, u16, bool)> {
    let all = [
        ("level", 6, false, 0),
        ("health", 6, true, 0),
        ("equity", 18, true, COLUMNS_MIDDLE),
        ("drawdown", 8, true, 0),
        ("position", 12, true, COLUMNS_FULL),
        ("last decision", 32, false, COLUMNS_MIDDLE),
    ];
    all.into_iter().filter(|(.., from)| width >= *from).map(|(name, wide, right, _)| (name, wide, right)).collect()
}

fn table(frame: &mut Frame<'_>, view: &View<'_>, place: Rect) {
    let columns = columns(place.width);
    let heading = columns.iter().map(|(name, _, is_right)| {
        let text = if *is_right { right((*name).to_owned()) } else { Text::from(*name) };
        Cell::from(text)
    });
    let header = Row::new(std::iter::once(Cell::from("strategy")).chain(heading)).style(Modifier::BOLD);
    let rows = view.standings.iter().map(|standing| {
        let cells = columns.iter().map(|(name, ..)| cell(view, standing, name));
        Row::new(std::iter::once(Cell::from(standing.strategy.clone())).chain(cells))
    });
    let widths = columns.iter().map(|(name, width, _)| match *name {
        "last decision" => Constraint::Min(12),
        _other => Constraint::Length(*width),
    });
    let names = view.standings.iter().map(|standing| standing.strategy.chars().count()).max().unwrap_or_default();
    let longest = u16::try_from(names).unwrap_or(u16::MAX).clamp(8, place.width / 3);
    let widths = std::iter::once(Constraint::Length(longest)).chain(widths);
    frame.render_widget(Table::new(rows, widths).header(header).column_spacing(2), place);
}

fn cell<'a>(view: &View<'_>, standing: &Standing, column: &str) -> Cell<'a> {
    match column {
        "level" => {
            let level = standing.level.as_str().get(..2).unwrap_or_default();
            if standing.is_paused {
                Cell::from(format!("{level} ‖")).style(view.painted(Color::Red))
            } else {
                Cell::from(level.to_owned())
            }
        }
        "health" => {
            let style = if standing.health < 0.5 { view.painted(Color::Red) } else { Style::new() };
            Cell::from(right(format!("{:.2}", standing.health))).style(style)
        }
        "equity" => Cell::from(right(format!("{} {}", rounded(standing.equity), standing.currency))),
        "drawdown" => Cell::from(right(format!("{:.1} %", standing.drawdown * 100.0))),
        "position" if standing.position.is_zero() => Cell::from(right("-".to_owned())),
        "position" => Cell::from(right(rounded(standing.position))),
        _last => match &standing.last {
            None => Cell::from(Span::styled("-", Modifier::DIM)),
            Some((action, reason)) => Cell::from(Line::from(vec![
                Span::styled(action.as_str(), view.action(*action)),
                Span::styled(format!("  {reason}"), Modifier::DIM),
            ])),
        },
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn shown(columns: u16, rows: u16) -> Vec<String> {
        let standing = |strategy: &str, is_paused| Standing {
            strategy: strategy.to_owned(),
            level: Level::Gated,
            is_paused,
            health: 0.4,
            equity: Amount::new(10_123_456, 2),
            currency: "USD".to_owned(),
            drawdown: 0.0345,
            position: Amount::from(-5_000),
            last: Some((Action::Block, "MATURITY_APPROVAL_REQUIRED".to_owned())),
        };
        let standings = [standing("breakout-EURUSD", false), standing("cross-GOOG", true)];
        let at = "2017-06-01T12:00:00Z".parse().unwrap();
        let view = View { at, bars: (50, Some(100)), standings: &standings, colours: true };
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        terminal.draw(|frame| draw(frame, &view)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let line = |y: u16| (0..columns).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..rows).map(line).collect()
    }

    #[test]
    fn a_wide_terminal_shows_every_column() {
        let lines = shown(120, 10);
        assert!(lines[0].starts_with("paper 2017-06-01 12:00  ━━━━━━━━━━╌╌╌╌╌╌╌╌╌╌  bar 50 of 100"), "{lines:#?}");
        for name in ["strategy", "level", "health", "equity", "drawdown", "position", "last decision"] {
            assert!(lines[2].contains(name), "{name}: {lines:#?}");
        }
        for value in ["L2", "0.40", "101 234.56 USD", "3.5 %", "-5 000", "block  MATURITY_APPROVAL_REQUIRED"] {
            assert!(lines[3].contains(value), "{value}: {lines:#?}");
        }
        assert!(lines[4].contains("L2 ‖"), "{lines:#?}");
        assert!(lines[9].starts_with("q quit"));
    }

    #[test]
    fn a_narrow_terminal_shows_what_matters_most_and_any_size_can_be_drawn() {
        let lines = shown(48, 8);
        assert!(lines[2].contains("level") && lines[2].contains("drawdown") && !lines[2].contains("equity"));
        assert!(shown(20, 4).concat().starts_with("too small"));
        for columns in [1, 40, 41, 76, 110, 300] {
            for rows in [1, 5, 6, 50] {
                shown(columns, rows);
            }
        }
    }
}
