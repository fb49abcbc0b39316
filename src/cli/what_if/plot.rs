//! A sweep as a picture: what the threshold costs, what it stops, whom it demotes.
//!
//! One panel a question, one above the other on the same axis, so that no scale hides another; names stand
//! beside the lines and never on them.

use std::path::Path;

use ephor_governance::ids::Currency;
use ephor_governance::units::Amount;
use ephor_replay::what_if::{Outcome, Report};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::sweep::Sweep;
use crate::cli::CliError;

const WIDTH: u32 = 900;
const PANEL_HEIGHT: u32 = 240;
const TITLE_HEIGHT: u32 = 64;
/// Room for the names of the lines, right of each panel.
const LEGEND_WIDTH: u32 = 120;

/// Told apart by people who do not see all colours (Okabe and Ito).
const COLOURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115), RGBColor(204, 121, 167)];
const GREY: RGBColor = RGBColor(110, 110, 110);

struct Line {
    name: &'static str,
    values: Vec<f64>,
    /// What history has.
    before: Option<f64>,
}

struct Panel {
    title: String,
    lines: Vec<Line>,
    /// Whether the scale begins at zero.
    from_zero: bool,
}

/// Draws a sweep into a file.
///
/// # Errors
/// [`CliError::File`] where it cannot be written.
pub(super) fn write(path: &Path, sweep: &Sweep, report: &Report) -> Result<(), CliError> {
    let panels = panels(&report.policies);
    let height = TITLE_HEIGHT + PANEL_HEIGHT * u32::try_from(panels.len()).unwrap_or(1);
    let mut drawn = String::new();
    draw(&mut drawn, height, sweep, &panels)
        .and_then(|()| std::fs::write(path, drawn))
        .map_err(|source| CliError::File { doing: "write", path: path.to_owned(), source })
}

#[expect(clippy::cast_precision_loss, reason = "a plot for people")]
fn panels(outcomes: &[Outcome]) -> Vec<Panel> {
    let share = |part: u64, outcome: &Outcome| match outcome.orders.decided {
        0 => 0.0,
        whole => part as f64 / whole as f64 * 100.0,
    };
    let line =
        |name, before, of: &dyn Fn(&Outcome) -> f64| Line { name, before, values: outcomes.iter().map(of).collect() };
    let first = outcomes.first();
    let mut panels: Vec<Panel> = Vec::new();
    let currencies: Vec<&Currency> = first.iter().flat_map(|outcome| outcome.sums.keys()).collect();
    for currency in currencies {
        let sums = |outcome: &Outcome| outcome.sums.get(currency).map(|sums| sums.pnl).unwrap_or_default();
        panels.push(Panel {
            title: format!("live realised P&L, {currency}"),
            lines: vec![line("P&L", alike(outcomes, &|it| sums(it).before.to_f64()), &|it| sums(it).after.to_f64())],
            from_zero: false,
        });
    }
    panels.push(Panel {
        title: "decisions that would have been otherwise, % of all".to_owned(),
        lines: vec![
            line("turned away", None, &|it| share(it.orders.blocked, it)),
            line("smaller", None, &|it| share(it.orders.reduced, it)),
            line("larger", None, &|it| share(it.orders.larger, it)),
            line("let through", None, &|it| share(it.orders.let_through, it)),
        ],
        from_zero: true,
    });
    panels.push(Panel {
        title: "promotions, demotions, pauses".to_owned(),
        lines: vec![
            line("promotions", first.map(|it| it.promotions.before as f64), &|it| it.promotions.after as f64),
            line("demotions", first.map(|it| it.demotions.before as f64), &|it| it.demotions.after as f64),
            line("pauses", first.map(|it| it.pauses.before as f64), &|it| it.pauses.after as f64),
        ],
        from_zero: true,
    });
    panels.push(Panel {
        title: "deepest drawdown of any strategy, %".to_owned(),
        lines: vec![line("drawdown", alike(outcomes, &|it| it.drawdown.before * 100.0), &|it| {
            it.drawdown.after * 100.0
        })],
        from_zero: true,
    });
    panels
}

/// What history has, where that is the same whatever the policy: the trades that are known on both sides are not
/// always.
fn alike(outcomes: &[Outcome], of: &dyn Fn(&Outcome) -> f64) -> Option<f64> {
    let first = outcomes.first().map(of)?;
    outcomes.iter().all(|outcome| of(outcome).to_bits() == first.to_bits()).then_some(first)
}

fn draw(into: &mut String, height: u32, sweep: &Sweep, panels: &[Panel]) -> std::io::Result<()> {
    let root = SVGBackend::with_string(into, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE).map_err(std::io::Error::other)?;
    let title = format!("History under {} from {} to {}", sweep.field, first(sweep), last(sweep));
    let root = root.titled(&title, ("sans-serif", 20)).map_err(std::io::Error::other)?;
    let key = "dashed: as recorded; dotted upright: the value in the policy that the sweep starts from";
    let root = root.titled(key, ("sans-serif", 13).into_font().color(&GREY)).map_err(std::io::Error::other)?;
    for (area, panel) in root.split_evenly((panels.len(), 1)).iter().zip(panels) {
        draw_panel(area, sweep, panel)?;
    }
    root.present().map_err(std::io::Error::other)
}

fn first(sweep: &Sweep) -> Amount {
    sweep.values.first().copied().unwrap_or_default()
}

fn last(sweep: &Sweep) -> Amount {
    sweep.values.last().copied().unwrap_or_default()
}

fn draw_panel(area: &DrawingArea<SVGBackend<'_>, Shift>, sweep: &Sweep, panel: &Panel) -> std::io::Result<()> {
    let values: Vec<f64> = sweep.values.iter().map(|value| value.to_f64()).collect();
    let (left, right) = padded(first(sweep).to_f64(), last(sweep).to_f64());
    let shown = panel.lines.iter().flat_map(|line| line.values.iter().copied().chain(line.before));
    let (low, high) = shown.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), it| (low.min(it), high.max(it)));
    // From zero, so that a small change looks small; results may be anywhere.
    let (low, high) = if panel.from_zero { (0.0, high.max(1.0) * 1.06) } else { padded(low, high) };
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(LEGEND_WIDTH)
        .caption(&panel.title, ("sans-serif", 15))
        .set_label_area_size(LabelAreaPosition::Left, 84)
        .set_label_area_size(LabelAreaPosition::Bottom, 26)
        .build_cartesian_2d(left..right, low..high)
        .map_err(std::io::Error::other)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GREY.mix(0.2))
        .x_labels(10)
        .y_labels(5)
        .label_style(("sans-serif", 12))
        .x_label_formatter(&|value| figure(*value))
        .y_label_formatter(&|value| figure(*value))
        .draw()
        .map_err(std::io::Error::other)?;
    for (line, colour) in panel.lines.iter().zip(COLOURS) {
        let points = || values.iter().copied().zip(line.values.iter().copied());
        chart.draw_series(LineSeries::new(points(), colour.stroke_width(2))).map_err(std::io::Error::other)?;
        chart
            .draw_series(points().map(|point| Circle::new(point, 3, colour.filled())))
            .map_err(std::io::Error::other)?;
        if let Some(before) = line.before {
            let history =
                DashedLineSeries::new([(left, before), (right, before)], 6, 4, colour.mix(0.6).stroke_width(1));
            chart.draw_series(history).map_err(std::io::Error::other)?;
        }
    }
    let base = sweep.base.to_f64();
    if base >= left && base <= right {
        let upright = DashedLineSeries::new([(base, low), (base, high)], 2, 3, GREY.stroke_width(1));
        chart.draw_series(upright).map_err(std::io::Error::other)?;
    }
    let width = i32::try_from(WIDTH - LEGEND_WIDTH).unwrap_or_default();
    for ((line, colour), row) in panel.lines.iter().zip(COLOURS).zip(0..) {
        let (x, y) = (width + 8, 40 + row * 18);
        let sample = PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2));
        area.draw(&sample).map_err(std::io::Error::other)?;
        let name = Text::new(line.name, (x + 24, y - 6), ("sans-serif", 12));
        area.draw(&name).map_err(std::io::Error::other)?;
    }
    Ok(())
}

/// A range with a little room on both sides, never empty.
fn padded(low: f64, high: f64) -> (f64, f64) {
    let room = if high > low { (high - low) * 0.04 } else { low.abs().max(1.0) * 0.1 };
    (low - room, high + room)
}

/// A number on an axis: no float noise, no more digits than it needs.
fn figure(value: f64) -> String {
    let digits = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 1.0 {
        2
    } else {
        6
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text };
    if text == "-0" { "0".to_owned() } else { text }
}
