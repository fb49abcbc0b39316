//! Every stage is a trait and can be replaced: one of each kind that is nobody else's, asked at its place, and heard.

use std::sync::Arc;

use ephor_execution::breaker::Reach;
use ephor_execution::dedup::Dedup;
use ephor_execution::engine::{ExecutionEngine, Stages};
use ephor_execution::order::{TradeSignal, VenueOrder};
use ephor_execution::positions::Lane;
use ephor_execution::post::{Consequence, PostTrade};
use ephor_execution::refusal::Refusal;
use ephor_execution::risk::PreTrade;
use ephor_execution::seen::Seen;
use ephor_execution::sizing::Sizer;
use ephor_execution::state::{Fields, Kept, State, StateError};
use ephor_execution::venue::{Execution, Holding, Known, Venue, VenueError, What};
use ephor_execution::{Answer, Ask, Gate, Report, ReportError};
use ephor_governance::fill::Netting;
use ephor_governance::gate;
use ephor_governance::ids::{SourceId, StrategyId};
use ephor_governance::units::{Amount, Multiplier, Timestamp};
use ephor_governance::verdict::{Action, Reason};
use serde_json::json;

use crate::house::{Journal, block, code, entry, note, prepare};

/// A stage of one's own, in every place: says that it was asked, and no to an order that names it.
#[derive(Clone, Default)]
struct Own {
    journal: Journal,
    told: Vec<Execution>,
    /// What it has to find again.
    count: u32,
}

impl Own {
    fn says(&self, stage: &str, id: &SourceId) -> bool {
        note(&self.journal, stage);
        id.as_str() != format!("not-{stage}")
    }

    fn or_no(&self, stage: &str, id: &SourceId) -> Result<(), Refusal> {
        if self.says(stage, id) { Ok(()) } else { Err(Refusal::Restricted) }
    }

    fn count(&self) -> Kept {
        Kept { check: "own", state: json!({ "count": self.count }) }
    }

    fn count_from(&mut self, mut kept: Fields) -> Result<(), StateError> {
        self.count = kept.take("count")?;
        note(&self.journal, format!("found {}", self.count));
        kept.end()
    }
}

impl Sizer for Own {
    fn size(&mut self, signal: &TradeSignal, _: &Seen<'_>) -> Result<Amount, Refusal> {
        self.or_no("sizing", &signal.id).map(|()| 8.into())
    }
}

impl Dedup for Own {
    fn check(&self, signal: &TradeSignal) -> Result<(), Refusal> {
        self.or_no("deduplication", &signal.id)
    }

    fn wished(&mut self, _: &TradeSignal) {
        self.count += 1;
        note(&self.journal, "remembered");
    }

    fn sent(&mut self, _: SourceId) {}

    fn kept(&self) -> Option<Kept> {
        Some(self.count())
    }

    fn take_back(&mut self, kept: Fields) -> Result<(), StateError> {
        self.count_from(kept)
    }
}

impl Gate for Own {
    async fn check(&self, ask: Ask) -> Answer {
        let no = Answer::block(Reason::ComponentClear, ask.order.qty);
        if self.says("governance", &ask.order.id) {
            Answer {
                action: Action::ReduceSize,
                multiplier: Multiplier::new(0.5),
                execution: gate::Execution::Live,
                ..no
            }
        } else {
            no
        }
    }

    async fn report(&self, _: Report) -> Result<(), ReportError> {
        note(&self.journal, "told");
        Ok(())
    }

    fn has_decided(&self, _: &StrategyId, _: &SourceId) -> Option<bool> {
        None
    }
}

impl PreTrade for Own {
    fn check(&mut self, order: &VenueOrder, _: Lane, _: &Seen<'_>) -> Result<(), Refusal> {
        self.count += 10;
        self.or_no("risk", &order.id)
    }

    fn kept(&self) -> Option<Kept> {
        Some(self.count())
    }

    fn take_back(&mut self, kept: Fields) -> Result<(), StateError> {
        self.count_from(kept)
    }
}

impl Venue for Own {
    fn submit(&mut self, order: &VenueOrder, at: Timestamp) -> Result<(), VenueError> {
        if !self.says("submission", &order.id) {
            return Err(VenueError::Unreachable { problem: "no".to_owned() });
        }
        assert_eq!(order.qty, 4.into());
        let (order_id, strategy, instrument) = (order.id.clone(), order.strategy.clone(), order.instrument.clone());
        self.told.push(Execution { order_id, strategy, instrument, at, what: What::Expired });
        Ok(())
    }

    fn cancel(&mut self, id: &SourceId, _: Timestamp) -> Result<(), VenueError> {
        Err(VenueError::NotOpen { id: id.clone() })
    }

    fn order(&self, _: &SourceId) -> Result<Option<Known>, VenueError> {
        Ok(None)
    }

    fn executions_since(&self, cursor: u64) -> Result<Vec<Execution>, VenueError> {
        Ok(self.told.iter().skip(usize::try_from(cursor).unwrap()).cloned().collect())
    }

    fn holdings(&self) -> Result<Vec<Holding>, VenueError> {
        Ok(Vec::new())
    }
}

impl PostTrade for Own {
    fn after_execution(&mut self, _: Lane, execution: &Execution, _: &Seen<'_>) -> Vec<Consequence> {
        self.count += 100;
        let goes_on = self.says("after", &execution.order_id);
        let breaks = || Consequence::Break { reach: Reach::All, reason: "no".to_owned() };
        (!goes_on).then(breaks).into_iter().collect()
    }

    fn kept(&self) -> Option<Kept> {
        Some(self.count())
    }

    fn take_back(&mut self, kept: Fields) -> Result<(), StateError> {
        self.count_from(kept)
    }
}

fn own(journal: &Journal) -> Own {
    Own { journal: Arc::clone(journal), ..Own::default() }
}

fn stages(journal: &Journal) -> Stages {
    Stages {
        sizer: Box::new(own(journal)),
        dedup: Box::new(own(journal)),
        pre_trade: vec![Box::new(own(journal))],
        post_trade: vec![Box::new(own(journal))],
        netting: Netting::Fifo,
        by: "engine".parse().unwrap(),
    }
}

fn engine(journal: &Journal) -> ExecutionEngine<Own, Own, Own> {
    let mut engine = ExecutionEngine::new(Some(own(journal)), own(journal), own(journal), stages(journal));
    prepare(&mut engine);
    engine
}

fn asked(journal: &Journal) -> Vec<String> {
    std::mem::take(&mut *journal.lock().unwrap())
}

#[test]
fn every_stage_can_be_replaced() {
    let way = ["sizing", "deduplication", "governance", "risk", "submission"];
    let journal = Journal::default();
    let mut engine = engine(&journal);
    assert!(block(engine.on_signal(&entry("o-1"))).submitted().is_some());
    block(engine.on_executions()).unwrap();
    assert_eq!(asked(&journal), [&way[..], &["remembered", "told", "after"]].concat());

    for (place, stage) in way.iter().enumerate() {
        let refused = block(engine.on_signal(&entry(&format!("not-{stage}"))));
        assert_eq!(code(&refused).0, *stage);
        // Sizing is asked first, and an order that has been is one also where nothing would be sized any more.
        let mut heard = if place == 0 { way[..2].to_vec() } else { way[..=place].to_vec() };
        // Whether the venue has it nobody knows.
        heard.extend((*stage == "submission").then_some("remembered"));
        assert_eq!(asked(&journal), heard);
        block(engine.on_executions()).unwrap();
        asked(&journal);
    }

    assert!(block(engine.on_signal(&entry("not-after"))).submitted().is_some());
    block(engine.on_executions()).unwrap();
    assert_eq!(code(&block(engine.on_signal(&entry("o-2")))), ("risk", "RISK_BREAKER_OPEN"));
}

#[test]
fn a_stage_of_ones_own_finds_again_what_it_kept() {
    let journal = Journal::default();
    let mut before = engine(&journal);
    block(before.on_signal(&entry("o-1")));
    block(before.on_executions()).unwrap();
    let text = serde_json::to_string(&before.state()).unwrap();
    asked(&journal);
    let state = State::from_json(&text).unwrap();
    let resumed = ExecutionEngine::resume(Some(own(&journal)), own(&journal), own(&journal), stages(&journal), state);
    assert!(resumed.is_ok());
    assert_eq!(asked(&journal), ["found 1", "found 10", "found 100"]);
    let wrong = State::from_json(&text.replace("\"count\":10}", "\"count\":\"ten\"}")).unwrap();
    let refused = ExecutionEngine::resume(Some(own(&journal)), own(&journal), own(&journal), stages(&journal), wrong);
    let error = refused.map(|_| ()).unwrap_err();
    assert!(matches!(&error, StateError::Field { field, .. } if field == "pre_trade.own.count"), "{error}");
}
