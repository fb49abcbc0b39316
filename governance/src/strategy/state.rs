//! What a strategy has become: its stream, folded.
//!
//! `evolve` is total. It applies what was recorded and never asks whether it was a good idea, so a
//! log can always be read, whatever rules once wrote it.

use std::collections::BTreeMap;
use std::mem::take;

use serde::{Deserialize, Serialize};

use super::pieces::{Closing, measured};
use crate::drift::{Baseline, Comparison};
use crate::event::{ClosedTrade, Event, Pause, Pauses, Registration};
use crate::fill::{Fill, Netting};
use crate::ids::InstrumentId;
use crate::maturity::{Evidence, Level};
use crate::order::{OrderReport, OrderStatus, Side};
use crate::trade::{Measured, Outcome, outcome};
use crate::units::{Amount, Timestamp};
use crate::verdict::Action;
use crate::{approval, drift, health, maturity, netting, token};

/// Everything since the strategy came under governance, for people to read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Trades closed.
    pub trades: u32,
    /// With a profit.
    pub wins: u32,
    /// With a loss.
    pub losses: u32,
    /// Sum of profits.
    pub gross_win: Amount,
    /// Sum of losses, without sign.
    pub gross_loss: Amount,
    /// Sum of results.
    pub pnl: Amount,
    /// Highest allocated capital plus results.
    pub peak: Amount,
    /// Deepest fall from a peak, a fraction.
    pub max_drawdown: f64,
    /// Losses in a row up to now; a break-even neither adds nor ends.
    pub loss_streak: u32,
    /// Signals and orders decided, by action, mildest first.
    pub decisions: [u64; 6],
}

/// A strategy's stream, folded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// As it was last declared.
    pub registration: Option<Registration>,
    /// Where it stands on the ladder.
    pub maturity: maturity::State,
    /// Each level it has entered, with the time; the last 64.
    pub path: Vec<(Timestamp, Level)>,
    /// Its health.
    pub health: health::State,
    /// Its last trades, oldest first, as many as the policy's windows need.
    pub outcomes: Vec<Measured>,
    /// Trades since the version in force was registered: drift compares only these.
    pub version_trades: u32,
    /// Orders whose further pieces amend a trade, in the order in which they began.
    pub closing: Vec<Closing>,
    /// Everything counted.
    pub totals: Totals,
    /// The backtest to compare with.
    pub baseline: Option<Baseline>,
    /// Metrics beyond a drift bound.
    pub drift: drift::State,
    /// Its tokens.
    pub tokens: token::State,
    /// Orders that wait for approval.
    pub approvals: approval::State,
    /// Pauses in force.
    pub pauses: Pauses,
    /// Signed open positions over all accounts, once a venue has reported one.
    pub positions: Option<BTreeMap<InstrumentId, Amount>>,
    /// What its fills have opened.
    pub fills: netting::State,
    /// What was kept here because it belongs to no strategy.
    pub unattributed: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            registration: None,
            maturity: maturity::State::entering(Level::Shadow, Timestamp::default(), Amount::ZERO),
            path: Vec::new(),
            health: health::State::PRISTINE,
            outcomes: Vec::new(),
            version_trades: 0,
            closing: Vec::new(),
            totals: Totals::default(),
            baseline: None,
            drift: drift::State::default(),
            tokens: token::State::default(),
            approvals: approval::State::default(),
            pauses: BTreeMap::new(),
            positions: None,
            fills: netting::State::default(),
            unattributed: 0,
        }
    }
}

/// How many steps of its way a strategy remembers.
const PATH_MAX: usize = 64;

impl State {
    /// The trades drift looks at, compared with the baseline.
    #[must_use]
    pub fn compare_drift(&self, policy: &drift::Policy) -> Vec<Comparison> {
        compare(&self.outcomes, self.version_trades, self.maturity.evidence.equity, self.baseline.as_ref(), policy)
    }
}

pub(super) fn compare(
    outcomes: &[Measured],
    version_trades: u32,
    equity: Amount,
    baseline: Option<&Baseline>,
    policy: &drift::Policy,
) -> Vec<Comparison> {
    let of_version = outcomes.get(outcomes.len().saturating_sub(version_trades as usize)..).unwrap_or_default();
    drift::compare(of_version, equity.to_f64(), baseline, policy)
}

pub(super) fn push_outcome(outcomes: &mut Vec<Measured>, closed: &ClosedTrade) {
    let surplus = (outcomes.len() + 1).saturating_sub(closed.keep.max(1) as usize);
    outcomes.drain(..surplus.min(outcomes.len()));
    outcomes.push(measured(closed));
}

/// Applies one recorded event. `at` is when it was decided. What belongs to the system changes nothing here.
#[must_use]
pub fn evolve(mut state: State, event: &Event, at: Timestamp) -> State {
    apply(&mut state, event, at);
    state
}

/// [`evolve`] where the state stands: a large one is not moved for each of its events.
pub fn apply(state: &mut State, event: &Event, at: Timestamp) {
    match event {
        Event::StrategyRegistered { registration, level } => evolve_registered(state, registration, *level, at),
        Event::BaselineRecorded(recorded) => state.baseline = Some(recorded.baseline.clone()),
        Event::OrderReported(report) => evolve_reported(state, report),
        Event::TradeClosed(closed) => match closed.amends() {
            Some(first) => state.evolve_amended(first, closed),
            None => state.evolve_counted(closed),
        },
        Event::DecisionMade(decision) => {
            let count =
                Action::ALL.iter().zip(&mut state.totals.decisions).find(|(action, _)| **action == decision.action);
            if let Some((_, count)) = count {
                *count = count.saturating_add(1);
            }
            state.approvals = approval::evolve_decided(take(&mut state.approvals), decision, at);
        }
        Event::OrderApproved { order_id, by, .. } => {
            state.approvals = approval::evolve_approved(take(&mut state.approvals), order_id, by, at);
        }
        Event::OrderDeclined { order_id, .. } => {
            state.approvals = approval::evolve_declined(take(&mut state.approvals), order_id);
        }
        Event::MaturityTransitioned(transition) => {
            state.maturity = maturity::evolve(state.maturity, transition, at);
            step(state, at);
        }
        Event::LevelSet { to, .. } => {
            state.maturity = maturity::State::entering(*to, at, state.maturity.evidence.equity);
            step(state, at);
        }
        Event::HealthUpdated(health) => state.health = *health,
        Event::DriftAlerted(alert) => state.drift = drift::evolve(take(&mut state.drift), alert),
        Event::TokenChanged(change) => {
            state.approvals = approval::evolve_token(take(&mut state.approvals), change);
            state.tokens = token::evolve(take(&mut state.tokens), change, at);
        }
        Event::StrategyPaused { cause, by, reason } => {
            state.pauses.insert(*cause, Pause { by: by.clone(), since: at, reason: reason.clone() });
        }
        Event::FillRecorded { fill, netting, .. } => evolve_filled(state, fill, *netting),
        Event::UnattributedReceived(_) => state.unattributed = state.unattributed.saturating_add(1),
        Event::StrategyResumed { causes, .. } => state.pauses.retain(|cause, _| !causes.contains(cause)),
        Event::SignalReceived(_)
        | Event::AccountUpdated(_)
        | Event::CanaryChecked(_)
        | Event::CanaryAlerted(_)
        | Event::PolicyAdopted { .. }
        | Event::PolicyProposed { .. }
        | Event::KillSwitchEngaged { .. }
        | Event::KillSwitchReleased { .. }
        | Event::ActorFaulted { .. } => {}
    }
}

fn evolve_registered(state: &mut State, registration: &Registration, level: Level, at: Timestamp) {
    let equity = registration.initial_capital.plus(state.totals.pnl);
    let Some(before) = state.registration.replace(registration.clone()) else {
        state.maturity = maturity::State::entering(level, at, equity);
        state.totals.peak = equity;
        return step(state, at);
    };
    // Capital put in or taken out is no result: the strategy stands as far below its peak as before.
    let old = state.maturity.evidence;
    let peak = rescaled(old.peak, old.equity, equity);
    state.totals.peak = rescaled(state.totals.peak, old.equity, equity);
    state.maturity.evidence = if before.version_digest == registration.version_digest {
        Evidence { equity, peak, ..old }
    } else {
        // A new version has earned nothing yet; what speaks against the strategy is not forgotten for it.
        state.version_trades = 0;
        state.drift = drift::State::default();
        Evidence { peak, loss_streak: old.loss_streak, ..Evidence::starting(at, equity) }
    };
}

/// A peak after equity went `from` one amount `to` another by a change of capital: in the same proportion.
///
/// ```
/// use ephor_governance::strategy::rescaled;
/// use ephor_governance::units::Amount;
/// // A tenth below its peak, before and after half of the capital is taken out.
/// assert_eq!(rescaled(Amount::from(10_000), Amount::from(9_000), Amount::from(4_500)), Amount::from(5_000));
/// ```
#[must_use]
pub fn rescaled(peak: Amount, from: Amount, to: Amount) -> Amount {
    let ratio = |peak: Amount| to.decimal().checked_div(from.decimal()).and_then(|ratio| peak.times(ratio.into()));
    let scaled = (from != to && from.is_positive()).then(|| ratio(peak)).flatten();
    scaled.unwrap_or_else(|| peak.plus(to.minus(from))).max(to)
}

fn evolve_reported(state: &mut State, report: &OrderReport) {
    let filled = match (report.status, report.side, report.qty) {
        (OrderStatus::Filled, Some(Side::Buy), Some(qty)) => Some(qty),
        (OrderStatus::Filled, Some(Side::Sell), Some(qty)) => Some(Amount::ZERO.minus(qty)),
        (
            OrderStatus::Filled
            | OrderStatus::Rejected
            | OrderStatus::Denied
            | OrderStatus::Canceled
            | OrderStatus::Expired,
            _,
            _,
        ) => None,
    };
    // Where fills come in, a report without the position is of something that they have counted.
    let filled = filled.filter(|_| !state.fills.knows(&report.instrument));
    let before = state.positions.as_ref().and_then(|positions| positions.get(&report.instrument)).copied();
    let after = report.position_qty.or_else(|| filled.map(|change| before.unwrap_or_default().plus(change)));
    if let Some(after) = after {
        stands_at(state, &report.instrument, after);
    }
}

fn evolve_filled(state: &mut State, fill: &Fill, netting: Netting) {
    let own = state.registration.as_ref().map(|registration| &registration.currency);
    state.fills = netting::evolve(std::mem::take(&mut state.fills), fill, netting, own);
    state.see_books(&fill.instrument);
    let position = state.fills.position(&fill.instrument);
    stands_at(state, &fill.instrument, position);
}

fn stands_at(state: &mut State, instrument: &InstrumentId, position: Amount) {
    let positions = state.positions.get_or_insert_default();
    if position.is_zero() {
        positions.remove(instrument);
    } else {
        positions.insert(instrument.clone(), position);
    }
}

impl Totals {
    /// Counts one more result.
    pub(super) fn count(&mut self, pnl: Amount) {
        self.trades = self.trades.saturating_add(1);
        self.pnl = self.pnl.plus(pnl);
        self.loss_streak = maturity::streak_after(self.loss_streak, outcome(pnl));
        self.recount(Amount::ZERO, pnl);
    }

    /// A result that is counted has become another one; their sum and the losses in a row are left alone.
    pub(super) fn recount(&mut self, before: Amount, after: Amount) {
        match outcome(before) {
            Outcome::Win => {
                self.wins = self.wins.saturating_sub(1);
                self.gross_win = self.gross_win.minus(before);
            }
            Outcome::Loss => {
                self.losses = self.losses.saturating_sub(1);
                self.gross_loss = self.gross_loss.minus(before.abs());
            }
            Outcome::BreakEven => {}
        }
        match outcome(after) {
            Outcome::Win => {
                self.wins = self.wins.saturating_add(1);
                self.gross_win = self.gross_win.plus(after);
            }
            Outcome::Loss => {
                self.losses = self.losses.saturating_add(1);
                self.gross_loss = self.gross_loss.plus(after.abs());
            }
            Outcome::BreakEven => {}
        }
    }
}

impl State {
    /// Holds equity against the peak of all time.
    pub(super) fn see_drawdown(&mut self) {
        let totals = &mut self.totals;
        totals.peak = totals.peak.max(self.maturity.evidence.equity);
        let fall = Evidence { peak: totals.peak, ..self.maturity.evidence }.drawdown();
        if fall > totals.max_drawdown {
            totals.max_drawdown = fall;
        }
    }
}

fn step(state: &mut State, at: Timestamp) {
    if state.path.len() >= PATH_MAX {
        state.path.remove(0);
    }
    state.path.push((at, state.maturity.level));
}
