//! Everything that can be recorded: one enum, because the log is one log.
//!
//! An event is a fact in the past tense. Variants and fields are what the log keeps for ever: a
//! change of shape needs a new schema version and an upcast where events are encoded.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::fill::{Fill, Netting, Pieces};
use crate::gate::Decision;
use crate::ids::{AccountId, Actor, Currency, InstrumentId, SourceId, StrategyId};
use crate::maturity::{Evidence, Level};
use crate::order::{Order, OrderReport, Signal};
use crate::policy::{Policy, PolicyId};
use crate::trade::{RMultiple, Trade};
use crate::units::{Amount, Timestamp};
use crate::{canary, drift, health, maturity, token};

/// A strategy as its owner declares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The source's id of the declaration.
    pub id: SourceId,
    /// Its main instrument, where it has one.
    pub instrument: Option<InstrumentId>,
    /// The engine that runs it.
    pub engine: Option<String>,
    /// Its class or family.
    pub strategy_class: Option<String>,
    /// Digest of code and settings: another digest is another version, and evidence starts again.
    pub version_digest: SmolStr,
    /// Capital allocated to it.
    pub initial_capital: Amount,
    /// What the capital, prices and results are counted in.
    pub currency: Currency,
    /// Value of one unit at a price of one.
    pub multiplier: Amount,
}

/// A backtest's promise, as recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordedBaseline {
    /// The source's id.
    pub id: SourceId,
    /// First moment of the backtest.
    pub period_start: Option<Timestamp>,
    /// Last moment of the backtest.
    pub period_end: Option<Timestamp>,
    /// Trades and metrics.
    pub baseline: drift::Baseline,
}

/// A closed trade with what was measured when it was recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClosedTrade {
    /// The trade; of an order that is filled in pieces, this piece.
    pub trade: Trade,
    /// Its result in units of risk; of an order in pieces, that of all so far.
    pub r: RMultiple,
    /// Its result over the entry notional, a fraction; of an order in pieces, that of all so far.
    pub return_on_entry: f64,
    /// How many trades the state keeps from here on: the larger window of the policy in force.
    pub keep: u32,
    /// What it is a piece of; `None` where it is a trade by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piece: Option<Piece>,
}

impl ClosedTrade {
    /// The trade that this is a further piece of; `None` where it is one more trade.
    #[must_use]
    pub fn amends(&self) -> Option<&SourceId> {
        self.piece.as_ref()?.amends.as_ref()
    }

    /// The result that counts: of an order in pieces, that of all so far.
    #[must_use]
    pub fn result(&self) -> Amount {
        self.piece.as_ref().map_or(self.trade.realized_pnl, |piece| piece.pnl)
    }
}

/// One piece of an order that closes, and what the order has come to with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// The account of the order; empty where its source names none.
    pub account: AccountId,
    /// The trade that the order's first piece was recorded as; `None` for the first.
    pub amends: Option<SourceId>,
    /// Result of all pieces so far.
    pub pnl: Amount,
    /// Entry notional of all pieces so far.
    pub notional: Amount,
    /// The mean loss that the first was measured by, and so are all; `None` where there was none.
    pub mean_loss: Option<f64>,
}

/// Something of trading that no rule of attribution gives to a strategy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unattributed {
    /// The source's id of it.
    pub id: SourceId,
    /// Where it came from.
    pub source: SmolStr,
    /// What it is: `fill`, `trade`, `order`, `signal`.
    pub kind: SmolStr,
    /// All of it, as JSON.
    pub content: String,
    /// Why it could not be attributed.
    pub reason: String,
}

/// The account that the strategies share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The source's id of this statement.
    pub id: SourceId,
    /// Equity.
    pub equity: Amount,
    /// What it is counted in.
    pub currency: Currency,
    /// Leverage in use, where the source says.
    pub leverage: Option<Amount>,
    /// Open positions, where the source says.
    pub open_positions: Option<u32>,
}

/// What a kill switch covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everything.
    All,
    /// One strategy.
    Strategy(StrategyId),
    /// One instrument.
    Instrument(InstrumentId),
    /// One venue.
    Venue(InstrumentId),
}

/// What a pause came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseCause {
    /// A person.
    Operator,
    /// Drift beyond its pause bound.
    Drift,
}

/// A fact. Variants are appended, never reordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A strategy, or a new version of one, came under governance.
    StrategyRegistered {
        /// What was declared.
        registration: Registration,
        /// The level it starts at, or keeps.
        level: Level,
    },
    /// A backtest to compare with came in.
    BaselineRecorded(RecordedBaseline),
    /// The strategy wished to trade; the decision follows in the same commit.
    SignalReceived(Signal),
    /// The venue reported on an order.
    OrderReported(OrderReport),
    /// A round trip ended.
    TradeClosed(ClosedTrade),
    /// The account's state came in.
    AccountUpdated(Account),
    /// The gate answered.
    DecisionMade(Box<Decision>),
    /// The strategy climbed or fell on the ladder.
    MaturityTransitioned(maturity::Event),
    /// Health was folded anew.
    HealthUpdated(health::Event),
    /// A metric crossed a drift bound.
    DriftAlerted(drift::Event),
    /// A token was issued, used, expired or revoked.
    TokenChanged(token::Event),
    /// A round of canary checks was made.
    CanaryChecked(canary::Round),
    /// A component crossed an edge.
    CanaryAlerted(canary::Alert),
    /// A policy came into force.
    PolicyAdopted {
        /// What it was known by when it was adopted; a later version of the program may write it otherwise.
        id: PolicyId,
        /// The whole policy.
        #[serde(with = "crate::policy::recorded")]
        policy: Arc<Policy>,
        /// Who adopted it.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// A kill switch was thrown, and stays so.
    KillSwitchEngaged {
        /// What it covers.
        scope: Scope,
        /// Whether exits are stopped too.
        exits_blocked: bool,
        /// Who threw it.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// A person re-armed a kill switch.
    KillSwitchReleased {
        /// What it covered.
        scope: Scope,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// The strategy stands still.
    StrategyPaused {
        /// What it came from.
        cause: PauseCause,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// The strategy may go on.
    StrategyResumed {
        /// The pauses that ended.
        causes: Vec<PauseCause>,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// A person set the level by hand.
    LevelSet {
        /// The level before.
        from: Level,
        /// The level after.
        to: Level,
        /// Whether the record had earned it.
        earned: bool,
        /// The record at `from`.
        evidence: Evidence,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// A strategy's actor failed and was rebuilt from the log.
    ActorFaulted {
        /// What it said.
        message: String,
    },
    /// A person approved an order that waited.
    OrderApproved {
        /// Which.
        order_id: SourceId,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// A person said no to an order that waited.
    OrderDeclined {
        /// Which.
        order_id: SourceId,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// A person put a policy forward for others to adopt.
    PolicyProposed {
        /// What it is known by.
        id: PolicyId,
        /// The whole policy.
        #[serde(with = "crate::policy::recorded")]
        policy: Arc<Policy>,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// An execution came in; the part of a position that it closes follows in the same commit.
    FillRecorded {
        /// The execution.
        fill: Fill,
        /// How it is matched.
        netting: Netting,
        /// What it counts as, where it closes.
        pieces: Pieces,
    },
    /// Something of trading came in that belongs to no strategy anybody could name.
    UnattributedReceived(Unattributed),
}

impl Event {
    /// The name consumers know it by.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::StrategyRegistered { .. } => "StrategyRegistered",
            Self::BaselineRecorded(_) => "BaselineRecorded",
            Self::SignalReceived(_) => "SignalReceived",
            Self::OrderReported(_) => "OrderReported",
            Self::TradeClosed(_) => "TradeClosed",
            Self::AccountUpdated(_) => "AccountUpdated",
            Self::DecisionMade(_) => "DecisionMade",
            Self::MaturityTransitioned(_) => "MaturityTransitioned",
            Self::HealthUpdated(_) => "HealthUpdated",
            Self::DriftAlerted(_) => "DriftAlerted",
            Self::TokenChanged(_) => "TokenChanged",
            Self::CanaryChecked(_) => "CanaryChecked",
            Self::CanaryAlerted(_) => "CanaryAlerted",
            Self::PolicyAdopted { .. } => "PolicyAdopted",
            Self::KillSwitchEngaged { .. } => "KillSwitchEngaged",
            Self::KillSwitchReleased { .. } => "KillSwitchReleased",
            Self::StrategyPaused { .. } => "StrategyPaused",
            Self::StrategyResumed { .. } => "StrategyResumed",
            Self::LevelSet { .. } => "LevelSet",
            Self::ActorFaulted { .. } => "ActorFaulted",
            Self::OrderApproved { .. } => "OrderApproved",
            Self::OrderDeclined { .. } => "OrderDeclined",
            Self::PolicyProposed { .. } => "PolicyProposed",
            Self::FillRecorded { .. } => "FillRecorded",
            Self::UnattributedReceived(_) => "UnattributedReceived",
        }
    }

    /// Every name, in the order of the variants.
    pub const NAMES: [&'static str; 25] = [
        "StrategyRegistered",
        "BaselineRecorded",
        "SignalReceived",
        "OrderReported",
        "TradeClosed",
        "AccountUpdated",
        "DecisionMade",
        "MaturityTransitioned",
        "HealthUpdated",
        "DriftAlerted",
        "TokenChanged",
        "CanaryChecked",
        "CanaryAlerted",
        "PolicyAdopted",
        "KillSwitchEngaged",
        "KillSwitchReleased",
        "StrategyPaused",
        "StrategyResumed",
        "LevelSet",
        "ActorFaulted",
        "OrderApproved",
        "OrderDeclined",
        "PolicyProposed",
        "FillRecorded",
        "UnattributedReceived",
    ];

    /// The gate's answer, where that is what happened.
    #[must_use]
    pub fn decision(&self) -> Option<&Decision> {
        if let Self::DecisionMade(decision) = self { Some(decision) } else { None }
    }

    /// The instrument and the ids that an event is about, to be written once a commit.
    pub fn subject_mut(&mut self) -> Subject<'_> {
        match self {
            Self::StrategyRegistered { registration, .. } => {
                Subject { instrument: registration.instrument.as_mut(), id: Some(&mut registration.id), order: None }
            }
            Self::BaselineRecorded(recorded) => Subject::known_by(&mut recorded.id),
            Self::SignalReceived(signal) => Subject::known_by(&mut signal.id),
            Self::FillRecorded { fill: Fill { instrument, id, order_id, .. }, .. }
            | Self::OrderReported(OrderReport { instrument, id, order_id, .. })
            | Self::TradeClosed(ClosedTrade { trade: Trade { instrument, id, order_id, .. }, .. }) => {
                Subject { instrument: Some(instrument), id: Some(id), order: order_id.as_mut() }
            }
            Self::DecisionMade(decision) => {
                let Order { instrument, id, .. } = &mut decision.order;
                Subject { instrument: Some(instrument), id: Some(id), order: None }
            }
            Self::AccountUpdated(account) => Subject::known_by(&mut account.id),
            Self::UnattributedReceived(received) => Subject::known_by(&mut received.id),
            Self::OrderApproved { order_id, .. } | Self::OrderDeclined { order_id, .. } => {
                Subject { instrument: None, id: None, order: Some(order_id) }
            }
            Self::MaturityTransitioned(_)
            | Self::HealthUpdated(_)
            | Self::DriftAlerted(_)
            | Self::TokenChanged(_)
            | Self::CanaryChecked(_)
            | Self::CanaryAlerted(_)
            | Self::PolicyAdopted { .. }
            | Self::PolicyProposed { .. }
            | Self::KillSwitchEngaged { .. }
            | Self::KillSwitchReleased { .. }
            | Self::StrategyPaused { .. }
            | Self::StrategyResumed { .. }
            | Self::LevelSet { .. }
            | Self::ActorFaulted { .. } => Subject { instrument: None, id: None, order: None },
        }
    }
}

/// What an event is about, open for the encoder to lift out and put back.
pub struct Subject<'a> {
    /// The instrument.
    pub instrument: Option<&'a mut InstrumentId>,
    /// The source's id.
    pub id: Option<&'a mut SourceId>,
    /// The order that it belongs to.
    pub order: Option<&'a mut SourceId>,
}

impl<'a> Subject<'a> {
    fn known_by(id: &'a mut SourceId) -> Self {
        Self { instrument: None, id: Some(id), order: None }
    }
}

/// Pauses in force, by cause.
pub type Pauses = BTreeMap<PauseCause, Pause>;

/// A pause in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Who.
    pub by: Actor,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
}
