//! The examples do what they say.
//!
//! Each is run as a person would run it, as a program of its own that has been built with the tests.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Built beside the tests, in `target/PROFILE/examples`: with them where all are built, here where one test is.
fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.parent().and_then(Path::parent).unwrap();
    let path = profile.join("examples").join(name);
    if !path.exists() {
        let release = profile.ends_with("release").then_some("--release");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--example", name]).args(release).current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(cargo.status().unwrap().success(), "build the example {name} failed");
    }
    path
}

#[track_caller]
fn said(name: &str, dir: &Path) -> Vec<String> {
    let path = example(name);
    let output = Command::new(&path).arg(dir).output().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn an_embedded_gate_answers_and_answers_the_same_again_from_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let first = said("embedded_gate", dir.path());
    assert_eq!(
        first,
        ["O-1: reduce_size 0.25 by MATURITY_SIZING_CAPPED", "O-2: block 0 by IMPACT_ABOVE_LEVEL"],
        "a quarter at L3, and nothing as large as the second"
    );
    let again: Vec<String> = first.iter().map(|line| format!("{line}, as recorded before")).collect();
    assert_eq!(said("embedded_gate", dir.path()), again);
}

#[test]
fn a_check_of_ones_own_engages_the_kill_switch_after_three_failures_in_a_row() {
    let dir = tempfile::tempdir().unwrap();
    let rounds = said("canary_check", dir.path());
    assert_eq!(rounds.len(), 5);
    assert_eq!(rounds[1], "round 2: broker well, recorded");
    assert_eq!(rounds[3], "round 4: broker not well, recorded");
    assert_eq!(rounds[4], "round 5: broker not well, three times in a row: the kill switch is engaged");
}

#[test]
fn a_risk_stage_of_ones_own_stops_an_entry_and_no_exit() {
    let dir = tempfile::tempdir().unwrap();
    let signals = said("risk_stage", dir.path());
    assert_eq!(signals, ["s-1: 100 ABC sent", "s-2: refused at risk, RISK_THROTTLED", "s-3: 100 ABC sent"]);
}
