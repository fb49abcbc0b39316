//! What `why` says beyond the numbers: bars from the peak to the breach, and what would have had to be
//! otherwise.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod cli;

use std::fs;
use std::sync::OnceLock;

use cli::{Desk, demo};
use serde_json::Value;

fn desk() -> &'static Desk {
    static GOVERNED: OnceLock<Desk> = OnceLock::new();
    GOVERNED.get_or_init(|| {
        let desk = Desk::new();
        desk.govern(fs::read(demo()).unwrap());
        desk
    })
}

fn why(arguments: &[&str]) -> String {
    desk().run(&[&["why"], arguments].concat()).ended(0).out
}

fn why_json(arguments: &[&str]) -> Value {
    desk().run(&[&["why", "--json"], arguments].concat()).ended(0).json()
}

#[test]
fn a_fall_is_drawn_as_bars_that_go_on_from_each_other() {
    let all = why(&["BTPY-SMA-EURUSD", "--last", "demotion", "--all"]);
    let json = why_json(&["BTPY-SMA-EURUSD", "--last", "demotion"]);
    let steps = json["because"]["drawdown"]["steps"].as_array().unwrap();
    assert!(steps.len() > 100);
    let bars: Vec<&str> = all.lines().filter(|line| line.contains("─ trade ")).collect();
    assert_eq!(bars.len(), steps.len());
    for (line, step) in bars.iter().zip(steps) {
        let lost = step["pnl"].as_str().unwrap().starts_with('-');
        assert_eq!((line.contains('▒'), line.contains('█')), (lost, !lost), "{line}");
        assert!(line.contains(&format!("seq {}", step["seq"])), "{line}");
    }
    let breach = bars.last().unwrap();
    let lowest = bars.iter().filter_map(|line| line.chars().position(|sign| sign == '▒' || sign == '█')).min();
    assert_eq!(breach.chars().position(|sign| sign == '▒'), lowest, "the breach is the lowest point");

    let some = why(&["BTPY-SMA-EURUSD", "--last", "demotion"]);
    let shown = some.matches("─ trade ").count();
    let between = some.lines().filter_map(|line| line.split("─ ... ").nth(1)?.split(' ').next()?.parse::<usize>().ok());
    assert!(shown < 30, "{some}");
    assert_eq!(shown + between.sum::<usize>(), steps.len(), "{some}");
    let largest = steps
        .iter()
        .max_by(|a, b| {
            let size = |step: &Value| step["pnl"].as_str().unwrap().parse::<f64>().unwrap().abs();
            size(a).total_cmp(&size(b))
        })
        .unwrap();
    assert!(some.lines().any(|line| line.contains("─ trade ") && line.ends_with(&format!("seq {}", largest["seq"]))));
}

#[test]
fn a_page_of_eighty_columns_is_kept_to() {
    let narrow =
        desk().program(&["why", "BTPY-SMA-EURUSD", "--last", "demotion"]).env("COLUMNS", "80").output().unwrap();
    let text = String::from_utf8(narrow.stdout).unwrap();
    let bars: Vec<&str> = text.lines().filter(|line| line.contains("─ trade ")).collect();
    assert!(!bars.is_empty());
    assert!(bars.iter().all(|line| line.chars().count() <= 80), "{text}");
}

#[test]
fn what_would_have_had_to_be_otherwise_stands_under_the_numbers() {
    let losses = why(&["EMAX-GBPUSD-M5-001", "--last", "demotion"]);
    assert!(losses.contains("it would not have happened had any one of 11 trades not been made"), "{losses}");
    assert!(losses.contains("with maturity.demotion_loss_streak 11 instead of 10"), "{losses}");
    let json = why_json(&["EMAX-GBPUSD-M5-001", "--last", "demotion"]);
    let otherwise = &json["otherwise"];
    assert_eq!(otherwise["policy"][0]["changes"][0]["field"], "maturity.demotion_loss_streak");
    assert_eq!(otherwise["policy"][0]["changes"][0]["nearest"], "11");
    let alone: Vec<&Value> = otherwise["trades"]["any_one"].as_array().unwrap().iter().map(|one| &one["seq"]).collect();
    let steps = json["because"]["losses"]["steps"].as_array().unwrap();
    assert_eq!(alone, steps.iter().map(|step| &step["seq"]).collect::<Vec<_>>(), "each of the losses in a row");
    assert_eq!((&otherwise["trades"]["fewest"], &otherwise["trades"]["bound_met"]), (&true.into(), &false.into()));

    let fell = why_json(&["BTPY-SMA-EURUSD", "--last", "demotion"]);
    let change = &fell["otherwise"]["policy"][0]["changes"][0];
    assert_eq!((&change["field"], &change["nearest"]), (&"maturity.demotion_drawdown".into(), &"0.1020".into()));
    let paused = why(&["BTPY-RSI2-EURUSD", "--last", "pause"]);
    assert!(paused.contains("with drift_detector.pause_above_pct 90.90 instead of 50"), "{paused}");
    let climbed = why(&["FT-SampleStrategy", "--last", "promotion"]);
    assert!(climbed.contains("had any one of 50 trades not been made"), "{climbed}");
    assert!(climbed.contains("with maturity.promotion_trades_min 51 instead of 50"), "{climbed}");
}

#[test]
fn without_a_trade_that_is_named_the_demotion_is_not_there_by_then() {
    let found = why_json(&["BTPY-SMA-EURUSD", "--last", "demotion"]);
    let brought = found["causes"][0]["data"]["trade"]["id"].as_str().unwrap();
    let any_one = found["otherwise"]["trades"]["any_one"].as_array().unwrap();
    let one = any_one[any_one.len() / 2]["trade"].as_str().unwrap();
    assert_ne!(one, brought);
    let input = fs::read_to_string(demo()).unwrap();
    let is_it = |line: &str| line.contains("\"trade_closed\"") && line.contains(&format!("\"id\":\"{one}\""));
    let without: Vec<&str> = input.lines().filter(|line| !is_it(line)).collect();
    assert_eq!(without.len() + 1, input.lines().count());
    let desk = Desk::new();
    desk.govern(without.join("\n"));

    let falls_with = |desk: &Desk| {
        let why = desk.run(&["why", brought, "--json"]).ended(0);
        assert!(why.err.is_empty(), "{why:?}");
        let beside = why.json()["beside"].as_array().unwrap().clone();
        beside.iter().any(|fact| fact["type"] == "MaturityTransitioned")
    };
    assert!(falls_with(self::desk()) && !falls_with(&desk));
}

#[test]
fn every_turn_that_a_rule_decided_in_the_demonstration_has_an_otherwise() {
    let of = |name: &str| -> Vec<Value> {
        let out = desk().run(&["events", "--type", name, "--json"]).ended(0).out;
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let turns = [of("MaturityTransitioned"), of("StrategyPaused")].concat();
    assert!(turns.len() > 10, "{}", turns.len());
    for turn in turns {
        let why = why_json(&[&turn["seq"].to_string()]);
        let otherwise = &why["otherwise"];
        let policies = otherwise["policy"].as_array().unwrap_or_else(|| panic!("nothing for {turn}"));
        assert!(!policies.is_empty(), "{turn}");
        let trade = why["causes"].as_array().unwrap().iter().find(|fact| fact["type"] == "TradeClosed");
        let any_one = otherwise["trades"]["any_one"].as_array().unwrap();
        assert_eq!(any_one.last().map(|one| &one["seq"]), trade.map(|fact| &fact["seq"]), "{turn}");
    }
}

/// A strategy that is declared, trades, is declared again with less capital and falls; the commands of it.
fn declared_again() -> String {
    let declared = |seq: u32, version: &str, capital: &str| {
        format!(
            r#"{{"seq":{seq},"type":"strategy","id":"s-{seq}","ts":"2020-01-01T00:00:{seq:02}Z","strategy_id":"again","instrument":"EURUSD","params":{{"version":"{version}"}},"initial_capital":"{capital}","currency":"USD","multiplier":"1"}}"#
        )
    };
    let closed = |seq: u32, pnl: &str| {
        format!(
            r#"{{"seq":{seq},"type":"trade_closed","id":"t-{seq}","ts":"2020-01-01T00:00:{seq:02}Z","strategy_id":"again","instrument":"EURUSD","side":"LONG","qty":"1000","price":"1.1","entry_price":"1.1","realized_pnl":"{pnl}","currency":"USD","opened_at":"2020-01-01T00:00:{seq:02}Z","closed_at":"2020-01-01T00:00:{seq:02}Z"}}"#
        )
    };
    [declared(1, "1", "10000"), closed(2, "2200"), closed(3, "-100"), declared(4, "2", "9900"), closed(5, "-1200")]
        .join("\n")
}

#[test]
fn a_peak_from_before_a_change_of_capital_is_shown_as_it_was_and_as_it_counts() {
    let desk = Desk::new();
    desk.govern(declared_again());
    let text = desk.run(&["why", "again", "--last", "demotion"]).ended(0).out;
    assert!(text.contains("peak equity 12 200 at trade 1, 2020-01-01 00:00:02; counted as 12 099.17, "), "{text}");
    let steps: Vec<&str> = text.lines().filter(|line| line.contains("  seq ")).collect();
    assert_eq!(steps.len(), 3, "{text}");
    assert!(steps[0].contains("trade    2    -100 ") && steps[0].contains("12 100 "), "{text}");
    assert!(steps[1].contains("capital       -100 ") && steps[1].contains("12 000 "), "{text}");
    assert!(steps[2].contains("trade    3  -1 200 ") && steps[2].contains("10 800 "), "{text}");
    let json = desk.run(&["why", "again", "--last", "demotion", "--json"]).ended(0).json();
    let fall = &json["because"]["drawdown"];
    assert_eq!((&fall["peak_equity"], &fall["left_out"]), (&"12200".into(), &0.into()), "{fall}");
}

#[test]
fn where_no_threshold_is_enough_those_that_were_tried_are_named() {
    let some = why(&["EMAX-GBPUSD-M5-001", "--last", "decision"]);
    let all = why(&["EMAX-GBPUSD-M5-001", "--last", "decision", "--all"]);
    let json = why_json(&["EMAX-GBPUSD-M5-001", "--last", "decision"]);
    let tried = json["otherwise"]["tried"].as_array().unwrap();
    let line = format!("none of the {} thresholds tried, each moved alone, would have changed it", tried.len());
    assert!(some.contains(&format!("{line}, --all names them")), "{some}");
    assert!(all.contains(&format!("{line}\n")), "{all}");
    assert!(tried.len() > 20 && tried.contains(&"maturity.sizing_caps[L4_autonomous]".into()), "{tried:?}");
    for field in tried {
        let field = field.as_str().unwrap();
        assert_eq!((some.contains(field), all.contains(field)), (false, true), "{field}");
    }
}

#[test]
fn a_policy_with_an_enormous_threshold_is_reasoned_about_all_the_same() {
    let desk = Desk::new();
    desk.govern(declared_again());
    let policy = "[impact_classifier]\ncritical_notional_usd = \"100000000000000000000\"\n";
    let policy = desk.write("policy.toml", policy);
    desk.run(&["policy", "adopt", policy.to_str().unwrap(), "--by", "alice", "--reason", "test"]).ended(0);
    let order = r#"{"seq":9,"type":"signal","id":"o-9","ts":"2020-01-01T00:01:00Z","strategy_id":"again","instrument":"EURUSD","side":"BUY","qty":"1000","price":"1.1","currency":"USD"}"#;
    desk.govern(order);
    let found = desk.run(&["why", "again", "--last", "decision", "--json"]).ended(0).json();
    let tried = found["otherwise"]["tried"].as_array().unwrap();
    assert!(!tried.contains(&"impact_classifier.critical_notional_usd".into()), "{tried:?}");
    assert!(tried.contains(&"impact_classifier.high_notional_usd".into()), "{tried:?}");
}
