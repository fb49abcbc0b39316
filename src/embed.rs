//! Ephor inside another program: a governor on a directory, and a gate to ask.
//!
//! ```
//! use ephor::embed::{Embedded, order};
//! use ephor::settings::Settings;
//! use ephor_governance::order::Side;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! let house = Embedded::open(dir.path(), &Settings::default())?;
//! let momentum = "momentum".parse()?;
//! house.declare(&momentum, "v1", 100_000.into(), "USD".parse()?)?;
//! let order = order("O-1".parse()?, "ABC".parse()?, Side::Buy, 10.into(), 25.into());
//! let answer = house.check(&momentum, order);
//! assert_eq!(answer.action.as_str(), "block");
//! assert_eq!(answer.code(), "MATURITY_LEVEL_TOO_LOW"); // it has earned nothing yet
//! house.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! Every answer is in the log before it is here; what cannot be recorded is a BLOCK with its reason. The log is the one
//! that `ephor` reads: `ephor why momentum --data DIR` explains what was answered, while the program runs as well.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use ephor_actors::{Config, Failure, Governor, Recorded, Request};
use ephor_execution::{Answer, Ask, Gate};
use ephor_governance::event::Registration;
use ephor_governance::ids::{Currency, InstrumentId, SourceId, StrategyId};
use ephor_governance::order::{Order, Side};
use ephor_governance::rejection::Rejection;
use ephor_governance::strategy::Command;
use ephor_governance::units::Amount;
use smol_str::SmolStr;
use tokio::runtime::Runtime;

use crate::cli::CliError;
use crate::settings::Settings;
use crate::store::{House, IN_FLIGHT_MAX, Session};

/// Why a governor could not be opened or closed.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// There is no runtime to wait on.
    #[error("start a runtime failed")]
    Runtime(#[source] std::io::Error),
    /// The log did not open or close, or the governor did not start.
    #[error(transparent)]
    House(Box<CliError>),
}

impl From<CliError> for EmbedError {
    fn from(error: CliError) -> Self {
        Self::House(Box::new(error))
    }
}

impl EmbedError {
    /// Whether the same may go through later: what is held by another process, or a full machine.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Runtime(_) => true,
            Self::House(error) => matches!(**error, CliError::Open { .. } | CliError::Start(_)),
        }
    }
}

/// A governor on a directory. Where it is dropped without [`Embedded::close`], what was answered is in the log all the
/// same; only the states beside it are not saved.
pub struct Embedded {
    house: House,
    runtime: Runtime,
}

impl Embedded {
    /// Opens (or creates) the log in a directory and starts a governor on it, with the settings' durability and
    /// `server.shards`, `server.answer_timeout_ms`.
    ///
    /// # Errors
    /// [`EmbedError`]; a directory that another process governs on is one.
    pub fn open(dir: &Path, settings: &Settings) -> Result<Self, EmbedError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let config = Config {
            shards: settings.server.shards,
            durability: settings.log.durability.into(),
            in_flight_max: IN_FLIGHT_MAX,
            timeout: Duration::from_millis(settings.server.answer_timeout_ms),
            spacing: settings.snapshots.spacing(),
        };
        Ok(Self { runtime: runtime.map_err(EmbedError::Runtime)?, house: House::open(dir, settings, &config)? })
    }

    /// The gate: cheap to clone, to be asked from any thread that has a runtime.
    #[must_use]
    pub fn gate(&self) -> Governor {
        self.house.session.governor.clone()
    }

    /// The session, for a canary and for whatever else takes one.
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.house.session
    }

    /// Waits for something on this thread, which must not run a runtime already.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Brings a strategy under governance, or a new version of it; the same again changes nothing.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn declare(
        &self,
        strategy: &StrategyId,
        version: &str,
        capital: Amount,
        currency: Currency,
    ) -> Result<Option<Recorded>, Failure> {
        let registration = Registration {
            id: SourceId::recorded(format!("{strategy}/{version}").into()),
            instrument: None,
            engine: None,
            strategy_class: None,
            version_digest: version.into(),
            initial_capital: capital,
            currency,
            multiplier: Amount::ONE,
        };
        let at = self.house.session.now();
        let command = Command::Register(registration);
        let request = Request { strategy: strategy.clone(), command, at, trace: SmolStr::default(), occurred_at: None };
        match self.wait(self.house.session.governor.ask(request)) {
            Err(Failure::Rejected(Rejection::NothingToChange { .. })) => Ok(None),
            answered => answered.map(Some),
        }
    }

    /// Asks about an order and waits for the answer. The same order again gets the recorded one.
    pub fn check(&self, strategy: &StrategyId, order: Order) -> Answer {
        let ask = Ask { strategy: strategy.clone(), trace: order.id.text(), order, at: self.house.session.now() };
        self.wait(self.house.session.governor.check(ask))
    }

    /// Takes nothing more, waits for what is under way and closes the log.
    ///
    /// # Errors
    /// [`EmbedError`]: every answer that was given is durable all the same.
    pub fn close(self) -> Result<(), EmbedError> {
        let Self { house, runtime } = self;
        runtime.block_on(house.close())?;
        Ok(())
    }
}

/// An order of which only the least is said; what is left out counts at its worst.
#[must_use]
pub fn order(id: SourceId, instrument: InstrumentId, side: Side, qty: Amount, price: Amount) -> Order {
    Order {
        id,
        instrument,
        venue: None,
        side,
        qty,
        price: Some(price),
        notional: None,
        currency: None,
        reduce_only: false,
        leverage: None,
        position_qty: None,
        equity: None,
        open_positions: None,
        token: None,
    }
}
