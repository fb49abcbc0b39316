//! Reading, in a task of its own: what is pending first, then what is new, and now and then what others left alone.
//!
//! A read that is under way must not be forgotten with the one who waits for it: the server would hold its entries as
//! delivered. So the task waits for the server, and whoever waits for the task may stop at any time. It reads a little
//! ahead and then waits until that is taken.

use std::time::{Duration, Instant};

use actix_web::web::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{Value, cmd, pipe};
use tokio::sync::mpsc;

use super::client::{ANSWER_WITHIN, Server, failed};
use super::entry::{Entries, Entry, EntryId, by_stream, other_shape};
use super::gone::{Extent, Progress};
use super::group::Group;
use crate::bus::{BusError, Status};

/// How long the server holds a read that finds nothing.
pub(super) const BLOCK: Duration = Duration::from_secs(1);
/// How often new streams are looked for, and the extent of known ones is looked at; more rarely where that takes long.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Of its time no more than one part in so many goes into looking for streams.
const LOOK_SHARE: u32 = 20;

/// What was found, in the order in which it is to be taken.
#[derive(Debug)]
pub(super) enum Found {
    /// An entry, and how often it was delivered.
    Entry(Entry, u32),
    /// An entry that was delivered before and never settled, and is in its stream no more.
    Gone(Bytes, EntryId),
}

/// Why the task ends.
enum End {
    /// Nobody takes what it reads any more.
    NotWanted,
    Failed(BusError),
}

impl From<BusError> for End {
    fn from(error: BusError) -> Self {
        Self::Failed(error)
    }
}

/// A stream that is read.
struct Stream {
    key: Bytes,
    /// How many of its entries were read or are known to be gone, where that is known.
    read: Option<u64>,
}

/// The task.
pub(super) struct Reader {
    connection: MultiplexedConnection,
    group: Group,
    claim_after: Duration,
    ahead_max: usize,
    streams: Vec<Stream>,
    looked_for_at: Option<(Instant, Duration)>,
    looked_at: Option<Instant>,
    claimed_at: Instant,
    /// Whether there was more than was asked for.
    behind: bool,
    status: Status,
    found: mpsc::Sender<Result<Vec<Found>, BusError>>,
}

impl Reader {
    /// Connects, and finds the streams.
    pub(super) async fn open(
        server: &Server,
        group: Group,
        claim_after: Duration,
        ahead_max: usize,
        status: Status,
        found: mpsc::Sender<Result<Vec<Found>, BusError>>,
    ) -> Result<Self, BusError> {
        let connection = server.connect(BLOCK + ANSWER_WITHIN).await?;
        let mut reader = Self {
            connection,
            group,
            claim_after,
            ahead_max: ahead_max.max(1),
            streams: Vec::new(),
            looked_for_at: None,
            looked_at: None,
            claimed_at: Instant::now(),
            behind: true,
            status,
            found,
        };
        // What is not set up is said at once, and not by a task.
        for key in reader.group.streams(&mut reader.connection).await? {
            reader.group.prepare(&mut reader.connection, &key).await?;
        }
        Ok(reader)
    }

    /// Reads until nobody wants it or it fails; the last word is the failure.
    pub(super) async fn run(mut self) {
        let End::Failed(error) = self.read_all().await else { return };
        // Whoever waited may have gone.
        drop(self.found.send(Err(error)).await);
    }

    async fn read_all(&mut self) -> End {
        loop {
            if let Err(end) = self.step().await {
                return end;
            }
        }
    }

    async fn step(&mut self) -> Result<(), End> {
        let due = |(at, took): (Instant, Duration)| at.elapsed() >= LOOK_EVERY.max(took * LOOK_SHARE);
        if self.looked_for_at.is_none_or(due) {
            self.look_for_streams().await?;
        }
        // Twice within the time, so that nothing waits much longer than it.
        if self.claimed_at.elapsed() >= self.claim_after / 2 {
            self.claim_stale().await?;
        }
        if self.streams.is_empty() {
            tokio::time::sleep(LOOK_EVERY).await;
            return if self.found.is_closed() { Err(End::NotWanted) } else { Ok(()) };
        }
        if self.behind || self.looked_at.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            self.look_and_read().await
        } else {
            self.wait_and_read().await
        }
    }

    /// Entries of one stream at once: of all together no more than may be read ahead.
    fn count(&self) -> usize {
        (self.ahead_max / self.streams.len().max(1)).max(1)
    }

    async fn look_for_streams(&mut self) -> Result<(), End> {
        let began = Instant::now();
        let keys = self.group.streams(&mut self.connection).await?;
        self.streams.retain(|stream| keys.contains(&stream.key));
        let known: Vec<Bytes> = self.streams.iter().map(|stream| stream.key.clone()).collect();
        for key in keys.into_iter().filter(|key| !known.contains(key)) {
            self.group.prepare(&mut self.connection, &key).await?;
            self.own_pending(&key).await?;
            self.streams.push(Stream { key, read: None });
            self.behind = true;
        }
        self.looked_for_at = Some((began, began.elapsed()));
        Ok(())
    }

    /// What this consumer was given and never settled: before a restart, or before the connection broke.
    async fn own_pending(&mut self, key: &Bytes) -> Result<(), End> {
        let mut behind = EntryId::default();
        loop {
            let entries = self.group.own(&mut self.connection, key, behind, self.ahead_max).await?;
            let last = entries.there.last().map(|entry| entry.id).max(entries.gone.last().copied());
            let Some(last) = last else { return Ok(()) };
            behind = last;
            self.again(key, entries).await?;
        }
    }

    async fn claim_stale(&mut self) -> Result<(), End> {
        self.claimed_at = Instant::now();
        let idle_ms = u64::try_from(self.claim_after.as_millis()).unwrap_or(u64::MAX);
        let keys: Vec<Bytes> = self.streams.iter().map(|stream| stream.key.clone()).collect();
        for key in keys {
            let mut from = EntryId::default();
            loop {
                let claimed = self.group.claim(&mut self.connection, &key, idle_ms, from, self.ahead_max).await?;
                let (next, entries) = claimed;
                self.again(&key, entries).await?;
                if next == EntryId::default() {
                    break;
                }
                from = next;
            }
        }
        Ok(())
    }

    /// Entries that were delivered before.
    async fn again(&mut self, key: &Bytes, entries: Entries) -> Result<(), End> {
        if entries.there.is_empty() && entries.gone.is_empty() {
            return Ok(());
        }
        let ids = entries.there.iter().map(|entry| entry.id);
        let attempts = self.group.attempts(&mut self.connection, key, ids).await?;
        let there = entries.there.into_iter().map(|entry| {
            let attempt = attempts.get(&entry.id).copied().unwrap_or(1).max(1);
            Found::Entry(entry, attempt)
        });
        let gone = entries.gone.into_iter().map(|id| Found::Gone(key.clone(), id));
        self.send(there.chain(gone).collect()).await
    }

    /// Looks at the streams and reads what is new in one transaction, so that no gap can open in between.
    async fn look_and_read(&mut self) -> Result<(), End> {
        let doing = "look at the streams";
        let mut asked = pipe();
        asked.atomic();
        for stream in &self.streams {
            asked.cmd("XINFO").arg("STREAM").arg(&*stream.key).cmd("XINFO").arg("GROUPS").arg(&*stream.key);
        }
        asked.add_command(self.read_new(None));
        let replies: Vec<Value> = asked.query_async(&mut self.connection).await.map_err(failed(doing))?;
        self.looked_at = Some(Instant::now());
        let mut replies = replies.into_iter();
        for stream in &mut self.streams {
            let (Some(extent), Some(groups)) = (replies.next(), replies.next()) else {
                return Err(other_shape("a look at the streams").into());
            };
            let (extent, progress) = (Extent::of(extent)?, Progress::of(groups, &self.group.name)?);
            let missing = || BusError::NotSetUp { problem: format!("the group {} was removed", self.group.name) };
            let progress = progress.ok_or_else(missing)?;
            let gone = extent.unread_gone(&progress, stream.read);
            stream.read = stream.read.max(progress.read);
            if gone > 0 {
                stream.read = stream.read.max(Some(extent.removed()));
                let key = String::from_utf8_lossy(&stream.key);
                tracing::error!(
                    bus = %self.status.name(), stream = %key, gone, behind = %progress.delivered,
                    "entries are gone that were never read: the stream was trimmed. What they reported is not recorded"
                );
                self.status.gone(gone);
            }
        }
        let reply = replies.next().ok_or_else(|| other_shape("a look at the streams"))?;
        self.take(reply).await
    }

    /// Waits at the server until something is new.
    async fn wait_and_read(&mut self) -> Result<(), End> {
        let read = self.read_new(Some(BLOCK.min(self.claim_after / 2)));
        let reply: Value = read.query_async(&mut self.connection).await.map_err(failed("read new entries"))?;
        self.take(reply).await
    }

    fn read_new(&self, block: Option<Duration>) -> redis::Cmd {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(&self.group.name).arg(&self.group.consumer).arg("COUNT").arg(self.count());
        if let Some(block) = block {
            // 0 would mean for ever.
            read.arg("BLOCK").arg(u64::try_from(block.as_millis()).unwrap_or(1).max(1));
        }
        read.arg("STREAMS");
        for stream in &self.streams {
            read.arg(&*stream.key);
        }
        for _ in &self.streams {
            read.arg(">");
        }
        read
    }

    /// New entries, in the order of their ids as far as clocks of the server go.
    async fn take(&mut self, reply: Value) -> Result<(), End> {
        let count = self.count();
        self.behind = false;
        let mut entries = Vec::new();
        for (key, found) in by_stream(reply)? {
            self.behind |= found.there.len() >= count;
            if let Some(stream) = self.streams.iter_mut().find(|stream| stream.key == key) {
                stream.read = stream.read.map(|read| read + found.there.len() as u64);
            }
            entries.extend(found.there);
        }
        entries.sort_by_key(|entry| entry.id);
        self.send(entries.into_iter().map(|entry| Found::Entry(entry, 1)).collect()).await
    }

    async fn send(&self, found: Vec<Found>) -> Result<(), End> {
        if found.is_empty() {
            return if self.found.is_closed() { Err(End::NotWanted) } else { Ok(()) };
        }
        self.found.send(Ok(found)).await.map_err(|_| End::NotWanted)
    }
}
