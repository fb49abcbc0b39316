//! The consumer group: which streams it reads, made where it is missing, and what stands pending in it.

use std::collections::HashMap;

use actix_web::web::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{Value, cmd};

use super::client::failed;
use super::entry::{Entries, EntryId, array, by_stream, entries, entry_id, other_shape};
use super::gone::{Extent, Progress};
use crate::bus::BusError;
use crate::settings;

/// Keys looked at in one step of a scan.
const SCAN_KEYS: usize = 1_000;

/// A group of consumers, and this one of them.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) consumer: String,
    keys: Vec<String>,
    /// Ours, whatever the patterns say.
    not_read: Vec<String>,
    create: bool,
}

impl Group {
    pub(super) fn new(settings: &settings::Redis) -> Self {
        let ours = [Some(&settings.dead_letter), settings.control.as_ref(), settings.publish.as_ref()];
        Self {
            name: settings.group.clone(),
            consumer: settings.consumer.clone(),
            keys: settings.keys.clone(),
            not_read: ours.into_iter().flatten().cloned().collect(),
            create: settings.create,
        }
    }

    /// Every stream that there is to read, in order.
    pub(super) async fn streams(&self, connection: &mut MultiplexedConnection) -> Result<Vec<Bytes>, BusError> {
        let mut found = Vec::new();
        for key in &self.keys {
            if !settings::is_pattern(key) {
                found.push(Bytes::from(key.clone()));
                continue;
            }
            let mut cursor = 0_u64;
            loop {
                let mut scan = cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(key).arg("COUNT").arg(SCAN_KEYS).arg("TYPE").arg("stream");
                let (next, keys): (u64, Vec<Vec<u8>>) =
                    scan.query_async(connection).await.map_err(failed("look for streams"))?;
                found.extend(keys.into_iter().map(Bytes::from));
                if next == 0 {
                    break;
                }
                cursor = next;
            }
        }
        found.sort_unstable();
        found.dedup();
        found.retain(|key| !self.not_read.iter().any(|ours| ours.as_bytes() == key));
        Ok(found)
    }

    /// How a stream and the group on it stand.
    pub(super) async fn standing(
        &self,
        connection: &mut MultiplexedConnection,
        key: &Bytes,
    ) -> Result<(Extent, Option<Progress>), BusError> {
        let extent = Extent::look(connection, key).await?;
        let Some(extent) = extent else { return Ok((Extent::default(), None)) };
        let asked = cmd("XINFO").arg("GROUPS").arg(&**key).query_async(connection).await;
        Ok((extent, Progress::of(asked.map_err(failed("look at the consumer group"))?, &self.name)?))
    }

    /// Makes sure of the group on a stream.
    pub(super) async fn prepare(&self, connection: &mut MultiplexedConnection, key: &Bytes) -> Result<(), BusError> {
        let (extent, progress) = self.standing(connection, key).await?;
        if progress.is_some() {
            return Ok(());
        }
        let (group, shown) = (&self.name, String::from_utf8_lossy(key));
        if !self.create {
            let problem = format!(
                "the stream {shown} has no group {group}: `ephor bus setup` makes it, or bus.redis with create = true"
            );
            return Err(BusError::NotSetUp { problem });
        }
        self.make(connection, key, extent).await?;
        tracing::info!(stream = %shown, group, "a consumer group was made: it begins with the oldest entry");
        Ok(())
    }

    /// Makes the group on a stream, and the stream where there is none; it begins with the oldest entry there is.
    pub(super) async fn make(
        &self,
        connection: &mut MultiplexedConnection,
        key: &Bytes,
        extent: Extent,
    ) -> Result<(), BusError> {
        let mut create = cmd("XGROUP");
        create.arg("CREATE").arg(&**key).arg(&self.name).arg("0").arg("MKSTREAM");
        // What was gone before there was a group is nobody's loss.
        create.arg("ENTRIESREAD").arg(extent.removed());
        match create.exec_async(connection).await {
            // Somebody was faster.
            Err(error) if error.code() == Some("BUSYGROUP") => Ok(()),
            made => made.map_err(failed("make the consumer group")),
        }
    }

    /// This consumer's own entries that were delivered and never settled, behind a place.
    pub(super) async fn own(
        &self,
        connection: &mut MultiplexedConnection,
        key: &Bytes,
        behind: EntryId,
        count: usize,
    ) -> Result<Entries, BusError> {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(&self.name).arg(&self.consumer).arg("COUNT").arg(count);
        read.arg("STREAMS").arg(&**key).arg(behind.to_string());
        let reply: Value = read.query_async(connection).await.map_err(failed("read own pending entries"))?;
        let mut streams = by_stream(reply)?;
        Ok(streams.pop().map(|(_, entries)| entries).unwrap_or_default())
    }

    /// Takes over entries that somebody, or this consumer in another life, has left alone for so long. Gives what is
    /// there, and where to go on; `0-0` at the end.
    pub(super) async fn claim(
        &self,
        connection: &mut MultiplexedConnection,
        key: &Bytes,
        idle_ms_min: u64,
        from: EntryId,
        count: usize,
    ) -> Result<(EntryId, Entries), BusError> {
        let mut claim = cmd("XAUTOCLAIM");
        claim.arg(&**key).arg(&self.name).arg(&self.consumer).arg(idle_ms_min);
        claim.arg(from.to_string()).arg("COUNT").arg(count);
        let reply: Value = claim.query_async(connection).await.map_err(failed("claim stale entries"))?;
        let mut parts = array(reply, "an answer to a claim")?.into_iter();
        let (Some(next), Some(found)) = (parts.next(), parts.next()) else {
            return Err(other_shape("an answer to a claim"));
        };
        let mut found = entries(key, found)?;
        for gone in parts.next().map_or_else(|| Ok(Vec::new()), |gone| array(gone, "ids that are gone"))? {
            found.gone.push(entry_id(gone)?);
        }
        Ok((entry_id(next)?, found))
    }

    /// How often each of these entries was delivered; they are this consumer's.
    pub(super) async fn attempts(
        &self,
        connection: &mut MultiplexedConnection,
        key: &Bytes,
        ids: impl Iterator<Item = EntryId> + Clone,
    ) -> Result<HashMap<EntryId, u32>, BusError> {
        let (Some(first), Some(last), count) = (ids.clone().min(), ids.clone().max(), ids.count()) else {
            return Ok(HashMap::new());
        };
        let mut ask = cmd("XPENDING");
        ask.arg(&**key).arg(&self.name).arg(first.to_string()).arg(last.to_string());
        // Others of this consumer may stand between them.
        ask.arg(count.saturating_mul(4)).arg(&self.consumer);
        let reply: Value = ask.query_async(connection).await.map_err(failed("ask for counts of deliveries"))?;
        let mut attempts = HashMap::with_capacity(count);
        for one in array(reply, "pending entries")? {
            let parts: [Value; 4] =
                array(one, "a pending entry")?.try_into().map_err(|_| other_shape("a pending entry"))?;
            let [id, _consumer, _idle, Value::Int(times)] = parts else {
                return Err(other_shape("a pending entry"));
            };
            attempts.insert(entry_id(id)?, u32::try_from(times).unwrap_or(u32::MAX));
        }
        Ok(attempts)
    }
}
