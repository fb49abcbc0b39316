//! `POST /v1/orders/check` under load from outside, held against a handler that does nothing else.
//!
//! `wrk` asks over loopback, each request an order of its own. Round by round in turn: an actix-web handler that
//! reads the same body and answers as many bytes; the service, records handed to the operating system; the service,
//! records on the disk; and, in this process, the governor alone with as many orders in flight, on the disk.
//! Figures are medians, ratios are of pairs of one round.
//!
//! `cargo bench -p ephor --bench serve`; add `-- soak` for ten thousand strategies and a minute of load, with
//! the service's memory at the beginning and the end.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark is a program, and prints"
)]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use ephor_actors::{Config, Governor, Request};
use ephor_events::{EventLog, Options};
use ephor_governance::units::Timestamp;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde::Deserialize;

const ROUNDS: usize = 5;
const SECONDS: u64 = 4;
const STRATEGIES: usize = 100;
const CONNECTIONS: usize = 256;
const ALONE: usize = 60_000;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    // `cargo test --benches` only wants to know that it starts.
    if !args.iter().any(|arg| arg == "--bench") {
        return;
    }
    assert!(Command::new("wrk").arg("-v").output().is_ok(), "this needs the load generator `wrk`");
    if args.iter().any(|arg| arg == "soak") { soak() } else { compare() }
}

/// Asks with orders of new ids; one script for every server.
fn script(dir: &Path, strategies: usize, run: &str, key: &str) -> String {
    let path = dir.join(format!("{run}.lua"));
    let text = format!(
        r#"
local threads = 0
function setup(thread) thread:set("number", threads) threads = threads + 1 end
function init() count = 0 end
local headers = {{ ["content-type"] = "application/json", ["authorization"] = "Bearer {key}" }}
function request()
  count = count + 1
  local body = '{{"order_id":"{run}-' .. number .. '-' .. count .. '","strategy_id":"strategy-' .. (count % {strategies}) ..
    '","instrument":"GBP/USD.SIM","side":"BUY","qty":"1000","price":"1.58123","equity":"100000","position_qty":"0","open_positions":1}}'
  return wrk.format("POST", "/v1/orders/check", headers, body)
end
"#
    );
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

struct Load {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// What `wrk` says of so many connections for so long; every answer must be a 200.
fn load(address: &str, script: &str, connections: usize, seconds: u64) -> Load {
    let connections = format!("-c{connections}");
    let duration = format!("-d{seconds}s");
    let done = Command::new("wrk").args(["-t1", &connections, &duration, "--latency", "-s", script, address]).output();
    let said = String::from_utf8(done.unwrap().stdout).unwrap();
    assert!(!said.contains("Non-2xx") && !said.contains("Socket errors"), "{said}");
    let value = |name: &str| {
        let line = said.lines().find(|line| line.trim_start().starts_with(name)).unwrap_or_else(|| panic!("{said}"));
        line.split_whitespace().last().unwrap().to_owned()
    };
    Load {
        per_second: value("Requests/sec:").parse().unwrap(),
        p50_ms: millis(&value("50%")),
        p99_ms: millis(&value("99%")),
    }
}

fn millis(text: &str) -> f64 {
    let (number, factor) = match text {
        us if us.ends_with("us") => (us.trim_end_matches("us"), 1e-3),
        ms if ms.ends_with("ms") => (ms.trim_end_matches("ms"), 1.0),
        seconds => (seconds.trim_end_matches('s'), 1e3),
    };
    number.parse::<f64>().unwrap() * factor
}

struct Service {
    child: Child,
    address: String,
    key: String,
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Service {
    fn start(dir: &Path, durability: &str, strategies: usize) -> Self {
        let settings = format!(
            "[log]\ndurability = \"{durability}\"\n[server]\nworkers = 2\n[server.limits]\n\
             requests_per_second = 1000000\nburst = 1000000\n"
        );
        std::fs::write(dir.join("ephor.toml"), settings).unwrap();
        let ephor = |args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_ephor"));
            command.args(args).current_dir(dir).stderr(Stdio::inherit());
            command
        };
        let made = ephor(&["api-key", "create", "--name", "bench", "--role", "admin"]).stderr(Stdio::null()).output();
        let key = String::from_utf8(made.unwrap().stdout).unwrap().trim().to_owned();
        let mut input = String::new();
        for number in 0..strategies {
            writeln!(
                input,
                r#"{{"type":"strategy","id":"r-{number}","ts":"2024-01-01T00:00:00Z","strategy_id":"strategy-{number}","initial_capital":"100000","currency":"USD"}}"#
            )
            .unwrap();
        }
        std::fs::write(dir.join("strategies.jsonl"), input).unwrap();
        let done = ephor(&["run", "--json", "--input", "strategies.jsonl"]).stdout(Stdio::null()).status().unwrap();
        assert!(done.success());
        let mut child = ephor(&["serve", "--enabled", "--bind", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { child, address, key }
    }

    /// Resident memory, MiB.
    fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "read to be parsed")]
struct Order {
    #[serde(rename = "order_id")]
    id: String,
    strategy_id: String,
    instrument: String,
    side: String,
    qty: String,
    price: Option<String>,
    equity: Option<String>,
    position_qty: Option<String>,
    open_positions: Option<u32>,
}

/// A handler that reads the body and answers as many bytes as a decision has.
fn floor(answer: &'static str) -> String {
    let (ready, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        actix_web::rt::System::new().block_on(async move {
            let check = move |_: web::Json<Order>| async move {
                HttpResponse::Ok().content_type("application/json").body(answer)
            };
            let app = move || App::new().route("/v1/orders/check", web::post().to(check));
            let server = HttpServer::new(app).workers(2).bind("127.0.0.1:0").unwrap();
            ready.send(format!("http://{}", server.addrs()[0])).unwrap();
            server.run().await.unwrap();
        });
    });
    address.recv().unwrap()
}

/// Decisions a second of the governor alone, on the disk, with as many orders in flight as there are connections.
fn alone() -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let log = EventLog::open(dir.path(), &Options::default(), &mut |_| {}).unwrap().0;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (governor, threads) = Governor::start(log, &Config::default()).unwrap();
        let parser = ephor::input::Parser::live(ephor::store::now);
        let at = Timestamp::from_nanos(1_700_000_000_000_000_000);
        governor.begin(at).await.unwrap();
        for number in 0..STRATEGIES {
            let line = format!(
                r#"{{"type":"strategy","id":"r-{number}","ts":"2024-01-01T00:00:00Z","strategy_id":"strategy-{number}","initial_capital":"100000","currency":"USD"}}"#
            );
            let entry = parser.clone().line(line.as_bytes()).unwrap().unwrap();
            let ephor::input::Asked::Strategy(request) = entry.asked else { unreachable!() };
            governor.ask(*request).await.unwrap();
        }
        let orders: Vec<Request> = (0..ALONE)
            .map(|number| {
                let body = format!(
                    r#"{{"order_id":"o-{number}","strategy_id":"strategy-{}","instrument":"GBP/USD.SIM","side":"BUY","qty":"1000","price":"1.58123","equity":"100000","position_qty":"0","open_positions":1}}"#,
                    number % STRATEGIES
                );
                let check = parser.check(body.as_bytes(), None).unwrap();
                let command = ephor_governance::strategy::Command::CheckOrder { order: check.order, attempt: 0 };
                Request { strategy: check.strategy, command, at, trace: "".into(), occurred_at: None }
            })
            .collect();
        let started = Instant::now();
        let mut under_way = FuturesUnordered::new();
        for order in orders {
            if under_way.len() == CONNECTIONS {
                let answered: Result<_, _> = under_way.next().await.unwrap();
                answered.unwrap();
            }
            under_way.push(governor.ask(order));
        }
        while let Some(answered) = under_way.next().await {
            answered.unwrap();
        }
        let rate = ALONE as f64 / started.elapsed().as_secs_f64();
        governor.shutdown(threads).await.unwrap();
        rate
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn compare() {
    let dirs = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let written = Service::start(dirs.0.path(), "written", STRATEGIES);
    let durable = Service::start(dirs.1.path(), "fsync", STRATEGIES);
    let sample = Command::new("curl")
        .args(["-s", "-H", &format!("authorization: Bearer {}", written.key), "-H", "content-type: application/json"])
        .args(["-d", r#"{"order_id":"sample","strategy_id":"strategy-1","instrument":"GBP/USD.SIM","side":"BUY","qty":"1000","price":"1.58123","equity":"100000","position_qty":"0","open_positions":1}"#])
        .arg(format!("{}/v1/orders/check", written.address))
        .output()
        .unwrap();
    let answer: &'static str = String::from_utf8(sample.stdout).unwrap().leak();
    assert!(answer.contains("\"verdicts\""), "{answer}");
    let floor = floor(answer);
    let mut rows: [Vec<Load>; 3] = [Vec::new(), Vec::new(), Vec::new()];
    let mut alone_rates = Vec::new();
    for round in 0..ROUNDS {
        let servers = [
            ("floor", &floor, &written.key),
            ("written", &written.address, &written.key),
            ("durable", &durable.address, &durable.key),
        ];
        for (row, (name, address, key)) in rows.iter_mut().zip(servers) {
            let script = script(dirs.0.path(), STRATEGIES, &format!("{name}-{round}"), key);
            row.push(load(address, &script, CONNECTIONS, SECONDS));
        }
        alone_rates.push(alone());
    }
    println!(
        "orders/check, {CONNECTIONS} connections, {SECONDS} s x {ROUNDS} rounds, medians; {} bytes an answer",
        answer.len()
    );
    for (name, row) in ["floor: a handler alone", "written", "durable"].iter().zip(&rows) {
        let of = |pick: fn(&Load) -> f64| median(row.iter().map(pick).collect());
        println!(
            "  {name:<24} {:9.0} /s   p50 {:6.2} ms   p99 {:7.2} ms",
            of(|load| load.per_second),
            of(|load| load.p50_ms),
            of(|load| load.p99_ms)
        );
    }
    println!("  {:<24} {:9.0} /s   in this process, no HTTP", "governor alone, durable", median(alone_rates.clone()));
    let ratio = |of: &[Load], to: Vec<f64>| median(of.iter().zip(to).map(|(of, to)| of.per_second / to).collect());
    println!(
        "  written to the floor     {:9.2}",
        ratio(&rows[1], rows[0].iter().map(|load| load.per_second).collect())
    );
    println!("  durable to the governor  {:9.2}", ratio(&rows[2], alone_rates));
}

fn soak() {
    let dir = tempfile::tempdir().unwrap();
    let started = Instant::now();
    let service = Service::start(dir.path(), "written", 10_000);
    println!("10 000 strategies registered, loaded and served after {:.1} s", started.elapsed().as_secs_f64());
    let mut rows = Vec::new();
    for round in 0..7 {
        let script = script(dir.path(), 10_000, &format!("soak-{round}"), &service.key);
        let load = load(&service.address, &script, 64, 10);
        rows.push((load, service.memory()));
        std::thread::sleep(Duration::from_millis(200));
    }
    for (round, (load, memory)) in rows.iter().enumerate() {
        println!(
            "  {:3} s   {:8.0} /s   p50 {:6.2} ms   p99 {:7.2} ms   {memory:7.1} MiB",
            (round + 1) * 10,
            load.per_second,
            load.p50_ms,
            load.p99_ms
        );
    }
}
