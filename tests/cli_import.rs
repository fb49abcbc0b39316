//! `ephor import`, end to end: what other programs have written, governed as if it had come in live.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test uses its part")]
mod cli;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use cli::Desk;
use serde_json::{Value, json};

fn native(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/native").join(name)
}

fn unpacked(name: &str) -> String {
    let mut text = String::new();
    let file = std::fs::File::open(native(name)).unwrap();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}

#[track_caller]
fn import(desk: &Desk, args: &[&str]) -> Value {
    desk.run(&[&["import", "--json"], args].concat()).ended(0).json()
}

/// The events of one type, as they are shown.
fn events(desk: &Desk, kind: &str) -> Vec<Value> {
    let said = desk.run(&["events", "--type", kind, "--json"]).ended(0);
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn near(found: &Value, expected: f64) {
    let found = found.as_f64().unwrap();
    assert!((found - expected).abs() < 1e-9 * expected.abs().max(1.0), "{found} is not {expected}");
}

#[test]
fn a_freqtrade_backtest_is_a_registration_and_a_baseline_with_the_figures_of_its_trades() {
    let desk = Desk::new();
    let file = native("freqtrade-backtest.json.gz");
    let args = ["--from", "freqtrade-backtest", "--strategy", "FT-SampleStrategy", file.to_str().unwrap()];
    let first = import(&desk, &args);
    assert_eq!((&first["lines_recorded"], &first["lines_rejected"]), (&json!(2), &json!(0)));
    let recorded = events(&desk, "BaselineRecorded");
    let baseline = &recorded[0].to_string();
    assert_eq!(recorded.len(), 1);
    let found = |name: &str| -> Value {
        let at = baseline.find(&format!("\"{name}\":")).unwrap_or_else(|| panic!("{name}: {baseline}"));
        let rest = &baseline[at + name.len() + 3..];
        serde_json::from_str(&rest[..rest.find([',', '}']).unwrap()]).unwrap()
    };
    // The baseline that was counted independently of this from the same run, see tests/data/README.md.
    assert_eq!(found("trades"), json!(77));
    near(&found("win_rate"), 0.844_155_844_2);
    near(&found("profit_factor"), 1.091_107_451_5);
    near(&found("sharpe"), 0.037_903_604_9);
    near(&found("avg_return"), 0.001_518_046_27);
    near(&found("max_drawdown"), 0.114_784_094);
    let again = import(&desk, &args);
    assert_eq!((&again["lines_recorded"], &again["lines_repeated"]), (&json!(0), &json!(2)));
}

#[test]
fn the_trades_of_a_backtest_come_to_what_its_engine_says() {
    let desk = Desk::new();
    let file = native("freqtrade-forward.json.gz");
    let summary = import(&desk, &["--from", "freqtrade-backtest", "--as", "trades", file.to_str().unwrap()]);
    let strategy = &summary["strategies"][0];
    assert_eq!(
        (&strategy["strategy"], &strategy["trades"], &strategy["wins"]),
        (&json!("SampleStrategy"), &json!(51), &json!(46))
    );
    assert_eq!(strategy["pnl"], json!("0.06062918"));
    near(&strategy["max_drawdown"], 0.029_121_231_969_7);
}

#[test]
fn an_archive_holds_the_result_beside_its_settings() {
    let desk = Desk::new();
    let path = desk.path("backtest-result-2026-11-01.zip");
    let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    for (name, text) in [
        ("backtest-result-2026-11-01_config.json", "{\"strategy\":\"SampleStrategy\"}".to_owned()),
        ("backtest-result-2026-11-01.json", unpacked("freqtrade-backtest.json.gz")),
        ("backtest-result-2026-11-01_SampleStrategy.py", "pass".to_owned()),
    ] {
        archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    archive.finish().unwrap();
    let summary = import(&desk, &["--from", "freqtrade-backtest", path.to_str().unwrap()]);
    assert_eq!(summary["lines_recorded"], json!(2));
    std::fs::write(&path, b"PK\x03\x04 and no more").unwrap();
    let said = desk.run(&["import", "--from", "freqtrade-backtest", path.to_str().unwrap()]).ended(2);
    assert!(said.err.contains("backtest-result-2026-11-01.zip"), "{}", said.err);
}

#[test]
fn the_events_of_a_nautilus_trader_node_come_to_the_result_of_its_engine() {
    let desk = Desk::new();
    desk.govern(
        r#"{"type":"strategy","id":"r1","ts":"2024-01-15T00:00:00Z","strategy_id":"BBMR-6E-M15-001",
            "initial_capital":"100000","currency":"USD","multiplier":"125000"}"#
            .replace('\n', " "),
    );
    let file = native("BBMR-6E-M15-001.live.jsonl.gz");
    let summary = import(&desk, &["--from", "nautilus", file.to_str().unwrap()]);
    let strategy = &summary["strategies"][0];
    assert_eq!((&strategy["trades"], &strategy["pnl"]), (&json!(39), &json!("-7656.25")));
    assert_eq!(summary["lines_rejected"], json!(0));
    let again = import(&desk, &["--from", "nautilus", file.to_str().unwrap()]);
    assert_eq!((&again["lines_recorded"], &again["events_recorded"]), (&json!(0), &json!(0)));
    assert_eq!(again["head_hash"], summary["head_hash"]);
}

/// A line of a FIX log.
fn fix(fields: &str) -> String {
    let body = format!("35=8|49=BROKER|56=US|{fields}|");
    let head = format!("8=FIX.4.4|9={}|{body}", body.len());
    let sum = head.bytes().fold(0_u8, |sum, byte| sum.wrapping_add(if byte == b'|' { 1 } else { byte }));
    format!("20261102-09:30:00.000 : {head}10={sum:03}|\n")
}

#[test]
fn a_fix_log_is_netted_and_what_no_rule_matches_is_kept_apart() {
    let desk = Desk::new();
    desk.govern(
        r#"{"type":"strategy","id":"r1","ts":"2026-11-01T00:00:00Z","strategy_id":"MEANREV","initial_capital":"100000","currency":"USD"}"#,
    );
    let fill = |id: &str, order: &str, side: u8, qty: u32, price: &str, at: &str| {
        fix(&format!("17={id}|150=F|11={order}|54={side}|55=AAPL|32={qty}|31={price}|60=20261102-{at}"))
    };
    let log = [
        fill("E1", "MEANREV-1", 1, 100, "10.00", "09:30:00"),
        fill("E2", "other-1", 1, 5, "10.00", "09:30:01"),
        fill("E3", "MEANREV-2", 2, 60, "10.50", "09:31:00"),
        fill("E3", "MEANREV-2", 2, 60, "10.50", "09:31:00"),
        "this is no FIX\n".to_owned(),
        fix("17=E4|150=H|11=MEANREV-2|54=2|55=AAPL|60=20261102-09:32:00"),
        fill("E5", "MEANREV-3", 2, 40, "9.00", "09:33:00"),
    ]
    .concat();
    let log = desk.write("session.log", log);
    let rules = desk.write("rules.toml", "[[rules]]\nclient_order_id = \"^(?<strategy>[A-Z]+)-\"\n");
    let args = ["import", "--json", "--from", "fix", "--rules", rules.to_str().unwrap(), log.to_str().unwrap()];
    let said = desk.run(&args).ended(0);
    let summary = said.json();
    let strategy = &summary["strategies"][0];
    assert_eq!((&strategy["trades"], &strategy["wins"], &strategy["pnl"]), (&json!(2), &json!(1), &json!("-10.00")));
    let counts =
        ["lines", "lines_recorded", "lines_repeated", "lines_rejected"].map(|name| summary[name].as_u64().unwrap());
    assert_eq!(counts, [7, 4, 1, 2]);
    assert_eq!(summary["rejected_by_reason"], json!({"LINE_NOT_FIX": 1, "FIELD_OUT_OF_RANGE": 1}));
    assert!(said.err.contains("unattributed: 1 reports belong to no strategy"), "{}", said.err);
    let kept = desk.run(&["events", "--stream", "UNATTRIBUTED", "--json"]).ended(0);
    assert!(kept.out.contains("BROKER:20261102:E2") && kept.out.contains("other-1"), "{}", kept.out);
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_recorded() {
    let desk = Desk::new();
    let file = desk.write("in.txt", "{}\n");
    let file = file.to_str().unwrap();
    let bad = desk.write("bad.toml", "[[rules]]\nclient_order_id = \"(\"\n");
    let bad = bad.to_str().unwrap();
    for (args, said) in [
        (vec!["--from", "excel", file], "unknown format \"excel\": use ephor, cloudevents"),
        (vec!["--from", "fix", "--rules", bad, file], "the rule by client_order_id \"(\" does not compile"),
        (vec!["--from", "ephor", "--strategy", "A", file], "messages of the format ephor name their strategy"),
        (vec!["--from", "fix", "--as", "trades", file], "--as is for --from freqtrade-backtest"),
        (vec!["--from", "freqtrade-backtest", file], "strategy: missing"),
        (vec!["--from", "fix", "nothing-here"], "there is no file nothing-here"),
    ] {
        let refused = desk.run(&[&["import"], args.as_slice()].concat()).ended(2);
        assert!(refused.err.contains(said), "{said}: {}", refused.err);
    }
    assert!(!desk.path("ephor-data").exists());
}

#[test]
fn a_ccxt_fill_in_another_currency_goes_to_the_reject_file_and_one_with_its_fee_in_the_base_closes_to_the_cent() {
    let desk = Desk::new();
    desk.govern(
        r#"{"type":"strategy","id":"r","ts":"2024-01-01T00:00:00Z","strategy_id":"A","initial_capital":"1000","currency":"USDT"}"#,
    );
    let trade = |id: u64, symbol: &str, side: &str, amount: &str, price: &str, fee: &str| {
        format!(
            r#"{{"id":"{id}","timestamp":{},"symbol":"{symbol}","side":"{side}","amount":{amount},"price":{price},"fee":{fee}}}"#,
            1_704_150_000_000 + id
        )
    };
    let lines = [
        trade(1, "BTC/USDT", "buy", "1", "1000", r#"{"cost":0.001,"currency":"BTC"}"#),
        trade(2, "BTC/EUR", "buy", "1", "900", "null"),
        // All that there is: what the exchange has kept cannot be sold.
        trade(3, "BTC/USDT", "sell", "0.999", "1100", r#"{"cost":1.0989,"currency":"USDT"}"#),
    ];
    let file = desk.write("trades.jsonl", lines.join("\n"));
    let summary = import(&desk, &["--from", "ccxt", "--strategy", "A", file.to_str().unwrap()]);
    assert_eq!((&summary["lines_recorded"], &summary["lines_rejected"]), (&json!(2), &json!(1)), "{summary}");
    let rejected = std::fs::read_to_string(summary["rejects"].as_str().map(|path| desk.path(path)).unwrap()).unwrap();
    assert!(rejected.contains("EUR is not the strategy's own, USDT") && rejected.contains("currency"), "{rejected}");
    assert!(rejected.contains("BTC/EUR"), "all of the line is kept: {rejected}");
    // Paid 1000, received 0.999 x 1100 - 1.0989; and flat.
    let state = desk.run(&["state", "A", "--json"]).ended(0).json();
    assert_eq!(summary["strategies"][0]["pnl"], json!("97.8011"), "{summary}");
    assert_eq!(state["state"]["fills"]["books"]["BTC/USDT"][""]["lots"], json!([]), "{state}");
}
