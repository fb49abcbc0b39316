//! The variants of every enum that stands in a payload, in the order of their numbers.
//!
//! bincode writes a variant as its place in the enum, so an enum may only grow at its end. The variants
//! are found by decoding: the number of one, and then zeros for its fields.

use ephor_events::codec::unpack;
use ephor_governance::event::{PauseCause, Scope};
use ephor_governance::fill::{Netting, Pieces};
use ephor_governance::gate::Execution;
use ephor_governance::maturity::{DemotionCause, Level};
use ephor_governance::order::{Intent, OrderStatus, Side};
use ephor_governance::trade::RSource;
use ephor_governance::verdict::{Action, Component, Reason};
use ephor_governance::{canary, drift, impact, maturity, token, trade};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::golden;

/// More than the fields of any variant take when all of them are zero.
const ZEROS_MAX: usize = 100;

/// Each variant as JSON with the number of bytes that its fields take, until one is not known.
fn variants<T: Serialize + DeserializeOwned>() -> Vec<String> {
    let variant = |number: u8| {
        (0..=ZEROS_MAX).find_map(|zeros| {
            let bytes = [vec![number], vec![0; zeros]].concat();
            let json = serde_json::to_string(&unpack::<T>(&bytes).ok()?).unwrap();
            Some(format!("{zeros} {json}"))
        })
    };
    (0..=u8::MAX).map_while(variant).collect()
}

fn check<T: Serialize + DeserializeOwned>(name: &str) {
    let file = format!("enums/{name}.txt");
    let found = variants::<T>();
    assert!(found.len() > 1, "{name}: {found:?}");
    for (number, now) in found.iter().enumerate() {
        let kept = golden::entry(&file, &number.to_string(), now).unwrap_or_else(|missing| panic!("{missing}"));
        assert_eq!(*now, kept, "{name}: variant {number} was something else before");
    }
    assert_eq!(found.len(), golden::count(&file), "{name}: a variant is gone");
}

#[test]
fn an_enum_in_a_payload_grows_only_at_its_end() {
    check::<Action>("Action");
    check::<Component>("Component");
    check::<Reason>("Reason");
    check::<Level>("Level");
    check::<DemotionCause>("DemotionCause");
    check::<maturity::Event>("maturity.Event");
    check::<impact::Tier>("Tier");
    check::<Execution>("Execution");
    check::<Side>("Side");
    check::<Intent>("Intent");
    check::<OrderStatus>("OrderStatus");
    check::<trade::Direction>("Direction");
    check::<Netting>("Netting");
    check::<Pieces>("Pieces");
    check::<RSource>("RSource");
    check::<Scope>("Scope");
    check::<PauseCause>("PauseCause");
    check::<drift::Metric>("Metric");
    check::<drift::Band>("Band");
    check::<drift::Edge>("Edge");
    check::<token::Event>("token.Event");
    check::<token::Mismatch>("Mismatch");
    check::<canary::Alert>("canary.Alert");
    check::<canary::FailureAction>("FailureAction");
}

#[test]
fn the_golden_decisions_hold_every_reason() {
    let code = |variant: &String| variant.split('"').nth(1).unwrap().to_owned();
    let known: Vec<String> = variants::<Reason>().iter().map(code).collect();
    let held: Vec<String> = crate::values::reasons()
        .iter()
        .chain(&crate::values::later_reasons())
        .map(|reason| code(&serde_json::to_string(reason).unwrap()))
        .collect();
    assert_eq!(held, known);
}
