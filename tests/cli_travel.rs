//! Going through the past from the command line: `replay`, `state --as-happened`, `diff`, `bisect`.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod cli;

use cli::{Desk, Said, demo};
use ephor_events::{EventLog, Options, StreamId};
use ephor_replay::at::{Point, strategy_at};
use ephor_snapshots::{Keyframes, Restored};
use serde_json::{Value, json};

const STRATEGY: &str = "EMAX-GBPUSD-M5-001";

/// The demonstration data, governed.
fn governed() -> Desk {
    let desk = Desk::new();
    desk.run(&["run", "--input", demo().to_str().unwrap()]).ended(0);
    desk
}

#[track_caller]
fn refused(said: Said, parts: &[&str]) {
    let said = said.ended(2);
    assert_eq!(said.out, "", "{said:?}");
    for part in parts {
        assert!(said.err.contains(part), "no {part:?} in {}", said.err);
    }
}

#[test]
fn replay_prints_the_same_for_any_number_of_threads_and_on_every_run() {
    let desk = governed();
    let one = desk.run(&["replay", "--threads", "1"]).ended(0);
    for threads in ["1", "2", "5"] {
        assert_eq!(desk.run(&["replay", "--threads", threads]).ended(0).out, one.out);
    }
    assert!(one.err.contains("6 560 events in") && one.err.contains("a second) by 1 thread"), "{}", one.err);
    let all = desk.run(&["replay", "--json"]).ended(0).json();
    assert_eq!((&all["events"], &all["commits"]), (&json!(6560), &json!(4248)));
    assert!(one.out.contains(all["digest"].as_str().unwrap()), "{}", one.out);
    let listed = desk.run(&["strategies", "--json"]).ended(0).json();
    let digests = |value: &Value| value.as_array().unwrap().iter().map(|one| one["digest"].clone()).collect::<Vec<_>>();
    assert_eq!(digests(&all["strategies"]), digests(&listed));
}

#[test]
fn replay_to_a_moment_gives_the_states_of_that_moment() {
    let desk = governed();
    let folded = desk.run(&["replay", "--to", "258", "--json"]).ended(0).json();
    let state = desk.run(&["state", STRATEGY, "--seq", "258", "--json"]).ended(0).json();
    let own = folded["strategies"].as_array().unwrap().iter().find(|one| one["strategy"] == STRATEGY).unwrap();
    assert_eq!((&own["digest"], &own["version"], &own["seq"]), (&state["digest"], &state["version"], &json!(258)));
    assert_eq!(folded["events"], 258);
    refused(desk.run(&["replay", "--to", "99999"]), &["the log has no seq 99999: it goes from 1 to 6560"]);
    refused(desk.run(&["replay", "--to", "2001-01-01"]), &["is before the log, which goes from 2012-02-15"]);
    refused(desk.run(&["replay", "--threads", "0"]), &["--threads"]);
}

#[test]
fn a_snapshot_that_is_not_what_the_events_give_is_named() {
    let desk = governed();
    let good = desk.run(&["replay", "--against", "snapshots"]).ended(0);
    assert!(good.out.contains("8 snapshots held against the fold") && good.out.contains("0 differ"), "{}", good.out);
    let dir = desk.path("ephor-data");
    let (log, _) = EventLog::open(&dir, &Options::default(), &mut |_| {}).unwrap();
    let reader = log.reader();
    let moment = strategy_at(&reader, None, &STRATEGY.parse().unwrap(), Point::Now).unwrap();
    let mut state = moment.state;
    state.totals.trades += 1;
    let doctored = Restored { state, version: moment.version, at: moment.recorded_at, folded: 0 };
    // What is kept already would not be kept again.
    let tree = log.derived().tree("keyframes").unwrap();
    for (key, _) in tree.range(.., false, usize::MAX).unwrap() {
        tree.remove(&key).unwrap();
    }
    let keyframes = Keyframes::open(&log.derived()).unwrap();
    keyframes.save(&reader, &StreamId::new(STRATEGY), &doctored).unwrap();
    // Each holds on to the log.
    drop((reader, tree, keyframes));
    log.close().unwrap();
    let bad = desk.run(&["replay", "--against", "snapshots"]).ended(1);
    assert!(bad.out.contains("1 differ") && bad.out.contains(&format!("{STRATEGY} version 1526")), "{}", bad.out);
    let held = desk.run(&["replay", "--against", "snapshots", "--json"]).ended(1).json();
    assert_eq!(held["against_snapshots"]["differ"], 1);
}

#[test]
fn a_system_without_events_has_no_time() {
    let desk = Desk::new();
    let (log, _) = EventLog::open(&desk.path("ephor-data"), &Options::default(), &mut |_| {}).unwrap();
    log.close().unwrap();
    let state = desk.run(&["state", "system", "--json"]).ended(0).json();
    assert_eq!((&state["version"], &state["recorded_at"]), (&json!(0), &Value::Null));
}

#[test]
fn snapshots_that_cannot_be_had_are_said_to_be_so() {
    let desk = governed();
    let (log, _) = EventLog::open(&desk.path("ephor-data"), &Options::default(), &mut |_| {}).unwrap();
    let parts = ["cannot be opened: another process has the log, or the directory cannot be written"];
    refused(desk.run(&["replay", "--against", "snapshots"]), &parts);
    log.close().unwrap();
}

#[test]
fn a_damaged_log_stops_every_thread_with_the_place() {
    let desk = governed();
    let chunk = desk.path("ephor-data/log/00000001.chunk");
    let mut bytes = std::fs::read(&chunk).unwrap();
    *bytes.get_mut(300_000).unwrap() ^= 1;
    std::fs::write(&chunk, bytes).unwrap();
    for threads in ["1", "3"] {
        let said = desk.run(&["replay", "--threads", threads]).ended(3);
        assert!(said.out.is_empty() && said.err.contains("the log is damaged at chunk 00000001"), "{said:?}");
    }
}

/// A strategy with trades at 10:00 and 12:00, and one that happened at 11:00 but came in last.
fn late() -> Desk {
    let desk = Desk::new();
    let mut lines = vec![json!({
        "type": "strategy", "id": "s", "ts": "2024-01-02T09:00:00Z", "strategy_id": "LATE", "instrument": "GBP/USD.SIM",
        "engine": "paper", "strategy_class": "Late", "params": {}, "initial_capital": "10000", "currency": "USD",
        "multiplier": "1", "source": "test",
    })];
    for (id, hour, came, pnl) in [("t1", 10, 10, "10"), ("t2", 12, 12, "-20"), ("t3", 11, 13, "40")] {
        let (at, came) = (format!("2024-01-02T{hour}:00:00Z"), format!("2024-01-02T{came}:00:00Z"));
        lines.push(json!({
            "type": "trade_closed", "id": id, "ts": came, "strategy_id": "LATE", "instrument": "GBP/USD.SIM",
            "side": "LONG", "qty": "10", "entry_price": "100", "price": "100", "realized_pnl": pnl, "currency": "USD",
            "opened_at": at, "closed_at": at, "source": "test",
        }));
    }
    let text: Vec<String> = lines.iter().map(ToString::to_string).collect();
    desk.govern(text.join("\n"));
    desk
}

#[test]
fn a_late_trade_changes_what_had_happened_and_not_what_was_known() {
    let desk = late();
    let at = |time: &str, more: &[&str]| {
        let args = [&["state", "LATE", "--json", "--at", time], more].concat();
        desk.run(&args).ended(0).json()
    };
    let trades = |state: &Value| state["state"]["totals"]["trades"].as_u64().unwrap();
    let noon = "2024-01-02T11:30:00Z";
    assert_eq!(at(noon, &[]), at(noon, &["--as-known"]));
    assert_eq!((trades(&at(noon, &[])), &at(noon, &[])["as_happened"]), (1, &Value::Null));
    let happened = at(noon, &["--as-happened"]);
    assert_eq!((trades(&happened), &happened["as_happened"]["late"]), (2, &json!(1)));
    let said = desk.run(&["state", "LATE", "--at", noon, "--as-happened"]).ended(0).out;
    assert!(said.contains("1 commit, unknown at that time") && said.contains("nothing is decided again"), "{said}");
    refused(desk.run(&["state", "LATE", "--as-happened"]), &["--at"]);
    refused(desk.run(&["state", "LATE", "--at", noon, "--as-happened", "--as-known"]), &["cannot be used with"]);
    let early = desk.run(&["state", "LATE", "--at", "2024-01-01", "--as-happened"]);
    refused(early, &["nothing of LATE had happened by 2024-01-01", "it begins 2024-01-02T09:00:00Z"]);
}

#[test]
fn a_demotion_is_seen_in_the_fields_it_changed() {
    let desk = governed();
    let diff = desk.run(&["diff", STRATEGY, "--from", "seq:250", "--to", "seq:258", "--json"]).ended(0).json();
    let field = |path: &str| diff["fields"].as_array().unwrap().iter().find(|field| field["path"] == path).unwrap();
    let level = field("maturity.level");
    assert_eq!((&level["before"], &level["after"]), (&json!("L1_paper"), &json!("L0_shadow")));
    assert_eq!((&level["events"], &level["newest_events"][0]["seq"]), (&json!(1), &json!(258)));
    assert_eq!(field("outcomes")["added"].as_array().unwrap().len(), 1);
    let said = desk.run(&["diff", STRATEGY, "--from", "v:137", "--to", "258"]).ended(0).out;
    assert!(said.contains("22 fields differ; 8 events in between"), "{said}");
    assert!(said.contains("demoted from L1_paper to L0_shadow"), "{said}");
    assert!(said.contains("positions[\"GBP/USD.SIM\"]"), "{said}");
    let all = desk.run(&["diff", STRATEGY]).ended(0).out;
    assert!(all.contains("from the start to version 1526"), "{all}");
    let same = desk.run(&["diff", STRATEGY, "--from", "now"]).ended(0).out;
    assert!(same.contains("nothing differs; 0 events in between"), "{same}");
}

#[test]
fn a_diff_that_cannot_be_made_says_what_could_be() {
    let desk = governed();
    let diff = |more: &[&str]| desk.run(&[&["diff", STRATEGY], more].concat());
    refused(diff(&["--from", "now", "--to", "seq:258"]), &["(seq 2641) is after the second (seq 258)"]);
    refused(diff(&["--to", "v:2000"]), &["has no version 2000: it goes from 1 to 1526"]);
    refused(diff(&["--from", "seq:7000"]), &["the log has no seq 7000: it goes from 1 to 6560"]);
    refused(diff(&["--from", "2001-01-01"]), &["is before the log, which goes from 2012-02-15T00:00:00Z"]);
    refused(diff(&["--from", "yesterday"]), &["give a time such as", "seq:N"]);
    refused(diff(&["--to", "start"]), &["nothing is before the start"]);
    refused(desk.run(&["diff", "EMAX"]), &["the log has no strategy \"EMAX\"", STRATEGY]);
}

#[test]
fn bisect_finds_the_event_that_the_states_confirm() {
    let desk = governed();
    let condition = "health.score < 0.5 && level == \"L1_paper\"";
    let found = desk.run(&["bisect", STRATEGY, condition, "--json"]).ended(0).json();
    let at = &found["found"][0];
    assert_eq!((&at["seq"], &at["type"], &found["times"]), (&json!(137), &json!("HealthUpdated"), &json!(1)));
    let score = |version: u64| {
        let version = version.to_string();
        let state = desk.run(&["state", STRATEGY, "--version", &version, "--json"]).ended(0).json();
        state["state"]["health"]["score"].as_f64().unwrap()
    };
    let version = at["version"].as_u64().unwrap();
    assert!(score(version) < 0.5 && score(version - 1) >= 0.5);
    let said = desk.run(&["bisect", STRATEGY, condition]).ended(0).out;
    assert!(said.contains("0.580 -> 0.480") && said.contains("ephor why 137"), "{said}");
    let all = desk.run(&["bisect", STRATEGY, "health.score < 0.1", "--all", "--json"]).ended(0).json();
    assert_eq!(all["found"].as_array().unwrap().len(), 2);
    assert_eq!((&all["found"][0]["until"]["seq"], &all["found"][1]["until"]), (&json!(1594), &Value::Null));
    let last = desk.run(&["bisect", STRATEGY, "health.score < 0.1", "--last", "--json"]).ended(0).json();
    assert_eq!(last["found"], json!([all["found"][1]]));
    let later = desk.run(&["bisect", STRATEGY, "health.score < 0.1", "--from", "300", "--json"]).ended(0).json();
    assert_eq!((&later["held_before"], &later["found"][0]["seq"]), (&json!(true), &Value::Null));
    let later = desk.run(&["bisect", STRATEGY, "health.score < 0.1", "--from", "300", "--all"]).ended(0).out;
    let first = desk.run(&["bisect", STRATEGY, "health.score < 0.1", "--from", "300"]).ended(0).out;
    assert!(first.contains("it held already before") && first.contains("--all says when it ceased"), "{first}");
    assert!(later.contains("\nit held already before the first event asked about"), "{later}");
    assert!(later.contains("until seq 1594") && !later.contains("ephor why"), "{later}");
}

#[test]
fn a_condition_that_never_holds_says_what_was_seen_and_ends_with_one() {
    let desk = governed();
    let never = desk.run(&["bisect", STRATEGY, "health.score < 0.5 && level == \"L3_constrained\""]).ended(1);
    assert!(never.out.contains("never held in 1 526 events"), "{}", never.out);
    assert!(never.out.contains("was L0_shadow, L1_paper"), "{}", never.out);
}

#[test]
fn a_condition_that_cannot_be_asked_is_refused() {
    let desk = governed();
    let ask = |condition: &str| desk.run(&["bisect", STRATEGY, condition]);
    refused(ask("health.score <"), &["does not parse at character 15", "a condition is written like"]);
    refused(ask("health.scor < 1.0"), &["there is no health.scor", "did you mean health.score", "--vars"]);
    refused(ask("level == \"L3\""), &["no level is called \"L3\"", "L3_constrained"]);
    refused(ask("totals.trades + 1"), &["must be true or false"]);
    refused(desk.run(&["bisect", "EMAX-GBPUSD", "paused"]), &["the log has no strategy", STRATEGY]);
    refused(desk.run(&["bisect", STRATEGY]), &["<CONDITION>"]);
    let parts = ["no event between --from and --to: its first is seq ", "(2012-02-15T", "its last seq "];
    refused(desk.run(&["bisect", STRATEGY, "paused", "--from", "6000"]), &parts);
    let vars = desk.run(&["bisect", "--vars"]).ended(0).out;
    assert!(vars.contains("health.score") && vars.contains("time(recorded_at)"), "{vars}");
}
