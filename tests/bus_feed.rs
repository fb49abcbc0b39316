//! `ephor feed` onto each kind of bus: where a line comes out, and what a capture of a node's bus comes to.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test uses its part")]
mod brokers;
#[expect(dead_code, reason = "each test uses its part")]
mod cli;
mod installed;
#[expect(dead_code, reason = "each test uses its part")]
mod served;
#[expect(dead_code, reason = "each test uses its part")]
mod streams;

use std::path::Path;
use std::time::{Duration, Instant};

use brokers::Broker;
use cli::{Desk, demo};
use ct_codecs::{Base64, Decoder};
use serde_json::Value;
use served::{Served, key_of};
use streams::{Redis, eventually};

const LINES: &str = concat!(
    r#"{"type":"trade_closed","id":"t-1","ts":"2024-01-01T00:00:00Z"}"#,
    "\n\nno json\n",
    r#"{"type":"a/b","id":"t-2","ts":"2024-01-01T00:01:00Z"}"#,
    "\n"
);

#[track_caller]
fn feed(desk: &Desk, url: &str, more: &[&str], file: &Path, lines: usize) {
    let said = desk.run(&[&["feed", "--to", url], more, &[file.to_str().unwrap()]].concat()).ended(0);
    assert!(said.out.starts_with(&format!("{lines} lines sent")), "{said:?}");
}

#[test]
fn a_recorded_stream_fed_to_redis_is_governed_as_if_it_happened_now() {
    let (redis, desk) = (Redis::new(), Desk::new());
    let url = redis.url();
    desk.write("ephor.toml", format!("[[bus.redis]]\nname = \"node\"\nurl = \"{url}\"\n"));
    // Where the settings' defaults listen.
    feed(&desk, &url, &[], &demo(), 4_247);
    let first = &redis.entries("trader-rehearsal:stream")[0];
    assert_eq!((first.text("topic"), &first.json()["type"]), ("strategy", &Value::from("strategy")));
    let key = key_of(&desk, "desk", "admin");
    let served = Served::at(desk, key, &[]);
    eventually("all is taken", || redis.outstanding("trader-rehearsal:stream", "ephor") == 0);
    assert_eq!(served.get("/v1/strategies?limit=100").1["strategies"].as_array().unwrap().len(), 7);
    assert_eq!(redis.length("ephor:dead"), 0);
}

#[test]
fn a_capture_of_a_nodes_bus_goes_back_into_redis_as_the_node_wrote_it() {
    let (redis, desk) = (Redis::new(), Desk::new());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bus/GOV-003.msgpack.jsonl");
    feed(&desk, &redis.url(), &[], &file, 318);
    let text = std::fs::read_to_string(&file).unwrap();
    let kept = redis.entries("trader-GOV-003:stream");
    assert_eq!(kept.len(), 318);
    for (line, kept) in text.lines().zip(kept) {
        let line: Value = serde_json::from_str(line).unwrap();
        for name in ["topic", "type", "encoding"] {
            assert_eq!(kept.text(name), line[name].as_str().unwrap());
        }
        let payload = Base64::decode_to_vec(line["payload_b64"].as_str().unwrap(), None).unwrap();
        assert!(kept.fields.contains(&("payload".to_owned(), payload)));
    }
}

#[test]
fn lines_go_to_topics_by_their_type_in_their_order_and_at_their_time() {
    let (broker, desk) = (Broker::new(), Desk::new());
    let mut listener = broker.listen("engine", "#");
    let file = desk.write("in.jsonl", LINES);
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    let started = Instant::now();
    feed(&desk, &url, &["--speed", "60"], &file, 3);
    assert!(started.elapsed() >= Duration::from_secs(1), "a minute, sixty times as fast");
    feed(&desk, &url, &["--prefix", "rehearsal/one"], &file, 3);
    let heard = listener.messages(Duration::from_millis(500));
    let topics: Vec<_> = heard.iter().map(|heard| String::from_utf8_lossy(&heard.topic).into_owned()).collect();
    let [first, second] = ["ephor/in", "rehearsal/one"]
        .map(|prefix| ["trade_closed", "unknown", "a%2Fb"].map(|kind| format!("{prefix}/{kind}")));
    assert_eq!(topics, [first, second].concat());
    let lines: Vec<_> = LINES.lines().filter(|line| !line.is_empty()).collect();
    let payloads: Vec<_> = heard.iter().map(|heard| String::from_utf8_lossy(&heard.payload).into_owned()).collect();
    assert_eq!(payloads[..3], lines);
}

#[test]
fn a_password_on_the_command_line_is_refused_and_not_repeated() {
    let desk = Desk::new();
    let file = desk.write("in.jsonl", LINES);
    for scheme in ["nats", "redis", "mqtt"] {
        let url = format!("{scheme}://me:hunter2@127.0.0.1:9");
        let said = desk.run(&["feed", "--to", &url, file.to_str().unwrap()]).ended(3);
        assert!(said.err.contains("holds no user and no password") && !said.err.contains("hunter2"), "{said:?}");
    }
}
