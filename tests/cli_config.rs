//! `ephor config`: what is in force, from where, and what would keep the service from starting.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cli;

use cli::{Desk, Said, demo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};

#[track_caller]
fn refused(desk: &Desk, args: &[&str], expected: &str) {
    let said = desk.run(args).ended(2);
    assert!(said.err.contains(expected), "{expected:?} is not in {:?}", said.err);
}

fn certified() -> CertifiedKey<rcgen::KeyPair> {
    generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap()
}

#[test]
fn every_value_in_force_is_shown_with_where_it_came_from() {
    let desk = Desk::new();
    desk.write("ephor.toml", "[governance]\nenabled = false\n\n[server]\nworkers = 3\nshards = 2\n");
    let mut program = desk.program(&["config", "show", "--json", "--enabled", "--bind", "127.0.0.1:9"]);
    let shown = Said::of(&program.env("EPHOR_SERVER__SHARDS", "4").output().unwrap()).ended(0).json();
    let of =
        |field: &str| -> Value { shown.as_array().unwrap().iter().find(|row| row["field"] == field).unwrap().clone() };
    let row = |field: &str, value: Value, from: &str, name: Value, line: Value| {
        assert_eq!(of(field), json!({"field": field, "value": value, "from": from, "name": name, "line": line}));
    };
    row("governance.enabled", json!(true), "flag", json!("--enabled"), json!(null));
    row("server.bind", json!("127.0.0.1:9"), "flag", json!("--bind"), json!(null));
    row("server.workers", json!(3), "file", json!("ephor.toml"), json!(5));
    row("server.shards", json!(4), "variable", json!("EPHOR_SERVER__SHARDS"), json!(null));
    row("log.chunk_mib", json!(256), "default", json!(null), json!(null));
    row("telemetry.otlp_endpoint", json!(null), "default", json!(null), json!(null));

    let said = desk.run(&["config", "show"]).ended(0);
    for part in ["setting", "server.workers", "settings ephor.toml: line 5", "canary.feeds", "not set", "\"pretty\""] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
}

#[test]
fn a_wrong_setting_stops_every_command_that_reads_settings() {
    let desk = Desk::new();
    desk.govern("");
    let mut program = desk.program(&["run", "--input", demo().to_str().unwrap()]);
    let said = Said::of(&program.env("EPHOR_LOG__BACKENDS", "sled").output().unwrap()).ended(2);
    assert!(said.err.contains("variable EPHOR_LOG__BACKENDS: log.backends: unknown field"), "{}", said.err);
    for command in ["show", "check"] {
        refused(&desk, &["config", command, "--config", "missing.toml"], "read settings missing.toml failed");
        refused(&desk, &["config", command, "--bind", "0.0.0.0:1"], "flag --bind: server.bind: 0.0.0.0:1 can be");
    }
}

#[test]
fn certificates_are_read_and_held_against_their_key() {
    let desk = Desk::new();
    let tls = "[server]\nbind = \"0.0.0.0:8750\"\n[server.tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n";
    desk.write("ephor.toml", tls);
    let check = ["config", "check"];
    refused(&desk, &check, "server.tls.certificate: read c.pem failed");
    let one = certified();
    desk.write("c.pem", "not a certificate\n");
    refused(&desk, &check, "server.tls.certificate: there is no certificate in c.pem");
    desk.write("c.pem", one.cert.pem());
    refused(&desk, &check, "server.tls.key: read k.pem failed");
    desk.write("k.pem", one.cert.pem());
    refused(&desk, &check, "server.tls.key: read k.pem failed");
    desk.write("k.pem", certified().signing_key.serialize_pem());
    refused(&desk, &check, "server.tls.key: k.pem cannot be used");
    desk.write("k.pem", one.signing_key.serialize_pem());
    assert!(desk.run(&check).ended(0).out.contains("ok:"));

    desk.write("ephor.toml", format!("{tls}client_ca = \"ca.pem\"\n"));
    refused(&desk, &check, "server.tls.client_ca: read ca.pem failed");
    desk.write("ca.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    refused(&desk, &check, "server.tls.client_ca: ca.pem cannot be used");
    desk.write("ca.pem", one.cert.pem());
    assert_eq!(desk.run(&["config", "check", "--json"]).ended(0).json(), json!({ "ok": true }));
}
