//! A file that grows is governed as it grows, whatever dies in between.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test uses its part")]
mod cli;
#[expect(dead_code, reason = "each test uses its part")]
mod served;

use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::Value;
use served::Served;

const SETTINGS: &str = "[[bus.jsonl]]\nname = \"desk\"\npath = \"grows.jsonl\"\n";

fn demo() -> Vec<String> {
    std::fs::read_to_string(cli::demo()).unwrap().lines().map(|line| format!("{line}\n")).collect()
}

fn append(service: &Served, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(service.desk.path("grows.jsonl")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Messages of one outcome, as the metrics tell.
fn messages(service: &Served, outcome: &str) -> u64 {
    let (_, text) = service.get("/metrics");
    let name = format!("ephor_connection_messages_total{{connection=\"bus:desk\",outcome=\"{outcome}\"}} ");
    let line = text.as_str().unwrap().lines().find_map(|line| line.strip_prefix(&name)).map(str::to_owned);
    line.map_or(0, |value| value.parse().unwrap())
}

#[track_caller]
fn until(what: impl Fn() -> bool) {
    let started = Instant::now();
    while !what() {
        assert!(started.elapsed() < Duration::from_mins(1), "it does not come about");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What has become of each strategy, but for when it was recorded.
fn strategies(service: &Served) -> Vec<Value> {
    let found = service.get("/v1/strategies?limit=100").1;
    let fields = ["id", "level", "health", "equity", "trades", "trades_at_level", "drawdown", "paused", "version"];
    let shown = |one: &Value| fields.iter().map(|field| one[field].clone()).collect();
    found["strategies"].as_array().unwrap().iter().map(shown).collect()
}

#[test]
fn a_growing_file_is_governed_once_whatever_is_killed_in_between() {
    let lines = demo();
    let whole = Served::with(SETTINGS, &[]);
    append(&whole, &lines.concat());
    until(|| messages(&whole, "taken") == 4_247);

    let mut service = Served::with(SETTINGS, &[]);
    let mut from = 0;
    for to in [700, 1_500, 1_501, 3_000, lines.len()] {
        append(&service, &lines[from..to].concat());
        from = to;
        // Killed somewhere in the middle of what has just been appended.
        std::thread::sleep(Duration::from_millis(u64::try_from(to % 7).unwrap() * 30));
        let key = service.key.clone();
        service.signal("KILL");
        service = Served::at(service.into_desk(), key, &[]);
    }
    until(|| service.get("/readyz").0 == 200);
    until(|| strategies(&service) == strategies(&whole));
    let seq =
        |service: &Served| service.get("/v1/events?limit=1000&type=TradeClosed").1["events"].as_array().unwrap().len();
    assert_eq!(seq(&service), seq(&whole));
    assert_eq!(messages(&service, "dead"), 0);
}

#[test]
fn a_line_that_cannot_be_taken_is_put_apart_and_one_that_waits_for_its_strategy_comes_again() {
    let settings = format!("{SETTINGS}[bus.jsonl.reading]\nattempts_max = 1000\n");
    let service = Served::with(&settings, &[]);
    let trade = r#"{"type":"trade_closed","id":"t1","ts":"2024-01-02T00:00:00Z","strategy_id":"late","instrument":"X","side":"LONG","qty":"1","entry_price":"10","price":"11","realized_pnl":"1","opened_at":"2024-01-01T00:00:00Z","closed_at":"2024-01-02T00:00:00Z"}"#;
    append(&service, &format!("nonsense\n{{\"type\":\"trade_closed\"}}\n{trade}\n"));
    until(|| messages(&service, "later") > 2);
    service.register("late");
    until(|| messages(&service, "taken") == 1);
    assert_eq!(messages(&service, "dead"), 2);
    let letters = std::fs::read_to_string(service.desk.path("ephor-data/dead/desk.jsonl")).unwrap();
    let letters: Vec<Value> = letters.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(letters.len(), 2, "{letters:?}");
    assert_eq!(letters[0]["code"], "LINE_NOT_JSON");
    assert_eq!((&letters[1]["code"], &letters[1]["byte"]), (&"FIELD_MISSING".into(), &9.into()));
    assert!(letters[1]["reason"].as_str().unwrap().contains("id: missing"), "{letters:?}");
}

#[test]
fn a_file_that_became_shorter_is_refused_and_readiness_says_so() {
    let service = Served::with(SETTINGS, &[]);
    append(&service, &demo()[..50].concat());
    until(|| messages(&service, "taken") > 40);
    std::fs::write(service.desk.path("grows.jsonl"), "").unwrap();
    until(|| service.get("/readyz").0 == 503);
    let said = service.get("/readyz").1;
    assert!(said["parts"]["bus:desk"].as_str().unwrap().contains("another file or was cut"), "{said}");
    // Whoever shows no key learns that something is wrong, and not where it stands.
    let told = service.client.get(format!("{}/readyz", service.address)).send().unwrap();
    assert_eq!(told.status(), 503);
    let told: Value = told.json().unwrap();
    assert_eq!((&told["parts"]["bus:desk"], &told["parts"]["actors"]), (&"not ready".into(), &Value::Null), "{told}");
    service.register("m");
    let orders = serde_json::json!({
        "order_id": "o", "strategy_id": "m", "instrument": "X", "side": "BUY", "qty": "1", "price": "1",
    });
    assert_eq!(service.post("/v1/orders/check", &orders).0, 200, "orders are answered all the same");
}

#[test]
fn another_file_in_its_place_is_refused_also_after_a_restart() {
    let service = Served::with(SETTINGS, &[]);
    append(&service, &demo()[..50].concat());
    until(|| messages(&service, "taken") > 40);
    std::fs::rename(service.desk.path("grows.jsonl"), service.desk.path("old")).unwrap();
    append(&service, &demo()[..100].concat());
    let refused = |service: &Served| {
        // Before it has looked, it says that it is not connected yet.
        let said = || service.get("/readyz").1["parts"]["bus:desk"].as_str().unwrap_or_default().to_owned();
        until(|| said().contains("is another file"));
        assert_eq!(service.get("/readyz").0, 503);
    };
    refused(&service);
    let key = service.key.clone();
    service.signal("TERM");
    refused(&Served::at(service.into_desk(), key, &[]));
}

#[test]
fn a_line_that_is_too_long_is_one_dead_letter_and_its_end_is_no_report() {
    let service = Served::with(SETTINGS, &[]);
    let strategy = r#"{"type":"strategy","id":"r","ts":"2024-01-01T00:00:00Z","strategy_id":"S","initial_capital":"1","currency":"USD"}"#;
    append(&service, &format!("junk{}{strategy}\n", " ".repeat(2_200_000)));
    append(&service, &format!("{}\n", strategy.replace("\"S\"", "\"T\"")));
    until(|| messages(&service, "taken") == 1);
    assert_eq!(messages(&service, "dead"), 1);
    assert_eq!((service.get("/v1/strategies/S").0, service.get("/v1/strategies/T").0), (404, 200));
}

#[test]
fn a_setting_that_cannot_stand_is_named() {
    let desk = cli::Desk::new();
    desk.write("ephor.toml", format!("{SETTINGS}{SETTINGS}"));
    let said = desk.run(&["config", "check"]).ended(2);
    assert!(said.err.contains("bus.jsonl"), "{said:?}");
}
