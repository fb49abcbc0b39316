//! The service from outside: asked over HTTP, switched off, restarted, watched.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cli;
#[expect(dead_code, reason = "each test uses its part")]
mod served;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use cli::{Desk, demo};
use serde_json::{Value, json};
use served::{Served, key_of};

fn order(id: &str) -> Value {
    json!({
        "order_id": id, "strategy_id": "A", "instrument": "EUR/USD.SIM", "side": "BUY", "qty": "1000", "price": "1.1",
        "equity": "1000000", "leverage": "1", "position_qty": "0", "open_positions": 0,
    })
}

/// Waits until something holds.
#[track_caller]
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_order_is_decided_once_and_for_all_restarts() {
    let mut served = Served::new();
    served.register("A");
    let (status, first) = served.post("/v1/orders/check", &order("o-1"));
    assert_eq!((status, &first["action"], &first["repeat"]), (200, &json!("block"), &json!(false)), "{first}");
    assert_eq!((&first["execution"], &first["reason"]), (&json!("paper"), &json!("MATURITY_LEVEL_TOO_LOW")));
    let verdicts = first["verdicts"].as_array().unwrap();
    assert_eq!(verdicts.len(), 8, "every component has its say: {first}");
    let again = served.post("/v1/orders/check", &order("o-1")).1;
    served.signal("TERM");
    assert_eq!(served.ended(), Some(0), "{}", served.stderr());
    let key = served.key.clone();
    let served = Served::at(served.into_desk(), key, &[]);
    let after = served.post("/v1/orders/check", &order("o-1")).1;
    for said in [&again, &after] {
        assert_eq!(said["repeat"], json!(true));
        for field in ["action", "seq", "verdicts", "decided_at", "trace_id", "policy"] {
            assert_eq!(said[field], first[field], "{field}");
        }
    }
    let mut other = order("o-1");
    other["qty"] = json!("1001");
    let (status, said) = served.post("/v1/orders/check", &other);
    assert_eq!((status, &said["code"], &said["action"]), (409, &json!("ID_REUSED"), &json!("block")), "{said}");
    assert_eq!(served.get("/readyz").0, 200);
}

#[test]
fn an_idempotency_key_stands_in_for_the_order_id_and_must_agree_with_it() {
    let served = Served::new();
    served.register("A");
    let ask = |order: &Value, key: &str| {
        let request = served.request(reqwest::Method::POST, "/v1/orders/check").header("Idempotency-Key", key);
        request.json(order).send().unwrap().json::<Value>().unwrap()
    };
    let mut without = order("o-1");
    without.as_object_mut().unwrap().remove("order_id");
    let first = ask(&without, "k-1");
    assert_eq!((&first["order_id"], &first["repeat"]), (&json!("k-1"), &json!(false)), "{first}");
    assert_eq!(ask(&without, "k-1")["repeat"], json!(true));
    assert_eq!(ask(&order("o-2"), "o-2")["order_id"], json!("o-2"));
    assert_eq!(ask(&order("o-3"), "k-3")["code"], json!("IDEMPOTENCY_KEY_MISMATCH"));
}

#[test]
fn switched_off_it_allows_everything_records_nothing_and_opens_nothing() {
    let desk = Desk::new();
    let key = key_of(&desk, "desk", "admin");
    let before: Vec<_> =
        std::fs::read_dir(desk.path("ephor-data")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let served = Served::disabled(desk, key);
    for _ in 0..2 {
        let (status, said) = served.post("/v1/orders/check", &order("o-1"));
        assert_eq!((status, &said["action"], &said["multiplier"]), (200, &json!("allow"), &json!(1.0)));
        assert_eq!((&said["reason"], &said["seq"]), (&json!("GOVERNANCE_DISABLED"), &Value::Null));
        assert_eq!((&said["repeat"], &said["verdicts"]), (&json!(false), &json!([])));
    }
    let batch = served.post("/v1/orders/check:batch", &json!({ "orders": [order("o-1"), order("o-2")] })).1;
    assert_eq!(batch["results"].as_array().unwrap().len(), 2);
    let report = json!({ "type": "strategy", "id": "r", "ts": "2024-01-01T00:00:00Z", "strategy_id": "A",
        "initial_capital": "1", "currency": "USD" });
    let (status, said) = served.post("/v1/reports", &report);
    assert_eq!((status, &said["code"]), (409, &json!("GOVERNANCE_DISABLED")), "{said}");
    assert_eq!(
        served.get("/readyz"),
        (200, json!({ "ready": true, "governance_enabled": false, "parts": { "intake": null } }))
    );
    let after: Vec<_> =
        std::fs::read_dir(served.desk.path("ephor-data")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(before, after, "no log, no index, no state");
}

#[test]
fn a_stream_of_reports_is_answered_line_by_line_in_order() {
    let served = Served::new();
    let stream = |body: String| {
        let request =
            served.request(reqwest::Method::POST, "/v1/ingest").header("content-type", "application/x-ndjson");
        let text = request.body(body).send().unwrap().text().unwrap();
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let whole = std::fs::read_to_string(demo()).unwrap();
    let results = stream(whole.clone());
    let (totals, lines) = results.split_last().unwrap();
    assert_eq!(totals, &json!({ "done": true, "lines": lines.len(), "counts": { "recorded": lines.len() } }));
    for (number, line) in (1..).zip(lines) {
        assert_eq!((&line["line"], &line["status"]), (&json!(number), &json!("recorded")), "{line}");
    }
    let again = stream(whole.clone());
    assert_eq!(again.last().unwrap()["counts"], json!({ "repeated": lines.len() }), "the same again records nothing");

    let long = format!("{{\"type\":\"{}\"}}", "x".repeat(1 << 20));
    let first = whole.lines().next().unwrap();
    let mixed = stream(format!("not json\n\n{first}\n{long}\n{}", first.replace("\"strategy\"", "\"stranger\"")));
    let codes: Vec<_> = mixed.iter().map(|line| (line["line"].as_u64(), line["code"].as_str())).collect();
    let expected = [
        (Some(1), Some("LINE_NOT_JSON")),
        (Some(3), None),
        (Some(4), Some("LINE_TOO_LONG")),
        (Some(5), Some("TYPE_UNKNOWN")),
        (None, None),
    ];
    assert_eq!(codes, expected);
    assert_eq!(mixed.last().unwrap()["counts"], json!({ "rejected": 3, "repeated": 1 }));
}

#[test]
fn a_batch_is_decided_in_its_order_and_one_wrong_order_stops_no_other() {
    let served = Served::new();
    served.register("A");
    let mut stranger = order("o-3");
    stranger["strategy_id"] = json!("nobody");
    let orders = json!({ "orders": [order("o-1"), { "order_id": "o-2" }, stranger, order("o-4"), order("o-1")] });
    let (status, said) = served.post("/v1/orders/check:batch", &orders);
    assert_eq!(status, 200);
    let results = said["results"].as_array().unwrap();
    assert_eq!((&results[1]["code"], &results[1]["field"]), (&json!("FIELD_MISSING"), &json!("strategy_id")));
    assert_eq!((&results[2]["code"], &results[2]["action"]), (&json!("STRATEGY_UNKNOWN"), &json!("block")));
    assert!(results[0]["seq"].as_u64() < results[3]["seq"].as_u64(), "{said}");
    assert_eq!((&results[4]["repeat"], &results[4]["seq"]), (&json!(true), &results[0]["seq"]));
    let none = served.post("/v1/orders/check:batch", &json!({ "orders": [] }));
    assert_eq!((none.0, &none.1["field"]), (422, &json!("orders")));
}

#[test]
fn a_revoked_key_is_out_within_seconds_and_a_role_does_what_it_may() {
    let served = Served::new();
    served.register("A");
    let viewer = key_of(&served.desk, "eve", "viewer");
    let with = |key: &str| {
        let request = served.client.post(format!("{}/v1/orders/check", served.address)).bearer_auth(key);
        let response = request.json(&order("o-1")).send().unwrap();
        (response.status().as_u16(), response.json::<Value>().unwrap())
    };
    eventually("a new key comes in", || with(&viewer).0 == 403);
    let (_, said) = with(&viewer);
    assert_eq!((&said["code"], &said["action"]), (&json!("ROLE_INSUFFICIENT"), &json!("block")), "{said}");
    let (status, said) = with("ephor_0000_0000");
    assert_eq!((status, &said["code"], &said["action"]), (401, &json!("KEY_INVALID"), &json!("block")), "{said}");
    let nothing = served.post("/v1/orders/check:batch", &json!({ "orders": [] })).1;
    assert_eq!(nothing["action"], json!("block"), "{nothing}");
    revoke(&served, "eve");
    eventually("a revoked key stays out", || with(&viewer).0 == 401);
}

fn revoke(served: &Served, name: &str) {
    let listed = served.desk.run(&["api-key", "list", "--json"]).ended(0).json();
    let id = listed.as_array().unwrap().iter().find(|entry| entry["name"] == json!(name)).unwrap()["id"].clone();
    served.desk.run(&["api-key", "revoke", id.as_str().unwrap()]).ended(0);
}

/// A key was looked at when a stream began and never again: whoever had one open kept it for as long as it lasted.
#[test]
fn a_stream_does_not_outlive_the_key_that_opened_it() {
    let served = Served::new();
    let (viewer, engine) = (key_of(&served.desk, "eve", "viewer"), key_of(&served.desk, "engine-1", "engine"));
    let open = |key: &str| {
        let client = reqwest::blocking::Client::builder().timeout(None).build().unwrap();
        client.get(format!("{}/v1/events/stream?from=1", served.address)).bearer_auth(key).send().unwrap()
    };
    for key in [&viewer, &engine] {
        eventually("a new key comes in", || open(key).status() == 200);
    }
    let (kept, mut followed) = (open(&served.key), open(&viewer));
    let mut ingest = TcpStream::connect(served.authority()).unwrap();
    ingest.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(
        ingest,
        "POST /v1/ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {engine}\r\nConnection: close\r\n\
         Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    .unwrap();
    let line = |id: &str| {
        let declared = json!({ "type": "strategy", "id": id, "ts": "2024-01-01T00:00:00Z", "strategy_id": id,
            "initial_capital": "1000", "currency": "USD" });
        let declared = format!("{declared}\n");
        (&ingest).write_all(format!("{:x}\r\n{declared}\r\n", declared.len()).as_bytes())
    };
    line("before").unwrap();
    eventually("the line is taken", || served.get("/v1/strategies/before").0 == 200);
    revoke(&served, "eve");
    revoke(&served, "engine-1");
    let mut seen = String::new();
    followed.read_to_string(&mut seen).unwrap();
    assert!(seen.contains("\"before\""), "{seen}");
    let mut taken = String::new();
    (&ingest).read_to_string(&mut taken).unwrap();
    drop(line("after"));
    assert!(taken.contains("\"before\"") && !taken.contains("\"done\""), "{taken}");
    assert_eq!(served.get("/v1/strategies/after").0, 404);
    served.register("A");
    let mut kept = BufReader::new(kept).lines();
    assert!(kept.any(|line| line.unwrap().contains("register-A")), "another's stream goes on");
}

#[test]
fn an_open_address_needs_tls_or_a_word() {
    let desk = Desk::new();
    let said = desk.run(&["serve", "--bind", "0.0.0.0:0"]).ended(2);
    assert!(said.err.contains("server.bind") && said.err.contains("allow_plaintext"), "{}", said.err);
    assert!(!desk.path("ephor-data").exists(), "nothing was made");
}

#[test]
fn a_component_that_stays_away_kills_and_its_return_is_told() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    let desk = Desk::new();
    desk.write("ephor.toml", format!("[[canary.tcp]]\nname = \"venue\"\naddress = \"{address}\"\n"));
    desk.write("policy.toml", "[canary]\ninterval_seconds = 1\nfailures_max = 2\n");
    desk.run(&["policy", "adopt", "policy.toml", "--by", "alice", "--reason", "quick"]).ended(0);
    let registration = r#"{"type":"strategy","id":"r","ts":"2024-01-01T00:00:00Z","strategy_id":"A","initial_capital":"1000","currency":"USD"}"#;
    desk.govern(registration);
    let key = key_of(&desk, "desk", "admin");
    let served = Served::at(desk, key, &[]);
    drop(port);
    let action = |id: &str| served.post("/v1/orders/check", &order(id)).1["action"].clone();
    let mut number = 0;
    let started = Instant::now();
    let killed = loop {
        number += 1;
        let action = action(&format!("o-{number}"));
        if action == json!("kill") {
            break true;
        }
        if started.elapsed() > Duration::from_secs(20) {
            break false;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(killed, "{}", served.stderr());
    let metrics = served.get("/metrics").1;
    let metrics = metrics.as_str().unwrap();
    assert!(metrics.contains("ephor_canary_up{component=\"tcp:venue\"} 0"), "{metrics}");
    assert!(metrics.contains("ephor_kill_engaged{scope=\"all\"} 1"), "{metrics}");
    let _back = TcpListener::bind(address).unwrap();
    eventually("the recovery is told", || served.stderr().contains("a component has recovered"));
    assert_eq!(action("late"), json!("kill"), "a kill stays until a person re-arms");
}

/// A collector that takes one export and shows its body.
#[test]
fn a_request_is_a_span_of_the_callers_trace() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings =
        format!("[telemetry]\notlp_endpoint = \"http://{}\"\nlog_format = \"json\"\n", collector.local_addr().unwrap());
    let mut served = Served::with(&settings, &[]);
    served.register("A");
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = served.request(reqwest::Method::POST, "/v1/orders/check");
    let request = request.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01")).json(&order("o-1"));
    assert_eq!(request.send().unwrap().json::<Value>().unwrap()["trace_id"], json!(trace));
    served.signal("TERM");
    let (stream, _) = collector.accept().unwrap();
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head += &line;
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /v1/traces "), "{head}");
    let bytes: Vec<u8> = (0..16).map(|at| u8::from_str_radix(&trace[2 * at..2 * at + 2], 16).unwrap()).collect();
    assert!(body.windows(16).any(|window| window == bytes), "the span stands in the caller's trace");
    assert!(body.windows(16).any(|window| window == b"/v1/orders/check"), "the span names its route");
    assert_eq!(served.ended(), Some(0), "{}", served.stderr());
    for line in served.stderr().lines().filter(|line| line.starts_with('{')) {
        serde_json::from_str::<Value>(line).unwrap();
    }
}

#[test]
fn an_engine_declares_what_nobody_knows_and_changes_nothing_that_is_known() {
    let served = Served::new();
    let engine = key_of(&served.desk, "engine-1", "engine");
    let declare = |key: &str, id: &str, multiplier: &str| {
        let declared = json!({ "type": "strategy", "id": id, "ts": "2024-01-01T00:00:00Z", "strategy_id": "A",
            "initial_capital": "1000", "currency": "USD", "multiplier": multiplier });
        let one = served.client.post(format!("{}/v1/reports", served.address)).bearer_auth(key).json(&declared);
        let line = served.client.post(format!("{}/v1/ingest", served.address)).bearer_auth(key);
        let line = line.header("content-type", "application/x-ndjson").body(declared.to_string());
        let (one, line) = (one.send().unwrap(), line.send().unwrap().text().unwrap());
        let first: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
        (one.status().as_u16(), first["status"].as_str().unwrap_or_default().to_owned())
    };
    eventually("the engine comes in", || declare(&engine, "r-1", "1").0 == 200);
    assert_eq!(declare(&engine, "r-2", "1"), (200, "repeated".to_owned()), "the same again changes nothing");
    assert_eq!(declare(&engine, "r-3", "0.000001"), (403, "rejected".to_owned()));
    assert_eq!(declare(&served.key, "r-4", "2").0, 200, "an operator may");
}

/// What is known was looked at, and only then declared: of two who came at once the second changed what the first had
/// just made known.
#[test]
fn of_engines_that_declare_one_strategy_at_once_one_does() {
    let served = Served::new();
    let engine = key_of(&served.desk, "engine-1", "engine");
    let known = || served.client.get(format!("{}/v1/kill", served.address)).bearer_auth(&engine).send().unwrap();
    eventually("the engine comes in", || known().status() == 200);
    for round in 0..25 {
        let declare = |capital: usize| {
            let declared = json!({ "type": "strategy", "id": format!("r-{round}-{capital}"), "currency": "USD",
                "ts": "2024-01-01T00:00:00Z", "strategy_id": format!("s-{round}"), "initial_capital": capital });
            let asked = served.client.post(format!("{}/v1/reports", served.address)).bearer_auth(&engine);
            asked.json(&declared).send().unwrap().status().as_u16()
        };
        let start = Barrier::new(8);
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let asking: Vec<_> = (1..=8)
                .map(|capital| {
                    let (start, declare) = (&start, &declare);
                    scope.spawn(move || {
                        start.wait();
                        declare(capital)
                    })
                })
                .collect();
            asking.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert!(statuses.iter().all(|status| [200, 403].contains(status)), "{statuses:?}");
    }
}

#[test]
fn a_retry_under_another_trace_gets_the_trace_that_is_recorded() {
    let served = Served::new();
    served.register("A");
    let first = served.post("/v1/orders/check", &order("o-1")).1;
    let retry = served.request(reqwest::Method::POST, "/v1/orders/check");
    let retry = retry.header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let again = retry.json(&order("o-1")).send().unwrap().json::<Value>().unwrap();
    assert_eq!((&again["repeat"], &again["trace_id"]), (&json!(true), &first["trace_id"]), "{again}");
}

#[test]
fn names_that_could_be_taken_for_each_other_are_refused() {
    let desk = Desk::new();
    key_of(&desk, "alice", "operator");
    for name in ["Alice", "ALICE", "alice b", "\u{430}lice"] {
        let said = desk.run(&["api-key", "create", "--name", name, "--role", "operator"]).ended(2);
        assert!(said.err.contains("names tell people apart"), "{name}: {}", said.err);
    }
    key_of(&desk, "alice", "admin");
}
