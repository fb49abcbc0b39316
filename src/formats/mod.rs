//! What messages say, apart from how they came: bytes in, reports out. Plain functions, no transport.
//!
//! Invariant: what cannot be read is refused with a code and the field's name; what cannot be tied to a strategy is
//! never guessed.

mod alpaca;
mod attribution;
mod ccxt;
pub mod cloudevents;
mod fact;
mod fix;
pub(crate) mod freqtrade;
pub mod nautilus;
mod own;
pub(crate) mod recorded;
pub mod schema;
mod times;

use ephor_actors::Request;
use ephor_governance::event::Unattributed;
use ephor_governance::fill::{Netting, Pieces};
use ephor_governance::ids::{IdError, SourceId, StrategyId};
use ephor_governance::strategy::Command;
use ephor_governance::units::Timestamp;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::input::{Asked, Code, Entry, Parser, Refusal};
use crate::settings;
use attribution::Attribution;
use fact::{Fact, Said, What};

/// A message as the formats see it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// What it came on: a subject, a topic, a stream's key, a file.
    pub subject: &'a str,
    /// Names in lower case, and values.
    pub headers: &'a [(SmolStr, SmolStr)],
    /// Its bytes.
    pub payload: &'a [u8],
}

/// How messages are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub enum Format {
    /// Ephor's own JSON: one report, as a line of `ephor run`'s input
    #[default]
    Ephor,
    /// Ephor's own JSON in CloudEvents 1.0, structured or binary
    CloudEvents,
    /// NautilusTrader's events, in JSON or MessagePack
    Nautilus,
    /// freqtrade's webhook messages, and trades as its REST interface gives them
    Freqtrade,
    /// CCXT's unified trades
    Ccxt,
    /// Alpaca's `trade_updates`
    Alpaca,
    /// FIX execution reports
    Fix,
}

impl Format {
    /// Whether its messages name their strategy by themselves, and are refused where they do not.
    #[must_use]
    pub const fn is_own(self) -> bool {
        match self {
            Self::Ephor | Self::CloudEvents => true,
            Self::Nautilus | Self::Freqtrade | Self::Ccxt | Self::Alpaca | Self::Fix => false,
        }
    }

    /// The word of the settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ephor => "ephor",
            Self::CloudEvents => "cloudevents",
            Self::Nautilus => "nautilus",
            Self::Freqtrade => "freqtrade",
            Self::Ccxt => "ccxt",
            Self::Alpaca => "alpaca",
            Self::Fix => "fix",
        }
    }
}

/// What a message says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Reports, in their order; none where the message is of no concern.
    pub entries: Vec<Entry>,
    /// Whose sign of life it is, beside its reports.
    pub heard: Option<SmolStr>,
}

/// Reads messages of one connection.
#[derive(Clone, Debug)]
pub struct Reading {
    format: Format,
    parser: Parser,
    attribution: Attribution,
    netting: Netting,
    now: fn() -> Timestamp,
    /// The time of what was read last, where a recorded stream is governed at its own time.
    reached: Option<Timestamp>,
}

impl Reading {
    /// As the settings say; `now` bounds how far in the future a report may stand.
    #[must_use]
    pub fn new(settings: &settings::Reading, now: fn() -> Timestamp) -> Self {
        let (format, netting) = (settings.format, settings.netting);
        let attribution = Attribution::new(settings);
        Self { format, parser: Parser::live(now), attribution, netting, now, reached: None }
    }

    /// For a recorded stream, which is governed at its own time. That does not go back: what another program wrote out of
    /// order is governed at the time reached before, and keeps its own.
    #[must_use]
    pub fn recorded(settings: &settings::Reading, now: fn() -> Timestamp) -> Self {
        let beginning = Some(Timestamp::from_nanos(i64::MIN));
        Self { parser: Parser::new(now), reached: beginning, ..Self::new(settings, now) }
    }

    /// What a message says.
    ///
    /// # Errors
    /// [`Refusal`], by the first thing that is wrong: nothing of the message is to be taken then.
    pub fn read(&mut self, message: &Message<'_>) -> Result<Told, Refusal> {
        let mut told = Told::default();
        let (payload, now) = (message.payload, self.now);
        let mut take = |fact: Fact, said: &dyn Said| {
            told.entries.push(self.entry(&fact, said));
            Ok(())
        };
        match self.format {
            Format::Ephor => told.entries.extend(self.parser.line(payload)?),
            Format::CloudEvents => {
                told.entries.extend(self.parser.line(cloudevents::report(message, now)?.as_bytes())?);
            }
            Format::Nautilus => told.heard = nautilus::read(message, now, &mut take)?,
            Format::Freqtrade => freqtrade::read(payload, now, &mut take)?,
            Format::Ccxt => ccxt::read(payload, now, &mut take)?,
            Format::Alpaca => alpaca::read(payload, now, &mut take)?,
            Format::Fix => fix::read(payload, now, &mut take)?,
        }
        if let Some(reached) = self.reached.filter(|_| !self.format.is_own()) {
            let mut at = reached;
            for entry in &mut told.entries {
                at = at.max(entry.ts);
                entry.ts = at;
                if let Asked::Strategy(request) = &mut entry.asked {
                    request.at = at;
                }
            }
            self.reached = Some(at);
        }
        Ok(told)
    }

    /// What is asked of the governor about a fact.
    fn entry(&self, fact: &Fact, said: &dyn Said) -> Entry {
        let ts = fact.at;
        let command = match &fact.what {
            What::Account(account) => return Entry { ts, asked: Asked::Account(account.clone()) },
            What::Trade(trade) => Command::CloseTrade(trade.clone()),
            What::Fill { fill, currency } => Command::RecordFill {
                fill: fill.clone(),
                netting: self.netting,
                pieces: Pieces::Together,
                currency: currency.clone(),
            },
            What::Order(report) => Command::ReportOrder(report.clone()),
        };
        let (strategy, command) = match self.attribution.whose(fact, said) {
            Ok(strategy) => (strategy, command),
            Err(reason) => (StrategyId::unattributed(), self.nobodys(fact, reason)),
        };
        let key = command.key().map_or_else(SmolStr::default, |(_, id)| id);
        let trace = fact.trace().unwrap_or(key);
        // A trade carries the time at which it was closed, a fill that at which it was made.
        let carries_time = matches!(command, Command::CloseTrade(_) | Command::RecordFill { .. });
        let occurred_at = (!carries_time).then_some(ts);
        let request = Request { strategy, command, at: ts, trace, occurred_at };
        Entry { ts, asked: Asked::Strategy(Box::new(request)) }
    }

    fn nobodys(&self, fact: &Fact, reason: String) -> Command {
        let (id, kind) = match &fact.what {
            What::Trade(trade) => (trade.id.clone(), "trade"),
            What::Fill { fill, .. } => (fill.id.clone(), "fill"),
            What::Order(report) => (report.id.clone(), "order"),
            What::Account(account) => (account.id.clone(), "account"),
        };
        let content = own::line(fact, None, self.netting);
        let source = SmolStr::new_static(self.format.as_str());
        Command::RecordUnattributed(Unattributed { id, source, kind: SmolStr::new_static(kind), content, reason })
    }
}

/// An id out of parts that are unique together.
fn composed(name: &'static str, parts: &[&str]) -> Result<SourceId, Refusal> {
    let whole = parts.join(":");
    whole.parse().map_err(|error: IdError| Refusal::field(Code::FieldMalformed, name, error.to_string()))
}
