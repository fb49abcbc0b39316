//! What is published about the wire is what the program does: the schema of Ephor's own JSON, and the AsyncAPI document.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test uses its part")]
mod cli;
#[expect(dead_code, reason = "each test uses its part")]
mod served;

use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use ephor::formats::schema;
use ephor::input::Parser;
use ephor_governance::units::Timestamp;
use serde_json::{Value, json};

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// With `BLESS` set it is written anew.
#[test]
fn the_published_schema_is_the_one_of_this_version() {
    let path = at("docs/wire/ephor.schema.json");
    let current = schema::json();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    assert!(std::fs::read_to_string(&path).unwrap() == current, "BLESS=1 cargo test --test wire writes it anew");
}

/// What a second program says: of lines held against the published schema, or of a YAML file as JSON.
fn judge(what: &str, path: &str, lines: &str) -> String {
    static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| served::python("wire", "tests/wire/requirements.txt"));
    let mut input = tempfile::tempfile().unwrap();
    input.write_all(lines.as_bytes()).unwrap();
    input.rewind().unwrap();
    let mut command = Command::new(&*PYTHON);
    command.arg(at("tests/wire/judge.py")).args([what.as_ref(), at(path).as_os_str()]).stdin(input);
    cli::Said::of(&command.output().unwrap()).ended(0).out
}

/// What is wrong with each line, by the published schema; empty where nothing is.
fn faults(lines: &str) -> Vec<String> {
    judge("schema", "docs/wire/ephor.schema.json", lines).lines().map(str::to_owned).collect()
}

fn taken(line: &Value) -> bool {
    let now = || Timestamp::from_nanos(1_796_083_200 * 1_000_000_000);
    Parser::live(now).line(line.to_string().as_bytes()).is_ok()
}

#[test]
fn every_line_of_the_demo_is_as_the_schema_says() {
    let text = std::fs::read_to_string(at("tests/data/demo.jsonl")).unwrap();
    let faults = faults(&text);
    assert_eq!(faults.len(), 4_247);
    for (line, fault) in text.lines().zip(faults) {
        assert_eq!(fault, "", "{line}");
    }
}

/// One of each type, with every field it may have.
fn whole() -> Vec<Value> {
    let common = json!({"id": "i-1", "ts": "2026-01-02T03:04:05.6Z", "strategy_id": "a", "trace_id": "t"});
    let with = |kind: &str, more: Value| {
        let mut line = common.clone();
        let fields = line.as_object_mut().unwrap();
        fields.insert("type".to_owned(), json!(kind));
        fields.extend(more.as_object().unwrap().clone());
        line
    };
    vec![
        with(
            "strategy",
            json!({"engine": "e", "strategy_class": "c", "params": {"n": [1, {"m": null}]}, "instrument": "X",
                "initial_capital": "1000", "currency": "USD", "multiplier": 2.5}),
        ),
        with(
            "baseline",
            json!({"period_start": "2020-01-01T00:00:00Z", "period_end": "2021-01-01T00:00:00+02:00",
                "metrics": {"trades": 9, "win_rate": "0.5", "profit_factor": 1.5, "sharpe_trade": "-0.1", "avg_rr": "1",
                "expectancy": "3", "avg_trade_return_pct": "0.1", "max_drawdown": "0.2"}}),
        ),
        with(
            "signal",
            json!({"order_id": "o", "instrument": "X", "venue": "V", "side": "buy", "qty": 1, "price": "-1.5e1",
                "notional": "10", "currency": "USD", "reduce_only": true, "leverage": "2", "position_qty": "-1",
                "equity": "9", "open_positions": 3, "token": "k", "intent": "Exit", "tag": "g"}),
        ),
        // Beside a limit nobody asks for the last price.
        with("signal", json!({"instrument": "X", "side": "SELL", "qty": "1", "ref_price": ".5"})),
        with(
            "order",
            json!({"order_id": "o", "instrument": "X", "status": "FILLED", "side": "SELL", "qty": "1", "price": "2",
                "position_qty": "1", "equity": "1", "commission": "-0.1", "reason": "r"}),
        ),
        with(
            "trade_closed",
            json!({"order_id": "o", "instrument": "X", "side": "short", "qty": "1", "entry_price": "2", "price": "3",
                "realized_pnl": "-1", "currency": "USD", "initial_risk": "1", "opened_at": "2026-01-01T00:00:00Z",
                "closed_at": "2026-01-02T00:00:00Z"}),
        ),
        with(
            "fill",
            json!({"order_id": "o", "filled_at": "2026-01-01T00:00:00Z", "instrument": "X", "account": "c",
                "side": "BUY", "qty": "1", "price": "2", "currency": "USDT",
                "fee": "0.1", "fee_currency": "BNB", "fee_rate": "600",
                "netting": "Average"}),
        ),
        with("account", json!({"equity": "1", "currency": "USD", "leverage": "1", "open_positions": 0})),
    ]
}

/// How far the schema and the reader must agree on a line.
#[derive(Clone, Copy, PartialEq)]
enum Agree {
    /// Both take it.
    Taken,
    /// Both take it, or both refuse it.
    Same,
    /// The schema may let more through than the reader, never less.
    NoLess,
    /// Neither takes it.
    Refused,
}

#[test]
fn the_schema_and_the_reader_agree_on_what_each_field_may_be() {
    let mut cases: Vec<(Value, Agree)> = Vec::new();
    for line in whole() {
        cases.push((line.clone(), Agree::Taken));
        let fields: Vec<String> = line.as_object().unwrap().keys().cloned().collect();
        for field in fields {
            let mut missing = line.clone();
            missing.as_object_mut().unwrap().remove(&field);
            // What must stand beside something else is not said in the schema.
            cases.push((missing, if field == "fee" { Agree::NoLess } else { Agree::Same }));
            for wrong in
                [json!({}), json!([]), json!(""), json!(true), json!(7), json!("NaN"), json!("x y"), json!("\n")]
            {
                let mut changed = line.clone();
                changed.as_object_mut().unwrap().insert(field.clone(), wrong.clone());
                let free = ["params", "metrics"].contains(&field.as_str());
                // An account is nobody's: there these are fields that nobody asks for.
                let unasked = line["type"] == "account" && ["strategy_id", "trace_id"].contains(&field.as_str());
                let shaped = wrong.is_object() || wrong.is_array();
                cases.push((changed, if shaped && !free && !unasked { Agree::Refused } else { Agree::NoLess }));
            }
        }
    }
    let lines: Vec<String> = cases.iter().map(|(line, _)| line.to_string()).collect();
    let lines = lines.join("\n") + "\n";
    let faults = faults(&lines);
    assert_eq!(faults.len(), cases.len());
    for ((line, agree), fault) in cases.iter().zip(faults) {
        let (valid, taken) = (fault.is_empty(), taken(line));
        let agrees = match agree {
            Agree::Taken => valid && taken,
            Agree::Same => valid == taken,
            Agree::NoLess => valid || !taken,
            Agree::Refused => !valid && !taken,
        };
        assert!(agrees, "schema: {fault:?}, reader takes it: {taken}: {line}");
    }
}

/// Every `$ref` of a document.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(to)) = fields.get("$ref") {
                found.push(to.clone());
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The published meta-schema of AsyncAPI 3.0.0, out of its authors' own package, fetched once.
fn meta_schema() -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("asyncapi");
    let schema = place.join("node_modules/@asyncapi/specs/schemas/3.0.0.json");
    if !schema.exists() {
        let npm = match Command::new("npm").arg("--version").output() {
            Ok(said) if said.status.success() => PathBuf::from("npm"),
            _ => served::python("node", "tests/wire/node.txt").with_file_name("npm"),
        };
        std::fs::create_dir_all(&place).unwrap();
        let path = std::env::join_paths(
            npm.parent()
                .map(Path::to_owned)
                .into_iter()
                .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
        );
        let mut install = Command::new(&npm);
        install.args(["install", "--no-audit", "--no-fund", "@asyncapi/specs@6.11.1"]);
        let done = install.env("PATH", path.unwrap()).arg("--prefix").arg(&place).output().unwrap();
        cli::Said::of(&done).ended(0);
    }
    schema
}

/// What is wrong with a document, by the meta-schema; empty where nothing is.
fn misfit(document: &Value) -> String {
    judge("schema", meta_schema().to_str().unwrap(), &format!("{document}\n")).trim().to_owned()
}

#[test]
fn the_asyncapi_document_is_one_by_the_published_meta_schema() {
    let document: Value = serde_json::from_str(&judge("yaml", "docs/wire/asyncapi.yaml", "")).unwrap();
    assert_eq!(misfit(&document), "");
    let mut wrong = document.clone();
    wrong["operations"]["takeReports"]["action"] = json!("take");
    assert!(misfit(&wrong).contains("'take' is not one of"), "{}", misfit(&wrong));
    let mut wrong = document;
    wrong["channels"]["reports"]["adress"] = json!("ephor.in");
    assert_ne!(misfit(&wrong), "");
}

#[test]
fn the_asyncapi_document_holds_together() {
    let document: Value = serde_json::from_str(&judge("yaml", "docs/wire/asyncapi.yaml", "")).unwrap();
    assert_eq!(document["asyncapi"], "3.0.0");
    let known = ["asyncapi", "info", "defaultContentType", "servers", "channels", "operations", "components"];
    assert!(document.as_object().unwrap().keys().all(|name| known.contains(&name.as_str())));
    let mut found = Vec::new();
    references(&document, &mut found);
    for to in &found {
        match to.strip_prefix('#') {
            Some(pointer) => assert!(document.pointer(pointer).is_some(), "{to}"),
            None => assert!(at("docs/wire").join(to).exists(), "{to}"),
        }
    }
    for (name, channel) in document["channels"].as_object().unwrap() {
        let address = channel["address"].as_str().unwrap();
        let parameters: Vec<&str> =
            address.split('.').filter_map(|token| token.strip_prefix('{')?.strip_suffix('}')).collect();
        let described: Vec<&String> =
            channel.get("parameters").and_then(Value::as_object).map(|all| all.keys().collect()).unwrap_or_default();
        assert_eq!(parameters, described, "{name}");
        assert!(!channel["messages"].as_object().unwrap().is_empty(), "{name}");
    }
    for (name, operation) in document["operations"].as_object().unwrap() {
        assert!(["send", "receive"].contains(&operation["action"].as_str().unwrap()), "{name}");
        let channel = operation["channel"]["$ref"].as_str().unwrap();
        for message in operation["messages"].as_array().unwrap() {
            assert!(message["$ref"].as_str().unwrap().starts_with(&format!("{channel}/messages/")), "{name}");
        }
    }
    let kinds: Vec<&str> = document["channels"]["reports"]["parameters"]["kind"]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|kind| kind.as_str().unwrap())
        .collect();
    let whole = whole();
    let mut types: Vec<&str> = whole.iter().map(|line| line["type"].as_str().unwrap()).collect();
    types.dedup();
    assert_eq!(kinds, types);
}
