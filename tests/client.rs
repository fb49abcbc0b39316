//! The Python client against the real service: its own tests, and its types.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

#[expect(dead_code, reason = "each test uses its part")]
mod cli;

#[expect(dead_code, reason = "each test uses its part")]
mod served;

use std::path::{Path, PathBuf};
use std::process::Command;

use cli::Said;
use serde_json::json;
use served::{Served, python};

fn client() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/python")
}

/// A Python with the client in it, as it stands in the tree, beside what `requirements` names.
fn python_with_client(name: &str, requirements: &str, package: &str) -> PathBuf {
    let python = python(name, requirements);
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-e"];
    Said::of(&Command::new(&python).current_dir(client()).args(install).arg(package).output().unwrap()).ended(0);
    python
}

#[test]
fn the_python_client_is_typed_and_fails_closed_against_the_real_service() {
    let python = python_with_client("client", "clients/python/tests/requirements.txt", ".[test]");
    let cache = python.with_file_name("mypy-cache");
    let typed = Command::new(&python).current_dir(client()).args(["-m", "mypy", "--cache-dir"]).arg(cache).output();
    Said::of(&typed.unwrap()).ended(0);
    let served = Served::new();
    let tested = Command::new(&python)
        .current_dir(client())
        .args(["-m", "pytest", "-p", "no:cacheprovider", "-rs"])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("EPHOR_TEST_URL", &served.address)
        .env("EPHOR_API_KEY", &served.key)
        .output();
    let said = Said::of(&tested.unwrap());
    assert_eq!(said.code, Some(0), "{}\n{}\nthe service:\n{}", said.out, said.err, served.stderr());
    assert!(said.out.contains(" passed"), "{}", said.out);
}

#[test]
fn a_nautilus_trader_backtest_submits_what_the_gate_lets_through_and_nothing_without_it() {
    let python = python_with_client("nautilus", "clients/python/examples/requirements.txt", ".");
    let served = Served::new();
    served.register("nautilus-1");
    let backtest = |url: &str, strategy: &str| {
        let mut command = Command::new(&python);
        command.arg(client().join("examples/nautilus_strategy.py")).args([url, strategy]);
        Said::of(&command.env("EPHOR_API_KEY", &served.key).output().unwrap()).ended(0).json()
    };
    let on_paper = backtest(&served.address, "nautilus-1");
    assert_eq!((&on_paper["answered"], &on_paper["filled"]), (&json!(true), &json!(0)), "{on_paper}");
    let level = json!({ "to": "L3_constrained", "without_evidence": true, "reason": "a test" });
    // The ids of a backtest's orders are its times, so the same strategy would get the recorded answers.
    served.register("nautilus-2");
    let (status, said) = served.post("/v1/strategies/nautilus-2/level", &level);
    assert_eq!(status, 200, "{said}");
    let live = backtest(&served.address, "nautilus-2");
    let submitted = live["submitted"].as_array().unwrap();
    // A quarter of 100 000, in and out again.
    assert!(submitted.len() >= 10 && submitted.iter().all(|qty| qty == "25000"), "{live}");
    assert_eq!((&live["answered"], &live["filled"]), (&json!(true), &json!(submitted.len())), "{live}");
    let lost = backtest("http://127.0.0.1:9", "nautilus-2");
    assert_eq!((&lost["submitted"], &lost["reasons"]), (&json!([]), &json!(["CLIENT_UNREACHABLE"])), "{lost}");
}
