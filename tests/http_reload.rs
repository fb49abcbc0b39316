//! SIGHUP: what is read again while the service runs, what needs a restart, and what is not taken at all.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod certified;
#[expect(dead_code, reason = "each test uses its part")]
mod cli;
#[expect(dead_code, reason = "each test uses its part")]
mod served;

use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use certified::certificates;
use cli::Desk;
use reqwest::blocking::Client;
use reqwest::tls::TlsInfo;
use serde_json::json;
use served::{Served, key_of};

/// Waits until something holds.
#[track_caller]
fn eventually(served: &Served, what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}: {}", served.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Has the service read these settings again; what it has said since.
#[track_caller]
fn reloaded(served: &Served, settings: &str) -> String {
    served.desk.write("ephor.toml", settings);
    let before = served.stderr().len();
    served.signal("HUP");
    let ends = ["were read again", "nothing is changed"];
    let said = || served.stderr().split_off(before);
    eventually(served, "it says what came of it", || ends.iter().any(|end| said().contains(end)));
    said()
}

/// The statuses of a few requests with one key, one right behind the other.
fn asked(served: &Served) -> Vec<u16> {
    (0..4).map(|_| served.get("/v1/kill").0).collect()
}

#[test]
fn the_log_level_and_the_rate_change_while_it_serves_and_change_back() {
    let served = Served::with("", &[]);
    assert_eq!(asked(&served), [200; 4]);
    assert!(!served.stderr().contains("DEBUG"), "{}", served.stderr());
    let strict = "[telemetry]\nlog_level = \"debug\"\n[server.limits]\nrequests_per_second = 1\nburst = 2\n";
    let said = reloaded(&served, strict);
    for field in ["telemetry.log_level", "server.limits.burst", "server.limits.requests_per_second"] {
        assert!(said.contains(field), "{said}");
    }
    let statuses = asked(&served);
    assert_eq!((statuses[0], statuses[3]), (200, 429), "{statuses:?}");
    eventually(&served, "each request is told of", || served.stderr().contains("DEBUG request"));
    // The same again changes nothing: neither does the count of requests begin afresh.
    let said = reloaded(&served, strict);
    assert!(said.contains("changed=\"\""), "{said}");
    assert!(asked(&served).contains(&429));
    reloaded(&served, "");
    assert_eq!(asked(&served), [200; 4]);
    let quiet = served.stderr().len();
    assert_eq!(asked(&served), [200; 4]);
    assert!(!served.stderr()[quiet..].contains("DEBUG"), "{}", served.stderr());
}

#[test]
fn settings_that_are_wrong_change_nothing_and_the_field_is_named() {
    let served = Served::with("[server.limits]\nburst = 3\nrequests_per_second = 1\n", &[]);
    let wrong = "[telemetry]\nlog_level = \"debug\"\n[server.limits]\nburst = 0\nrequests_per_second = 1000\n";
    for (wrong, named) in [
        (wrong, "ephor.toml: line 4: server.limits.burst: must be from 1 to"),
        ("[server.limits]\nbody_kb = 1\n", "ephor.toml: line 2: server.limits.body_kb: unknown field"),
        ("[telemetry]\nlog_level = \"loud\"\n", "telemetry.log_level: unknown variant `loud`"),
        ("[server\n", "ephor.toml: line 1"),
    ] {
        let said = reloaded(&served, wrong);
        assert!(said.contains("ERROR") && said.contains(named) && said.contains("nothing is changed"), "{said}");
    }
    let statuses = asked(&served);
    assert_eq!((statuses[2], statuses[3]), (200, 429), "the rate before holds: {statuses:?}");
    assert!(!served.stderr().contains("DEBUG"), "{}", served.stderr());
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_is_taken() {
    let served = Served::with("", &[]);
    let changed = "[server]\nworkers = 3\n[server.limits]\nconnections = 7\nbody_kib = 1\n[log]\nchunk_mib = 9\n";
    for _ in 0..2 {
        let said = reloaded(&served, changed);
        for field in ["server.workers", "server.limits.connections", "log.chunk_mib"] {
            let line = said.lines().find(|line| line.contains(&format!("field=\"{field}\"")));
            assert!(line.is_some_and(|line| line.contains("ERROR") && line.contains("needs a restart")), "{said}");
        }
        assert!(!said.contains("field=\"server.limits.body_kib\""), "{said}");
    }
    let (status, said) = served.post("/v1/kill", &json!({ "scope": "all", "reason": "r".repeat(1_025) }));
    assert_eq!((status, &said["code"], &said["action"]), (413, &json!("BODY_TOO_LARGE"), &json!("block")), "{said}");
    reloaded(&served, "");
    let (status, said) = served.post("/v1/kill", &json!({ "scope": "all", "reason": "r".repeat(1_025) }));
    assert_eq!((status, &said["code"]), (422, &json!("FIELD_TOO_LONG")), "{said}");
}

#[test]
fn what_the_canary_checks_changes_and_so_does_how_many_streams_there_may_be() {
    let desk = Desk::new();
    desk.write("policy.toml", "[canary]\ninterval_seconds = 1\naction_on_failure = \"alert\"\n");
    desk.run(&["policy", "adopt", "policy.toml", "--by", "alice", "--reason", "quick"]).ended(0);
    let key = key_of(&desk, "desk", "admin");
    let served = Served::at(desk, key, &[]);
    let stream = || served.request(reqwest::Method::GET, "/v1/events/stream").send().unwrap();
    assert_eq!(stream().status(), 200);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = format!(
        "[canary]\ndisk_free_mib_min = 1000000000000\n[[canary.tcp]]\nname = \"venue\"\naddress = \"{gone}\"\n"
    );
    reloaded(&served, &format!("{settings}[server.limits]\nstreams = 0\n"));
    let shown = |name: &str, up: u8| {
        let metrics = served.get("/metrics").1;
        metrics.as_str().unwrap().contains(&format!("ephor_canary_up{{component=\"{name}\"}} {up}"))
    };
    eventually(&served, "the new port is asked", || shown("tcp:venue", 0));
    assert!(shown("disk", 0) && shown("log", 1), "{}", served.stderr());
    assert_eq!(stream().status(), 503);
    reloaded(&served, "");
    eventually(&served, "the port is asked no longer", || !shown("tcp:venue", 0));
    assert!(shown("disk", 1), "{}", served.stderr());
    assert_eq!(stream().status(), 200);
}

#[test]
fn a_certificate_in_another_file_is_shown_from_then_on_and_one_that_is_none_is_not() {
    let desk = Desk::new();
    certificates(&desk.path(""), &["one", "two"]);
    let settings = |certificate: &str, key: &str| {
        let workers = if certificate == "rubbish" { "[server]\n" } else { "" };
        format!("{workers}[server.tls]\ncertificate = \"{certificate}.pem\"\nkey = \"{key}.key\"\n")
    };
    desk.write("rubbish.pem", "no certificate");
    desk.write("ephor.toml", settings("one", "one"));
    let key = key_of(&desk, "desk", "admin");
    let served = Served::at(desk, key, &[]);
    let shown = || {
        let authority = std::fs::read(served.desk.path("ca.pem")).unwrap();
        let client = Client::builder().add_root_certificate(reqwest::Certificate::from_pem(&authority).unwrap());
        let client = client.tls_info(true).build().unwrap();
        let answer = client.get(format!("{}/healthz", served.address)).send().unwrap();
        answer.extensions().get::<TlsInfo>().unwrap().peer_certificate().unwrap().to_vec()
    };
    let first = shown();
    let said = reloaded(&served, &settings("two", "two"));
    assert!(said.contains("server.tls.certificate, server.tls.key"), "{said}");
    let second = shown();
    assert_ne!(first, second);
    for (certificate, key, named) in [("rubbish", "two", "server.tls.certificate"), ("one", "two", "server.tls.key")] {
        let said = reloaded(&served, &settings(certificate, key));
        assert!(said.contains("ERROR") && said.contains(named) && said.contains("nothing is changed"), "{said}");
        assert_eq!(shown(), second);
    }
    let said = reloaded(&served, "");
    assert!(said.contains("field=\"server.tls") && said.contains("needs a restart"), "{said}");
    assert_eq!(shown(), second);
}

#[test]
fn a_hang_up_while_it_starts_ends_nothing_and_is_heeded() {
    let desk = Desk::new();
    // It holds up the first round of the canary, and so the start.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let page = format!("http://{}/", silent.local_addr().unwrap());
    let slow = format!("[canary]\ncheck_timeout_ms = 2000\n[[canary.http]]\nname = \"slow\"\nurl = \"{page}\"\n");
    desk.write("ephor.toml", &slow);
    let path = desk.path("ephor.toml");
    let (told, pid) = mpsc::channel();
    let hanging_up = std::thread::spawn(move || {
        let _held = silent.accept().unwrap();
        std::fs::write(path, format!("{slow}[telemetry]\nlog_level = \"debug\"\n")).unwrap();
        let pid: u32 = pid.recv().unwrap();
        let sent = std::process::Command::new("kill").args(["-HUP", &pid.to_string()]).status();
        assert!(sent.unwrap().success());
        std::thread::sleep(Duration::from_secs(3));
    });
    let key = key_of(&desk, "desk", "admin");
    let served = Served::told(desk, key, &told);
    hanging_up.join().unwrap();
    eventually(&served, "it was read again", || served.stderr().contains("changed=\"telemetry.log_level\""));
    assert_eq!(served.get("/readyz").1["ready"], json!(true));
}
