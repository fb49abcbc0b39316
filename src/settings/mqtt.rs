//! `[[bus.mqtt]]`: an MQTT 5 broker, what is taken from it and what is told to it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Reading;

/// An MQTT 5 broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mqtt {
    /// What people call it; `bus:NAME` as a component.
    pub name: String,
    /// The broker's host.
    pub host: String,
    /// Its port.
    #[serde(default = "port")]
    pub port: u16,
    /// Who Ephor is to the broker, which keeps a session for it; `ephor-NAME` if left out.
    pub client_id: Option<String>,
    /// A user's name.
    pub username: Option<String>,
    /// A file with that user's password, which nobody else may read.
    pub password_file: Option<PathBuf>,
    /// Whether that password may go to another machine in plain text: something in between has TLS.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// Who signs the broker's certificate: TLS is spoken where this stands.
    pub tls_ca: Option<PathBuf>,
    /// Topics that reports are taken from; MQTT's wildcards may stand in them.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Where messages go that cannot be taken; the topic they came on is one of their properties.
    #[serde(default = "dead")]
    pub dead: String,
    /// What stands before the topics that recorded events are published to; none are where it is left out.
    pub publish: Option<String>,
    /// How long the broker keeps messages while Ephor is away, seconds.
    #[serde(default = "session_seconds")]
    pub session_seconds: u32,
    /// How messages are read.
    #[serde(default)]
    pub reading: Reading,
}

impl Mqtt {
    /// A broker of which no more is known than where it is.
    #[must_use]
    pub fn at(host: &str, port: u16) -> Self {
        Self {
            name: host.to_owned(),
            host: host.to_owned(),
            port,
            client_id: None,
            username: None,
            password_file: None,
            allow_plaintext: false,
            tls_ca: None,
            topics: Vec::new(),
            dead: dead(),
            publish: None,
            session_seconds: session_seconds(),
            reading: Reading::default(),
        }
    }
}

const fn port() -> u16 {
    1883
}

fn dead() -> String {
    "ephor/dead".to_owned()
}

/// A week.
const fn session_seconds() -> u32 {
    7 * 86_400
}
