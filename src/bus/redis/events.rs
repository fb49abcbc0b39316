//! What is recorded, as a stream of its own.
//!
//! The id of an entry is the time at which its event was recorded and its seq: both only grow, so the server itself
//! refuses an event that it has, whatever was lost on the way. The stream knows how far it is even when it is empty.
//!
//! Events are only added behind the entry that was added last: a stream that was deleted, or begun anew by somebody,
//! gets everything once more and never a part without what was before it.

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
/// How often events are tried to be added while somebody else changes the stream.
const TRIES: u32 = 10;

/// Publishes everything recorded.
pub struct Events {
    server: Server,
    stream: String,
    length_max: u64,
    governor: Governor,
    /// What tells this log from others: the hash of its first commit.
    log: String,
    open: Option<Open>,
}

/// A connection, and the entry that stands last in the stream.
struct Open {
    connection: MultiplexedConnection,
    last: EntryId,
}

impl Events {
    /// Where the settings name a stream for it.
    #[must_use]
    pub fn new(settings: &settings::Redis, governor: &Governor) -> Option<Self> {
        Some(Self {
            server: Server::new(settings),
            stream: settings.publish.clone()?,
            length_max: settings.publish_max,
            governor: governor.clone(),
            log: String::new(),
            open: None,
        })
    }

    async fn connect(&mut self) -> Result<Seq, Fault> {
        let first = self.governor.reader().commit_of(Seq(1))?;
        self.log = first.map(|commit| commit.hash.to_string()).unwrap_or_default();
        let mut connection = self.server.connect(ANSWER_WITHIN).await?;
        self.is_ours(&mut connection).await?;
        let last = self.last(&mut connection).await?;
        self.open = Some(Open { connection, last });
        Ok(Seq(last.number))
    }

    /// The entry that was added last, whether it is there or not; `0-0` where there is no stream.
    async fn last(&self, connection: &mut MultiplexedConnection) -> Result<EntryId, BusError> {
        Ok(Extent::look(connection, self.stream.as_bytes()).await?.unwrap_or_default().last)
    }

    /// Refuses a stream that holds something else.
    async fn is_ours(&self, connection: &mut MultiplexedConnection) -> Result<(), BusError> {
        if Extent::look(connection, self.stream.as_bytes()).await?.is_none() {
            return Ok(());
        }
        let mut ask = cmd("XREVRANGE");
        ask.arg(&self.stream).arg("+").arg("-").arg("COUNT").arg(1);
        let newest: Value = ask.query_async(connection).await.map_err(failed("look at the published events"))?;
        let newest = entries(&self.stream.clone().into(), newest)?;
        if let Some(entry) = newest.there.first()
            && entry.only(b"log").is_none_or(|log| log != self.log.as_bytes())
        {
            let problem = format!("the stream {} holds events of another log, or others write to it", self.stream);
            return Err(BusError::NotSetUp { problem });
        }
        Ok(())
    }

    async fn add(&mut self, events: &[Envelope]) -> Result<(), Fault> {
        let Some(newest) = events.last() else { return Ok(()) };
        // Given back only where all of it has worked: after an error the server is asked anew.
        let Some(mut open) = self.open.take() else { return Err("there is no connection".into()) };
        for _ in 0..TRIES {
            // From here on nothing is added where somebody has changed the stream meanwhile.
            let mut watch = cmd("WATCH");
            watch.arg(&self.stream);
            watch.exec_async(&mut open.connection).await.map_err(failed("publish events"))?;
            let found = self.last(&mut open.connection).await?;
            if found != open.last {
                let Self { stream, .. } = self;
                let problem = format!(
                    "the stream {stream} ends with {found} where {} was published last: it was deleted or begun anew, \
                     and everything that it lacks is published again",
                    open.last
                );
                return Err(BusError::NotSetUp { problem }.into());
            }
            let adding = self.adding(events);
            let added: Option<Vec<String>> =
                adding.query_async(&mut open.connection).await.map_err(failed("publish events"))?;
            if added.is_some() {
                open.last = id_of(newest);
                self.open = Some(open);
                return Ok(());
            }
        }
        Err(format!("somebody else changes the stream {} all the time", self.stream).into())
    }

    fn adding(&self, events: &[Envelope]) -> redis::Pipeline {
        let mut adding = pipe();
        adding.atomic();
        for envelope in events {
            let name = envelope.event.name();
            let add = adding.cmd("XADD").arg(&self.stream).arg("MAXLEN").arg("~").arg(self.length_max);
            add.arg(id_of(envelope).to_string());
            add.arg("topic").arg(format!("governance.{name}.{}", envelope.stream));
            add.arg("payload").arg(envelope.to_json().to_string()).arg("type").arg(name).arg("encoding").arg("json");
            add.arg("seq").arg(envelope.seq.0).arg("log").arg(&self.log);
        }
        adding
    }
}

fn id_of(envelope: &Envelope) -> EntryId {
    let ms = u64::try_from(envelope.recorded_at.nanos() / NS_PER_MS).unwrap_or(0);
    EntryId { ms, number: envelope.seq.0 }
}

impl Follower for Events {
    fn position(&mut self) -> BoxFuture<'_, Result<Seq, Fault>> {
        Box::pin(self.connect())
    }

    fn take<'a>(&'a mut self, events: &'a [Envelope]) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(self.add(events))
    }
}
