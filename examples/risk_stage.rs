//! A risk stage of one's own in the engine: `cargo run --example risk_stage`.
//!
//! The stage opens nothing more for a strategy that has an order under way. Like every check before submission it is
//! asked about entries only: an exit is not trapped.

use std::error::Error;

use ephor_execution::dedup::Window;
use ephor_execution::engine::{ExecutionEngine, Stages};
use ephor_execution::gate::Disabled;
use ephor_execution::instrument::Instrument;
use ephor_execution::order::{Kind, TradeSignal, VenueOrder};
use ephor_execution::outcome::Outcome;
use ephor_execution::paper::{PaperVenue, Terms};
use ephor_execution::positions::Lane;
use ephor_execution::refusal::Refusal;
use ephor_execution::risk::PreTrade;
use ephor_execution::seen::Seen;
use ephor_execution::sizing::{Base, PortfolioSizing};
use ephor_governance::fill::Netting;
use ephor_governance::order::{Intent, Side};
use ephor_governance::units::{Amount, Multiplier, Timestamp};

/// Nothing is opened for a strategy that has this many orders under way.
struct OneAtATime {
    orders_max: usize,
}

impl PreTrade for OneAtATime {
    fn check(&mut self, order: &VenueOrder, _: Lane, seen: &Seen<'_>) -> Result<(), Refusal> {
        let own = seen.working.values().filter(|it| it.order.strategy == order.strategy).count();
        if own < self.orders_max {
            return Ok(());
        }
        let (sent, max) = (u32::try_from(own).unwrap_or(u32::MAX), u32::try_from(self.orders_max).unwrap_or(u32::MAX));
        Err(Refusal::Throttled { sent, max, since: seen.at })
    }
}

#[expect(clippy::print_stdout, reason = "an example that shows what becomes of its signals")]
fn main() -> Result<(), Box<dyn Error>> {
    let instrument = Instrument::new("ABC".parse()?, Amount::ONE, Amount::new(1, 2), "USD".parse()?);
    let venue = || PaperVenue::new(Terms::default(), [instrument.clone()]);
    let stages = Stages {
        sizer: Box::new(PortfolioSizing::new(Base::Fixed { qty: 100.into() })),
        dedup: Box::new(Window::new(0)),
        pre_trade: vec![Box::new(OneAtATime { orders_max: 1 })],
        post_trade: Vec::new(),
        netting: Netting::Fifo,
        by: "desk-engine".parse()?,
    };
    let mut engine = ExecutionEngine::new(Some(Disabled), venue(), venue(), stages);
    engine.list(instrument.clone());
    engine.fund("trend".parse()?, 100_000.into());
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        engine.on_price(&instrument.id, 25.into(), Timestamp::from_nanos(1)).await?;
        for (id, intent, side) in
            [("s-1", Intent::Entry, Side::Buy), ("s-2", Intent::Entry, Side::Buy), ("s-3", Intent::Exit, Side::Sell)]
        {
            if intent == Intent::Exit {
                engine.live().on_price(&instrument.id, 26.into(), Timestamp::from_nanos(3));
                engine.on_executions().await?;
            }
            let signal = TradeSignal {
                id: id.parse()?,
                strategy: "trend".parse()?,
                instrument: instrument.id.clone(),
                side,
                intent,
                kind: Kind::Market,
                stop: None,
                regime: Multiplier::ONE,
                at: Timestamp::from_nanos(2),
            };
            match engine.on_signal(&signal).await {
                Outcome::Submitted(sent) => println!("{id}: {} ABC sent", sent.order.qty),
                Outcome::Refused(no) => println!("{id}: refused at {}, {}", no.stage.as_str(), no.refusal.code()),
            }
        }
        Ok(())
    })
}
