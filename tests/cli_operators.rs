//! What operators do: each act is one commit with a name and a reason, or a refusal that says what would do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cli;

use cli::{Desk, demo};
use serde_json::json;

fn governed() -> Desk {
    let desk = Desk::new();
    desk.run(&["run", "--input", demo().to_str().unwrap()]).ended(0);
    desk
}

#[test]
fn a_strategy_is_registered_paused_resumed_and_set_by_hand() {
    let desk = Desk::new();
    let register = ["strategy", "register", "A", "--capital", "1000", "--currency", "USD", "--version-digest", "v1"];
    let said = desk.run(&register).ended(0);
    assert!(said.out.starts_with("A: registered at L1_paper with 1 000 USD, version v1 (seq 2)"), "{}", said.out);
    let again = desk.run(&register).ended(2);
    assert_eq!(again.err, "error: this version is already registered\n");

    let act = |args: &[&str], code| {
        desk.run(&[&["strategy"], args, &["--by", "alice", "--reason", "a test"]].concat()).ended(code)
    };
    assert!(act(&["pause", "A"], 0).out.contains("alice"));
    assert_eq!(act(&["pause", "A"], 2).err, "error: an operator has already paused it\n");
    act(&["resume", "A"], 0);
    assert_eq!(act(&["resume", "A"], 2).err, "error: it is not paused\n");
    let unearned = act(&["promote", "A"], 2);
    assert!(unearned.err.contains("L1_paper has not earned L2_gated: 0 trades"), "{}", unearned.err);
    act(&["promote", "A", "--without-evidence"], 0);
    assert!(act(&["demote", "A", "--to", "L3"], 2).err.contains("L3_constrained is not below it"));
    let demoted = act(&["demote", "A", "--to", "L0", "--json"], 0).json();
    assert_eq!(demoted["events"][0]["type"], "LevelSet");
    assert_eq!((&demoted["events"][0]["data"]["to"], &demoted["stream"]), (&json!("L0_shadow"), &json!("A")));
    assert!(act(&["demote", "A"], 2).err.contains("is not below it"));
}

#[test]
fn an_act_needs_a_log_a_known_strategy_a_name_and_a_reason() {
    let desk = Desk::new();
    let pause = ["strategy", "pause", "EMAX-GBPUSD-M5-01", "--reason", "a test"];
    assert!(desk.run(&pause).ended(2).err.starts_with("error: there is no log in ephor-data"));
    assert!(!desk.path("ephor-data").exists());
    let desk = governed();
    let unknown = desk.run(&pause).ended(2);
    assert!(unknown.err.contains("EMAX-GBPUSD-M5-001"), "names the nearest: {}", unknown.err);
    assert!(desk.run(&pause[..3]).ended(2).err.contains("--reason"));
    let empty = ["strategy", "pause", "EMAX-GBPUSD-M5-001", "--reason", " "];
    assert_eq!(desk.run(&empty).ended(2).err, "error: reason: must say something\n");
    let output = desk.program(&["kill", "--reason", "a test"]).env_remove("USER").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("say on whose word this is: --by NAME"));
}

#[test]
fn tokens_are_issued_listed_and_revoked() {
    let desk = governed();
    let strategy = "BBMR-GBPUSD-M5-001";
    let issue = ["token", "issue", strategy, "--side", "buy", "--max-notional-usd", "50000", "--by", "alice", "--json"];
    let issued = desk.run(&issue).ended(0).json();
    assert_eq!(issued["events"][0]["type"], "TokenChanged");
    let listed = desk.run(&["token", "list", "--json"]).ended(0).json();
    let token = listed[0]["id"].as_str().unwrap().to_owned();
    assert_eq!((&listed[0]["uses_left"], &listed[0]["expired"]), (&json!(1), &json!(false)));
    let text = desk.run(&["token", "list", strategy]).ended(0).out;
    assert!(text.contains("buy, up to 50 000 USD"), "{text}");
    let revoke = |what: &str| desk.run(&["token", "revoke", strategy, what, "--by", "alice", "--reason", "a test"]);
    revoke(&token).ended(0);
    assert_eq!(revoke(&token).ended(2).err, "error: no such token is active\n");
    desk.run(&issue).ended(0);
    desk.run(&issue).ended(0);
    revoke("--all").ended(0);
    assert_eq!(desk.run(&["token", "list"]).ended(0).out, "no token is in force\n");
    let long = [&issue[..], &["--ttl-seconds", "999999"]].concat();
    assert!(desk.run(&long).ended(2).err.contains("a token lives at most 86400 seconds"));
}

#[test]
fn a_kill_is_latched_until_a_person_rearms() {
    let desk = governed();
    let by = ["--by", "alice", "--reason", "a test"];
    let act = |args: &[&str], code| desk.run(&[args, &by].concat()).ended(code);
    act(&["kill", "--scope", "venue:SIM"], 0);
    assert_eq!(act(&["kill", "--scope", "venue:SIM"], 2).err, "error: this kill switch is already engaged\n");
    act(&["kill", "--scope", "venue:SIM", "--block-exits"], 0);
    assert_eq!(act(&["rearm"], 2).err, "error: no kill switch of this scope is engaged\n");
    act(&["rearm", "--scope", "venue:SIM"], 0);
    let killed = act(&["kill", "--json"], 0).json();
    assert_eq!(killed["events"][0]["data"]["scope"], "all");
    assert!(
        act(&["kill", "--scope", "planet:earth"], 2).err.contains("use all, strategy:ID, instrument:ID or venue:ID")
    );

    // What is governed under it is killed.
    let line = r#"{"type":"signal","id":"late","ts":"2025-01-01T00:00:00Z","strategy_id":"FT-SampleStrategy","instrument":"ETH/BTC","side":"buy","qty":"1","ref_price":"0.1"}"#;
    let summary = desk.govern(line);
    assert_eq!(summary["strategies"][0]["decisions"]["kill"], 1);
}

#[test]
fn a_policy_is_shown_checked_and_adopted() {
    let desk = Desk::new();
    let shown = desk.run(&["policy", "show", "--default"]).ended(0).out;
    let file = desk.write("policy.toml", shown.replace("demotion_loss_streak = 10", "demotion_loss_streak = 5"));
    let path = file.to_str().unwrap();
    assert!(desk.run(&["policy", "check", path]).ended(0).out.starts_with("ok: "));
    let adopt = ["policy", "adopt", path, "--by", "alice", "--reason", "a test"];
    desk.run(&adopt).ended(0);
    assert_eq!(desk.run(&adopt).ended(2).err, "error: this policy is already in force\n");
    let in_force = desk.run(&["policy", "show"]).ended(0).out;
    assert!(in_force.contains("in force") && in_force.contains("demotion_loss_streak = 5"), "{in_force}");
    desk.write("again.toml", in_force);
    desk.run(&["policy", "check", "again.toml"]).ended(0);

    desk.write(
        "wrong.toml",
        "[gate]\nsizing = \"most_restrictive\"\n\n[maturity]\nsizing_caps = [0, 0, 0.5, 0.25, 1]\n",
    );
    let wrong = desk.run(&["policy", "check", "wrong.toml"]).ended(2).err;
    assert_eq!(
        wrong,
        "error: policy wrong.toml: line 5: maturity.sizing_caps: 0.25 is below the cap of the level beneath, 0.5\n"
    );
    desk.run(&["policy", "adopt", "wrong.toml", "--by", "alice", "--reason", "a test"]).ended(2);
}

#[test]
fn every_command_helps_with_an_example() {
    let desk = Desk::new();
    for command in [
        "",
        "run",
        "strategies",
        "state",
        "history",
        "events",
        "why",
        "audit",
        "verify",
        "policy",
        "policy show",
        "policy check",
        "policy adopt",
        "strategy",
        "strategy register",
        "strategy promote",
        "strategy demote",
        "strategy pause",
        "strategy resume",
        "token",
        "token issue",
        "token list",
        "token revoke",
        "token verify",
        "api-key",
        "api-key create",
        "api-key list",
        "api-key revoke",
        "keys",
        "keys list",
        "keys rotate",
        "keys public",
        "kill",
        "rearm",
        "completions",
    ] {
        let args: Vec<&str> = command.split_whitespace().chain(["--help"]).collect();
        let help = desk.run(&args).ended(0).out;
        assert!(help.contains("Example") && help.contains(": ephor "), "{command}: {help}");
        assert!(!help.contains('\x1b'), "{command}");
    }
}

#[test]
fn completions_know_the_commands_and_a_closed_pipe_is_no_error() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(desk.run(&["completions", shell]).ended(0).out.contains("rearm"), "{shell}");
    }
    let mut child = desk
        .program(&["completions", "bash"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}
