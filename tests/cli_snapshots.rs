//! `ephor snapshots`, through the binary, on the demonstration data.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails where it stands")]

mod cli;

use cli::{Desk, demo};
use ephor_events::{EventLog, Options, Pair, StreamId, Version};
use ephor_governance::strategy;
use ephor_snapshots::{Keyframes, Restored, folded_by, restore};
use serde_json::Value;

const STRATEGY: &str = "EMAX-GBPUSD-M5-001";

/// The demonstration, governed; its log is in `ephor-data`.
fn governed() -> Desk {
    let desk = Desk::new();
    desk.govern(std::fs::read(demo()).unwrap());
    desk
}

fn open(desk: &Desk) -> EventLog {
    EventLog::open(&desk.path("ephor-data"), &Options::default(), &mut |_| {}).unwrap().0
}

/// Writes over the keyframe at a place of the list.
fn change(desk: &Desk, place: usize, change: impl FnOnce(&Pair) -> Vec<u8>) {
    let log = open(desk);
    let tree = log.derived().tree("keyframes").unwrap();
    let all = tree.range(.., false, 1_000).unwrap();
    tree.put(&all[place].0, &change(&all[place])).unwrap();
    tree.flush().unwrap();
    drop(tree);
    log.close().unwrap();
}

fn keyframes(listed: &Value) -> &Vec<Value> {
    listed["keyframes"].as_array().unwrap()
}

#[test]
fn every_keyframe_of_a_run_is_listed_and_holds_what_its_events_give() {
    let desk = governed();
    let listed = desk.run(&["snapshots", "list", "--json"]).ended(0).json();
    let verified = desk.run(&["snapshots", "verify", "--json"]).ended(0).json();
    let count = keyframes(&listed).len();
    assert_eq!((&verified["same"], &verified["differ"]), (&Value::from(count), &Value::from(0)));
    assert!(keyframes(&verified).iter().all(|one| one["verdict"] == "same"));
    let state = desk.run(&["state", STRATEGY, "--json"]).ended(0).json();
    let own: Vec<&Value> = keyframes(&listed).iter().filter(|one| one["stream"] == STRATEGY).collect();
    let newest = own.last().unwrap();
    for field in ["version", "seq", "recorded_at", "digest"] {
        assert_eq!(newest[field], state[field], "{field}");
    }
    assert!(own.len() >= 2, "one was made while running: {own:?}");
    let text = desk.run(&["snapshots", "list", "--strategy", STRATEGY]).ended(0).out;
    assert_eq!(text.lines().count(), own.len() + 2, "{text}");
    assert!(desk.run(&["snapshots", "verify"]).ended(0).out.contains("0 differ"));
}

#[test]
fn a_rebuild_makes_what_the_run_had_made() {
    let desk = governed();
    let before = desk.run(&["snapshots", "list", "--json"]).json();
    let rebuilt = desk.run(&["snapshots", "rebuild", "--json"]).ended(0).json();
    assert_eq!((&rebuilt["removed"], &rebuilt["every"]), (&Value::from(keyframes(&before).len()), &Value::from(1_000)));
    // A run that is held up puts some off, to a version that a rebuild does not stop at; the others are made again.
    let after = desk.run(&["snapshots", "list", "--json"]).json();
    let put_off = keyframes(&before).iter().filter(|one| !keyframes(&after).contains(one)).count();
    assert!(put_off <= 2, "{before}\n{after}");
    desk.write("ephor.toml", "[snapshots]\nevery = 100\n");
    let closer = desk.run(&["snapshots", "rebuild", "--json"]).ended(0).json();
    assert!(closer["kept"].as_u64() > rebuilt["kept"].as_u64(), "{closer}");
    desk.run(&["snapshots", "verify"]).ended(0);
    desk.write("ephor.toml", "[snapshots]\nevery = 0\n");
    let refused = desk.run(&["snapshots", "rebuild"]).ended(2);
    assert!(refused.err.contains("snapshots.every: must be from 16 to 16000"), "{}", refused.err);
}

#[test]
fn a_damaged_keyframe_is_named_does_no_harm_and_is_made_anew() {
    let desk = governed();
    let before = desk.run(&["state", STRATEGY, "--json"]).json();
    let listed = desk.run(&["snapshots", "list", "--json"]).json();
    let newest = keyframes(&listed).iter().rposition(|one| one["stream"] == STRATEGY).unwrap();
    change(&desk, newest, |(_, bytes)| {
        let mut bytes = bytes.clone();
        bytes[100] ^= 1;
        bytes
    });
    let version = keyframes(&listed)[newest]["version"].clone();
    let verified = desk.run(&["snapshots", "verify"]).ended(1);
    assert!(verified.out.contains(&format!("{STRATEGY} version {version} ignored: damaged")), "{}", verified.out);
    let listed = desk.run(&["snapshots", "list", "--json"]).ended(0).json();
    let damaged = &keyframes(&listed)[newest];
    assert_eq!((&damaged["misfit"], &damaged["seq"]), (&Value::from("damaged"), &Value::Null));
    assert_eq!(listed["misfits"]["damaged"], 1);
    assert_eq!(desk.run(&["state", STRATEGY, "--json"]).ended(0).json(), before);
    desk.run(&["snapshots", "rebuild"]).ended(0);
    desk.run(&["snapshots", "verify"]).ended(0);
}

#[test]
fn a_keyframe_with_another_state_is_found() {
    let desk = governed();
    {
        let log = open(&desk);
        let (reader, keyframes) = (log.reader(), Keyframes::open(&log.derived()).unwrap());
        let stream = StreamId::new(STRATEGY);
        keyframes.clear().unwrap();
        let right = restore(&reader, None, &stream, Some(Version(1)), strategy::evolve).unwrap();
        let wrong = strategy::State { version_trades: 7, ..right.state };
        let wrong = Restored { state: wrong, version: right.version, at: right.at, folded: 0 };
        assert!(keyframes.save(&reader, &stream, &wrong).unwrap());
        keyframes.flush().unwrap();
        drop((keyframes, reader));
        log.close().unwrap();
    }
    let verified = desk.run(&["snapshots", "verify"]).ended(1);
    assert!(verified.out.contains(&format!("{STRATEGY} version 1 differs")), "{}", verified.out);
    assert_eq!(desk.run(&["snapshots", "verify", "--json"]).ended(1).json()["differ"], 1);
}

#[test]
fn a_keyframe_of_other_rules_is_no_fault_and_is_counted() {
    let desk = governed();
    change(&desk, 0, |(_, bytes)| {
        let mut bytes = bytes[..bytes.len() - 32].to_vec();
        let at = bytes.windows(64).position(|part| part == folded_by().as_bytes()).unwrap();
        bytes[at..at + 64].reverse();
        let seal = *blake3::hash(&bytes).as_bytes();
        [bytes.as_slice(), &seal].concat()
    });
    let verified = desk.run(&["snapshots", "verify"]).ended(0);
    assert!(verified.out.contains("1 ignored (1 folded by other rules)"), "{}", verified.out);
    let listed = desk.run(&["snapshots", "list"]).ended(0).out;
    assert!(listed.contains("folded by other rules"), "{listed}");
}

#[test]
fn what_cannot_be_done_says_what_would_do() {
    let desk = Desk::new();
    let nothing = desk.run(&["snapshots", "list"]).ended(2);
    assert!(nothing.err.contains("there is no log in ephor-data"), "{}", nothing.err);
    let desk = governed();
    let unknown = desk.run(&["snapshots", "list", "--strategy", "EMAX"]).ended(2);
    assert!(unknown.err.contains(&format!("did you mean {STRATEGY}?")), "{}", unknown.err);
    let log = open(&desk);
    let held = desk.run(&["snapshots", "verify"]).ended(2);
    assert!(held.err.contains("another process has the log"), "{}", held.err);
    log.close().unwrap();
    desk.run(&["snapshots", "verify"]).ended(0);
}
