//! What every way in must keep, whatever its transport: order, nothing settled that was not, nothing lost.
//!
//! One suite; each transport brings a rig that publishes to it and reads what was put apart.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "each test uses its part")]
mod brokers;
mod installed;
#[expect(dead_code, reason = "each test uses its part")]
mod servers;
#[expect(dead_code, reason = "each test uses its part")]
mod streams;

use std::io::Write;
use std::time::{Duration, Instant};

use ephor::bus::jsonl::Growing;
use ephor::bus::{Delivery, Inbound, Outcome, Source, Status, mqtt, nats, redis};
use ephor::follow::Checkpoint;
use ephor::settings;
use ephor_events::EventLog;
use rumqttc::v5::mqttbytes::v5::Publish;
use servers::runtime;

/// How long a message that must come may take, and how long one that must not come is waited for.
const SOON: Duration = Duration::from_secs(10);
const NEVER: Duration = Duration::from_millis(700);

/// A transport with one way in.
trait Rig {
    fn inbound(&self) -> Box<dyn Inbound>;
    /// Has these messages come in, in this order.
    async fn publish(&self, payloads: &[&str]);
    /// What was put apart: for each message its code and its reason.
    async fn dead(&self) -> Vec<(String, String)>;
}

async fn next(source: &mut dyn Source) -> Delivery {
    tokio::time::timeout(SOON, source.next()).await.unwrap().unwrap().unwrap()
}

async fn take(source: &mut dyn Source, count: usize) -> Vec<Delivery> {
    let mut taken = Vec::new();
    while taken.len() < count {
        taken.push(next(source).await);
    }
    taken
}

fn texts(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| String::from_utf8_lossy(&delivery.payload).trim().to_owned()).collect()
}

async fn settle(source: &mut dyn Source, deliveries: &[Delivery], outcome: &Outcome) {
    source.settle(deliveries.iter().map(|delivery| (delivery.receipt, outcome.clone())).collect()).await.unwrap();
}

async fn nothing_comes(source: &mut dyn Source) {
    assert!(tokio::time::timeout(NEVER, source.next()).await.is_err(), "nothing is to come");
}

async fn conforms(rig: &impl Rig) {
    // In their order.
    rig.publish(&["1", "2", "3", "4"]).await;
    let mut source = rig.inbound().open().await.unwrap();
    let first = take(&mut *source, 4).await;
    assert_eq!(texts(&first), ["1", "2", "3", "4"]);
    assert!(first.iter().all(|delivery| delivery.attempt == 1 && !delivery.place.is_empty()), "{first:?}");

    // What was not settled comes again when it is opened anew, in its order; what was settled does not.
    settle(&mut *source, &first[..2], &Outcome::Done).await;
    drop(source);
    let mut source = rig.inbound().open().await.unwrap();
    let again = take(&mut *source, 2).await;
    assert_eq!(texts(&again), ["3", "4"]);
    settle(&mut *source, &again, &Outcome::Done).await;
    drop(source);

    // What is published while nobody listens is there afterwards.
    rig.publish(&["5", "6"]).await;
    let mut source = rig.inbound().open().await.unwrap();
    let later = take(&mut *source, 2).await;
    assert_eq!(texts(&later), ["5", "6"]);

    // What is left for later comes again, not before its time, and says how often it has come.
    let left = Instant::now();
    settle(&mut *source, &later[..1], &Outcome::Done).await;
    settle(&mut *source, &later[1..], &Outcome::Later(Duration::from_millis(500))).await;
    let again = next(&mut *source).await;
    assert!(left.elapsed() >= Duration::from_millis(450), "it came after {:?}", left.elapsed());
    assert_eq!((texts(std::slice::from_ref(&again)), again.attempt), (vec!["6".to_owned()], 2));

    // What is dead is kept apart with its reason, and does not come again.
    let reason = format!("{}: line\nbreak", again.place);
    settle(&mut *source, &[again], &Outcome::Dead { code: "LINE_NOT_JSON", reason: reason.clone() }).await;
    let dead = rig.dead().await;
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!(dead[0].0, "LINE_NOT_JSON");
    assert_eq!(dead[0].1.replace('\n', " "), reason.replace('\n', " "));
    nothing_comes(&mut *source).await;
    drop(source);
    let mut source = rig.inbound().open().await.unwrap();
    nothing_comes(&mut *source).await;

    // A wait that is given up loses nothing.
    for _ in 0..3 {
        drop(tokio::time::timeout(Duration::from_millis(5), source.next()).await);
    }
    rig.publish(&["7"]).await;
    let last = take(&mut *source, 1).await;
    assert_eq!(texts(&last), ["7"]);
    settle(&mut *source, &last, &Outcome::Done).await;
}

struct File {
    dir: tempfile::TempDir,
    kept: Checkpoint,
    which: Checkpoint,
}

impl Rig for File {
    fn inbound(&self) -> Box<dyn Inbound> {
        let (file, dead) = (self.dir.path().join("in"), self.dir.path().join("dead"));
        Box::new(Growing::new(&file, &dead, self.kept.clone(), self.which.clone()))
    }

    async fn publish(&self, payloads: &[&str]) {
        let mut file = std::fs::File::options().create(true).append(true).open(self.dir.path().join("in")).unwrap();
        for payload in payloads {
            writeln!(file, "{payload}").unwrap();
        }
    }

    async fn dead(&self) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(self.dir.path().join("dead")).unwrap();
        let letters = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let field = |letter: &serde_json::Value, name: &str| letter[name].as_str().unwrap().to_owned();
        letters.map(|letter| (field(&letter, "code"), field(&letter, "reason"))).collect()
    }
}

#[test]
fn a_growing_file_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let log = EventLog::memory();
    let positions = log.derived().tree("positions").unwrap();
    let (kept, which) = (Checkpoint::new(positions.clone(), "file"), Checkpoint::new(positions, "which"));
    runtime().block_on(conforms(&File { dir, kept, which }));
}

struct Stream {
    nats: servers::Nats,
    settings: settings::Nats,
}

impl Rig for Stream {
    fn inbound(&self) -> Box<dyn Inbound> {
        Box::new(nats::Input::new(self.settings.clone()))
    }

    async fn publish(&self, payloads: &[&str]) {
        let client = async_nats::connect(self.nats.url()).await.unwrap();
        let streams = async_nats::jetstream::new(client);
        for payload in payloads {
            streams.publish("ephor.in.line", (*payload).to_owned().into()).await.unwrap().await.unwrap();
        }
    }

    async fn dead(&self) -> Vec<(String, String)> {
        let client = async_nats::connect(self.nats.url()).await.unwrap();
        let stream = async_nats::jetstream::new(client).get_stream("EPHOR_DEAD").await.unwrap();
        let mut dead = Vec::new();
        for place in 1..=stream.cached_info().state.messages {
            let letter = stream.get_raw_message(place).await.unwrap();
            let header = |name: &str| letter.headers.get(name).unwrap().as_str().to_owned();
            dead.push((header("Ephor-Code"), header("Ephor-Reason")));
        }
        dead
    }
}

#[test]
fn a_nats_stream_conforms() {
    let nats = servers::Nats::new();
    let mut settings = settings::Nats::at(&nats.url());
    settings.input.ack_wait_seconds = 1;
    runtime().block_on(async {
        nats::set_up(&settings, false).await.unwrap();
        conforms(&Stream { nats, settings }).await;
    });
}

struct Entries {
    server: streams::Redis,
    settings: settings::Redis,
}

impl Rig for Entries {
    fn inbound(&self) -> Box<dyn Inbound> {
        Box::new(redis::Streams::new(&self.settings, Status::new("bus:test")))
    }

    async fn publish(&self, payloads: &[&str]) {
        // A connection that was let go is gone a moment later.
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.server.publish("trader-A-1:stream", payloads);
    }

    async fn dead(&self) -> Vec<(String, String)> {
        let entries = self.server.entries("ephor:dead");
        entries.iter().map(|kept| (kept.text("code").to_owned(), kept.text("reason").to_owned())).collect()
    }
}

#[test]
fn a_redis_stream_conforms() {
    let server = streams::Redis::new();
    let settings = toml::from_str(&format!("name = \"test\"\nurl = \"{}\"\n", server.url())).unwrap();
    runtime().block_on(conforms(&Entries { server, settings }));
}

/// On a thread of its own: the test's client waits in a runtime that it brings.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

struct Topics {
    broker: brokers::Broker,
    settings: settings::Mqtt,
}

impl Rig for Topics {
    fn inbound(&self) -> Box<dyn Inbound> {
        Box::new(mqtt::Input::new(&self.settings))
    }

    async fn publish(&self, payloads: &[&str]) {
        let lines: Vec<String> = payloads.iter().map(|&payload| payload.to_owned()).collect();
        // What goes to a connection that was let go a moment ago counts as delivered once.
        tokio::time::sleep(Duration::from_millis(50)).await;
        apart(|| self.broker.publish("ephor/in/line", &lines));
    }

    async fn dead(&self) -> Vec<(String, String)> {
        let letters = apart(|| self.broker.listen("dead", "ephor/dead").messages(Duration::from_millis(500)));
        let said = |letter: &Publish, wanted: &str| {
            let properties = letter.properties.clone().unwrap().user_properties;
            properties.into_iter().find(|(name, _)| name == wanted).unwrap().1
        };
        letters.iter().map(|letter| (said(letter, "code"), said(letter, "reason"))).collect()
    }
}

#[test]
fn an_mqtt_topic_conforms() {
    let broker = brokers::Broker::new();
    let mut settings = settings::Mqtt::at("127.0.0.1", broker.port);
    settings.topics = vec!["ephor/in/#".to_owned()];
    // A broker keeps nothing for a session that was never there.
    drop(broker.listen("dead", "ephor/dead"));
    runtime().block_on(async {
        drop(mqtt::Input::new(&settings).open().await.unwrap());
        conforms(&Topics { broker, settings }).await;
    });
}
