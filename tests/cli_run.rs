//! `ephor run`, end to end: real trades in, levels and reasons out, and nothing recorded twice, whatever
//! the lines are and whenever the program dies.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cli;

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use cli::{Desk, demo};
use ephor_events::Reader;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

const REGISTER: &str = r#"{"type":"strategy","id":"r1","ts":"2020-01-01T00:00:00Z","strategy_id":"A","initial_capital":"1000","currency":"USD"}"#;

fn signal(id: &str, ts: &str) -> String {
    format!(
        r#"{{"type":"signal","id":"{id}","ts":"{ts}","strategy_id":"A","instrument":"X","side":"BUY","qty":"1","ref_price":"10"}}"#
    )
}

fn demo_text() -> String {
    std::fs::read_to_string(demo()).unwrap()
}

/// The reject file of [`Desk::govern`].
fn rejects(desk: &Desk) -> Vec<Value> {
    let Ok(text) = std::fs::read_to_string(desk.path("ephor-data/rejects/input.jsonl")) else { return Vec::new() };
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn governed(desk: &Desk) -> Value {
    desk.run(&["run", "--json", "--input", demo().to_str().unwrap()]).ended(0).json()
}

fn packed(text: &str) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(text.as_bytes()).unwrap();
    packer.finish().unwrap()
}

#[test]
fn the_demo_shows_levels_changes_and_counts() {
    let desk = Desk::new();
    let said = desk.run(&["run", "--input", demo().to_str().unwrap()]).ended(0);
    for part in [
        "BBMR-GBPUSD-M5-001         L1→L2→L3",
        "EMAX-GBPUSD-M5-001          demoted L1→L0   11 losses in a row",
        "promoted L1→L2  50 trades, win rate 74.0 %, profit factor 1.50",
        "4 promotions, 3 demotions, 5 pauses",
        "4 247 lines recorded as",
        "log ends at seq",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    assert_eq!(said.err, "", "quiet in a pipe");
    assert!(!said.out.contains('\x1b'), "no colours in a pipe");
    let widest = said.out.lines().filter(|line| !line.starts_with("log ends")).map(|line| line.chars().count()).max();
    assert!(widest.unwrap() <= 110, "{widest:?}");
    assert!(!desk.path("ephor-data/rejects").exists());
}

#[test]
fn the_same_input_again_records_nothing_and_says_so() {
    let desk = Desk::new();
    let first = governed(&desk);
    let again = governed(&desk);
    assert_eq!(again["events_recorded"], 0);
    assert_eq!((&again["lines_recorded"], &again["lines_repeated"]), (&json!(0), &first["lines_recorded"]));
    for same in ["head_seq", "head_hash", "strategies", "changes"] {
        assert_eq!(again[same], first[same], "{same}");
    }
    let said = desk.run(&["run", "--input", demo().to_str().unwrap()]).ended(0);
    assert!(said.out.contains("nothing new: all 4 247 good lines were recorded before"), "{}", said.out);
}

#[test]
fn the_same_input_gives_the_same_log_however_it_comes() {
    let text = demo_text();
    let hash = |summary: &Value| (summary["head_seq"].clone(), summary["head_hash"].clone());
    let plain = hash(&governed(&Desk::new()));

    let desk = Desk::new();
    let halves = text.split_at(text.match_indices('\n').nth(2_000).unwrap().0 + 1);
    let members = [packed(halves.0), packed(halves.1)].concat();
    let path = desk.write("demo.gz", members);
    let zipped = desk.run(&["run", "--json", "--input", path.to_str().unwrap()]).ended(0).json();
    assert_eq!(hash(&zipped), plain);

    let desk = Desk::new();
    let mut child =
        desk.program(&["run", "--json", "--input", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let piped: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(hash(&piped), plain);

    let desk = Desk::new();
    let strict = desk.run(&["run", "--json", "--strict", "--input", demo().to_str().unwrap()]).ended(0).json();
    assert_eq!(hash(&strict), plain);

    // In two parts, with the second overlapping the first.
    let desk = Desk::new();
    desk.govern(halves.0);
    assert_eq!(hash(&desk.govern(&text)), plain);
}

#[test]
fn every_kind_of_bad_line_is_written_down_with_its_reason_and_stops_nothing() {
    let good = |n: u32| signal(&format!("s{n}"), &format!("2020-01-02T00:00:{n:02}Z"));
    let mut input: Vec<u8> = Vec::new();
    let mut expected = Vec::new();
    let mut number = 0;
    let mut line = |bytes: &[u8], reason: Option<(&str, Option<&str>)>| {
        number += 1;
        input.extend_from_slice(bytes);
        input.push(b'\n');
        if let Some((code, field)) = reason {
            expected.push((number, code.to_owned(), field.map(str::to_owned)));
        }
    };
    line(REGISTER.as_bytes(), None);
    line(good(1).as_bytes(), None);
    line(b"{\"type\":\"signal\",", Some(("LINE_NOT_JSON", None)));
    line(b"[]", Some(("LINE_NOT_OBJECT", None)));
    line(b"", None);
    line(br#"{"type":"feed_gap","id":"g","ts":"2020-01-02T00:00:01Z"}"#, Some(("TYPE_UNKNOWN", Some("type"))));
    line(good(2).replace(r#""qty":"1","#, "").as_bytes(), Some(("FIELD_MISSING", Some("qty"))));
    line(good(2).replace(r#""qty":"1""#, r#""qty":"-3""#).as_bytes(), Some(("FIELD_OUT_OF_RANGE", Some("qty"))));
    line(good(2).replace("\"A\"", "\"nobody\"").as_bytes(), Some(("STRATEGY_UNKNOWN", Some("strategy_id"))));
    line(good(2).as_bytes(), None);
    line(good(0).replace("s0", "late").as_bytes(), Some(("TIME_GOING_BACK", Some("ts"))));
    let unfit = r#""qty":"1.00000000000000000000000000001""#;
    line(good(3).replace(r#""qty":"1""#, unfit).as_bytes(), Some(("DECIMAL_DOES_NOT_FIT", Some("qty"))));
    line(good(3).replace(r#""side":"BUY""#, r#""side":"HOLD""#).as_bytes(), Some(("FIELD_MALFORMED", Some("side"))));
    line(good(3).replace(r#""qty":"1""#, r#""qty":"1","qty":"2""#).as_bytes(), Some(("FIELD_TWICE", None)));
    line(&[good(3).as_bytes(), b"\xff\xfe"].concat(), Some(("LINE_NOT_UTF8", None)));
    line(
        good(3).replace(r#""X""#, &format!("\"{}\"", "X".repeat(1_100))).as_bytes(),
        Some(("FIELD_TOO_LONG", Some("instrument"))),
    );
    line(good(3).replace("s3", "s1").as_bytes(), None);
    line(
        good(3).replace("s3", "s2").replace(r#""qty":"1""#, r#""qty":"9""#).as_bytes(),
        Some(("ID_REUSED", Some("id"))),
    );
    line(&vec![b'x'; (1 << 20) + 1], Some(("LINE_TOO_LONG", None)));
    line(good(3).as_bytes(), None);

    let desk = Desk::new();
    let summary = desk.govern(&input);
    let rejects = rejects(&desk);
    let found: Vec<_> = rejects
        .iter()
        .map(|reject| {
            let field = reject["field"].as_str().map(str::to_owned);
            (reject["line"].as_u64().unwrap(), reject["reason"].as_str().unwrap().to_owned(), field)
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!((&summary["lines_recorded"], &summary["lines_repeated"]), (&json!(4), &json!(1)));
    assert_eq!(summary["lines_rejected"], expected.len());
    assert_eq!(summary["rejected_by_reason"]["LINE_NOT_JSON"], 1);

    let of = |code: &str| rejects.iter().find(|reject| reject["reason"] == code).unwrap();
    assert_eq!(of("FIELD_OUT_OF_RANGE")["message"], "qty: must be above 0, found -3");
    assert!(of("LINE_NOT_UTF8")["raw_hex"].as_str().unwrap().ends_with("7dfffe"));
    assert_eq!(of("LINE_TOO_LONG")["bytes"], (1 << 20) + 1);
    assert_eq!(of("LINE_TOO_LONG")["raw"].as_str().unwrap().len(), 4 << 10);
    assert_eq!(of("LINE_NOT_OBJECT")["raw"], "[]");

    // A run without rejects leaves no old ones behind.
    desk.govern(REGISTER);
    assert!(self::rejects(&desk).is_empty());
}

#[test]
fn a_line_of_a_hundred_megabytes_is_never_held() {
    let desk = Desk::new();
    let mut child =
        desk.program(&["run", "--json", "--input", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{REGISTER}").unwrap();
    let block = vec![b'['; 1 << 20];
    for _ in 0..100 {
        stdin.write_all(&block).unwrap();
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    writeln!(stdin, "\n{}", signal("s1", "2020-01-02T00:00:00Z")).unwrap();
    drop(stdin);
    let summary: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!((&summary["lines_recorded"], &summary["lines_rejected"]), (&json!(2), &json!(1)));
    let rejects = std::fs::read_to_string(desk.path("ephor-data/rejects/stdin.jsonl")).unwrap();
    let reject: Value = serde_json::from_str(rejects.trim()).unwrap();
    assert_eq!(
        (&reject["line"], &reject["reason"], &reject["bytes"]),
        (&json!(2), &json!("LINE_TOO_LONG"), &json!(100 << 20))
    );
    // Where the system tells how much a process has held at most.
    if let Some(peak) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kib < 96 << 10, "{kib} KiB");
    }
}

#[test]
fn strict_stops_at_the_first_bad_line_and_keeps_what_was_before_it() {
    let lines = [
        REGISTER.to_owned(),
        signal("s1", "2020-01-02T00:00:01Z"),
        signal("s2", "2020-01-02T00:00:02Z").replace("\"A\"", "\"nobody\""),
        signal("s3", "2020-01-02T00:00:03Z"),
    ];
    let desk = Desk::new();
    let input = desk.write("input.jsonl", lines.join("\n"));
    let strict = desk.run(&["run", "--json", "--strict", "--input", input.to_str().unwrap()]).ended(1);
    assert!(strict.err.contains("line 3 cannot be taken, STRATEGY_UNKNOWN: strategy_id: "), "{}", strict.err);
    let summary = strict.json();
    assert_eq!((&summary["lines"], &summary["lines_recorded"]), (&json!(3), &json!(2)));

    let before = Desk::new();
    assert_eq!(
        before.govern(lines[..2].join("\n"))["head_hash"],
        summary["head_hash"],
        "nothing after it was recorded"
    );
}

#[test]
fn a_run_killed_at_any_moment_goes_on_where_it_was() {
    let undisturbed = governed(&Desk::new());
    let desk = Desk::new();
    let text = demo_text();
    let mut fed = 0;
    for seq in [1, 700, 2_500, 5_000] {
        let mut child = desk
            .program(&["run", "--input", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        fed = text.len().min(fed + text.len() / 4);
        let part = text.as_bytes()[..fed].to_vec();
        // The child dies with the pipe full.
        let feeding = std::thread::spawn(move || {
            let written = stdin.write_all(&part);
            std::thread::park_timeout(Duration::from_secs(20));
            drop((written, stdin));
        });
        let begun = Instant::now();
        while reached(&desk) < seq {
            assert!(begun.elapsed() < Duration::from_secs(20), "seq {seq} not reached");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        feeding.thread().unpark();
        feeding.join().unwrap();
    }
    let went_on = governed(&desk);
    assert!(went_on["lines_repeated"].as_u64().unwrap() > 1_000);
    for same in ["head_seq", "head_hash", "strategies", "changes"] {
        assert_eq!(went_on[same], undisturbed[same], "{same}");
    }
}

fn reached(desk: &Desk) -> u64 {
    Reader::open_shared(&desk.path("ephor-data"), &mut |_| {}).map_or(0, |reader| reader.head().seq.0)
}

#[test]
fn an_interrupted_run_ends_cleanly() {
    let desk = Desk::new();
    let mut child = desk
        .program(&["run", "--json", "--input", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{REGISTER}").unwrap();
    let begun = Instant::now();
    while reached(&desk) < 2 {
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing was recorded");
        std::thread::yield_now();
    }
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&output.stderr).contains("after line 1; the same command again goes on"));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["lines_recorded"], 1);
}

#[test]
fn an_account_line_counts_for_what_comes_after_it() {
    let account = |id: &str, ts: &str, equity: &str| {
        format!(
            r#"{{"type":"account","id":"{id}","ts":"{ts}","equity":"{equity}","currency":"USD","open_positions":2}}"#
        )
    };
    let text = [
        REGISTER.to_owned(),
        signal("s1", "2020-01-02T00:00:01Z"),
        account("a1", "2020-01-02T00:00:02Z", "5000"),
        signal("s2", "2020-01-02T00:00:03Z"),
        account("a2", "2020-01-02T00:00:04Z", "x"),
    ]
    .join("\n");
    let (one, two) = (Desk::new(), Desk::new());
    let summary = one.govern(&text);
    assert_eq!((&summary["lines_recorded"], &summary["lines_rejected"]), (&json!(4), &json!(1)));
    assert_eq!(rejects(&one)[0]["message"], "equity: expected a decimal number, found \"x\"");
    assert_eq!(two.govern(&text)["head_hash"], summary["head_hash"]);
    let again = one.govern(&text);
    assert_eq!((&again["lines_repeated"], &again["events_recorded"]), (&json!(4), &json!(0)));
}

#[test]
fn what_cannot_be_read_is_said_and_makes_no_directory() {
    let desk = Desk::new();
    let missing = desk.run(&["run", "--input", "nothing.jsonl"]).ended(2);
    assert_eq!(missing.err, "error: there is no file nothing.jsonl\n");
    assert!(!desk.path("ephor-data").exists());
    let json = desk.run(&["run", "--json", "--input", "nothing.jsonl"]).ended(2);
    let error: Value = serde_json::from_str(&json.err).unwrap();
    assert_eq!((&error["error"], &error["exit_code"]), (&json!("there is no file nothing.jsonl"), &json!(2)));

    // A damaged archive: what came before the damage is recorded.
    let mut packed = packed(&[REGISTER.to_owned(), signal("s1", "2020-01-02T00:00:00Z")].join("\n"));
    packed.truncate(packed.len() - 8);
    let path = desk.write("cut.gz", packed);
    let cut = desk.run(&["run", "--input", path.to_str().unwrap()]).ended(3);
    assert!(cut.err.starts_with("error: read ") && cut.err.contains("cut.gz failed"), "{}", cut.err);
}

#[test]
fn the_reject_file_is_never_the_input() {
    let desk = Desk::new();
    let input = desk.write("input.jsonl", REGISTER);
    let path = input.to_str().unwrap();
    desk.run(&["run", "--input", path, "--rejects", path]).ended(2);
    assert_eq!(std::fs::read_to_string(&input).unwrap(), REGISTER);
}

#[test]
fn a_second_process_on_the_same_directory_is_told() {
    let desk = Desk::new();
    let mut child = desk.program(&["run", "--input", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{REGISTER}").unwrap();
    while reached(&desk) < 2 {
        std::thread::yield_now();
    }
    let refused = desk.run(&["run", "--input", demo().to_str().unwrap()]).ended(3);
    assert!(refused.err.contains("another process has the log open"), "{}", refused.err);
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn settings_choose_the_backend_and_may_not_contradict_the_directory() {
    let desk = Desk::new();
    desk.write("ephor.toml", "[log]\ndurability = \"written\"\nchunk_mib = 1\n");
    desk.govern(REGISTER);
    desk.write("ephor.toml", "[log]\nbackend = \"sled\"\n");
    let refused = desk.run(&["run", "--input", "input.jsonl"]).ended(2);
    assert!(refused.err.contains("holds a log of the chunks backend"), "{}", refused.err);
    desk.write("ephor.toml", "[log]\nbackends = \"sled\"\n");
    let refused = desk.run(&["run", "--input", "input.jsonl"]).ended(2);
    assert!(refused.err.contains("line 2: log.backends: unknown field"), "{}", refused.err);
}
