//! Opening a log and going to any moment of it, on logs of very different length.
//!
//! The logs hold the public data set governed end to end, over and over. Its strategies are shared out to several
//! each, so that there are two hundred, except for one: a stream with a tenth of all events. What a start needs (open,
//! and every state restored through its keyframe) and what `ephor state` takes from the outside are measured in
//! processes of their own and held against the smallest log.
//!
//! `cargo bench -p ephor --bench travel [-- million | ten-million] [dir=DIR]`: the lengths up to that one; with a
//! directory, the logs stay there and are used again.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark is a program, and prints"
)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ephor_events::{Cause, Commit, Draft, Durability, EventLog, Key, Options, Seq, StreamId, Version};
use ephor_governance::{strategy, system};
use ephor_snapshots::{Keyframes, restore};

/// Every strategy of the data set becomes so many.
const COPIES: u64 = 6;

/// The strategy that is one and the same in every round.
const BIG: &str = "FT-TechnicalExampleStrategy";

/// Openings of one log, and questions of one kind asked of it.
const ROUNDS: usize = 15;

/// Processes that die with ten thousand commits that no index and no keyframe has.
const CRASHES: usize = 5;

/// Nanoseconds between two commits.
const STEP: i64 = 1_000_000_000;

/// When the first commit was recorded.
const BEGIN: i64 = 1_600_000_000_000_000_000;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("child-open") => return child_open(Path::new(&args[2])),
        Some("child-crash") => return child_crash(Path::new(&args[2]), args[3].parse().unwrap()),
        Some(_) | None => {}
    }
    // `cargo test --benches` only wants to know that it starts.
    if !args.iter().any(|arg| arg == "--bench") {
        return;
    }
    let has = |word: &str| args.iter().any(|arg| arg == word);
    let lengths: &[u64] = match (has("ten-million"), has("million")) {
        (true, _) => &[100_000, 1_000_000, 10_000_000],
        (false, true) => &[100_000, 1_000_000],
        (false, false) => &[100_000],
    };
    let scratch = tempfile::tempdir().unwrap();
    let kept = args.iter().find_map(|arg| arg.strip_prefix("dir="));
    let dir = kept.map_or_else(|| scratch.path().to_owned(), PathBuf::from);
    std::fs::create_dir_all(&dir).unwrap();
    let mut measured = Vec::new();
    for events in lengths {
        let log = dir.join(format!("{events}"));
        if !log.join("ready").exists() {
            build(&log, *events);
        }
        measured.push(measure(&log, *events));
    }
    println!("\nmedian and worst of {ROUNDS}, ms; the ratio is to the smallest log, of medians");
    for (at, what) in WHAT.iter().enumerate() {
        let small = measured[0].1[at].0;
        for (events, figures) in &measured {
            let (median, worst) = figures[at];
            println!("  {what:28} {events:>10} events {median:9.2} {worst:9.2}   ratio {:6.2}", median / small);
        }
    }
}

const WHAT: [&str; 7] = [
    "open",
    "every state through keyframes",
    "open after a crash",
    "every state after a crash",
    "state --version, from outside",
    "state --seq, from outside",
    "state --at, from outside",
];

/// The public data set, governed.
fn template(dir: &Path) -> Vec<Commit> {
    let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/events.jsonl.gz");
    ephor(dir).args(["run", "--input"]).arg(input).output().map(|ran| assert!(ran.status.success())).unwrap();
    let (log, _) = EventLog::open(dir, &Options::default(), &mut |_| {}).unwrap();
    let reader = log.reader();
    let mut cursor = reader.cursor(Seq(1)).unwrap();
    let mut commits = Vec::new();
    while let Some(commit) = cursor.next().unwrap() {
        commits.push(commit.to_owned());
    }
    commits
}

fn ephor(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ephor"));
    command.current_dir(dir).arg("--data").arg(dir).env_remove("EPHOR_CONFIG").env_remove("EPHOR_LOG");
    command
}

fn build(dir: &Path, events: u64) {
    let scratch = tempfile::tempdir().unwrap();
    let template = template(scratch.path());
    std::fs::create_dir_all(dir).unwrap();
    let (mut log, _) = EventLog::open(dir, &Options::default(), &mut |_| {}).unwrap();
    let began = Instant::now();
    let (mut heads, mut written, mut at, mut round, mut copy) = (HashMap::new(), 0, BEGIN, 0, 0);
    while written < events {
        for group in template.chunks(1_024) {
            let drafts: Vec<Draft> = group
                .iter()
                .map(|commit| {
                    copy = (copy + 1) % COPIES;
                    draft(commit, round, copy, &mut heads, &mut at)
                })
                .collect();
            written += drafts.iter().map(|draft| draft.events.len() as u64).sum::<u64>();
            log.append(&drafts, Durability::Written).unwrap();
            if written >= events {
                break;
            }
        }
        round += 1;
    }
    log.close().unwrap();
    println!("{written} events of {} streams written in {:.1} s", heads.len(), began.elapsed().as_secs_f64());
    let rebuilt = ephor(dir).args(["snapshots", "rebuild"]).output().unwrap();
    assert!(rebuilt.status.success(), "{}", String::from_utf8_lossy(&rebuilt.stderr));
    println!("{}", String::from_utf8_lossy(&rebuilt.stdout).trim_end());
    std::fs::write(dir.join("ready"), "").unwrap();
}

/// A commit of the data set as it comes again in a later round: of one copy of its strategy, with a new key.
fn draft(commit: &Commit, round: u64, copy: u64, heads: &mut HashMap<StreamId, u64>, at: &mut i64) -> Draft {
    let name = commit.stream.as_str();
    let shared = commit.stream.is_system() || name == BIG;
    let stream = if shared { commit.stream.clone() } else { StreamId::new(&format!("{name}-{copy}")) };
    let head = heads.entry(stream.clone()).or_default();
    let expected = Version(*head);
    *head += commit.events.len() as u64;
    *at += STEP;
    let mut events = commit.events.clone();
    for event in &mut events {
        if matches!(event.cause, Cause::Earlier(_)) {
            event.cause = Cause::None;
        }
    }
    let key = commit.key.as_ref().map(|key| Key { kind: key.kind, id: format!("{}-{round}", key.id).into() });
    let (trace, instrument) = (commit.trace.clone(), commit.instrument.clone());
    Draft { stream, expected, decided_at: *at, occurred_at: *at, trace, key, instrument, system: Version(1), events }
}

fn measure(dir: &Path, events: u64) -> (u64, Vec<(f64, f64)>) {
    let path = dir.to_str().unwrap();
    let mut figures = Vec::new();
    let (mut open, mut recover) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let taken = child(&["child-open", path]);
        open.push(taken[0]);
        recover.push(taken[1]);
    }
    figures.extend([summary(open), summary(recover)]);
    let (mut open, mut recover) = (Vec::new(), Vec::new());
    for _ in 0..CRASHES {
        child(&["child-crash", path, "10000"]);
        let taken = child(&["child-open", path]);
        open.push(taken[0]);
        recover.push(taken[1]);
    }
    figures.extend([summary(open), summary(recover)]);
    let (streams, head) = {
        let (log, _) = EventLog::open(dir, &Options::default(), &mut |_| {}).unwrap();
        (log.reader().streams(), log.head())
    };
    let strategies: Vec<_> = streams.iter().filter(|(stream, _)| !stream.is_system()).collect();
    let mut number = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |limit: u64| {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        number % limit
    };
    for kind in ["--version", "--seq", "--at"] {
        let mut taken = Vec::new();
        while taken.len() < ROUNDS {
            // Every third question is about the stream that has a tenth of all events.
            let nth = below(strategies.len() as u64) as usize;
            let big = strategies.iter().find(|(stream, _)| stream.as_str() == BIG).unwrap();
            let (stream, last) = if taken.len().is_multiple_of(3) { big } else { strategies[nth] };
            let point = match kind {
                "--version" => (1 + below(last.0)).to_string(),
                "--seq" => (head.seq.0 / 2 + below(head.seq.0 / 2)).to_string(),
                _ => {
                    let since = (head.recorded_at - BEGIN) / 2;
                    let at = BEGIN + since + below(since as u64).cast_signed();
                    ephor_governance::units::Timestamp::from_nanos(at).to_string()
                }
            };
            let began = Instant::now();
            let ran = ephor(dir).args(["--json", "state", stream.as_str(), kind, &point]).output().unwrap();
            let elapsed = began.elapsed();
            // A copy that has not begun yet has no state to show.
            if ran.status.success() {
                taken.push(millis(elapsed));
            }
        }
        figures.push(summary(taken));
    }
    (events, figures)
}

fn child(args: &[&str]) -> Vec<f64> {
    let ran = Command::new(std::env::current_exe().unwrap()).args(args).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let said = String::from_utf8(ran.stdout).unwrap();
    said.split_whitespace().map(|word| word.parse().unwrap()).collect()
}

/// What a start does: open, and restore the system and every strategy.
fn child_open(dir: &Path) {
    let began = Instant::now();
    let (log, _) = EventLog::open(dir, &Options::default(), &mut |_| {}).unwrap();
    let keyframes = Keyframes::open(&log.derived()).unwrap();
    let opened = began.elapsed();
    let began = Instant::now();
    let reader = log.reader();
    let mut tails = Vec::new();
    for (stream, _) in reader.streams() {
        if stream.is_system() {
            restore(&reader, Some(&keyframes), &stream, None, system::evolve).unwrap();
        } else {
            let restored = restore(&reader, Some(&keyframes), &stream, None, strategy::evolve).unwrap();
            tails.extend((restored.folded > 0).then_some((stream, restored)));
        }
    }
    println!("{} {}", millis(opened), millis(began.elapsed()));
    assert_eq!(keyframes.ignored().total(), 0);
    // As at the end of a running house.
    for (stream, restored) in &tails {
        keyframes.save(&reader, stream, restored).unwrap();
    }
    keyframes.flush().unwrap();
    drop((reader, keyframes));
    log.close().unwrap();
}

/// Appends to the big stream and dies without closing the log.
fn child_crash(dir: &Path, commits: u64) {
    let (mut log, _) = EventLog::open(dir, &Options::default(), &mut |_| {}).unwrap();
    let reader = log.reader();
    let stream = StreamId::new(BIG);
    let mut cursor = reader.stream(&stream, Version(1)).unwrap();
    let some: Vec<Commit> = (0..256).map(|_| cursor.next().unwrap().unwrap().to_owned()).collect();
    let mut heads: HashMap<StreamId, u64> = [(stream.clone(), reader.version_of(&stream).0)].into();
    let (mut at, round) = (log.head().recorded_at, log.head().seq.0);
    for number in 0..commits / 256 {
        let drafts: Vec<Draft> = some.iter().map(|one| draft(one, round + number, 0, &mut heads, &mut at)).collect();
        log.append(&drafts, Durability::Written).unwrap();
    }
    std::process::exit(0);
}

fn millis(elapsed: Duration) -> f64 {
    elapsed.as_secs_f64() * 1e3
}

/// Median and worst.
fn summary(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[values.len() - 1])
}
