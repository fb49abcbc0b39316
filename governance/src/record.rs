//! How commands and events are tied together in the log: idempotency keys, causes, times.
//!
//! Kept apart from the rules, because none of it decides anything.

use smol_str::{SmolStr, format_smolstr};

use crate::event::{Event, PauseCause, Unattributed};
use crate::ids::InstrumentId;
use crate::order::Order;
use crate::units::Timestamp;
use crate::{strategy, system, token};

/// What kind of id makes a command idempotent. The numbers stand in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum KeyKind {
    /// A declaration of a strategy.
    Registration = 1,
    /// A backtest's promise.
    Baseline = 2,
    /// A wish to trade.
    Signal = 3,
    /// A question about an order.
    Order = 4,
    /// A venue's report.
    Report = 5,
    /// A closed trade.
    Trade = 6,
    /// A statement of the account.
    Account = 7,
    /// A token.
    Token = 8,
    /// An execution.
    Fill = 9,
    /// What belongs to no strategy; the id stands behind its source and kind, because sources share ids.
    Unattributed = 10,
}

impl strategy::Command {
    /// The id that makes it idempotent; operators' acts have none.
    #[must_use]
    pub fn key(&self) -> Option<(KeyKind, SmolStr)> {
        match self {
            Self::Register(registration) => Some((KeyKind::Registration, registration.id.text())),
            Self::RecordBaseline(recorded) => Some((KeyKind::Baseline, recorded.id.text())),
            Self::ReceiveSignal { signal, .. } => Some((KeyKind::Signal, signal.id.text())),
            Self::CheckOrder { order, .. } => Some((KeyKind::Order, order.id.text())),
            Self::ReportOrder(report) => Some((KeyKind::Report, report.id.text())),
            Self::CloseTrade(trade) => Some((KeyKind::Trade, trade.id.text())),
            Self::IssueToken(grant) => Some((KeyKind::Token, grant.id.text())),
            Self::RecordFill { fill, .. } => Some((KeyKind::Fill, fill.id.text())),
            Self::RecordUnattributed(Unattributed { id, source, kind, .. }) => {
                Some((KeyKind::Unattributed, format_smolstr!("{source}/{kind}/{id}")))
            }
            Self::Pause { .. }
            | Self::Resume { .. }
            | Self::SetLevel { .. }
            | Self::RevokeTokens { .. }
            | Self::ApproveOrder { .. }
            | Self::DeclineOrder { .. }
            | Self::RecordFault { .. } => None,
        }
    }

    /// The order it asks about.
    #[must_use]
    pub fn order(&self) -> Option<&Order> {
        match self {
            Self::ReceiveSignal { order, .. } | Self::CheckOrder { order, .. } => Some(order),
            Self::Register(_)
            | Self::RecordBaseline(_)
            | Self::ReportOrder(_)
            | Self::CloseTrade(_)
            | Self::RecordFill { .. }
            | Self::RecordUnattributed(_)
            | Self::Pause { .. }
            | Self::Resume { .. }
            | Self::SetLevel { .. }
            | Self::IssueToken(_)
            | Self::RevokeTokens { .. }
            | Self::ApproveOrder { .. }
            | Self::DeclineOrder { .. }
            | Self::RecordFault { .. } => None,
        }
    }

    /// The instrument it is about.
    #[must_use]
    pub fn instrument(&self) -> Option<&InstrumentId> {
        match self {
            Self::Register(registration) => registration.instrument.as_ref(),
            Self::ReceiveSignal { order, .. } | Self::CheckOrder { order, .. } => Some(&order.instrument),
            Self::ReportOrder(report) => Some(&report.instrument),
            Self::CloseTrade(trade) => Some(&trade.instrument),
            Self::RecordFill { fill, .. } => Some(&fill.instrument),
            Self::RecordBaseline(_)
            | Self::RecordUnattributed(_)
            | Self::Pause { .. }
            | Self::Resume { .. }
            | Self::SetLevel { .. }
            | Self::IssueToken(_)
            | Self::RevokeTokens { .. }
            | Self::ApproveOrder { .. }
            | Self::DeclineOrder { .. }
            | Self::RecordFault { .. } => None,
        }
    }

    /// The source's own time for it, where the command carries one.
    #[must_use]
    pub fn occurred_at(&self) -> Option<Timestamp> {
        match self {
            Self::CloseTrade(trade) => Some(trade.closed_at),
            Self::RecordFill { fill, .. } => Some(fill.at),
            Self::RecordUnattributed(_)
            | Self::Register(_)
            | Self::RecordBaseline(_)
            | Self::ReceiveSignal { .. }
            | Self::CheckOrder { .. }
            | Self::ReportOrder(_)
            | Self::Pause { .. }
            | Self::Resume { .. }
            | Self::SetLevel { .. }
            | Self::IssueToken(_)
            | Self::RevokeTokens { .. }
            | Self::ApproveOrder { .. }
            | Self::DeclineOrder { .. }
            | Self::RecordFault { .. } => None,
        }
    }
}

impl system::Command {
    /// The id that makes it idempotent.
    #[must_use]
    pub fn key(&self) -> Option<(KeyKind, SmolStr)> {
        match self {
            Self::UpdateAccount(account) => Some((KeyKind::Account, account.id.text())),
            Self::AdoptPolicy { .. }
            | Self::ProposePolicy { .. }
            | Self::EngageKillSwitch { .. }
            | Self::ReleaseKillSwitch { .. }
            | Self::RecordCanaryRound(_) => None,
        }
    }
}

/// The index of the event in the same commit that the event at `index` follows from; `None` where it
/// came from outside.
#[must_use]
pub fn cause_within(events: &[Event], index: usize) -> Option<usize> {
    let event = events.get(index)?;
    let is_expiry = |event: &Event| matches!(event, Event::TokenChanged(token::Event::Expired { .. }));
    let last = |wanted: fn(&Event) -> bool| events.get(..index)?.iter().rposition(wanted);
    let root = events.iter().position(|event| !is_expiry(event)).filter(|root| *root < index);
    match event {
        Event::TokenChanged(token::Event::Expired { .. }) => None,
        Event::TokenChanged(token::Event::Used { .. }) | Event::MaturityTransitioned(_) => {
            last(|event| matches!(event, Event::DecisionMade(_))).or(root)
        }
        Event::StrategyPaused { cause: PauseCause::Drift, .. } => {
            last(|event| matches!(event, Event::DriftAlerted(_))).or(root)
        }
        Event::KillSwitchEngaged { .. } => last(|event| matches!(event, Event::CanaryAlerted(_))),
        Event::StrategyRegistered { .. }
        | Event::BaselineRecorded(_)
        | Event::SignalReceived(_)
        | Event::OrderReported(_)
        | Event::TradeClosed(_)
        | Event::AccountUpdated(_)
        | Event::DecisionMade(_)
        | Event::HealthUpdated(_)
        | Event::DriftAlerted(_)
        | Event::TokenChanged(token::Event::Issued(_) | token::Event::Revoked { .. })
        | Event::CanaryChecked(_)
        | Event::CanaryAlerted(_)
        | Event::PolicyAdopted { .. }
        | Event::KillSwitchReleased { .. }
        | Event::StrategyPaused { cause: PauseCause::Operator, .. }
        | Event::StrategyResumed { .. }
        | Event::LevelSet { .. }
        | Event::ActorFaulted { .. }
        | Event::OrderApproved { .. }
        | Event::OrderDeclined { .. }
        | Event::PolicyProposed { .. }
        | Event::FillRecorded { .. }
        | Event::UnattributedReceived(_) => root,
    }
}
