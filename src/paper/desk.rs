//! An engine set up as the settings say: sizing by strategy, limits, two venues, and the purses of the strategies.
//!
//! Both venues are paper. One stands in for the live one, where the orders of levels that execute go; on the other the
//! levels below earn their evidence.

use ephor_execution::dedup::Window;
use ephor_execution::engine::{EngineError, ExecutionEngine, Stages};
use ephor_execution::gate::Gate;
use ephor_execution::instrument::Instrument;
use ephor_execution::order::{Kind, TradeSignal};
use ephor_execution::outcome::{Outcome, Refused, Submitted};
use ephor_execution::paper::{self, PaperVenue, Terms};
use ephor_execution::positions::Lane;
use ephor_execution::post::{DrawdownMonitor, PostTrade};
use ephor_execution::risk::{ExposureLimits, OrderLimits, PreTrade, PriceCollar, Restricted, Throttle};
use ephor_execution::sizing::{Base, PortfolioSizing, Size};
use ephor_governance::fill::Netting;
use ephor_governance::ids::{Actor, InstrumentId, StrategyId};
use ephor_governance::units::{Amount, Multiplier};

use super::bars::Bar;
use super::plan::Plan;
use super::signals::Wished;
use crate::settings::{Paper, PaperInstrument, PaperRisk, PaperSize, PaperThrottle};

/// An engine at work.
pub struct Desk<G> {
    engine: ExecutionEngine<G, PaperVenue, PaperVenue>,
    instruments: Vec<InstrumentId>,
}

impl<G: Gate> Desk<G> {
    /// An engine with everything that the plan names, and nothing done yet.
    pub fn new(plan: &Plan, gate: G) -> Self {
        let settings = &plan.settings;
        let stages = Stages {
            sizer: Box::new(sizing(plan)),
            dedup: Box::new(Window::new(nanos(settings.dedup_window_seconds))),
            pre_trade: limits(&settings.risk),
            post_trade: watches(&settings.risk),
            netting: Netting::Fifo,
            by: Actor::recorded("ephor-paper".into()),
        };
        let instruments: Vec<_> = plan.markets.iter().map(|market| terms(&market.instrument)).collect();
        let venue = || PaperVenue::new(venue_terms(settings), instruments.clone());
        let mut engine = ExecutionEngine::new(Some(gate), venue(), venue(), stages);
        for instrument in &instruments {
            engine.list(instrument.clone());
        }
        for trader in &plan.traders {
            engine.fund(trader.settings.id.clone(), trader.settings.capital);
        }
        Self { engine, instruments: instruments.into_iter().map(|instrument| instrument.id).collect() }
    }

    /// The market moves to a bar's opening: what waits is filled, and the fills are reported.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn open(&mut self, market: usize, bar: &Bar) -> Result<(), EngineError> {
        let Some(instrument) = self.instruments.get(market) else { return Ok(()) };
        if let Some(volume) = bar.volume {
            self.engine.live().on_volume(instrument, volume);
            self.engine.paper().on_volume(instrument, volume);
        }
        self.engine.live().on_bar_open(instrument, bar.open, bar.at);
        self.engine.paper().on_bar_open(instrument, bar.open, bar.at);
        self.engine.on_executions().await
    }

    /// The bar is over: what its range has reached is filled, and the market stands at its close.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn close(&mut self, market: usize, bar: &Bar) -> Result<(), EngineError> {
        let Some(instrument) = self.instruments.get(market) else { return Ok(()) };
        let Bar { open, high, low, close, at, .. } = *bar;
        let range = paper::Bar { open, high, low, close };
        self.engine.live().on_bar(instrument, &range, at);
        self.engine.paper().on_bar(instrument, &range, at);
        self.engine.on_executions().await?;
        self.engine.on_price(instrument, close, at).await
    }

    /// A signal through all stages; where its way ended, and why.
    pub async fn wish(&mut self, wished: &Wished) -> (&'static str, &'static str) {
        let signal = TradeSignal {
            id: wished.id.clone(),
            strategy: wished.strategy.clone(),
            instrument: wished.instrument.clone(),
            side: wished.side,
            intent: wished.intent,
            kind: wished.limit.map_or(Kind::Market, Kind::Limit),
            stop: wished.stop,
            regime: wished.regime.map_or(Multiplier::ONE, |regime| Multiplier::new(regime.to_f64())),
            at: wished.at,
        };
        match self.engine.on_signal(&signal).await {
            Outcome::Submitted(submitted) => {
                let Submitted { lane, answer, .. } = *submitted;
                let stage = match lane {
                    Lane::Live => "venue",
                    Lane::Paper => "paper venue",
                };
                (stage, answer.as_ref().map_or("", ephor_execution::Answer::code))
            }
            Outcome::Refused(refused) => {
                let Refused { stage, refusal, .. } = *refused;
                (stage.as_str(), refusal.code())
            }
        }
    }

    /// What a strategy is worth at the last prices.
    #[must_use]
    pub fn equity(&self, strategy: &StrategyId) -> Amount {
        self.engine.equity(strategy).unwrap_or_default()
    }

    /// What a strategy holds on both venues, signed.
    #[must_use]
    pub fn position(&self, strategy: &StrategyId, instrument: &InstrumentId) -> Amount {
        let positions = self.engine.positions();
        Lane::ALL.into_iter().fold(Amount::ZERO, |sum, lane| sum.plus(positions.of(lane, strategy, instrument)))
    }

    /// Whether a strategy has an exit under way.
    #[must_use]
    pub fn is_leaving(&self, strategy: &StrategyId) -> bool {
        self.engine.working().values().any(|it| it.order.strategy == *strategy && it.order.reduce_only)
    }
}

fn nanos(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000_000)
}

fn terms(instrument: &PaperInstrument) -> Instrument {
    let PaperInstrument { id, lot, tick, currency, qty_min, multiplier, .. } = instrument.clone();
    let terms = Instrument::new(id, lot, tick, currency);
    Instrument { qty_min: qty_min.unwrap_or(lot), multiplier, ..terms }
}

fn venue_terms(settings: &Paper) -> Terms {
    let venue = &settings.venue;
    Terms {
        seed: settings.seed,
        fee_maker: venue.fee,
        fee_taker: venue.fee,
        fee_fixed: venue.fee_fixed,
        slippage_ticks: venue.slippage_ticks,
        slippage: venue.slippage,
        volume_share: venue.volume_share,
        latency_nanos: venue.latency_ms.saturating_mul(1_000_000),
        partial: venue.partial,
        reject: venue.reject,
        ..Terms::default()
    }
}

fn sizing(plan: &Plan) -> PortfolioSizing {
    let size = |size: &PaperSize| match *size {
        PaperSize::Fixed { qty } => Base::Fixed { qty }.into(),
        PaperSize::Risk { of_equity, value_max } => {
            Size { base: Base::RiskPerTrade { fraction: of_equity }, value_max: Some(value_max) }
        }
        PaperSize::Volatility { of_equity, bars, value_max } => {
            Size { base: Base::VolatilityTarget { target: of_equity, window: bars }, value_max: Some(value_max) }
        }
    };
    let sizing = PortfolioSizing::new(size(&PaperSize::default()));
    let own = plan.traders.iter().map(|trader| (trader.settings.id.clone(), size(&trader.settings.size)));
    own.fold(sizing, |sizing, (strategy, size)| sizing.with_strategy(strategy, size))
}

fn limits(risk: &PaperRisk) -> Vec<Box<dyn PreTrade + Send>> {
    let PaperRisk { collar, order_value_max, order_qty_max, gross_exposure_max, restricted, throttle, .. } =
        risk.clone();
    let mut limits: Vec<Box<dyn PreTrade + Send>> = vec![Box::new(Restricted(restricted.into_iter().collect()))];
    if let Some(max) = collar {
        limits.push(Box::new(PriceCollar { max }));
    }
    limits.push(Box::new(OrderLimits { value_max: order_value_max, qty_max: order_qty_max }));
    limits.push(Box::new(ExposureLimits { position_max: None, gross_max: gross_exposure_max }));
    // The last, so that it counts what is sent and nothing that another one stops.
    if let Some(PaperThrottle { orders_max, window_seconds }) = throttle {
        limits.push(Box::new(Throttle::new(orders_max, nanos(window_seconds))));
    }
    limits
}

fn watches(risk: &PaperRisk) -> Vec<Box<dyn PostTrade + Send>> {
    let PaperRisk { drawdown_max, drawdown_kill, .. } = *risk;
    // Where it is killed nothing more is opened anyway.
    let Some(max) = drawdown_max.or(drawdown_kill) else { return Vec::new() };
    vec![Box::new(DrawdownMonitor::new(max, drawdown_kill))]
}
