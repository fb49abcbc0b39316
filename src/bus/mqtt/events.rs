//! Recorded events, published as they are recorded.
//!
//! How far is kept beside the log. A broker cannot be asked what it has, so after a crash the last few are published
//! again: each carries its event id and its seq.

use std::sync::Arc;

use ephor_events::Seq;
use ephor_events::envelope::Envelope;
use futures::future::BoxFuture;
use rumqttc::v5::mqttbytes::v5::PublishProperties;

use super::line::Line;
use super::topic::level;
use crate::canary::Fault;
use crate::follow::{Checkpoint, Follower};
use crate::settings;

/// Publishes every recorded event to `PREFIX/TYPE/STRATEGY`.
pub struct Events {
    settings: Arc<settings::Mqtt>,
    prefix: String,
    published: Checkpoint,
    line: Option<Line>,
}

impl Events {
    /// Under a prefix; `published` keeps how far.
    #[must_use]
    pub fn new(settings: &settings::Mqtt, prefix: &str, published: Checkpoint) -> Self {
        Self { settings: Arc::new(settings.clone()), prefix: prefix.to_owned(), published, line: None }
    }
}

impl Follower for Events {
    fn position(&mut self) -> BoxFuture<'_, Result<Seq, Fault>> {
        Box::pin(async move {
            self.line = None;
            self.line = Some(Line::open(&self.settings, "-events", 1).await?);
            Ok(Seq(self.published.read()?.unwrap_or(0)))
        })
    }

    fn take<'a>(&'a mut self, events: &'a [Envelope]) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let line = self.line.as_mut().ok_or("it is not connected")?;
            let mut messages = Vec::with_capacity(events.len());
            for event in events {
                let topic = format!("{}/{}/{}", self.prefix, event.event.name(), level(event.stream.as_str()));
                let user_properties = vec![
                    ("event_id".to_owned(), event.event_id.to_string()),
                    ("seq".to_owned(), event.seq.to_string()),
                ];
                let content_type = Some("application/json".to_owned());
                let properties = PublishProperties { user_properties, content_type, ..PublishProperties::default() };
                messages.push((topic, properties, serde_json::to_vec(&event.to_json())?));
            }
            line.publish(messages, false).await?;
            events.last().map_or(Ok(()), |last| self.published.keep(last.seq.0))
        })
    }
}
