//! Why no order went out: a code, and the numbers it stands on.

use ephor_governance::ids::{Actor, InstrumentId, SourceId};
use ephor_governance::units::{Amount, Timestamp};
use ephor_governance::verdict::Reason;

use crate::breaker::Reach;

/// Why an order does not go out. Not an error: the rule said no.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// Nobody has said what this instrument's terms are.
    InstrumentUnknown {
        /// Which.
        instrument: InstrumentId,
    },
    /// There is no price to size or to check by.
    PriceUnknown {
        /// Of which instrument.
        instrument: InstrumentId,
    },
    /// An exit of a strategy that holds nothing on that side.
    NothingToReduce,
    /// Exits that are under way take what is held: an exit gets what they leave, and none where they leave nothing.
    ExitsUnderWay {
        /// What is held, without its sign.
        held: Amount,
        /// What of it may still be filled by others.
        under_way: Amount,
    },
    /// The size comes to nothing.
    SizingZero,
    /// Sizing by risk, and the signal has no stop, or one on the wrong side of the price.
    SizingNoStop,
    /// Too few prices to measure by.
    SizingHistoryShort {
        /// Returns there are.
        have: u32,
        /// Returns it takes.
        need: u32,
    },
    /// What happened before the engine started has not been taken in yet.
    NotCaughtUp {
        /// What keeps it from it.
        problem: String,
    },
    /// This id has been an order before.
    DuplicateId,
    /// The engine's own risk checks denied this order before, and that was the end of it.
    DeniedBefore,
    /// The same wish under another id, a moment ago.
    DuplicateContent {
        /// The id it had.
        first: SourceId,
        /// How long it counts as the same, nanoseconds.
        window_nanos: i64,
    },
    /// Governance said no.
    Governance {
        /// Why; `None` never occurs for a no.
        reason: Option<Reason>,
    },
    /// Less than the venue takes.
    BelowMinimum {
        /// What was left.
        qty: Amount,
        /// What it takes.
        min: Amount,
    },
    /// Worth less than the venue takes.
    BelowNotional {
        /// What it is worth.
        value: Amount,
        /// What it takes.
        min: Amount,
    },
    /// A price too far from the market's.
    PriceCollar {
        /// The order's.
        price: Amount,
        /// The market's.
        reference: Amount,
        /// How far it may be, a fraction.
        max: Amount,
    },
    /// Worth more than one order may be.
    OrderValue {
        /// What it is worth.
        value: Amount,
        /// What it may be.
        max: Amount,
    },
    /// Larger than one order may be.
    OrderQty {
        /// How large it is.
        qty: Amount,
        /// How large it may be.
        max: Amount,
    },
    /// The position would be larger than it may be.
    PositionLimit {
        /// What it would be worth, with everything under way.
        position: Amount,
        /// What it may be.
        max: Amount,
    },
    /// All positions together would be worth more than they may be.
    GrossExposure {
        /// What they would be worth, with everything under way.
        exposure: Amount,
        /// What they may be.
        max: Amount,
    },
    /// Too many orders in too short a time, now or before: off until a person re-arms it.
    Throttled {
        /// Orders in the window.
        sent: u32,
        /// How many there may be.
        max: u32,
        /// Since when it is off.
        since: Timestamp,
    },
    /// An instrument that must not be traded.
    Restricted,
    /// A circuit breaker is open.
    BreakerOpen {
        /// What it stops.
        reach: Reach,
        /// Since when.
        since: Timestamp,
        /// Who opened it: a check of the engine's, or a person.
        by: Actor,
    },
    /// The venue refused it.
    VenueRejected {
        /// In its words.
        reason: String,
    },
    /// The venue cannot be reached: whether it has the order is asked again with the same signal.
    VenueUnreachable {
        /// What was found.
        problem: String,
    },
}

impl Refusal {
    /// The reason code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InstrumentUnknown { .. } => "EXECUTION_INSTRUMENT_UNKNOWN",
            Self::PriceUnknown { .. } => "EXECUTION_PRICE_UNKNOWN",
            Self::NothingToReduce => "SIZING_NOTHING_TO_REDUCE",
            Self::ExitsUnderWay { .. } => "SIZING_EXITS_UNDER_WAY",
            Self::SizingZero => "SIZING_ZERO",
            Self::SizingNoStop => "SIZING_NO_STOP",
            Self::SizingHistoryShort { .. } => "SIZING_HISTORY_SHORT",
            Self::NotCaughtUp { .. } => "EXECUTION_NOT_CAUGHT_UP",
            Self::DuplicateId => "DEDUP_ORDER_ID",
            Self::DeniedBefore => "EXECUTION_DENIED_BEFORE",
            Self::DuplicateContent { .. } => "DEDUP_CONTENT",
            Self::Governance { reason } => reason.as_ref().map_or("GOVERNANCE_REFUSED", Reason::code),
            Self::BelowMinimum { .. } => "EXECUTION_BELOW_MINIMUM",
            Self::BelowNotional { .. } => "EXECUTION_BELOW_NOTIONAL",
            Self::PriceCollar { .. } => "RISK_PRICE_COLLAR",
            Self::OrderValue { .. } => "RISK_ORDER_VALUE",
            Self::OrderQty { .. } => "RISK_ORDER_QTY",
            Self::PositionLimit { .. } => "RISK_POSITION_LIMIT",
            Self::GrossExposure { .. } => "RISK_GROSS_EXPOSURE",
            Self::Throttled { .. } => "RISK_THROTTLED",
            Self::Restricted => "RISK_RESTRICTED",
            Self::BreakerOpen { .. } => "RISK_BREAKER_OPEN",
            Self::VenueRejected { .. } => "VENUE_REJECTED",
            Self::VenueUnreachable { .. } => "VENUE_UNREACHABLE",
        }
    }
}
