//! Messages onto a stream, many at once, as a node writes them.

use std::mem::take;

use futures::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::pipe;

use super::client::{ANSWER_WITHIN, Server, failed};
use crate::bus::BusError;
use crate::bus::outward::{Outward, Parcel};
use crate::settings;

/// Messages sent at once.
const AT_ONCE: usize = 512;

/// Adds entries to streams of one server.
pub struct Publisher {
    connection: MultiplexedConnection,
    /// The stream of a message that names none.
    stream: String,
    waiting: Vec<Parcel>,
}

impl Publisher {
    /// Connects.
    ///
    /// # Errors
    /// [`BusError`]
    pub async fn open(settings: &settings::Redis, stream: &str) -> Result<Self, BusError> {
        let connection = Server::new(settings).connect(ANSWER_WITHIN).await?;
        Ok(Self { connection, stream: stream.to_owned(), waiting: Vec::new() })
    }

    async fn send(&mut self, parcel: Parcel) -> Result<(), BusError> {
        self.waiting.push(parcel);
        if self.waiting.len() >= AT_ONCE { self.send_all().await } else { Ok(()) }
    }

    async fn send_all(&mut self) -> Result<(), BusError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut adding = pipe();
        for Parcel { stream, topic, id: _, fields, payload } in take(&mut self.waiting) {
            let add = adding.cmd("XADD").arg(stream.as_ref().unwrap_or(&self.stream)).arg("*").arg("topic").arg(topic);
            for (name, value) in fields {
                add.arg(name).arg(value);
            }
            add.arg("payload").arg(&*payload).ignore();
        }
        adding.exec_async(&mut self.connection).await.map_err(failed("add entries to a stream"))
    }
}

impl Outward for Publisher {
    fn publish(&mut self, parcel: Parcel) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(self.send(parcel))
    }

    fn settled(&mut self) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(self.send_all())
    }
}
