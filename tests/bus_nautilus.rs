//! `NautilusTrader` and Redis: real streams of real nodes come to the figures that their engines counted, and a kill
//! stops a node.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test uses its part")]
mod cli;
mod installed;
#[expect(dead_code, reason = "each test uses its part")]
mod served;
#[expect(dead_code, reason = "each test uses its part")]
mod streams;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cli::Desk;
use ct_codecs::{Base64, Decoder};
use ephor::input;
use ephor_governance::units::Amount;
use serde_json::{Value, json};
use served::{Served, key_of, python};
use streams::{Redis, eventually, scattered};

const CAPTURES: [&str; 6] = [
    "GOV-001.single_stream.json.jsonl.gz",
    "GOV-002.stream_per_topic.jsonl",
    "GOV-003.msgpack.jsonl",
    "GOV-004.iso8601_instance_id.jsonl",
    "GOV-005.orders_denied.jsonl.gz",
    "GOV-006.live_node_and_kill_command.jsonl",
];

fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bus")
}

fn oracle(file: &str) -> Value {
    let text = std::fs::read_to_string(captures().join("bus_oracle.json")).unwrap();
    // The same run, once in MessagePack and once in JSON.
    let file = if file == CAPTURES[2] { CAPTURES[3] } else { file };
    serde_json::from_str::<Value>(&text).unwrap()["captures"][file].clone()
}

/// An entry as a node wrote it.
struct Entry {
    stream: String,
    fields: [(&'static str, Vec<u8>); 4],
}

fn entries(file: &str) -> Vec<Entry> {
    let input = input::open(&captures().join(file)).unwrap();
    let entry = |line: std::io::Result<String>| {
        let entry: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let payload = entry["payload"].as_str().map(|text| text.as_bytes().to_vec());
        let payload = payload.unwrap_or_else(|| Base64::decode_to_vec(text("payload_b64"), None).unwrap());
        let fields = [
            ("topic", text("topic").into_bytes()),
            ("type", text("type").into_bytes()),
            ("payload", payload),
            ("encoding", text("encoding").into_bytes()),
        ];
        Entry { stream: text("stream"), fields }
    };
    input.bytes.lines().map(entry).collect()
}

/// What the node wrote, byte for byte and in its order; gives the streams.
fn write(redis: &Redis, entries: &[Entry]) -> BTreeSet<String> {
    let mut adding = redis::pipe();
    for Entry { stream, fields } in entries {
        let add = adding.cmd("XADD").arg(stream).arg("*");
        for (name, value) in fields {
            add.arg(*name).arg(&**value);
        }
        add.ignore();
    }
    adding.exec(&mut redis.connection()).unwrap();
    entries.iter().map(|entry| entry.stream.clone()).filter(|stream| stream.starts_with("trader-")).collect()
}

#[track_caller]
fn all_taken(redis: &Redis, keys: &BTreeSet<String>) {
    for key in keys {
        eventually(&format!("all of {key} is taken"), || redis.outstanding(key, "ephor") == 0);
    }
}

fn desk(redis: &Redis, more: &str) -> (Desk, String) {
    let desk = Desk::new();
    let url = redis.url();
    let reading = "[bus.redis.reading]\nformat = \"nautilus\"\n";
    desk.write("ephor.toml", format!("[[bus.redis]]\nname = \"node\"\nurl = \"{url}\"\n{more}{reading}"));
    let key = key_of(&desk, "desk", "admin");
    (desk, key)
}

fn register(served: &Served, expected: &Value) {
    let names = |part: &str| expected[part].as_object().into_iter().flatten().map(|(name, _)| name.clone());
    for strategy in names("strategies").chain(names("orders_denied")).collect::<BTreeSet<_>>() {
        let registration = json!({
            "type": "strategy", "id": format!("register-{strategy}"), "ts": "2007-01-01T00:00:00Z",
            "strategy_id": strategy, "initial_capital": "100000", "currency": "USD",
        });
        let (status, said) = served.post("/v1/reports", &registration);
        assert_eq!(status, 200, "{said}");
    }
}

fn events(desk: &Desk) -> Vec<Value> {
    let said = desk.run(&["events", "--json"]).ended(0);
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Without what the service records of itself.
fn reported(desk: &Desk) -> usize {
    let own = |event: &Value| event["stream"] == "system" && event["type"] != "AccountUpdated";
    events(desk).iter().filter(|event| !own(event)).count()
}

fn amount(value: &Value) -> Amount {
    value.as_str().unwrap_or_else(|| panic!("{value}")).parse().unwrap()
}

/// The figures of each strategy are those that the engine counted.
#[track_caller]
fn holds(desk: &Desk, file: &str) {
    let mut trades: BTreeMap<String, Vec<Amount>> = BTreeMap::new();
    let mut denied: BTreeMap<String, u64> = BTreeMap::new();
    for event in events(desk) {
        let strategy = event["stream"].as_str().unwrap().to_owned();
        if event["type"] == "TradeClosed" {
            trades.entry(strategy).or_default().push(amount(&event["data"]["trade"]["realized_pnl"]));
        } else if event["type"] == "OrderReported" && event["data"]["status"] == "denied" {
            *denied.entry(strategy).or_default() += 1;
        }
    }
    let expected = oracle(file);
    let strategies = expected["strategies"].as_object().unwrap();
    assert!(trades.keys().eq(strategies.keys()), "{file}: {:?}", trades.keys());
    for (strategy, expected) in strategies {
        let results = &trades[strategy];
        let sum = |results: Vec<Amount>| results.into_iter().fold(Amount::ZERO, Amount::plus);
        let wins: Vec<_> = results.iter().copied().filter(|pnl| pnl.is_positive()).collect();
        let losses: Vec<_> = results.iter().copied().filter(|pnl| pnl.is_negative()).map(Amount::abs).collect();
        let counted = |name: &str| usize::try_from(expected[name].as_u64().unwrap()).unwrap();
        assert_eq!(results.len(), counted("trades"), "{file} {strategy}");
        assert_eq!((wins.len(), losses.len()), (counted("wins"), counted("losses")), "{file} {strategy}");
        assert_eq!(sum(wins), amount(&expected["gross_profit"]), "{file} {strategy}");
        assert_eq!(sum(losses), amount(&expected["gross_loss"]), "{file} {strategy}");
        assert_eq!(sum(results.clone()), amount(&expected["net_pnl"]), "{file} {strategy}");
    }
    assert_eq!(serde_json::to_value(denied).unwrap(), expected["orders_denied"], "{file}");
}

#[test]
fn every_capture_in_redis_comes_to_the_figures_of_its_engine_and_twice_to_nothing_more() {
    for file in CAPTURES {
        let redis = Redis::new();
        let (desk, key) = desk(&redis, "");
        let served = Served::at(desk, key, &[]);
        register(&served, &oracle(file));
        let entries = entries(file);
        let keys = write(&redis, &entries);
        for key in &keys {
            let written = redis.entries(key);
            let given = entries.iter().filter(|entry| entry.stream == *key);
            assert!(written.iter().map(|kept| &kept.fields[2].1).eq(given.map(|entry| &entry.fields[2].1)), "{file}");
        }
        all_taken(&redis, &keys);
        holds(&served.desk, file);
        let before = reported(&served.desk);
        write(&redis, &entries);
        all_taken(&redis, &keys);
        assert_eq!(reported(&served.desk), before, "{file}: what is recorded is not recorded again");
        assert_eq!(redis.length("ephor:dead"), 0, "{file}: {:?}", redis.entries("ephor:dead").first());
    }
}

#[test]
fn whatever_dies_in_mid_stream_the_figures_stay_those_of_the_engine() {
    let mut redis = Redis::new();
    let (desk, key) = desk(&redis, "");
    let file = CAPTURES[0];
    let mut served = Served::at(desk, key.clone(), &[]);
    register(&served, &oracle(file));
    let entries = entries(file);
    let mut keys = BTreeSet::new();
    for (round, part) in (0_u64..).zip(entries.chunks(600)) {
        keys = write(&redis, part);
        std::thread::sleep(Duration::from_millis(scattered(round, 300)));
        if round % 2 == 0 {
            redis.kill();
            std::thread::sleep(Duration::from_millis(scattered(round + 7, 300)));
            redis.start();
        } else {
            served.signal("KILL");
            served = Served::at(served.into_desk(), key.clone(), &[]);
        }
    }
    all_taken(&redis, &keys);
    holds(&served.desk, file);
    assert_eq!(redis.length("ephor:dead"), 0);
}

fn kill(served: &Served, scope: &str) {
    let (status, said) = served.post("/v1/kill", &json!({ "scope": scope, "reason": "drawdown > 10%" }));
    assert_eq!(status, 200, "{said}");
}

#[test]
fn a_kill_is_written_to_the_external_stream_as_a_node_reads_it_and_once_for_each_kill() {
    let redis = Redis::new();
    let control = "control = \"governance\"\ntrader_id = \"GOV-006\"\n";
    let (desk, key) = desk(&redis, control);
    let mut served = Served::at(desk, key.clone(), &[]);
    kill(&served, "venue:XCME");
    kill(&served, "all");
    eventually("the kill is passed on", || redis.length("governance") > 0);
    let written = redis.entries("governance");
    assert_eq!(written.len(), 1, "the kill of a venue is not the node's");
    let recorded = entries(CAPTURES[5]).into_iter().find(|entry| entry.stream == "governance").unwrap();
    let recorded_of = |name: &str| {
        let (_, value) = recorded.fields.iter().find(|(found, _)| *found == name).unwrap();
        String::from_utf8(value.clone()).unwrap()
    };
    for name in ["topic", "type", "encoding"] {
        assert_eq!(written[0].text(name), recorded_of(name));
    }
    let names: Vec<_> = written[0].fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["topic", "payload", "type", "encoding"], "older nodes go by the place");
    let (ours, real) = (written[0].json(), serde_json::from_str::<Value>(&recorded_of("payload")).unwrap());
    assert!(ours.as_object().unwrap().keys().eq(real.as_object().unwrap().keys()), "{ours}");
    for name in ["type", "trader_id", "component_id", "reason", "correlation_id"] {
        assert_eq!(ours[name], real[name]);
    }
    let id: uuid::Uuid = ours["command_id"].as_str().unwrap().parse().unwrap();
    assert_eq!((id.get_version_num(), id.get_variant()), (4, uuid::Variant::RFC4122));
    assert!(ours["ts_init"].as_str().unwrap().parse::<u64>().unwrap() > 1_700_000_000_000_000_000);
    // A restart passes on nothing a second time.
    served.signal("TERM");
    assert_eq!(served.ended(), Some(0));
    let mut served = Served::at(served.into_desk(), key.clone(), &[]);
    kill(&served, "instrument:X");
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(redis.length("governance"), 1);
    // Where its position is lost the same command comes again, as long as the kill is in force, and not afterwards.
    let positions_lost = |served: &mut Served| {
        served.signal("TERM");
        assert_eq!(served.ended(), Some(0));
        std::fs::remove_dir_all(served.desk.path("ephor-data/derived")).unwrap();
    };
    positions_lost(&mut served);
    let mut served = Served::at(served.into_desk(), key.clone(), &[]);
    eventually("it is passed on again", || redis.length("governance") == 2);
    assert_eq!(redis.entries("governance")[1].json(), ours, "the same command");
    let rearm = json!({ "scope": "all", "reason": "looked into" });
    assert_eq!(served.post("/v1/kill/rearm", &rearm).0, 200);
    positions_lost(&mut served);
    let _served = Served::at(served.into_desk(), key, &[]);
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(redis.length("governance"), 2, "a kill that was released stops nobody");
}

/// A node that runs.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_kill_stops_a_real_node() {
    let python = python("nautilus", "clients/python/examples/requirements.txt");
    let redis = Redis::new();
    let control = "control = \"governance\"\ntrader_id = \"GOV-006\"\nheartbeat_seconds_max = 60\n";
    let (desk, key) = desk(&redis, control);
    let served = Served::at(desk, key, &[]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/streams/node.py");
    let log = File::create(redis.dir().join("node.log")).unwrap();
    let mut command = Command::new(python);
    command.arg(script).args([&redis.port().to_string(), "GOV-006"]).stdin(Stdio::null());
    let mut node = Node(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    let said = || std::fs::read_to_string(redis.dir().join("node.log")).unwrap();
    eventually("the node listens", || said().contains("Listening to streams"));
    let stream = BTreeSet::from(["trader-GOV-006:stream".to_owned()]);
    all_taken_but_heartbeats(&redis, &stream);
    kill(&served, "all");
    eventually("the node hears of it", || said().contains("Received ShutdownSystem"));
    eventually("the node stops", || node.0.try_wait().unwrap().is_some());
    assert!(said().contains("ended"), "it ended by itself: {}", said());
    assert_eq!(redis.length("ephor:dead"), 0, "{:?}", redis.entries("ephor:dead").first());
}

/// A node never falls silent, so that something may always be under way.
#[track_caller]
fn all_taken_but_heartbeats(redis: &Redis, keys: &BTreeSet<String>) {
    for key in keys {
        eventually(&format!("{key} is taken"), || redis.outstanding(key, "ephor") <= 1);
    }
}

#[test]
fn everything_recorded_is_published_once_and_in_order_whatever_dies() {
    let mut redis = Redis::new();
    let (desk, key) = desk(&redis, "publish = \"ephor:events\"\n");
    let file = CAPTURES[1];
    let mut served = Served::at(desk, key.clone(), &[]);
    register(&served, &oracle(file));
    let all = entries(file);
    let mut keys = BTreeSet::new();
    for (round, part) in (0_u64..).zip(all.chunks(100)) {
        keys.extend(write(&redis, part));
        std::thread::sleep(Duration::from_millis(scattered(round, 300)));
        if round % 2 == 0 {
            served.signal("KILL");
            served = Served::at(served.into_desk(), key.clone(), &[]);
        } else {
            redis.kill();
            redis.start();
        }
    }
    all_taken(&redis, &keys);
    let recorded = events(&served.desk);
    eventually("all is published", || redis.length("ephor:events") >= recorded.len() as u64);
    let published = redis.entries("ephor:events");
    for (kept, event) in published.iter().zip(&recorded) {
        assert_eq!(kept.json(), *event);
        assert_eq!(kept.text("seq"), event["seq"].to_string());
        assert_eq!((kept.text("type"), kept.text("encoding")), (event["type"].as_str().unwrap(), "json"));
        assert_eq!(kept.text("log"), published[0].text("log"));
    }
    // Another log does not go on where this one ended.
    drop(served);
    let (desk, key) = self::desk(&redis, "publish = \"ephor:events\"\n");
    let other = Served::at(desk, key, &[]);
    eventually("it says so", || other.stderr().contains("holds events of another log"));
}

#[test]
fn a_node_that_falls_silent_fails_the_canary_and_its_heartbeat_mends_it() {
    let redis = Redis::new();
    let (desk, key) = desk(&redis, "heartbeat_seconds_max = 2\n");
    desk.write("policy.toml", "[canary]\ninterval_seconds = 1\naction_on_failure = \"alert\"\n");
    desk.run(&["policy", "adopt", "policy.toml", "--by", "alice", "--reason", "quick"]).ended(0);
    let served = Served::at(desk, key, &[]);
    let is_up = |component: &str, value: u8| {
        let metrics = served.get("/metrics").1;
        metrics.as_str().unwrap().contains(&format!("ephor_canary_up{{component=\"{component}\"}} {value}"))
    };
    eventually("it is silent", || is_up("bus:node", 0) && served.stderr().contains("nothing came for"));
    let heartbeat = || {
        let beat = ["XADD", "trader-GOV-006:stream", "*", "topic", "health:heartbeat", "type", "", "payload"];
        let _: String = redis.ask(&[&beat[..], &["2026-11-22T23:57:20.123456789Z", "encoding", "Json"]].concat());
    };
    eventually("it is heard", || {
        heartbeat();
        is_up("bus:node", 1)
    });
    assert!(is_up("clock:node", 1), "both run on one clock");
    assert_eq!(redis.length("ephor:dead"), 0);
}
