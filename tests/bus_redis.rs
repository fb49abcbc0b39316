//! Redis Streams with real servers: what is in them comes in once, whatever dies meanwhile, and what cannot be taken
//! is kept apart.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test uses its part")]
mod cli;
mod installed;
#[expect(dead_code, reason = "each test uses its part")]
mod served;
#[expect(dead_code, reason = "each test uses its part")]
mod streams;

use std::time::Duration;

use cli::{Desk, demo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use redis::cmd;
use serde_json::{Value, json};
use served::{Served, key_of};
use streams::{Redis, eventually, scattered};

const KEY: &str = "trader-A-1:stream";

fn settings(redis: &Redis, more: &str) -> String {
    format!("[[bus.redis]]\nname = \"node\"\nurl = \"{}\"\n{more}", redis.url())
}

fn serve(redis: &Redis, more: &str) -> Served {
    Served::with(&settings(redis, more), &[])
}

#[track_caller]
fn all_taken(redis: &Redis, key: &str) {
    eventually("all that came in is taken", || redis.outstanding(key, "ephor") == 0);
}

fn events(desk: &Desk) -> Vec<Value> {
    let said = desk.run(&["events", "--json"]).ended(0);
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn recorded(desk: &Desk, kind: &str) -> usize {
    events(desk).iter().filter(|event| event["type"] == kind).count()
}

/// What became of each strategy, without what depends on the wall clock.
fn standing(desk: &Desk) -> Vec<Value> {
    let said = desk.run(&["strategies", "--json"]).ended(0).json();
    let strategies = said.as_array().or_else(|| said["strategies"].as_array()).unwrap();
    let bare = |strategy: &Value| {
        let numbers =
            ["id", "level", "trades", "trades_at_level", "health", "drawdown", "max_drawdown", "drift", "version"];
        let numbers = numbers.map(|name| (name.to_owned(), strategy[name].clone()));
        let causes: Vec<_> = strategy["pauses"].as_object().unwrap().keys().cloned().collect();
        numbers.into_iter().chain([("pauses".to_owned(), causes.into())]).collect()
    };
    strategies.iter().map(bare).collect()
}

fn governed_alone(lines: &str) -> Vec<Value> {
    let desk = Desk::new();
    desk.govern(lines);
    standing(&desk)
}

fn demo_lines() -> String {
    std::fs::read_to_string(demo()).unwrap()
}

fn trade(strategy: &str, id: &str) -> String {
    json!({
        "type": "trade_closed", "id": id, "ts": "2024-01-02T00:00:00Z", "strategy_id": strategy,
        "instrument": "EUR/USD.SIM", "side": "LONG", "qty": "1000", "entry_price": "1.1", "price": "1.2",
        "realized_pnl": "100", "opened_at": "2024-01-01T00:00:00Z", "closed_at": "2024-01-02T00:00:00Z",
    })
    .to_string()
}

#[test]
fn a_history_in_a_stream_comes_to_what_it_comes_to_from_a_file_and_twice_to_nothing_more() {
    let redis = Redis::new();
    let lines = demo_lines();
    redis.publish(KEY, lines.lines());
    let served = serve(&redis, "");
    all_taken(&redis, KEY);
    assert_eq!(standing(&served.desk), governed_alone(&lines));
    let reported = || events(&served.desk).iter().filter(|event| event["stream"] != "system").count();
    let before = reported();
    redis.publish(KEY, lines.lines());
    all_taken(&redis, KEY);
    assert_eq!(reported(), before, "what is recorded is not recorded again");
    assert_eq!(redis.length("ephor:dead"), 0);
}

#[test]
fn a_stream_for_each_topic_is_found_while_it_runs_and_read_as_far_as_patterns_go() {
    let redis = Redis::new();
    let served = serve(&redis, "");
    served.register("A");
    redis.publish("trader-A-1:stream:events.position.A", [trade("A", "t-1")]);
    redis.publish("trader-A-1:5d1b:stream:events.position.A", [trade("A", "t-2")]);
    redis.publish("other-A-1:stream", [trade("A", "t-3")]);
    all_taken(&redis, "trader-A-1:stream:events.position.A");
    all_taken(&redis, "trader-A-1:5d1b:stream:events.position.A");
    assert_eq!(recorded(&served.desk, "TradeClosed"), 2);
    assert_eq!(redis.outstanding("other-A-1:stream", "ephor"), u64::MAX, "nobody reads it");
}

#[test]
fn what_cannot_be_taken_is_put_apart_with_its_reason_and_all_of_its_fields() {
    let redis = Redis::new();
    let served = serve(&redis, "");
    redis.publish(KEY, ["no json", r#"{"type":"nothing"}"#, &trade("nobody", "t-1")]);
    let _: String = redis.ask(&["XADD", KEY, "*", "topic", "t", "text", "no payload"]);
    let _: String = redis.ask(&["XADD", KEY, "*", "payload", "1", "payload", "2"]);
    served.register("A");
    redis.publish(KEY, [trade("A", "t-2")]);
    all_taken(&redis, KEY);
    let mut dead = redis.entries("ephor:dead");
    dead.sort_by_key(|kept| kept.text("id").to_owned());
    let codes: Vec<_> = dead.iter().map(|kept| kept.text("code")).collect();
    assert_eq!(codes, ["LINE_NOT_JSON", "TYPE_UNKNOWN", "STRATEGY_UNKNOWN", "FIELD_MISSING", "FIELD_TWICE"]);
    let place = format!("{KEY} {}: ", redis.entries(KEY)[0].id);
    assert!(dead[0].text("reason").starts_with(&place), "{:?}", dead[0]);
    assert_eq!((dead[0].text("key"), dead[0].text("payload")), (KEY, "no json"));
    assert_eq!((dead[2].text("attempts"), dead[2].text("payload")), ("3", trade("nobody", "t-1").as_str()));
    assert_eq!((dead[3].text("topic"), dead[3].text("text")), ("t", "no payload"));
    let names: Vec<_> = dead[4].fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["code", "reason", "key", "id", "attempts", "payload", "payload"]);
    assert_eq!(recorded(&served.desk, "TradeClosed"), 1, "what stands behind it is taken");
    assert!(served.stderr().contains("STRATEGY_UNKNOWN"), "{}", served.stderr());
}

#[test]
fn a_strategy_that_is_registered_meanwhile_gets_its_trade() {
    let redis = Redis::new();
    let served = serve(&redis, "[bus.redis.reading]\nattempts_max = 100\n");
    redis.publish(KEY, [trade("A", "t-1")]);
    eventually("it is read", || redis.outstanding(KEY, "ephor") == 1);
    std::thread::sleep(Duration::from_millis(500));
    served.register("A");
    all_taken(&redis, KEY);
    assert_eq!((recorded(&served.desk, "TradeClosed"), redis.length("ephor:dead")), (1, 0));
}

#[test]
fn killed_at_any_moment_it_takes_up_where_it_was_and_records_everything_once() {
    let redis = Redis::new();
    let lines = demo_lines();
    let all: Vec<_> = lines.lines().collect();
    let desk = Desk::new();
    desk.write("ephor.toml", settings(&redis, "[bus.redis.reading]\npending_max = 64\n"));
    let key = key_of(&desk, "desk", "admin");
    let mut served = Served::at(desk, key.clone(), &[]);
    for (round, part) in (0_u64..).zip(all.chunks(500)) {
        redis.publish(KEY, part);
        std::thread::sleep(Duration::from_millis(scattered(round, 400)));
        served.signal("KILL");
        served = Served::at(served.into_desk(), key.clone(), &[]);
        std::thread::sleep(Duration::from_millis(scattered(round + 100, 300)));
    }
    all_taken(&redis, KEY);
    assert_eq!(standing(&served.desk), governed_alone(&lines));
    assert_eq!(redis.length("ephor:dead"), 0);
    served.signal("TERM");
    assert_eq!(served.ended(), Some(0), "{}", served.stderr());
    served.desk.run(&["verify"]).ended(0);
}

#[test]
fn a_server_that_is_killed_and_comes_back_costs_nothing_but_time() {
    let mut redis = Redis::new();
    let served = serve(&redis, "");
    let lines = demo_lines();
    let all: Vec<_> = lines.lines().collect();
    for (round, part) in (0_u64..).zip(all.chunks(1_500)) {
        redis.publish(KEY, part);
        std::thread::sleep(Duration::from_millis(scattered(round, 300)));
        redis.kill();
        std::thread::sleep(Duration::from_millis(scattered(round + 7, 500)));
        redis.start();
    }
    all_taken(&redis, KEY);
    assert_eq!(standing(&served.desk), governed_alone(&lines));
    assert_eq!(redis.length("ephor:dead"), 0);
}

#[test]
fn what_another_consumer_has_left_is_taken_over_once_it_is_stale() {
    let redis = Redis::new();
    redis.publish(KEY, [trade("A", "t-1"), trade("A", "t-2")]);
    let _: String = redis.ask(&["XGROUP", "CREATE", KEY, "ephor", "0"]);
    let read = ["XREADGROUP", "GROUP", "ephor", "dead", "COUNT", "1", "STREAMS", KEY, ">"];
    let _: redis::Value = redis.ask(&read);
    let served = serve(&redis, "claim_after_ms = 8000\n[bus.redis.reading]\nattempts_max = 100\n");
    served.register("A");
    eventually("the other one is taken", || redis.outstanding(KEY, "ephor") == 1);
    assert_eq!(recorded(&served.desk, "TradeClosed"), 1, "it is not stale yet");
    all_taken(&redis, KEY);
    assert_eq!(recorded(&served.desk, "TradeClosed"), 2);
}

#[test]
fn entries_that_come_twice_and_out_of_order_lose_nothing_and_double_nothing() {
    let redis = Redis::new();
    let lines = demo_lines();
    let mut shuffled: Vec<_> = lines.lines().chain(lines.lines()).collect();
    for index in (1..shuffled.len()).rev() {
        shuffled.swap(index, usize::try_from(scattered(index as u64, index as u64 + 1)).unwrap());
    }
    redis.publish(KEY, &shuffled);
    let served = serve(&redis, "[bus.redis.reading]\nattempts_max = 100\n");
    all_taken(&redis, KEY);
    let given = |kind: &str| lines.lines().filter(|line| line.contains(&format!("\"type\":\"{kind}\""))).count();
    assert_eq!(recorded(&served.desk, "TradeClosed"), given("trade_closed"));
    assert_eq!(recorded(&served.desk, "StrategyRegistered"), given("strategy"));
    assert_eq!(redis.length("ephor:dead"), 0);
}

#[test]
fn entries_that_are_trimmed_before_they_are_read_are_counted_and_said_loudly() {
    let redis = Redis::new();
    let desk = Desk::new();
    desk.write("ephor.toml", settings(&redis, ""));
    let key = key_of(&desk, "desk", "admin");
    let mut served = Served::at(desk, key.clone(), &[]);
    served.register("A");
    redis.publish(KEY, (0..10).map(|number| trade("A", &format!("t-{number}"))));
    all_taken(&redis, KEY);
    served.signal("TERM");
    assert_eq!(served.ended(), Some(0));
    // One was delivered and never settled, then went with ten that nobody read.
    redis.publish(KEY, ["delivered"]);
    let read = ["XREADGROUP", "GROUP", "ephor", "ephor", "COUNT", "1", "STREAMS", KEY, ">"];
    let _: redis::Value = redis.ask(&read);
    redis.publish(KEY, (10..25).map(|number| trade("A", &format!("t-{number}"))));
    let _: u64 = redis.ask(&["XTRIM", KEY, "MAXLEN", "=", "5"]);
    let served = Served::at(served.into_desk(), key, &[]);
    all_taken(&redis, KEY);
    assert_eq!(recorded(&served.desk, "TradeClosed"), 15);
    let said = served.stderr();
    assert!(said.contains("entries are gone that were never read") && said.contains("gone=10"), "{said}");
    assert!(said.contains("an entry is gone that was delivered and never settled"), "{said}");
}

#[test]
fn a_bus_that_is_not_set_up_or_does_not_let_us_in_says_so_and_works_once_it_is() {
    let redis = Redis::with(&["--requirepass", "open-sesame"]);
    let desk = Desk::new();
    let password = desk.write("password", "wrong\n");
    let wanted = format!("password_file = {password:?}\nkeys = [\"{KEY}\"]\ncreate = false\n");
    desk.write("ephor.toml", settings(&redis, &wanted));
    let key = key_of(&desk, "desk", "admin");
    let ephor = Served::at(desk, key, &[]);
    let says = |text: &str| eventually(text, || ephor.stderr().contains(text));
    says("is open to others (mode 644)");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&password, mode).unwrap();
    says("Redis refuses these credentials");
    std::fs::write(&password, "open-sesame\n").unwrap();
    says("has no group ephor");
    let url = format!("redis://:open-sesame@127.0.0.1:{}", redis.port());
    let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
    let set_up = |args: &[&str]| ephor.desk.run(&[&["bus"], args].concat());
    assert!(set_up(&["status"]).ended(1).out.contains("missing"));
    assert!(set_up(&["setup", "--dry-run"]).ended(0).out.contains("would be created"));
    let said = set_up(&["setup"]).ended(0).out;
    assert!(said.contains(&format!("group ephor of {KEY}")) && said.contains("  created"), "{said}");
    assert!(set_up(&["setup"]).ended(0).out.contains("as it should be"));
    set_up(&["status"]).ended(0);
    cmd("XADD").arg(&[KEY, "*", "payload", "no json"]).exec(&mut connection).unwrap();
    eventually("it is read", || cmd("XLEN").arg("ephor:dead").query::<u64>(&mut connection).unwrap() == 1);
    assert!(!ephor.stderr().contains("sesame"), "{}", ephor.stderr());
}

/// Who signs certificates.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

#[test]
fn over_tls_only_the_authority_that_it_is_told_of_is_believed() {
    let (ours, theirs) = (authority(), authority());
    let desk = Desk::new();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = desk.write("server.pem", params.signed_by(&key, &ours).unwrap().pem());
    let secret = desk.write("server.key", key.serialize_pem());
    let authority = desk.write("ca.pem", ours.pem());
    let wrong = desk.write("wrong.pem", theirs.pem());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let files = [&certificate, &secret, &authority].map(|path| path.to_str().unwrap().to_owned());
    let args = ["--tls-port", &port.to_string(), "--tls-auth-clients", "no"];
    let args =
        [&args[..], &["--tls-cert-file", &files[0], "--tls-key-file", &files[1], "--tls-ca-cert-file", &files[2]]];
    let redis = Redis::with(&args.concat());
    redis.publish(KEY, ["no json"]);
    let settings = |ca: &std::path::Path| {
        format!("[[bus.redis]]\nname = \"node\"\nurl = \"rediss://localhost:{port}\"\nca = {ca:?}\n")
    };
    desk.write("ephor.toml", settings(&wrong));
    let key = key_of(&desk, "desk", "admin");
    let mut served = Served::at(desk, key.clone(), &[]);
    eventually("it refuses", || served.stderr().contains("invalid peer certificate"));
    assert_eq!(redis.length("ephor:dead"), 0);
    served.signal("TERM");
    assert_eq!(served.ended(), Some(0));
    let desk = served.into_desk();
    desk.write("ephor.toml", settings(&authority));
    let _served = Served::at(desk, key, &[]);
    eventually("it is read", || redis.length("ephor:dead") == 1);
}

#[test]
fn a_stream_of_events_that_is_deleted_or_begun_anew_gets_everything_once_more_and_never_a_part() {
    let redis = Redis::new();
    let served = serve(&redis, "keys = []\npublish = \"out\"\n");
    let published = || {
        let seqs: Vec<u64> = redis.entries("out").iter().map(|kept| kept.text("seq").parse().unwrap()).collect();
        // Whenever one looks: from the first event on, without a gap.
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
        seqs.len()
    };
    let all_there = |strategy: &str| {
        served.register(strategy);
        let least = events(&served.desk).len();
        eventually("everything is published", || published() >= least);
    };
    all_there("A");
    let _: u64 = redis.ask(&["DEL", "out"]);
    all_there("B");
    assert!(served.stderr().contains("it was deleted or begun anew"), "{}", served.stderr());
    // Somebody who reads it makes it again before Ephor has anything to add.
    let _: u64 = redis.ask(&["DEL", "out"]);
    let _: String = redis.ask(&["XGROUP", "CREATE", "out", "readers", "$", "MKSTREAM"]);
    all_there("C");
    // What others write to it is not gone past.
    let _: String = redis.ask(&["XADD", "out", "*", "payload", "mine"]);
    served.register("D");
    eventually("it says so", || served.stderr().contains("or others write to it"));
}
