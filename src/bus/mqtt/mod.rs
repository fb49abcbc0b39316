//! MQTT 5: reports from topics, acknowledged when they are durable; recorded events to topics.
//!
//! The broker keeps a session: what is not acknowledged comes again when the connection is made anew. MQTT cannot hand
//! a message back, so one that has to wait is held here, unacknowledged, and given out again; it keeps its place in what
//! the broker lets be under way. What cannot be taken is published to the dead topic and acknowledged after that is.

mod events;
mod line;
mod publisher;
mod topic;

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::web::Bytes;
use futures::future::BoxFuture;
use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};
use smol_str::{SmolStr, format_smolstr};
use tokio::time::Instant;

pub use events::Events;
pub use line::MqttError;
pub use publisher::Publisher;

use super::{BusError, Delivery, Inbound, Outcome, Receipt, Source, one_line};
use crate::settings;
use line::Line;

/// How much of a letter's digest names it.
const DIGEST_CHARS: usize = 32;

/// The way in from a broker.
pub struct Input {
    settings: Arc<settings::Mqtt>,
}

impl Input {
    /// From the topics of these settings.
    #[must_use]
    pub fn new(settings: &settings::Mqtt) -> Self {
        Self { settings: Arc::new(settings.clone()) }
    }
}

impl Inbound for Input {
    fn open(&self) -> BoxFuture<'_, Result<Box<dyn Source>, BusError>> {
        Box::pin(async move {
            let pending = u16::try_from(self.settings.reading.pending_max).unwrap_or(u16::MAX);
            let mut line = Line::open(&self.settings, "", pending).await?;
            line.subscribe(&self.settings.topics).await?;
            let settings = self.settings.clone();
            Ok(Box::new(Topics { settings, line, receipts: 0, given: BTreeMap::new() }) as Box<dyn Source>)
        })
    }
}

/// A message that is under way, or waits to be given out again.
struct Given {
    publish: Publish,
    attempt: u32,
    /// When it is given out again.
    due: Option<Instant>,
}

/// Messages as the broker gives them.
struct Topics {
    settings: Arc<settings::Mqtt>,
    line: Line,
    receipts: u64,
    given: BTreeMap<Receipt, Given>,
}

impl Topics {
    /// The message that waits least, and until when.
    fn waiting(&self) -> Option<(Instant, Receipt)> {
        self.given.iter().filter_map(|(receipt, given)| Some((given.due?, *receipt))).min()
    }

    fn give(&mut self, publish: Publish, attempt: u32) -> Delivery {
        self.receipts += 1;
        let receipt = Receipt(self.receipts);
        let topic = SmolStr::new(String::from_utf8_lossy(&publish.topic));
        let properties = publish.properties.clone().unwrap_or_default();
        let content_type = properties.content_type.map(|value| ("content-type".to_owned(), value));
        let headers = properties.user_properties.into_iter().chain(content_type);
        let headers = headers.map(|(name, value)| (name.to_lowercase().into(), value.into())).collect();
        let payload = Bytes::from(publish.payload.to_vec());
        let place = format_smolstr!("{topic} message {}", self.receipts);
        self.given.insert(receipt, Given { publish, attempt, due: None });
        Delivery { receipt, place, subject: topic, headers, payload, attempt }
    }

    async fn one(&mut self) -> Result<Delivery, BusError> {
        let waiting = self.waiting();
        let due = async {
            match waiting {
                Some((due, receipt)) => {
                    tokio::time::sleep_until(due).await;
                    receipt
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            receipt = due => match self.given.remove(&receipt) {
                Some(Given { publish, attempt, .. }) => Ok(self.give(publish, attempt.saturating_add(1))),
                None => Err(BusError::NotSetUp { problem: format!("message {receipt:?} was lost") }),
            },
            publish = self.line.message() => {
                let publish = publish?;
                let attempt = if publish.dup { 2 } else { 1 };
                Ok(self.give(publish, attempt))
            }
        }
    }

    /// Publishes to the dead topic; comes back when the broker has it. Where nobody listens there, the broker is told to keep
    /// it, below the topic under the digest of what it says, so that none takes another's place.
    async fn put_apart(&mut self, publish: &Publish, code: &str, reason: &str) -> Result<(), BusError> {
        let topic = String::from_utf8_lossy(&publish.topic);
        // Not below it: what a message came on may be as long and as deep as a broker lets a topic be.
        let dead = self.settings.dead.clone();
        let said = [("code", code), ("reason", &*one_line(reason)), ("topic", &*topic)];
        let user_properties = said.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let properties = PublishProperties { user_properties, ..PublishProperties::default() };
        let payload = publish.payload.to_vec();
        let heard = self.line.publish(vec![(dead.clone(), properties.clone(), payload.clone())], false).await?;
        if !heard {
            let digest = blake3::hash(&payload).to_hex();
            let own = format!("{dead}/{}", digest.get(..DIGEST_CHARS).unwrap_or(&digest));
            self.line.publish(vec![(own, properties, payload)], true).await?;
        }
        Ok(())
    }
}

impl Source for Topics {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Delivery>, BusError>> {
        Box::pin(async move { self.one().await.map(Some) })
    }

    fn settle(&mut self, outcomes: Vec<(Receipt, Outcome)>) -> BoxFuture<'_, Result<(), BusError>> {
        Box::pin(async move {
            let mut done = Vec::new();
            for (receipt, outcome) in outcomes {
                if let Outcome::Later(after) = outcome {
                    if let Some(given) = self.given.get_mut(&receipt) {
                        given.due = Some(Instant::now() + after);
                    }
                    continue;
                }
                let Some(given) = self.given.remove(&receipt) else { continue };
                if let Outcome::Dead { code, reason } = outcome {
                    self.put_apart(&given.publish, code, &reason).await?;
                }
                done.push(given.publish);
            }
            self.line.acknowledge(&done).await
        })
    }
}
