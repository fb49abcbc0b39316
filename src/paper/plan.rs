//! What a run is about: settings and flags made into bars that are read and strategies that have something to trade.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ephor_governance::ids::{InstrumentId, StrategyId};
use ephor_governance::policy::Policy;
use ephor_governance::units::{Amount, Timestamp};

use super::bars::{self, Bar, BarsError};
use super::rules;
use crate::operate::policy_of_toml;
use crate::settings::{Paper, PaperInstrument, PaperSize, PaperStrategy, Problem};

/// A file of bars for an instrument, as a flag names it: `FILE=INSTRUMENT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BarsOf {
    /// The file.
    pub file: PathBuf,
    /// What it has the prices of.
    pub instrument: InstrumentId,
}

impl FromStr for BarsOf {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (file, instrument) = text.rsplit_once('=').ok_or("expected FILE=INSTRUMENT, such as eurusd.csv=EUR/USD")?;
        let instrument = instrument.parse().map_err(|error| format!("the instrument behind =: {error}"))?;
        if file.is_empty() {
            return Err("there is no file before =".to_owned());
        }
        Ok(Self { file: file.into(), instrument })
    }
}

/// What comes in beside files of bars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// Signals.
    Signals,
    /// Signals and bars, over a bus.
    Bus,
}

/// A bar of the live part, with its time and its market's place in [`Plan::markets`].
pub type Live = (Timestamp, usize, Bar);

/// An instrument with its bars.
#[derive(Clone, Debug)]
pub struct Market {
    /// The instrument.
    pub instrument: PaperInstrument,
    /// Its bars out of a file, oldest first.
    pub bars: Vec<Bar>,
    /// How many of them are the backtest.
    pub in_sample: usize,
}

/// A strategy and the market that it trades.
#[derive(Clone, Debug)]
pub struct Trader {
    /// Its settings.
    pub settings: PaperStrategy,
    /// Its market's place in [`Plan::markets`].
    pub market: usize,
}

/// All that a run is about.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is traded.
    pub markets: Vec<Market>,
    /// Who trades.
    pub traders: Vec<Trader>,
    /// The policy to adopt where the log has none.
    pub policy: Option<Policy>,
    /// The settings it was made from.
    pub settings: Paper,
}

/// Why there is no plan. The caller can mend all of it.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A file of bars.
    #[error(transparent)]
    Bars(#[from] BarsError),
    /// Nothing is traded.
    #[error("there is nothing to trade: name bars with --bars FILE=INSTRUMENT, or settings with --config FILE")]
    Nothing,
    /// Two of one name.
    #[error("paper.{list}: {name} stands there twice")]
    Twice {
        /// Which list.
        list: &'static str,
        /// Which name.
        name: String,
    },
    /// A strategy trades what nothing is known of.
    #[error("paper.strategies: {strategy} trades {instrument}, which is not among paper.instruments")]
    UnknownInstrument {
        /// Whose.
        strategy: StrategyId,
        /// What.
        instrument: InstrumentId,
    },
    /// An instrument without prices.
    #[error("{instrument} has no bars: set `bars` in its table, or give --bars FILE={instrument}")]
    NoBars {
        /// Which.
        instrument: InstrumentId,
    },
    /// A bar does not say how much was traded, and that limits fills.
    #[error("{instrument}: the bar of {at} has no volume, of which paper.venue.volume_share is a share")]
    NoVolume {
        /// Of which instrument.
        instrument: InstrumentId,
        /// Which bar.
        at: Timestamp,
    },
    /// A setting that makes no sense.
    #[error("{of}: {field} {problem}")]
    Unfit {
        /// Of which strategy or instrument.
        of: String,
        /// Which setting.
        field: &'static str,
        /// What was found and what would do.
        problem: String,
    },
    /// The policy cannot be read.
    #[error("read the policy {} failed", path.display())]
    PolicyUnreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The policy is wrong.
    #[error("{}: {problem}", path.display())]
    Policy {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        problem: Problem,
    },
}

impl PlanError {
    /// Whether the same may go through later.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Bars(error) => error.is_retryable(),
            Self::PolicyUnreadable { .. } => true,
            Self::Nothing
            | Self::Twice { .. }
            | Self::UnknownInstrument { .. }
            | Self::NoBars { .. }
            | Self::NoVolume { .. }
            | Self::Unfit { .. }
            | Self::Policy { .. } => false,
        }
    }
}

impl Plan {
    /// Reads all that the settings name. `dir` is the directory that relative paths in them start from; `given`
    /// are the bars that flags name. Where there are no strategies, and not signals alone come in beside the bars, the
    /// examples trade each instrument. An instrument needs bars out of a file, unless they come over a bus.
    ///
    /// # Errors
    /// [`PlanError`], the first thing that is wrong.
    pub fn make(settings: Paper, dir: &Path, given: &[BarsOf], beside: Beside) -> Result<Self, PlanError> {
        let mut settings = settings;
        for BarsOf { instrument, .. } in given {
            if !settings.instruments.iter().any(|known| known.id == *instrument) {
                settings.instruments.push(PaperInstrument::named(instrument.clone()));
            }
        }
        if settings.strategies.is_empty() && beside != Beside::Signals {
            settings.strategies = settings.instruments.iter().flat_map(examples).collect();
        }
        twice("instruments", settings.instruments.iter().map(|it| it.id.as_str()))?;
        twice("strategies", settings.strategies.iter().map(|it| it.id.as_str()))?;
        let mut markets = Vec::new();
        for instrument in &settings.instruments {
            markets.push(market(instrument, dir, given, beside, settings.in_sample)?);
        }
        let mute = |market: &Market| {
            Some((market.instrument.id.clone(), market.bars.iter().find(|bar| bar.volume.is_none())?.at))
        };
        if settings.venue.volume_share.is_some()
            && let Some((instrument, at)) = markets.iter().find_map(mute)
        {
            return Err(PlanError::NoVolume { instrument, at });
        }
        if markets.is_empty() {
            return Err(PlanError::Nothing);
        }
        let mut traders = Vec::new();
        for strategy in &settings.strategies {
            let place = markets.iter().position(|market| market.instrument.id == strategy.instrument);
            let market = place.ok_or_else(|| PlanError::UnknownInstrument {
                strategy: strategy.id.clone(),
                instrument: strategy.instrument.clone(),
            })?;
            if let Some((field, problem)) = strategy.rule.as_ref().and_then(rules::Kind::fault) {
                return Err(PlanError::Unfit { of: strategy.id.to_string(), field, problem });
            }
            traders.push(Trader { settings: strategy.clone(), market });
        }
        let policy = settings.policy.as_ref().map(|path| policy(&dir.join(path))).transpose()?;
        Ok(Self { markets, traders, policy, settings })
    }

    /// Every bar of the live part, in the order of time; at one time in the order of the instruments.
    #[must_use]
    pub fn live(&self) -> Vec<Live> {
        self.in_order(|market| market.bars.get(market.in_sample..))
    }

    /// Every bar of the backtest, in the same order.
    #[must_use]
    pub fn in_sample(&self) -> Vec<Live> {
        self.in_order(|market| market.bars.get(..market.in_sample))
    }

    /// The strategies whose signals come from outside, and what each trades.
    #[must_use]
    pub fn without_rule(&self) -> BTreeMap<StrategyId, InstrumentId> {
        let without_rule = self.traders.iter().filter(|trader| trader.settings.rule.is_none());
        without_rule.map(|trader| (trader.settings.id.clone(), trader.settings.instrument.clone())).collect()
    }

    fn in_order(&self, part: impl Fn(&Market) -> Option<&[Bar]>) -> Vec<Live> {
        let of = |(place, market)| part(market).unwrap_or_default().iter().map(move |bar: &Bar| (bar.at, place, *bar));
        let mut bars: Vec<_> = self.markets.iter().enumerate().flat_map(of).collect();
        bars.sort_by_key(|(at, place, _)| (*at, *place));
        bars
    }
}

/// The three example strategies on an instrument.
fn examples(instrument: &PaperInstrument) -> impl Iterator<Item = PaperStrategy> + use<> {
    let instrument = instrument.id.clone();
    rules::Kind::examples().into_iter().map(move |rule| PaperStrategy {
        id: StrategyId::recorded(format!("{}-{instrument}", rule.name()).into()),
        instrument: instrument.clone(),
        capital: Amount::new(100_000, 0),
        rule: Some(rule),
        size: PaperSize::default(),
    })
}

fn twice<'a>(list: &'static str, names: impl Iterator<Item = &'a str>) -> Result<(), PlanError> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(PlanError::Twice { list, name: name.to_owned() });
        }
    }
    Ok(())
}

fn market(
    instrument: &PaperInstrument,
    dir: &Path,
    given: &[BarsOf],
    beside: Beside,
    in_sample: Amount,
) -> Result<Market, PlanError> {
    let named = given.iter().rev().find(|bars| bars.instrument == instrument.id).map(|bars| bars.file.clone());
    let set = || instrument.bars.as_ref().map(|path| dir.join(path));
    let file = named.or_else(set);
    if file.is_none() && beside != Beside::Bus {
        return Err(PlanError::NoBars { instrument: instrument.id.clone() });
    }
    for (field, value) in [("lot", instrument.lot), ("tick", instrument.tick), ("multiplier", instrument.multiplier)] {
        if !value.is_positive() {
            let problem = format!("must be above 0, found {value}");
            return Err(PlanError::Unfit { of: instrument.id.to_string(), field, problem });
        }
    }
    let bars = file.map_or_else(|| Ok(Vec::new()), |file| bars::read(&file))?;
    let share = in_sample.times_saturating(i64::try_from(bars.len()).unwrap_or(i64::MAX).into());
    let in_sample = share.decimal().trunc().try_into().unwrap_or(0_usize).min(bars.len());
    Ok(Market { instrument: instrument.clone(), bars, in_sample })
}

fn policy(path: &Path) -> Result<Policy, PlanError> {
    let unreadable = |source| PlanError::PolicyUnreadable { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    policy_of_toml(&text).map_err(|problem| PlanError::Policy { path: path.to_owned(), problem })
}
