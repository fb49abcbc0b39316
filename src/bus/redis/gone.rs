//! Streams that were trimmed before they were read.
//!
//! A server that is short of memory, or a node that trims its stream, may remove entries that nobody has read. Redis
//! does not tell; it shows in its figures, which must be looked at before the next read goes past the gap.

use redis::aio::MultiplexedConnection;
use redis::{Value, cmd};

use super::client::failed;
use super::entry::{EntryId, array, bytes, entry_id, other_shape};
use crate::bus::BusError;

/// What a stream holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Entries ever added.
    pub(super) added: u64,
    /// Entries there.
    pub(super) length: u64,
    /// The oldest there.
    pub(super) first: Option<EntryId>,
    /// The newest ever added, there or not.
    pub(super) last: EntryId,
}

/// How far a group has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The last entry delivered.
    pub(super) delivered: EntryId,
    /// How many were delivered or gone up to there, where the server knows.
    pub(super) read: Option<u64>,
    /// Entries delivered and not settled.
    pub(super) pending: u64,
    /// Entries not delivered yet, where the server knows.
    pub(super) waiting: Option<u64>,
}

impl Extent {
    /// Of the stream at a key; `None` where there is nothing.
    pub(super) async fn look(connection: &mut MultiplexedConnection, key: &[u8]) -> Result<Option<Self>, BusError> {
        let doing = "look at a stream";
        let kind: String = cmd("TYPE").arg(key).query_async(connection).await.map_err(failed(doing))?;
        match kind.as_str() {
            "none" => Ok(None),
            "stream" => {
                let said = cmd("XINFO").arg("STREAM").arg(key).query_async(connection).await;
                Self::of(said.map_err(failed(doing))?).map(Some)
            }
            other => {
                let key = String::from_utf8_lossy(key);
                Err(BusError::NotSetUp { problem: format!("the key {key} is no stream but a {other}") })
            }
        }
    }

    /// Out of `XINFO STREAM`.
    pub(super) fn of(value: Value) -> Result<Self, BusError> {
        let mut extent = Self::default();
        for (name, value) in named(value, "what a stream holds")? {
            match name.as_str() {
                "entries-added" => extent.added = number(&value)?,
                "length" => extent.length = number(&value)?,
                "last-generated-id" => extent.last = entry_id(value)?,
                "recorded-first-entry-id" => extent.first = Some(entry_id(value)?),
                _of_no_concern => {}
            }
        }
        extent.first = extent.first.filter(|_| extent.length > 0);
        Ok(extent)
    }

    /// Entries that were removed, by trimming or one by one.
    pub(super) const fn removed(&self) -> u64 {
        self.added.saturating_sub(self.length)
    }

    /// How many entries behind a group's progress are gone without having been read; `known` is how many it is known
    /// to have read where the server does not know better.
    pub(super) fn unread_gone(&self, progress: &Progress, known: Option<u64>) -> u64 {
        let goes_on_behind = self.first.is_none_or(|first| first > progress.delivered);
        let read = progress.read.max(known);
        if goes_on_behind { read.map_or(0, |read| self.removed().saturating_sub(read)) } else { 0 }
    }
}

impl Progress {
    /// Of one group, out of `XINFO GROUPS`.
    pub(super) fn of(value: Value, group: &str) -> Result<Option<Self>, BusError> {
        for one in array(value, "a list of groups")? {
            let (mut progress, mut is_it) = (Self::default(), false);
            for (name, value) in named(one, "how far a group is")? {
                match name.as_str() {
                    "name" => is_it = bytes(value, "the name of a group")? == group.as_bytes(),
                    "last-delivered-id" => progress.delivered = entry_id(value)?,
                    "pending" => progress.pending = number(&value)?,
                    "lag" if value != Value::Nil => progress.waiting = Some(number(&value)?),
                    "entries-read" if value != Value::Nil => progress.read = Some(number(&value)?),
                    _of_no_concern => {}
                }
            }
            if is_it {
                return Ok(Some(progress));
            }
        }
        Ok(None)
    }
}

/// `[name, value, …]`, or a map.
fn named(value: Value, what: &'static str) -> Result<Vec<(String, Value)>, BusError> {
    let text = |name| {
        let name = bytes(name, what)?;
        String::from_utf8(name.to_vec()).map_err(|_| other_shape(what))
    };
    if let Value::Map(pairs) = value {
        return pairs.into_iter().map(|(name, value)| Ok((text(name)?, value))).collect();
    }
    let mut values = array(value, what)?.into_iter();
    let mut pairs = Vec::new();
    while let Some(name) = values.next() {
        pairs.push((text(name)?, values.next().ok_or_else(|| other_shape(what))?));
    }
    Ok(pairs)
}

fn number(value: &Value) -> Result<u64, BusError> {
    let wrong = || other_shape("a number");
    let Value::Int(number) = value else { return Err(wrong()) };
    u64::try_from(*number).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> EntryId {
        EntryId { ms, number: 0 }
    }

    #[test]
    fn what_is_gone_unread_is_what_was_removed_beyond_what_was_read() {
        let progress = Progress { delivered: at(10), read: Some(10), ..Progress::default() };
        let extent = |added, length, first| Extent { added, length, first: Some(at(first)), last: at(added) };
        // All there; only read ones trimmed; exactly to the last read; five beyond it; all beyond it.
        let cases = [
            (extent(20, 20, 1), 0),
            (extent(20, 15, 6), 0),
            (extent(20, 10, 11), 0),
            (extent(20, 5, 16), 5),
            (Extent { length: 0, first: None, ..extent(20, 0, 0) }, 10),
        ];
        for (extent, gone) in cases {
            assert_eq!(extent.unread_gone(&progress, None), gone, "{extent:?}");
        }
        // An older server does not count the gap as read: what is known here counts then.
        assert_eq!(extent(20, 5, 16).unread_gone(&progress, Some(15)), 0);
        // Where nobody knows how many were read nothing is claimed.
        assert_eq!(extent(20, 5, 16).unread_gone(&Progress { read: None, ..progress }, None), 0);
    }

    #[test]
    fn the_group_is_found_among_others_by_its_name() {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let group = |name: &str, last: &str, read| {
            let name = [bulk("name"), bulk(name), bulk("consumers"), Value::Int(1)];
            let rest = [bulk("last-delivered-id"), bulk(last), bulk("entries-read"), read];
            Value::Array(name.into_iter().chain(rest).collect())
        };
        let groups = Value::Array(vec![group("other", "7-0", Value::Int(3)), group("ephor", "9-1", Value::Nil)]);
        let found = Progress::of(groups.clone(), "ephor").unwrap();
        assert_eq!(found, Some(Progress { delivered: EntryId { ms: 9, number: 1 }, ..Progress::default() }));
        assert_eq!(Progress::of(groups, "third").unwrap(), None);
    }
}
