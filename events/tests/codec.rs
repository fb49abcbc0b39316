//! The bytes of every event, kept for ever: they are what a log of years ago is made of.
//!
//! One golden file a type and schema. Encoding must give its bytes, decoding must give its values; a
//! type or schema without a file fails. See `codec/golden.rs` for how a file is begun.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

#[path = "codec/golden.rs"]
mod golden;
#[path = "codec/refusals.rs"]
mod refusals;
#[path = "codec/values.rs"]
mod values;
#[path = "codec/variants.rs"]
mod variants;

use std::collections::BTreeSet;

use ephor_events::codec::{self, DecodeError, Once, type_and_schema, type_name};
use ephor_events::{Cause, Encoded, EventView, Seq, Text, Version};
use ephor_governance::event::Event;
use golden::{hex, unhex};
use smol_str::SmolStr;
use values::{ID, INSTRUMENT, ORDER};

/// Every type with its number and the schemas it has had. Lines are added, never changed.
const PINNED: [(u16, &str, &[u16]); 25] = [
    (1, "StrategyRegistered", &[1]),
    (2, "BaselineRecorded", &[1]),
    (3, "SignalReceived", &[1]),
    (4, "OrderReported", &[1]),
    (5, "TradeClosed", &[1, 2]),
    (6, "AccountUpdated", &[1]),
    (7, "DecisionMade", &[1]),
    (8, "MaturityTransitioned", &[1]),
    (9, "HealthUpdated", &[1]),
    (10, "DriftAlerted", &[1]),
    (11, "TokenChanged", &[1]),
    (12, "CanaryChecked", &[1]),
    (13, "CanaryAlerted", &[1]),
    (14, "PolicyAdopted", &[1]),
    (15, "KillSwitchEngaged", &[1, 2]),
    (16, "KillSwitchReleased", &[1]),
    (17, "StrategyPaused", &[1]),
    (18, "StrategyResumed", &[1]),
    (19, "LevelSet", &[1]),
    (20, "ActorFaulted", &[1]),
    (21, "OrderApproved", &[1]),
    (22, "OrderDeclined", &[1]),
    (23, "PolicyProposed", &[1]),
    (24, "FillRecorded", &[1, 2]),
    (25, "UnattributedReceived", &[1]),
];

fn file(type_id: u16, schema: u16) -> String {
    format!("{}.v{schema}.hex", type_name(type_id).unwrap())
}

/// What the commit around an event says once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Nothing.
    Bare,
    /// Its instrument, and its id as the key.
    Lifted,
    /// Its instrument, and its id as the trace.
    Traced,
    /// The order it names, as the trace.
    OrderTraced,
}

impl Form {
    const ALL: [Self; 4] = [Self::Bare, Self::Lifted, Self::Traced, Self::OrderTraced];

    fn label(self, label: &str) -> String {
        match self {
            Self::Bare => label.to_owned(),
            Self::Lifted => format!("{label}, lifted"),
            Self::Traced => format!("{label}, traced"),
            Self::OrderTraced => format!("{label}, order traced"),
        }
    }

    fn once(self, instrument: &SmolStr) -> Once<'_> {
        let instrument = Some(instrument);
        match self {
            Self::Bare => Once::NOTHING,
            Self::Lifted => Once { instrument, key: Some(Text::of(ID)), trace: Text::None },
            Self::Traced => Once { instrument, key: None, trace: Text::of(ID) },
            Self::OrderTraced => Once { trace: Text::of(ORDER), ..Once::NOTHING },
        }
    }
}

/// Decodes a payload as the log would hand it over, at seq 41.
fn decode(type_id: u16, schema: u16, payload: &[u8], form: Form) -> Result<Event, DecodeError> {
    let cause = Cause::None;
    let view = EventView { seq: Seq(41), version: Version(7), index: 0, type_id, schema, cause, payload };
    codec::decode(&view, &form.once(&SmolStr::new(INSTRUMENT)))
}

fn encode(event: &Event, form: Form) -> Encoded {
    let mut given = event.clone();
    let encoded = codec::encode(&mut given, &form.once(&SmolStr::new(INSTRUMENT)), Cause::None).unwrap();
    assert_eq!(given, *event, "encoding left the event changed");
    encoded
}

#[test]
fn every_event_gives_the_bytes_it_always_gave_and_they_give_it_back() {
    let mut missing = Vec::new();
    for (label, event) in values::written_now() {
        let (type_id, schema) = type_and_schema(&event);
        let mut known = BTreeSet::new();
        for form in Form::ALL {
            let payload = encode(&event, form).payload;
            let label = form.label(label);
            if !known.insert(payload.clone()) {
                continue;
            }
            match golden::entry(&file(type_id, schema), &label, &hex(&payload)) {
                Ok(kept) => {
                    let name = event.name();
                    assert_eq!(hex(&payload), kept, "{name} [{label}] is written in other bytes");
                    assert_eq!(decode(type_id, schema, &unhex(&kept), form).unwrap(), event, "{name} [{label}]");
                }
                Err(problem) => missing.push(problem),
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn bytes_of_an_old_schema_read_as_the_event_of_today() {
    for (type_id, schema, label, bytes, event) in values::written_before() {
        let kept = golden::entry(&file(type_id, schema), label, &hex(&bytes));
        let kept = kept.unwrap_or_else(|missing| panic!("{missing}"));
        assert_eq!(decode(type_id, schema, &unhex(&kept), Form::Bare).unwrap(), event, "{} [{label}]", event.name());
    }
}

#[test]
fn every_type_and_schema_has_values_and_they_are_the_pinned_ones() {
    let now = values::written_now().into_iter().map(|(_, event)| (type_and_schema(&event), event.name()));
    let before = values::written_before().into_iter().map(|(id, schema, .., event)| ((id, schema), event.name()));
    let found: BTreeSet<_> = now.chain(before).collect();
    let pinned: BTreeSet<_> =
        PINNED.iter().flat_map(|(id, name, schemas)| schemas.iter().map(move |s| ((*id, *s), *name))).collect();
    assert_eq!(found, pinned);
    let names: Vec<_> = PINNED.iter().map(|(_, name, _)| *name).collect();
    assert_eq!(names, Event::NAMES);
    for (id, name, _) in PINNED {
        assert_eq!(type_name(id), Some(name));
    }
    assert_eq!((type_name(0), type_name(26), type_name(u16::MAX)), (None, None, None));
}

#[test]
fn every_golden_file_of_events_is_one_that_is_compared_with() {
    let kept = std::fs::read_dir(golden::dir()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let kept: BTreeSet<String> = kept.filter(|name| name.contains(".v")).collect();
    let wanted = PINNED.iter().flat_map(|(id, _, schemas)| schemas.iter().map(|schema| file(*id, *schema)));
    assert_eq!(kept, wanted.collect());
}
