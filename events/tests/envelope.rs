//! What people and programs read of a recorded event: pinned letter for letter.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop where it stands")]

#[path = "codec/values.rs"]
#[expect(dead_code, reason = "only some of the values are looked at here")]
mod values;

use std::path::Path;

use ephor_events::codec::{Heading, draft};
use ephor_events::envelope::{Envelope, event_json, to_json};
use ephor_events::{Commit, Draft, Durability, EventLog, Seq, StreamId, Version};
use ephor_governance::event::Event;
use ephor_governance::maturity::{self, DemotionCause, Evidence, Level};
use ephor_governance::record::KeyKind;
use ephor_governance::units::{Amount, Timestamp};
use ephor_governance::verdict::Reason;
use ephor_governance::{health, token};
use serde_json::{Value, json};
use values::{ID, INSTRUMENT};

const AT: i64 = 1_750_000_000_000_000_000;

fn drafted(kind: KeyKind, expected: u64, decided_at: i64, occurred_at: i64, mut events: Vec<Event>) -> Draft {
    let heading = Heading {
        stream: StreamId::new("btc-trend"),
        expected: Version(expected),
        decided_at: Timestamp::from_nanos(decided_at),
        occurred_at: Timestamp::from_nanos(occurred_at),
        trace: ID.into(),
        key: Some((kind, ID.into())),
        instrument: Some(INSTRUMENT.into()),
        system: Version(3),
    };
    draft(heading, &mut events).unwrap()
}

/// An order that demoted, and a trade that was decided a little before that was recorded.
fn recorded() -> Vec<Commit> {
    let evidence = Evidence::starting(Timestamp::from_nanos(AT - 1_000), Amount::from(100_000));
    let (from, to, cause) = (Level::Autonomous, Level::Paper, DemotionCause::Drawdown);
    let demoted = maturity::Event::Demoted { from, to, cause, evidence };
    let used = token::Event::Used { id: "token-7".parse().unwrap(), order_id: ID.parse().unwrap(), uses_left: 0 };
    let order = vec![
        Event::DecisionMade(Box::new(values::decision())),
        Event::MaturityTransitioned(demoted),
        Event::TokenChanged(used),
    ];
    let trade = vec![Event::TradeClosed(values::closed_trade()), Event::HealthUpdated(health::Event::PRISTINE)];
    let mut log = EventLog::memory();
    let drafts = [
        drafted(KeyKind::Order, 0, AT + 1_500_000, AT, order),
        drafted(KeyKind::Trade, 3, AT + 1_000_000, AT - 1, trade),
    ];
    log.append(&drafts, Durability::Written).unwrap();
    [Seq(1), Seq(4)].map(|seq| log.reader().commit_of(seq).unwrap().unwrap()).into()
}

fn read_back() -> Vec<Value> {
    recorded().iter().flat_map(|commit| Envelope::of_commit(commit).unwrap()).map(|e| e.to_json()).collect()
}

#[test]
fn the_json_of_a_decision_and_of_a_trade_stays_as_it_is() {
    let now = format!("{}\n", serde_json::to_string_pretty(&read_back()).unwrap());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/envelope.json");
    if std::env::var_os("BLESS").is_some() && !path.exists() {
        std::fs::write(&path, &now).unwrap();
    }
    assert_eq!(now, std::fs::read_to_string(&path).unwrap(), "what consumers read has changed");
}

#[test]
fn times_are_rfc_3339_amounts_are_strings_and_a_reason_has_a_code() {
    let events = read_back();
    let [decision, demotion, _, trade, health] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(decision["recorded_at"], "2025-06-15T15:06:40.001500Z");
    assert_eq!(decision["data"]["order"]["qty"], "0.250");
    assert_eq!(decision["data"]["order"]["id"], ID);
    let killed = json!({ "code": "KILL_ENGAGED", "by": "ana", "since": "2025-06-15T15:06:40.000000002Z", "exits_blocked": true });
    assert_eq!(decision["data"]["verdicts"][2]["reason"], killed);
    assert_eq!(decision["data"]["verdicts"][0]["reason"], json!({ "code": "COMPONENT_CLEAR" }));
    assert_eq!(demotion["cause"], decision["seq"]);
    assert_eq!(decision["cause"], Value::Null);
    assert_eq!(health["cause"], trade["seq"]);
    // Recorded when the one before was, decided earlier.
    assert_eq!(trade["recorded_at"], decision["recorded_at"]);
    assert_eq!(trade["decided_at"], "2025-06-15T15:06:40.001Z");
    assert_eq!(trade["data"]["trade"]["realized_pnl"], "125.0625");
}

#[test]
fn every_reason_of_a_verdict_is_an_object_with_its_code() {
    let decision = to_json(&values::decision());
    for (verdict, reason) in decision["verdicts"].as_array().unwrap().iter().zip(values::reasons()) {
        let tagged = serde_json::to_value(&reason).unwrap();
        let code = tagged.as_str().or_else(|| tagged.as_object().unwrap().keys().next().map(String::as_str)).unwrap();
        assert_eq!(verdict["reason"]["code"], code);
        let fields = tagged.get(code).and_then(Value::as_object).map_or(0, serde_json::Map::len);
        assert_eq!(verdict["reason"].as_object().unwrap().len(), fields + 1, "{reason:?}");
    }
    assert_eq!(to_json(&Reason::GateTimeout), "GATE_TIMEOUT");
}

/// A venue says `INSUFFICIENT_MARGIN`, and a person may write in capitals too: that is a text, not a code of
/// ours, and it once came out as an object.
#[test]
fn a_reason_in_somebodys_own_words_stays_a_text() {
    let mut reports = 0;
    for (_, event) in values::written_now() {
        let Event::OrderReported(report) = &event else { continue };
        assert_eq!(event_json(&event)["reason"], json!(report.reason));
        reports += 1;
    }
    assert!(reports > 1);
    let message = "FEED_LATE".to_owned();
    let paused = Event::KillSwitchReleased {
        scope: ephor_governance::event::Scope::All,
        by: "ana".parse().unwrap(),
        reason: message.clone(),
    };
    assert_eq!(event_json(&paused)["reason"], message);
}

#[test]
fn every_event_has_an_object_of_fields_and_no_name_around_it() {
    for (label, event) in values::written_now() {
        let data = event_json(&event);
        let plain = event == Event::CanaryAlerted(ephor_governance::canary::Alert::NothingRegistered);
        assert!(data.is_object() || plain, "{label}: {data}");
        assert_eq!(data.get(event.name()), None, "{label}");
    }
}
