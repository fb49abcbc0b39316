//! The engine: one signal through all stages, and back what became of it.
//!
//! It holds no truth of its own. Governance knows what was decided on an order id, the venues know what was sent
//! under it and filled; what is kept here (positions, orders under way, ids) is folded from what the venues tell,
//! from the beginning after every start. A signal that comes again, because nobody knows how far it got, gets the
//! decision that was recorded and the order that was sent. What nobody else knows, because the engine itself has
//! stopped it, is its [`State`]: an engine that follows another is begun with what that one's was.
//!
//! Invariants: no order is larger than what was asked for and allowed. No order leaves before its decision is
//! recorded. An exit passes every stage of the engine's own; exits under way together are never larger than what
//! was held when the last of them was sent. A fill is reported before it is counted. No order is sent before everything
//! has been taken in that venues had done when the engine started. What one execution asked for is asked for once.

mod intake;
mod way;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ephor_governance::fill::Netting;
use ephor_governance::ids::{Actor, InstrumentId, SourceId, StrategyId};
use ephor_governance::units::{Amount, Timestamp};

use crate::breaker::{Breakers, Open, Reach};
use crate::dedup::Dedup;
use crate::gate::{Gate, Report, ReportError};
use crate::instrument::Instrument;
use crate::positions::{Instruments, Lane, Positions, Prices};
use crate::post::PostTrade;
use crate::reconcile::{Finding, Orphan, differences};
use crate::risk::PreTrade;
use crate::seen::{Seen, Working};
use crate::sizing::Sizer;
use crate::state::{State, StateError, give_back};
use crate::venue::{Execution, Venue, VenueError};

/// What the stages are.
pub struct Stages {
    /// How large an entry is.
    pub sizer: Box<dyn Sizer + Send>,
    /// What has been an order before.
    pub dedup: Box<dyn Dedup + Send>,
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
    /// A venue tells less than it had told when the engine's state was taken: it is not the same venue, or not the
    /// same state.
    #[error("the {} venue tells {told} executions, and {known} of it were known before", lane.as_str())]
    HistoryShort {
        /// Which.
        lane: Lane,
        /// How many it tells.
        told: u64,
        /// How many had been followed.
        known: u64,
    },
}

impl EngineError {
    /// Whether the same may go through later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Venue { source, .. } => source.is_retryable(),
            Self::Report(error) => error.is_retryable(),
            Self::HistoryShort { .. } => false,
        }
    }
}

/// The engine. `G` is governance, `L` the live venue and `P` the paper venue.
pub struct ExecutionEngine<G, L, P> {
    gate: Option<G>,
    live: L,
    paper: P,
    stages: Stages,
    state: Folded,
    breakers: Breakers,
    /// Whether everything that venues had done when the engine started has been taken in.
    is_caught_up: bool,
    /// How far each venue's executions have been taken in.
    cursors: BTreeMap<Lane, u64>,
    /// How many of them have been followed by what they ask for; more than have been taken in where an engine before
    /// this one has followed them.
    judged: BTreeMap<Lane, u64>,
    /// Taken in and not followed yet: what the whole comes to is not known before everything is.
    unjudged: Vec<(Lane, Execution)>,
    /// Orders that were sent, by this engine or one before it.
    sent: BTreeSet<SourceId>,
    /// Fills of orders that nobody sent.
    orphans: Vec<Orphan>,
    /// Reports that could not be recorded yet, in order.
    pending: VecDeque<Report>,
    refused: Vec<(Report, String)>,
}

/// What stages may look at.
struct Folded {
    now: Timestamp,
    instruments: Instruments,
    prices: Prices,
    /// When they were the last.
    priced_at: BTreeMap<InstrumentId, Timestamp>,
    positions: Positions,
    working: BTreeMap<SourceId, Working>,
    /// Orders of which nobody knows whether the venue has them.
    doubtful: BTreeMap<SourceId, Working>,
}

impl Folded {
    const fn seen(&self) -> Seen<'_> {
        Seen {
            at: self.now,
            instruments: &self.instruments,
            prices: &self.prices,
            positions: &self.positions,
            working: &self.working,
            doubtful: &self.doubtful,
        }
    }

    /// Takes a price for the last one; `false` where a later one is known.
    fn take_price(&mut self, instrument: &InstrumentId, price: Amount, at: Timestamp) -> bool {
        if self.priced_at.get(instrument).is_some_and(|known| at < *known) {
            return false;
        }
        self.prices.insert(instrument.clone(), price);
        self.priced_at.insert(instrument.clone(), at);
        true
    }
}

impl<G: Gate, L: Venue, P: Venue> ExecutionEngine<G, L, P> {
    /// An engine with governance in it; without the stage where `gate` is `None`. It follows no other: nothing is
    /// stopped, and nothing that venues have done has been followed.
    pub fn new(gate: Option<G>, live: L, paper: P, stages: Stages) -> Self {
        Self {
            gate,
            live,
            paper,
            stages,
            state: Folded {
                now: Timestamp::from_nanos(i64::MIN),
                instruments: Instruments::new(),
                prices: Prices::new(),
                priced_at: BTreeMap::new(),
                positions: Positions::default(),
                working: BTreeMap::new(),
                doubtful: BTreeMap::new(),
            },
            breakers: Breakers::default(),
            is_caught_up: false,
            cursors: BTreeMap::new(),
            judged: BTreeMap::new(),
            unjudged: Vec::new(),
            sent: BTreeSet::new(),
            orphans: Vec::new(),
            pending: VecDeque::new(),
            refused: Vec::new(),
        }
    }

    /// An engine that follows another one, with what that one's state was: what it had stopped is stopped, and what it
    /// had followed is not followed again.
    ///
    /// # Errors
    /// [`StateError`], where a check cannot take back what it kept, or is not there. There is no engine then.
    pub fn resume(gate: Option<G>, live: L, paper: P, stages: Stages, state: State) -> Result<Self, StateError> {
        let mut engine = Self::new(gate, live, paper, stages);
        let Stages { dedup, pre_trade, post_trade, .. } = &mut engine.stages;
        give_back("dedup", state.dedup, [dedup].into_iter(), Dedup::kept, Dedup::take_back)?;
        give_back("pre_trade", state.pre_trade, pre_trade.iter_mut(), PreTrade::kept, PreTrade::take_back)?;
        give_back("post_trade", state.post_trade, post_trade.iter_mut(), PostTrade::kept, PostTrade::take_back)?;
        engine.breakers = state.breakers;
        engine.judged = state.judged;
        engine.pending = state.pending.into();
        engine.orphans = state.orphans;
        Ok(engine)
    }

    /// What the next engine has to be begun with, as it is now. Whoever keeps it before a signal or an execution counts
    /// as done loses nothing in a crash: what came behind it comes again.
    pub fn state(&self) -> State {
        let Stages { dedup, pre_trade, post_trade, .. } = &self.stages;
        State {
            judged: self.judged.clone(),
            breakers: self.breakers.clone(),
            pending: self.pending.iter().cloned().collect(),
            orphans: self.orphans.clone(),
            dedup: dedup.kept().into_iter().map(Into::into).collect(),
            pre_trade: pre_trade.iter().filter_map(|check| check.kept()).map(Into::into).collect(),
            post_trade: post_trade.iter().filter_map(|check| check.kept()).map(Into::into).collect(),
            ..State::default()
        }
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
        let opens = self.breakers.all().all(|(open, _)| *open != reach);
        if opens {
            tracing::warn!(%reach, %by, reason, "a circuit breaker opens");
        }
        self.breakers.open(reach, Open { since: self.state.now, by, reason })
    }

    /// Closes a breaker on a person's word; what it had been open for.
    pub fn close_breaker(&mut self, reach: &Reach, by: &Actor) -> Option<Open> {
        tracing::warn!(%reach, %by, "a circuit breaker is closed");
        let seen = self.state.seen();
        self.stages.post_trade.iter_mut().for_each(|check| check.closed(reach, &seen));
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
        let known = self.state.working.get(id).or_else(|| self.state.doubtful.get(id));
        let working = known.ok_or_else(|| VenueError::NotOpen { id: id.clone() })?;
        let lane = working.lane;
        self.venue_mut(lane).cancel(id, at)
    }

    /// Holds positions against what the venues say, and tells of fills of orders that nobody sent since it was asked
    /// the last time. Each strategy whose position differs is stopped by its breaker, as each that had such a fill was
    /// when it came. To be asked when everything has been taken in.
    ///
    /// # Errors
    /// [`EngineError::Venue`].
    pub fn reconcile(&mut self) -> Result<Vec<Finding>, EngineError> {
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
        let orphans = std::mem::take(&mut self.orphans).into_iter().map(Finding::Orphan);
        Ok(found.into_iter().map(Finding::Position).chain(orphans).collect())
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
