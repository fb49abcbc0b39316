//! Onto a bus, for whoever rehearses: a file's messages, one after the other.

use std::borrow::Cow;

use actix_web::web::Bytes;
use futures::future::BoxFuture;
use reqwest::Url;

use super::{BusError, mqtt, nats, redis};
use crate::settings::{self, Mqtt, Nats, Redis};

/// A message for a bus.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parcel {
    /// The stream it is for, where that is known and the bus has such.
    pub stream: Option<String>,
    /// What it goes out on: behind a prefix the last of a subject or a topic, or a field of an entry.
    pub topic: String,
    /// The source's own id, where it has one: what a bus that knows ids keeps once.
    pub id: Option<String>,
    /// Names and values beside it.
    pub fields: Vec<(&'static str, String)>,
    /// Its bytes.
    pub payload: Bytes,
}

/// A bus that takes messages.
pub trait Outward {
    /// Sends one message; it may be under way, or wait for others, when this comes back.
    fn publish(&mut self, parcel: Parcel) -> BoxFuture<'_, Result<(), BusError>>;

    /// Waits until the bus has everything that was sent.
    fn settled(&mut self) -> BoxFuture<'_, Result<(), BusError>>;
}

/// Connects to the bus that a URL names, with what the settings show to that server. `prefix` stands before each topic
/// (of Redis it is the stream); left out, it is where the settings' defaults listen.
///
/// # Errors
/// [`BusError`]; [`BusError::NotSetUp`] for a scheme that nobody here speaks, and for a password in the URL.
pub async fn connect(url: &str, prefix: Option<&str>, settings: &settings::Bus) -> Result<Box<dyn Outward>, BusError> {
    let not = |problem: String| Err(BusError::NotSetUp { problem });
    // Not the whole of it: a password may stand in it.
    let Ok(parsed) = Url::parse(url) else { return not(format!("expected a URL that begins with {SCHEMES}")) };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return not(
            "a URL on the command line can be seen by others: it holds no user and no password; name the server \
                    in the settings, with what it is to be shown"
                .to_owned(),
        );
    }
    match parsed.scheme() {
        "nats" | "tls" => {
            let known = settings.nats.iter().find(|server| server.servers.iter().any(|known| known == url));
            let server = known.map_or_else(|| Cow::Owned(Nats::at(url)), Cow::Borrowed);
            Ok(Box::new(nats::Publisher::open(&server, prefix.unwrap_or("ephor.in")).await?))
        }
        "redis" | "rediss" => {
            let known = settings.redis.iter().find(|server| server.url == url);
            let server = known.map_or_else(|| Cow::Owned(Redis::at(url)), Cow::Borrowed);
            Ok(Box::new(redis::Publisher::open(&server, prefix.unwrap_or("trader-rehearsal:stream")).await?))
        }
        scheme @ ("mqtt" | "mqtts") => {
            let host = parsed.host_str().unwrap_or_default().trim_matches(['[', ']']);
            let port = parsed.port().unwrap_or(if scheme == "mqtt" { 1_883 } else { 8_883 });
            let known = settings.mqtt.iter().find(|broker| broker.host == host && broker.port == port);
            let broker = known.map_or_else(|| Cow::Owned(Mqtt::at(host, port)), Cow::Borrowed);
            if scheme == "mqtts" && broker.tls_ca.is_none() {
                return not(format!("no [[bus.mqtt]] of {host}:{port} names a tls_ca: whom to trust is not known"));
            }
            Ok(Box::new(mqtt::Publisher::open(&broker, prefix.unwrap_or("ephor/in")).await?))
        }
        found => not(format!("expected a URL that begins with {SCHEMES}, found the scheme {found:?}")),
    }
}

/// What a URL may begin with.
const SCHEMES: &str = "nats://, tls://, redis://, rediss://, mqtt:// or mqtts://";
