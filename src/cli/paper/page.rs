//! The report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere.
//!
//! Light and dark follow the reader's own choice; tables that are wider than a telephone scroll within themselves.

use ephor_governance::verdict::Action;

use super::chart::{self, STYLE, Sign, Strand, add, escaped};
use crate::cli::print;

/// All that the page shows.
pub(super) struct Page<'a> {
    /// When the first and the last bar of the live part opened.
    pub(super) period: Option<(String, String)>,
    /// Facts in a row: what was counted.
    pub(super) facts: Vec<(&'static str, String)>,
    /// What has to be known to read it: how the policy was changed, who approved.
    pub(super) notes: &'a [String],
    /// A row a strategy.
    pub(super) rows: Vec<Row>,
    /// A curve a strategy.
    pub(super) strands: &'a [Strand<'a>],
    /// What engine, venue and gate did, and why, each with how often.
    pub(super) reasons: Vec<(String, String, String, u64)>,
    /// The end of the log.
    pub(super) head: String,
}

/// A strategy in the table.
pub(super) struct Row {
    pub(super) strategy: String,
    pub(super) rule: String,
    pub(super) instrument: String,
    pub(super) path: String,
    pub(super) paused: bool,
    pub(super) trades: u32,
    pub(super) won: String,
    pub(super) factor: String,
    pub(super) health: String,
    pub(super) drawdown: String,
    pub(super) result: String,
    pub(super) is_loss: bool,
    pub(super) decisions: Vec<u64>,
}

const PAGE_STYLE: &str = "\
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);\
font:16px/1.5 system-ui,-apple-system,\"Segoe UI\",sans-serif}\
main{max-width:1180px;margin:0 auto;padding:20px 16px 48px}h1{font-size:1.6rem;margin:0 0 4px}\
h2{font-size:1.15rem;margin:36px 0 10px}h3{font-size:1rem;margin:0;overflow-wrap:anywhere}\
.soft{color:var(--soft)}p{margin:6px 0}.facts{display:flex;flex-wrap:wrap;gap:8px 28px;margin:16px 0;padding:0}\
.facts div{min-width:84px}.facts dt{color:var(--soft);font-size:.8rem}.facts dd{margin:0;font-size:1.15rem;\
font-variant-numeric:tabular-nums}.notes{border-left:3px solid var(--warn);padding:2px 0 2px 12px;margin:16px 0}\
.cards{display:grid;gap:16px;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr))}\
.card{border:1px solid var(--line);border-radius:8px;padding:12px;background:var(--card);min-width:0}\
.card header{display:flex;flex-wrap:wrap;justify-content:space-between;gap:2px 12px;margin-bottom:6px}\
.card .chart{display:block;width:100%;height:auto}.wide{overflow-x:auto}\
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;width:100%}\
th,td{padding:6px 10px 6px 0;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap;vertical-align:top}\
th{color:var(--soft);font-weight:600;font-size:.8rem}td.n,th.n{text-align:right}td.s{white-space:normal;min-width:240px}\
.good{color:var(--good)}.bad{color:var(--bad)}.warn{color:var(--warn)}\
.keys{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:.85rem;color:var(--soft);margin:0 0 12px}\
.keys svg{display:inline;width:12px;height:12px;vertical-align:-1px;margin-right:4px}.keys i{display:inline-block;width:14px;height:10px;\
margin-right:4px;vertical-align:0}ul{list-style:none;margin:0;padding:0}\
li{padding:8px 0;border-bottom:1px solid var(--line)}li b{overflow-wrap:anywhere}code{overflow-wrap:anywhere}";

/// Writes the page.
pub(super) fn page(page: &Page<'_>) -> String {
    let mut html = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.push_str("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n");
    html.push_str("<meta name=\"color-scheme\" content=\"light dark\">\n<title>Ephor: paper trading</title>\n");
    add(&mut html, format_args!("<style>{STYLE}{PAGE_STYLE}</style>\n</head>\n<body>\n<main>\n"));
    html.push_str("<h1>Paper trading, governed</h1>\n");
    if let Some((first, last)) = &page.period {
        add(&mut html, format_args!("<p class=\"soft\">{first} to {last}, the bars' own time (UTC)</p>\n"));
    }
    html.push_str("<dl class=\"facts\">\n");
    for (name, value) in &page.facts {
        add(&mut html, format_args!("<div><dt>{name}</dt><dd>{}</dd></div>\n", escaped(value)));
    }
    html.push_str("</dl>\n");
    if !page.notes.is_empty() {
        html.push_str("<div class=\"notes\">\n");
        for note in page.notes {
            add(&mut html, format_args!("<p>{}</p>\n", escaped(note)));
        }
        html.push_str("</div>\n");
    }
    strategies(&mut html, &page.rows);
    curves(&mut html, page.strands);
    changes(&mut html, page.strands);
    decisions(&mut html, &page.rows);
    reasons(&mut html, &page.reasons);
    add(&mut html, format_args!("<p class=\"soft\">The log ends at <code>{}</code>. ", escaped(&page.head)));
    html.push_str("The same bars, signals, settings and seed end there again.</p>\n</main>\n</body>\n</html>\n");
    html
}

fn strategies(html: &mut String, rows: &[Row]) {
    html.push_str(
        "<h2>Strategies</h2>\n<div class=\"wide\"><table>\n<tr><th>strategy</th><th>rule</th><th>instrument</th>",
    );
    html.push_str("<th>levels</th>");
    for name in ["trades", "won", "profit factor", "health", "deepest drawdown", "result"] {
        add(html, format_args!("<th class=\"n\">{name}</th>"));
    }
    html.push_str("</tr>\n");
    for row in rows {
        let paused = if row.paused { " <span class=\"warn\">paused</span>" } else { "" };
        let class = if row.is_loss { "n bad" } else { "n good" };
        add(
            html,
            format_args!(
                "<tr><td><b>{}</b></td><td>{}</td><td>{}</td><td>{}{paused}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"{class}\">{}</td></tr>\n",
                escaped(&row.strategy),
                escaped(&row.rule),
                escaped(&row.instrument),
                escaped(&row.path),
                row.trades,
                row.won,
                row.factor,
                row.health,
                row.drawdown,
                escaped(&row.result)
            ),
        );
    }
    html.push_str("</table></div>\n");
}

const KEYS: &str = "<p class=\"keys\"><span><svg class=\"chart\" viewBox=\"-6 -7 12 12\"><path class=\"up\" d=\"M0 -6 5 3h-10z\"/>\
</svg>promoted</span><span><svg class=\"chart\" viewBox=\"-6 -5 12 12\"><path class=\"down\" d=\"M0 6 5 -3h-10z\"/></svg>\
demoted</span><span><svg class=\"chart\" viewBox=\"-6 -6 12 12\"><path class=\"set\" d=\"M-4 -5h3v10h-3zm5 0h3v10h-3z\"/>\
</svg>paused</span><span><i style=\"background:var(--hold)\"></i>standing still</span>\
<span><i style=\"background:var(--l0);outline:1px solid var(--line)\"></i><i style=\"background:var(--l1)\"></i>\
<i style=\"background:var(--l2)\"></i><i style=\"background:var(--l3)\"></i><i style=\"background:var(--l4)\"></i>\
level, L0 to L4</span><span>dashed: allocated capital</span></p>\n";

fn curves(html: &mut String, strands: &[Strand<'_>]) {
    html.push_str("<h2>Equity</h2>\n");
    html.push_str(KEYS);
    html.push_str("<div class=\"cards\">\n");
    for strand in strands {
        let last = strand.points.last().map_or(strand.capital, |point| point.equity);
        let change = last.minus(strand.capital);
        let (class, sign) = if change.is_negative() { ("bad", "") } else { ("good", "+") };
        add(
            html,
            format_args!(
                "<section class=\"card\"><header><h3>{}</h3><span class=\"{class}\">{sign}{} {}</span></header>\n{}</section>\n",
                escaped(strand.strategy),
                print::rounded(change),
                escaped(strand.currency),
                chart::element(strand)
            ),
        );
    }
    html.push_str("</div>\n");
}

fn changes(html: &mut String, strands: &[Strand<'_>]) {
    let mut all: Vec<(&str, &chart::Mark)> =
        strands.iter().flat_map(|strand| strand.marks.iter().map(|mark| (strand.strategy, mark))).collect();
    all.sort_by_key(|(_, mark)| mark.at);
    html.push_str("<h2>What changed, and why</h2>\n");
    if all.is_empty() {
        html.push_str("<p>Nothing: no strategy climbed, fell or was paused.</p>\n");
        return;
    }
    html.push_str("<ul>\n");
    for (strategy, mark) in all {
        let class = match mark.sign {
            Sign::Up | Sign::Resumed => "good",
            Sign::Down => "bad",
            Sign::Set | Sign::Paused => "warn",
        };
        add(
            html,
            format_args!(
                "<li><span class=\"soft\">{}</span> <b>{}</b> <span class=\"{class}\">{}</span><br>{}</li>\n",
                print::time(mark.at).get(..16).unwrap_or_default(),
                escaped(strategy),
                escaped(&mark.label),
                escaped(&mark.said)
            ),
        );
    }
    html.push_str("</ul>\n");
}

fn decisions(html: &mut String, rows: &[Row]) {
    html.push_str(
        "<h2>Decisions by action</h2>\n<div class=\"wide\"><table>\n<tr><th>strategy</th><th class=\"n\">all</th>",
    );
    for action in Action::ALL {
        add(html, format_args!("<th class=\"n\">{}</th>", action.as_str()));
    }
    html.push_str("</tr>\n");
    for row in rows {
        let all = print::grouped(row.decisions.iter().sum());
        add(html, format_args!("<tr><td><b>{}</b></td><td class=\"n\">{all}</td>", escaped(&row.strategy)));
        for count in &row.decisions {
            let shown = if *count == 0 { "-".to_owned() } else { print::grouped(*count) };
            add(html, format_args!("<td class=\"n\">{shown}</td>"));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</table></div>\n");
}

fn reasons(html: &mut String, reasons: &[(String, String, String, u64)]) {
    if reasons.is_empty() {
        return;
    }
    html.push_str("<h2>Where signals ended, and why</h2>\n<div class=\"wide\"><table>\n");
    html.push_str("<tr><th>strategy</th><th>where</th><th>reason</th><th class=\"n\">signals</th></tr>\n");
    for (strategy, stage, reason, count) in reasons {
        add(
            html,
            format_args!(
                "<tr><td><b>{}</b></td><td>{}</td><td>{}</td><td class=\"n\">{}</td></tr>\n",
                escaped(strategy),
                escaped(stage),
                escaped(reason),
                print::grouped(*count)
            ),
        );
    }
    html.push_str("</table></div>\n");
}

#[cfg(test)]
mod tests {
    use super::super::chart::tests::{points, strand};
    use super::*;

    #[test]
    fn a_page_needs_nothing_else_and_says_what_changed_in_the_order_of_time() {
        let points = points();
        let strands = [strand("BREAKOUT-EURUSD", &points), strand("A & B", &points)];
        let row = |strand: &Strand<'_>| Row {
            strategy: strand.strategy.to_owned(),
            rule: "breakout".to_owned(),
            instrument: "EUR/USD".to_owned(),
            path: "L0→L1→L2→L1".to_owned(),
            paused: strand.strategy == "A & B",
            trades: 86,
            won: "49 %".to_owned(),
            factor: "1.73".to_owned(),
            health: "0.81".to_owned(),
            drawdown: "2.0 %".to_owned(),
            result: "1 234.56 USD".to_owned(),
            is_loss: strand.strategy == "A & B",
            decisions: vec![100, 20, 1_234, 0, 3, 0],
        };
        let notes =
            ["the policy asks for less evidence than the defaults do: maturity.promotion_trades_min 10 (50)"
                .to_owned()];
        let html = page(&Page {
            period: Some(("2017-07-14".to_owned(), "2018-02-07".to_owned())),
            facts: vec![("bars", "5 000".to_owned()), ("signals", "321".to_owned()), ("promotions", "5".to_owned())],
            notes: &notes,
            rows: strands.iter().map(row).collect(),
            strands: &strands,
            reasons: vec![("A & B".to_owned(), "gate".to_owned(), "MATURITY_LEVEL_TOO_LOW".to_owned(), 12)],
            head: "seq 42 abcdef".to_owned(),
        });
        if let Some(path) = std::env::var_os("EPHOR_TEST_PAGE") {
            std::fs::write(path, &html).unwrap();
        }
        assert!(!html.contains("http-equiv") && !html.contains("<script") && !html.contains("<link"), "{html}");
        assert_eq!(html.matches("http").count(), html.matches("xmlns=\"http://www.w3.org/2000/svg\"").count());
        assert!(html.contains("<b>A &amp; B</b>") && !html.contains("A & B"));
        let place = |text: &str| html.find(text).unwrap_or_else(|| panic!("no {text}"));
        let said = &html[place("What changed, and why")..];
        assert!(said.find("12 trades").unwrap() < said.find("6 losses in a row").unwrap());
        assert!(said.contains("&quot;looked at it&quot;"));
    }
}
