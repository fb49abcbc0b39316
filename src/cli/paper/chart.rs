//! An equity curve as SVG: the curve, the levels under it, and what changed upon it.
//!
//! Written by hand and not by a plotting library, because one drawing has to serve a file of its own and a page, in the
//! light and in the dark: colours are classes here, and what they are stands in one style sheet. Marks differ in shape
//! as well as in colour.

use std::fmt::Write as _;

use ephor_governance::maturity::Level;
use ephor_governance::units::{Amount, Timestamp};

use crate::cli::print;
use crate::paper::Point;

/// The drawing's own measures; it is scaled to whatever room there is.
const WIDTH: f64 = 380.0;
const HEIGHT: f64 = 222.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 371.0;
const TOP: f64 = 18.0;
const BOTTOM: f64 = 176.0;
/// The ribbon of levels.
const RIBBON_TOP: f64 = 184.0;
const RIBBON_HEIGHT: f64 = 14.0;
const DATES: f64 = 216.0;
/// Points of a curve that can be told apart; of more, the lowest and the highest of each stretch are drawn.
const POINTS_MAX: usize = 720;
/// A name of a level needs this much room.
const NAME_WIDTH: f64 = 18.0;

/// What colours are, for a file of its own as for a page.
pub(super) const STYLE: &str = "\
:root{--ink:#1c2430;--soft:#5b6675;--line:#d5dbe3;--curve:#0b5fa5;--good:#1a7f37;--bad:#c62828;--warn:#8a6100;\
--hold:#f3d9a4;--l0:#eef2f6;--l1:#cfdeee;--l2:#9cc0e2;--l3:#4a8cc7;--l4:#0b4f8a;--paper:#fff;--card:#fff}\
@media (prefers-color-scheme:dark){:root{--ink:#e6ebf2;--soft:#a3adba;--line:#333c48;--curve:#6cb6ff;--good:#56d364;\
--bad:#ff7b72;--warn:#e3b341;--hold:#4d3b12;--l0:#1d242d;--l1:#243a52;--l2:#2b5580;--l3:#3f86c6;--l4:#8fc7ff;\
--paper:#11161d;--card:#171d26}}\
.chart text{font:11px system-ui,sans-serif;fill:var(--soft)}.chart .grid{stroke:var(--line);stroke-width:1}\
.chart .start{stroke:var(--soft);stroke-width:1;stroke-dasharray:3 3}\
.chart .curve{fill:none;stroke:var(--curve);stroke-width:1.6;stroke-linejoin:round}\
.chart .hold{fill:var(--hold)}.chart .up{fill:var(--good)}.chart .down{fill:var(--bad)}.chart .set{fill:var(--warn)}\
.chart .mark{stroke:var(--card);stroke-width:1}\
.chart .l0{fill:var(--l0)}.chart .l1{fill:var(--l1)}.chart .l2{fill:var(--l2)}.chart .l3{fill:var(--l3)}\
.chart .l4{fill:var(--l4)}\
.chart text.n0,.chart text.n1{fill:var(--ink)}\
@media (prefers-color-scheme:dark){.chart text.n2{fill:#fff}.chart text.n3{fill:#fff}.chart text.n4{fill:#0b1a28}}\
@media (prefers-color-scheme:light){.chart text.n2{fill:#10202f}.chart text.n3{fill:#fff}.chart text.n4{fill:#fff}}";

/// Which way something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// Up a level.
    Up,
    /// Down a level or more.
    Down,
    /// By hand.
    Set,
    /// It stands still from here on.
    Paused,
    /// It goes on.
    Resumed,
}

/// Something that changed what a strategy may do.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) at: Timestamp,
    pub(super) sign: Sign,
    /// `L1→L2`, or one word.
    pub(super) label: String,
    /// The sentence.
    pub(super) said: String,
}

/// One strategy's curve with what belongs to it.
#[derive(Clone, Debug)]
pub(super) struct Strand<'a> {
    pub(super) strategy: &'a str,
    pub(super) currency: &'a str,
    pub(super) capital: Amount,
    pub(super) points: &'a [Point],
    pub(super) marks: Vec<Mark>,
    /// Each level it entered, in order.
    pub(super) levels: Vec<(Timestamp, Level)>,
}

/// Text that means nothing to a parser.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

/// Where times and amounts stand in the drawing.
struct Scale {
    first: Timestamp,
    last: Timestamp,
    low: f64,
    high: f64,
}

impl Scale {
    fn of(strand: &Strand<'_>) -> Option<Self> {
        let (first, last) = (strand.points.first()?.at, strand.points.last()?.at);
        let values = strand.points.iter().map(|point| point.equity.to_f64()).chain([strand.capital.to_f64()]);
        let (low, high) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), it| (low.min(it), high.max(it)));
        let room = if high > low { (high - low) * 0.06 } else { high.abs().max(1.0) * 0.05 };
        Some(Self { first, last, low: low - room, high: high + room })
    }

    #[expect(clippy::cast_precision_loss, reason = "a place in a drawing")]
    fn x(&self, at: Timestamp) -> f64 {
        let whole = self.last.nanos().saturating_sub(self.first.nanos()).max(1) as f64;
        let part = at.nanos().saturating_sub(self.first.nanos()) as f64;
        LEFT + (RIGHT - LEFT) * (part / whole).clamp(0.0, 1.0)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }
}

/// The drawing as an element of a page; nothing where there is no point.
pub(super) fn element(strand: &Strand<'_>) -> String {
    let Some(scale) = Scale::of(strand) else { return String::new() };
    let mut svg = format!(
        "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"Equity of {}\">",
        escaped(strand.strategy)
    );
    holds(&mut svg, strand, &scale);
    grid(&mut svg, strand, &scale);
    add(&mut svg, format_args!("<path class=\"curve\" d=\"{}\"/>", path(strand.points, &scale)));
    ribbon(&mut svg, strand, &scale);
    marks(&mut svg, strand, &scale);
    svg.push_str("</svg>\n");
    svg
}

/// The drawing as a file of its own.
pub(super) fn file(strand: &Strand<'_>) -> String {
    let title = format!("<title>Equity of {}, {}</title>", escaped(strand.strategy), escaped(strand.currency));
    let style =
        format!("{title}<style>{STYLE}</style><rect width=\"100%\" height=\"100%\" style=\"fill:var(--paper)\"/>");
    match element(strand).split_once('>') {
        Some((head, rest)) => format!("{head} width=\"760\" height=\"444\">{style}{rest}"),
        None => format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1 1\">{title}</svg>\n"),
    }
}

/// Adds to a text. Writing into a string does not fail.
pub(super) fn add(to: &mut String, what: std::fmt::Arguments<'_>) {
    let _written = to.write_fmt(what).is_ok();
}

/// Where it stood still.
fn holds(svg: &mut String, strand: &Strand<'_>, scale: &Scale) {
    let mut since: Option<Timestamp> = None;
    let mut held = Vec::new();
    for mark in &strand.marks {
        match mark.sign {
            Sign::Paused => since = since.or(Some(mark.at)),
            Sign::Resumed => held.extend(since.take().map(|since| (since, mark.at))),
            Sign::Up | Sign::Down | Sign::Set => {}
        }
    }
    held.extend(since.map(|since| (since, scale.last)));
    for (from, to) in held {
        let (left, right) = (scale.x(from), scale.x(to));
        let (width, height) = ((right - left).max(1.0), BOTTOM - TOP);
        let (from, to) = (print::time(from), print::time(to));
        add(
            svg,
            format_args!(
                "<rect class=\"hold\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\">\
                 <title>paused {from} to {to}</title></rect>"
            ),
        );
    }
}

fn grid(svg: &mut String, strand: &Strand<'_>, scale: &Scale) {
    for value in ticks(scale.low, scale.high) {
        let y = scale.y(value);
        add(
            svg,
            format_args!(
                "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{RIGHT}\" y2=\"{y:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 5.0,
                y + 3.5,
                short(value)
            ),
        );
    }
    let start = scale.y(strand.capital.to_f64());
    add(
        svg,
        format_args!(
            "<line class=\"start\" x1=\"{LEFT}\" y1=\"{start:.1}\" x2=\"{RIGHT}\" y2=\"{start:.1}\">\
             <title>allocated capital</title></line>"
        ),
    );
    add(svg, format_args!("<text x=\"2\" y=\"11\">{}</text>", escaped(strand.currency)));
    let middle = Timestamp::from_nanos(scale.first.nanos() / 2 + scale.last.nanos() / 2);
    for (at, anchor) in [(scale.first, "start"), (middle, "middle"), (scale.last, "end")] {
        let date = print::time(at);
        let date = date.get(..10).unwrap_or(&date);
        add(svg, format_args!("<text x=\"{:.1}\" y=\"{DATES}\" text-anchor=\"{anchor}\">{date}</text>", scale.x(at)));
    }
}

/// A few round values within a range.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let step = {
        let rough = (high - low) / 4.0;
        let power = 10_f64.powf(rough.log10().floor());
        let round = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|times| times * power >= rough);
        round.unwrap_or(10.0) * power
    };
    let first = (low / step).ceil();
    let values = (0..8).map(|number| (first + f64::from(number)) * step);
    values.take_while(|value| *value <= high).collect()
}

/// An amount where there is little room.
fn short(value: f64) -> String {
    let (value, unit) = if value.abs() >= 1e6 {
        (value / 1e6, "M")
    } else if value.abs() >= 1e4 {
        (value / 1e3, "k")
    } else {
        (value, "")
    };
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{}{unit}", if text == "-0" { "0" } else { text })
}

fn path(points: &[Point], scale: &Scale) -> String {
    let place = |point: &Point| (scale.x(point.at), scale.y(point.equity.to_f64()));
    let stretch = points.len().div_ceil(POINTS_MAX / 2).max(1);
    let mut path = String::new();
    for stretch in points.chunks(stretch) {
        let by = |one: &&Point, other: &&Point| one.equity.cmp(&other.equity);
        let mut ends: Vec<&Point> = if stretch.len() < 3 {
            stretch.iter().collect()
        } else {
            stretch.iter().min_by(by).into_iter().chain(stretch.iter().max_by(by)).collect()
        };
        ends.sort_by_key(|point| point.at);
        for point in ends {
            let (x, y) = place(point);
            let command = if path.is_empty() { 'M' } else { 'L' };
            add(&mut path, format_args!("{command}{x:.1} {y:.1}"));
        }
    }
    if let Some(last) = points.last() {
        let (x, y) = place(last);
        add(&mut path, format_args!("L{x:.1} {y:.1}"));
    }
    path
}

fn ribbon(svg: &mut String, strand: &Strand<'_>, scale: &Scale) {
    let ends = strand.levels.iter().skip(1).map(|(at, _)| *at).chain([scale.last]);
    for ((from, level), to) in strand.levels.iter().zip(ends) {
        let (left, right) = (scale.x(*from), scale.x(to));
        let width = (right - left).max(0.5);
        let number = *level as u8;
        add(
            svg,
            format_args!(
                "<rect class=\"l{number}\" x=\"{left:.1}\" y=\"{RIBBON_TOP}\" width=\"{width:.1}\" \
                 height=\"{RIBBON_HEIGHT}\"><title>{} from {}</title></rect>",
                level.as_str(),
                print::time(*from)
            ),
        );
        if width >= NAME_WIDTH {
            add(
                svg,
                format_args!(
                    "<text class=\"n{number}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">L{number}</text>",
                    left + width / 2.0,
                    RIBBON_TOP + 11.0
                ),
            );
        }
    }
}

fn marks(svg: &mut String, strand: &Strand<'_>, scale: &Scale) {
    for mark in &strand.marks {
        // The value at the mark: that of the last point that is not after it.
        let upto = strand.points.partition_point(|point| point.at <= mark.at);
        let value = strand.points.get(upto.saturating_sub(1)).map_or(strand.capital, |point| point.equity);
        let (x, y) = (scale.x(mark.at), scale.y(value.to_f64()));
        let (class, shape) = match mark.sign {
            Sign::Up => ("up", "m0 -6 5 9h-10z"),
            Sign::Down => ("down", "m0 6 5 -9h-10z"),
            Sign::Set => ("set", "m0 -5 5 5 -5 5 -5 -5z"),
            Sign::Paused => ("set", "m-4 -5h3v10h-3zm5 0h3v10h-3z"),
            Sign::Resumed => ("up", "m-3 -5 8 5 -8 5z"),
        };
        add(
            svg,
            format_args!(
                "<path class=\"mark {class}\" d=\"M{x:.1} {y:.1}{shape}\"><title>{} {}: {}</title></path>",
                print::time(mark.at),
                escaped(&mark.label),
                escaped(&mark.said)
            ),
        );
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two thousand bars that climb, fall and climb; four changes on the way.
    pub(in crate::cli::paper) fn points() -> Vec<Point> {
        let wave = |n: i64| (n * n * 31 + n * 17) % 97 * 20 + if n < 800 { n * 9 } else { 14_400 - n * 9 + n / 2 * 13 };
        let point = |n: i64| Point {
            at: Timestamp::from_nanos((1_500_000_000 + n * 3_600) * 1_000_000_000),
            equity: Amount::from(100_000 + wave(n)),
        };
        (0..2_000).map(point).collect()
    }

    pub(in crate::cli::paper) fn strand<'a>(strategy: &'a str, points: &'a [Point]) -> Strand<'a> {
        let mark = |place: usize, sign, label: &str, said: &str| Mark {
            at: points[place].at,
            sign,
            label: label.to_owned(),
            said: said.to_owned(),
        };
        let marks = vec![
            mark(300, Sign::Up, "promoted L0→L1", "promoted from L0_shadow to L1_paper: 10 trades, win rate 60.0 %"),
            mark(700, Sign::Up, "promoted L1→L2", "promoted from L1_paper to L2_gated: 12 trades, win rate 58.3 %"),
            mark(1_000, Sign::Down, "demoted L2→L1", "demoted from L2_gated to L1_paper: 6 losses in a row"),
            mark(1_100, Sign::Paused, "paused", "paused by drift: sharpe <beyond> the pause bound"),
            mark(1_400, Sign::Resumed, "resumed", "resumed by alice: \"looked at it\""),
        ];
        let levels = vec![
            (points[0].at, Level::Shadow),
            (points[300].at, Level::Paper),
            (points[700].at, Level::Gated),
            (points[1_000].at, Level::Paper),
        ];
        Strand { strategy, currency: "USD", capital: Amount::from(100_000), points, marks, levels }
    }

    #[test]
    fn a_curve_has_its_levels_its_marks_and_where_it_stood_still() {
        let points = points();
        let svg = element(&strand("a<b", &points));
        assert_eq!(svg.matches("class=\"mark up\"").count(), 3);
        assert_eq!(svg.matches("class=\"mark down\"").count(), 1);
        assert_eq!(svg.matches("class=\"hold\"").count(), 1);
        assert_eq!(svg.matches("<rect class=\"l1\"").count(), 2);
        assert!(svg.contains("Equity of a&lt;b") && svg.contains("sharpe &lt;beyond&gt; the"), "{svg}");
        assert!(svg.matches('L').count() < 800, "as many points as can be told apart, and no more");
    }

    #[test]
    fn a_file_of_its_own_brings_its_colours_and_a_strategy_without_bars_gives_an_empty_one() {
        let points = points();
        let svg = file(&strand("a", &points));
        assert!(svg.starts_with("<svg class=\"chart\"") && svg.contains("prefers-color-scheme:dark"));
        let none = Strand { points: &[], marks: Vec::new(), levels: Vec::new(), ..strand("a", &points) };
        assert!(file(&none).contains("<title>Equity of a, USD</title>"));
    }

    #[test]
    fn axes_are_marked_at_round_values() {
        assert_eq!(ticks(95_000.0, 108_000.0), [95_000.0, 100_000.0, 105_000.0]);
        let small: Vec<String> = ticks(0.93, 1.02).into_iter().map(|value| format!("{value:.4}")).collect();
        assert_eq!(small, ["0.9500", "0.9750", "1.0000"]);
        let shorts: Vec<String> = [0.0, -0.001, 950.5, 100_000.0, 2_500_000.0].map(short).into();
        assert_eq!(shorts, ["0", "0", "950.5", "100k", "2.5M"]);
    }
}
