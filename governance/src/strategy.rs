//! One strategy: what can be asked of it, what follows, and what it has become.
//!
//! `decide` is pure and judges; `evolve` is total and only applies. All that follows from one trade
//! (health, drift, a pause, a demotion) is decided together and recorded together.

mod fills;
mod pieces;
mod state;
mod tokens;

pub use fills::close_apart;
pub use pieces::{Closing, ORDERS_MAX};
pub use state::{State, Totals, apply, evolve, rescaled};

use crate::drift::Comparison;
use crate::event::{ClosedTrade, Event, PauseCause, RecordedBaseline, Registration, Unattributed};
use crate::fill::{Fill, Netting, Pieces};
use crate::ids::{AccountId, Actor, Currency, SourceId, StrategyId, TokenId};
use crate::maturity::Level;
use crate::order::{Order, OrderReport, Signal};
use crate::rejection::{Rejection, said};
use crate::token::Grant;
use crate::trade::Trade;
use crate::units::{Amount, Timestamp};
use crate::verdict::{Action, Component};
use crate::{drift, gate, health, maturity, system, token};
use state::{compare, push_outcome};

/// What a decision stands on beside the strategy's own state.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The governor's time, stamped once where the command came in.
    pub at: Timestamp,
    /// The system as the gate knows it.
    pub system: &'a system::State,
    /// What [`State::compare_drift`] gives for the state and the system's policy, where the caller has kept that.
    pub drift: Option<&'a [Comparison]>,
}

/// What can be asked of a strategy.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Bring it under governance, or declare a new version of it.
    Register(Registration),
    /// Give it a backtest to be compared with.
    RecordBaseline(RecordedBaseline),
    /// It wishes to trade: record the wish and decide the order.
    ReceiveSignal {
        /// The wish.
        signal: Signal,
        /// The order it asks for.
        order: Order,
    },
    /// An engine asks before it sends an order.
    CheckOrder {
        /// The order.
        order: Order,
        /// 0; more where a decision in flight is made again after a kill.
        attempt: u32,
    },
    /// A venue reports.
    ReportOrder(OrderReport),
    /// A round trip ended.
    CloseTrade(Trade),
    /// Let it stand still.
    Pause {
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// Let it go on: ends every pause.
    Resume {
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// Set its level by hand.
    SetLevel {
        /// To which.
        to: Level,
        /// Climb even though the record has not earned it.
        without_evidence: bool,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// Issue a token.
    IssueToken(Grant),
    /// Take a token back; all of them where none is named.
    RevokeTokens {
        /// Which.
        id: Option<TokenId>,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// Approve an order that waits; the last approval it takes issues a token for exactly that order.
    ApproveOrder {
        /// Which.
        order_id: SourceId,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// Say no to an order that waits; every token for it is taken back.
    DeclineOrder {
        /// Which.
        order_id: SourceId,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// An execution came in: net it, and close the round trip that it ends.
    RecordFill {
        /// The execution.
        fill: Fill,
        /// How it is matched.
        netting: Netting,
        /// What it counts as, where it closes.
        pieces: Pieces,
        /// What its price is counted in, where the source says: it has to be the strategy's own.
        currency: Option<Currency>,
    },
    /// Keep what belongs to no strategy; for [`StrategyId::UNATTRIBUTED`] alone.
    RecordUnattributed(Unattributed),
    /// Its actor failed and was rebuilt.
    RecordFault {
        /// What it said.
        message: String,
    },
}

impl Command {
    /// The command that a recorded commit came from: what the events after the first ones follow from.
    ///
    /// `None` for a commit that no command of this version gives.
    #[must_use]
    pub fn of(events: &[Event]) -> Option<Self> {
        let is_expiry = |event: &&Event| matches!(event, Event::TokenChanged(token::Event::Expired { .. }));
        let rest: Vec<&Event> = events.iter().skip_while(is_expiry).collect();
        match rest.first()? {
            Event::StrategyRegistered { registration, .. } => Some(Self::Register(registration.clone())),
            Event::BaselineRecorded(recorded) => Some(Self::RecordBaseline(recorded.clone())),
            Event::SignalReceived(signal) => {
                let decision = rest.iter().find_map(|event| event.decision())?;
                Some(Self::ReceiveSignal { signal: signal.clone(), order: decision.order.clone() })
            }
            Event::DecisionMade(decision) => {
                Some(Self::CheckOrder { order: decision.order.clone(), attempt: decision.attempt })
            }
            Event::OrderReported(report) => Some(Self::ReportOrder(report.clone())),
            Event::TradeClosed(closed) => Some(Self::CloseTrade(closed.trade.clone())),
            Event::StrategyPaused { by, reason, .. } => Some(Self::Pause { by: by.clone(), reason: reason.clone() }),
            Event::StrategyResumed { by, reason, .. } => Some(Self::Resume { by: by.clone(), reason: reason.clone() }),
            Event::LevelSet { from, to, earned, by, reason, .. } => Some(Self::SetLevel {
                to: *to,
                without_evidence: to > from && !earned,
                by: by.clone(),
                reason: reason.clone(),
            }),
            Event::TokenChanged(token::Event::Issued(grant)) => Some(Self::IssueToken(grant.clone())),
            Event::TokenChanged(token::Event::Revoked { id, by, reason }) => {
                let id = (rest.len() == 1).then(|| id.clone());
                Some(Self::RevokeTokens { id, by: by.clone(), reason: reason.clone() })
            }
            Event::ActorFaulted { message } => Some(Self::RecordFault { message: message.clone() }),
            Event::OrderApproved { order_id, by, reason } => {
                let (order_id, by, reason) = (order_id.clone(), by.clone(), reason.clone());
                Some(Self::ApproveOrder { order_id, by, reason })
            }
            Event::OrderDeclined { order_id, by, reason } => {
                let (order_id, by, reason) = (order_id.clone(), by.clone(), reason.clone());
                Some(Self::DeclineOrder { order_id, by, reason })
            }
            // What a price was counted in was the strategy's own, or there would be no event.
            Event::FillRecorded { fill, netting, pieces } => {
                Some(Self::RecordFill { fill: fill.clone(), netting: *netting, pieces: *pieces, currency: None })
            }
            Event::UnattributedReceived(received) => Some(Self::RecordUnattributed(received.clone())),
            Event::TokenChanged(token::Event::Used { .. } | token::Event::Expired { .. })
            | Event::AccountUpdated(_)
            | Event::MaturityTransitioned(_)
            | Event::HealthUpdated(_)
            | Event::DriftAlerted(_)
            | Event::CanaryChecked(_)
            | Event::CanaryAlerted(_)
            | Event::PolicyAdopted { .. }
            | Event::PolicyProposed { .. }
            | Event::KillSwitchEngaged { .. }
            | Event::KillSwitchReleased { .. } => None,
        }
    }
}

/// Decides what a command comes to: the events of one commit, in order.
///
/// ```
/// use ephor_governance::rejection::Rejection;
/// use ephor_governance::strategy::{self, Command, Context, State};
/// use ephor_governance::{system, units::Timestamp};
/// let context = Context { at: Timestamp::default(), system: &system::State::default(), drift: None };
/// let pause = Command::Pause { by: "alice".parse().unwrap(), reason: "holiday".to_owned() };
/// let refused = strategy::decide(&State::default(), &"momentum".parse().unwrap(), &pause, &context);
/// assert_eq!(refused, Err(Rejection::UnknownStrategy));
/// ```
///
/// # Errors
/// A [`Rejection`] that names the field or the rule; nothing is to be recorded then.
pub fn decide(
    state: &State,
    id: &StrategyId,
    command: &Command,
    context: &Context<'_>,
) -> Result<Vec<Event>, Rejection> {
    fills::only_its_own(id, command)?;
    let follow = match command {
        Command::Register(registration) => vec![register(state, registration, context)?],
        Command::RecordFault { message } => vec![Event::ActorFaulted { message: message.clone() }],
        Command::RecordUnattributed(received) => vec![fills::unattributed(received)?],
        Command::RecordBaseline(_)
        | Command::ReceiveSignal { .. }
        | Command::CheckOrder { .. }
        | Command::ReportOrder(_)
        | Command::CloseTrade(_)
        | Command::RecordFill { .. }
        | Command::Pause { .. }
        | Command::Resume { .. }
        | Command::SetLevel { .. }
        | Command::IssueToken(_)
        | Command::RevokeTokens { .. }
        | Command::ApproveOrder { .. }
        | Command::DeclineOrder { .. }
            if state.registration.is_none() =>
        {
            return Err(Rejection::UnknownStrategy);
        }
        Command::RecordBaseline(recorded) => record_baseline(state, recorded, context)?,
        Command::ReceiveSignal { signal, order } => {
            let mut events = vec![Event::SignalReceived(signal.clone())];
            events.extend(check_order(state, id, order, 0, context)?);
            events
        }
        Command::CheckOrder { order, attempt } => check_order(state, id, order, *attempt, context)?,
        Command::ReportOrder(report) => {
            above_zero_if_given("qty", report.qty)?;
            vec![Event::OrderReported(report.clone())]
        }
        Command::CloseTrade(trade) => close_trade(state, trade, None, None, context)?,
        Command::RecordFill { fill, netting, pieces, currency } => {
            counted_in_its_own(state, currency.as_ref())?;
            fills::record(state, fill, *netting, *pieces, context)?
        }
        Command::Pause { by, reason } => {
            said("reason", reason)?;
            if state.pauses.contains_key(&PauseCause::Operator) {
                return Err(Rejection::NothingToChange { what: "an operator has already paused it" });
            }
            vec![Event::StrategyPaused { cause: PauseCause::Operator, by: by.clone(), reason: reason.clone() }]
        }
        Command::Resume { by, reason } => {
            said("reason", reason)?;
            if state.pauses.is_empty() {
                return Err(Rejection::NothingToChange { what: "it is not paused" });
            }
            let causes = state.pauses.keys().copied().collect();
            vec![Event::StrategyResumed { causes, by: by.clone(), reason: reason.clone() }]
        }
        Command::SetLevel { to, without_evidence, by, reason } => {
            said("reason", reason)?;
            vec![set_level(state, *to, *without_evidence, by, reason, context)?]
        }
        Command::IssueToken(grant) => vec![tokens::issue(state, grant, context)?],
        Command::RevokeTokens { id, by, reason } => tokens::revoke(state, id.as_ref(), by, reason, context.at)?,
        Command::ApproveOrder { order_id, by, reason } => tokens::approve(state, id, order_id, by, reason, context)?,
        Command::DeclineOrder { order_id, by, reason } => tokens::decline(state, order_id, by, reason, context.at)?,
    };
    Ok(after_expiries(state, follow, context.at))
}

/// The tokens that have run out come first.
fn after_expiries(state: &State, follow: Vec<Event>, at: Timestamp) -> Vec<Event> {
    let expired = token::expire(&state.tokens, at);
    if expired.is_empty() {
        return follow;
    }
    expired.into_iter().map(Event::TokenChanged).chain(follow).collect()
}

fn invalid(field: &'static str, problem: impl Into<String>) -> Rejection {
    Rejection::InvalidField { field, problem: problem.into() }
}

fn above_zero(field: &'static str, value: Amount) -> Result<(), Rejection> {
    if value.is_positive() { Ok(()) } else { Err(invalid(field, format!("must be above 0, found {value}"))) }
}

fn above_zero_if_given(field: &'static str, value: Option<Amount>) -> Result<(), Rejection> {
    value.map_or(Ok(()), |value| above_zero(field, value))
}

fn register(state: &State, registration: &Registration, context: &Context<'_>) -> Result<Event, Rejection> {
    above_zero("initial_capital", registration.initial_capital)?;
    above_zero("multiplier", registration.multiplier)?;
    let same = |before: &Registration| Registration { id: before.id.clone(), ..registration.clone() } == *before;
    if state.registration.as_ref().is_some_and(same) {
        return Err(Rejection::NothingToChange { what: "this version is already registered" });
    }
    let before = state.registration.as_ref().filter(|before| before.currency != registration.currency);
    if let Some(before) = before.filter(|_| state.totals.trades > 0 || state.fills.is_open()) {
        let problem = format!("results so far are counted in {}, not in {}", before.currency, registration.currency);
        return Err(invalid("currency", problem));
    }
    let level = match &state.registration {
        Some(_) => state.maturity.level,
        None => context.system.policy.maturity.default_level,
    };
    Ok(Event::StrategyRegistered { registration: registration.clone(), level })
}

fn record_baseline(state: &State, recorded: &RecordedBaseline, context: &Context<'_>) -> Result<Vec<Event>, Rejection> {
    if let Some((metric, _)) = recorded.baseline.metrics.iter().find(|(_, value)| !value.is_finite()) {
        return Err(invalid("metrics", format!("{metric} is not a finite number")));
    }
    let equity = state.maturity.evidence.equity;
    let comparisons = compare(
        &state.outcomes,
        state.version_trades,
        equity,
        Some(&recorded.baseline),
        &context.system.policy.drift_detector,
    );
    let mut events = vec![Event::BaselineRecorded(recorded.clone())];
    events.extend(follow_drift(state, &comparisons, Some(&recorded.baseline), context));
    Ok(events)
}

fn check_order(
    state: &State,
    id: &StrategyId,
    order: &Order,
    attempt: u32,
    context: &Context<'_>,
) -> Result<Vec<Event>, Rejection> {
    above_zero("qty", order.qty)?;
    // A price may be below zero, and an exit is not turned away for what its engine says of the account.
    if !order.reduce_only && order.notional.is_some_and(Amount::is_negative) {
        return Err(invalid("notional", "must not be negative"));
    }
    if !order.reduce_only && order.leverage.is_some_and(Amount::is_negative) {
        return Err(invalid("leverage", "must not be negative"));
    }
    let gate::Decided { decision, transition, token } = gate::decide(state, id, order, attempt, context);
    // A tightened policy can find drift that no trade has reported yet. The pause is recorded here, or
    // there would be none for an operator to end.
    let drift_pauses =
        decision.verdicts.iter().any(|said| said.component == Component::Drift && said.action == Action::Pause);
    let mut events = vec![Event::DecisionMade(Box::new(decision))];
    if drift_pauses {
        let comparisons = state.compare_drift(&context.system.policy.drift_detector);
        events.extend(follow_drift(state, &comparisons, state.baseline.as_ref(), context));
    }
    events.extend(transition.map(Event::MaturityTransitioned));
    events.extend(token.map(Event::TokenChanged));
    Ok(events)
}

/// Results of different currencies cannot be added up, and no rate is guessed.
fn counted_in_its_own(state: &State, currency: Option<&Currency>) -> Result<(), Rejection> {
    let ours = state.registration.as_ref().map(|registration| &registration.currency);
    match currency.zip(ours).filter(|(theirs, ours)| theirs != ours) {
        Some((theirs, ours)) => Err(invalid("currency", format!("{theirs} is not the strategy's own, {ours}"))),
        None => Ok(()),
    }
}

/// Counts a trade, and decides what follows. With an account it is a piece of its order; `fill` is what closed it,
/// where the state does not have that yet.
fn close_trade(
    state: &State,
    trade: &Trade,
    account: Option<&AccountId>,
    fill: Option<&Event>,
    context: &Context<'_>,
) -> Result<Vec<Event>, Rejection> {
    above_zero("qty", trade.qty)?;
    if trade.closed_at < trade.opened_at {
        return Err(invalid("closed_at", format!("{} is before opened_at {}", trade.closed_at, trade.opened_at)));
    }
    let registration = state.registration.as_ref();
    counted_in_its_own(state, trade.currency.as_ref())?;
    let multiplier = registration.map_or(Amount::ONE, |r| r.multiplier);
    let notional = trade.qty.times(trade.entry_price.abs()).and_then(|value| value.times(multiplier));
    let notional = notional.ok_or_else(|| invalid("qty", "qty x entry_price x multiplier does not fit"))?;
    let policy = &*context.system.policy;
    let held = account.and_then(|account| state.closing(trade, account));
    let piece = account.map(|account| {
        let mean_loss = || health::mean_loss(&state.outcomes, &policy.health_score);
        pieces::piece_of(held, trade, notional, account, held.map_or_else(mean_loss, |held| held.mean_loss))
    });
    let r = match &piece {
        Some(piece) => health::against(piece.pnl.to_f64(), piece.mean_loss),
        None => health::measure(trade, &state.outcomes, &policy.health_score),
    };
    let (pnl, notional) = piece.as_ref().map_or((trade.realized_pnl, notional), |piece| (piece.pnl, piece.notional));
    let return_on_entry = if notional.is_zero() { 0.0 } else { pnl.to_f64() / notional.to_f64() };
    let closed = ClosedTrade { trade: trade.clone(), r, return_on_entry, keep: policy.keep(), piece };

    let (outcomes, evidence) = if let Some(held) = held {
        state.amended(held, &closed)
    } else {
        let mut outcomes = state.outcomes.clone();
        push_outcome(&mut outcomes, &closed);
        (outcomes, state.maturity.evidence.with(trade))
    };
    let record = maturity::State { evidence, ..state.maturity };
    let health = health::fold(&outcomes, &policy.health_score);
    let version_trades = state.version_trades.saturating_add(u32::from(held.is_none()));
    let comparisons =
        compare(&outcomes, version_trades, evidence.equity, state.baseline.as_ref(), &policy.drift_detector);

    let mut events = vec![Event::TradeClosed(closed), Event::HealthUpdated(health)];
    events.extend(follow_drift(state, &comparisons, state.baseline.as_ref(), context));
    let transition = maturity::decide(&record, context.at, &policy.maturity);
    events.extend(
        transition.filter(|due| is_settled(state, due, &events, fill, context)).map(Event::MaturityTransitioned),
    );
    Ok(events)
}

/// Whether nothing that may still come of an order in pieces can take a promotion back; a fall waits for nothing.
fn is_settled(
    state: &State,
    due: &maturity::Event,
    events: &[Event],
    fill: Option<&Event>,
    context: &Context<'_>,
) -> bool {
    let maturity::Event::Promoted { to, .. } = due else { return true };
    let is_piece = |event: &Event| matches!(event, Event::TradeClosed(ClosedTrade { piece: Some(_), .. }));
    if state.closing.is_empty() && !events.iter().any(is_piece) {
        return true;
    }
    let after = fill.into_iter().chain(events).fold(state.clone(), |state, event| evolve(state, event, context.at));
    let record = maturity::State { evidence: after.settled(), ..after.maturity };
    maturity::promotion_earned(&record, context.at, &context.system.policy.maturity) == Some(*to)
}

/// Alerts, and the pause or its end that follows from them.
fn follow_drift(
    state: &State,
    comparisons: &[Comparison],
    baseline: Option<&drift::Baseline>,
    context: &Context<'_>,
) -> Vec<Event> {
    let policy = &context.system.policy.drift_detector;
    let alerts = drift::decide(&state.drift, comparisons);
    let entered_pause = alerts.iter().find(|alert| alert.comparison.band == drift::Band::Pause);
    let paused = state.pauses.contains_key(&PauseCause::Drift);
    let by = || Actor::recorded("drift".into());
    let change = match entered_pause {
        Some(alert) if !paused => Some(Event::StrategyPaused {
            cause: PauseCause::Drift,
            by: by(),
            reason: format!("{} beyond the pause bound", alert.comparison.metric),
        }),
        None if paused && policy.auto_resume && cleared(state, comparisons, baseline, policy) => {
            Some(Event::StrategyResumed {
                causes: vec![PauseCause::Drift],
                by: by(),
                reason: "drift has cleared".to_owned(),
            })
        }
        Some(_) | None => None,
    };
    alerts.into_iter().map(Event::DriftAlerted).chain(change).collect()
}

/// Whether every metric is back within bounds. One that was beyond a bound and has no value now has not come back, unless
/// it is compared no more.
fn cleared(
    state: &State,
    comparisons: &[Comparison],
    baseline: Option<&drift::Baseline>,
    policy: &drift::Policy,
) -> bool {
    let is_compared = |metric: &drift::Metric| {
        let is_promised = baseline.is_some_and(|baseline| baseline.metrics.contains_key(metric));
        is_promised && policy.metrics_tracked.contains(metric)
    };
    let is_seen = |metric: &drift::Metric| comparisons.iter().any(|comparison| comparison.metric == *metric);
    !comparisons.is_empty()
        && comparisons.iter().all(|comparison| comparison.band == drift::Band::Within)
        && state.drift.beyond.keys().filter(|metric| is_compared(metric)).all(is_seen)
}

fn set_level(
    state: &State,
    to: Level,
    without_evidence: bool,
    by: &Actor,
    reason: &str,
    context: &Context<'_>,
) -> Result<Event, Rejection> {
    let from = state.maturity.level;
    let evidence = state.maturity.evidence;
    if to == from {
        return Err(Rejection::NothingToChange { what: "it is already at this level" });
    }
    let policy = &context.system.policy.maturity;
    let settled = maturity::State { evidence: state.settled(), ..state.maturity };
    let earned = [&state.maturity, &settled]
        .iter()
        .all(|record| maturity::promotion_earned(record, context.at, policy) == Some(to))
        && maturity::demotion_cause(&evidence, policy).is_none();
    if to > from && !earned && !without_evidence {
        return Err(Rejection::EvidenceMissing { from, to, evidence });
    }
    Ok(Event::LevelSet { from, to, earned, evidence, by: by.clone(), reason: reason.to_owned() })
}
