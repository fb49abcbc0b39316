//! Every source refuses what it cannot mean, and says so in its own words.

use std::path::Path;

use serde_json::json;

use super::*;

const FILE: &str = "ephor.toml";

fn read(text: &str, variables: &[(&str, &str)], flags: &[Flag]) -> Result<Sources, SettingsError> {
    let file = (!text.is_empty()).then(|| (Path::new(FILE), text.to_owned()));
    Sources::of(file, variables.iter().map(|(name, value)| (name.into(), value.into())), flags)
}

#[track_caller]
fn taken(text: &str, variables: &[(&str, &str)]) -> Settings {
    read(text, variables, &[]).and_then(|sources| sources.settings()).unwrap()
}

#[track_caller]
fn refused_by(text: &str, variables: &[(&str, &str)], flags: &[Flag]) -> String {
    read(text, variables, flags).and_then(|sources| sources.settings()).unwrap_err().to_string()
}

#[track_caller]
fn refused(text: &str) -> String {
    refused_by(text, &[], &[])
}

#[track_caller]
fn begins(said: &str, expected: &str) {
    assert!(said.starts_with(expected), "{said:?} does not begin with {expected:?}");
}

#[test]
fn what_is_not_said_keeps_its_default() {
    let settings = taken("[log]\ndurability = \"written\"\n", &[]);
    assert_eq!(settings.log.durability, LogDurability::Written);
    assert_eq!(settings.log.chunk_mib, 256);
    assert_eq!(taken("", &[]), Settings::default());
    assert!(!Settings::default().governance.enabled);
    assert!(Settings::default().server.bind.ip().is_loopback());
}

#[test]
fn a_wrong_setting_of_the_file_is_named_with_its_line() {
    begins(
        &refused("# mine\n[log]\nbackends = \"sled\"\n"),
        "settings ephor.toml: line 3: log.backends: unknown field `backends`",
    );
    begins(
        &refused("[log]\nbackend = \"leveldb\"\n"),
        "settings ephor.toml: line 2: log.backend: unknown variant `leveldb`",
    );
    begins(&refused("[log]\n\nchunk_mib = \"many\"\n"), "settings ephor.toml: line 3: log.chunk_mib: invalid type");
    let chunk = refused("[log]\nchunk_mib = 0\n");
    assert_eq!(chunk, "settings ephor.toml: line 2: log.chunk_mib: must be from 1 to 65536, found 0");
    let every = refused("[snapshots]\nevery = 0\n");
    assert_eq!(every, "settings ephor.toml: line 2: snapshots.every: must be from 16 to 16000 events, found 0");
    begins(&refused("[logs]\nchunk_mib = 1\n"), "settings ephor.toml: line 1: logs: unknown field `logs`");
    begins(
        &refused("[server]\nbind = \"localhost\"\n"),
        "settings ephor.toml: line 2: server.bind: invalid socket addr",
    );
    let feeds = "[canary]\nfeeds = [\n  { name = \"a\", age_seconds_max = 5 },\n  { name = \"b\" },\n]\n";
    begins(&refused(feeds), "settings ephor.toml: line 4: canary.feeds: missing field `age_seconds_max`");
    begins(&refused("[log\n"), "settings ephor.toml: line 1: ");
}

#[test]
fn a_wrong_variable_is_named() {
    let variable = |name: &str, value: &str| refused_by("", &[(name, value)], &[]);
    begins(&variable("EPHOR_SERVER__BINDS", "x"), "variable EPHOR_SERVER__BINDS: server.binds: unknown field");
    begins(&variable("EPHOR_SERVERS__BIND", "x"), "variable EPHOR_SERVERS__BIND: servers: unknown field");
    begins(&variable("EPHOR_SERVER__WORKERS", "many"), "variable EPHOR_SERVER__WORKERS: server.workers: invalid type");
    begins(&variable("EPHOR_SERVER__WORKERS", "-1"), "variable EPHOR_SERVER__WORKERS: server.workers: ");
    begins(&variable("EPHOR_SERVER__WORKERS", ""), "variable EPHOR_SERVER__WORKERS: server.workers: invalid type");
    begins(&variable("EPHOR_SERVER__TLS", "{keys=a}"), "variable EPHOR_SERVER__TLS: server.tls.keys: unknown field");
    begins(&variable("EPHOR_SERVER__BIND__X", "1"), "variable EPHOR_SERVER__BIND__X: server.bind: invalid type");
    begins(&variable("EPHOR_LOG__BACKEND", "leveldb"), "variable EPHOR_LOG__BACKEND: log.backend: unknown variant");
    let range = variable("EPHOR_LOG__CHUNK_MIB", "0");
    assert_eq!(range, "variable EPHOR_LOG__CHUNK_MIB: log.chunk_mib: must be from 1 to 65536, found 0");
    begins(&variable("EPHOR__BIND", "1"), "variable EPHOR__BIND: _bind: unknown field `_bind`, expected one of");
    for name in ["EPHOR_SERVER__", "EPHOR_SERVER____BIND"] {
        assert_eq!(variable(name, "1"), format!("variable {name}: sets nothing; a setting is EPHOR_SECTION__FIELD"));
    }
    begins(&variable("EPHOR_Server__Bind", "1"), "variable EPHOR_Server__Bind: sets nothing; ");
    let meant = variable("EPHOR_SERVER_LIMITS_BODY_KIB", "1");
    assert_eq!(meant, "variable EPHOR_SERVER_LIMITS_BODY_KIB: sets nothing; EPHOR_SERVER__LIMITS__BODY_KIB does");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_refused() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let value = OsString::from_vec(vec![0xff]);
    let said = Sources::of(None, std::iter::once(("EPHOR_SERVER__TLS__KEY".into(), value)), &[]);
    begins(&said.map(drop).unwrap_err().to_string(), "variable EPHOR_SERVER__TLS__KEY: must be UTF-8");
}

#[test]
fn what_is_not_a_setting_is_left_alone() {
    let others = [
        ("EPHOR_DATA", "x"),
        ("EPHOR_BY", "x"),
        ("EPHOR_LOG", "debug"),
        ("EPHOR_PORT_8750_TCP", "tcp://10.0.0.1:8750"),
        ("OTHER_SERVER__BIND", "x"),
        ("ephor_server__bind", "x"),
    ];
    assert_eq!(taken("", &others), Settings::default());
}

#[test]
fn a_wrong_flag_is_named() {
    let bind = Flag::new("--bind", "server.bind", "here");
    begins(&refused_by("", &[], &[bind]), "flag --bind: server.bind: invalid socket address");
    let bind = Flag::new("--bind", "server.bind", "0.0.0.0:1");
    begins(&refused_by("", &[], &[bind]), "flag --bind: server.bind: 0.0.0.0:1 can be reached from other machines");
}

#[test]
fn flags_are_over_variables_and_variables_over_the_file_field_by_field() {
    let text = "[server]\nbind = \"127.0.0.1:1\"\nworkers = 1\nshards = 7\n\n[server.limits]\nburst = 9\n";
    let variables = [
        ("EPHOR_SERVER__WORKERS", "2"),
        ("EPHOR_SERVER__BIND", "[::1]:2"),
        ("EPHOR_CANARY__FEEDS", "[{name=\"prices\", age_seconds_max=5}]"),
    ];
    let sources = read(text, &variables, &[Flag::new("--bind", "server.bind", "127.0.0.1:3")]).unwrap();
    let settings = sources.settings().unwrap();
    assert_eq!(settings.server.bind.to_string(), "127.0.0.1:3");
    assert_eq!((settings.server.workers, settings.server.shards), (2, 7));
    assert_eq!((settings.server.limits.burst, settings.server.limits.streams), (9, 64));
    assert_eq!(settings.canary.feeds, [Feed { name: "prices".to_owned(), age_seconds_max: 5 }]);

    let effective = sources.effective().unwrap();
    let of = |field: &str| {
        let found = effective.iter().find(|found| found.field == field).unwrap();
        (found.value.clone(), found.origin.clone())
    };
    let file = |line| Origin::File { path: FILE.into(), line: Some(line) };
    assert_eq!(of("server.bind"), (json!("127.0.0.1:3"), Origin::Flag("--bind")));
    assert_eq!(of("server.workers"), (json!(2), Origin::Variable("EPHOR_SERVER__WORKERS".to_owned())));
    assert_eq!(of("server.shards"), (json!(7), file(4)));
    assert_eq!(of("server.limits.burst"), (json!(9), file(7)));
    assert_eq!(of("server.limits.streams"), (json!(64), Origin::Default));
    assert_eq!(of("server.tls"), (json!(null), Origin::Default));
}

#[test]
fn a_section_may_come_together_from_several_sources_and_half_of_one_is_refused() {
    let half = "[server.tls]\ncertificate = \"c.pem\"\n";
    let settings = taken(half, &[("EPHOR_SERVER__TLS__KEY", "k.pem"), ("EPHOR_SERVER__BIND", "0.0.0.0:1")]);
    let tls = settings.server.tls.unwrap();
    assert_eq!((tls.certificate.to_str(), tls.key.to_str(), tls.client_ca), (Some("c.pem"), Some("k.pem"), None));
    begins(&refused(half), "settings ephor.toml: server.tls.key: must name a file");
    let alone = refused_by("", &[("EPHOR_SERVER__TLS__KEY", "k.pem")], &[]);
    begins(&alone, "variable EPHOR_SERVER__TLS__KEY: server.tls.certificate: must name a file");
}

#[test]
fn the_service_is_not_open_to_other_machines_without_tls_or_a_word() {
    for open in ["0.0.0.0:1", "192.0.2.1:1", "[::]:1", "[::ffff:192.0.2.1]:1"] {
        let text = format!("[server]\nbind = \"{open}\"\n");
        let said = refused(&text);
        assert!(said.contains("line 2: server.bind: ") && said.contains("server.allow_plaintext"), "{said}");
        assert_eq!(taken(&format!("{text}allow_plaintext = true\n"), &[]).server.bind.to_string(), open);
    }
    for closed in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        assert_eq!(taken(&format!("[server]\nbind = \"{closed}\"\n"), &[]).server.bind.to_string(), closed);
    }
}

#[test]
fn numbers_out_of_range_and_names_and_addresses_that_mean_nothing_are_refused() {
    let cases = [
        ("[server]\nshards = 0", "line 2: server.shards: must be from 1 to 1024, found 0"),
        ("[server]\nworkers = 1025", "line 2: server.workers: must be from 0 to 1024, found 1025"),
        ("[server]\nanswer_timeout_ms = 0", "line 2: server.answer_timeout_ms: must be from 1 to 86400000"),
        ("[server]\nshutdown_seconds = 0", "line 2: server.shutdown_seconds: must be from 1 to 3600"),
        ("[server.limits]\nbody_kib = 0", "line 2: server.limits.body_kib: must be from 1"),
        ("[server.limits]\nconnections = 0", "line 2: server.limits.connections: must be from 1"),
        ("[server.limits]\nin_flight = 4097", "line 2: server.limits.in_flight: must be from 1 to 4096"),
        ("[server.limits]\nhead_timeout_ms = 0", "line 2: server.limits.head_timeout_ms: must be from 1"),
        ("[server.limits]\nrequest_timeout_ms = 0", "line 2: server.limits.request_timeout_ms: must be from 1"),
        ("[server.limits]\nrequests_per_second = 0", "line 2: server.limits.requests_per_second: must be from 1"),
        ("[server.limits]\nburst = 0", "line 2: server.limits.burst: must be from 1"),
        ("[server.limits]\nstreams = 1000001", "line 2: server.limits.streams: must be from 0"),
        ("[server.limits]\nstream_lag_seconds = 0", "line 2: server.limits.stream_lag_seconds: must be from 1"),
        ("[server.tls]\ncertificate = \"c\"\nkey = \"k\"\nclient_ca = \"\"", "line 4: server.tls.client_ca: must name"),
        ("[canary]\ncheck_timeout_ms = 0", "line 2: canary.check_timeout_ms: must be from 1"),
        ("[canary]\nclock_offset_ms_max = 0", "line 2: canary.clock_offset_ms_max: must be from 1"),
        ("[[canary.feeds]]\nname = \"a b\"\nage_seconds_max = 1", "canary.feeds: a name must be"),
        ("[[canary.feeds]]\nname = \"a\"\nage_seconds_max = 0", "canary.feeds: age_seconds_max of \"a\" must be"),
        ("[[canary.tcp]]\nname = \"\"\naddress = \"h:1\"", "canary.tcp: a name must be"),
        (
            "[[canary.tcp]]\nname = \"a\"\naddress = \"h\"",
            "canary.tcp: address of \"a\" must be HOST:PORT, found \"h\"",
        ),
        ("[[canary.tcp]]\nname = \"a\"\naddress = \"h:0\"", "canary.tcp: address of \"a\""),
        ("[[canary.tcp]]\nname = \"a\"\naddress = \"::1:1\"", "canary.tcp: address of \"a\""),
        ("[[canary.http]]\nname = \"a\"\nurl = \"ftp://h/\"", "canary.http: url of \"a\" must begin with http://"),
        ("[[canary.http]]\nname = \"a\"\nurl = \"/x\"", "canary.http: url of \"a\" must be an address"),
        ("[[canary.http]]\nname = \"a\"\nurl = \"http://h/\"\nstatus = 99", "canary.http: status of \"a\" must be"),
        ("[telemetry]\notlp_endpoint = \"collector\"", "line 2: telemetry.otlp_endpoint: must be an address"),
        ("[telemetry]\nmetrics_strategies_max = 100001", "line 2: telemetry.metrics_strategies_max: must be from 0"),
        ("[telemetry]\nlog_format = \"xml\"", "line 2: telemetry.log_format: unknown variant `xml`"),
    ];
    for (text, expected) in cases {
        begins(&refused(text), &format!("settings ephor.toml: {expected}"));
    }
    let twice = "[[canary.tcp]]\nname = \"a\"\naddress = \"h:1\"\n[[canary.tcp]]\nname = \"a\"\naddress = \"h:2\"\n";
    begins(&refused(twice), "settings ephor.toml: canary.tcp: the name \"a\" is used twice");
    for good in ["h:1", "192.0.2.1:65535", "[::1]:80", "broker.example.org:4222"] {
        assert_eq!(taken(&format!("[[canary.tcp]]\nname = \"a\"\naddress = \"{good}\"\n"), &[]).canary.tcp.len(), 1);
    }
    assert_eq!(taken("[[canary.http]]\nname = \"a\"\nurl = \"https://h/x\"\n", &[]).canary.http[0].status, 200);
}

#[test]
fn a_password_in_an_address_is_refused_and_not_repeated() {
    for text in [
        "[[canary.http]]\nname = \"a\"\nurl = \"https://me:hunter2@h/\"\n",
        "[telemetry]\notlp_endpoint = \"http://me:hunter2@h:4318\"\n",
        "[telemetry]\notlp_endpoint = \"http://hunter2@h:4318\"\n",
    ] {
        let said = refused(text);
        assert!(said.contains("must not hold a user or a password") && !said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_rule_of_attribution_that_makes_no_sense_is_named_with_its_line() {
    let file = "[[bus.jsonl]]\nname = \"a\"\npath = \"x\"\n[bus.jsonl.reading]\nformat = \"fix\"\n";
    let said = refused(&format!("{file}[[bus.jsonl.reading.rules]]\nclient_order_id = \"(\"\n"));
    assert!(
        said.starts_with("settings ephor.toml: line ") && said.contains("the rule by client_order_id \"(\""),
        "{said}"
    );
    let said = refused(&format!("{file}[[bus.jsonl.reading.rules]]\naccount = \"1\"\nstrategy = \"system\"\n"));
    assert!(said.contains("reserved"), "{said}");
    let rules = "[[bus.jsonl.reading.rules]]\naccount = \"1\"\nstrategy = \"A\"\n";
    assert_eq!(taken(&format!("{file}{rules}"), &[]).bus.jsonl[0].reading.rules.len(), 1);
    let said = refused(&format!("{file}{rules}").replace("fix", "ephor"));
    assert!(said.contains("messages of the format ephor name their strategy: leave out strategy and rules"), "{said}");
}

#[test]
fn an_audit_database_that_cannot_be_is_refused() {
    let database = |lines: &str| refused(&format!("[audit.database]\n{lines}\n"));
    let line = "settings ephor.toml: line";
    begins(&database("required = true"), &format!("{line} 2: audit.database.required: needs a database"));
    begins(&database("url = \"postgres://h/d\""), &format!("{line} 2: audit.database.url: must be "));
    let said = database("url = \"postgres://u:s3cret@h/d\"");
    begins(&said, &format!("{line} 2: audit.database.url: must not hold a password"));
    assert!(!said.contains("s3cret"), "{said}");
    let said = database("url = \"postgres://u@db.example/d\"\ntls = \"disable\"");
    begins(&said, &format!("{line} 3: audit.database.tls: postgres://u@db.example/d is another machine"));
    begins(&database("batch_events = 0"), &format!("{line} 2: audit.database.batch_events: must be from 1"));
    let settings = taken("[audit.database]\nurl = \"postgres://u@localhost/d\"\ntls = \"disable\"\n", &[]);
    assert!(!settings.audit.database.required);
}

#[test]
fn a_secret_goes_to_another_machine_in_plain_text_only_where_somebody_has_said_so() {
    let cases = [
        (
            "[[bus.nats]]\nname = \"a\"\nservers = [\"nats://127.0.0.1\", \"nats://mq.example:4222\"]\n\
             auth = { token = \"t\" }\n",
            "bus.nats.auth: of a would go to mq.example in plain text",
        ),
        (
            "[[bus.nats]]\nname = \"a\"\nservers = [\"10.0.0.7:4222\"]\nauth = { user_password = \"t\" }\n",
            "bus.nats.auth: of a would go to 10.0.0.7 in plain text",
        ),
        (
            "[[bus.redis]]\nname = \"a\"\nurl = \"redis://mq.example\"\npassword_file = \"p\"\n",
            "bus.redis: password_file of \"a\" would go to mq.example in plain text",
        ),
        (
            "[[bus.mqtt]]\nname = \"a\"\nhost = \"mq.example\"\nusername = \"u\"\npassword_file = \"p\"\n",
            "bus.mqtt.password_file: of a would go to mq.example in plain text",
        ),
        (
            "[audit.database]\nurl = \"postgres://u@db.example/d\"\ntls = \"disable\"\n",
            "audit.database.tls: postgres://u@db.example/d is another machine",
        ),
    ];
    for (text, expected) in cases {
        let said = refused(text);
        assert!(said.contains(expected) && said.contains("allow_plaintext"), "{said}");
        taken(&format!("{text}allow_plaintext = true\n"), &[]);
        for (there, here) in [("mq.example", "localhost"), ("db.example", "[::1]"), ("10.0.0.7", "127.0.0.1")] {
            if text.contains(there) {
                taken(&text.replace(there, here), &[]);
            }
        }
    }
    // Nothing secret is told, or not in plain text.
    for text in [
        "[[bus.nats]]\nname = \"a\"\nservers = [\"nats://mq.example\"]\nauth = { creds = \"c\" }\n",
        "[[bus.nats]]\nname = \"a\"\nservers = [\"nats://mq.example\"]\n",
        "[[bus.nats]]\nname = \"a\"\nservers = [\"tls://mq.example\"]\nauth = { token = \"t\" }\n",
        "[[bus.nats]]\nname = \"a\"\nservers = [\"nats://mq.example\"]\nauth = { token = \"t\" }\ntls = {}\n",
        "[[bus.redis]]\nname = \"a\"\nurl = \"rediss://mq.example\"\npassword_file = \"p\"\n",
        "[[bus.mqtt]]\nname = \"a\"\nhost = \"mq.example\"\nusername = \"u\"\npassword_file = \"p\"\ntls_ca = \"c\"\n",
    ] {
        taken(text, &[]);
    }
}
