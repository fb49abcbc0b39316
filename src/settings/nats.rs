//! `[[bus.nats]]`: a NATS server with JetStream: what is taken from it, told to it, and answered on it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Reading;

/// A NATS server, or a cluster of them, with JetStream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Nats {
    /// What people call it; `bus:NAME`, `bus:NAME:events` and `bus:NAME:orders` as components.
    pub name: String,
    /// `nats://HOST:PORT`, or `tls://…`; several of one cluster.
    pub servers: Vec<String>,
    /// What Ephor shows to be let in; nothing where it is left out.
    pub auth: Option<NatsAuth>,
    /// Whether a password or a token may go to another machine in plain text: something in between has TLS.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// TLS, beyond what `tls://` says.
    pub tls: Option<NatsTls>,
    /// Whether reports are taken from `input`.
    #[serde(default = "yes")]
    pub take: bool,
    /// Whether every recorded event is published to `events`.
    #[serde(default)]
    pub publish: bool,
    /// Whether orders are answered on `orders`.
    #[serde(default)]
    pub answer: bool,
    /// Where reports come from.
    #[serde(default)]
    pub input: NatsInput,
    /// Where messages go that cannot be taken.
    #[serde(default)]
    pub dead: NatsDead,
    /// Where recorded events go.
    #[serde(default)]
    pub events: NatsEvents,
    /// Where orders are asked about.
    #[serde(default)]
    pub orders: NatsOrders,
    /// How messages are read.
    #[serde(default)]
    pub reading: Reading,
}

impl Nats {
    /// A server of which no more is known than where it is.
    #[must_use]
    pub fn at(url: &str) -> Self {
        Self {
            name: url.to_owned(),
            servers: vec![url.to_owned()],
            auth: None,
            allow_plaintext: false,
            tls: None,
            take: true,
            publish: false,
            answer: false,
            input: NatsInput::default(),
            dead: NatsDead::default(),
            events: NatsEvents::default(),
            orders: NatsOrders::default(),
            reading: Reading::default(),
        }
    }
}

const fn yes() -> bool {
    true
}

/// What is shown to the server. Each is a file that nobody else may read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NatsAuth {
    /// A `.creds` file: a user's JWT and seed.
    Creds(PathBuf),
    /// The seed of an nkey.
    Nkey(PathBuf),
    /// A token.
    Token(PathBuf),
    /// `USER:PASSWORD`.
    UserPassword(PathBuf),
}

/// What TLS is spoken with. TLS is demanded where this stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NatsTls {
    /// Who signs the server's certificate; `None`: whom the system trusts.
    pub ca: Option<PathBuf>,
    /// Ephor's own certificate.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

/// The stream that reports are taken from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NatsInput {
    /// Its name.
    pub stream: String,
    /// What is published to it.
    pub subjects: Vec<String>,
    /// The durable consumer.
    pub durable: String,
    /// How long a message may be under way before it is delivered again.
    pub ack_wait_seconds: u64,
    /// When a message leaves the stream.
    pub retention: Retention,
    /// Its limits.
    pub limits: StreamLimits,
}

impl Default for NatsInput {
    fn default() -> Self {
        Self {
            stream: "EPHOR_IN".to_owned(),
            subjects: vec!["ephor.in.>".to_owned()],
            durable: "ephor".to_owned(),
            ack_wait_seconds: 10,
            retention: Retention::default(),
            limits: StreamLimits::default(),
        }
    }
}

/// The stream of messages that could not be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NatsDead {
    /// Its name.
    pub stream: String,
    /// What stands before the message's own subject.
    pub subject: String,
    /// Its limits.
    pub limits: StreamLimits,
}

impl Default for NatsDead {
    fn default() -> Self {
        let (stream, subject) = ("EPHOR_DEAD".to_owned(), "ephor.dead".to_owned());
        Self { stream, subject, limits: StreamLimits::default() }
    }
}

/// The stream of recorded events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NatsEvents {
    /// Its name. Nobody else publishes to it.
    pub stream: String,
    /// What stands before `TYPE.STRATEGY`.
    pub subject: String,
    /// Its limits.
    pub limits: StreamLimits,
}

impl Default for NatsEvents {
    fn default() -> Self {
        let (stream, subject) = ("EPHOR_EVENTS".to_owned(), "governance".to_owned());
        Self { stream, subject, limits: StreamLimits { max_mib: 4_096, ..StreamLimits::default() } }
    }
}

/// Where orders are asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NatsOrders {
    /// The subject of requests.
    pub subject: String,
    /// The group of which one answers.
    pub queue: String,
}

impl Default for NatsOrders {
    fn default() -> Self {
        Self { subject: "ephor.orders.check".to_owned(), queue: "ephor".to_owned() }
    }
}

/// When a message leaves a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retention {
    /// When it was taken: what is in the stream is what is still to be done.
    #[default]
    Workqueue,
    /// When a limit says so: others can read it as well.
    Limits,
}

/// What a full stream does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Discard {
    /// It refuses what is new: whoever publishes knows, and nothing is lost.
    #[default]
    New,
    /// It forgets what is oldest.
    Old,
}

/// The limits of a stream, as `ephor bus setup` sets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamLimits {
    /// How long a message is kept, hours; 0 for no limit.
    pub max_age_hours: u64,
    /// How large it may become, MiB.
    pub max_mib: u32,
    /// How many messages it may hold; 0 for no limit.
    pub max_messages: u32,
    /// What it does when it is full.
    pub discard: Discard,
    /// How long it knows a message's id, seconds.
    pub duplicate_window_seconds: u64,
    /// On how many servers each message is kept.
    pub replicas: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            max_age_hours: 0,
            max_mib: 1_024,
            max_messages: 0,
            discard: Discard::New,
            duplicate_window_seconds: 120,
            replicas: 1,
        }
    }
}
