//! The audit database's sink, held against bare COPY of the same rows into the same tables with the same indexes.
//!
//! A server of the bench's own, with fsync. Round by round in turn: COPY of ready lines, a table at a time, in one
//! transaction; the sink, from the log on the disk, in batches with the checkpoint. Figures are medians, ratios are of
//! pairs of one round.
//!
//! `cargo bench -p ephor --bench audit_db`
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark is a program, and prints"
)]

#[path = "../postgres/mod.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod postgres;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use ephor::audit_db::{self, Database, Sink};
use ephor::settings::{AuditDatabase, AuditTls};
use ephor_events::Reader;
use postgres::{PASSWORD, Postgres};
use serde_json::Value;
use sqlx::Connection;

const ROUNDS: usize = 5;
/// How often the demonstration is governed, each time under other names.
const COPIES: usize = 8;
const TABLES: [&str; 3] = ["governance_events", "governance_logs", "maturity_transitions"];

fn main() {
    // `cargo test --benches` only wants to know that it starts.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let events = recorded(dir.path());
    let reader = Reader::open_shared(&dir.path().join("ephor-data"), &mut |_| {}).unwrap();
    let server = Postgres::with("-c max_wal_size=4GB", |_| {});
    let password = dir.path().join("password");
    std::fs::write(&password, PASSWORD).unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    let settings = AuditDatabase {
        url: Some(server.url("ephor", "audit")),
        password_file: Some(password),
        tls: AuditTls::Disable,
        ..AuditDatabase::default()
    };
    let database = Database::of(&settings).unwrap().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(compare(&database, &reader, &server, events));
}

/// A log of the demonstration many times over; gives how many events it has.
fn recorded(dir: &Path) -> u64 {
    let demo = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/demo.jsonl")).unwrap();
    let mut input = String::new();
    // Line by line, so that time does not go back.
    for line in demo.lines() {
        for copy in 0..COPIES {
            let mut line: Value = serde_json::from_str(line).unwrap();
            for name in ["id", "strategy_id", "order_id", "signal_id", "trace_id"] {
                if let Some(Value::String(text)) = line.get_mut(name) {
                    text.push('-');
                    text.push_str(&copy.to_string());
                }
            }
            input.push_str(&line.to_string());
            input.push('\n');
        }
    }
    std::fs::write(dir.join("input.jsonl"), input).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ephor"));
    command.args(["run", "--json", "--input", "input.jsonl"]).current_dir(dir).stderr(Stdio::inherit());
    let done = command.output().unwrap();
    assert!(done.status.success());
    let summary: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(summary["lines_rejected"], 0, "{summary}");
    summary["head_seq"].as_u64().unwrap()
}

async fn compare(database: &Database, reader: &Reader, server: &Postgres, events: u64) {
    let mut connection = database.connect().await.unwrap();
    audit_db::migrate(&mut connection).await.unwrap();
    let mut sink = Sink::new(database.clone(), reader.clone());
    audit_db::catch_up(&mut sink, reader, &mut |_| {}).await.unwrap();
    let lines = TABLES.map(|table| server.sql("audit", &format!("COPY {table} TO STDOUT")) + "\n");
    let bytes: usize = lines.iter().map(String::len).sum();
    let rows: usize = lines.iter().map(|lines| lines.lines().count()).sum();
    let (mut bare, mut followed) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        audit_db::start_again(&mut connection).await.unwrap();
        server.sql("audit", "CHECKPOINT");
        let started = Instant::now();
        let mut transaction = connection.begin().await.unwrap();
        for (table, lines) in TABLES.iter().zip(&lines) {
            let mut copy = transaction.copy_in_raw(&format!("COPY {table} FROM STDIN")).await.unwrap();
            copy.send(lines.as_bytes()).await.unwrap();
            copy.finish().await.unwrap();
        }
        transaction.commit().await.unwrap();
        bare.push(started.elapsed().as_secs_f64());
        audit_db::start_again(&mut connection).await.unwrap();
        server.sql("audit", "CHECKPOINT");
        let started = Instant::now();
        let mut sink = Sink::new(database.clone(), reader.clone());
        assert_eq!(audit_db::catch_up(&mut sink, reader, &mut |_| {}).await.unwrap(), events);
        followed.push(started.elapsed().as_secs_f64());
    }
    let ratio = median(bare.iter().zip(&followed).map(|(bare, followed)| bare / followed).collect());
    println!("{events} events, {rows} rows, {} MiB; {ROUNDS} rounds, medians", bytes >> 20);
    for (name, seconds) in [("bare COPY", bare), ("sink", followed)] {
        let seconds = median(seconds);
        println!("  {name:<12} {:9.0} events/s   {seconds:6.2} s", events as f64 / seconds);
    }
    println!("  sink to bare COPY {ratio:7.2}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
