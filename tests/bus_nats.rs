//! NATS with real servers: what is published comes in once, what is recorded goes out once, whatever dies meanwhile.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod cli;
mod installed;
#[expect(dead_code, reason = "each test uses its part")]
mod served;
#[expect(dead_code, reason = "each test uses its part")]
mod servers;

use std::fmt::Write as _;
use std::time::Duration;

use cli::{Desk, demo};
use ephor::bus::nats::{decode, encode};
use serde_json::{Value, json};
use served::{Served, key_of};
use servers::{Nats, eventually, runtime};

/// A desk whose settings have the server do everything, set up.
fn desk(nats: &Nats, more: &str) -> (Desk, String) {
    let desk = Desk::new();
    let url = nats.url();
    desk.write(
        "ephor.toml",
        format!(
            "[[bus.nats]]\nname = \"desk\"\nservers = [\"{url}\"]\npublish = true\nanswer = true\n\
             [bus.nats.input]\nack_wait_seconds = 2\n{more}"
        ),
    );
    let key = key_of(&desk, "desk", "admin");
    desk.run(&["bus", "setup"]).ended(0);
    (desk, key)
}

fn serve(nats: &Nats, more: &str) -> Served {
    let (desk, key) = desk(nats, more);
    Served::at(desk, key, &[])
}

fn feed(served: &Served, nats: &Nats, lines: &str) {
    let file = served.desk.write("feed.jsonl", lines);
    let said = served.desk.run(&["feed", "--to", &nats.url(), file.to_str().unwrap()]).ended(0);
    assert!(said.out.starts_with(&format!("{} lines sent", lines.lines().count())), "{said:?}");
}

fn all_taken(nats: &Nats) {
    eventually("all that came in is taken", || nats.outstanding("EPHOR_IN", "ephor") == 0);
}

fn events(desk: &Desk) -> Vec<Value> {
    let said = desk.run(&["events", "--json"]).ended(0);
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until the stream has all that the log has, and holds the two against each other.
#[track_caller]
fn published_is_recorded(desk: &Desk, nats: &Nats) -> Vec<Value> {
    let recorded = events(desk);
    eventually("everything recorded is published", || nats.state("EPHOR_EVENTS").messages >= recorded.len() as u64);
    let published = nats.messages("EPHOR_EVENTS");
    let log = published[0].header("Ephor-Log").to_owned();
    for (number, kept) in (1_u64..).zip(&published) {
        assert_eq!(kept.header("Ephor-Seq"), number.to_string(), "none is skipped, none comes twice");
        assert_eq!(kept.header("Ephor-Log"), log);
        let event = kept.json();
        assert_eq!(kept.header("Nats-Msg-Id"), event["event_id"].as_str().unwrap());
        let (kind, stream) = (event["type"].as_str().unwrap(), event["stream"].as_str().unwrap());
        assert_eq!(kept.subject, format!("governance.{kind}.{}", encode(stream)));
        assert_eq!(decode(kept.subject.rsplit('.').next().unwrap()).unwrap(), stream);
    }
    let published: Vec<Value> = published.iter().map(servers::Kept::json).take(recorded.len()).collect();
    for (published, recorded) in published.iter().zip(&recorded) {
        assert_eq!(published, recorded);
    }
    recorded
}

/// What became of each strategy, without what depends on the wall clock and on what the system recorded in between:
/// level, trades, health, drawdown, drift, pauses, and how many events it took.
fn standing(desk: &Desk) -> Value {
    fn timeless(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, _| !["since", "last_event_at", "last_seq", "digest"].contains(&name.as_str()));
                fields.values_mut().for_each(timeless);
            }
            Value::Array(values) => values.iter_mut().for_each(timeless),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut said = desk.run(&["strategies", "--json"]).ended(0).json();
    assert!(said.as_array().is_some_and(|strategies| !strategies.is_empty()), "{said}");
    timeless(&mut said);
    said
}

fn governed_alone(lines: &str) -> Value {
    let desk = Desk::new();
    desk.govern(lines);
    standing(&desk)
}

fn demo_lines() -> String {
    std::fs::read_to_string(demo()).unwrap()
}

/// Numbers that look like chance and are the same every time.
fn scattered(round: u64, below: u64) -> u64 {
    let mixed = (round + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 33) % below
}

#[test]
fn a_history_over_the_bus_comes_to_what_it_comes_to_from_a_file_and_twice_to_nothing_more() {
    let nats = Nats::new();
    let served = serve(&nats, "");
    let lines = demo_lines();
    feed(&served, &nats, &lines);
    all_taken(&nats);
    assert_eq!(standing(&served.desk), governed_alone(&lines));
    let recorded = published_is_recorded(&served.desk, &nats);
    let reported = |events: &[Value]| events.iter().filter(|event| event["stream"] != "system").count();
    // Other ids of the messages, so that the server takes them again.
    nats.publish("ephor.in.again", lines.lines().map(str::to_owned));
    all_taken(&nats);
    let again = published_is_recorded(&served.desk, &nats);
    assert_eq!(reported(&again), reported(&recorded), "what is recorded is not recorded again");
    assert_eq!(nats.state("EPHOR_DEAD").messages, 0);
}

#[test]
fn what_cannot_be_taken_is_put_apart_with_its_reason() {
    let nats = Nats::new();
    let served = serve(&nats, "");
    let trade = json!({ "type": "trade_closed", "id": "t-1", "ts": "2024-01-02T00:00:00Z", "strategy_id": "nobody",
        "instrument": "EUR/USD.SIM", "side": "LONG", "qty": "1", "price": "2", "entry_price": "1", "realized_pnl": "1",
        "currency": "USD", "opened_at": "2024-01-01T00:00:00Z", "closed_at": "2024-01-02T00:00:00Z" });
    nats.publish("ephor.in.line", ["no json".to_owned(), json!({ "type": "nothing" }).to_string(), trade.to_string()]);
    served.register("A");
    all_taken(&nats);
    let mut dead = nats.messages("EPHOR_DEAD");
    dead.sort_by_key(|kept| kept.header("Ephor-Stream-Seq").to_owned());
    let codes: Vec<_> = dead.iter().map(|kept| kept.header("Ephor-Code")).collect();
    assert_eq!(codes, ["LINE_NOT_JSON", "TYPE_UNKNOWN", "STRATEGY_UNKNOWN"]);
    assert_eq!(dead[0].payload, b"no json");
    assert_eq!(dead[0].subject, "ephor.dead.ephor.in.line");
    assert_eq!(dead[0].header("Ephor-Subject"), "ephor.in.line");
    assert!(dead[0].header("Ephor-Reason").starts_with("EPHOR_IN seq 1: "), "{:?}", dead[0]);
    assert_eq!(dead[2].json(), trade);
    assert!(served.stderr().contains("STRATEGY_UNKNOWN"), "{}", served.stderr());
}

#[test]
fn a_message_is_put_apart_whatever_it_says_to_the_server_and_however_large_it_is() {
    let nats = Nats::new();
    let _served = serve(&nats, "");
    nats.with_streams(|streams| async move {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Expected-Stream", "EPHOR_IN");
        headers.insert("Who", "me");
        streams.publish_with_headers("ephor.in.x", headers, "junk".into()).await.unwrap().await.unwrap();
        streams.publish("ephor.in.x", vec![b'x'; 1 << 20].into()).await.unwrap().await.unwrap();
    });
    all_taken(&nats);
    let dead = nats.messages("EPHOR_DEAD");
    assert_eq!(dead.iter().map(|kept| kept.payload.len()).collect::<Vec<_>>(), [4, 0]);
    assert_eq!(dead[0].header("Who"), "me");
    assert_eq!(dead[1].header("Ephor-Stream-Seq"), "2");
}

#[test]
fn an_order_asked_about_for_somebody_elses_ears_is_not_answered() {
    let nats = Nats::new();
    let served = serve(&nats, "");
    eventually("orders are listened for", || served.get("/readyz").0 == 200);
    let ears = nats.with_streams(|_| async {
        let client = async_nats::connect(nats.url()).await.unwrap();
        let mut ears = client.subscribe("somebody.else").await.unwrap();
        client.publish_with_reply("ephor.orders.check", "somebody.else", "junk".into()).await.unwrap();
        let own = tokio::time::timeout(Duration::from_secs(20), client.request("ephor.orders.check", "junk".into()));
        assert!(own.await.unwrap().is_ok());
        tokio::time::timeout(Duration::from_millis(500), futures::StreamExt::next(&mut ears)).await.is_err()
    });
    assert!(ears, "nothing was heard there");
    assert!(served.stderr().contains("somebody else's ears"), "{}", served.stderr());
}

#[test]
fn killed_at_any_moment_it_takes_up_where_it_was_and_records_and_publishes_everything_once() {
    let nats = Nats::new();
    let (desk, key) = desk(&nats, "[bus.nats.reading]\npending_max = 64\n");
    let lines = demo_lines();
    let mut parts = lines.split_inclusive('\n').collect::<Vec<_>>().chunks(500).map(<[_]>::concat).collect::<Vec<_>>();
    parts.reverse();
    let mut served = Served::at(desk, key.clone(), &[]);
    let mut round = 0;
    while let Some(part) = parts.pop() {
        feed(&served, &nats, &part);
        std::thread::sleep(Duration::from_millis(scattered(round, 400)));
        served.signal("KILL");
        served = Served::at(served.into_desk(), key.clone(), &[]);
        std::thread::sleep(Duration::from_millis(1_000 + scattered(round + 100, 900)));
        round += 1;
    }
    all_taken(&nats);
    assert_eq!(standing(&served.desk), governed_alone(&lines));
    published_is_recorded(&served.desk, &nats);
    assert_eq!(nats.state("EPHOR_DEAD").messages, 0);
    served.signal("TERM");
    assert_eq!(served.ended(), Some(0), "{}", served.stderr());
    served.desk.run(&["verify"]).ended(0);
}

#[test]
fn a_server_that_goes_and_comes_back_costs_nothing_but_time() {
    let mut nats = Nats::new();
    let served = serve(&nats, "");
    let lines = demo_lines();
    feed(&served, &nats, &lines);
    for round in 0..3 {
        std::thread::sleep(Duration::from_millis(100 + scattered(round, 300)));
        nats.stop();
        std::thread::sleep(Duration::from_millis(scattered(round + 7, 500)));
        nats.start();
        std::thread::sleep(Duration::from_millis(1_500));
    }
    all_taken(&nats);
    assert_eq!(standing(&served.desk), governed_alone(&lines));
    published_is_recorded(&served.desk, &nats);
    eventually("it is ready again", || served.get("/readyz").0 == 200);
}

#[test]
fn deliveries_that_come_twice_and_out_of_order_lose_nothing_and_double_nothing() {
    let nats = Nats::new();
    let served = serve(&nats, "[bus.nats.reading]\nattempts_max = 100\n");
    let lines = demo_lines();
    let mut shuffled = Vec::new();
    for part in lines.lines().collect::<Vec<_>>().chunks(100) {
        let mut part: Vec<_> = part.iter().chain(part).map(|line| (*line).to_owned()).collect();
        for index in (1..part.len()).rev() {
            part.swap(index, usize::try_from(scattered(index as u64, index as u64 + 1)).unwrap());
        }
        shuffled.extend(part);
    }
    nats.publish("ephor.in.shuffled", shuffled);
    all_taken(&nats);
    let recorded = published_is_recorded(&served.desk, &nats);
    let count = |kind: &str| recorded.iter().filter(|event| event["type"] == kind).count();
    let given = |kind: &str| lines.lines().filter(|line| line.contains(&format!("\"type\":\"{kind}\""))).count();
    assert_eq!(count("TradeClosed"), given("trade_closed"));
    assert_eq!(count("DecisionMade"), given("signal"));
    assert_eq!(count("OrderReported"), given("order"));
    assert_eq!(count("StrategyRegistered"), given("strategy"));
    assert_eq!(nats.state("EPHOR_DEAD").messages, 0);
}

#[test]
fn a_full_stream_is_waited_for_and_said_and_then_gone_on_with() {
    let nats = Nats::new();
    let served = serve(&nats, "[bus.nats.events.limits]\nmax_messages = 40\n");
    let lines: String = demo_lines().split_inclusive('\n').take(100).collect();
    feed(&served, &nats, &lines);
    all_taken(&nats);
    eventually("it says that the stream is full", || served.stderr().contains("the stream EPHOR_EVENTS is full"));
    assert_eq!(nats.state("EPHOR_EVENTS").messages, 40);
    let (_, ready) = served.get("/readyz");
    assert!(ready.to_string().len() > 2);
    let mut settings = std::fs::read_to_string(served.desk.path("ephor.toml")).unwrap();
    settings = settings.replace("max_messages = 40", "max_messages = 0");
    served.desk.write("ephor.toml", settings);
    let said = served.desk.run(&["bus", "setup"]).ended(0);
    assert!(said.out.contains("max messages") && said.out.contains("was 40"), "{said:?}");
    published_is_recorded(&served.desk, &nats);
}

#[test]
fn the_events_of_another_log_are_not_gone_on_with() {
    let nats = Nats::new();
    let first = serve(&nats, "");
    eventually("something is published", || nats.state("EPHOR_EVENTS").messages > 0);
    drop(first);
    let published = nats.state("EPHOR_EVENTS").messages;
    let second = serve(&nats, "");
    eventually("it says so", || second.stderr().contains("holds the events of another log"));
    assert_eq!(nats.state("EPHOR_EVENTS").messages, published);
}

#[test]
fn an_order_asked_about_over_nats_gets_the_answer_of_http() {
    let nats = Nats::new();
    let served = serve(&nats, "");
    served.register("A");
    let ask = |body: &str, headers: &[(&str, &str)]| -> (Option<String>, Value) {
        let headers = headers.to_vec();
        runtime().block_on(async {
            let client = async_nats::connect(nats.url()).await.unwrap();
            let mut sent = async_nats::HeaderMap::new();
            for (name, value) in headers {
                sent.insert(name, value);
            }
            let answer = client.request_with_headers("ephor.orders.check", sent, body.to_owned().into()).await.unwrap();
            let code = answer.headers.as_ref().unwrap().get("Nats-Service-Error-Code").map(ToString::to_string);
            (code, serde_json::from_slice(&answer.payload).unwrap())
        })
    };
    eventually("orders are listened for", || {
        runtime().block_on(async {
            let client = async_nats::connect(nats.url()).await.unwrap();
            client.request("ephor.orders.check", "?".into()).await.is_ok()
        })
    });
    let order = |id: &str| {
        json!({
            "order_id": id, "strategy_id": "A", "instrument": "EUR/USD.SIM", "side": "BUY", "qty": "1000", "price": "1.1",
            "equity": "1000000", "leverage": "1", "position_qty": "0", "open_positions": 0,
        })
    };
    let (code, first) = ask(&order("o-1").to_string(), &[]);
    assert_eq!((code, &first["action"], &first["repeat"]), (None, &json!("block"), &json!(false)), "{first}");
    let recorded = events(&served.desk);
    assert!(recorded.iter().any(|event| event["seq"] == first["seq"]), "no answer before its record");
    let mut again = served.post("/v1/orders/check", &order("o-1")).1;
    assert_eq!(again["repeat"], json!(true));
    again["repeat"] = json!(false);
    assert_eq!(again, first, "over HTTP the same");
    let (_, over_http) = served.post("/v1/orders/check", &order("o-2"));
    let (_, mut over_nats) = ask(&order("o-2").to_string(), &[]);
    over_nats["repeat"] = json!(false);
    assert_eq!(over_nats, over_http);
    let mut other = order("o-1");
    other["qty"] = json!("1001");
    let mut without = order("o-1");
    without.as_object_mut().unwrap().remove("order_id");
    for wrong in
        [other.to_string(), "{}".to_owned(), "no json".to_owned(), order("x").to_string().replace("\"A\"", "\"B\"")]
    {
        let (code, said) = ask(&wrong, &[]);
        let request =
            served.request(reqwest::Method::POST, "/v1/orders/check").header("content-type", "application/json");
        let response = request.body(wrong).send().unwrap();
        assert_eq!(code, Some(response.status().as_u16().to_string()));
        assert_eq!(said, response.json::<Value>().unwrap());
        assert_eq!(said["action"], json!("block"));
    }
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let headers = [("Idempotency-Key", "k-1"), ("traceparent", parent.as_str())];
    let (_, keyed) = ask(&without.to_string(), &headers);
    assert_eq!((&keyed["order_id"], &keyed["trace_id"]), (&json!("k-1"), &json!(trace)), "{keyed}");
    let (code, said) = ask(&order("o-3").to_string(), &headers);
    assert_eq!((code.as_deref(), &said["code"]), (Some("422"), &json!("IDEMPOTENCY_KEY_MISMATCH")));
}

#[test]
fn set_up_says_what_it_would_do_does_it_once_and_names_what_differs() {
    let nats = Nats::new();
    let desk = Desk::new();
    let settings = |more: &str| {
        let url = nats.url();
        desk.write(
            "ephor.toml",
            format!("[[bus.nats]]\nname = \"desk\"\nservers = [\"{url}\"]\npublish = true\n{more}"),
        );
    };
    let done = |args: &[&str]| {
        let said = desk.run(&[&["bus", "setup", "--json"], args].concat()).ended(0);
        let lines = said.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| line["done"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    settings("");
    assert_eq!(done(&["--dry-run"]), ["created"; 4]);
    assert_eq!(done(&[]), ["created"; 4], "a dry run does nothing");
    assert_eq!(done(&[]), ["as it should be"; 4]);
    settings("[bus.nats.input]\nack_wait_seconds = 3\n[bus.nats.events.limits]\nmax_mib = 7\n");
    assert_eq!(done(&["--dry-run"]), ["as it should be", "as it should be", "updated", "updated"]);
    assert_eq!(done(&[]), ["as it should be", "as it should be", "updated", "updated"]);
    assert_eq!(done(&[]), ["as it should be"; 4]);
    let status = desk.run(&["bus", "status"]).ended(0).out;
    let mut expected = String::new();
    for (what, found) in [
        ("stream EPHOR_IN", "messages 0, bytes 0, last 0"),
        ("consumer ephor", "waiting 0, under way 0, redelivered 0"),
        ("stream EPHOR_DEAD", "messages 0, bytes 0, last 0"),
        ("stream EPHOR_EVENTS", "messages 0, bytes 0, last 0"),
    ] {
        writeln!(expected, "desk  {what}  {found}").unwrap();
    }
    assert_eq!(status, expected);
    drop(nats);
    let said = desk.run(&["bus", "status"]).ended(3);
    assert!(said.err.contains("connect to NATS failed"), "{said:?}");
}
