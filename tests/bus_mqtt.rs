//! Reports over a real MQTT broker are governed once, and recorded events reach it, whatever is killed in between.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(clippy::wildcard_enum_match_arm, reason = "a test waits for one packet among all")]

#[expect(dead_code, reason = "each test uses its part")]
mod cli;
mod installed;
#[expect(dead_code, reason = "each test uses its part")]
mod served;

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
use rumqttc::v5::{Client, Connection, Event, MqttOptions};
use serde_json::Value;
use served::Served;

/// A broker of this test's own, which keeps on disk what it has acknowledged.
struct Broker {
    dir: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Broker {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\nautosave_interval 1\n\
             max_queued_messages 0\nmax_inflight_messages 200\nuser root\n",
            dir.path().display()
        );
        std::fs::write(dir.path().join("mosquitto.conf"), settings).unwrap();
        let child = start(&dir, port);
        Self { dir, port, child }
    }

    /// Ends it in an orderly way and starts it again on what it kept.
    fn restart(&mut self) {
        let told = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
        self.child.wait().unwrap();
        self.child = start(&self.dir, self.port);
    }

    fn client(&self, name: &str) -> (Client, Connection) {
        let mut options = MqttOptions::new(name, "127.0.0.1", self.port);
        options.set_clean_start(false).set_session_expiry_interval(Some(600)).set_keep_alive(Duration::from_secs(30));
        options.set_max_packet_size(Some(4 << 20)).set_receive_maximum(Some(1_000));
        Client::new(options, 10_000)
    }

    /// Publishes lines in their order; comes back when the broker has them all.
    fn publish(&self, topic: &str, lines: &[String]) {
        let (client, mut connection) = self.client("engine");
        let mut left = lines.len();
        for part in lines.chunks(1_000) {
            for line in part {
                client.publish(topic, QoS::AtLeastOnce, false, line.clone()).unwrap();
            }
            let mut here = part.len();
            while here > 0 {
                if let Event::Incoming(Packet::PubAck(_)) = connection.recv().unwrap().unwrap() {
                    here -= 1;
                }
            }
            left -= part.len();
        }
        assert_eq!(left, 0);
        client.disconnect().unwrap();
        while !matches!(connection.recv(), Err(_) | Ok(Err(_) | Ok(Event::Outgoing(Outgoing::Disconnect)))) {}
    }

    /// Listens on topics from now on, in a session of this name.
    fn listen(&self, name: &str, topic: &str) -> Listener {
        let (client, mut connection) = self.client(name);
        client.subscribe(topic, QoS::AtLeastOnce).unwrap();
        // What a session was kept for comes before the answer.
        let mut held = Vec::new();
        loop {
            match connection.recv().unwrap().unwrap() {
                Event::Incoming(Packet::Publish(publish)) => held.push(publish),
                Event::Incoming(Packet::SubAck(_)) => return Listener { _client: client, connection, held },
                _ => {}
            }
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn start(dir: &tempfile::TempDir, port: u16) -> Child {
    let program = installed::program("usr/sbin/mosquitto", "mosquitto");
    let mut command = Command::new(program);
    command.arg("-c").arg(dir.path().join("mosquitto.conf")).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    until(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
    child
}

struct Listener {
    _client: Client,
    connection: Connection,
    held: Vec<Publish>,
}

impl Listener {
    /// Messages until none has come for a while.
    fn messages(&mut self, silence: Duration) -> Vec<Publish> {
        let mut found = std::mem::take(&mut self.held);
        while let Ok(event) = self.connection.recv_timeout(silence) {
            if let Ok(Event::Incoming(Packet::Publish(publish))) = event {
                found.push(publish);
            }
        }
        found
    }
}

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
    broker.child = start(&broker.dir, broker.port);
    until(|| service.get("/readyz").0 == 200);
}
