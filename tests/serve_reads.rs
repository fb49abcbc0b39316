//! Reading from the service: events as a page and as a stream, strategies now and then, decisions and why.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test uses its part")]
mod cli;
#[expect(dead_code, reason = "each test uses its part")]
mod served;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use cli::{Desk, demo};
use serde_json::{Value, json};
use served::{Served, key_of};

const ID: &str = "EMAX-GBPUSD-M5-001";

/// The demonstration, governed and served.
fn demonstrated(settings: &str) -> Served {
    let desk = Desk::new();
    desk.run(&["run", "--input", demo().to_str().unwrap()]).ended(0);
    desk.write("ephor.toml", settings);
    let key = key_of(&desk, "desk", "admin");
    Served::at(desk, key, &[])
}

/// The answer, as it should be.
#[track_caller]
fn got(served: &Served, path: &str) -> Value {
    let (status, answer) = served.get(path);
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

#[track_caller]
fn refused(served: &Served, path: &str, status: u16, code: &str, field: Option<&str>) {
    let (found, problem) = served.get(path);
    assert_eq!(
        (found, problem["code"].as_str(), problem["field"].as_str()),
        (status, Some(code), field),
        "{path}: {problem}"
    );
}

/// The status that a path has for whoever shows this key, or none.
fn status_for(served: &Served, key: Option<&str>, path: &str) -> u16 {
    let request = served.client.get(format!("{}{path}", served.address));
    let request = match key {
        Some(key) => request.bearer_auth(key),
        None => request,
    };
    request.send().unwrap().status().as_u16()
}

/// Orders from this number on are decided.
#[track_caller]
fn ask(served: &Served, from: u32, count: u32) {
    for number in from..from + count {
        let (status, answer) = served.post("/v1/orders/check", &order(number));
        assert_eq!(status, 200, "{answer}");
    }
}

/// All pages of a list, one after the other.
fn all_pages(served: &Served, path: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut next = json!(1);
    while !next.is_null() {
        let page = got(served, &format!("{path}&from={next}"));
        all.extend(page["events"].as_array().unwrap().iter().cloned());
        next = page["next"].clone();
    }
    all
}

fn printed(served: &Served, args: &[&str]) -> Vec<Value> {
    let said = served.desk.run(&[args, &["--json"]].concat()).ended(0).out;
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn order(number: u32) -> Value {
    json!({ "order_id": format!("S-{number}"), "strategy_id": ID, "instrument": "GBP/USD.SIM", "side": "BUY", "qty": "1",
            "price": "1.5", "currency": "USD" })
}

/// The events of a stream, as they come.
struct Events(BufReader<reqwest::blocking::Response>);

impl Events {
    fn open(served: &Served, query: &str, seen: Option<u64>) -> Self {
        let mut request = served.request(reqwest::Method::GET, &format!("/v1/events/stream?{query}"));
        if let Some(seen) = seen {
            request = request.header("Last-Event-ID", seen);
        }
        let response = request.timeout(Duration::from_mins(1)).send().unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self(BufReader::new(response))
    }

    /// The next event: id, type, data.
    fn next(&mut self) -> (u64, String, Value) {
        let (mut id, mut kind) = (None, None);
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream goes on");
            if let Some(text) = line.strip_prefix("id: ") {
                id = Some(text.trim().parse().unwrap());
            } else if let Some(text) = line.strip_prefix("event: ") {
                kind = Some(text.trim().to_owned());
            } else if let Some(text) = line.strip_prefix("data: ") {
                return (id.unwrap(), kind.unwrap(), serde_json::from_str(text).unwrap());
            }
        }
    }
}

/// How many streams are open.
fn open_streams(served: &Served) -> u64 {
    let text = served.request(reqwest::Method::GET, "/metrics").send().unwrap().text().unwrap();
    let line = text.lines().find(|line| line.starts_with("ephor_event_streams ")).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(40), "{what} in time");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn pages_of_events_are_what_the_command_prints() {
    let served = demonstrated("");
    let (printed_all, paged) = (printed(&served, &["events"]), all_pages(&served, "/v1/events?limit=997"));
    // The service's own beginnings may have come after the one or the other.
    let both = printed_all.len().min(paged.len());
    assert!(both > 1_000 && printed_all[..both] == paged[..both]);
    let some = all_pages(&served, &format!("/v1/events?limit=3&strategy={ID}&type=MaturityTransitioned,tradeclosed"));
    let args = ["events", "--stream", ID, "--type", "MaturityTransitioned", "--type", "TradeClosed"];
    assert_eq!(some, printed(&served, &args));
    assert!(some.len() > 10);
    assert_eq!(got(&served, "/v1/events")["events"].as_array().unwrap().len(), 100);

    refused(&served, "/v1/events?limit=0", 422, "PARAMETER_INVALID", Some("limit"));
    refused(&served, "/v1/events?limit=1001", 422, "PARAMETER_INVALID", Some("limit"));
    refused(&served, "/v1/events?from=0", 422, "PARAMETER_INVALID", Some("from"));
    refused(&served, "/v1/events?from=99999999", 422, "PARAMETER_INVALID", Some("from"));
    refused(&served, "/v1/events?type=Traded", 422, "PARAMETER_INVALID", Some("type"));
    refused(&served, "/v1/events?stream=x", 422, "PARAMETER_INVALID", Some("stream"));
    refused(&served, "/v1/events?strategy=nobody", 404, "STRATEGY_UNKNOWN", Some("strategy"));
}

#[test]
fn a_stream_taken_up_again_has_no_gap_and_no_repeat_while_orders_are_checked() {
    let served = demonstrated("");
    let mut got: Vec<Value> = Vec::new();
    std::thread::scope(|threads| {
        threads.spawn(|| ask(&served, 0, 40));
        let mut stream = Events::open(&served, "from=1", None);
        for _ in 0..1_500 {
            let (id, kind, data) = stream.next();
            assert_eq!((json!(id), json!(kind)), (data["seq"].clone(), data["type"].clone()));
            got.push(data);
        }
    });
    std::thread::scope(|threads| {
        threads.spawn(|| ask(&served, 40, 40));
        let seen = got.last().unwrap()["seq"].as_u64();
        // The query is that of the first time: the id goes before it.
        let mut stream = Events::open(&served, "from=1", seen);
        while got.last().unwrap()["data"]["order"]["id"] != "S-79" {
            got.push(stream.next().2);
        }
    });
    let seqs: Vec<u64> = got.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    assert_eq!(all_pages(&served, "/v1/events?limit=1000")[..got.len()], got);
    until("closed streams are not counted", || open_streams(&served) == 0);
}

#[test]
fn a_stream_of_one_kind_of_one_strategy_has_nothing_else_and_begins_now() {
    let served = demonstrated("");
    let mut stream = Events::open(&served, &format!("strategy={ID}&type=DecisionMade"), None);
    for number in 0..3 {
        ask(&served, number, 1);
        let (_, kind, data) = stream.next();
        assert_eq!((kind.as_str(), &data["stream"]), ("DecisionMade", &json!(ID)));
        assert_eq!(data["data"]["order"]["id"], format!("S-{number}"));
    }
    refused(&served, "/v1/events/stream?strategy=nobody", 404, "STRATEGY_UNKNOWN", Some("strategy"));
    refused(&served, "/v1/events/stream?limit=3", 422, "PARAMETER_INVALID", Some("limit"));
    for wrong in ["x", "-1", "99999999", "18446744073709551615"] {
        let request = served.request(reqwest::Method::GET, "/v1/events/stream").header("Last-Event-ID", wrong);
        let response = request.send().unwrap();
        assert_eq!(response.status(), 422);
        assert_eq!(response.json::<Value>().unwrap()["field"], "Last-Event-ID");
    }
}

#[test]
fn there_are_only_so_many_streams() {
    let served = demonstrated("[server.limits]\nstreams = 2\n");
    let first = Events::open(&served, "", None);
    let _second = Events::open(&served, "", None);
    assert_eq!(open_streams(&served), 2);
    refused(&served, "/v1/events/stream", 503, "STREAMS_TOO_MANY", None);
    drop(first);
    until("a place comes free", || status_for(&served, Some(&served.key), "/v1/events/stream") == 200);
}

#[test]
fn a_reader_that_takes_nothing_is_cut_off() {
    let served = demonstrated("[server.limits]\nstream_lag_seconds = 1\n");
    let mut reader = TcpStream::connect(served.authority()).unwrap();
    let head = format!("Host: x\r\nAuthorization: Bearer {}\r\n\r\n", served.key);
    reader.write_all(format!("GET /v1/events/stream?from=1 HTTP/1.1\r\n{head}").as_bytes()).unwrap();
    until("the stream is open", || open_streams(&served) == 1);
    // More and more, until neither end of the connection has room for it in the system's own buffers.
    let mut asked = 0;
    until("it is cut off", || {
        let orders: Vec<Value> = (asked..asked + 256).map(order).collect();
        asked += 256;
        let (status, answer) = served.post("/v1/orders/check:batch", &json!({ "orders": orders }));
        assert_eq!(status, 200, "{answer}");
        open_streams(&served) == 0
    });
    let mut left = Vec::new();
    let ended = reader.read_to_end(&mut left);
    assert!(left.starts_with(b"HTTP/1.1 200") && !left.ends_with(b"0\r\n\r\n"), "{ended:?}: cut off, not ended");
    ask(&served, asked, 1);
}

#[test]
fn a_stream_ends_with_the_service() {
    let mut served = demonstrated("");
    let mut stream = Events::open(&served, "", None);
    ask(&served, 0, 1);
    stream.next();
    let began = Instant::now();
    served.signal("TERM");
    let mut rest = String::new();
    stream.0.read_to_string(&mut rest).unwrap();
    assert_eq!(served.ended(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn strategies_are_filtered_sorted_and_paged() {
    let served = demonstrated("");
    let ids = |list: &Value| -> Vec<String> {
        let all = list["strategies"].as_array().unwrap().iter();
        all.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    let all = got(&served, "/v1/strategies");
    let told = served.desk.run(&["strategies", "--json"]).ended(0).json();
    let (told, listed) = (told.as_array().unwrap(), all["strategies"].as_array().unwrap());
    assert_eq!((told.len(), listed.len(), &all["total"], &all["next"]), (7, 7, &json!(7), &Value::Null));
    assert_eq!(all["failed"], json!([]));
    for (told, listed) in told.iter().zip(listed) {
        for field in ["id", "level", "since", "trades", "health", "drawdown", "pauses", "kills", "version"] {
            assert_eq!(told[field], listed[field], "{field}");
        }
    }
    for (sort, field) in [("health", "health"), ("-health", "health"), ("-level", "level"), ("equity", "equity")] {
        let whole = got(&served, &format!("/v1/strategies?sort={sort}"));
        let values = whole["strategies"].as_array().unwrap().iter().map(|one| one[field].clone());
        let numbers: Vec<f64> = values
            .map(|value| {
                let text =
                    value.as_str().map(|text| text.trim_start_matches('L').split('_').next().unwrap().to_owned());
                text.map_or_else(|| value.as_f64().unwrap(), |text| text.parse().unwrap())
            })
            .collect();
        let ordered = |pair: &[f64]| if sort.starts_with('-') { pair[0] >= pair[1] } else { pair[0] <= pair[1] };
        assert!(numbers.windows(2).all(ordered), "{sort}: {numbers:?}");
        let mut paged = Vec::new();
        let mut after = String::new();
        loop {
            let page = got(&served, &format!("/v1/strategies?sort={sort}&limit=2{after}"));
            paged.extend(ids(&page));
            assert_eq!(page["total"], 7);
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        assert_eq!(paged, ids(&whole), "{sort}");
    }
    let level = listed[0]["level"].as_str().unwrap();
    let of_level = got(&served, &format!("/v1/strategies?level={level}"));
    assert!(of_level["strategies"].as_array().unwrap().iter().all(|one| one["level"] == level));
    assert_eq!(of_level["total"], listed.iter().filter(|one| one["level"] == level).count());
    assert_eq!(ids(&got(&served, "/v1/strategies?text=emax-gbpusd-m5-001")), [ID]);
    let paused = listed.iter().filter(|one| one["paused"] == true).count();
    assert_eq!(got(&served, "/v1/strategies?paused=true")["total"], paused);
    assert_eq!(got(&served, "/v1/strategies?paused=false")["total"], 7 - paused);
    for (wrong, field) in [
        ("sort=name", "sort"),
        ("level=L9", "level"),
        ("paused=yes", "paused"),
        ("after=nobody", "after"),
        ("x=1", "x"),
    ] {
        refused(&served, &format!("/v1/strategies?{wrong}"), 422, "PARAMETER_INVALID", Some(field));
    }
}

#[test]
fn a_strategy_is_what_the_command_says_now_and_at_any_moment() {
    let served = demonstrated("");
    let state = |more: &[&str]| served.desk.run(&[&["state", ID, "--json"], more].concat()).ended(0).json();
    let path = format!("/v1/strategies/{ID}");
    assert_eq!(got(&served, &path), state(&[]));
    assert_eq!(got(&served, &format!("{path}?seq=258")), state(&["--seq", "258"]));
    assert_eq!(got(&served, &format!("{path}?at=2012-02-20T00:00:00Z")), state(&["--at", "2012-02-20"]));
    refused(&served, &format!("{path}?seq=258&at=2012-02-20T00:00:00Z"), 422, "PARAMETER_INVALID", Some("seq"));
    refused(&served, &format!("{path}?seq=1"), 422, "PARAMETER_INVALID", Some("seq"));
    refused(&served, &format!("{path}?at=1999-01-01T00:00:00Z"), 422, "PARAMETER_INVALID", Some("at"));
    refused(&served, &format!("{path}?at=yesterday"), 422, "PARAMETER_INVALID", Some("at"));
    refused(&served, &format!("{path}?version=1"), 422, "PARAMETER_INVALID", Some("version"));
    refused(&served, "/v1/strategies/nobody", 404, "STRATEGY_UNKNOWN", None);
}

#[test]
fn the_story_of_a_strategy_is_what_the_command_tells() {
    let desk = Desk::new();
    desk.run(&["run", "--input", demo().to_str().unwrap()]).ended(0);
    let by = ["--by", "alice", "--reason", "a drill"];
    for scope in [format!("strategy:{ID}"), "instrument:GBP/USD.SIM".to_owned(), "instrument:OTHER".to_owned()] {
        desk.run(&[&["kill", "--scope", &scope], &by[..]].concat()).ended(0);
    }
    desk.run(&[&["strategy", "pause", ID], &by[..]].concat()).ended(0);
    let key = key_of(&desk, "desk", "admin");
    let served = Served::at(desk, key, &[]);
    let path = format!("/v1/strategies/{ID}/history");
    for (query, more) in [("limit=3", &[][..]), ("limit=999&all=true", &["--all"][..])] {
        let told = printed(&served, &[&["history", ID], more].concat());
        assert_eq!(all_pages(&served, &format!("{path}?{query}")), told);
        let kills = told.iter().filter(|event| event["type"] == "KillSwitchEngaged").count();
        assert!(kills == 2 && told.len() > 5, "{kills} of {}", told.len());
    }
    refused(&served, &format!("{path}?all=1"), 422, "PARAMETER_INVALID", Some("all"));
    refused(&served, "/v1/strategies/nobody/history", 404, "STRATEGY_UNKNOWN", None);
}

#[test]
fn the_decisions_of_an_order_or_a_trace_come_with_their_why() {
    let served = demonstrated("");
    ask(&served, 0, 1);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = served.request(reqwest::Method::POST, "/v1/orders/check:batch");
    let request = request.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    let answer = request.json(&json!({ "orders": (1..4).map(order).collect::<Vec<_>>() })).send().unwrap();
    assert_eq!(answer.status(), 200);

    let one = got(&served, "/v1/decisions/S-0");
    assert_eq!(one["decisions"], json!([served.desk.run(&["why", "S-0", "--json"]).ended(0).json()]));
    let orders = |page: &Value| -> Vec<Value> {
        let all = page["decisions"].as_array().unwrap().iter();
        all.map(|why| why["event"]["data"]["order"]["id"].clone()).collect()
    };
    let traced = got(&served, &format!("/v1/decisions/{trace}"));
    assert_eq!((orders(&traced), &traced["next"]), (vec![json!("S-1"), json!("S-2"), json!("S-3")], &Value::Null));
    let first = got(&served, &format!("/v1/decisions/{trace}?limit=2"));
    assert_eq!(orders(&first), ["S-1", "S-2"]);
    let rest = got(&served, &format!("/v1/decisions/{trace}?limit=2&from={}", first["next"]));
    assert_eq!((orders(&rest), &rest["next"]), (vec![json!("S-3")], &Value::Null));
    refused(&served, "/v1/decisions/nothing", 404, "DECISION_UNKNOWN", None);
    refused(&served, "/v1/decisions/S-0?limit=21", 422, "PARAMETER_INVALID", Some("limit"));
}

#[test]
fn to_read_needs_a_key_of_any_role() {
    let served = demonstrated("");
    let keys = ["viewer", "engine", "operator"].map(|role| key_of(&served.desk, role, role));
    for key in &keys {
        until("the key is known", || status_for(&served, Some(key), "/metrics") == 200);
    }
    ask(&served, 0, 1);
    let one = format!("/v1/strategies/{ID}");
    let routes = [
        "/v1/events",
        "/v1/events/stream",
        "/v1/strategies",
        &one,
        &format!("{one}/history"),
        "/v1/decisions/S-0",
        "/v1/digests",
    ];
    for route in routes {
        assert_eq!(status_for(&served, None, route), 401, "{route}");
        assert_eq!(status_for(&served, Some("ephor_000000000000_wrong"), route), 401, "{route}");
        for key in &keys {
            assert_eq!(status_for(&served, Some(key), route), 200, "{route}");
        }
    }
}
