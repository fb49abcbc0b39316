//! Reading from the service: events as a page and as a stream, strategies now and then, decisions and why.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cli;
mod served;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use cli::{Desk, demo};
use serde_json::{Value, json};
use served::{Served, key};

const ID: &str = "EMAX-GBPUSD-M5-001";

/// The demonstration, governed and served.
fn demonstrated(settings: &str) -> Served {
    let desk = Desk::new();
    desk.run(&["run", "--input", demo().to_str().unwrap()]).ended(0);
    desk.write("ephor.toml", settings);
    Served::start(desk)
}

#[track_caller]
fn refused(served: &Served, path: &str, status: u16, code: &str, field: Option<&str>) {
    let problem = served.get(path, status);
    assert_eq!((problem["code"].as_str(), problem["field"].as_str()), (Some(code), field), "{path}: {problem}");
}

/// All pages of a list, one after the other.
fn all_pages(served: &Served, path: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut next = json!(1);
    while !next.is_null() {
        let page = served.get(&format!("{path}&from={next}"), 200);
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
        let response = request.bearer_auth(&served.key).timeout(Duration::from_secs(60)).send().unwrap();
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
    let text = served.get_as(&served.key, "/metrics").text().unwrap();
    let line = text.lines().find(|line| line.starts_with("ephor_event_streams ")).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what} in time");
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
    assert_eq!(served.get("/v1/events", 200)["events"].as_array().unwrap().len(), 100);

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
    let asking = |from: u32| (from..from + 40).for_each(|number| drop(served.post("/v1/orders/check", &order(number), 200)));
    let mut got: Vec<Value> = Vec::new();
    std::thread::scope(|threads| {
        threads.spawn(|| asking(0));
        let mut stream = Events::open(&served, "from=1", None);
        for _ in 0..1_500 {
            let (id, kind, data) = stream.next();
            assert_eq!((json!(id), json!(kind)), (data["seq"].clone(), data["type"].clone()));
            got.push(data);
        }
    });
    std::thread::scope(|threads| {
        threads.spawn(|| asking(40));
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
        served.post("/v1/orders/check", &order(number), 200);
        let (_, kind, data) = stream.next();
        assert_eq!((kind.as_str(), &data["stream"]), ("DecisionMade", &json!(ID)));
        assert_eq!(data["data"]["order"]["id"], format!("S-{number}"));
    }
    refused(&served, "/v1/events/stream?strategy=nobody", 404, "STRATEGY_UNKNOWN", Some("strategy"));
    refused(&served, "/v1/events/stream?limit=3", 422, "PARAMETER_INVALID", Some("limit"));
    for wrong in ["x", "-1", "99999999", "18446744073709551615"] {
        let request = served.request(reqwest::Method::GET, "/v1/events/stream").header("Last-Event-ID", wrong);
        let response = request.bearer_auth(&served.key).send().unwrap();
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
    until("a place comes free", || served.get_as(&served.key, "/v1/events/stream").status() == 200);
}

#[test]
fn a_reader_that_takes_nothing_is_cut_off() {
    let served = demonstrated("[server.limits]\nstream_lag_seconds = 1\n");
    // More than what the system itself keeps for a connection.
    let mut readers: Vec<TcpStream> = Vec::new();
    let request = format!(
        "GET /v1/events/stream?from=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        served.key
    );
    let address = served.address.strip_prefix("http://").unwrap();
    for _ in 0..1 {
        let mut reader = TcpStream::connect(address).unwrap();
        reader.write_all(request.as_bytes()).unwrap();
        readers.push(reader);
    }
    until("the stream is open", || open_streams(&served) == 1);
    until("it is cut off", || open_streams(&served) == 0);
    let mut left = Vec::new();
    let ended = readers[0].read_to_end(&mut left);
    let whole = left.ends_with(b"0\r\n\r\n");
    assert!(!whole, "{ended:?}: the stream was not ended as if it were whole");
}

#[test]
fn a_stream_ends_with_the_service() {
    let served = demonstrated("");
    let mut stream = Events::open(&served, "", None);
    served.post("/v1/orders/check", &order(0), 200);
    stream.next();
    let began = Instant::now();
    served.terminate();
    let mut rest = String::new();
    stream.0.read_to_string(&mut rest).unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn to_read_needs_a_key_of_any_role() {
    let served = demonstrated("");
    let keys = ["viewer", "engine", "operator", "admin"].map(|role| key(&served.desk, role, role));
    let routes = ["/v1/events", "/v1/events/stream"];
    for route in routes {
        let refused = served.request(reqwest::Method::GET, route).send().unwrap();
        assert_eq!(refused.status(), 401, "{route}");
        assert_eq!(served.get_as("ephor_000000000000_wrong", route).status(), 401, "{route}");
        for key in &keys {
            until("the key is known", || served.get_as(key, "/metrics").status() == 200);
            assert_eq!(served.get_as(key, route).status(), 200, "{route}");
        }
    }
}
