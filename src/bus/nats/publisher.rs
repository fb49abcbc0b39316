//! Messages onto a stream, many under way at once, each kept before it counts as sent.

use std::collections::VecDeque;

use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::PublishMessage;
use futures::future::BoxFuture;

use super::{Line, encode, failed};
use crate::bus::BusError;
use crate::bus::outward::{Outward, Parcel};
use crate::settings::Nats;

/// Messages under way at most.
const UNDER_WAY_MAX: usize = 1_024;

/// Publishes to one server.
pub struct Publisher {
    line: Line,
    /// What stands before the last token of a subject.
    prefix: String,
    under_way: VecDeque<PublishAckFuture>,
}

impl Publisher {
    /// Connects.
    ///
    /// # Errors
    /// [`BusError`]
    pub async fn open(settings: &Nats, prefix: &str) -> Result<Self, BusError> {
        Ok(Self { line: Line::open(settings).await?, prefix: prefix.to_owned(), under_way: VecDeque::new() })
    }

    async fn send(&mut self, parcel: Parcel) -> Result<(), BusError> {
        while self.under_way.len() >= UNDER_WAY_MAX {
            self.kept().await?;
        }
        let Parcel { stream: _, topic, id, fields, payload } = parcel;
        let subject = format!("{}.{}", self.prefix, encode(&topic));
        let mut message = PublishMessage::build().payload(payload);
        for (name, value) in fields {
            message = message.header(name, value);
        }
        if let Some(id) = id {
            message = message.message_id(id);
        }
        let sent = self.line.streams.send_publish(subject, message).await.map_err(failed("publish a message"))?;
        self.under_way.push_back(sent);
        Ok(())
    }

    /// Waits for the oldest.
    async fn kept(&mut self) -> Result<(), BusError> {
        let Some(oldest) = self.under_way.pop_front() else { return Ok(()) };
        let kept = self.line.unless_lost(async { oldest.await.map_err(failed("publish a message")) });
        kept.await.map(drop)
    }

    async fn all_kept(&mut self) -> Result<(), BusError> {
        while !self.under_way.is_empty() {
            self.kept().await?;
        }
        Ok(())
    }
}

impl Outward for Publisher {
    fn publish(&mut self, parcel: Parcel) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(self.send(parcel))
    }

    fn settled(&mut self) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(self.all_kept())
    }
}
