//! What is set under `[paper]` has its effect through `ephor paper`, and what makes no sense is named.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test uses its part")]
mod cli;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use cli::Desk;
use serde_json::Value;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A strategy whose signals come from outside, on hourly bars.
fn settings(more: &str) -> String {
    format!(
        "[[paper.instruments]]\nid = \"EUR/USD\"\nlot = 100\ntick = 0.00001\n\
         [[paper.strategies]]\nid = \"desk\"\ninstrument = \"EUR/USD\"\nsize = {{ kind = \"fixed\", qty = 10000 }}\n{more}"
    )
}

fn signal(id: &str, ts: &str, side: &str, intent: &str) -> String {
    format!(r#"{{"type":"signal","id":"{id}","ts":"{ts}","strategy_id":"desk","side":"{side}","intent":"{intent}"}}"#)
}

/// In at eight, and out at noon, on four days.
fn days() -> Vec<String> {
    let day = |day: u32| {
        let at = |hour: &str| format!("2017-09-{day:02}T{hour}:00:00Z");
        [
            signal(&format!("in-{day}"), &at("08"), "BUY", "entry"),
            signal(&format!("out-{day}"), &at("12"), "SELL", "exit"),
        ]
    };
    (5..9).flat_map(day).collect()
}

/// What the run says, and the fills in the log.
#[track_caller]
fn traded(more: &str, signals: &[String]) -> (Value, Vec<Value>) {
    let desk = Desk::new();
    let config = desk.write("paper.toml", settings(more));
    desk.write("signals.jsonl", signals.join("\n"));
    let bars = format!("{}=EUR/USD", shipped("bars/EURUSD-1h.csv").display());
    let args = ["--config", config.to_str().unwrap(), "paper", "--json", "--bars", &bars, "--signals", "signals.jsonl"];
    let said = desk.run(&args).ended(0).json();
    let fills = desk.run(&["events", "--type", "FillRecorded", "--json"]).ended(0).out;
    let fill = |line: &str| serde_json::from_str::<Value>(line).unwrap()["data"]["fill"].clone();
    (said, fills.lines().map(fill).collect())
}

/// How many signals ended for this reason.
fn ended(said: &Value, reason: &str) -> u64 {
    let stages = said["paper"]["ended"].as_array().unwrap();
    stages.iter().filter(|it| it["reason"] == reason).map(|it| it["signals"].as_u64().unwrap()).sum()
}

fn number(of: &Value) -> f64 {
    of.as_str().unwrap().parse().unwrap()
}

/// Opening and volume of each bar.
fn bars() -> BTreeMap<String, (f64, f64)> {
    let text = std::fs::read_to_string(shipped("bars/EURUSD-1h.csv")).unwrap();
    let bar = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        (format!("{}Z", cells[0].replace(' ', "T")), (cells[1].parse().unwrap(), cells[5].parse().unwrap()))
    };
    text.lines().skip(1).map(bar).collect()
}

#[test]
fn more_orders_than_the_throttle_lets_through_turn_it_off_for_the_rest_of_the_run() {
    let (free, fills) = traded("", &days());
    assert_eq!((ended(&free, "RISK_THROTTLED"), fills.len()), (0, 8));
    // Of one day in, the second is one too many; the third and the fourth are beyond the window, and it stays off.
    let (said, _) = traded("[paper.risk.throttle]\norders_max = 1\nwindow_seconds = 100000\n", &days());
    assert_eq!(ended(&said, "RISK_THROTTLED"), 3, "{said:#}");
    let (said, _) = traded("[paper.risk.throttle]\norders_max = 1\nwindow_seconds = 80000\n", &days());
    assert_eq!(ended(&said, "RISK_THROTTLED"), 0, "{said:#}");
}

#[test]
fn the_same_wish_within_the_window_is_the_same_order() {
    let twice = [
        signal("s-1", "2017-09-05T08:00:00Z", "BUY", "entry"),
        signal("s-2", "2017-09-05T08:30:00Z", "BUY", "entry"),
        signal("s-3", "2017-09-05T09:30:00Z", "BUY", "entry"),
    ];
    assert_eq!(ended(&traded("", &twice).0, "DEDUP_CONTENT"), 0);
    assert_eq!(ended(&traded("[paper]\ndedup_window_seconds = 3600\n", &twice).0, "DEDUP_CONTENT"), 1);
    assert_eq!(ended(&traded("[paper]\ndedup_window_seconds = 7200\n", &twice).0, "DEDUP_CONTENT"), 2);
}

#[test]
fn an_order_pays_its_fixed_fee_once_in_however_many_parts_it_is_filled() {
    let (_, fills) = traded("[paper.venue]\npartial = 1\nfee_fixed = 2.5\n", &days());
    let mut fees: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for fill in &fills {
        fees.entry(fill["order_id"].as_str().unwrap()).or_default().push(fill["fee"]["amount"].as_str().unwrap_or("0"));
    }
    assert!(fees.len() == 8 && fills.len() > 16, "{fees:?}");
    for (order, fees) in fees {
        assert_eq!((fees[0], fees[1..].iter().all(|fee| *fee == "0")), ("2.5", true), "{order}: {fees:?}");
    }
}

#[test]
fn slippage_is_a_share_of_the_price_and_against_the_order() {
    let bars = bars();
    let slipped = |more: &str| -> Vec<f64> {
        let away = |fill: &Value| {
            let (open, _) = bars[fill["at"].as_str().unwrap()];
            let away = (number(&fill["price"]) - open) / open;
            if fill["side"] == "buy" { away } else { -away }
        };
        traded(more, &days()).1.iter().map(away).collect()
    };
    let none = slipped("[paper.venue]\nslippage_ticks = 0\n");
    assert!(none.len() == 8 && none.iter().all(|away| away.abs() < 1e-9), "{none:?}");
    let some = slipped("[paper.venue]\nslippage_ticks = 0\nslippage = 0.01\n");
    assert!(some.iter().all(|away| (0.0..0.010_01).contains(away)), "{some:?}");
    assert!(some.iter().any(|away| *away > 0.002), "{some:?}");
}

#[test]
fn fills_take_no_more_of_a_bar_than_their_share_of_its_volume() {
    let bars = bars();
    let of_bar = |fills: &[Value]| {
        let mut sums: BTreeMap<String, f64> = BTreeMap::new();
        for fill in fills {
            *sums.entry(fill["at"].as_str().unwrap().to_owned()).or_default() += number(&fill["qty"]);
        }
        sums
    };
    let (_, free) = traded("", &days());
    assert!(of_bar(&free).iter().all(|(_, qty)| (qty - 10_000.0).abs() < 1e-9));
    let (_, fills) = traded("[paper.venue]\nvolume_share = 0.4\n", &days());
    let sums = of_bar(&fills);
    assert!(sums.len() > 16, "{sums:?}");
    for (at, qty) in sums {
        assert!(qty <= bars[&at].1 * 0.4, "{at}: {qty} of {}", bars[&at].1);
    }
    // Without a volume there is no share of it.
    let desk = Desk::new();
    let config = desk.write("paper.toml", settings("[paper.venue]\nvolume_share = 0.4\n"));
    desk.write("mute.csv", "time,open,high,low,close,volume\n2020-01-01,1,1,1,1,5\n2020-01-02,1,1,1,1,\n");
    let said = desk.run(&["--config", config.to_str().unwrap(), "paper", "--bars", "mute.csv=EUR/USD"]).ended(2);
    assert!(said.err.contains("EUR/USD: the bar of 2020-01-02T00:00:00Z has no volume"), "{}", said.err);
}

/// The settings that ship, with more under `[paper.risk]`.
fn careful(desk: &Desk, more: &str) -> String {
    let beside = shipped("paper");
    let text = std::fs::read_to_string(beside.join("paper.toml")).unwrap();
    let text = text.replace("[paper.risk]", &format!("[paper.risk]\n{more}"));
    let text = text.replace("\"../bars", &format!("\"{}/../bars", beside.display()));
    let text = text.replace("\"policy.toml", &format!("\"{}/policy.toml", beside.display()));
    desk.write("careful.toml", text).to_str().unwrap().to_owned()
}

#[test]
fn a_fall_beyond_the_bound_engages_the_kill_switch_and_a_run_that_begins_again_stays_what_it_was() {
    let whole = Desk::new();
    let config = careful(&whole, "drawdown_kill = 0.005");
    let undisturbed = whole.run(&["--config", &config, "paper", "--json"]).ended(0).json();
    let kills = |desk: &Desk| {
        let told = desk.run(&["events", "--type", "KillSwitchEngaged", "--json"]);
        told.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let killed = kills(&whole);
    assert!(!killed.is_empty(), "nothing fell");
    assert!(killed.iter().all(|it| it["data"]["scope"]["strategy"].is_string()), "{killed:#?}");
    let again = whole.run(&["--config", &config, "paper", "--json"]).ended(0).json();
    assert_eq!(again["events_recorded"], 0, "what was decided before the kill is not decided again under it");
    assert_eq!(
        (&again["head_hash"], &again["paper"]["ended"]),
        (&undisturbed["head_hash"], &undisturbed["paper"]["ended"])
    );

    let desk = Desk::new();
    let config = careful(&desk, "drawdown_kill = 0.005");
    let mut stopped = 0;
    for round in 1..=6 {
        let mut run = desk.program(&["--config", &config, "paper", "--speed", "3000"]);
        let mut child = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(round * 230));
        child.kill().unwrap();
        child.wait().unwrap();
        stopped += u32::from((1..killed.len() + 1).contains(&kills(&desk).len()));
    }
    assert!(stopped > 0, "no run was stopped behind a kill");
    let ended = desk.run(&["--config", &config, "paper", "--json"]).ended(0).json();
    for same in ["head_seq", "head_hash", "strategies", "changes"] {
        assert_eq!(ended[same], undisturbed[same], "{same}");
    }
    assert_eq!(ended["paper"]["ended"], undisturbed["paper"]["ended"]);
}

#[test]
fn what_makes_no_sense_is_named_and_what_is_set_is_shown() {
    let desk = Desk::new();
    for (text, wanted) in [
        ("[paper]\nin_sample = 1.1", "paper.in_sample: must be from 0 to 1, found 1.1"),
        ("[paper]\ndedup_window_seconds = -1", "paper.dedup_window_seconds"),
        ("[paper]\ndedup_window_seconds = 40000000", "paper.dedup_window_seconds: must be from 0 to 31622400"),
        ("[paper.venue]\nfee_fixed = -1", "paper.venue.fee_fixed: must not be below 0, found -1"),
        ("[paper.venue]\nslippage = 2", "paper.venue.slippage: must be from 0 to 1, found 2"),
        ("[paper.venue]\nvolume_share = 0", "paper.venue.volume_share: must be above 0, found 0"),
        ("[paper.venue]\nvolume_share = 1.5", "paper.venue.volume_share: must be from 0 to 1, found 1.5"),
        ("[paper.venue]\npartial = -0.1", "paper.venue.partial: must be from 0 to 1, found -0.1"),
        ("[paper.venue]\nreject = 1.1", "paper.venue.reject: must be from 0 to 1, found 1.1"),
        ("[paper.risk]\ndrawdown_max = 0", "paper.risk.drawdown_max: must be above 0, found 0"),
        ("[paper.risk]\ndrawdown_kill = -0.1", "paper.risk.drawdown_kill: must be above 0, found -0.1"),
        (
            "[paper.risk]\ndrawdown_max = 0.2\ndrawdown_kill = 0.1",
            "paper.risk.drawdown_kill: must not be below paper.risk.drawdown_max, which is 0.2; found 0.1",
        ),
        (
            "[paper.risk.throttle]\norders_max = 0\nwindow_seconds = 1",
            "paper.risk.throttle.orders_max: must be from 1 to 1000000, found 0",
        ),
        (
            "[paper.risk.throttle]\norders_max = 1\nwindow_seconds = 0",
            "paper.risk.throttle.window_seconds: must be from 1 to 31622400, found 0",
        ),
        ("[paper.risk.throttle]\norders_max = 1", "missing field `window_seconds`"),
    ] {
        desk.write("ephor.toml", text);
        let said = desk.run(&["paper"]).ended(2);
        assert!(said.err.contains(wanted), "{text}: {}", said.err);
    }
    desk.write(
        "ephor.toml",
        "[paper]\ndedup_window_seconds = 60\n[paper.venue]\nfee_fixed = 1\nslippage = 0.001\nvolume_share = 0.1\n\
         [paper.risk]\ndrawdown_kill = 0.2\nthrottle = { orders_max = 5, window_seconds = 10 }\n",
    );
    let shown = desk.run(&["config", "show", "--json"]).ended(0).json();
    let value = |field: &str| {
        let found = shown.as_array().unwrap().iter().find(|it| it["field"] == field);
        (found.unwrap_or_else(|| panic!("{field}: {shown:#}"))["value"].to_string(), found.unwrap()["from"].clone())
    };
    for (field, wanted) in [
        ("paper.dedup_window_seconds", "60"),
        ("paper.venue.fee_fixed", "\"1\""),
        ("paper.venue.slippage", "\"0.001\""),
        ("paper.venue.volume_share", "\"0.1\""),
        ("paper.risk.drawdown_kill", "\"0.2\""),
        ("paper.risk.throttle.orders_max", "5"),
        ("paper.risk.throttle.window_seconds", "10"),
    ] {
        assert_eq!(value(field), (wanted.to_owned(), "file".into()), "{field}");
    }
}
