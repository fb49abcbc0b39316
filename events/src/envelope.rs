//! A recorded event with its place, times, cause and trace, as people and programs read it.
//!
//! The JSON form is one flat object an event: RFC 3339 times, decimals as strings, and the reason of a
//! verdict as an object with its `code`.

use ephor_governance::event::Event;
use ephor_governance::units::Timestamp;
use serde_json::{Map, Value, json};
use smol_str::SmolStr;
use uuid::Uuid;

use crate::codec::{DecodeError, decode_commit};
use crate::{Commit, Key, Seq, StreamId, Version, event_id};

/// One event, with everything the log knows of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// Position in the whole log.
    pub seq: Seq,
    /// Its stream.
    pub stream: StreamId,
    /// Position in the stream.
    pub version: Version,
    /// Unique, and derived from the chain.
    pub event_id: Uuid,
    /// Schema version of the recorded bytes.
    pub schema: u16,
    /// Ties order, decision, token and trade together; may be empty.
    pub trace_id: SmolStr,
    /// The seq of the event that it follows from.
    pub cause: Option<Seq>,
    /// The source's time.
    pub occurred_at: Timestamp,
    /// The governor's time, never going back.
    pub recorded_at: Timestamp,
    /// The governor's time when it was decided: what the rules were given.
    pub decided_at: Timestamp,
    /// The system version that it was decided on.
    pub system: Version,
    /// What made its command idempotent.
    pub key: Option<Key>,
    /// What happened.
    pub event: Event,
}

impl Envelope {
    /// The events of a commit, each with its own envelope.
    ///
    /// # Errors
    /// The first event that does not decode.
    pub fn of_commit(commit: &Commit) -> Result<Vec<Self>, DecodeError> {
        let events = decode_commit(commit)?;
        let place = events.into_iter().zip(&commit.events).zip(0_u32..);
        let envelope = |((event, encoded), index): ((Event, &crate::Encoded), u32)| Self {
            seq: Seq(commit.seq.0 + u64::from(index)),
            stream: commit.stream.clone(),
            version: Version(commit.version.0 + u64::from(index)),
            event_id: event_id(&commit.hash, index),
            schema: encoded.schema,
            trace_id: commit.trace.clone(),
            cause: encoded.cause.seq(commit.seq),
            occurred_at: Timestamp::from_nanos(commit.occurred_at),
            recorded_at: Timestamp::from_nanos(commit.recorded_at),
            decided_at: Timestamp::from_nanos(commit.decided_at),
            system: commit.system,
            key: commit.key.clone(),
            event,
        };
        Ok(place.map(envelope).collect())
    }

    /// The form that programs read.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        put("seq", json!(self.seq));
        put("stream", json!(self.stream));
        put("version", json!(self.version));
        put("event_id", json!(self.event_id.to_string()));
        put("type", json!(self.event.name()));
        put("schema_version", json!(self.schema));
        put("trace_id", if self.trace_id.is_empty() { Value::Null } else { json!(self.trace_id) });
        put("cause", json!(self.cause));
        put("occurred_at", json!(self.occurred_at));
        put("recorded_at", json!(self.recorded_at));
        put("decided_at", json!(self.decided_at));
        put("system_version", json!(self.system));
        put("data", event_json(&self.event));
        Value::Object(object)
    }
}

/// The fields of an event, without its name.
#[must_use]
pub fn event_json(event: &Event) -> Value {
    // Every event is a variant with fields: one name, one value.
    let Value::Object(tagged) = to_value(event) else { return Value::Null };
    let mut data = tagged.into_iter().next().map_or(Value::Null, |(_, data)| data);
    untag_reasons(&mut data);
    data
}

/// Any of the governance values as JSON, with reasons untagged.
#[must_use]
pub fn to_json<T: serde::Serialize>(value: &T) -> Value {
    let mut json = to_value(value);
    untag_reasons(&mut json);
    json
}

fn to_value<T: serde::Serialize>(value: &T) -> Value {
    // Fails only for maps whose keys are not strings; the types here have none that reach a person.
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// In a verdict, `{"reason": {"HEALTH_DEGRADED": {…}}}` becomes `{"reason": {"code": "HEALTH_DEGRADED", …}}`.
/// A reason anywhere else is somebody's own words.
fn untag_reasons(value: &mut Value) {
    match value {
        Value::Object(object) => {
            let is_verdict = ["component", "action", "multiplier"].iter().all(|field| object.contains_key(*field));
            if is_verdict && let Some(reason) = object.get_mut("reason") {
                untag(reason);
            }
            object.values_mut().for_each(untag_reasons);
        }
        Value::Array(items) => items.iter_mut().for_each(untag_reasons),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn untag(reason: &mut Value) {
    let mut untagged = Map::new();
    match std::mem::take(reason) {
        Value::Object(tagged) => {
            for (code, fields) in tagged {
                untagged.insert("code".to_owned(), Value::String(code));
                if let Value::Object(fields) = fields {
                    untagged.extend(fields);
                }
            }
        }
        code @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            untagged.insert("code".to_owned(), code);
        }
    }
    *reason = Value::Object(untagged);
}
