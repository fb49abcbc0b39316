//! What messages say, apart from how they came: bytes in, reports out. Plain functions, no transport.
//!
//! Invariant: what cannot be read is refused with a code and the field's name; what cannot be tied to a strategy is
//! never guessed.

use ephor_governance::units::Timestamp;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::input::{Entry, Parser, Refusal};
use crate::settings;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Ephor's own JSON: one report, as a line of `ephor run`'s input.
    #[default]
    Ephor,
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
}

impl Reading {
    /// As the settings say; `now` bounds how far in the future a report may stand.
    #[must_use]
    pub const fn new(settings: &settings::Reading, now: fn() -> Timestamp) -> Self {
        Self { format: settings.format, parser: Parser::live(now) }
    }

    /// What a message says.
    ///
    /// # Errors
    /// [`Refusal`], by the first thing that is wrong: nothing of the message is to be taken then.
    pub fn read(&mut self, message: &Message<'_>) -> Result<Told, Refusal> {
        match self.format {
            Format::Ephor => {
                let entry = self.parser.line(message.payload)?;
                Ok(Told { entries: entry.into_iter().collect(), heard: None })
            }
        }
    }
}
