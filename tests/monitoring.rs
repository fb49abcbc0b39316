//! The alert rules say what they should when they should, and rules and dashboard ask for metrics that exist.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test uses its part")]
mod cli;
mod installed;
#[expect(dead_code, reason = "each test uses its part")]
mod served;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use installed::command;
use serde_json::Value;
use served::Served;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(file(name)).unwrap()
}

/// What the service serves, as Prometheus would read it.
#[track_caller]
fn check_metrics(served: &str) {
    let mut command = command("usr/bin/promtool", "prometheus");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(served.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && said.is_empty(), "promtool check metrics: {said}");
}

#[track_caller]
fn promtool(args: &[&str]) {
    let done = command("usr/bin/promtool", "prometheus").args(args).current_dir(file("")).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "promtool {args:?}: {said}");
}

/// Every metric in the table of the README, with its type.
fn listed() -> BTreeMap<String, String> {
    let rows = text("README.md");
    let rows = rows.lines().filter_map(|row| row.strip_prefix("| `")?.split_once("` | "));
    rows.map(|(name, rest)| (name.to_owned(), rest.split(' ').next().unwrap().to_owned())).collect()
}

/// Every metric that a text asks for, by the name it is listed under; panics at one that is not listed.
#[track_caller]
fn asked(text: &str) -> Vec<String> {
    let listed = listed();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("ephor_"));
    let name = |word: &str| {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|part| {
            let name = word.strip_suffix(part)?;
            (listed.get(name)? == "histogram").then(|| name.to_owned())
        });
        let plain = || listed.get(word).filter(|kind| *kind != "histogram").map(|_| word.to_owned());
        histogram.or_else(plain).unwrap_or_else(|| panic!("{word} is not in the table of metrics, or not of its type"))
    };
    words.map(name).collect()
}

/// Every expression of the dashboard.
fn expressions(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let own = fields.get("expr").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(fields.values().flat_map(expressions)).collect()
        }
        Value::Array(values) => values.iter().flat_map(expressions).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn dashboard() -> Value {
    serde_json::from_str(&text("ephor-dashboard.json")).unwrap()
}

#[test]
fn the_alert_rules_are_rules_and_do_what_their_tests_say() {
    promtool(&["check", "rules", "ephor-rules.yml"]);
    promtool(&["test", "rules", "ephor-rules-test.yml"]);
}

#[test]
fn the_service_serves_what_the_table_lists_in_the_form_that_prometheus_asks_for() {
    let settings = "[[bus.jsonl]]\nname = \"desk\"\npath = \"grows.jsonl\"\n";
    let service = Served::with(settings, &[]);
    let request = service.request(reqwest::Method::POST, "/v1/ingest").header("content-type", "application/x-ndjson");
    assert_eq!(request.body(fs::read(cli::demo()).unwrap()).send().unwrap().text().unwrap().lines().count(), 4_248);
    let killed = service.post("/v1/kill", &serde_json::json!({ "scope": "venue:XCME", "reason": "a test" }));
    assert_eq!(killed.0, 200, "{}", killed.1);
    let served = service.get("/metrics").1;
    let served = served.as_str().unwrap();
    check_metrics(served);
    let kinds = served.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let kinds: BTreeMap<_, _> = kinds.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect();
    assert_eq!(kinds, listed());
    let decisions = served.lines().filter(|line| line.starts_with("ephor_decisions_total"));
    let decisions: u64 = decisions.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(decisions, 1_480, "every decision of the demonstration is counted");
    assert!(served.contains("ephor_maturity_level{strategy=\"BBMR-GBPUSD-M5-001\"} 3"));
    assert!(served.contains("ephor_kill_engaged{scope=\"venue:XCME\"} 1"));
}

#[test]
fn strategies_beyond_the_bound_share_one_name() {
    let service = Served::with("[telemetry]\nmetrics_strategies_max = 2\n", &[]);
    for name in ["a", "b", "c", "d"] {
        service.register(name);
        let order = serde_json::json!({
            "order_id": "o", "strategy_id": name, "instrument": "X", "side": "BUY", "qty": "1", "price": "1",
        });
        assert_eq!(service.post("/v1/orders/check", &order).0, 200);
    }
    let served = service.get("/metrics").1;
    let served = served.as_str().unwrap();
    assert!(served.contains("ephor_decisions_total{action=\"block\",strategy=\"_other\"} 2"), "{served}");
    assert_eq!(served.matches("ephor_health_score{").count(), 2);
}

#[test]
fn every_alert_is_raised_by_a_test() {
    let (rules, tests) = (text("ephor-rules.yml"), text("ephor-rules-test.yml"));
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        let raised =
            tests.contains(&format!("alertname=\"{alert}\"")) || tests.contains(&format!("alertname: {alert}\n"));
        assert!(raised, "no test raises {alert}");
    }
}

#[test]
fn rules_and_dashboard_ask_for_metrics_that_exist_and_the_dashboard_for_all_of_them() {
    assert!(listed().len() >= 18);
    assert!(!asked(&text("ephor-rules.yml")).is_empty());
    asked(&text("ephor-rules-test.yml"));
    let shown = asked(&text("ephor-dashboard.json"));
    let missing: Vec<_> = listed().into_keys().filter(|name| !shown.contains(name)).collect();
    assert!(missing.is_empty(), "the dashboard does not show {missing:?}");
}

#[test]
fn the_dashboard_asks_in_the_language_of_prometheus() {
    let expressions = expressions(&dashboard());
    assert!(expressions.len() > 20, "{expressions:?}");
    let rules = expressions.iter().enumerate().map(|(number, expression)| {
        let expression = expression.replace("$__rate_interval", "5m").replace("$strategy", ".*");
        serde_json::json!({ "record": format!("asked:{number}"), "expr": expression })
    });
    // JSON is YAML.
    let groups = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules.collect::<Vec<_>>() }] });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("dashboard.yml");
    fs::write(&path, groups.to_string()).unwrap();
    promtool(&["check", "rules", path.to_str().unwrap()]);
}

#[test]
fn the_panels_of_the_dashboard_are_told_apart_and_do_not_overlap() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids: Vec<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), panels.len());
    let place = |panel: &Value| ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
    for (number, panel) in panels.iter().enumerate() {
        let [x, y, w, h] = place(panel);
        assert!(x + w <= 24, "{panel}");
        for other in panels.iter().skip(number + 1) {
            let [x2, y2, w2, h2] = place(other);
            let apart = x + w <= x2 || x2 + w2 <= x || y + h <= y2 || y2 + h2 <= y;
            assert!(apart, "{} lies over {}", panel["title"], other["title"]);
        }
    }
}
