//! What is recorded, as a stream of its own.
//!
//! The id of an entry is the time at which its event was recorded and its seq: both only grow, so the server itself
//! refuses an event that it has, whatever was lost on the way. The stream knows how far it is even when it is empty.

use ephor_actors::Governor;
use ephor_events::Seq;
use ephor_events::envelope::Envelope;
use futures::future::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::{Value, cmd, pipe};

use super::client::{ANSWER_WITHIN, Server, failed};
use super::entry::{EntryId, entries};
use super::gone::Extent;
use crate::bus::BusError;
use crate::canary::Fault;
use crate::follow::Follower;
use crate::settings;

/// Nanoseconds in a millisecond.
const NS_PER_MS: i64 = 1_000_000;

/// Who publishes.
pub struct Publish {
    server: Server,
    stream: String,
    length_max: u64,
    governor: Governor,
    /// What tells this log from others: the hash of its first commit.
    log: String,
    connection: Option<MultiplexedConnection>,
}

impl Publish {
    /// Where the settings name a stream for it.
    #[must_use]
    pub fn new(settings: &settings::Redis, governor: &Governor) -> Option<Self> {
        Some(Self {
            server: Server::new(settings),
            stream: settings.publish.clone()?,
            length_max: settings.publish_max,
            governor: governor.clone(),
            log: String::new(),
            connection: None,
        })
    }

    async fn connect(&mut self) -> Result<Seq, Fault> {
        let first = self.governor.reader().commit_of(Seq(1))?;
        self.log = first.map(|commit| commit.hash.to_string()).unwrap_or_default();
        let mut connection = self.server.connect(ANSWER_WITHIN).await?;
        let doing = "look at the published events";
        let kind: String = cmd("TYPE").arg(&self.stream).query_async(&mut connection).await.map_err(failed(doing))?;
        let at = match kind.as_str() {
            "none" => Seq(0),
            "stream" => self.published(&mut connection).await?,
            other => return Err(format!("the key {} is no stream but a {other}", self.stream).into()),
        };
        self.connection = Some(connection);
        Ok(at)
    }

    /// How far the stream is.
    async fn published(&self, connection: &mut MultiplexedConnection) -> Result<Seq, Fault> {
        let doing = "look at the published events";
        let asked =
            cmd("XREVRANGE").arg(&self.stream).arg("+").arg("-").arg("COUNT").arg(1).query_async(connection).await;
        let newest: Value = asked.map_err(failed(doing))?;
        let newest = entries(&self.stream.clone().into(), newest)?;
        if let Some(entry) = newest.there.first()
            && entry.only(b"log").is_none_or(|log| log != self.log.as_bytes())
        {
            let problem = format!("the stream {} holds events of another log, or others write to it", self.stream);
            return Err(BusError::NotSetUp { problem }.into());
        }
        let asked = cmd("XINFO").arg("STREAM").arg(&self.stream).query_async(connection).await;
        Ok(Seq(Extent::of(asked.map_err(failed(doing))?)?.last.number))
    }

    async fn add(&mut self, events: &[Envelope]) -> Result<(), Fault> {
        let connection = self.connection.as_mut().ok_or("not connected")?;
        let mut adding = pipe();
        adding.atomic();
        for envelope in events {
            let name = envelope.event.name();
            let add = adding.cmd("XADD").arg(&self.stream).arg("MAXLEN").arg("~").arg(self.length_max);
            add.arg(id_of(envelope).to_string());
            add.arg("topic").arg(format!("governance.{name}.{}", envelope.stream));
            add.arg("payload").arg(envelope.to_json().to_string()).arg("type").arg(name).arg("encoding").arg("json");
            add.arg("seq").arg(envelope.seq.0).arg("log").arg(&self.log).ignore();
        }
        Ok(adding.exec_async(connection).await.map_err(failed("publish events"))?)
    }
}

fn id_of(envelope: &Envelope) -> EntryId {
    let ms = u64::try_from(envelope.recorded_at.nanos() / NS_PER_MS).unwrap_or(0);
    EntryId { ms, number: envelope.seq.0 }
}

impl Follower for Publish {
    fn position(&mut self) -> BoxFuture<'_, Result<Seq, Fault>> {
        Box::pin(self.connect())
    }

    fn take<'a>(&'a mut self, events: &'a [Envelope]) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.add(events))
    }
}
