//! Exported tables, read back by other people's readers and compared cell by cell with what the log says.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where it stands")]

mod cli;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use cli::{Desk, Said, demo};
use ephor::export::{Column, Format, Kind, begin, tables};
use serde_json::{Map, Value, json};

/// Runs the program on the demonstration's log, in the directory that holds it.
fn run(arguments: &str) -> Said {
    governed().run(&arguments.split_whitespace().collect::<Vec<_>>())
}

fn governed() -> &'static Desk {
    static GOVERNED: OnceLock<Desk> = OnceLock::new();
    GOVERNED.get_or_init(|| {
        let desk = Desk::new();
        desk.govern(fs::read(demo()).unwrap());
        desk
    })
}

fn ran(command: &mut Command) -> Said {
    Said::of(&command.output().unwrap())
}

/// A Python with the readers, made once; the versions are pinned beside the script.
fn python() -> PathBuf {
    let readers = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readers");
    let python = readers.join("bin/python");
    let wanted = fs::read_to_string(script("requirements.txt")).unwrap();
    let made = readers.join("made-of");
    if fs::read_to_string(&made).is_ok_and(|found| found == wanted) {
        return python;
    }
    let venv = ran(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&readers));
    assert_eq!(venv.code, Some(0), "the readers need Python 3 with its venv module: {}", venv.err);
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    let pip = ran(Command::new(&python).args(install).arg(script("requirements.txt")));
    assert_eq!(pip.code, Some(0), "{}", pip.err);
    fs::write(made, wanted).unwrap();
    python
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/export").join(name)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a table should hold, from what the commands that people look with print.
fn expected(columns: &[Column], rows: &[Value]) -> Value {
    let kinds: Map<String, Value> =
        columns.iter().map(|column| (column.name.to_owned(), json!(format!("{:?}", column.kind)))).collect();
    let row = |row: &Value| -> Vec<Value> {
        columns.iter().map(|column| row.pointer(column.at).cloned().unwrap_or_default()).collect()
    };
    json!({ "kinds": kinds, "rows": rows.iter().map(row).collect::<Vec<_>>() })
}

fn decisions(events: &[Value]) -> Vec<Value> {
    let decided = events.iter().filter(|event| event["type"] == "DecisionMade");
    let with_reason = |event: &Value| {
        let verdicts = event["data"]["verdicts"].as_array().unwrap();
        let leading = verdicts.iter().find(|verdict| verdict["component"] == event["data"]["decided_by"]).unwrap();
        let mut event = event.clone();
        event["reason"] = leading["reason"]["code"].clone();
        event
    };
    decided.map(with_reason).collect()
}

fn states(events: &[Value]) -> Vec<Value> {
    let registered = events.iter().filter(|event| event["type"] == "StrategyRegistered");
    let mut names: Vec<&str> = registered.map(|event| event["stream"].as_str().unwrap()).collect();
    names.sort_unstable();
    let state = |name: &str| {
        let mut state: Value = serde_json::from_str(&run(&format!("state {name} --json")).out).unwrap();
        state["strategy"] = state["stream"].clone();
        state["paused"] = json!(!state["state"]["pauses"].as_object().unwrap().is_empty());
        state
    };
    names.into_iter().map(state).collect()
}

#[test]
fn other_peoples_readers_find_in_every_format_what_the_log_says() {
    let dir = tempfile::tempdir().unwrap();
    for table in ["events", "decisions", "states"] {
        for ending in ["jsonl", "csv", "parquet"] {
            let file = dir.path().join(format!("{table}.{ending}"));
            let ran = run(&format!("export {table} --out {}", file.display()));
            assert_eq!(ran.code, Some(0), "{}", ran.err);
        }
    }
    let events = lines(&run("events --json").out);
    assert!(events.len() > 6_000);
    let tables = json!({
        "events": expected(tables::EVENTS, &events),
        "decisions": expected(tables::DECISIONS, &decisions(&events)),
        "states": expected(tables::STATES, &states(&events)),
    });
    fs::write(dir.path().join("expected.json"), tables.to_string()).unwrap();
    let read = ran(Command::new(python()).arg(script("read_back.py")).arg(dir.path()));
    assert_eq!(read.code, Some(0), "{}{}", read.out, read.err);
    let compared: u64 = read.out.split_whitespace().next().unwrap().parse().unwrap();
    assert!(compared > 1_000_000, "{}", read.out);
}

#[test]
fn the_history_of_states_ends_where_the_strategies_stand() {
    let history = lines(&run("export states --history").out);
    let now = lines(&run("export states").out);
    assert!(history.len() > 700 && now.len() == 7);
    for state in &now {
        let last = history.iter().rfind(|row| row["strategy"] == state["strategy"]).unwrap();
        for field in ["level", "equity", "trades", "pnl", "max_drawdown", "health_score", "pauses", "drift"] {
            assert_eq!(last[field], state[field], "{} {field}", state["strategy"]);
        }
    }
    // A row of the history is the state at that seq.
    let row = &history[history.len() / 2];
    let (name, seq) = (row["strategy"].as_str().unwrap(), &row["seq"]);
    let then = lines(&run(&format!("export states --to {seq} --strategy {name}")).out);
    let [then] = then.as_slice() else { panic!("{then:?}") };
    for field in ["seq", "version", "level", "equity", "trades", "health_score"] {
        assert_eq!(row[field], then[field], "{field}");
    }
}

#[test]
fn what_is_asked_for_is_what_is_written() {
    let all = lines(&run("export events").out);
    let some = lines(&run("export events --from 100 --to 200").out);
    assert_eq!(some, all[99..200]);
    let one = lines(&run("export decisions --strategy EMAX-GBPUSD-M5-001 --from 2012-02-16").out);
    let whole = lines(&run("export decisions").out);
    let wanted = |row: &&Value| {
        row["strategy"] == "EMAX-GBPUSD-M5-001" && row["recorded_at"].as_str().unwrap() >= "2012-02-16T00:00:00Z"
    };
    let wanted: Vec<&Value> = whole.iter().filter(wanted).collect();
    assert!(!one.is_empty() && one.len() < whole.len());
    assert_eq!(one.iter().collect::<Vec<_>>(), wanted);
}

#[test]
fn a_file_is_whole_or_not_there_and_never_lost() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("d.parquet");
    let export = format!("export decisions --out {}", file.display());
    let first = run(&format!("{export} --json"));
    let told: Value = serde_json::from_str(&first.out).unwrap();
    assert_eq!(told["rows"], 1_480, "{}", first.err);
    let before = fs::read(&file).unwrap();
    let again = run(&export);
    assert_eq!(again.code, Some(2));
    assert!(again.err.contains("is there already: --force replaces it"), "{}", again.err);
    assert_eq!(run(&format!("{export} --force")).code, Some(0));
    assert_eq!(fs::read(&file).unwrap(), before, "the same log gives the same file");
    let nowhere = run(&format!("export events --out {}/no/such/dir.csv", dir.path().display()));
    assert_eq!(nowhere.code, Some(3));
    assert!(nowhere.err.contains("create"), "{}", nowhere.err);
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["d.parquet"]);
}

#[test]
fn what_stands_beside_a_file_is_nobodys_to_overwrite() {
    let dir = tempfile::tempdir().unwrap();
    let beside = dir.path().join("d.csv.partial");
    fs::write(&beside, "mine").unwrap();
    let ran = run(&format!("export decisions --out {}", dir.path().join("d.csv").display()));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(fs::read_to_string(&beside).unwrap(), "mine");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn a_reader_that_has_seen_enough_ends_an_export_quietly() {
    for format in ["jsonl", "csv", "parquet"] {
        let mut command = governed().program(&["export", "events", "--format", format]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        let err = String::from_utf8(ended.stderr).unwrap();
        assert_eq!((ended.status.code(), err.as_str()), (Some(0), ""), "{format}");
    }
}

#[test]
fn the_history_of_states_ends_where_it_was_told_to() {
    let closed = lines(&run("events --type TradeClosed --limit 40 --json").out);
    let to = closed[39]["seq"].as_u64().unwrap();
    let history = lines(&run(&format!("export states --history --to {to}")).out);
    let last = history.last().unwrap();
    assert_eq!(last["seq"], to);
    let then = lines(&run(&format!("export states --to {to} --strategy {}", last["strategy"].as_str().unwrap())).out);
    for field in ["version", "seq", "trades", "health_score", "pnl"] {
        assert_eq!(last[field], then[0][field], "{field}");
    }
}

#[test]
fn what_makes_no_sense_is_said_in_a_sentence() {
    for (asked, sentence) in [
        ("export events --out table.xlsx", "end it in .jsonl, .csv or .parquet, or give --format"),
        ("export events --history", "--history is for states"),
        ("export states --from 5", "add --history for a row after each commit"),
        ("export events --from 7000", "6560"),
        ("export events --from 10 --to 5", "there is nothing between --from and --to"),
        ("export states --strategy EMAX-GBPUSD-M5-002", "EMAX-GBPUSD-M5-001"),
        ("export events --to 1999-01-01", "2012"),
    ] {
        let ran = run(asked);
        assert_eq!(ran.code, Some(2), "{asked}: {}", ran.err);
        assert!(ran.err.contains(sentence), "{asked}: {}", ran.err);
        assert_eq!(ran.out, "", "{asked}");
    }
}

#[test]
fn a_number_that_parquet_cannot_hold_exactly_is_refused_and_not_rounded() {
    const COLUMNS: &[Column] = &[Column { name: "qty", at: "/qty", kind: Kind::Decimal }];
    let written = |format: Format, qty: &str| {
        let mut bytes = Vec::new();
        let mut rows = begin(format, COLUMNS, &mut bytes).unwrap();
        rows.push(&json!({ "qty": "1" })).unwrap();
        let pushed = rows.push(&json!({ "qty": qty })).map_err(|error| error.to_string());
        pushed.and_then(|()| rows.finish().map_err(|error| error.to_string())).map(|()| bytes)
    };
    for fits in ["0.000000000000000001", "9999999999999999999.999999999", "-0.10000000000000000000000"] {
        written(Format::Parquet, fits).unwrap();
    }
    for misfit in ["0.0000000000000000001", "100000000000000000000", "79228162514264337593543950335"] {
        let problem = written(Format::Parquet, misfit).unwrap_err();
        assert!(
            problem.starts_with(&format!("row 2: qty is \"{misfit}\", which has no exact decimal form")),
            "{problem}"
        );
        let text = String::from_utf8(written(Format::Csv, misfit).unwrap()).unwrap();
        assert_eq!(text, format!("qty\n1\n{misfit}\n"));
    }
}

#[test]
fn a_cell_of_text_may_hold_whatever_a_source_sends() {
    const COLUMNS: &[Column] =
        &[Column { name: "a", at: "/a", kind: Kind::Text }, Column { name: "b", at: "/b", kind: Kind::Json }];
    let mut bytes = Vec::new();
    let mut rows = begin(Format::Csv, COLUMNS, &mut bytes).unwrap();
    let hostile = json!({ "a": "x,\"y\"\r\nz", "b": { "k": "\"," } });
    rows.push(&hostile).unwrap();
    rows.push(&json!({ "a": null })).unwrap();
    rows.finish().unwrap();
    let mut read = csv::Reader::from_reader(bytes.as_slice());
    let records: Vec<csv::StringRecord> = read.records().map(Result::unwrap).collect();
    assert_eq!(records[0], vec!["x,\"y\"\r\nz", "{\"k\":\"\\\",\"}"]);
    assert_eq!(records[1], vec!["", ""]);
}
