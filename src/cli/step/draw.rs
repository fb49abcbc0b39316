//! The view as a picture: what stands where, and how it looks.
//!
//! Nothing is looked up here. A terminal that is too small is told so instead of drawn on badly.

use anstyle::{AnsiColor, Color as Ansi, Effects};
use ephor_replay::timeline::Figures;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

use super::fields::Field;
use super::model::{Choice, JUMPS, Over};
use crate::cli::print::{BAD, BOLD, DIM, GOOD, WARN, grouped};

/// Fewer columns or rows than these show nothing useful.
const COLUMNS_MIN: u16 = 40;
const ROWS_MIN: u16 = 12;
/// From so many columns on, events and state stand side by side.
const COLUMNS_WIDE: u16 = 72;
/// Rows for the whole sentence of the event in focus.
const SENTENCE_ROWS: u16 = 3;
/// Columns for the names beside the plots, and for the names of fields.
const NAMES: u16 = 24;
const FIELD_NAMES: usize = 14;

/// An event as a line of the list.
pub(super) struct Row {
    pub(super) seq: u64,
    pub(super) at: String,
    pub(super) sentence: String,
    pub(super) style: anstyle::Style,
    /// Whether it is the one in focus.
    pub(super) here: bool,
}

/// All that is shown.
pub(super) struct View<'a> {
    pub(super) strategy: &'a str,
    pub(super) level: &'a str,
    pub(super) version: u64,
    pub(super) last: u64,
    /// Which of how many events shown; `None` where all are.
    pub(super) filtered: Option<(u64, u64, String)>,
    /// The event in focus, as the consumers know its type.
    pub(super) name: &'a str,
    pub(super) rows: &'a [Row],
    pub(super) fields: &'a [Field],
    pub(super) figures: &'a [Figures],
    /// Which of the figures hold at the event in focus.
    pub(super) figures_here: Option<usize>,
    pub(super) over: &'a Over,
    pub(super) said: Option<&'a str>,
    pub(super) colours: bool,
}

/// Where everything stands.
pub(super) struct Places {
    head: Rect,
    events: Rect,
    sentence: Rect,
    state: Rect,
    plots: Rect,
    foot: Rect,
    side_by_side: bool,
}

impl Places {
    /// `None` where the terminal is too small.
    pub(super) fn of(columns: u16, rows: u16) -> Option<Self> {
        if columns < COLUMNS_MIN || rows < ROWS_MIN {
            return None;
        }
        let side_by_side = columns >= COLUMNS_WIDE;
        // A rule stands above the plots; where there is no room, the events and the state are worth more.
        let plots_rows = if rows >= 18 { 4 } else { 0 };
        let body_rows = rows - 2 - plots_rows;
        let plots = Rect::new(0, 1 + body_rows, columns, plots_rows);
        let (left, events_rows) =
            if side_by_side { (columns - (columns / 2).min(44) - 1, body_rows) } else { (columns, body_rows / 2) };
        let sentence_rows = if side_by_side { SENTENCE_ROWS + 1 } else { 2 };
        let events = Rect::new(0, 1, left, events_rows - sentence_rows);
        let sentence = Rect::new(0, 1 + events.height, left, sentence_rows);
        let state = if side_by_side {
            Rect::new(left + 1, 1, columns - left - 1, body_rows)
        } else {
            Rect::new(0, 1 + events_rows, columns, body_rows - events_rows)
        };
        let (head, foot) = (Rect::new(0, 0, columns, 1), Rect::new(0, rows - 1, columns, 1));
        Some(Self { head, events, sentence, state, plots, foot, side_by_side })
    }

    /// How many events have room.
    pub(super) const fn events(&self) -> u64 {
        self.events.height as u64
    }

    /// How many changes of the figures have room.
    pub(super) const fn figures(&self) -> usize {
        if self.plots.height == 0 { 0 } else { self.plots.width.saturating_sub(NAMES) as usize }
    }
}

/// Says that the terminal is too small.
pub(super) fn too_small(frame: &mut Frame<'_>) {
    let Rect { width, height, .. } = frame.area();
    let said = format!("too small: {width}x{height}, at least {COLUMNS_MIN}x{ROWS_MIN} is needed");
    frame.render_widget(Paragraph::new(said).wrap(Wrap { trim: true }), frame.area());
}

/// Draws the view.
pub(super) fn view(frame: &mut Frame<'_>, view: &View<'_>, places: &Places) {
    let paint = Paint { colours: view.colours };
    frame.render_widget(head(view, &paint), places.head);
    frame.render_widget(text(view.rows.iter().map(|row| line(row, &paint))), places.events);
    sentence(frame, view, places, &paint);
    if places.side_by_side {
        let rule = Rect::new(places.state.x - 1, places.state.y, 1, places.state.height);
        let bars = (0..rule.height).map(|_| Line::styled("│", paint.of(DIM)));
        frame.render_widget(text(bars), rule);
    }
    state(frame, view, places.state, !places.side_by_side, &paint);
    plots(frame, view, places.plots, &paint);
    frame.render_widget(foot(view, &paint), places.foot);
    match view.over {
        Over::Nothing | Over::GoTo(_) => {}
        Over::Help => help(frame, &paint),
        Over::Types(choice) => types(frame, choice, &paint),
    }
}

/// Styles, without their colours where nobody wants them.
struct Paint {
    colours: bool,
}

impl Paint {
    fn of(&self, style: anstyle::Style) -> Style {
        let mut painted = Style::new();
        let effects = style.get_effects();
        if effects.contains(Effects::BOLD) {
            painted = painted.add_modifier(Modifier::BOLD);
        }
        if effects.contains(Effects::DIMMED) {
            painted = painted.add_modifier(Modifier::DIM);
        }
        let colour = match style.get_fg_color() {
            Some(Ansi::Ansi(AnsiColor::Red)) => Some(Color::Red),
            Some(Ansi::Ansi(AnsiColor::Green)) => Some(Color::Green),
            Some(Ansi::Ansi(AnsiColor::Yellow)) => Some(Color::Yellow),
            Some(_) | None => None,
        };
        match colour.filter(|_| self.colours) {
            Some(colour) => painted.fg(colour),
            None => painted,
        }
    }

    fn focus(&self, style: anstyle::Style) -> Style {
        self.of(style).add_modifier(Modifier::REVERSED)
    }
}

fn text<'a>(lines: impl Iterator<Item = Line<'a>>) -> Text<'a> {
    lines.collect()
}

fn head<'a>(view: &View<'a>, paint: &Paint) -> Line<'a> {
    let mut parts = vec![
        Span::styled(view.strategy, paint.of(BOLD)),
        Span::raw(format!("  {}  ", view.level)),
        Span::raw(format!("v{} of {}", view.version, view.last)),
    ];
    if let Some(here) = view.rows.iter().find(|row| row.here) {
        parts.push(Span::raw(format!("  seq {}  {}", here.seq, here.at)));
    }
    Line::from(parts)
}

fn line<'a>(row: &'a Row, paint: &Paint) -> Line<'a> {
    let style = if row.here { paint.focus(row.style) } else { paint.of(row.style) };
    let place = if row.here { style } else { paint.of(DIM) };
    let mark = if row.here { '>' } else { ' ' };
    Line::from(vec![Span::styled(format!("{mark}{:>7} ", row.seq), place), Span::styled(&*row.sentence, style)])
}

/// The event in focus with all it says.
fn sentence(frame: &mut Frame<'_>, view: &View<'_>, places: &Places, paint: &Paint) {
    let Some(row) = view.rows.iter().find(|row| row.here) else { return };
    let title = match &view.filtered {
        Some((place, count, types)) => format!("{} ({} of {} {types})", view.name, grouped(*place), grouped(*count)),
        None => view.name.to_owned(),
    };
    let block = Block::new().title(Span::styled(format!("─ {title} "), paint.of(BOLD)));
    let said = Paragraph::new(Span::styled(&*row.sentence, paint.of(row.style))).wrap(Wrap { trim: true });
    frame.render_widget(said.block(block), places.sentence);
}

fn state(frame: &mut Frame<'_>, view: &View<'_>, place: Rect, ruled: bool, paint: &Paint) {
    let mut place = place;
    if ruled && place.height > 0 {
        frame.render_widget(Line::styled("─ state ", paint.of(BOLD)), Rect { height: 1, ..place });
        place = Rect { y: place.y + 1, height: place.height - 1, ..place };
    }
    // Where not every field has room, the changed ones come before the rest.
    let room = usize::from(place.height);
    let hides = view.fields.len() > room;
    let room = room - usize::from(hides);
    let changed = view.fields.iter().filter(|field| field.was.is_some()).count();
    let mut others = room.saturating_sub(changed);
    let shown = view.fields.iter().filter(|field| {
        let stays = field.was.is_some() || others > 0;
        others -= usize::from(stays && field.was.is_none());
        stays
    });
    let lines = shown.take(room).map(|field| {
        let name = format!("{:<FIELD_NAMES$}", field.name);
        match &field.was {
            None => Line::from(vec![Span::styled(format!("  {name}"), paint.of(DIM)), Span::raw(&*field.shown)]),
            Some(was) => {
                let was = if *was == field.shown { ", was near it".to_owned() } else { format!(", was {was}") };
                let value = Span::styled(&*field.shown, paint.of(WARN.bold()));
                Line::from(vec![
                    Span::styled(format!("* {name}"), paint.of(WARN)),
                    value,
                    Span::styled(was, paint.of(DIM)),
                ])
            }
        }
    });
    let more = hides.then(|| {
        let said = format!("  {} fields more have no room", view.fields.len().saturating_sub(room));
        Line::styled(said, paint.of(DIM))
    });
    frame.render_widget(text(lines.chain(more)), place);
}

fn plots(frame: &mut Frame<'_>, view: &View<'_>, place: Rect, paint: &Paint) {
    if place.height < 4 {
        return;
    }
    let rule = "─".repeat(usize::from(place.width));
    frame.render_widget(Line::styled(rule, paint.of(DIM)), Rect { height: 1, ..place });
    let health = |figures: &Figures| f64::from(figures.health);
    let equity = |figures: &Figures| f64::from(figures.equity);
    let drawdown = |figures: &Figures| f64::from(figures.drawdown);
    let here = view.figures_here.and_then(|here| view.figures.get(here));
    let now = |of: &dyn Fn(&Figures) -> String| here.map_or_else(|| "-".to_owned(), of);
    let equities = || view.figures.iter().map(equity);
    let (low, high) = (equities().fold(f64::INFINITY, f64::min), equities().fold(f64::NEG_INFINITY, f64::max));
    let deepest = view.figures.iter().map(drawdown).fold(0.0, f64::max);
    let mut plot = |row: u16, name: &str, value: String, style, heights: Vec<f64>| {
        let at = Rect { y: place.y + row, height: 1, ..place };
        let mut spans = vec![Span::raw(format!("{name:<9}{value:>13}  "))];
        for (index, height) in heights.into_iter().enumerate() {
            let style = if view.figures_here == Some(index) { paint.focus(style) } else { paint.of(style) };
            spans.push(Span::styled(bar(height), style));
        }
        frame.render_widget(Line::from(spans), at);
    };
    let heights = |of: &dyn Fn(&Figures) -> f64| view.figures.iter().map(of).collect::<Vec<f64>>();
    plot(1, "health", now(&|one| format!("{:.3}", one.health)), GOOD, heights(&health));
    let range = if high > low { high - low } else { 1.0 };
    plot(
        2,
        "equity",
        now(&|one| format!("{:.2}", one.equity)),
        anstyle::Style::new(),
        heights(&|one| (equity(one) - low) / range),
    );
    let deepest = if deepest > 0.0 { deepest } else { 1.0 };
    plot(
        3,
        "drawdown",
        now(&|one| format!("{:.2} %", one.drawdown * 100.0)),
        BAD,
        heights(&|one| drawdown(one) / deepest),
    );
}

/// A bar of a height from 0 to 1.
fn bar(height: f64) -> &'static str {
    const BARS: [&str; 8] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "held between 0 and 7")]
    let step = (height * 7.0).round().clamp(0.0, 7.0) as usize;
    BARS.get(step).copied().unwrap_or("▁")
}

fn foot<'a>(view: &View<'a>, paint: &Paint) -> Line<'a> {
    if let Over::GoTo(text) = view.over {
        return Line::from(vec![
            Span::styled("go to ", paint.of(BOLD)),
            Span::raw(&**text),
            Span::styled(" ", Style::new().add_modifier(Modifier::REVERSED)),
            Span::styled("  a seq, v and a version, or a time", paint.of(DIM)),
        ]);
    }
    match view.said {
        Some(said) => Line::styled(said, paint.of(WARN)),
        None => Line::styled("←→ step  PgUp PgDn  n demotion  f filter  g go to  ? keys  q quit", paint.of(DIM)),
    }
}

/// A box in the middle with these lines.
fn boxed(frame: &mut Frame<'_>, title: &str, mut lines: Vec<Line<'_>>, paint: &Paint) {
    let area = frame.area();
    let room = usize::from(area.height).saturating_sub(2);
    if lines.len() > room {
        let hidden = lines.len() - room + 1;
        lines.truncate(room.saturating_sub(1));
        lines.push(Line::styled(format!("{hidden} more have no room"), paint.of(DIM)));
    }
    let widest = lines.iter().map(Line::width).max().unwrap_or_default().max(title.len() + 2);
    let width = u16::try_from(widest + 4).unwrap_or(u16::MAX).min(area.width);
    let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX).min(area.height);
    let place = Rect::new((area.width - width) / 2, (area.height - height) / 2, width, height);
    let block = Block::bordered().title(Span::styled(format!(" {title} "), paint.of(BOLD)));
    frame.render_widget(Clear, place);
    let padded = lines.into_iter().map(|line| {
        let mut spans = vec![Span::raw(" ")];
        spans.extend(line.spans);
        Line::from(spans)
    });
    frame.render_widget(Paragraph::new(text(padded)).block(block), place);
}

fn help(frame: &mut Frame<'_>, paint: &Paint) {
    let mut keys: Vec<(String, String)> = [
        ("← → ↑ ↓  h j k l", "one event back, on"),
        ("PgUp PgDn  b v", "a page back, on"),
        ("Home End  < >", "the first, the last event"),
    ]
    .map(|(key, what)| (key.to_owned(), what.to_owned()))
    .into();
    for jump in &JUMPS {
        keys.push((format!("{} {}", jump.key, jump.key.to_ascii_uppercase()), format!("next, previous {}", jump.what)));
    }
    keys.extend(
        [
            ("g", "go to a seq, a version (v12) or a time"),
            ("f  /", "show only some types of events"),
            ("?", "these keys"),
            ("q  Esc  ctrl-C", "quit"),
        ]
        .map(|(key, what)| (key.to_owned(), what.to_owned())),
    );
    let line = |(key, what): (String, String)| {
        Line::from(vec![Span::styled(format!("{key:<17}"), paint.of(BOLD)), Span::raw(what)])
    };
    boxed(frame, "keys", keys.into_iter().map(line).collect(), paint);
}

fn types(frame: &mut Frame<'_>, choice: &Choice, paint: &Paint) {
    let room = usize::from(frame.area().height).saturating_sub(4).max(1);
    let first = (choice.at + 1).saturating_sub(room);
    let rows = choice.types.iter().enumerate().skip(first).take(room).map(|(place, (name, count, shown))| {
        let chosen = if *shown { "[x]" } else { "[ ]" };
        let said = format!("{chosen} {name:<21}{:>9}", grouped(*count));
        let style = if place == choice.at { paint.focus(anstyle::Style::new()) } else { Style::new() };
        Line::styled(said, style)
    });
    // A line's own style would be lost with the padding: it goes to its spans.
    let rows = rows
        .map(|line| Line::from(line.spans.into_iter().map(|span| span.patch_style(line.style)).collect::<Vec<_>>()));
    let mut lines: Vec<Line<'_>> = rows.collect();
    lines.push(Line::styled("space chooses, Enter shows, a shows all", Style::new()));
    boxed(frame, "show only", lines, paint);
}

#[cfg(test)]
mod tests {
    use ephor_events::Version;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn shown(columns: u16, rows: u16, over: &Over, colours: bool) -> ratatui::buffer::Buffer {
        let row = |seq: u64| Row {
            seq,
            at: "2012-02-15 23:55:00".to_owned(),
            sentence: format!("demoted from L1_paper to L0_shadow \u{1b}[31m\u{7} 例え {}", "x".repeat(200)),
            style: BAD,
            here: seq == 3,
        };
        let field =
            |was: Option<&str>| Field { name: "profit factor", shown: "1.234".repeat(20), was: was.map(str::to_owned) };
        let fields: Vec<Field> = (0..32).map(|place| field((place % 2 == 1).then_some("1.1"))).collect();
        let figures = |place: u16| Figures {
            version: Version(place.into()),
            health: f32::from(place) / 100.0,
            equity: if place == 7 { f32::NAN } else { f32::from(place) * 1e30 },
            drawdown: 0.5,
        };
        let rows_shown: Vec<Row> = (1..60).map(row).collect();
        let figures: Vec<Figures> = (0..columns).map(figures).collect();
        let view = View {
            strategy: "a-strategy-with-a-name-that-goes-on-and-on-and-on-and-on",
            level: "L0_shadow",
            version: 3,
            last: u64::MAX,
            filtered: Some((3, 4, "TradeClosed".to_owned())),
            name: "MaturityTransitioned",
            rows: &rows_shown,
            fields: &fields,
            figures: &figures,
            figures_here: Some(5),
            over,
            said: None,
            colours,
        };
        let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
        terminal
            .draw(|frame| match Places::of(columns, rows) {
                Some(places) => super::view(frame, &view, &places),
                None => too_small(frame),
            })
            .unwrap();
        terminal.backend().buffer().clone()
    }

    fn text(buffer: &ratatui::buffer::Buffer) -> String {
        buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect()
    }

    #[test]
    fn every_size_takes_everything_that_can_be_shown() {
        let types = Choice { types: vec![("MaturityTransitioned", u64::MAX, true); 20], at: 19 };
        let overs = [Over::Nothing, Over::Help, Over::Types(types), Over::GoTo("x".repeat(64))];
        for columns in [1, 2, 39, 40, 41, 60, 71, 72, 73, 80, 81, 132, 300] {
            for rows in [1, 2, 3, 11, 12, 13, 17, 18, 19, 24, 50, 100] {
                for over in &overs {
                    let drawn = text(&shown(columns, rows, over, true));
                    assert!(!drawn.contains(char::is_control), "{columns}x{rows}");
                    if *over == Over::Nothing {
                        let large = columns >= COLUMNS_MIN && rows >= ROWS_MIN;
                        assert_eq!(drawn.contains("a-strategy"), large, "{columns}x{rows}");
                    }
                }
            }
        }
    }

    #[test]
    fn changed_fields_come_before_the_others_where_there_is_no_room_for_all() {
        let drawn = text(&shown(80, 24, &Over::Nothing, true));
        assert_eq!(drawn.matches("* profit factor").count(), 16, "all that changed, and");
        assert!(drawn.contains("15 fields more have no room"), "{drawn}");
    }

    #[test]
    fn without_colours_the_same_is_said_in_black_and_white() {
        let (plain, coloured) = (shown(80, 24, &Over::Nothing, false), shown(80, 24, &Over::Nothing, true));
        assert_eq!(text(&plain), text(&coloured));
        let colours = |buffer: &ratatui::buffer::Buffer| {
            buffer.content().iter().filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
        };
        assert_eq!(colours(&plain), 0);
        assert!(colours(&coloured) > 100);
    }
}
