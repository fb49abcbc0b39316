//! What must survive: a process killed at any moment, a disk that fills up, a directory that cannot be
//! written, a second process.
//!
//! The governed process is this test binary itself, started again with a variable in its environment, so
//! that what is killed is the real house on a real directory.

#![expect(clippy::unwrap_used, reason = "a test, and a child that reports on its output")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use ephor_actors::{Config, Governor, Request};
use ephor_events::{EventLog, OpenError, Options, Seq, StreamId};
use ephor_governance::event::Registration;
use ephor_governance::strategy::Command;
use ephor_governance::trade::{Direction, Trade};
use ephor_governance::units::{Amount, Timestamp};
use ephor_replay::audit::{Rules, Scope, audit};
use futures::StreamExt;
use futures::stream::FuturesUnordered;

const AT: Timestamp = Timestamp::from_nanos(1_700_000_000_000_000_000);
const CHILD: &str = "EPHOR_TEST_CHILD_DIR";
const FIRST: &str = "EPHOR_TEST_CHILD_FIRST";
const KILLS: u64 = 200;
const STRATEGIES: u64 = 5;

fn trade(number: u64) -> Request {
    let trade = Trade {
        id: format!("t-{number}").parse().unwrap(),
        instrument: "ABC.XNAS".parse().unwrap(),
        direction: Direction::Long,
        qty: Amount::ONE,
        entry_price: Amount::from(100),
        exit_price: Amount::from(101),
        realized_pnl: Amount::from(if number.is_multiple_of(3) { -2 } else { 2 }),
        currency: None,
        initial_risk: None,
        opened_at: AT,
        closed_at: AT,
        order_id: None,
    };
    request(number % STRATEGIES, Command::CloseTrade(trade))
}

fn request(strategy: u64, command: Command) -> Request {
    let strategy = format!("s-{strategy}").parse().unwrap();
    Request { strategy, command, at: AT, trace: "".into(), occurred_at: None }
}

fn registration(strategy: u64) -> Request {
    let registration = Registration {
        id: format!("r-{strategy}").parse().unwrap(),
        instrument: None,
        engine: None,
        strategy_class: None,
        version_digest: "v1".into(),
        initial_capital: Amount::from(1_000_000),
        currency: "USD".parse().unwrap(),
        multiplier: Amount::ONE,
    };
    request(strategy, Command::Register(registration))
}

fn options() -> Options {
    // Small chunks and frequent checkpoints, so that kills also meet those.
    Options { chunk_bytes: 256 * 1024, checkpoint_commits: 500, ..Options::default() }
}

/// The governed process: trades without end, each acknowledged on standard output once it is answered.
#[test]
fn child() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let log = EventLog::open(Path::new(&dir), &options(), &mut |_| {}).unwrap().0;
        let (governor, _threads) = Governor::start(log, &Config::default()).unwrap();
        for strategy in 0..STRATEGIES {
            governor.ask(registration(strategy)).await.unwrap();
        }
        let mut under_way = FuturesUnordered::new();
        let mut out = std::io::stdout().lock();
        for number in first.. {
            if under_way.len() >= 64 {
                let acknowledged: u64 = StreamExt::next(&mut under_way).await.unwrap();
                writeln!(out, "ack {acknowledged}").unwrap();
            }
            let asked = governor.ask(trade(number));
            under_way.push(async move {
                asked.await.unwrap();
                number
            });
        }
    });
}

fn start_child(dir: &Path, first: u64) -> std::process::Child {
    Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD, dir)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A number that differs from round to round and is the same in every run of the test.
fn scattered(round: u64, below: u64) -> u64 {
    let mut x = round.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    x ^= x >> 29;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (x ^ (x >> 32)) % below
}

#[test]
fn whatever_was_acknowledged_before_a_kill_is_there_once_and_the_log_checks() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    let mut next = 0;
    for round in 0..KILLS {
        let mut child = start_child(dir.path(), next);
        let wanted = scattered(round, 120);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut seen = 0;
        let mut note = |line: &str, seen: &mut u64| {
            if let Some(number) = line.strip_prefix("ack ").and_then(|number| number.parse::<u64>().ok()) {
                acknowledged.insert(number);
                next = next.max(number + 1);
                *seen += 1;
            }
        };
        while seen < wanted
            && let Some(line) = lines.next()
        {
            note(&line, &mut seen);
        }
        std::thread::sleep(Duration::from_micros(scattered(round + 1_000, 3_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        lines.for_each(|line| note(&line, &mut seen));
        // What was under way and not acknowledged may be recorded too: the next child's ids begin behind it.
        next += 100;
        if round % 20 == 19 {
            check(dir.path(), &acknowledged);
        }
    }
    assert!(acknowledged.len() > 1_000, "only {} acknowledged: the kills came too early", acknowledged.len());
    check(dir.path(), &acknowledged);
}

/// Every acknowledged trade is found, none is there twice, the chain checks and the audit finds no difference.
fn check(dir: &Path, acknowledged: &BTreeSet<u64>) {
    let (log, _) = EventLog::open(dir, &options(), &mut |_| {}).unwrap();
    let reader = log.reader();
    for number in acknowledged {
        let stream = StreamId::new(&format!("s-{}", number % STRATEGIES));
        let found = reader.find(&stream, 6, &format!("t-{number}")).unwrap();
        assert!(found.is_some(), "trade {number} was acknowledged and is gone");
    }
    let mut ids = BTreeSet::new();
    let mut cursor = reader.cursor(Seq(1)).unwrap();
    while let Some(commit) = cursor.next().unwrap() {
        if let Some((6, id)) = commit.key {
            assert!(ids.insert(id.to_string()), "trade {id} is there twice");
        }
    }
    let report = audit(&reader, &Scope::default(), &Rules::default(), 1, &mut |_| {}).unwrap();
    assert!(report.differing.is_empty(), "{report:?}");
    drop((cursor, reader));
    log.close().unwrap();
    let verified = ephor_events::verify(dir, &mut |_| {}).unwrap();
    assert_eq!(verified.faults, []);
}

#[test]
fn a_second_process_on_the_same_directory_is_told_so_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let first = EventLog::open(dir.path(), &options(), &mut |_| {}).unwrap().0;
    let second = EventLog::open(dir.path(), &options(), &mut |_| {});
    assert!(matches!(second, Err(OpenError::Locked { .. })));
    first.close().unwrap();
}

fn ephor() -> Process {
    Process::new(env!("CARGO_BIN_EXE_ephor"))
}

fn demo() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/demo.jsonl")
}

/// Runs the demo where no file may grow beyond a bound: what a full disk looks like to a process, for any user.
fn run_bounded(dir: &Path, blocks: u32) -> std::process::Output {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" --data \"$1\" run --input \"$2\"");
    Process::new("bash").args(["-c", &script]).arg(env!("CARGO_BIN_EXE_ephor")).arg(dir).arg(demo()).output().unwrap()
}

#[test]
fn a_disk_that_refuses_stops_the_run_with_a_clear_error_and_the_run_goes_on_later() {
    let dir = tempfile::tempdir().unwrap();
    let refused = run_bounded(dir.path(), 300);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{said}");
    assert!(said.contains("journal has stopped") || said.contains("File too large"), "{said}");

    let resumed = ephor().arg("--data").arg(dir.path()).arg("run").arg("--input").arg(demo()).output().unwrap();
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    let whole = tempfile::tempdir().unwrap();
    let at_once = ephor().arg("--data").arg(whole.path()).arg("run").arg("--input").arg(demo()).output().unwrap();
    assert!(at_once.status.success());
    let head = |dir: &Path| EventLog::open(dir, &Options::default(), &mut |_| {}).unwrap().0.head();
    assert_eq!(head(dir.path()), head(whole.path()));
    assert_eq!(ephor_events::verify(dir.path(), &mut |_| {}).unwrap().faults, []);
}

/// A file system of its own, full or read-only: for tests that run as root, as in most containers.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(options: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let done = Process::new("mount").args(["-t", "tmpfs", "-o", options, "ephor-test"]).arg(dir.path()).output();
        done.is_ok_and(|output| output.status.success()).then_some(Self(dir))
    }

    fn read_only(&self) {
        let done = Process::new("mount").args(["-o", "remount,ro"]).arg(self.0.path()).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let undone = Process::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(undone.is_ok());
    }
}

#[test]
fn a_full_file_system_is_an_error_that_says_so_and_nothing_recorded_is_lost() {
    let Some(small) = Mounted::new("size=600k") else {
        println!("no mount for this user: the bounded file above stands for it");
        return;
    };
    let data = small.0.path().join("data");
    let full = ephor().arg("--data").arg(&data).arg("run").arg("--input").arg(demo()).output().unwrap();
    let said = String::from_utf8_lossy(&full.stderr);
    assert_eq!(full.status.code(), Some(3), "{said}");
    assert!(said.contains("No space left"), "{said}");
    let reader = ephor_events::Reader::open_shared(&data, &mut |_| {}).unwrap();
    let report = audit(&reader, &Scope::default(), &Rules::default(), 1, &mut |_| {}).unwrap();
    assert!(report.differing.is_empty());
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_to_govern_and_can_still_be_read() {
    let Some(mounted) = Mounted::new("size=64m") else {
        println!("no mount for this user");
        return;
    };
    let data = mounted.0.path().join("data");
    assert!(ephor().arg("--data").arg(&data).arg("run").arg("--input").arg(demo()).status().unwrap().success());
    mounted.read_only();
    let refused = ephor().arg("--data").arg(&data).arg("run").arg("--input").arg(demo()).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
    let read = ephor().arg("--data").arg(&data).arg("strategies").output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
}
