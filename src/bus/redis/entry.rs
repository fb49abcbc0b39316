//! Entries of streams, out of the server's replies.
//!
//! A reply is read by its shape; what has another one is an error that says which, never a guess. Field names and values
//! are bytes: only what needs to be text is read as such.

use std::fmt;
use std::str::FromStr;

use actix_web::web::Bytes;
use redis::Value;
use smol_str::SmolStr;

use crate::bus::BusError;

/// The place of an entry in its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct EntryId {
    /// The server's clock when it was added, milliseconds.
    pub(super) ms: u64,
    /// Its number within that.
    pub(super) number: u64,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.number)
    }
}

impl FromStr for EntryId {
    type Err = BusError;

    fn from_str(text: &str) -> Result<Self, BusError> {
        let parts = text.split_once('-').and_then(|(ms, number)| Some((ms.parse().ok()?, number.parse().ok()?)));
        let (ms, number) = parts.ok_or_else(|| other_shape("the id of an entry"))?;
        Ok(Self { ms, number })
    }
}

/// Names and values, in their order.
pub(super) type Fields = Vec<(Bytes, Bytes)>;

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The stream that it stands in.
    pub(super) key: Bytes,
    pub(super) id: EntryId,
    pub(super) fields: Fields,
}

impl Entry {
    /// The only value of a field; `None` where it is not there, or more than once.
    pub(super) fn only(&self, name: &[u8]) -> Option<&Bytes> {
        let mut values = self.fields.iter().filter(|(found, _)| found == name).map(|(_, value)| value);
        values.next().filter(|_| values.next().is_none())
    }

    /// What it was published on: its topic, else what stands last in the name of its stream.
    pub(super) fn subject(&self) -> SmolStr {
        let topic = self.only(b"topic").and_then(|topic| std::str::from_utf8(topic).ok());
        topic.map_or_else(|| tail(&self.key), SmolStr::new)
    }

    /// Its other fields, as far as they are text.
    pub(super) fn headers(&self) -> Vec<(SmolStr, SmolStr)> {
        let others = self.fields.iter().filter(|(name, _)| name != "topic" && name != "payload");
        let text = |bytes: &Bytes| std::str::from_utf8(bytes).ok().map(SmolStr::new);
        others.filter_map(|(name, value)| Some((text(name)?.to_lowercase().into(), text(value)?))).collect()
    }
}

/// The topic in the name of a stream of one topic, `trader-X:stream:TOPIC`; else what stands behind the last colon.
fn tail(key: &[u8]) -> SmolStr {
    let key = String::from_utf8_lossy(key);
    let topic = key.split_once(":stream:").map(|(_, topic)| topic);
    topic.or_else(|| key.rsplit(':').next()).unwrap_or_default().into()
}

/// A reply that is not what the command promises.
pub(super) fn other_shape(what: &'static str) -> BusError {
    BusError::Unreachable { doing: "read an answer of Redis", source: format!("{what} has another shape").into() }
}

pub(super) fn array(value: Value, what: &'static str) -> Result<Vec<Value>, BusError> {
    if value == Value::Nil {
        return Ok(Vec::new());
    }
    let (Value::Array(values) | Value::Set(values)) = value else { return Err(other_shape(what)) };
    Ok(values)
}

pub(super) fn bytes(value: Value, what: &'static str) -> Result<Bytes, BusError> {
    if let Value::SimpleString(text) = value {
        return Ok(text.into_bytes().into());
    }
    let Value::BulkString(bytes) = value else { return Err(other_shape(what)) };
    Ok(bytes.into())
}

pub(super) fn entry_id(value: Value) -> Result<EntryId, BusError> {
    let bytes = bytes(value, "the id of an entry")?;
    std::str::from_utf8(&bytes).map_err(|_| other_shape("the id of an entry"))?.parse()
}

/// Entries of one stream, and the ids of such as are in it no more.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Entries {
    pub(super) there: Vec<Entry>,
    pub(super) gone: Vec<EntryId>,
}

/// `[[id, [name, value, …]], …]`; the fields of an entry that is gone are nil.
pub(super) fn entries(key: &Bytes, value: Value) -> Result<Entries, BusError> {
    let mut found = Entries::default();
    for entry in array(value, "a list of entries")? {
        // An older server leaves nil in the place of an entry that is gone, without its id.
        if entry == Value::Nil {
            continue;
        }
        let [id, fields] = pair(entry, "an entry")?;
        let id = entry_id(id)?;
        if fields == Value::Nil {
            found.gone.push(id);
            continue;
        }
        let fields = flat(fields, "the fields of an entry")?;
        found.there.push(Entry { key: key.clone(), id, fields });
    }
    Ok(found)
}

/// `[name, value, …]`.
fn flat(value: Value, what: &'static str) -> Result<Fields, BusError> {
    let mut values = array(value, what)?.into_iter();
    let mut fields = Vec::with_capacity(values.len() / 2);
    while let Some(name) = values.next() {
        let value = values.next().ok_or_else(|| other_shape(what))?;
        fields.push((bytes(name, what)?, bytes(value, what)?));
    }
    Ok(fields)
}

/// `[[key, entries], …]`, as `XREADGROUP` answers; nil where there is nothing.
pub(super) fn by_stream(value: Value) -> Result<Vec<(Bytes, Entries)>, BusError> {
    let streams = array(value, "a list of streams")?;
    let stream = |stream| {
        let [key, found] = pair(stream, "a stream")?;
        let key = bytes(key, "the name of a stream")?;
        let found = entries(&key, found)?;
        Ok((key, found))
    };
    streams.into_iter().map(stream).collect()
}

pub(super) fn pair(value: Value, what: &'static str) -> Result<[Value; 2], BusError> {
    array(value, what)?.try_into().map_err(|_| other_shape(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn entry(key: &'static str, fields: &[(&'static str, &'static str)]) -> Entry {
        let fields = fields.iter().map(|(name, value)| (Bytes::from(*name), Bytes::from(*value))).collect();
        Entry { key: key.into(), id: EntryId { ms: 1, number: 0 }, fields }
    }

    #[test]
    fn entries_are_read_with_their_fields_in_any_order_and_what_is_gone_is_told_apart() {
        let fields = |names: &[&str]| Value::Array(names.iter().map(|name| bulk(name)).collect());
        let there = Value::Array(vec![bulk("5-1"), fields(&["payload", "{}", "topic", "t"])]);
        let gone = Value::Array(vec![bulk("5-2"), Value::Nil]);
        let found = entries(&"key".into(), Value::Array(vec![there, gone])).unwrap();
        assert_eq!(found.gone, [EntryId { ms: 5, number: 2 }]);
        let [read] = &*found.there else { panic!("{found:?}") };
        assert_eq!((read.id.to_string().as_str(), read.subject().as_str()), ("5-1", "t"));
        assert_eq!(read.only(b"payload").unwrap(), "{}");
    }

    #[test]
    fn a_reply_of_another_shape_is_an_error_and_no_guess() {
        let odd = Value::Array(vec![Value::Array(vec![bulk("5-1"), Value::Array(vec![bulk("alone")])])]);
        for value in [Value::Int(1), Value::Array(vec![bulk("5-1")]), odd] {
            assert!(entries(&"key".into(), value.clone()).is_err(), "{value:?}");
        }
        for text in ["", "5", "-", "5-x", "x-5", "99999999999999999999-0"] {
            assert!(entry_id(bulk(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn the_subject_is_the_topic_else_the_tail_of_the_key() {
        let cases = [
            (entry("trader-X:stream", &[("topic", "events.risk")]), "events.risk"),
            (entry("trader-X:stream:health:heartbeat", &[]), "health:heartbeat"),
            (entry("trader-X:1234:stream:events.order.S-1", &[]), "events.order.S-1"),
            (entry("a:b:c", &[]), "c"),
            (entry("plain", &[("topic", "one"), ("topic", "two")]), "plain"),
        ];
        for (entry, subject) in cases {
            assert_eq!(entry.subject(), subject, "{entry:?}");
        }
    }

    #[test]
    fn other_fields_are_headers_in_lower_case() {
        let entry = entry("key", &[("Encoding", "Json"), ("payload", "{}"), ("topic", "t")]);
        assert_eq!(entry.headers(), [("encoding".into(), "Json".into())]);
    }
}
