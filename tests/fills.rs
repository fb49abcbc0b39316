//! Fills from outside: lines and reports in, trades and books out; and what belongs to nobody, where it can be seen.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test uses its part")]
mod cli;
#[expect(dead_code, reason = "each test uses its part")]
mod served;

use cli::Desk;
use ephor_actors::{Config, Governor, Request};
use ephor_events::{EventLog, Options};
use ephor_governance::event::Unattributed;
use ephor_governance::ids::StrategyId;
use ephor_governance::strategy::Command;
use ephor_governance::units::Timestamp;
use serde_json::{Value, json};
use served::Served;

const REGISTER: &str = r#"{"type":"strategy","id":"r1","ts":"2020-01-01T00:00:00Z","strategy_id":"A","initial_capital":"1000","currency":"USD"}"#;

fn fill(id: &str, more: &str) -> String {
    let ts = format!("2020-01-02T00:00:{:02}Z", id.trim_start_matches('f').parse::<u32>().unwrap());
    format!(r#"{{"type":"fill","id":"{id}","ts":"{ts}","strategy_id":"A","instrument":"X",{more}}}"#)
}

fn lines() -> String {
    [
        REGISTER.to_owned(),
        fill("f1", r#""side":"BUY","qty":"10","price":"100","account":"U1","fee":"1","order_id":"O-1""#),
        fill("f2", r#""side":"BUY","qty":"10","price":"110","account":"U1","fee":"0.01","fee_currency":"BNB""#),
        fill(
            "f3",
            r#""side":"SELL","qty":"15","price":"120","account":"U1","fee":"2","fee_currency":"EUR","fee_rate":"1.1""#,
        ),
        fill("f4", r#""side":"SELL","qty":"1","price":"120","account":"U1","filled_at":"2020-01-02T00:00:02Z""#),
        fill("f5", r#""side":"SELL","qty":"1","price":"90","netting":"average""#),
    ]
    .join("\n")
}

#[test]
fn lines_of_fills_become_trades_that_can_be_asked_about_and_judged_again() {
    let desk = Desk::new();
    desk.govern(lines());
    let state = desk.run(&["state", "A", "--json"]).ended(0).json();
    let state = &state["state"];
    // 10 x 20 and 5 x 10 gained, 1 paid on entry and 2.2 on exit; then 10.
    assert_eq!((&state["totals"]["trades"], &state["totals"]["pnl"]), (&json!(2), &json!("256.8")), "{state}");
    assert_eq!(state["positions"], json!({ "X": "3" }), "4 long in one account, 1 short in none");
    let fills = &state["fills"];
    assert_eq!((&fills["recorded"], &fills["late"], &fills["fees_unconverted"]), (&json!(5), &json!(1), &json!(1)));
    assert_eq!(fills["books"]["X"]["U1"]["lots"][0]["qty"], json!("4"), "{fills}");
    let said = desk.run(&["state", "A"]).ended(0).out;
    for part in
        ["5, 1 late", "1 fee in another currency, in no result", "4 open in account U1, 1 lot", "-1 open, 1 lot"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    let events = desk.run(&["events", "--stream", "A"]).ended(0).out;
    assert!(events.contains("bought 10 X at 100 in account U1"), "{events}");
    assert!(desk.run(&["audit", "--json"]).ended(0).json()["differ"] == json!(0));
    // The same lines again are nothing new, also where the matching is another by now.
    let head = desk.run(&["events", "--json"]).ended(0).out.lines().count();
    desk.govern(lines().replace(r#""netting":"average""#, r#""netting":"fifo""#));
    assert_eq!(desk.run(&["events", "--json"]).ended(0).out.lines().count(), head);
    assert!(!desk.path("ephor-data/rejects/input.jsonl").exists());
}

#[test]
fn a_bad_fill_is_rejected_with_the_field_and_stops_nothing() {
    let desk = Desk::new();
    desk.govern(lines());
    let bad = [
        fill("f5", r#""side":"SELL","qty":"2","price":"90""#),
        fill("f9", r#""side":"BUY","qty":"1","price":"100","fee":"1","fee_rate":"-2""#),
        fill("f9", r#""side":"BUY","qty":"10000000000","price":"79228162514264337593543950335""#),
        fill("f9", r#""side":"BUY","qty":"1","price":"100""#).replace("\"A\"", "\"UNATTRIBUTED\""),
    ];
    desk.govern([lines(), bad.join("\n")].join("\n"));
    let rejects = std::fs::read_to_string(desk.path("ephor-data/rejects/input.jsonl")).unwrap();
    let rejects: Vec<Value> = rejects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: Vec<(&str, &str)> =
        rejects.iter().map(|said| (said["reason"].as_str().unwrap(), said["field"].as_str().unwrap())).collect();
    let wanted = [
        ("ID_REUSED", "id"),
        ("FIELD_OUT_OF_RANGE", "fee_rate"),
        ("FIELD_OUT_OF_RANGE", "qty"),
        ("FIELD_MALFORMED", "strategy_id"),
    ];
    assert_eq!(found, wanted, "{rejects:?}");
}

#[test]
fn fills_come_in_over_http_too() {
    let served = Served::new();
    served.register("A");
    let told = |id: &str, side: &str, price: &str| {
        served.post(
            "/v1/reports",
            &json!({
                "type": "fill", "id": id, "ts": "2024-01-02T00:00:00Z", "strategy_id": "A", "instrument": "X",
                "side": side, "qty": "10", "price": price,
            }),
        )
    };
    assert_eq!(told("f1", "BUY", "100").1["events"], json!(["FillRecorded"]));
    let (status, closed) = told("f2", "SELL", "90");
    assert_eq!(
        (status, &closed["events"]),
        (200, &json!(["FillRecorded", "TradeClosed", "HealthUpdated"])),
        "{closed}"
    );
    assert_eq!(told("f2", "SELL", "90").1["status"], json!("repeated"));
    let (status, other) = told("f2", "SELL", "91");
    assert_eq!((status, &other["code"]), (409, &json!("ID_REUSED")));
    let line = fill("f7", r#""side":"BUY","qty":"0","price":"1""#);
    let request = served.request(reqwest::Method::POST, "/v1/ingest").header("content-type", "application/x-ndjson");
    let answer = request.body(line).send().unwrap().text().unwrap();
    let answer: Value = serde_json::from_str(answer.lines().next().unwrap()).unwrap();
    assert_eq!((&answer["status"], &answer["field"]), (&json!("rejected"), &json!("qty")), "{answer}");
}

/// Keeps something that belongs to nobody, as an adapter of a bus does.
fn keep(desk: &Desk) {
    let at: Timestamp = "2021-01-01T00:00:00Z".parse().unwrap();
    let received = Unattributed {
        id: "exec-1".parse().unwrap(),
        source: "fix".into(),
        kind: "fill".into(),
        content: r#"{"account":"U9"}"#.to_owned(),
        reason: "no rule matches account U9".to_owned(),
    };
    let command = Command::RecordUnattributed(received);
    let request = Request { strategy: StrategyId::unattributed(), command, at, trace: "".into(), occurred_at: None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let log = EventLog::open(&desk.path("ephor-data"), &Options::default(), &mut |_| {}).unwrap().0;
        let (governor, threads) = Governor::start(log, &Config::default()).unwrap();
        governor.ask(request).await.unwrap();
        governor.shutdown(threads).await.unwrap();
    });
}

#[test]
fn what_belongs_to_nobody_can_be_seen_is_counted_and_is_no_strategy() {
    let desk = Desk::new();
    desk.govern(REGISTER);
    keep(&desk);
    let events = desk.run(&["events", "--stream", "UNATTRIBUTED"]).ended(0).out;
    assert!(events.contains("fill exec-1 of fix is nobody's: no rule matches account U9"), "{events}");
    let listed = desk.run(&["strategies", "--json"]).ended(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert!(desk.run(&["audit", "--json"]).ended(0).json()["differ"] == json!(0));
    desk.run(&["verify"]).ended(0);
    desk.run(&["replay"]).ended(0);
    desk.write("ephor.toml", "");
    let key = served::key_of(&desk, "desk", "admin");
    let served = Served::at(desk, key, &[]);
    let strategies = served.get("/v1/strategies").1;
    assert_eq!((&strategies["total"], &strategies["strategies"][0]["id"]), (&json!(1), &json!("A")), "{strategies}");
    let metrics = served.get("/metrics").1;
    let metrics = metrics.as_str().unwrap();
    assert!(metrics.contains("ephor_unattributed_total 1\n") && metrics.contains("ephor_strategies 1\n"), "{metrics}");
    assert!(!metrics.contains("strategy=\"UNATTRIBUTED\""), "{metrics}");
    let events = served.get("/v1/events?strategy=UNATTRIBUTED").1;
    assert_eq!(events["events"][0]["data"]["content"], json!(r#"{"account":"U9"}"#), "{events}");
}
