//! The maturity ladder: five levels, slow and evidence-gated upwards, fast downwards.
//!
//! Evidence is counted from the moment a level is entered and starts again at the next one, so the
//! same trades can never earn two promotions, and a demotion is not repeated for an old loss.
//!
//! Invariants: promotion climbs exactly one level; a record that would do both demotes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::trade::{Outcome, Trade, outcome};
use crate::units::{Amount, Multiplier, Timestamp};
use crate::verdict::{Component, Reason, Verdict};

/// A rung of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Level {
    /// Watched only: no order goes anywhere.
    #[serde(rename = "L0_shadow")]
    Shadow,
    /// Orders go to a paper venue.
    #[serde(rename = "L1_paper")]
    Paper,
    /// Live, small, each order approved.
    #[serde(rename = "L2_gated")]
    Gated,
    /// Live, limited size.
    #[serde(rename = "L3_constrained")]
    Constrained,
    /// Live, whole size.
    #[serde(rename = "L4_autonomous")]
    Autonomous,
}

impl Level {
    /// Every level, lowest first.
    pub const ALL: [Self; 5] = [Self::Shadow, Self::Paper, Self::Gated, Self::Constrained, Self::Autonomous];

    /// The wire string.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shadow => "L0_shadow",
            Self::Paper => "L1_paper",
            Self::Gated => "L2_gated",
            Self::Constrained => "L3_constrained",
            Self::Autonomous => "L4_autonomous",
        }
    }

    /// The level above; `None` at the top.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::Shadow => Some(Self::Paper),
            Self::Paper => Some(Self::Gated),
            Self::Gated => Some(Self::Constrained),
            Self::Constrained => Some(Self::Autonomous),
            Self::Autonomous => None,
        }
    }

    /// The level below; the lowest stays where it is.
    #[must_use]
    pub const fn below(self) -> Self {
        match self {
            Self::Shadow | Self::Paper => Self::Shadow,
            Self::Gated => Self::Paper,
            Self::Constrained => Self::Gated,
            Self::Autonomous => Self::Constrained,
        }
    }

    /// Whether orders at this level reach a live venue.
    #[must_use]
    pub const fn executes(self) -> bool {
        match self {
            Self::Shadow | Self::Paper => false,
            Self::Gated | Self::Constrained | Self::Autonomous => true,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a text is not a level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown level {text:?}: use L0_shadow, L1_paper, L2_gated, L3_constrained or L4_autonomous (or L0 to L4)")]
pub struct LevelError {
    /// What was found.
    pub text: String,
}

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        Self::ALL
            .into_iter()
            .find(|level| {
                let name = level.as_str();
                name.eq_ignore_ascii_case(text)
                    || name.get(..2).is_some_and(|short| short.eq_ignore_ascii_case(text))
                    || name.get(3..).is_some_and(|word| word.eq_ignore_ascii_case(text))
            })
            .ok_or_else(|| LevelError { text: text.to_owned() })
    }
}

/// Thresholds of the ladder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Where a new strategy starts.
    pub default_level: Level,
    /// Trades at a level before a promotion is looked at.
    pub promotion_trades_min: u32,
    /// Win rate that a promotion must exceed, a fraction.
    pub promotion_win_rate_above: Amount,
    /// Profit factor that a promotion must exceed.
    pub promotion_profit_factor_above: Amount,
    /// Shortest stay at a level before a promotion, seconds.
    pub promotion_seconds_min: u64,
    /// Promotions to this level and above wait for a person.
    pub promotion_approval_from: Option<Level>,
    /// Drawdown beyond which a strategy falls to paper, a fraction.
    pub demotion_drawdown: Amount,
    /// Losses in a row beyond which it falls one level.
    pub demotion_loss_streak: u32,
    /// Share of the size asked for, per level from L0 to L4.
    pub sizing_caps: [f64; 5],
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            default_level: Level::Paper,
            promotion_trades_min: 50,
            promotion_win_rate_above: Amount::new(45, 2),
            promotion_profit_factor_above: Amount::new(11, 1),
            promotion_seconds_min: 0,
            promotion_approval_from: None,
            demotion_drawdown: Amount::new(10, 2),
            demotion_loss_streak: 10,
            sizing_caps: [0.0, 0.0, 0.10, 0.25, 1.0],
        }
    }
}

impl Policy {
    /// The size cap of a level.
    #[must_use]
    pub fn cap(&self, level: Level) -> Multiplier {
        let [shadow, paper, gated, constrained, autonomous] = self.sizing_caps;
        Multiplier::new(match level {
            Level::Shadow => shadow,
            Level::Paper => paper,
            Level::Gated => gated,
            Level::Constrained => constrained,
            Level::Autonomous => autonomous,
        })
    }
}

/// The record at one level: what has happened since it was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// When the level was entered.
    pub entered_at: Timestamp,
    /// Trades closed, break-evens included.
    pub trades: u32,
    /// Trades with a profit.
    pub wins: u32,
    /// Losses in a row up to now; a break-even neither adds nor ends.
    pub loss_streak: u32,
    /// Sum of profits.
    pub gross_win: Amount,
    /// Sum of losses, without sign.
    pub gross_loss: Amount,
    /// Allocated capital and all realised results.
    pub equity: Amount,
    /// The highest `equity` since the level was entered.
    pub peak: Amount,
}

impl Evidence {
    /// A fresh record at this equity.
    #[must_use]
    pub const fn starting(entered_at: Timestamp, equity: Amount) -> Self {
        Self {
            entered_at,
            trades: 0,
            wins: 0,
            loss_streak: 0,
            gross_win: Amount::ZERO,
            gross_loss: Amount::ZERO,
            equity,
            peak: equity,
        }
    }

    /// The record with one more trade.
    #[must_use]
    pub fn with(self, trade: &Trade) -> Self {
        let loss_streak = streak_after(self.loss_streak, trade.outcome());
        Self { loss_streak, ..self.moved(trade.realized_pnl).counting(trade.realized_pnl) }
    }

    /// The record after equity has moved, with nothing counted.
    #[must_use]
    pub(crate) fn moved(mut self, by: Amount) -> Self {
        self.equity = self.equity.plus(by);
        self.peak = self.peak.max(self.equity);
        self
    }

    /// The record with the count of one more result; equity and the losses in a row are left alone.
    #[must_use]
    pub(crate) fn counting(mut self, pnl: Amount) -> Self {
        self.trades = self.trades.saturating_add(1);
        match outcome(pnl) {
            Outcome::Win => {
                self.wins = self.wins.saturating_add(1);
                self.gross_win = self.gross_win.plus(pnl);
            }
            Outcome::Loss => self.gross_loss = self.gross_loss.plus(pnl.abs()),
            Outcome::BreakEven => {}
        }
        self
    }

    /// Takes a result that is counted out of the count: the inverse of [`Evidence::counting`].
    #[must_use]
    pub(crate) fn discounting(mut self, pnl: Amount) -> Self {
        self.trades = self.trades.saturating_sub(1);
        match outcome(pnl) {
            Outcome::Win => {
                self.wins = self.wins.saturating_sub(1);
                self.gross_win = self.gross_win.minus(pnl);
            }
            Outcome::Loss => self.gross_loss = self.gross_loss.minus(pnl.abs()),
            Outcome::BreakEven => {}
        }
        self
    }

    /// Wins over trades; zero while there are none.
    #[must_use]
    pub fn win_rate(&self) -> f64 {
        if self.trades == 0 { 0.0 } else { f64::from(self.wins) / f64::from(self.trades) }
    }

    /// Gross win over gross loss; `None` while nothing was lost.
    #[must_use]
    pub fn profit_factor(&self) -> Option<f64> {
        (!self.gross_loss.is_zero()).then(|| self.gross_win.to_f64() / self.gross_loss.to_f64())
    }

    /// Fall from the peak, a fraction of the peak; 1 where the peak is not above zero and equity is below it.
    #[must_use]
    pub fn drawdown(&self) -> f64 {
        if self.peak.is_positive() {
            self.peak.minus(self.equity).to_f64() / self.peak.to_f64()
        } else if self.equity < self.peak {
            1.0
        } else {
            0.0
        }
    }

    fn drawdown_beyond(&self, limit: Amount) -> bool {
        self.peak.minus(self.equity) > limit.times_saturating(self.peak.max(Amount::ZERO))
    }

    fn earns_promotion(&self, at: Timestamp, policy: &Policy) -> bool {
        let trades = Amount::from(i64::from(self.trades));
        let wins = Amount::from(i64::from(self.wins));
        self.trades >= policy.promotion_trades_min
            && wins > policy.promotion_win_rate_above.times_saturating(trades)
            && (self.gross_loss.is_zero()
                || self.gross_win > policy.promotion_profit_factor_above.times_saturating(self.gross_loss))
            && at.seconds_since(self.entered_at) >= policy.promotion_seconds_min
    }
}

/// Losses in a row after one more outcome: a break-even neither adds nor ends.
pub(crate) const fn streak_after(streak: u32, outcome: Outcome) -> u32 {
    match outcome {
        Outcome::Win => 0,
        Outcome::Loss => streak.saturating_add(1),
        Outcome::BreakEven => streak,
    }
}

/// Which threshold a demotion crossed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DemotionCause {
    /// Drawdown from the peak at the level.
    Drawdown,
    /// Losses in a row at the level.
    LossStreak,
    /// Both at once.
    DrawdownAndLossStreak,
}

impl DemotionCause {
    /// Where a strategy on `from` falls to.
    #[must_use]
    pub fn level_below(self, from: Level) -> Level {
        let paper_or_below = if from > Level::Paper { Level::Paper } else { Level::Shadow };
        match self {
            Self::Drawdown => paper_or_below,
            Self::LossStreak => from.below(),
            Self::DrawdownAndLossStreak => paper_or_below.min(from.below()),
        }
    }
}

/// What happened on the ladder. Variants are appended, never reordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The strategy climbed exactly one level.
    Promoted {
        /// The level before.
        from: Level,
        /// The level after: one above `from`.
        to: Level,
        /// The record that earned it, counted since `from` was entered.
        evidence: Evidence,
    },
    /// The strategy fell one or more levels.
    Demoted {
        /// The level before.
        from: Level,
        /// The level after: below `from`.
        to: Level,
        /// What crossed its threshold.
        cause: DemotionCause,
        /// The record at `from`.
        evidence: Evidence,
    },
}

/// Where a strategy stands on the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The level.
    pub level: Level,
    /// The record since it was entered.
    pub evidence: Evidence,
}

impl State {
    /// Newly at `level`, with nothing counted yet.
    #[must_use]
    pub const fn entering(level: Level, at: Timestamp, equity: Amount) -> Self {
        Self { level, evidence: Evidence::starting(at, equity) }
    }
}

/// What a strategy's record would demote it for, or `None`.
///
/// ```
/// use ephor_governance::maturity::{self, DemotionCause, Evidence};
/// use ephor_governance::units::{Amount, Timestamp};
/// let policy = maturity::Policy::default();
/// let fresh = Evidence::starting(Timestamp::default(), Amount::from(10_000));
/// let bounds = Evidence { equity: Amount::from(9_000), ..fresh };
/// assert_eq!(maturity::demotion_cause(&bounds, &policy), None, "exactly ten percent");
/// let beyond = Evidence { equity: Amount::from(8_999), ..fresh };
/// assert_eq!(maturity::demotion_cause(&beyond, &policy), Some(DemotionCause::Drawdown));
/// ```
#[must_use]
pub fn demotion_cause(evidence: &Evidence, policy: &Policy) -> Option<DemotionCause> {
    let drawdown = evidence.drawdown_beyond(policy.demotion_drawdown);
    let streak = evidence.loss_streak > policy.demotion_loss_streak;
    match (drawdown, streak) {
        (true, true) => Some(DemotionCause::DrawdownAndLossStreak),
        (true, false) => Some(DemotionCause::Drawdown),
        (false, true) => Some(DemotionCause::LossStreak),
        (false, false) => None,
    }
}

/// The level that the record has earned, whether or not a person must still agree.
#[must_use]
pub fn promotion_earned(state: &State, at: Timestamp, policy: &Policy) -> Option<Level> {
    state.level.next().filter(|_| state.evidence.earns_promotion(at, policy))
}

/// Decides what follows from a strategy's record at its level.
///
/// `None` is the common answer. A record that would both promote and demote demotes.
///
/// ```
/// use ephor_governance::maturity::{self, Level, State};
/// use ephor_governance::units::{Amount, Timestamp};
/// let fresh = State::entering(Level::Paper, Timestamp::from_nanos(0), Amount::from(10_000));
/// assert_eq!(maturity::decide(&fresh, Timestamp::from_nanos(0), &maturity::Policy::default()), None);
/// ```
#[must_use]
pub fn decide(state: &State, at: Timestamp, policy: &Policy) -> Option<Event> {
    let State { level: from, evidence } = *state;
    if let Some(cause) = demotion_cause(&evidence, policy) {
        let to = cause.level_below(from);
        return (to < from).then_some(Event::Demoted { from, to, cause, evidence });
    }
    let to = promotion_earned(state, at, policy)?;
    let waits = policy.promotion_approval_from.is_some_and(|level| to >= level);
    (!waits).then_some(Event::Promoted { from, to, evidence })
}

/// Applies one recorded event. Never fails, and never asks whether the event was a good idea.
#[must_use]
pub fn evolve(state: State, event: &Event, at: Timestamp) -> State {
    match event {
        Event::Promoted { to, .. } | Event::Demoted { to, .. } => State::entering(*to, at, state.evidence.equity),
    }
}

/// What the level says of an order; a demotion that is due comes as `Demote`, with the event.
///
/// Whether each order needs approval at `Gated` is the token component's to say.
#[must_use]
pub fn assess(state: &State, at: Timestamp, policy: &Policy) -> (Verdict, Option<Event>) {
    use crate::verdict::Action;
    if let Some(event @ Event::Demoted { from, to, cause, .. }) = decide(state, at, policy) {
        let cap = policy.cap(to);
        let reason = Reason::MaturityDemotionDue { from, to, cause, cap: cap.get() };
        let verdict = Verdict { component: Component::Maturity, action: Action::Demote, multiplier: cap, reason };
        return (verdict, Some(event));
    }
    let level = state.level;
    let cap = policy.cap(level);
    let verdict = if !level.executes() {
        Verdict::reject(Component::Maturity, Action::Block, Reason::MaturityLevelTooLow { level })
    } else if cap.is_one() {
        Verdict::allow(Component::Maturity, Reason::MaturityAutonomous { level })
    } else {
        Verdict::sized(Component::Maturity, cap, Reason::MaturitySizingCapped { level, cap: cap.get() })
    };
    (verdict, None)
}
