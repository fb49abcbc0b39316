//! Events to bytes and back: the only file that knows bincode.
//!
//! bincode is positional, so every payload stands under an explicit type id and schema version, and
//! neither is ever used again for something else. An old version is read by the struct it was written
//! with and then upcast. Golden bytes of every type and version are kept with the tests for ever.
//!
//! What a commit says once (its instrument, its key, its trace) is lifted out of the payloads and put back
//! on reading: the first byte of a payload says which.

use std::sync::Arc;

use bincode::config::{Configuration, Limit, LittleEndian, Varint, standard};
use bincode::enc::write::Writer;
use ephor_governance::event::{ClosedTrade, Event, Scope, Subject};
use ephor_governance::fill::Pieces;
use ephor_governance::ids::{Actor, InstrumentId, SourceId};
use ephor_governance::policy::{Policy, PolicyId};
use ephor_governance::record::{KeyKind, cause_within};
use ephor_governance::trade::{RMultiple, Trade};
use ephor_governance::units::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::{Cause, Commit, CommitView, Draft, Encoded, EventView, Hash, Key, Seq, StreamId, Text, Version};

const BYTES: Configuration = standard();
/// For reading: a damaged length must not ask for more memory than any payload has.
const BOUNDED: Configuration<LittleEndian, Varint, Limit<{ 64 << 20 }>> = standard().with_limit();

/// The payload's instrument is the commit's.
const INSTRUMENT_LIFTED: u8 = 1;
/// The payload's source id is the commit's key.
const ID_LIFTED: u8 = 2;
/// The payload's source id is the commit's trace.
const ID_IS_TRACE: u8 = 4;
/// The order that the payload names is the commit's trace.
const ORDER_IS_TRACE: u8 = 8;

/// Room for a decision, the largest of the frequent payloads.
const PAYLOAD: usize = 256;

/// Why an event could not be written.
#[derive(Debug, thiserror::Error)]
#[error("encode {name} failed")]
pub struct EncodeError {
    /// Which event.
    pub name: &'static str,
    /// What the encoder said.
    pub source: bincode::error::EncodeError,
}

/// Why recorded bytes are not an event.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer version, or not by us.
    #[error("seq {seq}: event type {type_id} schema {schema} is not known to this version")]
    UnknownType {
        /// Where.
        seq: Seq,
        /// Which type.
        type_id: u16,
        /// Which schema.
        schema: u16,
    },
    /// The bytes are not of the type they stand under.
    #[error("seq {seq}: payload of event type {type_id} schema {schema} does not decode: {problem}")]
    Malformed {
        /// Where.
        seq: Seq,
        /// Which type.
        type_id: u16,
        /// Which schema.
        schema: u16,
        /// What the decoder said.
        problem: String,
    },
}

impl DecodeError {
    /// Never: the bytes will be the same next time.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        false
    }
}

/// The number that an event's type has in the log, and the schema version that is written now: for a trade by itself
/// still the first, because nothing else is said of it.
#[must_use]
pub const fn type_and_schema(event: &Event) -> (u16, u16) {
    match event {
        Event::StrategyRegistered { .. } => (1, 1),
        Event::BaselineRecorded(_) => (2, 1),
        Event::SignalReceived(_) => (3, 1),
        Event::OrderReported(_) => (4, 1),
        Event::TradeClosed(ClosedTrade { piece: None, .. }) => (5, 1),
        Event::TradeClosed(ClosedTrade { piece: Some(_), .. }) => (5, 2),
        Event::AccountUpdated(_) => (6, 1),
        Event::DecisionMade(_) => (7, 1),
        Event::MaturityTransitioned(_) => (8, 1),
        Event::HealthUpdated(_) => (9, 1),
        Event::DriftAlerted(_) => (10, 1),
        Event::TokenChanged(_) => (11, 1),
        Event::CanaryChecked(_) => (12, 1),
        Event::CanaryAlerted(_) => (13, 1),
        Event::PolicyAdopted { .. } => (14, 1),
        Event::KillSwitchEngaged { .. } => (15, 2),
        Event::KillSwitchReleased { .. } => (16, 1),
        Event::StrategyPaused { .. } => (17, 1),
        Event::StrategyResumed { .. } => (18, 1),
        Event::LevelSet { .. } => (19, 1),
        Event::ActorFaulted { .. } => (20, 1),
        Event::OrderApproved { .. } => (21, 1),
        Event::OrderDeclined { .. } => (22, 1),
        Event::PolicyProposed { .. } => (23, 1),
        Event::FillRecorded { .. } => (24, 2),
        Event::UnattributedReceived(_) => (25, 1),
    }
}

/// The digest of this file: what recorded bytes are read as depends on it, upcasts above all.
#[must_use]
pub fn source_digest() -> Hash {
    Hash(*blake3::hash(include_bytes!("codec.rs")).as_bytes())
}

/// The name of a type id, for reading a log without decoding it; `None` for an unknown one.
#[must_use]
pub fn type_name(type_id: u16) -> Option<&'static str> {
    Event::NAMES.get(usize::from(type_id).checked_sub(1)?).copied()
}

/// A trade by itself. The second schema adds the piece of an order that it is, and is written with one alone.
#[derive(Deserialize)]
struct ClosedTradeV1 {
    trade: Trade,
    r: RMultiple,
    return_on_entry: f64,
    keep: u32,
}

/// Kill switches before exits could be stopped: every one of them let exits pass.
#[derive(Serialize, Deserialize)]
struct KillSwitchEngagedV1 {
    scope: Scope,
    by: Actor,
    reason: String,
}

/// The end of a payload that is being written.
struct Growing<'a>(&'a mut Vec<u8>);

impl Writer for Growing<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn write_payload(event: &Event, to: &mut Vec<u8>) -> Result<(), bincode::error::EncodeError> {
    fn put<T: Serialize + ?Sized>(value: &T, to: &mut Vec<u8>) -> Result<(), bincode::error::EncodeError> {
        bincode::serde::encode_into_writer(value, Growing(to), BYTES)
    }
    match event {
        Event::StrategyRegistered { registration, level } => put(&(registration, level), to),
        Event::BaselineRecorded(recorded) => put(recorded, to),
        Event::SignalReceived(signal) => put(signal, to),
        Event::OrderReported(report) => put(report, to),
        Event::TradeClosed(closed) => put(closed, to),
        Event::AccountUpdated(account) => put(account, to),
        Event::DecisionMade(decision) => put(decision, to),
        Event::MaturityTransitioned(transition) => put(transition, to),
        Event::HealthUpdated(health) => put(health, to),
        Event::DriftAlerted(alert) => put(alert, to),
        Event::TokenChanged(change) => put(change, to),
        Event::CanaryChecked(round) => put(round, to),
        Event::CanaryAlerted(alert) => put(alert, to),
        Event::PolicyAdopted { id, policy, by, reason } | Event::PolicyProposed { id, policy, by, reason } => {
            put(&(id, policy.canonical(), by, reason), to)
        }
        Event::KillSwitchEngaged { scope, exits_blocked, by, reason } => put(&(scope, exits_blocked, by, reason), to),
        Event::KillSwitchReleased { scope, by, reason } => put(&(scope, by, reason), to),
        Event::StrategyPaused { cause, by, reason } => put(&(cause, by, reason), to),
        Event::StrategyResumed { causes, by, reason } => put(&(causes, by, reason), to),
        Event::LevelSet { from, to: level, earned, evidence, by, reason } => {
            put(&(from, level, earned, evidence, by, reason), to)
        }
        Event::ActorFaulted { message } => put(message, to),
        Event::OrderApproved { order_id, by, reason } | Event::OrderDeclined { order_id, by, reason } => {
            put(&(order_id, by, reason), to)
        }
        Event::FillRecorded { fill, netting, pieces } => put(&(fill, netting, pieces), to),
        Event::UnattributedReceived(received) => put(received, to),
    }
}

/// What a commit says once for all its events.
#[derive(Clone, Copy, Debug)]
pub struct Once<'a> {
    /// The instrument it is about.
    pub instrument: Option<&'a SmolStr>,
    /// What makes its command idempotent.
    pub key: Option<Text<'a>>,
    /// What ties order, decision and trade together.
    pub trace: Text<'a>,
}

impl Once<'_> {
    /// Says nothing: events are written in full.
    pub const NOTHING: Once<'static> = Once { instrument: None, key: None, trace: Text::None };
}

/// Encodes one event. What the commit says once is taken out while writing and put back after.
///
/// # Errors
/// [`EncodeError`] where a value cannot be written at all.
pub fn encode(event: &mut Event, once: &Once<'_>, cause: Cause) -> Result<Encoded, EncodeError> {
    let (type_id, schema) = type_and_schema(event);
    let mut flags = 0;
    let (mut instrument_out, mut id_out, mut order_out) = (None, None, None);
    let Subject { instrument, id, order } = event.subject_mut();
    if let Some(own) = instrument.filter(|own| once.instrument.is_some_and(|said| said == own.as_str())) {
        flags |= INSTRUMENT_LIFTED;
        instrument_out = Some(std::mem::take(own));
    }
    let traced = |own: &SourceId| !once.trace.is_empty() && once.trace.is(own.as_str());
    if let Some(own) = id {
        if once.key.is_some_and(|key| key.is(own.as_str())) {
            flags |= ID_LIFTED;
            id_out = Some(std::mem::take(own));
        } else if traced(own) {
            flags |= ID_IS_TRACE;
            id_out = Some(std::mem::take(own));
        }
    }
    if let Some(own) = order.filter(|own| traced(own)) {
        flags |= ORDER_IS_TRACE;
        order_out = Some(std::mem::take(own));
    }
    let mut payload = Vec::with_capacity(PAYLOAD);
    payload.push(flags);
    let written = write_payload(event, &mut payload);
    let Subject { instrument, id, order } = event.subject_mut();
    if let Some((own, out)) = instrument.zip(instrument_out) {
        *own = out;
    }
    for (own, out) in [id.zip(id_out), order.zip(order_out)].into_iter().flatten() {
        *own = out;
    }
    written.map_err(|source| EncodeError { name: event.name(), source })?;
    Ok(Encoded { type_id, schema, cause, payload })
}

/// What a commit says beside its events.
#[derive(Clone, Debug)]
pub struct Heading {
    /// The stream that grows.
    pub stream: StreamId,
    /// The head of the stream before.
    pub expected: Version,
    /// The governor's time: what the rules were given.
    pub decided_at: Timestamp,
    /// The source's time.
    pub occurred_at: Timestamp,
    /// Ties order, decision, token and trade together.
    pub trace: SmolStr,
    /// What makes the command idempotent.
    pub key: Option<(KeyKind, SmolStr)>,
    /// The instrument it is about.
    pub instrument: Option<SmolStr>,
    /// The system version that it was decided on.
    pub system: Version,
}

/// A text to compare with or to copy, without looking for its shortest form.
fn as_it_is(text: &str) -> Text<'_> {
    if text.is_empty() { Text::None } else { Text::Str(text) }
}

/// Encodes the events of one commit.
///
/// # Errors
/// The first event that cannot be written.
pub fn draft(heading: Heading, events: &mut [Event]) -> Result<Draft, EncodeError> {
    let once = Once {
        instrument: heading.instrument.as_ref(),
        key: heading.key.as_ref().map(|(_, id)| as_it_is(id)),
        trace: as_it_is(&heading.trace),
    };
    let mut encoded = Vec::with_capacity(events.len());
    for index in 0..events.len() {
        let cause = match cause_within(events, index).and_then(|cause| u16::try_from(cause).ok()) {
            Some(cause) => Cause::InCommit(cause),
            None => Cause::None,
        };
        if let Some(event) = events.get_mut(index) {
            encoded.push(encode(event, &once, cause)?);
        }
    }
    Ok(Draft {
        stream: heading.stream,
        expected: heading.expected,
        decided_at: heading.decided_at.nanos(),
        occurred_at: heading.occurred_at.nanos(),
        trace: heading.trace,
        key: heading.key.map(|(kind, id)| Key { kind: kind as u8, id }),
        instrument: heading.instrument,
        system: heading.system,
        events: encoded,
    })
}

/// Decodes one event of a commit, upcasting old versions.
///
/// # Errors
/// [`DecodeError`], naming the seq.
pub fn decode(event: &EventView<'_>, once: &Once<'_>) -> Result<Event, DecodeError> {
    let EventView { seq, type_id, schema, payload, .. } = *event;
    let malformed = |problem: String| DecodeError::Malformed { seq, type_id, schema, problem };
    let (&flags, bytes) = payload.split_first().ok_or_else(|| malformed("it is empty".to_owned()))?;
    let known = INSTRUMENT_LIFTED | ID_LIFTED | ID_IS_TRACE | ORDER_IS_TRACE;
    if flags & !known != 0 || flags & ID_LIFTED != 0 && flags & ID_IS_TRACE != 0 {
        return Err(malformed(format!("its first byte is {flags}")));
    }
    let mut decoded = read_payload(type_id, schema, bytes).map_err(|problem| match problem {
        Some(problem) => malformed(problem),
        None => DecodeError::UnknownType { seq, type_id, schema },
    })?;
    if flags != 0 {
        let missing = |what: &str| malformed(format!("it has no {what}"));
        let trace = Some(once.trace).filter(|trace| !trace.is_empty());
        let Subject { instrument, id, order } = decoded.subject_mut();
        if flags & INSTRUMENT_LIFTED != 0 {
            let (own, name) = instrument.zip(once.instrument).ok_or_else(|| missing("instrument"))?;
            *own = InstrumentId::recorded(name.clone());
        }
        if flags & (ID_LIFTED | ID_IS_TRACE) != 0 {
            let said = if flags & ID_LIFTED != 0 { once.key } else { trace };
            let (own, said) = id.zip(said).ok_or_else(|| missing("id"))?;
            *own = SourceId::recorded(said.to_smol_str());
        }
        if flags & ORDER_IS_TRACE != 0 {
            let (own, said) = order.zip(trace).ok_or_else(|| missing("order"))?;
            *own = SourceId::recorded(said.to_smol_str());
        }
    }
    Ok(decoded)
}

/// The events of a commit, decoded in order.
pub fn decode_all<'a>(commit: &CommitView<'a>) -> impl Iterator<Item = Result<Event, DecodeError>> + use<'a> {
    let once = commit.once();
    commit.events().map(move |event| decode(&event, &once))
}

/// The events of an owned commit, decoded in order.
///
/// # Errors
/// The first event that does not decode.
pub fn decode_commit(commit: &Commit) -> Result<Vec<Event>, DecodeError> {
    let once = Once {
        instrument: commit.instrument.as_ref(),
        key: commit.key.as_ref().map(|key| as_it_is(&key.id)),
        trace: as_it_is(&commit.trace),
    };
    let view = |(encoded, index): (&Encoded, u32)| {
        let view = EventView {
            seq: Seq(commit.seq.0 + u64::from(index)),
            version: Version(commit.version.0 + u64::from(index)),
            index,
            type_id: encoded.type_id,
            schema: encoded.schema,
            cause: encoded.cause,
            payload: &encoded.payload,
        };
        decode(&view, &once)
    };
    commit.events.iter().zip(0..).map(view).collect()
}

/// A state or a note in its bytes, for what is kept beside the log.
///
/// # Errors
/// What the encoder said.
pub fn pack<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    bincode::serde::encode_to_vec(value, BYTES).map_err(|error| error.to_string())
}

/// What [`pack`] gave.
///
/// # Errors
/// What the decoder said; bytes left over are an error too.
pub fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let (value, read) = bincode::serde::decode_from_slice(bytes, BOUNDED).map_err(|error| error.to_string())?;
    if read == bytes.len() { Ok(value) } else { Err(format!("{} bytes are left over", bytes.len() - read)) }
}

/// `Err(None)` is a type or schema that is not known.
fn read_payload(type_id: u16, schema: u16, bytes: &[u8]) -> Result<Event, Option<String>> {
    fn get<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Option<String>> {
        unpack(bytes).map_err(Some)
    }
    fn policy_said(bytes: &[u8]) -> Result<(PolicyId, Arc<Policy>, Actor, String), Option<String>> {
        let (id, policy, by, reason): (_, String, _, _) = get(bytes)?;
        let policy = serde_json::from_str(&policy).map_err(|error| Some(error.to_string()))?;
        Ok((id, Arc::new(policy), by, reason))
    }
    Ok(match (type_id, schema) {
        (1, 1) => {
            let (registration, level) = get(bytes)?;
            Event::StrategyRegistered { registration, level }
        }
        (2, 1) => Event::BaselineRecorded(get(bytes)?),
        (3, 1) => Event::SignalReceived(get(bytes)?),
        (4, 1) => Event::OrderReported(get(bytes)?),
        (5, 1) => {
            let ClosedTradeV1 { trade, r, return_on_entry, keep } = get(bytes)?;
            Event::TradeClosed(ClosedTrade { trade, r, return_on_entry, keep, piece: None })
        }
        (5, 2) => Event::TradeClosed(get(bytes)?),
        (6, 1) => Event::AccountUpdated(get(bytes)?),
        (7, 1) => Event::DecisionMade(get(bytes)?),
        (8, 1) => Event::MaturityTransitioned(get(bytes)?),
        (9, 1) => Event::HealthUpdated(get(bytes)?),
        (10, 1) => Event::DriftAlerted(get(bytes)?),
        (11, 1) => Event::TokenChanged(get(bytes)?),
        (12, 1) => Event::CanaryChecked(get(bytes)?),
        (13, 1) => Event::CanaryAlerted(get(bytes)?),
        (14, 1) => {
            let (id, policy, by, reason) = policy_said(bytes)?;
            Event::PolicyAdopted { id, policy, by, reason }
        }
        (15, 1) => {
            let KillSwitchEngagedV1 { scope, by, reason } = get(bytes)?;
            Event::KillSwitchEngaged { scope, exits_blocked: false, by, reason }
        }
        (15, 2) => {
            let (scope, exits_blocked, by, reason) = get(bytes)?;
            Event::KillSwitchEngaged { scope, exits_blocked, by, reason }
        }
        (16, 1) => {
            let (scope, by, reason) = get(bytes)?;
            Event::KillSwitchReleased { scope, by, reason }
        }
        (17, 1) => {
            let (cause, by, reason) = get(bytes)?;
            Event::StrategyPaused { cause, by, reason }
        }
        (18, 1) => {
            let (causes, by, reason) = get(bytes)?;
            Event::StrategyResumed { causes, by, reason }
        }
        (19, 1) => {
            let (from, to, earned, evidence, by, reason) = get(bytes)?;
            Event::LevelSet { from, to, earned, evidence, by, reason }
        }
        (20, 1) => Event::ActorFaulted { message: get(bytes)? },
        (21, 1) => {
            let (order_id, by, reason) = get(bytes)?;
            Event::OrderApproved { order_id, by, reason }
        }
        (22, 1) => {
            let (order_id, by, reason) = get(bytes)?;
            Event::OrderDeclined { order_id, by, reason }
        }
        (23, 1) => {
            let (id, policy, by, reason) = policy_said(bytes)?;
            Event::PolicyProposed { id, policy, by, reason }
        }
        (24, 1) => {
            let (fill, netting) = get(bytes)?;
            Event::FillRecorded { fill, netting, pieces: Pieces::Apart }
        }
        (24, 2) => {
            let (fill, netting, pieces) = get(bytes)?;
            Event::FillRecorded { fill, netting, pieces }
        }
        (25, 1) => Event::UnattributedReceived(get(bytes)?),
        _unknown => return Err(None),
    })
}
