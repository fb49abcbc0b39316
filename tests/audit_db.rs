//! The audit database says what the log says, event for event, whatever dies on the way; `audit-db check` finds every
//! row that somebody has changed; auditors read and write nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test uses its part")]
mod cli;
mod postgres;
#[expect(dead_code, reason = "each test uses its part")]
mod served;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use cli::{Desk, Said};
use postgres::{PASSWORD, Postgres};
use serde_json::{Value, json};
use served::{Served, key_of};

/// What the demonstration comes to.
const EVENTS: &str = "6560";

/// Settings for a database, with more lines for its section.
fn settings(url: &str, more: &str) -> String {
    format!("[audit.database]\nurl = \"{url}\"\npassword_file = \"password\"\ntls = \"disable\"\n{more}\n")
}

/// A desk with these settings, and the password in its file.
fn set_up(desk: &Desk, settings: &str) {
    desk.write("ephor.toml", settings);
    let path = desk.write("password", format!("{PASSWORD}\n"));
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A server with the tables made, and a desk that writes to it.
fn migrated(more: &str) -> (Postgres, Desk) {
    let (server, desk) = (Postgres::start(), Desk::new());
    set_up(&desk, &settings(&server.url("ephor", "audit"), more));
    desk.run(&["audit-db", "migrate"]).ended(0);
    (server, desk)
}

#[track_caller]
fn govern_demo(desk: &Desk) -> Said {
    desk.run(&["run", "--json", "--input", cli::demo().to_str().unwrap()]).ended(0)
}

/// Waits for the tables to be as the log says, beside a service or after it.
#[track_caller]
fn comes_clean(desk: &Desk) -> Value {
    let started = Instant::now();
    loop {
        let said = desk.run(&["audit-db", "check", "--json"]);
        if said.code == Some(0) {
            return said.json();
        }
        assert!(started.elapsed() < Duration::from_secs(90), "{said:#?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn order(id: &str, reduce_only: bool) -> Value {
    json!({
        "order_id": id, "strategy_id": "s", "instrument": "EUR/USD.SIM", "side": "SELL", "qty": "1", "price": "1.1",
        "reduce_only": reduce_only,
    })
}

#[test]
fn what_a_run_records_arrives_event_for_event() {
    let (server, desk) = migrated("batch_events = 500");
    govern_demo(&desk);
    let checked = desk.run(&["audit-db", "check", "--json"]).ended(0).json();
    assert_eq!(checked["ok"], json!(true));
    let rows = |sql: &str| server.sql("audit", sql);
    assert_eq!(
        rows("SELECT count(*), min(seq), max(seq), count(DISTINCT event_id) FROM governance_events"),
        "6560|1|6560|6560"
    );
    assert_eq!(rows("SELECT last_seq FROM governance_checkpoint"), EVENTS);
    assert_eq!(rows("SELECT count(*) FROM governance_logs"), "1480");
    let counted = rows("SELECT action, count(*) FROM governance_logs GROUP BY action ORDER BY action");
    assert_eq!(counted, "allow|739\nblock|269\npause|472", "as the run's summary counts them");
    assert_eq!(
        rows("SELECT kind, count(*) FROM maturity_transitions GROUP BY kind ORDER BY kind"),
        "demoted|3\npromoted|4"
    );
    let fallen = "SELECT from_level, to_level, cause, trades, loss_streak, equity, transitioned_at FROM maturity_transitions \
                  WHERE strategy_id = 'EMAX-GBPUSD-M5-001'";
    assert_eq!(rows(fallen), "L1_paper|L0_shadow|loss_streak|14|11|95120.44|2012-02-15 23:55:00+00");
    // The same input again records nothing, and writes nothing.
    govern_demo(&desk);
    assert_eq!(rows("SELECT count(*) FROM governance_events"), EVENTS);
    let said = desk.run(&["audit-db", "check"]).ended(0).out;
    assert!(said.contains("no difference"), "{said}");
}

#[test]
fn a_migration_says_what_it_did_and_is_done_once() {
    let (server, desk) = (Postgres::start(), Desk::new());
    set_up(&desk, &settings(&server.url("ephor", "audit"), ""));
    govern_demo(&desk);
    let early = desk.run(&["audit-db", "check"]).ended(2);
    assert!(early.err.contains("ephor audit-db migrate"), "{early:?}");
    let first = desk.run(&["audit-db", "migrate"]).ended(0).out;
    assert!(first.contains("applied migration 1 (audit trail)"), "{first}");
    let again = desk.run(&["audit-db", "migrate"]).ended(0).out;
    assert!(again.contains("nothing to do"), "{again}");
    let late = desk.run(&["audit-db", "check"]).ended(1).out;
    assert!(late.contains("6 560 events not written yet"), "{late}");
    let said = desk.run(&["audit-db", "rebuild", "--json"]).ended(0).json();
    assert_eq!(said["events"], json!(6_560));
    desk.run(&["audit-db", "check"]).ended(0);
}

#[test]
fn a_row_that_somebody_changed_took_away_or_added_is_named() {
    let (server, desk) = migrated("");
    govern_demo(&desk);
    let named = |change: &str, first: &str| {
        server.sql("audit", change);
        let said = desk.run(&["audit-db", "check"]).ended(1).out;
        assert!(said.contains(&format!("first difference: {first}")), "{change}: {said}");
        desk.run(&["audit-db", "rebuild"]).ended(0);
        desk.run(&["audit-db", "check"]).ended(0);
    };
    named(
        "UPDATE governance_events SET envelope = jsonb_set(envelope, '{data,by}', '\"mallory\"') WHERE seq = 1",
        "seq 1, envelope: ",
    );
    let seq = server.sql("audit", "SELECT min(seq) FROM governance_logs WHERE action = 'block'");
    named(
        &format!("UPDATE governance_logs SET action = 'allow' WHERE seq = {seq}"),
        &format!("seq {seq}, action: the table says allow, the log says block"),
    );
    named(
        &format!("UPDATE governance_logs SET qty = qty + 0.01 WHERE seq = {seq}"),
        &format!("seq {seq}, qty: the table says "),
    );
    named(
        "UPDATE maturity_transitions SET gross_loss = 0 WHERE seq = (SELECT min(seq) FROM maturity_transitions)",
        "seq 258, gross_loss: the table says 0, the log says ",
    );
    named("DELETE FROM governance_events WHERE seq = 6560", "seq 6560 is in the log and not in the table");
    named(
        &format!("DELETE FROM governance_logs WHERE seq = {seq}"),
        &format!("seq {seq} is in the log and not in the table"),
    );
    named(
        "INSERT INTO maturity_transitions SELECT 7000, gen_random_uuid(), trace_id, strategy_id, 1, kind, from_level, \
         to_level, cause, set_by, reason, earned, entered_at, trades, wins, loss_streak, gross_win, gross_loss, equity, \
         peak, evidence, transitioned_at, created_at FROM maturity_transitions LIMIT 1",
        "seq 7000 is in the table and was never recorded",
    );
}

/// Every column of every table is looked at.
#[test]
fn a_change_in_any_column_is_found() {
    let (server, desk) = migrated("");
    govern_demo(&desk);
    let columns = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public' \
                   AND table_name IN ('governance_events', 'governance_logs', 'maturity_transitions') AND column_name <> 'seq'";
    let columns = server.sql("audit", columns);
    assert!(columns.lines().count() > 50);
    let changes = columns.lines().map(|line| {
        let [table, column, kind] = line.split('|').collect::<Vec<_>>().try_into().unwrap();
        let other = match kind {
            "bigint" | "integer" | "numeric" | "double precision" => format!("coalesce({column}, 0) + 1000000"),
            "text" => format!("coalesce({column}, '') || 'x'"),
            "uuid" => "gen_random_uuid()".to_owned(),
            "boolean" => format!("NOT coalesce({column}, false)"),
            "timestamp with time zone" => format!("{column} + interval '1 microsecond'"),
            "jsonb" => format!("{column} || '{{\"more\": null}}'"),
            other => panic!("{table}.{column} is {other}"),
        };
        (table, column, other)
    });
    let mut by_table = BTreeMap::<_, Vec<_>>::new();
    for (table, column, other) in changes {
        by_table.entry(table).or_default().push((column, other));
    }
    // Each column in a row of its own; the smallest table has seven rows.
    for round in 0..by_table.values().map(|columns| columns.len().div_ceil(7)).max().unwrap() {
        server.sql("audit", "BEGIN; DROP TABLE IF EXISTS kept; CREATE TABLE kept (sql text); COMMIT");
        let here = |columns: &[_]| columns.chunks(7).nth(round).map(<[(&str, String)]>::to_vec).unwrap_or_default();
        for (table, columns) in &by_table {
            let row = |number: usize| format!("(SELECT seq FROM {table} ORDER BY seq OFFSET {number} LIMIT 1)");
            for (number, (column, other)) in here(columns).iter().enumerate() {
                let at = row(number);
                let back = format!(
                    "INSERT INTO kept SELECT format('UPDATE {table} SET {column} = %L WHERE seq = %s', {column}, seq) \
                     FROM {table} WHERE seq = {at}"
                );
                server.sql("audit", &back);
                server.sql("audit", &format!("UPDATE {table} SET {column} = {other} WHERE seq = {at}"));
            }
        }
        let said = desk.run(&["audit-db", "check", "--json"]).ended(1).json();
        for found in said["tables"].as_array().unwrap() {
            let columns = here(&by_table[found["table"].as_str().unwrap()]);
            assert_eq!(found["differ"], json!(columns.len()), "{columns:?}: {said}");
            let first = columns.first().map(|(column, _)| json!(column));
            assert_eq!(found["first"].get("column").cloned(), first, "{said}");
        }
        let all = "DO $$ DECLARE one text; BEGIN FOR one IN SELECT sql FROM kept LOOP EXECUTE one; END LOOP; END $$";
        server.sql("audit", all);
    }
    desk.run(&["audit-db", "check"]).ended(0);
}

#[test]
fn an_auditor_reads_and_cannot_write() {
    let (server, desk) = migrated("");
    govern_demo(&desk);
    server.sql("audit", "CREATE ROLE ann LOGIN IN ROLE ephor_auditor");
    let tables = ["governance_events", "governance_logs", "maturity_transitions", "governance_checkpoint"];
    for table in tables {
        assert!(server.psql("ann", "audit", &format!("SELECT * FROM {table} LIMIT 1")).status.success());
        for act in [
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table}"),
            format!("DROP TABLE {table}"),
            format!("INSERT INTO {table} SELECT * FROM {table} LIMIT 1"),
        ] {
            let said = server.psql("ann", "audit", &act);
            let why = String::from_utf8_lossy(&said.stderr).into_owned();
            assert!(
                !said.status.success() && (why.contains("denied") || why.contains("must be owner")),
                "{act}: {why}"
            );
        }
    }
    assert_eq!(server.sql("audit", "SELECT rolcanlogin FROM pg_roles WHERE rolname = 'ephor_auditor'"), "f");
}

#[test]
fn who_may_not_create_roles_gets_everything_else_and_is_told() {
    let (server, desk) = (Postgres::start(), Desk::new());
    server.sql("postgres", &format!("CREATE ROLE clerk LOGIN PASSWORD '{PASSWORD}'"));
    server.sql("postgres", "CREATE DATABASE clerks OWNER clerk");
    set_up(&desk, &settings(&server.url("clerk", "clerks"), ""));
    let said = desk.run(&["audit-db", "migrate"]).ended(0);
    assert!(
        said.err.contains("clerk may not create roles") && said.err.contains("CREATE ROLE ephor_auditor"),
        "{said:?}"
    );
    govern_demo(&desk);
    desk.run(&["audit-db", "check"]).ended(0);
    // Somebody who may makes the role; then it gets its rights.
    server.sql("postgres", "CREATE ROLE ephor_auditor NOLOGIN");
    let said = desk.run(&["audit-db", "migrate"]).ended(0);
    assert!(!said.err.contains("may not"), "{said:?}");
    server.sql("clerks", "CREATE ROLE ann LOGIN IN ROLE ephor_auditor");
    let read = server.psql("ann", "clerks", "SELECT count(*) FROM governance_logs");
    assert_eq!(String::from_utf8_lossy(&read.stdout), "1480\n");
}

#[test]
fn a_service_killed_again_and_again_in_the_middle_of_its_writing_writes_everything_once() {
    let (server, desk) = migrated("batch_events = 16");
    let settings = fs::read_to_string(desk.path("ephor.toml")).unwrap();
    // Recorded first, so that there is much to write.
    desk.write("ephor.toml", "");
    govern_demo(&desk);
    desk.write("ephor.toml", settings);
    let key = key_of(&desk, "desk", "admin");
    let last_seq = || server.sql("audit", "SELECT last_seq FROM governance_checkpoint").parse().unwrap_or(0_u64);
    let (mut desk, mut before, mut amid) = (desk, 0, 0);
    for kill in 0..10 {
        let service = Served::at(desk, key.clone(), &[]);
        // As soon as it writes, and a little later.
        let started = Instant::now();
        while last_seq() <= before && before < 6_560 && started.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(7 * (kill % 4)));
        service.signal("KILL");
        desk = service.into_desk();
        let rows = server.sql("audit", "SELECT count(*) || '|' || coalesce(max(seq), 0) FROM governance_events");
        let now = last_seq();
        assert_eq!(rows, format!("{now}|{now}"), "rows and checkpoint are one");
        assert!(now >= before);
        before = now;
        amid += u32::from((1..6_560).contains(&now));
    }
    assert!(amid >= 2, "it was killed in the middle");
    let mut service = Served::at(desk, key, &[]);
    comes_clean(&service.desk);
    service.signal("TERM");
    assert_eq!(service.ended(), Some(0));
    // What the end itself recorded is there as well.
    let desk = service.into_desk();
    desk.run(&["audit-db", "check"]).ended(0);
}

#[test]
fn a_server_that_crashes_and_connections_that_are_cut_hold_up_no_decision_and_lose_nothing() {
    let server = Postgres::with("", |_| {});
    let desk = Desk::new();
    set_up(&desk, &settings(&server.url("ephor", "audit"), "batch_events = 16"));
    desk.run(&["audit-db", "migrate"]).ended(0);
    let key = key_of(&desk, "desk", "admin");
    let service = Served::at(desk, key, &[]);
    let demo = fs::read_to_string(cli::demo()).unwrap();
    let lines: Vec<_> = demo.lines().collect();
    let pieces = lines.chunks(lines.len().div_ceil(8));
    let ingest = |piece: &[&str]| {
        let request =
            service.request(reqwest::Method::POST, "/v1/ingest").header("content-type", "application/x-ndjson");
        let answered = request.body(piece.join("\n")).send().unwrap();
        assert!(answered.status().is_success());
        assert!(answered.text().unwrap().lines().count() > piece.len());
    };
    for (number, piece) in pieces.enumerate() {
        match number {
            1 | 4 => server.crash(),
            2 | 5 => server.begin(),
            3 | 6 | 7 => {
                let cut =
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'ephor'";
                server.sql("audit", cut);
            }
            _ => {}
        }
        ingest(piece);
    }
    let checked = comes_clean(&service.desk);
    assert!(checked["log_seq"].as_u64().unwrap() > 6_000, "{checked}");
    assert!(service.stderr().contains("events are held back: the log has them"), "{}", service.stderr());
    assert!(!service.stderr().contains(PASSWORD));
}

#[test]
fn tables_that_were_dropped_and_a_database_that_was_dropped_are_made_again() {
    let (server, desk) = migrated("");
    govern_demo(&desk);
    server.sql("audit", "DROP TABLE governance_logs");
    let said = desk.run(&["audit-db", "check"]).ended(2);
    assert!(said.err.contains("no table governance_logs"), "{said:?}");
    let said = desk.run(&["audit-db", "migrate"]).ended(0).out;
    assert!(said.contains("governance_logs had gone and was made again"), "{said}");
    let said = desk.run(&["audit-db", "check"]).ended(1).out;
    assert!(said.contains("governance_logs: 1480 of 0 rows not as in the log"), "{said}");
    desk.run(&["audit-db", "rebuild"]).ended(0);
    desk.run(&["audit-db", "check"]).ended(0);
    server.sql("postgres", "DROP DATABASE audit WITH (FORCE)");
    let said = desk.run(&["audit-db", "check"]).ended(3);
    assert!(said.err.contains("does not exist"), "{said:?}");
    server.sql("postgres", "CREATE DATABASE audit");
    desk.run(&["audit-db", "rebuild"]).ended(0);
    desk.run(&["audit-db", "check"]).ended(0);
}

#[test]
fn the_tables_of_another_log_are_not_written_to() {
    let (server, desk) = migrated("");
    govern_demo(&desk);
    let other = Desk::new();
    set_up(&other, &settings(&server.url("ephor", "audit"), ""));
    let first = fs::read_to_string(cli::demo()).unwrap().lines().take(40).collect::<Vec<_>>().join("\n");
    let input = other.write("other.jsonl", first.replace("2012-02-15", "2012-02-14"));
    let said = other.run(&["run", "--input", input.to_str().unwrap()]).ended(0);
    assert!(said.err.contains("follows another log"), "{said:?}");
    let said = other.run(&["audit-db", "check"]).ended(2);
    assert!(said.err.contains("follows another log"), "{said:?}");
    desk.run(&["audit-db", "check"]).ended(0);
}

#[test]
fn a_rebuild_beside_a_service_is_refused_and_a_check_is_not() {
    let (_server, desk) = migrated("");
    let key = key_of(&desk, "desk", "admin");
    let service = Served::at(desk, key, &[]);
    service.register("s");
    let said = service.desk.run(&["audit-db", "rebuild"]).ended(2);
    assert!(said.err.contains("stop the service first"), "{said:?}");
    service.desk.run(&["audit-db", "check"]).ended(0);
}

#[test]
fn while_a_required_database_is_away_exits_pass_and_new_exposure_does_not() {
    let (server, desk) = migrated("required = true");
    let key = key_of(&desk, "desk", "admin");
    let service = Served::at(desk, key.clone(), &[]);
    service.register("s");
    assert_eq!(service.post("/v1/orders/check", &order("before", false)).0, 200);
    server.crash();
    let held = |service: &Served, name: &str| {
        let (status, said) = service.post("/v1/orders/check", &order(name, false));
        (status, said["code"].as_str().map(str::to_owned), said["action"].clone())
    };
    let blocked = (503, Some("EXPOSURE_HELD".to_owned()), json!("block"));
    let within = |wanted: bool, service: &Served, prefix: &str| {
        let started = Instant::now();
        for number in 0.. {
            if (held(service, &format!("{prefix}-{number}")) == blocked) == wanted {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(30), "{}", service.stderr());
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    within(true, &service, "down");
    assert_eq!(service.post("/v1/orders/check", &order("exit", true)).0, 200, "an exit is not trapped");
    let metrics = service.get("/metrics").1;
    service.signal("TERM");
    let desk = service.into_desk();
    // A new start does not forget it: not one order passes.
    let service = Served::at(desk, key, &[]);
    assert_eq!(held(&service, "restarted"), blocked);
    assert_eq!(service.post("/v1/orders/check", &order("exit-2", true)).0, 200);
    server.begin();
    within(false, &service, "up");
    comes_clean(&service.desk);
    assert!(metrics.as_str().unwrap().contains("ephor_canary_up{component=\"audit-db\"}"), "{metrics}");
}

#[test]
fn what_cannot_be_written_to_a_required_database_holds_new_exposure_at_once() {
    let (server, desk) = migrated("required = true\nlag_events_max = 1000000");
    let key = key_of(&desk, "desk", "admin");
    let service = Served::at(desk, key, &[]);
    service.register("s");
    assert_eq!(service.post("/v1/orders/check", &order("before", false)).0, 200);
    // The database answers and says how far it is, but takes no more.
    server.sql("audit", "ALTER TABLE governance_events ADD CONSTRAINT full_disk CHECK (seq < 0) NOT VALID");
    let asked = |name: &str| service.post("/v1/orders/check", &order(name, false));
    let until = |wanted: u16, prefix: &str, within: Duration| {
        let started = Instant::now();
        for number in 0.. {
            let (status, said) = asked(&format!("{prefix}-{number}"));
            if status == wanted {
                return said;
            }
            assert!(started.elapsed() < within, "{}", service.stderr());
            std::thread::sleep(Duration::from_millis(20));
        }
        unreachable!()
    };
    let said = until(503, "full", Duration::from_secs(2));
    assert_eq!(said["code"], "EXPOSURE_HELD", "{said}");
    assert!(service.stderr().contains("full_disk"), "{}", service.stderr());
    assert_eq!(asked("before").0, 200, "what was decided before is answered as it was");
    assert_eq!(service.post("/v1/orders/check", &order("exit", true)).0, 200, "an exit is not trapped");
    server.sql("audit", "ALTER TABLE governance_events DROP CONSTRAINT full_disk");
    until(200, "again", Duration::from_secs(30));
    comes_clean(&service.desk);
}

#[test]
fn a_run_writes_to_a_required_database_as_it_goes_and_stops_where_that_takes_no_more() {
    let (server, desk) = migrated("required = true\nlag_events_max = 200\nbatch_events = 100");
    server.sql("audit", "ALTER TABLE governance_events ADD CONSTRAINT full_disk CHECK (seq < 1000) NOT VALID");
    let said = desk.run(&["run", "--input", cli::demo().to_str().unwrap()]).ended(3);
    assert!(said.err.contains("new exposure is held back") && said.err.contains("full_disk"), "{said:?}");
    let rows: u64 = server.sql("audit", "SELECT count(*) FROM governance_events").parse().unwrap();
    assert!((500..1_000).contains(&rows), "{rows} were written while it ran");
    let recorded = desk.run(&["events", "--json"]).ended(0).out.lines().count();
    assert!(recorded < 6_560, "{recorded}: it did not go on to the end");
    server.sql("audit", "ALTER TABLE governance_events DROP CONSTRAINT full_disk");
    govern_demo(&desk);
    let checked = desk.run(&["audit-db", "check", "--json"]).ended(0).json();
    assert_eq!(checked["log_seq"].to_string(), EVENTS, "{checked}");
}

#[test]
fn a_database_that_is_not_required_blocks_nothing_and_is_seen_to_be_away() {
    let (server, desk) = migrated("");
    server.crash();
    let key = key_of(&desk, "desk", "admin");
    let service = Served::at(desk, key, &[]);
    service.register("s");
    assert_eq!(service.post("/v1/orders/check", &order("one", false)).0, 200);
    let metrics = service.get("/metrics").1;
    assert!(metrics.as_str().unwrap().contains("ephor_canary_up{component=\"audit-db\"} 0"), "{metrics}");
    let recorded = service.desk.run(&["events", "--type", "CanaryChecked", "--json"]).ended(0).out;
    assert!(!recorded.contains("audit-db"), "what acts on nothing is not recorded: {recorded}");
    assert!(service.stderr().contains("the audit database is not well"), "{}", service.stderr());
    server.begin();
    comes_clean(&service.desk);
}

#[test]
fn without_a_database_nothing_is_opened() {
    let desk = Desk::new();
    let said = desk.run(&["audit-db", "check"]).ended(2);
    assert!(said.err.contains("audit.database.url"), "{said:?}");
    let key = key_of(&desk, "desk", "admin");
    let service = Served::at(desk, key, &[]);
    let metrics = service.get("/metrics").1;
    assert!(!metrics.as_str().unwrap().contains("audit-db"), "{metrics}");
}

#[test]
fn a_password_is_read_from_a_private_file_only_and_never_shown() {
    let (server, desk) = migrated("");
    let path = desk.path("password");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let said = desk.run(&["audit-db", "migrate"]).ended(2);
    assert!(said.err.contains("password") && said.err.contains("chmod 600"), "{said:?}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, "another").unwrap();
    let said = desk.run(&["audit-db", "migrate"]).ended(3);
    assert!(said.err.contains("password authentication failed") && !said.err.contains("another"), "{said:?}");
    let url = server.url("ephor:s3cret", "audit");
    desk.write("ephor.toml", settings(&url, ""));
    let said = desk.run(&["audit-db", "migrate"]).ended(2);
    assert!(said.err.contains("audit.database.password_file") && !said.err.contains("s3cret"), "{said:?}");
}

/// The statements of the document's section of questions.
fn questions() -> Vec<String> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/audit-database.md")).unwrap();
    let section = text.split_once("## Questions").unwrap().1.split_once("\n## ").unwrap().0;
    section.split("```sql\n").skip(1).map(|rest| rest.split_once("```").unwrap().0.trim().to_owned()).collect()
}

#[test]
fn the_questions_of_the_document_are_answered_and_by_an_index() {
    let (server, desk) = migrated("");
    govern_demo(&desk);
    let questions = questions();
    assert!(questions.len() >= 8);
    for question in &questions {
        let answer = server.sql("audit", question);
        assert!(!answer.is_empty() || question.contains("'kill'"), "{question}");
    }
    // As large as a year may be: the same rows again and again, later.
    let columns = |table: &str, shifted: &[(&str, &str)]| {
        let asked = format!(
            "SELECT string_agg(column_name, ',' ORDER BY ordinal_position) FROM information_schema.columns WHERE table_name = '{table}'"
        );
        let names = server.sql("audit", &asked);
        let value = |name: &str| shifted.iter().find(|(of, _)| *of == name).map_or(name, |(_, to)| to).to_owned();
        let values = names.split(',').map(value).collect::<Vec<_>>().join(", ");
        format!("INSERT INTO {table} SELECT {values} FROM {table}, generate_series(1, 60) AS n")
    };
    let later = |name: &'static str, sql: &'static str| (name, sql);
    server.sql(
        "audit",
        &columns(
            "governance_logs",
            &[
                later("seq", "seq + n * 10000"),
                later("event_id", "gen_random_uuid()"),
                later("trace_id", "trace_id || n"),
                later("order_id", "order_id || n"),
                later("decision_at", "decision_at + n * interval '40 days'"),
            ],
        ),
    );
    server.sql(
        "audit",
        &columns(
            "governance_events",
            &[
                later("seq", "seq + n * 10000"),
                later("event_id", "gen_random_uuid()"),
                later("trace_id", "trace_id || n"),
                later("version", "version + n * 10000"),
                later("recorded_at", "recorded_at + n * interval '40 days'"),
                later("envelope", "'{}'"),
            ],
        ),
    );
    server.sql("audit", "ANALYZE");
    assert_eq!(server.sql("audit", "SELECT count(*) FROM governance_logs"), "90280");
    for question in &questions {
        let plan = server.sql("audit", &format!("EXPLAIN {question}"));
        assert!(!plan.contains("Seq Scan on governance_"), "{question}\n{plan}");
    }
}
