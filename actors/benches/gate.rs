//! The gate's two hot figures, each beside its floor in the same run, round by round in turn:
//!
//! - one order at a time, `written`, against two actor asks and a channel hop;
//! - durable decisions with 256 in flight, against a group commit of as many bytes to a plain file.
//!
//! Figures are medians over the rounds and the ratio of each pair: the machine's own speed drifts.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark is a program, and prints")]

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use actix::prelude::*;
use ephor_actors::{Config, Governor, Request};
use ephor_events::{Durability, EventLog, Options};
use ephor_governance::drift::{Baseline, Metric};
use ephor_governance::event::{RecordedBaseline, Registration};
use ephor_governance::maturity::Level;
use ephor_governance::order::{Order, Side};
use ephor_governance::strategy::Command;
use ephor_governance::trade::{Direction, Trade};
use ephor_governance::units::{Amount, Timestamp};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::oneshot;

/// The program's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const AT: Timestamp = Timestamp::from_nanos(1_700_000_000_000_000_000);
const ROUNDS: usize = 5;
const ORDERS: usize = 5_000;
/// A second's worth: a tenth of it is mostly a start.
const DURABLE: usize = 400_000;
const IN_FLIGHT: usize = 256;
const STRATEGIES: usize = 16;

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    // Without I/O, as the floor's: a thread that waits on sockets too is woken by a write to one.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        if "latency".contains(&filter) {
            latency().await;
        }
        if "throughput".contains(&filter) {
            throughput().await;
        }
    });
}

fn request(strategy: usize, command: Command) -> Request {
    Request {
        strategy: format!("strategy-{strategy:03}").parse().unwrap(),
        command,
        at: AT,
        trace: "".into(),
        occurred_at: None,
    }
}

fn order(number: usize) -> Request {
    let order = Order {
        id: format!("o-{number}").parse().unwrap(),
        instrument: "GBP/USD.SIM".parse().unwrap(),
        venue: None,
        side: Side::Buy,
        qty: Amount::from(1_000),
        price: Some(Amount::new(158_123, 5)),
        notional: None,
        currency: None,
        reduce_only: false,
        leverage: None,
        position_qty: Some(Amount::ZERO),
        equity: Some(Amount::from(100_000)),
        open_positions: Some(1),
        token: None,
    };
    request(number % STRATEGIES, Command::CheckOrder { order, attempt: 0 })
}

/// Strategies at the top of the ladder with full windows and a baseline.
async fn fill(governor: &Governor) {
    governor.begin(AT).await.unwrap();
    for strategy in 0..STRATEGIES {
        let id = |name: &str| format!("{name}-{strategy}").parse().unwrap();
        let registration = Registration {
            id: id("r"),
            instrument: None,
            engine: None,
            strategy_class: None,
            version_digest: "v1".into(),
            initial_capital: Amount::from(100_000),
            currency: "USD".parse().unwrap(),
            multiplier: Amount::ONE,
        };
        governor.ask(request(strategy, Command::Register(registration))).await.unwrap();
        let metrics = [(Metric::WinRate, 0.5), (Metric::ProfitFactor, 1.1), (Metric::Sharpe, 0.05)].into();
        let baseline = RecordedBaseline {
            id: id("b"),
            period_start: None,
            period_end: None,
            baseline: Baseline { trades: 200, metrics },
        };
        governor.ask(request(strategy, Command::RecordBaseline(baseline))).await.unwrap();
        let trades = (0..200).map(|number| {
            let trade = Trade {
                id: format!("t-{strategy}-{number}").parse().unwrap(),
                instrument: "GBP/USD.SIM".parse().unwrap(),
                direction: Direction::Long,
                qty: Amount::from(1_000),
                entry_price: Amount::new(158, 2),
                exit_price: Amount::new(159, 2),
                realized_pnl: Amount::from(if number % 2 == 0 { 12 } else { -10 }),
                currency: None,
                initial_risk: None,
                opened_at: AT,
                closed_at: AT,
                order_id: None,
            };
            governor.ask(request(strategy, Command::CloseTrade(trade)))
        });
        for closed in futures::future::join_all(trades).await {
            closed.unwrap();
        }
        let by = "bench".parse().unwrap();
        let rise = Command::SetLevel { to: Level::Autonomous, without_evidence: true, by, reason: "bench".into() };
        // Already there where the evidence was enough.
        drop(governor.ask(request(strategy, rise)).await);
    }
}

fn percentile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let index = (times.len() as f64 * share) as usize;
    times.get(index.min(times.len() - 1)).copied().unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap()
}

struct Row {
    floor_p50: Duration,
    floor_p99: Duration,
    gate_p50: Duration,
    gate_p99: Duration,
}

struct Inner {
    hop: crossbeam_channel::Sender<oneshot::Sender<u64>>,
}

struct Outer(Addr<Inner>);

#[derive(Message)]
#[rtype(result = "u64")]
struct Ping;

impl Actor for Inner {
    type Context = Context<Self>;
}

impl Actor for Outer {
    type Context = Context<Self>;
}

impl Handler<Ping> for Inner {
    type Result = ResponseFuture<u64>;

    fn handle(&mut self, _: Ping, _: &mut Context<Self>) -> Self::Result {
        let (done, answer) = oneshot::channel();
        self.hop.send(done).unwrap();
        Box::pin(async move { answer.await.unwrap() })
    }
}

impl Handler<Ping> for Outer {
    type Result = ResponseFuture<u64>;

    fn handle(&mut self, _: Ping, _: &mut Context<Self>) -> Self::Result {
        let inner = self.0.send(Ping);
        Box::pin(async move { inner.await.unwrap() })
    }
}

/// Two asks on one arbiter and a hop to a thread and back.
fn floor_house() -> (Addr<Outer>, std::thread::JoinHandle<()>) {
    let (hop, waiting) = crossbeam_channel::bounded::<oneshot::Sender<u64>>(1_024);
    let echo = std::thread::spawn(move || {
        while let Ok(done) = waiting.recv() {
            done.send(1).unwrap();
        }
    });
    let (ready, started) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        System::new().block_on(async move {
            let arbiter = Arbiter::new();
            let outer = Outer::start_in_arbiter(&arbiter.handle(), move |_| Outer(Inner { hop }.start()));
            ready.send(outer).unwrap();
            std::future::pending::<()>().await;
        });
    });
    (started.recv().unwrap(), echo)
}

async fn latency() {
    let dir = tempfile::tempdir().unwrap();
    let log = EventLog::open(dir.path(), &Options::default(), &mut |_| {}).unwrap().0;
    let (governor, threads) =
        Governor::start(log, &Config { durability: Durability::Written, ..Config::default() }).unwrap();
    fill(&governor).await;
    let (outer, _echo) = floor_house();
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    let mut rows = Vec::new();
    for round in 0..ROUNDS {
        let mut floor = Vec::with_capacity(ORDERS);
        for _ in 0..ORDERS {
            let start = Instant::now();
            outer.send(Ping).await.unwrap();
            floor.push(start.elapsed());
        }
        let mut gate = Vec::with_capacity(ORDERS);
        for number in 0..ORDERS {
            let request = order(round * ORDERS + number);
            let start = Instant::now();
            governor.ask(request).await.unwrap();
            gate.push(start.elapsed());
        }
        let row = Row {
            floor_p50: percentile(&mut floor, 0.5),
            floor_p99: percentile(&mut floor, 0.99),
            gate_p50: percentile(&mut gate, 0.5),
            gate_p99: percentile(&mut gate, 0.99),
        };
        p50.push(row.gate_p50.as_secs_f64() / row.floor_p50.as_secs_f64());
        p99.push(row.gate_p99.as_secs_f64() / row.floor_p50.as_secs_f64());
        rows.push(row);
    }
    let column = |pick: fn(&Row) -> Duration| median(rows.iter().map(|row| pick(row).as_secs_f64() * 1e6).collect());
    println!("gate, one at a time, written ({ORDERS} orders x {ROUNDS} rounds, medians)");
    println!(
        "  floor  p50 {:7.1} us   p99 {:7.1} us   two asks and a channel hop",
        column(|row| row.floor_p50),
        column(|row| row.floor_p99)
    );
    println!("  gate   p50 {:7.1} us   p99 {:7.1} us", column(|row| row.gate_p50), column(|row| row.gate_p99));
    println!("  ratio  p50 {:7.2}      p99 to the floor's p50 {:7.2}", median(p50), median(p99));
    governor.shutdown(threads).await.unwrap();
}

/// A plain file: takes what waits, writes it with one call, `fdatasync`, answers each.
fn floor_throughput(bytes_each: usize) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let mut file = File::create(dir.path().join("plain")).unwrap();
    let (entries, waiting) = crossbeam_channel::bounded::<(Vec<u8>, oneshot::Sender<u64>)>(1_024);
    let writer = std::thread::spawn(move || {
        let (mut buffer, mut answers) = (Vec::new(), Vec::new());
        while let Ok(first) = waiting.recv() {
            let mut next = Some(first);
            while let Some((bytes, done)) = next.take() {
                buffer.extend_from_slice(&bytes);
                answers.push(done);
                next = waiting.try_recv().ok();
            }
            file.write_all(&buffer).unwrap();
            file.sync_data().unwrap();
            buffer.clear();
            for done in answers.drain(..) {
                done.send(1).unwrap();
            }
        }
    });
    let payload: Vec<u8> = (0..bytes_each).map(|byte| u8::try_from(byte % 251).unwrap()).collect();
    let start = Instant::now();
    let work = async move {
        let mut flying = FuturesUnordered::new();
        for _ in 0..DURABLE {
            if flying.len() >= IN_FLIGHT {
                flying.next().await;
            }
            let (done, answer) = oneshot::channel();
            entries.send((payload.clone(), done)).unwrap();
            flying.push(answer);
        }
        while flying.next().await.is_some() {}
    };
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work);
    writer.join().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = DURABLE as f64 / start.elapsed().as_secs_f64();
    rate
}

/// Bytes a decision takes in the log, and decisions a second.
async fn gate_throughput(shards: usize) -> (usize, f64) {
    let dir = tempfile::tempdir().unwrap();
    let log = EventLog::open(dir.path(), &Options::default(), &mut |_| {}).unwrap().0;
    let (governor, threads) = Governor::start(log, &Config { shards, ..Config::default() }).unwrap();
    fill(&governor).await;
    let size = || -> u64 {
        std::fs::read_dir(dir.path().join("log")).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum()
    };
    let before = size();
    let requests: Vec<Request> = (0..DURABLE).map(order).collect();
    let start = Instant::now();
    let mut flying = FuturesUnordered::new();
    for request in requests {
        if flying.len() >= IN_FLIGHT {
            let answer: Option<Result<_, _>> = flying.next().await;
            answer.unwrap().unwrap();
        }
        flying.push(governor.ask(request));
    }
    while let Some(answer) = flying.next().await {
        answer.unwrap();
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = DURABLE as f64 / start.elapsed().as_secs_f64();
    governor.shutdown(threads).await.unwrap();
    (usize::try_from((size() - before) / DURABLE as u64).unwrap_or(300), rate)
}

async fn throughput() {
    let (bytes_each, _warm) = gate_throughput(1).await;
    let bytes_each = bytes_each.clamp(64, 4_096);
    for shards in [1, 2] {
        let (mut floors, mut gates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let floor = tokio::task::spawn_blocking(move || floor_throughput(bytes_each)).await.unwrap();
            let (_, gate) = gate_throughput(shards).await;
            floors.push(floor);
            gates.push(gate);
            ratios.push(gate / floor);
        }
        println!("durable decisions, {IN_FLIGHT} in flight, {bytes_each} bytes each, {shards} shard(s)");
        println!("  floor  {:9.0} a second   plain file, group commit, fdatasync", median(floors));
        println!("  gate   {:9.0} a second", median(gates));
        println!("  ratio  {:9.2}", median(ratios));
    }
}
