//! Ingest from a message bus, durable, held against a bare consumer that only reads and acknowledges.
//!
//! Both read the same number of trades of many strategies from a stream on the same server, in turn, round by round.
//! The bare consumer of JetStream acknowledges message by message, as its protocol has it; that of Redis reads as many
//! entries at once as may be under way, and acknowledges them with one command. Figures are medians, ratios are of pairs of
//! one round. `cargo bench -p ephor --bench ingest`, with `-- jetstream` or `-- redis` for one of them.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark is a program, and prints"
)]

#[path = "../installed/mod.rs"]
mod installed;
#[expect(dead_code, reason = "each test uses its part")]
#[path = "../servers/mod.rs"]
mod servers;
#[expect(dead_code, reason = "each test uses its part")]
#[path = "../streams/mod.rs"]
mod streams;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull;
use futures::StreamExt;
use redis::{Value, cmd};
use serde_json::json;
use servers::Nats;
use streams::{Fields, Redis};

const ROUNDS: u64 = 5;
const MESSAGES: u64 = 50_000;
const STRATEGIES: u64 = 100;
const PENDING: usize = 2_048;
/// The stream that is read from Redis.
const KEY: &str = "trader-bench:stream";

/// A server, and a consumer that does nothing.
trait Bus {
    /// The settings of a service that reads from it.
    fn settings(&self) -> String;
    fn publish(&self, kind: &str, payloads: impl Iterator<Item = String>);
    /// What is still to be taken or to be acknowledged.
    fn outstanding(&self) -> u64;
    /// Reads and acknowledges all that is there; gives messages a second.
    fn bare(&self) -> f64;
}

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let is_wanted = |name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    if is_wanted("jetstream") {
        compare("JetStream", &rounds(&Nats::new()));
    }
    if is_wanted("redis") {
        // As a server is mostly run: what it keeps is on the disk a second later. Its file is not rewritten meanwhile: that
        // takes a core for a second, in whichever phase it falls.
        let options = ["--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"];
        compare("Redis", &rounds(&Redis::with(&options)));
    }
}

/// Messages a second of the floor and of Ephor, a pair a round.
fn compare(name: &str, rounds: &[(f64, f64)]) {
    let median = |mut figures: Vec<f64>| {
        figures.sort_by(f64::total_cmp);
        figures.get(figures.len() / 2).copied().unwrap_or(0.0)
    };
    let floor = median(rounds.iter().map(|(floor, _)| *floor).collect());
    let ours = median(rounds.iter().map(|(_, ours)| *ours).collect());
    let ratio = median(rounds.iter().map(|(floor, ours)| ours / floor).collect());
    println!("{name}: bare consumer {floor:.0}/s, ephor durable {ours:.0}/s, ratio {ratio:.2} (target >= 0.30)");
}

fn registration(strategy: u64) -> String {
    json!({ "type": "strategy", "id": format!("s-{strategy}"), "ts": "2024-01-01T00:00:00Z",
        "strategy_id": format!("strategy-{strategy}"), "initial_capital": "1000000", "currency": "USD" })
    .to_string()
}

fn trade(number: u64) -> String {
    let pnl = if number.is_multiple_of(3) { "-7.5" } else { "12.25" };
    json!({ "type": "trade_closed", "id": format!("t-{number}"), "ts": "2024-01-03T00:00:00Z",
        "strategy_id": format!("strategy-{}", number % STRATEGIES), "instrument": "GBP/USD.SIM", "side": "LONG",
        "qty": "50000", "price": "1.569495", "entry_price": "1.568365", "realized_pnl": pnl, "currency": "USD",
        "opened_at": "2024-01-02T00:00:00Z", "closed_at": "2024-01-03T00:00:00Z" })
    .to_string()
}

fn rounds(bus: &impl Bus) -> Vec<(f64, f64)> {
    let desk = tempfile::tempdir().unwrap();
    let more = format!("reading.pending_max = {PENDING}\n[server.limits]\nin_flight = {}\n", 2 * PENDING);
    std::fs::write(desk.path().join("ephor.toml"), bus.settings() + &more).unwrap();
    let ephor = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ephor"));
        command.args(args).current_dir(desk.path()).stdin(Stdio::null()).stdout(Stdio::null());
        command
    };
    assert!(ephor(&["bus", "setup"]).status().unwrap().success());
    let serve = || ephor(&["serve", "--enabled", "--bind", "127.0.0.1:0"]).stderr(Stdio::null()).spawn().unwrap();
    bus.publish("strategies", (0..STRATEGIES).map(registration));
    let mut child = serve();
    while bus.outstanding() > 0 {
        std::thread::sleep(Duration::from_millis(50));
    }
    let fill = |round: u64| bus.publish("trades", (0..MESSAGES).map(|number| trade(round * MESSAGES + number)));
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        child.kill().unwrap();
        child.wait().unwrap();
        fill(2 * round);
        let floor = bus.bare();
        fill(2 * round + 1);
        child = serve();
        rounds.push((floor, watched(bus)));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    rounds
}

/// Watches Ephor read and acknowledge all that is there, from its first one to its last.
fn watched(bus: &impl Bus) -> f64 {
    let mut left = bus.outstanding();
    while left == MESSAGES {
        std::thread::sleep(Duration::from_millis(5));
        left = bus.outstanding();
    }
    let (begun, started) = (left, Instant::now());
    while left > 0 {
        std::thread::sleep(Duration::from_millis(20));
        left = bus.outstanding();
    }
    begun as f64 / started.elapsed().as_secs_f64()
}

impl Bus for Nats {
    fn settings(&self) -> String {
        format!("[[bus.nats]]\nname = \"bench\"\nservers = [\"{}\"]\ninput.ack_wait_seconds = 5\n", self.url())
    }

    fn publish(&self, kind: &str, payloads: impl Iterator<Item = String>) {
        Self::publish(self, &format!("ephor.in.{kind}"), payloads);
    }

    fn outstanding(&self) -> u64 {
        Self::outstanding(self, "EPHOR_IN", "ephor")
    }

    fn bare(&self) -> f64 {
        self.with_streams(|streams| async move {
            let stream = streams.get_stream("EPHOR_IN").await.unwrap();
            let consumer: async_nats::jetstream::consumer::Consumer<pull::Config> =
                stream.get_consumer("ephor").await.unwrap();
            let mut messages = consumer.stream().max_messages_per_batch(PENDING).messages().await.unwrap();
            let started = Instant::now();
            for _ in 1..MESSAGES {
                messages.next().await.unwrap().unwrap().ack().await.unwrap();
            }
            messages.next().await.unwrap().unwrap().double_ack().await.unwrap();
            MESSAGES as f64 / started.elapsed().as_secs_f64()
        })
    }
}

impl Bus for Redis {
    fn settings(&self) -> String {
        format!("[[bus.redis]]\nname = \"bench\"\nurl = \"{}\"\nkeys = [\"{KEY}\"]\n", self.url())
    }

    fn publish(&self, _: &str, payloads: impl Iterator<Item = String>) {
        Self::publish(self, KEY, payloads);
    }

    fn outstanding(&self) -> u64 {
        let groups: Vec<std::collections::HashMap<String, Value>> = self.ask(&["XINFO", "GROUPS", KEY]);
        let number = |name: &str| groups.first().and_then(|group| group.get(name)).cloned();
        let [pending, lag] =
            ["pending", "lag"].map(|name| redis::from_redis_value::<u64>(number(name).unwrap()).unwrap());
        pending + lag
    }

    fn bare(&self) -> f64 {
        let mut connection = self.connection();
        let started = Instant::now();
        let mut left = MESSAGES;
        while left > 0 {
            let mut read = cmd("XREADGROUP");
            read.arg("GROUP").arg("ephor").arg("floor").arg("COUNT").arg(PENDING).arg("STREAMS").arg(KEY).arg(">");
            let read: Vec<(String, Vec<(String, Fields)>)> = read.query(&mut connection).unwrap();
            let mut acknowledge = cmd("XACK");
            acknowledge.arg(KEY).arg("ephor");
            for (id, _) in read.iter().flat_map(|(_, entries)| entries) {
                acknowledge.arg(id);
            }
            left -= acknowledge.query::<u64>(&mut connection).unwrap();
        }
        MESSAGES as f64 / started.elapsed().as_secs_f64()
    }
}
