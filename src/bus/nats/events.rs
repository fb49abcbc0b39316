//! Recorded events out to a stream: each once, in their order.
//!
//! The server's stream says what it has: its last message carries the seq of its event. Each publish names the place in
//! the stream that must be the last one before it, so the server refuses whatever would leave a gap or come twice,
//! also from a connection that was thought lost. Many are under way at once all the same. A stream that has been emptied
//! says nothing; then the position kept beside the log counts.

use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Info, Stream};
use ephor_events::envelope::Envelope;
use ephor_events::{Reader, Seq};
use futures::future::BoxFuture;

use super::{LOG, Line, SEQ, encode, failed};
use crate::bus::BusError;
use crate::canary::Fault;
use crate::follow::{Checkpoint, Follower};
use crate::settings::Nats;

/// Publishes everything recorded.
pub struct Events {
    settings: Nats,
    reader: Reader,
    kept: Checkpoint,
    open: Option<Open>,
}

/// A connection, and where the stream stands.
struct Open {
    line: Line,
    /// What tells this log from another.
    log: String,
    /// The stream's last place.
    last: u64,
}

impl Events {
    /// The events of a log; `kept` is where the position is kept beside it.
    #[must_use]
    pub const fn new(settings: Nats, reader: Reader, kept: Checkpoint) -> Self {
        Self { settings, reader, kept, open: None }
    }

    async fn connect(&mut self) -> Result<Seq, Fault> {
        self.open = None;
        let log = log_of(self.reader.clone()).await?;
        let line = Line::open(&self.settings).await?;
        let stream = line.stream(&self.settings.events.stream).await?;
        let kept = self.kept.read()?;
        let state = &stream.cached_info().state;
        let last = state.last_sequence;
        // What the stream holds is what it was told: a server that lost its end is told it again. Only of an emptied stream
        // nobody else can say how far it was.
        let position = match state.messages {
            0 if last > 0 && kept.is_none() => {
                let problem = format!(
                    "the stream {} has been emptied, and how far it was told is not known any more: delete it and run \
                     `ephor bus setup`, and everything is published again",
                    self.settings.events.stream
                );
                return Err(BusError::NotSetUp { problem }.into());
            }
            0 => kept.unwrap_or(0),
            _some => published(&stream, last, &log).await?,
        };
        if let Some(kept) = kept.filter(|kept| *kept > position) {
            let stream = &self.settings.events.stream;
            tracing::warn!(stream, kept, position, "the stream has lost its end: it is told again");
        }
        self.open = Some(Open { line, log, last });
        Ok(Seq(position))
    }

    async fn publish(&mut self, events: &[Envelope]) -> Result<(), Fault> {
        // Given back only where all of it has worked: after an error the server is asked anew.
        let Some(mut open) = self.open.take() else { return Err("there is no connection".into()) };
        let mut under_way = Vec::with_capacity(events.len());
        for event in events {
            let message = PublishMessage::build()
                .header(SEQ, event.seq.to_string())
                .header(LOG, open.log.as_str())
                .message_id(event.event_id.to_string())
                .expected_stream(&self.settings.events.stream)
                .expected_last_sequence(open.last)
                .payload(event.to_json().to_string().into());
            let subject = subject_of(&self.settings.events.subject, event);
            under_way
                .push(open.line.streams.send_publish(subject, message).await.map_err(|error| self.refused(error))?);
            open.last += 1;
        }
        let first = open.last - under_way.len() as u64 + 1;
        for (place, ack) in (first..).zip(under_way) {
            let ack = open.line.unless_lost(async { ack.await.map_err(|error| self.refused(error)) }).await?;
            if ack.sequence != place {
                let (found, stream) = (ack.sequence, &self.settings.events.stream);
                return Err(format!("the stream {stream} has at {found} what should stand at {place}").into());
            }
        }
        if let Some(newest) = events.last() {
            self.kept.keep(newest.seq.0)?;
        }
        self.open = Some(open);
        Ok(())
    }

    fn refused(&self, error: async_nats::jetstream::context::PublishError) -> BusError {
        use std::error::Error;
        let said = error.source().map(ToString::to_string).unwrap_or_default();
        // `maximum messages exceeded`, `maximum bytes exceeded`
        if said.contains("maximum") && said.contains("exceeded") {
            let problem = format!("the stream {} is full ({said})", self.settings.events.stream);
            return BusError::NotSetUp { problem };
        }
        failed("publish an event")(error)
    }
}

impl Follower for Events {
    fn position(&mut self) -> BoxFuture<'_, Result<Seq, Fault>> {
        Box::pin(self.connect())
    }

    fn take<'a>(&'a mut self, events: &'a [Envelope]) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.publish(events))
    }
}

/// `PREFIX.TYPE.STRATEGY`, or `PREFIX.TYPE.system`.
#[must_use]
pub(super) fn subject_of(prefix: &str, event: &Envelope) -> String {
    format!("{prefix}.{}.{}", event.event.name(), encode(event.stream.as_str()))
}

/// What tells a log from another: the hash of its first commit.
async fn log_of(reader: Reader) -> Result<String, Fault> {
    let first = tokio::task::spawn_blocking(move || reader.commit_of(Seq(1))).await??;
    let first = first.ok_or("nothing is recorded yet")?;
    Ok(first.hash.to_string())
}

/// The seq of the last event that a stream has.
async fn published(stream: &Stream<Info>, last: u64, log: &str) -> Result<u64, Fault> {
    let name = &stream.cached_info().config.name;
    let message = stream.get_raw_message(last).await.map_err(failed("read the last event published"))?;
    let header = |name: &str| message.headers.get(name).map(async_nats::HeaderValue::as_str);
    let (Some(found), Some(seq)) = (header(LOG), header(SEQ).and_then(|seq| seq.parse().ok())) else {
        let problem =
            format!("the last message of the stream {name} is no event of Ephor's: the stream must be its own");
        return Err(BusError::NotSetUp { problem }.into());
    };
    if found != log {
        let problem = format!(
            "the stream {name} holds the events of another log ({found}), this one is {log}: give each log a stream of \
             its own"
        );
        return Err(BusError::NotSetUp { problem }.into());
    }
    Ok(seq)
}
