//! The commands that read, through the binary, on the demonstration data.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where it stands")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use ephor_events::codec::{self, Heading};
use ephor_events::{Durability, EventLog, Options, Seq, StreamId};
use ephor_governance::event::Event;
use ephor_governance::gate::Execution;
use ephor_governance::ids::{InstrumentId, StrategyId};
use ephor_governance::strategy::{self, Context};
use ephor_governance::units::Multiplier;
use ephor_governance::verdict::Action;
use ephor_replay::at::{Point, strategy_at, system_at};
use serde_json::Value;
use tempfile::TempDir;

const STRATEGY: &str = "EMAX-GBPUSD-M5-001";

fn ephor(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ephor"));
    command.arg("--data").arg(dir).env_remove("EPHOR_DATA").env_remove("EPHOR_CONFIG").current_dir(dir);
    command
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

fn run(dir: &Path, arguments: &str) -> Ran {
    let ran = ephor(dir).args(arguments.split_whitespace()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Ran { code: ran.status.code().unwrap(), out: text(&ran.stdout), err: text(&ran.stderr) }
}

/// A copy of the demonstration's log, of one's own.
fn demo() -> TempDir {
    static RUN: OnceLock<TempDir> = OnceLock::new();
    let original = RUN.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let input = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/demo.jsonl");
        let ran = run(dir.path(), &format!("run --input {input}"));
        assert_eq!(ran.code, 0, "{}", ran.err);
        dir
    });
    let copied = tempfile::tempdir().unwrap();
    copy(original.path(), copied.path());
    copied
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Appends what an operator's pause would record, or a decision that the rules did not give.
fn append(dir: &Path, doctored: bool) -> Seq {
    let (mut log, _) = EventLog::open(dir, &Options::default(), &mut |_| {}).unwrap();
    let reader = log.reader();
    let id: StrategyId = STRATEGY.parse().unwrap();
    let moment = strategy_at(&reader, None, &id, Point::Now).unwrap();
    let system = system_at(&reader, None, Point::Now).unwrap();
    let command = if doctored {
        let order = serde_json::json!({
            "id": "doctored", "instrument": "GBP/USD.SIM", "venue": null, "side": "buy", "qty": "1", "price": "1.5",
            "notional": null, "currency": "USD", "reduce_only": false, "leverage": null, "position_qty": "0",
            "equity": "100000", "open_positions": 0, "token": null,
        });
        strategy::Command::CheckOrder { order: serde_json::from_value(order).unwrap(), attempt: 0 }
    } else {
        strategy::Command::Pause { by: "alice".parse().unwrap(), reason: "a look at the fills".into() }
    };
    let at = ephor_governance::units::Timestamp::from_nanos(log.head().recorded_at);
    let mut events =
        strategy::decide(&moment.state, &id, &command, &Context { at, system: &system.state, drift: None }).unwrap();
    if let Some(Event::DecisionMade(decision)) = events.first_mut() {
        (decision.action, decision.multiplier, decision.execution) = (Action::Allow, Multiplier::ONE, Execution::Live);
    }
    let heading = Heading {
        stream: StreamId::new(STRATEGY),
        expected: moment.version,
        decided_at: at,
        occurred_at: at,
        trace: "a-trace".into(),
        key: command.key(),
        instrument: command.instrument().map(InstrumentId::text),
        system: system.version,
    };
    let draft = codec::draft(heading, &mut events).unwrap();
    let seq = log.append(&[draft], Durability::Fsync).unwrap()[0].seq;
    log.close().unwrap();
    seq
}

#[test]
fn audit_derives_everything_again_and_finds_no_difference() {
    let dir = demo();
    let ran = run(dir.path(), "audit");
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("0 differ"), "{}", ran.out);
    let report = run(dir.path(), "audit --json").json();
    assert_eq!((&report["differ"], &report["first"]), (&Value::from(0), &Value::Null));
    let made = run(dir.path(), "events --type DecisionMade --json").out.lines().count();
    assert_eq!(report["decisions"], made, "every decision in the log was derived again");
}

#[test]
fn audit_names_a_doctored_decision() {
    let dir = demo();
    let seq = append(dir.path(), true);
    let ran = run(dir.path(), "audit");
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("1 differ") && ran.out.contains(&format!("seq {seq} ({STRATEGY}")), "{}", ran.out);
    assert!(ran.out.contains("\"action\":\"allow\"") && ran.out.contains("\"action\":\"pause\""), "{}", ran.out);
    assert_eq!(run(dir.path(), "audit --json").json()["differing"], serde_json::json!([seq]));
    assert_eq!(run(dir.path(), &format!("audit --to {}", seq.0 - 1)).code, 0);
    assert_eq!(run(dir.path(), "audit --strategy FT-SampleStrategy").code, 0);
    assert_eq!(run(dir.path(), &format!("audit --strategy {STRATEGY}")).code, 1);
}

#[test]
fn verify_finds_nothing_in_a_sound_log_and_names_a_flipped_bit() {
    let dir = demo();
    let sound = run(dir.path(), "verify");
    assert_eq!(sound.code, 0, "{}{}", sound.out, sound.err);
    assert!(sound.out.contains("no faults"));

    let mut chunks: Vec<_> = fs::read_dir(dir.path().join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.metadata().unwrap().len() > 100_000)
        .collect();
    let chunk = chunks.pop().expect("a chunk");
    let mut bytes = fs::read(&chunk).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&chunk, bytes).unwrap();
    let flipped = run(dir.path(), "verify");
    assert_eq!(flipped.code, 1, "{}{}", flipped.out, flipped.err);
    assert!(flipped.out.contains("fault: ") && flipped.out.contains("offset"), "{}", flipped.out);
    assert!(!run(dir.path(), "verify --json").json()["faults"].as_array().unwrap().is_empty());
}

#[test]
fn strategies_lists_all_seven() {
    let dir = demo();
    let people = run(dir.path(), "strategies").out;
    assert_eq!(people.lines().count(), 8, "{people}");
    assert!(!people.contains('\u{1b}'), "no colours in a pipe");
    let programs = run(dir.path(), "strategies --json").json();
    let emax = programs.as_array().unwrap().iter().find(|one| one["id"] == STRATEGY).unwrap();
    assert_eq!((&emax["level"], &emax["trades"]), (&Value::from("L0_shadow"), &Value::from(150)));
}

#[test]
fn state_shows_any_moment() {
    let dir = demo();
    let trades = |arguments: &str| run(dir.path(), arguments).json()["state"]["totals"]["trades"].clone();
    assert_eq!(trades(&format!("state {STRATEGY} --json")), 150);
    assert_eq!(trades(&format!("state {STRATEGY} --at 2012-02-15T23:55:00Z --json")), 14);
    assert_eq!(trades(&format!("state {STRATEGY} --version 1 --json")), 0);
    let now = run(dir.path(), &format!("state {STRATEGY}"));
    for section in ["Level", "Stopped by", "Health", "Drift", "Tokens", "Positions", "Registration"] {
        assert!(now.out.contains(section), "{section} is missing: {}", now.out);
    }
    assert!(run(dir.path(), "state system --json").json()["state"]["kills"].is_array());
}

#[test]
fn a_question_without_an_answer_says_what_would_do() {
    let dir = demo();
    let log = "2012-02-15T00:00:00Z to 2024-01-31T23:59:00Z";
    for (arguments, said) in [
        ("state EMAX-GBPUSD", "did you mean EMAX-GBPUSD-M5-001"),
        ("state EMAX-GBPUSD-M5-001 --at 2001-01-01", log),
        ("state EMAX-GBPUSD-M5-001 --at noon", "2012-02-15"),
        ("state EMAX-GBPUSD-M5-001 --seq 999999", "it goes from 1 to"),
        ("state FT-SampleStrategy --seq 5", "not governed yet"),
        ("events --type TradeOpened", "TradeClosed"),
        ("events --stream EMAX-GBPUSD", "did you mean"),
        ("why 999999", "it goes from 1 to"),
        ("why nothing-like-it", "an order, signal or trade"),
        ("why EMAX-GBPUSD-M5-001", "--last demotion"),
        ("why EMAX-GBPUSD-M5-001 --last kill", "no kill switch"),
        ("audit --strategy nobody", "ephor strategies"),
        ("history nobody", "ephor strategies"),
    ] {
        let ran = run(dir.path(), arguments);
        assert_eq!(ran.code, 2, "{arguments}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains(said), "{arguments}: {}", ran.err);
        assert!(ran.out.is_empty());
    }
    let nothing = tempfile::tempdir().unwrap();
    for command in ["strategies", "verify", "audit", "events"] {
        let ran = run(nothing.path(), command);
        assert_eq!(ran.code, 2);
        assert!(ran.err.contains("there is no log"), "{}", ran.err);
    }
}

#[test]
fn history_tells_the_story_and_all_of_it_where_asked() {
    let dir = demo();
    let story = run(dir.path(), &format!("history {STRATEGY}")).out;
    assert!(story.lines().next().unwrap().contains("registered at L1_paper"));
    assert!(story.contains("demoted from L1_paper to L0_shadow: 11 losses in a row"));
    assert!(story.contains("paused by drift") && !story.contains("closed:"));
    let all = run(dir.path(), &format!("history {STRATEGY} --all --json")).out;
    assert_eq!(all.lines().filter(|line| line.contains("\"TradeClosed\"")).count(), 150);
}

#[test]
fn events_are_found_by_stream_type_place_and_number() {
    let dir = demo();
    let all = run(dir.path(), "events --json").out;
    let seqs: Vec<u64> =
        all.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap()).collect();
    assert!(seqs.iter().copied().eq(1..=seqs.len() as u64), "every event once, in order");
    let count = |arguments: &str| run(dir.path(), arguments).out.lines().count();
    assert_eq!(count("events --limit 7"), 7);
    assert_eq!(count("events --from 10 --to 19"), 10);
    assert_eq!(count("events --type maturitytransitioned"), 7);
    assert_eq!(count(&format!("events --type TradeClosed --stream {STRATEGY}")), 150);
    let at_the_end = all.matches("\"recorded_at\":\"2024-01-31T23:59:00Z\"").count();
    assert!(at_the_end > 0);
    assert_eq!(count("events --from 2024-01-31T23:59:00Z"), at_the_end);
}

#[test]
fn events_are_followed_while_another_process_writes() {
    let dir = demo();
    let mut following = ephor(dir.path())
        .args(["events", "--follow", "--json", "--type", "StrategyPaused", "--stream", STRATEGY])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["data"]["by"], "drift");
    let seq = append(dir.path(), false);
    let paused = next();
    following.kill().unwrap();
    following.wait().unwrap();
    assert_eq!((&paused["seq"], &paused["data"]["by"]), (&Value::from(seq.0), &Value::from("alice")));
}

#[test]
fn why_shows_the_numbers_that_crossed_the_threshold() {
    let dir = demo();
    let demoted = run(dir.path(), &format!("why {STRATEGY} --last demotion")).out;
    assert!(demoted.contains("11 losses in a row > 10 (maturity.demotion_loss_streak)"), "{demoted}");
    assert_eq!(demoted.matches("─ trade ").count(), 11, "{demoted}");
    let fell = run(dir.path(), "why BTPY-SMA-EURUSD --last demotion --all").out;
    assert!(fell.contains("drawdown 10.19 % > 10.00 %") && fell.contains("peak equity 103 992.2290732"), "{fell}");
    let climbed = run(dir.path(), "why FT-SampleStrategy --last promotion").out;
    assert!(climbed.contains("50 >= 50") && climbed.contains("0.9200 > 0.45"), "{climbed}");
    let paused = run(dir.path(), "why BTPY-RSI2-EURUSD --last pause").out;
    assert!(paused.contains("sharpe 90.9 % off > 50 %") && paused.contains("95 % interval"), "{paused}");

    let decided = run(dir.path(), "why BTPY-RSI2-EURUSD --last decision --json").json();
    assert_eq!(decided["because"]["said"].as_array().unwrap().len(), 8);
    let (seq, trace) = (decided["event"]["seq"].clone(), decided["event"]["trace_id"].as_str().unwrap().to_owned());
    assert_eq!(run(dir.path(), &format!("why {seq} --json")).json()["event"]["seq"], seq);
    let by_trace = run(dir.path(), &format!("why {trace} --json")).json();
    assert_eq!(by_trace["event"]["type"], "DecisionMade");
}

#[test]
fn every_reading_command_has_an_example() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["strategies", "state", "history", "events", "why", "audit", "verify"] {
        let help = run(dir.path(), &format!("{command} --help"));
        assert_eq!(help.code, 0);
        assert!(help.out.contains("Example") && help.out.contains(&format!("ephor {command}")), "{}", help.out);
    }
}
