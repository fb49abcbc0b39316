//! Ingest from a message bus, durable, held against a bare consumer that only reads and acknowledges.
//!
//! Both read the same number of trades of many strategies from a stream on the same server, in turn, round by round.
//! Figures are medians, ratios are of pairs of one round. `cargo bench -p ephor --bench ingest`.
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

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull;
use futures::StreamExt;
use serde_json::json;
use servers::Nats;

const ROUNDS: u64 = 5;
const MESSAGES: u64 = 50_000;
const STRATEGIES: u64 = 100;
const PENDING: usize = 2_048;

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    compare("JetStream", &jetstream());
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

fn fill(nats: &Nats, round: u64) {
    nats.publish("ephor.in.trades", (0..MESSAGES).map(|number| trade(round * MESSAGES + number)));
}

fn jetstream() -> Vec<(f64, f64)> {
    let nats = Nats::new();
    let desk = tempfile::tempdir().unwrap();
    let url = nats.url();
    let settings = format!(
        "[[bus.nats]]\nname = \"bench\"\nservers = [\"{url}\"]\n[bus.nats.input]\nack_wait_seconds = 5\n\
         [bus.nats.reading]\npending_max = {PENDING}\n"
    );
    std::fs::write(desk.path().join("ephor.toml"), settings).unwrap();
    let ephor = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ephor"));
        command.args(args).current_dir(desk.path()).stdin(Stdio::null()).stdout(Stdio::null());
        command
    };
    assert!(ephor(&["bus", "setup"]).status().unwrap().success());
    let serve = || ephor(&["serve", "--enabled", "--bind", "127.0.0.1:0"]).stderr(Stdio::null()).spawn().unwrap();
    nats.publish("ephor.in.strategies", (0..STRATEGIES).map(registration));
    let mut child = serve();
    while nats.outstanding("EPHOR_IN", "ephor") > 0 {
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        child.kill().unwrap();
        child.wait().unwrap();
        fill(&nats, 2 * round);
        let floor = bare(&nats);
        fill(&nats, 2 * round + 1);
        child = serve();
        rounds.push((floor, watched(&nats)));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    rounds
}

/// Reads and acknowledges all that is there.
fn bare(nats: &Nats) -> f64 {
    nats.with_streams(|streams| async move {
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

/// Watches Ephor read and acknowledge all that is there, from its first one to its last.
fn watched(nats: &Nats) -> f64 {
    let outstanding = || nats.outstanding("EPHOR_IN", "ephor");
    let mut left = outstanding();
    while left == MESSAGES {
        std::thread::sleep(Duration::from_millis(5));
        left = outstanding();
    }
    let (begun, started) = (left, Instant::now());
    while left > 0 {
        std::thread::sleep(Duration::from_millis(20));
        left = outstanding();
    }
    begun as f64 / started.elapsed().as_secs_f64()
}
