//! `ephor paper`, end to end: real bars in, strategies that climb and fall out, nothing recorded twice, and the same
//! log whatever happens on the way.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test uses its part")]
mod cli;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cli::Desk;
use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use serde_json::Value;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn config() -> String {
    shipped("paper/paper.toml").to_str().unwrap().to_owned()
}

fn hourly(instrument: &str) -> String {
    format!("{}={instrument}", shipped("bars/EURUSD-1h.csv").display())
}

#[track_caller]
fn traded(desk: &Desk, more: &[&str]) -> Value {
    let config = config();
    let mut args = vec!["--config", &config, "paper", "--json"];
    args.extend(more);
    desk.run(&args).ended(0).json()
}

fn strategy<'a>(said: &'a Value, id: &str) -> &'a Value {
    said["strategies"].as_array().unwrap().iter().find(|it| it["strategy"] == id).unwrap()
}

#[test]
fn one_command_shows_a_strategy_climbing_from_the_shadow_to_the_top_and_another_one_falling() {
    let desk = Desk::new();
    let said = traded(&desk, &[]);
    let path = strategy(&said, CLIMBER)["path"].to_string();
    assert_eq!(path, r#"["L0_shadow","L1_paper","L2_gated","L3_constrained","L4_autonomous"]"#);
    let fell =
        said["changes"].as_array().unwrap().iter().any(|it| it["strategy"] == FALLER && it["change"] == "demoted");
    assert!(fell, "{said:#}");
    let why = desk.run(&["why", FALLER, "--last", "demotion"]).ended(0);
    assert!(why.out.contains("demoted from"), "{}", why.out);
    let approved = desk.run(&["events", "--type", "OrderApproved", "--json"]).ended(0).out;
    assert!(approved.lines().count() > 5 && approved.lines().all(|line| line.contains("\"desk-1\"")), "{approved}");
    assert!(desk.run(&["audit"]).ended(0).out.contains("0 differ"));
    assert!(desk.run(&["verify"]).ended(0).out.contains("no faults"));
}

const CLIMBER: &str = "BREAKOUT-EURUSD";
const FALLER: &str = "CROSS-GOOG";

#[test]
fn the_same_command_again_records_nothing_new_and_says_so() {
    let desk = Desk::new();
    let first = traded(&desk, &[]);
    let again = traded(&desk, &[]);
    assert!(first["events_recorded"].as_u64().unwrap() > 1_000);
    assert_eq!(again["events_recorded"], 0);
    for same in ["head_seq", "head_hash", "strategies", "changes", "paper"] {
        assert_eq!(again[same], first[same], "{same}");
    }
    let said = desk.run(&["--config", &config(), "paper"]).ended(0);
    assert!(said.out.contains("nothing new: all of it was recorded before"), "{}", said.out);
}

#[test]
fn the_same_seed_gives_the_same_log_and_another_seed_other_fills() {
    let seeded = |seed: &str| {
        let desk = Desk::new();
        let said = traded(&desk, &["--seed", seed]);
        let fills = desk.run(&["events", "--type", "FillRecorded", "--json"]).ended(0).out;
        (said["head_hash"].clone(), fills)
    };
    let (one, again, other) = (seeded("1"), seeded("1"), seeded("2"));
    assert!(one == again);
    assert_ne!(one.0, other.0);
    assert_ne!(one.1, other.1);
}

#[test]
fn without_an_approver_orders_wait_at_the_gated_level() {
    let desk = Desk::new();
    let beside = shipped("paper");
    let text = std::fs::read_to_string(config()).unwrap().replace("by = [\"desk-1\"]", "by = []");
    let absolute = text.replace("\"../bars", &format!("\"{}/../bars", beside.display()));
    let config =
        desk.write("alone.toml", absolute.replace("\"policy.toml", &format!("\"{}/policy.toml", beside.display())));
    let said = desk.run(&["--config", config.to_str().unwrap(), "paper", "--json"]).ended(0).json();
    assert_eq!(strategy(&said, CLIMBER)["path"].as_array().unwrap().last().unwrap(), "L2_gated");
    let ended = said["paper"]["ended"].as_array().unwrap();
    assert!(ended.iter().any(|it| it["strategy"] == CLIMBER && it["reason"] == "MATURITY_APPROVAL_REQUIRED"));
    assert!(desk.run(&["approvals", "list"]).ended(0).out.contains(CLIMBER));
}

#[test]
fn another_run_on_the_same_log_is_refused_before_anything_of_it_is_recorded() {
    let desk = Desk::new();
    let first = traded(&desk, &[]);
    let said = desk.run(&["--config", &config(), "paper", "--seed", "8"]).ended(2);
    assert!(said.err.contains("another seed: name another directory with --data"), "{}", said.err);
    assert_eq!(traded(&desk, &[])["head_hash"], first["head_hash"]);
}

#[test]
fn a_run_that_is_killed_half_way_goes_on_and_ends_with_the_same_log() {
    let undisturbed = traded(&Desk::new(), &[]);
    let desk = Desk::new();
    let mut kills = 0;
    for round in 1..=6 {
        let mut run = desk.program(&["--config", &config(), "paper", "--speed", "3000"]);
        let mut child = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(round * 230));
        kills += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(kills >= 3, "the kills came too late");
    let ended = traded(&desk, &[]);
    assert!(ended["events_recorded"].as_u64().unwrap() > 0, "nothing was left to do");
    for same in ["head_seq", "head_hash", "strategies", "changes"] {
        assert_eq!(ended[same], undisturbed[same], "{same}");
    }
}

/// The log says nothing of breakers, and nothing is stored beside it: the next run has to come to them again.
#[test]
fn a_breaker_that_was_open_when_a_run_was_killed_is_open_in_the_next() {
    let settings = |desk: &Desk| {
        let beside = shipped("paper");
        let text = std::fs::read_to_string(config()).unwrap();
        let text = text.replace("[paper.risk]", "[paper.risk]\ndrawdown_max = 0.005");
        let text = text.replace("\"../bars", &format!("\"{}/../bars", beside.display()));
        let text = text.replace("\"policy.toml", &format!("\"{}/policy.toml", beside.display()));
        desk.write("careful.toml", text).to_str().unwrap().to_owned()
    };
    let denied = |desk: &Desk| {
        let told = desk.run(&["events", "--type", "OrderReported", "--json"]).ended(0).out;
        told.lines().filter(|line| line.contains("RISK_BREAKER_OPEN")).count()
    };
    let whole = Desk::new();
    let undisturbed = whole.run(&["--config", &settings(&whole), "paper", "--json"]).ended(0).json();
    let desk = Desk::new();
    let careful = settings(&desk);
    let mut stopped = 0;
    for round in 1..=6 {
        let mut run = desk.program(&["--config", &careful, "paper", "--speed", "3000"]);
        let mut child = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(round * 230));
        child.kill().unwrap();
        child.wait().unwrap();
        stopped += u32::from(denied(&desk) > 0 && denied(&desk) < denied(&whole));
    }
    assert!(stopped > 0, "no run was killed between two orders that a breaker stops");
    let ended = desk.run(&["--config", &careful, "paper", "--json"]).ended(0).json();
    for same in ["head_seq", "head_hash", "strategies", "changes"] {
        assert_eq!(ended[same], undisturbed[same], "{same}");
    }
    assert_eq!(ended["paper"]["ended"], undisturbed["paper"]["ended"]);
}

#[test]
#[cfg(unix)]
fn a_run_that_is_asked_to_stop_says_where_and_the_next_goes_on() {
    let desk = Desk::new();
    let mut run = desk.program(&["--config", &config(), "paper", "--speed", "500"]);
    let child = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(asked.success());
    let said = cli::Said::of(&child.wait_with_output().unwrap()).ended(130);
    assert!(said.err.contains("stopped: after bar") && said.err.contains("goes on from there"), "{said:#?}");
    let ended = traded(&desk, &[]);
    assert_eq!(ended["head_hash"], traded(&Desk::new(), &[])["head_hash"]);
}

#[test]
fn bars_that_are_wrong_stop_the_run_before_anything_is_recorded() {
    let desk = Desk::new();
    let text = std::fs::read_to_string(shipped("bars/EURUSD-1h.csv")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let mut swapped = lines.clone();
    swapped.swap(10, 11);
    for (name, text, wanted) in [
        ("back.csv", swapped.join("\n"), "back.csv: line 12: time: 2017-04-19T18:00:00Z does not come after"),
        (
            "text.csv",
            lines.join("\n").replacen("1.07214", "dear", 1),
            "text.csv: line 3: open: expected a decimal number",
        ),
        ("empty.csv", lines[0].to_owned(), "empty.csv: there is no bar in it"),
    ] {
        let path = desk.write(name, text);
        let said = desk.run(&["paper", "--bars", &format!("{}=EUR/USD", path.display())]).ended(2);
        assert!(said.err.contains(wanted), "{wanted}: {}", said.err);
    }
    let said = desk.run(&["paper", "--bars", "missing.csv=X"]).ended(2);
    assert!(said.err.contains("missing.csv"), "{}", said.err);
    assert!(desk.run(&["paper"]).ended(2).err.contains("there is nothing to trade"));
    assert!(!desk.path("ephor-data").exists());
}

/// A strategy whose signals come from outside, on hourly bars.
const SIGNALS: &str = r#"
[paper]
measure_shadow = true

[[paper.instruments]]
id = "EUR/USD"
lot = 100
tick = 0.00001

[[paper.strategies]]
id = "desk"
instrument = "EUR/USD"
size = { kind = "fixed", qty = 10000 }
"#;

fn signal(id: &str, ts: &str, side: &str, intent: &str) -> String {
    format!(r#"{{"type":"signal","id":"{id}","ts":"{ts}","strategy_id":"desk","side":"{side}","intent":"{intent}"}}"#)
}

#[test]
fn signals_from_a_file_are_traded_and_what_cannot_be_taken_is_put_apart() {
    let desk = Desk::new();
    let config = desk.write("signals.toml", SIGNALS);
    let lines = [
        signal("s-1", "2017-09-01T08:00:00Z", "BUY", "entry"),
        signal("s-2", "2017-09-01T12:00:00Z", "SELL", "exit"),
        "{\"type\":".to_owned(),
        signal("s-3", "2017-09-04T08:00:00Z", "HOLD", "entry"),
        signal("s-4", "2017-09-04T08:00:00Z", "SELL", "entry").replace("desk", "nobody"),
        signal("s-5", "2017-09-01T08:00:00Z", "SELL", "entry"),
        signal("s-6", "2017-09-05T08:00:00Z", "SELL", "entry"),
        signal("s-7", "2017-09-05T13:00:00Z", "BUY", "exit"),
    ];
    let input = desk.write("wishes.jsonl", lines.join("\n"));
    let bars = hourly("EUR/USD");
    let args = ["--config", config.to_str().unwrap(), "paper", "--json", "--bars", &bars, "--signals"];
    let said = desk.run(&[&args[..], &[input.to_str().unwrap()]].concat()).ended(0).json();
    assert_eq!(said["paper"]["signals"], 4, "{said:#}");
    assert_eq!(strategy(&said, "desk")["trades"], 2, "{said:#}");
    let rejects = std::fs::read_to_string(desk.path("ephor-data/rejects/wishes.jsonl")).unwrap();
    let rejects: Vec<Value> = rejects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let found: Vec<_> =
        rejects.iter().map(|it| (it["line"].as_u64().unwrap(), it["reason"].as_str().unwrap())).collect();
    assert_eq!(found, [(3, "LINE_NOT_JSON"), (4, "FIELD_MALFORMED"), (5, "STRATEGY_UNKNOWN"), (6, "TIME_GOING_BACK")]);

    // The same from standard input, into the same log: it is all there already.
    let mut piped = desk.program(&[&args[..], &["-"]].concat());
    let piped = piped.stdin(std::fs::File::open(&input).unwrap()).output().unwrap();
    let again = cli::Said::of(&piped).ended(0).json();
    assert_eq!((&again["events_recorded"], &again["head_hash"]), (&0.into(), &said["head_hash"]));
}

#[test]
fn bars_alone_are_traded_by_the_example_strategies() {
    let desk = Desk::new();
    let said = desk.run(&["paper", "--json", "--bars", &hourly("EUR/USD")]).ended(0).json();
    let names: Vec<_> = said["paper"]["strategies"].as_array().unwrap().iter().map(|it| it["rule"].clone()).collect();
    assert_eq!(names, ["moving-average-cross", "mean-reversion", "breakout"]);
    assert!(said["strategies"].as_array().unwrap().iter().any(|it| it["trades"].as_u64() > Some(10)), "{said:#}");
}

#[test]
fn a_strategy_without_its_instrument_and_settings_that_make_no_sense_are_refused() {
    let desk = Desk::new();
    let refused = |text: &str| {
        let config = desk.write("wrong.toml", text);
        desk.run(&["--config", config.to_str().unwrap(), "paper", "--bars", &hourly("EUR/USD")]).ended(2).err
    };
    let unknown = refused("[[paper.strategies]]\nid = \"a\"\ninstrument = \"GOOG\"\n");
    assert!(unknown.contains("a trades GOOG, which is not among paper.instruments"), "{unknown}");
    let window =
        "[[paper.strategies]]\nid = \"a\"\ninstrument = \"EUR/USD\"\nrule = { kind = \"breakout\", exit_bars = 30 }\n";
    assert!(refused(window).contains("a: entry_bars must be from 30"), "{}", refused(window));
    let misspelt = refused("[paper.venue]\nslipage_ticks = 1\n");
    assert!(misspelt.contains("unknown field `slipage_ticks`"), "{misspelt}");
    assert!(!desk.path("ephor-data").exists());
}

#[test]
fn the_report_is_one_page_and_a_curve_a_strategy() {
    let desk = Desk::new();
    let said = traded(&desk, &["--report", "out"]);
    let page = std::fs::read_to_string(desk.path("out/index.html")).unwrap();
    assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("@import"));
    for part in ["BREAKOUT-EURUSD", "promoted L3→L4", "Decisions by action", "prefers-color-scheme:dark", "viewport"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(page.contains(said["head_hash"].as_str().unwrap()));
    for it in said["strategies"].as_array().unwrap() {
        let curve = desk.path(&format!("out/equity-{}.svg", it["strategy"].as_str().unwrap()));
        assert!(std::fs::read_to_string(&curve).unwrap().contains("class=\"curve\""), "{}", curve.display());
    }
    let again = Desk::new();
    traded(&again, &["--report", "out"]);
    assert_eq!(std::fs::read_to_string(again.path("out/index.html")).unwrap(), page);
}

#[test]
fn a_terminal_shows_the_table_and_q_ends_the_run_and_gives_the_terminal_back() {
    let desk = Desk::new();
    let size = PtySize { rows: 24, cols: 120, pixel_width: 0, pixel_height: 0 };
    let pair = native_pty_system().openpty(size).unwrap();
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_ephor"));
    command.args(["--config", &config(), "paper", "--speed", "400"]);
    command.cwd(desk.path(""));
    command.env("TERM", "xterm-256color");
    let mut child = pair.slave.spawn_command(command).unwrap();
    drop(pair.slave);
    let (mut output, mut keys) = (pair.master.try_clone_reader().unwrap(), pair.master.take_writer().unwrap());
    let mut shown = vt100::Parser::new(24, 120, 0);
    let (mut pressed, mut bytes) = (false, [0; 4_096]);
    let mut was_whole = false;
    while let Ok(count) = output.read(&mut bytes)
        && count > 0
    {
        shown.process(&bytes[..count]);
        let screen = shown.screen();
        let text = screen.contents();
        was_whole |= screen.alternate_screen()
            && ["strategy", "health", "drawdown", "last decision", "BREAKOUT-GOOG", "q quit"]
                .iter()
                .all(|it| text.contains(it));
        if was_whole && !pressed && text.contains("block  MATURITY_LEVEL_TOO_LOW") {
            keys.write_all(b"q").unwrap();
            pressed = true;
        }
    }
    assert_eq!(child.wait().unwrap().exit_code(), 130);
    assert!(pressed && !shown.screen().alternate_screen() && !shown.screen().hide_cursor());
    assert!(shown.screen().contents().contains("stopped: after bar"), "{}", shown.screen().contents());
    assert_eq!(traded(&desk, &[])["head_hash"], traded(&Desk::new(), &[])["head_hash"]);
}
