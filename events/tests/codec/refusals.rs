//! What does not decode, and what is lifted out of a payload and put back.

use ephor_events::codec::{DecodeError, decode_all, decode_commit, draft};
use ephor_events::{Durability, EventLog, Seq, StreamId, Version};
use ephor_governance::event::Event;
use ephor_governance::ids::{InstrumentId, SourceId};
use ephor_governance::record::KeyKind;
use ephor_governance::units::Timestamp;
use proptest::prelude::*;

use crate::values::{self, ID, INSTRUMENT};
use crate::{Form, decode, encode};

/// The complaint about a payload, after seeing that it names the place and is final.
fn malformed(type_id: u16, schema: u16, payload: &[u8]) -> String {
    let error = decode(type_id, schema, payload, Form::Bare).unwrap_err();
    assert!(!error.is_retryable());
    assert!(error.to_string().starts_with("seq 41: "), "{error}");
    let DecodeError::Malformed { seq, type_id: found, schema: found_schema, problem } = error else {
        panic!("{error}")
    };
    assert_eq!((seq, found, found_schema), (Seq(41), type_id, schema));
    problem
}

#[test]
fn a_byte_too_many_or_too_few_is_refused_for_every_event() {
    for (label, event) in values::written_now() {
        let encoded = encode(&event, Form::Bare);
        let (type_id, schema) = (encoded.type_id, encoded.schema);
        let longer = [encoded.payload.as_slice(), &[0]].concat();
        assert_eq!(malformed(type_id, schema, &longer), "1 bytes are left over", "{label}");
        malformed(type_id, schema, &encoded.payload[..encoded.payload.len() - 1]);
        assert_eq!(malformed(type_id, schema, &[]), "it is empty");
    }
}

#[test]
fn an_unknown_type_or_schema_is_named() {
    for (type_id, schema) in [(0, 1), (26, 1), (u16::MAX, 1), (1, 0), (1, 2), (15, 3), (20, u16::MAX)] {
        let error = decode(type_id, schema, &[0, 0], Form::Bare).unwrap_err();
        assert!(!error.is_retryable());
        let DecodeError::UnknownType { seq, type_id: found, schema: found_schema } = error else { panic!("{error}") };
        assert_eq!((seq, found, found_schema), (Seq(41), type_id, schema));
    }
}

#[test]
fn what_was_lifted_out_of_a_payload_must_be_there_to_put_back() {
    for (label, event) in values::written_now() {
        for form in [Form::Lifted, Form::Traced, Form::OrderTraced] {
            let encoded = encode(&event, form);
            if encoded.payload[0] != 0 {
                let problem = malformed(encoded.type_id, encoded.schema, &encoded.payload);
                let missing = ["it has no instrument", "it has no id", "it has no order"];
                assert!(missing.contains(&problem.as_str()), "{label}: {problem}");
            }
        }
    }
    let paused = Event::ActorFaulted { message: String::new() };
    let payload = [vec![1], encode(&paused, Form::Bare).payload[1..].to_vec()].concat();
    let error = decode(20, 1, &payload, Form::Lifted).unwrap_err();
    assert!(error.to_string().ends_with("it has no instrument"), "{error}");
}

#[test]
fn a_payload_that_says_more_was_lifted_than_we_know_of_is_refused() {
    for (_, event) in values::written_now() {
        // A bit nobody knows, and an id that is said to be two things at once.
        for flags in [16, 128, 2 | 4] {
            let mut encoded = encode(&event, Form::Bare);
            encoded.payload[0] = flags;
            let problem = malformed(encoded.type_id, encoded.schema, &encoded.payload);
            assert_eq!(problem, format!("its first byte is {flags}"));
        }
    }
}

/// The same event about another instrument, with another id, and of another order where it names one.
fn about(mut event: Event, instrument: &str, id: &str, order: &str) -> Event {
    let subject = event.subject_mut();
    if let Some(own) = subject.instrument {
        *own = InstrumentId::recorded(instrument.into());
    }
    if let Some(own) = subject.id {
        *own = SourceId::recorded(id.into());
    }
    if let Some(own) = subject.order {
        *own = SourceId::recorded(order.into());
    }
    event
}

proptest! {
    /// Whatever the commit says once, and whatever the event says itself: nothing is lost or mixed up.
    #[test]
    fn a_commit_reads_back_whatever_was_lifted_out_of_it(
        picks in proptest::collection::vec(
            (
                any::<prop::sample::Index>(),
                "(BTC|ETH)?",
                prop_oneof![Just(ID.to_owned()), "[a-c]{0,2}"],
                prop_oneof![Just(ID.to_owned()), "[a-c]{0,2}"],
            ),
            1..6,
        ),
        instrument in proptest::option::of("(BTC|ETH)"),
        key in proptest::option::of(prop_oneof![Just(ID.to_owned()), "[a-c]{1,2}"]),
        trace in prop_oneof![Just(ID.to_owned()), "[a-c]{0,2}"],
    ) {
        let values = values::written_now();
        let events: Vec<Event> = picks
            .iter()
            .map(|(pick, instrument, id, order)| about(pick.get(&values).1.clone(), instrument, id, order))
            .collect();
        let heading = ephor_events::codec::Heading {
            stream: StreamId::new("btc-trend"),
            expected: Version(0),
            decided_at: Timestamp::from_nanos(2),
            occurred_at: Timestamp::from_nanos(1),
            trace: trace.into(),
            key: key.map(|id| (KeyKind::Trade, id.into())),
            instrument: instrument.map(Into::into),
            system: Version(3),
        };
        let mut given = events.clone();
        let draft = draft(heading, &mut given).unwrap();
        prop_assert_eq!(&given, &events);
        let mut log = EventLog::memory();
        log.append(&[draft], Durability::Written).unwrap();
        let reader = log.reader();
        let owned = reader.commit_of(Seq(1)).unwrap().unwrap();
        prop_assert_eq!(&decode_commit(&owned).unwrap(), &events);
        let mut cursor = reader.cursor(Seq(1)).unwrap();
        let view = cursor.next().unwrap().unwrap();
        let read: Vec<Event> = decode_all(&view).map(Result::unwrap).collect();
        prop_assert_eq!(&read, &events);
    }
}

#[test]
fn an_id_and_an_instrument_are_kept_once_a_commit() {
    let event = Event::TradeClosed(values::closed_trade());
    let bare = encode(&event, Form::Bare).payload.len();
    let lifted = encode(&event, Form::Lifted).payload.len();
    assert_eq!(bare - lifted, INSTRUMENT.len() + ID.len());
}
