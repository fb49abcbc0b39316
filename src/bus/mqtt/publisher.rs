//! Messages onto topics, many at once, each acknowledged before it counts as sent.

use std::mem::take;

use futures::future::BoxFuture;
use rumqttc::v5::mqttbytes::v5::PublishProperties;

use super::line::Line;
use super::topic::level;
use crate::bus::BusError;
use crate::bus::outward::{Outward, Parcel};
use crate::settings;

/// Messages sent at once.
const AT_ONCE: usize = 512;

/// Publishes to one broker.
pub struct Publisher {
    line: Line,
    /// What stands before the last level of a topic.
    prefix: String,
    waiting: Vec<(String, PublishProperties, Vec<u8>)>,
}

impl Publisher {
    /// Connects.
    ///
    /// # Errors
    /// [`BusError`]
    pub async fn open(settings: &settings::Mqtt, prefix: &str) -> Result<Self, BusError> {
        let line = Line::open(settings, "-feed", 1).await?;
        Ok(Self { line, prefix: prefix.to_owned(), waiting: Vec::new() })
    }

    async fn send(&mut self, parcel: Parcel) -> Result<(), BusError> {
        let Parcel { stream: _, topic, id: _, fields, payload } = parcel;
        let user_properties = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let properties = PublishProperties { user_properties, ..PublishProperties::default() };
        self.waiting.push((format!("{}/{}", self.prefix, level(&topic)), properties, payload.to_vec()));
        if self.waiting.len() >= AT_ONCE { self.send_all().await } else { Ok(()) }
    }

    async fn send_all(&mut self) -> Result<(), BusError> {
        self.line.publish(take(&mut self.waiting), false).await.map(drop)
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
