//! Onto a bus, for whoever rehearses: a file's messages, one after the other.

use actix_web::web::Bytes;
use futures::future::BoxFuture;

use super::{BusError, nats};
use crate::settings;

/// A message for a bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// What it goes out on: a subject, a topic, a stream's key.
    pub subject: String,
    /// The source's own id, where it has one: what a bus that knows ids keeps once.
    pub id: Option<String>,
    /// Names and values beside it.
    pub headers: Vec<(&'static str, String)>,
    /// Its bytes.
    pub payload: Bytes,
}

/// A bus that takes messages.
pub trait Outward {
    /// Sends one message; it may be under way when this comes back.
    fn publish(&mut self, parcel: Parcel) -> BoxFuture<'_, Result<(), BusError>>;

    /// Waits until the bus has everything that was sent.
    fn settled(&mut self) -> BoxFuture<'_, Result<(), BusError>>;
}

/// Connects to the bus that a URL names, with what the settings show to that server.
///
/// # Errors
/// [`BusError`]; [`BusError::NotSetUp`] for a scheme that nobody here speaks.
pub async fn connect(url: &str, settings: &settings::Bus) -> Result<Box<dyn Outward>, BusError> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    if let Some("nats" | "tls") = scheme {
        let known = settings.nats.iter().find(|server| server.servers.iter().any(|known| known == url));
        return Ok(Box::new(nats::Publisher::open(url, known).await?));
    }
    // Not the whole of it: a password may stand in it.
    let found = scheme.unwrap_or("none");
    let problem = format!("expected a URL that begins with nats:// or tls://, found the scheme {found:?}");
    Err(BusError::NotSetUp { problem })
}
