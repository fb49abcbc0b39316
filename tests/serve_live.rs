//! `ephor replay --against live`: the log folded beside a running service, and held against what its actors are.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test uses its part")]
mod cli;
#[expect(dead_code, reason = "each test uses its part")]
mod served;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use cli::{Desk, Said, demo};
use serde_json::{Value, json};
use served::{Served, key_of};

/// The demonstration, governed and served, and the key of a viewer.
fn demonstrated() -> (Served, String) {
    let desk = Desk::new();
    desk.run(&["run", "--input", demo().to_str().unwrap()]).ended(0);
    let (admin, viewer) = (key_of(&desk, "desk", "admin"), key_of(&desk, "auditor", "viewer"));
    (Served::at(desk, admin, &[]), viewer)
}

fn against(served: &Served, url: &str, key: Option<&str>, more: &[&str]) -> Said {
    let args = [&["replay", "--against", "live", "--url", url], more].concat();
    let mut program = served.desk.program(&args);
    program.env_remove("EPHOR_API_KEY");
    if let Some(key) = key {
        program.env("EPHOR_API_KEY", key);
    }
    Said::of(&program.output().unwrap())
}

/// Answers one request with this status and body, and gives the request's head.
fn fake(status: &str, body: &str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let head: Vec<String> = lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
        stream.write_all(answer.as_bytes()).unwrap();
        head.join("\n")
    });
    (address, answering)
}

fn order(number: u32) -> Value {
    json!({ "order_id": format!("S-{number}"), "strategy_id": "EMAX-GBPUSD-M5-001", "instrument": "GBP/USD.SIM",
            "side": "BUY", "qty": "1", "price": "1.5", "currency": "USD" })
}

#[test]
fn the_live_states_are_what_the_log_folds_to_while_orders_are_checked() {
    let (served, viewer) = demonstrated();
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for number in 0..60 {
                assert_eq!(served.post("/v1/orders/check", &order(number)).0, 200);
            }
        });
        for _ in 0..2 {
            let said = against(&served, &served.address, Some(&viewer), &[]).ended(0);
            assert!(said.out.contains("\n8 live states held against the fold: 0 differ\n"), "{}", said.out);
        }
    });
    let json = against(&served, &served.address, Some(&viewer), &["--json"]).ended(0).json();
    let live = &json["against_live"];
    assert_eq!((&live["differ"], &live["without"], live["held"].as_array().unwrap().len()), (&json!(0), &json!(0), 8));
    assert_eq!(json["against_snapshots"], Value::Null);
    // Page by page it is the same.
    let whole = served.get("/v1/digests").1;
    let mut paged = Vec::new();
    let mut after = String::new();
    loop {
        let (status, page) = served.get(&format!("/v1/digests?limit=3{after}"));
        assert_eq!((status, &page["system"]["stream"]), (200, &json!("system")));
        paged.extend(page["strategies"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(json!(paged), whole["strategies"]);
}

#[test]
fn a_live_state_that_differs_or_is_ahead_is_named() {
    let (served, viewer) = demonstrated();
    let mut told = served.get("/v1/digests").1;
    let name = told["strategies"][2]["stream"].as_str().unwrap().to_owned();
    told["strategies"][2]["digest"] = json!("0".repeat(64));
    let (url, asked) = fake("200 OK", &told.to_string());
    let said = against(&served, &url, Some(&viewer), &[]).ended(1);
    assert!(said.out.contains("8 live states held against the fold: 1 differ\n"), "{}", said.out);
    assert!(said.out.contains(&format!("  {name} version ")) && said.out.contains(": live 0000000000000000, folded "));
    let head = asked.join().unwrap().to_lowercase();
    assert!(
        head.starts_with("get /v1/digests http/1.1") && head.contains(&format!("bearer {}", viewer.to_lowercase()))
    );

    let mut told = served.get("/v1/digests").1;
    told["strategies"][0]["version"] = json!(1_000_000);
    told["strategies"].as_array_mut().unwrap().truncate(1);
    let (url, _) = fake("200 OK", &told.to_string());
    let said = against(&served, &url, Some(&viewer), &[]).ended(1);
    assert!(
        said.out.contains("2 live states held against the fold: 1 differ; 6 streams without a live state\n"),
        "{}",
        said.out
    );
    assert!(said.out.contains("version 1000000: live ") && said.out.contains(", the log does not go so far\n"));
}

#[test]
fn a_service_that_cannot_be_asked_is_no_agreement() {
    let (served, viewer) = demonstrated();
    let none = against(&served, &served.address, None, &[]).ended(2);
    assert!(none.err.contains("set EPHOR_API_KEY"), "{}", none.err);
    let unknown = against(&served, &served.address, Some("ephor_000000000000_wrong"), &[]).ended(3);
    assert!(unknown.err.contains("answered 401") && !unknown.err.contains("000000000000"), "{}", unknown.err);
    assert!(
        against(&served, "http://127.0.0.1:1", Some(&viewer), &[]).ended(3).err.contains("ask http://127.0.0.1:1/")
    );
    assert_eq!(against(&served, "ftp://127.0.0.1", Some(&viewer), &[]).code, Some(2));
    assert_eq!(against(&served, &served.address, Some(&viewer), &["--to", "5"]).code, Some(2));
    let system = json!({ "stream": "system", "version": 1, "digest": "0".repeat(64) });
    for wrong in [
        "[]".to_owned(),
        "{".to_owned(),
        json!({ "strategies": [], "system": system, "next": "A" }).to_string().replace(&"0".repeat(64), "00"),
    ] {
        let (url, _) = fake("200 OK", &wrong);
        let said = against(&served, &url, Some(&viewer), &[]).ended(3);
        assert!(said.err.contains("is no list of digests"), "{}", said.err);
    }
    // A redirect would carry the key elsewhere.
    let (url, _) = fake("302 Found\r\nLocation: http://127.0.0.1:1/", "");
    assert!(against(&served, &url, Some(&viewer), &[]).ended(3).err.contains("answered 302"));
}
