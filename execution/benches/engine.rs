//! What the stage costs when governance is switched off: the same signals through an engine without it, and through
//! one with `Disabled` in its place.
#![expect(clippy::unwrap_used, reason = "a benchmark stops where it cannot go on")]

use divan::Bencher;
use ephor_execution::dedup::Window;
use ephor_execution::engine::{ExecutionEngine, Stages};
use ephor_execution::instrument::Instrument;
use ephor_execution::order::{Kind, TradeSignal, VenueOrder};
use ephor_execution::refusal::Refusal;
use ephor_execution::risk::{ExposureLimits, OrderLimits, PriceCollar};
use ephor_execution::seen::Seen;
use ephor_execution::sizing::Sizer;
use ephor_execution::venue::{Execution, Holding, Known, Venue, VenueError};
use ephor_execution::{Disabled, Gate};
use ephor_governance::fill::Netting;
use ephor_governance::ids::SourceId;
use ephor_governance::order::{Intent, Side};
use ephor_governance::units::{Amount, Multiplier, Timestamp};

const SIGNALS: u32 = 1_000;

/// Takes every order and says nothing.
struct Silent;

impl Venue for Silent {
    fn submit(&mut self, order: &VenueOrder, _: Timestamp) -> Result<(), VenueError> {
        divan::black_box(order);
        Ok(())
    }

    fn cancel(&mut self, id: &SourceId, _: Timestamp) -> Result<(), VenueError> {
        Err(VenueError::NotOpen { id: id.clone() })
    }

    fn order(&self, _: &SourceId) -> Result<Option<Known>, VenueError> {
        Ok(None)
    }

    fn executions_since(&self, _: u64) -> Result<Vec<Execution>, VenueError> {
        Ok(Vec::new())
    }

    fn holdings(&self) -> Result<Vec<Holding>, VenueError> {
        Ok(Vec::new())
    }
}

struct Ten;

impl Sizer for Ten {
    fn size(&mut self, _: &TradeSignal, _: &Seen<'_>) -> Result<Amount, Refusal> {
        Ok(10.into())
    }
}

fn engine<G: Gate>(gate: Option<G>) -> ExecutionEngine<G, Silent, Silent> {
    let stages = Stages {
        sizer: Box::new(Ten),
        dedup: Box::new(Window::new(0)),
        pre_trade: vec![
            Box::new(PriceCollar { max: Amount::new(5, 2) }),
            Box::new(OrderLimits { value_max: Some(10_000.into()), qty_max: Some(100.into()) }),
            Box::new(ExposureLimits::default()),
        ],
        post_trade: Vec::new(),
        netting: Netting::Fifo,
        by: "engine".parse().unwrap(),
    };
    let mut engine = ExecutionEngine::new(gate, Silent, Silent, stages);
    let instrument = Instrument::new("ABC".parse().unwrap(), 1.into(), Amount::new(1, 2), "USD".parse().unwrap());
    let priced = engine.on_price(&instrument.id, 100.into(), Timestamp::from_nanos(0));
    futures::executor::block_on(priced).unwrap();
    engine.list(instrument);
    engine.fund("trend".parse().unwrap(), 100_000.into());
    engine
}

fn signals() -> Vec<TradeSignal> {
    let signal = |number: u32| TradeSignal {
        id: format!("o-{number}").parse().unwrap(),
        strategy: "trend".parse().unwrap(),
        instrument: "ABC".parse().unwrap(),
        side: Side::Buy,
        intent: Intent::Entry,
        kind: Kind::Limit(100.into()),
        stop: None,
        regime: Multiplier::ONE,
        at: Timestamp::from_nanos(i64::from(number)),
    };
    (0..SIGNALS).map(signal).collect()
}

fn send<G: Gate>(bencher: Bencher<'_, '_>, gate: impl Fn() -> Option<G> + Sync) {
    let signals = signals();
    bencher.counter(SIGNALS).with_inputs(|| engine(gate())).bench_local_values(|mut engine| {
        futures::executor::block_on(async {
            for signal in &signals {
                divan::black_box(engine.on_signal(signal).await);
            }
        });
        engine
    });
}

#[divan::bench]
fn without_the_stage(bencher: Bencher<'_, '_>) {
    send(bencher, || None::<Disabled>);
}

#[divan::bench]
fn with_governance_disabled(bencher: Bencher<'_, '_>) {
    send(bencher, || Some(Disabled));
}

fn main() {
    divan::main();
}
