//! Reports over a real MQTT broker are governed once, and recorded events reach it, whatever is killed in between.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod brokers;
mod certified;
#[expect(dead_code, reason = "each test uses its part")]
mod cli;
mod installed;
#[expect(dead_code, reason = "each test uses its part")]
mod served;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use brokers::{Broker, Listener};
use certified::certificates;
use cli::Desk;
use rumqttc::v5::mqttbytes::v5::Publish;
use serde_json::Value;
use served::{Served, key_of};

#[track_caller]
fn until(what: impl Fn() -> bool) {
    let started = Instant::now();
    while !what() {
        assert!(started.elapsed() < Duration::from_mins(2), "it does not come about");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn demo() -> Vec<String> {
    std::fs::read_to_string(cli::demo()).unwrap().lines().map(str::to_owned).collect()
}

fn settings(broker: &Broker) -> String {
    let port = broker.port;
    format!(
        "[[bus.mqtt]]\nname = \"desk\"\nhost = \"127.0.0.1\"\nport = {port}\ntopics = [\"ephor/in/#\"]\npublish = \"governance\"\n"
    )
}

/// Every event that the log holds, by seq.
fn logged(service: &Served) -> BTreeMap<u64, Value> {
    let mut found = BTreeMap::new();
    let mut from = 1;
    loop {
        let page = service.get(&format!("/v1/events?limit=1000&from={from}")).1;
        for event in page["events"].as_array().unwrap() {
            found.insert(event["seq"].as_u64().unwrap(), event.clone());
        }
        match page["next"].as_u64() {
            Some(next) => from = next,
            None => return found,
        }
    }
}

fn closed(events: &BTreeMap<u64, Value>) -> usize {
    events.values().filter(|event| event["type"] == "TradeClosed").count()
}

#[test]
fn what_engines_publish_is_governed_once_and_what_is_recorded_is_published_whatever_dies() {
    let mut broker = Broker::new();
    let listener = broker.listen("auditor", "governance/#");
    drop(listener);
    let mut service = Served::with(&settings(&broker), &[]);
    let lines = demo();
    // A session of its own has to be there before anything is published, or the broker keeps nothing for it.
    until(|| service.get("/readyz").0 == 200);
    for (number, part) in lines.chunks(900).enumerate() {
        broker.publish("ephor/in/reports", part);
        match number {
            1 | 3 => {
                let key = service.key.clone();
                service.signal("KILL");
                service = Served::at(service.into_desk(), key, &[]);
            }
            2 => broker.restart(),
            _ => {}
        }
    }
    until(|| closed(&logged(&service)) == 741);
    let before = logged(&service);
    let stays = |service: &Served| {
        logged(service).values().filter(|event| !event["type"].as_str().unwrap().starts_with("Canary")).count()
    };
    let recorded = stays(&service);
    broker.publish("ephor/in/reports", &lines[..1_000]);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(stays(&service), recorded, "published again, recorded once");
    assert_eq!(service.get("/v1/strategies?limit=100").1["strategies"].as_array().unwrap().len(), 7);

    // Every event is with the broker; after the crashes some twice, with the same seq and content.
    let mut listener = broker.listen("auditor", "governance/#");
    let mut told: BTreeMap<u64, Value> = BTreeMap::new();
    until_told(&mut listener, &mut told, before.len() as u64);
    for (seq, event) in &before {
        assert_eq!(told.get(seq), Some(event), "seq {seq}");
    }
}

fn until_told(listener: &mut Listener, told: &mut BTreeMap<u64, Value>, last: u64) {
    let started = Instant::now();
    while told.len() < usize::try_from(last).unwrap() && started.elapsed() < Duration::from_mins(1) {
        for publish in listener.messages(Duration::from_millis(500)) {
            let event: Value = serde_json::from_slice(&publish.payload).unwrap();
            let topic = String::from_utf8_lossy(&publish.topic).into_owned();
            assert!(topic.starts_with(&format!("governance/{}/", event["type"].as_str().unwrap())), "{topic}");
            let before = told.insert(event["seq"].as_u64().unwrap(), event.clone());
            assert!(before.is_none_or(|before| before == event));
        }
    }
}

#[test]
fn what_cannot_be_taken_goes_to_the_dead_topic_with_its_reason() {
    let broker = Broker::new();
    let mut dead = broker.listen("dead", "ephor/dead");
    let service = Served::with(&settings(&broker), &[]);
    until(|| service.get("/readyz").0 == 200);
    let trade = r#"{"type":"trade_closed","id":"t1","ts":"2024-01-02T00:00:00Z","strategy_id":"nobody","instrument":"X","side":"LONG","qty":"1","entry_price":"10","price":"11","realized_pnl":"1","opened_at":"2024-01-01T00:00:00Z","closed_at":"2024-01-02T00:00:00Z"}"#;
    broker.publish("ephor/in/reports", &["nonsense".to_owned(), trade.to_owned()]);
    let mut letters = Vec::new();
    let started = Instant::now();
    while letters.len() < 2 && started.elapsed() < Duration::from_secs(20) {
        letters.extend(dead.messages(Duration::from_millis(500)));
    }
    let said = |letter: &Publish| {
        let properties = letter.properties.clone().unwrap().user_properties;
        properties.into_iter().collect::<BTreeMap<_, _>>()
    };
    assert_eq!(letters.len(), 2, "{letters:?}");
    assert_eq!((&letters[0].topic[..], &letters[0].payload[..]), (&b"ephor/dead"[..], &b"nonsense"[..]));
    assert_eq!((&*said(&letters[0])["code"], &*said(&letters[0])["topic"]), ("LINE_NOT_JSON", "ephor/in/reports"));
    assert_eq!(said(&letters[1])["code"], "STRATEGY_UNKNOWN");
    assert_eq!(letters[1].payload, trade);
    assert!(said(&letters[1])["reason"].contains("strategy_id: this strategy was never registered"), "{letters:?}");
}

#[test]
fn a_dead_letter_that_nobody_listens_for_is_kept_by_the_broker() {
    let broker = Broker::new();
    let service = Served::with(&settings(&broker), &[]);
    until(|| service.get("/readyz").0 == 200);
    let lines = ["nonsense".to_owned(), "more of it".to_owned()];
    broker.publish("ephor/in/reports", &lines);
    let mut kept = std::collections::BTreeSet::new();
    let started = Instant::now();
    while kept.len() < 2 && started.elapsed() < Duration::from_secs(20) {
        // Anew each time: what is kept is told to whoever comes.
        let mut late = broker.listen(&format!("late-{}", started.elapsed().as_millis()), "ephor/dead/+");
        kept.extend(late.messages(Duration::from_millis(500)).iter().map(|letter| letter.payload.to_vec()));
    }
    assert_eq!(kept, lines.map(String::into_bytes).into());
}

#[test]
fn a_broker_that_is_away_stops_no_order_and_is_named_by_readiness() {
    let mut broker = Broker::new();
    let service = Served::with(&settings(&broker), &[]);
    until(|| service.get("/readyz").0 == 200);
    broker.child.kill().unwrap();
    until(|| service.get("/readyz").0 == 503);
    assert!(service.get("/readyz").1["parts"]["bus:desk"].is_string());
    service.register("m");
    let order = serde_json::json!({
        "order_id": "o", "strategy_id": "m", "instrument": "X", "side": "BUY", "qty": "1", "price": "1",
    });
    assert_eq!(service.post("/v1/orders/check", &order).0, 200);
    broker.child.wait().unwrap();
    broker.start();
    until(|| service.get("/readyz").0 == 200);
}

#[test]
fn over_tls_with_a_password_reports_come_in_from_a_broker_that_the_authority_has_signed() {
    let broker = Broker::with(|dir| {
        certificates(dir, &["server"]);
        let file = |name: &str| dir.join(name).display().to_string();
        let mut password = installed::command("usr/bin/mosquitto_passwd", "mosquitto");
        let made = password.args(["-c", "-b", &file("users"), "ephor", "open-sesame"]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let (certificate, key, users) = (file("server.pem"), file("server.key"), file("users"));
        format!("certfile {certificate}\nkeyfile {key}\nallow_anonymous false\npassword_file {users}\n")
    });
    let desk = Desk::new();
    let secret = desk.write("password", "open-sesame\n");
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let (port, theirs) = (broker.port, tempfile::tempdir().unwrap());
    certificates(theirs.path(), &[]);
    let settings = |ca: &Path, more: &str| {
        format!(
            "[[bus.mqtt]]\nname = \"desk\"\nhost = \"127.0.0.1\"\nport = {port}\ntopics = [\"ephor/in/#\"]\n\
             username = \"ephor\"\npassword_file = \"password\"\n{more}tls_ca = {ca:?}\n"
        )
    };
    let ours = broker.path("ca.pem");
    desk.write("ephor.toml", settings(&theirs.path().join("ca.pem"), ""));
    let key = key_of(&desk, "desk", "admin");
    let mut service = Served::at(desk, key.clone(), &[]);
    until(|| service.stderr().contains("invalid peer certificate"));
    service.signal("TERM");
    assert_eq!(service.ended(), Some(0));
    let desk = service.into_desk();
    desk.write("ephor.toml", settings(&ours, ""));
    let service = Served::at(desk, key, &[]);
    until(|| service.get("/readyz").0 == 200);
    let url = format!("mqtts://127.0.0.1:{port}");
    let file = service.desk.write("in.jsonl", demo()[..20].join("\n"));
    let said = service.desk.run(&["feed", "--to", &url, file.to_str().unwrap()]).ended(0);
    assert!(said.out.starts_with("20 lines sent"), "{said:?}");
    until(|| service.get("/v1/events?limit=1000").1.to_string().contains("StrategyRegistered"));
    assert!(!service.stderr().contains("sesame"), "{}", service.stderr());
    // Without its authority in the settings nobody knows whom to trust.
    service.desk.write("ephor.toml", "");
    let said = service.desk.run(&["feed", "--to", &url, file.to_str().unwrap()]).ended(3);
    assert!(said.err.contains("tls_ca"), "{said:?}");
}
