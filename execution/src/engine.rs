//! The engine: one signal through all stages, and back what became of it.
//!
//! It holds no truth of its own. Governance knows what was decided on an order id, the venues know what was sent
//! under it and filled; what is kept here (positions, orders under way, ids) is folded from what the venues tell,
//! from the beginning after every start. A signal that comes again, because nobody knows how far it got, gets the
//! decision that was recorded and the order that was sent.
//!
//! Invariants: no order is larger than what was asked for and allowed. No order leaves before its decision is
//! recorded. An exit passes every stage of the engine's own. A fill is reported before it is counted. No order is
//! sent before everything has been taken in that venues had done when the engine started.

mod intake;
mod way;

use std::collections::{BTreeMap, VecDeque};

use ephor_governance::fill::Netting;
use ephor_governance::ids::{Actor, InstrumentId, SourceId, StrategyId};
use ephor_governance::units::{Amount, Timestamp};

use crate::breaker::{Breakers, Open, Reach};
use crate::dedup::{Dedup, Window};
use crate::gate::{Gate, Report, ReportError};
use crate::instrument::Instrument;
use crate::positions::{Instruments, Lane, Positions, Prices};
use crate::post::PostTrade;
use crate::reconcile::{Difference, differences};
use crate::risk::PreTrade;
use crate::seen::{Seen, Working};
use crate::sizing::Sizer;
use crate::venue::{Venue, VenueError};

/// What the stages are.
pub struct Stages {
    /// How large an entry is.
    pub sizer: Box<dyn Sizer + Send>,
    /// How long the same wish under another id counts as the same order, nanoseconds; 0 compares ids alone.
    pub dedup_window_nanos: i64,
    /// Checks before an order is sent, in order.
    pub pre_trade: Vec<Box<dyn PreTrade + Send>>,
    /// Checks after something has happened, in order.
    pub post_trade: Vec<Box<dyn PostTrade + Send>>,
    /// How fills are matched into round trips.
    pub netting: Netting,
    /// In whose name breakers open and the kill switch is engaged.
    pub by: Actor,
}

/// Why the engine could not take in what happened. Nothing is lost: it is asked for again.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// A venue cannot say what happened.
    #[error("ask the {} venue failed", lane.as_str())]
    Venue {
        /// Which.
        lane: Lane,
        /// Why.
        source: VenueError,
    },
    /// Governance cannot record what happened.
    #[error("report to governance failed")]
    Report(#[from] ReportError),
    /// A fill in something nobody has given the terms of.
    #[error("{instrument} was filled, and its terms are not known")]
    InstrumentUnknown {
        /// What.
        instrument: InstrumentId,
    },
}

impl EngineError {
    /// Whether the same may go through later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Venue { source, .. } => source.is_retryable(),
            Self::Report(error) => error.is_retryable(),
            Self::InstrumentUnknown { .. } => false,
        }
    }
}

/// The engine. `G` is governance, `L` the live venue and `P` the paper venue.
pub struct ExecutionEngine<G, L, P> {
    gate: Option<G>,
    live: L,
    paper: P,
    stages: Stages,
    dedup: Box<dyn Dedup + Send>,
    state: State,
    breakers: Breakers,
    /// Whether everything that venues had done when the engine started has been taken in.
    is_caught_up: bool,
    /// How far each venue's executions have been taken in.
    cursors: BTreeMap<Lane, u64>,
    /// Reports that could not be recorded yet, in order.
    pending: VecDeque<Report>,
    refused: Vec<(Report, String)>,
}

/// What stages may look at.
struct State {
    now: Timestamp,
    instruments: Instruments,
    prices: Prices,
    positions: Positions,
    working: BTreeMap<SourceId, Working>,
}

impl State {
    const fn seen(&self) -> Seen<'_> {
        Seen {
            at: self.now,
            instruments: &self.instruments,
            prices: &self.prices,
            positions: &self.positions,
            working: &self.working,
        }
    }
}

impl<G: Gate, L: Venue, P: Venue> ExecutionEngine<G, L, P> {
    /// An engine with governance in it; without the stage where `gate` is `None`.
    pub fn new(gate: Option<G>, live: L, paper: P, stages: Stages) -> Self {
        Self {
            gate,
            live,
            paper,
            dedup: Box::new(Window::new(stages.dedup_window_nanos)),
            stages,
            state: State {
                now: Timestamp::from_nanos(i64::MIN),
                instruments: Instruments::new(),
                prices: Prices::new(),
                positions: Positions::default(),
                working: BTreeMap::new(),
            },
            breakers: Breakers::default(),
            is_caught_up: false,
            cursors: BTreeMap::new(),
            pending: VecDeque::new(),
            refused: Vec::new(),
        }
    }

    /// With another way to tell an order that has been from a new one.
    #[must_use]
    pub fn with_dedup(self, dedup: Box<dyn Dedup + Send>) -> Self {
        Self { dedup, ..self }
    }

    /// Says what can be traded on which terms.
    pub fn list(&mut self, instrument: Instrument) {
        self.state.instruments.insert(instrument.id.clone(), instrument);
    }

    /// Says what a strategy has to trade with.
    pub fn fund(&mut self, strategy: StrategyId, capital: Amount) {
        self.state.positions.fund(strategy, capital);
    }

    /// Opens a breaker; `false` where it was open.
    pub fn open_breaker(&mut self, reach: Reach, by: Actor, reason: String) -> bool {
        tracing::warn!(%reach, %by, reason, "a circuit breaker opens");
        self.breakers.open(reach, Open { since: self.state.now, by, reason })
    }

    /// Closes a breaker on a person's word; what it had been open for.
    pub fn close_breaker(&mut self, reach: &Reach, by: &Actor) -> Option<Open> {
        tracing::warn!(%reach, %by, "a circuit breaker is closed");
        self.breakers.close(reach)
    }

    /// Lets checks that have latched go on, on a person's word.
    pub fn rearm(&mut self, by: &Actor) {
        self.stages.pre_trade.iter_mut().for_each(|check| check.rearm(by));
    }

    /// Takes an open order back.
    ///
    /// # Errors
    /// [`VenueError`].
    pub fn cancel(&mut self, id: &SourceId) -> Result<(), VenueError> {
        let at = self.state.now;
        let working = self.state.working.get(id).ok_or_else(|| VenueError::NotOpen { id: id.clone() })?;
        let lane = working.lane;
        self.venue_mut(lane).cancel(id, at)
    }

    /// Holds positions against what the venues say. Each strategy whose position differs is stopped by its breaker.
    /// To be asked when everything has been taken in.
    ///
    /// # Errors
    /// [`EngineError::Venue`].
    pub fn reconcile(&mut self) -> Result<Vec<Difference>, EngineError> {
        let mut found = Vec::new();
        for lane in Lane::ALL {
            let holdings = self.venue(lane).holdings().map_err(|source| EngineError::Venue { lane, source })?;
            found.extend(differences(&self.state.positions, lane, &holdings));
        }
        for difference in &found {
            let reason = format!("{} held, {} at the venue", difference.own, difference.venue);
            let by = self.stages.by.clone();
            self.open_breaker(Reach::Strategy(difference.strategy.clone()), by, reason);
        }
        Ok(found)
    }

    fn venue(&self, lane: Lane) -> &dyn Venue {
        match lane {
            Lane::Live => &self.live,
            Lane::Paper => &self.paper,
        }
    }

    fn venue_mut(&mut self, lane: Lane) -> &mut dyn Venue {
        match lane {
            Lane::Live => &mut self.live,
            Lane::Paper => &mut self.paper,
        }
    }

    /// What fills have come to.
    pub const fn positions(&self) -> &Positions {
        &self.state.positions
    }

    /// What a strategy is worth at the last prices.
    pub fn equity(&self, strategy: &StrategyId) -> Option<Amount> {
        self.state.positions.equity(strategy, &self.state.prices, &self.state.instruments)
    }

    /// Orders under way.
    pub const fn working(&self) -> &BTreeMap<SourceId, Working> {
        &self.state.working
    }

    /// Breakers.
    pub const fn breakers(&self) -> &Breakers {
        &self.breakers
    }

    /// Reports that governance's rules refused, with what they said.
    pub fn refused(&self) -> &[(Report, String)] {
        &self.refused
    }

    /// The live venue.
    pub const fn live(&mut self) -> &mut L {
        &mut self.live
    }

    /// The paper venue.
    pub const fn paper(&mut self) -> &mut P {
        &mut self.paper
    }

    /// Both venues, without the engine: what a crash leaves.
    pub fn into_venues(self) -> (L, P) {
        (self.live, self.paper)
    }
}
