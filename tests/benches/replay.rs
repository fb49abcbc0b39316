//! Replay beside its floor, what-if beside the audit, and the size of the log, on the public data set governed end to end.
//!
//! The floor decodes and folds the same commits from memory. Rounds alternate, and the ratio is taken pair by
//! pair, because the machine's own speed drifts.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark is a program, and prints")]

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use ephor::input::{Asked, Parser};
use ephor_events::codec::{Heading, Once, decode_commit, draft, encode};
use ephor_events::{Cause, Commit, Durability, EventLog, Options, Reader, Seq, StreamId, Version};
use ephor_governance::policy::Policy;
use ephor_governance::units::Timestamp;
use ephor_governance::{strategy, system};
use ephor_replay::audit::{Rules, Scope};
use ephor_replay::fold::{Plan, fold_with};
use ephor_replay::what_if::{Variant, what_if};

const ROUNDS: usize = 9;

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/events.jsonl.gz");
    let run = Command::new(env!("CARGO_BIN_EXE_ephor"))
        .arg("--data")
        .arg(dir.path())
        .args(["run", "--input"])
        .arg(input)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let (log, _) = EventLog::open(dir.path(), &Options::default(), &mut |_| {}).unwrap();
    let reader = log.reader();
    let commits = all(&reader);
    replay(&reader, &commits);
    judge(&reader);
    decisions();
    log.close().unwrap();
    size(dir.path(), &commits);
}

fn all(reader: &Reader) -> Vec<Commit> {
    let mut commits = Vec::new();
    let mut cursor = reader.cursor(Seq(1)).unwrap();
    while let Some(commit) = cursor.next().unwrap() {
        commits.push(commit.to_owned());
    }
    commits
}

/// Decodes and folds from memory: dense numbers, no digests.
fn floor(commits: &[Commit]) -> usize {
    let mut system = system::State::default();
    let mut strategies: Vec<strategy::State> = Vec::new();
    for commit in commits {
        let at = Timestamp::from_nanos(commit.decided_at);
        let number = commit.stream_no as usize;
        if strategies.len() <= number {
            strategies.resize_with(number + 1, Default::default);
        }
        for event in decode_commit(commit).unwrap() {
            if commit.stream.is_system() {
                system = system::evolve(system, &event, at);
            } else if let Some(state) = strategies.get_mut(number) {
                *state = strategy::evolve(std::mem::take(state), &event, at);
            }
        }
    }
    strategies.len()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap()
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn replay(reader: &Reader, commits: &[Commit]) {
    let events: usize = commits.iter().map(|commit| commit.events.len()).sum();
    let (mut floors, mut folds, mut ratios, mut shared) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let plan = Plan { threads, ..Plan::default() };
    for _ in 0..ROUNDS {
        let start = Instant::now();
        std::hint::black_box(floor(commits));
        let floor = start.elapsed().as_secs_f64();
        let start = Instant::now();
        std::hint::black_box(ephor_replay::fold::fold(reader, &mut |_| {}).unwrap());
        let fold = start.elapsed().as_secs_f64();
        let start = Instant::now();
        std::hint::black_box(fold_with(reader, &plan, &mut |_| {}).unwrap());
        shared.push(fold / start.elapsed().as_secs_f64());
        floors.push(events as f64 / floor);
        folds.push(events as f64 / fold);
        ratios.push(floor / fold);
    }
    println!("replay of the whole log into states ({events} events x {ROUNDS} rounds, medians)");
    println!("  floor  {:9.0} events a second   decode and fold of the same events from memory", median(floors));
    println!("  replay {:9.0} events a second", median(folds));
    println!("  ratio  {:9.2}", median(ratios));
    println!("  {threads} threads to one {:.2}", median(shared));
}

/// The most that a counterfactual may take, in audits.
const WHAT_IF_MAX: f64 = 2.0;

/// Both decide every commit once; the audit also encodes what it derives, what-if also ties and counts.
#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn judge(reader: &Reader) {
    let mut other = Policy::default();
    other.maturity.demotion_drawdown = "0.05".parse().unwrap();
    let other = [Variant::new("stricter", other)];
    let (mut audits, mut ifs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let report = ephor_replay::audit::audit(reader, &Scope::default(), &Rules::default(), 1, &mut |_| {}).unwrap();
        let audit = start.elapsed().as_secs_f64();
        assert_eq!(report.differ, 0);
        let start = Instant::now();
        let otherwise = what_if(reader, &Scope::default(), &other, &mut |_| {}).unwrap();
        let what_if = start.elapsed().as_secs_f64();
        assert_eq!(report.commits, otherwise.commits);
        audits.push(report.commits as f64 / audit);
        ifs.push(otherwise.commits as f64 / what_if);
        ratios.push(what_if / audit);
    }
    println!("judging every commit again (medians of {ROUNDS} rounds)");
    println!("  audit   {:9.0} commits a second", median(audits));
    println!("  what-if {:9.0} commits a second   under one other policy", median(ifs));
    let ratio = median(ratios);
    println!("  ratio   {ratio:9.2}   of an audit's time; at most {WHAT_IF_MAX}");
    assert!(ratio <= WHAT_IF_MAX, "what-if takes {ratio:.2} audits");
}

/// Decisions in the log of nothing but decisions.
const DECISIONS: u32 = 200_000;
/// Strategies that they are spread over.
const STRATEGIES: u32 = 16;

/// An audit of decisions alone, each on a full state: two hundred trades and a baseline.
fn decisions() {
    let log = decided();
    let reader = log.reader();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    println!("audit of {DECISIONS} decisions (medians of {ROUNDS} rounds)");
    for threads in [1, cores] {
        let mut rates = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let (scope, rules) = (Scope::default(), Rules::default());
            let report = ephor_replay::audit::audit(&reader, &scope, &rules, threads, &mut |_| {}).unwrap();
            assert_eq!((report.differ, report.decisions), (0, u64::from(DECISIONS)));
            rates.push(f64::from(DECISIONS) / start.elapsed().as_secs_f64());
        }
        println!("  {threads} thread(s) {:9.0} decisions a second", median(rates));
    }
}

/// A log in memory: strategies with full windows, then orders in turn.
fn decided() -> EventLog {
    let mut log = EventLog::memory();
    let at = Timestamp::from_nanos(1_700_000_000_000_000_000);
    let adopt = system::Command::AdoptPolicy {
        id: Policy::default().id(),
        policy: Policy::default().into(),
        by: "bench".parse().unwrap(),
        reason: "bench".into(),
    };
    let mut events = system::decide(&system::State::default(), &adopt).unwrap();
    let system = events.iter().fold(system::State::default(), |state, event| system::evolve(state, event, at));
    let heading = |stream: &str, expected: u64, system: u64, trace: &str| Heading {
        stream: StreamId::new(stream),
        expected: Version(expected),
        decided_at: at,
        occurred_at: at,
        trace: trace.into(),
        key: None,
        instrument: Some("GBP/USD.SIM".into()),
        system: Version(system),
    };
    log.append(&[draft(heading("system", 0, 0, ""), &mut events).unwrap()], Durability::Written).unwrap();
    let mut states = vec![(strategy::State::default(), 0_u64); STRATEGIES as usize];
    let context = strategy::Context { at, system: &system, drift: None };
    let mut tell = |strategy: usize, command: &strategy::Command| {
        let (state, version) = states.get_mut(strategy).unwrap();
        let name = format!("strategy-{strategy:02}");
        let mut events = strategy::decide(state, &name.parse().unwrap(), command, &context).unwrap();
        let commit = draft(heading(&name, *version, 1, ""), &mut events).unwrap();
        *version += events.len() as u64;
        *state = events.iter().fold(std::mem::take(state), |state, event| strategy::evolve(state, event, at));
        commit
    };
    let mut drafts = Vec::new();
    for strategy in 0..STRATEGIES as usize {
        for line in histories() {
            drafts.push(tell(strategy, &line));
        }
    }
    for number in 0..DECISIONS {
        drafts.push(tell((number % STRATEGIES) as usize, &order(number)));
    }
    for group in drafts.chunks(256) {
        log.append(group, Durability::Written).unwrap();
    }
    log
}

/// What makes a strategy's state full.
fn histories() -> Vec<strategy::Command> {
    let lines = (0..200).map(|number| {
        let pnl = if number % 2 == 0 { "12" } else { "-10" };
        format!(
            r#"{{"type":"trade_closed","id":"t{number}","ts":"2023-11-14T00:00:00Z","strategy_id":"s","instrument":"GBP/USD.SIM","side":"LONG","qty":"1000","entry_price":"1.58","price":"1.59","realized_pnl":"{pnl}","opened_at":"2023-11-13T00:00:00Z","closed_at":"2023-11-14T00:00:00Z"}}"#
        )
    });
    let register = r#"{"type":"strategy","id":"r","ts":"2023-11-14T00:00:00Z","strategy_id":"s","initial_capital":"100000","currency":"USD"}"#;
    let baseline = r#"{"type":"baseline","id":"b","ts":"2023-11-14T00:00:00Z","strategy_id":"s","metrics":{"trades":200,"win_rate":"0.5","profit_factor":"1.1","sharpe_trade":"0.05"}}"#;
    [register.to_owned(), baseline.to_owned()].into_iter().chain(lines).map(|line| command(&line)).collect()
}

fn order(number: u32) -> strategy::Command {
    let line = format!(
        r#"{{"type":"signal","id":"o-{number}","ts":"2023-11-14T00:00:00Z","strategy_id":"s","instrument":"GBP/USD.SIM","side":"BUY","qty":"1000","price":"1.58","position_qty":"0","equity":"100000"}}"#
    );
    let strategy::Command::ReceiveSignal { order, .. } = command(&line) else { unreachable!("the line is a signal") };
    strategy::Command::CheckOrder { order, attempt: 0 }
}

fn command(line: &str) -> strategy::Command {
    match Parser::new(ephor::store::now).line(line.as_bytes()).unwrap().unwrap().asked {
        Asked::Strategy(request) => request.command,
        Asked::Account(_) => unreachable!("no line here is an account"),
    }
}

fn bytes_under(path: &Path) -> u64 {
    if path.is_dir() {
        std::fs::read_dir(path).unwrap().map(|entry| bytes_under(&entry.unwrap().path())).sum()
    } else {
        path.metadata().unwrap().len()
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn size(dir: &Path, commits: &[Commit]) {
    // What the events say, each in full; as stored, what a commit says once is lifted out of them.
    let in_full = |mut event| encode(&mut event, &Once::NOTHING, Cause::None).unwrap().payload.len();
    let payload: usize = commits.iter().flat_map(|commit| decode_commit(commit).unwrap()).map(in_full).sum();
    let stored: usize = commits.iter().flat_map(|commit| &commit.events).map(|event| event.payload.len()).sum();
    println!("size ({payload} bytes of payload, {stored} as stored)");
    let mut total = 0;
    let mut parts: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    parts.sort();
    for part in parts.iter().filter(|part| !part.ends_with("rejects")) {
        let bytes = bytes_under(part);
        total += bytes;
        println!("  {:12} {bytes:9} bytes", part.file_name().unwrap().to_string_lossy());
    }
    println!(
        "  ratio  {:9.2}   {:.2} to the payload as stored",
        total as f64 / payload as f64,
        total as f64 / stored as f64
    );
}
